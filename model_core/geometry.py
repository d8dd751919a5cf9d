"""Where to look and at which size: pure functions on boxes and arrays. Sizes are (height, width) in pixels.

A picture's hole becomes a few regions. Each has a core (what it fills; cores are disjoint and cover the hole)
and a crop around it (what the generator sees). The rules:

-   A picture that fits the native size is one region, whole.
-   Otherwise the hole's bounding box is cut until each piece is at most `CORE_SIZE` long: first along empty
    lines between separate holes, then, where the hole is thin everywhere (text, scratches), in the middle. A
    thick hole is never cut, since each part must see known surroundings.
-   When that makes more than `MAX_REGIONS` pieces, larger pieces are allowed, twice the size at a time.
-   A crop is its core with a margin on each side of half the core's side and at least `MIN_MARGIN`, grown to
    at least `MIN_CROP` and to a multiple of `CROP_MULTIPLE` where the picture allows, for kernels are
    prepared for each size anew.
"""

import math
from collections.abc import Callable
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

FloatArray = NDArray[np.float32]
BoolArray = NDArray[np.bool_]
Size = tuple[int, int]

NATIVE_SIZE = 512
CORE_SIZE = 256
MAX_REGIONS = 16
MIN_MARGIN = 64
MIN_CROP = 256
CROP_MULTIPLE = 64

# Holes are cut on a coarse grid of such cells, which is fast and ignores gaps too small to matter.
CELL = 8


class Box(NamedTuple):
    """A rectangle: rows top..bottom and columns left..right, the ends excluded."""

    top: int
    left: int
    bottom: int
    right: int

    @property
    def size(self) -> Size:
        return self.bottom - self.top, self.right - self.left

    @property
    def slices(self) -> tuple[slice, slice]:
        return slice(self.top, self.bottom), slice(self.left, self.right)

    @property
    def corners(self) -> tuple[int, int, int, int]:
        """(left, upper, right, lower), as Pillow takes it."""
        return self.left, self.top, self.right, self.bottom

    def inside(self, outer: "Box") -> "Box":
        """This box in coordinates that start at `outer`'s corner."""
        top, left = outer.top, outer.left
        return Box(self.top - top, self.left - left, self.bottom - top, self.right - left)


class Region(NamedTuple):
    """A part of the hole that is filled in one pass of the generator: `core` is filled, `crop` is seen."""

    core: Box
    crop: Box


def plan_regions(hole: BoolArray) -> list[Region]:
    """The regions that fill `hole`, bool (H, W), in the order in which to fill them; none for no hole."""
    if not hole.any():
        return []
    height, width = hole.shape
    whole = Box(0, 0, height, width)
    if max(height, width) <= NATIVE_SIZE:
        return [Region(core=whole, crop=whole)]
    rows, columns = range(0, height, CELL), range(0, width, CELL)
    cells = np.logical_or.reduceat(np.logical_or.reduceat(hole, rows, axis=0), columns, axis=1)
    limit = CORE_SIZE // CELL
    while len(pieces := _cut(cells, _tight(cells, Box(0, 0, *cells.shape)), limit)) > MAX_REGIONS:
        limit *= 2
    cores = [
        Box(CELL * top, CELL * left, min(CELL * bottom, height), min(CELL * right, width))
        for top, left, bottom, right in pieces
    ]
    return [Region(core, crop=_with_context(core, hole.shape)) for core in cores]


def working_size(size: Size, longest: int) -> Size:
    """`size` scaled down, in proportion, to at most `longest` pixels on the long side."""
    scale = min(1.0, longest / max(size))
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def pad_to_multiple(array: NDArray[np.generic], multiple: int) -> NDArray[np.generic]:
    """(H, W, ...) mirrored at bottom and right up to multiples of `multiple`; undone by [:H, :W]."""
    padding = [(0, -side % multiple) for side in array.shape[:2]] + [(0, 0)] * (array.ndim - 2)
    if not np.any(padding):
        return array
    return np.pad(array, padding, mode="symmetric")


def unpad_indices(indices: NDArray[np.integer], side: int) -> NDArray[np.integer]:
    """Rows or columns of what `pad_to_multiple` returned, as those of what it was given, `side` long."""
    within = indices % (2 * side)
    return np.where(within < side, within, 2 * side - 1 - within)


def bands(box: Box, rows: int) -> list[Box]:
    """`box` cut into bands of at most `rows` rows, from top to bottom."""
    tops = range(box.top, box.bottom, rows)
    return [box._replace(top=top, bottom=min(top + rows, box.bottom)) for top in tops]


def enlarge(small: FloatArray, size: Size, part: Box) -> FloatArray:
    """What lies in `part` once `small`, (h, w, 3) float32, is enlarged to `size`, bicubic; same layout."""
    down, across = small.shape[0] / size[0], small.shape[1] / size[1]
    source = (part.left * across, part.top * down, part.right * across, part.bottom * down)
    height, width = part.size
    channels = [
        Image.fromarray(small[..., channel]).resize((width, height), Image.Resampling.BICUBIC, box=source)
        for channel in range(3)
    ]
    return np.stack([np.asarray(channel) for channel in channels], axis=-1)


