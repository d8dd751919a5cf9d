"""How close a filled picture is to the truth, in the hole and around it."""

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from skimage.metrics import structural_similarity
from torch import Tensor

from training.masks import Mask
from training.stlpips import StLpips

Picture = NDArray[np.uint8]
Scores = dict[str, float]

# Width of the band around a hole, as a share of the picture's shorter side: 16 pixels of 512.
BAND_SHARE = 1 / 32


def score(filled: Picture, truth: Picture, hole: Mask, metric: StLpips) -> Scores:
    """Compare two pictures that are equal outside the hole.

    Args:
        filled, truth: (H, W, 3) uint8 RGB.
        hole: (H, W) bool, not empty.

    Returns:
        lpips: ST-LPIPS of the whole pictures; lower is better.
        psnr (dB, higher is better), ssim (higher), l1 (levels of 255, lower): of the hole's pixels.
        lpips_hole, lpips_around, ssim_around: ST-LPIPS's map in the hole, and both in the band around it,
            where only what shows across the seam counts.
    """
    difference = filled.astype(np.float64) - truth
    _, similarity = structural_similarity(truth, filled, channel_axis=-1, full=True, data_range=255)
    whole, distance = distances(filled, truth, metric)
    around = band_around(hole)
    scores = {
        "lpips": whole,
        "psnr": float(10 * np.log10(255**2 / max(float(np.square(difference)[hole].mean()), 1e-9))),
        "ssim": float(similarity[hole].mean()),
        "l1": float(np.abs(difference)[hole].mean()),
        "lpips_hole": float(distance[hole].mean()),
    }
    if around.any():
        scores |= {
            "lpips_around": float(distance[around].mean()),
            "ssim_around": float(similarity[around].mean()),
        }
    return scores


def band_around(hole: Mask) -> Mask:
    """(H, W) bool: the known pixels within `BAND_SHARE` of the shorter side from the hole."""
    reach = max(1, round(BAND_SHARE * min(hole.shape)))
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * reach + 1, 2 * reach + 1))
    return (cv2.dilate(hole.astype(np.uint8), kernel) > 0) & ~hole


@torch.inference_mode()
def distances(filled: Picture, truth: Picture, metric: StLpips) -> tuple[float, NDArray[np.float32]]:
    """ST-LPIPS of two pictures, and its (H, W) map."""
    x, y = _tensor(filled), _tensor(truth)
    layers = metric.layers(x, y)
    total = sum(float(layer.mean()) for layer in layers)
    return total, metric.enlarge(layers, (x.shape[-2], x.shape[-1]))[0, 0].numpy()


def _tensor(picture: Picture) -> Tensor:
    return torch.from_numpy(picture.copy()).permute(2, 0, 1)[None].float() / 127.5 - 1
