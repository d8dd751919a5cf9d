"""The whole generator."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from model_core.config import GeneratorConfig
from model_core.networks import Generator
from model_core.networks.generator import _depth
from model_core.networks.masks import spread

SquareHole = Callable[[int, int, int], Tensor]


def noisy_generator() -> Generator:
    """As if it had begun to learn: output layers start at zero, which would hide what lies before them."""
    torch.manual_seed(0)
    generator = Generator(GeneratorConfig.tiny())
    with torch.no_grad():
        for parameter in generator.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return generator


@pytest.mark.parametrize("size", [(32, 32), (32, 96), (64, 160)])
def test_shapes_and_types(tiny_generator: Generator, size: tuple[int, int]) -> None:
    """Any multiple of the configured size goes in, and both pictures come out as float32."""
    image = torch.rand(2, 3, *size) * 2 - 1
    mask = (torch.rand(2, 1, *size) < 0.3).float()
    with torch.inference_mode():
        fill = tiny_generator(image, mask)
    assert fill.prediction.shape == image.shape
    assert fill.coarse.shape == (2, 3, size[0] // 8, size[1] // 8)
    assert (fill.source.shape, fill.source.dtype) == ((2, 2, *size), torch.int32)
    assert fill.prediction.dtype == torch.float32
    assert fill.prediction.isfinite().all()


def test_values_in_the_hole_are_ignored(tiny_generator: Generator, square_hole: SquareHole) -> None:
    """What lies under the mask, however wild, changes nothing."""
    image, mask = torch.rand(1, 3, 64, 64) * 2 - 1, square_hole(64, 20, 44)
    wild = torch.where(mask > 0, torch.full_like(image, 1e4), image)
    with torch.inference_mode():
        assert torch.equal(tiny_generator(image, mask).prediction, tiny_generator(wild, mask).prediction)


def test_a_batch_fills_each_picture_as_if_alone(tiny_generator: Generator, square_hole: SquareHole) -> None:
    """Pictures of a batch do not see each other; float32 kernels may differ in the last bits."""
    image = torch.rand(3, 3, 32, 32) * 2 - 1
    mask = torch.cat([square_hole(32, 4, 12), square_hole(32, 10, 30), torch.zeros(1, 1, 32, 32)])
    with torch.inference_mode():
        together = tiny_generator(image, mask).prediction
        alone = [tiny_generator(image[i : i + 1], mask[i : i + 1]).prediction for i in range(3)]
    torch.testing.assert_close(together, torch.cat(alone), rtol=1e-3, atol=1e-4)


def test_what_is_far_from_the_hole_is_not_painted(square_hole: SquareHole) -> None:
    """In use the refinement is shown the hole's surroundings alone; in training it paints everywhere."""
    generator = noisy_generator()
    image, mask = torch.rand(1, 3, 256, 256) * 2 - 1, square_hole(256, 100, 140)
    with torch.inference_mode():
        painted = generator(image, mask).prediction
        prediction = generator.eval()(image, mask).prediction
    # 128 pixels from 100 - 24 on, at a multiple of 8.
    outside = torch.ones_like(image, dtype=torch.bool)
    outside[..., 72:200, 72:200] = False
    assert torch.equal(prediction[outside], image[outside])
    assert (painted - image)[outside].abs().mean() > 0.01
    inside = (..., slice(100, 140), slice(100, 140))
    assert (painted - image)[inside].abs().mean() > 0.1
    torch.testing.assert_close(prediction[inside], painted[inside], rtol=0, atol=0.05)


def test_pictures_of_a_batch_have_windows_of_their_own(square_hole: SquareHole) -> None:
    """The surroundings that one is painted in do not depend on where the others' holes are."""
    generator = noisy_generator().eval()
    image = torch.rand(3, 3, 272, 272) * 2 - 1
    mask = torch.cat([square_hole(272, 20, 40), square_hole(272, 200, 272), square_hole(272, 20, 200)])
    with torch.inference_mode():
        together = generator(image, mask).prediction
        alone = [generator(image[i : i + 1], mask[i : i + 1]).prediction for i in range(3)]
    torch.testing.assert_close(together, torch.cat(alone), rtol=1e-3, atol=1e-4)
    assert torch.equal(together[0, :, 128:], image[0, :, 128:])
    assert torch.equal(together[1, :, :128], image[1, :, :128])
    assert (together - image)[1, :, 150:].abs().mean() > 0.01


