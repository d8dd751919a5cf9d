"""Fewer blocks that paint what more of them do."""

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
from training.distil import distil, with_fewer_blocks
from training.errors import OptionError
from training.phases import Networks, Phase, generator_phase
from training.state import averaged_generator

Configure = Callable[..., TrainConfig]


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """Of a generator with three blocks, all of which do something."""
    torch.manual_seed(0)
    generator = Generator(dataclasses.replace(GeneratorConfig.tiny(), refine_blocks=3))
    for part in (*(block.second for block in generator.refinement.blocks), generator.refinement.to_image):
        nn.init.normal_(part.weight, std=0.1)
    path = tmp_path / "whole.safetensors"
    info = dataclasses.replace(UNSAVED, created="2026-01-01T00:00:00+00:00")
    save_checkpoint(path, generator.eval(), info)
    return path


def painted(generator: Generator) -> Tensor:
    """What a generator fills a hole with."""
    image = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(1)) * 2 - 1
    mask = torch.zeros(1, 1, 64, 64)
    mask[..., 16:40, 20:50] = 1
    with torch.inference_mode():
        return generator.eval()(image, mask).prediction[..., 16:40, 20:50]


def test_it_learns_what_the_whole_one_paints(configure: Configure, checkpoint: Path) -> None:
    """Only by its refinement: the coarse network, which chooses what is copied, is the same."""
    config = configure(
        init=str(checkpoint),
        total_samples=320,
        lr_generator=0.001,
        lr_warm_up_samples=0,
        ema_half_life_samples=20,
    )
    assert distil(config, blocks=1) == 0
    whole = load_checkpoint(checkpoint).generator
    learned, values = averaged_generator(Path(config.run) / "state.pt")
    assert learned.config == dataclasses.replace(whole.config, refine_blocks=1)
    assert values["samples"] == 320
    for name, tensor in learned.coarse.state_dict().items():
        assert tensor.equal(whole.coarse.state_dict()[name])
    cut = Generator(learned.config)
    cut.load_state_dict({name: whole.state_dict()[name] for name in cut.state_dict()})
    error, before = ((painted(one) - painted(whole)).abs().mean() for one in (learned, cut))
    assert error < 0.9 * before


def test_it_is_taught_what_is_painted(
    configure: Configure, checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And not what is answered, in which copies may stand instead: here they all do."""
    monkeypatch.setattr(
        generator_module,
        "_copied_share",
        lambda eighth, misfit: F.interpolate(misfit * 0 + 1, scale_factor=8),
    )
    whole, differences = load_checkpoint(checkpoint).generator.train(), []

    def compared(networks: Networks, target: Batch, fill: Fill, *rest: object, **options: object) -> Phase:
        answer = whole(target.image, target.mask).prediction
        differences.append(((target.image - answer).abs() * target.mask).sum() / target.mask.sum())
        return generator_phase(networks, target, fill, *rest, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(distil_module, "generator_phase", compared)
    assert distil(configure(init=str(checkpoint), total_samples=4), blocks=2) == 0
    assert min(differences) > 0.05


def test_the_command_goes_on_where_it_stopped(
    configure: Configure, checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = configure(init=str(checkpoint), total_samples=4)
    (tmp_path / "given.json").write_text(json.dumps(config.to_dict()))
    command = ["distil", "--config", str(tmp_path / "given.json"), "--blocks", "2"]
    assert main(command) == 0
    assert main([*command, "--total-samples", "6"]) == 0
    assert "from step 2, 4 samples" in capsys.readouterr().out
    learned, values = averaged_generator(Path(config.run) / "state.pt")
    assert (len(learned.refinement.blocks), values["samples"]) == (2, 6)


@pytest.mark.parametrize("blocks", [0, 3, 4])
def test_numbers_of_blocks_that_cannot_be(configure: Configure, checkpoint: Path, blocks: int) -> None:
    with pytest.raises(OptionError, match=rf"blocks is {blocks}; expected 1 to 2, for .*whole.* has 3"):
        with_fewer_blocks(configure(init=str(checkpoint)), blocks)


def test_a_checkpoint_is_needed(configure: Configure) -> None:
    with pytest.raises(OptionError, match="--init"):
        with_fewer_blocks(configure(), 1)
