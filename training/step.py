"""One training step: the discriminator learns, then the generator, then the average follows."""

import torch
from torch import Tensor
from torch.optim import Adam

from training.config import TrainConfig
from training.data import Batch
from training.distributed import World, average_gradients
from training.phases import Metrics, Networks, Phase, composite, discriminator_phase, generator_phase
from training.schedule import is_adversarial, learning_rate_factor
from training.state import TrainingState
from training.view import draw_view


def train_step(
    state: TrainingState, networks: Networks, batch: Batch, config: TrainConfig, done: float, world: World
) -> Metrics:
    """Update both networks on one batch, and count it.

    Args:
        done: the run's progress from 0 to 1.
    """
    factor = learning_rate_factor(config, state.samples, done)
    adversarial = is_adversarial(config, done)
    fill = networks.fill(batch)
    view = draw_view(random_source(config, state.samples))
    metrics: Metrics = {}
    if adversarial and state.discriminator_optimizer:
        inpainted = composite(fill.prediction, batch)
        source = random_source(config, state.samples + world.rank * config.batch_size)
        share = torch.rand(len(batch.image), 1, 1, 1, generator=source).to(batch.image.device)
        phase = discriminator_phase(networks, batch, inpainted, config.losses, view, state.step, share)
        norm = update(
            state.discriminator_optimizer, phase.loss, factor * config.lr_discriminator, config, world
        )
        metrics |= phase.metrics | {"discriminator/gradient_norm": norm}
    phase = generator_phase(networks, batch, fill, config.losses, view, adversarial)
    return metrics | learn(state, phase, factor, config, world)


def learn(state: TrainingState, phase: Phase, factor: float, config: TrainConfig, world: World) -> Metrics:
    """Update the generator by its phase, count the step, and have the average follow; returns the metrics.

    Args:
        factor: of the learning rate.
    """
    norm = update(state.generator_optimizer, phase.loss, factor * config.lr_generator, config, world)
    new_samples = config.batch_size * world.size
    state.step += 1
    state.samples += new_samples
    state.generator_ema.update(state.generator, state.samples, new_samples)
    return phase.metrics | {"generator/gradient_norm": norm}


def update(optimizer: Adam, loss: Tensor, learning_rate: float, config: TrainConfig, world: World) -> Tensor:
    """One step down the gradient of `loss`, averaged over processes and clipped; returns its norm before."""
    (group,) = optimizer.param_groups
    group["lr"] = learning_rate
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    average_gradients(group["params"], world)
    norm = torch.nn.utils.clip_grad_norm_(group["params"], config.clip_norm or torch.inf)
    optimizer.step()
    return norm.detach()


def random_source(config: TrainConfig, first_sample: int) -> torch.Generator:
    """On the CPU: what it draws is a pure function of the run's seed and the first sample's index."""
    return torch.Generator().manual_seed(config.seed * 1_000_003 + first_sample)
