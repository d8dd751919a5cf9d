"""Processes that begin with everything imported, forked from a copy of this one in which nothing has run."""

import contextlib
import functools
import gc
import os
import signal
import socket
import sys
import threading
import traceback
from collections.abc import Callable
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path
from typing import NoReturn

SUPPORTED = sys.platform == "linux"
"""Elsewhere system libraries do not survive a fork, or there is none."""

# What ends or reloads this process may be sent to its whole group or container. Forks end after it.
_IGNORED = ("SIGINT", "SIGTERM", "SIGHUP")


class ForkedProcess:
    """A process that was forked on demand.

    Attributes:
        connection: its other end is what the process does its work with.
    """

    def __init__(self, connection: Connection, descriptor: int) -> None:
        """`descriptor` is the process's pidfd, which no later process can be mistaken for."""
        self.connection = connection
        self._descriptor = descriptor

    def kill(self) -> None:
        """End it at once, whatever it is at."""
        with contextlib.suppress(OSError):  # it is gone already
            signal.pidfd_send_signal(self._descriptor, signal.SIGKILL)

    def close(self) -> None:
        """End it and forget it."""
        self.kill()
        self.connection.close()
        os.close(self._descriptor)


class ForkServer:
    """Forks processes on demand.

    A process with threads at work cannot be forked safely, and torch cannot compute in the fork of a process
    in which it has computed. So one fork is made beforehand, to be forked in turn. Importing torch costs
    seconds and hundreds of megabytes: the forks share both.
    """

    def __init__(self, work: Callable[[Connection], None]) -> None:
        """To be called before threads are begun (those of OpenBLAS, which numpy begins, end before a fork).

        `work` is what each fork does, with its end of a connection, until that is closed.

        Raises:
            OSError: the system has no room for one more process.
        """
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        gc.freeze()  # what the garbage collector marks would no longer be shared
        with theirs:
            try:
                pid = os.fork()
            except OSError:
                self._socket.close()
                raise
            if pid == 0:
                self._socket.close()
                _end_after(functools.partial(_fork_on_demand, theirs, work))
        self._pid = pid
        self._asking = threading.Lock()

    def fork(self) -> ForkedProcess:
        """Begin a process.

        Raises:
            OSError: there is no room for one more process, or the fork server is gone.
        """
        ours, theirs = Pipe()
        try:
            with theirs, self._asking:
                socket.send_fds(self._socket, [b"fork"], [theirs.fileno()])
                reply, descriptors, _, _ = socket.recv_fds(self._socket, 16, 1)
            if not descriptors:
                number = int(reply or 0)
                raise OSError(number, os.strerror(number) if number else "the fork server is gone")
        except OSError:
            ours.close()
            raise
        return ForkedProcess(ours, descriptors[0])

    def close(self) -> None:
        """End the server. Processes that it has forked go on until their connections are closed."""
        self._socket.close()
        os.waitpid(self._pid, 0)
        gc.unfreeze()


def _fork_on_demand(commands: socket.socket, work: Callable[[Connection], None]) -> None:
    for name in _IGNORED:
        signal.signal(getattr(signal, name), signal.SIG_IGN)
    # Nobody asks how the forks ended, so they need not stay as zombies until someone does.
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    while descriptors := socket.recv_fds(commands, 16, 1)[1]:
        with Connection(descriptors[0]) as connection:
            try:
                pid = os.fork()
                if pid == 0:
                    commands.close()
                    _be_expendable()
                    _end_after(functools.partial(work, connection))
                descriptor = os.pidfd_open(pid)
            except OSError as error:
                commands.send(str(error.errno).encode())
                continue
        socket.send_fds(commands, [b"forked"], [descriptor])
        os.close(descriptor)


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
        # The outermost frame of a process: nobody else would say why it ended.
        traceback.print_exc()
        sys.stderr.flush()
    finally:
        os._exit(status)
