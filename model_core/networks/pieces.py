"""Filling a hole with few large pieces of its surroundings instead of many small ones.

Patches that are chosen one by one repeat whatever lies nearest: a sky shows the same bird five times. In a
photograph few offsets, from where a pixel is to where it is copied from, account for most of what looks alike
(He and Sun, "Statistics of Patch Offsets for Image Completion", ECCV 2012). So all pixels of the hole share
few offsets, and those of one offset form one piece, as rigid as it was in the photograph. Pieces a few pixels
apart still show the same things: what stands out costs more the second time.

Offsets are (2, K) int64, rows and columns; pixels (N,) int64 numbers in reading order.
"""

import heapq

import numpy as np
import torch
from torch import Tensor

# What one more offset must save in all, in mean squared differences of a pixel's patch. The trade-off between
# repetition (too low) and pieces that do not fit (too high).
PIECE_COST = 0.2
# What it costs to copy a pixel that another piece shows already, by its salience, ...
REPETITION_COST = 0.3
# ... and at most: less than a piece, or a pixel might be left without a source.
REPETITION_LIMIT = 0.1
# What a pixel pays for each neighbour in another piece: this, ...
SEAM_COST = 0.002
# ... and this many times the mean squared difference of what the two pieces show there.
SEAM_WEIGHT = 0.3
# Rounds in which every other pixel may join a neighbour's piece.
ROUNDS = 4


def sources_of_pieces(
    distance: Tensor, targets: Tensor, sources: Tensor, image: Tensor, salience: Tensor
) -> Tensor:
    """Choose a source for each target such that few offsets serve all, and what stands out is shown once.

    Args:
        distance: (N, M) float32, how badly each source suits each target, in mean squared differences. Only
            differences between the sources of one target count.
        targets: (N,) pixels.
        sources: (M,) pixels.
        image: (1, 3, h, w) float32, which the pixels are of.
        salience: (h*w,) float32 >= 0, how much each of them stands out.

    Returns:
        (N,) pixels, each one of `sources`.
    """
    size = (image.shape[-2], image.shape[-1])
    offsets = _best_offsets(targets, sources[distance.argmin(1)], size)
    pixels, inside = _shifted(targets, offsets, size)
    cost = _costs(distance, sources, pixels, inside, size)
    few, repetition = _few(cost, pixels, (REPETITION_COST * salience).clamp(max=REPETITION_LIMIT))
    cost = cost[:, few]
    # No seam is worth a source that there is not.
    cost = cost.masked_fill(cost > distance.amax(1, keepdim=True), torch.inf)
    return _place_seams(cost + repetition, pixels[:, few], targets, image)


