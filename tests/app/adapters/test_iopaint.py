"""POST /api/v1/inpaint takes IOPaint's JSON, answers like it, and bounds what hostile JSON may cost."""

import asyncio
import base64
import contextlib
import io
import json
import threading
import tracemalloc
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO

import httpx
import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image
from starlette.requests import Request
from starlette.types import Message

from app.adapters import iopaint
from app.adapters.iopaint import MAX_JSON_VALUES, JsonFill, JsonReader
from app.main import create_app
from app.settings import Settings

ToBytes = Callable[..., bytes]


def text(data: bytes) -> str:
    return base64.b64encode(data).decode()


@pytest.fixture
def body(files: dict[str, bytes]) -> dict[str, Any]:
    """What IOPaint's page sends, shortened: the two pictures and some of its many settings."""
    return {
        "image": f"data:image/png;base64,{text(files['image'])}",
        "mask": text(files["mask"]),
        "ldm_steps": 25,
        "hd_strategy": "Crop",
        "prompt": "",
        "sd_seed": 7,
    }


def assert_error(response: httpx.Response, status: int) -> dict[str, str]:
    assert response.status_code == status, response.text
    error: dict[str, str] = response.json()
    assert set(error) == {"error", "detail", "body", "errors"}
    assert error["errors"] == error["detail"]
    assert error["body"] == ""
    return error


def test_fills_the_white_of_the_mask(
    client: TestClient, body: dict[str, Any], photo: Image.Image, hole: np.ndarray
) -> None:
    """The answer is the picture; outside the hole nothing changed; unknown fields do not matter."""
    response = client.post("/api/v1/inpaint", json=body)
    assert response.status_code == 200
    filled = Image.open(io.BytesIO(response.content))
    changed = (np.asarray(filled) != np.asarray(photo)).any(axis=-1)
    assert not changed[~hole].any()
    assert changed[hole].mean() > 0.5
    assert response.headers["x-seed"] == "7"
    assert response.headers["x-model"].startswith("tiny@")


@pytest.mark.parametrize(
    ("file_format", "answered"), [("PNG", "PNG"), ("JPEG", "JPEG"), ("WEBP", "WEBP"), ("BMP", "PNG")]
)
def test_the_answer_has_the_inputs_format(
    client: TestClient,
    body: dict[str, Any],
    photo: Image.Image,
    to_bytes: ToBytes,
    file_format: str,
    answered: str,
) -> None:
    """Where it can be written."""
    response = client.post("/api/v1/inpaint", json=body | {"image": text(to_bytes(photo, file_format))})
    assert Image.open(io.BytesIO(response.content)).format == answered
    assert response.headers["content-type"] == f"image/{answered.lower()}"


@pytest.mark.parametrize(
    ("changes", "status", "error", "detail"),
    [
        ({"image": "not base64!"}, 422, "invalid-field", "image: expected a file in base64"),
        ({"image": "aGVsbG8"}, 422, "invalid-field", "padded"),
        ({"image": "aGVs\nbG8="}, 422, "invalid-field", "no line breaks"),
        ({"image": "å"}, 422, "invalid-field", "base64"),
        ({"image": 5}, 422, "invalid-field", "valid string"),
        ({"image": ""}, 400, "empty-file", "0 bytes"),
        ({"image": text(b"GIF89a and so on")}, 415, "unsupported-type", "'image'"),
        ({"sd_seed": "many"}, 422, "invalid-field", "sd_seed"),
    ],
)
def test_bad_fields(
    client: TestClient, body: dict[str, Any], changes: dict[str, Any], status: int, error: str, detail: str
) -> None:
    """Each has its documented status and kind, and a sentence of our own."""
    answer = assert_error(client.post("/api/v1/inpaint", json=body | changes), status)
    assert answer["error"] == error
    assert detail in answer["detail"]


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b"7", b'{"image": NaN', b"\xff\xfe", b'"' + b"[" * 300]
)
def test_a_body_that_is_not_the_json(client: TestClient, content: bytes) -> None:
    """Anything but a JSON object is told so."""
    assert assert_error(client.post("/api/v1/inpaint", content=content), 400)["error"] == "bad-json"


def test_a_missing_mask(client: TestClient, body: dict[str, Any]) -> None:
    """Both pictures are required."""
    del body["mask"]
    answer = assert_error(client.post("/api/v1/inpaint", json=body), 422)
    assert answer["detail"] == "mask: this field is required"


def test_another_size_of_mask(
    client: TestClient, body: dict[str, Any], mask: Image.Image, to_bytes: ToBytes
) -> None:
    """The engine's errors have the form."""
    small = text(to_bytes(mask.resize((48, 32))))
    answer = assert_error(client.post("/api/v1/inpaint", json=body | {"mask": small}), 422)
    assert "32 x 48" in answer["errors"]


