"""When memory runs out one request is told so, and the next ones are answered."""

from collections.abc import Callable
from typing import Any

import httpx
import numpy as np
import pytest
import torch
from fastapi.testclient import TestClient

from app.main import create_app
from app.settings import Settings
from model_core.checkpoint import load_checkpoint
from model_core.inpainter import Inpainter
from model_core.networks import Generator

AssertProblem = Callable[[httpx.Response, int], dict[str, Any]]


class Greedy(Generator):
    """The tiny generator, which once asks for more memory than any machine has."""

    allocate: Callable[[], object] | None = None

    def forward(self, image: torch.Tensor, mask: torch.Tensor) -> Any:
        if self.allocate:
            allocate, self.allocate = self.allocate, None
            allocate()
        return super().forward(image, mask)


def of_torch() -> object:
    return torch.empty(1 << 60, dtype=torch.uint8)


def of_numpy() -> object:
    return np.empty(1 << 60, dtype=np.uint8)


def of_python() -> object:
    return bytearray(1 << 62)


@pytest.mark.parametrize("allocate", [of_torch, of_numpy, of_python])
def test_a_failed_allocation_is_a_503(
    settings: Settings,
    files: dict[str, bytes],
    assert_problem: AssertProblem,
    allocate: Callable[[], object],
) -> None:
    """The client is told to come back, in our own words; then the same request gets the usual bytes."""
    loaded = load_checkpoint(settings.checkpoint)
    greedy = Greedy(loaded.generator.config)
    greedy.load_state_dict(loaded.generator.state_dict())
    inpainter = Inpainter(greedy, [torch.device("cpu")], torch.float32, loaded.info, loaded.sha256)
    with TestClient(create_app(settings, inpainter)) as client:
        before = client.post("/inpaint", files=files)
        assert before.status_code == 200
        greedy_copy = inpainter.predictors[0]._generator
        assert isinstance(greedy_copy, Greedy)
        greedy_copy.allocate = allocate
        response = client.post("/inpaint", files=files)
        problem = assert_problem(response, 503)
        assert problem["type"] == "urn:inpainting:problem:out-of-memory"
        assert "alloc" not in problem["detail"].lower()
        assert int(response.headers["retry-after"]) >= 1
        after = client.post("/inpaint", files=files)
        assert (after.status_code, after.content) == (200, before.content)
