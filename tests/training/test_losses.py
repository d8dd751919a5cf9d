import math

import pytest
import torch
from torch import Tensor

from training import losses


def tensor(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float32).view(1, 1, 1, -1)


SOFTPLUS_1 = math.log(1 + math.e)
SOFTPLUS_MINUS_2 = math.log(1 + math.exp(-2))


@pytest.mark.parametrize(
    ("kind", "discriminator_loss", "generator_loss"),
    [
        ("non-saturating", SOFTPLUS_MINUS_2 + SOFTPLUS_1, math.log(1 + math.exp(-1))),
        ("hinge", 0 + 2, -1),
        ("least-squares", 1 + 1, 0),
        ("wasserstein", 1 - 2, -1),
    ],
)
def test_adversarial_losses_follow_their_formulas(
    kind: str, discriminator_loss: float, generator_loss: float
) -> None:
    """For real logits of 2 and a fake one of 1, beside a patch without hole that does not count."""
    adversarial = losses.ADVERSARIAL[kind]
    real, fake, weights = tensor(2, 2), tensor(1, 50), tensor(1, 0)

    assert adversarial.discriminator(real, fake, weights).item() == pytest.approx(
        discriminator_loss, abs=1e-6
    )
    assert adversarial.generator(fake, weights).item() == pytest.approx(generator_loss, abs=1e-6)


@pytest.mark.parametrize("kind", losses.ADVERSARIAL)
def test_the_two_sides_pull_apart(kind: str) -> None:
    """The discriminator lowers fake logits and raises real ones; the generator raises fakes."""
    adversarial = losses.ADVERSARIAL[kind]
    real, fake = tensor(0.1).requires_grad_(), tensor(0.1).requires_grad_()
    adversarial.discriminator(real, fake, tensor(1)).backward()
    generated = tensor(0.1).requires_grad_()
    adversarial.generator(generated, tensor(1)).backward()

    assert real.grad.item() < 0 < fake.grad.item()
    assert generated.grad.item() < 0


def test_detail_beyond_that_of_the_copies_costs() -> None:
    """Stripes where copies are smooth cost, in the hole only; a smooth fill and moved stripes do not."""
    smooth = torch.zeros(1, 3, 32, 32)
    stripes = torch.tensor([0.0, 0.5]).repeat(16).expand(1, 3, 32, 32)
    mask = torch.zeros(1, 1, 32, 32)
    mask[..., 8:24, 8:24] = 1

    rippled = losses.excess_detail(torch.lerp(smooth, stripes, mask), smooth, smooth, mask)

    assert 0.05 < rippled.item() < 0.25
    assert losses.excess_detail(torch.lerp(stripes, smooth, mask), stripes, smooth, mask) == 0
    moved = losses.excess_detail(stripes.roll(1, -1), stripes, smooth, mask)
    assert moved.item() == pytest.approx(0, abs=1e-2)
    assert losses.excess_detail(stripes, smooth, smooth, torch.zeros_like(mask)) == 0


def test_detail_of_the_truth_is_allowed_near_the_border_only() -> None:
    """Where nothing near is known, the right stripes cost as if they were wrong; in a thin hole, nothing."""
    smooth = torch.zeros(1, 3, 128, 128)
    stripes = torch.tensor([0.0, 0.5]).repeat(64).expand(1, 3, 128, 128)
    thin = torch.zeros(1, 1, 128, 128)
    thin[..., 60:68] = 1

    wrong = losses.excess_detail(stripes, smooth, smooth, torch.ones_like(thin))
    right = losses.excess_detail(stripes, smooth, stripes, torch.ones_like(thin))

    assert right.item() == pytest.approx(wrong.item())
    assert losses.excess_detail(stripes, smooth, stripes, thin).item() == pytest.approx(0, abs=1e-6)
    assert losses.excess_detail(stripes, smooth, smooth, thin).item() > 0.05


def test_a_straight_border_surrounds_nobody() -> None:
    """From 0 at the border of a half plane to 1 where the hole reaches 18 pixels in all directions."""
    mask = torch.zeros(1, 1, 64, 128)
    mask[..., 64:] = 1

    across = losses.surrounded(mask)[0, 0, 32]

    assert across[:60].max() == 0
    assert (across[60:].diff() >= 0).all()
    assert across[64].item() < 0.2
    assert across[88:].min() == 1


def test_detail_of_colour_is_told_from_detail_of_brightness() -> None:
    """Grey stripes have no colour; red and green ones of one brightness have nothing else."""
    smooth, mask = torch.zeros(1, 3, 32, 32), torch.ones(1, 1, 32, 32)
    grey = torch.tensor([-0.5, 0.5]).repeat(16).expand(1, 3, 32, 32)
    coloured = grey * torch.tensor([1.0, -1.0, 0.0]).view(1, 3, 1, 1)

    def excess_colour(picture: Tensor) -> float:
        return losses.excess_colour_detail(picture, smooth, smooth, mask).item()

    assert excess_colour(grey) == pytest.approx(0, abs=1e-4)
    assert losses.excess_detail(coloured, smooth, smooth, mask).item() == pytest.approx(0, abs=1e-4)
    assert excess_colour(coloured) > 0.1


