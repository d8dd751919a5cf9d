"""What the patch match copies, and from where."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from model_core.config import GeneratorConfig
from model_core.networks import Generator
from model_core.networks.matching import Match, blend_seams, match
from model_core.networks.pyramid import known_pyramid, push_pull

SquareHole = Callable[[int, int, int], Tensor]
CONFIG = GeneratorConfig()


def copy_into(image: Tensor, mask: Tensor, guess: Tensor) -> Match:
    """What the matcher makes of a picture, a hole and a first guess at 1/8 scale."""
    levels = known_pyramid(image, 1 - mask)
    return match(levels, push_pull(levels)[0], guess, CONFIG)


@pytest.mark.parametrize("border", [1, 3])
def test_almost_nothing_known(tiny_generator: Generator, border: int, square_hole: SquareHole) -> None:
    """A frame of known pixels, too thin for any whole patch, still gives a fill of its colour."""
    image = torch.full((1, 3, 64, 64), 0.25)
    mask = square_hole(64, border, 64 - border)
    found = copy_into(image, mask, torch.full((1, 3, 8, 8), 0.25))
    torch.testing.assert_close(found.copied, image, rtol=0, atol=1e-5)
    with torch.inference_mode():
        assert tiny_generator(image, mask).prediction.isfinite().all()


def test_match_copies_only_known_pixels(square_hole: SquareHole) -> None:
    """Every pixel of the filled hole is one that the picture shows elsewhere."""
    torch.manual_seed(0)
    image = (torch.rand(1, 3, 128, 128) * 255).round() / 127.5 - 1
    mask = square_hole(128, 40, 80)
    found = copy_into(image, mask, torch.zeros(1, 3, 16, 16))
    hole = mask[0, 0].bool()
    known_colours = {tuple(colour) for colour in image[0][:, ~hole].t().tolist()}
    assert {tuple(colour) for colour in found.copied[0][:, hole].t().tolist()} <= known_colours
    assert torch.equal(found.copied[0][:, ~hole], image[0][:, ~hole])


def test_sources_are_where_the_copies_come_from(square_hole: SquareHole) -> None:
    """Each pixel of the hole shows the pixel that its source names."""
    torch.manual_seed(0)
    image, mask = torch.rand(1, 3, 128, 128) * 2 - 1, square_hole(128, 40, 80)
    found = copy_into(image, mask, torch.zeros(1, 3, 16, 16))
    row, column = found.source[0]
    known = mask[0, 0][row, column] == 0
    copied = found.copied[0].flatten(1)[:, (known & (mask[0, 0] > 0)).flatten()]
    assert copied.shape[1] > 1000
    assert torch.equal(copied, image[0][:, row, column].flatten(1)[:, (known & (mask[0, 0] > 0)).flatten()])


def test_match_keeps_together_what_belongs_together(square_hole: SquareHole) -> None:
    """Deep in a large hole, neighbours come from one place: pieces of the picture, not confetti."""
    torch.manual_seed(0)
    cells = torch.rand(1, 3, 32, 32) * 2 - 1
    image, mask = F.interpolate(cells, scale_factor=16.0, mode="bicubic"), square_hole(512, 160, 352)
    found = copy_into(image, mask, torch.zeros(1, 3, 64, 64))
    shift = found.source[0] - torch.stack(torch.meshgrid(torch.arange(512), torch.arange(512), indexing="ij"))
    deep = shift[:, 224:288, 224:288]
    jumps = (deep[:, 1:] - deep[:, :-1]).abs().amax(0)
    assert (jumps <= 8).float().mean() > 0.9


def test_contrast_tells_apart_what_has_the_same_colour() -> None:
    """A hole in rough ground is filled with such, though a smooth wall is exactly of its mean colour."""
    torch.manual_seed(0)
    image = torch.zeros(1, 3, 256, 256)
    grains = 0.6 * torch.randn(1, 1, 64, 40).clamp(-1.5, 1.5)
    image[..., 96:] = F.interpolate(grains, scale_factor=4.0, mode="nearest")
    mask = torch.zeros(1, 1, 256, 256)
    mask[..., 64:192, 112:224] = 1
    found = copy_into(image, mask, torch.zeros(1, 3, 32, 32))
    assert (found.source[0, 1][mask[0, 0] > 0] >= 96).float().mean() > 0.95


def test_few_pieces_fill_a_hole() -> None:
    """In a plain that is alike everywhere; the nearest source of each pixel would repeat the border."""
    torch.manual_seed(0)
    image = 0.05 * F.interpolate(torch.randn(1, 3, 64, 64), scale_factor=8.0, mode="bicubic")
    mask = torch.zeros(1, 1, 512, 512)
    mask[..., 192:320, 160:352] = 1
    found = copy_into(image, mask, F.avg_pool2d(push_pull(known_pyramid(image, 1 - mask))[0], 8))
    shift = found.source[0] - torch.stack(torch.meshgrid(torch.arange(512), torch.arange(512), indexing="ij"))
    pieces = (shift[:, mask[0, 0].bool()] // 16).unique(dim=1, return_counts=True)[1]
    assert pieces.sort(descending=True)[0][:4].sum() > 0.8 * mask.sum()


def test_copies_come_from_the_side_rather_than_from_above(square_hole: SquareHole) -> None:
    """Where every source is as good, the nearest row is taken."""
    image, mask = torch.zeros(1, 3, 256, 256), square_hole(256, 96, 160)
    found = copy_into(image, mask, torch.zeros(1, 3, 32, 32))
    shift = found.source[0] - torch.stack(torch.meshgrid(torch.arange(256), torch.arange(256), indexing="ij"))
    rows, columns = shift[:, mask[0, 0].bool()].abs()
    assert rows.max() == 0
    assert columns.min() > 0


def test_no_seam_along_the_border(square_hole: SquareHole) -> None:
    """Not even where the border runs through the cells of 1/2 scale, which count as known there."""
    rows, columns = torch.meshgrid(torch.arange(256), torch.arange(256), indexing="ij")
    slope = torch.linspace(-0.2, 0.2, 256).expand(1, 3, 256, 256)
    mask = square_hole(256, 97, 159)
    source = torch.stack([rows, (columns - 80).clamp_min(0)])[None].int()
    copied = torch.lerp(slope, slope[..., rows, source[0, 1]], mask)
    nothing = torch.zeros(1, 1, 256, 256)

    found = Match(copied, copied, nothing, nothing, source)
    blended = blend_seams(found, known_pyramid(slope, 1 - mask), mask, CONFIG)

    assert (copied - slope).abs().max() > 0.12
    torch.testing.assert_close(blended, slope, rtol=0, atol=0.02)


def test_match_continues_a_texture(square_hole: SquareHole) -> None:
    """A hole in stripes is filled with stripes in step: far nearer to the truth than a smooth fill."""
    columns = torch.arange(128)
    stripes = torch.where(columns % 16 < 8, 0.8, -0.8).expand(1, 3, 128, 128)
    mask = square_hole(128, 44, 84)
    smooth = push_pull(known_pyramid(stripes, 1 - mask))[0]
    found = copy_into(stripes, mask, F.avg_pool2d(smooth, 8))

    def error(filled: Tensor) -> float:
        return float(((filled - stripes).abs() * mask).sum() / mask.sum() / 3)

    assert error(found.copied) < 0.25 * error(smooth)
    assert (found.distance * (1 - mask) == 0).all()


def test_a_bar_along_an_edge_goes_on() -> None:
    """It is copied into a hole across it, and not shown further inside."""
    torch.manual_seed(0)
    image = 0.1 * torch.randn(1, 3, 256, 256)
    image[..., 240:, :] += 0.8
    mask = torch.zeros(1, 1, 256, 256)
    mask[..., 128:, 96:160] = 1
    guess = F.avg_pool2d(push_pull(known_pyramid(image, 1 - mask))[0], 8)
    found = copy_into(image, mask, guess)
    assert found.copied[..., 244:, 96:160].mean() > 0.7
    assert found.copied[..., 136:232, 96:160].mean().abs() < 0.1
