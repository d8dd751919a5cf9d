"""PNG files, written fast: Pillow weighs five filters for every row, and needs seven times as long."""

import io
import struct
import zlib
from collections.abc import Iterator

import numpy as np
from isal import isal_zlib
from numpy.typing import NDArray
from PIL import Image

_COLOUR_TYPES = {"L": 0, "RGB": 2, "LA": 4, "RGBA": 6}
_UP_FILTER = 2
"""Each byte less the one above it: nearly as small as the best filter for each row, and one subtraction."""
_LEVEL = 1
_BAND_BYTES = 1 << 20
"""Rows are filtered and compressed about so many bytes at a time, to bound memory."""


def can_hold(image: Image.Image) -> bool:
    """Whether `encode` takes a picture: 8 bits a channel, and no colour that stands for transparency."""
    return image.mode in _COLOUR_TYPES and "transparency" not in image.info


def encode(image: Image.Image, icc_profile: bytes | None, exif: bytes) -> bytes:
    """The file (PNG specification, third edition, W3C 2025) of a picture that `can_hold` accepts."""
    file = io.BytesIO()
    file.write(b"\x89PNG\r\n\x1a\n")
    header = struct.pack(">2I5B", image.width, image.height, 8, _COLOUR_TYPES[image.mode], 0, 0, 0)
    _write_chunk(file, b"IHDR", header)
    if icc_profile:
        _write_chunk(file, b"iCCP", b"ICC Profile\0\0" + zlib.compress(icc_profile))
    if exif:
        _write_chunk(file, b"eXIf", exif.removeprefix(b"Exif\0\0"))
    compressor = isal_zlib.compressobj(_LEVEL)
    for band in _filtered_bands(image):
        _write_chunk(file, b"IDAT", compressor.compress(band.data))
    _write_chunk(file, b"IDAT", compressor.flush())
    _write_chunk(file, b"IEND", b"")
    return file.getvalue()


def _filtered_bands(image: Image.Image) -> Iterator[NDArray[np.uint8]]:
    """The picture's rows from top to bottom, each filtered and behind its filter's number."""
    row_bytes = image.width * len(image.getbands())
    count = max(1, _BAND_BYTES // row_bytes)
    above = np.zeros((1, row_bytes), dtype=np.uint8)
    for top in range(0, image.height, count):
        bottom = min(top + count, image.height)
        rows = np.asarray(image.crop((0, top, image.width, bottom))).reshape(bottom - top, row_bytes)
        filtered = np.empty((bottom - top, 1 + row_bytes), dtype=np.uint8)
        filtered[:, 0] = _UP_FILTER
        np.subtract(rows[:1], above, out=filtered[:1, 1:])
        np.subtract(rows[1:], rows[:-1], out=filtered[1:, 1:])
        above = rows[-1:]
        yield filtered


def _write_chunk(file: io.BytesIO, kind: bytes, data: bytes) -> None:
    file.write(struct.pack(">I", len(data)))
    file.write(kind)
    file.write(data)
    file.write(struct.pack(">I", zlib.crc32(data, zlib.crc32(kind))))
