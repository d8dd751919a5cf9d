"""What a run tells: TensorBoard events, stats.jsonl with the same numbers, and a progress bar."""

import json
import sys
from pathlib import Path
from types import TracebackType
from typing import TextIO

import torch
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter
from tqdm import tqdm

from training.config import TrainConfig
from training.errors import DivergedError

Numbers = dict[str, float]


class Log:
    """The log of one process of a run. Only the main process's writes anything.

    Metrics are collected on their device and averaged over the interval, so no step waits for a transfer.
    """

    def __init__(self, config: TrainConfig, samples: int, is_main: bool) -> None:
        self._sums: dict[str, Tensor] = {}
        self._counts: dict[str, int] = {}
        self._samples = samples
        self._writer = SummaryWriter(config.run, purge_step=samples + 1) if is_main else None
        self._stats = _open_stats(Path(config.run) / "stats.jsonl", samples) if is_main else None
        self._bar = tqdm(
            total=config.total_samples or None,
            initial=samples,
            unit=" samples",
            smoothing=0.05,
            # Without a terminal each refresh is a line of its own.
            mininterval=1 if sys.stderr.isatty() else 30,
            disable=not is_main,
            dynamic_ncols=True,
        )

    def __enter__(self) -> "Log":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.close()
        if self._writer:
            self._writer.close()
        if self._stats:
            self._stats.close()

    def add(self, metrics: dict[str, Tensor], samples: int) -> None:
        """Collect one step's metrics; `samples` is the run's count after it."""
        for name, value in metrics.items():
            self._sums[name] = self._sums.get(name, torch.zeros_like(value, dtype=torch.float32)) + value
            self._counts[name] = self._counts.get(name, 0) + 1
        self._bar.update(samples - self._samples)
        self._samples = samples

    def write(self, step: int, extra: Numbers) -> None:
        """Average what was collected, write it with `extra`, and start anew.

        Raises:
            DivergedError: one of the numbers is not finite.
        """
        numbers = {name: (total / self._counts[name]).item() for name, total in self._sums.items()} | extra
        self._sums, self._counts = {}, {}
        self.write_now(step, numbers)
        self._bar.set_postfix_str(_short(numbers))
        wrong = [name for name, value in numbers.items() if not -1e30 < value < 1e30]
        if wrong:
            raise DivergedError(
                f"{wrong[0]} is {numbers[wrong[0]]} at step {step}; "
                "lower the learning rates or take precision fp32"
            )

    def write_now(self, step: int, numbers: Numbers) -> None:
        """Write numbers as they are."""
        if self._writer and self._stats:
            for name, value in numbers.items():
                self._writer.add_scalar(name, value, self._samples)
            self._stats.write(json.dumps({"step": step, "samples": self._samples, **numbers}) + "\n")
            self._stats.flush()

    def pictures(self, name: str, grid: Tensor) -> None:
        """Show a (3, H, W) picture in [-1, 1]."""
        if self._writer:
            self._writer.add_image(
                name, ((grid.float().clamp(-1, 1) + 1) * 127.5).byte().cpu(), self._samples
            )

    def say(self, text: str) -> None:
        """Print a line without disturbing the bar."""
        if self._writer:
            self._bar.write(text)


def _open_stats(path: Path, samples: int) -> TextIO:
    """Open the file to append to it, without the lines that a killed run wrote after its last saved state."""
    if path.exists():
        lines = [line for line in path.read_text().splitlines() if _samples_of(line) <= samples]
        path.write_text("".join(line + "\n" for line in lines))
    return open(path, "a")


def _samples_of(line: str) -> float:
    try:
        return float(json.loads(line)["samples"])
    except ValueError:
        return float("inf")  # Half written when the run was killed.


def _short(numbers: Numbers) -> str:
    shown = {"generator/l1_hole": "l1", "generator/perceptual": "perceptual", "discriminator/loss": "d"}
    return " ".join(f"{short} {numbers[name]:.3f}" for name, short in shown.items() if name in numbers)
