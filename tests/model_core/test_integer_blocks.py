"""Residual blocks and enlarging in whole numbers of 8 bits, beside the same in floats."""

import pytest
import torch
from torch import nn

from model_core.networks.blocks import ResidualBlock, Upsample
from model_core.networks.integer_blocks import (
    SHARE_OF_PEAK,
    SUM_LARGEST,
    IntegerBlocks,
    IntegerUpsample,
    signed_grid,
    sum_grid,
    unsigned_grid,
)
from model_core.networks.integers import LARGEST
from model_core.networks.peaks import Peak

pytestmark = pytest.mark.usefixtures("int8")


def test_grids_reach_up_to_a_share_of_the_peak() -> None:
    """Signed ones in both directions, and that of a sum for both of its summands together."""
    assert unsigned_grid(255 / SHARE_OF_PEAK) == (1.0, 0)
    assert signed_grid(127 / SHARE_OF_PEAK) == (1.0, 128)
    assert sum_grid(128 / SHARE_OF_PEAK, 32 / SHARE_OF_PEAK) == (1.0, 64)
    assert sum_grid(64 / SHARE_OF_PEAK, 64 / SHARE_OF_PEAK) == (1.0, 64)


def test_a_grid_for_what_is_always_0() -> None:
    """As made by a network that has not learned anything yet."""
    assert unsigned_grid(0.0).of(torch.zeros(3)).tolist() == [0, 0, 0]


def test_residual_blocks() -> None:
    torch.manual_seed(0)
    blocks = nn.Sequential(ResidualBlock(16), ResidualBlock(16, dilation=2))
    for block in blocks:
        nn.init.normal_(block.second.weight, std=0.05)
    total = torch.randn(2, 16, 24, 32).contiguous(memory_format=torch.channels_last)
    with torch.inference_mode():
        expected = blocks(total)
        peaks = {f"{index}.{name}": Peak(12, 12) for index in (0, 1) for name in ("first", "second")}
        found = IntegerBlocks(blocks, peaks)(total.clone(memory_format=torch.preserve_format))
    assert (found - expected).abs().mean() < 0.02 * (expected - total).abs().mean()


def test_enlarging() -> None:
    """Summands that are larger than was observed do not run over."""
    torch.manual_seed(0)
    part, grid = Upsample(16, 8, 8), signed_grid(4.0)
    upsample = IntegerUpsample(part, grid, skip_peak=4.0, peaks={"narrow": Peak(4.0, 4.0)})
    x, skip = torch.randn(1, 16, 12, 16) / 2, torch.rand(1, 8, 24, 32)
    given = grid.of(x), upsample.skip_grid.of(skip)
    with torch.inference_mode():
        expected = part(x, skip)
        assert (upsample.to_floats(*given) - expected).abs().mean() < 0.02 * expected.mean()
        target = unsigned_grid(2 * float(expected.max()))
        numbers = upsample.to_numbers(*given, target)
        assert (numbers * target.step - expected).abs().mean() < 0.02 * expected.mean()
        # In numbers, the largest of which would add up to more than there are.
        most = torch.full_like(given[1], SUM_LARGEST)
        for numbers in (given[0], torch.full_like(given[0], LARGEST), torch.zeros_like(given[0])):
            much, less = (upsample.to_floats(numbers, one) for one in (torch.full_like(most, LARGEST), most))
            assert much.equal(less)
        part.narrow.weight.zero_()
        part.merge.weight.abs_()
        for bias in (4.0, 4000.0):
            part.narrow.bias.fill_(bias)
            upsample = IntegerUpsample(part, grid, skip_peak=4.0, peaks={"narrow": Peak(4.0, 4.0)})
            assert upsample.to_floats(given[0], most).min() > expected.max()
