"""One function a phase of a training step: each returns its loss and the numbers worth logging."""

import dataclasses
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from model_core.networks import Fill, Generator
from training import losses
from training.config import LossConfig
from training.data import Batch
from training.discriminator import Discriminator, Verdict
from training.spectrum import excess_spectrum
from training.view import View

Metrics = dict[str, Tensor]


class Phase(NamedTuple):
    """loss: scalar with a gradient; metrics: detached scalars."""

    loss: Tensor
    metrics: Metrics


@dataclasses.dataclass(frozen=True)
class Networks:
    """The networks of a run. What no loss asks for is None.

    Attributes:
        perceptual: (prediction, target) -> (B,) distances.
        autocast: a fresh context in which convolutions run in the chosen precision.
    """

    generator: Generator
    discriminator: Discriminator | None
    perceptual: Callable[[Tensor, Tensor], Tensor] | None
    autocast: Callable[[], AbstractContextManager[object]]

    def fill(self, batch: Batch) -> Fill:
        """The generator's answer, in float32."""
        with self.autocast():
            fill = self.generator(batch.image, batch.mask)
        return fill._replace(prediction=fill.prediction.float(), coarse=fill.coarse.float())

    def judge(self, image: Tensor, mask: Tensor) -> Verdict:
        """The discriminator's verdict; logits in float32."""
        assert self.discriminator is not None
        with self.autocast():
            logits, features = self.discriminator(image, mask)
        return Verdict(logits.float(), features)


def composite(prediction: Tensor, batch: Batch) -> Tensor:
    """(B, 3, H, W): the prediction in the hole, the photograph elsewhere."""
    return torch.lerp(batch.image, prediction, batch.mask)


def shown(batch: Batch, view: View) -> Batch:
    """The same part of the photographs and of their masks."""
    return Batch(view.of(batch.image), view.of(batch.mask))


def discriminator_phase(
    networks: Networks,
    batch: Batch,
    inpainted: Tensor,
    config: LossConfig,
    view: View,
    step: int,
    share: Tensor,
) -> Phase:
    """Tell photographs from composited fills. No gradient reaches the generator.

    Args:
        inpainted: (B, 3, H, W), composited.
        view: what the discriminator is shown.
        step: decides whether the lazy penalty is due.
        share: (B, 1, 1, 1) uniform in [0, 1], for the gradient penalty.
    """
    batch, inpainted = shown(batch, view), view.of(inpainted.detach())
    verdict = networks.judge(torch.cat([batch.image, inpainted]), batch.mask.repeat(2, 1, 1, 1))
    real, fake = verdict.logits.chunk(2)
    adversarial = losses.ADVERSARIAL[config.adversarial_kind]
    weights = losses.patch_weights(batch.mask, fake)
    loss = adversarial.discriminator(real, fake, weights)
    metrics = {"discriminator/loss": loss}
    for name, (weight, penalty) in _penalties(networks, batch, inpainted, config, step, share).items():
        loss = loss + weight * penalty
        metrics[f"discriminator/{name}"] = penalty
    boundary = verdict.logits.mean() if adversarial.boundary is None else adversarial.boundary
    metrics["discriminator/accuracy_real"] = (real > boundary).float().mean()
    metrics["discriminator/accuracy_fake"] = losses.weighted_mean((fake < boundary).float(), weights)
    return Phase(loss, _detached(metrics))


def _penalties(
    networks: Networks, batch: Batch, inpainted: Tensor, config: LossConfig, step: int, share: Tensor
) -> dict[str, tuple[float, Tensor]]:
    """The gradient penalties that are due, with their weights. They differentiate twice, in float32."""
    discriminator = networks.discriminator
    assert discriminator is not None

    def logits(image: Tensor) -> Tensor:
        verdict: Verdict = discriminator(image, batch.mask)
        return verdict.logits

    due: dict[str, tuple[float, Tensor]] = {}
    if config.adversarial_kind == "wasserstein":
        penalty = losses.gradient_penalty(logits, batch.image, inpainted, share)
        due["gradient_penalty"] = (config.gradient_penalty, penalty)
    if config.r1 and step % config.r1_interval == 0:
        due["r1"] = (config.r1 * config.r1_interval, losses.r1_penalty(logits, batch.image))
    return due


