import math

import pytest
import torch
from torch import Tensor

from training.losses import excess_detail
from training.spectrum import SIDE, excess_spectrum, local_power

HOLE = torch.ones(1, 1, 96, 96)


def noise(deviation: float, seed: int) -> Tensor:
    """(1, 3, 96, 96) grey noise."""
    source = torch.Generator().manual_seed(seed)
    return torch.randn(1, 1, 96, 96, generator=source).mul(deviation).expand(1, 3, 96, 96)


def hatching(deviation: float, period: float = 8) -> Tensor:
    """(1, 3, 96, 96) diagonal stripes."""
    place = torch.arange(96.0)
    wave = torch.sin((place[:, None] + place) * (2 * math.pi / period / math.sqrt(2)))
    return (deviation * math.sqrt(2) * wave).expand(1, 3, 96, 96)


def test_noise_has_its_variance_as_power() -> None:
    """At all frequencies but the lowest, from which the mean was taken."""
    power = local_power(noise(0.3, 1)).mean((0, 1))

    assert power.shape == (SIDE, SIDE // 2 + 1)
    assert power[:, 3:].mean().item() == pytest.approx(0.09, rel=0.1)
    assert power[SIDE // 2, 0].item() < 0.01


def test_stripes_have_their_power_at_their_frequency() -> None:
    """Stripes along the columns with a period of 4 pixels: a quarter of a cycle a pixel."""
    stripes = torch.sin(torch.arange(96) * (math.pi / 2)).expand(1, 3, 96, 96)

    power = local_power(stripes).mean((0, 1))

    peak = divmod(int(power.argmax()), SIDE // 2 + 1)
    assert peak == (SIDE // 2, SIDE // 4)


def test_hatching_costs_where_noise_of_its_strength_does_not() -> None:
    """What the sum over all frequencies cannot tell apart."""
    copied = noise(0.05, 1)
    fills = {"noise": noise(0.05, 2), "hatching": hatching(0.05), "flat": torch.zeros_like(copied)}

    excess = {name: excess_spectrum(fill, copied, HOLE).item() for name, fill in fills.items()}
    assert excess["hatching"] > 2 * excess["noise"]
    assert excess["flat"] == 0
    assert excess_detail(fills["hatching"], copied, copied, HOLE).item() < 0.01


def test_the_copies_themselves_cost_nothing() -> None:
    """Nor does what is as strong; stripes that go on are no hatching."""
    for copied in (noise(0.1, 1), hatching(0.1), hatching(0.1, period=4) + noise(0.02, 1)):
        assert excess_spectrum(copied, copied, HOLE).item() == 0


def test_twice_the_power_is_free_and_four_times_is_not() -> None:
    copied = noise(0.1, 1)

    assert excess_spectrum(1.4 * copied, copied, HOLE).item() < 0.01
    assert 0.4 < excess_spectrum(2 * copied, copied, HOLE).item() < math.log(4) - 0.7


def test_faint_hatching_costs_in_a_flat_area_only() -> None:
    """As it shows there only; what no screen shows costs nothing anywhere."""
    flat, rough = torch.zeros(1, 3, 96, 96), noise(0.3, 1)

    assert excess_spectrum(hatching(0.02), flat, HOLE).item() > 0.1
    assert excess_spectrum(rough + hatching(0.02), rough, HOLE).item() < 0.01
    assert excess_spectrum(hatching(0.001), flat, HOLE).item() == 0


def test_windows_that_are_mostly_known_do_not_count() -> None:
    """A narrow hole costs nothing, nor does none at all; half of a picture counts as much as all of it."""
    narrow, half = torch.zeros_like(HOLE), HOLE.clone()
    narrow[..., 40:56] = 1
    half[..., 48:] = 0
    flat = torch.zeros(1, 3, 96, 96)

    whole = excess_spectrum(hatching(0.05), flat, HOLE).item()

    assert excess_spectrum(hatching(0.05), flat, narrow).item() == 0
    assert excess_spectrum(hatching(0.05), flat, torch.zeros_like(HOLE)).item() == 0
    assert excess_spectrum(hatching(0.05), flat, half).item() == pytest.approx(whole, rel=0.05)


def test_windows_count_by_how_much_hole_they_have() -> None:
    """One window with hatching that has 7/8 of hole, among flat ones that are all hole."""
    mask = torch.ones(1, 1, 32, 64)
    mask[..., :4] = 0
    fill = hatching(0.05)[..., :32, :64].clone()
    alone, flat = fill[..., :32], torch.zeros(1, 3, 32, 64)
    fill[..., 32:] = 0
    half = fill[..., 16:48]

    def cost(picture: Tensor) -> float:
        return excess_spectrum(picture, torch.zeros_like(picture), HOLE[..., :32, : picture.shape[-1]]).item()

    # Weights of 1/2, 1 and 1 for the windows that begin at columns 0, 16 and 32.
    expected = (cost(alone) / 2 + cost(half)) / 2.5
    assert excess_spectrum(fill, flat, mask).item() == pytest.approx(expected, rel=1e-3)


def test_its_gradient_takes_hatching_away() -> None:
    """Some steps against the gradient leave a fraction of the stripes, and no other pattern."""
    copied = noise(0.01, 1)
    fill = hatching(0.05).clone().requires_grad_()
    optimizer = torch.optim.Adam([fill], lr=0.002)
    before = fill.detach().std().item()
    for _ in range(100):
        optimizer.zero_grad()
        excess_spectrum(fill, copied, HOLE).backward()
        optimizer.step()

    # The outermost pixels are hardly in any window.
    assert fill.detach()[..., 8:-8, 8:-8].std().item() < before / 2
