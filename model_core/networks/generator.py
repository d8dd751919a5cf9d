"""The generator: guess coarsely, copy from the known surroundings, refine."""

import itertools
from typing import NamedTuple, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from model_core.config import GeneratorConfig
from model_core.networks.coarse import CoarseNetwork
from model_core.networks.compiled import compiled
from model_core.networks.masks import spread
from model_core.networks.matching import Match, blend_seams, match
from model_core.networks.peaks import Peaks, peaks_within
from model_core.networks.pyramid import Level, doubled, known_pyramid, push_pull
from model_core.networks.quantized_coarse import QuantizedCoarse
from model_core.networks.quantized_refinement import QuantizedRefinement
from model_core.networks.ramp import ramp
from model_core.networks.refinement import RefinementNetwork
from model_core.networks.window import window_around

# How much around a hole the refinement is shown, in pixels, ...
PAINTED_REACH = 24
# ... and what the sides of that window are multiples of: kernels are prepared for each size anew, which takes
# as long as painting a small window, and memory.
PAINTED_MULTIPLE = 128
# Deeper in a hole than the first of these, in pixels, the refinement counts less and less, beyond
# the second not at all: nothing near says what was there, and a copy looks better than what it guesses.
PAINTED_DEPTH = (48, 96)
# The same in holes that are as deep as this somewhere near, ...
LARGE_DEPTH = (8, 24)
# ... where the copies fit together: wholly up to the first of these misfits, not at all from the second.
FITTING_DEPTH = (0, 8)
FITTING_MISFIT = (0.13, 0.16)


class Fill(NamedTuple):
    """What the generator returns.

    Attributes:
        prediction: (B, 3, H, W) float32, meant for [-1, 1] but not clamped; raw, not composited with the
            known pixels. In training it is painted everywhere, otherwise only around the hole, and elsewhere
            it is the image.
        coarse: (B, 3, H/8, W/8) float in [-1, 1], the early guess that steered the copying.
        copied: (B, 3, H, W) float32, meant for [-1, 1], the picture with its hole filled by copying alone.
        source: (B, 2, H, W) int32, row and column of the pixel that each hole pixel was copied from, before
            the refinement; see `matching.Match`.
    """

    prediction: Tensor
    coarse: Tensor
    copied: Tensor
    source: Tensor


class Quantized(NamedTuple):
    """What stands for the two networks."""

    coarse: QuantizedCoarse
    refinement: QuantizedRefinement


