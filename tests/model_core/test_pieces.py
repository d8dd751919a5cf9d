"""Few offsets for a whole hole."""

import numpy as np
import torch
from torch import Tensor

from model_core.networks.pieces import PIECE_COST, _place_seams, sources_of_pieces

SIZE = (4, 16)
PLAIN = torch.zeros(1, 3, *SIZE)
# Nothing stands out.
EVEN = torch.zeros(SIZE[0] * SIZE[1])


def hole_in_the_middle() -> tuple[Tensor, Tensor]:
    """The pixels of a hole of columns 6 to 8, and all others."""
    column = torch.arange(SIZE[0] * SIZE[1]) % SIZE[1]
    inside = (column >= 6) & (column < 9)
    return inside.nonzero()[:, 0], (~inside).nonzero()[:, 0]


def displacement(targets: Tensor, sources: Tensor) -> tuple[Tensor, Tensor]:
    """(N, M) rows and columns from each target to each source."""
    row, column = (
        sources // SIZE[1] - targets[:, None] // SIZE[1],
        sources % SIZE[1] - targets[:, None] % SIZE[1],
    )
    return row, column


def test_one_piece_where_all_sources_are_as_good() -> None:
    """The nearest source of each target would repeat the hole's border; but one suits one of them best that
    lies far enough away for all.
    """
    targets, sources = hole_in_the_middle()
    row, column = displacement(targets, sources)
    distance = 1e-3 * (row.abs() + column.abs()).float()
    distance[0, (row[0] == 0) & (column[0] == -3)] = 0
    nearest = sources[distance.argmin(1)]
    assert len((nearest - targets).unique()) > 1

    chosen = sources_of_pieces(distance, targets, sources, PLAIN, EVEN)

    assert (chosen - targets).unique().tolist() == [-3]


def test_another_piece_where_it_pays() -> None:
    """The left half fits from the left and the right half from the right, by more than a piece costs."""
    targets, sources = hole_in_the_middle()
    _, column = displacement(targets, sources)
    left = (targets % SIZE[1] < 8)[:, None]
    distance = torch.where(left == (column < 0), 0.0, PIECE_COST)

    offsets = sources_of_pieces(distance, targets, sources, PLAIN, EVEN) - targets

    assert len(offsets[left[:, 0]].unique()) == 1
    assert len(offsets[~left[:, 0]].unique()) == 1
    assert (offsets[left[:, 0]] < 0).all()
    assert (offsets[~left[:, 0]] > 0).all()


def test_not_another_piece_where_it_does_not_pay() -> None:
    targets, sources = hole_in_the_middle()
    _, column = displacement(targets, sources)
    left = (targets % SIZE[1] < 8)[:, None]
    distance = torch.where(left == (column < 0), 0.0, PIECE_COST / len(targets))
    assert len((sources_of_pieces(distance, targets, sources, PLAIN, EVEN) - targets).unique()) == 1


def two_that_fit_the_same() -> tuple[Tensor, Tensor, Tensor]:
    """Targets, sources, and distances: columns 6 and 7, and 10 and 11, are both best copied from 0 and 1,
    slightly worse from 2 and 3, and not at all from elsewhere. In the top row it is the other way round.
    """
    pixels = torch.arange(SIZE[0] * SIZE[1])
    column = pixels % SIZE[1]
    hole = (column == 6) | (column == 7) | (column == 10) | (column == 11)
    targets, sources = hole.nonzero()[:, 0], (~hole).nonzero()[:, 0]
    row, _ = displacement(targets, sources)
    place, top = column[sources], (targets < SIZE[1])[:, None]
    distance = torch.full_like(row, 10, dtype=torch.float32)
    for first, other in ((0, 0.0), (2, 0.05)):
        fits = (row == 0) & (place == first + column[targets][:, None] % 2)
        distance[fits] = torch.where(top, 0.05 - other, other).expand_as(distance)[fits]
    return targets, sources, distance


def test_what_stands_out_is_shown_once() -> None:
    targets, sources, distance = two_that_fit_the_same()
    salience = EVEN.clone()
    salience[torch.arange(len(EVEN)) % SIZE[1] < 2] = 1.0
    shown = sources_of_pieces(distance, targets, sources, PLAIN, salience).sort()[0]
    assert (shown[1:] > shown[:-1]).all()


def test_what_does_not_stand_out_may_come_again() -> None:
    targets, sources, distance = two_that_fit_the_same()
    assert (sources_of_pieces(distance, targets, sources, PLAIN, EVEN) % SIZE[1] < 2).all()


def test_pieces_meet_where_they_look_alike() -> None:
    """Of columns 6 to 9 of a row the first is best copied from the left and the last from the right. The
    others would do either way, but both pieces look alike in columns 6 and 7 only.
    """
    pixels = torch.arange(SIZE[0] * SIZE[1])
    column, inside = pixels % SIZE[1], (pixels >= 6) & (pixels <= 9)
    targets, sources = inside.nonzero()[:, 0], (~inside).nonzero()[:, 0]
    image = PLAIN.clone()
    image[..., 14:] = 1
    down, across = displacement(targets, sources)
    place = column[targets][:, None]
    distance = torch.full_like(down, 10, dtype=torch.float32)
    distance[(down == 0) & (across == -6) & (place != 9)] = 0
    distance[(down == 0) & (across == 6) & (place != 6)] = 0

    offsets = sources_of_pieces(distance, targets, sources, image, EVEN) - targets

    assert (offsets == torch.where(place[:, 0] == 6, -6, 6)).all()


def test_sources_are_among_those_allowed() -> None:
    """Neither beyond the edges nor in the hole, whatever the distances."""
    for seed in range(50):
        torch.manual_seed(seed)
        pixels = torch.randperm(SIZE[0] * SIZE[1])
        count = int(torch.randint(1, len(pixels), ()))
        targets, sources = pixels[:count].sort()[0], pixels[count:].sort()[0]
        distance = torch.rand(len(targets), len(sources)) * 10 ** float(torch.randint(-4, 3, ()))
        image, salience = torch.rand(1, 3, *SIZE) * 2 - 1, 10 * torch.rand(SIZE[0] * SIZE[1])
        chosen = sources_of_pieces(distance, targets, sources, image, salience)
        assert torch.isin(chosen, sources).all()


def test_a_pixel_alone_joins_its_neighbours() -> None:
    """Where the pieces look alike, a small gain is not worth the seam around it."""
    rows, columns = torch.meshgrid(torch.arange(4, 9), torch.arange(12, 17), indexing="ij")
    targets = (rows * 32 + columns).flatten()
    choices = torch.stack([targets - 8, targets + 8], 1)
    cost = torch.tensor([0.01, 0.0]).repeat(len(targets), 1)
    cost[12] = torch.tensor([0.0, 0.005])

    source = _place_seams(
        cost.t().contiguous().numpy(),
        choices.t().contiguous().numpy(),
        targets.numpy(),
        np.zeros((3, 16 * 32), np.float32),
        (16, 32),
    )

    assert source.tolist() == (targets + 8).tolist()
