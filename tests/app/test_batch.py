"""POST /inpaint/batch: every picture gets its own outcome, and other clients get their turn."""

import asyncio
import io
import json
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image
from starlette.requests import Request

from app.batch import BatchItem, zip_of
from app.engine import Engine, FillRequest
from app.main import create_app
from app.records import RequestRecord
from app.settings import Settings
from model_core.inpainter import Inpainter, Predict

ToBytes = Callable[..., bytes]
AssertProblem = Callable[[httpx.Response, int], dict[str, Any]]
SINGLE_MASK = Image.fromarray(np.eye(30, 40, dtype=np.uint8) * 255)
Parts = list[tuple[str, tuple[str, bytes]]]


class GatedInpainter(Inpainter):
    """A real model whose inferences wait while its gate is shut; grey pictures of 8 x 8 pixels break it."""

    gate: threading.Event
    sizes: list[tuple[int, int]]

    def inpaint(self, image: Image.Image, hole: np.ndarray, *predict: Predict) -> Image.Image:
        self.sizes.append(image.size)
        assert self.gate.wait(timeout=30)
        if image.size == (8, 8):
            raise RuntimeError("secret of a library")
        return super().inpaint(image, hole, *predict)


@pytest.fixture
def gated(settings: Settings) -> Iterator[GatedInpainter]:
    inpainter = GatedInpainter.from_checkpoint(settings.checkpoint, device="cpu", precision="fp32")
    assert isinstance(inpainter, GatedInpainter)
    inpainter.gate = threading.Event()
    inpainter.gate.set()
    inpainter.sizes = []
    yield inpainter
    inpainter.gate.set()


def parts(images: list[bytes], masks: list[bytes]) -> Parts:
    return [
        *(("image", (f"photo {index}.png", data)) for index, data in enumerate(images)),
        *(("mask", ("mask.png", data)) for data in masks),
    ]


def unzip(response: httpx.Response) -> tuple[dict[str, bytes], list[dict[str, Any]]]:
    """The pictures of an answer by name, and its outcomes."""
    assert response.status_code == 200, response.text
    assert response.headers["content-type"] == "application/zip"
    with zipfile.ZipFile(io.BytesIO(response.content)) as archive:
        names = archive.namelist()
        assert names[-1] == "outcomes.json"
        outcomes = json.loads(archive.read("outcomes.json"))["outcomes"]
        assert names[:-1] == [outcome["file"] for outcome in outcomes if "file" in outcome]
        assert [outcome["index"] for outcome in outcomes] == list(range(len(outcomes)))
        return {name: archive.read(name) for name in names[:-1]}, outcomes


def test_pairs_of_pictures_and_masks(
    client: TestClient, files: dict[str, bytes], photo: Image.Image, mask: Image.Image, to_bytes: ToBytes
) -> None:
    """Each picture is filled with its own mask, to the bytes that it gets alone."""
    images = [files["image"], to_bytes(photo.rotate(180)), to_bytes(photo.resize((50, 40)))]
    masks = [files["mask"], to_bytes(mask.rotate(180)), to_bytes(mask.resize((50, 40)))]
    alone = [
        client.post("/inpaint", files={"image": image, "mask": mask}).content
        for image, mask in zip(images, masks, strict=True)
    ]
    response = client.post("/inpaint/batch", files=parts(images, masks))
    pictures, outcomes = unzip(response)
    assert pictures == {f"{index:03d}-photo_{index}.png": data for index, data in enumerate(alone)}
    assert [outcome["status"] for outcome in outcomes] == [200] * 3
    assert all(outcome["milliseconds"]["inference"] > 0 for outcome in outcomes)
    assert response.headers["x-model"].startswith("tiny@")


def test_one_mask_for_all_and_other_options(client: TestClient, files: dict[str, bytes]) -> None:
    """A single mask serves every picture; the options are those of a single picture."""
    options = {"format": "jpeg", "quality": "50", "grow": "3", "mask_polarity": "white"}
    alone = client.post("/inpaint", files=files, data=options).content
    response = client.post("/inpaint/batch", files=parts([files["image"]] * 5, [files["mask"]]), data=options)
    pictures, _ = unzip(response)
    assert list(pictures) == [f"{index:03d}-photo_{index}.jpeg" for index in range(5)]
    assert set(pictures.values()) == {alone}


