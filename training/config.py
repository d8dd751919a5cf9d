"""The one object that describes a training run, and its JSON form."""

import dataclasses
import json
import math
import typing
from pathlib import Path
from typing import Any, Literal

from model_core.checkpoint import open_atomically
from model_core.config import GeneratorConfig
from training.errors import OptionError
from training.fields import build, leaves
from training.view import CELL

Kind = Literal["thin", "medium", "thick", "boxes", "objects"]
# The least value of numbers that may not go down to 0.
SMALLEST: dict[str, float] = {
    "batch_size": 1,
    "crop_size": 32,
    "device_masks": 1,
    "log_every_steps": 1,
    "sample_every_steps": 1,
    "ema_half_life_samples": 1,
    "discriminator.width": 1,
    "discriminator.layers": 1,
    "losses.r1_interval": 1,
    "augmentation.min_zoom": 0.1,
    "augmentation.max_zoom": 0.1,
    "masks.max_zoom": 1,
}


MOST_MIN_AREA = 0.3


@dataclasses.dataclass(frozen=True)
class MaskConfig:
    """Which masks are drawn; see `masks` for the kinds' distributions.

    Attributes:
        thin, medium, thick, boxes, objects: relative frequency of each kind.
        max_zoom: masks are drawn for a picture up to this many times as large as the crop, and cut to it. At
            2, crops of 256 pixels have holes as large as those in pictures of 512, which is what the
            generator meets in use.
        min_area: masks with a smaller share of hole are drawn again. A few pixels of hole waste a sample, and
            those with much hole teach the most. At most 0.3: thin masks rarely have more.
    """

    thin: float = 0.7
    medium: float = 1.0
    thick: float = 1.5
    boxes: float = 0.25
    objects: float = 0.4
    max_zoom: float = 2.0
    min_area: float = 0.15


@dataclasses.dataclass(frozen=True)
class AugmentationConfig:
    """How crops vary.

    Attributes:
        min_zoom, max_zoom: range of the crops' sides before they are resized, as multiples of crop_size; a
            picture's shorter side bounds both. Near 1, the generator learns the sharpness that photographs
            have at their own scale; far above, that of reduced ones.
        aspect: largest stretch of a crop's width over its height, 0.1 = up to 10%.
        flip: probability of a horizontal flip.
        brightness, contrast, saturation: largest relative change of each.
    """

    min_zoom: float = 1.0
    max_zoom: float = 1.3
    aspect: float = 0.05
    flip: float = 0.5
    brightness: float = 0.05
    contrast: float = 0.05
    saturation: float = 0.05


@dataclasses.dataclass(frozen=True)
class DiscriminatorConfig:
    """The discriminator.

    Attributes:
        kind: "patch" learns all of its features; "projected" looks at those of a frozen AlexNet.
        width: channels of the first layer; with "patch" doubled by each further one up to 8 times as many.
        layers: strided layers of "patch"; the receptive field roughly doubles with each.
        spectral_norm: bound every layer's Lipschitz constant (Miyato et al., arXiv 1802.05957).
    """

    kind: Literal["patch", "projected"] = "patch"
    width: int = 48
    layers: int = 3
    spectral_norm: bool = True


@dataclasses.dataclass(frozen=True)
class LossConfig:
    """Weights of the generator's losses, and how the discriminator learns. A weight of 0 leaves the term out.

    Attributes:
        l1_hole, l1_known: mean absolute difference in the hole and outside of it, in [0, 2].
        coarse: mean absolute difference of the generator's early guess and the reduced truth, in the hole.
        coarse_perceptual: feature distance of the same two; it rewards a guess that commits itself, where the
            mean of all that could be there is a blur.
        colour: mean absolute difference of the composited picture and the truth, both reduced to 1/8, in the
            hole; feature distances hardly see a wrong colour.
        excess_detail: detail of brightness, in the hole, beyond that of the copies and, near the border,
            that of the truth; against ripples and beads.
        excess_colour_detail: the same of colour, against lattices of colours.
        excess_spectrum: logarithm of the power of single frequencies, in small windows of the hole, beyond
            that of the copies; against hatching.
        perceptual: feature distance of the composited picture, per share of hole.
        perceptual_trunk: whose features: "alexnet", "vgg16" (dearer), or "st-lpips", the metric itself
            (dearest).
        perceptual_scale: reduce the pictures by this factor first (1, 2 or 4).
        adversarial: weight of the adversarial loss.
        adversarial_kind: which one.
        feature_matching: distance of the discriminator's features.
        r1: gamma of the gradient penalty on real pictures; 0 = none.
        r1_interval: apply it every so many steps, so many times stronger.
        gradient_penalty: weight of the penalty that "wasserstein" needs.
    """

    l1_hole: float = 1.0
    l1_known: float = 0.0
    coarse: float = 1.0
    coarse_perceptual: float = 0.0
    colour: float = 2.0
    excess_detail: float = 50.0
    excess_colour_detail: float = 80.0
    excess_spectrum: float = 10.0
    perceptual: float = 6.0
    perceptual_trunk: Literal["alexnet", "vgg16", "st-lpips"] = "alexnet"
    perceptual_scale: Literal[1, 2, 4] = 1
    adversarial: float = 90.0
    adversarial_kind: Literal["non-saturating", "hinge", "least-squares", "wasserstein"] = "hinge"
    feature_matching: float = 300.0
    r1: float = 0.0
    r1_interval: int = 16
    gradient_penalty: float = 10.0


