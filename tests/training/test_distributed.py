import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from training.config import TrainConfig, save_config
from training.distributed import World, average_gradients, largest, local_device
from training.state import read_state

ROOT = Path(__file__).parents[2]
SCRIPT = Path(__file__).with_name("two_processes.py")


def torchrun(*arguments: str) -> None:
    """Start two processes and require that both end well."""
    done = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", *arguments],
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr[-3000:]


def test_two_processes_fit_together(configure: Callable[..., TrainConfig], tmp_path: Path) -> None:
    """Under torchrun two gloo processes share the samples, and write one state and one log."""
    config = configure(total_samples=24)
    save_config(tmp_path / "given.json", config)

    # Without the two dashes torchrun takes --run for one of its own options.
    torchrun("-m", "--", "training", "fit", "--config", str(tmp_path / "given.json"), "--run", config.run)

    values = read_state(Path(config.run) / "state.pt")
    assert (values["samples"], values["step"]) == (24, 6)
    lines = [json.loads(line) for line in (Path(config.run) / "stats.jsonl").read_text().splitlines()]
    assert [line["samples"] for line in lines] == [4, 8, 12, 16, 20, 24]


def test_two_processes_hold_the_same_weights(configure: Callable[..., TrainConfig], tmp_path: Path) -> None:
    """On different samples, averaged gradients keep both networks of both processes equal."""
    save_config(tmp_path / "given.json", configure())

    torchrun(str(SCRIPT), str(tmp_path / "given.json"))


def test_alone_nothing_is_exchanged() -> None:
    """A world of one changes neither gradients nor numbers, and needs no process group."""
    weight = torch.nn.Parameter(torch.ones(3))
    weight.sum().backward()
    alone = World(0, 1)
    average_gradients([weight], alone)

    assert alone.is_main
    assert weight.grad.tolist() == [1, 1, 1]
    assert largest([1.0, 2.0], alone, torch.device("cpu")) == [1.0, 2.0]


def test_cpu_needs_no_device_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Under torchrun, processes on a CPU all take the CPU."""
    monkeypatch.setenv("LOCAL_RANK", "1")

    assert local_device(torch.device("cpu")) == torch.device("cpu")
