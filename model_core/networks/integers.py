"""Convolutions of whole numbers of 8 bits, which some processors multiply at twice the speed of bfloat16.

Weights are rounded to -127 .. 127, in steps of their own for each output channel, and what they meet to
0 .. 255; sums are whole numbers of 32 bits, so nothing else is lost (Jacob et al., "Quantization and Training
of Neural Networks for Efficient Integer-Arithmetic-Only Inference", CVPR 2018). oneDNN computes them.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn

LARGEST = 255
# So that weights that are all 0 can be divided by their step.
SMALLEST_WEIGHT = 1e-12


class Grid(NamedTuple):
    """What the numbers 0 to 255 stand for: `step` * (number - `zero`)."""

    step: float
    zero: int = 0

    def of(self, values: Tensor) -> Tensor:
        """The nearest numbers, uint8, of floats. With zero = 0, negative values become 0, as by a ReLU."""
        # Rounded first, since bfloat16 has whole numbers up to 256, but little between them.
        numbers = values.mul(1 / self.step).round_().add_(self.zero - 128).clamp_(-128, 127)
        # By way of int8: converting to uint8 takes several times as long.
        return numbers.to(torch.int8).view(torch.uint8).bitwise_xor_(128)


class IntegerConv:
    """A convolution of numbers on a grid, (B, C, H, W) uint8. Threads may share it.

    Attributes:
        grid: what the numbers stand for that it takes.
    """

    def __init__(self, layer: nn.Conv2d, grid: Grid) -> None:
        """Take the weights of `layer`."""
        self.grid = grid
        self._geometry = (list(layer.stride), list(layer.padding), list(layer.dilation), layer.groups)
        weight = layer.weight.detach().float()
        self._steps = weight.abs().amax((1, 2, 3)).clamp_min(SMALLEST_WEIGHT) / 127
        self._weight = (weight / self._steps[:, None, None, None]).round().to(torch.int8)
        self._zeros = torch.zeros(len(weight), dtype=torch.int64)
        self._bias = None if layer.bias is None else layer.bias.detach().float()
        # oneDNN wants weights in an order that depends on the size of what they meet and on the threads. The
        # sizes of crops and windows are few (`geometry`, `window_around`), and most share an order.
        self._by_use: dict[tuple[torch.Size, int], Tensor] = {}
        self._by_order: dict[bytes, Tensor] = {}

    def to_numbers(self, numbers: Tensor, grid: Grid) -> Tensor:
        """The result on another grid, uint8; if that has zero = 0, after a ReLU."""
        return self._convolve(numbers, grid, torch.uint8)

    def to_floats(self, numbers: Tensor) -> Tensor:
        """The result as float32."""
        return self._convolve(numbers, Grid(1.0), torch.float32)

    def add_to(self, total: Tensor, numbers: Tensor) -> Tensor:
        """`total`, float32, to which the result is added in place."""
        added: Tensor = torch.ops.onednn.qconv2d_pointwise.binary(
            *(numbers, *self.grid, self._packed(numbers.shape), self._steps, self._zeros),
            *(total, self._bias, *self._geometry),
            *(1.0, 0, torch.float32, 1.0, 0, "sum", 1.0, "none", [], ""),
        )
        return added

    def _convolve(self, numbers: Tensor, grid: Grid, dtype: torch.dtype) -> Tensor:
        result: Tensor = torch.ops.onednn.qconv2d_pointwise(
            *(numbers, *self.grid, self._packed(numbers.shape), self._steps, self._zeros),
            *(self._bias, *self._geometry, *grid, dtype, "none", [], ""),
        )
        return result

    def _packed(self, size: torch.Size) -> Tensor:
        """The weights in the order that suits numbers of this size."""
        use = (size, torch.get_num_threads())
        if use not in self._by_use:
            packed = torch.ops.onednn.qconv_prepack(
                self._weight, self._steps, *self.grid, *self._geometry, list(size)
            )
            order = bytes(torch.ops.mkldnn._get_mkldnn_serialized_md(packed).tolist())
            self._by_use[use] = self._by_order.setdefault(order, packed)
        return self._by_use[use]
