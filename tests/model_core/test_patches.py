"""Which patches are found at one scale, and what they vote for."""

import itertools
from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from model_core.networks.fields import enlarged
from model_core.networks.patches import ROUNDING, STEP_GAIN, PatchLevel
from model_core.networks.pyramid import Level

SquareHole = Callable[[int, int, int], Tensor]


def test_a_vote_is_the_mean_of_what_the_patches_around_would_copy() -> None:
    """Each pixel beside, at edges the nearest one, says what it would copy; holes say nothing."""
    torch.manual_seed(0)
    image, share = torch.rand(1, 3, 8, 10), torch.ones(1, 1, 8, 10)
    share[..., 2:5, 3:7], share[..., 6:, 8:], share[..., 0, 0] = 0, 0, 0
    guess = torch.rand(1, 3, 8, 10)
    field = torch.stack([torch.randint(8, (80,)), torch.randint(10, (80,))]).int()
    # What all around one pixel would copy there is a hole.
    for row, column in itertools.product((2, 3, 4), (3, 4, 5)):
        field[:, 10 * row + column] = torch.tensor([row, column + 1])

    voted = PatchLevel(Level(image, share), 3).vote(guess, field)

    def nearest(row: int, column: int) -> tuple[int, int]:
        return min(max(row, 0), 7), min(max(column, 0), 9)

    expected = guess.clone()
    for row, column in (1 - share)[0, 0].nonzero().tolist():
        copies = []
        for down, right in itertools.product((-1, 0, 1), repeat=2):
            beside = nearest(row + down, column + right)
            shift = field.view(2, 8, 10)[:, beside[0], beside[1]] - torch.tensor(beside)
            source = nearest(row + int(shift[0]), column + int(shift[1]))
            if share[0, 0][source] > 0:
                copies.append(image[0, :, source[0], source[1]])
        if copies:
            expected[0, :, row, column] = torch.stack(copies).mean(0)
    torch.testing.assert_close(voted, expected)
    assert torch.equal(voted[share.expand_as(voted) > 0], guess[share.expand_as(voted) > 0])


def test_search_nearby_finds_the_best_of_nine_patches(square_hole: SquareHole) -> None:
    """Each matched pixel gets the neighbour of its source whose patch differs least, found one by one.

    Its source itself it leaves only for a patch whose distance is a clear gain.
    """
    torch.manual_seed(0)
    image = torch.rand(1, 3, 24, 32)
    known = 1 - square_hole(32, 8, 16)[..., :24, :]
    level = PatchLevel(Level(image, known), 5)
    guess = level.compose(torch.rand(1, 3, 24, 32))
    halves = torch.stack([torch.randint(0, 12, (192,)), torch.randint(0, 16, (192,))]).int()
    field = enlarged(halves, (12, 16))
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


def test_a_block_takes_over_an_offset_that_suits_it_better(square_hole: SquareHole) -> None:
    """Of blocks that are all copied from the right place, but for one, that one is mended by those beside;
    for a gain that is not clear it stays as it is.
    """
    torch.manual_seed(0)
    image = torch.rand(1, 3, 32, 64)
    hole = F.pad(square_hole(32, 8, 24), (0, 32))
    level = PatchLevel(Level(image, 1 - hole), 5)
    right = level.identity()
    right[1] = (right[1] + 32).clamp(max=63)
    wrong = right.clone()
    block = torch.tensor([16 * 64 + 16, 16 * 64 + 17, 17 * 64 + 16, 17 * 64 + 17])
    wrong[1, block] -= 6
    inside = hole.flatten() > 0
    shown, other = image.roll(-32, 3), image.roll(-26, 3)

    def mended(share: float) -> Tensor:
        guess = level.compose(torch.lerp(shown, other, share))
        return level.propagate(guess, wrong)[:, inside]

    assert torch.equal(mended(0.4), right[:, inside])
    # The squares of 0.49 and 0.51 differ by less than a tenth.
    assert torch.equal(mended(0.49)[:, (inside.nonzero()[:, 0] == block[0])], wrong[:, block[:1]])


def test_a_block_may_be_copied_from_beside_what_may_not(square_hole: SquareHole) -> None:
    """Its four pixels are what must be far enough from another hole, not those beside them."""
    torch.manual_seed(0)
    image = torch.rand(1, 3, 32, 64)
    other = F.pad(square_hole(32, 8, 24), (32, 0))
    level = PatchLevel(Level(image, 1 - F.pad(square_hole(32, 8, 24), (0, 32)) - other), 5)
    block = [16 * 64 + 16, 16 * 64 + 17, 17 * 64 + 16, 17 * 64 + 17]
    right = level.identity()
    right[1] = (right[1] + 20).clamp(max=63)
    wrong = right.clone()
    wrong[1, block] -= 6
    # Columns 36 and 37, of which the patches end before the hole at 40.
    assert [level.penalty[16 * 64 + column] for column in (37, 38)] == [0, 4]

    taken = level.propagate(level.compose(image.roll(-20, 3)), wrong)

    assert torch.equal(taken[:, block], right[:, block])


