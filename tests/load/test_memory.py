"""Memory does not grow with the number of requests, of whatever size and kind they are."""

import os
import random
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest

from model_core.checkpoint import bundled_path

RunService = Callable[..., AbstractContextManager[Any]]
MakeRequest = Callable[..., dict[str, bytes]]
AskAll = Callable[..., list[httpx.Response]]
Megabytes = Callable[[int, str], float]

SMALL = ((64, 64), (300, 200), (512, 512), (800, 600), (1000, 1000), (1600, 1200))
LARGE = (*SMALL, (2000, 1500), (4000, 3000))
FORMATS = (("JPEG", False), ("PNG", False), ("WEBP", False), ("PNG", True))
CLIENTS = 16
MOST_GROWTH = 40
"""Megabytes, in the short form."""


class Asked(NamedTuple):
    """A request, and the status that it is to be answered with."""

    files: dict[str, bytes]
    status: int


def mixed(make_request: MakeRequest, sizes: Sequence[tuple[int, int]], count: int) -> list[Asked]:
    """Requests of all sizes and formats, most of them small ones; one in eight is bad."""
    weighted = [size for place, size in enumerate(sizes) for _ in range(len(sizes) - place)]
    good = [
        Asked(make_request(seed, *size, *FORMATS[seed % len(FORMATS)]), 200)
        for seed, size in enumerate(weighted)
    ]
    files = make_request(0, 300, 200)
    bad = [
        Asked({**files, "image": files["image"][:-1000]}, 422),
        Asked({**files, "mask": make_request(0, 64, 64)["mask"]}, 422),
        Asked({**files, "image": b"no picture at all"}, 415),
        Asked({**files, "mask": b""}, 400),
    ]
    order = random.Random(0)
    return [order.choice(bad if number % 8 == 7 else good) for number in range(count)]


@contextmanager
def run_leaking(checkpoint: Path) -> Iterator[tuple[str, int]]:
    """The address and the process id of a service that keeps its answers."""
    settings = {"CHECKPOINT": str(checkpoint), "DEVICE": "cpu", "PRECISION": "fp32", "THREADS": "1"}
    environment = os.environ | {f"INPAINT_{name}": value for name, value in settings.items()}
    # Who connects before the service is ready waits.
    with socket.create_server(("127.0.0.1", 0)) as listening:
        command = [sys.executable, str(Path(__file__).with_name("leaking.py")), str(listening.fileno())]
        process = subprocess.Popen(command, env=environment, pass_fds=[listening.fileno()])
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}", process.pid
        finally:
            process.kill()
            process.wait()


@pytest.fixture(scope="module")
def growth(ask_all: AskAll, megabytes: Megabytes) -> Callable[..., float]:
    """Send requests from 16 clients at once: by how many megabytes the process grew after the first."""

    def measure(url: str, pid: int, asked: Sequence[Asked], settling: int) -> float:
        resident = []
        for part in (asked[:settling], asked[settling:]):
            answers = ask_all(url, [request.files for request in part], CLIENTS)
            statuses = Counter(answer.status_code for answer in answers)
            wanted = [request.status for request in part]
            assert [answer.status_code for answer in answers] == wanted, statuses
            resident.append(megabytes(pid, "VmRSS"))
        print(
            f"{len(asked)} requests: {resident[0]:.0f} MB after {settling}, {resident[1]:.0f} MB at last, "
            f"{megabytes(pid, 'VmHWM'):.0f} MB at most"
        )
        return resident[1] - resident[0]

    return measure


@pytest.fixture(scope="module")
def small_requests(make_request: MakeRequest) -> list[Asked]:
    return mixed(make_request, SMALL, 120)


def test_memory_stays(
    run_service: RunService, growth: Callable[..., float], small_requests: list[Asked]
) -> None:
    """120 requests of up to 2 megapixels, the tiny generator."""
    with run_service() as service:
        assert growth(service.url, service.process.pid, small_requests, settling=60) < MOST_GROWTH


def test_a_leak_is_noticed(
    tiny_checkpoint: Path, growth: Callable[..., float], small_requests: list[Asked]
) -> None:
    """The same requests to a service that keeps its answers."""
    with run_leaking(tiny_checkpoint) as (url, pid):
        assert growth(url, pid, small_requests, settling=60) > MOST_GROWTH


@pytest.mark.long
def test_memory_stays_through_a_thousand_requests(
    run_service: RunService, growth: Callable[..., float], make_request: MakeRequest
) -> None:
    """Up to 12 megapixels, the bundled checkpoint."""
    asked = mixed(make_request, LARGE, 1000)
    with run_service(checkpoint=bundled_path(), precision="auto", threads=2) as service:
        assert growth(service.url, service.process.pid, asked, settling=100) < 100
