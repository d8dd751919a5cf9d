import contextlib
import io
import warnings

import pytest
import torch
from torch import Tensor

from training.perceptual import PerceptualLoss
from training.stlpips import StLpips


@pytest.fixture(scope="module")
def pair() -> tuple[Tensor, Tensor]:
    torch.manual_seed(0)
    truth = torch.nn.functional.interpolate(torch.rand(2, 3, 12, 10), size=(96, 80), mode="bicubic") * 2 - 1
    return (truth + 0.3 * torch.randn_like(truth)).clamp(-1, 1), truth.clamp(-1, 1)


@pytest.fixture(scope="module")
def st_lpips() -> StLpips:
    return StLpips()


def test_st_lpips_is_the_package_s_own(pair: tuple[Tensor, Tensor], st_lpips: StLpips) -> None:
    """The sum of the layers' means is what stlpips_pytorch returns."""
    with contextlib.redirect_stdout(io.StringIO()), torch.no_grad():
        expected = st_lpips.metric(*pair).flatten()

    assert torch.allclose(st_lpips(*pair), expected, rtol=1e-4)


def test_st_lpips_map_shows_where_pictures_differ(st_lpips: StLpips) -> None:
    """A difference in the left half is found there."""
    truth = torch.zeros(1, 3, 96, 96)
    changed = truth.clone()
    changed[..., 20:60, 10:30] = torch.rand(1, 3, 40, 20)

    distance = st_lpips.enlarge(st_lpips.layers(changed, truth), (96, 96))[0, 0]

    assert distance.shape == (96, 96)
    assert distance[20:60, 10:30].mean() > 5 * distance[:, 64:].mean()


def test_building_st_lpips_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    """What the package prints and warns while it loads stays inside."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        StLpips()

    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("trunk", ["alexnet", "vgg16"])
@pytest.mark.parametrize("scale", [1, 2])
def test_loss_is_zero_for_equal_pictures_and_grows_with_noise(
    trunk: str, scale: int, pair: tuple[Tensor, Tensor]
) -> None:
    """Equal pictures have no distance; more noise is farther away."""
    loss = PerceptualLoss(trunk, scale)
    noisy, truth = pair

    assert loss(truth, truth).abs().max() < 1e-4
    assert (loss(torch.lerp(truth, noisy, 0.3), truth) < loss(noisy, truth)).all()


def test_loss_is_the_metric_but_for_the_borders(pair: tuple[Tensor, Tensor], st_lpips: StLpips) -> None:
    """At the size of training crops the fast network's distance is within two hundredths of the metric's."""
    noisy, truth = (image.repeat(1, 1, 3, 3) for image in pair)

    assert torch.allclose(PerceptualLoss("alexnet")(noisy, truth), st_lpips(noisy, truth), rtol=0.02)


def test_only_the_prediction_learns(pair: tuple[Tensor, Tensor]) -> None:
    """The gradient reaches the prediction, and neither the truth nor the frozen trunk."""
    loss = PerceptualLoss("alexnet")
    prediction, truth = (image.clone().requires_grad_() for image in pair)
    loss(prediction, truth).sum().backward()

    assert prediction.grad.abs().sum() > 0
    assert truth.grad is None
    assert all(parameter.grad is None for parameter in loss.parameters())
