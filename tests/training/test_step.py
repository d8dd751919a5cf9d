from collections.abc import Callable

import pytest
import torch

from training.config import TrainConfig
from training.data import Batch
from training.distributed import World
from training.loop import build_networks
from training.phases import (
    Networks,
    coarse_pictures,
    composite,
    discriminator_phase,
    diversity,
    generator_phase,
)
from training.state import TrainingState, build_state
from training.step import random_source, train_step
from training.view import View, draw_view

CPU, ALONE = torch.device("cpu"), World(0, 1)
# The middle of a crop.
MIDDLE = View(4, 4)
Configure = Callable[..., TrainConfig]


@pytest.fixture
def batch() -> Batch:
    """Two smooth pictures with a square hole in each."""
    torch.manual_seed(1)
    image = torch.nn.functional.interpolate(torch.rand(2, 3, 4, 4), size=(64, 64), mode="bilinear") * 2 - 1
    mask = torch.zeros(2, 1, 64, 64)
    mask[0, :, 20:40, 24:44] = 1
    mask[1, :, 8:30, 8:50] = 1
    return Batch(image, mask)


def start(config: TrainConfig) -> tuple[TrainingState, Networks]:
    state = build_state(config, CPU)
    return state, build_networks(config, state, CPU)


def without_gradient(module: torch.nn.Module) -> list[str]:
    return [name for name, p in module.named_parameters() if p.grad is None or not p.grad.any()]


@pytest.mark.parametrize("kind", ["non-saturating", "hinge", "least-squares", "wasserstein"])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_every_adversarial_loss_trains_every_parameter(
    kind: str, precision: str, configure: Configure, batch: Batch
) -> None:
    """A few steps give finite losses, and a gradient to every parameter of both networks."""
    config = configure(
        precision=precision, losses={"perceptual": 0, "adversarial_kind": kind, "r1": 0.1, "r1_interval": 2}
    )
    state, networks = start(config)
    before = {name: p.detach().clone() for name, p in state.generator.named_parameters()}
    for _ in range(3):
        metrics = train_step(state, networks, batch, config, done=0.5, world=ALONE)
        assert all(value.isfinite() for value in metrics.values())

    assert without_gradient(state.generator) == []
    assert without_gradient(state.discriminator) == []
    assert [name for name, p in state.generator.named_parameters() if torch.equal(p, before[name])] == []
    assert ("discriminator/gradient_penalty" in metrics) == (kind == "wasserstein")
    assert "discriminator/r1" in metrics  # of step 2; step 1 has none


def test_lazy_r1_comes_every_other_step(configure: Configure, batch: Batch) -> None:
    """With an interval of 2, the penalty is measured in steps 0 and 2 only."""
    config = configure(losses={"perceptual": 0, "r1": 1.0, "r1_interval": 2})
    state, networks = start(config)

    seen = ["discriminator/r1" in train_step(state, networks, batch, config, 0.5, ALONE) for _ in range(4)]
    assert seen == [True, False, True, False]


def test_overfitting_one_batch_lowers_the_loss(configure: Configure, batch: Batch) -> None:
    """Thirty steps on the same two pictures take away a good part of the reconstruction loss."""
    config = configure(lr_generator=5e-3, lr_warm_up_samples=0, losses={"perceptual": 0, "adversarial": 0})
    state, networks = start(config)

    losses = [
        train_step(state, networks, batch, config, 0.0, ALONE)["generator/loss"].item() for _ in range(30)
    ]
    assert sum(losses[-5:]) < 0.7 * sum(losses[:5])


