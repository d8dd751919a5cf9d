"""Loops compiled to machine code, and what makes them as fast as they are."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numba
import numpy as np
import pytest

from model_core.networks.compiled import compiled


def total(values: np.ndarray) -> float:
    result = 0.0
    for value in values:
        result += value
    return result


def test_a_loop_computes_what_it_says() -> None:
    loop = compiled(total)
    assert loop(np.arange(10.0)) == 45
    assert isinstance(loop, numba.core.dispatcher.Dispatcher)


def test_it_works_where_nothing_can_be_kept() -> None:
    """As for a user without a home whose installation belongs to another; here, for a loop without a file."""
    made: dict[str, Any] = {}
    exec("def doubled(value):\n    return 2 * value", made)
    assert compiled(made["doubled"])(21) == 42


SCRIPT = """
import numpy as np
from model_core.networks.nearby import _any_of_block as loop
assert loop(np.ones((4, 4), np.float32), 0, 0) > 0
print(sum(loop.stats.cache_hits.values()), sum(loop.stats.cache_misses.values()))
"""


def hits_and_misses(folder: Path, before: str = "") -> tuple[list[str], str]:
    """Of a process that calls a loop, which keeps what it compiles in `folder`; and what it logs."""
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(folder)}
    command = [sys.executable, "-c", before + SCRIPT]
    answer = subprocess.run(command, env=environment, capture_output=True, check=True, text=True)
    return answer.stdout.split(), answer.stderr


def test_a_loop_is_kept_for_later_processes(tmp_path: Path) -> None:
    """The second process takes it from where the first has put it."""
    assert hits_and_misses(tmp_path) == (["0", "1"], "")
    assert hits_and_misses(tmp_path) == (["1", "0"], "")


@pytest.mark.parametrize("kind", ["nbi", "nbc"])
@pytest.mark.parametrize("left", [0, 40])
def test_what_was_cut_off_is_compiled_anew(tmp_path: Path, kind: str, left: int) -> None:
    """As after a power failure. It is mended, so that the next process is as fast as ever."""
    hits_and_misses(tmp_path)
    (file,) = tmp_path.rglob(f"*_any_of_block*.{kind}")
    file.write_bytes(file.read_bytes()[:left])
    counts, log = hits_and_misses(tmp_path)
    assert counts == ["0", "1"]
    assert "cannot be read" in log
    assert hits_and_misses(tmp_path) == (["1", "0"], "")


@pytest.mark.parametrize("damaged", [False, True])
def test_a_full_disk_only_costs_time(tmp_path: Path, damaged: bool) -> None:
    """Also if it has left a file that was cut off, which then cannot be mended either."""
    if damaged:
        hits_and_misses(tmp_path)
        (file,) = tmp_path.rglob("*_any_of_block*.nbi")
        file.write_bytes(file.read_bytes()[:40])
    no_byte = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))\n"
    counts, log = hits_and_misses(tmp_path, no_byte)
    assert counts == ["0", "1"]
    assert "cannot be kept" in log


@pytest.mark.parametrize(
    ("given", "expected"),
    [({}, "20000"), ({"GOMP_SPINCOUNT": "7"}, "7"), ({"OMP_WAIT_POLICY": "active"}, "None")],
)
def test_threads_do_not_spin_for_long_unless_told_to(given: dict[str, str], expected: str) -> None:
    """It must be said before torch is imported, and what the environment says counts."""
    script = "import os, sys, model_core; print('torch' in sys.modules, os.environ.get('GOMP_SPINCOUNT'))"
    silent = {name: value for name, value in os.environ.items() if not name.startswith(("GOMP", "OMP_"))}
    answer = subprocess.run(
        [sys.executable, "-c", script], env={**silent, **given}, capture_output=True, check=True, text=True
    )
    assert answer.stdout.split() == ["False", expected]
