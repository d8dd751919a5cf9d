"""Copying from the known surroundings: a coarse-to-fine patch match that fills a hole with real pixels.

Nothing here is learned. Starting from a coarse guess of the hole, every patch that touches the hole looks for
the known patch most like it; the patches found vote for new colours, and the search is repeated on those
(Wexler, Shechtman and Irani, "Space-Time Completion of Video", TPAMI 2007). At 1/16 and 1/8 scale the search
is exhaustive, one matrix product; at 1/4 and 1/2 scale only the neighbours of the match inherited from the
coarser scale are tried (the refinement half of PatchMatch: Barnes et al., SIGGRAPH 2009). At full scale the
matched pixels are copied unchanged, so that the copy is as sharp as the photograph.

A *field* is a (2, H*W) int64 tensor: for each pixel the row and the column of its source. *Rows* are (H*W, C)
tensors, one pixel a row. Masks: 1 = hole to fill; `known` is the opposite, 1 = known.
"""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from model_core.config import GeneratorConfig

COARSE_SCALES = (16, 8)
FINE_SCALES = (4, 2)
# A reduced pixel counts as known when at least this share of its area is.
KNOWN_SHARE = 0.5
VOTE_SIZE = 3
# Targets are compared in chunks whose patches fit the processor's cache.
CHUNK = 4096
# Each ring deeper into the hole is trusted this much less than the one outside it, down to the floor.
TRUST_DECAY = 0.5
TRUST_FLOOR = 0.02


class Match(NamedTuple):
    """What the matcher found.

    Attributes:
        copied: (B, 3, H, W) float32 in [-1, 1]; the known pixels, and in the hole the pixels copied there.
        distance: (B, 1, H, W) float32 >= 0; mean squared difference between each hole pixel's patch and its
            source's at 1/2 scale, 0 outside the hole.
    """

    copied: Tensor
    distance: Tensor


def known_average(image: Tensor, known: Tensor, factor: int) -> tuple[Tensor, Tensor]:
    """Reduce by `factor`, averaging known pixels only.

    Args:
        image: (B, 3, H, W) float, H and W multiples of factor.
        known: (B, 1, H, W) float, 1 = known.

    Returns:
        The averages, (B, 3, H/factor, W/factor), 0 where nothing is known, and the known shares of their
        areas, (B, 1, H/factor, W/factor).
    """
    share = F.avg_pool2d(known, factor)
    return F.avg_pool2d(image * known, factor) / share.clamp_min(1e-4), share


def push_pull(image: Tensor, known: Tensor) -> Tensor:
    """Fill a hole smoothly from its border (Gortler et al., "The Lumigraph", SIGGRAPH 1996, section 3.4).

    Args:
        image: (B, 3, H, W) float32; values where known is 0 are ignored.
        known: (B, 1, H, W) float32, 1 = known.

    Returns:
        (B, 3, H, W): the known pixels unchanged, the others interpolated.
    """
    height, width = image.shape[-2:]
    if max(height, width) == 1:
        return image * known
    even = (0, width % 2, 0, height % 2)
    reduced, share = known_average(F.pad(image, even), F.pad(known, even), 2)
    filled = push_pull(reduced, (share > 0).to(image.dtype))
    enlarged = F.interpolate(filled, scale_factor=2.0, mode="bilinear", align_corners=False)
    return torch.lerp(enlarged[..., :height, :width], image, known)


def match(image: Tensor, known: Tensor, coarse: Tensor, config: GeneratorConfig) -> Match:
    """Fill holes with pixels copied from the known surroundings.

    Args:
        image: (B, 3, H, W) float32 in [-1, 1], H and W multiples of 16; values in the hole are ignored.
        known: (B, 1, H, W) float32, 1 = known, 0 = hole.
        coarse: (B, 3, H/8, W/8) float32 in [-1, 1], the first guess at the hole's content.
        config: its patch_size, coarse_passes and fine_passes count.
    """
    # One picture at a time: each has another number of pixels to match.
    pictures = zip(image[:, None], known[:, None], coarse[:, None], strict=True)
    found = [_match_one(*picture, config) for picture in pictures]
    return Match(torch.cat([m.copied for m in found]), torch.cat([m.distance for m in found]))


def _match_one(image: Tensor, known: Tensor, coarse: Tensor, config: GeneratorConfig) -> Match:
    guess, field = _match_coarsely(image, known, coarse, config)
    for scale in FINE_SCALES:
        level = _Level(image, known, scale, config.patch_size)
        field = _enlarge_field(field, guess, level.size)
        guess = level.compose(_enlarge(guess, level.size))
        for _ in range(config.fine_passes):
            field, distance = level.search_nearby(guess, field)
            guess = level.vote(guess, field)
    full = (image.shape[-2], image.shape[-1])
    enlarged = F.interpolate(guess, size=full, mode="bilinear", align_corners=False)
    copied = _copy(image, known, _enlarge_field(field, guess, full), enlarged)
    return Match(copied, F.interpolate(distance, size=full, mode="nearest") * (1 - known))


