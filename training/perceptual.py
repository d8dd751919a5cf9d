"""Perceptual loss on a frozen trunk: the distance of two pictures in the features of an ImageNet classifier.

The weights are those of the package stlpips_pytorch: AlexNet and VGG16 made shift tolerant, with a calibrated
weight for each feature (ST-LPIPS: Ghildyal and Liu, arXiv 2207.13686; LPIPS: Zhang et al., arXiv 1801.03924).
The networks are built anew here for speed: a blur after the first convolution is folded into it, and the
other blurs are pairs of box filters, so that it costs less than half of the package's own. Borders are
averaged, not reflected, which makes this a loss close to the metric and not the metric itself.
"""

from importlib.resources import files
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

Trunk = Literal["alexnet", "vgg16"]
FILES = {"alexnet": "alex_shift_tolerant.pth", "vgg16": "vgg_shift_tolerant.pth"}
# Mean and standard deviation of ImageNet's colours, for pictures in [-1, 1].
COLOUR_MEAN = (-0.030, -0.088, -0.188)
COLOUR_DEVIATION = (0.458, 0.448, 0.450)


class Standardise(nn.Module):
    """(B, 3, H, W) in [-1, 1] -> the range that the trunks were trained on."""

    def __init__(self) -> None:
        super().__init__()
        for name, values in (("mean", COLOUR_MEAN), ("deviation", COLOUR_DEVIATION)):
            self.register_buffer(name, torch.tensor(values).view(1, 3, 1, 1), persistent=False)

    def forward(self, image: Tensor) -> Tensor:
        standardised: Tensor = (image - self.mean) / self.deviation
        return standardised


class Blur(nn.Module):
    """Binomial 3x3 blur and reduction by two, as two box filters (Zhang, "Making Convolutional Networks
    Shift-Invariant Again", ICML 2019)."""

    def forward(self, x: Tensor) -> Tensor:
        return F.avg_pool2d(F.avg_pool2d(x, 2, 1, 1, count_include_pad=False), 2, 2)


def load_weights(trunk: Trunk) -> dict[str, Tensor]:
    """The package's state dict, read without pickle's code execution."""
    path = files("stlpips_pytorch") / "weights" / "vST0.0" / FILES[trunk]
    weights: dict[str, Tensor] = torch.load(str(path), map_location="cpu", weights_only=True)
    return weights


