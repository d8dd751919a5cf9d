"""The generator on one device."""

import numpy as np
import torch

from model_core.networks import Generator
from model_core.predictor import Predictor


def test_sources_are_pixels_of_the_padded_crop(tiny_generator: Generator) -> None:
    """The crop is mirrored at bottom and right for the generator's sake, up to multiples of 32."""
    rng = np.random.default_rng(0)
    crops, holes = rng.random((2, 70, 40, 3), dtype=np.float32), np.zeros((2, 70, 40), dtype=bool)
    holes[:, 20:] = True

    fills = Predictor(tiny_generator, torch.device("cpu"), torch.float32).predict(crops, holes)

    for fill, crop in zip(fills, crops, strict=True):
        assert fill.colours.shape == crop.shape
        assert fill.source.shape == (2, 70, 40)
        assert fill.source.min() >= 0
        assert fill.source[0].max() < 96
        assert fill.source[1].max() < 64
