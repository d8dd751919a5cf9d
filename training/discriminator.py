"""The discriminators: critics of patches. Inference never needs them, so they live with training."""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import spectral_norm

from training.config import DiscriminatorConfig
from training.perceptual import build_alexnet, load_weights

SLOPE = 0.2
# The stages of AlexNet that critics look at: channels, and the stride that brings them to about 1/8 scale.
CRITICS = {1: (192, 2), 2: (384, 1), 4: (256, 1)}


class Verdict(NamedTuple):
    """logits: (B, K, h, w) of K critics, higher = more real; features: the activations before, one tensor a
    layer."""

    logits: Tensor
    features: list[Tensor]


class PatchDiscriminator(nn.Module):
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
        self.layers = nn.ModuleList(_bounded(layer, config) for layer in layers)

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


class ProjectedDiscriminator(nn.Module):
    """Three small critics on the features of a frozen AlexNet.

    What it knows of pictures it need not learn from a few thousand of them (Sauer et al., "Projected GANs
    Converge Faster", NeurIPS 2021, arXiv 2111.01007).

    The features are brought to unit mean square over channels, so that critics see their direction. The
    frozen weights are buffers that no state dict holds.
    """

    def __init__(self, config: DiscriminatorConfig) -> None:
        super().__init__()
        self.stages = build_alexnet(load_weights("alexnet"))
        _freeze(self.stages)
        width = config.width
        self.critics = nn.ModuleDict(
            {
                str(stage): nn.ModuleList(
                    _bounded(layer, config)
                    for layer in (
                        nn.Conv2d(channels + 1, width, 1),
                        nn.Conv2d(width, width, 3, stride=stride, padding=1),
                        nn.Conv2d(width, width, 3, padding=1),
                        nn.Conv2d(width, 1, 3, padding=1),
                    )
                )
                for stage, (channels, stride) in CRITICS.items()
            }
        )

    def forward(self, image: Tensor, mask: Tensor) -> Verdict:
        """Judge patches; the same arguments as `PatchDiscriminator`."""
        logits, features, x = [], [], image
        for stage, layers in enumerate(self.stages):
            x = layers(x)
            if str(stage) in self.critics:
                share = F.adaptive_avg_pool2d(mask, (x.shape[-2], x.shape[-1])).to(x.dtype)
                y = torch.cat([x / (x.square().mean(1, keepdim=True).sqrt() + 0.1), share], 1)
                *hidden, last = self.critics[str(stage)]
                for layer in hidden:
                    y = F.leaky_relu(layer(y), SLOPE)
                    features.append(y)
                logits.append(last(y))
        # AlexNet's stages are a cell or two apart in size.
        size = (logits[-1].shape[-2], logits[-1].shape[-1])
        return Verdict(torch.cat([F.adaptive_avg_pool2d(each, size) for each in logits], 1), features)


Discriminator = PatchDiscriminator | ProjectedDiscriminator


def build_discriminator(config: DiscriminatorConfig) -> Discriminator:
    """The kind of discriminator that `config` names, with random weights."""
    return PatchDiscriminator(config) if config.kind == "patch" else ProjectedDiscriminator(config)


def _bounded(layer: nn.Conv2d, config: DiscriminatorConfig) -> nn.Module:
    bounded: nn.Module = spectral_norm(layer) if config.spectral_norm else layer
    return bounded


def _freeze(module: nn.Module) -> None:
    """Turn the parameters into buffers outside the state dict."""
    for part in module.modules():
        for name, parameter in list(part.named_parameters(recurse=False)):
            delattr(part, name)
            part.register_buffer(name, parameter.detach(), persistent=False)
