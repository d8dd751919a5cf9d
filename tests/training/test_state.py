import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from training.config import TrainConfig
from training.data import Batch
from training.distributed import World
from training.errors import DivergedError, StateError
from training.loop import build_networks
from training.state import (
    TrainingState,
    averaged_generator,
    build_state,
    read_state,
    restore_state,
    save_state,
)
from training.step import train_step

CPU = torch.device("cpu")
Configure = Callable[..., TrainConfig]


def trained(config: TrainConfig) -> TrainingState:
    """A state after two steps, so that optimizers and averages have something to say."""
    state = build_state(config, CPU)
    networks = build_networks(config, state, CPU)
    mask = torch.zeros(2, 1, 64, 64)
    mask[..., 20:40, 20:40] = 1
    for _ in range(2):
        train_step(state, networks, Batch(torch.rand(2, 3, 64, 64), mask), config, 0.5, World(0, 1))
    state.minutes = 1.5
    return state


def flat(values: Any) -> list[Any]:
    """All leaves of nested containers, tensors as lists."""
    if isinstance(values, dict):
        return [leaf for value in values.values() for leaf in flat(value)]
    if isinstance(values, list | tuple):
        return [leaf for value in values for leaf in flat(value)]
    return values.flatten().tolist() if isinstance(values, torch.Tensor) else [values]


def test_everything_comes_back(configure: Configure, tmp_path: Path) -> None:
    """Networks, averages, optimizers and counters are restored exactly."""
    config = configure()
    state = trained(config)
    save_state(tmp_path / "state.pt", state, config)

    other = build_state(configure(seed=5), CPU)
    restore_state(tmp_path / "state.pt", other, config)

    assert (other.step, other.samples, other.minutes) == (2, 4, 1.5)
    for name, module in state.modules().items():
        assert flat(other.modules()[name].state_dict()) == flat(module.state_dict()), name


def test_file_holds_no_code(configure: Configure, tmp_path: Path) -> None:
    """The file loads with weights_only, and holds the whole configuration."""
    config = configure()
    save_state(tmp_path / "state.pt", trained(config), config)

    values = torch.load(tmp_path / "state.pt", weights_only=True)
    assert TrainConfig.from_dict(values["config"]) == config


def test_averaged_generator_is_what_was_averaged(configure: Configure, tmp_path: Path) -> None:
    """Evaluation and export get the averaged weights, in eval mode."""
    config = configure()
    state = trained(config)
    save_state(tmp_path / "state.pt", state, config)

    generator, values = averaged_generator(tmp_path / "state.pt")

    assert not generator.training
    assert values["samples"] == 4
    assert flat(generator.state_dict()) == flat(state.generator_ema.module.state_dict())
    assert flat(generator.state_dict()) != flat(state.generator.state_dict())


@pytest.mark.parametrize("content", [b"", b"I am no state", "cut", {"format": "another"}, [1, 2]])
def test_other_files_are_refused(content: Any, configure: Configure, tmp_path: Path) -> None:
    """Empty, foreign, truncated and unrelated files are refused by name."""
    path = tmp_path / "state.pt"
    if content == "cut":
        save_state(path, trained(configure()), configure())
        content = path.read_bytes()[:5000]
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        torch.save(content, path)

    with pytest.raises(StateError, match=r"state\.pt"):
        read_state(path)


def test_missing_file_and_other_version_are_refused(configure: Configure, tmp_path: Path) -> None:
    """A file that is not there, or of a version to come, is refused."""
    with pytest.raises(StateError, match="No such file"):
        read_state(tmp_path / "state.pt")

    torch.save({"format": "inpainting-training-state", "format_version": 99}, tmp_path / "state.pt")
    with pytest.raises(StateError, match="version 99; expected 1"):
        read_state(tmp_path / "state.pt")


def test_state_of_another_generator_is_refused(configure: Configure, tmp_path: Path) -> None:
    """A run cannot go on with networks of another size."""
    config = configure()
    save_state(tmp_path / "state.pt", trained(config), config)

    wider = configure(generator=config.generator.to_dict() | {"refine_width": 8})
    with pytest.raises(StateError, match="another generator"):
        restore_state(tmp_path / "state.pt", build_state(wider, CPU), wider)

    critic = configure(discriminator={"width": 8, "layers": 2})
    with pytest.raises(StateError, match="does not fit"):
        restore_state(tmp_path / "state.pt", build_state(critic, CPU), critic)


def test_a_state_from_before_there_was_a_field_resumes(configure: Configure, tmp_path: Path) -> None:
    """What the file does not name was as its default is."""
    config, path = configure(), tmp_path / "state.pt"
    save_state(path, trained(config), config)
    values = read_state(path)
    del values["config"]["generator"]["refine_hidden"]
    torch.save(values, path)
    state = build_state(config, CPU)
    restore_state(path, state, config)
    assert state.step == 2

    values["config"]["generator"]["of_the_future"] = 1
    torch.save(values, path)
    with pytest.raises(StateError, match=r"state\.pt is of another version: .*of_the_future"):
        restore_state(path, build_state(config, CPU), config)


def test_adversarial_losses_can_be_added_later(configure: Configure, tmp_path: Path) -> None:
    """A state without discriminator resumes in a run that has one."""
    plain = configure(losses={"perceptual": 0, "adversarial": 0, "feature_matching": 0})
    save_state(tmp_path / "state.pt", trained(plain), plain)

    state = build_state(configure(), CPU)
    restore_state(tmp_path / "state.pt", state, configure())

    assert state.step == 2
    assert state.discriminator is not None


def test_diverged_weights_do_not_replace_good_ones(configure: Configure, tmp_path: Path) -> None:
    """A generator with a weight that is no number is not saved, and the file of before stays."""
    config, path = configure(), tmp_path / "state.pt"
    state = trained(config)
    save_state(path, state, config)
    good = path.read_bytes()

    next(state.generator.parameters()).data.fill_(math.nan)
    with pytest.raises(DivergedError, match="no longer finite at step 2"):
        save_state(path, state, config)

    assert path.read_bytes() == good
    assert [file.name for file in tmp_path.iterdir()] == ["state.pt"]
