"""The refinement network in whole numbers of 8 bits, for inference where those are multiplied fastest."""

import torch
from torch import Tensor, nn

from model_core.networks.integer_blocks import (
    MIDDLE,
    IntegerBlocks,
    IntegerUpsample,
    signed_grid,
    unsigned_grid,
)
from model_core.networks.integers import Grid, IntegerConv
from model_core.networks.peaks import Peaks, peaks_within
from model_core.networks.refinement import (
    FOLDED_PADDING,
    FOLDED_STRIDE,
    INPUTS,
    RefinementNetwork,
    blended,
    folded_weight,
    shown,
)

# The network is shown pictures, meant for [-1, 1], which copies leave a little, ...
SHOWN = Grid(1 / 100, MIDDLE)
# ... and the logarithm of a distance, which is twice as large and scaled by this.
DISTANCE_SCALE = 0.5


class QuantizedRefinement:
    """Stands for a `RefinementNetwork`. Threads may share it."""

    def __init__(self, network: RefinementNetwork, peaks: Peaks) -> None:
        """Take the weights of a network in which `peaks` were observed."""
        signed = signed_grid(peaks["up_quarter.narrow"].given)
        self._up_quarter = IntegerUpsample(
            network.up_quarter, signed, peaks["to_eighth"].given, peaks_within(peaks, "up_quarter")
        )
        painted = unsigned_grid(peaks["up_half.narrow"].given)
        self._up_half = IntegerUpsample(
            network.up_half, painted, peaks["to_quarter"].given, peaks_within(peaks, "up_half")
        )
        self._to_half = IntegerConv(_folded(network.to_half), SHOWN)
        self._to_quarter = IntegerConv(network.to_quarter, self._up_half.skip_grid)
        self._to_eighth = IntegerConv(network.to_eighth, self._up_quarter.skip_grid)
        self._context = network.context
        self._blocks = IntegerBlocks(network.blocks, peaks_within(peaks, "blocks"))
        self._to_image = IntegerConv(network.to_image, unsigned_grid(peaks["to_image"].given))

    def __call__(
        self, copied: Tensor, smooth: Tensor, mask: Tensor, distance: Tensor, features: Tensor
    ) -> Tensor:
        """As `RefinementNetwork.forward`."""
        full = shown(copied, smooth, mask, distance)
        full[:, -1:] *= DISTANCE_SCALE
        numbers = SHOWN.of(full).contiguous(memory_format=torch.channels_last)
        half = self._to_half.to_numbers(numbers, self._to_quarter.grid)
        quarter = self._to_quarter.to_numbers(half, self._to_eighth.grid)
        context = self._context(features).float().contiguous(memory_format=torch.channels_last)
        eighth = self._blocks(self._to_eighth.add_to(context, quarter).relu_())
        painted = self._up_quarter.to_numbers(self._up_quarter.grid.of(eighth), quarter, self._up_half.grid)
        painted = self._up_half.to_numbers(painted, half, self._to_image.grid)
        return blended(copied, smooth, self._to_image.to_floats(painted))


def _folded(layer: nn.Conv2d) -> nn.Conv2d:
    """`layer` for a picture whose 2x2 pixels are not folded yet and whose last channel is scaled."""
    folded = nn.Conv2d(INPUTS, layer.out_channels, 6, FOLDED_STRIDE, FOLDED_PADDING, device="meta")
    weight = folded_weight(layer).detach().float()
    weight[:, -1] /= DISTANCE_SCALE
    folded.weight, folded.bias = nn.Parameter(weight), layer.bias
    return folded
