"""The refinement network: blends copied and smooth fills, and paints what neither holds."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from model_core.config import GeneratorConfig
from model_core.networks.blocks import ResidualBlock, Upsample, conv, silent_conv

# Copied image, smooth image, mask, match distance.
INPUTS = 3 + 3 + 1 + 1
DILATIONS = (1, 2, 4, 1)


class RefinementNetwork(nn.Module):
    """A U-Net from 1/2 scale (2x2 pixels folded into channels) to 1/8, where the coarse features join."""

    def __init__(self, config: GeneratorConfig) -> None:
        super().__init__()
        width = config.refine_width
        self.to_half = conv(4 * INPUTS, width)
        self.to_quarter = conv(width, 2 * width, stride=2)
        self.to_eighth = conv(2 * width, 4 * width, stride=2)
        self.context = nn.Conv2d(3 * config.coarse_width, 4 * width, 1)
        self.blocks = nn.Sequential(
            *(ResidualBlock(4 * width, DILATIONS[i % len(DILATIONS)]) for i in range(config.refine_blocks))
        )
        self.up_quarter = Upsample(4 * width, 2 * width)
        self.up_half = Upsample(2 * width, width)
        self.to_image = silent_conv(width, 4 * 4)

    def forward(
        self, copied: Tensor, smooth: Tensor, mask: Tensor, distance: Tensor, features: Tensor
    ) -> Tensor:
        """Paint the hole. Takes and returns float32; the convolutions run in the parameters' precision.

        Args:
            copied: (B, 3, H, W), meant for [-1, 1], the picture with its hole filled by copying.
            smooth: (B, 3, H, W) in [-1, 1], the picture with its hole filled smoothly.
            mask: (B, 1, H, W) in {0, 1}, 1 = hole.
            distance: (B, 1, H, W) >= 0, how badly the copied patches match.
            features: (B, 3 * coarse_width, H/8, W/8) from the coarse network.

        Returns:
            (B, 3, H, W), meant to lie in [-1, 1]; unbounded so that the losses keep a gradient everywhere.
        """
        full = torch.cat([copied, smooth, mask, distance.clamp_min(1e-4).log() / 4], 1)
        # First the layout, then the precision: faster than both in one `to`.
        full = full.contiguous(memory_format=torch.channels_last).to(self.to_image.weight.dtype)
        half = F.relu(_convolve_folded(self.to_half, full))  # (B, w, H/2, W/2)
        quarter = F.relu(self.to_quarter(half))  # (B, 2w, H/4, W/4)
        eighth = F.relu(self.to_eighth(quarter) + self.context(features))  # (B, 4w, H/8, W/8)
        painted = self.up_half(self.up_quarter(self.blocks(eighth), quarter), half)
        # (B, 4, H, W): three colours and one gate, in float32: 8 bits of colour need more than bf16 has.
        detail = F.pixel_shuffle(self.to_image(painted), 2).float()
        # The gate starts at 0.73 copied, so that fills are sharp from the first step.
        gate = torch.sigmoid(detail[:, 3:] + 1)
        return torch.lerp(smooth, copied, gate) + detail[:, :3]


def _convolve_folded(layer: nn.Conv2d, image: Tensor) -> Tensor:
    """What a 3x3 convolution makes of F.pixel_unshuffle(image, 2), in half of the time.

    Args:
        layer: for 4 * C channels.
        image: (B, C, H, W).
    """
    # (D, C, 3, 2, 3, 2)
    weight = layer.weight.reshape(len(layer.weight), -1, 2, 2, 3, 3).permute(0, 1, 4, 2, 5, 3)
    return F.conv2d(image, weight.flatten(4, 5).flatten(2, 3), layer.bias, stride=2, padding=2)
