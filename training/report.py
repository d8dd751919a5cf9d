"""What a run shows of itself now and then: fills of kept-out pictures, and numbers measured on them."""

import dataclasses

import numpy as np
import torch
from torch import Tensor
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional as transforms
from torchvision.utils import make_grid

from training import losses
from training.config import TrainConfig
from training.data import Batch
from training.logs import Log
from training.masks import KINDS, draw_kind
from training.phases import Metrics, Networks, composite
from training.photographs import Photographs
from training.state import TrainingState

VALIDATION_SAMPLES = 10
GRID_SAMPLES = 5
MASK_SEED = 7


def validation_batch(photographs: Photographs, config: TrainConfig, device: torch.device) -> Batch:
    """Centre crops of the first pictures, with masks that never change, of one kind after another."""
    size, kinds = config.crop_size, list(KINDS)
    count = min(VALIDATION_SAMPLES, len(photographs))
    crops, masks = [], []
    for index in range(count):
        picture = photographs[index]
        square = transforms.center_crop(picture, [min(picture.shape[1:])] * 2)
        crops.append(transforms.resize(square, [size, size], InterpolationMode.BICUBIC, antialias=True))
        rng = np.random.default_rng([MASK_SEED, index])
        masks.append(torch.from_numpy(draw_kind(kinds[index % len(kinds)], size, size, rng)))
    image = torch.stack(crops).to(device).float() / 127.5 - 1
    return Batch(
        image.contiguous(memory_format=torch.channels_last), torch.stack(masks)[:, None].float().to(device)
    )


def report(networks: Networks, state: TrainingState, batch: Batch, log: Log) -> None:
    """Log fills by the averaged generator, their distance from the truth, and their diversity."""
    averaged = dataclasses.replace(networks, generator=state.generator_ema.module)
    with torch.no_grad():
        prediction = averaged.fill(batch).prediction.clamp(-1, 1)
        inpainted = composite(prediction, batch)
        metrics: Metrics = {"validation/l1_hole": losses.masked_l1(prediction, batch.image, batch.mask)}
        if averaged.perceptual:
            with averaged.autocast():
                distance = averaged.perceptual(inpainted, batch.image).float()
            metrics["validation/perceptual"] = losses.per_hole(distance, batch.mask)
        metrics["diversity/masks"] = mask_diversity(averaged, batch)
    log.pictures("samples/damaged_filled_truth", sample_grid(batch, inpainted))
    log.write_now(state.step, {name: value.item() for name, value in metrics.items()})


def mask_diversity(networks: Networks, batch: Batch) -> Tensor:
    """How far a fill depends on what is known: the standard deviation of what is painted into the middle
    ninth of the first picture, when four more holes around it differ. 0 = the same whatever is known.
    """
    height, width = batch.image.shape[-2:]
    middle = (..., slice(height // 3, 2 * height // 3), slice(width // 3, 2 * width // 3))
    first = batch.mask[:1]
    mask = torch.cat([first, first.flip(-1), first.flip(-2), first.flip(-1, -2)])
    mask[middle] = 1
    image = batch.image[:1].expand(len(mask), -1, -1, -1)
    return networks.fill(Batch(image, mask)).prediction[middle].std(0, correction=0).mean()


def sample_grid(batch: Batch, inpainted: Tensor) -> Tensor:
    """(3, H, W) in [-1, 1]: a row a picture, with the hole grey, filled, and the truth."""
    damaged = batch.image * (1 - batch.mask)
    rows = torch.stack([damaged, inpainted, batch.image], 1)[:GRID_SAMPLES].flatten(0, 1)
    grid: Tensor = make_grid(rows, nrow=3)
    return grid
