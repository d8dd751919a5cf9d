"""Loops compiled to machine code, and what makes them as fast as they are."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba
import numpy as np
import pytest

from model_core.networks import compiled as compiled_module
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


def test_it_works_where_nothing_can_be_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """As for a user without a home whose installation belongs to another."""
    njit = numba.njit

    def njit_without_folder(cache: bool = False, **options: Any) -> Callable[..., Any]:
        if cache:
            raise RuntimeError("cannot cache function 'total': no locator available")
        return njit(**options)

    monkeypatch.setattr(compiled_module.numba, "njit", njit_without_folder)
    assert compiled(total)(np.arange(4.0)) == 6


def test_a_loop_is_kept_for_later_processes(tmp_path: Path) -> None:
    """The second process takes it from where the first has put it."""
    script = (
        "import numpy as np\n"
        "from model_core.networks.nearby import _any_of_block as loop\n"
        "loop(np.zeros((4, 4), np.float32), 0, 0)\n"
        "print(sum(loop.stats.cache_hits.values()), sum(loop.stats.cache_misses.values()))\n"
    )
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)}
    answers = [
        subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, check=True)
        for _ in range(2)
    ]
    assert [answer.stdout.split() for answer in answers] == [[b"0", b"1"], [b"1", b"0"]]


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
