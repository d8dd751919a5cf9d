"""Processes that begin with everything imported, forked from a copy of this one in which nothing has run."""

import contextlib
import functools
import gc
import os
import signal
import socket
import sys
import traceback
from collections.abc import Callable
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path
from typing import NoReturn

SUPPORTED = sys.platform == "linux"
"""Elsewhere system libraries do not survive a fork, or there is none."""

# What ends this process is told to the whole group or container: its forks end when it hangs up on them.
_IGNORED = ("SIGINT", "SIGTERM", "SIGHUP")


class ForkServer:
    """Forks processes on demand.

    A process that has threads cannot be forked safely, and torch cannot compute in the fork of a process in
    which it has computed. So one fork is made beforehand, to be forked in turn. Importing torch costs seconds
    and hundreds of megabytes: the forks share both.
    """

    def __init__(self, work: Callable[[Connection], None]) -> None:
        """To be called before there are threads. `work` is what each fork does, with its end of a connection.

        Raises:
            OSError: the system has no room for one more process.
        """
        self._socket, theirs = socket.socketpair()
        # What the collector marks would no longer be shared.
        gc.freeze()
        with theirs:
            if os.fork() == 0:
                self._socket.close()
                _end_after(functools.partial(_fork_on_demand, theirs, work))

    def fork(self) -> Connection:
        """Begin a process; the connection's other end is what its `work` is called with.

        The process is to end when the connection is closed.

        Raises:
            OSError: the fork server is gone.
        """
        ours, theirs = Pipe()
        with theirs:
            socket.send_fds(self._socket, [b"."], [theirs.fileno()])
        return ours

    def close(self) -> None:
        """End the server. Processes that it has forked go on until their connections are closed."""
        self._socket.close()


def _fork_on_demand(commands: socket.socket, work: Callable[[Connection], None]) -> None:
    for name in _IGNORED:
        signal.signal(getattr(signal, name), signal.SIG_IGN)
    # Nobody asks how the forks ended, so they need not stay as zombies until someone does.
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    while descriptors := socket.recv_fds(commands, 1, 1)[1]:
        connection = Connection(descriptors[0])
        with connection:
            if os.fork() == 0:
                commands.close()
                _be_expendable()
                _end_after(functools.partial(work, connection))


def _be_expendable() -> None:
    """Where memory runs out, have the kernel end this process rather than the one that it works for."""
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")


def _end_after(work: Callable[[], None]) -> NoReturn:
    """Do the work and end the process, without what the process it was forked from would do at its end."""
    status = 1
    try:
        work()
        status = 0
    except Exception:
        traceback.print_exc()
        sys.stderr.flush()
    finally:
        os._exit(status)