def test_a_form_is_refused(client: TestClient, files: dict[str, bytes]) -> None:
    """Its type is named, and the one that is expected."""
    answer = assert_error(client.post("/api/v1/inpaint", files=files), 415)
    assert "application/json" in answer["detail"]


@pytest.mark.parametrize(("method", "path", "status"), [("GET", "/inpaint", 405), ("GET", "/nothing", 404)])
def test_what_the_framework_refuses(client: TestClient, method: str, path: str, status: int) -> None:
    """Unknown paths and methods have the form."""
    assert_error(client.request(method, f"/api/v1{path}"), status)


def test_a_body_over_the_limit(settings: Settings, body: dict[str, Any]) -> None:
    """The limit on bytes holds for JSON as for forms."""
    with TestClient(create_app(settings.model_copy(update={"max_request_bytes": 100}))) as client:
        answer = assert_error(client.post("/api/v1/inpaint", json=body), 413)
    assert "100" in answer["detail"]


@pytest.mark.parametrize("many", [b"[],", b"{},", b'"",'])
def test_many_small_values_are_refused_unparsed(client: TestClient, many: bytes) -> None:
    """A few megabytes of them would take hundreds once parsed."""
    content = b'{"image": "", "mask": "", "x": [' + many * 1_000_000 + b"1]}"
    tracemalloc.start()
    answer = assert_error(client.post("/api/v1/inpaint", content=content), 400)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert f"{MAX_JSON_VALUES:,}" in answer["detail"]
    assert peak < 8 * len(content)


def test_large_bodies_wait_outside_memory(settings: Settings, photo: Image.Image, to_bytes: ToBytes) -> None:
    """While twelve bodies of 8 MB are being sent, the process holds less than half of them."""
    noise = np.random.default_rng(0).integers(0, 256, (1400, 1400, 3), dtype=np.uint8)
    content = json.dumps({"image": text(to_bytes(Image.fromarray(noise))), "mask": ""}).encode()

    async def pieces(peaks: list[int]) -> Any:
        for start in range(0, len(content), 65_536):
            yield content[start : start + 65_536]
        peaks.append(tracemalloc.get_traced_memory()[0])
        await asyncio.sleep(0.5)

    async def ask_all() -> tuple[list[int], list[int]]:
        app = create_app(settings)
        async with app.router.lifespan_context(app) as state:
            transport = httpx.ASGITransport(_with_state(app, state))
            async with httpx.AsyncClient(transport=transport, base_url="http://test", timeout=60) as client:
                before = tracemalloc.get_traced_memory()[0]
                peaks: list[int] = []
                answers = await asyncio.gather(
                    *(client.post("/api/v1/inpaint", content=pieces(peaks)) for _ in range(12))
                )
                return [answer.status_code for answer in answers], [peak - before for peak in peaks]

    tracemalloc.start()
    statuses, peaks = asyncio.run(ask_all())
    tracemalloc.stop()
    assert statuses == [400] * 12  # an empty mask, once all is read
    assert len(peaks) == 12
    assert max(peaks) < 12 * len(content) / 2


def test_bodies_are_parsed_one_at_a_time(body: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Even while the first, whose client has left, is still being parsed."""
    begun, go_on, parse = threading.Semaphore(0), threading.Event(), iopaint._parse

    def parse_when_told(data: BinaryIO) -> JsonFill:
        begun.release()
        assert go_on.wait(20)
        return parse(data)

    async def receive() -> Message:
        return {"type": "http.request", "body": json.dumps(body).encode()}

    async def read(reader: JsonReader) -> int:
        request = Request({"type": "http", "headers": []}, receive)
        async with contextlib.asynccontextmanager(reader.read)(request) as asked:
            return asked.seed

    async def scenario() -> int:
        reader = JsonReader()
        first = asyncio.create_task(read(reader))
        assert await asyncio.to_thread(begun.acquire, timeout=20)
        first.cancel()
        await asyncio.wait([first])
        second = asyncio.create_task(read(reader))
        assert not await asyncio.to_thread(begun.acquire, timeout=0.5)
        go_on.set()
        return await second

    monkeypatch.setattr(iopaint, "_parse", parse_when_told)
    assert asyncio.run(scenario()) == 7


def _with_state(app: Any, state: Any) -> Any:
    """ASGITransport does not run lifespan, so its state is handed on here."""

    async def call(scope: Any, receive: Any, send: Any) -> None:
        await app({**scope, "state": dict(state)}, receive, send)

    return call


def chunks(content: bytes) -> Iterator[bytes]:
    yield content[:100]
    yield content[100:]


def test_a_body_in_chunks(client: TestClient, body: dict[str, Any]) -> None:
    """A client need not know the length beforehand."""
    assert client.post("/api/v1/inpaint", content=chunks(json.dumps(body).encode())).status_code == 200
