import pytest
import torch

from training.config import DiscriminatorConfig
from training.discriminator import (
    PatchDiscriminator,
    ProjectedDiscriminator,
    build_discriminator,
)

IMAGE, MASK = torch.rand(2, 3, 64, 64) * 2 - 1, (torch.rand(2, 1, 64, 64) > 0.5).float()


@pytest.mark.parametrize(("layers", "side"), [(1, 30), (2, 14), (3, 6)])
def test_a_logit_for_every_patch(layers: int, side: int) -> None:
    """Each strided layer halves the grid of patches; each layer but the last gives its features."""
    verdict = PatchDiscriminator(DiscriminatorConfig(width=4, layers=layers))(IMAGE, MASK)

    assert verdict.logits.shape == (2, 1, side, side)
    assert [features.shape[0] for features in verdict.features] == [2] * (layers + 1)


@pytest.mark.parametrize("spectral_norm", [True, False])
def test_gradient_reaches_every_parameter(spectral_norm: bool) -> None:
    """No part of the discriminator is left out of learning."""
    discriminator = PatchDiscriminator(DiscriminatorConfig(width=4, layers=2, spectral_norm=spectral_norm))
    discriminator(IMAGE, MASK).logits.square().sum().backward()

    assert all(p.grad is not None and p.grad.any() for p in discriminator.parameters())


def test_spectral_norm_bounds_every_layer() -> None:
    """After some power iterations the largest singular value of each layer's weight is 1."""
    torch.manual_seed(0)
    discriminator = PatchDiscriminator(DiscriminatorConfig(width=4, layers=2, spectral_norm=True))
    for _ in range(200):
        discriminator(IMAGE, MASK)

    for layer in discriminator.layers:
        largest = torch.linalg.matrix_norm(layer.weight.detach().flatten(1), 2)
        assert largest.item() == pytest.approx(1, abs=0.02)


def test_the_mask_matters() -> None:
    """The same picture with another mask is judged differently."""
    discriminator = PatchDiscriminator(DiscriminatorConfig(width=4, layers=2))

    assert not torch.equal(discriminator(IMAGE, MASK).logits, discriminator(IMAGE, 1 - MASK).logits)


PROJECTED = DiscriminatorConfig(kind="projected", width=8)


def test_projected_critics_judge_patches() -> None:
    """Three critics give logits on one grid, and the mask matters to them."""
    discriminator = build_discriminator(PROJECTED)
    assert isinstance(discriminator, ProjectedDiscriminator)

    verdict, other = discriminator(IMAGE, MASK), discriminator(IMAGE, 1 - MASK)

    assert verdict.logits.shape == (2, 3, 6, 6)
    assert not torch.equal(verdict.logits, other.logits)


def test_projected_trunk_stays_frozen_and_unsaved() -> None:
    """Gradients reach every critic and the picture; the frozen weights are no parameters and not saved."""
    discriminator = ProjectedDiscriminator(PROJECTED)
    image = IMAGE.clone().requires_grad_()
    discriminator.requires_grad_(False).requires_grad_(True)

    discriminator(image, MASK).logits.square().sum().backward()

    assert image.grad is not None
    assert image.grad.any()
    assert all(p.grad is not None and p.grad.any() for p in discriminator.parameters())
    assert all(name.startswith("critics.") for name, _ in discriminator.named_parameters())
    assert all(name.startswith("critics.") for name in discriminator.state_dict())
