"""Pillow pictures as the generator needs them, and back, without loss for the pixels that stay.

Modes that can be filled, and what comes back:

    mode                      result   the fill
    RGB, RGBX                 same     8 bits a colour; the X of RGBX stays
    RGBA                      same     8 bits a colour; alpha stays, also inside the hole
    L, LA                     same     luma of the fill; alpha stays
    I;16, I;16B, I;16L, I;16N same     luma of the fill in 16 bits
    I                         same     luma of the fill; every value must lie in 0..65535 (16-bit grey)
    1                         same     luma of the fill, black or white
    CMYK                      same     the fill converted without a profile, with the grey part in black ink
    P, PA                     RGB(A)   a palette has no room for new colours; RGBA where it has transparency

Other modes (F, LAB, HSV, YCbCr, RGBa, La) have no agreed range or conversion and raise `PictureModeError`.
Profiles and EXIF data are in `Image.info`, which Pillow keeps through the calls used here.
"""

import struct
from collections.abc import Callable
from typing import Any, Literal, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageOps

from model_core.errors import PictureModeError, SizeMismatchError

Pixels = NDArray[Any]
FloatArray = NDArray[np.float32]
BoolArray = NDArray[np.bool_]

HOLE_THRESHOLD = 127
MAX_8_BIT = 255
MAX_16_BIT = 65535

# What Pillow raises for EXIF data that it cannot read, or cannot write again.
_EXIF_ERRORS = (
    SyntaxError,
    TypeError,
    ValueError,
    AttributeError,
    LookupError,
    ArithmeticError,
    struct.error,
)

# ITU-R BT.601, as in Pillow's conversion from RGB to L.
LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)


class Codec(NamedTuple):
    """How one mode's pixels become RGB and how a fill becomes that mode's pixels.

    Attributes:
        to_rgb: (..., bands) or (...) in the mode's dtype -> (..., 3) float32 in [0, 1].
        from_rgb: (N, 3) float32 in [0, 1] -> (N, colours) or (N,), rounded to the mode's dtype.
        colours: how many of the bands are colours; the rest (alpha) stays. None: one band without an axis.
    """

    to_rgb: Callable[[Pixels], FloatArray]
    from_rgb: Callable[[FloatArray], Pixels]
    colours: int | None


def upright(image: Image.Image) -> Image.Image:
    """`image` turned as its EXIF orientation says, which is then removed; malformed EXIF is dropped.

    So is the thumbnail in the EXIF data, which would still show what is going to be filled.
    """
    try:
        turned = ImageOps.exif_transpose(image)
        if "exif" in turned.info:
            # Written anew, it holds the tags of the picture and no thumbnail.
            turned.info["exif"] = turned.getexif().tobytes()
        return turned
    except _EXIF_ERRORS:
        return ImageOps.exif_transpose(_with_orientation_only(image))


