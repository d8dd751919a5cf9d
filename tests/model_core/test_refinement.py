"""The refinement network."""

import torch
from torch import nn
from torch.nn import functional as F

from model_core.networks.refinement import _convolve_folded


def test_folded_pixels_are_convolved_as_if_they_were_channels() -> None:
    """One convolution instead of a rearrangement and a convolution, to the edges."""
    torch.manual_seed(0)
    layer, image = nn.Conv2d(12, 5, 3, padding=1), torch.randn(2, 3, 16, 24)
    torch.testing.assert_close(_convolve_folded(layer, image), layer(F.pixel_unshuffle(image, 2)))