class Generator(nn.Module):
    """Two-stage GAN generator with copying in between.

    A coarse network decides what belongs where, a patch match that is not learned brings real texture from
    the known part, and a refinement network blends, repairs and sharpens. Two stages with copying from the
    surroundings follow Yu et al., "Generative Image Inpainting with Contextual Attention" (arXiv
    1801.07892), and Yi et al., "Contextual Residual Aggregation" (HiFill, arXiv 2005.09704); `matching`
    describes the copying.
    """

    def __init__(self, config: GeneratorConfig) -> None:
        super().__init__()
        self.config = config
        self.coarse = CoarseNetwork(config)
        self.refinement = RefinementNetwork(config)
        self._quantized: Quantized | None = None

    def forward(self, image: Tensor, mask: Tensor) -> Fill:
        """Fill the hole.

        Args:
            image: (B, 3, H, W) float in [-1, 1]; H and W multiples of `config.size_multiple`. Values in the
                hole are ignored.
            mask: (B, 1, H, W) float in {0, 1}, 1 = hole.
        """
        weight = self.refinement.to_image.weight
        # Only the networks run on their device and in their precision. What lies between them compares small
        # differences, in float32, and is done fastest in compiled loops.
        image, mask = (part.cpu().float().contiguous() for part in (image, mask))
        levels = known_pyramid(image, 1 - mask)
        smooth = push_pull(levels)
        average, share = levels[2]
        coarse = self.networks.coarse(*(part.to(weight) for part in (average, smooth[2], share)))
        with torch.no_grad(), torch.autocast("cpu", enabled=False):
            found = match(levels, smooth[0], coarse.image.detach().float().cpu(), self.config)
        prediction = self._paint(found, smooth[0], mask, coarse.features)
        share = _copied_share(levels[3], found.misfit)
        if share.any():
            blended = blend_seams(found, levels, share, self.config)
            prediction = torch.lerp(prediction, *(part.to(prediction) for part in (blended, share)))
        filled = (part.to(weight.device) for part in (found.fitted, found.source))
        return Fill(prediction.to(weight.device), coarse.image, *filled)

    def quantize(self, peaks: Peaks) -> None:
        """From now on, but in training, let the networks compute in whole numbers of 8 bits.

        For a generator on the CPU whose weights stay as they are.

        Args:
            peaks: observed in this generator before.
        """
        self._quantized = Quantized(
            QuantizedCoarse(self.coarse, peaks_within(peaks, "coarse")),
            QuantizedRefinement(self.refinement, peaks_within(peaks, "refinement")),
        )

    @torch.no_grad()
    def prepare(self, largest: int) -> None:
        """Run the refinement on windows of all sizes that holes have in pictures of `largest` x `largest`.

        Kernels are prepared on the first use of a size. That takes time, and between requests they would lie
        scattered in the memory that these have used and left. Other pictures may have windows of other sizes.
        """
        weight = self.refinement.to_image.weight
        sides = range(PAINTED_MULTIPLE, largest + 1, PAINTED_MULTIPLE)
        for height, width in itertools.product(sides, sides):
            image = torch.zeros(1, 3, height, width, device=weight.device)
            features = weight.new_zeros(1, 3 * self.config.coarse_width, height // 8, width // 8)
            features = features.contiguous(memory_format=torch.channels_last)
            self.networks.refinement(image, image, image[:, :1], image[:, :1], features)

    @property
    def networks(self) -> Self | Quantized:
        """What has the two networks that compute: as learned, or what stands for them."""
        return self if self.training else self._quantized or self

    def _paint(self, found: Match, smooth: Tensor, mask: Tensor, features: Tensor) -> Tensor:
        """(B, 3, H, W): what the refinement paints, in training everywhere, otherwise on the CPU, in a window
        around each hole, and the image beyond it.
        """
        inputs = (found.fitted, smooth, mask, found.distance)
        if self.training:
            painted: Tensor = self.refinement(*(part.to(features.device) for part in inputs), features)
            return painted
        painted = found.fitted.clone()
        # Each has a window of its own, whatever else is in the batch; those of one size are painted together.
        windows = [window_around(one[None], PAINTED_REACH, PAINTED_MULTIPLE) for one in mask]
        for size in {window.size for window in windows}:
            places = [place for place, window in enumerate(windows) if window.size == size]
            shown = [_stacked([windows[place].of(part[place]) for place in places]) for part in inputs]
            context = _stacked([windows[place].of(features[place], 8) for place in places])
            shown.append(context.contiguous(memory_format=torch.channels_last))
            answers = self.networks.refinement(*(part.to(features.device) for part in shown))
            for place, answer in zip(places, answers, strict=True):
                windows[place].of(painted[place]).copy_(answer)
        return painted


def _stacked(windows: list[Tensor]) -> Tensor:
    # A lone one need not be copied.
    return torch.stack(windows) if len(windows) > 1 else windows[0][None]


def _copied_share(eighth: Level, misfit: Tensor) -> Tensor:
    """How much each pixel of the hole is left as it was copied: (B, 1, H, W) float32, from 0 to 1.

    Args:
        eighth: the picture at 1/8 scale.
        misfit: (B, 1, H/8, W/8) of `match`.
    """
    depth = _depth(eighth.share)
    # In small holes the refinement knows better, and it is the small holes' whole area that is near a border.
    large = ramp(spread(depth, 6), LARGE_DEPTH)
    fitting = (1 - ramp(misfit, FITTING_MISFIT)) * ramp(depth, FITTING_DEPTH) * large
    share = torch.maximum(ramp(depth, PAINTED_DEPTH), fitting)
    return doubled(doubled(doubled(share)))


def _depth(share: Tensor) -> Tensor:
    """How far each pixel is from what is known, up to the last depth that counts, in pixels of full scale.

    Args:
        share: (B, 1, h, w) at 1/8 scale, how much of each area is known.
    """
    depth = torch.where(share > 0, 0.0, float(PAINTED_DEPTH[1]))
    for one in depth[:, 0]:
        _approach(one.numpy(), np.float32(8))
    return depth


@compiled
def _approach(depth: NDArray[np.float32], step: np.float32) -> None:
    """Bring each pixel of (h, w) to at most `step` more than any of the eight around it, from 0 on outwards.

    The chessboard distance in two passes (Rosenfeld and Pfaltz, "Sequential Operations in Digital Picture
    Processing", 1966).
    """
    height, width = depth.shape
    for row in range(height):
        for column in range(width):
            for before in range(max(column - 1, 0), min(column + 2, width)):
                if row > 0:
                    depth[row, column] = min(depth[row, column], depth[row - 1, before] + step)
            if column > 0:
                depth[row, column] = min(depth[row, column], depth[row, column - 1] + step)
    for row in range(height - 1, -1, -1):
        for column in range(width - 1, -1, -1):
            for before in range(max(column - 1, 0), min(column + 2, width)):
                if row < height - 1:
                    depth[row, column] = min(depth[row, column], depth[row + 1, before] + step)
            if column < width - 1:
                depth[row, column] = min(depth[row, column], depth[row, column + 1] + step)
