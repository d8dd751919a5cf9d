"""The coarse network in whole numbers of 8 bits, for inference where those are multiplied fastest."""

import torch
from torch import Tensor
from torch.nn import functional as F

from model_core.networks.coarse import Coarse, CoarseNetwork
from model_core.networks.integer_blocks import IntegerBlocks, IntegerUpsample, signed_grid, unsigned_grid
from model_core.networks.integers import IntegerConv
from model_core.networks.peaks import Peaks, peaks_within


class QuantizedCoarse:
    """Stands for a `CoarseNetwork`; its first and its last layer, which are small, compute as before.

    Threads may share it.
    """

    def __init__(self, network: CoarseNetwork, peaks: Peaks) -> None:
        """Take the weights of a network in which `peaks` were observed."""
        signed = signed_grid(peaks["up.narrow"].given)
        self._up = IntegerUpsample(network.up, signed, peaks["to_sixteenth"].given, peaks_within(peaks, "up"))
        self._to_quarter = network.to_quarter
        self._to_eighth = IntegerConv(network.to_eighth, unsigned_grid(peaks["to_eighth"].given))
        self._to_sixteenth = IntegerConv(network.to_sixteenth, self._up.skip_grid)
        self._blocks = IntegerBlocks(network.blocks, peaks_within(peaks, "blocks"))
        self._to_image = network.to_image

    def __call__(self, average: Tensor, smooth: Tensor, share: Tensor) -> Coarse:
        """As `CoarseNetwork.forward`."""
        quarter = self._to_quarter(torch.cat([average, smooth, share], 1))
        # A number that is not negative is what a ReLU leaves.
        numbers = self._to_eighth.grid.of(quarter).contiguous(memory_format=torch.channels_last)
        eighth = self._to_eighth.to_numbers(numbers, self._to_sixteenth.grid)
        sixteenth = self._blocks(self._to_sixteenth.to_floats(eighth).relu_())
        features = self._up.to_floats(self._up.grid.of(sixteenth), eighth).to(average.dtype)
        image = F.avg_pool2d(smooth, 2) + self._to_image(features)
        return Coarse(image.clamp(-1, 1), features)
