import cv2
import numpy as np
import pytest

from training.config import MaskConfig
from training.masks import KINDS, Mask, draw_kind, draw_mask

DRAWS = 150


def areas(kind: str, side: int) -> np.ndarray:
    return np.array([KINDS[kind](side, side, np.random.default_rng(i)).mean() for i in range(DRAWS)])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("height", "width"), [(64, 64), (256, 192), (40, 300)])
def test_mask_has_the_size_a_hole_and_known_pixels(kind: str, height: int, width: int) -> None:
    """Each kind fits any size, is never empty, and leaves at least a quarter of the picture known."""
    for seed in range(20):
        mask = draw_kind(kind, height, width, np.random.default_rng(seed))

        assert (mask.shape, mask.dtype) == ((height, width), np.bool_)
        assert 0 < mask.mean() <= 0.75


@pytest.mark.parametrize("kind", KINDS)
def test_mask_is_a_function_of_the_generator_alone(kind: str) -> None:
    """The same random generator gives the same mask, another one another."""
    first, again, other = (draw_kind(kind, 96, 96, np.random.default_rng(seed)) for seed in (1, 1, 2))

    assert (first == again).all()
    assert (first != other).any()


@pytest.mark.parametrize(
    ("kind", "low", "high"),
    [
        ("thin", 0.10, 0.22),
        ("medium", 0.13, 0.25),
        ("thick", 0.16, 0.30),
        ("boxes", 0.11, 0.23),
        ("objects", 0.15, 0.30),
    ],
)
def test_mean_area_of_each_kind(kind: str, low: float, high: float) -> None:
    """The kinds cover as much of a 512-pixel picture as stated, and a smaller one alike."""
    large, small = areas(kind, 512).mean(), areas(kind, 128).mean()

    assert low < large < high
    assert small == pytest.approx(large, rel=0.25)


@pytest.mark.parametrize(("kind", "limit"), [("thin", 0.5), ("medium", 0.5), ("thick", 0.5), ("boxes", 0.5)])
def test_half_of_the_picture_stays_known(kind: str, limit: float) -> None:
    """Strokes and boxes never cover more than half, and large ones come near to it."""
    assert areas(kind, 128).max() <= limit
    assert areas("thick", 128).max() > 0.4


def test_kinds_differ_in_how_deep_their_holes_are() -> None:
    """Thin strokes are at most 20 pixels wide where they do not cross; medium and thick ones are deeper."""

    def depth(mask: Mask) -> float:
        inside = cv2.distanceTransform(mask.astype(np.uint8), cv2.DIST_L2, 5)
        return float(np.quantile(inside[mask], 0.9))

    depths = {
        kind: np.median([depth(draw_kind(kind, 512, 512, np.random.default_rng(i))) for i in range(30)])
        for kind in ("thin", "medium", "thick")
    }

    assert depths["thin"] < 11 < depths["medium"] < depths["thick"]


def test_strokes_are_at_least_five_pixels_wide_and_round() -> None:
    """A disc of five pixels reaches almost all of a thin mask: no gaps at joints, no sharp corners."""
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (5, 5))

    for seed in range(20):
        mask = draw_kind("thin", 512, 512, np.random.default_rng(seed)).astype(np.uint8)
        assert cv2.morphologyEx(mask, cv2.MORPH_OPEN, disc).sum() > 0.98 * mask.sum()


def test_frequencies_choose_the_kind() -> None:
    """A kind with frequency 0 is never drawn."""
    config = MaskConfig(thin=0, medium=0, thick=0, boxes=1, objects=0, max_zoom=1)

    for seed in range(20):
        mask = draw_mask(64, 64, np.random.default_rng(seed), config)
        rows, columns = mask.any(1), mask.any(0)
        # Boxes only: every row is one of few patterns.
        assert len(np.unique(mask[rows][:, columns], axis=0)) <= 9


@pytest.mark.parametrize("zoom", [1.0, 3.0])
def test_zoomed_masks_are_worth_training_on(zoom: float) -> None:
    """A mask cut from a larger picture's is neither almost empty nor almost everything."""
    config = MaskConfig(max_zoom=zoom)
    shares = [draw_mask(64, 64, np.random.default_rng(seed), config).mean() for seed in range(100)]

    assert min(shares) >= 0.01
    assert max(shares) <= 0.75


def test_small_holes_can_be_left_out() -> None:
    """The least share of hole is a setting; all kinds can reach the largest that it takes."""
    config = MaskConfig(min_area=0.3)

    assert min(draw_mask(64, 64, np.random.default_rng(seed), config).mean() for seed in range(100)) >= 0.3
