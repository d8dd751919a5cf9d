"""How large values become in a network."""

import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Peak(NamedTuple):
    """The largest absolute values that a convolution was given, and that it made of them."""

    given: float
    made: float


Peaks = Mapping[str, Peak]
"""By the name of the convolution in its network."""


@torch.inference_mode()
def observed_peaks(network: nn.Module) -> dict[str, Peak]:
    """The peaks of a network that fills a picture: (1, 3, H, W) in [-1, 1] and a mask (1, 1, H, W), 1 = hole.

    The picture has blots in black and white: with contrasts as large as can be, what is seen in photographs
    is mostly less.
    """
    peaks: dict[str, Peak] = {}

    def note(name: str, _: nn.Conv2d, given: Tensor, made: Tensor) -> None:
        peaks[name] = Peak(float(given.abs().max()), float(made.abs().max()))

    with watched_convolutions(network, note):
        network(*_blots(next(network.parameters()).device))
    return peaks


@contextlib.contextmanager
def watched_convolutions(
    network: nn.Module, watch: Callable[[str, nn.Conv2d, Tensor, Tensor], None]
) -> Iterator[None]:
    """While open, `watch` is told of each convolution that computes: its name, itself, what it was given and
    what it made of that.
    """

    def watching(name: str) -> Callable[[nn.Conv2d, tuple[Tensor], Tensor], None]:
        return lambda layer, given, made: watch(name, layer, given[0], made)

    convolutions = [(name, part) for name, part in network.named_modules() if isinstance(part, nn.Conv2d)]
    handles = [part.register_forward_hook(watching(name)) for name, part in convolutions]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def peaks_within(peaks: Peaks, part: str) -> dict[str, Peak]:
    """Those of a part of a network, by their names in that."""
    prefix = f"{part}."
    return {name.removeprefix(prefix): peak for name, peak in peaks.items() if name.startswith(prefix)}


def _blots(device: torch.device, side: int = 256, cells: int = 16) -> tuple[Tensor, Tensor]:
    noise = torch.rand(1, 1, cells, cells, generator=torch.Generator().manual_seed(0)) - 0.5
    blots = F.interpolate(noise, size=(side, side), mode="bicubic").sign().expand(1, 3, -1, -1)
    mask = torch.zeros(1, 1, side, side)
    mask[..., side // 4 : side // 4 * 3, side // 4 : side // 4 * 3] = 1
    return blots.to(device), mask.to(device)
