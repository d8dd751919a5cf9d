"""Copying from the known surroundings: a coarse-to-fine patch match that fills a hole with real pixels.

Nothing here is learned. Starting from a coarse guess of the hole, every patch that touches the hole looks for
the patch most like it around a known pixel; the patches found vote for new colours, and the search is
repeated on those (Wexler, Shechtman and Irani, "Space-Time Completion of Video", TPAMI 2007). At 1/16 scale
the search is exhaustive, by matrix products, of colours and of the contrast below that scale; first against
means of what is known, since the guess shows no more, and it ends with few large `pieces`. From 1/8 to 1/2
scale the guess is first voted for anew with that scale's pixels, and only the offsets of the pixels beside
and the patches around the inherited match are tried (PatchMatch: Barnes et al., SIGGRAPH 2009), which keeps
together what was found together. At full scale the matched pixels are copied, so that the copy is as sharp as
the photograph. `membrane` fits their colours to those around the hole, and `seamless` to each other.

A *field* is a (2, H*W) int64 tensor: for each pixel the row and the column of its source. *Rows* are (H*W, C)
tensors, one pixel a row. Masks: 1 = hole to fill; `known` is the opposite, 1 = known.
"""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from model_core.config import GeneratorConfig
from model_core.networks.membrane import membrane
from model_core.networks.patches import VOTE_REACH, PatchLevel
from model_core.networks.pyramid import Level, deviation, doubled, halved, known_pyramid, push_pull
from model_core.networks.seamless import seam_correction

COARSE_SCALE = 16
FINE_SCALES = (8, 4, 2)
# What a standard deviation is multiplied by to be a channel beside the colours.
CONTRAST_WEIGHT = 4.0


class Match(NamedTuple):
    """What the matcher found.

    Attributes:
        copied: (B, 3, H, W) float32 in [-1, 1]; the known pixels, and in the hole the pixels copied there.
        correction: (B, 3, H, W) float32, what `membrane` adds to them; 0 outside the hole.
        distance: (B, 1, H, W) float32 >= 0; mean squared difference between each hole pixel's patch, as those
            around vote for it, and its source's at 1/2 scale; 0 outside the hole.
        misfit: (B, 1, H/8, W/8) float32 >= 0; root of the mean of that difference over the hole around, at
            1/8 scale, where it tells whether what was copied goes together: about 0.05 if it does (a sky, a
            meadow), 0.2 if it does not (the parts of a house). 0 where no hole is near.
        source: (B, 2, H, W) int64, row and column of the pixel that was copied there, or would have been if
            it were known; outside the hole without meaning.
    """

    copied: Tensor
    correction: Tensor
    distance: Tensor
    misfit: Tensor
    source: Tensor

    @property
    def fitted(self) -> Tensor:
        """(B, 3, H, W) float32, meant for [-1, 1]: what was copied, in the colours around the hole."""
        return self.copied + self.correction


def match(levels: list[Level], smooth: Tensor, coarse: Tensor, config: GeneratorConfig) -> Match:
    """Fill holes with pixels copied from the known surroundings.

    Args:
        levels: of `known_pyramid`, H and W multiples of 16.
        smooth: (B, 3, H, W) float32 in [-1, 1], what stands where nothing can be copied.
        coarse: (B, 3, H/8, W/8) float32 in [-1, 1], the first guess at the hole's content.
        config: its patch_size and coarse_passes count.
    """
    # One picture at a time: each has another number of pixels to match.
    found = []
    for index in range(len(coarse)):
        one = slice(index, index + 1)
        picture = [Level(level.average[one], level.share[one]) for level in levels[:5]]
        found.append(_match_one(picture, smooth[one], coarse[one], config))
    return Match(*(torch.cat(parts) for parts in zip(*found, strict=True)))


