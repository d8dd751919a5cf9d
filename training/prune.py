"""`prune`: a generator without the blocks and channels that do next to nothing.

A channel's strength is what it adds, in the mean square, to what the convolution makes that it is given to:
both how large its values become and how much they are weighed there. The weakest ones are left out (in the
manner of Molchanov et al., "Pruning Convolutional Neural Networks for Resource Efficient Inference", arXiv
1611.06440). What is left fills almost as before; `distil` teaches it the rest.
"""

import dataclasses
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

from model_core.checkpoint import CheckpointInfo, load_checkpoint, save_checkpoint
from model_core.config import GeneratorConfig
from model_core.errors import CheckpointError
from model_core.networks import Generator
from model_core.networks.peaks import watched_convolutions
from training.config import TrainConfig
from training.data import Batch, Samples
from training.errors import OptionError
from training.loop import load_data

# What may be smaller than before, by the names of a configuration's fields.
PRUNED = ("coarse_blocks", "coarse_hidden", "refine_blocks", "refine_hidden", "refine_last")
# Crops of photographs that strengths are measured on: as large as the pictures that the service fills.
CROPS, CROP_SIZE = 32, 512


class Channels(NamedTuple):
    """Channels that lie between two convolutions and nowhere else.

    Attributes:
        maker, taker: the convolutions' names in the generator.
        count: how many of the channels stay.
    """

    maker: str
    taker: str
    count: int


def prune_checkpoint(checkpoint: Path, output: Path, data: str, sizes: dict[str, int]) -> CheckpointInfo:
    """Write the checkpoint `output`, a smaller one than `checkpoint`; scores are not taken over.

    Args:
        data: a folder of photographs, of which those are looked at that training may see.
        sizes: new values of some fields in `PRUNED`.

    Raises:
        OptionError: a size is not smaller than it was, or less than 1.
        DataError: no photograph can be used; CheckpointError: a checkpoint cannot be read or written.
    """
    whole = load_checkpoint(checkpoint)
    config = smaller(whole.generator.config, sizes)
    # Before what takes long.
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CheckpointError(f"checkpoint {output} cannot be written: {error.strerror}") from error
    samples = sample_source(data)
    batches = (samples.batch(index, 1) for index in range(CROPS))
    pruned = prune(whole.generator, config, batches)
    info = dataclasses.replace(whole.info, scores={}, created=datetime.now(UTC).isoformat(timespec="seconds"))
    save_checkpoint(output, pruned, info)
    return info


def sample_source(data: str) -> Samples:
    """Crops of the photographs in a folder, with training's masks."""
    config = TrainConfig(data=data, crop_size=CROP_SIZE, cache_gigabytes=0.0)
    return Samples(load_data(config)[0], config, torch.device("cpu"))


def smaller(config: GeneratorConfig, sizes: dict[str, int]) -> GeneratorConfig:
    """The same with other sizes.

    Raises:
        OptionError: as `prune_checkpoint`.
    """
    now = {
        "coarse_blocks": config.coarse_blocks,
        "coarse_hidden": config.coarse_hidden or 5 * config.coarse_width,
        "refine_blocks": config.refine_blocks,
        "refine_hidden": config.refine_hidden or 4 * config.refine_width,
        "refine_last": config.refine_last or config.refine_width,
    }
    if not sizes:
        raise OptionError(f"there is nothing to leave out; give one of {', '.join(PRUNED)}")
    for name, size in sizes.items():
        if not 1 <= size < now[name]:
            raise OptionError(f"{name} is {size}; expected 1 to {now[name] - 1}, for it was {now[name]}")
    return dataclasses.replace(config, **sizes)


def prune(whole: Generator, config: GeneratorConfig, batches: Iterable[Batch]) -> Generator:
    """A generator of the sizes of `config` with the first blocks and the strongest channels of `whole`.

    Args:
        whole: in eval mode, on the CPU.
        config: by `smaller`.
        batches: what strengths are measured on.
    """
    pruned = Generator(config).eval()
    strength = strengths(whole, batches)
    weights = whole.state_dict()
    for channels in inner_channels(config):
        strongest = strength[channels.taker].topk(channels.count).indices.sort().values
        for name in (f"{channels.maker}.weight", f"{channels.maker}.bias"):
            weights[name] = weights[name][strongest]
        weights[f"{channels.taker}.weight"] = weights[f"{channels.taker}.weight"][:, strongest]
    pruned.load_state_dict({name: weights[name] for name in pruned.state_dict()})
    return pruned


def inner_channels(config: GeneratorConfig) -> list[Channels]:
    """All channels that can be left out without changing what others are given."""
    blocks = [(f"coarse.blocks.{index}", config.coarse_hidden) for index in range(config.coarse_blocks)]
    blocks += [(f"refinement.blocks.{index}", config.refine_hidden) for index in range(config.refine_blocks)]
    inner = [Channels(f"{block}.first", f"{block}.second", count) for block, count in blocks if count]
    if config.refine_last:
        inner.append(Channels("refinement.up_half.merge", "refinement.to_image", config.refine_last))
    return inner


@torch.inference_mode()
def strengths(generator: Generator, batches: Iterable[Batch]) -> dict[str, Tensor]:
    """By the name of each convolution, how strong the channels are that it is given: (C,), >= 0."""
    total: dict[str, Tensor] = {}

    def add(name: str, layer: nn.Conv2d, given: Tensor, _: Tensor) -> None:
        weighed = layer.weight.square().sum((0, 2, 3))
        strength = given.float().square().mean((0, 2, 3)) * weighed
        total[name] = total.get(name, torch.zeros_like(strength)) + strength

    with watched_convolutions(generator, add):
        for batch in batches:
            generator(batch.image, batch.mask)
    return total
