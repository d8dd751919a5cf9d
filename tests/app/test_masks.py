"""Holes from transparency, and holes made larger."""

import time

import numpy as np
import pytest
from PIL import Image

from app.errors import MissingMaskError
from app.masks import grow, hole_from_alpha, make_opaque, with_alpha


@pytest.mark.parametrize("pixels", [0, 1, 2, 5, 13, 40, 256])
def test_grow_reaches_every_pixel_within_distance(pixels: int) -> None:
    """The grown hole is what a direct search for a hole within that many rows and columns finds."""
    hole = np.random.default_rng(pixels).random((50, 70)) < 0.002
    expected = np.zeros_like(hole)
    for row, column in zip(*np.nonzero(hole), strict=True):
        rows = slice(max(0, row - pixels), row + pixels + 1)
        expected[rows, max(0, column - pixels) : column + pixels + 1] = True
    np.testing.assert_array_equal(grow(hole, pixels), expected)


def test_grow_leaves_its_argument_and_an_empty_hole_alone() -> None:
    """Nothing grows from nothing, and the caller's array is not changed."""
    empty = np.zeros((20, 20), dtype=bool)
    assert not grow(empty, 9).any()
    one = empty.copy()
    one[10, 10] = True
    grow(one, 3)
    assert one.sum() == 1


def test_grow_is_fast_on_a_large_photograph() -> None:
    """A small hole in 24 megapixels grows by the largest amount without costing what the photograph costs."""
    hole = np.zeros((4000, 6000), dtype=bool)
    hole[2000:2100, 3000:3100] = True
    start = time.thread_time()
    assert grow(hole, 256).sum() == (100 + 512) ** 2
    assert time.thread_time() - start < 1


@pytest.mark.parametrize("mode", ["RGBA", "LA", "PA"])
def test_transparent_pixels_are_the_hole(photo: Image.Image, hole: np.ndarray, mode: str) -> None:
    """Alpha below one half marks what to fill, in every mode with alpha."""
    image = photo.convert("RGBA" if mode == "PA" else mode)
    image.putalpha(Image.fromarray(np.where(hole, 127, 128).astype(np.uint8)))
    image = image.convert(mode)
    np.testing.assert_array_equal(hole_from_alpha(with_alpha(image)), hole)


def test_transparent_colour_of_a_palette_is_the_hole() -> None:
    """A palette's transparent entry counts as transparency."""
    indices = np.zeros((8, 8), dtype=np.uint8)
    indices[2:4, 2:4] = 1
    image = Image.fromarray(indices).convert("P")
    image.info["transparency"] = 1
    np.testing.assert_array_equal(hole_from_alpha(with_alpha(image)), indices == 1)


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK", "RGBA", "P"])
def test_an_opaque_image_needs_a_mask(photo: Image.Image, mode: str) -> None:
    """Without any transparent pixel nothing says what to fill, alpha band or not."""
    with pytest.raises(MissingMaskError, match="'mask'"):
        with_alpha(photo.convert(mode))


def test_filled_pixels_become_opaque(photo: Image.Image, hole: np.ndarray) -> None:
    """Half-transparent pixels around the hole keep their alpha."""
    image = photo.copy()
    image.putalpha(Image.fromarray(np.where(hole, 0, 200).astype(np.uint8)))
    make_opaque(image, hole)
    np.testing.assert_array_equal(np.asarray(image.getchannel("A")), np.where(hole, 255, 200))
    np.testing.assert_array_equal(np.asarray(image.convert("RGB")), np.asarray(photo))
