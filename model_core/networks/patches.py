"""The patches of one scale of a picture: which may be copied, the search for them, and their votes.

`matching` goes from scale to scale with them, and explains *fields* and *rows*. Masks: 1 = hole to fill;
`known` is the opposite, 1 = known.
"""

import functools
from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn import functional as F

from model_core.networks.distances import all_windows, block_distances, patch_distances
from model_core.networks.masks import spread
from model_core.networks.pieces import sources_of_pieces
from model_core.networks.pyramid import Level, halved
from model_core.networks.ramp import ramp

# A reduced pixel counts as known when at least this share of its area is.
KNOWN_SHARE = 0.5
# How far a patch reaches that votes.
VOTE_REACH = 1
# Blocks of pixels are compared in chunks that fit the processor's cache.
CHUNK = 1024
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
# A block, and the blocks above, below, left and right of it, in pixels.
BLOCKS = ((0, 0), (-2, 0), (2, 0), (0, -2), (0, 2))
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
        pixels = torch.arange(self.size[0] * self.size[1], device=self.image.device)
        return self._field(pixels)

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
            distance = patch_distances(target, self._patches(guess, sources), known)
            distance += patch_distances(target, self._patches(means, sources), 1 - known)
        else:
            distance = patch_distances(target, self._patches(guess, sources))
        distance += self._displacement_cost(targets, sources)
        if in_pieces:
            best = distance.amin(1) + target.square().mean(1)
            salience = self.salience * (1 - ramp(best.mean(), CALM_DISTANCE))
            # Seams show in the colours.
            chosen = sources_of_pieces(distance, targets, sources, self.image[:, :3], salience)
        else:
            chosen = sources[distance.argmin(1)]
        field = field.clone()
        field[:, targets] = self._field(chosen)
        return field

    def _means(self, reach: int, otherwise: Tensor) -> Tensor:
        """(1, C, h, w): the mean of the known pixels around each, where there are none `otherwise`."""
        known = torch.cat([self.image * self.known, self.known], 1)
        total = F.avg_pool2d(F.pad(known, (reach,) * 4), 2 * reach + 1, 1)
        mean, share = total[:, :-1], total[:, -1:]
        return torch.where(share > 0, mean / share.clamp_min(1e-12), otherwise)

    def _displacement_cost(self, targets: Tensor, sources: Tensor) -> Tensor:
        """(N, M): what it costs N pixels to be copied from M others."""
        side = max(self.size)
        # float32 has half as many bytes as integers.
        row, column = self._field(targets).float()
        source_row, source_column = self._field(sources).float()
        rows, columns = (row[:, None] - source_row).abs(), (column[:, None] - source_column).abs()
        inwards = ~self._at_edge(row, column)[:, None] & self._at_edge(source_row, source_column)
        cost: Tensor = rows * (ROW_COST / side) + columns * (COLUMN_COST / side) + EDGE_COST * inwards
        return cost

    def _at_edge(self, row: Tensor, column: Tensor) -> Tensor:
        height, width = self.size
        return (row == 0) | (row == height - 1) | (column == 0) | (column == width - 1)

    def _patches(self, image: Tensor, pixels: Tensor) -> Tensor:
        """(N, patch_size^2 * C): the patches of a (1, C, h, w) picture around N pixels."""
        row, column = self._field(pixels)
        return all_windows(image, self.patch_size, self.patch_size // 2)[row, column].flatten(1)

    def propagate(self, guess: Tensor, field: Tensor) -> Tensor:
        """Let blocks of 2x2 pixels take over the offset of a block beside them, if it suits them better.

        The field must have been enlarged by two just now: the pixels of a block share their offset.
        """
        height, width = self.size
        windows, patches = (
            all_windows(picture, self.patch_size + 1, self.patch_size // 2) for picture in (self.image, guess)
        )
        taken, beside = field.clone(), torch.tensor(BLOCKS, device=field.device).t()[..., None]
        down, right = _inside_blocks(field.device)
        for row, column in self._blocks():
            above, before = (row + beside[0]).clamp(0, height - 2), (column + beside[1]).clamp(0, width - 2)
            source = field[:, above * width + before]  # (2, 5, N)
            rows = (source[0] + row - above).clamp(0, height - 2)
            columns = (source[1] + column - before).clamp(0, width - 2)
            distance = (windows[rows, columns] - patches[row, column]).square_().flatten(2).mean(2)
            distance += self._block_penalty[rows * width + columns] + ROUNDING
            distance[0] *= PROPAGATION_GAIN
            best = distance.min(0, keepdim=True).indices
            target = (row + down) * width + column + right
            taken[0, target] = rows.gather(0, best) + down
            taken[1, target] = columns.gather(0, best) + right
        return taken

    @functools.cached_property
    def _block_penalty(self) -> Tensor:
        """(h*w,): the worst penalty of the block that begins at each pixel."""
        return F.max_pool2d(F.pad(self.penalty.view(1, 1, *self.size), (0, 1, 0, 1)), 2, 1).flatten()

    def _blocks(self) -> Iterator[tuple[Tensor, Tensor]]:
        """(N,) row and column of the first pixels of blocks of 2x2 that hold targets, `CHUNK` at a time."""
        width = self.size[1] // 2
        for chunk in torch.split(halved(self.matched).flatten().nonzero()[:, 0], CHUNK):
            yield 2 * (chunk // width), 2 * (chunk % width)

    def search_nearby(self, guess: Tensor, field: Tensor) -> tuple[Tensor, Tensor]:
        """Give each target the best of the 3x3 patches around its source; returns the field and distances.

        The 2x2 pixels of a block must share their offset: hence the windows that their patches are compared
        in.
        """
        field = field.clone()
        distances = guess.new_zeros(self.size[0] * self.size[1])
        side, width = self.patch_size, self.size[1]
        windows, patches = (
            all_windows(self.image, side + 3, side // 2 + 1),
            all_windows(guess, side + 1, side // 2),
        )
        preference = guess.new_ones(9, 1, 1, 1)
        preference[4] = STEP_GAIN
        down, right = _inside_blocks(guess.device)
        for row, column in self._blocks():
            source = field[:, row * width + column]
            window, patch = windows[source[0], source[1]], patches[row, column]
            target = (row + down) * width + column + right  # (2, 2, N), as what follows
            candidates = self._neighbours(source[0] + down, source[1] + right)
            distance = block_distances(window, patch, side) + self.penalty[candidates]
            # Several times faster than argmin.
            best = ((distance + ROUNDING) * preference).min(0, keepdim=True).indices
            distances[target] = distance.gather(0, best)[0]
            field[:, target] = self._field(candidates.gather(0, best)[0])
        return field, distances.clamp(max=4).view(1, 1, *self.size)

    def _neighbours(self, row: Tensor, column: Tensor) -> Tensor:
        """(9, ...): pixels (...) and those around them, in reading order; at the edges, the nearest ones."""
        step = torch.arange(-1, 2, device=row.device).view(3, *[1] * row.dim())
        rows = (row + step).clamp(0, self.size[0] - 1)
        columns = (column + step).clamp(0, self.size[1] - 1)
        return (rows[:, None] * self.size[1] + columns).flatten(0, 1)

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
        # With a border around, a pixel and its source are given by one number each, whatever the neighbour.
        width = self.size[1] + 2 * VOTE_REACH
        row, column = self._field(self.hole.flatten().nonzero()[:, 0])
        here = ((row + VOTE_REACH) * width + column + VOTE_REACH)[:, None]
        step = torch.arange(-VOTE_REACH, VOTE_REACH + 1, device=field.device)
        around = here + (step[:, None] * width + step).flatten()
        sources = here + self._shifts(field).index_select(0, around.flatten()).view_as(around)
        total = F.embedding_bag(sources, self._known_rows, mode="sum")
        colour, weight = total[:, :-1].t(), total[:, -1]
        voted = guess[0].clone()
        voted[:, row, column] = torch.where(weight > 0, colour / weight.clamp_min(1), voted[:, row, column])
        return voted[None]

    def _shifts(self, field: Tensor) -> Tensor:
        """((h + 2) * (w + 2),): from each matched pixel to its source, with a border around."""
        targets = self.matched.flatten().nonzero()[:, 0]
        row, column = self._field(targets)
        source_row, source_column = field[:, targets]
        width = self.size[1] + 2 * VOTE_REACH
        shift = torch.zeros(self.size, dtype=torch.int64, device=field.device)
        shift[row, column] = (source_row - row) * width + source_column - column
        return _bordered(shift[..., None], VOTE_REACH)[:, 0]

    @functools.cached_property
    def _known_rows(self) -> Tensor:
        """((h + 2) * (w + 2), C + 1): known colours, and what is known, with a border around."""
        image, known = (picture[0].permute(1, 2, 0) for picture in (self.image, self.known))
        return _bordered(torch.cat([image * known, known], 2), VOTE_REACH)


def _bordered(grid: Tensor, width: int) -> Tensor:
    """(H, W, C) -> ((H + 2 width) * (W + 2 width), C): a border around, with the nearest values."""
    height, across, channels = grid.shape
    wide = grid.new_empty(height + 2 * width, across + 2 * width, channels)
    wide[width:-width, width:-width] = grid
    for lines in (wide[width:-width].transpose(0, 1), wide):
        lines[:width], lines[-width:] = lines[width], lines[-width - 1]
    return wide.flatten(0, 1)


def _inside_blocks(device: torch.device) -> tuple[Tensor, Tensor]:
    """(2, 1, 1) rows and (1, 2, 1) columns of the pixels of a block of 2x2."""
    down = torch.arange(2, device=device)[:, None, None]
    return down, down.transpose(0, 1)
