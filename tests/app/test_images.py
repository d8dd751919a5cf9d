"""Bytes become pictures within limits, and pictures become bytes without loss where the format allows."""

import io
import struct
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageCms

from app.errors import DamagedPictureError, EmptyFileError, PictureTooLargeError, UnsupportedTypeError
from app.images import EncodedPicture, OutputFormat, PictureLimits, encode

ToBytes = Callable[..., bytes]
LIMITS = PictureLimits(max_pixels=50_000_000, max_side=16_383)
ORIENTATION = 0x0112
MAKE = 0x010F


def read(data: bytes, limits: PictureLimits = LIMITS) -> Image.Image:
    return EncodedPicture(io.BytesIO(data), "image", limits).decode()


def png_header(width: int, height: int) -> bytes:
    """A PNG that ends where its pixels would begin: its size can be read, nothing can be decoded."""
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    checksum = struct.pack(">I", zlib.crc32(header))
    pixels = struct.pack(">I", 1000) + b"IDAT"
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + header + checksum + pixels


def oriented(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    exif[MAKE] = "Camera"
    return exif


@pytest.mark.parametrize("file_format", ["PNG", "BMP", "TIFF"])
def test_lossless_formats_decode_exactly(photo: Image.Image, to_bytes: ToBytes, file_format: str) -> None:
    """What was saved without loss comes back pixel by pixel."""
    np.testing.assert_array_equal(np.asarray(read(to_bytes(photo, file_format))), np.asarray(photo))


@pytest.mark.parametrize("file_format", ["JPEG", "WEBP", "AVIF"])
def test_lossy_formats_decode_closely(photo: Image.Image, to_bytes: ToBytes, file_format: str) -> None:
    """The other accepted formats are recognised by content and give about the same picture."""
    difference = np.abs(np.asarray(read(to_bytes(photo, file_format)), float) - np.asarray(photo, float))
    assert difference.mean() < 8


def test_animation_gives_its_first_frame(photo: Image.Image, to_bytes: ToBytes) -> None:
    """Of several frames the first one counts."""
    data = to_bytes(photo, "TIFF", save_all=True, append_images=[Image.new("RGB", photo.size)])
    np.testing.assert_array_equal(np.asarray(read(data)), np.asarray(photo))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_is_applied_and_removed(photo: Image.Image, to_bytes: ToBytes, orientation: int) -> None:
    """However the camera was held, the picture comes out upright, and says so."""
    operation = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }.get(orientation)
    as_shot = photo.transpose(operation) if operation is not None else photo
    picture = read(to_bytes(as_shot, exif=oriented(orientation)))
    np.testing.assert_array_equal(np.asarray(picture), np.asarray(photo))
    assert picture.getexif().get(ORIENTATION, 1) == 1
    assert picture.getexif()[MAKE] == "Camera"


def with_thumbnail(thumbnail: bytes) -> bytes:
    """EXIF data as a camera writes it: its make, and a reduced copy of the picture."""
    make = struct.pack("<HHI4s", MAKE, 2, 4, b"Cam\0")
    copy = struct.pack("<HHII", 0x0201, 4, 1, 56) + struct.pack("<HHII", 0x0202, 4, 1, len(thumbnail))
    first = struct.pack("<H", 1) + make + struct.pack("<I", 26)
    second = struct.pack("<H", 2) + copy + struct.pack("<I", 0)
    return b"Exif\0\0" + b"II*\0" + struct.pack("<I", 8) + first + second + thumbnail


@pytest.mark.parametrize("output_format", ["png", "jpeg", "webp"])
def test_the_thumbnail_goes_with_what_it_shows(
    photo: Image.Image, to_bytes: ToBytes, output_format: OutputFormat
) -> None:
    """A camera's reduced copy would still show what was filled; the other tags stay."""
    thumbnail = to_bytes(photo.reduce(4), "JPEG")
    data = to_bytes(photo, "JPEG", exif=with_thumbnail(thumbnail))
    assert thumbnail in data
    answer = encode(read(data), output_format, 90)
    assert thumbnail[-100:] not in answer
    assert Image.open(io.BytesIO(answer)).getexif()[MAKE] == "Cam"


