"""ST-LPIPS itself: the one place that builds stlpips_pytorch's network, which prints and warns."""

import contextlib
import io
import warnings
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class StLpips(nn.Module):
    """Shift-tolerant learned perceptual distance on AlexNet (Ghildyal and Liu, arXiv 2207.13686)."""

    def __init__(self, scale: int = 1) -> None:
        """Build it; `scale` reduces the pictures by that factor first, 1 is the published metric."""
        super().__init__()
        self.metric = _build_metric()
        self.scale = scale
        self.requires_grad_(False).eval().to(memory_format=torch.channels_last)

    def forward(self, prediction: Tensor, target: Tensor) -> Tensor:
        """(B,) distances of two (B, 3, H, W) pictures in [-1, 1]; lower is more alike."""
        return torch.stack([layer.mean((1, 2, 3)) for layer in self.layers(prediction, target)]).sum(0)

    def layers(self, prediction: Tensor, target: Tensor) -> list[Tensor]:
        """(B, 1, h, w) differences in each of the trunk's layers, at that layer's size."""
        if self.scale > 1:
            prediction, target = F.avg_pool2d(prediction, self.scale), F.avg_pool2d(target, self.scale)
        features = [self.metric.net(self.metric.scaling_layer(image)) for image in (prediction, target)]
        return [
            calibrate((_unit(x) - _unit(y)).square())
            for calibrate, x, y in zip(self.metric.lins, *features, strict=True)
        ]

    @staticmethod
    def enlarge(layers: list[Tensor], size: tuple[int, int]) -> Tensor:
        """(B, 1, H, W): where the pictures differ, over all layers. Its mean is close to the distance."""
        enlarged = [F.interpolate(layer, size=size, mode="bilinear", align_corners=False) for layer in layers]
        return torch.stack(enlarged).sum(0)


def _unit(features: Tensor) -> Tensor:
    return features / (features.square().sum(1, keepdim=True).sqrt() + 1e-10)


def _build_metric() -> Any:
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from stlpips_pytorch import stlpips

        return stlpips.LPIPS(net="alex", variant="shift_tolerant", verbose=False)
