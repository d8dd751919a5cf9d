"""Edges carried on into a hole: what the coarse network guesses is a blur, and copies follow the guess.

The guess diffuses along the edges that reach into it and hardly across them (edge-enhancing diffusion:
Weickert, "Anisotropic Diffusion in Image Processing", 1998; to fill holes: Weickert and Welk, "Tensor Field
Interpolation with PDEs", 2006), while it is drawn back to what it was. So the picture is sought that has the
least

    sum over corners of g' D g  +  FAITH * sum over the hole of (picture - guess)^2
    +  ISOTROPIC * sum over neighbours, one of them in the hole, of their difference^2,

where a corner lies between four cells, g is the gradient there, and D the tensor that weighs it: 1 along the
edge, less across it the steeper it is. D follows from the picture, and is held for a few rounds of successive
over-relaxation at a time.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from model_core.networks.compiled import compiled
from model_core.networks.pyramid import Level

FloatArray = NDArray[np.float32]
IntArray = NDArray[np.int64]

# Cells of which less is known are the hole's.
KNOWN_SHARE = 0.25
# How much the guess counts: its content stays beyond about 1 / sqrt(this) cells from an edge that goes on.
FAITH = 0.1
# Across which gradient half is let pass: per cell of 1/8 scale, in [-1, 1], the root of the sum over colours.
CONTRAST = 0.05
# Gradients are taken of a picture that is smoothed by this deviation, in cells.
DEVIATION = 0.8
# How much is smoothed in all directions, or every other cell could take leave of its neighbours.
ISOTROPIC = 0.02
# How often tensors follow the picture; rounds of relaxation for each; and how far a round overshoots.
TENSORS, ROUNDS = 5, 6
OVERSHOOT = 1.4


def carry_edges(known: Level, guess: Tensor) -> Tensor:
    """The guess with the edges of its surroundings carried on.

    Args:
        known: the picture at the guess's scale, as `known_pyramid` returns it, of one picture.
        guess: (1, 3, h, w) float32 in [-1, 1].

    Returns:
        (1, 3, h, w) float32 in [-1, 1]: what `known` holds where it holds anything but in cells of the hole.
    """
    average, share = known
    picture = torch.where(share > 0, average, guess)
    # In reading order, however few: another order in memory would be compiled anew.
    cells = (share[0, 0] < KNOWN_SHARE).nonzero().contiguous().numpy()
    height, width = share.shape[-2:]
    # With a border of cells that weigh nothing.
    framed = F.pad(picture, (1, 1, 1, 1))[0].numpy()
    inner = framed[:, 1:-1, 1:-1]
    smoothed = np.empty((3, height, width), np.float32)
    # A symmetric 2 x 2 tensor for each corner; none at the picture's edge, across which nothing flows.
    tensors = np.zeros((height + 1, width + 1, 3), np.float32)
    weights = np.empty((len(cells), 9), np.float32)
    target = guess[0].contiguous().numpy()
    for _ in range(TENSORS):
        _smooth(np.ascontiguousarray(inner), cells, smoothed)
        _follow(smoothed, cells, tensors)
        _weigh(tensors, cells, weights)
        for _ in range(ROUNDS):
            _relax(framed, target, cells, weights)
    # A picture of least energy may leave the range of its surroundings.
    return torch.from_numpy(inner.clip(-1, 1))[None]


@compiled
def _smooth(picture: FloatArray, cells: IntArray, smoothed: FloatArray) -> None:
    """Write to `smoothed`, in and beside the cells, the picture smoothed by a Gaussian."""
    height, width = picture.shape[1:]
    shares = np.exp(np.arange(-2, 3) ** 2 / (-2 * DEVIATION**2)).astype(np.float32)
    shares /= shares.sum()
    done = np.zeros((height, width), np.bool_)
    for cell in range(len(cells)):
        for row in range(max(cells[cell, 0] - 1, 0), min(cells[cell, 0] + 2, height)):
            for column in range(max(cells[cell, 1] - 1, 0), min(cells[cell, 1] + 2, width)):
                if done[row, column]:
                    continue
                done[row, column] = True
                for colour in range(3):
                    total = np.float32(0)
                    for down in range(5):
                        line = picture[colour, min(max(row + down - 2, 0), height - 1)]
                        for right in range(5):
                            value = line[min(max(column + right - 2, 0), width - 1)]
                            total += shares[down] * shares[right] * value
                    smoothed[colour, row, column] = total


@compiled
def _follow(smoothed: FloatArray, cells: IntArray, tensors: FloatArray) -> None:
    """Write the tensors of the corners of cells: (h + 1, w + 1, 3), columns' part, mixed part, rows' part."""
    height, width = smoothed.shape[1:]
    done = np.zeros((height + 1, width + 1), np.bool_)
    for cell in range(len(cells)):
        for row in range(max(cells[cell, 0], 1), min(cells[cell, 0] + 2, height)):
            for column in range(max(cells[cell, 1], 1), min(cells[cell, 1] + 2, width)):
                if done[row, column]:
                    continue
                done[row, column] = True
                across, mixed, down = np.float32(0), np.float32(0), np.float32(0)
                for colour in range(3):
                    plane = smoothed[colour]
                    falling = plane[row, column] - plane[row - 1, column - 1]
                    rising = plane[row - 1, column] - plane[row, column - 1]
                    right, below = (falling + rising) / np.float32(2), (falling - rising) / np.float32(2)
                    across, mixed, down = across + right * right, mixed + right * below, down + below * below
                # The eigenvalues of the structure tensor, `steep` across the edge and `flat` along it.
                apart = np.sqrt((across - down) ** 2 + np.float32(4) * mixed * mixed)
                steep = (across + down + apart) / np.float32(2)
                flat = steep - apart
                let = np.float32(1) / (np.float32(1) + steep / np.float32(CONTRAST**2))
                scale = (let - np.float32(1)) / max(apart, np.float32(1e-12))
                tensors[row, column, 0] = np.float32(1) + scale * (across - flat)
                tensors[row, column, 1] = scale * mixed
                tensors[row, column, 2] = np.float32(1) + scale * (down - flat)


@compiled
def _weigh(tensors: FloatArray, cells: IntArray, weights: FloatArray) -> None:
    """Write how each cell's 3 x 3 neighbourhood enters its equation, (N, 9); in the middle, the inverse of
    what its own value is multiplied by.
    """
    height, width = tensors.shape[0] - 1, tensors.shape[1] - 1
    for cell in range(len(cells)):
        around = weights[cell]
        around[:] = 0
        for corner in range(4):
            below, right = corner // 2, corner % 2
            across, mixed, down = tensors[cells[cell, 0] + below, cells[cell, 1] + right]
            # The signs of the cell, and of the corner's other cells, in the two parts of the gradient.
            own_across, own_down = np.float32(1 - 2 * right), np.float32(1 - 2 * below)
            for other in range(4):
                to_across, to_down = np.float32(2 * (other % 2) - 1), np.float32(2 * (other // 2) - 1)
                weight = across * own_across * to_across + down * own_down * to_down
                weight += mixed * (own_across * to_down + own_down * to_across)
                around[3 * (below + other // 2) + right + other % 2] += weight / np.float32(4)
        for beside in (1, 3, 5, 7):
            row, column = cells[cell, 0] + beside // 3 - 1, cells[cell, 1] + beside % 3 - 1
            if 0 <= row < height and 0 <= column < width:
                around[beside] -= np.float32(ISOTROPIC)
                around[4] += np.float32(ISOTROPIC)
        around[4] = np.float32(1) / (around[4] + np.float32(FAITH))


@compiled
def _relax(framed: FloatArray, guess: FloatArray, cells: IntArray, weights: FloatArray) -> None:
    """One round of successive over-relaxation of the framed picture."""
    for cell in range(len(cells)):
        row, column, around = cells[cell, 0], cells[cell, 1], weights[cell]
        for colour in range(3):
            plane = framed[colour]
            pull = np.float32(FAITH) * guess[colour, row, column]
            for beside in range(3):
                pull -= around[beside] * plane[row, column + beside]
                pull -= around[6 + beside] * plane[row + 2, column + beside]
            pull -= around[3] * plane[row + 1, column] + around[5] * plane[row + 1, column + 2]
            now = plane[row + 1, column + 1]
            plane[row + 1, column + 1] = now + np.float32(OVERSHOOT) * (pull * around[4] - now)
