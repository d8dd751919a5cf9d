"""More clients than the service can serve: it serves what it can, refuses the rest at once, and recovers."""

import asyncio
import io
import re
import time
from collections import Counter
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import numpy as np
import pytest
from PIL import Image

from model_core.checkpoint import bundled_path

ToBytes = Callable[..., bytes]
RunService = Callable[..., AbstractContextManager[Any]]
QUEUE = 16
PICTURES = Path(__file__).parent.parent / "pictures"


class Answer(NamedTuple):
    """One answer: how long the client waited for it, and how much of that was work for it."""

    status: int
    latency_seconds: float
    work_seconds: float


def message(files: dict[str, bytes]) -> bytes:
    """The request as it goes over the connection."""
    request = httpx.Request("POST", "http://service/inpaint", files=files)
    body = request.read()
    head = "".join(f"{name}: {value}\r\n" for name, value in request.headers.items())
    return b"POST /inpaint HTTP/1.1\r\n" + head.encode() + b"\r\n" + body


async def keep_asking(port: int, request: bytes, until: float, answers: list[Answer]) -> None:
    """One client on one connection: it asks, waits for the answer, and asks again; when refused, later."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    while time.monotonic() < until:
        begin = time.monotonic()
        writer.write(request)
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        await reader.readexactly(int(head.split(b"content-length: ")[1].split()[0]))
        status = int(head.split()[1])
        work = sum(float(value) for value in re.findall(rb"(?:decode|inference|encode);dur=([\d.]+)", head))
        answers.append(Answer(status, time.monotonic() - begin, work / 1000))
        if status != 200:
            await asyncio.sleep(int(head.split(b"retry-after: ")[1].split()[0]))
    writer.close()


def overload(
    service: Any, files: dict[str, bytes], clients: int, seconds: float, slack_seconds: float
) -> None:
    """Ask from many connections at once, and compare with what the line promises."""
    request = message(files)
    answers: list[Answer] = []
    resident: list[float] = []

    async def crowd() -> None:
        until = time.monotonic() + seconds
        asking = [keep_asking(service.port, request, until, answers) for _ in range(clients)]

        async def watch() -> None:
            while time.monotonic() < until:
                await asyncio.sleep(seconds / 20)
                resident.append(service.resident_megabytes())

        await asyncio.gather(*asking, watch())

    begin = time.monotonic()
    asyncio.run(asyncio.wait_for(crowd(), timeout=seconds + 60))
    took = time.monotonic() - begin
    statuses = Counter(answer.status for answer in answers)
    served = [answer for answer in answers if answer.status == 200]
    median, p95 = np.percentile([answer.latency_seconds for answer in served], [50, 95])
    work = np.percentile([answer.work_seconds for answer in served], 95)
    early = resident[len(resident) // 3]
    begin = time.monotonic()
    assert httpx.post(f"{service.url}/inpaint", files=files).status_code == 200
    afterwards = time.monotonic() - begin
    print(
        f"{clients} connections, {took:.0f} s: {dict(statuses)}, {len(served) / took:.1f} served a second; "
        f"median {median:.2f} s, p95 {p95:.2f} s (of the work for one {work:.2f} s), "
        f"one afterwards {afterwards:.2f} s; "
        f"memory {early:.0f} MB after a third of the time, {resident[-1]:.0f} MB at last"
    )
    assert set(statuses) == {200, 429}
    # Before a request that is let in are at most QUEUE in the line and one in work.
    assert p95 < 1.2 * (QUEUE + 2) * work + slack_seconds
    assert resident[-1] < early + 50
    assert afterwards < 3 * work + slack_seconds
    assert "Traceback" not in service.log.read_text()


def test_overload(run_service: RunService, files: dict[str, bytes]) -> None:
    """Forty connections, five seconds, the tiny generator."""
    with run_service(max_queued_requests=QUEUE) as service:
        overload(service, files, clients=40, seconds=5, slack_seconds=2.5)


@pytest.mark.long
def test_overload_of_the_bundled_model(run_service: RunService, to_bytes: ToBytes) -> None:
    """Two hundred connections, a minute, the bundled checkpoint and a photograph."""
    photo = (PICTURES / "dog.jpg").read_bytes()
    width, height = Image.open(io.BytesIO(photo)).size
    hole = np.zeros((height, width), dtype=np.uint8)
    hole[height // 3 : height // 2, width // 3 : width // 2] = 255
    files = {"image": photo, "mask": to_bytes(Image.fromarray(hole))}
    settings = {"checkpoint": bundled_path(), "precision": "auto", "threads": 2}
    with run_service(max_queued_requests=QUEUE, **settings) as service:
        overload(service, files, clients=200, seconds=60, slack_seconds=0.5)
