"""Copying from the known surroundings: a coarse-to-fine patch match that fills a hole with real pixels.

Nothing here is learned. Starting from a coarse guess of the hole, into which `edges` are carried on, every
patch that touches the hole looks for the patch most like it around a known pixel; the patches found vote for
new colours, and the search is repeated on those (Wexler, Shechtman and Irani, "Space-Time Completion of
Video", TPAMI 2007). At 1/16 scale the search is exhaustive, by matrix products, of colours and of the
contrast below that scale; first against means of what is known, since the guess shows no more, and it ends
with few large `pieces`. From 1/8 to 1/2 scale the guess is first voted for anew with that scale's pixels, and
only the offsets of the pixels beside and the patches around the inherited match are tried (PatchMatch: Barnes
et al., SIGGRAPH 2009), which keeps together what was found together. At full scale the matched pixels are
copied, so that the copy is as sharp as the photograph. `membrane` fits their colours to those around the
hole, and `seamless` to each other.

All tensors are on the CPU, whatever the networks run on: these are small steps that depend on each other,
which compiled loops take fastest. Masks: 1 = hole to fill; `known` is the opposite, 1 = known.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from model_core.config import GeneratorConfig
from model_core.networks.edges import carry_edges
from model_core.networks.fields import copy_along, enlarged
from model_core.networks.membrane import membrane
from model_core.networks.patches import PatchLevel
from model_core.networks.pyramid import Level, deviation, doubled, halved, known_pyramid, push_pull
from model_core.networks.seamless import seam_correction
from model_core.networks.votes import vote_on_corrections

GUESS_SCALE, COARSE_SCALE = 8, 16
FINE_SCALES = (8, 4, 2)
# What a standard deviation is multiplied by to be a channel beside the colours.
CONTRAST_WEIGHT = 4.0


class Match(NamedTuple):
    """What the matcher found.

    Attributes:
        copied: (B, 3, H, W) float32 in [-1, 1]; the known pixels, and in the hole the pixels copied there.
        fitted: (B, 3, H, W) float32, meant for [-1, 1]: the same in the colours around the hole, which
            `membrane` adds.
        distance: (B, 1, H, W) float32 >= 0; mean squared difference between each hole pixel's patch, as those
            around vote for it, and its source's at 1/2 scale; 0 outside the hole.
        misfit: (B, 1, H/8, W/8) float32 >= 0; root of the mean of that difference over the hole around, at
            1/8 scale, where it tells whether what was copied goes together: about 0.05 if it does (a sky, a
            meadow), 0.2 if it does not (the parts of a house). 0 where no hole is near.
        source: (B, 2, H, W) int32, row and column of the pixel that was copied there, or would have been if
            it were known; outside the hole without meaning.
    """

    copied: Tensor
    fitted: Tensor
    distance: Tensor
    misfit: Tensor
    source: Tensor


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
        picture = [_one_of(level, index) for level in levels[:5]]
        found.append(_match_one(picture, _one(smooth, index), _one(coarse, index), config))
    return Match(*(_batch(parts) for parts in zip(*found, strict=True)))


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
        copied = _one(found.copied, index)
        if not _one(share, index).any():
            blended.append(copied)
            continue
        full, half = (PatchLevel(_one_of(level, index), config.patch_size) for level in levels[:2])
        source = found.source[index]
        # Blocks of 2x2 pixels share their offset.
        correction = seam_correction(half.image, half.known, (source[:, ::2, ::2] // 2).flatten(1))
        voted = full.vote(copied, source.flatten(1))
        corrected = (correction[0], half.hole[0, 0], full.known[0, 0], voted[0])
        vote_on_corrections(*(part.numpy() for part in corrected))
        blended.append(voted)
    return _batch(blended)


def _one_of(level: Level, index: int) -> Level:
    return Level(_one(level.average, index), _one(level.share, index))


def _one(batch: Tensor, index: int) -> Tensor:
    """One of a batch, as a batch."""
    return batch[index : index + 1]


def _batch(ones: Sequence[Tensor]) -> Tensor:
    # A lone one need not be copied.
    return torch.cat(list(ones)) if len(ones) > 1 else ones[0]


def _match_one(levels: list[Level], smooth: Tensor, coarse: Tensor, config: GeneratorConfig) -> Match:
    by_scale = {2**k: level for k, level in enumerate(levels)}
    level = PatchLevel(_with_contrast(levels[0], by_scale[COARSE_SCALE]), config.patch_size)
    # The coarse guess has no contrast: that of the surroundings stands for it.
    contrast = push_pull(known_pyramid(level.image[:, 3:], level.known))[0]
    coarse = halved(carry_edges(by_scale[GUESS_SCALE], coarse))
    guess, field = level.settle(level.compose(torch.cat([coarse, contrast], 1)), config.coarse_passes)
    guess = guess[:, :3]  # From here on colours alone are compared.
    for scale in FINE_SCALES:
        level = PatchLevel(by_scale[scale], config.patch_size)
        field = enlarged(field, (guess.shape[-2], guess.shape[-1]))
        # The guess takes its detail from where it will be copied from: smooth, it would find what is smooth.
        guess = level.vote(level.compose(doubled(guess)), field)
        field, distance = level.search_nearby(guess, level.propagate(guess, field))
        if scale == FINE_SCALES[0]:
            misfit = level.mean_around(distance).sqrt()
    correction = membrane(level.image, level.known, field)
    field = enlarged(field, level.size)
    copy = copy_along(field, *levels[0], smooth, correction, distance)
    return Match(*copy, misfit, field.view(1, 2, *levels[0].share.shape[-2:]))


def _with_contrast(full: Level, reduced: Level) -> Level:
    """With contrast as a fourth channel: a lawn and a wall may have the same mean colour."""
    contrast = CONTRAST_WEIGHT * deviation(full, reduced)
    return Level(torch.cat([reduced.average, contrast], 1), reduced.share)
