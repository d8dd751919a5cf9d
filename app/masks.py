"""Which pixels of a request's image are to be filled: from its mask, or from its own transparency."""

from typing import Literal

import numpy as np
import numpy.typing as npt
from PIL import Image

from app.errors import MissingMaskError
from model_core.pictures import hole_from_mask

Hole = npt.NDArray[np.bool_]
"""(height, width); True = fill."""

Marks = Literal["white", "black", "transparent"]
"""What in a mask marks the pixels to fill."""

OPAQUE = 255
_LEAST_KEPT_ALPHA = 128


def hole_of(mask: Image.Image, marks: Marks) -> Hole:
    """The pixels that a mask marks for filling; "transparent": those of alpha below 128.

    Raises:
        MissingMaskError: nothing is transparent in a mask whose transparency marks.
        PictureModeError: the mask's mode has no conversion to grey.
    """
    if marks != "transparent":
        return hole_from_mask(mask, marks)
    # Most likely a black and white mask; to answer with the unchanged image would hide that.
    return hole_from_alpha(
        _require_transparency(
            mask,
            "Nothing in 'mask' is transparent. Here a mask is a picture of the image's size whose "
            "transparent pixels (alpha below 128) are to be filled; its colours do not matter.",
        )
    )


def with_alpha(image: Image.Image) -> Image.Image:
    """`image` with its transparency as an alpha band (LA or RGBA), so that it can serve as the mask.

    Raises:
        MissingMaskError: nothing in the image is transparent.
    """
    return _require_transparency(
        image,
        "There is no 'mask', and nothing in 'image' is transparent. Send a mask of the image's size, "
        "white where to fill, or an image whose transparent pixels (alpha below 128) are to be filled.",
    )


def hole_from_alpha(image: Image.Image) -> Hole:
    """The transparent pixels of an image with an alpha band."""
    return np.asarray(image.getchannel("A")) < _LEAST_KEPT_ALPHA


def make_opaque(image: Image.Image, hole: Hole) -> None:
    """Set the alpha of the hole's pixels to opaque, in place; the others keep theirs."""
    alpha = image.getchannel("A")
    alpha.paste(OPAQUE, mask=Image.fromarray(hole))
    image.putalpha(alpha)


def grow(hole: Hole, pixels: int) -> Hole:
    """The hole and every pixel within `pixels` rows and columns of it."""
    if pixels == 0 or not hole.any():
        return hole
    rows, columns = (_around(np.flatnonzero(hole.any(axis=axis)), pixels) for axis in (1, 0))
    grown = hole.copy()
    box = grown[rows, columns]
    box[:] = _spread(_spread(box, pixels).T, pixels).T
    return grown


def _require_transparency(picture: Image.Image, message: str) -> Image.Image:
    """`picture` with an alpha band; MissingMaskError with the message if all of it is opaque."""
    if picture.has_transparency_data and picture.mode not in ("LA", "RGBA"):
        picture = picture.convert("RGBA")
    if "A" not in picture.getbands() or not hole_from_alpha(picture).any():
        raise MissingMaskError(message)
    return picture


def _around(places: npt.NDArray[np.intp], margin: int) -> slice:
    return slice(max(0, int(places[0]) - margin), int(places[-1]) + 1 + margin)


def _spread(hole: Hole, reach: int) -> Hole:
    """Each column's holes made `reach` longer at both ends; the reach doubles in each pass."""
    done = 0
    while done < reach:
        step = min(done + 1, reach - done)
        wider = hole.copy()
        wider[step:] |= hole[:-step]
        wider[:-step] |= hole[step:]
        hole, done = wider, done + step
    return hole
