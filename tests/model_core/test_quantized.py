"""The two networks in whole numbers of 8 bits, with the bundled weights."""

import copy

import numpy as np
import pytest
import torch

from model_core import predictor as predictor_module
from model_core.checkpoint import bundled_path, load_checkpoint
from model_core.networks import Generator, observed_peaks
from model_core.predictor import Predictor

pytestmark = pytest.mark.usefixtures("int8")
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def generator() -> Generator:
    return load_checkpoint(bundled_path()).generator


@pytest.fixture(scope="module")
def picture() -> tuple[torch.Tensor, torch.Tensor]:
    """(1, 3, 256, 256) in [-1, 1]: slopes, stripes and noise; (1, 1, 256, 256) with two holes."""
    row, column = torch.meshgrid(torch.linspace(-1, 1, 256), torch.linspace(-1, 1, 256), indexing="ij")
    noise = torch.randn(3, 256, 256, generator=torch.Generator().manual_seed(0)) / 20
    image = torch.stack([row, column, (40 * row * column).cos()]) * 0.8 + noise
    mask = torch.zeros(1, 1, 256, 256)
    mask[..., 60:130, 40:120] = mask[..., 170:180, 20:240] = 1
    return image.clamp(-1, 1)[None], mask


def quantized(generator: Generator) -> Generator:
    found = copy.deepcopy(generator).eval()
    found.quantize(observed_peaks(found))
    return found


@torch.inference_mode()
def test_it_fills_as_floats_do(generator: Generator, picture: tuple[torch.Tensor, torch.Tensor]) -> None:
    """The coarse guess and what is painted are the same to a level or two of 255."""
    image, mask = picture
    exact, found = generator.eval()(image, mask), quantized(generator)(image, mask)
    assert (found.coarse - exact.coarse).abs().mean() * 127.5 < 1
    # Painted from the same copies, since another guess can lead to others.
    features = torch.randn(1, 96, 32, 32, generator=torch.Generator().manual_seed(0)) / 4
    inputs = (exact.copied, image, mask, mask * 0.05, features)
    both = [one.networks.refinement(*inputs) for one in (generator, quantized(generator))]
    levels = (both[0] - both[1]).abs() * 127.5
    assert levels.mean() < 1.5
    assert levels.flatten().quantile(0.99) < 8


def test_training_stays_in_floats(tiny_generator: Generator) -> None:
    """Gradients reach every weight that they reach otherwise."""
    image, mask = torch.rand(1, 3, 64, 64), torch.zeros(1, 1, 64, 64)
    mask[..., 20:40, 20:40] = 1
    reached = []
    for generator in (copy.deepcopy(tiny_generator).train(), quantized(tiny_generator).train()):
        generator(image, mask).prediction.sum().backward()
        reached.append([name for name, part in generator.named_parameters() if part.grad is not None])
    assert reached[0] == reached[1]
    assert "coarse.to_eighth.weight" in reached[0]


def test_a_double_computes_the_same(generator: Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is given what was observed, and need not observe it."""
    predictor = Predictor(generator, CPU, torch.int8)
    monkeypatch.setattr(predictor_module, "observed_peaks", None)
    double = Predictor.from_state(predictor.state())
    rgb = np.random.default_rng(0).random((1, 96, 128, 3), dtype=np.float32)
    holes = np.zeros((1, 96, 128), dtype=bool)
    holes[:, 30:60, 40:90] = True
    [one], [other] = predictor.predict(rgb, holes), double.predict(rgb, holes)
    np.testing.assert_array_equal(one.colours, other.colours)
    floats = Predictor(generator, CPU, torch.float32).predict(rgb, holes)[0].colours
    assert 0 < np.abs(one.colours - floats)[holes[0]].mean() < 0.05


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
@pytest.mark.parametrize("part", ["refinement.to_quarter", "refinement.blocks.0.first", "coarse.up.narrow"])
def test_a_generator_that_diverges_is_not_hidden(tiny_generator: Generator, part: str, value: float) -> None:
    """Numbers of 8 bits are always finite; what they stand for is not."""
    broken = copy.deepcopy(tiny_generator)
    torch.nn.init.constant_(broken.get_submodule(part).weight, value)
    rgb, holes = np.zeros((1, 32, 32, 3), np.float32), np.ones((1, 32, 32), dtype=bool)
    holes[:, :4] = False
    assert not np.isfinite(Predictor(broken, CPU, torch.int8).predict(rgb, holes)[0].colours[holes[0]]).all()