def _match_coarsely(
    image: Tensor, known: Tensor, coarse: Tensor, config: GeneratorConfig
) -> tuple[Tensor, Tensor]:
    """The picture at 1/8 scale with its hole filled by matching, and the field that fills it so.

    What was found at 1/16 scale continues the surroundings further than patches at 1/8 scale reach; the mean
    of it and the coarse guess is where the search at 1/8 scale begins.
    """
    level = _Level(image, known, COARSE_SCALES[0], config.patch_size)
    guess, field = level.compose(F.avg_pool2d(coarse, 2)), level.identity()
    guess, field = level.settle(guess, field, config.coarse_passes)
    level = _Level(image, known, COARSE_SCALES[1], config.patch_size)
    field = _enlarge_field(field, guess, level.size)
    guess = level.compose((_enlarge(guess, level.size) + coarse) / 2)
    return level.settle(guess, field, config.coarse_passes)


def _copy(image: Tensor, known: Tensor, field: Tensor, otherwise: Tensor) -> Tensor:
    """Fill the hole along the field, and with `otherwise` where the source is a hole itself."""
    source = field[0] * image.shape[-1] + field[1]
    copied = image.flatten(2)[:, :, source].view_as(image)
    usable = known.flatten(2)[:, :, source].view_as(known)
    filled = torch.lerp(otherwise, copied, usable)
    return torch.lerp(filled, image, known).clamp(-1, 1)


