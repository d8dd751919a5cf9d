"""How much patches of a picture differ, many at a time."""

import torch
from torch import Tensor
from torch.nn import functional as F


def patch_distances(target: Tensor, source: Tensor, weight: Tensor | None = None) -> Tensor:
    """(N, M): mean squared differences of N targets to M sources, but for a term of each target's own.

    The squared distance of a target t to a source s is t.t - 2 t.s + s.s. The first term is left out, for it
    is the same for all sources of a target; the others are a matrix product, or two with weights.

    Args:
        target: (N, K) float32.
        source: (M, K) float32.
        weight: (N, K) float32 in {0, 1}, which values count; all, if missing.
    """
    scale = 1 / source.shape[1]
    if weight is None:
        squares = source.square().sum(1)
    else:
        squares, target = weight @ source.square().t(), target * weight
    return torch.addmm(squares, target, source.t(), beta=scale, alpha=-2 * scale)


def all_windows(image: Tensor, size: int, reach: int) -> Tensor:
    """All windows of a (1, C, H, W) picture, edges repeated, as a view to be indexed.

    Returns:
        (h, w, size, size * C), [row, column] being the window that begins `reach` pixels above and left of
        that pixel; its last axis is column by column, and within a column channel by channel.
    """
    after = size - 1 - reach
    padded = F.pad(image, (reach, after, reach, after), mode="replicate")
    channels = padded.shape[1]
    lines = padded[0].permute(1, 2, 0).flatten(1)  # (H, W * C)
    return lines.unfold(1, size * channels, channels).unfold(0, size, 1).transpose(2, 3)
