"""Loops compiled to machine code by Numba, for what would be thousands of small tensor operations.

They compute on the CPU, on numpy's views of tensors, in one thread and without the interpreter's lock. (More
threads would have to share the cores with those of torch, which go on spinning for milliseconds after each of
its operations: the loops took longer so.)
"""

import contextlib
import logging
from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba
import numpy as np
from numba.core import caching

FunctionCache: Any = caching.FunctionCache
logger = logging.getLogger(__name__)

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
    dispatcher = numba.njit(**options)(loop)
    # Neither beside the source nor in the user's folder may there be a place.
    with contextlib.suppress(RuntimeError):
        # Where `cache=True` puts one that raises.
        dispatcher._cache = LenientCache(loop)
    return cast(Loop, dispatcher)


class LenientCache(FunctionCache):  # type: ignore[misc]  # Numba's has no types
    """What was compiled, kept in files; where those cannot be read or written, it is compiled anew.

    Numba lets pass what a full disk raises, and what reading a file that was cut off does, so that whoever
    calls the loop would fail.
    """

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """What was kept for arguments of these types, None if it cannot be had."""
        try:
            return super().load_overload(sig, target_context)
        except Exception as error:  # unpickling what is damaged raises anything
            logger.warning("what was compiled of %s cannot be read, and is forgotten: %r", self, error)
            with contextlib.suppress(OSError):
                self.flush()
            return None

    def save_overload(self, sig: Any, data: Any) -> None:
        """Keep it for later processes, if it can be kept."""
        try:
            super().save_overload(sig, data)
        except Exception as error:  # it reads what is damaged, too, if that could not be forgotten
            logger.warning("what was compiled of %s cannot be kept: %r", self, error)
