"""Forks on demand: real processes."""

import contextlib
import os
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
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
    with contextlib.closing(ForkServer(answer)) as server:
        yield server


def wait_until_gone(pid: int) -> None:
    deadline = time.monotonic() + 10
    while Path(f"/proc/{pid}").exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_each_fork_is_a_process_of_its_own(server: ForkServer):
    """Also when several are asked for at once; they end when they are closed."""
    with ThreadPoolExecutor(4) as pool:
        forks = list(pool.map(lambda _: server.fork(), range(8)))
    pids = [fork.connection.recv()[0] for fork in forks]
    assert len({*pids, os.getpid()}) == 9
    for number, fork in enumerate(forks, start=1):
        fork.connection.send(number)
    assert [fork.connection.recv() for fork in forks] == [2, 4, 6, 8, 10, 12, 14, 16]
    for pid, fork in zip(pids, forks, strict=True):
        fork.close()
        wait_until_gone(pid)


def test_a_fork_ends_when_nobody_holds_its_connection(server: ForkServer):
    """As when the process that it works for is killed."""
    fork = server.fork()
    pid, _ = fork.connection.recv()
    fork.connection.close()
    wait_until_gone(pid)


def test_a_fork_is_the_first_that_the_kernel_ends(server: ForkServer):
    """When memory runs out, the process that it works for is to stay."""
    with contextlib.closing(server.fork()) as fork:
        assert fork.connection.recv()[1] == "1000"


def test_a_fork_that_fails_hangs_up(server: ForkServer):
    """And the next is begun as usual."""
    with contextlib.closing(server.fork()) as fork:
        pid, _ = fork.connection.recv()
        fork.connection.send(0)
        with pytest.raises(EOFError):
            fork.connection.recv()
        wait_until_gone(pid)
    with contextlib.closing(server.fork()) as fork:
        assert fork.connection.recv()[0] != pid


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_what_ends_or_reloads_a_service_does_not_end_its_forks(server: ForkServer, number: signal.Signals):
    """Sent to a whole group or container, as by systemd: what is in work is to be finished."""
    with contextlib.closing(server.fork()) as fork:
        pid, _ = fork.connection.recv()
        os.kill(pid, number)
        fork.connection.send(21)
        assert fork.connection.recv() == 42


def test_a_fork_can_be_killed_whatever_it_is_at(server: ForkServer):
    """And twice, though it is gone."""
    fork = server.fork()
    pid, _ = fork.connection.recv()
    os.kill(pid, signal.SIGSTOP)
    fork.kill()
    wait_until_gone(pid)
    fork.kill()
    fork.close()


def test_where_there_is_no_room_the_next_fork_may_succeed(monkeypatch: pytest.MonkeyPatch):
    """The server says why there is none, and stays."""
    fork, full = os.fork, [False, True, False]

    def crowded_fork() -> int:
        if full.pop(0):
            raise BlockingIOError(11, "Resource temporarily unavailable")
        return fork()

    monkeypatch.setattr(os, "fork", crowded_fork)
    with contextlib.closing(ForkServer(answer)) as server:
        # The copy that forks has its own list, from before the server was forked.
        with pytest.raises(BlockingIOError, match="Resource temporarily unavailable"):
            server.fork()
        with contextlib.closing(server.fork()) as forked:
            forked.connection.send(4)
            assert forked.connection.recv()[0]
            assert forked.connection.recv() == 8


def test_a_server_that_is_gone_is_an_error():
    server = ForkServer(answer)
    server.close()
    with pytest.raises(OSError, match="Bad file descriptor"):
        server.fork()


def test_forks_outlive_their_server():
    server = ForkServer(answer)
    with contextlib.closing(server.fork()) as fork:
        fork.connection.recv()
        server.close()
        fork.connection.send(1)
        assert fork.connection.recv() == 2
