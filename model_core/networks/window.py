"""The part of a picture that its hole lies in, where the rest need not be computed. Masks: 1 = hole."""

from typing import NamedTuple

from torch import Tensor


class Window(NamedTuple):
    """Rows and columns of a picture."""

    rows: slice
    columns: slice

    def of(self, image: Tensor, scale: int = 1) -> Tensor:
        """The same part, as a view, of an image (..., H / scale, W / scale)."""
        rows, columns = (slice(side.start // scale, side.stop // scale) for side in self)
        return image[..., rows, columns]


def window_around(hole: Tensor, reach: int, multiple: int) -> Window:
    """The least window that holds the hole and `reach` pixels to every side of it.

    It begins and ends at a multiple of `multiple` or at the picture's edge.

    Args:
        hole: (B, 1, H, W), 0 where there is none; where there is none at all, the first pixel stands for it.
    """
    rows, columns = (_around(hole.amax(axes), reach, multiple) for axes in ((0, 1, 3), (0, 1, 2)))
    return Window(rows, columns)


def _around(occupied: Tensor, reach: int, multiple: int) -> slice:
    places = occupied.nonzero()[:, 0].tolist() or [0]
    first, end = max(places[0] - reach, 0), places[-1] + 1 + reach
    return slice(first // multiple * multiple, min(-(-end // multiple) * multiple, len(occupied)))