@dataclasses.dataclass(frozen=True)
class TrainConfig:
    """A training run.

    Progress goes from 0 to 1 as samples approach total_samples or minutes approach max_minutes, whichever is
    nearer. With max_minutes, the schedule depends on the clock, and two runs are no longer equal.

    Attributes:
        data: folder of pictures, searched recursively.
        run: folder that the run writes: config.json, state.pt, stats.jsonl, TensorBoard events.
        init: an exported checkpoint to start from; empty = random weights.
        seed: of weights, crops and masks.
        device: "auto", "cpu", "cuda", "cuda:N" or "mps".
        precision: of convolutions; weights and losses are always float32.
        threads: CPU threads; 0 = as many as torch thinks fit.
        total_samples: pictures to train on, repetitions counted; 0 = no limit.
        max_minutes: training time, pauses between resumed runs left out; 0 = no limit.
        batch_size: pictures a step and process.
        crop_size: side of training crops in pixels.
        validation_share: share of the pictures kept out of training, chosen by their names.
        cache_gigabytes: decoded photographs kept in memory; what does not fit is decoded anew for each crop.
        cache: where they are kept: in "host" memory, or on the "device", where whole batches are then made.
        device_masks: masks drawn in advance with cache "device"; each is used again, turned and mirrored.
        lr_generator, lr_discriminator: learning rates of Adam.
        beta1, beta2: Adam's decay rates.
        clip_norm: largest norm of a gradient.
        lr_warm_up_samples: linear rise of the learning rates.
        lr_tail_share: last part of the progress, in which the learning rates fall along a cosine.
        reconstruction_share: first part of the progress, without adversarial losses.
        ema_half_life_samples: how fast the averaged weights forget.
        log_every_steps, sample_every_steps: intervals of numbers and of sample pictures in the logs.
        save_every_seconds: interval of training states.
    """

    data: str = ""
    run: str = "runs/default"
    init: str = ""
    seed: int = 0
    device: str = "auto"
    precision: Literal["auto", "bf16", "fp32"] = "auto"
    threads: int = 0
    total_samples: int = 200_000
    max_minutes: float = 0.0
    batch_size: int = 8
    crop_size: int = 256
    validation_share: float = 0.03
    cache_gigabytes: float = 4.0
    cache: Literal["host", "device"] = "host"
    device_masks: int = 16384
    lr_generator: float = 4e-4
    lr_discriminator: float = 4e-4
    beta1: float = 0.9
    beta2: float = 0.99
    clip_norm: float = 5.0
    lr_warm_up_samples: int = 800
    lr_tail_share: float = 0.4
    reconstruction_share: float = 0.1
    ema_half_life_samples: int = 1000
    log_every_steps: int = 10
    sample_every_steps: int = 500
    save_every_seconds: float = 120.0
    generator: GeneratorConfig = dataclasses.field(default_factory=GeneratorConfig)
    discriminator: DiscriminatorConfig = dataclasses.field(default_factory=DiscriminatorConfig)
    losses: LossConfig = dataclasses.field(default_factory=LossConfig)
    masks: MaskConfig = dataclasses.field(default_factory=MaskConfig)
    augmentation: AugmentationConfig = dataclasses.field(default_factory=AugmentationConfig)

    def to_dict(self) -> dict[str, Any]:
        """The fields as JSON-ready values."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "TrainConfig":
        """Build from `to_dict`'s result; fields left out take their defaults.

        Raises:
            OptionError: a field is unknown, of another type, or out of its range.
            ConfigError: the same in the generator's part.
        """
        config = build(cls, values, "")
        _require_ranges(config)
        return config


def load_config(path: str | Path) -> dict[str, Any]:
    """The JSON object in a configuration file; it need not name every field.

    Raises:
        OptionError: the file cannot be read or is not a JSON object.
    """
    try:
        values = json.loads(Path(path).read_text())
    except OSError as error:
        raise OptionError(f"configuration {path} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise OptionError(f"configuration {path} is not JSON: {error}") from error
    if not isinstance(values, dict):
        raise OptionError(f"configuration {path} holds a {type(values).__name__}; expected an object")
    return values


def save_config(path: Path, config: TrainConfig) -> None:
    """Write `config` as JSON, in one step."""
    with open_atomically(path) as file:
        file.write((json.dumps(config.to_dict(), indent=2) + "\n").encode())


def _require_ranges(config: TrainConfig) -> None:
    for name, value in leaves(config.to_dict()):
        if type(value) in (int, float) and not SMALLEST.get(name, 0) <= value < math.inf:
            raise OptionError(f"{name} is {value}; expected at least {SMALLEST.get(name, 0)}")
    for name in ("validation_share", "lr_tail_share", "reconstruction_share"):
        if getattr(config, name) > 1:
            raise OptionError(f"{name} is {getattr(config, name)}; expected a share from 0 to 1")
    if config.masks.min_area > MOST_MIN_AREA:
        raise OptionError(f"masks.min_area is {config.masks.min_area}; expected at most {MOST_MIN_AREA}")
    zooms = config.augmentation
    if zooms.min_zoom > zooms.max_zoom:
        raise OptionError(
            f"augmentation.min_zoom is {zooms.min_zoom}; expected at most max_zoom, {zooms.max_zoom}"
        )
    multiple = config.generator.size_multiple
    if config.crop_size % multiple:
        raise OptionError(f"crop_size is {config.crop_size}; expected a multiple of {multiple}")
    layers = config.discriminator.layers
    least = 3 * 2**layers + CELL
    if config.crop_size < least:
        raise OptionError(
            f"crop_size is {config.crop_size}; a discriminator of {layers} layers needs {least}, "
            f"all but {CELL} of which it sees at a time"
        )
    if not any(getattr(config.masks, kind) for kind in typing.get_args(Kind)):
        raise OptionError("all mask frequencies are 0; expected at least one above 0")
    if not config.total_samples and not config.max_minutes:
        raise OptionError("total_samples and max_minutes are both 0; expected a limit on one of them")
