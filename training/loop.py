"""`fit`: from a configuration to a trained generator."""

import functools
import math
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from model_core.checkpoint import load_checkpoint
from model_core.devices import choose_device, choose_precision, fast_floats
from training.config import LossConfig, TrainConfig, save_config
from training.data import Batch, BatchSource, Samples, batches
from training.device_data import DeviceSamples
from training.distributed import World, join_world, largest, local_device
from training.errors import DataError, OptionError
from training.logs import Log
from training.perceptual import PerceptualLoss
from training.phases import Metrics, Networks
from training.photographs import Photographs, find_pictures, load_photographs, split
from training.report import report, validation_batch
from training.schedule import learning_rate_factor, progress
from training.state import FILE_NAME, TrainingState, build_state, restore_state, save_state
from training.step import train_step
from training.stlpips import StLpips

Step = Callable[[Batch, float], Metrics]
"""What is done with a batch, given the run's progress from 0 to 1."""
BuildStep = Callable[[TrainConfig, TrainingState, Networks, World], Step]

# Kept-out pictures used for the log's sample pictures and validation numbers.
MAX_VALIDATION = 16


def build_step(config: TrainConfig, state: TrainingState, networks: Networks, world: World) -> Step:
    """The step of a run that learns from photographs."""
    return lambda batch, done: train_step(state, networks, batch, config, done, world)


def fit(config: TrainConfig, build_step: BuildStep = build_step) -> int:
    """Train until the configuration's limit, going on where an earlier run in the same folder stopped.

    Args:
        build_step: makes what is done with each batch.

    Returns:
        0 when the limit is reached, 128 + the signal's number when SIGTERM or SIGINT ended the run early.

    Raises:
        TrainingError: data, state or losses cannot be used; ModelCoreError: device or checkpoint cannot.
    """
    device = local_device(choose_device(config.device))
    if config.threads:
        torch.set_num_threads(config.threads)
    with join_world(device) as world, stop_signals() as signals:
        training, validation = load_data(config)
        state = start_or_resume(config, device, world)
        networks = build_networks(config, state, device)
        with Log(config, state.samples, world.is_main) as log:
            log.say(f"{training.summary()}; {config.batch_size} x {world.size} a step on {device}")
            log.say(f"from step {state.step}, {state.samples} samples")
            fixed = validation_batch(validation if len(validation) else training, config, device)
            samples = build_samples(training, config, device)
            step = build_step(config, state, networks, world)
            train(config, state, networks, step, samples, fixed, world, log, signals)
            return 128 + signals[0] if signals else 0


def load_data(config: TrainConfig) -> tuple[Photographs, Photographs]:
    """The photographs to train on and those kept out.

    Raises:
        DataError: the folder is missing or empty, or no picture in it can be used.
    """
    if not config.data:
        raise OptionError("there is no folder of pictures; name one with --data")
    min_side = math.ceil(config.crop_size * min(config.augmentation.min_zoom, 1))
    parts = split(find_pictures(config.data), config.validation_share)
    if not parts[0]:
        raise DataError(
            f"all {len(parts[1])} pictures in {config.data} fall to validation; lower validation_share"
        )
    budget = config.cache_gigabytes * 1e9
    training = load_photographs(parts[0], min_side, budget)
    return training, load_photographs(parts[1][:MAX_VALIDATION], min_side, budget_bytes=0.0)


def build_samples(photographs: Photographs, config: TrainConfig, device: torch.device) -> BatchSource:
    """The sequence of samples, made where `config.cache` says."""
    if config.cache == "device":
        return DeviceSamples(photographs, config, device)
    return Samples(photographs, config, device)


