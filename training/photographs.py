"""Folders of photographs: found, split, decoded, and bad ones counted."""

import hashlib
import re
from collections import Counter
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from training.errors import DataError

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".avif"})
DETAIL = re.compile(r"_c\d+$")
# Pictures beyond this are not photographs to train on, and decoding one would take gigabytes.
MAX_PIXELS = 100_000_000


class SkippedPicture(NamedTuple):
    """A picture that is not trained on, and why."""

    path: Path
    reason: str


class Photographs:
    """Decoded photographs of one split, in the order of their paths.

    Attributes:
        paths: of the usable pictures.
        skipped: the others.
    """

    def __init__(
        self, pictures: list[Tensor | Path], paths: list[Path], skipped: list[SkippedPicture]
    ) -> None:
        self._pictures = pictures
        self.paths = paths
        self.skipped = skipped

    def __len__(self) -> int:
        return len(self._pictures)

    def __getitem__(self, index: int) -> Tensor:
        """(3, H, W) uint8 RGB in [0, 255]."""
        picture = self._pictures[index]
        return picture if isinstance(picture, Tensor) else decode(picture)

    @property
    def in_memory(self) -> int:
        """How many pictures are kept decoded."""
        return sum(isinstance(picture, Tensor) for picture in self._pictures)

    def summary(self) -> str:
        """How many pictures there are, and how many were skipped for each reason."""
        reasons = Counter(skipped.reason for skipped in self.skipped)
        parts = [f"{count} {reason}" for reason, count in sorted(reasons.items())]
        return f"{len(self)} pictures" + (f"; skipped: {', '.join(parts)}" if parts else "")


def find_pictures(folder: str | Path) -> list[Path]:
    """All files below `folder` whose suffix is a picture's, sorted by path.

    Raises:
        DataError: the folder is missing or holds no such file.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise DataError(f"{folder} is not a folder; expected one that holds pictures")
    found = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file())
    if not found:
        raise DataError(
            f"folder {folder} holds no pictures; looked for {', '.join(sorted(SUFFIXES))} at any depth"
        )
    return found


def group_of(path: Path) -> str:
    """The name that a picture shares with its detail crops: `house` for house.jpg and house_c0.jpg."""
    return DETAIL.sub("", path.stem)


def is_validation(path: Path, share: float) -> bool:
    """Whether a picture is kept out of training: by a hash of its group's name, the same everywhere."""
    digest = hashlib.sha256(group_of(path).encode()).digest()
    return int.from_bytes(digest[:8], "big") < share * 2**64


def split(paths: Iterable[Path], share: float) -> tuple[list[Path], list[Path]]:
    """The training and the validation part of `paths`; a picture and its detail crops stay together."""
    paths = list(paths)
    kept_out = {path for path in paths if is_validation(path, share)}
    return [path for path in paths if path not in kept_out], [path for path in paths if path in kept_out]


def load_photographs(paths: list[Path], min_side: int, budget_bytes: float) -> Photographs:
    """Decode pictures, keeping as many as fit into `budget_bytes`; the others are decoded when asked for.

    Every picture is decoded once, so that damaged ones are found now and not in the middle of a run.

    Raises:
        DataError: none of the pictures can be used.
    """
    pictures: list[Tensor | Path] = []
    usable, skipped, used = [], [], 0
    with ThreadPoolExecutor() as pool:
        for path, result in zip(
            paths, pool.map(lambda path: _try_decode(path, min_side), paths), strict=True
        ):
            if isinstance(result, str):
                skipped.append(SkippedPicture(path, result))
                continue
            usable.append(path)
            used += result.nbytes
            pictures.append(path if used > budget_bytes else result)
    photographs = Photographs(pictures, usable, skipped)
    if paths and not usable:
        raise DataError(f"none of the {len(paths)} pictures can be used ({photographs.summary()})")
    return photographs


def decode(path: Path) -> Tensor:
    """(3, H, W) uint8 RGB of a picture, upright.

    Raises:
        OSError: the file is damaged or cannot be read.
    """
    with Image.open(path) as image:
        if image.width * image.height > MAX_PIXELS:
            raise OSError(f"larger than {MAX_PIXELS} pixels")
        rgb = ImageOps.exif_transpose(image).convert("RGB")
    return torch.from_numpy(np.array(rgb)).permute(2, 0, 1).contiguous()


def _try_decode(path: Path, min_side: int) -> Tensor | str:
    """The picture, or the reason why it cannot be used."""
    try:
        picture = decode(path)
    except UnidentifiedImageError:
        return "not a picture"
    # Pillow's decoders report damage in all three ways.
    except (OSError, SyntaxError, ValueError):
        return "damaged"
    if min(picture.shape[1:]) < min_side:
        return f"smaller than {min_side} pixels"
    return picture
