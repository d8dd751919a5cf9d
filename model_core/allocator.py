"""What the C library's allocator keeps, and for how long."""

import ctypes
import os
import sys
from typing import NamedTuple


class Option(NamedTuple):
    """number: what glibc's malloc.h calls it by; variable: of the environment, which overrules `value`."""

    number: int
    variable: str
    value: int


OPTIONS = (
    # glibc gives threads memory from up to 8 arenas a core, each of which keeps what it was once asked for.
    Option(-8, "MALLOC_ARENA_MAX", 1),
    # Inferences and training steps need the same blocks of some megabytes again and again. Given back after
    # each use, they come back as pages that the kernel has to find and clear first: a tenth of the time.
    Option(-3, "MALLOC_MMAP_THRESHOLD_", 32 * 2**20),
    Option(-1, "MALLOC_TRIM_THRESHOLD_", 256 * 2**20),
)


def settle_allocator() -> list[str]:
    """Set `OPTIONS`, unless the environment does.

    To be called before there are threads, which keep the arena that they have. Returns the variables of those
    that were set: other allocators than glibc's know none of them.
    """
    if sys.platform != "linux":
        return []
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except AttributeError:
        return []
    wanted = [option for option in OPTIONS if option.variable not in os.environ]
    return [option.variable for option in wanted if mallopt(option.number, option.value)]
