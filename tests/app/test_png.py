"""PNG files as other programs read them: Pillow, and OpenCV with the reference library."""

import io

import cv2
import numpy as np
import pytest
from PIL import Image, ImageCms

from app import png

CHANNELS = {"L": 1, "LA": 2, "RGB": 3, "RGBA": 4}


def picture(mode: str, width: int, height: int) -> Image.Image:
    """Noise above a smooth part, so that both kinds of rows occur."""
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, CHANNELS[mode]), dtype=np.uint8)
    pixels[height // 2 :] = np.linspace(0, 255, width, dtype=np.uint8)[:, None]
    return Image.frombytes(mode, (width, height), pixels.tobytes())


@pytest.mark.parametrize("mode", CHANNELS)
@pytest.mark.parametrize("size", [(1, 1), (1, 40), (40, 1), (33, 65), (1500, 900)])
def test_every_reader_gets_the_same_pixels(mode: str, size: tuple[int, int]) -> None:
    """Of one pixel, of one row, and of more rows than are compressed at a time."""
    image = picture(mode, *size)
    data = png.encode(image, None, b"")

    decoded = Image.open(io.BytesIO(data))
    assert (decoded.format, decoded.mode, decoded.size) == ("PNG", mode, size)
    assert decoded.tobytes() == image.tobytes()

    other = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    colours = image.convert("RGBA") if "A" in mode else image
    order = {"L": 0, "RGB": [2, 1, 0]}.get(mode, [2, 1, 0, 3])
    expected = np.asarray(colours).reshape(size[1], size[0], -1)[..., order]
    np.testing.assert_array_equal(other, expected)


def test_metadata_is_written_as_pillow_writes_it() -> None:
    """The colour profile and the camera's data, which begins differently in files than in Pillow."""
    exif = Image.Exif()
    exif[0x010E] = "a wall"
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    image = picture("RGB", 20, 10)
    peer = io.BytesIO()
    image.save(peer, "png", icc_profile=profile, exif=exif.tobytes())

    ours = Image.open(io.BytesIO(png.encode(image, profile, exif.tobytes())))

    theirs = Image.open(peer)
    ours.load()
    theirs.load()
    assert ours.info == theirs.info
    assert ours.getexif()[0x010E] == "a wall"


def test_a_photograph_stays_nearly_as_small(photo: Image.Image) -> None:
    """Speed is not bought with files that are much larger than those of Pillow's fastest level."""
    peer = io.BytesIO()
    photo.convert("RGB").save(peer, "png", compress_level=1)
    assert len(png.encode(photo.convert("RGB"), None, b"")) < 1.2 * len(peer.getvalue())


@pytest.mark.parametrize("mode", ["1", "P", "I;16"])
def test_other_modes_are_left_to_pillow(mode: str) -> None:
    """Bits, palettes and 16 bits."""
    assert not png.can_hold(Image.new(mode, (4, 4)))


def test_transparent_colours_are_left_to_pillow() -> None:
    """A colour that stands for transparency is more than pixels."""
    image = picture("RGB", 4, 4)
    assert png.can_hold(image)
    image.info["transparency"] = (1, 2, 3)
    assert not png.can_hold(image)
