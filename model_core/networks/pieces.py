"""Filling a hole with few large pieces of its surroundings instead of many small ones.

Patches that are chosen one by one repeat whatever lies nearest: a sky shows the same bird five times. In a
photograph few offsets, from where a pixel is to where it is copied from, account for most of what looks alike
(He and Sun, "Statistics of Patch Offsets for Image Completion", ECCV 2012). So all pixels of the hole share
few offsets, and those of one offset form one piece, as rigid as it was in the photograph.

Offsets are (2, K) int64, rows and columns; pixels (N,) int64 numbers in reading order.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from model_core.networks.seamless import neighbours

# What one more offset must save in all, in mean squared differences of a pixel's patch. The trade-off between
# repetition (too low) and pieces that do not fit (too high).
PIECE_COST = 0.05
# What a pixel saves for each neighbour in the same piece.
NEIGHBOUR_GAIN = 0.002
# Rounds in which pixels follow their neighbours.
ROUNDS = 4
# A source beyond the edges, or with holes in its patch, is worse than the worst by more than a piece costs.
IMPOSSIBLE = 2 * PIECE_COST


def sources_of_pieces(distance: Tensor, targets: Tensor, sources: Tensor, size: tuple[int, int]) -> Tensor:
    """Choose a source for each target such that few offsets serve all.

    Args:
        distance: (N, M) float32, how badly each source suits each target, in mean squared differences. Only
            differences between the sources of one target count.
        targets: (N,) pixels.
        sources: (M,) pixels.
        size: height and width of the picture.

    Returns:
        (N,) pixels, each one of `sources`.
    """
    offsets = _promising_offsets(targets, sources[distance.argmin(1)], size)
    cost = _costs(distance, targets, sources, offsets, size)
    chosen = _few(cost)
    piece = _follow_neighbours(cost[:, chosen], targets, size)
    row, column = offsets[:, chosen[piece]]
    chosen_sources: Tensor = targets + row * size[1] + column
    return chosen_sources


def _promising_offsets(targets: Tensor, best: Tensor, size: tuple[int, int]) -> Tensor:
    """Those that are best for any target, and the ones around them."""
    width = size[1]
    step = torch.arange(-1, 2, device=targets.device)
    row = (best // width - targets // width)[:, None, None] + step[:, None]
    column = (best % width - targets % width)[:, None, None] + step
    # One number for both, whatever their signs.
    span = 2 * width + 1
    code = torch.unique(row * span + column + width)
    row = code.div(span, rounding_mode="floor")
    return torch.stack([row, code - row * span - width])


def _costs(
    distance: Tensor, targets: Tensor, sources: Tensor, offsets: Tensor, size: tuple[int, int]
) -> Tensor:
    """(N, K): how badly each offset suits each target."""
    height, width = size
    place = torch.full((height * width,), -1, device=sources.device)
    place[sources] = torch.arange(len(sources), device=sources.device)
    row = (targets // width)[:, None] + offsets[0]
    column = (targets % width)[:, None] + offsets[1]
    inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
    source = torch.where(inside, place[row.clamp(0, height - 1) * width + column.clamp(0, width - 1)], -1)
    worst = distance.amax(1, keepdim=True) + IMPOSSIBLE
    return torch.where(source >= 0, distance.gather(1, source.clamp_min(0)), worst)


def _few(cost: Tensor) -> Tensor:
    """(n,) int64, n <= K: each of these offsets saves more than it costs.

    The greedy algorithm for facility location: one after the other the offset that saves most. Since each
    target's own best is among them, the chosen ones offer each target a possible source.
    """
    chosen: list[int] = []
    lowest = cost.amax(1, keepdim=True)
    total = float("inf")
    for _ in range(cost.shape[1]):
        totals = torch.minimum(cost, lowest).sum(0)
        offset = int(totals.argmin())
        if total - float(totals[offset]) < PIECE_COST:
            break
        chosen.append(offset)
        lowest, total = torch.minimum(lowest, cost[:, offset, None]), float(totals[offset])
    return torch.tensor(chosen, device=cost.device)


def _follow_neighbours(cost: Tensor, targets: Tensor, size: tuple[int, int]) -> Tensor:
    """(N,), which offset each target takes: iterated conditional modes (Besag 1986)."""
    piece = cost.argmin(1)
    for _ in range(ROUNDS):
        taken = F.one_hot(piece, cost.shape[1]).to(cost.dtype).t()
        grid = cost.new_zeros(cost.shape[1], size[0] * size[1])
        grid[:, targets] = taken
        alike = neighbours(grid.view(-1, *size)).flatten(1)[:, targets]
        piece = (cost - NEIGHBOUR_GAIN * alike.t()).argmin(1)
    return piece
