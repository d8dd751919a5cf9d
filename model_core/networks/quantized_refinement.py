"""The refinement network in whole numbers of 8 bits, for inference where those are multiplied fastest."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from model_core.networks.compiled import Index, compiled
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
    LEAST_DISTANCE,
    RefinementNetwork,
    folded_weight,
)

FloatArray = NDArray[np.float32]

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
        """As `RefinementNetwork.forward`, but for what is known, where `copied` comes back."""
        copied, smooth, mask, distance = (part.contiguous() for part in (copied, smooth, mask, distance))
        numbers = _shown(copied, smooth, mask, distance)
        half = self._to_half.to_numbers(numbers, self._to_quarter.grid)
        quarter = self._to_quarter.to_numbers(half, self._to_eighth.grid)
        context = self._context(features).float().contiguous(memory_format=torch.channels_last)
        eighth = self._blocks(self._to_eighth.add_to(context, quarter).relu_())
        painted = self._up_quarter.to_numbers(self._up_quarter.grid.of(eighth), quarter, self._up_half.grid)
        painted = self._up_half.to_numbers(painted, half, self._to_image.grid)
        return _blended(copied, smooth, mask, self._to_image.to_floats(painted))


def _folded(layer: nn.Conv2d) -> nn.Conv2d:
    """`layer` for a picture whose 2x2 pixels are not folded yet and whose last channel is scaled."""
    folded = nn.Conv2d(INPUTS, layer.out_channels, 6, FOLDED_STRIDE, FOLDED_PADDING, device="meta")
    weight = folded_weight(layer).detach().float()
    weight[:, -1] /= DISTANCE_SCALE
    folded.weight, folded.bias = nn.Parameter(weight), layer.bias
    return folded


def _shown(copied: Tensor, smooth: Tensor, mask: Tensor, distance: Tensor) -> Tensor:
    """(B, 8, H, W) uint8 in channels_last: `refinement.shown` on the grid, its last channel scaled."""
    numbers = torch.empty(len(mask), *mask.shape[2:], INPUTS, dtype=torch.uint8)
    # All channels of a pixel are written at once.
    pixels = numbers.view(torch.int64).squeeze(3)
    # Given, not known to the loops: those that are kept do not notice when constants of other files change.
    least, scale = np.float32(LEAST_DISTANCE), np.float32(1 / SHOWN.step)
    pictures = copied.numpy(), smooth.numpy(), mask.numpy(), distance.numpy()
    _show(*pictures, pixels.numpy(), least, scale, SHOWN.zero)
    return numbers.permute(0, 3, 1, 2)


@compiled
def _show(
    copied: FloatArray,
    smooth: FloatArray,
    mask: FloatArray,
    distance: FloatArray,
    pixels: NDArray[np.int64],
    least_distance: np.float32,
    scale: np.float32,
    zero: int,
) -> None:
    """Write to `pixels`, (B, H, W), the eight numbers of each, the first in the lowest byte.

    Args:
        scale, zero: of the grid, its step's inverse and its zero.
    """
    least = np.log(least_distance)
    logarithms = np.empty(mask.shape[3], np.float32)
    for image in range(len(mask)):
        for row in range(mask.shape[2]):
            distances, holes, target = distance[image, 0, row], mask[image, 0, row], pixels[image, row]
            for column in range(len(distances)):
                logarithms[column] = least
                if distances[column] > least_distance:
                    logarithms[column] = np.log(distances[column])
            red, green, blue = copied[image, 0, row], copied[image, 1, row], copied[image, 2, row]
            for column in range(Index(len(target))):
                target[column] = _bytes(red[column], green[column], blue[column], scale, zero)
            red, green, blue = smooth[image, 0, row], smooth[image, 1, row], smooth[image, 2, row]
            for column in range(Index(len(target))):
                logarithm = logarithms[column] * np.float32(DISTANCE_SCALE / 4)
                target[column] |= _bytes(red[column], green[column], blue[column], scale, zero) << 24
                target[column] |= _number(holes[column], scale, zero) << 48
                target[column] |= _number(logarithm, scale, zero) << 56


@compiled
def _bytes(red: np.float32, green: np.float32, blue: np.float32, scale: np.float32, zero: int) -> np.int64:
    first, second = _number(red, scale, zero), _number(green, scale, zero)
    return first | second << 8 | _number(blue, scale, zero) << 16


@compiled
def _number(value: np.float32, scale: np.float32, zero: int) -> np.int64:
    """The nearest number of the grid, 0 to 255."""
    number = np.rint(value * scale) + np.float32(zero)
    whole: np.int64 = np.int64(np.int32(min(max(number, np.float32(0)), np.float32(255))))
    return whole


def _blended(copied: Tensor, smooth: Tensor, mask: Tensor, painted: Tensor) -> Tensor:
    """(B, 3, H, W): `refinement.blended` in the hole, `copied` elsewhere."""
    blended = copied.clone(memory_format=torch.contiguous_format)
    cells = painted.permute(0, 2, 3, 1).contiguous()
    _blend(*(part.numpy() for part in (copied, smooth, mask, cells, blended)))
    return blended


@compiled
def _blend(
    copied: FloatArray,
    smooth: FloatArray,
    mask: FloatArray,
    painted: FloatArray,
    blended: FloatArray,
) -> None:
    """Write to `blended`, (B, 3, H, W), in the hole; `painted` is (B, H/2, W/2, 16)."""
    for image in range(len(mask)):
        for row in range(mask.shape[2]):
            for column in range(mask.shape[3]):
                if mask[image, 0, row, column] == 0:
                    continue
                cell = painted[image, row // 2, column // 2]
                inside = 2 * (row % 2) + column % 2
                gate = np.float32(1) / (np.float32(1) + np.exp(-cell[12 + inside] - np.float32(1)))
                for colour in range(3):
                    ground = smooth[image, colour, row, column]
                    change = gate * (copied[image, colour, row, column] - ground) + cell[4 * colour + inside]
                    blended[image, colour, row, column] = ground + change