def test_without_masks_transparency_counts(
    client: TestClient, photo: Image.Image, hole: np.ndarray, to_bytes: ToBytes
) -> None:
    """As for a single picture; an opaque one among them has nothing to fill."""
    image = photo.copy()
    image.putalpha(Image.fromarray(np.where(hole, 0, 255).astype(np.uint8)))
    _, outcomes = unzip(client.post("/inpaint/batch", files=parts([to_bytes(image), to_bytes(photo)], [])))
    assert [outcome["status"] for outcome in outcomes] == [200, 422]
    assert outcomes[1]["problem"]["type"].endswith("missing-mask")


def test_an_empty_file_input_of_a_browser_is_no_mask(
    client: TestClient, photo: Image.Image, hole: np.ndarray, to_bytes: ToBytes
) -> None:
    """A part without a file name and content counts as no mask."""
    image = photo.copy()
    image.putalpha(Image.fromarray(np.where(hole, 0, 255).astype(np.uint8)))
    head = b'--x\r\nContent-Disposition: form-data; name="'
    body = head + b'image"; filename="a.png"\r\n\r\n' + to_bytes(image) + b"\r\n"
    body += head + b'mask"; filename=""\r\nContent-Type: application/octet-stream\r\n\r\n\r\n--x--\r\n'
    headers = {"Content-Type": "multipart/form-data; boundary=x"}
    _, outcomes = unzip(client.post("/inpaint/batch", content=body, headers=headers))
    assert [outcome["status"] for outcome in outcomes] == [200]