def frozen_conv(weights: dict[str, Tensor], name: str) -> nn.Conv2d:
    """The convolution stored under `name`, with its size's own padding kept."""
    weight, bias = weights[f"net.{name}.weight"], weights[f"net.{name}.bias"]
    layer = nn.Conv2d(weight.shape[1], weight.shape[0], weight.shape[2], padding=weight.shape[2] // 2)
    layer.weight.data, layer.bias = weight, nn.Parameter(bias)
    return layer


def fold_blur(weights: dict[str, Tensor], name: str) -> nn.Sequential:
    """11x11 convolution (padding 2), binomial blur (padding 2) and reduction by two, as one convolution.

    It works on blocks of 2x2 pixels folded into channels: on three channels its gradient takes twice as long.
    """
    weight = weights[f"net.{name}.weight"]
    outputs, inputs = weight.shape[:2]
    binomial = torch.tensor([1.0, 2.0, 1.0]) / 4
    kernel = torch.outer(binomial, binomial)[None, None]
    folded = F.conv_transpose2d(weight.flatten(0, 1)[:, None], kernel)  # 13x13
    blocks = F.pad(folded, (0, 1, 0, 1)).view(outputs, inputs, 7, 2, 7, 2)
    layer = nn.Conv2d(4 * inputs, outputs, 7, padding=2)
    layer.weight.data = blocks.permute(0, 1, 3, 5, 2, 4).reshape(outputs, 4 * inputs, 7, 7)
    layer.bias = nn.Parameter(weights[f"net.{name}.bias"])
    return nn.Sequential(nn.PixelUnshuffle(2), layer)


def build_alexnet(weights: dict[str, Tensor]) -> nn.ModuleList:
    """Five stages, each ending where a feature is taken."""
    return nn.ModuleList(
        [
            nn.Sequential(Standardise(), fold_blur(weights, "slice1.0"), nn.ReLU()),
            nn.Sequential(nn.MaxPool2d(3, 1), Blur(), frozen_conv(weights, "slice2.5"), nn.ReLU()),
            nn.Sequential(nn.MaxPool2d(3, 1), Blur(), frozen_conv(weights, "slice3.9"), nn.ReLU()),
            nn.Sequential(frozen_conv(weights, "slice4.11"), nn.ReLU()),
            nn.Sequential(frozen_conv(weights, "slice5.13"), nn.ReLU()),
        ]
    )


def build_vgg16(weights: dict[str, Tensor]) -> nn.ModuleList:
    """Five stages, each ending where a feature is taken."""
    stages = [
        ["slice1.0", "slice1.2"],
        ["slice2.6", "slice2.8"],
        ["slice3.12", "slice3.14", "slice3.16"],
        ["slice4.20", "slice4.22", "slice4.24"],
        ["slice5.28", "slice5.30", "slice5.32"],
    ]
    built = nn.ModuleList()
    for depth, names in enumerate(stages):
        layers: list[nn.Module] = [nn.MaxPool2d(2, 1), Blur()] if depth else [Standardise()]
        for name in names:
            layers += [frozen_conv(weights, name), nn.ReLU()]
        built.append(nn.Sequential(*layers))
    return built


class PerceptualLoss(nn.Module):
    """Calibrated feature distance, summed over the stages of a frozen trunk.

    Args:
        trunk: whose features. VGG16 costs five times as much as AlexNet.
        scale: the pictures are reduced by this factor first (1, 2 or 4): VGG16 at 2 costs as much as at half
            the side.
    """

    def __init__(self, trunk: Trunk = "alexnet", scale: int = 1) -> None:
        super().__init__()
        weights = load_weights(trunk)
        self.stages = build_alexnet(weights) if trunk == "alexnet" else build_vgg16(weights)
        self.calibration = nn.ParameterList(
            [weights[f"lin{i}.model.1.weight"] for i in range(len(self.stages))]
        )
        self.scale = scale
        self.requires_grad_(False).eval().to(memory_format=torch.channels_last)

    def forward(self, prediction: Tensor, target: Tensor) -> Tensor:
        """(B,) float32 distances of two (B, 3, H, W) pictures in [-1, 1]; no gradient flows into `target`."""
        if self.scale > 1:
            prediction, target = F.avg_pool2d(prediction, self.scale), F.avg_pool2d(target, self.scale)
        total = torch.zeros(len(prediction), device=prediction.device)
        for stage, weight in zip(self.stages, self.calibration, strict=True):
            prediction = stage(prediction)
            with torch.no_grad():
                target = stage(target)
            total = total + unit_distance(prediction, target, weight).mean((1, 2, 3))
        return total


def unit_distance(x: Tensor, y: Tensor, weight: Tensor) -> Tensor:
    """sum_c weight_c (x_c / |x| - y_c / |y|)^2 at every position, with its square expanded.

    Expanded, only products of whole feature maps remain, and everything else works on single channels.

    Args:
        x, y: (B, C, H, W) features.
        weight: (1, C, 1, 1).

    Returns:
        (B, 1, H, W) float32.
    """
    both = torch.cat([torch.ones_like(weight), weight])
    x_norm, x_part = F.conv2d(x.square(), both).float().chunk(2, 1)
    y_norm, y_part = F.conv2d(y.square(), both).float().chunk(2, 1)
    cross = F.conv2d(x * y, weight).float()
    x_norm, y_norm = x_norm + 1e-4, y_norm + 1e-4
    return x_part / x_norm + y_part / y_norm - 2 * cross / (x_norm * y_norm).sqrt()
