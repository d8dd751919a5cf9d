"""Fixtures for every package: one tiny real generator, its checkpoint, and processes that serve it."""

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path

import httpx
import pytest
import torch

from model_core.checkpoint import CheckpointInfo, save_checkpoint
from model_core.config import GeneratorConfig
from model_core.devices import computes_bf16, computes_int8
from model_core.fork_server import ForkedProcess
from model_core.networks import Generator

START_SECONDS = 120


@pytest.fixture(scope="session")
def require_native() -> Callable[[str], None]:
    """Skip the test unless this CPU computes a precision natively; there is no way to make it."""

    def require(precision: str) -> None:
        native = {"int8": computes_int8, "bf16": computes_bf16}.get(precision)
        if native and not native(torch.cpu.get_capabilities()):
            pytest.skip(f"this CPU does not compute {precision} natively")

    return require


@pytest.fixture
def int8(require_native: Callable[[str], None]) -> None:
    """For tests of whole numbers of 8 bits."""
    require_native("int8")


@pytest.fixture(scope="session")
def find_command() -> Callable[..., str]:
    """The path of the first of some commands that is installed.

    Where there is none the test is skipped, or fails where CI=true promises one.
    """

    def find(*names: str) -> str:
        path = next(filter(None, map(shutil.which, names)), None)
        if path is None:
            missing = f"none of {', '.join(names)} is installed"
            if os.environ.get("CI") == "true":
                pytest.fail(missing)
            pytest.skip(missing)
        return path

    return find


@pytest.fixture(scope="session")
def tiny_generator() -> Generator:
    torch.manual_seed(0)
    return Generator(GeneratorConfig.tiny()).eval()


@pytest.fixture(scope="session")
def tiny_checkpoint(tiny_generator: Generator, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("checkpoints") / "tiny.safetensors"
    info = CheckpointInfo(
        name="tiny",
        steps=0,
        samples=0,
        provenance="random weights",
        scores={},
        created="2026-01-01T00:00:00+00:00",
    )
    save_checkpoint(path, tiny_generator, info)
    return path


class ForkedThread(ForkedProcess):
    """What a fork would do, done by a thread. Killed, it is cut off."""

    def __init__(self, work: Callable[[Connection], None]) -> None:
        self.connection, theirs = Pipe()

        def run() -> None:
            with theirs:  # a process that ends has hung up
                work(theirs)

        threading.Thread(target=run, daemon=True).start()

    def kill(self) -> None:
        with socket.socket(fileno=os.dup(self.connection.fileno())) as ours:
            ours.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        with contextlib.suppress(OSError):  # it has hung up
            self.kill()
        self.connection.close()


@pytest.fixture(scope="session")
def fork_thread() -> Callable[[Callable[[Connection], None]], ForkedProcess]:
    """Have a thread do what a forked process would."""
    return ForkedThread


@dataclass(frozen=True)
class Service:
    """A running process of the service, and the file that its output goes to."""

    url: str
    port: int
    process: "subprocess.Popen[bytes]"
    log: Path

    def resident_megabytes(self) -> float:
        """The memory that the process holds, as Linux counts it."""
        lines = Path(f"/proc/{self.process.pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) / 1000 for line in lines if line.startswith("VmRSS:"))

    def wait_until_ready(self) -> None:
        """Until the first real inference has succeeded."""
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            assert self.process.poll() is None, self.log.read_text()
            try:
                if httpx.get(f"{self.url}/health/ready").status_code == 200:
                    return
            except httpx.TransportError:
                time.sleep(0.1)
        raise AssertionError(f"the service was not ready within {START_SECONDS} seconds")


@pytest.fixture(scope="session")
def run_service(
    tiny_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., AbstractContextManager[Service]]:
    """Run `python -m app` with the settings given by name, until the block ends."""

    @contextmanager
    def running(**settings: object) -> Iterator[Service]:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = int(probe.getsockname()[1])
        defaults = {
            "checkpoint": tiny_checkpoint,
            "port": port,
            "device": "cpu",
            "precision": "fp32",
            "threads": 1,
        }
        wanted = {**defaults, **settings}
        environment = os.environ | {f"INPAINT_{name.upper()}": str(value) for name, value in wanted.items()}
        # A file, since a pipe that nobody reads would stop the service when it is full.
        log = tmp_path_factory.mktemp("service") / "log"
        with open(log, "wb") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", "app"], env=environment, stdout=output, stderr=output
            )
        service = Service(f"http://127.0.0.1:{wanted['port']}", int(str(wanted["port"])), process, log)
        try:
            service.wait_until_ready()
            yield service
        finally:
            process.kill()
            process.wait()

    return running


@pytest.fixture(scope="session")
def service_url(run_service: Callable[..., AbstractContextManager[Service]]) -> Iterator[str]:
    """The address of a real process that serves the tiny checkpoint."""
    with run_service() as service:
        yield service.url
