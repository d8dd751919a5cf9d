import dataclasses
import itertools
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from training.config import AugmentationConfig, TrainConfig
from training.data import Samples, augment, batches
from training.photographs import Photographs, find_pictures, load_photographs

CPU = torch.device("cpu")


@pytest.fixture
def photographs(photographs_folder: Path) -> Photographs:
    return load_photographs(find_pictures(photographs_folder), 64, 1e9)


@pytest.fixture
def config(configure: Callable[..., TrainConfig]) -> TrainConfig:
    return configure()


def test_sample_is_a_function_of_seed_and_index(photographs: Photographs, config: TrainConfig) -> None:
    """Asked for again, later, or by another object, sample 5 is the same; with another seed it is not."""
    samples = Samples(photographs, config, CPU)
    image, mask = samples.sample(5)
    samples.batch(0, 12)

    for again in (samples.sample(5), Samples(photographs, config, CPU).sample(5)):
        assert torch.equal(again[0], image)
        assert torch.equal(again[1], mask)
    other, _ = Samples(photographs, dataclasses.replace(config, seed=1), CPU).sample(5)
    assert not torch.equal(other, image)


def test_batch_has_the_stated_shapes_and_ranges(photographs: Photographs, config: TrainConfig) -> None:
    """Images lie in [-1, 1] and masks are 0 or 1, with holes in every sample."""
    image, mask = Samples(photographs, config, CPU).batch(0, 8)

    assert (image.shape, image.dtype) == ((8, 3, 64, 64), torch.float32)
    assert (mask.shape, mask.dtype) == ((8, 1, 64, 64), torch.float32)
    assert -1 <= image.min() < -0.5 < 0.5 < image.max() <= 1
    assert set(mask.unique().tolist()) == {0.0, 1.0}
    assert (mask.mean((1, 2, 3)) > 0).all()


@pytest.mark.parametrize("ahead", [False, True])
def test_processes_share_out_the_samples(ahead: bool, photographs: Photographs, config: TrainConfig) -> None:
    """What two processes see together is what one with twice the batch sees, prepared ahead or not."""
    samples = Samples(photographs, config, CPU)
    one = batches(samples, 0, 4, 4, ahead=False)
    two = [batches(samples, rank * 2, 2, 4, ahead) for rank in (0, 1)]

    for _ in range(3):
        parts = [next(part) for part in two]
        whole = next(one)
        assert torch.equal(torch.cat([part.image for part in parts]), whole.image)
        assert torch.equal(torch.cat([part.mask for part in parts]), whole.mask)


def test_a_resumed_run_goes_on_with_the_next_samples(photographs: Photographs, config: TrainConfig) -> None:
    """Batches from sample 8 on are those that come after the first four batches of two."""
    samples = Samples(photographs, config, CPU)
    fifth = next(itertools.islice(batches(samples, 0, 2, 2, ahead=False), 4, None))

    assert torch.equal(next(batches(samples, 8, 2, 2, ahead=False)).image, fifth.image)


def test_every_epoch_shows_every_picture_once(config: TrainConfig) -> None:
    """In 24 samples each of 24 pictures is seen once, in another order the next time."""
    pictures = [torch.full((3, 64, 64), value, dtype=torch.uint8) for value in range(0, 240, 10)]
    plain = AugmentationConfig(brightness=0, contrast=0, saturation=0)
    samples = Samples(Photographs(pictures, [], []), dataclasses.replace(config, augmentation=plain), CPU)

    first, second = ([int(samples.sample(i + start)[0].max()) for i in range(24)] for start in (0, 24))

    assert Counter(first) == Counter(second) == Counter(range(0, 240, 10))
    assert first != second


def test_augmentation_without_strength_only_cuts() -> None:
    """With every strength at 0, a crop of a picture of the crop's size is the picture."""
    picture = torch.randint(0, 256, (3, 64, 64), dtype=torch.uint8)
    off = AugmentationConfig(aspect=0, flip=0, brightness=0, contrast=0, saturation=0)

    assert torch.equal(augment(picture, 64, np.random.default_rng(0), off), picture)


def test_flip_mirrors() -> None:
    """At probability 1 every crop is mirrored."""
    picture = torch.randint(0, 256, (3, 64, 64), dtype=torch.uint8)
    flip = AugmentationConfig(aspect=0, flip=1, brightness=0, contrast=0, saturation=0)

    assert torch.equal(augment(picture, 64, np.random.default_rng(0), flip), picture.flip(-1))


@pytest.mark.parametrize("size", [(64, 64), (64, 500), (500, 64), (70, 66)])
def test_crops_fit_pictures_of_any_shape(size: tuple[int, int]) -> None:
    """Even with strong stretching, crops stay inside narrow pictures."""
    picture = torch.randint(0, 256, (3, *size), dtype=torch.uint8)

    for seed in range(30):
        crop = augment(picture, 64, np.random.default_rng(seed), AugmentationConfig(aspect=0.9))
        assert (crop.shape, crop.dtype) == ((3, 64, 64), torch.uint8)


def test_zoom_bounds_how_much_a_crop_shows() -> None:
    """Crops of 64 pixels show 32 to 102 pixels of the picture's side with zooms of 0.5 to 1.6."""
    ramp = torch.arange(128).repeat(128, 1).expand(3, 128, 128).to(torch.uint8)
    plain = AugmentationConfig(aspect=0, flip=0, brightness=0, contrast=0, saturation=0)
    zoomed = dataclasses.replace(plain, min_zoom=0.5, max_zoom=1.6)

    spans = [
        int(crop[0, 0, -1]) - int(crop[0, 0, 0])
        for crop in (augment(ramp, 64, np.random.default_rng(seed), zoomed) for seed in range(40))
    ]
    assert 30 <= min(spans) < 50
    assert 85 < max(spans) <= 102