def generator_phase(
    networks: Networks, batch: Batch, fill: Fill, config: LossConfig, view: View, adversarial: bool
) -> Phase:
    """Come near the truth and, when `adversarial`, convince the discriminator.

    Args:
        view: what trunk and discriminator are shown; the early guess is shown whole.
    """
    inpainted = composite(fill.prediction, batch)
    seen, part = view.of(inpainted), shown(batch, view)
    terms = _plain_terms(batch, fill, inpainted, config)
    if config.perceptual:
        terms["perceptual"] = _perceptual(networks, seen, part.image, part.mask)
    if config.coarse_perceptual:
        guess, truth, share = coarse_pictures(fill.coarse, batch)
        terms["coarse_perceptual"] = _perceptual(networks, guess, truth, share)
    if adversarial:
        terms |= _adversarial_terms(networks, part, seen, config)
    loss = torch.stack([getattr(config, name) * term for name, term in terms.items()]).sum()
    metrics = {f"generator/{name}": term for name, term in terms.items()} | {"generator/loss": loss}
    return Phase(loss, _detached(metrics | diversity(fill.prediction, batch)))


def _plain_terms(batch: Batch, fill: Fill, inpainted: Tensor, config: LossConfig) -> Metrics:
    """The losses that need no other network."""
    terms: Metrics = {}
    if config.l1_hole:
        terms["l1_hole"] = losses.masked_l1(fill.prediction, batch.image, batch.mask)
    if config.l1_known:
        terms["l1_known"] = losses.masked_l1(fill.prediction, batch.image, 1 - batch.mask)
    if config.coarse:
        terms["coarse"] = losses.coarse_l1(fill.coarse, batch.image, batch.mask)
    if config.colour:
        terms["colour"] = losses.coarse_l1(F.avg_pool2d(inpainted, 8), batch.image, batch.mask)
    if config.excess_detail:
        terms["excess_detail"] = losses.excess_detail(inpainted, fill.copied, batch.image, batch.mask)
    if config.excess_colour_detail:
        terms["excess_colour_detail"] = losses.excess_colour_detail(
            inpainted, fill.copied, batch.image, batch.mask
        )
    if config.excess_spectrum:
        terms["excess_spectrum"] = excess_spectrum(inpainted, fill.copied, batch.mask)
    return terms


def _perceptual(networks: Networks, picture: Tensor, truth: Tensor, mask: Tensor) -> Tensor:
    assert networks.perceptual is not None
    with networks.autocast():
        distance = networks.perceptual(picture, truth).float()
    return losses.per_hole(distance, mask)


def coarse_pictures(coarse: Tensor, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
    """The early guess and the truth as pictures of half the size, with the detail of 1/8, and the mask.

    Returns:
        (B, 3, H/2, W/2) guess in the hole and truth around it; (B, 3, H/2, W/2) truth; (B, 1, H/8, W/8) share
        of hole.
    """
    size = (coarse.shape[-2], coarse.shape[-1])
    truth, share = F.adaptive_avg_pool2d(batch.image, size), F.adaptive_avg_pool2d(batch.mask, size)
    both = torch.cat([torch.lerp(truth, coarse, share), truth])
    guess, truth = F.interpolate(both, scale_factor=4.0, mode="bicubic", align_corners=False).chunk(2)
    return guess, truth, share


def _adversarial_terms(networks: Networks, batch: Batch, inpainted: Tensor, config: LossConfig) -> Metrics:
    assert networks.discriminator is not None
    networks.discriminator.requires_grad_(False)
    fake = networks.judge(inpainted, batch.mask)
    terms: Metrics = {}
    if config.adversarial:
        weights = losses.patch_weights(batch.mask, fake.logits)
        terms["adversarial"] = losses.ADVERSARIAL[config.adversarial_kind].generator(fake.logits, weights)
    if config.feature_matching:
        with torch.no_grad():
            real = networks.judge(batch.image, batch.mask)
        terms["feature_matching"] = losses.feature_matching(fake.features, real.features, batch.mask)
    networks.discriminator.requires_grad_(True)
    return terms


@torch.no_grad()
def diversity(prediction: Tensor, batch: Batch) -> Metrics:
    """How varied the fills are, relative to the truth in the same holes: 1 = as varied, 0 = all alike.

    colour: standard deviation, over the batch, of each hole's mean colour.
    detail: mean absolute difference between grey values and their 5x5 neighbourhoods.
    """

    def colour(image: Tensor) -> Tensor:
        means = (image * batch.mask).sum((2, 3)) / batch.mask.sum((2, 3)).clamp_min(1)
        return means.std(0, correction=0).mean()

    def detail(image: Tensor) -> Tensor:
        image = image.mean(1, keepdim=True)
        return losses.masked_l1(image, F.avg_pool2d(image, 5, 1, 2, count_include_pad=False), batch.mask)

    return {
        "diversity/colour": colour(prediction) / colour(batch.image).clamp_min(1e-3),
        "diversity/detail": detail(prediction) / detail(batch.image).clamp_min(1e-3),
    }


def _detached(metrics: Metrics) -> Metrics:
    return {name: value.detach() for name, value in metrics.items()}
