"""Hiding the seams between copied pieces. Masks: 1 = hole to fill; `known` is the opposite, 1 = known.

Each copied pixel brings along what lay beside it. A smooth correction is added to the copies such that
neighbouring pixels differ by as much as they did where they came from, within the pieces, between them, and
at the hole's border: Poisson image editing (Perez, Gangnet and Blake, SIGGRAPH 2003), whose linear equations
are solved by conjugate gradients (Notay, "Flexible Conjugate Gradients", SIAM J. Sci. Comput., 2000), each
step of which begins with a multigrid cycle (Briggs, Henson and McCormick, "A Multigrid Tutorial", 2000).
"""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from model_core.networks.pyramid import doubled, halved
from model_core.networks.window import Window, window_around

# A seam whose sides differ by this (root mean square over the colours) is corrected by half, a larger one is
# left as an edge: a coast must not turn the sea beside it brown.
EDGE = 0.65
# How sharply the one is told from the other.
EDGE_EXPONENT = 8
# After three steps, what is left of the seams is a few hundredths.
STEPS = 3
SWEEPS = 2
# The weight of a Jacobi sweep that removes what is rough fastest.
DAMPING = 0.8
# Where no more cells lie wholly in the hole, ...
COARSEST_SWEEPS = 16
# ... and where the grid has an odd side, for each pixel of that, sweeps alone go on.
ODD_SWEEPS = 4
# The sides of the part of the picture that is computed are multiples of this, or the picture's, so that they
# can be halved often.
WINDOW_MULTIPLE = 32


def seam_correction(image: Tensor, known: Tensor, field: Tensor) -> Tensor:
    """What to add to copied pixels so that no seam is left.

    Args:
        image: (1, 3, H, W) float32; what is not known is ignored.
        known: (1, 1, H, W) float32 in {0, 1}.
        field: (2, H*W) int64, row and column of each pixel's source.

    Returns:
        (1, 3, H, W) float32, 0 outside the hole.
    """
    hole = 1 - known
    # With a known pixel on each side.
    window = window_around(hole, 1, WINDOW_MULTIPLE)
    inside = window.of(hole)
    divergence = _divergence(image * known, known, field, window) * inside
    correction = torch.zeros_like(image)
    window.of(correction).copy_(_solution(divergence, inside))
    return correction


class Grid(NamedTuple):
    """One scale of a hole.

    Attributes:
        hole: (1, 1, h, w) float32 in {0, 1}.
        degree: (1, 1, h, w), the number of each pixel's neighbours, at least 1.
    """

    hole: Tensor
    degree: Tensor


def _grids(hole: Tensor) -> list[Grid]:
    """From full scale down, as long as the sides can be halved and cells lie wholly in the hole."""
    grids = []
    while True:
        # A single pixel has no neighbours, but is divided by their number.
        grids.append(Grid(hole, _neighbours(torch.ones_like(hole)).clamp_min(1)))
        if hole.shape[-2] % 2 or hole.shape[-1] % 2:
            return grids
        hole = halved(hole).floor()
        if not hole.any():
            return grids


def _solution(left: Tensor, hole: Tensor) -> Tensor:
    """The correction whose pixels differ from their neighbours in all by `left`, by conjugate gradients."""
    grids = _grids(hole)
    correction, direction, change = (torch.zeros_like(left) for _ in range(3))
    length, promise = (torch.zeros_like(left[..., :1, :1]) for _ in range(2))
    for _ in range(STEPS):
        proposal = _cycle(left, grids)
        again = _ratio(-length * _inner(proposal, change), promise)
        direction, promise = proposal + again * direction, _inner(proposal, left)
        change = _laplacian(direction, grids[0])
        length = _ratio(promise, _inner(direction, change))
        correction, left = correction + length * direction, left - length * change
    return correction


def _inner(one: Tensor, other: Tensor) -> Tensor:
    """(1, 3, 1, 1): the inner product of each colour."""
    return (one * other).sum((2, 3), keepdim=True)


