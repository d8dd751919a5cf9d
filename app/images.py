"""Bytes to pictures and back: the only place that meets Pillow's errors, and none of its texts leaves it."""

import io
import re
import struct
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Literal

import numpy as np
from PIL import Image, TiffImagePlugin

from app import avif, png
from app.errors import (
    DamagedPictureError,
    EmptyFileError,
    PictureTooLargeError,
    SlowPictureError,
    UnsupportedSizeError,
    UnsupportedTypeError,
)
from model_core.pictures import upright

OutputFormat = Literal["png", "jpeg", "webp"]

MEDIA_TYPES: dict[OutputFormat, str] = {"png": "image/png", "jpeg": "image/jpeg", "webp": "image/webp"}
OUTPUT_SUFFIXES: dict[str, OutputFormat] = {".png": "png", ".jpg": "jpeg", ".jpeg": "jpeg", ".webp": "webp"}
ACCEPTED_FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "AVIF")
_SIGNATURE = re.compile(
    rb"\xff\xd8\xff|\x89PNG\r\n\x1a\n|RIFF.{4}WEBP|BM|II[*+]\0|MM\0[*+]|.{4}ftyp(avif|avis|mif1)", re.DOTALL
)
_JPEG_MARKER = re.compile(rb"\xff[^\x00\x01\xd0-\xd8\xff]")
"""Of a segment: what follows the ff is neither data (00) nor a marker without a segment."""
MAX_JPEG_SCANS = 100
_TILE_TAGS = (TiffImagePlugin.TILEWIDTH, TiffImagePlugin.TILELENGTH)
_MODES: dict[OutputFormat, frozenset[str]] = {
    "png": frozenset({"1", "L", "LA", "P", "RGB", "RGBA", "I;16"}),
    "jpeg": frozenset({"L", "RGB", "CMYK"}),
    "webp": frozenset({"RGB", "RGBA"}),
}
_MAX_JPEG_EXIF_BYTES = 65_527
"""What fits into the one JPEG segment that may hold it."""

# What Pillow's decoders raise for hostile bytes; warnings too, where the interpreter turns them into errors.
_DECODER_ERRORS = (
    OSError,
    SyntaxError,
    ValueError,
    TypeError,
    LookupError,
    EOFError,
    ArithmeticError,
    RuntimeError,
    struct.error,
    zlib.error,
    Warning,
)


@dataclass(frozen=True)
class PictureLimits:
    """The largest picture that is decoded, and the most CPU time that this may take."""

    max_pixels: int
    max_side: int
    max_seconds: float = 5.0


class EncodedPicture:
    """A picture whose header has been read and accepted, and of which nothing has been decoded.

    Attributes:
        pixels: how many its decoder makes room for, by its header.
    """

    def __init__(self, file: BinaryIO, field: str, limits: PictureLimits) -> None:
        """Read the header of the picture in `file`; `field` names it in errors.

        Raises:
            EmptyFileError, UnsupportedTypeError, PictureTooLargeError, SlowPictureError, DamagedPictureError.
        """
        self._field = field
        self._limits = limits
        _require_signature(file, field)
        self._file = _TimedFile(file.read(), field, limits.max_seconds)
        with _translated_errors(field, limits), self._file.timed():
            self._image = Image.open(self._file, formats=ACCEPTED_FORMATS)
            self.pixels = _required_pixels(self._image, self._file.getvalue(), field, limits)

    def decode(self) -> Image.Image:
        """Its first frame, upright (EXIF orientation applied), in its own mode.

        To be called once, since it holds nothing afterwards.

        Raises:
            SlowPictureError, DamagedPictureError.
        """
        image, file = self._image, self._file
        del self._image, self._file
        with _translated_errors(self._field, self._limits), file.timed():
            _require_few_scans(file.getvalue(), self._field)
            image.load()
            image.info = _harmless_info(image)
            return upright(image)


def require_size(image: Image.Image, size: tuple[int, int] | None) -> None:
    """Raise UnsupportedSizeError unless `image` is of the (width, height) that the answer is wanted in."""
    if size is not None and image.size != size:
        raise UnsupportedSizeError(
            f"'size' is {size[0]}x{size[1]} but the image is {image.width}x{image.height} (width x height). "
            "The answer has the image's size: leave 'size' out, or send 'auto'."
        )


