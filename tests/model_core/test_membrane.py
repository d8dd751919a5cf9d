"""Copied pixels fit to the colours around the hole."""

from collections.abc import Callable

import torch
from torch import Tensor

from model_core.networks.membrane import membrane

SquareHole = Callable[[int, int, int], Tensor]


def test_membrane_carries_differences_across_the_hole(square_hole: SquareHole) -> None:
    """A hole in a slope of brightness, filled from one place in it, is lifted by what it lacks."""
    slope = torch.linspace(-1, 1, 128).expand(1, 3, 128, 128)
    known = 1 - square_hole(128, 60, 100)
    rows, columns = torch.meshgrid(torch.arange(128), torch.arange(128), indexing="ij")
    field = torch.stack([rows, (columns - 50).clamp_min(0)]).int().flatten(1)
    hole = known[0, 0] == 0

    correction = membrane(slope * known, known, field)[..., hole]

    torch.testing.assert_close(correction, torch.full_like(correction, 2 * 50 / 127), rtol=0, atol=1e-3)


def test_membrane_adds_nothing_to_what_fits(square_hole: SquareHole) -> None:
    """A source whose surroundings are those of the hole is left as it is."""
    torch.manual_seed(0)
    tile = torch.rand(1, 3, 128, 32).repeat(1, 1, 1, 4)
    known = 1 - square_hole(128, 40, 60)
    rows, columns = torch.meshgrid(torch.arange(128), torch.arange(128), indexing="ij")
    field = torch.stack([rows, (columns + 32) % 128]).int().flatten(1)
    assert membrane(tile * known, known, field).abs().max() == 0
