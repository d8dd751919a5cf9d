"""More clients than the service can serve: it serves what it can, refuses the rest at once, and recovers."""

import asyncio
import time
from collections import Counter
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image

from model_core.checkpoint import bundled_path

ToBytes = Callable[..., bytes]
Running = Callable[..., AbstractContextManager[Any]]
QUEUE = 16
PICTURES = Path(__file__).parent.parent / "pictures"


def message(files: dict[str, bytes]) -> bytes:
    """The request as it goes over the connection."""
    request = httpx.Request("POST", "http://service/inpaint", files=files)
    body = request.read()
    head = "".join(f"{name}: {value}\r\n" for name, value in request.headers.items())
    return b"POST /inpaint HTTP/1.1\r\n" + head.encode() + b"\r\n" + body


async def keep_asking(port: int, request: bytes, until: float, answers: list[tuple[int, float]]) -> None:
    """One client on one connection: it asks, waits for the answer, and asks again; after a refusal, later."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    while time.monotonic() < until:
        begin = time.monotonic()
        writer.write(request)
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        await reader.readexactly(int(head.split(b"content-length: ")[1].split()[0]))
        status = int(head.split()[1])
        answers.append((status, time.monotonic() - begin))
        if status != 200:
            await asyncio.sleep(0.5)
    writer.close()


def overload(service: Any, files: dict[str, bytes], clients: int, seconds: float) -> None:
    """Ask from many connections at once, and compare with what the line promises."""
    request = message(files)
    answers: list[tuple[int, float]] = []
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
    statuses = Counter(status for status, _ in answers)
    served = sorted(latency for status, latency in answers if status == 200)
    interval = took / len(served)
    p95 = served[int(0.95 * len(served))]
    early = resident[len(resident) // 3]
    begin = time.monotonic()
    assert httpx.post(f"{service.url}/inpaint", files=files).status_code == 200
    afterwards = time.monotonic() - begin
    print(
        f"{clients} connections, {took:.0f} s: {dict(statuses)}, one served every {1000 * interval:.0f} ms; "
        f"median {served[len(served) // 2]:.2f} s, p95 {p95:.2f} s, one afterwards {afterwards:.2f} s; "
        f"memory {early:.0f} MB after a third of the time, {resident[-1]:.0f} MB at last"
    )
    assert set(statuses) == {200, 429}
    # In the line are at most QUEUE, before them one or two in work.
    assert p95 < 1.5 * (QUEUE + 2) * interval + 0.5
    assert resident[-1] < early + 50
    assert afterwards < 3 * interval + 0.5
    assert "Traceback" not in service.log.read_text()


def test_overload(running: Running, files: dict[str, bytes]) -> None:
    """Forty connections, five seconds, the tiny generator."""
    with running(max_queued_requests=QUEUE) as service:
        overload(service, files, clients=40, seconds=5)


@pytest.mark.long
def test_overload_of_the_bundled_model(running: Running, to_bytes: ToBytes) -> None:
    """Two hundred connections, a minute, the bundled checkpoint and a photograph."""
    photo = Image.open(PICTURES / "dog.jpg")
    hole = np.zeros((photo.height, photo.width), dtype=np.uint8)
    hole[photo.height // 3 : photo.height // 2, photo.width // 3 : photo.width // 2] = 255
    files = {"image": (PICTURES / "dog.jpg").read_bytes(), "mask": to_bytes(Image.fromarray(hole))}
    settings = {"checkpoint": bundled_path(), "precision": "auto", "threads": 2}
    with running(max_queued_requests=QUEUE, **settings) as service:
        overload(service, files, clients=200, seconds=60)