def test_unreadable_exif_does_not_cost_the_picture(photo: Image.Image, to_bytes: ToBytes) -> None:
    """A photograph whose EXIF block is garbage is served without it."""
    picture = read(to_bytes(photo, exif=b"Exif\0\0garbage"))
    np.testing.assert_array_equal(np.asarray(picture), np.asarray(photo))
    assert "exif" not in picture.info


def test_empty_file_is_refused() -> None:
    with pytest.raises(EmptyFileError, match="0 bytes"):
        read(b"")


@pytest.mark.parametrize(
    "data", [b"just some text", b"%PDF-1.7", b"GIF89a" + bytes(20), b"<svg xmlns='x'/>", bytes(100), b"\xff"]
)
def test_other_content_is_refused(data: bytes) -> None:
    """What is not an accepted picture by its first bytes is refused with the list of those that are."""
    with pytest.raises(UnsupportedTypeError, match="JPEG, PNG, WEBP, BMP, TIFF, AVIF"):
        read(data)


@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "WEBP", "BMP", "TIFF", "AVIF"])
@pytest.mark.parametrize("kept", [0.02, 0.5, 0.95])
def test_truncated_pictures_are_refused(
    photo: Image.Image, to_bytes: ToBytes, file_format: str, kept: float
) -> None:
    """A file that ends too early is damaged, wherever it ends."""
    data = to_bytes(photo, file_format)
    with pytest.raises(DamagedPictureError, match="'image' begins like a picture"):
        read(data[: max(16, int(len(data) * kept))])


@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "WEBP", "BMP", "TIFF", "AVIF"])
def test_mutated_pictures_decode_or_are_refused(
    photo: Image.Image, to_bytes: ToBytes, file_format: str
) -> None:
    """Whatever bytes are flipped, the outcome is a picture or one of our errors."""
    rng = np.random.default_rng(0)
    good = to_bytes(photo, file_format)
    refused = 0
    for _ in range(150):
        data = bytearray(good)
        for place in rng.integers(0, min(len(data), 400), size=rng.integers(1, 8)):
            data[place] = rng.integers(0, 256)
        try:
            read(bytes(data))
        except (DamagedPictureError, PictureTooLargeError, UnsupportedTypeError):
            refused += 1
    assert refused > 0


@pytest.mark.parametrize(
    ("width", "height", "numbers"),
    [
        (10_000, 6_000, "10000 x 6000 pixels.*60,000,000 in all.*50,000,000"),
        (16_384, 10, "16384 x 10 pixels.*16,383 a side"),
        (9_500, 9_500, "more than 89,478,485 pixels; at most 50,000,000|9500 x 9500 pixels"),
        (60_000, 60_000, "more than 89,478,485 pixels; at most 50,000,000"),
    ],
)
def test_size_is_checked_before_decoding(width: int, height: int, numbers: str) -> None:
    """A header that announces too many pixels is enough to be refused: this file holds no pixels at all."""
    with pytest.raises(PictureTooLargeError, match=numbers):
        read(png_header(width, height))


def test_largest_accepted_size_goes_on_to_decoding() -> None:
    """A picture of just the limit is decoded, which fails here as this file holds no pixels."""
    limits = PictureLimits(max_pixels=10_000, max_side=100)
    with pytest.raises(DamagedPictureError):
        read(png_header(100, 100), limits)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA"])
def test_png_keeps_pixels_and_mode(photo: Image.Image, mode: str) -> None:
    """PNG answers are exact in every mode that PNG knows."""
    image = photo.convert(mode)
    decoded = read(encode(image, "png", 95))
    assert decoded.mode == mode
    np.testing.assert_array_equal(np.asarray(decoded), np.asarray(image))


