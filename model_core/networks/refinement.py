"""The refinement network: blends copied and smooth fills, and paints what neither holds."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from model_core.config import GeneratorConfig
from model_core.networks.blocks import ResidualBlock, Upsample, conv, silent_conv

# Copied image, smooth image, mask, match distance.
INPUTS = 3 + 3 + 1 + 1
DILATIONS = (1, 2, 4, 1)
# Of which the network is shown the logarithm.
LEAST_DISTANCE = 1e-4
# Of the convolution that folds 2x2 pixels; see `folded_weight`.
FOLDED_STRIDE, FOLDED_PADDING = 2, 2


class RefinementNetwork(nn.Module):
    """A U-Net from 1/2 scale (2x2 pixels folded into channels) to 1/8, where the coarse features join."""

    def __init__(self, config: GeneratorConfig) -> None:
        super().__init__()
        width = config.refine_width
        last = config.refine_last or width
        self.to_half = conv(4 * INPUTS, width)
        self.to_quarter = conv(width, 2 * width, stride=2)
        self.to_eighth = conv(2 * width, 4 * width, stride=2)
        self.context = nn.Conv2d(3 * config.coarse_width, 4 * width, 1)
        self.blocks = nn.Sequential(
            *(
                ResidualBlock(4 * width, DILATIONS[i % len(DILATIONS)], config.refine_hidden)
                for i in range(config.refine_blocks)
            )
        )
        self.up_quarter = Upsample(4 * width, 2 * width, 2 * width)
        self.up_half = Upsample(2 * width, width, last)
        self.to_image = silent_conv(last, 4 * 4)

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
        full = shown(copied, smooth, mask, distance)
        # First the layout, then the precision: faster than both in one `to`.
        full = full.contiguous(memory_format=torch.channels_last).to(self.to_image.weight.dtype)
        folded = F.conv2d(full, folded_weight(self.to_half), self.to_half.bias, FOLDED_STRIDE, FOLDED_PADDING)
        half = F.relu(folded)  # (B, w, H/2, W/2)
        quarter = F.relu(self.to_quarter(half))  # (B, 2w, H/4, W/4)
        eighth = F.relu(self.to_eighth(quarter) + self.context(features))  # (B, 4w, H/8, W/8)
        painted = self.up_half(self.up_quarter(self.blocks(eighth), quarter), half)
        # In float32: 8 bits of colour need more than bf16 has.
        return blended(copied, smooth, self.to_image(painted).float())


def shown(copied: Tensor, smooth: Tensor, mask: Tensor, distance: Tensor) -> Tensor:
    """(B, 8, H, W): what a refinement network is shown of its arguments, in this order."""
    return torch.cat([copied, smooth, mask, distance.clamp_min(LEAST_DISTANCE).log() / 4], 1)


def blended(copied: Tensor, smooth: Tensor, painted: Tensor) -> Tensor:
    """(B, 3, H, W): what a refinement network answers.

    Args:
        painted: (B, 16, H/2, W/2) float32, for each of 2x2 pixels three colours and one gate.
    """
    # What F.pixel_shuffle does, in a third of the time where channels come last.
    batch, _, height, width = painted.shape
    cells = painted.view(batch, 4, 2, 2, height, width).permute(0, 1, 4, 2, 5, 3)
    detail = cells.reshape(batch, 4, 2 * height, 2 * width)
    # The gate starts at 0.73 copied, so that fills are sharp from the first step.
    gate = torch.sigmoid(detail[:, 3:] + 1)
    return torch.lerp(smooth, copied, gate) + detail[:, :3]


def folded_weight(layer: nn.Conv2d) -> Tensor:
    """(D, C, 6, 6), for a convolution that folds 2x2 pixels itself (`FOLDED_STRIDE`, `FOLDED_PADDING`).

    It makes of an image what `layer`, 3x3 and for 4 * C channels, makes of F.pixel_unshuffle(image, 2), in
    half of the time.
    """
    # (D, C, 3, 2, 3, 2)
    weight = layer.weight.reshape(len(layer.weight), -1, 2, 2, 3, 3).permute(0, 1, 4, 2, 5, 3)
    return weight.flatten(4, 5).flatten(2, 3)
