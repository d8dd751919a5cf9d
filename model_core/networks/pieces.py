"""Filling a hole with few large pieces of its surroundings instead of many small ones.

Patches that are chosen one by one repeat whatever lies nearest: a sky shows the same bird five times. In a
photograph few offsets, from where a pixel is to where it is copied from, account for most of what looks alike
(He and Sun, "Statistics of Patch Offsets for Image Completion", ECCV 2012). So all pixels of the hole share
few offsets, and those of one offset form one piece, as rigid as it was in the photograph. Pieces a few pixels
apart still show the same things: what stands out costs more the second time.

Offsets are (2, K) int64, rows and columns; pixels (N,) int64 numbers in reading order.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from model_core.networks.compiled import compiled

FloatArray = NDArray[np.float32]
IntArray = NDArray[np.int64]

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
    best = sources[distance.argmin(1)].numpy()
    pixels, allowed = targets.numpy(), sources.numpy()
    offsets = _best_offsets(pixels, best, size)
    cost, copied = _costs(distance.numpy(), pixels, allowed, offsets, size)
    price = np.minimum(REPETITION_COST * salience.numpy(), np.float32(REPETITION_LIMIT))
    chosen, repetition = _few(cost, copied, price)
    cost, copied = cost[chosen], copied[chosen]
    # No seam is worth a source that there is not.
    cost[cost > distance.amax(1).numpy()] = np.inf
    placed = _place_seams(cost + repetition, copied, pixels, image[0].flatten(1).numpy(), size)
    return torch.from_numpy(placed)


def _best_offsets(targets: IntArray, best: IntArray, size: tuple[int, int]) -> IntArray:
    """(2, K): those that are best for any target."""
    width = size[1]
    # One number for both, whatever their signs.
    span = 2 * width + 1
    code = np.unique((best // width - targets // width) * span + best % width - targets % width + width)
    return np.stack([code // span, code % span - width])


@compiled
def _costs(
    distance: FloatArray, targets: IntArray, sources: IntArray, offsets: IntArray, size: tuple[int, int]
) -> tuple[FloatArray, IntArray]:
    """How badly each offset suits each target, (K, N) float32, and the pixel that it leads to, (K, N), at the
    edges the nearest one.
    """
    height, width = size
    place = np.full(height * width, -1)
    for number in range(len(sources)):
        place[sources[number]] = number
    worst = distance[:, 0].copy()
    for target in range(len(targets)):
        for number in range(1, len(sources)):
            worst[target] = max(worst[target], distance[target, number])
    cost = np.empty((offsets.shape[1], len(targets)), np.float32)
    copied = np.empty(cost.shape, np.int64)
    for offset in range(len(cost)):
        for target in range(len(targets)):
            row = targets[target] // width + offsets[0, offset]
            column = targets[target] % width + offsets[1, offset]
            inside = 0 <= row < height and 0 <= column < width
            pixel = min(max(row, 0), height - 1) * width + min(max(column, 0), width - 1)
            copied[offset, target] = pixel
            # What is no source is worse than the worst by more than a piece costs.
            cost[offset, target] = worst[target] + np.float32(2 * PIECE_COST)
            if inside and place[pixel] >= 0:
                cost[offset, target] = distance[target, place[pixel]]
    return cost, copied


@compiled
def _few(cost: FloatArray, copied: IntArray, price: FloatArray) -> tuple[IntArray, FloatArray]:
    """Choose offsets such that each but the first saves at least what it costs.

    The greedy algorithm for facility location: one after the other the offset that saves most. What one
    saves only falls as others are chosen, so few have to be looked at anew each time (Minoux, "Accelerated
    Greedy Algorithms for Maximizing Submodular Set Functions", 1978). Since each target's own best is among
    them, the chosen ones offer each target a possible source.

    Args:
        cost: (K, N).
        copied: (K, N), what each offset would copy.
        price: (h*w,) in [0, `REPETITION_LIMIT`], what a pixel costs that is shown already.

    Returns:
        (n,), 1 <= n <= K, the offsets; (n, N), what they cost for pixels shown by those before.
    """
    count, targets = cost.shape
    shown = np.zeros_like(price)
    lowest, now = cost[0].copy(), np.empty(targets, np.float32)
    for offset in range(1, count):
        for target in range(targets):
            lowest[target] = max(lowest[target], cost[offset, target])
    savings = np.empty(count, np.float32)
    for offset in range(count):
        savings[offset] = _saved(lowest, cost[offset])
    chosen = np.empty(count, np.int64)
    repetition = np.empty(cost.shape, np.float32)
    pieces = 0
    while pieces < count:
        offset = int(savings.argmax())
        for target in range(targets):
            now[target] = cost[offset, target] + shown[copied[offset, target]]
        saved = _saved(lowest, now)
        savings[offset] = saved
        if saved < savings.max():
            continue  # another promised more, and is looked at next
        if pieces > 0 and saved < PIECE_COST:
            break
        chosen[pieces] = offset
        savings[offset] = -1  # less than any
        for target in range(targets):
            repetition[pieces, target] = shown[copied[offset, target]]
        for target in range(targets):
            if now[target] < lowest[target]:
                lowest[target] = now[target]
                shown[copied[offset, target]] = price[copied[offset, target]]
        pieces += 1
    return chosen[:pieces], repetition[:pieces]


@compiled
def _saved(lowest: FloatArray, now: FloatArray) -> np.float32:
    """By how much what each target costs falls, in all."""
    total = np.float32(0)
    for target in range(len(now)):
        total += max(lowest[target] - now[target], np.float32(0))
    return total


@compiled
def _place_seams(
    cost: FloatArray, copied: IntArray, targets: IntArray, image: FloatArray, size: tuple[int, int]
) -> IntArray:
    """(N,), one of the K sources of each target: pieces meet where they look alike.

    Iterated conditional modes (Besag, "On the Statistical Analysis of Dirty Pictures", 1986) for the seams of
    Kwatra et al., "Graphcut Textures" (SIGGRAPH 2003).

    Args:
        cost: (K, N).
        copied: (K, N), the source that each piece offers each target.
        image: (3, h*w).
        size: (h, w).
    """
    height, width = size
    number = np.full((height + 2, width + 2), -1)
    piece = np.empty(len(targets), np.int64)
    for target, pixel in enumerate(targets):
        number[pixel // width + 1, pixel % width + 1] = target
        piece[target] = cost[:, target].argmin()
    beside = np.empty(4, np.int64)
    for turn in range(ROUNDS):
        # Those of one colour of a chessboard have no neighbours among them.
        for target, pixel in enumerate(targets):
            row, column = pixel // width, pixel % width
            if (row + column) % 2 != turn % 2:
                continue
            beside[0], beside[1] = number[row, column + 1], number[row + 2, column + 1]
            beside[2], beside[3] = number[row + 1, column], number[row + 1, column + 2]
            best, least = piece[target], _cost_of(piece[target], target, cost, copied, image, piece, beside)
            for other in beside:
                if other >= 0 and piece[other] != best:
                    total = _cost_of(piece[other], target, cost, copied, image, piece, beside)
                    if total < least:
                        best, least = piece[other], total
            piece[target] = best
    sources = np.empty_like(piece)
    for target in range(len(targets)):
        sources[target] = copied[piece[target], target]
    return sources


@compiled
def _cost_of(
    mine: int,
    target: int,
    cost: FloatArray,
    copied: IntArray,
    image: FloatArray,
    piece: IntArray,
    beside: IntArray,
) -> np.float32:
    """What it costs a target to be in the piece `mine`, seams to those beside included."""
    total: np.float32 = cost[mine, target]
    for other in beside:
        if other < 0 or piece[other] == mine:
            continue
        theirs = piece[other]
        squares = np.float32(0)
        for colour in range(3):
            here = image[colour, copied[mine, target]] - image[colour, copied[theirs, target]]
            there = image[colour, copied[mine, other]] - image[colour, copied[theirs, other]]
            squares += here * here + there * there
        total += np.float32(SEAM_COST) + np.float32(SEAM_WEIGHT / 6) * squares
    return total