class _Level:
    """One scale of one picture: its reduced image, what is known of it, and which patches may be copied."""

    def __init__(self, image: Tensor, known: Tensor, scale: int, patch_size: int) -> None:
        average, share = known_average(image, known, scale)
        self.image = average
        self.known = (share >= KNOWN_SHARE).to(image.dtype)
        self.size = (average.shape[-2], average.shape[-1])
        self.patch_size = patch_size
        self.rows = _rows(average)
        hole = 1 - self.known
        # Patches around the hole's border are matched too: their votes tie the fill to what surrounds it.
        self.targets = _spread(hole, VOTE_SIZE // 2).flatten().nonzero()[:, 0]
        self.hole = hole.flatten().nonzero()[:, 0]
        self.known_rows = self.known.flatten()
        # A source with holes in its patch is a last resort, one that is itself a hole the very last.
        self.penalty = 4 * _spread(hole, patch_size // 2).flatten() + 16 * hole.flatten()

    def compose(self, guess: Tensor) -> Tensor:
        """(1, 3, h, w): the known pixels, and `guess` in the hole."""
        return torch.lerp(guess, self.image, self.known)

    def identity(self) -> Tensor:
        """The field in which every pixel is its own source."""
        pixels = torch.arange(self.size[0] * self.size[1], device=self.image.device)
        return self._field(pixels)

    def _field(self, source: Tensor) -> Tensor:
        return torch.stack([source // self.size[1], source % self.size[1]])

    def settle(self, guess: Tensor, field: Tensor, passes: int) -> tuple[Tensor, Tensor]:
        """Search and vote by turns, `passes` times."""
        trust = _trust(self.known)
        for _ in range(passes):
            field = self.search_everywhere(guess, field, trust)
            guess = self.vote(guess, field)
        return guess, field

    def search_everywhere(self, guess: Tensor, field: Tensor, trust: Tensor) -> Tensor:
        """Give each target the best of all patches without a hole pixel, weighing each pixel by its trust.

        The weighted distance sum w (q - s)^2 = sum w q^2 - 2 (w q).s + w.s^2 is one matrix product, for the
        first term does not depend on the source s.
        """
        sources = (self.penalty == 0).nonzero()[:, 0]
        if len(sources) == 0 or len(self.targets) == 0:
            return field
        source = _windows(self.image, self._field(sources), self.patch_size).flatten(1)
        at_targets = self._field(self.targets)
        target = _windows(guess, at_targets, self.patch_size).flatten(1)
        weight = _windows(trust.expand_as(guess), at_targets, self.patch_size).flatten(1)
        distance = torch.cat([weight * target, weight], 1) @ torch.cat([-2 * source, source.square()], 1).t()
        field = field.clone()
        field[:, self.targets] = self._field(sources[distance.argmin(1)])
        return field

    def search_nearby(self, guess: Tensor, field: Tensor) -> tuple[Tensor, Tensor]:
        """Give each target the best of the 3x3 patches around its source; returns the field and distances."""
        field, distances = field.clone(), guess.new_zeros(self.size[0] * self.size[1])
        for start in range(0, len(self.targets), CHUNK):
            targets = self.targets[start : start + CHUNK]
            chosen, distances[targets] = self._best_nearby(guess, targets, field[:, targets])
            field[:, targets] = self._field(chosen)
        return field, distances.clamp(max=4).view(1, 1, *self.size)

    def _best_nearby(self, guess: Tensor, targets: Tensor, source: Tensor) -> tuple[Tensor, Tensor]:
        """Source pixels (N,) and distances (N,) of the best patches around `source` (2, N)."""
        side = self.patch_size
        target = _windows(guess, self._field(targets), side)
        window = _windows(self.image, source, side + 2)  # (N, side + 2, side + 2, 3)
        candidates, distances = [], []
        for down in range(3):
            for right in range(3):
                row = (source[0] + down - 1).clamp(0, self.size[0] - 1)
                column = (source[1] + right - 1).clamp(0, self.size[1] - 1)
                candidates.append(row * self.size[1] + column)
                difference = window[:, down : down + side, right : right + side] - target
                distances.append(difference.square_().mean((1, 2, 3)) + self.penalty[candidates[-1]])
        distance, best = torch.stack(distances).min(0)
        return torch.stack(candidates).gather(0, best[None])[0], distance

    def vote(self, guess: Tensor, field: Tensor) -> Tensor:
        """Recolour the hole: each pixel becomes the mean of what the patches over it would copy there."""
        height, width = self.size
        row, column = self.hole // width, self.hole % width
        total = guess.new_zeros(len(self.hole), 3)
        weight = guess.new_zeros(len(self.hole), 1)
        reach = VOTE_SIZE // 2
        for down in range(-reach, reach + 1):
            for right in range(-reach, reach + 1):
                near_row = (row + down).clamp(0, height - 1)
                near_column = (column + right).clamp(0, width - 1)
                source_row, source_column = field[:, near_row * width + near_column]
                source_row = (source_row + row - near_row).clamp(0, height - 1)
                source_column = (source_column + column - near_column).clamp(0, width - 1)
                source = source_row * width + source_column
                known = self.known_rows[source, None]
                total += self.rows[source] * known
                weight += known
        rows = _rows(guess)
        rows[self.hole] = torch.where(weight > 0, total / weight.clamp_min(1), rows[self.hole])
        return rows.t().reshape(guess.shape)


def _rows(image: Tensor) -> Tensor:
    """(1, C, H, W) -> a new (H*W, C)."""
    return image[0].flatten(1).t().clone(memory_format=torch.contiguous_format)


def _windows(image: Tensor, centres: Tensor, size: int) -> Tensor:
    """(1, C, H, W) and centres (2, N) -> (N, size, size, C): the window around each, edges repeated."""
    reach = size // 2
    padded = F.pad(image, (reach, reach, reach, reach), mode="replicate")
    step = torch.arange(size, device=image.device)
    row = centres[0][:, None, None] + step[:, None]
    return _rows(padded)[row * padded.shape[-1] + centres[1][:, None, None] + step]


def _spread(mask: Tensor, reach: int) -> Tensor:
    """Grow the ones of a (1, 1, H, W) mask by `reach` pixels in every direction."""
    return F.max_pool2d(mask, 2 * reach + 1, 1, reach)


def _trust(known: Tensor) -> Tensor:
    """(1, 1, H, W) in (0, 1]: 1 where known, falling with the depth inside the hole."""
    trust, inside, value = known.clone(), 1 - known, 1.0
    while value > TRUST_FLOOR:
        value *= TRUST_DECAY
        deeper = inside - inside * _spread(1 - inside, 1)
        trust = trust + value * (inside - deeper)
        inside = deeper
    return trust + TRUST_FLOOR * inside


def _enlarge(image: Tensor, size: tuple[int, int]) -> Tensor:
    return F.interpolate(image, size=size, mode="bicubic", align_corners=False)


def _enlarge_field(field: Tensor, image: Tensor, size: tuple[int, int]) -> Tensor:
    """Carry the field of `image` over to a whole multiple of its size; each pixel keeps its offset."""
    height, width = image.shape[-2:]
    factor = size[0] // height
    grid = field.view(2, height, width).repeat_interleave(factor, 1).repeat_interleave(factor, 2) * factor
    grid[0] += (torch.arange(size[0], device=field.device) % factor)[:, None]
    grid[1] += torch.arange(size[1], device=field.device) % factor
    return grid.flatten(1)
