"""ST-LPIPS itself: the one place that builds stlpips_pytorch's network, which prints and warns as it does so."""

import contextlib
import io
import warnings

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class StLpips(nn.Module):
    """Shift-tolerant learned perceptual distance (Ghildyal and Liu, ECCV 2022, arXiv 2207.13686) on AlexNet."""

    def __init__(self, scale: int = 1) -> None:
        """Args:
        scale: reduce the pictures by this factor first; 1 is the published metric.
        """
        super().__init__()
        with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from stlpips_pytorch import stlpips

            self.metric = stlpips.LPIPS(net="alex", variant="shift_tolerant", verbose=False)
        self.scale = scale
        self.requires_grad_(False).eval().to(memory_format=torch.channels_last)

    def forward(self, prediction: Tensor, target: Tensor) -> Tensor:
        """(B,) distances of two (B, 3, H, W) pictures in [-1, 1]; lower is more alike."""
        if self.scale > 1:
            prediction, target = F.avg_pool2d(prediction, self.scale), F.avg_pool2d(target, self.scale)
        distance: Tensor = self.metric(prediction, target)
        return distance.flatten()
