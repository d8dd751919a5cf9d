"""Fixtures that every package's tests share: one tiny real generator and its checkpoint."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import torch

from model_core.checkpoint import CheckpointInfo, save_checkpoint
from model_core.config import GeneratorConfig
from model_core.networks import Generator

START_SECONDS = 120


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


@pytest.fixture(scope="session")
def service_url(tiny_checkpoint: Path) -> Iterator[str]:
    """The address of a real process that serves the tiny checkpoint."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    settings = {
        "checkpoint": tiny_checkpoint,
        "port": port,
        "device": "cpu",
        "precision": "fp32",
        "threads": 1,
    }
    environment = os.environ | {f"INPAINT_{name.upper()}": str(value) for name, value in settings.items()}
    process = subprocess.Popen([sys.executable, "-m", "app"], env=environment, stderr=subprocess.DEVNULL)
    try:
        _wait_until_ready(f"http://127.0.0.1:{port}", process)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait()


def _wait_until_ready(url: str, process: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        try:
            if httpx.get(f"{url}/health/ready").status_code == 200:
                return
        except httpx.TransportError:
            time.sleep(0.1)
    raise AssertionError(f"the service of the tests did not become ready within {START_SECONDS} seconds")
