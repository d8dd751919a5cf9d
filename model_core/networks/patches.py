"""The patches of one scale of a picture: which may be copied, the search for them, and their votes.

`matching` goes from scale to scale with them, and `fields` explains *fields*. Masks: 1 = hole to fill;
`known` is the opposite, 1 = known.
"""

import functools

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from model_core.networks import nearby, votes
from model_core.networks.compiled import compiled
from model_core.networks.distances import all_windows, patch_distances
from model_core.networks.masks import spread
from model_core.networks.pieces import sources_of_pieces
from model_core.networks.pyramid import Level
from model_core.networks.ramp import ramp

FloatArray = NDArray[np.float32]
IntArray = NDArray[np.int32]

# A reduced pixel counts as known when at least this share of its area is.
KNOWN_SHARE = 0.5
# How far a patch reaches that votes; `votes` reckons with it.
VOTE_REACH = 1
# The mean squared difference that a source one side of the picture away is charged with. Rows cost more than
# columns, since photographs change from the sky to the ground more than from left to right.
ROW_COST = 0.2
COLUMN_COST = 0.05
# What was found together stays together, unless it pays. The offset of the pixels beside is taken only if its
# distance is below this share of the inherited one's, ...
PROPAGATION_GAIN = 0.9
# ... and that to a patch beside the source below this share.
STEP_GAIN = 0.8
# Around what an exhaustive search may find, this many pixels to every side are known. With more, what is most
# like the hole's content is left out.
SOURCE_REACH = 1
# What a source at the picture's edge costs a target that is not: a strip between hole and edge would be shown
# again and again.
EDGE_COST = 0.5
# How far around a pixel its mean is taken, which a guess is compared with that can only show means, ...
MEAN_REACH = 1
# ... and which it may stand out from.
SALIENCE_REACH = 2
# What stands out must not come again and again where everything else fits: a gull in a calm sky. Up to the
# first of these mean distances of the best sources it costs fully, from the second on nothing: where little
# fits, the second best is worse than a repetition.
CALM_DISTANCE = (0.03, 0.05)
# The mean squared difference of a rounding to 8 bits and back, which is nothing to go by.
ROUNDING = 1e-4
# How far around a pixel the misfit of what was copied is averaged, in pixels of 1/8 scale.
MISFIT_REACH = 16