def start_or_resume(config: TrainConfig, device: torch.device, world: World) -> TrainingState:
    """A new run's state, or the one that the run's folder holds; the same in every process.

    Raises:
        StateError: the folder's state does not fit the configuration.
        CheckpointError: the checkpoint to start from cannot be read.
    """
    path = Path(config.run) / FILE_NAME
    state = build_state(config, device)
    if path.exists():
        restore_state(path, state, config)
    elif config.init:
        weights = load_checkpoint(config.init).generator.state_dict()
        state.generator.load_state_dict(weights)
        state.generator_ema.module.load_state_dict(weights)
    if world.is_main:
        path.parent.mkdir(parents=True, exist_ok=True)
        for leftover in path.parent.glob(f".{FILE_NAME}.*.tmp"):
            leftover.unlink()  # Of a run that was killed while it saved.
        save_config(Path(config.run) / "config.json", config)
    return state


def build_networks(config: TrainConfig, state: TrainingState, device: torch.device) -> Networks:
    """The networks of `state`, the frozen one for the perceptual loss, and the precision they run in."""
    automatic = config.precision == "auto"
    precision = fast_floats(device) if automatic else choose_precision(config.precision, device)
    # Half precision on old GPUs would need scaled losses; there, float32 is what is safe.
    reduced = precision == torch.bfloat16
    autocast = functools.partial(torch.autocast, device.type, dtype=torch.bfloat16, enabled=reduced)
    perceptual = build_perceptual(config.losses)
    return Networks(
        state.generator, state.discriminator, perceptual.to(device) if perceptual else None, autocast
    )


def build_perceptual(config: LossConfig) -> PerceptualLoss | StLpips | None:
    """The frozen network that the losses ask for, if any."""
    if not config.perceptual and not config.coarse_perceptual:
        return None
    if config.perceptual_trunk == "st-lpips":
        return StLpips(config.perceptual_scale)
    return PerceptualLoss(config.perceptual_trunk, config.perceptual_scale)


@contextmanager
def stop_signals() -> Iterator[list[int]]:
    """While open, SIGTERM and SIGINT are only noted in the list, for the loop to stop after its step."""
    received: list[int] = []
    wanted = (signal.SIGTERM, signal.SIGINT)
    before = [signal.signal(number, lambda number, _: received.append(number)) for number in wanted]
    try:
        yield received
    finally:
        for number, handler in zip(wanted, before, strict=True):
            signal.signal(number, handler)


def train(
    config: TrainConfig,
    state: TrainingState,
    networks: Networks,
    step: Step,
    samples: BatchSource,
    validation: Batch,
    world: World,
    log: Log,
    signals: list[int],
) -> None:
    """The loop: steps until the limit or a signal, then a last state."""
    path = Path(config.run) / FILE_NAME
    saved_at = tick = time.monotonic()
    logged_at, logged_samples = tick, state.samples
    count = config.batch_size
    first, ahead = state.samples + world.rank * count, samples.device.type != "cpu"
    for batch in batches(samples, first, count, count * world.size, ahead):
        # All processes must stop, and change phase, at the same step.
        now = time.monotonic()
        state.minutes += (now - tick) / 60
        tick = now
        state.minutes, stop = largest([state.minutes, float(bool(signals))], world, samples.device)
        done = progress(config, state.samples, state.minutes)
        if done >= 1 or stop:
            break

        log.add(step(batch, done), state.samples)
        if state.step % config.log_every_steps == 0:
            elapsed, logged_at = time.monotonic() - logged_at, time.monotonic()
            speed, logged_samples = (state.samples - logged_samples) / elapsed, state.samples
            factor = learning_rate_factor(config, state.samples, done)
            log.write(
                state.step,
                {"run/learning_rate": factor * config.lr_generator, "run/samples_per_second": speed},
            )
        if state.step % config.sample_every_steps == 0 and world.is_main:
            report(networks, state, validation, log)
        if time.monotonic() - saved_at > config.save_every_seconds and world.is_main:
            save_state(path, state, config)
            saved_at = time.monotonic()
    if world.is_main:
        save_state(path, state, config)
        log.say(f"stopped at step {state.step}, {state.samples} samples; state in {path}")
