"""Fixtures of training's tests: a folder of small photographs and the smallest real run."""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from model_core.config import GeneratorConfig
from training.config import TrainConfig

Configure = Callable[..., TrainConfig]


def make_photograph(seed: int, width: int, height: int) -> Image.Image:
    """Coarse colours with fine noise on top: something to learn, and something that cannot be learned."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (5, 6, 3), dtype=np.uint8))
    smooth = np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC), dtype=np.float64)
    return Image.fromarray(np.clip(smooth + rng.normal(0, 12, smooth.shape), 0, 255).astype(np.uint8))


@pytest.fixture(scope="session")
def photographs_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """24 small photographs in two layers of folders."""
    folder = tmp_path_factory.mktemp("photographs")
    (folder / "more").mkdir()
    for index in range(24):
        place = folder / "more" if index % 3 else folder
        make_photograph(index, 96 + index, 80).save(place / f"photo{index:02}.jpg", quality=95)
    return folder


@pytest.fixture
def configure(photographs_folder: Path, tmp_path: Path) -> Configure:
    """Builds the configuration of a run of seconds; keyword arguments change its fields."""

    def build(**changes: object) -> TrainConfig:
        values = {
            "data": str(photographs_folder),
            "run": str(tmp_path / "run"),
            "device": "cpu",
            "precision": "fp32",
            "threads": 1,
            "total_samples": 16,
            "batch_size": 2,
            "crop_size": 64,
            "validation_share": 0.2,
            "log_every_steps": 1,
            "reconstruction_share": 0.25,
            "generator": GeneratorConfig.tiny().to_dict(),
            "discriminator": {"width": 4, "layers": 2},
            "losses": {"perceptual": 0},
        }
        return TrainConfig.from_dict(values | changes)

    return build


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Networks of this size are slower on several threads."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
