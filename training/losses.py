"""The losses, one small function each, in float32. Where nothing else is said, they return a mean."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

# A patch counts as made by the generator when at least this share of its cell is hole.
HOLE_SHARE = 0.1
# Areas of 9x9 pixels overlap enough when every fourth one is looked at, which takes a quarter of the time.
DETAIL_STEP = 4


def masked_l1(prediction: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """sum w |p - t| / sum w: the mean absolute difference under `weight` (B, 1, H, W); 0 under none."""
    difference = (prediction - target).abs().mean(1, keepdim=True)
    return (difference * weight).sum() / weight.sum().clamp_min(1)


def coarse_l1(coarse: Tensor, image: Tensor, mask: Tensor) -> Tensor:
    """`masked_l1` of a low-resolution picture and the area-averaged truth, under the share of hole."""
    size = (coarse.shape[-2], coarse.shape[-1])
    return masked_l1(coarse, F.adaptive_avg_pool2d(image, size), F.adaptive_avg_pool2d(mask, size))


def excess_detail(inpainted: Tensor, copied: Tensor, truth: Tensor, mask: Tensor) -> Tensor:
    """Mean, in the hole, of how much more detail there is than what can be known; less costs nothing.

    Where it cannot know, a generator trained on feature distances draws regular ripples or beads. Deep in a
    hole the truth is no measure for them, since it may have detail that nobody could know; the copies are
    what the surroundings suggest. Near the border, where lines and textures go on, the truth may be matched
    as well. Detail is the standard deviation of the grey value over 9x9 pixels.

    Args:
        copied: (B, 3, H, W) in [-1, 1], the picture with its hole filled by copying alone.
        truth: (B, 3, H, W) in [-1, 1], the photograph.
    """
    return _excess(_grey(inpainted), _grey(copied), _grey(truth), mask)


def excess_colour_detail(inpainted: Tensor, copied: Tensor, truth: Tensor, mask: Tensor) -> Tensor:
    """`excess_detail` of the colours: of red and of blue, each less the grey value.

    Feature distances are as content with detail in the colours as with detail in the brightness, where
    photographs have six times as much of it; left alone, a generator draws a lattice of colours.
    """
    return _excess(_colours(inpainted), _colours(copied), _colours(truth), mask)


def _grey(picture: Tensor) -> Tensor:
    return picture.mean(1, keepdim=True)


def _colours(picture: Tensor) -> Tensor:
    # Filters of few channels are twice as fast with each channel in one piece.
    return (picture[:, ::2] - _grey(picture)).contiguous(memory_format=torch.contiguous_format)


def _excess(inpainted: Tensor, copied: Tensor, truth: Tensor, mask: Tensor) -> Tensor:
    with torch.no_grad():
        hole, inside = (F.avg_pool2d(part, DETAIL_STEP) for part in (mask, surrounded(mask)))
        suggested = _detail(copied)
        allowed = torch.lerp(torch.maximum(suggested, _detail(truth)), suggested, inside)
    return weighted_mean(F.relu(_detail(inpainted) - allowed), hole)


def surrounded(mask: Tensor) -> Tensor:
    """How far each pixel is surrounded by hole, (B, 1, H, W): 0 up to a straight border, 1 from 18 pixels."""
    share = _box_mean(F.avg_pool2d(mask, 4))
    return F.interpolate((2 * share - 1).clamp_min(0), scale_factor=4.0, mode="bilinear", align_corners=False)


def _detail(planes: Tensor) -> Tensor:
    """The standard deviation over 9x9 pixels, around every fourth one."""
    # Around zero, the mean of the squares is exact enough to take the square of the mean from it.
    planes = planes - planes.mean((2, 3), keepdim=True)
    mean, square = (_box_mean(part, DETAIL_STEP) for part in (planes, planes.square()))
    # The small constant keeps the root's gradient finite.
    return ((square - mean.square()).clamp_min(0) + 1e-6).sqrt()


def _box_mean(picture: Tensor, step: int = 1) -> Tensor:
    """The mean over 9x9 pixels around every `step`-th one, of fewer at the edges."""
    rows = F.avg_pool2d(picture, (9, 1), (step, 1), (4, 0), count_include_pad=False)
    return F.avg_pool2d(rows, (1, 9), (1, step), (0, 4), count_include_pad=False)


def per_hole(distance: Tensor, mask: Tensor) -> Tensor:
    """sum d / sum share of hole: a distance (B,) of whole pictures, as if the holes covered them.

    Known pixels add nothing to the distance of a composited picture: small holes would hardly count.
    """
    return distance.sum() / mask.mean((1, 2, 3)).sum().clamp_min(1e-3)


def feature_matching(fake: list[Tensor], real: list[Tensor], mask: Tensor) -> Tensor:
    """mean_l mean |f_l(fake) - f_l(real)| / share of hole (pix2pixHD: Wang et al., arXiv 1711.11585)."""
    distances = [F.l1_loss(f.float(), r.detach().float()) for f, r in zip(fake, real, strict=True)]
    return torch.stack(distances).mean() / mask.mean().clamp_min(1e-3)


class Adversarial(NamedTuple):
    """One adversarial loss of (B, K, h, w) logits. Weights (B, 1, h, w): how much each fake patch counts.

    Attributes:
        discriminator: (real logits, fake logits, weights) -> loss of the discriminator.
        generator: (fake logits, weights) -> loss of the generator.
        boundary: the logit above which the discriminator says "real"; None if only differences matter.
    """

    discriminator: Callable[[Tensor, Tensor, Tensor], Tensor]
    generator: Callable[[Tensor, Tensor], Tensor]
    boundary: float | None = 0.0


def patch_weights(mask: Tensor, logits: Tensor) -> Tensor:
    """1 for the patches of a composited picture that hold enough hole to be called fake, else 0."""
    return (F.adaptive_avg_pool2d(mask, (logits.shape[-2], logits.shape[-1])) >= HOLE_SHARE).float()


def weighted_mean(values: Tensor, weights: Tensor) -> Tensor:
    """sum w v / sum w over (B, K, h, w) values, with at least one patch's weight below."""
    weights = weights.expand_as(values)
    return (values * weights).sum() / weights.sum().clamp_min(1)