def hole_from_mask(mask: Image.Image, polarity: Literal["white", "black"] = "white") -> BoolArray:
    """The hole that a mask of any mode describes: bool (H, W), True = fill.

    A pixel is white when its luma is above half. Polarity "white": white = hole; "black": the rest = hole.
    Transparent parts of a mask were not painted, so they are known whatever the polarity.

    Raises:
        PictureModeError: the mask's mode has no conversion to grey, or its 16 bits hold values of 8 bits.
    """
    if polarity not in ("white", "black"):
        raise ValueError(f"mask polarity is {polarity!r}, expected 'white' or 'black'")
    painted_white = polarity == "white"
    if mask.mode.startswith("I"):
        _require_16_bit(mask)
        values = np.asarray(mask)
        _require_full_range(values)
        white = values > MAX_16_BIT // 2
        return white if painted_white else ~white
    if mask.has_transparency_data and mask.mode not in ("RGBa", "La"):
        colours = mask.convert("RGBA")
        ground = Image.new("RGBA", mask.size, "black" if painted_white else "white")
        mask = Image.alpha_composite(ground, colours)
    if mask.mode not in ("1", "L", "P", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr"):
        raise PictureModeError(f"a mask of mode {mask.mode} cannot be read; expected grey, RGB or palette")
    grey = mask.convert("RGB").convert("L") if mask.mode == "CMYK" else mask.convert("L")
    white = np.asarray(grey) > HOLE_THRESHOLD
    return white if painted_white else ~white


def fillable(image: Image.Image) -> Image.Image:
    """A copy of `image` in the mode that its result has: itself, or RGB(A) for a palette.

    Raises:
        PictureModeError: the mode cannot be filled, or values of mode I exceed 16 bits.
    """
    if image.mode in ("P", "PA"):
        return image.convert("RGBA" if image.has_transparency_data else "RGB")
    codec_of(image.mode)
    _require_16_bit(image)
    return image.copy()


def codec_of(mode: str) -> Codec:
    """The codec of a mode that `fillable` returns.

    Raises:
        PictureModeError: the mode cannot be filled.
    """
    codec = _CODECS.get(mode)
    if codec is None:
        raise PictureModeError(f"mode {mode} cannot be filled; expected one of P, PA, {', '.join(_CODECS)}")
    return codec


def pixels_of(image: Image.Image) -> Pixels:
    """A writable copy of the image's pixels, (H, W) or (H, W, bands), in the mode's own dtype."""
    return np.array(image)


def image_of(pixels: Pixels, mode: str) -> Image.Image:
    """The inverse of `pixels_of`."""
    if pixels.ndim == 2:
        return Image.fromarray(pixels)
    return Image.frombytes(mode, (pixels.shape[1], pixels.shape[0]), pixels.tobytes())


def put_colours(pixels: Pixels, where: BoolArray, rgb: FloatArray, codec: Codec) -> None:
    """Write N colours, (N, 3) float32 in [0, 1], into the N pixels where `where` is True, in place."""
    values = codec.from_rgb(rgb)
    if codec.colours is None:
        pixels[where] = values
        return
    # One band after the other takes a sixth of the time of all together.
    for band in range(codec.colours):
        pixels[..., band][where] = values[:, band]


def colours_at(rgb: FloatArray, where: BoolArray) -> FloatArray:
    """(N, 3) float32: the colours of an (H, W, 3) picture at the N pixels where `where` is True."""
    # One band after the other takes an eighth of the time of all together.
    return np.stack([rgb[..., band][where] for band in range(3)], axis=1)


def require_same_size(image: Image.Image, hole: BoolArray) -> None:
    """Raise SizeMismatchError unless `hole`, (H, W), is as large as the image."""
    if hole.shape != (image.height, image.width):
        mask_size = " x ".join(str(side) for side in hole.shape)
        image_size = f"{image.height} x {image.width}"
        raise SizeMismatchError(f"mask is {mask_size} but image is {image_size} (height x width)")


def _with_orientation_only(image: Image.Image) -> Image.Image:
    """A copy whose EXIF holds the image's orientation, where it can be read, and nothing else."""
    plain = image.copy()
    plain.info.pop("exif", None)
    try:
        orientation = image.getexif().get(ExifTags.Base.Orientation)
    except _EXIF_ERRORS:
        return plain
    if isinstance(orientation, int) and 2 <= orientation <= 8:
        exif = Image.Exif()
        exif[ExifTags.Base.Orientation] = orientation
        plain.info["exif"] = exif.tobytes()
    return plain


def _require_16_bit(image: Image.Image) -> None:
    """Raise PictureModeError for 32-bit values beyond 16 bits, as the range that they use is unknown."""
    if image.mode == "I":
        low, high = cast("tuple[int, int]", image.getextrema())
        if low < 0 or high > MAX_16_BIT:
            raise PictureModeError(
                f"a picture of mode I must hold values in 0..{MAX_16_BIT}; this one holds {low}..{high}"
            )


def _require_full_range(values: Pixels) -> None:
    """Raise PictureModeError for a 16-bit mask that is all black only because its values are 8-bit ones."""
    brightest = int(values.max())
    if 0 < brightest <= MAX_8_BIT:
        raise PictureModeError(
            f"the mask has 16 bits, but its brightest pixel is {brightest} of {MAX_16_BIT}, so none is white "
            f"(above {MAX_16_BIT // 2}); save it with 8 bits, or multiply it by {MAX_16_BIT // MAX_8_BIT}"
        )


def _luma(rgb: FloatArray) -> FloatArray:
    luma: FloatArray = rgb @ LUMA
    return luma


def _quantised(values: FloatArray, maximum: int, dtype: type[np.generic]) -> Pixels:
    return np.rint(values * maximum).clip(0, maximum).astype(dtype)


def _grey_to_rgb(grey: Pixels, maximum: int) -> FloatArray:
    scaled = grey.astype(np.float32) / np.float32(maximum)
    return np.repeat(scaled[..., None], 3, axis=-1)


def _cmyk_to_rgb(cmyk: Pixels) -> FloatArray:
    light: FloatArray = 1 - cmyk.astype(np.float32) / np.float32(255)
    return light[..., :3] * light[..., 3:]


def _rgb_to_cmyk(rgb: FloatArray) -> Pixels:
    light = rgb.max(axis=-1, keepdims=True)
    inks = 1 - rgb / np.maximum(light, 1 / 255)
    return _quantised(np.concatenate([np.where(light > 0, inks, 0), 1 - light], axis=-1), 255, np.uint8)


_RGB = Codec(
    to_rgb=lambda pixels: pixels[..., :3].astype(np.float32) / np.float32(255),
    from_rgb=lambda rgb: _quantised(rgb, 255, np.uint8),
    colours=3,
)
_GREY_ALPHA = Codec(
    to_rgb=lambda pixels: _grey_to_rgb(pixels[..., 0], 255),
    from_rgb=lambda rgb: _quantised(_luma(rgb)[:, None], 255, np.uint8),
    colours=1,
)
_GREY = Codec(
    to_rgb=lambda pixels: _grey_to_rgb(pixels, 255),
    from_rgb=lambda rgb: _quantised(_luma(rgb), 255, np.uint8),
    colours=None,
)
_GREY_16 = Codec(
    to_rgb=lambda pixels: _grey_to_rgb(pixels, MAX_16_BIT),
    from_rgb=lambda rgb: _quantised(_luma(rgb), MAX_16_BIT, np.uint16),
    colours=None,
)
_BLACK_OR_WHITE = Codec(
    to_rgb=lambda pixels: _grey_to_rgb(pixels, 1),
    from_rgb=lambda rgb: _luma(rgb) >= 0.5,
    colours=None,
)
_CMYK = Codec(to_rgb=_cmyk_to_rgb, from_rgb=_rgb_to_cmyk, colours=4)

_CODECS = {
    "RGB": _RGB,
    "RGBX": _RGB,
    "RGBA": _RGB,
    "L": _GREY,
    "LA": _GREY_ALPHA,
    "I;16": _GREY_16,
    "I;16B": _GREY_16,
    "I;16L": _GREY_16,
    "I;16N": _GREY_16,
    "I": _GREY_16,
    "1": _BLACK_OR_WHITE,
    "CMYK": _CMYK,
}
