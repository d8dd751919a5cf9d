"""Fixtures of model_core's tests: one Inpainter around the tiny generator, and square holes."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from model_core.inpainter import Inpainter
from model_core.networks import Generator


@pytest.fixture(scope="session")
def inpainter(tiny_generator: Generator) -> Inpainter:
    return Inpainter(tiny_generator, [torch.device("cpu")], torch.float32)


@pytest.fixture(scope="session")
def square_hole() -> Callable[[int, int, int], Tensor]:
    """Makes masks of a size, (1, 1, size, size), with a hole in rows and columns [start, end)."""

    def make(size: int, start: int, end: int) -> Tensor:
        mask = torch.zeros(1, 1, size, size)
        mask[..., start:end, start:end] = 1
        return mask

    return make