def _best_offsets(targets: Tensor, best: Tensor, size: tuple[int, int]) -> Tensor:
    """Those that are best for any target."""
    width = size[1]
    # One number for both, whatever their signs.
    span = 2 * width + 1
    code = torch.unique((best // width - targets // width) * span + best % width - targets % width + width)
    row = code.div(span, rounding_mode="floor")
    return torch.stack([row, code - row * span - width])


def _costs(
    distance: Tensor, sources: Tensor, pixels: Tensor, inside: Tensor, size: tuple[int, int]
) -> Tensor:
    """(N, K): how badly each offset suits each target."""
    place = torch.full((size[0] * size[1],), -1, device=sources.device)
    place[sources] = torch.arange(len(sources), device=sources.device)
    source = torch.where(inside, place[pixels], -1)
    # What is no source is worse than the worst by more than a piece costs.
    worst = distance.amax(1, keepdim=True) + 2 * PIECE_COST
    return torch.where(source >= 0, distance.gather(1, source.clamp_min(0)), worst)


def _shifted(targets: Tensor, offsets: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """(N, K): the pixel that each offset leads to, at the edges the nearest one, and whether it is inside."""
    height, width = size
    row, column = (targets // width)[:, None] + offsets[0], (targets % width)[:, None] + offsets[1]
    inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
    return row.clamp(0, height - 1) * width + column.clamp(0, width - 1), inside


def _few(cost: Tensor, pixels: Tensor, again: Tensor) -> tuple[Tensor, Tensor]:
    """Choose offsets such that each but the first saves at least what it costs.

    The greedy algorithm for facility location: one after the other the offset that saves most. What one
    saves only falls as others are chosen, so few have to be looked at anew each time (Minoux, "Accelerated
    Greedy Algorithms for Maximizing Submodular Set Functions", 1978). Since each target's own best is among
    them, the chosen ones offer each target a possible source.

    Args:
        cost: (N, K) float32.
        pixels: (N, K), what each offset would copy.
        again: (h*w,) float32 in [0, `REPETITION_LIMIT`], what a pixel costs that is shown already.

    Returns:
        (n,) int64, 1 <= n <= K, the offsets; (N, n) float32, what they cost for pixels shown by those before.
    """
    # Many small decisions, each of which depends on the one before: nothing for a GPU.
    costs, places, price = (x.contiguous().cpu().numpy() for x in (cost.t(), pixels.t(), again))
    shown = np.zeros_like(price)
    lowest = costs.max(0)
    savings = [(-saved, offset) for offset, saved in enumerate((lowest - costs).sum(1).tolist())]
    heapq.heapify(savings)
    chosen: list[int] = []
    repetition: list[Tensor] = []
    while savings:
        offset = heapq.heappop(savings)[1]
        repeated = shown[places[offset]]
        now = costs[offset] + repeated
        saved = float(np.maximum(lowest - now, 0).sum())
        if savings and saved < -savings[0][0]:
            heapq.heappush(savings, (-saved, offset))
            continue
        if chosen and saved < PIECE_COST:
            break
        chosen.append(offset)
        repetition.append(torch.from_numpy(repeated))
        taken = places[offset][now < lowest]
        shown[taken] = price[taken]
        lowest = np.minimum(now, lowest)
    return torch.tensor(chosen, device=cost.device), torch.stack(repetition, 1).to(cost)


def _place_seams(cost: Tensor, source: Tensor, targets: Tensor, image: Tensor) -> Tensor:
    """(N,), one of the K sources of each target: pieces meet where they look alike.

    Iterated conditional modes (Besag, "On the Statistical Analysis of Dirty Pictures", 1986) for the seams of
    Kwatra et al., "Graphcut Textures" (SIGGRAPH 2003).
    """
    size = (image.shape[-2], image.shape[-1])
    copies = image[0].flatten(1).t()[source]  # (N, K, 3)
    beside, inside = _beside(targets, size)
    every = torch.arange(len(targets), device=targets.device)
    turn = (targets // size[1] + targets % size[1]) % 2
    piece = cost.argmin(1)
    for number in range(ROUNDS):
        theirs = piece[beside]  # (N, 4)
        choice = torch.cat([piece[:, None], theirs], 1)  # (N, 5)
        here = copies[every[:, None], choice]
        here = (here[:, :, None] - here[:, None, 1:]).square().mean(3)  # (N, 5, 4)
        there = copies[beside[:, None], choice[:, :, None]] - copies[beside, theirs][:, None]
        seams = SEAM_WEIGHT / 2 * (here + there.square().mean(3)) + SEAM_COST * (
            choice[:, :, None] != theirs[:, None]
        )
        total = cost.gather(1, choice) + (seams * inside[:, None]).sum(2)
        better = choice.gather(1, total.argmin(1, keepdim=True))[:, 0]
        piece = torch.where(turn == number % 2, better, piece)
    return source[every, piece]


def _beside(targets: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """(N, 4), the number of the target on each side of each, and whether there is one."""
    height, width = size
    numbers = torch.full((height + 2, width + 2), -1, device=targets.device)
    row, column = targets // width + 1, targets % width + 1
    numbers[row, column] = torch.arange(len(targets), device=targets.device)
    beside = torch.stack(
        [
            numbers[row - 1, column],
            numbers[row + 1, column],
            numbers[row, column - 1],
            numbers[row, column + 1],
        ],
        1,
    )
    return beside.clamp_min(0), beside >= 0
