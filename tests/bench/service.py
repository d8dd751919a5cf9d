"""The service under load: a process of its own on loopback, and clients in threads."""

import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import numpy as np

from .cases import Case

STAGES = ("decode", "queue", "inference", "encode")


@dataclass(frozen=True)
class Service:
    """A running service."""

    url: str
    pid: int
    ready_seconds: float

    def peak_megabytes(self) -> float:
        """The most memory that the process has held at once so far, resident, and what its forks add now."""
        peak = _kilobytes(f"/proc/{self.pid}/status", "VmHWM")
        return (
            peak + sum(_kilobytes(f"/proc/{pid}/smaps_rollup", "Private_") for pid in self._forks())
        ) / 1024

    def _forks(self) -> list[int]:
        parents = [self.pid]
        for parent in parents:
            for thread in Path(f"/proc/{parent}/task").iterdir():
                parents += map(int, (thread / "children").read_text().split())
        return parents[1:]


def _kilobytes(path: str, name: str) -> int:
    lines = Path(path).read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith(name))


@dataclass(frozen=True)
class Load:
    """What came of a number of requests: seconds a request, requests a second, mean milliseconds a stage."""

    p50_seconds: float
    p95_seconds: float
    requests_per_second: float
    stages: dict[str, float]


@contextmanager
def running() -> Iterator[Service]:
    """The service with its default settings on a free port of the loopback."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    start = time.perf_counter()
    environment = {**os.environ, "INPAINT_PORT": str(port), "INPAINT_LOG_LEVEL": "warning"}
    process = subprocess.Popen([sys.executable, "-m", "app"], env=environment)
    try:
        url = f"http://127.0.0.1:{port}"
        _wait_until_ready(url, process)
        yield Service(url, process.pid, time.perf_counter() - start)
    finally:
        process.terminate()
        process.wait(timeout=60)


def _wait_until_ready(url: str, process: subprocess.Popen[bytes]) -> None:
    while process.poll() is None:
        try:
            if httpx.get(f"{url}/health").status_code == httpx.codes.OK:
                return
        except httpx.TransportError:
            time.sleep(0.05)
    sys.exit("the service has not started")


def drive(service: Service, cases: list[Case], form: dict[str, str], requests: int, concurrency: int) -> Load:
    """Send `requests` requests, `concurrency` at a time; any answer but 200 ends the benchmark."""
    seconds, stages = [], []
    with httpx.Client(timeout=300, limits=httpx.Limits(max_connections=concurrency)) as client:

        def ask(index: int) -> None:
            case = cases[index % len(cases)]
            files = {"image": case.image_file, "mask": case.mask_file}
            start = time.perf_counter()
            response = client.post(f"{service.url}/inpaint", files=files, data=form)
            seconds.append(time.perf_counter() - start)
            response.raise_for_status()
            stages.append(
                [float(ms) for ms in re.findall(r"dur=([\d.]+)", response.headers["Server-Timing"])]
            )

        for index in range(2):
            ask(index)  # connections, and kernels for new shapes
        seconds.clear()
        stages.clear()
        start = time.perf_counter()
        with ThreadPoolExecutor(concurrency) as pool:
            list(pool.map(ask, range(requests)))
        elapsed = time.perf_counter() - start
    return Load(
        float(np.median(seconds)),
        float(np.percentile(seconds, 95)),
        requests / elapsed,
        dict(zip(STAGES, np.mean(stages, axis=0), strict=True)),
    )
