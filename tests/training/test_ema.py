import pytest
import torch
from torch import nn

from training.ema import AveragedWeights


def test_half_of_a_change_is_taken_in_after_the_half_life() -> None:
    """However many updates it takes, after half_life_samples the average has gone half of the way."""
    for steps in (1, 10):
        module = nn.Linear(1, 1, bias=False)
        nn.init.zeros_(module.weight)
        average = AveragedWeights(module, half_life_samples=100)
        nn.init.ones_(module.weight)
        for _ in range(steps):
            average.update(module, samples=10**6, new_samples=100 // steps)

        assert average.module.weight.item() == pytest.approx(0.5, abs=1e-5)


def test_the_start_is_soon_forgotten() -> None:
    """With few samples seen, the average follows faster than its half-life says."""
    module = nn.Linear(1, 1, bias=False)
    nn.init.zeros_(module.weight)
    average = AveragedWeights(module, half_life_samples=10_000)
    nn.init.ones_(module.weight)
    for samples in range(8, 808, 8):
        average.update(module, samples, 8)

    assert average.module.weight.item() > 0.99


def test_average_is_a_network_of_its_own() -> None:
    """It holds no gradient, does not share weights, is in eval mode, and keeps buffers up to date."""
    module = nn.BatchNorm1d(2)
    average = AveragedWeights(module, 10)
    module(torch.randn(8, 2))
    average.update(module, 8, 8)

    assert not average.module.training
    assert not any(parameter.requires_grad for parameter in average.module.parameters())
    assert average.module.weight.data_ptr() != module.weight.data_ptr()
    assert torch.equal(average.module.running_mean, module.running_mean)
