"""What trunk and discriminator are shown of a crop: not always the same part."""

from typing import NamedTuple

import torch
from torch import Tensor

# The stride, in all, of the default trunk and of the default discriminator: their cells are so many pixels
# wide. Deeper ones have wider cells, of which a generator still knows something.
CELL = 8


class View(NamedTuple):
    """All of a crop but `CELL` rows and columns.

    Always shown whole crops, a generator learns where in their cells each of its pixels lies, and draws a
    lattice that falls between what they look at. With another view at every step it cannot.

    Attributes:
        top, left: the first row and column, 0 to CELL.
    """

    top: int
    left: int

    def of(self, pictures: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H - CELL, W - CELL)."""
        height, width = (side - CELL for side in pictures.shape[-2:])
        return pictures[..., self.top : self.top + height, self.left : self.left + width]


def draw_view(source: torch.Generator) -> View:
    """A random view, with pixels at any place in the cells."""
    top, left = torch.randint(CELL + 1, (2,), generator=source).tolist()
    return View(top, left)