def test_png_keeps_sixteen_bits() -> None:
    """16-bit grey stays 16-bit."""
    image = Image.fromarray(np.arange(64 * 64, dtype=np.uint16).reshape(64, 64) * 16)
    np.testing.assert_array_equal(np.asarray(read(encode(image, "png", 95))), np.asarray(image))


@pytest.mark.parametrize("dtype", ["<i4", ">u2"])
def test_png_stores_other_sixteen_bit_modes_exactly(dtype: str) -> None:
    """16-bit grey in 32-bit or big-endian pixels is written as 16-bit grey of the same values."""
    values = np.arange(64 * 64).reshape(64, 64) * 16
    image = Image.fromarray(values.astype(dtype))
    np.testing.assert_array_equal(np.asarray(read(encode(image, "png", 95))), values)


@pytest.mark.parametrize("output_format", ["jpeg", "webp"])
def test_lossy_formats_scale_sixteen_bits(output_format: OutputFormat) -> None:
    """16-bit grey becomes 8-bit grey of the same brightness, not a clipped one."""
    image = Image.fromarray(np.full((16, 16), 128 * 256, dtype=np.uint16))
    assert np.asarray(read(encode(image, output_format, 95)).convert("L")).mean() == pytest.approx(128, abs=2)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK"])
@pytest.mark.parametrize("output_format", ["png", "jpeg", "webp"])
def test_every_mode_encodes_in_every_format(
    photo: Image.Image, mode: str, output_format: OutputFormat
) -> None:
    """No mode that the model returns is unanswerable, and the answer shows the same picture."""
    image = photo.convert(mode)
    data = encode(image, output_format, 95)
    assert Image.open(io.BytesIO(data)).format == output_format.upper()
    decoded = read(data)
    difference = np.abs(np.asarray(decoded.convert("RGB"), float) - np.asarray(image.convert("RGB"), float))
    assert difference.mean() < 20


def test_jpeg_lays_transparency_over_white(photo: Image.Image) -> None:
    """What is transparent shows white in a format without alpha, not hidden colours."""
    image = photo.copy()
    image.putalpha(0)
    assert np.asarray(read(encode(image, "jpeg", 95))).min() > 250


def test_quality_changes_lossy_sizes(photo: Image.Image) -> None:
    """Lower quality gives fewer bytes."""
    assert len(encode(photo, "jpeg", 30)) < len(encode(photo, "jpeg", 95))
    assert len(encode(photo, "webp", 30)) < len(encode(photo, "webp", 95))


@pytest.mark.parametrize("output_format", ["png", "jpeg", "webp"])
def test_profile_and_exif_survive(photo: Image.Image, to_bytes: ToBytes, output_format: OutputFormat) -> None:
    """A colour profile and a camera's notes are in the answer as they were in the image."""
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    image = read(to_bytes(photo, "JPEG", icc_profile=profile, exif=oriented(1)))
    answer = read(encode(image, output_format, 95))
    assert answer.info["icc_profile"] == profile
    assert answer.getexif()[MAKE] == "Camera"


@pytest.mark.parametrize(("output_format", "kept"), [("jpeg", True), ("png", False)])
def test_profile_of_another_colour_space_is_dropped(
    photo: Image.Image, output_format: OutputFormat, kept: bool
) -> None:
    """A CMYK profile stays with CMYK pixels and does not describe the RGB that PNG needs."""
    image = photo.convert("CMYK")
    image.info["icc_profile"] = b"a profile for ink"
    options: dict[str, Any] = read(encode(image, output_format, 95)).info
    assert ("icc_profile" in options) is kept


def test_exif_too_long_for_jpeg_is_dropped(photo: Image.Image) -> None:
    """JPEG holds 64 KB of EXIF; a longer block does not fail the answer."""
    image = photo.copy()
    image.info["exif"] = b"Exif\0\0" + bytes(70_000)
    assert "exif" not in read(encode(image, "jpeg", 95)).info
