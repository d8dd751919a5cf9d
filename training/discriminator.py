"""The discriminator: a critic of patches. Inference never needs it, so it lives with training."""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import spectral_norm

from training.config import DiscriminatorConfig

SLOPE = 0.2


class Verdict(NamedTuple):
    """logits: (B, 1, h, w), higher = more real; features: the activations before, one tensor a layer."""

    logits: Tensor
    features: list[Tensor]


class Discriminator(nn.Module):
    """PatchGAN on the composited picture and its mask (Isola et al., arXiv 1611.07004), which returns its
    features as that of pix2pixHD does (Wang et al., arXiv 1711.11585).

    Strided 4x4 convolutions, one 4x4 convolution without stride, and one to the logits. With 3 strided layers
    a logit sees 70x70 pixels.
    """

    def __init__(self, config: DiscriminatorConfig) -> None:
        super().__init__()
        widths = [config.width * min(2**depth, 8) for depth in range(config.layers)]
        layers = [
            nn.Conv2d(inputs, outputs, 4, stride=2, padding=1)
            for inputs, outputs in zip([4, *widths], widths, strict=False)
        ]
        layers.append(nn.Conv2d(widths[-1], widths[-1], 4, padding=1))
        layers.append(nn.Conv2d(widths[-1], 1, 4, padding=1))
        self.layers = nn.ModuleList(
            spectral_norm(layer) if config.spectral_norm else layer for layer in layers
        )

    def forward(self, image: Tensor, mask: Tensor) -> Verdict:
        """Judge patches.

        Args:
            image: (B, 3, H, W) in [-1, 1].
            mask: (B, 1, H, W) in {0, 1}, 1 = hole.
        """
        x = torch.cat([image, mask], 1)
        features = []
        for layer in self.layers[:-1]:
            x = F.leaky_relu(layer(x), SLOPE)
            features.append(x)
        return Verdict(self.layers[-1](x), features)
