"""What the benchmark sends: photographs with holes, in several sizes, as uploads."""

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

PICTURES = Path(__file__).parent.parent / "pictures"


@dataclass(frozen=True)
class Case:
    """A picture and its mask (white = hole): decoded for the classical methods, encoded for the service."""

    image: Image.Image
    mask: Image.Image
    image_file: bytes
    mask_file: bytes


def read_cases(folder: Path, limit: int) -> list[Case]:
    """The pictures of `folder`/images with the masks of the same stem in `folder`/masks."""
    masks = {path.stem: path for path in (folder / "masks").iterdir()}
    paths = sorted(path for path in (folder / "images").iterdir() if path.stem in masks)[:limit]
    return [
        Case(
            Image.open(path).convert("RGB"),
            Image.open(masks[path.stem]).convert("L"),
            path.read_bytes(),
            masks[path.stem].read_bytes(),
        )
        for path in paths
    ]


def make_cases(width: int, height: int, hole_pixels: int, count: int) -> list[Case]:
    """Enlarged photographs, each with one round hole of that diameter at a place of its own."""
    rng = np.random.default_rng(0)
    sources = [Image.open(path).convert("RGB") for path in sorted(PICTURES.glob("*.jpg"))]
    cases = []
    for index in range(count):
        image = sources[index % len(sources)].resize((width, height), Image.Resampling.BICUBIC)
        mask = Image.new("L", (width, height))
        left = int(rng.integers(0, width - hole_pixels + 1))
        top = int(rng.integers(0, height - hole_pixels + 1))
        ImageDraw.Draw(mask).ellipse((left, top, left + hole_pixels - 1, top + hole_pixels - 1), fill=255)
        cases.append(Case(image, mask, _encode(image, "JPEG"), _encode(mask, "PNG")))
    return cases


def _encode(image: Image.Image, file_format: str) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, file_format, quality=95)
    return buffer.getvalue()
