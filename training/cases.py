"""Evaluation cases: pictures with a hole of a known kind."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, get_args

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional as transforms

from model_core.errors import InputError
from model_core.pictures import hole_from_mask
from training.config import Kind
from training.errors import DataError
from training.masks import Mask, draw_kind
from training.metrics import Picture
from training.photographs import DETAIL, find_pictures, is_validation, load_photographs


class Case(NamedTuple):
    """truth: (H, W, 3) uint8 RGB; hole: (H, W) bool, True = to fill; kind: of the mask, in a word."""

    name: str
    truth: Picture
    hole: Mask
    kind: str


def validation_cases(folder: Path, share: float, size: int, seed: int, limit: int) -> Iterator[Case]:
    """Centre squares of the pictures that training keeps out, reduced to `size`, kinds of mask by turns.

    Detail crops are left out, for they show again what their picture shows.

    Raises:
        DataError: no picture is kept out, or none of them is large enough.
    """
    paths = [
        path for path in find_pictures(folder) if is_validation(path, share) and not DETAIL.search(path.stem)
    ]
    if not paths:
        raise DataError(
            f"none of the pictures in {folder} is kept out of training at validation_share {share}"
        )
    photographs = load_photographs(paths, size, budget_bytes=0)
    kinds: tuple[Kind, ...] = get_args(Kind)
    for index, path in enumerate(photographs.paths[: limit or None]):
        picture = photographs[index]
        square = transforms.center_crop(picture, [min(picture.shape[1:])] * 2)
        truth = transforms.resize(square, [size, size], InterpolationMode.BICUBIC, antialias=True)
        kind = kinds[index % len(kinds)]
        hole = draw_kind(kind, size, size, np.random.default_rng([seed, index]))
        yield Case(path.stem, truth.permute(1, 2, 0).numpy().copy(), hole, kind)


def given_cases(images: Path, masks: Path, limit: int) -> Iterator[Case]:
    """The pictures of a folder with the masks of another: masks/NAME.png, white = hole, for images/NAME.*.

    A file kinds.json beside the masks, {"NAME": {"kind": "thin"}, ...}, names their kinds.

    Raises:
        DataError: a picture or mask is missing or damaged, or their sizes differ.
    """
    paths = find_pictures(images)[: limit or None]
    kinds = _read_kinds(masks / "kinds.json")
    for path in paths:
        truth = np.array(ImageOps.exif_transpose(_open(path)).convert("RGB"))
        try:
            hole = hole_from_mask(_open(masks / f"{path.stem}.png"))
        except InputError as error:
            raise DataError(f"mask {masks / path.stem}.png: {error}") from error
        if hole.shape != truth.shape[:2]:
            raise DataError(f"mask {path.stem}.png is {hole.shape}, its picture {truth.shape[:2]} (H, W)")
        if not hole.any() or hole.all():
            raise DataError(
                f"mask {path.stem}.png is all {'white' if hole.any() else 'black'}; expected both"
            )
        yield Case(path.stem, truth, hole, kinds.get(path.stem, "given"))


def _read_kinds(path: Path) -> dict[str, str]:
    if not path.exists():
        return {}
    try:
        return {name: str(entry["kind"]) for name, entry in json.loads(path.read_text()).items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f'{path} is not of the form {{"NAME": {{"kind": "thin"}}}}') from error


def _open(path: Path) -> Image.Image:
    try:
        with Image.open(path) as image:
            image.load()
            return image
    except UnidentifiedImageError as error:
        raise DataError(f"{path} is not a picture") from error
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}") from error
