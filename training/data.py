"""Training samples: crops of photographs with masks, each a pure function of the seed and its index.

Sample i of a run is the same whoever asks for it and whenever. So a resumed run goes on with the samples that
it would have seen, and processes share the work by sharing out the indices, with no random state to save or
to synchronise.
"""

import functools
import itertools
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional as transforms

from training.config import AugmentationConfig, TrainConfig
from training.masks import draw_mask
from training.photographs import Photographs

# Keep the random streams of samples and of orders apart.
SAMPLE, ORDER = 0, 1


class Batch(NamedTuple):
    """image: (B, 3, S, S) float32 in [-1, 1], undamaged; mask: (B, 1, S, S) float32 in {0, 1}, 1 = hole."""

    image: Tensor
    mask: Tensor


class BatchSource(Protocol):
    """A sequence of training samples, and the device on which its batches are."""

    device: torch.device

    def batch(self, first: int, count: int) -> Batch:
        """The samples first .. first + count - 1."""


class Samples:
    """The endless, reproducible sequence of training samples."""

    def __init__(self, photographs: Photographs, config: TrainConfig, device: torch.device) -> None:
        self.photographs = photographs
        self.config = config
        self.device = device

    def batch(self, first: int, count: int) -> Batch:
        """The samples first .. first + count - 1."""
        pairs = [self.sample(index) for index in range(first, first + count)]
        images = torch.stack([image for image, _ in pairs]).to(self.device)
        masks = torch.stack([mask for _, mask in pairs]).to(self.device)
        image = (images.float() / 127.5 - 1).contiguous(memory_format=torch.channels_last)
        return Batch(image, masks[:, None].float())

    def sample(self, index: int) -> tuple[Tensor, Tensor]:
        """Sample `index`: (3, S, S) uint8 where the photographs are, and (S, S) bool on the CPU."""
        rng = np.random.default_rng([self.config.seed, SAMPLE, index])
        picture = self.photographs[picture_of(index, len(self.photographs), self.config.seed)]
        size = self.config.crop_size
        crop = augment(picture, size, rng, self.config.augmentation)
        return crop, torch.from_numpy(draw_mask(size, size, rng, self.config.masks))


def picture_of(index: int, count: int, seed: int) -> int:
    """Which of `count` pictures sample `index` shows: each once an epoch, in an order of the epoch's own."""
    epoch, position = divmod(index, count)
    return int(_order(epoch, count, seed)[position])


@functools.lru_cache(maxsize=2)
def _order(epoch: int, count: int, seed: int) -> NDArray[np.int64]:
    return np.random.default_rng([seed, ORDER, epoch]).permutation(count)


def augment(picture: Tensor, size: int, rng: np.random.Generator, config: AugmentationConfig) -> Tensor:
    """A random crop of `picture` at (size, size), perhaps flipped, its colours slightly changed.

    The parameters come from `rng` and not from torch's global state, hence transforms v2's functions and not
    its classes.

    Args:
        picture: (3, H, W) uint8.

    Returns:
        (3, size, size) uint8.
    """
    height, width = picture.shape[1:]
    short = min(height, width)
    side = rng.uniform(min(size * config.min_zoom, short), min(size * config.max_zoom, short))
    stretch = np.exp(rng.uniform(-1, 1) * np.log1p(config.aspect) / 2)
    tall, wide = min(round(side / stretch), height), min(round(side * stretch), width)
    top, left = int(rng.integers(0, height - tall + 1)), int(rng.integers(0, width - wide + 1))
    crop = transforms.resized_crop(
        picture, top, left, tall, wide, [size, size], InterpolationMode.BICUBIC, antialias=True
    )
    if rng.random() < config.flip:
        crop = transforms.horizontal_flip(crop)
    for adjust, strength in (
        (transforms.adjust_brightness, config.brightness),
        (transforms.adjust_contrast, config.contrast),
        (transforms.adjust_saturation, config.saturation),
    ):
        if strength:
            crop = adjust(crop, 1 + strength * rng.uniform(-1, 1))
    return crop


def batches(samples: BatchSource, first: int, count: int, stride: int, ahead: bool) -> Iterator[Batch]:
    """Endless batches of `count` samples: from index `first` on, then `stride` further each time.

    Args:
        ahead: let a thread prepare the next batch while this one is used. Pays beside a GPU; on a CPU both
            would only take turns on the same cores.
    """
    firsts = itertools.count(first, stride)
    if not ahead:
        yield from (samples.batch(index, count) for index in firsts)
    with ThreadPoolExecutor(1, thread_name_prefix="samples") as pool:
        pending = pool.submit(samples.batch, next(firsts), count)
        while True:
            batch = pending.result()
            pending = pool.submit(samples.batch, next(firsts), count)
            yield batch