def shrink_known(
    rows: Callable[[int, int], FloatArray], hole: BoolArray, size: Size
) -> tuple[FloatArray, BoolArray]:
    """Average the known pixels of a picture down to `size`; nothing bleeds out of the hole.

    Args:
        rows: gives rows [top, bottom) of the picture, (bottom - top, W, 3) float32; it is asked for a few at
            a time, so that a large picture never lies in memory as floats.
        hole: bool (H, W), True = hole.
        size: (h, w), at most (H, W).

    Returns:
        The small picture, (h, w, 3) float32, zero where nothing is known, and its hole, bool (h, w): every
        pixel that the hole touches, or, if that leaves nothing known, every pixel in which nothing is known.
        A picture that already has the size is returned as it is.
    """
    if size == hole.shape:
        return rows(0, size[0]), hole
    row_edges = np.arange(size[0] + 1) * hole.shape[0] // size[0]
    column_edges = np.arange(size[1] + 1) * hole.shape[1] // size[1]
    sums = np.empty((*size, 3), dtype=np.float32)
    counts = np.empty(size, dtype=np.float32)
    for row, (top, bottom) in enumerate(pairwise(row_edges.tolist())):
        known = ~hole[top:bottom]
        column_sums = np.einsum("hwc,hw->wc", rows(top, bottom), known.astype(np.float32))
        sums[row] = np.add.reduceat(column_sums, column_edges[:-1], axis=0)
        counts[row] = np.add.reduceat(known.sum(axis=0), column_edges[:-1])
    areas = np.outer(np.diff(row_edges), np.diff(column_edges))
    touched = counts < areas
    small_hole: BoolArray = counts == 0 if touched.all() else touched
    sums /= np.maximum(counts, 1)[..., None]
    return sums, small_hole


def cells_of(pixels: NDArray[np.int64], side: int, small_side: int) -> NDArray[np.int64]:
    """The small rows or columns into which `shrink_known` averages these rows or columns of a picture."""
    return ((pixels + 1) * small_side - 1) // side


def _cut(cells: BoolArray, box: Box, limit: int) -> list[Box]:
    """Tight boxes that cover the occupied cells of `box`, at most `limit` a side unless the hole is thick."""
    if max(box.size) <= limit:
        return [box]
    long, short = (0, 1) if box.size[0] >= box.size[1] else (1, 0)
    for axis in (long, short):
        gap = _middle_gap(np.any(cells[box.slices], axis=1 - axis))
        if gap is not None:
            break
    else:
        if _is_thick(cells[box.slices], limit // 2):
            return [box]
        axis, gap = long, box.size[long] // 2
    first, second = _halves(box, axis, gap)
    return _cut(cells, _tight(cells, first), limit) + _cut(cells, _tight(cells, second), limit)


def _middle_gap(occupied: BoolArray) -> int | None:
    """The index of the empty line nearest to the middle."""
    empty = np.flatnonzero(~occupied)
    if empty.size == 0:
        return None
    return int(empty[np.abs(empty - len(occupied) // 2).argmin()])


def _is_thick(cells: BoolArray, side: int) -> bool:
    """Whether a square of `side` x `side` cells lies wholly in the hole."""
    if min(cells.shape) < side:
        return False
    # Summed-area table (Crow, SIGGRAPH 1984): the sum of any square from four of its values.
    sums = np.pad(cells.astype(np.int64).cumsum(0).cumsum(1), ((1, 0), (1, 0)))
    squares = sums[side:, side:] - sums[:-side, side:] - sums[side:, :-side] + sums[:-side, :-side]
    return bool((squares == side * side).any())


def _halves(box: Box, axis: int, at: int) -> tuple[Box, Box]:
    if axis == 0:
        return box._replace(bottom=box.top + at), box._replace(top=box.top + at)
    return box._replace(right=box.left + at), box._replace(left=box.left + at)


def _tight(cells: BoolArray, box: Box) -> Box:
    """The smallest box around the occupied cells of `box`, of which there is at least one."""
    part = cells[box.slices]
    rows, columns = np.flatnonzero(part.any(axis=1)), np.flatnonzero(part.any(axis=0))
    return Box(
        box.top + int(rows[0]),
        box.left + int(columns[0]),
        box.top + int(rows[-1]) + 1,
        box.left + int(columns[-1]) + 1,
    )


def _with_context(core: Box, size: Size) -> Box:
    top, bottom = _widened(core.top, core.bottom, size[0])
    left, right = _widened(core.left, core.right, size[1])
    return Box(top, left, bottom, right)


def _widened(start: int, end: int, full: int) -> tuple[int, int]:
    """The interval with its margins, as long as the rules say, moved or else cut to lie within 0..full."""
    side = end - start
    margin = max(MIN_MARGIN, side // 2, math.ceil((MIN_CROP - side) / 2))
    length = min(math.ceil((side + 2 * margin) / CROP_MULTIPLE) * CROP_MULTIPLE, full)
    first = min(max(0, start - margin), full - length)
    return first, first + length
