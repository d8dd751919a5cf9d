"""The generator on one device."""

import numpy as np
import torch

from model_core.geometry import unpad_indices
from model_core.networks import Generator
from model_core.predictor import Predictor


def test_sources_are_pixels_of_the_crop(tiny_generator: Generator) -> None:
    """Or of the border that is mirrored around it for the generator's sake, which shows the crop too."""
    rng = np.random.default_rng(0)
    crops, holes = rng.random((2, 70, 40, 3), dtype=np.float32), np.zeros((2, 70, 40), dtype=bool)
    holes[:, 20:] = True

    fills = Predictor(tiny_generator, torch.device("cpu"), torch.float32).predict(crops, holes)

    for fill, crop in zip(fills, crops, strict=True):
        assert fill.colours.shape == crop.shape
        assert fill.source.shape == (2, 70, 40)
        rows, columns = unpad_indices(fill.source[0], 70), unpad_indices(fill.source[1], 40)
        assert min(rows.min(), columns.min()) >= 0
        assert rows.max() < 70
        assert columns.max() < 40
