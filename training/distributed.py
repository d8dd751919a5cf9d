"""Data-parallel training: every process computes on samples of its own, and gradients are averaged.

Written out instead of wrapping the networks in DistributedDataParallel, because gradient penalties
differentiate twice and the discriminator judges several times a step, neither of which the wrapper supports;
with a few million parameters there is nothing to gain from overlapping the exchange with the backward pass.
"""

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

import torch
import torch.distributed as dist
from torch.nn import Parameter

from training.errors import OptionError


class World(NamedTuple):
    """This process among all: rank in 0 .. size - 1, and whether it writes the files."""

    rank: int
    size: int

    @property
    def is_main(self) -> bool:
        """Whether this process writes the files."""
        return self.rank == 0


@contextmanager
def join_world(device: torch.device) -> Iterator[World]:
    """Join the other processes that torchrun started; alone, be a world of one."""
    if "WORLD_SIZE" not in os.environ:
        yield World(0, 1)
        return
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield World(dist.get_rank(), dist.get_world_size())
    finally:
        dist.destroy_process_group()


def local_device(device: torch.device) -> torch.device:
    """This process's own GPU under torchrun; elsewhere `device` as it is.

    Raises:
        OptionError: there are fewer GPUs than processes.
    """
    rank = int(os.environ.get("LOCAL_RANK", 0))
    if device.type != "cuda" or "LOCAL_RANK" not in os.environ:
        return device
    if rank >= torch.cuda.device_count():
        raise OptionError(f"process {rank} finds no GPU of its own; there are {torch.cuda.device_count()}")
    torch.cuda.set_device(rank)
    return torch.device("cuda", rank)


def average_gradients(parameters: Iterable[Parameter], world: World) -> None:
    """Replace each gradient by its mean over all processes, in one exchange."""
    if world.size == 1:
        return
    gradients = [p.grad for p in parameters if p.grad is not None]
    flat = torch.cat([gradient.flatten() for gradient in gradients])
    dist.all_reduce(flat)
    flat /= world.size
    for gradient, mean in zip(gradients, flat.split([g.numel() for g in gradients]), strict=True):
        gradient.copy_(mean.view_as(gradient))


def largest(values: list[float], world: World, device: torch.device) -> list[float]:
    """The largest of each value over all processes, so that all decide alike."""
    if world.size == 1:
        return values
    tensor = torch.tensor(values, dtype=torch.float64, device=device)
    dist.all_reduce(tensor, dist.ReduceOp.MAX)
    result: list[float] = tensor.tolist()
    return result
