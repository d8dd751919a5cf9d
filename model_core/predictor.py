"""The generator on one device: crops of pictures and their holes in, fills out."""

import copy
from typing import NamedTuple

import numpy as np
import safetensors.torch
import torch
from numpy.typing import NDArray

from model_core import devices, geometry
from model_core.config import GeneratorConfig
from model_core.networks import Generator, Peaks, observed_peaks

FloatArray = NDArray[np.float32]
BoolArray = NDArray[np.bool_]
IntArray = NDArray[np.int32]


class FilledCrop(NamedTuple):
    """What the generator made of one crop.

    Attributes:
        colours: (h, w, 3) float32, meant for [0, 1]; only what lies in the hole is meant to be used.
        source: (2, h, w) int32, row and column of the pixel that each pixel of the hole was copied from, in
            the padded crop (see `geometry.unpad_indices`).
    """

    colours: FloatArray
    source: IntArray


class PredictorState(NamedTuple):
    """What another process needs for a predictor's double on the CPU; `weights` as safetensors."""

    config: GeneratorConfig
    weights: bytes
    precision: torch.dtype
    peaks: Peaks | None


class Predictor:
    """Runs a generator. Holds no state of a call, so threads may share it.

    Attributes:
        device: where the generator runs.
        precision: the dtype in which its networks run; with int8, the layers that have no such form run in
            `devices.fast_floats`.
    """

    def __init__(
        self, generator: Generator, device: torch.device, precision: torch.dtype, peaks: Peaks | None = None
    ) -> None:
        """Take a copy of `generator` to `device` in `precision`; for int8 with these peaks or its own."""
        self.device = device
        self.precision = precision
        self._multiple = generator.config.size_multiple
        self._generator = copy.deepcopy(generator).eval().requires_grad_(False)
        # Casting once is as fast as autocast, in half the memory.
        floats = devices.fast_floats(device) if precision is torch.int8 else precision
        self._generator.to(device, floats).to(memory_format=torch.channels_last)
        self._peaks = peaks
        if precision is torch.int8:
            self._peaks = peaks or observed_peaks(self._generator)
            self._generator.quantize(self._peaks)

    @classmethod
    def from_state(cls, state: PredictorState) -> "Predictor":
        """A double of the predictor that `state` is of, on the CPU."""
        generator = Generator(state.config)
        generator.load_state_dict(safetensors.torch.load(state.weights), assign=True)
        return cls(generator, torch.device("cpu"), state.precision, state.peaks)

    def state(self) -> PredictorState:
        """All that there is to it but its device."""
        tensors = {name: tensor.contiguous() for name, tensor in self._generator.state_dict().items()}
        weights = safetensors.torch.save(tensors)
        return PredictorState(self._generator.config, weights, self.precision, self._peaks)

    def prepare(self) -> None:
        """Have kernels prepared for pictures of up to the native size; see `Generator.prepare`."""
        with torch.inference_mode():
            self._generator.prepare(geometry.NATIVE_SIZE)

    def predict(self, rgb: FloatArray, holes: BoolArray) -> list[FilledCrop]:
        """Fill crops of one size together.

        Args:
            rgb: (B, h, w, 3) float32 in [0, 1]; values in the holes are ignored.
            holes: (B, h, w) bool, True = hole.
        """
        height, width = holes.shape[1:]
        images = np.stack([geometry.pad_to_multiple(picture, self._multiple) for picture in rgb])
        masks = np.stack([geometry.pad_to_multiple(hole, self._multiple) for hole in holes])
        # Inputs stay float32, since half precision has fewer steps than 8 bits of colour. [0, 1] -> [-1, 1]
        image = torch.from_numpy(images).mul_(2).sub_(1).permute(0, 3, 1, 2).to(self.device)
        mask = torch.from_numpy(masks)[:, None].to(self.device, torch.float32)
        with torch.inference_mode():
            fill = self._generator(image, mask)
            # [-1, 1] -> [0, 1]
            colours = fill.prediction.float().cpu().add_(1).div_(2)
        colours = colours[..., :height, :width].permute(0, 2, 3, 1)
        sources = fill.source[..., :height, :width].cpu().numpy()
        return [FilledCrop(*parts) for parts in zip(colours.numpy(), sources, strict=True)]
