"""Random masks: which pixels a training picture loses. True = hole.

Every kind is a pure function of the size and a random generator. Lengths are given for a side of 512 pixels
and scale with the shorter side, so that a kind looks alike at any size. Thin, medium and thick have the
ranges of LaMa's evaluation masks (Suvorov et al., arXiv 2109.07161); within a range, counts, widths and sides
are log-uniform, small ones being the more frequent. Shapes are drawn one after another, and one that would
take the hole beyond its kind's limit is left out: at least half of the picture stays known, and a quarter
under objects. A crop's mask may be cut from that of a larger picture; it is then at most 75% hole.
"""

from collections.abc import Callable, Iterator

import cv2
import numpy as np
from numpy.typing import NDArray

from training.config import Kind, MaskConfig

Mask = NDArray[np.bool_]
Shape = NDArray[np.uint8]
REFERENCE_SIDE = 512
MAX_SEGMENTS = 5
MAX_AREA = 0.5
MAX_OBJECT_AREA = 0.75
MAX_CUT_AREA = 0.75


def thin(height: int, width: int, rng: np.random.Generator) -> Mask:
    """4-70 strokes of 1-5 segments, each 5-20 pixels wide and 10-100 long."""
    return _strokes(height, width, rng, count=(4, 70), max_width=20, max_length=100)


def medium(height: int, width: int, rng: np.random.Generator) -> Mask:
    """4-10 strokes of 1-5 segments, 5-100 pixels wide and 10-200 long; 3 times in 10, 1-5 boxes of 30-150."""
    if rng.random() < 0.3:
        return _boxes(height, width, rng, count=(1, 5), side=(30, 150))
    return _strokes(height, width, rng, count=(4, 10), max_width=100, max_length=200)


def thick(height: int, width: int, rng: np.random.Generator) -> Mask:
    """1-5 strokes of 1-5 segments, 5-250 pixels wide and 10-450 long; 3 times in 10, 1-4 boxes of 30-300."""
    if rng.random() < 0.3:
        return _boxes(height, width, rng, count=(1, 4), side=(30, 300))
    return _strokes(height, width, rng, count=(1, 5), max_width=250, max_length=450)


def boxes(height: int, width: int, rng: np.random.Generator) -> Mask:
    """1-4 boxes with sides of 60-300 pixels, each drawn on its own."""
    return _boxes(height, width, rng, count=(1, 4), side=(60, 300))


def objects(height: int, width: int, rng: np.random.Generator) -> Mask:
    """1-3 blobs with wavy outlines, as things have: mean radius 40-160 pixels, stretched up to 2:1.

    The radius at angle t is r (1 + sum_k a_k cos(k t + p_k)) for k = 1..6, with a_k ~ N(0, 0.25 / k).
    """
    return _collect(
        height, width, (_blob(height, width, rng) for _ in range(rng.integers(1, 4))), MAX_OBJECT_AREA
    )


KINDS: dict[Kind, Callable[[int, int, np.random.Generator], Mask]] = {
    "thin": thin,
    "medium": medium,
    "thick": thick,
    "boxes": boxes,
    "objects": objects,
}


def draw_mask(height: int, width: int, rng: np.random.Generator, config: MaskConfig) -> Mask:
    """(height, width) bool, of a kind and at a zoom drawn by `config`; `config.min_area` to 75% hole."""
    weights = np.array([getattr(config, kind) for kind in KINDS], dtype=float)
    kind = list(KINDS)[rng.choice(len(KINDS), p=weights / weights.sum())]
    while True:
        zoom = rng.uniform(1, config.max_zoom)
        mask = _cut(draw_kind(kind, round(zoom * height), round(zoom * width), rng), height, width, rng)
        if config.min_area <= mask.mean() <= MAX_CUT_AREA:
            return mask


def _cut(mask: Mask, height: int, width: int, rng: np.random.Generator) -> Mask:
    top = rng.integers(0, mask.shape[0] - height + 1)
    left = rng.integers(0, mask.shape[1] - width + 1)
    return mask[top : top + height, left : left + width]