def test_sources_have_known_pixels_around_them(square_hole: SquareHole) -> None:
    """One to every side, and no more: the patch of 5x5 pixels may meet the hole."""
    level = PatchLevel(Level(torch.rand(1, 3, 16, 16), 1 - square_hole(16, 6, 10)), 5)
    rows, columns = torch.meshgrid(torch.arange(16), torch.arange(16), indexing="ij")
    near = ((rows >= 5) & (rows < 11) & (columns >= 5) & (columns < 11)).flatten()
    assert torch.equal(level.sources, (~near).nonzero()[:, 0])


def test_a_source_whose_patch_meets_the_hole_is_compared_as_guessed(square_hole: SquareHole) -> None:
    """What the picture has in its hole, which is nothing, must not count."""
    torch.manual_seed(0)
    truth = torch.rand(1, 3, 16, 3).repeat(1, 1, 1, 6)[..., :16]
    known = 1 - square_hole(16, 6, 10)
    level = PatchLevel(Level(truth * known, known), 5)
    field = level.search_everywhere(truth, level.identity(), shows_means=False, in_pieces=False)
    # The patch three to the left meets the hole; six to the right is as like it, but farther.
    assert field[:, 7 * 16 + 7].tolist() == [7, 4]


def test_means_stand_for_what_is_not_known_around_a_source(square_hole: SquareHole) -> None:
    """In a plain all sources are equally good, those whose patch meets the hole too: the nearest is taken."""
    known = 1 - square_hole(16, 6, 10)
    level = PatchLevel(Level(known.expand(1, 3, 16, 16), known), 5)
    guess = torch.ones(1, 3, 16, 16)
    field = level.search_everywhere(guess, level.identity(), shows_means=True, in_pieces=False)
    assert field[:, 7 * 16 + 7].tolist() == [7, 4]


def test_a_strip_between_hole_and_edge_is_not_shown_inside() -> None:
    """In a plain the nearest source is taken, unless it is at the edge."""
    # Right of the hole are two columns; the last could be a source.
    hole = F.pad(torch.ones(1, 1, 8, 6), (8, 2, 4, 4))
    level = PatchLevel(Level(torch.zeros(1, 3, 16, 16), 1 - hole), 5)
    field = level.search_everywhere(level.image, level.identity(), shows_means=False, in_pieces=False)
    assert (field[1].view(16, 16)[6:10, 9:13] < 15).all()


def places_that_show_the_same(unlike: float) -> int:
    """How many of two equal things in a hole are copied from the thing at the left, which is most like them,
    rather than from the one at the right.

    Args:
        unlike: how much the guess differs from everything that is known.
    """
    torch.manual_seed(0)
    left, right = torch.rand(2, 1, 3, 6, 4).clamp(0.2)
    wanted = torch.cat([right[..., :1, :], left[..., 1:, :]], 2)
    image = torch.zeros(1, 3, 16, 40)
    for column, thing in ((4, left), (13, wanted), (22, wanted), (32, right)):
        image[..., 5:11, column : column + 4] = thing
    known = torch.ones(1, 1, 16, 40)
    known[..., 4:12, 12:27] = 0
    level = PatchLevel(Level(image * known, known), 5)
    guess = image + unlike * torch.randn(image.shape).sign() * (1 - known)
    source = level.search_everywhere(guess, level.identity(), shows_means=False, in_pieces=True)[1].view(
        16, 40
    )
    return int((source[7, [14, 23]] < 8).sum())


def test_what_stands_out_comes_once_where_all_fits() -> None:
    assert places_that_show_the_same(unlike=0) == 1


def test_what_stands_out_may_come_again_where_little_fits() -> None:
    assert places_that_show_the_same(unlike=0.5) == 2


def test_salience(square_hole: SquareHole) -> None:
    """A dot in a plain stands out, the plain does not, and neither does what nobody knows."""
    image, known = torch.zeros(1, 3, 16, 16), 1 - square_hole(16, 6, 10)
    image[..., 3, 3] = 1
    image[..., 6:10, 6:10] = 5
    salience = PatchLevel(Level(image, known), 5).salience.view(16, 16)
    assert salience[3, 3] > 2.5
    assert salience.flatten().sort(descending=True)[0][1] < 0.05
    assert (salience[6:10, 6:10] == 0).all()


def test_a_guess_of_means_finds_texture(square_hole: SquareHole) -> None:
    """Left of the hole is a texture, right of it a plain; the guess has the texture's mean."""
    rows, columns = torch.meshgrid(torch.arange(32), torch.arange(32), indexing="ij")
    texture = (rows + columns) % 2 - 0.5
    image = torch.where(columns < 16, texture, 0.3).expand(1, 3, 32, 32)
    hole = square_hole(32, 12, 20)
    level = PatchLevel(Level(image, 1 - hole), 5)
    guess = level.compose(torch.zeros(1, 3, 32, 32))
    middle = 15 * 32 + 15

    means, pixels = (
        level.search_everywhere(guess, level.identity(), shows_means, in_pieces=False)
        for shows_means in (True, False)
    )

    assert means[1, middle] < 12
    assert pixels[1, middle] > 19
