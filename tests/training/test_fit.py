import dataclasses
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from model_core.checkpoint import load_checkpoint
from training.__main__ import main
from training.config import TrainConfig, save_config
from training.errors import DataError, DivergedError, OptionError
from training.loop import fit
from training.state import read_state

ROOT = Path(__file__).parents[2]
TAGS = [
    "discriminator/accuracy_fake",
    "discriminator/accuracy_real",
    "discriminator/gradient_norm",
    "diversity/colour",
    "diversity/detail",
    "generator/gradient_norm",
    "run/learning_rate",
]
Configure = Callable[..., TrainConfig]


def stats(config: TrainConfig) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (Path(config.run) / "stats.jsonl").read_text().splitlines()]


def losses(config: TrainConfig) -> list[dict[str, Any]]:
    """The logged numbers without those that measure time."""
    return [{k: v for k, v in line.items() if k != "run/samples_per_second"} for line in stats(config)]


def weights(config: TrainConfig) -> torch.Tensor:
    values = read_state(Path(config.run) / "state.pt")
    return torch.cat([t.flatten() for part in ("generator", "generator_ema") for t in values[part].values()])


def test_same_seed_same_losses(configure: Configure, tmp_path: Path) -> None:
    """Two runs with one seed log the same numbers to the last bit; another seed gives others."""
    runs = [
        configure(run=str(tmp_path / name), seed=seed) for name, seed in zip("abc", (0, 0, 1), strict=True)
    ]
    for config in runs:
        assert fit(config) == 0

    first, again, other = (losses(config) for config in runs)
    assert first == again
    assert first != other
    assert torch.equal(weights(runs[0]), weights(runs[1]))


@pytest.mark.parametrize(
    "changes",
    [{"cache": "device", "device_masks": 8}, {"discriminator": {"kind": "projected", "width": 8}}],
)
def test_other_ways_to_train_resume_too(
    configure: Configure, tmp_path: Path, changes: dict[str, Any]
) -> None:
    """Samples made on the device, and a projected discriminator: two parts of a run are the whole run."""
    whole = configure(run=str(tmp_path / "whole"), lr_tail_share=0.0, reconstruction_share=0.0, **changes)
    parts = dataclasses.replace(whole, run=str(tmp_path / "parts"))
    fit(whole)

    fit(dataclasses.replace(parts, total_samples=8))
    fit(parts)

    assert torch.equal(weights(whole), weights(parts))


def test_run_folder_tells_everything(configure: Configure) -> None:
    """A finished run holds its configuration, state, and numbers, the same ones as TensorBoard's events."""
    config = configure(sample_every_steps=4, losses={"perceptual": 1.0})
    fit(config)
    run = Path(config.run)

    assert TrainConfig.from_dict(json.loads((run / "config.json").read_text())) == config
    assert read_state(run / "state.pt")["samples"] == 16
    lines = stats(config)
    assert [line["step"] for line in lines if "generator/loss" in line] == list(range(1, 9))
    assert "discriminator/loss" not in lines[0]
    events = EventAccumulator(str(run)).Reload()
    tags = events.Tags()
    last = [line for line in lines if "generator/loss" in line][-1]
    for tag in TAGS:
        scalars = events.Scalars(tag)
        assert scalars[-1].value == pytest.approx(last[tag], rel=1e-5)
        assert scalars[-1].step == 16
    assert events.Scalars("validation/l1_hole")[-1].value > 0
    assert events.Scalars("validation/perceptual")[-1].value > 0
    assert events.Scalars("diversity/masks")[-1].value > 0
    assert tags["images"] == ["samples/damaged_filled_truth"]
    assert [image.step for image in events.Images("samples/damaged_filled_truth")] == [8, 16]


