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
LARGE = (*SMALL * 4, (2000, 1500), (4000, 3000))
FORMATS = (("JPEG", False), ("PNG", False), ("WEBP", False), ("PNG", True))
CLIENTS = 16
MOST_GROWTH = 80
"""Megabytes, in the short form: when requests of other sizes meet, 50 more may be held once, and kept."""


class Asked(NamedTuple):
    """A request, and the status that it is to be answered with."""

    files: dict[str, bytes]
    status: int


def mixed(make_request: MakeRequest, sizes: Sequence[tuple[int, int]], count: int) -> list[Asked]:
    """Requests of these sizes, as often as they are listed, in all formats; one in eight is bad."""
    good = [
        Asked(make_request(seed, *size, *FORMATS[seed % len(FORMATS)]), 200)
        for seed, size in enumerate(sizes)
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
    """The address and the process id of a service that keeps its requests and answers."""
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
    """Send requests, 16 at once, with a pause after every part: by how many megabytes the process grew.

    The first part goes twice, so that what is allocated once is there when the growth begins.
    """

    def measure(url: str, pid: int, asked: Sequence[Asked], part: int) -> float:
        resident = []
        for start in (0, *range(0, len(asked), part)):
            requests = asked[start : start + part]
            answers = ask_all(url, [request.files for request in requests], CLIENTS)
            statuses = [answer.status_code for answer in answers]
            assert statuses == [request.status for request in requests], Counter(statuses)
            resident.append(megabytes(pid, "VmRSS"))
        readings = ", ".join(f"{reading:.0f}" for reading in resident)
        print(
            f"{len(asked)} requests, after every {part}: {readings} MB; {megabytes(pid, 'VmHWM'):.0f} at most"
        )
        # What the allocator keeps for later goes up and down; a leak raises the lowest of several readings.
        return min(resident[-3:]) - resident[1]

    return measure


@pytest.fixture(scope="module")
def small_requests(make_request: MakeRequest) -> list[Asked]:
    return mixed(make_request, SMALL, 120)


def test_memory_stays(
    run_service: RunService, growth: Callable[..., float], small_requests: list[Asked]
) -> None:
    """120 requests of up to 2 megapixels, the tiny generator."""
    with run_service() as service:
        assert growth(service.url, service.process.pid, small_requests, part=20) < MOST_GROWTH


def test_a_leak_is_noticed(
    tiny_checkpoint: Path, growth: Callable[..., float], small_requests: list[Asked]
) -> None:
    """The same requests to a service that keeps them and its answers."""
    with run_leaking(tiny_checkpoint) as (url, pid):
        assert growth(url, pid, small_requests, part=20) > MOST_GROWTH


@pytest.mark.long
def test_memory_stays_through_a_thousand_requests(
    run_service: RunService, growth: Callable[..., float], make_request: MakeRequest
) -> None:
    """Up to 12 megapixels, the bundled checkpoint."""
    asked = mixed(make_request, LARGE, 1000)
    with run_service(checkpoint=bundled_path(), precision="auto", threads=2) as service:
        assert growth(service.url, service.process.pid, asked, part=100) < 100
