import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from model_core.checkpoint import load_checkpoint
from training.__main__ import main
from training.cases import Case
from training.config import TrainConfig
from training.errors import OptionError
from training.evaluate import groups_of
from training.export import read_scores
from training.loop import fit
from training.metrics import band_around, score
from training.state import averaged_generator
from training.stlpips import StLpips


@pytest.fixture
def given(tmp_path: Path) -> Path:
    """Two pictures with masks, of which one has a kind."""
    rng = np.random.default_rng(0)
    for name in ("images", "masks"):
        (tmp_path / name).mkdir()
    for index, stem in enumerate(("first", "second")):
        Image.fromarray(rng.integers(0, 256, (80, 96, 3), dtype=np.uint8)).save(
            tmp_path / "images" / f"{stem}.png"
        )
        mask = np.zeros((80, 96), np.uint8)
        mask[20 : 30 + 30 * index, 20:60] = 255
        Image.fromarray(mask).save(tmp_path / "masks" / f"{stem}.png")
    (tmp_path / "masks" / "kinds.json").write_text('{"first": {"kind": "thin", "area": 0.05}}')
    return tmp_path


def test_a_run_is_evaluated_and_exported(
    configure: Callable[..., TrainConfig], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """fit, evaluate and export work one after another, and the service's loader reads the result."""
    config = configure()
    fit(config)
    output, checkpoint = tmp_path / "scores", tmp_path / "out" / "model.safetensors"

    evaluation = ["evaluate", "--run", config.run, "--data", config.data, "--size", "64", "--threads", "1"]
    assert main([*evaluation, "--output", str(output)]) == 0
    export = ["export", "--run", config.run, "--output", str(checkpoint), "--name", "toy"]
    assert main([*export, "--provenance", "noise, CC0", "--scores", str(output / "scores.json")]) == 0

    report = json.loads((output / "scores.json").read_text())
    loaded = load_checkpoint(checkpoint)
    assert loaded.info.scores == report["scores"]
    assert (loaded.info.name, loaded.info.samples, loaded.info.provenance) == ("toy", 16, "noise, CC0")
    trained, _ = averaged_generator(Path(config.run) / "state.pt")
    exported = loaded.generator.state_dict()
    assert all(
        torch.allclose(value, exported[name], atol=1e-3) for name, value in trained.state_dict().items()
    )
    assert "cv2-telea" in capsys.readouterr().out


def test_report_compares_with_opencv_by_kind_and_size(given: Path, tiny_checkpoint: Path) -> None:
    """Scores for every method, over all cases, by kind of mask and by size of hole, with a contact sheet."""
    folders = ["--images", str(given / "images"), "--masks", str(given / "masks")]
    assert (
        main(["evaluate", "--checkpoint", str(tiny_checkpoint), *folders, "--output", str(given / "out")])
        == 0
    )

    report = json.loads((given / "out" / "scores.json").read_text())
    sha256 = load_checkpoint(tiny_checkpoint).sha256
    assert report["model"] == {"name": "tiny", "sha256": sha256, "samples": 0}
    assert {group: entry["cases"] for group, entry in report["groups"].items()} == {
        "all": 2, "given": 1, "thin": 1, "hole 0%-10%": 1, "hole 20%-30%": 1,
    }  # fmt: skip
    everything = report["groups"]["all"]
    assert set(everything) - {"patchmatch"} == {"cases", "ours", "cv2-ns", "cv2-telea"}
    assert everything["cv2-ns"]["ratio"] == 1
    ratio = everything["ours"]["lpips"] / everything["cv2-ns"]["lpips"]
    assert everything["ours"]["ratio"] == pytest.approx(ratio)
    assert set(report["cases"]) == {"first", "second"}
    columns = 5 if "patchmatch" in everything else 4
    for kind in ("given", "thin"):
        with Image.open(given / "out" / f"sheet-{kind}.jpg") as sheet:
            assert sheet.size == (columns * 256, 256)


def test_same_seed_same_cases(given: Path, tiny_checkpoint: Path, photographs_folder: Path) -> None:
    """Evaluating twice gives the same scores; another seed draws other masks."""
    cases = []
    for seed in ("7", "7", "8"):
        out = given / "out"
        flags = [
            "--data",
            str(photographs_folder),
            "--validation-share",
            "0.2",
            "--size",
            "64",
            "--limit",
            "3",
        ]
        main(["evaluate", "--checkpoint", str(tiny_checkpoint), *flags, "--seed", seed, "--output", str(out)])
        cases.append(json.loads((out / "scores.json").read_text())["cases"])

    assert cases[0] == cases[1] != cases[2]
    assert len(cases[0]) == 3


@pytest.mark.parametrize(
    ("break_it", "message"),
    [
        (lambda f: (f / "masks" / "first.png").unlink(), "first.png cannot be read"),
        (lambda f: (f / "masks" / "first.png").write_text("no"), "first.png is not a picture"),
        (lambda f: Image.new("L", (8, 9)).save(f / "masks" / "first.png"), "is (9, 8), its picture (80, 96)"),
        (lambda f: Image.new("L", (96, 80)).save(f / "masks" / "first.png"), "all black"),
        (lambda f: Image.new("L", (96, 80), 255).save(f / "masks" / "first.png"), "all white"),
        (lambda f: (f / "masks" / "kinds.json").write_text("[]"), "kinds.json is not of the form"),
        (lambda f: [p.unlink() for p in (f / "images").iterdir()], "holds no pictures"),
    ],
)
def test_bad_cases_are_refused(
    break_it: Callable[[Path], object],
    message: str,
    given: Path,
    tiny_checkpoint: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Pictures and masks that do not belong together end with status 2 and a sentence."""
    break_it(given)
    folders = ["--images", str(given / "images"), "--masks", str(given / "masks")]

    assert (
        main(["evaluate", "--checkpoint", str(tiny_checkpoint), *folders, "--output", str(given / "out")])
        == 2
    )
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["evaluate", "--run", "/no/run", "--data", "/no/data"], "/no/run/state.pt cannot be read"),
        (["evaluate", "--checkpoint", "/no/file", "--data", "/no/data"], "/no/file cannot be read"),
        (["export", "--run", "/no/run", "--output", "x", "--provenance", "none"], "/no/run/state.pt"),
        (
            ["export", "--run", "r", "--output", "x", "--provenance", "n", "--scores", "/no/s.json"],
            "/no/s.json",
        ),
    ],
)
def test_missing_files_are_named(flags: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Each missing file ends with status 2 and its name."""
    assert main(flags) == 2
    assert message in capsys.readouterr().err


def test_evaluation_needs_kept_out_pictures(
    photographs_folder: Path, tiny_checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without pictures that training kept out, there is nothing fair to measure on."""
    flags = ["--data", str(photographs_folder), "--validation-share", "0"]

    assert main(["evaluate", "--checkpoint", str(tiny_checkpoint), *flags]) == 2
    assert "kept out of training at validation_share 0.0" in capsys.readouterr().err


def test_images_need_masks(tiny_checkpoint: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """--images alone is refused."""
    assert main(["evaluate", "--checkpoint", str(tiny_checkpoint), "--images", "here"]) == 2
    assert "belong together" in capsys.readouterr().err


@pytest.mark.parametrize("text", ['{"ratio": "good"}', "[1]", "{"])
def test_scores_that_are_no_numbers_are_refused(text: str, tmp_path: Path) -> None:
    """Only names with numbers are carried into a checkpoint."""
    (tmp_path / "scores.json").write_text(text)

    with pytest.raises(OptionError, match=r"scores\.json"):
        read_scores(tmp_path / "scores.json")


def test_scores_of_a_known_difference() -> None:
    """A hole that is off by 10 levels has an L1 of 10 and 28.13 dB."""
    truth = np.random.default_rng(0).integers(50, 200, (96, 96, 3), dtype=np.uint8)
    hole = np.zeros((96, 96), bool)
    hole[30:60, 30:60] = True
    filled = truth.copy()
    filled[hole] += 10
    metric = StLpips()

    off, perfect = score(filled, truth, hole, metric), score(truth, truth, hole, metric)
    filled[hole] = truth[hole][::-1]
    scrambled = score(filled, truth, hole, metric)

    assert off["l1"] == pytest.approx(10)
    assert off["psnr"] == pytest.approx(28.13, abs=0.01)
    assert off["lpips_hole"] > off["lpips"] > 0
    assert scrambled["ssim_around"] > 0.5 > scrambled["ssim"]
    assert scrambled["lpips_hole"] > scrambled["lpips_around"] > 0
    assert (perfect["l1"], perfect["ssim"], perfect["lpips"]) == (0, pytest.approx(1), pytest.approx(0))


def test_band_lies_around_the_hole() -> None:
    """The band has no hole pixel and reaches 1/32 of the side."""
    hole = np.zeros((128, 128), bool)
    hole[40:60, 40:60] = True
    band = band_around(hole)

    assert not (band & hole).any()
    assert band[36, 50]
    assert not band[35, 50]
    assert not band_around(np.ones((32, 32), bool)).any()


@pytest.mark.parametrize(
    ("rows", "group"),
    [(5, "hole 0%-10%"), (15, "hole 10%-20%"), (45, "hole 30%-50%"), (100, "hole 50%-100%")],
)
def test_cases_are_grouped_by_the_share_of_hole(rows: int, group: str) -> None:
    """Every case counts in all, its kind, and its hole's size."""
    hole = np.zeros((100, 10), bool)
    hole[:rows] = True

    assert groups_of(Case("name", np.zeros((100, 10, 3), np.uint8), hole, "thin")) == ["all", "thin", group]
