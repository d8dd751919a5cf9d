"""Training samples made on the device that trains: photographs and masks lie in its memory, and a whole batch
is cut, resized and recoloured at once. For GPUs, which wait for `data.Samples` otherwise.

As there, a batch is a pure function of the seed and of its first sample's index, here for one batch size.
"""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from training.config import TrainConfig
from training.data import SAMPLE, Batch, picture_of
from training.errors import DataError
from training.masks import draw_mask
from training.photographs import Photographs

BANK = 2  # Keeps the random stream of the masks apart from those of samples and orders.
# Rec. 601 luma, as Pillow and torchvision weigh the channels for grey.
LUMA = (0.299, 0.587, 0.114)


class DeviceSamples:
    """The endless, reproducible sequence of training samples, made on `device`.

    Raises:
        DataError: not all photographs are in memory.
    """

    def __init__(self, photographs: Photographs, config: TrainConfig, device: torch.device) -> None:
        if photographs.in_memory < len(photographs):
            raise DataError(
                f"{len(photographs) - photographs.in_memory} of {len(photographs)} pictures do not fit into "
                f"cache_gigabytes, {config.cache_gigabytes}; cache 'device' needs all of them"
            )
        self.config = config
        self.device = device
        pictures = [photographs[index] for index in range(len(photographs))]
        self._sizes = np.array([picture.shape[1:] for picture in pictures])
        self._offsets = np.concatenate([[0], np.cumsum(self._sizes.prod(1))])
        # (3, pixels of all photographs): pictures of any shape without padding.
        self._pixels = torch.cat([picture.flatten(1) for picture in pictures], 1).to(device)
        self._masks = draw_bank(config).to(device)

    def batch(self, first: int, count: int) -> Batch:
        """The samples first .. first + count - 1."""
        rng = np.random.default_rng([self.config.seed, SAMPLE, first])
        pictures = np.array(
            [picture_of(index, len(self._sizes), self.config.seed) for index in range(first, first + count)]
        )
        image = self._crops(pictures, rng)
        image = recolour(image, self._factors(count, rng)).clamp(0, 1) * 2 - 1
        masks = self._masks[torch.from_numpy(rng.integers(0, len(self._masks), count)).to(self.device)]
        # All of a batch are turned alike: turning each on its own would cost a copy of each.
        if rng.random() < 0.5:
            masks = masks.transpose(-1, -2)
        masks = masks.flip([axis for axis in (-1, -2) if rng.random() < 0.5])
        return Batch(image.contiguous(memory_format=torch.channels_last), masks[:, None].float())

    def _crops(self, pictures: NDArray[np.int64], rng: np.random.Generator) -> Tensor:
        """(B, 3, S, S) float32 in [0, 1], with bicubic overshoot: random parts of `pictures`, resized."""
        size, config = self.config.crop_size, self.config.augmentation
        sizes = self._sizes[pictures]
        short, count = sizes.min(1), len(pictures)
        side = rng.uniform(
            np.minimum(size * config.min_zoom, short), np.minimum(size * config.max_zoom, short)
        )
        stretch = np.exp(rng.uniform(-1, 1, count) * np.log1p(config.aspect) / 2)
        spans = np.minimum(np.stack([side / stretch, side * stretch], 1), sizes)
        starts = rng.uniform(0, sizes - spans)
        # Whole pixels at the photograph's own scale stay as sharp as they are.
        whole = np.abs(spans - size) < 0.5
        starts, spans = np.where(whole, np.floor(starts), starts), np.where(whole, size, spans)
        window = int(np.ceil(spans.max())) + 1
        corners = np.floor(starts).astype(np.int64)
        cut = self._windows(pictures, corners, window)
        flip = np.where(rng.random(count) < config.flip, -1.0, 1.0)
        grid = sampling_grid(starts - corners, spans, flip, window, size).to(self.device)
        return F.grid_sample(cut, grid, mode="bicubic", padding_mode="border", align_corners=False)

    def _windows(self, pictures: NDArray[np.int64], corners: NDArray[np.int64], window: int) -> Tensor:
        """(B, 3, window, window) float32 in [0, 1]; edges repeated."""
        step = torch.arange(window, device=self.device)
        values = np.column_stack([self._offsets[pictures], self._sizes[pictures], corners])
        offset, height, width, top, left = torch.from_numpy(values).to(self.device)[:, :, None].unbind(1)
        rows = torch.minimum(top + step, height - 1) * width + offset
        columns = torch.minimum(left + step, width - 1)
        cut = self._pixels[:, rows[:, :, None] + columns[:, None, :]]
        return cut.transpose(0, 1).float() / 255

    def _factors(self, count: int, rng: np.random.Generator) -> Tensor:
        """(B, 3) of brightness, contrast and saturation, around 1."""
        config = self.config.augmentation
        strengths = np.array([config.brightness, config.contrast, config.saturation])
        factors = 1 + strengths * rng.uniform(-1, 1, (count, 3))
        return torch.from_numpy(factors.astype(np.float32)).to(self.device)


def draw_bank(config: TrainConfig) -> Tensor:
    """(config.device_masks, S, S) bool masks, 1 = hole."""
    size = config.crop_size

    def draw(index: int) -> Tensor:
        rng = np.random.default_rng([config.seed, BANK, index])
        return torch.from_numpy(draw_mask(size, size, rng, config.masks))

    with ThreadPoolExecutor() as pool:
        return torch.stack(list(pool.map(draw, range(config.device_masks))))


def sampling_grid(
    starts: NDArray[np.float64],
    spans: NDArray[np.float64],
    flip: NDArray[np.float64],
    window: int,
    size: int,
) -> Tensor:
    """(B, size, size, 2) float32 for `grid_sample` without aligned corners.

    Args:
        starts, spans: (B, 2), top and left, height and width of the part to show, in pixels of the window.
        flip: (B,), -1 mirrors.
        window: side of the pictures to sample from.
    """
    centres = (np.arange(size) + 0.5) / size - 0.5
    down = starts[:, :1] + spans[:, :1] * (centres + 0.5)
    right = starts[:, 1:] + spans[:, 1:] * (flip[:, None] * centres + 0.5)
    shape = (len(starts), size, size)
    grid = np.stack([np.broadcast_to(right[:, None, :], shape), np.broadcast_to(down[:, :, None], shape)], -1)
    return torch.from_numpy((grid * 2 / window - 1).astype(np.float32))


def recolour(image: Tensor, factors: Tensor) -> Tensor:
    """Change brightness, contrast and saturation, one after another, as torchvision does.

    Args:
        image: (B, 3, H, W) in [0, 1].
        factors: (B, 3), 1 = unchanged.
    """
    brightness, contrast, saturation = factors[:, :, None, None, None].unbind(1)
    luma = torch.tensor(LUMA, device=image.device)[:, None, None]
    image = (image * brightness).clamp(0, 1)
    mean = (image * luma).sum(1, keepdim=True).mean((2, 3), keepdim=True)
    image = torch.lerp(mean, image, contrast).clamp(0, 1)
    return torch.lerp((image * luma).sum(1, keepdim=True), image, saturation)