def _least_squares_d(real: Tensor, fake: Tensor, weights: Tensor) -> Tensor:
    return (real - 1).square().mean() + weighted_mean(fake.square(), weights)


ADVERSARIAL = {
    # D: -log sigmoid(r) - log(1 - sigmoid(f)); G: -log sigmoid(f) (Goodfellow et al., arXiv 1406.2661).
    "non-saturating": Adversarial(
        lambda real, fake, weights: F.softplus(-real).mean() + weighted_mean(F.softplus(fake), weights),
        lambda fake, weights: weighted_mean(F.softplus(-fake), weights),
    ),
    # D: max(0, 1 - r) + max(0, 1 + f); G: -f (Lim and Ye, arXiv 1705.02894).
    "hinge": Adversarial(
        lambda real, fake, weights: F.relu(1 - real).mean() + weighted_mean(F.relu(1 + fake), weights),
        lambda fake, weights: -weighted_mean(fake, weights),
    ),
    # D: (r - 1)^2 + f^2; G: (f - 1)^2 (Mao et al., arXiv 1611.04076, eq. 9).
    "least-squares": Adversarial(
        _least_squares_d,
        lambda fake, weights: weighted_mean((fake - 1).square(), weights),
        boundary=0.5,
    ),
    # D: f - r, with `gradient_penalty`; G: -f (Gulrajani et al., arXiv 1704.00028).
    "wasserstein": Adversarial(
        lambda real, fake, weights: weighted_mean(fake, weights) - real.mean(),
        lambda fake, weights: -weighted_mean(fake, weights),
        boundary=None,
    ),
}


def input_gradient(discriminator: Callable[[Tensor], Tensor], image: Tensor) -> Tensor:
    """(B,) squared norm of d(mean logit of each picture) / d(picture), itself differentiable.

    Args:
        discriminator: (B, 3, H, W) -> (B, K, h, w) logits.
    """
    image = image.detach().requires_grad_()
    score = discriminator(image).mean((1, 2, 3)).sum()
    (gradient,) = torch.autograd.grad(score, image, create_graph=True)
    return gradient.square().sum((1, 2, 3))


def r1_penalty(discriminator: Callable[[Tensor], Tensor], real: Tensor) -> Tensor:
    """E |grad D(real)|^2 / 2, to be weighed by gamma (Mescheder et al., arXiv 1801.04406, eq. 9)."""
    return input_gradient(discriminator, real).mean() / 2


def gradient_penalty(
    discriminator: Callable[[Tensor], Tensor], real: Tensor, fake: Tensor, share: Tensor
) -> Tensor:
    """E (|grad D(x)| - 1)^2 at points between real and fake (Gulrajani et al., arXiv 1704.00028, eq. 3).

    Args:
        share: (B, 1, 1, 1) in [0, 1], drawn uniformly: each picture's place on its line.
    """
    between = torch.lerp(real.detach(), fake.detach(), share)
    # The small constant keeps the root's gradient finite.
    return ((input_gradient(discriminator, between) + 1e-12).sqrt() - 1).square().mean()