def test_killed_run_resumes_where_it_was(configure: Configure, tmp_path: Path) -> None:
    """A run killed with SIGKILL goes on from its last state and ends as if it had never been killed."""
    whole = configure(run=str(tmp_path / "whole"), total_samples=60)
    fit(whole)
    config = configure(run=str(tmp_path / "killed"), total_samples=60, save_every_seconds=0)
    save_config(tmp_path / "given.json", config)
    command = [sys.executable, "-m", "training", "fit", "--config", str(tmp_path / "given.json")]
    process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL)
    log = Path(config.run) / "stats.jsonl"
    deadline = time.monotonic() + 120
    while not (log.exists() and log.read_text().count("\n") >= 5):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.kill()
    process.wait()
    assert 0 < read_state(Path(config.run) / "state.pt")["samples"] < 60

    assert fit(config) == 0

    assert torch.equal(weights(config), weights(whole))
    assert losses(config) == losses(whole)
    assert [path.name for path in Path(config.run).iterdir() if path.name.endswith(".tmp")] == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signal_stops_after_the_step_with_the_state_saved(
    number: signal.Signals, configure: Configure
) -> None:
    """Asked to stop, a run saves its state, says so by its exit status, and gives the signals back."""
    config = configure(total_samples=10**6)
    handler = signal.getsignal(number)
    log = Path(config.run) / "stats.jsonl"

    def stop() -> None:
        while not (log.exists() and log.read_text().count("\n") >= 2):
            time.sleep(0.01)
        os.kill(os.getpid(), number)

    thread = threading.Thread(target=stop)
    thread.start()
    status = fit(config)
    thread.join()

    assert status == 128 + number
    assert read_state(Path(config.run) / "state.pt")["step"] == stats(config)[-1]["step"] >= 2
    assert signal.getsignal(number) == handler


def test_resuming_needs_only_the_folder(configure: Configure, capsys: pytest.CaptureFixture[str]) -> None:
    """With --run alone, the run's own configuration is used; flags change it, such as the length."""
    config = configure()
    fit(config)

    assert main(["fit", "--run", config.run, "--total-samples", "20"]) == 0

    assert read_state(Path(config.run) / "state.pt")["samples"] == 20
    assert "from step 8, 16 samples" in capsys.readouterr().out


def test_minutes_end_a_run(configure: Configure) -> None:
    """A run limited by time stops soon after it, and its clock goes on when it is resumed."""
    config = configure(total_samples=0, max_minutes=0.02)
    started = time.monotonic()
    fit(config)

    assert 1.2 <= time.monotonic() - started < 30
    assert read_state(Path(config.run) / "state.pt")["minutes"] >= 0.02
    steps = read_state(Path(config.run) / "state.pt")["step"]
    fit(config)
    assert read_state(Path(config.run) / "state.pt")["step"] == steps


def test_training_starts_from_a_checkpoint(tiny_checkpoint: Path, configure: Configure) -> None:
    """With --init, the generator and its configuration are the checkpoint's."""
    config = configure(init=str(tiny_checkpoint), total_samples=2, lr_generator=0.0)
    fit(config)

    stored = read_state(Path(config.run) / "state.pt")["generator"]
    expected = load_checkpoint(tiny_checkpoint).generator.state_dict()
    assert all(torch.equal(stored[name], expected[name]) for name in expected)


def test_bad_pictures_do_not_stop_a_run(
    configure: Configure, photographs_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A folder with damaged pictures is trained on without them, and they are counted."""
    folder = tmp_path / "mixed"
    folder.mkdir()
    for path in photographs_folder.rglob("*.jpg"):
        (folder / path.name).write_bytes(path.read_bytes())
    (folder / "cut.jpg").write_bytes(next(photographs_folder.glob("*.jpg")).read_bytes()[:900])
    (folder / "text.jpg").write_text("I am no picture")

    assert fit(configure(data=str(folder), total_samples=4, validation_share=0)) == 0
    assert "24 pictures; skipped: 1 damaged, 1 not a picture" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"data": ""}, OptionError, "name one with --data"),
        ({"data": "/does/not/exist"}, DataError, "/does/not/exist is not a folder"),
        ({"crop_size": 96}, DataError, "24 smaller than 96 pixels|smaller than 96 pixels"),
        ({"validation_share": 1.0}, DataError, "fall to validation"),
    ],
)
def test_runs_that_cannot_start_say_why(
    changes: dict[str, Any], error: type[Exception], message: str, configure: Configure
) -> None:
    """Nothing to train on ends in one clear error."""
    with pytest.raises(error, match=message):
        fit(configure(**changes))


def test_divergence_ends_a_run(configure: Configure) -> None:
    """Losses that stop being numbers end the run, and no broken state is written."""
    config = configure(lr_generator=1e20, clip_norm=0.0, total_samples=200, lr_warm_up_samples=0)

    with pytest.raises(DivergedError, match="at step"):
        fit(config)
    assert not (Path(config.run) / "state.pt").exists()


def test_command_line_reports_errors_in_one_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    """What the user can put right ends with status 2 and one line."""
    assert main(["fit", "--data", "/does/not/exist", "--run", "/tmp/never"]) == 2

    assert capsys.readouterr().err == (
        "error: /does/not/exist is not a folder; expected one that holds pictures\n"
    )