def test_overfitting_teaches_the_discriminator(configure: Configure, batch: Batch) -> None:
    """A discriminator that sees one photograph and one fixed fake soon tells them apart."""
    config = configure(discriminator={"width": 8, "layers": 2})
    state, networks = start(config)
    fake = composite(torch.zeros_like(batch.image), batch)
    for _ in range(60):
        phase = discriminator_phase(networks, batch, fake, config.losses, MIDDLE, 0, torch.rand(2, 1, 1, 1))
        state.discriminator_optimizer.zero_grad()
        phase.loss.backward()
        state.discriminator_optimizer.step()

    assert phase.metrics["discriminator/accuracy_real"] > 0.9
    assert phase.metrics["discriminator/accuracy_fake"] > 0.9


def test_warm_up_leaves_the_discriminator_alone(configure: Configure, batch: Batch) -> None:
    """Before reconstruction_share is over, only reconstruction is learned."""
    config = configure(reconstruction_share=0.5)
    state, networks = start(config)
    before = [p.detach().clone() for p in state.discriminator.parameters()]

    metrics = train_step(state, networks, batch, config, 0.49, ALONE)
    assert not any(name.startswith("discriminator") for name in metrics)
    assert "generator/adversarial" not in metrics
    assert all(torch.equal(a, b) for a, b in zip(before, state.discriminator.parameters(), strict=True))

    assert "generator/adversarial" in train_step(state, networks, batch, config, 0.5, ALONE)


def test_generator_phase_does_not_teach_the_discriminator(configure: Configure, batch: Batch) -> None:
    """While the generator learns from the discriminator, that gets no gradient itself."""
    config = configure()
    _, networks = start(config)

    generator_phase(
        networks, batch, networks.fill(batch), config.losses, MIDDLE, adversarial=True
    ).loss.backward()

    assert all(p.grad is None for p in networks.discriminator.parameters())
    assert all(p.requires_grad for p in networks.discriminator.parameters())


TERMS = [
    "l1_hole", "l1_known", "coarse", "coarse_perceptual", "colour", "excess_detail", "excess_colour_detail",
    "excess_spectrum", "perceptual", "adversarial", "feature_matching",
]  # fmt: skip


@pytest.mark.parametrize("term", TERMS)
def test_each_loss_can_be_used_alone(term: str, configure: Configure, batch: Batch) -> None:
    """A weight of 0 leaves its term out; the one left is the loss, times its weight."""
    config = configure(losses=dict.fromkeys(TERMS, 0.0) | {term: 2.0})
    _, networks = start(config)

    adversarial = networks.discriminator is not None
    metrics = generator_phase(
        networks, batch, networks.fill(batch), config.losses, MIDDLE, adversarial
    ).metrics

    terms = {name for name in metrics if name.startswith("generator/")}
    assert terms == {f"generator/{term}", "generator/loss"}
    assert metrics["generator/loss"].item() == pytest.approx(2 * metrics[f"generator/{term}"].item())


@pytest.mark.parametrize("term", ["perceptual", "adversarial", "feature_matching"])
def test_trunk_and_discriminator_see_the_view_alone(term: str, configure: Configure, batch: Batch) -> None:
    """No gradient reaches rows and columns outside, and some reaches the first of those inside."""
    config = configure(losses=dict.fromkeys(TERMS, 0.0) | {term: 1.0})
    _, networks = start(config)
    batch = batch._replace(mask=torch.ones_like(batch.mask))
    fill = networks.fill(batch)
    prediction = fill.prediction.detach().requires_grad_()
    fill = fill._replace(prediction=prediction)

    view = View(top=3, left=5)
    adversarial = networks.discriminator is not None
    generator_phase(networks, batch, fill, config.losses, view, adversarial).loss.backward()

    reached = prediction.grad.abs().sum((0, 1)) > 0
    rows, columns = reached.any(1).nonzero()[:, 0], reached.any(0).nonzero()[:, 0]
    assert (rows.min(), rows.max()) == (3, 64 - 8 + 2)
    assert (columns.min(), columns.max()) == (5, 64 - 8 + 4)


