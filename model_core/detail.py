"""Detail for a fill that was made at a reduced size, from where the fill was copied from.

The generator sees large crops reduced, so its fill, enlarged, is smooth beside a sharp photograph. What is
lost by reducing is known around the hole: the residual, the picture less its own reduced and enlarged copy.
Each pixel of the hole gets the residual of the pixel that matching copied there. That is the residual
aggregation of HiFill (Yi et al., arXiv 2005.09704, section 3.2) with one source instead of a weighted mean of
many, which would average detail away. Masks: True = hole.
"""

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from model_core import geometry
from model_core.pictures import Codec, Pixels

FloatArray = NDArray[np.float32]
BoolArray = NDArray[np.bool_]
IntArray = NDArray[np.int32]
IndexArray = NDArray[np.int64]

# Enlarging (bicubic) mixes cells this far apart. Nearer to the hole, residuals would hold parts of the fill.
REACH = 2


class Residuals:
    """What reduction took from a crop's known pixels, looked up for the pixels of its hole."""

    def __init__(
        self,
        pixels: Pixels,
        hole: BoolArray,
        codec: Codec,
        small: FloatArray,
        small_hole: BoolArray,
        source: IntArray,
    ) -> None:
        """Compare the crop with its reduced copy.

        Args:
            pixels: (H, W) or (H, W, bands), the crop in its mode's dtype; read later too, where it is known.
            hole: bool (H, W).
            codec: of the crop's mode.
            small: (h, w, 3) float32 in [0, 1], the reduced crop with its hole filled.
            small_hole: bool (h, w).
            source: (2, h, w) int32, row and column of the small pixel that each one was copied from, as in
                `FilledCrop`.
        """
        self._pixels, self._hole, self._codec, self._source = pixels, hole, codec, source
        reduced = Image.fromarray(np.rint(small * 255).astype(np.uint8))
        # In 8 bits, since a large crop would not fit into memory as floats.
        self._smooth = np.asarray(reduced.resize((hole.shape[1], hole.shape[0]), Image.Resampling.BICUBIC))
        near = Image.fromarray(small_hole).convert("L").filter(ImageFilter.MaxFilter(2 * REACH + 1))
        self._usable = np.asarray(near) == 0
        self._small_hole = small_hole

    def at(self, rows: IndexArray, columns: IndexArray) -> FloatArray:
        """(N, 3) float32: what to add to the enlarged fill at N pixels of the crop; 0 where none is known."""
        height, width = self._hole.shape
        cells = self._cells(rows, columns)
        small_height, small_width = self._usable.shape
        down, across = height / small_height, width / small_width
        small_rows = geometry.unpad_indices(self._source[0][cells], small_height)
        small_columns = geometry.unpad_indices(self._source[1][cells], small_width)
        from_rows = rows + np.rint((small_rows - cells[0]) * down).astype(np.int64)
        from_columns = columns + np.rint((small_columns - cells[1]) * across).astype(np.int64)
        sources = from_rows.clip(0, height - 1), from_columns.clip(0, width - 1)
        # Small pixels outside the small hole were not copied from anywhere.
        usable = self._usable[self._cells(*sources)] & ~self._hole[sources] & self._small_hole[cells]
        smooth = self._smooth[sources].astype(np.float32) / np.float32(255)
        residuals: FloatArray = self._codec.to_rgb(self._pixels[sources]) - smooth
        residuals[~usable] = 0
        return residuals

    def _cells(self, rows: IndexArray, columns: IndexArray) -> tuple[IndexArray, IndexArray]:
        """The pixels of the reduced crop that hold these pixels of the crop."""
        (height, width), (small_height, small_width) = self._hole.shape, self._usable.shape
        return geometry.cells_of(rows, height, small_height), geometry.cells_of(columns, width, small_width)
