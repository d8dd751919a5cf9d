"""The correction of seams between copied pieces."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from model_core.networks.multigrid import grids_of, laplacian, solution
from model_core.networks.seamless import seam_correction

SquareHole = Callable[[int, int, int], Tensor]


@pytest.mark.parametrize(("start", "end"), [(44, 84), (34, 64), (64, 94)])
def test_seams_between_pieces_vanish(start: int, end: int, square_hole: SquareHole) -> None:
    """A hole in a slope, filled with two pieces of it from elsewhere, becomes a slope again.

    Wherever it lies: only its part of the picture is computed.
    """
    rows, columns = torch.meshgrid(torch.arange(128), torch.arange(128), indexing="ij")
    slope = torch.linspace(-0.3, 0.3, 128).expand(1, 3, 128, 128)
    known = 1 - square_hole(128, start, end)
    away = end - start + 2
    source = torch.where(rows < (start + end) // 2, columns - away, columns + away).clamp(0, 127)
    field = torch.stack([rows, source]).int().flatten(1)
    copied = torch.lerp(slope[..., rows, source], slope, known)

    correction = seam_correction(slope * known, known, field)

    assert (copied - slope).abs().max() > 0.12
    torch.testing.assert_close(copied + correction, slope, rtol=0, atol=0.02)
    assert (correction * known).abs().max() == 0


@pytest.mark.parametrize("size", [(368, 368), (272, 384), (176, 320)])
def test_corrections_are_found_where_the_grid_is_seldom_halved(size: tuple[int, int]) -> None:
    """The sides of pictures at 1/2 scale are multiples of 16 and of no higher power of two."""
    hole = np.zeros((size[0] + 2, size[1] + 2), np.float32)
    hole[21:-9, 21:-9] = 1
    pieces = np.repeat(hole[None] / 4, 3, 0)
    pieces[:, size[0] // 2 + 1 :] *= -1
    left = np.zeros_like(pieces)
    for colour in range(3):
        laplacian(pieces[colour], *grids_of(hole)[0][:2], left[colour])

    found = solution(left, hole)

    np.testing.assert_allclose(found, pieces, rtol=0, atol=0.02)


def test_edges_are_no_seams(square_hole: SquareHole) -> None:
    """What is copied beside something altogether different keeps its colours."""
    rows, columns = torch.meshgrid(torch.arange(128), torch.arange(128), indexing="ij")
    coast = torch.where(columns < 64, -0.8, 0.8).expand(1, 3, 128, 128)
    known = 1 - square_hole(128, 44, 84)
    sea = torch.stack([rows, columns % 40]).int().flatten(1)

    correction = seam_correction(coast * known, known, sea)

    assert correction[..., 44:84, 44:84].abs().max() < 0.02


def test_seams_where_nothing_is_known() -> None:
    """The smallest grid of the multigrid is then a single pixel, which has no neighbours."""
    nothing, field = torch.zeros(1, 1, 32, 32), torch.zeros(2, 32 * 32, dtype=torch.int32)
    assert (seam_correction(torch.rand(1, 3, 32, 32), nothing, field) == 0).all()


def test_without_seams_nothing_is_corrected(square_hole: SquareHole) -> None:
    torch.manual_seed(0)
    tile = torch.rand(1, 3, 96, 32).repeat(1, 1, 1, 4)
    known = 1 - square_hole(128, 40, 60)[..., :96, :]
    rows, columns = torch.meshgrid(torch.arange(96), torch.arange(128), indexing="ij")
    field = torch.stack([rows, (columns + 32) % 128]).int().flatten(1)
    assert seam_correction(tile * known, known, field).abs().max() < 1e-6


@pytest.mark.parametrize("size", [(96, 96), (48, 80)])
def test_what_is_beyond_the_window_makes_no_difference(size: tuple[int, int]) -> None:
    """A hole at the edge of a picture, and the same in one that goes on where all is known."""
    torch.manual_seed(0)
    height, width = size
    image = torch.rand(1, 3, height, width + 96)
    known = torch.ones(1, 1, height, width + 96)
    known[..., height - 20 :, 30:50] = 0
    columns = torch.arange(width + 96).expand(height, -1)
    field = torch.stack([torch.full_like(columns, 5), columns % 30]).int()

    small, large = (
        seam_correction(image[..., :side], known[..., :side], field[..., :side].flatten(1))
        for side in (width, width + 96)
    )

    assert small.abs().max() > 0.01
    torch.testing.assert_close(small, large[..., :width], rtol=0, atol=1e-5)