def test_a_step_shows_one_view_and_the_next_another(configure: Configure, batch: Batch) -> None:
    """To the discriminator, while it learns and while the generator does."""
    config = configure(losses={"perceptual": 0, "adversarial": 1.0})
    state, networks = start(config)
    masks: list[torch.Tensor] = []
    networks.discriminator.register_forward_pre_hook(lambda _, inputs: masks.append(inputs[1][:2]))

    for _ in range(2):
        train_step(state, networks, batch, config, 0.5, ALONE)

    first, second = masks[: len(masks) // 2], masks[len(masks) // 2 :]
    view, other = (draw_view(random_source(config, samples)) for samples in (0, 2))
    assert view != other
    assert all(torch.equal(mask, view.of(batch.mask)) for mask in first)
    assert all(torch.equal(mask, other.of(batch.mask)) for mask in second)
    assert len(first) >= 2


def test_networks_that_no_loss_needs_are_not_built(configure: Configure) -> None:
    """Without adversarial terms there is no discriminator, without perceptual one no trunk."""
    config = configure(losses={"perceptual": 0, "adversarial": 0, "feature_matching": 0})
    state, networks = start(config)

    assert (state.discriminator, networks.perceptual) == (None, None)


def test_the_guess_is_judged_as_a_picture_in_its_surroundings(batch: Batch) -> None:
    """The reduced truth as a guess gives two equal pictures; without a hole, any guess does."""
    size = (batch.image.shape[-2] // 8, batch.image.shape[-1] // 8)
    reduced = torch.nn.functional.adaptive_avg_pool2d(batch.image, size)

    guess, truth, share = coarse_pictures(reduced, batch)
    other, _, _ = coarse_pictures(1 - reduced, Batch(batch.image, torch.zeros_like(batch.mask)))

    assert guess.shape[-2:] == (4 * size[0], 4 * size[1])
    assert share.shape[-2:] == size
    assert torch.allclose(guess, truth, atol=1e-5)
    assert torch.allclose(other, truth, atol=1e-5)


def test_known_pixels_are_the_photograph_s(batch: Batch) -> None:
    """Compositing keeps known pixels as they are and takes all others from the prediction."""
    prediction = torch.rand_like(batch.image)
    inpainted = composite(prediction, batch)
    hole = batch.mask.expand_as(inpainted) == 1

    assert torch.equal(inpainted[~hole], batch.image[~hole])
    assert torch.equal(inpainted[hole], prediction[hole])


def test_diversity_tells_truth_from_collapse(batch: Batch) -> None:
    """The truth itself scores 1 on both, the same flat colour everywhere 0."""
    truth, flat = diversity(batch.image, batch), diversity(torch.full_like(batch.image, 0.3), batch)

    assert [value.item() for value in truth.values()] == pytest.approx([1, 1])
    assert [value.item() for value in flat.values()] == pytest.approx([0, 0], abs=1e-4)


def test_gradients_are_clipped(configure: Configure, batch: Batch) -> None:
    """The reported norm is that before clipping; what is left is not longer than clip_norm."""
    config = configure(clip_norm=0.01)
    state, networks = start(config)

    norm = train_step(state, networks, batch, config, 0.0, ALONE)["generator/gradient_norm"]

    clipped = torch.stack([p.grad.norm() for p in state.generator.parameters() if p.grad is not None]).norm()
    assert norm > 0.02
    assert clipped.item() == pytest.approx(0.01, rel=1e-3)


@pytest.mark.parametrize("trunk", ["alexnet", "vgg16", "st-lpips"])
def test_every_perceptual_trunk_trains(trunk: str, configure: Configure, batch: Batch) -> None:
    """Whichever trunk is chosen, its distance reaches the generator."""
    config = configure(losses={"perceptual": 1.0, "perceptual_trunk": trunk, "perceptual_scale": 1})
    _, networks = start(config)

    metrics = generator_phase(networks, batch, networks.fill(batch), config.losses, MIDDLE, False).metrics
    assert metrics["generator/perceptual"] > 0
