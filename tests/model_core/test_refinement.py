"""The refinement network."""

import torch
from torch import nn
from torch.nn import functional as F

from model_core.networks.refinement import FOLDED_PADDING, FOLDED_STRIDE, folded_weight


def test_folded_pixels_are_convolved_as_if_they_were_channels() -> None:
    """One convolution instead of a rearrangement and a convolution, to the edges."""
    torch.manual_seed(0)
    layer, image = nn.Conv2d(12, 5, 3, padding=1), torch.randn(2, 3, 16, 24)
    folded = F.conv2d(image, folded_weight(layer), layer.bias, FOLDED_STRIDE, FOLDED_PADDING)
    torch.testing.assert_close(folded, layer(F.pixel_unshuffle(image, 2)))
