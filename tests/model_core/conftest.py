"""Fixtures of model_core's tests: one Inpainter around the tiny generator."""

import pytest
import torch

from model_core.inpainter import Inpainter
from model_core.networks import Generator


@pytest.fixture(scope="session")
def inpainter(tiny_generator: Generator) -> Inpainter:
    return Inpainter(tiny_generator, [torch.device("cpu")], torch.float32)
