"""Forks on demand: real processes."""

import contextlib
import os
import signal
import time
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

from model_core.fork_server import SUPPORTED, ForkServer

pytestmark = [
    pytest.mark.skipif(not SUPPORTED, reason="forks on Linux only"),
    # What is forked here computes nothing, so the threads of the tests do no harm.
    pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning"),
]


def answer(connection: Connection) -> None:
    """Tell who it is, then double numbers until hung up on; 0 is too much for it."""
    connection.send((os.getpid(), Path("/proc/self/oom_score_adj").read_text().strip()))
    with contextlib.suppress(EOFError):
        while number := connection.recv():
            connection.send(2 * number)
        raise ValueError("a zero")


@pytest.fixture
def server() -> Iterator[ForkServer]:
    server = ForkServer(answer)
    yield server
    server.close()


def wait_until_gone(pid: int) -> None:
    deadline = time.monotonic() + 10
    while Path(f"/proc/{pid}").exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_each_fork_is_a_process_of_its_own(server: ForkServer):
    first, second = server.fork(), server.fork()
    pids = {first.recv()[0], second.recv()[0]}
    assert len(pids | {os.getpid()}) == 3
    second.send(4)
    first.send(3)
    assert (first.recv(), second.recv()) == (6, 8)
    first.close()
    second.close()
    for pid in pids:
        wait_until_gone(pid)


def test_a_fork_is_the_first_that_the_kernel_ends(server: ForkServer):
    """When memory runs out, the process that it works for is to stay."""
    with server.fork() as fork:
        assert fork.recv()[1] == "1000"


def test_a_fork_that_fails_hangs_up(server: ForkServer):
    """And the next is begun as usual."""
    with server.fork() as fork:
        pid, _ = fork.recv()
        fork.send(0)
        with pytest.raises(EOFError):
            fork.recv()
    wait_until_gone(pid)
    with server.fork() as fork:
        assert fork.recv()[0] != pid


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_what_ends_or_reloads_a_service_does_not_end_its_forks(server: ForkServer, number: signal.Signals):
    """Sent to a whole group or container, as by systemd: what is in work is to be finished."""
    with server.fork() as fork:
        pid, _ = fork.recv()
        os.kill(pid, number)
        fork.send(21)
        assert fork.recv() == 42


def test_forks_outlive_their_server(server: ForkServer):
    with server.fork() as fork:
        fork.recv()
        server.close()
        with pytest.raises(OSError, match="Bad file descriptor"):
            server.fork()
        fork.send(1)
        assert fork.recv() == 2