def test_windows_of_a_usual_picture_are_prepared(tiny_generator: Generator, square_hole: SquareHole) -> None:
    """No hole in a picture of 512 x 512 waits for kernels."""
    seen: set[tuple[int, ...]] = set()
    handle = tiny_generator.refinement.register_forward_pre_hook(
        lambda _, inputs: seen.add(tuple(inputs[0].shape[-2:]))
    )
    tiny_generator.prepare(512)
    prepared = set(seen)
    with torch.inference_mode():
        for end in (8, 150, 300, 500):
            tiny_generator(torch.zeros(1, 3, 512, 512), square_hole(512, 3, end))
    handle.remove()
    assert len(prepared) == 16
    assert seen == prepared


def test_gradient_reaches_every_parameter(square_hole: SquareHole) -> None:
    """Both networks learn, the coarse one also through the refinement."""
    generator = noisy_generator()
    fill = generator(torch.rand(2, 3, 32, 32) * 2 - 1, square_hole(32, 8, 24).repeat(2, 1, 1, 1))
    fill.prediction.square().mean().backward(retain_graph=True)
    missing = [name for name, p in generator.named_parameters() if p.grad is None or not p.grad.any()]
    assert missing == ["coarse.to_image.weight", "coarse.to_image.bias"]
    fill.coarse.square().mean().backward()
    assert all(p.grad is not None and p.grad.any() for p in generator.parameters())


def test_untrained_it_blends_copied_and_smooth(square_hole: SquareHole) -> None:
    """Before training, the fill of a plain picture is already its colour."""
    torch.manual_seed(0)
    generator = Generator(GeneratorConfig.tiny()).eval()
    image = torch.tensor([0.5, -0.25, 0.75]).view(1, 3, 1, 1).expand(1, 3, 64, 64)
    with torch.inference_mode():
        prediction = generator(image, square_hole(64, 16, 48)).prediction
    torch.testing.assert_close(prediction, image, rtol=0, atol=1e-3)


def test_the_number_of_threads_changes_no_bit(tiny_generator: Generator, square_hole: SquareHole) -> None:
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


def test_deep_in_a_hole_the_copy_is_the_answer(tiny_generator: Generator, square_hole: SquareHole) -> None:
    """Whatever the refinement would paint there; near the border it paints."""
    torch.manual_seed(0)
    generator = Generator(GeneratorConfig.tiny()).eval()
    generator.load_state_dict(tiny_generator.state_dict())
    with torch.no_grad():
        generator.refinement.to_image.bias.fill_(9.0)
    image = F.interpolate(torch.rand(1, 3, 24, 24).round() * 2 - 1, scale_factor=16.0, mode="nearest")
    mask = square_hole(384, 32, 352)
    with torch.inference_mode():
        prediction = generator(image, mask).prediction
    assert prediction[..., 176:208, 176:208].abs().max() < 2
    assert prediction[..., 34:44, 34:350].min() > 5


def test_where_the_copies_fit_together_they_are_the_answer(square_hole: SquareHole) -> None:
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


def test_depth_is_how_far_what_is_known_is() -> None:
    """In eight pixels a step to any of the eight pixels around, up to the last depth that counts."""
    torch.manual_seed(0)
    share = (torch.rand(2, 1, 24, 40) < 0.004).float() / 3
    share[0, 0, -1, -1] = 1
    known, expected = (share > 0).float(), torch.zeros_like(share)
    for _ in range(12):
        expected += 8 * (1 - known)
        known = spread(known, 1)
    assert expected.unique().numel() == 13
    assert torch.equal(_depth(share), expected)