def _ratio(one: Tensor, other: Tensor) -> Tensor:
    """0 where `other` vanishes, as both do at first and once nothing is left to correct."""
    return torch.where(other == 0, 0, one / other)


def _divergence(image: Tensor, known: Tensor, field: Tensor, window: Window) -> Tensor:
    """By how much the corrections of a window's pixels are to differ from their neighbours', (1, 3, h, w)."""
    height, width = known.shape[-2:]
    field = window.of(field.view(2, height, width))
    itself = torch.stack(
        torch.meshgrid(
            *(torch.arange(side.start, side.stop, device=image.device) for side in window), indexing="ij"
        )
    )
    row, column = torch.where(window.of(known[0]) > 0, itself, field)
    colours = torch.cat([image, known], 1)[0].flatten(1)

    def beside(down: int, right: int) -> Tensor:
        """(1, 4, h, w): what lies beside each pixel's source, and whether it is known."""
        source = (row + down).clamp(0, height - 1) * width + (column + right).clamp(0, width - 1)
        return colours.index_select(1, source.flatten()).view(1, 4, *source.shape)

    copied = beside(0, 0)
    total = torch.zeros_like(copied[:, :3])
    for axis, (down, right) in ((2, (1, 0)), (3, (0, 1))):
        size = copied.shape[axis] - 1
        this, other = copied.narrow(axis, 0, size), copied.narrow(axis, 1, size)
        foreseen = beside(down, right).narrow(axis, 0, size)
        recalled = beside(-down, -right).narrow(axis, 1, size)
        forward = (foreseen[:, 3:] * other[:, 3:], foreseen[:, :3] - other[:, :3])
        backward = (recalled[:, 3:] * this[:, 3:], this[:, :3] - recalled[:, :3])
        weight = forward[0] + backward[0]
        step = (forward[0] * forward[1] + backward[0] * backward[1]) / weight.clamp_min(1)
        step /= 1 + (step.square().mean(1, keepdim=True).sqrt() / EDGE) ** EDGE_EXPONENT
        total.narrow(axis, 0, size).add_(step)
        total.narrow(axis, 1, size).sub_(step)
    return total


def _cycle(divergence: Tensor, grids: list[Grid]) -> Tensor:
    """One V-cycle from nothing: sweep, correct at half of the resolution, sweep."""
    grid, *coarser = grids
    correction = torch.zeros_like(divergence)
    if not coarser:
        height, width = grid.hole.shape[-2:]
        sweeps = ODD_SWEEPS * max(height, width) if height % 2 or width % 2 else COARSEST_SWEEPS
        return _sweep(correction, divergence, grid, sweeps)
    correction = _sweep(correction, divergence, grid, SWEEPS)
    left = (divergence - _laplacian(correction, grid)) * grid.hole
    coarse = _cycle(4 * halved(left) * coarser[0].hole, coarser)
    return _sweep(correction + doubled(coarse) * grid.hole, divergence, grid, SWEEPS)


def _sweep(correction: Tensor, divergence: Tensor, grid: Grid, times: int) -> Tensor:
    """Move each pixel of the hole towards what its neighbours ask for."""
    rate = DAMPING * grid.hole
    for _ in range(times):
        wanted = (_neighbours(correction) - divergence) / grid.degree
        correction = torch.lerp(correction, wanted, rate)
    return correction


def _laplacian(picture: Tensor, grid: Grid) -> Tensor:
    """By how much the pixels of the hole differ from their neighbours in all."""
    return (_neighbours(picture) - grid.degree * picture) * grid.hole


def _neighbours(picture: Tensor) -> Tensor:
    """The sum of each pixel's four neighbours; there is nothing beyond the edges."""
    height, width = picture.shape[-2:]
    padded = F.pad(picture, (1, 1, 1, 1))
    rows, columns = padded.narrow(3, 1, width), padded.narrow(2, 1, height)
    total = rows.narrow(2, 0, height) + rows.narrow(2, 2, height)
    return total.add_(columns.narrow(3, 0, width)).add_(columns.narrow(3, 2, width))
