"""`distil`: a generator that learns to paint what another one paints, usually a larger one (`prune`).

Only the refinement learns, and not from photographs but from what the teacher's refinement paints with the
same copies (Hinton, Vinyals and Dean, arXiv 1503.02531).
"""

import dataclasses

import torch
from torch import Tensor, nn

from model_core.checkpoint import load_checkpoint
from model_core.config import GeneratorConfig
from model_core.networks import Generator
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


def distil(config: TrainConfig, teacher: str) -> int:
    """Train until the configuration's limit, as `loop.fit` does, from the checkpoint `config.init`.

    Args:
        teacher: the checkpoint that paints what is to be painted.

    Returns, raises: as `fit`.
        OptionError: there is nothing to start from, it has other sizes than the run that it goes on with, or
            the teacher cannot use what it guesses.
    """
    if not config.init:
        raise OptionError("there is nothing to distil; name a checkpoint with --init")
    painter = load_checkpoint(teacher).generator
    _require_shared(painter.config, config.generator, teacher)
    # A run that goes on has the sizes that it began with.
    start = load_checkpoint(config.init).generator.config
    if start != config.generator:
        raise OptionError(
            f"{config.init} is {start}; expected {config.generator}, as the run in {config.run} is"
        )

    def build_step(config: TrainConfig, state: TrainingState, networks: Networks, world: World) -> Step:
        return distilling_step(painter, config, state, networks, world)

    return fit(dataclasses.replace(config, losses=LOSSES), build_step)


def _require_shared(teacher: GeneratorConfig, student: GeneratorConfig, path: str) -> None:
    for name in ("coarse_width", "patch_size", "coarse_passes"):
        theirs, own = getattr(teacher, name), getattr(student, name)
        if theirs != own:
            raise OptionError(
                f"the teacher {path} has {name} {theirs}; expected {own}, as what learns from it has"
            )


def distilling_step(
    teacher: Generator, config: TrainConfig, state: TrainingState, networks: Networks, world: World
) -> Step:
    """The step of a run that learns from a teacher's paintings."""
    device = next(state.generator.parameters()).device
    teacher = teacher.to(device).to(memory_format=torch.channels_last)
    # Both are shown what the one that learns will be shown.
    teacher.coarse = state.generator.coarse
    teachers = dataclasses.replace(networks, generator=teacher.train())
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
