"""Which pixels of a request's image are to be filled: from its mask, or from its own transparency."""

import numpy as np
import numpy.typing as npt
from PIL import Image

from app.errors import MissingMaskError

Hole = npt.NDArray[np.bool_]
"""(height, width); True = fill."""

OPAQUE = 255
_LEAST_KEPT_ALPHA = 128


def with_alpha(image: Image.Image) -> Image.Image:
    """`image` with its transparency as an alpha band (LA or RGBA), so that it can serve as the mask.

    Raises:
        MissingMaskError: nothing in the image is transparent.
    """
    if image.has_transparency_data and image.mode not in ("LA", "RGBA"):
        image = image.convert("RGBA")
    if "A" not in image.getbands() or not hole_from_alpha(image).any():
        raise MissingMaskError(
            "There is no 'mask', and nothing in 'image' is transparent. Send a mask of the image's size, "
            "white where to fill, or an image whose transparent pixels (alpha below 128) are to be filled."
        )
    return image


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
