"""Reduced copies of a picture with a hole, and the smooth fill that they give. Masks: 1 = hole.

All tensors are float32 on the CPU.
"""

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from model_core.networks.compiled import Index, compiled

FloatArray = NDArray[np.float32]


class Level(NamedTuple):
    """One scale of a picture with a hole.

    Attributes:
        average: (B, C, h, w), the mean of the known pixels in each cell; 0 where nothing is known.
        share: (B, 1, h, w) in [0, 1], the known share of each cell's area.
    """

    average: Tensor
    share: Tensor


def known_pyramid(image: Tensor, known: Tensor) -> list[Level]:
    """The picture at full scale, at 1/2, 1/4, and so on down to one pixel; nothing bleeds out of the hole.

    Args:
        image: (B, C, H, W); values where known is 0 are ignored.
        known: (B, 1, H, W) in {0, 1}, 1 = known.
    """
    levels = [Level(image * known, known.contiguous())]
    sums = levels[0].average
    while max(sums.shape[-2:]) > 1:
        size = ((sums.shape[-2] + 1) // 2, (sums.shape[-1] + 1) // 2)
        smaller, average = sums.new_empty(2, *sums.shape[:2], *size)
        share = sums.new_empty(len(sums), 1, *size)
        _reduce(*(part.numpy() for part in (sums, levels[-1].share, smaller, share, average)))
        levels.append(Level(average, share))
        sums = smaller
    return levels


@compiled
def _reduce(
    sums: FloatArray, known: FloatArray, smaller: FloatArray, share: FloatArray, average: FloatArray
) -> None:
    """Halve both sides; what lies beyond an odd one counts as hole.

    Args:
        sums: (B, C, H, W), the mean of each cell, what is not known being 0.
        known: (B, 1, H, W), the known share of each.
        smaller, share, average: (B, C, h, w), (B, 1, h, w) and (B, C, h, w), written to: the same of larger
            cells, and the mean of what is known in them.
    """
    for image in range(len(sums)):
        _halve(known[image, 0], share[image, 0])
        for channel in range(sums.shape[1]):
            _halve(sums[image, channel], smaller[image, channel])
            for row in range(share.shape[2]):
                shares, means = share[image, 0, row], smaller[image, channel, row]
                averages = average[image, channel, row]
                for column in range(len(means)):
                    averages[column] = means[column] / max(shares[column], np.float32(1e-12))


@compiled
def _halve(plane: FloatArray, half: FloatArray) -> None:
    """Write the means of blocks of 2x2 pixels, of which those beyond an edge are 0."""
    height, width = plane.shape
    for row in range(len(half)):
        cells, above = half[row], plane[2 * row]
        below = above if 2 * row + 1 == height else plane[2 * row + 1]
        weight = np.float32(0) if 2 * row + 1 == height else np.float32(0.25)
        for column in range(Index(width // 2)):
            left, right = Index(2) * column, Index(2) * column + Index(1)
            cells[column] = np.float32(0.25) * (above[left] + above[right]) + weight * (
                below[left] + below[right]
            )
        if width % 2:
            cells[width // 2] = np.float32(0.25) * above[width - 1] + weight * below[width - 1]


def deviation(full: Level, reduced: Level) -> Tensor:
    """The standard deviation of each cell's known pixels: the root of the mean of the colours' variances.

    Args:
        full: the picture as `known_pyramid` returns it at full scale, each pixel known or 0.
        reduced: the same at a smaller scale, (B, C, h, w), H / h and W / w the same power of two.

    Returns:
        (B, 1, h, w); 0 where nothing is known.
    """
    squares = full.average.square().mean(1, keepdim=True)
    while squares.shape[-1] > reduced.share.shape[-1]:
        squares = halved(squares)
    variance = squares / reduced.share.clamp_min(1e-12) - reduced.average.square().mean(1, keepdim=True)
    return variance.clamp_min(0).sqrt()


def push_pull(levels: list[Level]) -> list[Tensor]:
    """Fill the hole smoothly from its border (Gortler et al., "The Lumigraph", SIGGRAPH 1996, section 3.4).

    Args:
        levels: of `known_pyramid`, from full scale down.

    Returns:
        For each level (B, C, h, w): the averages where something is known, else interpolated from the level
        below. What is known at full scale is unchanged.
    """
    filled = [levels[-1].average]
    for average, share in reversed(levels[:-1]):
        whole = average.clone()
        _fill_in(share.numpy(), filled[-1].numpy(), whole.numpy())
        filled.append(whole)
    return filled[::-1]


@compiled
def _fill_in(share: FloatArray, smaller: FloatArray, filled: FloatArray) -> None:
    """Where nothing is known, write what `smaller`, (B, C, h, w), has there to `filled`, (B, C, H, W)."""
    last, width = smaller.shape[3] - 1, share.shape[3]
    near, far = np.float32(0.75), np.float32(0.25)
    between, wide = np.empty(last + 3, np.float32), np.empty(2 * last + 2, np.float32)
    for image in range(len(share)):
        for row in range(share.shape[2]):
            shares = share[image, 0, row]
            if shares.min() > 0:
                continue
            cell = row // 2
            other = min(max(cell + 2 * (row % 2) - 1, 0), smaller.shape[2] - 1)
            for channel in range(smaller.shape[1]):
                here, there = smaller[image, channel, cell], smaller[image, channel, other]
                for column in range(last + 1):
                    between[column + 1] = near * here[column] + far * there[column]
                between[0], between[last + 2] = between[1], between[last + 1]
                pixels = filled[image, channel, row]
                for column in range(Index(last + 1)):
                    middle = near * between[column + Index(1)]
                    wide[Index(2) * column] = middle + far * between[column]
                    wide[Index(2) * column + Index(1)] = middle + far * between[column + Index(2)]
                for column in range(Index(width)):
                    pixels[column] = wide[column] if shares[column] == 0 else pixels[column]


def halved(image: Tensor) -> Tensor:
    """The means of blocks of 2x2 pixels: (B, C, 2H, 2W) -> (B, C, H, W).

    What F.avg_pool2d computes, which takes five times as long on the CPU.
    """
    rows = image[..., ::2, :] + image[..., 1::2, :]
    return (rows[..., ::2] + rows[..., 1::2]) / 4


def doubled(image: Tensor) -> Tensor:
    """Enlarge (B, C, H, W) by two, bilinearly between the centres of the pixels, the outermost ones repeated.

    What F.interpolate computes, but the same to the last bit however many threads compute it.
    """
    for axis in (2, 3):
        image = _doubled(image, axis)
    return image


def _doubled(image: Tensor, axis: int) -> Tensor:
    last = image.shape[axis] - 1
    without_last, without_first = image.narrow(axis, 0, last), image.narrow(axis, 1, last)
    pairs = image.new_empty(*image.shape[: axis + 1], 2, *image.shape[axis + 1 :])
    before, after = pairs.unbind(axis + 1)
    torch.lerp(without_first, without_last, 0.25, out=before.narrow(axis, 1, last))
    torch.lerp(without_last, without_first, 0.25, out=after.narrow(axis, 0, last))
    before.select(axis, 0).copy_(image.select(axis, 0))
    after.select(axis, last).copy_(image.select(axis, last))
    return pairs.flatten(axis, axis + 1)