def draw_kind(kind: Kind, height: int, width: int, rng: np.random.Generator) -> Mask:
    """(height, width) bool of one kind; never empty."""
    while not (mask := KINDS[kind](height, width, rng)).any():
        pass  # Every shape was too large; rare, for most are far smaller than the limit.
    return mask


def _collect(height: int, width: int, shapes: Iterator[Shape], limit: float) -> Mask:
    """The union of the shapes, without those that would make it larger than `limit` of the picture."""
    mask = np.zeros((height, width), np.uint8)
    for shape in shapes:
        grown = mask | shape
        if np.count_nonzero(grown) <= limit * grown.size:
            mask = grown
    return mask.astype(bool)


def _scale(height: int, width: int) -> float:
    return min(height, width) / REFERENCE_SIDE


def _log_uniform(rng: np.random.Generator, low: float, high: float) -> float:
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))


def _count(rng: np.random.Generator, bounds: tuple[int, int]) -> int:
    """A whole number within the bounds, both included."""
    return int(_log_uniform(rng, bounds[0], bounds[1] + 1))


def _strokes(
    height: int, width: int, rng: np.random.Generator, count: tuple[int, int], max_width: int, max_length: int
) -> Mask:
    strokes = (_stroke(height, width, rng, max_width, max_length) for _ in range(_count(rng, count)))
    return _collect(height, width, strokes, MAX_AREA)


def _stroke(height: int, width: int, rng: np.random.Generator, max_width: int, max_length: int) -> Shape:
    """A polyline with round joints that turns to and fro, as scribbles do."""
    shape = np.zeros((height, width), np.uint8)
    scale = _scale(height, width)
    end = rng.uniform((0, 0), (width, height))
    for segment in range(rng.integers(1, MAX_SEGMENTS + 1)):
        start = end
        angle = rng.uniform(0, 4) + (np.pi if segment % 2 else 0)
        step = scale * rng.uniform(10, max_length) * np.array([np.sin(angle), np.cos(angle)])
        end = np.clip(start + step, 0, (width, height))
        thickness = max(1, round(scale * _log_uniform(rng, 5, max_width)))
        # OpenCV rounds the ends of thick lines.
        cv2.line(shape, _point(start), _point(end), 1, thickness)
    return shape


def _point(position: NDArray[np.float64]) -> tuple[int, int]:
    return round(position[0]), round(position[1])


def _boxes(
    height: int, width: int, rng: np.random.Generator, count: tuple[int, int], side: tuple[int, int]
) -> Mask:
    shapes = (_box(height, width, rng, side) for _ in range(_count(rng, count)))
    return _collect(height, width, shapes, MAX_AREA)


def _box(height: int, width: int, rng: np.random.Generator, side: tuple[int, int]) -> Shape:
    shape = np.zeros((height, width), np.uint8)
    scale = _scale(height, width)
    tall, wide = (max(1, round(scale * _log_uniform(rng, *side))) for _ in range(2))
    top, left = rng.integers(0, height - tall + 1), rng.integers(0, width - wide + 1)
    shape[top : top + tall, left : left + wide] = 1
    return shape


def _blob(height: int, width: int, rng: np.random.Generator) -> Shape:
    shape = np.zeros((height, width), np.uint8)
    angle = np.linspace(0, 2 * np.pi, 64, endpoint=False)
    waves = np.arange(1, 7)
    amplitude, phase = rng.normal(0, 0.25 / waves), rng.uniform(0, 2 * np.pi, 6)
    radius = 1 + (amplitude[:, None] * np.cos(waves[:, None] * angle + phase[:, None])).sum(0)
    radius = _scale(height, width) * rng.uniform(40, 160) * np.clip(radius, 0.2, 2)
    stretch, turn = rng.uniform(0.7, 1.4), rng.uniform(0, np.pi)
    points = np.stack([radius * np.cos(angle) * stretch, radius * np.sin(angle) / stretch])
    turned = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]]) @ points
    outline = (turned.T + rng.uniform((0, 0), (width, height))).round().astype(np.int32)
    cv2.fillPoly(shape, [outline], 1)
    return shape
