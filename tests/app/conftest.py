"""Fixtures of the service's tests: small pictures, one running application on a tiny real checkpoint."""

import io
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image

from app.main import create_app
from app.settings import Settings

ToBytes = Callable[..., bytes]
AssertProblem = Callable[[httpx.Response, int], dict[str, Any]]
START_SECONDS = 60


@dataclass(frozen=True)
class Service:
    """A running process of the service, and where its log goes."""

    url: str
    port: int
    process: "subprocess.Popen[str]"
    log: Path

    def resident_megabytes(self) -> float:
        """The memory that the process holds, as Linux counts it."""
        (line,) = (
            line
            for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines()
            if line.startswith("VmRSS:")
        )
        return int(line.split()[1]) / 1000

    def wait_until_ready(self) -> None:
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
def to_bytes() -> ToBytes:
    """Encode a picture as a file's bytes, by default as PNG."""

    def encode(image: Image.Image, file_format: str = "PNG", **options: Any) -> bytes:
        buffer = io.BytesIO()
        image.save(buffer, file_format, **options)
        return buffer.getvalue()

    return encode


@pytest.fixture(scope="session")
def photo() -> Image.Image:
    """96 x 64 pixels of colour that differs everywhere, with some noise."""
    rows, columns = np.mgrid[0:64, 0:96]
    smooth = np.stack([rows * 3, columns * 2, 255 - rows - columns], axis=-1)
    noise = np.random.default_rng(0).integers(0, 20, smooth.shape)
    return Image.fromarray(np.clip(smooth + noise, 0, 255).astype(np.uint8))


@pytest.fixture(scope="session")
def hole() -> np.ndarray:
    """(64, 96) bool: a box of 20 x 30 pixels is to be filled."""
    hole = np.zeros((64, 96), dtype=bool)
    hole[20:40, 30:60] = True
    return hole


@pytest.fixture(scope="session")
def mask(hole: np.ndarray) -> Image.Image:
    """The hole as a picture: white = fill."""
    return Image.fromarray(hole.astype(np.uint8) * 255)


@pytest.fixture(scope="session")
def files(photo: Image.Image, mask: Image.Image, to_bytes: ToBytes) -> dict[str, bytes]:
    """The file fields of a good request."""
    return {"image": to_bytes(photo), "mask": to_bytes(mask)}


@pytest.fixture(scope="session")
def settings(tiny_checkpoint: Path) -> Settings:
    return Settings(checkpoint=tiny_checkpoint, device="cpu", precision="fp32")


@pytest.fixture(scope="session")
def client(settings: Settings) -> Iterator[TestClient]:
    """A client of one application that serves all tests: bad requests of one must not disturb another."""
    with TestClient(create_app(settings)) as client:
        yield client


@pytest.fixture(scope="session")
def assert_problem() -> AssertProblem:
    """Check that a response is a complete problem+json of the given status, and return it."""

    def check(response: httpx.Response, status: int) -> dict[str, Any]:
        assert response.status_code == status, response.text
        assert response.headers["content-type"] == "application/problem+json"
        problem = response.json()
        assert {"type", "title", "status", "detail", "instance", "request_id"} <= problem.keys()
        assert problem["status"] == status
        assert problem["request_id"] == response.headers["x-request-id"]
        assert problem["title"]
        assert problem["detail"]
        assert "Traceback" not in response.text
        return problem

    return check


@pytest.fixture(scope="session")
def start() -> Callable[..., "subprocess.Popen[str]"]:
    """Start `python -m app` with settings by their names; whoever starts it ends it."""

    def start(output: Any = subprocess.PIPE, **settings: object) -> "subprocess.Popen[str]":
        variables = {f"INPAINT_{name.upper()}": str(value) for name, value in settings.items()}
        return subprocess.Popen(
            [sys.executable, "-m", "app"],
            env=os.environ | variables,
            stdout=output,
            stderr=output,
            text=True,
        )

    return start


@pytest.fixture(scope="session")
def running(
    start: Callable[..., "subprocess.Popen[str]"],
    tiny_checkpoint: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Callable[..., AbstractContextManager[Service]]:
    """A process of the service on the tiny checkpoint and a free port, until the end of a `with` block."""

    @contextmanager
    def running(**settings: object) -> Iterator[Service]:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = int(probe.getsockname()[1])
        defaults = {"checkpoint": tiny_checkpoint, "device": "cpu", "precision": "fp32", "threads": 1}
        log = tmp_path_factory.mktemp("service") / "log"
        with log.open("w") as file:
            process = start(output=file, **{**defaults, "port": port, **settings})
        service = Service(f"http://127.0.0.1:{port}", port, process, log)
        try:
            service.wait_until_ready()
            yield service
        finally:
            process.kill()
            process.wait()

    return running
