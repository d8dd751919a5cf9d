"""Reduced and enlarged pictures, and the smooth fill."""

import pytest
import torch
from torch.nn import functional as F

from model_core.networks.pyramid import Level, deviation, doubled, halved, known_pyramid, push_pull


def test_push_pull_keeps_known_pixels_and_range() -> None:
    """Known pixels stay bit-equal and the others are averages: never outside the known range."""
    image = torch.rand(1, 3, 37, 53)
    known = (torch.rand(1, 1, 37, 53) < 0.2).float()
    filled = push_pull(known_pyramid(image, known))[0]
    where = known.bool().expand_as(image)
    assert torch.equal(filled[where], image[where])
    assert filled.min() >= image[where].min() - 1e-5
    assert filled.max() <= image[where].max() + 1e-5


def test_push_pull_interpolates_between_centres() -> None:
    """Enlarging a level is bilinear, with the outermost pixels repeated."""
    small = torch.rand(1, 3, 5, 9)
    nothing = Level(torch.zeros(1, 3, 10, 17), torch.zeros(1, 1, 10, 17))

    enlarged = push_pull([nothing, Level(small, torch.ones(1, 1, 5, 9))])[0]

    expected = F.interpolate(small, scale_factor=2.0, mode="bilinear", align_corners=False)[..., :17]
    torch.testing.assert_close(enlarged, expected)


def test_known_pyramid_lets_nothing_bleed() -> None:
    """A reduced pixel averages its known part only, on sides of any length."""
    image = torch.full((1, 3, 9, 11), 0.5)
    known = torch.ones(1, 1, 9, 11)
    image[..., :4, :3], known[..., :4, :3] = 9.0, 0.0
    levels = known_pyramid(image, known)
    assert [tuple(level.share.shape[-2:]) for level in levels] == [(9, 11), (5, 6), (3, 3), (2, 2), (1, 1)]
    assert levels[2].share[0, 0].tolist() == [[0.25, 1.0, 0.75], [1.0, 1.0, 0.75], [0.25, 0.25, 0.1875]]
    torch.testing.assert_close(levels[2].average, torch.full((1, 3, 3, 3), 0.5))


def test_deviation_is_that_of_the_known_pixels() -> None:
    """Over pixels and colours, each colour around its own mean; 0 where nothing is known."""
    image = torch.rand(1, 3, 16, 24)
    known = (torch.rand(1, 1, 16, 24) < 0.6).float()
    known[..., :4, :4] = 0
    levels = known_pyramid(torch.where(known > 0, image, 7.0), known)

    found = deviation(levels[0], levels[2])

    assert found.shape == (1, 1, 4, 6)
    for row in range(4):
        for column in range(6):
            area = (slice(4 * row, 4 * row + 4), slice(4 * column, 4 * column + 4))
            pixels = image[0][:, *area][:, known[0, 0][area] > 0]
            expected = pixels.var(1, correction=0).mean().sqrt() if pixels.numel() else torch.tensor(0.0)
            torch.testing.assert_close(found[0, 0, row, column], expected, rtol=1e-3, atol=1e-4)


def test_halved_is_the_mean_of_blocks() -> None:
    """As pooling computes it."""
    image = torch.rand(2, 3, 10, 14)
    torch.testing.assert_close(halved(image), F.avg_pool2d(image, 2))


@pytest.mark.parametrize("size", [(1, 1), (1, 6), (5, 9), (16, 32)])
def test_doubled_is_bilinear(size: tuple[int, int]) -> None:
    """As F.interpolate computes it."""
    image = torch.rand(2, 3, *size)
    expected = F.interpolate(image, scale_factor=2.0, mode="bilinear", align_corners=False)
    torch.testing.assert_close(doubled(image), expected)
