"""Fixtures that every package's tests share: one tiny real generator and its checkpoint."""

from pathlib import Path

import pytest
import torch

from model_core.checkpoint import CheckpointInfo, save_checkpoint
from model_core.config import GeneratorConfig
from model_core.networks import Generator


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
