"""The loss against hatching: frequencies that the fill holds too much of, in small windows."""

import torch
from torch import Tensor
from torch.nn import functional as F

# Windows of this side, in pixels, each overlapping half of the one beside it.
SIDE = 32
# Windows with at most this share of hole do not count, those that are all hole count wholly.
LEAST_HOLE = 0.75
# By how much the logarithm of the power may lie above that of the copies: twice the power is chance.
MARGIN = 0.7
# The power of noise of one step of 8 bits, which nobody sees.
UNSEEN = 6e-5


def excess_spectrum(inpainted: Tensor, copied: Tensor, mask: Tensor) -> Tensor:
    """Mean logarithm, over frequencies and windows in the hole, of too much power; less costs nothing.

    A generator trained on feature distances hatches what should be flat or finely grained: feature distances
    compare directions, not lengths, and like faint dashes of one period more than nothing. That is a narrow
    peak in the spectrum, which `losses.excess_detail`, the sum over all frequencies, lets pass. Being a
    logarithm, the loss asks as much of a sky as of a meadow.

    Args:
        inpainted: (B, 3, H, W) in [-1, 1], composited; H and W at least `SIDE`.
        copied: (B, 3, H, W) in [-1, 1], the picture with its hole filled by copying alone: what frequencies
            the surroundings suggest.
        mask: (B, 1, H, W) in {0, 1}, 1 = hole.
    """
    share = F.avg_pool2d(mask, SIDE, SIDE // 2).flatten(1)
    weight = (share - LEAST_HOLE).clamp_min(0) / (1 - LEAST_HOLE)
    with torch.no_grad():
        power = local_power(copied)
        # Peaks of the copies' own, which the wider mean flattens, are allowed too.
        allowed = torch.maximum(_smoothed(power, 5), _smoothed(power, 3))
    ratio = _smoothed(local_power(inpainted), 3) / allowed
    excess = F.relu(ratio.log() - MARGIN).mean((2, 3))
    return (weight * excess).sum() / weight.sum().clamp_min(1)


def local_power(picture: Tensor) -> Tensor:
    """The power spectra of the grey value in windows: (B, C, H, W) -> (B, N, SIDE, SIDE / 2 + 1).

    Noise of variance 1 has power 1 at all frequencies. The rows go from -1/2 to 1/2 cycles a pixel.
    """
    grey = picture.mean(1)
    windows = grey.unfold(1, SIDE, SIDE // 2).unfold(2, SIDE, SIDE // 2).flatten(1, 2)
    ramp = torch.hann_window(SIDE, device=picture.device)
    taper = torch.outer(ramp, ramp)
    mean = (windows * taper).sum((2, 3), keepdim=True) / taper.sum()
    spectrum = torch.fft.fftshift(torch.fft.rfft2((windows - mean) * taper), 2)
    return torch.view_as_real(spectrum).square().sum(-1) / taper.square().sum()


def _smoothed(power: Tensor, side: int) -> Tensor:
    """The mean over `side` x `side` frequencies: the spectrum of one window is noisy."""
    padded = F.pad(power.flatten(0, 1)[:, None], (side // 2,) * 4, "replicate")
    return F.avg_pool2d(padded, side, 1).view_as(power) + UNSEEN
