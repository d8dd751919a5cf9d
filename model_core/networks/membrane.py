"""Fitting copied pixels to the colours around the hole. Masks: 1 = hole to fill; `known` is the opposite."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from model_core.networks.compiled import compiled
from model_core.networks.pyramid import doubled, halved, known_pyramid, push_pull

FloatArray = NDArray[np.float32]
IntArray = NDArray[np.int32]

# How far beyond the hole's border the surroundings of a pixel and of its source are compared.
REACH = 1


def membrane(image: Tensor, known: Tensor, field: Tensor) -> Tensor:
    """What to add to copied pixels so that they meet the hole's surroundings.

    At the border, the difference between what lies beside a pixel and beside its source; between, that
    difference carried on smoothly, as a membrane would (Farbman et al., "Coordinates for Instant Image
    Cloning", SIGGRAPH 2009; here by the push-pull pyramid).

    Args:
        image: (1, 3, H, W) float32; H and W even.
        known: (1, 1, H, W) float32 in {0, 1}.
        field: (2, H*W) int32, row and column of each pixel's source.

    Returns:
        (1, 3, H, W) float32; outside the hole without meaning.
    """
    size = (image.shape[-2], image.shape[-1])
    sums = torch.zeros(1, 4, *size)
    grid = field.view(2, *size)
    _sum_differences(*(part.numpy() for part in (image[0], known[0, 0], grid, sums[0])))
    # The correction is smooth: half of the scale is enough.
    cells = halved(sums)
    compared = (cells[:, 3:] > 0).float()
    smooth = push_pull(known_pyramid(cells[:, :3] / cells[:, 3:].clamp_min(1e-12), compared))[0]
    smooth = F.avg_pool2d(F.pad(smooth, (2, 2, 2, 2), mode="replicate"), 5, 1)
    return doubled(smooth)


@compiled
def _sum_differences(image: FloatArray, known: FloatArray, field: IntArray, sums: FloatArray) -> None:
    """For each pixel of the hole, over the neighbours that are known here and beside its source, sum how much
    more there is here.

    Args:
        image: (3, h, w).
        known: (h, w), 1 = known, else 0.
        field: (2, h, w), row and column of each pixel's source.
        sums: (4, h, w) of zeros, to which the sums and the number of neighbours are written.
    """
    height, width = known.shape
    for row in range(height):
        for column in range(width):
            if known[row, column] > 0:
                continue
            source_row, source_column = field[0, row, column], field[1, row, column]
            for down in range(-REACH, REACH + 1):
                for right in range(-REACH, REACH + 1):
                    here = min(max(row + down, 0), height - 1), min(max(column + right, 0), width - 1)
                    if known[here] == 0:
                        continue
                    there = (
                        min(max(source_row + down, 0), height - 1),
                        min(max(source_column + right, 0), width - 1),
                    )
                    if known[there] == 0:
                        continue
                    for colour in range(3):
                        sums[colour, row, column] += image[colour][here] - image[colour][there]
                    sums[3, row, column] += np.float32(1)
