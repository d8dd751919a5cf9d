"""Smaller generators that fill almost as before."""

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from model_core.checkpoint import load_checkpoint, save_checkpoint
from model_core.config import GeneratorConfig
from model_core.inpainter import UNSAVED
from model_core.networks import Generator
from tests.training.conftest import make_photograph
from training.__main__ import main
from training.data import Batch
from training.errors import OptionError
from training.prune import Channels, inner_channels, prune, smaller, strengths

CONFIG = dataclasses.replace(GeneratorConfig.tiny(), refine_blocks=3, coarse_blocks=2)


@pytest.fixture
def whole() -> Generator:
    """A generator all of whose layers do something."""
    torch.manual_seed(0)
    generator = Generator(CONFIG).eval()
    for part in generator.modules():
        if isinstance(part, nn.Conv2d):
            nn.init.normal_(part.weight, std=0.1)
            nn.init.normal_(part.bias, std=0.1)
    return generator


def batches(count: int = 2) -> Iterator[Batch]:
    source = torch.Generator().manual_seed(1)
    mask = torch.zeros(1, 1, 64, 64)
    mask[..., 16:40, 20:50] = 1
    for _ in range(count):
        yield Batch(torch.rand(1, 3, 64, 64, generator=source) * 2 - 1, mask)


@torch.inference_mode()
def painted(generator: Generator) -> Tensor:
    (batch,) = batches(1)
    prediction: Tensor = generator(batch.image, batch.mask).prediction[..., 16:40, 20:50]
    return prediction


def weaken(whole: Generator, channels: Channels) -> None:
    """Let all but `channels.count` channels do nothing: those given are weighed by 0."""
    taker = whole.get_submodule(channels.taker)
    weight = taker.get_parameter("weight")
    with torch.no_grad():
        weight[:, torch.randperm(weight.shape[1])[channels.count :]] = 0


def test_what_does_nothing_is_left_out(whole: Generator) -> None:
    sizes = {"coarse_hidden": 7, "refine_hidden": 5, "refine_last": 2}
    config = smaller(CONFIG, sizes)
    inner = inner_channels(config)
    assert len(inner) == 2 + 3 + 1
    for channels in inner:
        weaken(whole, channels)
    pruned = prune(whole, config, batches())
    assert pruned.config == config
    assert pruned.refinement.blocks[2].first.weight.shape[:2] == (5, 16)
    assert pruned.refinement.to_image.weight.shape[1] == 2
    torch.testing.assert_close(painted(pruned), painted(whole), atol=1e-4, rtol=0)


def test_a_channel_whose_values_are_small_is_weak_whatever_its_weight(whole: Generator) -> None:
    block = whole.refinement.blocks[0]
    with torch.no_grad():
        block.first.weight[3], block.first.bias[3] = 0, 1e-6
        block.second.weight[:, 3] *= 100
    strength = strengths(whole, batches())["refinement.blocks.0.second"]
    assert strength.shape == (16,)
    assert 0 < strength[3] < strength.median() / 1000


def test_the_first_blocks_stay(whole: Generator) -> None:
    pruned = prune(whole, smaller(CONFIG, {"refine_blocks": 1, "coarse_blocks": 1}), batches())
    weights = whole.state_dict()
    assert all(tensor.equal(weights[name]) for name, tensor in pruned.state_dict().items())
    assert (len(pruned.refinement.blocks), len(pruned.coarse.blocks)) == (1, 1)


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ({"refine_blocks": 3}, "refine_blocks is 3; expected 1 to 2, for it was 3"),
        ({"refine_hidden": 0}, "refine_hidden is 0; expected 1 to 15, for it was 16"),
        ({"coarse_hidden": 20}, "coarse_hidden is 20; expected 1 to 19"),
        ({"refine_last": 4}, "refine_last is 4; expected 1 to 3"),
        ({}, "nothing to leave out; give one of coarse_blocks"),
    ],
)
def test_sizes_that_are_not_smaller(sizes: dict[str, int], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        smaller(CONFIG, sizes)


def test_what_was_pruned_can_be_pruned_again() -> None:
    config = dataclasses.replace(CONFIG, refine_hidden=8)
    assert smaller(config, {"refine_hidden": 7}).refine_hidden == 7
    with pytest.raises(OptionError, match="expected 1 to 7, for it was 8"):
        smaller(config, {"refine_hidden": 8})


def test_the_command_writes_a_checkpoint(
    whole: Generator, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "photographs").mkdir()
    for index in range(3):
        make_photograph(index, 560, 520).save(tmp_path / "photographs" / f"{index}.png")
    before = tmp_path / "whole.safetensors"
    info = dataclasses.replace(UNSAVED, scores={"ratio": 0.5}, created="2026-01-01T00:00:00+00:00")
    save_checkpoint(before, whole, info)
    after = tmp_path / "new" / "pruned.safetensors"
    command = ["prune", "--checkpoint", str(before), "--output", str(after)]
    command += ["--data", str(tmp_path / "photographs"), "--refine-hidden", "6"]
    assert main(command) == 0
    assert "refine_hidden 6" in capsys.readouterr().out
    written = load_checkpoint(after)
    assert written.generator.config == dataclasses.replace(CONFIG, refine_hidden=6)
    assert written.info.scores == {}  # They were another generator's.
    assert written.info.created > info.created


def test_an_output_that_cannot_be_written(
    whole: Generator, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = tmp_path / "whole.safetensors"
    save_checkpoint(before, whole, dataclasses.replace(UNSAVED, created="2026-01-01T00:00:00+00:00"))
    command = ["prune", "--checkpoint", str(before), "--output", str(before / "pruned.safetensors")]
    assert main([*command, "--data", str(tmp_path), "--refine-hidden", "6"]) == 2
    assert "pruned.safetensors cannot be written" in capsys.readouterr().err
