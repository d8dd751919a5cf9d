import torch

from training.view import CELL, View, draw_view


def test_a_view_leaves_out_rows_and_columns() -> None:
    """It begins where it says, and is smaller by one cell."""
    crop = torch.arange(32.0 * 40).view(1, 1, 32, 40)

    seen = View(top=3, left=5).of(crop)

    assert seen.shape == (1, 1, 32 - CELL, 40 - CELL)
    assert seen[0, 0, 0, 0] == crop[0, 0, 3, 5]
    assert seen[0, 0, -1, -1] == crop[0, 0, 3 + 23, 5 + 31]


def test_every_place_is_drawn() -> None:
    """So each pixel of a crop is shown some time; and the same seed draws the same."""

    def drawn() -> list[View]:
        return [draw_view(torch.Generator().manual_seed(seed)) for seed in range(1000)]

    views = drawn()

    assert {view.top for view in views} == {view.left for view in views} == set(range(CELL + 1))
    assert views == drawn()