def test_masked_l1_counts_only_what_the_weight_covers() -> None:
    """An error of 0.5 under the weight gives 0.5, whatever lies elsewhere; no weight at all gives 0."""
    target = torch.zeros(2, 3, 4, 4)
    prediction = target.clone()
    weight = torch.zeros(2, 1, 4, 4)
    weight[:, :, :2] = 1
    prediction[:, :, :2] = 0.5
    prediction[:, :, 2:] = 9

    assert losses.masked_l1(prediction, target, weight).item() == pytest.approx(0.5)
    assert losses.masked_l1(prediction, target, 0 * weight).item() == 0


def test_coarse_l1_compares_with_the_average() -> None:
    """A guess that equals the mean of each block is perfect."""
    image = torch.rand(1, 3, 32, 32)
    guess = torch.nn.functional.avg_pool2d(image, 8)
    mask = torch.ones(1, 1, 32, 32)

    assert losses.coarse_l1(guess, image, mask).item() == pytest.approx(0, abs=1e-6)
    assert losses.coarse_l1(guess + 0.25, image, mask).item() == pytest.approx(0.25, abs=1e-5)


def test_per_hole_does_not_depend_on_the_share_of_hole() -> None:
    """A distance in proportion to the hole counts the same for small and large holes."""
    small, large = torch.zeros(1, 1, 10, 10), torch.zeros(1, 1, 10, 10)
    small[..., :1, :], large[..., :5, :] = 1, 1

    assert losses.per_hole(torch.tensor([0.02]), small).item() == pytest.approx(0.2)
    assert losses.per_hole(torch.tensor([0.10]), large).item() == pytest.approx(0.2)


def test_feature_matching_is_the_mean_over_layers_per_share_of_hole() -> None:
    """Layers that differ by 1 and by 3, with a quarter of hole, give 2 / 0.25; the truth gets no gradient."""
    fake = [torch.ones(1, 2, 4, 4, requires_grad=True), torch.full((1, 5, 2, 2), 3.0)]
    real = [torch.zeros(1, 2, 4, 4, requires_grad=True), torch.zeros(1, 5, 2, 2)]
    mask = torch.zeros(1, 1, 4, 4)
    mask[..., 0, :] = 1

    loss = losses.feature_matching(fake, real, mask)
    loss.backward()

    assert loss.item() == pytest.approx(8)
    assert fake[0].grad is not None
    assert real[0].grad is None


def test_patches_need_some_hole_to_be_fake() -> None:
    """A tenth of hole makes a patch a fake."""
    mask = torch.zeros(1, 1, 10, 20)
    mask[..., 0, :10] = 1
    mask[..., 0, 10:15] = 1

    assert losses.patch_weights(mask, torch.zeros(1, 1, 1, 2)).flatten().tolist() == [1, 0]


def test_r1_of_a_linear_critic_is_half_its_squared_slope() -> None:
    """D(x) = sum 3 x has the gradient 3 at each of 12 values."""
    penalty = losses.r1_penalty(lambda x: (3 * x).sum((1, 2, 3), keepdim=True), torch.rand(4, 3, 2, 2))

    assert penalty.item() == pytest.approx(9 * 12 / 2)


@pytest.mark.parametrize(("slope", "expected"), [(1.0, 0.0), (3.0, 4.0), (0.0, 1.0)])
def test_gradient_penalty_wants_a_slope_of_one(slope: float, expected: float) -> None:
    """(|grad| - 1)^2 for critics of known slope, and it can be learned from."""
    weight = torch.tensor(slope, requires_grad=True)
    real, fake = torch.rand(4, 3, 2, 2), torch.rand(4, 3, 2, 2)

    def critic(x: Tensor) -> Tensor:
        return weight * x[:, :1, :1, :1]

    penalty = losses.gradient_penalty(critic, real, fake, torch.rand(4, 1, 1, 1))
    penalty.backward()

    assert penalty.item() == pytest.approx(expected, abs=1e-4)
    assert weight.grad.isfinite()


def test_gradient_penalty_looks_between_real_and_fake() -> None:
    """At share 0 it measures at the real picture, at 1 at the fake one."""
    real, fake = torch.ones(2, 3, 2, 2), torch.full((2, 3, 2, 2), 5.0)

    def critic(x: Tensor) -> Tensor:
        return x[:, :1, :1, :1].square() / 2  # its slope is x

    penalties = [losses.gradient_penalty(critic, real, fake, torch.full((2, 1, 1, 1), s)) for s in (0.0, 1.0)]
    assert [penalty.item() for penalty in penalties] == pytest.approx([0, 16])
