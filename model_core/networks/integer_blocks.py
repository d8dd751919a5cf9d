"""The parts of `blocks` in whole numbers of 8 bits, for inference."""

from torch import Tensor, nn
from torch.nn import functional as F

from model_core.networks.blocks import Upsample
from model_core.networks.integers import LARGEST, Grid, IntegerConv
from model_core.networks.peaks import Peaks

# Numbers reach up to this share of the observed peaks. What is larger becomes the largest number: it is rare
# in photographs, and all else is told apart the better.
SHARE_OF_PEAK = 0.5
# So that values that are always 0 can be divided by their step.
SMALLEST_PEAK = 1e-6
# A signed number has its zero in the middle.
MIDDLE = 128
# Where a signed number is added to one that is not, it has its zero here and is less than twice that; the
# other has what is left of 0 .. 255.
SUM_ZERO = 64
SUM_LARGEST = LARGEST - (2 * SUM_ZERO - 1)


def unsigned_grid(peak: float) -> Grid:
    """For values from 0 on, up to the share of the largest that was observed."""
    return Grid(_step(peak, LARGEST))


def signed_grid(peak: float) -> Grid:
    """For values of both signs, up to the share of the largest that was observed without its sign."""
    return Grid(_step(peak, LARGEST - MIDDLE), MIDDLE)


def sum_grid(peak: float, signed_peak: float) -> Grid:
    """For sums of values from 0 on and of signed ones."""
    return Grid(max(_step(peak, SUM_LARGEST), _step(signed_peak, SUM_ZERO)), SUM_ZERO)


def _step(peak: float, largest: int) -> float:
    return max(SHARE_OF_PEAK * peak, SMALLEST_PEAK) / largest


class IntegerBlocks:
    """A sequence of `ResidualBlock`, whose sums stay in float32."""

    def __init__(self, blocks: nn.Sequential, peaks: Peaks) -> None:
        """Take the weights of `blocks`, in which `peaks` were observed."""
        self._layers = [
            [
                IntegerConv(getattr(block, name), unsigned_grid(peaks[f"{index}.{name}"].given))
                for name in ("first", "second")
            ]
            for index, block in enumerate(blocks)
        ]

    def __call__(self, total: Tensor) -> Tensor:
        """(B, C, H, W) float32 in channels_last, which is overwritten -> the same."""
        for first, second in self._layers:
            # A number that is not negative is what a ReLU leaves.
            between = first.to_numbers(first.grid.of(total), second.grid)
            total = second.add_to(total, between)
        return total


class IntegerUpsample:
    """An `Upsample`.

    Attributes:
        grid: of the numbers that are enlarged.
        skip_grid: of those that are added.
    """

    def __init__(self, part: Upsample, grid: Grid, skip_peak: float, peaks: Peaks) -> None:
        """Take the weights of `part`, in which `peaks` were observed."""
        self.grid = grid
        total = sum_grid(skip_peak, peaks["narrow"].made)
        self.skip_grid = Grid(total.step)
        self._narrow = IntegerConv(part.narrow, grid)
        self._merge = IntegerConv(part.merge, total)

    def to_numbers(self, numbers: Tensor, skip: Tensor, grid: Grid) -> Tensor:
        """The result on another grid, uint8."""
        return self._merge.to_numbers(self._sum(numbers, skip), grid)

    def to_floats(self, numbers: Tensor, skip: Tensor) -> Tensor:
        """The result as float32."""
        return self._merge.to_floats(self._sum(numbers, skip)).relu_()

    def _sum(self, numbers: Tensor, skip: Tensor) -> Tensor:
        narrow = self._narrow.to_numbers(numbers, self._merge.grid).clamp_max_(LARGEST - SUM_LARGEST)
        return F.interpolate(narrow, scale_factor=2.0, mode="nearest").add_(skip.clamp_max(SUM_LARGEST))
