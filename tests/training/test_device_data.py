"""Samples made on the device: the same kind of crops as on the host, a whole batch at once."""

import dataclasses
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torchvision.transforms.v2 import functional as transforms

from training.config import AugmentationConfig, TrainConfig
from training.device_data import DeviceSamples, recolour
from training.errors import DataError
from training.photographs import Photographs

CPU = torch.device("cpu")
PLAIN = AugmentationConfig(max_zoom=1, aspect=0, flip=0, brightness=0, contrast=0, saturation=0)


def samples_of(pictures: list[Tensor], augmentation: AugmentationConfig = PLAIN) -> DeviceSamples:
    config = TrainConfig(crop_size=64, device_masks=8, augmentation=augmentation)
    return DeviceSamples(Photographs(list(pictures), [], []), config, CPU)


def noise(height: int, width: int, seed: int) -> Tensor:
    source = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (3, height, width), dtype=torch.uint8, generator=source)


def bytes_of(image: Tensor) -> Tensor:
    return ((image + 1) * 127.5).round().to(torch.uint8)


def test_a_crop_at_scale_one_is_a_part_of_the_picture_unchanged() -> None:
    """Whole pixels are cut, from pictures of several shapes, and none of them is resampled."""
    pictures = [noise(64, 64, 0), noise(70, 90, 1), noise(200, 66, 2)]
    crops = bytes_of(samples_of(pictures).batch(0, 3).image)

    for crop in crops:
        windows = [picture.unfold(1, 64, 1).unfold(2, 64, 1) for picture in pictures]
        assert any((window == crop[:, None, None]).all((0, 3, 4)).any() for window in windows)


def test_flip_mirrors() -> None:
    """At probability 1 every crop is mirrored."""
    picture = noise(64, 64, 0)

    image = samples_of([picture], dataclasses.replace(PLAIN, flip=1)).batch(0, 2).image

    assert torch.equal(bytes_of(image), picture.flip(-1).expand(2, 3, 64, 64))


def test_zoom_bounds_how_much_a_crop_shows() -> None:
    """Crops of 64 pixels show 32 to 102 pixels of the picture's side with zooms of 0.5 to 1.6."""
    ramp = torch.arange(128).repeat(128, 1).expand(3, 128, 128).to(torch.uint8)
    zoomed = dataclasses.replace(PLAIN, min_zoom=0.5, max_zoom=1.6)

    image = bytes_of(samples_of([ramp], zoomed).batch(0, 40).image)[:, 0].int()

    spans = image[:, 0, -1] - image[:, 0, 0]
    assert 30 <= spans.min() < 50
    assert 85 < spans.max() <= 102


def test_every_picture_is_shown_once_an_epoch() -> None:
    """24 samples of 24 plain pictures show each of them."""
    pictures = [torch.full((3, 64, 64), value, dtype=torch.uint8) for value in range(0, 240, 10)]

    shown = bytes_of(samples_of(pictures).batch(0, 24).image)[:, 0, 0, 0]

    assert sorted(shown.tolist()) == list(range(0, 240, 10))


def test_batches_depend_on_seed_and_index_alone() -> None:
    """The same samples whenever they are asked for; others at another index."""
    pictures = [noise(80, 100, seed) for seed in range(3)]
    strong = AugmentationConfig()
    first, again = samples_of(pictures, strong), samples_of(pictures, strong)
    again.batch(0, 4)

    for a, b in zip(first.batch(8, 4), again.batch(8, 4), strict=True):
        assert torch.equal(a, b)
    assert not torch.equal(first.batch(8, 4).image, first.batch(12, 4).image)


def test_masks_are_holes_of_reasonable_size() -> None:
    """Masks are 0 or 1, 1% to 75% hole, and not all alike."""
    masks = samples_of([noise(64, 64, 0)]).batch(0, 16).mask

    assert masks.shape == (16, 1, 64, 64)
    assert set(masks.unique().tolist()) == {0, 1}
    shares = masks.mean((1, 2, 3))
    assert 0.01 <= shares.min() <= shares.max() <= 0.75
    assert len(shares.unique()) > 4


def test_recolouring_is_torchvisions() -> None:
    """Brightness, contrast and saturation change as torchvision changes them, up to rounding."""
    picture = noise(16, 16, 0)
    factors = [1.2, 0.7, 1.4]

    ours = recolour(picture[None] / 255, torch.tensor([factors])).clamp(0, 1)

    expected = picture / 255
    for adjust, factor in zip(
        (transforms.adjust_brightness, transforms.adjust_contrast, transforms.adjust_saturation),
        factors,
        strict=True,
    ):
        expected = adjust(expected, factor)
    assert (ours[0] - expected).abs().max() < 2e-3


def test_pictures_must_be_in_memory() -> None:
    """A picture left on disk is refused, with the numbers."""
    photographs = Photographs([noise(64, 64, 0), Path("b.jpg")], [], [])
    with pytest.raises(DataError, match="1 of 2 pictures do not fit into cache_gigabytes, 4"):
        DeviceSamples(photographs, TrainConfig(crop_size=64), CPU)
