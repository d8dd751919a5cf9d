"""Hiding the seams between copied pieces. Masks: 1 = hole to fill; `known` is the opposite, 1 = known.

Each copied pixel brings along what lay beside it. A smooth correction is added to the copies such that
neighbouring pixels differ by as much as they did where they came from, within the pieces, between them, and
at the hole's border: Poisson image editing (Perez, Gangnet and Blake, SIGGRAPH 2003), whose linear equations
`multigrid` solves.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from model_core.networks.compiled import compiled
from model_core.networks.multigrid import solution
from model_core.networks.window import window_around

FloatArray = NDArray[np.float32]
IntArray = NDArray[np.int32]

# A seam whose sides differ by this (root mean square over the colours) is corrected by half, a larger one is
# left as an edge: a coast must not turn the sea beside it brown. The one is told from the other by the eighth
# power of the difference.
EDGE = 0.65
# The sides of the part of the picture that is computed are multiples of this, or the picture's, so that they
# can be halved often.
WINDOW_MULTIPLE = 32


def seam_correction(image: Tensor, known: Tensor, field: Tensor) -> Tensor:
    """What to add to copied pixels so that no seam is left.

    Args:
        image: (1, 3, H, W) float32; what is not known is ignored.
        known: (1, 1, H, W) float32 in {0, 1}.
        field: (2, H*W) int32, row and column of each pixel's source.

    Returns:
        (1, 3, H, W) float32, 0 outside the hole.
    """
    # With a known pixel on each side.
    window = window_around(1 - known, 1, WINDOW_MULTIPLE)
    correction = torch.zeros_like(image)
    hole = np.pad(window.of(1 - known[0, 0]).numpy(), 1)
    divergence = np.zeros((3, *hole.shape), np.float32)
    _divergence(
        image[0].contiguous().numpy(),
        known[0, 0].contiguous().numpy(),
        field.view(2, *known.shape[-2:]).numpy(),
        window.rows.start,
        window.columns.start,
        divergence,
    )
    window.of(correction).copy_(torch.from_numpy(solution(divergence, hole)[:, 1:-1, 1:-1]))
    return correction


@compiled
def _divergence(
    image: FloatArray,
    known: FloatArray,
    field: IntArray,
    top: int,
    before: int,
    divergence: FloatArray,
) -> None:
    """By how much the corrections of a window's pixels are to differ from their neighbours'.

    Args:
        image: (3, H, W).
        known: (H, W), 1 = known, else 0.
        field: (2, H, W), row and column of each pixel's source.
        top, before: of the picture, the window's first row and column.
        divergence: planes of the window (`multigrid`), written to in the hole.
    """
    jump = np.empty(3, np.float32)
    bottom, after = top + divergence.shape[1] - 2, before + divergence.shape[2] - 2
    for row in range(top, bottom):
        for column in range(before, after):
            for down, right in ((1, 0), (0, 1)):
                below, beside = row + down, column + right
                inside = below < bottom and beside < after
                if not inside or (known[row, column] > 0 and known[below, beside] > 0):
                    continue
                source, other = _source(field, known, row, column), _source(field, known, below, beside)
                limit = _compare_sources(image, known, source, other, (down, right), jump)
                for colour in range(3):
                    step = jump[colour] / limit
                    if known[row, column] == 0:
                        divergence[colour, row - top + 1, column - before + 1] += step
                    if known[below, beside] == 0:
                        divergence[colour, below - top + 1, beside - before + 1] -= step


@compiled
def _source(field: IntArray, known: FloatArray, row: int, column: int) -> tuple[int, int]:
    """Where a pixel is copied from; what is known is its own source."""
    if known[row, column] > 0:
        return row, column
    return int(field[0, row, column]), int(field[1, row, column])


@compiled
def _compare_sources(
    image: FloatArray,
    known: FloatArray,
    here: tuple[int, int],
    there: tuple[int, int],
    step: tuple[int, int],
    jump: FloatArray,
) -> np.float32:
    """By how much the copy of one pixel differs from what lay beside the copy of its neighbour, and the other
    way round.

    Args:
        image: (3, H, W).
        known: (H, W), 1 = known, else 0.
        here, there: the sources of a pixel and of one beside it.
        step: from the pixel to the one beside it.
        jump: (3,), written to.

    Returns:
        What `jump` is to be divided by, lest edges be taken for seams.
    """
    foreseen = _nearest(here[0] + step[0], here[1] + step[1], known)
    recalled = _nearest(there[0] - step[0], there[1] - step[1], known)
    forward, backward = known[foreseen] * known[there], known[recalled] * known[here]
    weight = max(forward + backward, np.float32(1))
    square = np.float32(0)
    for colour in range(3):
        plane = image[colour]
        sum_of_both = forward * (plane[foreseen] - plane[there]) + backward * (plane[here] - plane[recalled])
        jump[colour] = sum_of_both / weight
        square += jump[colour] * jump[colour]
    sharpness = square / np.float32(3 * EDGE**2)
    return np.float32(1) + sharpness * sharpness * sharpness * sharpness


@compiled
def _nearest(row: int, column: int, picture: FloatArray) -> tuple[int, int]:
    """The pixel, or the nearest one at the edge."""
    return min(max(row, 0), picture.shape[0] - 1), min(max(column, 0), picture.shape[1] - 1)
