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
    if weight is None:
        squares = source.square().sum(1)
    else:
        squares, target = weight @ source.square().t(), target * weight
    return torch.addmm(squares, target, source.t(), alpha=-2) / source.shape[1]


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


def block_distances(window: Tensor, patch: Tensor, side: int) -> Tensor:
    """Mean squared differences of the patches of 2x2 pixels to the nine patches around each one's source.

    Args:
        window: (N, side + 3, (side + 3) * 3) of `all_windows`, around the sources of N blocks.
        patch: (N, side + 1, (side + 1) * 3), around the blocks.

    Returns:
        (9, 2, 2, N): by shift of the source in reading order, by row and column in the block, by block.
    """
    window, patch = _last(window), _last(patch)
    shifted = window.unfold(1, side + 1, 1).unfold(2, side + 1, 1).permute(0, 1, 2, 4, 5, 3)
    squares = (shifted - patch[:, None, None]).square_().sum(0)  # (3, 3, side + 1, side + 1, N)
    rows = torch.stack([squares[:, :, :side].sum(2), squares[:, :, 1:].sum(2)], 2)
    found = torch.stack([rows[:, :, :, :side].sum(3), rows[:, :, :, 1:].sum(3)], 3)
    return found.flatten(0, 1) / (3 * side * side)


def _last(windows: Tensor) -> Tensor:
    """(N, size, size * 3) -> (3, size, size, N): sums over a window are fastest over its first axes."""
    size = windows.shape[1]
    return windows.view(-1, size, size, 3).permute(3, 1, 2, 0).contiguous()
