"""Poisson's equation on a hole: a picture whose pixels differ from their neighbours by given amounts.

Solved by conjugate gradients (Notay, "Flexible Conjugate Gradients", SIAM J. Sci. Comput., 2000), each step
of which begins with a multigrid cycle (Briggs, Henson and McCormick, "A Multigrid Tutorial", 2000). Masks:
1 = hole.

*Planes* are (3, h + 2, w + 2) float32, a part of a picture with a border of zeros.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from model_core.networks.compiled import Index, compiled

FloatArray = NDArray[np.float32]

# After three steps, what is left of the seams is a few hundredths.
STEPS = 3
# Even numbers, as all of sweeps.
SWEEPS = 2
# The weight of a Jacobi sweep that removes what is rough fastest.
DAMPING = 0.8
# Where no more cells lie wholly in the hole, ...
COARSEST_SWEEPS = 16
# ... and where the grid has an odd side, for each pixel of that, sweeps alone go on.
ODD_SWEEPS = 4


class Grid(NamedTuple):
    """One scale of a hole, with a border of zeros.

    Attributes:
        hole: (h + 2, w + 2) float32 in {0, 1}.
        degree: (h + 2, w + 2) float32, the number of each pixel's neighbours, at least 1.
        left: planes, by how much corrections are to differ from their neighbours in all; 0 outside the hole.
        correction: planes that a cycle writes its answer to.
        spare: planes for what lies in between.
    """

    hole: FloatArray
    degree: FloatArray
    left: FloatArray
    correction: FloatArray
    spare: FloatArray


def grids_of(hole: FloatArray) -> list[Grid]:
    """From full scale down, as long as the sides can be halved and cells lie wholly in the hole.

    Args:
        hole: (h + 2, w + 2) float32 in {0, 1}, with a border.
    """
    grids = []
    while True:
        degree = np.full_like(hole, 4)
        for edge in (degree[1], degree[-2], degree[:, 1], degree[:, -2]):
            edge -= 1
        # A single pixel has no neighbours, but is divided by their number.
        grids.append(Grid(hole, np.maximum(degree, 1), *np.zeros((3, 3, *hole.shape), np.float32)))
        if hole.shape[0] % 2 or hole.shape[1] % 2:
            return grids
        above, below = hole[1:-1:2, 1:-1], hole[2::2, 1:-1]
        both = np.minimum(above, below)
        hole = np.pad(np.minimum(both[:, ::2], both[:, 1::2]), 1)
        if not hole.any():
            return grids


def solution(left: FloatArray, hole: FloatArray) -> FloatArray:
    """The correction whose pixels differ from their neighbours in all by `left`, by conjugate gradients.

    Args:
        left: planes, 0 outside the hole.
        hole: (h + 2, w + 2) float32 in {0, 1}, with a border.
    """
    grids = grids_of(hole)
    grids[0].left[:] = left
    correction, direction, change = (np.zeros_like(left) for _ in range(3))
    sizes = np.zeros((2, 3), np.float32)
    for _ in range(STEPS):
        _cycle(grids)
        _descend(*grids[0][:4], correction, direction, change, sizes)
    return correction


def _cycle(grids: list[Grid]) -> None:
    """One V-cycle from nothing: sweep, correct at half of the resolution, sweep."""
    grid, *coarser = grids
    grid.correction[:] = 0
    if not coarser:
        height, width = (side - 2 for side in grid.hole.shape)
        sweeps = ODD_SWEEPS * max(height, width) if height % 2 or width % 2 else COARSEST_SWEEPS
        _sweep(*grid, sweeps)
        return
    _sweep(*grid, SWEEPS)
    _restrict(*grid[:4], coarser[0].hole, coarser[0].left)
    _cycle(coarser)
    _prolong(coarser[0].correction, grid.hole, grid.correction)
    _sweep(*grid, SWEEPS)


@compiled
def _descend(
    hole: FloatArray,
    degree: FloatArray,
    left: FloatArray,
    proposal: FloatArray,
    correction: FloatArray,
    direction: FloatArray,
    change: FloatArray,
    sizes: FloatArray,
) -> None:
    """One step of conjugate gradients, for each colour.

    Args:
        hole, degree: of the finest grid.
        left, correction, direction, change: planes, which are brought up to date: the last two are the step
            and what it changes.
        proposal: planes, the cycle's answer to what is left.
        sizes: (2, 3), the last step's length and promise, likewise; all 0 at first.
    """
    for colour in range(3):
        length, promise = sizes[0, colour], sizes[1, colour]
        conjugate = -length * _inner(proposal[colour], change[colour])
        # All vanish at first and once nothing is left to correct.
        again = conjugate / promise if promise != 0 else np.float32(0)
        _add(again, direction[colour], proposal[colour], direction[colour])
        promise = _inner(proposal[colour], left[colour])
        laplacian(direction[colour], hole, degree, change[colour])
        resistance = _inner(direction[colour], change[colour])
        length = promise / resistance if resistance != 0 else np.float32(0)
        _add(length, direction[colour], correction[colour], correction[colour])
        _add(-length, change[colour], left[colour], left[colour])
        sizes[0, colour], sizes[1, colour] = length, promise


@compiled
def _inner(one: FloatArray, other: FloatArray) -> np.float32:
    total = np.float32(0)
    for row in range(len(one)):
        for column in range(Index(one.shape[1])):
            total += one[Index(row), column] * other[Index(row), column]
    return total


@compiled
def _add(factor: np.float32, plane: FloatArray, ground: FloatArray, result: FloatArray) -> None:
    for row in range(Index(len(plane))):
        for column in range(Index(plane.shape[1])):
            result[row, column] = ground[row, column] + factor * plane[row, column]


@compiled
def _sweep(
    hole: FloatArray,
    degree: FloatArray,
    left: FloatArray,
    correction: FloatArray,
    spare: FloatArray,
    times: int,
) -> None:
    """Move each pixel of a `Grid` towards what its neighbours ask for, an even number of times."""
    for _ in range(times):
        _sweep_once(hole, degree, left, correction, spare)
        correction, spare = spare, correction


@compiled
def _sweep_once(
    hole: FloatArray, degree: FloatArray, left: FloatArray, correction: FloatArray, result: FloatArray
) -> None:
    for colour in range(3):
        plane, target = correction[colour], result[colour]
        for row in range(Index(1), Index(len(hole) - 1)):
            for column in range(Index(1), Index(hole.shape[1] - 1)):
                wanted = _neighbours(plane, row, column) - left[Index(colour), row, column]
                rate = np.float32(DAMPING) * hole[row, column]
                target[row, column] = plane[row, column] + rate * (
                    wanted / degree[row, column] - plane[row, column]
                )


@compiled
def laplacian(plane: FloatArray, hole: FloatArray, degree: FloatArray, result: FloatArray) -> None:
    """By how much the pixels of the hole differ from their neighbours in all, for one colour."""
    for row in range(Index(1), Index(len(plane) - 1)):
        for column in range(Index(1), Index(plane.shape[1] - 1)):
            own = degree[row, column] * plane[row, column]
            result[row, column] = (_neighbours(plane, row, column) - own) * hole[row, column]


@compiled
def _neighbours(plane: FloatArray, row: int, column: int) -> np.float32:
    """The sum of a pixel's four neighbours; there is nothing beyond the edges."""
    one = Index(1)
    upright: np.float32 = plane[row - one, column] + plane[row + one, column]
    level: np.float32 = plane[row, column - one] + plane[row, column + one]
    return upright + level


