"""Convolutions of whole numbers of 8 bits."""

import pytest
import torch
from torch import Tensor, nn

from model_core.networks.integers import Grid, IntegerConv

pytestmark = pytest.mark.usefixtures("int8")


def numbers_of(channels: int, height: int, width: int, batch: int = 1) -> Tensor:
    drawn = torch.randint(0, 256, (batch, channels, height, width), dtype=torch.uint8)
    return drawn.contiguous(memory_format=torch.channels_last)


def values_of(numbers: Tensor, grid: Grid) -> Tensor:
    return (numbers.float() - grid.zero) * grid.step


def with_whole_weights(layer: nn.Conv2d) -> nn.Conv2d:
    """Weights that lie on the steps of an IntegerConv: with them nothing is rounded."""
    with torch.no_grad():
        layer.weight.copy_(torch.randint(-126, 127, layer.weight.shape) / 512)
        layer.weight[:, 0, 0, 0] = 127 / 512
    return layer


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


@pytest.mark.parametrize("zero", [0, 64, 128])
def test_a_grid_has_the_nearest_number(zero: int) -> None:
    """Beyond its ends, the last one; so without negative numbers it is a ReLU."""
    grid = Grid(0.5, zero)
    values = torch.tensor([-1000.0, -0.6, -0.24, 0.0, 0.24, 0.26, 1.0, 1000.0])
    expected = torch.tensor([-1000, -1, 0, 0, 0, 1, 2, 1000]).add(zero).clamp(0, 255).to(torch.uint8)
    assert grid.of(values).equal(expected)
    assert grid.of(values.bfloat16()).equal(expected)


@pytest.mark.parametrize("zero", [0, 64])
@pytest.mark.parametrize(
    ("channels", "outputs", "side", "options"),
    [
        (48, 96, 3, {"padding": 1, "stride": 2}),
        (192, 192, 3, {"padding": 4, "dilation": 4}),
        (8, 48, 6, {"padding": 2, "stride": 2}),
        (96, 48, 1, {}),
        (4, 4, 3, {"padding": 1}),
    ],
)
def test_whole_numbers_are_convolved_exactly(
    channels: int, outputs: int, side: int, options: dict[str, int], zero: int
) -> None:
    """To the edges, where 0 is what lies beyond, as the floats that the numbers stand for."""
    layer = with_whole_weights(nn.Conv2d(channels, outputs, side, **options))
    numbers, grid = numbers_of(channels, 24, 40), Grid(0.01, zero)
    with torch.inference_mode():
        expected = layer(values_of(numbers, grid))
        conv = IntegerConv(layer, grid)
        torch.testing.assert_close(conv.to_floats(numbers), expected, rtol=1e-4, atol=1e-3)
        total = torch.randn_like(expected)
        torch.testing.assert_close(
            conv.add_to(total.clone(), numbers), total + expected, rtol=1e-4, atol=1e-3
        )
        target = Grid(float(expected.abs().max()) / 100, 100)
        off = conv.to_numbers(numbers, target).int() - target.of(expected).int()
        assert off.abs().max() <= 1  # where a value lies halfway
        assert (off != 0).float().mean() < 0.01


def test_weights_are_rounded_in_steps_of_each_channel() -> None:
    """A channel with small weights keeps their proportions, one without any gives the bias."""
    layer = nn.Conv2d(4, 3, 3, padding=1)
    with torch.no_grad():
        layer.weight[1] *= 1e-3
        layer.weight[2] = 0
    numbers, grid = numbers_of(4, 16, 16), Grid(1 / 255)
    with torch.inference_mode():
        found, expected = IntegerConv(layer, grid).to_floats(numbers), layer(values_of(numbers, grid))
    error = (found - expected).abs().amax((0, 2, 3)) / layer.weight.abs().sum((1, 2, 3)).clamp_min(1e-9)
    assert error[:2].max() < 0.01
    assert found[:, 2].unique().tolist() == pytest.approx([layer.bias[2].item()])


def test_neither_company_nor_threads_change_a_number() -> None:
    """Weights are laid out anew for other sizes and numbers of threads."""
    layer, grid = nn.Conv2d(192, 192, 3, padding=1), Grid(0.02)
    conv, threads = IntegerConv(layer, grid), torch.get_num_threads()
    try:
        for height, width in ((16, 16), (64, 32), (64, 64), (16, 16)):
            several = numbers_of(192, height, width, batch=3)
            found = []
            for count in (1, 2):
                torch.set_num_threads(count)
                with torch.inference_mode():
                    found.append(conv.to_floats(several))
                    found.append(torch.cat([conv.to_floats(one[None]) for one in several]))
            assert all(other.equal(found[0]) for other in found[1:])
    finally:
        torch.set_num_threads(threads)
