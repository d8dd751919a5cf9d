"""Loops compiled to machine code by Numba, for what would be thousands of small tensor operations.

They compute on the CPU, on numpy's views of tensors, in one thread and without the interpreter's lock. (More
threads would have to share the cores with those of torch, which go on spinning for milliseconds after each of
its operations: the loops took longer so.)
"""

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba
import numpy as np

Loop = TypeVar("Loop", bound=Callable[..., Any])

# What the compiler may take for granted of floats: that sums come out the same in another order, and so on,
# but not that all are finite.
REORDERING = {"reassoc", "contract", "nsz", "arcp"}

Index = cast(Callable[[int], int], np.uint64)
"""For indices in innermost loops: those with a sign might count from the end, which hinders vectorizing."""


def compiled(loop: Loop) -> Loop:
    """Decorate a function to be compiled when it is first called, and kept for later processes.

    Its sums may be reordered, so that several terms are added at once.
    """
    options: dict[str, Any] = {"nogil": True, "error_model": "numpy", "fastmath": REORDERING}
    try:
        return cast(Loop, numba.njit(cache=True, **options)(loop))
    except RuntimeError:  # neither beside the source nor in the user's folder can anything be kept
        return cast(Loop, numba.njit(**options)(loop))
