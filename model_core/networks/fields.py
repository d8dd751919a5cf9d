"""Fields: where each pixel is copied from. Masks: 1 = hole to fill; `known` is the opposite, 1 = known.

A *field* is a (2, H*W) int32 tensor: for each pixel the row and the column of its source.
"""

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from model_core.networks.compiled import compiled

FloatArray = NDArray[np.float32]
IntArray = NDArray[np.int32]


def enlarged(field: Tensor, size: tuple[int, int]) -> Tensor:
    """Carry the field of a picture of `size` over to one twice as large; each pixel keeps its offset."""
    height, width = size
    large = field.new_empty(2, 2 * height, 2 * width)
    _enlarge(field.view(2, height, width).numpy(), large.numpy())
    return large.flatten(1)


@compiled
def _enlarge(field: IntArray, large: IntArray) -> None:
    """Write to `large`, (2, 2 * h, 2 * w)."""
    for axis in range(2):
        for row in range(field.shape[1]):
            cells = field[axis, row]
            for down in range(2):
                pixels = large[axis, 2 * row + down]
                for column in range(len(cells)):
                    pixels[2 * column] = 2 * cells[column] + (down if axis == 0 else 0)
                    pixels[2 * column + 1] = 2 * cells[column] + (down if axis == 0 else 1)


class Copy(NamedTuple):
    """What a field makes of a picture.

    Attributes:
        copied: (1, 3, H, W), the picture, and in its hole what was copied there.
        fitted: (1, 3, H, W), the same with the correction added in the hole.
        distance: (1, 1, H, W), that of each pixel of the hole, 0 elsewhere.
    """

    copied: Tensor
    fitted: Tensor
    distance: Tensor


def copy_along(
    field: Tensor, image: Tensor, known: Tensor, otherwise: Tensor, correction: Tensor, distance: Tensor
) -> Copy:
    """Fill the hole along the field.

    Args:
        image: (1, 3, H, W) float32, contiguous as all.
        known: (1, 1, H, W) float32 in {0, 1}.
        otherwise: (1, 3, H, W) float32, what stands where the source is a hole itself.
        correction: (1, 3, H/2, W/2) float32, which is enlarged bilinearly.
        distance: (1, 1, H/2, W/2) float32.
    """
    grid = field.view(2, *known.shape[-2:])
    copied, fitted, distances = image.clone(), image.clone(), torch.zeros_like(known)
    given = (image[0], known[0, 0], otherwise[0], correction[0], distance[0, 0])
    made = (copied[0], fitted[0], distances[0, 0])
    _copy(grid.numpy(), *(part.numpy() for part in (*given, *made)))
    return Copy(copied, fitted, distances)


@compiled
def _copy(
    field: IntArray,
    image: FloatArray,
    known: FloatArray,
    otherwise: FloatArray,
    correction: FloatArray,
    distance: FloatArray,
    copied: FloatArray,
    fitted: FloatArray,
    distances: FloatArray,
) -> None:
    """Write to the last three arrays, in the hole.

    Args: as in `copy_along` and `Copy`, without the first axis, and without the second if that is of one.
    """
    height, width = known.shape
    near, far = np.float32(0.75), np.float32(0.25)
    between = np.empty((3, width // 2 + 2), np.float32)
    for row in range(height):
        # A quarter comes from the cell on the other side, at the edges from the same.
        cell = row // 2
        other = min(max(cell + 2 * (row % 2) - 1, 0), height // 2 - 1)
        for colour in range(3):
            for across in range(width // 2):
                value = near * correction[colour, cell, across] + far * correction[colour, other, across]
                between[colour, across + 1] = value
            between[colour, 0], between[colour, -1] = between[colour, 1], between[colour, -2]
        for column in range(width):
            if known[row, column] > 0:
                continue
            across, beside = column // 2 + 1, column // 2 + 2 * (column % 2)
            source_row, source_column = field[0, row, column], field[1, row, column]
            possible = known[source_row, source_column] > 0
            distances[row, column] = distance[cell, across - 1]
            for colour in range(3):
                value = otherwise[colour, row, column]
                if possible:
                    value = image[colour, source_row, source_column]
                copied[colour, row, column] = value
                fitted[colour, row, column] = (
                    value + near * between[colour, across] + far * between[colour, beside]
                )
