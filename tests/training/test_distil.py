"""A smaller generator that learns to paint what a larger one does."""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from model_core.checkpoint import load_checkpoint, save_checkpoint
from model_core.config import GeneratorConfig
from model_core.inpainter import UNSAVED
from model_core.networks import Fill, Generator
from model_core.networks import generator as generator_module
from training import distil as distil_module
from training.__main__ import main
from training.config import TrainConfig
from training.data import Batch
from training.distil import distil
from training.errors import OptionError
from training.phases import Networks, Phase, generator_phase
from training.state import averaged_generator

Configure = Callable[..., TrainConfig]


@pytest.fixture
def whole(tmp_path: Path) -> Path:
    """The checkpoint of a generator with three blocks, all of which do something."""
    torch.manual_seed(0)
    generator = Generator(dataclasses.replace(GeneratorConfig.tiny(), refine_blocks=3))
    for part in (*(block.second for block in generator.refinement.blocks), generator.refinement.to_image):
        nn.init.normal_(part.weight, std=0.1)
    return saved(generator, tmp_path / "whole.safetensors")


@pytest.fixture
def pruned(whole: Path, tmp_path: Path) -> Path:
    """The checkpoint of one that has the first of them alone."""
    generator = load_checkpoint(whole).generator
    smaller = Generator(dataclasses.replace(generator.config, refine_blocks=1))
    smaller.load_state_dict({name: generator.state_dict()[name] for name in smaller.state_dict()})
    return saved(smaller, tmp_path / "pruned.safetensors")


def saved(generator: Generator, path: Path) -> Path:
    """Where it was saved."""
    save_checkpoint(path, generator.eval(), dataclasses.replace(UNSAVED, created="2026-01-01T00:00:00+00:00"))
    return path


def painted(generator: Generator) -> Tensor:
    """What a generator fills a hole with."""
    image = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(1)) * 2 - 1
    mask = torch.zeros(1, 1, 64, 64)
    mask[..., 16:40, 20:50] = 1
    with torch.inference_mode():
        return generator.eval()(image, mask).prediction[..., 16:40, 20:50]


def test_it_learns_what_the_teacher_paints(configure: Configure, whole: Path, pruned: Path) -> None:
    """Only by its refinement: the coarse network, which chooses what is copied, stays as it is."""
    config = configure(
        init=str(pruned),
        generator=load_checkpoint(pruned).generator.config.to_dict(),
        total_samples=320,
        lr_generator=0.001,
        lr_warm_up_samples=0,
        ema_half_life_samples=20,
    )
    assert distil(config, str(whole)) == 0
    teacher, before = (load_checkpoint(path).generator for path in (whole, pruned))
    learned, values = averaged_generator(Path(config.run) / "state.pt")
    assert learned.config == before.config
    assert values["samples"] == 320
    for name, tensor in learned.coarse.state_dict().items():
        assert tensor.equal(before.coarse.state_dict()[name])
    error, was = ((painted(one) - painted(teacher)).abs().mean() for one in (learned, before))
    assert error < 0.9 * was


def test_it_is_taught_what_is_painted(
    configure: Configure, whole: Path, pruned: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And not what is answered, in which copies may stand instead: here they all do."""
    monkeypatch.setattr(
        generator_module,
        "_copied_share",
        lambda eighth, misfit: F.interpolate(misfit * 0 + 1, scale_factor=8),
    )
    teacher, differences = load_checkpoint(whole).generator.train(), []

    def compared(networks: Networks, target: Batch, fill: Fill, *rest: object, **options: object) -> Phase:
        answer = teacher(target.image, target.mask).prediction
        differences.append(((target.image - answer).abs() * target.mask).sum() / target.mask.sum())
        return generator_phase(networks, target, fill, *rest, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(distil_module, "generator_phase", compared)
    generator = load_checkpoint(pruned).generator.config.to_dict()
    assert distil(configure(init=str(pruned), generator=generator, total_samples=4), str(whole)) == 0
    assert min(differences) > 0.05


def test_both_are_shown_what_the_learning_one_guesses(
    configure: Configure, whole: Path, pruned: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its coarse network may be pruned too, and then guesses, and copies, otherwise than the teacher."""
    student = load_checkpoint(pruned).generator
    nn.init.normal_(student.coarse.to_image.weight, std=0.5)
    start = saved(student, tmp_path / "other.safetensors")
    seen: list[tuple[Batch, Tensor]] = []

    def compared(networks: Networks, target: Batch, fill: Fill, *rest: object, **options: object) -> Phase:
        seen.append((target, fill.coarse))
        return generator_phase(networks, target, fill, *rest, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(distil_module, "generator_phase", compared)
    config = configure(init=str(start), generator=student.config.to_dict(), total_samples=4)
    assert distil(config, str(whole)) == 0
    own, teachers = (load_checkpoint(path).generator.train() for path in (start, whole))
    for target, guess in seen:
        assert guess.equal(own(*target).coarse)
        assert not guess.equal(teachers(*target).coarse)


def test_a_run_goes_on_with_the_sizes_it_has(
    configure: Configure, whole: Path, pruned: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = configure(init=str(pruned), total_samples=4)
    assert distil(config, str(whole)) == 0
    command = ["distil", "--run", config.run, "--init", str(whole), "--teacher", str(whole)]
    assert main(command) == 2
    assert "whole.safetensors is GeneratorConfig(" in capsys.readouterr().err


def test_the_command_goes_on_where_it_stopped(
    configure: Configure, whole: Path, pruned: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    values = configure(total_samples=4).to_dict()
    del values["generator"]  # It is the checkpoint's.
    (tmp_path / "given.json").write_text(json.dumps(values))
    command = ["distil", "--config", str(tmp_path / "given.json"), "--init", str(pruned)]
    command += ["--teacher", str(whole)]
    assert main(command) == 0
    assert main([*command, "--total-samples", "6"]) == 0
    assert "from step 2, 4 samples" in capsys.readouterr().out
    learned, values = averaged_generator(tmp_path / "run" / "state.pt")
    assert (len(learned.refinement.blocks), values["samples"]) == (1, 6)


def test_teachers_must_be_able_to_use_the_same_guess(
    configure: Configure, pruned: Path, tmp_path: Path
) -> None:
    other = Generator(dataclasses.replace(GeneratorConfig.tiny(), coarse_width=8))
    teacher = saved(other, tmp_path / "other.safetensors")
    with pytest.raises(OptionError, match=r"other.safetensors has coarse_width 8; expected 4"):
        distil(configure(init=str(pruned)), str(teacher))


def test_a_checkpoint_is_needed(configure: Configure, whole: Path) -> None:
    with pytest.raises(OptionError, match="--init"):
        distil(configure(), str(whole))
