"""The part of a picture around its hole."""

import pytest
import torch

from model_core.networks.window import Window, window_around


@pytest.mark.parametrize(
    ("rows", "columns", "expected"),
    [
        ((100, 101), (70, 120), Window(slice(64, 192), slice(32, 160))),
        ((64, 65), (96, 128), Window(slice(32, 160), slice(64, 192))),
        ((95, 161), (96, 160), Window(slice(8, 200), slice(64, 192))),
        ((0, 1), (199, 200), Window(slice(0, 64), slice(136, 200))),
    ],
)
def test_hole_and_reach_lie_within(rows: tuple[int, int], columns: tuple[int, int], expected: Window) -> None:
    """The sides are multiples of 64, or the picture's; at its edges there is no reach."""
    hole = torch.zeros(1, 1, 200, 200)
    hole[..., slice(*rows), slice(*columns)] = 1
    assert window_around(hole, 32, 64) == expected


def test_without_a_hole_there_is_a_window_still() -> None:
    assert window_around(torch.zeros(1, 1, 96, 64), 32, 64) == Window(slice(0, 64), slice(0, 64))


def test_the_same_part_at_any_scale() -> None:
    """A view: what is written into it is written into the picture."""
    window, eighth = Window(slice(16, 48), slice(8, 24)), torch.zeros(1, 3, 8, 8)
    window.of(eighth, 8).fill_(1)
    assert window.of(torch.zeros(1, 64, 64)).shape == (1, 32, 16)
    assert eighth[0, 0].nonzero().tolist() == [[row, column] for row in range(2, 6) for column in (1, 2)]