def test_a_bad_picture_fails_alone(
    settings: Settings,
    gated: GatedInpainter,
    files: dict[str, bytes],
    to_bytes: ToBytes,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Whatever is wrong with one, even a failure of the service, is its own outcome, without secrets."""
    small = to_bytes(Image.new("RGB", (8, 8)))
    small_mask = np.zeros((8, 8), dtype=np.uint8)
    small_mask[2:5, 2:5] = 255
    images = [b"", b"no picture", files["image"][:200], files["image"], small, files["image"]]
    masks = [files["mask"]] * 3 + [small, to_bytes(Image.fromarray(small_mask)), files["mask"]]
    with TestClient(create_app(settings, gated)) as client:
        response = client.post("/inpaint/batch", files=parts(images, masks), headers={"X-Request-ID": "mine"})
    pictures, outcomes = unzip(response)
    assert [outcome["status"] for outcome in outcomes] == [400, 415, 422, 422, 500, 200]
    assert list(pictures) == ["005-photo_5.png"]
    problems = [outcome["problem"] for outcome in outcomes[:5]]
    assert {problem["request_id"] for problem in problems} == {"mine"}
    assert "64 x 96" in problems[3]["detail"]
    assert b"secret" not in response.content
    (record,) = [record for record in caplog.records if record.name == "app.batch"]
    assert record.exc_info
    assert "secret" in str(record.exc_info[1])


@pytest.mark.parametrize(
    ("images", "masks", "detail"),
    [
        (4, 1, "image: expected 1 to 3 pictures, got 4"),
        (3, 2, "mask: expected no mask, one for all or one for each of 3 pictures, got 2"),
        (1, 2, "got 2"),
        (0, 1, "image: this field is required"),
    ],
)
def test_counts_that_do_not_match(
    settings: Settings,
    files: dict[str, bytes],
    assert_problem: AssertProblem,
    images: int,
    masks: int,
    detail: str,
) -> None:
    """The whole request is refused before anything is filled."""
    with TestClient(create_app(settings.model_copy(update={"max_batch_items": 3}))) as client:
        response = client.post(
            "/inpaint/batch", files=parts([files["image"]] * images, [files["mask"]] * masks)
        )
    assert detail in assert_problem(response, 422)["detail"]


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("../../etc/passwd", "000-passwd.png"),
        ("C:\\photos\\a b.jpg", "000-a_b.png"),
        ("/", "000-picture.png"),
        ("..", "000-_.png"),
        ("\u5bb6.png", "000-_.png"),
        ("n" * 300 + ".png", f"000-{'n' * 60}.png"),
        ("outcomes.json", "000-outcomes.png"),
    ],
)
def test_names_of_clients_are_harmless(
    client: TestClient, files: dict[str, bytes], name: str, file: str
) -> None:
    """No name in the zip leads out of its folder, is another's, or has characters that some systems lack."""
    form = [("image", (name, files["image"])), ("mask", ("mask.png", files["mask"]))]
    assert list(unzip(client.post("/inpaint/batch", files=form))[0]) == [file]


def queue_of(client: TestClient) -> int:
    queue = client.get("/health").json()["queue"]
    return int(queue["running"] + queue["waiting"])


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_batch_takes_two_places_in_the_line(
    settings: Settings, gated: GatedInpainter, files: dict[str, bytes], photo: Image.Image, to_bytes: ToBytes
) -> None:
    """Of twelve pictures never more than two are in the line, so a single picture overtakes the rest."""
    single_files = {"image": to_bytes(photo.resize((40, 30))), "mask": to_bytes(SINGLE_MASK)}
    with TestClient(create_app(settings, gated)) as client, ThreadPoolExecutor() as clients:
        gated.gate.clear()
        gated.sizes.clear()
        batch = clients.submit(
            client.post, "/inpaint/batch", files=parts([files["image"]] * 12, [files["mask"]])
        )
        wait_until(lambda: queue_of(client) == 2)
        single = clients.submit(client.post, "/inpaint", files=single_files)
        wait_until(lambda: queue_of(client) == 3)
        gated.gate.set()
        assert single.result().status_code == 200
        assert len(unzip(batch.result())[0]) == 12
    assert gated.sizes.index((40, 30)) <= 3


def test_a_full_line_refuses_a_batch_and_delays_a_begun_one(
    settings: Settings, gated: GatedInpainter, files: dict[str, bytes], assert_problem: AssertProblem
) -> None:
    """A new batch is told to come back; one that has begun waits for room, and loses no picture."""
    app = create_app(settings.model_copy(update={"max_queued_requests": 0}), gated)
    batch = parts([files["image"]] * 3, [files["mask"]])
    with TestClient(app) as client, ThreadPoolExecutor() as clients:
        gated.gate.clear()
        begun = clients.submit(client.post, "/inpaint/batch", files=batch)
        wait_until(lambda: queue_of(client) == 1)
        refused = client.post("/inpaint/batch", files=batch)
        assert "The line is full" in assert_problem(refused, 429)["detail"]
        assert refused.headers["retry-after"]
        gated.gate.set()
        assert [outcome["status"] for outcome in unzip(begun.result())[1]] == [200] * 3


def test_a_picture_that_takes_too_long(
    settings: Settings, gated: GatedInpainter, files: dict[str, bytes]
) -> None:
    """The time limit is each picture's own, and those that it hits say so."""
    app = create_app(settings.model_copy(update={"timeout_seconds": 1.5}), gated)
    with TestClient(app) as client:
        gated.gate.clear()
        _, outcomes = unzip(client.post("/inpaint/batch", files=parts([files["image"]] * 2, [files["mask"]])))
        gated.gate.set()
    assert [outcome["status"] for outcome in outcomes] == [504, 504]
    assert "1.5 seconds" in outcomes[0]["problem"]["detail"]


def test_the_rest_is_not_filled_for_a_client_that_left(
    settings: Settings, gated: GatedInpainter, files: dict[str, bytes]
) -> None:
    """When the answer is given up after its first picture, what has not begun leaves the line."""
    engine = Engine(gated, settings)
    state = {"record": RequestRecord("POST")}
    request = Request(
        {"type": "http", "method": "POST", "path": "/inpaint/batch", "headers": [], "state": state}
    )
    items = [
        BatchItem(
            index,
            "",
            FillRequest(io.BytesIO(files["image"]), io.BytesIO(files["mask"]), "white", 0, "png", 95),
        )
        for index in range(10)
    ]

    async def read_the_beginning() -> bytes:
        answer = zip_of(items, engine, request, 30)
        beginning = await anext(answer)
        await answer.aclose()
        return beginning

    assert b"000-picture.png" in asyncio.run(read_the_beginning())
    engine.close()
    assert 1 <= len(gated.sizes) <= 3