@compiled
def _restrict(
    hole: FloatArray,
    degree: FloatArray,
    left: FloatArray,
    correction: FloatArray,
    coarse_hole: FloatArray,
    coarse_left: FloatArray,
) -> None:
    """What is left to correct at half of the resolution: the sums of what is left in each cell.

    Args:
        hole, degree, left, correction: of the finer grid.
        coarse_hole: of the coarser one.
        coarse_left: its planes, written to.
    """
    for colour in range(3):
        plane = correction[colour]
        for row in range(1, coarse_hole.shape[0] - 1):
            for column in range(1, coarse_hole.shape[1] - 1):
                if coarse_hole[row, column] == 0:
                    continue
                total = np.float32(0)
                for fine_row in range(Index(2 * row - 1), Index(2 * row + 1)):
                    for fine in range(Index(2 * column - 1), Index(2 * column + 1)):
                        change = (
                            _neighbours(plane, fine_row, fine)
                            - degree[fine_row, fine] * plane[fine_row, fine]
                        )
                        total += left[Index(colour), fine_row, fine] - change
                coarse_left[colour, row, column] = total


@compiled
def _prolong(coarse: FloatArray, hole: FloatArray, correction: FloatArray) -> None:
    """Add a coarser grid's correction, enlarged bilinearly.

    Args:
        coarse: planes of half the size.
        hole: of the finer grid.
        correction: planes of it, which are added to in the hole.
    """
    height, width = coarse.shape[1] - 2, coarse.shape[2] - 2
    near, far = np.float32(0.75), np.float32(0.25)
    for colour in range(3):
        for row in range(2 * height):
            cell = row // 2 + 1
            other = min(max(cell + 2 * (row % 2) - 1, 1), height)
            for column in range(2 * width):
                if hole[row + 1, column + 1] == 0:
                    continue
                across = column // 2 + 1
                beside = min(max(across + 2 * (column % 2) - 1, 1), width)
                here = near * coarse[colour, cell, across] + far * coarse[colour, cell, beside]
                there = near * coarse[colour, other, across] + far * coarse[colour, other, beside]
                correction[colour, row + 1, column + 1] += near * here + far * there
