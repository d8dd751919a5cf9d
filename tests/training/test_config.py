import json
from pathlib import Path
from typing import Any

import pytest

from model_core.config import GeneratorConfig
from model_core.errors import ConfigError
from training.__main__ import main
from training.config import LossConfig, TrainConfig, load_config, save_config
from training.errors import OptionError
from training.fields import leaves


def test_json_keeps_every_field(tmp_path: Path) -> None:
    """A configuration comes back from its file as it was, nested parts included."""
    config = TrainConfig(data="photos", generator=GeneratorConfig.tiny(), losses=LossConfig(r1=0.5))

    save_config(tmp_path / "config.json", config)

    assert TrainConfig.from_dict(load_config(tmp_path / "config.json")) == config


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"batch": 4}, "unknown field batch;"),
        ({"losses": {"lpips": 1.0}}, r"unknown field losses\.lpips;"),
        ({"losses": 3}, "losses is 3; expected an object"),
        ({"batch_size": "4"}, "batch_size is '4'; expected int"),
        ({"batch_size": True}, "batch_size is True; expected int"),
        ({"batch_size": 0}, "batch_size is 0; expected at least 1"),
        ({"lr_generator": -1.0}, "lr_generator is -1.0; expected at least 0"),
        ({"lr_generator": float("nan")}, "lr_generator is nan"),
        ({"lr_generator": float("inf")}, "lr_generator is inf"),
        ({"validation_share": 1.5}, "validation_share is 1.5; expected a share"),
        ({"augmentation": {"min_zoom": 2.0}}, "augmentation.min_zoom is 2.0; expected at most max_zoom, 1.3"),
        ({"masks": {"min_area": 0.4}}, "masks.min_area is 0.4; expected at most 0.3"),
        ({"crop_size": 250}, "crop_size is 250; expected a multiple of 32"),
        ({"crop_size": 64, "discriminator": {"layers": 5}}, "5 layers needs 104"),
        ({"precision": "fp8"}, "precision is 'fp8'; expected one of auto, bf16, fp32"),
        ({"losses": {"adversarial_kind": "dcgan"}}, "adversarial_kind is 'dcgan'; expected one of non-sat"),
        (
            {"masks": dict.fromkeys(["thin", "medium", "thick", "boxes", "objects"], 0.0)},
            "all mask frequencies",
        ),
        ({"total_samples": 0}, "total_samples and max_minutes are both 0"),
    ],
)
def test_ill_values_are_refused_by_name(values: dict[str, Any], message: str) -> None:
    """Every value that cannot be used is refused with its field's name and what was expected."""
    with pytest.raises(OptionError, match=message):
        TrainConfig.from_dict(values)


def test_ill_generator_is_refused() -> None:
    """The generator's part is checked by its own configuration."""
    with pytest.raises(ConfigError):
        TrainConfig.from_dict({"generator": {"wings": 2}})


@pytest.mark.parametrize("text", ["{", "[1]", None])
def test_unreadable_file_is_refused(text: str | None, tmp_path: Path) -> None:
    """A file that is missing, no JSON, or no object is refused by name."""
    path = tmp_path / "config.json"
    if text is not None:
        path.write_text(text)

    with pytest.raises(OptionError, match=r"config\.json"):
        load_config(path)


def test_flags_override_the_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Defaults give way to --config, and that to flags, field by field."""
    path = tmp_path / "given.json"
    path.write_text('{"batch_size": 5, "seed": 1, "losses": {"coarse": 2.0, "r1": 1.0}}')

    flags = ["--seed", "9", "--losses.r1", "3", "--discriminator.spectral-norm", "no", "--run", str(tmp_path)]
    status = main(["fit", "--config", str(path), *flags, "--dry-run"])

    printed = json.loads(capsys.readouterr().out)
    assert status == 0
    assert (printed["batch_size"], printed["seed"], printed["lr_generator"]) == (5, 9, 4e-4)
    assert (printed["losses"]["coarse"], printed["losses"]["r1"]) == (2.0, 3.0)
    assert printed["discriminator"]["spectral_norm"] is False


@pytest.mark.parametrize(("flag", "text"), [("--seed", "x"), ("--discriminator.spectral-norm", "perhaps")])
def test_flags_that_cannot_be_read_are_named(
    flag: str, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A flag whose value is of another type ends with status 2 and its name."""
    assert main(["fit", flag, text]) == 2
    assert f"{flag.strip('-').replace('-', '_')} is '{text}'" in capsys.readouterr().err


def test_every_field_has_a_flag(capsys: pytest.CaptureFixture[str]) -> None:
    """The help names a flag for every field of the configuration."""
    with pytest.raises(SystemExit) as stop:
        main(["fit", "--help"])

    text = capsys.readouterr().out
    assert stop.value.code == 0
    assert [n for n, _ in leaves(TrainConfig().to_dict()) if f"--{n.replace('_', '-')} " not in text] == []
