"""Fitting copied pixels to the colours around the hole. Masks: 1 = hole to fill; `known` is the opposite."""

import torch
from torch import Tensor
from torch.nn import functional as F

from model_core.networks.masks import spread
from model_core.networks.pyramid import doubled, halved, known_pyramid, push_pull

# How far beyond the hole's border the surroundings of a pixel and of its source are compared.
REACH = 1


def membrane(image: Tensor, known: Tensor, field: Tensor) -> Tensor:
    """What to add to copied pixels so that they meet the hole's surroundings.

    At the border, the difference between what lies beside a pixel and beside its source; between, that
    difference carried on smoothly, as a membrane would (Farbman et al., "Coordinates for Instant Image
    Cloning", SIGGRAPH 2009; here by the push-pull pyramid).

    Args:
        image: (1, 3, H, W) float32; H and W even.
        known: (1, 1, H, W) float32 in {0, 1}.
        field: (2, H*W) int64, row and column of each pixel's source.

    Returns:
        (1, 3, H, W) float32; outside the hole without meaning.
    """
    size = (image.shape[-2], image.shape[-1])
    border = ((1 - known) * spread(known, REACH)).flatten().nonzero()[:, 0]
    sums = image.new_zeros(4, size[0] * size[1])
    sums[:, border] = _differences(image[0].flatten(1), known.flatten(), border, field[:, border], size)
    # The correction is smooth: half of the scale is enough.
    cells = halved(sums.view(1, 4, *size))
    compared = (cells[:, 3:] > 0).float()
    smooth = push_pull(known_pyramid(cells[:, :3] / cells[:, 3:].clamp_min(1e-12), compared))[0]
    smooth = F.avg_pool2d(F.pad(smooth, (2, 2, 2, 2), mode="replicate"), 5, 1)
    return doubled(smooth)


def _differences(
    image: Tensor, known: Tensor, pixels: Tensor, source: Tensor, size: tuple[int, int]
) -> Tensor:
    """(4, N): the sum of differences over the neighbours that are known on both sides, and their number.

    Args:
        image: (3, H*W).
        known: (H*W,).
        pixels: (N,) int64.
        source: (2, N) int64, rows and columns.
    """
    height, width = size
    step = torch.arange(-REACH, REACH + 1, device=image.device)
    down, right = (steps.reshape(-1, 1) for steps in torch.meshgrid(step, step, indexing="ij"))

    def neighbours(row: Tensor, column: Tensor) -> Tensor:
        return (row + down).clamp(0, height - 1) * width + (column + right).clamp(0, width - 1)

    here, there = neighbours(pixels // width, pixels % width), neighbours(source[0], source[1])
    weight = known[here] * known[there]
    difference = (image[:, here] - image[:, there]) * weight
    return torch.cat([difference.sum(1), weight.sum(0, keepdim=True)])
