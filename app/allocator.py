"""What the C library's allocator keeps for later."""

import ctypes
import os
import sys

ARENAS = 2
"""glibc gives threads memory from up to 8 arenas a core, each of which keeps what it was once asked for."""

_M_ARENA_MAX = -8
"""As in glibc's malloc.h."""


def bound_arenas() -> bool:
    """Let all threads share `ARENAS` arenas, unless the environment says how many (MALLOC_ARENA_MAX).

    To be called before there are threads, which keep the arena that they have. Returns whether it was done:
    other allocators than glibc's have no arenas, or bound them themselves.
    """
    if sys.platform != "linux" or "MALLOC_ARENA_MAX" in os.environ:
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except AttributeError:
        return False
    return bool(mallopt(_M_ARENA_MAX, ARENAS))
