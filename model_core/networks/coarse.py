"""The coarse network: what belongs in the hole, at 1/8 of the resolution."""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from model_core.config import GeneratorConfig
from model_core.networks.blocks import ResidualBlock, Upsample, conv, silent_conv

# Together they reach 18 cells of 16 pixels to every side and more through their second convolutions.
DILATIONS = (1, 2, 4, 8)


class Coarse(NamedTuple):
    """image: (B, 3, H/8, W/8) in [-1, 1]; features: (B, config.coarse_width * 3, H/8, W/8)."""

    image: Tensor
    features: Tensor


class CoarseNetwork(nn.Module):
    """A U-Net from 1/4 scale to 1/16, with dilated residual blocks (Yu and Koltun, arXiv 1511.07122)."""

    def __init__(self, config: GeneratorConfig) -> None:
        super().__init__()
        width = config.coarse_width
        self.to_quarter = conv(7, width)
        self.to_eighth = conv(width, 3 * width, stride=2)
        self.to_sixteenth = conv(3 * width, 5 * width, stride=2)
        self.blocks = nn.Sequential(
            *(
                ResidualBlock(5 * width, DILATIONS[i % len(DILATIONS)], config.coarse_hidden)
                for i in range(config.coarse_blocks)
            )
        )
        self.up = Upsample(5 * width, 3 * width, 3 * width)
        self.to_image = silent_conv(3 * width, 3)

    def forward(self, average: Tensor, smooth: Tensor, share: Tensor) -> Coarse:
        """Guess the hole from the picture at 1/4 scale.

        Args:
            average: (B, 3, H/4, W/4) known colours in [-1, 1], 0 where nothing is known.
            smooth: (B, 3, H/4, W/4) the same with the hole filled smoothly; the guess is a correction to it.
            share: (B, 1, H/4, W/4) known share of each pixel's area, in [0, 1].
        """
        quarter = F.relu(self.to_quarter(torch.cat([average, smooth, share], 1)))  # (B, w, H/4, W/4)
        eighth = F.relu(self.to_eighth(quarter))  # (B, 3w, H/8, W/8)
        sixteenth = self.blocks(F.relu(self.to_sixteenth(eighth)))  # (B, 5w, H/16, W/16)
        features = self.up(sixteenth, eighth)
        image = F.avg_pool2d(smooth, 2) + self.to_image(features)
        return Coarse(image.clamp(-1, 1), features)
