"""The part of a picture that its hole lies in, where the rest need not be computed. Masks: 1 = hole."""

from typing import NamedTuple

from torch import Tensor

# What a window can be reduced by without a remainder.
GRAIN = 8


class Window(NamedTuple):
    """Rows and columns of a picture."""

    rows: slice
    columns: slice

    @property
    def size(self) -> tuple[int, int]:
        """(height, width)."""
        return self.rows.stop - self.rows.start, self.columns.stop - self.columns.start

    def of(self, image: Tensor, scale: int = 1) -> Tensor:
        """The same part, as a view, of an image (..., H / scale, W / scale)."""
        rows, columns = (slice(side.start // scale, side.stop // scale) for side in self)
        return image[..., rows, columns]


def window_around(hole: Tensor, reach: int, multiple: int) -> Window:
    """A window that holds the hole and `reach` pixels to every side of it, as far as there are any.

    Its sides are the least multiples of `multiple` that do, or the picture's own: so there are few sizes. It
    begins at a multiple of `GRAIN`.

    Args:
        hole: (B, 1, H, W), H and W multiples of `GRAIN`; 0 where there is none. Without any, the first pixel
            stands for it.
        multiple: a multiple of `GRAIN`.
    """
    rows, columns = (_around(hole.amax(axes), reach, multiple) for axes in ((0, 1, 3), (0, 1, 2)))
    return Window(rows, columns)


def _around(occupied: Tensor, reach: int, multiple: int) -> slice:
    full, places = len(occupied), occupied.nonzero()[:, 0].tolist() or [0]
    first = max(places[0] - reach, 0) // GRAIN * GRAIN
    end = min(places[-1] + 1 + reach, full)
    length = min(-(-(end - first) // multiple) * multiple, full)
    first = min(first, full - length)
    return slice(first, first + length)
