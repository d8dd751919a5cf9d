"""The training state: everything that a run needs to go on, in memory and as a file.

The file holds tensors and plain containers only and is read with weights_only=True, so loading one runs no
code. It is written beside its destination and moved over it: whatever kills the run, the file is the old one
or the new one, whole.
"""

import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch.optim import Adam

from model_core.checkpoint import open_atomically
from model_core.config import GeneratorConfig
from model_core.errors import ConfigError
from model_core.networks import Generator
from training.config import TrainConfig
from training.discriminator import Discriminator, build_discriminator
from training.ema import AveragedWeights
from training.errors import DivergedError, StateError
from training.schedule import uses_discriminator

FORMAT = "inpainting-training-state"
FORMAT_VERSION = 1
FILE_NAME = "state.pt"


@dataclass
class TrainingState:
    """A run at one moment.

    Attributes:
        step: updates of the generator.
        samples: pictures seen by all processes together.
        minutes: time trained, pauses left out.
    """

    generator: Generator
    generator_ema: AveragedWeights[Generator]
    generator_optimizer: Adam
    discriminator: Discriminator | None
    discriminator_optimizer: Adam | None
    step: int = 0
    samples: int = 0
    minutes: float = 0.0

    def modules(self) -> dict[str, Any]:
        """Everything with a state dict, by its name in the file."""
        named = {
            "generator": self.generator,
            "generator_ema": self.generator_ema.module,
            "generator_optimizer": self.generator_optimizer,
            "discriminator": self.discriminator,
            "discriminator_optimizer": self.discriminator_optimizer,
        }
        return {name: module for name, module in named.items() if module is not None}


def build_state(config: TrainConfig, device: torch.device) -> TrainingState:
    """A run at its start: random weights drawn with the configuration's seed."""
    torch.manual_seed(config.seed)
    generator = Generator(config.generator).to(device).to(memory_format=torch.channels_last)
    betas = (config.beta1, config.beta2)
    state = TrainingState(
        generator=generator,
        generator_ema=AveragedWeights(generator, config.ema_half_life_samples),
        generator_optimizer=Adam(generator.parameters(), config.lr_generator, betas),
        discriminator=None,
        discriminator_optimizer=None,
    )
    if uses_discriminator(config):
        discriminator = build_discriminator(config.discriminator)
        discriminator = discriminator.to(device).to(memory_format=torch.channels_last)
        state.discriminator = discriminator
        state.discriminator_optimizer = Adam(discriminator.parameters(), config.lr_discriminator, betas)
    return state


def save_state(path: Path, state: TrainingState, config: TrainConfig) -> None:
    """Write the state to `path` in one step.

    Raises:
        DivergedError: the generator is no longer made of finite numbers; the file stays as it was.
    """
    if not all(parameter.isfinite().all() for parameter in state.generator.parameters()):
        raise DivergedError(
            f"the generator's weights are no longer finite at step {state.step}; {path} is kept"
        )
    values: dict[str, Any] = {name: module.state_dict() for name, module in state.modules().items()}
    values |= {"format": FORMAT, "format_version": FORMAT_VERSION, "config": config.to_dict()}
    values |= {"step": state.step, "samples": state.samples, "minutes": state.minutes}
    with open_atomically(path) as file:
        torch.save(values, file)


def restore_state(path: Path, state: TrainingState, config: TrainConfig) -> None:
    """Set `state` to what the file at `path` holds. A discriminator that the file lacks keeps its start.

    Raises:
        StateError: the file cannot be read, or belongs to other networks than `config` describes.
    """
    values = read_state(path)
    # Fields that are newer than the file have their defaults.
    try:
        stored = GeneratorConfig.from_dict(values["config"]["generator"])
    except ConfigError as error:
        raise StateError(f"{path} is of another version: {error}") from error
    if stored != config.generator:
        raise StateError(f"{path} is of another generator ({stored}); expected {config.generator}")
    try:
        for name, module in state.modules().items():
            if name in values:
                module.load_state_dict(values[name])
    except (RuntimeError, ValueError) as error:
        raise StateError(f"{path} does not fit the configuration: {error}") from error
    state.step, state.samples, state.minutes = values["step"], values["samples"], values["minutes"]


def read_state(path: Path) -> dict[str, Any]:
    """The file's contents, tensors on the CPU.

    Raises:
        StateError: the file is missing, damaged, or no training state of this version.
    """
    try:
        values = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise StateError(f"training state {path} cannot be read: {error.strerror}") from error
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError) as error:
        raise StateError(f"training state {path} is damaged or no training state") from error
    if not isinstance(values, dict) or values.get("format") != FORMAT:
        raise StateError(f"{path} is no training state")
    if values["format_version"] != FORMAT_VERSION:
        raise StateError(f"{path} has format version {values['format_version']}; expected {FORMAT_VERSION}")
    return values


def averaged_generator(path: Path) -> tuple[Generator, dict[str, Any]]:
    """The averaged generator of a training state, in eval mode on the CPU, and the file's contents.

    Raises:
        StateError: see `read_state`.
    """
    values = read_state(path)
    generator = Generator(GeneratorConfig.from_dict(values["config"]["generator"]))
    generator.load_state_dict(values["generator_ema"])
    return generator.eval(), values