def output_format_of(path: Path) -> OutputFormat | None:
    """The format that a file's name asks for, if it can be written."""
    return OUTPUT_SUFFIXES.get(path.suffix.lower())


def output_format_like(start: bytes) -> OutputFormat:
    """The format of the file that begins with these 16 bytes, if answers can have it; else png."""
    if start.startswith(b"\xff\xd8\xff"):
        return "jpeg"
    return "webp" if start[8:12] == b"WEBP" else "png"


def encode(image: Image.Image, output_format: OutputFormat, quality: int) -> bytes:
    """The bytes of `image` with its ICC profile and EXIF; modes that the format cannot hold are converted.

    `quality` (1 to 100) matters to jpeg and webp only. JPEG has no alpha: transparency is laid over white.
    """
    encodable = _encodable(image, output_format)
    # A profile describes one colour space, so it does not outlive a conversion to another.
    icc_profile = image.info.get("icc_profile") if _colours(image) == _colours(encodable) else None
    exif = image.info.get("exif", b"")
    if output_format == "png" and png.can_hold(encodable):
        return png.encode(encodable, icc_profile, exif)
    options: dict[str, Any] = {"icc_profile": icc_profile}
    if output_format != "jpeg" or len(exif) <= _MAX_JPEG_EXIF_BYTES:
        options["exif"] = exif
    if output_format != "png":
        options["quality"] = quality
    buffer = io.BytesIO()
    encodable.save(buffer, output_format, **options)
    return buffer.getvalue()


def _require_signature(file: BinaryIO, field: str) -> None:
    start = file.read(16)
    file.seek(0)
    if not start:
        raise EmptyFileError(f"The file in '{field}' is empty (0 bytes); a picture is expected.")
    if not _SIGNATURE.match(start):
        raise UnsupportedTypeError(
            f"The content of '{field}' is none of the accepted picture types: {', '.join(ACCEPTED_FORMATS)}."
        )


def _required_pixels(image: Image.Image, data: bytes, field: str, limits: PictureLimits) -> int:
    """How many pixels the picture's decoder makes room for, which can be more than it has.

    Raises:
        PictureTooLargeError: it is too large, or its parts are.
    """
    pixels = _require_size("", image.size, field, limits)
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        pixels = max(pixels, _require_size("in tiles of ", _tile_size(image), field, limits))
    if image.format == "AVIF":
        frames = avif.frame_sizes(data)
        in_frames = sum(_require_size("made of frames of ", size, field, limits) for size in frames)
        pixels = max(pixels, in_frames)
        # Colours, alpha, and thumbnails or the edges of a grid's cells.
        if in_frames > 3 * limits.max_pixels:
            raise PictureTooLargeError(
                f"'{field}' is made of {len(frames)} frames, which have more than three times the "
                f"{limits.max_pixels:,} pixels that are accepted."
            )
    return pixels


def _require_size(what: str, size: tuple[int, int], field: str, limits: PictureLimits) -> int:
    """The pixels of what is of this size, unless they are too many."""
    width, height = size
    if width * height > limits.max_pixels or max(width, height) > limits.max_side:
        raise PictureTooLargeError(
            f"'{field}' is {what}{width} x {height} pixels (width x height), {width * height:,} in all; "
            f"at most {limits.max_pixels:,} in all and {limits.max_side:,} a side are accepted."
        )
    return width * height


def _tile_size(image: TiffImagePlugin.TiffImageFile) -> tuple[int, int]:
    """Of a TIFF: its decoder takes memory for a whole tile, however small the picture is."""
    width, height = (image.tag_v2.get(tag) for tag in _TILE_TAGS)
    return (width, height) if isinstance(width, int) and isinstance(height, int) else (0, 0)


