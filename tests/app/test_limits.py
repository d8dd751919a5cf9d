"""What one request may cost is bounded: bytes before they are kept, time, and work for clients that left."""

import asyncio
import base64
import logging
import os
import sys
import tempfile
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.errors import HeldBytesError
from app.limits import LEAST_BYTES_PER_SECOND, PIECE_BYTES, RequestLimits
from app.main import create_app
from app.settings import Settings
from app.tracing import RequestId

AssertProblem = Callable[[httpx.Response, int], dict[str, Any]]


def limited(
    app: ASGIApp,
    *,
    max_request_bytes: int = 1000,
    max_held_bytes: int = 10_000,
    timeout_seconds: float = 30.0,
) -> ASGIApp:
    limits = RequestLimits(
        app,
        max_request_bytes=max_request_bytes,
        max_held_bytes=max_held_bytes,
        timeout_seconds=timeout_seconds,
    )
    return RequestId(limits)


def ask(app: ASGIApp, **arguments: Any) -> httpx.Response:
    async def post() -> httpx.Response:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:
            return await client.post("/", **arguments)

    return asyncio.run(post())


async def count_bytes(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer with the size of the request's body."""
    body = await Request(scope, receive).body()
    await PlainTextResponse(str(len(body)))(scope, receive, send)


async def never(scope: Scope, receive: Receive, send: Send) -> None:
    """Read the request and answer after a minute."""
    await Request(scope, receive).body()
    await asyncio.sleep(60)


def test_a_body_of_just_the_limit_passes() -> None:
    """The limit itself is allowed."""
    assert ask(limited(count_bytes), content=bytes(1000)).text == "1000"


@pytest.mark.parametrize("declared", [True, False])
def test_one_byte_more_is_refused(
    settings: Settings, files: dict[str, bytes], assert_problem: AssertProblem, declared: bool
) -> None:
    """Whether the body says its length or comes in chunks, the answer is 413 with the limit."""
    request = httpx.Request("POST", "http://test/inpaint", files=files)
    body = request.read()
    app = create_app(settings.model_copy(update={"max_request_bytes": len(body) - 1}))

    def chunks() -> Iterator[bytes]:
        yield body[:100]
        yield body[100:]

    with TestClient(app) as client:
        content_type = {"Content-Type": request.headers["content-type"]}
        response = client.post("/inpaint", content=body if declared else chunks(), headers=content_type)
    problem = assert_problem(response, 413)
    assert f"{len(body) - 1:,}" in problem["detail"]
    assert (f"{len(body):,}" in problem["detail"]) is declared


def test_nothing_is_read_beyond_the_limit() -> None:
    """A body without a declared length is not read on once it is too long."""
    read = 0

    async def receive() -> Message:
        nonlocal read
        read += 100
        return {"type": "http.request", "body": bytes(100), "more_body": True}

    async def send(message: Message) -> None:
        raise AssertionError("the application of this test answers nothing")

    with pytest.raises(Exception, match="1,000 bytes"):
        asyncio.run(limited(count_bytes)(dict(SCOPE), receive, send))
    assert read == 1100


def test_what_all_requests_hold_is_bounded(
    settings: Settings, files: dict[str, bytes], assert_problem: AssertProblem
) -> None:
    """A request that does not fit beside what is held is told to come back, with the limit."""
    app = create_app(settings.model_copy(update={"max_held_bytes": len(files["image"])}))
    with TestClient(app) as client:
        response = client.post("/inpaint", files=files)
        assert f"{len(files['image']):,} bytes" in assert_problem(response, 429)["detail"]
        assert int(response.headers["retry-after"]) >= 1
        assert client.post("/inpaint", files={"image": files["mask"]}).status_code == 422


class Room:
    """Limits around an application, and how much they let other requests hold meanwhile.

    The application answers "/held"; every other path is answered with the size of the request's body.
    """

    def __init__(self, application: ASGIApp, max_held_bytes: int) -> None:
        self._application = application
        self._max_held_bytes = max_held_bytes
        self._limits = RequestLimits(
            self._answer, max_request_bytes=1000, max_held_bytes=max_held_bytes, timeout_seconds=30
        )

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        application = self._application if scope["path"] == "/held" else count_bytes
        await application(scope, receive, send)

    async def _ask(self, path: str, size: int, send: Send) -> None:
        messages: list[Message] = [{"type": "http.request", "body": bytes(size)}]

        async def receive() -> Message:
            return messages.pop() if messages else await asyncio.Event().wait()

        await self._limits({**SCOPE, "path": path}, receive, send)

    async def require(self, size: int) -> None:
        """Just so many bytes have room now."""

        async def ignore(message: Message) -> None:
            pass

        await self._ask("/", size, ignore)
        if size < 1000:  # A larger request is refused for itself.
            with pytest.raises(HeldBytesError, match=f"{self._max_held_bytes:,} bytes"):
                await self._ask("/", size + 1, ignore)

    def send_900_bytes(self, room_before_each_next: int | None = None) -> list[bytes]:
        """The parts of the application's answer, after which there is room for 1,000 bytes.

        Args:
            room_before_each_next: how many bytes have room while a part is taken that is not the last.
        """
        parts: list[bytes] = []

        async def take(message: Message) -> None:
            parts.append(message.get("body", b""))
            if room_before_each_next is not None and message.get("more_body"):
                await self.require(room_before_each_next)

        async def scenario() -> None:
            await self._ask("/held", 900, take)
            await self.require(1000)

        asyncio.run(scenario())
        return parts


def test_a_requests_bytes_are_held_until_its_answer_is_there() -> None:
    """Meanwhile other requests have the rest of the room, and afterwards all of it."""

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        body = await Request(scope, receive).body()
        await room.require(100)
        await Response(str(len(body)))(scope, receive, send)

    room = Room(application, max_held_bytes=1000)
    assert b"".join(room.send_900_bytes()) == b"900"


def test_a_requests_bytes_are_held_to_the_end_of_a_stream() -> None:
    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        body = await Request(scope, receive).body()
        await StreamingResponse(parts(str(len(body))))(scope, receive, send)

    async def parts(content: str) -> AsyncIterator[str]:
        yield content[:1]
        await room.require(100)
        yield content[1:]

    room = Room(application, max_held_bytes=1000)
    assert b"".join(room.send_900_bytes()) == b"900"


def test_an_answers_bytes_are_held_until_it_is_taken() -> None:
    answer = bytes(range(256)) * 3000

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        await Request(scope, receive).body()
        await Response(answer)(scope, receive, send)

    parts = Room(application, max_held_bytes=len(answer)).send_900_bytes(room_before_each_next=0)
    assert b"".join(parts) == answer
    assert [len(part) for part in parts] == [0, PIECE_BYTES, PIECE_BYTES, len(answer) - 2 * PIECE_BYTES]


@pytest.mark.parametrize(("size", "status"), [(PIECE_BYTES, 200), (PIECE_BYTES + 1, 429)])
def test_a_large_answer_without_room_is_refused(
    assert_problem: AssertProblem, size: int, status: int
) -> None:
    """Instead of it comes a problem; what goes out in one piece, as health checks do, always goes."""

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        await Response(bytes(size))(scope, receive, send)

    response = ask(limited(answer, max_held_bytes=1000))
    if status == 200:
        assert len(response.content) == size
    else:
        assert "1,000 bytes" in assert_problem(response, status)["detail"]


@pytest.mark.parametrize(
    "parts", [[b"zip", bytes(PIECE_BYTES + 1), b"end"], [bytes(PIECE_BYTES + 1), b"end"]]
)
def test_a_stream_without_room_ends(parts: list[bytes]) -> None:
    """Before its first part it becomes a problem; later it is cut off, so that nobody takes it for whole."""
    sent: list[Message] = []

    async def stream(scope: Scope, receive: Receive, send: Send) -> None:
        async def content() -> AsyncIterator[bytes]:
            for part in parts:
                yield part

        await StreamingResponse(content())(scope, receive, send)

    async def receive() -> Message:
        return await asyncio.Event().wait()

    async def send(message: Message) -> None:
        sent.append(message)

    asyncio.run(asyncio.wait_for(limited(stream, max_held_bytes=1000)(dict(SCOPE), receive, send), 30))
    statuses = [message["status"] for message in sent if message["type"] == "http.response.start"]
    whole = not sent[-1].get("more_body", False)
    assert (statuses, whole) == (([200], False) if parts[0] == b"zip" else ([429], True))


PARTS = {
    "as many files as may be": (b'filename="f"', 1000, 0, 422),
    "one file too many": (b'filename="f"', 1001, 0, 400),
    "as many fields as may be": (b"", 32, 0, 422),
    "one field too many": (b"", 33, 0, 400),
    "a field of just the size": (b"", 1, 65_536, 422),
    "a field that is too large": (b"", 1, 65_537, 400),
    "a huge header of a part": (b'x="' + b"a" * 10_000 + b'"', 1, 0, 400),
    "many headers of a part": (b"\r\nX-A: b" * 20, 1, 0, 400),
}


@pytest.mark.parametrize("name", PARTS)
def test_parts_of_a_form_are_bounded(client: TestClient, assert_problem: AssertProblem, name: str) -> None:
    """Their number, the size of those that are no files, and their headers."""
    option, count, size, status = PARTS[name]
    part = b'--x\r\nContent-Disposition: form-data; name="other"; ' + option + b"\r\n\r\n" + b"a" * size
    body = (part + b"\r\n") * count + b"--x--\r\n"
    headers = {"Content-Type": "multipart/form-data; boundary=x"}
    problem = assert_problem(client.post("/inpaint", content=body, headers=headers), status)
    if status == 400:
        assert "1000 files, 32 other fields, or 65,536 bytes" in problem["detail"]


def test_a_form_in_the_address_notation_is_bounded_too(
    client: TestClient, assert_problem: AssertProblem
) -> None:
    """The other kind of form has the same limits."""
    assert_problem(client.post("/inpaint", data={f"field{number}": "a" for number in range(33)}), 400)
    assert_problem(client.post("/inpaint", data={"field": "a" * 65_537}), 400)


SCOPE: Scope = {"type": "http", "method": "POST", "path": "/", "headers": [], "query_string": b""}


def test_a_slow_answer_is_given_up(assert_problem: AssertProblem) -> None:
    """Past the deadline the client gets a 504 that names it."""
    response = ask(limited(never, timeout_seconds=0.5), content=b"x")
    assert "0.5 seconds" in assert_problem(response, 504)["detail"]


def test_a_slow_upload_is_given_up(assert_problem: AssertProblem) -> None:
    """A body that trickles in past the deadline gets a 408 that says how much had come."""

    async def trickle() -> Any:
        yield b"12345"
        await asyncio.sleep(60)

    response = ask(limited(count_bytes, timeout_seconds=0.5), content=trickle())
    assert "Only 5 bytes" in assert_problem(response, 408)["detail"]


def test_an_answer_that_has_begun_may_take_its_time() -> None:
    """The deadline is for the first byte; a slow reader still gets all of it."""

    async def stream(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await asyncio.sleep(1)
        await send({"type": "http.response.body", "body": b"late"})

    assert ask(limited(stream, timeout_seconds=0.5)).text == "late"


@pytest.mark.parametrize(("size", "taken"), [(10, False), (10 * LEAST_BYTES_PER_SECOND, True)])
def test_a_reader_has_time_by_the_length_of_the_answer(size: int, taken: bool) -> None:
    """The time of a request, and what the least rate takes; then the answer is not sent on."""
    sent: list[Message] = []

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        await Response(bytes(size))(scope, receive, send)

    async def receive() -> Message:
        return await asyncio.Event().wait()

    async def send(message: Message) -> None:
        if message["type"] == "http.response.body":
            await asyncio.sleep(1.5)
        sent.append(message)

    app = limited(answer, max_held_bytes=1_000_000, timeout_seconds=0.5)
    begin = time.monotonic()
    asyncio.run(app(dict(SCOPE), receive, send))
    assert sum(len(message.get("body", b"")) for message in sent) == (size if taken else 0)
    assert taken or time.monotonic() - begin >= 0.5
    assert [message.get("status") for message in sent[:1]] == [200]


def test_a_timeout_of_the_application_itself_is_not_ours() -> None:
    """A TimeoutError from inside is a failure like any other, not a deadline that passed."""

    async def fail(scope: Scope, receive: Receive, send: Send) -> None:
        raise TimeoutError("from inside")

    with pytest.raises(TimeoutError, match="from inside"):
        ask(limited(fail))


def test_work_for_a_client_that_has_left_is_cancelled() -> None:
    """When the connection closes before the answer begins, the request is cancelled and nothing is sent."""
    cancelled = threading.Event()
    messages: list[Message] = [{"type": "http.request", "body": b"x"}, {"type": "http.disconnect"}]

    async def work(scope: Scope, receive: Receive, send: Send) -> None:
        await Request(scope, receive).body()
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            cancelled.set()
            raise

    async def receive() -> Message:
        return messages.pop(0)

    async def send(message: Message) -> None:
        raise AssertionError("there is nobody to answer")

    asyncio.run(asyncio.wait_for(limited(work)(dict(SCOPE), receive, send), timeout=10))
    assert cancelled.is_set()


@pytest.mark.parametrize(
    ("path", "content_type"),
    [
        ("/inpaint", "multipart/form-data; boundary=x"),
        ("/api/v1/inpaint", "application/json"),
    ],
)
def test_an_upload_that_breaks_off_is_abandoned(
    settings: Settings, caplog: pytest.LogCaptureFixture, path: str, content_type: str
) -> None:
    """It is nobody's failure: no answer, no line of an error, and counted as the client's own decision."""
    messages: list[Message] = [
        {"type": "http.request", "body": b"--x\r\n", "more_body": True},
        {"type": "http.disconnect"},
    ]

    async def receive() -> Message:
        return messages.pop(0)

    async def send(message: Message) -> None:
        raise AssertionError("there is nobody to answer")

    async def scenario() -> str:
        app = create_app(settings)
        async with app.router.lifespan_context(app) as state:
            headers = [(b"content-type", content_type.encode())]
            scope = {**SCOPE, "path": path, "headers": headers, "state": state, "client": None}
            await app(scope, receive, send)
            return str(app.state.metrics.render(), "utf-8")

    rendered = asyncio.run(scenario())
    assert f'outcome="abandoned",path="{path}"' in rendered
    assert not [record for record in caplog.records if record.levelno > logging.INFO]


@pytest.mark.skipif(sys.platform != "linux", reason="looks for open files where Linux lists them")
@pytest.mark.parametrize("path", ["/inpaint", "/v1/images/edits", "/api/v1/inpaint"])
def test_uploads_are_gone_when_the_answer_goes_out(settings: Settings, to_bytes: Any, path: str) -> None:
    """They count no longer then, however long the answer is being read."""
    pixels = np.random.default_rng(0).integers(0, 256, (600, 600, 4), dtype=np.uint8)
    pixels[..., 3] = 255
    pixels[100:120, 100:120, 3] = 0
    image = to_bytes(Image.fromarray(pixels))
    text = base64.b64encode(image).decode()
    body: dict[str, Any] = {"files": {"image": image}}
    if path == "/api/v1/inpaint":
        body = {"json": {"image": text, "mask": text}}
    app = create_app(settings)
    uploads: dict[str, int] = {}

    def open_uploads() -> int:
        links = (os.path.realpath(link) for link in Path("/proc/self/fd").iterdir())
        return sum(link.startswith(tempfile.gettempdir()) and link.endswith("(deleted)") for link in links)

    async def watched(scope: Scope, receive: Receive, send: Send) -> None:
        async def send_noted(message: Message) -> None:
            uploads[message["type"]] = open_uploads()
            await send(message)

        await app(scope, receive, send_noted)

    with TestClient(watched) as client:
        before = open_uploads()
        assert client.post(path, **body).status_code == 200
    assert uploads["http.response.body"] == before


def test_other_protocols_pass() -> None:
    """Lifespan messages are none of the middlewares' business."""
    seen = []

    async def note(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(scope["type"])

    async def nothing() -> Message:
        return {}

    async def nowhere(message: Message) -> None:
        pass

    asyncio.run(limited(note)({"type": "lifespan"}, nothing, nowhere))
    assert seen == ["lifespan"]
