"""Run under torchrun by test_distributed: two steps on samples of one's own leave both processes alike."""

import sys

import torch
import torch.distributed as dist

from training.config import TrainConfig, load_config
from training.data import Batch
from training.distributed import World, join_world
from training.loop import build_networks
from training.state import build_state
from training.step import train_step

CPU = torch.device("cpu")


def own_batch(world: World) -> Batch:
    torch.manual_seed(world.rank)
    mask = torch.zeros(2, 1, 64, 64)
    mask[..., 20:40, 20 : 40 + 8 * world.rank] = 1
    return Batch(torch.rand(2, 3, 64, 64), mask)


def everyones(mine: torch.Tensor, world: World) -> list[torch.Tensor]:
    gathered = [torch.zeros_like(mine) for _ in range(world.size)]
    dist.all_gather(gathered, mine)
    return gathered


def check_same_weights(config: TrainConfig) -> None:
    with join_world(CPU) as world:
        state = build_state(config, CPU)
        networks = build_networks(config, state, CPU)
        batch = own_batch(world)
        for _ in range(2):
            metrics = train_step(state, networks, batch, config, 0.5, world)
        first, second = everyones(metrics["generator/loss"], world)
        assert first != second
        for network in (state.generator, state.discriminator):
            first, second = everyones(torch.cat([p.detach().flatten() for p in network.parameters()]), world)
            assert torch.equal(first, second)
        assert state.samples == 2 * 2 * 2


if __name__ == "__main__":
    check_same_weights(TrainConfig.from_dict(load_config(sys.argv[1])))
