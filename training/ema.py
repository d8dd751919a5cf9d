"""The moving average of the generator's weights: what is evaluated and exported."""

import copy
from typing import Generic, TypeVar

import torch
from torch import nn

Module = TypeVar("Module", bound=nn.Module)


class AveragedWeights(Generic[Module]):
    """An exponential moving average (Karras et al., arXiv 1710.10196, appendix A.1), measured in samples.

    Attributes:
        module: a copy of the module with averaged weights, in eval mode, without gradients.
    """

    def __init__(self, module: Module, half_life_samples: float) -> None:
        self.module = copy.deepcopy(module).eval().requires_grad_(False)
        self.half_life_samples = half_life_samples

    @torch.no_grad()
    def update(self, module: nn.Module, samples: int, new_samples: int) -> None:
        """Take in `module`'s weights after `new_samples` more.

        A tenth of the samples seen before bounds the half-life, so that the random start is soon forgotten.
        """
        half_life = min(self.half_life_samples, max(samples, 1) / 10)
        weight = 1 - 0.5 ** (new_samples / half_life)
        torch._foreach_lerp_(list(self.module.parameters()), list(module.parameters()), weight)
        for average, buffer in zip(self.module.buffers(), module.buffers(), strict=True):
            average.copy_(buffer)
