"""The generator and the matching inside it."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from model_core.config import GeneratorConfig
from model_core.networks import Generator
from model_core.networks.matching import Match, _enlarge_field, blend_seams, match
from model_core.networks.membrane import membrane
from model_core.networks.patches import ROUNDING, STEP_GAIN, PatchLevel
from model_core.networks.pyramid import Level, known_pyramid, push_pull
from model_core.networks.seamless import _laplacian, _solution, seam_correction

CONFIG = GeneratorConfig()


def square_hole(size: int, start: int, end: int) -> Tensor:
    mask = torch.zeros(1, 1, size, size)
    mask[..., start:end, start:end] = 1
    return mask


@pytest.mark.parametrize("size", [(32, 32), (32, 96), (64, 160)])
def test_shapes_and_types(tiny_generator: Generator, size: tuple[int, int]) -> None:
    """Any multiple of the configured size goes in, and both pictures come out as float32."""
    image = torch.rand(2, 3, *size) * 2 - 1
    mask = (torch.rand(2, 1, *size) < 0.3).float()
    with torch.inference_mode():
        fill = tiny_generator(image, mask)
    assert fill.prediction.shape == image.shape
    assert fill.coarse.shape == (2, 3, size[0] // 8, size[1] // 8)
    assert (fill.source.shape, fill.source.dtype) == ((2, 2, *size), torch.int64)
    assert fill.prediction.dtype == torch.float32
    assert fill.prediction.isfinite().all()


def copy_into(image: Tensor, mask: Tensor, guess: Tensor, dtype: torch.dtype = torch.float32) -> Match:
    """What the matcher makes of a picture, a hole and a first guess at 1/8 scale."""
    levels = known_pyramid(image, 1 - mask)
    return match(levels, push_pull(levels)[0], guess, CONFIG, dtype)


def test_values_in_the_hole_are_ignored(tiny_generator: Generator) -> None:
    """What lies under the mask, however wild, changes nothing."""
    image, mask = torch.rand(1, 3, 64, 64) * 2 - 1, square_hole(64, 20, 44)
    wild = torch.where(mask > 0, torch.full_like(image, 1e4), image)
    with torch.inference_mode():
        assert torch.equal(tiny_generator(image, mask).prediction, tiny_generator(wild, mask).prediction)


def test_a_batch_fills_each_picture_as_if_alone(tiny_generator: Generator) -> None:
    """Pictures of a batch do not see each other; float32 kernels may differ in the last bits."""
    image = torch.rand(3, 3, 32, 32) * 2 - 1
    mask = torch.cat([square_hole(32, 4, 12), square_hole(32, 10, 30), torch.zeros(1, 1, 32, 32)])
    with torch.inference_mode():
        together = tiny_generator(image, mask).prediction
        alone = [tiny_generator(image[i : i + 1], mask[i : i + 1]).prediction for i in range(3)]
    torch.testing.assert_close(together, torch.cat(alone), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("border", [1, 3])
def test_almost_nothing_known(tiny_generator: Generator, border: int) -> None:
    """A frame of known pixels, too thin for any whole patch, still gives a fill of its colour."""
    image = torch.full((1, 3, 64, 64), 0.25)
    mask = square_hole(64, border, 64 - border)
    found = copy_into(image, mask, torch.full((1, 3, 8, 8), 0.25))
    torch.testing.assert_close(found.copied, image, rtol=0, atol=1e-5)
    with torch.inference_mode():
        assert tiny_generator(image, mask).prediction.isfinite().all()


def test_gradient_reaches_every_parameter() -> None:
    """Both networks learn, the coarse one also through the refinement."""
    torch.manual_seed(0)
    generator = Generator(GeneratorConfig.tiny())
    with torch.no_grad():
        # Output layers start at zero, which would hide what lies before them.
        for parameter in generator.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    fill = generator(torch.rand(2, 3, 32, 32) * 2 - 1, square_hole(32, 8, 24).repeat(2, 1, 1, 1))
    fill.prediction.square().mean().backward(retain_graph=True)
    missing = [name for name, p in generator.named_parameters() if p.grad is None or not p.grad.any()]
    assert missing == ["coarse.to_image.weight", "coarse.to_image.bias"]
    fill.coarse.square().mean().backward()
    assert all(p.grad is not None and p.grad.any() for p in generator.parameters())


def test_untrained_it_blends_copied_and_smooth() -> None:
    """Before training, the fill of a plain picture is already its colour."""
    torch.manual_seed(0)
    generator = Generator(GeneratorConfig.tiny()).eval()
    image = torch.tensor([0.5, -0.25, 0.75]).view(1, 3, 1, 1).expand(1, 3, 64, 64)
    with torch.inference_mode():
        prediction = generator(image, square_hole(64, 16, 48)).prediction
    torch.testing.assert_close(prediction, image, rtol=0, atol=1e-3)


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


def test_the_number_of_threads_changes_no_bit(tiny_generator: Generator) -> None:
    """A picture is filled alike on every machine of one kind, however many of its cores are used."""
    torch.manual_seed(0)
    cells = torch.rand(1, 3, 32, 24) * 2 - 1
    image = F.interpolate(cells, scale_factor=8.0, mode="bicubic")
    mask = square_hole(256, 64, 190)[..., :192]
    before = torch.get_num_threads()
    try:
        fills = []
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            with torch.inference_mode():
                fills.append(tiny_generator(image, mask).prediction)
    finally:
        torch.set_num_threads(before)
    assert torch.equal(fills[0], fills[1])
    assert torch.equal(fills[0], fills[2])


def test_known_pyramid_lets_nothing_bleed() -> None:
    """A reduced pixel averages its known part only, on sides of any length."""
    image = torch.full((1, 3, 9, 11), 0.5)
    known = torch.ones(1, 1, 9, 11)
    image[..., :4, :3], known[..., :4, :3] = 9.0, 0.0
    levels = known_pyramid(image, known)
    assert [tuple(level.share.shape[-2:]) for level in levels] == [(9, 11), (5, 6), (3, 3), (2, 2), (1, 1)]
    assert levels[2].share[0, 0].tolist() == [[0.25, 1.0, 0.75], [1.0, 1.0, 0.75], [0.25, 0.25, 0.1875]]
    torch.testing.assert_close(levels[2].average, torch.full((1, 3, 3, 3), 0.5))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_match_copies_only_known_pixels(dtype: torch.dtype) -> None:
    """Every pixel of the filled hole is one that the picture shows elsewhere."""
    torch.manual_seed(0)
    image = (torch.rand(1, 3, 128, 128) * 255).round() / 127.5 - 1
    mask = square_hole(128, 40, 80)
    found = copy_into(image, mask, torch.zeros(1, 3, 16, 16), dtype)
    hole = mask[0, 0].bool()
    known_colours = {tuple(colour) for colour in image[0][:, ~hole].t().tolist()}
    assert {tuple(colour) for colour in found.copied[0][:, hole].t().tolist()} <= known_colours
    assert torch.equal(found.copied[0][:, ~hole], image[0][:, ~hole])


def test_sources_are_where_the_copies_come_from() -> None:
    """Each pixel of the hole shows the pixel that its source names."""
    torch.manual_seed(0)
    image, mask = torch.rand(1, 3, 128, 128) * 2 - 1, square_hole(128, 40, 80)
    found = copy_into(image, mask, torch.zeros(1, 3, 16, 16))
    row, column = found.source[0]
    known = mask[0, 0][row, column] == 0
    copied = found.copied[0].flatten(1)[:, (known & (mask[0, 0] > 0)).flatten()]
    assert copied.shape[1] > 1000
    assert torch.equal(copied, image[0][:, row, column].flatten(1)[:, (known & (mask[0, 0] > 0)).flatten()])


def test_match_keeps_together_what_belongs_together() -> None:
    """Deep in a large hole, neighbours come from one place: pieces of the picture, not confetti."""
    torch.manual_seed(0)
    cells = torch.rand(1, 3, 32, 32) * 2 - 1
    image, mask = F.interpolate(cells, scale_factor=16.0, mode="bicubic"), square_hole(512, 160, 352)
    found = copy_into(image, mask, torch.zeros(1, 3, 64, 64))
    shift = found.source[0] - torch.stack(torch.meshgrid(torch.arange(512), torch.arange(512), indexing="ij"))
    deep = shift[:, 224:288, 224:288]
    jumps = (deep[:, 1:] - deep[:, :-1]).abs().amax(0)
    assert (jumps <= 8).float().mean() > 0.9


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


def test_deep_in_a_hole_the_copy_is_the_answer(tiny_generator: Generator) -> None:
    """Whatever the refinement would paint there; near the border it paints."""
    torch.manual_seed(0)
    generator = Generator(GeneratorConfig.tiny()).eval()
    generator.load_state_dict(tiny_generator.state_dict())
    with torch.no_grad():
        generator.refinement.to_image.bias.fill_(9.0)
    image = F.interpolate(torch.rand(1, 3, 12, 12) * 2 - 1, scale_factor=32.0, mode="nearest")
    mask = square_hole(384, 32, 352)
    with torch.inference_mode():
        prediction = generator(image, mask).prediction
    assert prediction[..., 176:208, 176:208].abs().max() < 2
    assert prediction[..., 34:44, 34:350].min() > 5


def test_where_the_copies_fit_together_they_are_the_answer() -> None:
    """Nearer to the border than elsewhere; where they do not fit, the refinement paints."""
    torch.manual_seed(0)
    generator = Generator(GeneratorConfig.tiny()).eval()
    with torch.no_grad():
        generator.refinement.to_image.bias.fill_(9.0)
    stripes = torch.linspace(-1, 1, 256).view(1, 1, 256, 1).expand(1, 3, 256, 256)
    blobs = F.interpolate(torch.rand(1, 3, 8, 8) * 2 - 1, scale_factor=32.0, mode="nearest")
    mask = square_hole(256, 80, 176)
    with torch.inference_mode():
        fitting, other = (generator(image, mask).prediction for image in (stripes, blobs))
    torch.testing.assert_close(
        fitting[..., 100:156, 100:156], stripes[..., 100:156, 100:156], rtol=0, atol=0.1
    )
    assert other[..., 100:156, 100:156].min() > 2


def test_copies_come_from_the_side_rather_than_from_above() -> None:
    """Where every source is as good, the nearest row is taken."""
    image, mask = torch.zeros(1, 3, 256, 256), square_hole(256, 96, 160)
    found = copy_into(image, mask, torch.zeros(1, 3, 32, 32))
    shift = found.source[0] - torch.stack(torch.meshgrid(torch.arange(256), torch.arange(256), indexing="ij"))
    rows, columns = shift[:, mask[0, 0].bool()].abs()
    assert rows.max() == 0
    assert columns.min() > 0


def test_membrane_carries_differences_across_the_hole() -> None:
    """A hole in a slope of brightness, filled from one place in it, is lifted by what it lacks."""
    slope = torch.linspace(-1, 1, 128).expand(1, 3, 128, 128)
    known = 1 - square_hole(128, 60, 100)
    rows, columns = torch.meshgrid(torch.arange(128), torch.arange(128), indexing="ij")
    field = torch.stack([rows, (columns - 50).clamp_min(0)]).flatten(1)
    hole = known[0, 0] == 0

    correction = membrane(slope * known, known, field)[..., hole]

    torch.testing.assert_close(correction, torch.full_like(correction, 2 * 50 / 127), rtol=0, atol=1e-3)


def test_membrane_adds_nothing_to_what_fits() -> None:
    """A source whose surroundings are those of the hole is left as it is."""
    torch.manual_seed(0)
    tile = torch.rand(1, 3, 128, 32).repeat(1, 1, 1, 4)
    known = 1 - square_hole(128, 40, 60)
    rows, columns = torch.meshgrid(torch.arange(128), torch.arange(128), indexing="ij")
    assert (
        membrane(tile * known, known, torch.stack([rows, (columns + 32) % 128]).flatten(1)).abs().max() == 0
    )


@pytest.mark.parametrize(("start", "end"), [(44, 84), (34, 64), (64, 94)])
def test_seams_between_pieces_vanish(start: int, end: int) -> None:
    """A hole in a slope, filled with two pieces of it from elsewhere, becomes a slope again.

    Wherever it lies: only its part of the picture is computed.
    """
    rows, columns = torch.meshgrid(torch.arange(128), torch.arange(128), indexing="ij")
    slope = torch.linspace(-0.3, 0.3, 128).expand(1, 3, 128, 128)
    known = 1 - square_hole(128, start, end)
    away = end - start + 2
    source = torch.where(rows < (start + end) // 2, columns - away, columns + away).clamp(0, 127)
    field = torch.stack([rows, source]).flatten(1)
    copied = torch.lerp(slope[..., rows, source], slope, known)

    correction = seam_correction(slope * known, known, field)

    assert (copied - slope).abs().max() > 0.12
    torch.testing.assert_close(copied + correction, slope, rtol=0, atol=0.02)
    assert (correction * known).abs().max() == 0


@pytest.mark.parametrize("size", [(368, 368), (272, 384), (176, 320)])
def test_corrections_are_found_where_the_grid_is_seldom_halved(size: tuple[int, int]) -> None:
    """The sides of pictures at 1/2 scale are multiples of 16 and of no higher power of two."""
    hole = torch.zeros(1, 1, *size)
    hole[..., 20:-8, 20:-8] = 1
    pieces = hole.expand(1, 3, *size) / 4
    pieces[..., size[0] // 2 :, :] *= -1

    found = _solution(_laplacian(pieces, hole), hole)

    torch.testing.assert_close(found, pieces, rtol=0, atol=0.02)


def test_edges_are_no_seams() -> None:
    """What is copied beside something altogether different keeps its colours."""
    rows, columns = torch.meshgrid(torch.arange(128), torch.arange(128), indexing="ij")
    coast = torch.where(columns < 64, -0.8, 0.8).expand(1, 3, 128, 128)
    known = 1 - square_hole(128, 44, 84)
    sea = torch.stack([rows, columns % 40]).flatten(1)

    correction = seam_correction(coast * known, known, sea)

    assert correction[..., 44:84, 44:84].abs().max() < 0.02


def test_seams_where_nothing_is_known() -> None:
    """The smallest grid of the multigrid is then a single pixel, which has no neighbours."""
    nothing, field = torch.zeros(1, 1, 32, 32), torch.zeros(2, 32 * 32, dtype=torch.int64)
    assert (seam_correction(torch.rand(1, 3, 32, 32), nothing, field) == 0).all()


def test_no_seam_along_the_border() -> None:
    """Not even where the border runs through the cells of 1/2 scale, which count as known there."""
    rows, columns = torch.meshgrid(torch.arange(256), torch.arange(256), indexing="ij")
    slope = torch.linspace(-0.2, 0.2, 256).expand(1, 3, 256, 256)
    mask = square_hole(256, 97, 159)
    source = torch.stack([rows, (columns - 80).clamp_min(0)])[None]
    copied = torch.lerp(slope, slope[..., rows, source[0, 1]], mask)
    nothing = torch.zeros(1, 1, 256, 256)

    found = Match(copied, torch.zeros_like(copied), nothing, nothing, source)
    blended = blend_seams(found, known_pyramid(slope, 1 - mask), mask, CONFIG)

    assert (copied - slope).abs().max() > 0.12
    torch.testing.assert_close(blended, slope, rtol=0, atol=0.02)


def test_without_seams_nothing_is_corrected() -> None:
    torch.manual_seed(0)
    tile = torch.rand(1, 3, 96, 32).repeat(1, 1, 1, 4)
    known = 1 - square_hole(128, 40, 60)[..., :96, :]
    rows, columns = torch.meshgrid(torch.arange(96), torch.arange(128), indexing="ij")
    field = torch.stack([rows, (columns + 32) % 128]).flatten(1)
    assert seam_correction(tile * known, known, field).abs().max() < 1e-6


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_match_continues_a_texture(dtype: torch.dtype) -> None:
    """A hole in stripes is filled with stripes in step: far nearer to the truth than a smooth fill."""
    columns = torch.arange(128)
    stripes = torch.where(columns % 16 < 8, 0.8, -0.8).expand(1, 3, 128, 128)
    mask = square_hole(128, 44, 84)
    smooth = push_pull(known_pyramid(stripes, 1 - mask))[0]
    found = copy_into(stripes, mask, F.avg_pool2d(smooth, 8), dtype)

    def error(filled: Tensor) -> float:
        return float(((filled - stripes).abs() * mask).sum() / mask.sum() / 3)

    assert error(found.copied) < 0.25 * error(smooth)
    assert (found.distance * (1 - mask) == 0).all()


def test_search_nearby_finds_the_best_of_nine_patches() -> None:
    """Each matched pixel gets the neighbour of its source whose patch differs least, found one by one.

    Its source itself it leaves only for a patch whose distance is a clear gain.
    """
    torch.manual_seed(0)
    image = torch.rand(1, 3, 24, 32)
    known = 1 - square_hole(32, 8, 16)[..., :24, :]
    level = PatchLevel(Level(image, known), 5)
    guess = level.compose(torch.rand(1, 3, 24, 32))
    halves = torch.stack([torch.randint(0, 12, (192,)), torch.randint(0, 16, (192,))])
    field = _enlarge_field(halves, torch.zeros(1, 3, 12, 16), (24, 32))
    found, distance = level.search_nearby(guess, field)
    assert (found - field).abs().max() == 1
    assert (found == field).all(0)[level.matched.flatten() > 0].any()
    padded_image, padded_guess = (
        F.pad(picture, (3, 3, 3, 3), mode="replicate")[0] for picture in (image, guess)
    )
    for pixel in level.matched.flatten().nonzero()[:, 0].tolist():
        row, column = divmod(pixel, 32)
        patch = padded_guess[:, row + 1 : row + 6, column + 1 : column + 6]
        by_step = {
            (down, right): float((padded_image[:, y : y + 5, x : x + 5] - patch).square().mean())
            + float(level.penalty[min(max(y - 1, 0), 23) * 32 + min(max(x - 1, 0), 31)])
            for down, y in enumerate(range(int(field[0, pixel]), int(field[0, pixel]) + 3), -1)
            for right, x in enumerate(range(int(field[1, pixel]), int(field[1, pixel]) + 3), -1)
        }
        best = min(
            by_step, key=lambda step: (by_step[step] + ROUNDING) * (STEP_GAIN if step == (0, 0) else 1)
        )
        assert float(distance.flatten()[pixel]) == pytest.approx(min(by_step[best], 4.0), abs=1e-5)
        source = [int(field[0, pixel]) + best[0], int(field[1, pixel]) + best[1]]
        assert found[:, pixel].tolist() == [min(max(source[0], 0), 23), min(max(source[1], 0), 31)]
