"""Reduced copies of a picture with a hole, and the smooth fill that they give. Masks: 1 = hole."""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F


class Level(NamedTuple):
    """One scale of a picture with a hole.

    Attributes:
        average: (B, C, h, w) float32, the mean of the known pixels in each cell; 0 where nothing is known.
        share: (B, 1, h, w) float32 in [0, 1], the known share of each cell's area.
    """

    average: Tensor
    share: Tensor


def known_pyramid(image: Tensor, known: Tensor) -> list[Level]:
    """The picture at full scale, at 1/2, 1/4, and so on down to one pixel; nothing bleeds out of the hole.

    Args:
        image: (B, C, H, W) float32; values where known is 0 are ignored.
        known: (B, 1, H, W) float32 in {0, 1}, 1 = known.
    """
    image = image * known
    levels = [Level(image, known)]
    sums = torch.cat([image, known], 1)
    while max(sums.shape[-2:]) > 1:
        odd = (0, sums.shape[-1] % 2, 0, sums.shape[-2] % 2)
        # What lies beyond an odd side counts as hole.
        sums = halved(F.pad(sums, odd) if any(odd) else sums)
        share = sums[:, -1:]
        levels.append(Level(sums[:, :-1] / share.clamp_min(1e-12), share))
    return levels


def deviation(full: Level, reduced: Level) -> Tensor:
    """The standard deviation of each cell's known pixels: the root of the mean of the colours' variances.

    Args:
        full: the picture as `known_pyramid` returns it at full scale, each pixel known or 0.
        reduced: the same at a smaller scale, (B, C, h, w), H / h and W / w the same power of two.

    Returns:
        (B, 1, h, w) float32; 0 where nothing is known.
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
        height, width = average.shape[-2:]
        enlarged = doubled(filled[-1])
        filled.append(torch.where(share > 0, average, enlarged[..., :height, :width]))
    return filled[::-1]


def halved(image: Tensor) -> Tensor:
    """The means of blocks of 2x2 pixels: (B, C, 2H, 2W) -> (B, C, H, W).

    What F.avg_pool2d computes, which takes five times as long on the CPU.
    """
    rows = image[..., ::2, :] + image[..., 1::2, :]
    return (rows[..., ::2] + rows[..., 1::2]) / 4


def doubled(image: Tensor, neighbour: float = 0.25) -> Tensor:
    """Enlarge (B, C, H, W) by two; each pixel becomes four, drawn towards the pixels beside them.

    With the default, what F.interpolate computes bilinearly between the centres of the pixels, the outermost
    ones repeated, but the same to the last bit however many threads compute it.

    Args:
        neighbour: the share of what is above or below in the result, and of what is left or right.
    """
    for axis in (2, 3):
        image = _doubled(image, axis, neighbour)
    return image


def _doubled(image: Tensor, axis: int, neighbour: float) -> Tensor:
    last = image.shape[axis] - 1
    without_last, without_first = image.narrow(axis, 0, last), image.narrow(axis, 1, last)
    pairs = image.new_empty(*image.shape[: axis + 1], 2, *image.shape[axis + 1 :])
    before, after = pairs.unbind(axis + 1)
    torch.lerp(without_first, without_last, neighbour, out=before.narrow(axis, 1, last))
    torch.lerp(without_last, without_first, neighbour, out=after.narrow(axis, 0, last))
    before.select(axis, 0).copy_(image.select(axis, 0))
    after.select(axis, last).copy_(image.select(axis, last))
    return pairs.flatten(axis, axis + 1)