def blend_seams(found: Match, levels: list[Level], share: Tensor, config: GeneratorConfig) -> Tensor:
    """What was copied, without seams: the mean of what the patches over a pixel would copy, and a correction.

    Args:
        found: by `match`.
        levels: the picture at full scale and at 1/2.
        share: (B, 1, H, W), how much of each pixel is wanted; pictures of which nothing is are left alone.

    Returns:
        (B, 3, H, W) float32, meant for [-1, 1].
    """
    blended = []
    for index in range(len(found.copied)):
        one = slice(index, index + 1)
        if not share[one].any():
            blended.append(found.copied[one])
            continue
        full, half = (
            PatchLevel(Level(level.average[one], level.share[one]), config.patch_size) for level in levels[:2]
        )
        source = found.source[index]
        # Blocks of 2x2 pixels share their offset.
        correction = seam_correction(half.image, half.known, (source[:, ::2, ::2] // 2).flatten(1))
        voted = full.vote(found.copied[one], source.flatten(1))
        blended.append(voted + _vote_on(correction, half.hole) * full.hole)
    return torch.cat(blended)


def _vote_on(correction: Tensor, hole: Tensor) -> Tensor:
    """(1, 3, H, W): the mean of the corrections that belong to the patches over a pixel.

    Args:
        correction: (1, 3, H/2, W/2) float32, 0 outside the hole.
        hole: (1, 1, H/2, W/2) float32 in {0, 1}.
    """
    # The mean over 3x3 pixels, of which each has the correction of its block of 2x2.
    mean = doubled(torch.cat([correction, hole], 1), neighbour=1 / (2 * VOTE_REACH + 1))
    # Pixels of the hole in a half-known cell have no correction of their own.
    return mean[:, :3] / mean[:, 3:].clamp_min(1e-12)


def _match_one(levels: list[Level], smooth: Tensor, coarse: Tensor, config: GeneratorConfig) -> Match:
    by_scale = {2**k: level for k, level in enumerate(levels)}
    level = PatchLevel(_with_contrast(levels[0], by_scale[COARSE_SCALE]), config.patch_size)
    # The coarse guess has no contrast: that of the surroundings stands for it.
    contrast = push_pull(known_pyramid(level.image[:, 3:], level.known))[0]
    guess, field = level.settle(level.compose(torch.cat([halved(coarse), contrast], 1)), config.coarse_passes)
    guess = guess[:, :3]  # From here on colours alone are compared.
    for scale in FINE_SCALES:
        level = PatchLevel(by_scale[scale], config.patch_size)
        field = _enlarge_field(field, guess, level.size)
        # The guess takes its detail from where it will be copied from: smooth, it would find what is smooth.
        guess = level.vote(level.compose(doubled(guess)), field)
        field, distance = level.search_nearby(guess, level.propagate(guess, field))
        if scale == FINE_SCALES[0]:
            misfit = level.mean_around(distance).sqrt()
    image, known = levels[0]
    size = (image.shape[-2], image.shape[-1])
    correction = doubled(membrane(level.image, level.known, field)) * (1 - known)
    field = _enlarge_field(field, guess, size)
    distance = F.interpolate(distance, size=size, mode="nearest") * (1 - known)
    copied = _copy(image, known, field, smooth)
    return Match(copied, correction, distance, misfit, field.view(1, 2, *size))


def _with_contrast(full: Level, reduced: Level) -> Level:
    """With contrast as a fourth channel: a lawn and a wall may have the same mean colour."""
    contrast = CONTRAST_WEIGHT * deviation(full, reduced)
    return Level(torch.cat([reduced.average, contrast], 1), reduced.share)


def _copy(image: Tensor, known: Tensor, field: Tensor, otherwise: Tensor) -> Tensor:
    """Fill the hole along the field, and with `otherwise` where the source is a hole itself."""
    known, pixels = known.flatten(), image[0].flatten(1)
    hole = (known == 0).nonzero()[:, 0]
    source = field[0, hole] * image.shape[-1] + field[1, hole]
    copied, other = pixels.index_select(1, source), otherwise[0].flatten(1).index_select(1, hole)
    filled = torch.lerp(other, copied, known.index_select(0, source))
    return pixels.index_copy(1, hole, filled).view_as(image)


def _enlarge_field(field: Tensor, image: Tensor, size: tuple[int, int]) -> Tensor:
    """Carry the field of `image` over to a whole multiple of its size; each pixel keeps its offset."""
    height, width = image.shape[-2:]
    factor = size[0] // height
    step = torch.arange(factor, device=field.device)
    steps = torch.stack(torch.meshgrid(step, step, indexing="ij"))  # (2, factor, factor)
    grid = field.view(2, height, 1, width, 1) * factor + steps[:, None, :, None, :]
    return grid.reshape(2, -1)
