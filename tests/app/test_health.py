"""The health checks tell the truth about the model behind them."""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi.testclient import TestClient

from app.main import create_app
from app.settings import Settings
from model_core.errors import CheckpointError
from model_core.inpainter import Inpainter, Predict
from model_core.networks import Generator

AssertProblem = Callable[[httpx.Response, int], dict[str, Any]]


@pytest.mark.parametrize("path", ["/health", "/health/ready"])
def test_a_loaded_service_is_healthy(
    client: TestClient, tiny_checkpoint: Path, tiny_generator: Generator, path: str
) -> None:
    """Health names the checkpoint by its bytes, the device, and the line."""
    response = client.get(path)
    assert response.status_code == 200
    assert response.headers["cache-control"] == "no-store"
    health = response.json()
    assert health["status"] == "ok"
    assert health["model"] == {
        "name": "tiny",
        "sha256": hashlib.sha256(tiny_checkpoint.read_bytes()).hexdigest(),
        "parameters": sum(parameter.numel() for parameter in tiny_generator.parameters()),
        "steps": 0,
    }
    assert (health["device"], health["precision"]) == ("cpu", "fp32")
    assert health["queue"] == {"running": 0, "waiting": 0, "capacity": 64}
    assert health["uptime_seconds"] >= 0
    assert health["version"]


@pytest.mark.parametrize("path", ["/health", "/health/ready"])
def test_a_service_without_a_model_is_not(
    settings: Settings, assert_problem: AssertProblem, path: str
) -> None:
    """Before the model is loaded health says so, while the process is alive."""
    starting = TestClient(create_app(settings))
    assert "not loaded" in assert_problem(starting.get(path), 503)["detail"]
    assert starting.get("/health/live").json() == {"status": "ok"}


def test_inpaint_without_a_model_is_not_ready(
    settings: Settings, files: dict[str, bytes], assert_problem: AssertProblem
) -> None:
    """A request that comes too early is told to come back."""
    response = TestClient(create_app(settings)).post("/inpaint", files=files)
    assert_problem(response, 503)
    assert response.headers["retry-after"]


def test_a_missing_checkpoint_stops_the_start(tmp_path: Path) -> None:
    """The service does not start to answer 503 for ever."""
    settings = Settings(checkpoint=tmp_path / "none.safetensors")
    with pytest.raises(CheckpointError, match=r"none\.safetensors"), TestClient(create_app(settings)):
        pass


class SilentInpainter(Inpainter):
    """A model that cannot answer its first tiny request."""

    def warm_up(self, *predict: Predict) -> None:
        raise FloatingPointError("not finite")


def test_a_model_that_fails_its_first_inference_stops_the_start(settings: Settings) -> None:
    """Nothing is served by a model that has not answered once."""
    inpainter = SilentInpainter.from_checkpoint(settings.checkpoint, device="cpu")
    with pytest.raises(FloatingPointError), TestClient(create_app(settings, inpainter)):
        pass
