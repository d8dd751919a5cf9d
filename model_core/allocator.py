"""What the C library's allocator keeps, and for how long."""

import ctypes
import os
import sys
from typing import NamedTuple


class Option(NamedTuple):
    """number: what glibc's malloc.h calls it by; variable, tunable: of the environment, overrule `value`."""

    number: int
    variable: str
    tunable: str
    value: int

    @property
    def is_given(self) -> bool:
        """Whether the environment says what it is to be."""
        return self.variable in os.environ or self.tunable in os.environ.get("GLIBC_TUNABLES", "")


OPTIONS = (
    # glibc gives threads memory from up to 8 arenas a core, each of which keeps what it was once asked for.
    Option(-8, "MALLOC_ARENA_MAX", "glibc.malloc.arena_max", 1),
    # Inferences and training steps need the same blocks of some megabytes again and again. Given back after
    # each use, they come back as pages that the kernel has to find and clear first: a tenth of the time.
    Option(-3, "MALLOC_MMAP_THRESHOLD_", "glibc.malloc.mmap_threshold", 32 * 2**20),
    Option(-1, "MALLOC_TRIM_THRESHOLD_", "glibc.malloc.trim_threshold", 256 * 2**20),
)


def settle_allocator() -> list[str]:
    """Set `OPTIONS`, unless the environment does.

    To be called before there are threads, which keep the arena that they have. Returns the variables of what
    glibc was told; where another allocator is preloaded it makes no difference, and elsewhere there is none.
    """
    if sys.platform != "linux":
        return []
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except AttributeError:
        return []
    wanted = [option for option in OPTIONS if not option.is_given]
    return [option.variable for option in wanted if mallopt(option.number, option.value)]
