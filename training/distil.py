"""`distil`: a generator with fewer blocks that paints what the one of a checkpoint paints.

Its first blocks and all else are the checkpoint's. Only the refinement learns, and not from photographs but
from what the whole one paints with the same copies (Hinton, Vinyals and Dean, arXiv 1503.02531).
"""

import dataclasses

import torch
from torch import Tensor, nn

from model_core.checkpoint import load_checkpoint
from training.config import LossConfig, TrainConfig
from training.data import Batch
from training.distributed import World
from training.errors import OptionError
from training.loop import Step, fit
from training.phases import Metrics, Networks, composite, generator_phase
from training.schedule import learning_rate_factor
from training.state import TrainingState
from training.step import learn, random_source
from training.view import draw_view

# What there is to learn is exact, so that losses for what cannot be known would only stand in the way.
LOSSES = LossConfig(
    l1_hole=1.0,
    perceptual=0.2,
    coarse=0.0,
    colour=0.0,
    excess_detail=0.0,
    excess_colour_detail=0.0,
    excess_spectrum=0.0,
    adversarial=0.0,
    feature_matching=0.0,
)


def distil(config: TrainConfig, blocks: int) -> int:
    """Train until the configuration's limit, as `loop.fit` does, from the checkpoint `config.init`.

    Args:
        blocks: how many of the refinement's blocks stay.

    Returns, raises: as `fit`.
    """
    return fit(with_fewer_blocks(config, blocks), build_step)


def with_fewer_blocks(config: TrainConfig, blocks: int) -> TrainConfig:
    """The same with so many blocks, and with losses of its own.

    Raises:
        OptionError: there is no checkpoint, or it does not have more blocks.
        CheckpointError: it cannot be read.
    """
    if not config.init:
        raise OptionError("there is nothing to distil; name a checkpoint with --init")
    whole = load_checkpoint(config.init).generator.config
    if not 1 <= blocks < whole.refine_blocks:
        raise OptionError(
            f"blocks is {blocks}; expected 1 to {whole.refine_blocks - 1}, "
            f"for {config.init} has {whole.refine_blocks}"
        )
    return dataclasses.replace(
        config,
        generator=dataclasses.replace(whole, refine_blocks=blocks),
        losses=LOSSES,
    )


def build_step(config: TrainConfig, state: TrainingState, networks: Networks, world: World) -> Step:
    """The step of a run that learns from paintings."""
    device = next(state.generator.parameters()).device
    teacher = load_checkpoint(config.init).generator.to(device).to(memory_format=torch.channels_last)
    teachers = dataclasses.replace(networks, generator=teacher.train().requires_grad_(False))
    shown: list[tuple[Tensor, ...]] = []
    painted: list[Tensor] = []

    def note(_: nn.Module, given: tuple[Tensor, ...], made: Tensor) -> None:
        # Not the teacher's answer: there, copies stand instead of part of what was painted.
        shown[:], painted[:] = [given], [made]

    teacher.refinement.register_forward_hook(note)

    def step(batch: Batch, done: float) -> Metrics:
        with torch.no_grad():
            fill = teachers.fill(batch)
        with networks.autocast():
            prediction = state.generator.refinement(*shown[0]).float()
        target = Batch(composite(painted[0].float(), batch), batch.mask)
        view = draw_view(random_source(config, state.samples))
        fill = fill._replace(prediction=prediction)
        phase = generator_phase(networks, target, fill, config.losses, view, adversarial=False)
        factor = learning_rate_factor(config, state.samples, done)
        return learn(state, phase, factor, config, world)

    return step
