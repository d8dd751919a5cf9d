"""The residuals of a reduced crop."""

import numpy as np
import pytest

from model_core.detail import Residuals
from model_core.pictures import codec_of

RGB = codec_of("RGB")
SIZE, SMALL = 64, 16


def crop() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Pixels with a grain of one pixel, their hole, and both reduced by four: the grain is gone."""
    pixels = np.full((SIZE, SIZE, 3), 100, dtype=np.uint8)
    pixels[::2, 1::2] = pixels[1::2, ::2] = 140
    hole = np.zeros((SIZE, SIZE), dtype=bool)
    hole[:, 32:] = True
    small = np.full((SMALL, SMALL, 3), 120 / 255, dtype=np.float32)
    return pixels, hole, small, hole[::4, ::4]


def shifted(columns: int) -> np.ndarray:
    """Each small pixel comes from so many columns further left."""
    rows, found = np.indices((SMALL, SMALL), dtype=np.int32)
    return np.stack([rows, found - columns])


def test_the_grain_of_the_source_is_returned() -> None:
    """Pixel for pixel, at the distance that the source has in the large crop."""
    pixels, hole, small, small_hole = crop()
    residuals = Residuals(pixels, hole, RGB, small, small_hole, shifted(8))
    rows, columns = np.indices((20, 16)).reshape(2, -1)
    columns += 36

    found = residuals.at(rows, columns)

    expected = pixels[rows, columns - 32].astype(np.float32) / 255 - np.float32(120 / 255)
    np.testing.assert_allclose(found, expected, atol=1 / 255)
    assert np.abs(found).min() > 0.05


def test_sources_in_the_mirrored_border_are_what_they_show() -> None:
    """The generator sees a crop that is mirrored at bottom and right."""
    pixels, hole, small, small_hole = crop()
    pixels[:16] = 100
    inside = shifted(8)
    below = np.stack([2 * SMALL - 1 - inside[0], inside[1]])
    beside = np.stack([inside[0], 2 * SMALL - 1 - inside[1]])
    rows, columns = np.indices((SIZE, 16)).reshape(2, -1)
    expected, *found = [
        Residuals(pixels, hole, RGB, small, small_hole, source).at(rows, columns + 36)
        for source in (inside, below, beside)
    ]
    assert expected.any()
    for residuals in found:
        np.testing.assert_array_equal(residuals, expected)


@pytest.mark.parametrize("columns", [0, 2, -4])
def test_nothing_is_returned_where_nothing_is_known(columns: int) -> None:
    """Neither from the hole nor from so near to it that the fill would be part of it."""
    pixels, hole, small, small_hole = crop()
    pixels[:, 32:] = 255
    residuals = Residuals(pixels, hole, RGB, small, small_hole, shifted(columns))
    rows = np.arange(SIZE)

    assert not residuals.at(rows, np.full(SIZE, 33)).any()


def test_the_grain_does_not_depend_on_the_hole() -> None:
    """What the client left under the mask is not looked at."""
    pixels, hole, small, small_hole = crop()
    wild = pixels.copy()
    wild[:, 32:] = 7
    rows, columns = np.arange(SIZE), np.full(SIZE, 50)
    found = [
        Residuals(values, hole, RGB, small, small_hole, shifted(9)).at(rows, columns)
        for values in (pixels, wild)
    ]
    np.testing.assert_array_equal(*found)
