"""The Inpainter: a picture of any size and mode and a hole in, the same picture with the hole filled out."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from model_core import checkpoint, devices, geometry, pictures
from model_core.detail import Residuals
from model_core.errors import InferenceError, NothingKnownError
from model_core.networks import Generator
from model_core.predictor import FilledCrop, Predictor

FloatArray = NDArray[np.float32]
BoolArray = NDArray[np.bool_]
Predict = Callable[[FloatArray, BoolArray], FilledCrop]
"""One crop, (h, w, 3) float32 in [0, 1], and its hole, bool (h, w), True = hole -> what fills it."""

# The most pixels of a crop's long side that the generator sees; larger crops are shrunk, their fill enlarged.
WORKING_SIZE = 768

# Enlarged fills are computed this many rows at a time, to bound memory.
BAND_ROWS = 256


# What `Inpainter.info` says of a generator that does not come from a checkpoint.
UNSAVED = checkpoint.CheckpointInfo(name="unsaved", steps=0, samples=0, provenance="", scores={}, created="")


class Inpainter:
    """Fills holes with a generator. Holds no state of a call, so threads may share it.

    Attributes:
        info, sha256: of the checkpoint; `UNSAVED` and "" for a bare generator.
        parameters: how many numbers the generator learned.
        predictors: the generator on each device that it runs on, at least one.
    """

    def __init__(
        self,
        generator: Generator,
        devices: Sequence[torch.device],
        precision: torch.dtype,
        info: checkpoint.CheckpointInfo = UNSAVED,
        sha256: str = "",
        working_size: int = WORKING_SIZE,
    ) -> None:
        """Take a copy of `generator` to each device in `precision`; for `working_size` see WORKING_SIZE."""
        self.info = info
        self.sha256 = sha256
        self.parameters = sum(parameter.numel() for parameter in generator.parameters())
        self.predictors = tuple(Predictor(generator, device, precision) for device in devices)
        self._working_size = working_size

    @classmethod
    def from_checkpoint(
        cls, path: str | Path, device: str = "auto", precision: str = "auto", threads: int | None = None
    ) -> "Inpainter":
        """Load a checkpoint onto the devices that `device` names (see `devices.choose_devices`).

        `threads` sets how many CPU threads torch uses, in the whole process.

        Raises:
            CheckpointError: the checkpoint is missing, damaged or of another format.
            DeviceError: this machine does not offer the device or the precision.
        """
        if threads is not None:
            torch.set_num_threads(threads)
        chosen = devices.choose_devices(device)
        dtype = devices.choose_precision(precision, chosen[0])
        loaded = checkpoint.load_checkpoint(path)
        return cls(loaded.generator, chosen, dtype, info=loaded.info, sha256=loaded.sha256)

    @property
    def device_names(self) -> str:
        """The devices, separated by commas."""
        return ",".join(str(predictor.device) for predictor in self.predictors)

    @property
    def precision_name(self) -> str:
        """The precision as "int8", "bf16", "fp16" or "fp32"."""
        return devices.precision_name(self.predictors[0].precision)

    def prepare(self) -> None:
        """Make ready what the first requests would wait for: kernels (`Generator.prepare`) and memory.

        Raises:
            InferenceError: the generator computes values that are not finite.
        """
        for predictor in self.predictors:
            predictor.prepare()
        for side in (geometry.MIN_CROP, geometry.NATIVE_SIZE):
            self._fill_grey(side)

    def warm_up(self, predict: Predict | None = None) -> None:
        """Fill a tiny picture, to see that it can be done.

        `predict` is what will run the generator later, as in `inpaint`.

        Raises:
            InferenceError: the generator computes values that are not finite.
        """
        self._fill_grey(64, predict)

    def _fill_grey(self, side: int, predict: Predict | None = None) -> None:
        hole = np.zeros((side, side), dtype=np.bool_)
        hole[side // 4 : side // 2, side // 4 : side // 2] = True
        self.inpaint(Image.new("RGB", (side, side), "grey"), hole, predict)

    def inpaint(self, image: Image.Image, hole: BoolArray, predict: Predict | None = None) -> Image.Image:
        """Fill the hole of a picture.

        Args:
            image: any mode that `pictures` lists, upright (`pictures.upright`).
            hole: bool (H, W), True = fill.
            predict: what runs the generator; by default `predict` of this inpainter.

        Returns:
            A new picture of the same size, mode (a palette becomes RGB or RGBA) and `info` (profile, EXIF
            data), whose pixels outside the hole are bit-equal to the image's.

        Raises:
            SizeMismatchError: image and hole differ in size.
            NothingKnownError: the hole covers the whole picture.
            PictureModeError: the mode cannot be filled.
            InferenceError: the generator computed values that are not finite.
        """
        pictures.require_same_size(image, hole)
        if hole.all():
            raise NothingKnownError(
                f"the mask covers all {hole.size} pixels of the {image.height} x {image.width} image "
                "(height x width); at least one must stay known"
            )
        result = pictures.fillable(image)
        remaining = hole.copy()
        for region in geometry.plan_regions(hole):
            self._fill(result, remaining, region, predict or self.predict)
            # Later regions see this fill as known, so that neighbours agree.
            remaining[region.core.slices] = False
        return result

    def predict(self, rgb: FloatArray, hole: BoolArray) -> FilledCrop:
        """One crop's fill from the first device; see `Predict`."""
        return self.predictors[0].predict(rgb[None], hole[None])[0]

    def _fill(
        self, result: Image.Image, remaining: BoolArray, region: geometry.Region, predict: Predict
    ) -> None:
        """Fill the region's core in `result`, in place."""
        codec = pictures.codec_of(result.mode)
        pixels = pictures.pixels_of(result.crop(region.crop.corners))
        hole = remaining[region.crop.slices]
        size = geometry.working_size(region.crop.size, self._working_size)
        rgb, small_hole = geometry.shrink_known(
            lambda start, end: codec.to_rgb(pixels[start:end]), hole, size
        )
        fill = predict(rgb, small_hole)
        core = region.core.inside(region.crop)
        if size == region.crop.size:
            where = hole[core.slices]
            colours = self._checked(pictures.colours_at(fill.colours[core.slices], where), size)
            pictures.put_colours(pixels[core.slices], where, colours, codec)
        else:
            small = rgb.copy()
            small[small_hole] = self._checked(pictures.colours_at(fill.colours, small_hole), size)
            residuals = Residuals(pixels, hole, codec, small, small_hole, fill.source)
            for band in geometry.bands(core, BAND_ROWS):
                where = hole[band.slices]
                rows, columns = where.nonzero()
                colours = geometry.enlarge(small, region.crop.size, band)[where]
                colours = (colours + residuals.at(rows + band.top, columns + band.left)).clip(0, 1)
                pictures.put_colours(pixels[band.slices], where, colours, codec)
        result.paste(pictures.image_of(pixels, result.mode), region.crop.corners)

    def _checked(self, colours: FloatArray, size: geometry.Size) -> FloatArray:
        """The colours that the generator made of a crop of `size`, clipped to [0, 1].

        Raises:
            InferenceError: some are not finite.
        """
        if not np.isfinite(colours).all():
            raise InferenceError(
                f"the generator computed values that are not finite for a {size[0]} x {size[1]} crop "
                f"(height x width) in {self.precision_name}"
            )
        return colours.clip(0, 1)
