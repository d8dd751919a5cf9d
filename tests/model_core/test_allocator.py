"""What glibc's allocator is told."""

import json
import os
import platform
import subprocess
import sys
from typing import Any

import pytest

MEASURE = """
import ctypes, json, re, sys, tempfile, threading
from model_core.allocator import settle_allocator

settled = settle_allocator() if sys.argv[1] == "settled" else []
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

def tell():
    with tempfile.NamedTemporaryFile() as told:
        file = ctypes.c_void_p(libc.fopen(told.name.encode(), b"w"))
        libc.malloc_info(0, file)
        libc.fclose(file)
        return told.read().decode()

def count_mapped():
    return int(re.findall(r'type="mmap" count="(\\d+)"', tell())[-1])

before = count_mapped()
libc.malloc(ctypes.c_size_t(8 * 2**20))
mapped = count_mapped() - before
print(json.dumps({"settled": settled, "arenas": tell().count("<heap nr="), "mapped": mapped}))
"""

pytestmark = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc has these options")


def measure(how: str, **environment: str) -> dict[str, Any]:
    """What was settled, how many arenas eight threads share, and whether a block of 8 MB is mapped alone."""
    others = {name: value for name, value in os.environ.items() if not name.startswith(("MALLOC_", "GLIBC_"))}
    answer = subprocess.run(
        [sys.executable, "-c", MEASURE, how],
        env=others | environment,
        capture_output=True,
        text=True,
        check=True,
    )
    result: dict[str, Any] = json.loads(answer.stdout)
    return result


def test_threads_share_an_arena_that_keeps_blocks_of_megabytes() -> None:
    left, settled = measure("left"), measure("settled")

    assert left["arenas"] > 3
    assert left["mapped"] == 1
    assert settled["arenas"] == 1
    assert settled["mapped"] == 0
    assert len(settled["settled"]) == 3


def test_the_environment_goes_first() -> None:
    done = measure("settled", MALLOC_ARENA_MAX="4", MALLOC_MMAP_THRESHOLD_="65536")

    assert done["settled"] == ["MALLOC_TRIM_THRESHOLD_"]
    assert 1 < done["arenas"] <= 4
    assert done["mapped"] == 1


def test_so_do_tunables() -> None:
    done = measure("settled", GLIBC_TUNABLES="glibc.malloc.arena_max=4:glibc.malloc.trim_threshold=65536")

    assert done["settled"] == ["MALLOC_MMAP_THRESHOLD_"]
    assert 1 < done["arenas"] <= 4
