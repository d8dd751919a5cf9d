"""How large values become."""

import torch
from torch import nn

from model_core.networks import Generator
from model_core.networks.peaks import Peak, observed_peaks, peaks_within


def test_every_convolution_is_observed(tiny_generator: Generator) -> None:
    """Always the same, and nothing is left behind."""
    tiny_generator.eval()
    peaks = observed_peaks(tiny_generator)
    convolutions = {name for name, part in tiny_generator.named_modules() if isinstance(part, nn.Conv2d)}
    # Its weights are used, but it is not called as a layer.
    assert convolutions - peaks.keys() == {"refinement.to_half"}
    assert observed_peaks(tiny_generator) == peaks
    assert not any(part._forward_hooks for part in tiny_generator.modules())


def test_peaks_are_the_largest_without_their_sign() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Conv2d(3, 1, 1, bias=False)
            nn.init.constant_(self.layer.weight, -2)

        def forward(self, image: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
            assert image.shape[1:] == (3, *mask.shape[2:])
            assert set(image.unique().tolist()) == {-1.0, 1.0}
            assert set(mask.unique().tolist()) == {0.0, 1.0}
            made: torch.Tensor = self.layer(image)
            return made

    assert observed_peaks(Twice()) == {"layer": Peak(1.0, 6.0)}


def test_those_of_a_part() -> None:
    peaks = {"a.b": Peak(1, 2), "a.b.c": Peak(3, 4), "ab.c": Peak(5, 6)}
    assert peaks_within(peaks, "a") == {"b": Peak(1, 2), "b.c": Peak(3, 4)}
    assert peaks_within(peaks, "a.b") == {"c": Peak(3, 4)}