class _TimedFile(io.BytesIO):
    """A file that Pillow can read only for some time: what it does in between is bounded by the file's bytes.

    So files end early that are made of millions of tiny parts, each of which costs microseconds.
    """

    def __init__(self, data: bytes, field: str, max_seconds: float) -> None:
        super().__init__(data)
        self._field = field
        self._max_seconds = max_seconds
        self._start = self._spent = 0.0

    @contextmanager
    def timed(self) -> Iterator[None]:
        """Have the time count that this thread takes in the block."""
        self._start = time.thread_time() - self._spent
        yield
        self._spent = time.thread_time() - self._start

    def read(self, size: int | None = -1, /) -> bytes:
        if time.thread_time() - self._start > self._max_seconds:
            raise SlowPictureError(
                f"'{self._field}' took more than the {self._max_seconds:g} seconds that decoding may take."
            )
        return super().read(size)


def _require_few_scans(data: bytes, field: str) -> None:
    """Refuse a JPEG that goes over all its pixels again and again, which costs it a few bytes each time."""
    scans = 0
    at = 2 if data.startswith(b"\xff\xd8") else len(data)
    while scans <= MAX_JPEG_SCANS and (marker := _JPEG_MARKER.search(data, at)):
        if marker[0] == b"\xff\xd9":
            break
        scans += marker[0] == b"\xff\xda"
        at = marker.end() + int.from_bytes(data[marker.end() : marker.end() + 2])
    if scans > MAX_JPEG_SCANS:
        raise SlowPictureError(
            f"'{field}' is a JPEG of more than {MAX_JPEG_SCANS} scans, which would take too long to decode; "
            "progressive JPEGs have about ten."
        )


def _harmless_info(image: Image.Image) -> dict[str | tuple[int, int], Any]:
    """What of a picture's metadata goes on: Pillow's encoders take options from it, and hang on strange ones.

    In files they can be of any type and length, as PNG's texts are kept under the keywords that they bring.
    Browsers turn pictures by their EXIF data only, so orientations in other texts go too.
    """
    kept: dict[str | tuple[int, int], Any] = {
        name: image.info[name] for name in ("icc_profile", "exif") if isinstance(image.info.get(name), bytes)
    }
    transparency = image.info.get("transparency")
    if _is_transparency(image.mode, transparency):
        kept["transparency"] = transparency
    return kept


def _is_transparency(mode: str, value: object) -> bool:
    """Whether a picture of this mode can have `value` as its transparent colour or its palette's alphas."""
    if mode == "RGB":
        return isinstance(value, tuple) and len(value) == 3 and all(isinstance(part, int) for part in value)
    if mode == "P" and isinstance(value, bytes):
        return len(value) <= 256
    return mode in ("1", "L", "P", "I", "I;16") and isinstance(value, int)


def _encodable(image: Image.Image, output_format: OutputFormat) -> Image.Image:
    """`image` in the nearest mode that the format can hold."""
    if image.mode.startswith("I"):
        grey = np.asarray(image)  # of values up to 65535, which Pillow's own conversions would clip to 255
        image = Image.fromarray(
            grey.astype(np.uint16) if output_format == "png" else (grey >> 8).astype(np.uint8)
        )
    if output_format == "jpeg" and image.has_transparency_data:
        return _over_white(image)
    if image.mode in _MODES[output_format]:
        return image
    return image.convert("RGBA" if image.has_transparency_data else "RGB")


def _colours(image: Image.Image) -> str:
    if image.mode == "CMYK":
        return "cmyk"
    return "grey" if image.mode in ("1", "L", "LA") or image.mode.startswith("I") else "rgb"


def _over_white(image: Image.Image) -> Image.Image:
    layer = image.convert("RGBA")
    white = Image.new("RGBA", image.size, "white")
    return Image.alpha_composite(white, layer).convert("RGB")


@contextmanager
def _translated_errors(field: str, limits: PictureLimits) -> Iterator[None]:
    try:
        yield
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as exc:
        raise PictureTooLargeError(
            f"'{field}' has more than {Image.MAX_IMAGE_PIXELS:,} pixels; "
            f"at most {limits.max_pixels:,} are accepted."
        ) from exc
    except _DECODER_ERRORS as exc:
        raise DamagedPictureError(
            f"The file in '{field}' begins like a picture, but is truncated or damaged and cannot be decoded."
        ) from exc
