"""The arenas of glibc's allocator."""

import os
import platform
import subprocess
import sys

import pytest

from app.allocator import ARENAS

COUNT_ARENAS = """
import ctypes, sys, tempfile, threading
from app.allocator import bound_arenas

done = bound_arenas() if sys.argv[1] == "bound" else None
libc = ctypes.CDLL(None)
libc.fopen.restype = libc.malloc.restype = ctypes.c_void_p
everyone = threading.Barrier(8)

def allocate():
    everyone.wait()
    for _ in range(1000):
        libc.malloc(ctypes.c_size_t(1000))
    everyone.wait()

threads = [threading.Thread(target=allocate) for _ in range(8)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
with tempfile.NamedTemporaryFile() as told:
    file = ctypes.c_void_p(libc.fopen(told.name.encode(), b"w"))
    libc.malloc_info(0, file)
    libc.fclose(file)
    print(done, told.read().count(b"<heap nr="))
"""


def count_arenas(how: str, **environment: str) -> tuple[str, int]:
    """What `bound_arenas` returned, and how many arenas eight threads then share."""
    others = {name: value for name, value in os.environ.items() if name != "MALLOC_ARENA_MAX"}
    answer = subprocess.run(
        [sys.executable, "-c", COUNT_ARENAS, how],
        env=others | environment,
        capture_output=True,
        text=True,
        check=True,
    )
    done, count = answer.stdout.split()
    return done, int(count)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc has arenas")
def test_threads_share_arenas() -> None:
    assert count_arenas("unbound")[1] > ARENAS + 1
    assert count_arenas("bound") == ("True", ARENAS)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc has arenas")
def test_the_environment_goes_first() -> None:
    done, count = count_arenas("bound", MALLOC_ARENA_MAX="4")
    assert done == "False"
    assert ARENAS < count <= 4
