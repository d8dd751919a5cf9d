"""Comparing blocks of 2x2 pixels with where they may be copied from.

The pixels of a block share their offset, so their patches overlap, here and there alike, and most differences
serve all four. Pictures come as *lines*: (h + 2 r, (w + 2 r) * 3) float32, column by column and within a
column colour by colour, with a border of r = patch_size // 2 + 1 pixels that repeats the edges.
"""

import functools
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from model_core.networks.compiled import Index, compiled

FloatArray = NDArray[np.float32]
IntArray = NDArray[np.int32]

# More than any distance.
FAR = np.float32(1e9)


@compiled
def _any_of_block(mask: FloatArray, row: int, column: int) -> bool:
    above: bool = mask[row, column] > 0 or mask[row, column + 1] > 0
    below: bool = mask[row + 1, column] > 0 or mask[row + 1, column + 1] > 0
    return above or below


@compiled
def _worst_of_block(penalty: FloatArray, row: int, column: int) -> np.float32:
    above: np.float32 = max(penalty[row, column], penalty[row, column + 1])
    below: np.float32 = max(penalty[row + 1, column], penalty[row + 1, column + 1])
    return max(above, below)


@functools.cache
def propagation(side: int) -> Callable[..., None]:
    """The loop by which blocks take over the offset of a block beside them, for patches of this side.

    A number that the compiler knows lets it unroll the loop over rows and vectorize the one over columns. The
    loop is long since a part of its own that knows the side too could not be kept for later processes.
    """
    rows = side + 1

    @compiled
    def propagate(
        known: FloatArray,
        guess: FloatArray,
        matched: FloatArray,
        field: IntArray,
        penalty: FloatArray,
        gain: float,
        rounding: float,
        taken: IntArray,
    ) -> None:
        """Give each block its own offset, or the best of those beside if its distance is less than `gain` of
        its own's.

        Args:
            known, guess: lines of the picture and of the guess at its hole.
            matched: (h, w), not 0 where pixels are matched.
            field: (2, h, w), row and column of each pixel's source.
            penalty: (h, w), what it costs to be copied from a pixel; for a block, the most of its four.
            rounding: what is added to all distances.
            taken: (2, h, w), written to.
        """
        height, width = matched.shape
        across, values = known.shape[1], 3 * rows
        known, guess = known.ravel(), guess.ravel()
        for row in range(0, height, 2):
            for column in range(0, width, 2):
                if not _any_of_block(matched, row, column):
                    continue
                here = (row + 1) * across + 3 * (column + 1)
                least, best_row, best_column = FAR, 0, 0
                for down, right in ((0, 0), (-2, 0), (2, 0), (0, -2), (0, 2)):
                    above = min(max(row + down, 0), height - 2)
                    before = min(max(column + right, 0), width - 2)
                    source_row = min(max(field[0, above, before] + row - above, 0), height - 2)
                    source_column = min(max(field[1, above, before] + column - before, 0), width - 2)
                    there = (source_row + 1) * across + 3 * (source_column + 1)
                    total = np.float32(0)
                    for value in range(Index(values)):
                        at, other = Index(there) + value, Index(here) + value
                        for _ in range(rows):
                            difference = known[at] - guess[other]
                            total += difference * difference
                            at += Index(across)
                            other += Index(across)
                    distance = total / np.float32(values * rows)
                    distance += _worst_of_block(penalty, source_row, source_column) + np.float32(rounding)
                    if down == 0 and right == 0:
                        distance *= np.float32(gain)
                    if distance < least:
                        least, best_row, best_column = distance, source_row, source_column
                for down in range(2):
                    for right in range(2):
                        taken[0, row + down, column + right] = best_row + down
                        taken[1, row + down, column + right] = best_column + right

    return propagate


@functools.cache
def search(side: int) -> Callable[..., None]:
    """The loop by which pixels look around their source, for patches of this side."""

    @compiled
    def look_around(
        known: FloatArray,
        guess: FloatArray,
        matched: FloatArray,
        field: IntArray,
        penalty: FloatArray,
        gain: float,
        rounding: float,
        found: IntArray,
        distances: FloatArray,
    ) -> None:
        """Give each pixel of a block the best of the 3x3 patches around its source, another than its own only
        if its distance is less than `gain` of its own's.

        Args:
            known, guess, matched, field, penalty, rounding: as in `propagate`.
            found: (2, h, w), written to.
            distances: (h, w), written to: without the rounding.
        """
        height, width = matched.shape
        across, values = known.shape[1], 3 * (side + 1)
        known, guess = known.ravel(), guess.ravel()
        least, totals = np.empty((2, 2), np.float32), np.empty((2, 2), np.float32)
        for row in range(0, height, 2):
            for column in range(0, width, 2):
                if not _any_of_block(matched, row, column):
                    continue
                here = (row + 1) * across + 3 * (column + 1)
                source_row, source_column = field[0, row, column], field[1, row, column]
                least[:] = FAR
                for number in (4, 0, 1, 2, 3, 5, 6, 7, 8):
                    down, right = number // 3 - 1, number % 3 - 1
                    there = (source_row + down + 1) * across + 3 * (source_column + right + 1)
                    totals[:] = 0
                    # The patches' first column, those that both share, and the last.
                    for part in range(3):
                        start = 0 if part == 0 else 3 if part == 1 else values - 3
                        stop = 3 if part == 0 else values - 3 if part == 1 else values
                        top, shared, bottom = np.float32(0), np.float32(0), np.float32(0)
                        for value in range(Index(start), Index(stop)):
                            at, other = Index(there) + value, Index(here) + value
                            difference = known[at] - guess[other]
                            top += difference * difference
                            for _ in range(side - 1):
                                at += Index(across)
                                other += Index(across)
                                difference = known[at] - guess[other]
                                shared += difference * difference
                            difference = known[at + Index(across)] - guess[other + Index(across)]
                            bottom += difference * difference
                        if part < 2:
                            totals[0, 0] += top + shared
                            totals[1, 0] += shared + bottom
                        if part > 0:
                            totals[0, 1] += top + shared
                            totals[1, 1] += shared + bottom
                    for inside in range(4):
                        below, beside = inside // 2, inside % 2
                        candidate = min(max(source_row + down + below, 0), height - 1)
                        other_column = min(max(source_column + right + beside, 0), width - 1)
                        distance = totals[below, beside] / np.float32(3 * side * side)
                        distance += penalty[candidate, other_column]
                        judged = distance + np.float32(rounding)
                        if number == 4:
                            judged *= np.float32(gain)
                        if judged < least[below, beside]:
                            least[below, beside] = judged
                            found[0, row + below, column + beside] = candidate
                            found[1, row + below, column + beside] = other_column
                            distances[row + below, column + beside] = distance

    return look_around