class PatchLevel:
    """One scale of one picture: its reduced image, what is known of it, and which patches may be copied.

    The image may have further channels than its colours, for exhaustive searches and votes; searches nearby
    take colours alone.
    """

    def __init__(self, level: Level, patch_size: int) -> None:
        self.image = level.average
        self.known = (level.share >= KNOWN_SHARE).to(level.average.dtype)
        self.size = (self.image.shape[-2], self.image.shape[-1])
        self.patch_size = patch_size
        self.hole = 1 - self.known

    @functools.cached_property
    def matched(self) -> Tensor:
        """Patches around the hole's border are matched too: their votes tie the fill to what surrounds it."""
        return spread(self.hole, VOTE_REACH)

    @functools.cached_property
    def penalty(self) -> Tensor:
        """What a search nearby charges a source: one with holes in its patch is a last resort, one that is a
        hole itself the very last.
        """
        return (4 * spread(self.hole, self.patch_size // 2) + 16 * self.hole).flatten()

    @functools.cached_property
    def sources(self) -> Tensor:
        """(M,): the pixels that an exhaustive search may find."""
        return (spread(self.hole, SOURCE_REACH) == 0).flatten().nonzero()[:, 0]

    @functools.cached_property
    def salience(self) -> Tensor:
        """(h*w,): how much each known pixel stands out, as the squared difference to the mean around it."""
        difference = self.image - self._means(SALIENCE_REACH, self.image)
        return (difference.square().sum(1, keepdim=True) * self.known).flatten()

    def compose(self, guess: Tensor) -> Tensor:
        """(1, C, h, w): the known pixels, and `guess` in the hole."""
        return torch.lerp(guess, self.image, self.known)

    def identity(self) -> Tensor:
        """The field in which every pixel is its own source."""
        return self._field(torch.arange(self.size[0] * self.size[1])).to(torch.int32)

    def _field(self, source: Tensor) -> Tensor:
        return torch.stack([source // self.size[1], source % self.size[1]])

    def settle(self, guess: Tensor, passes: int) -> tuple[Tensor, Tensor]:
        """Search and vote by turns, `passes` times, beginning with a guess that shows means.

        The last search finds few pieces. Returns the guess, its hole filled by voting, and the field that
        fills it so.
        """
        field = self.identity()
        for number in range(passes):
            field = self.search_everywhere(guess, field, number == 0, in_pieces=number == passes - 1)
            guess = self.vote(guess, field)
        return guess, field

    def search_everywhere(self, guess: Tensor, field: Tensor, shows_means: bool, in_pieces: bool) -> Tensor:
        """Give each target the best of all sources, or one that few pieces are made of.

        Where a source's patch has pixels of the hole, the guess stands for them.

        Args:
            guess: (1, C, h, w) float32, the known pixels and what is guessed in the hole.
            field: what stands where nothing is found.
            shows_means: whether the guess is a network's, which averages what it cannot know. Compared with
                pixels, it would find what is smooth; so it is compared with means around them.
        """
        sources, targets = self.sources, self.matched.flatten().nonzero()[:, 0]
        if len(sources) == 0 or len(targets) == 0:
            return field
        target = self._patches(guess, targets)
        if shows_means:
            known = self._patches(self.known.expand_as(self.image), targets)
            means = self._means(MEAN_REACH, guess)
            # What is known of a target's patch is compared with pixels, what is guessed with means.
            both = torch.cat([self._patches(picture, sources) for picture in (guess, means)], 1)
            weight = torch.cat([known, 1 - known], 1)
            distance = 2 * patch_distances(torch.cat([target, target], 1), both, weight)
        else:
            distance = patch_distances(target, self._patches(guess, sources))
        _add_displacement_cost(distance.numpy(), targets.numpy(), sources.numpy(), self.size)
        if in_pieces:
            best = distance.amin(1) + target.square().mean(1)
            salience = self.salience * (1 - ramp(best.mean(), CALM_DISTANCE))
            # Seams show in the colours.
            chosen = sources_of_pieces(distance, targets, sources, self.image[:, :3], salience)
        else:
            chosen = sources[distance.argmin(1)]
        field = field.clone()
        field[:, targets] = self._field(chosen).to(field.dtype)
        return field

    def _means(self, reach: int, otherwise: Tensor) -> Tensor:
        """(1, C, h, w): the mean of the known pixels around each, where there are none `otherwise`."""
        known = torch.cat([self.image * self.known, self.known], 1)
        total = F.avg_pool2d(F.pad(known, (reach,) * 4), 2 * reach + 1, 1)
        mean, share = total[:, :-1], total[:, -1:]
        return torch.where(share > 0, mean / share.clamp_min(1e-12), otherwise)

    def _patches(self, image: Tensor, pixels: Tensor) -> Tensor:
        """(N, patch_size^2 * C): the patches of a (1, C, h, w) picture around N pixels."""
        row, column = self._field(pixels)
        return all_windows(image, self.patch_size, self.patch_size // 2)[row, column].flatten(1)

    def propagate(self, guess: Tensor, field: Tensor) -> Tensor:
        """Let blocks of 2x2 pixels take over the offset of a block beside them, if it suits them better.

        The field must have been enlarged by two just now: the pixels of a block share their offset.
        """
        taken = field.clone()
        propagate = nearby.propagation(self.patch_size)
        propagate(*self._compared(guess, field), PROPAGATION_GAIN, ROUNDING, self._grid(taken))
        return taken

    def search_nearby(self, guess: Tensor, field: Tensor) -> tuple[Tensor, Tensor]:
        """Give each target the best of the 3x3 patches around its source; returns the field and distances.

        The 2x2 pixels of a block must share their offset.
        """
        found, distances = field.clone(), torch.zeros(1, 1, *self.size)
        look_around = nearby.search(self.patch_size)
        made = self._grid(found), distances[0, 0].numpy()
        look_around(*self._compared(guess, field), STEP_GAIN, ROUNDING, *made)
        return found, distances.clamp(max=4)

    def _compared(
        self, guess: Tensor, field: Tensor
    ) -> tuple[FloatArray, FloatArray, FloatArray, IntArray, FloatArray]:
        """What the loops of `nearby` are given first."""
        penalty = self.penalty.view(self.size).numpy()
        return self._lines, self._lines_of(guess), self.matched[0, 0].numpy(), self._grid(field), penalty

    @functools.cached_property
    def _lines(self) -> FloatArray:
        return self._lines_of(self.image)

    def _lines_of(self, image: Tensor) -> FloatArray:
        """The colours of a picture as `nearby` wants them."""
        reach = self.patch_size // 2 + 1
        return bordered(image[0, :3].permute(1, 2, 0), reach).flatten(1).numpy()

    def _grid(self, field: Tensor) -> IntArray:
        grid: IntArray = field.view(2, *self.size).numpy()
        return grid

    def mean_around(self, distance: Tensor) -> Tensor:
        """(1, 1, h, w): the mean of the distances of what was matched around each pixel, 0 if nothing was."""
        side = 2 * MISFIT_REACH + 1
        rows = F.avg_pool2d(
            torch.cat([distance * self.matched, self.matched]), (side, 1), 1, (MISFIT_REACH, 0)
        )
        total = F.avg_pool2d(rows, (1, side), 1, (0, MISFIT_REACH))
        return total[:1] / total[1:].clamp_min(1e-12)

    def vote(self, guess: Tensor, field: Tensor) -> Tensor:
        """Recolour the hole: each pixel becomes the mean of what the patches over it would copy there."""
        known, grid = self.known[0, 0].numpy(), self._grid(field)
        # Three channels at a time.
        parts = []
        for start in range(0, guess.shape[1], 3):
            image, voted = (_three_channels(picture[0], start) for picture in (self.image, guess))
            votes.vote(image.numpy(), known, grid, voted.numpy())
            parts.append(voted)
        return torch.cat(parts)[None, : guess.shape[1]]


@compiled
def _add_displacement_cost(
    distance: FloatArray, targets: NDArray[np.int64], sources: NDArray[np.int64], size: tuple[int, int]
) -> None:
    """Add to (N, M) what it costs N pixels to be copied from M others."""
    height, width = size
    row_cost, column_cost = np.float32(ROW_COST / max(size)), np.float32(COLUMN_COST / max(size))
    rows, columns = (sources // width).astype(np.float32), (sources % width).astype(np.float32)
    inside_rows = (rows > 0) & (rows < height - 1)
    edge = np.float32(EDGE_COST) * ~(inside_rows & (columns > 0) & (columns < width - 1))
    for target in range(len(targets)):
        row, column = targets[target] // width, targets[target] % width
        inwards = np.float32(0 < row < height - 1 and 0 < column < width - 1)
        to, here, there = distance[target], np.float32(row), np.float32(column)
        for source in range(len(rows)):
            moved = row_cost * abs(rows[source] - here) + column_cost * abs(columns[source] - there)
            to[source] += moved + inwards * edge[source]


def _three_channels(image: Tensor, first: int) -> Tensor:
    """A copy of three channels of a (C, h, w) picture, of zeros where there are none."""
    channels = image[first : first + 3]
    return F.pad(channels, (0, 0, 0, 0, 0, 3 - len(channels))).contiguous()


def bordered(grid: Tensor, width: int) -> Tensor:
    """(H, W, C) -> (H + 2 width, W + 2 width, C): a border around, with the nearest values."""
    height, across, channels = grid.shape
    wide = grid.new_empty(height + 2 * width, across + 2 * width, channels)
    wide[width:-width, width:-width] = grid
    for lines in (wide[width:-width].transpose(0, 1), wide):
        lines[:width], lines[-width:] = lines[width], lines[-width - 1]
    return wide
