"""Messages to and from another process, whose arrays lie in memory that both see."""

import contextlib
import mmap
import os
import pickle
import socket
import struct
from collections.abc import Iterator
from multiprocessing.connection import Connection
from multiprocessing.reduction import recv_handle, send_handle
from typing import Any

import numpy as np

# Messages of one direction that have room at the same time.
AREAS = 2
# More than the arrays of a message with the largest crop take. What is never written takes no memory.
AREA_BYTES = 16 * 2**20
# Arrays begin at multiples of it, as numpy's and torch's own do.
ALIGNMENT = 64


class Mailbox:
    """One end of an exchange of messages.

    What a message consists of is pickled and goes through a connection, but for its arrays: a socket copies
    them twice in many pieces, with system calls for each, which costs milliseconds for a crop.
    """

    def __init__(self, connection: Connection, memory: mmap.mmap, *, begins: bool) -> None:
        """`begins` tells the two ends apart: they write to different halves of the memory."""
        self._connection = connection
        self._bytes = np.frombuffer(memory, np.uint8)
        self._first_area = 0 if begins else AREAS
        self._sent = 0

    @classmethod
    def begin(cls, connection: Connection, wait_seconds: float) -> "Mailbox":
        """The end of the process that begins the exchange.

        It does not wait for longer than `wait_seconds` for the other end to read or to write.

        Raises:
            OSError: the other process is gone, or there is no room for the memory.
        """
        _limit_waiting(connection, wait_seconds)
        descriptor = os.memfd_create("mailbox")
        try:
            os.ftruncate(descriptor, 2 * AREAS * AREA_BYTES)
            send_handle(connection, descriptor, None)
            return cls(connection, mmap.mmap(descriptor, 0), begins=True)
        finally:
            os.close(descriptor)

    @classmethod
    def join(cls, connection: Connection) -> "Mailbox":
        """The other end.

        Raises:
            EOFError, OSError: the process that began is gone.
        """
        descriptor = recv_handle(connection)
        try:
            return cls(connection, mmap.mmap(descriptor, 0), begins=False)
        finally:
            os.close(descriptor)

    def send(self, message: object) -> None:
        """Send anything that can be pickled.

        Its arrays overwrite those of the message sent `AREAS` before, which nobody may read any more.

        Raises:
            TimeoutError: the other end has not read what was sent before.
            OSError: the other process is gone.
        """
        start = (self._first_area + self._sent % AREAS) * AREA_BYTES
        places: list[tuple[int, int]] = []

        def stays(buffer: pickle.PickleBuffer) -> bool:
            """Put an array into the memory, or leave it in the pickle if there is no room."""
            data = np.frombuffer(buffer.raw(), np.uint8)
            first = start + sum(_aligned(size) for _, size in places)
            if first + data.size > start + AREA_BYTES:
                return True
            self._bytes[first : first + data.size] = data
            places.append((first, data.size))
            return False

        pickled = pickle.dumps(message, pickle.HIGHEST_PROTOCOL, buffer_callback=stays)
        # `Connection.send` would make a view of a buffer. Where an error leaves that to the garbage
        # collector, CPython 3.12.1 crashes (its issue 111049).
        with _timeout_named():
            self._connection.send_bytes(pickle.dumps((pickled, places)))
        self._sent += 1

    def receive(self) -> Any:
        """The next message. Its arrays are views of the memory: copy what is to outlive them.

        Pickle is safe here: at the other end is the process that this one was forked from, or its fork.

        Raises:
            TimeoutError: none has come.
            EOFError, OSError: the other process is gone.
        """
        with _timeout_named():
            pickled, places = pickle.loads(self._connection.recv_bytes())
        return pickle.loads(pickled, buffers=[self._bytes[first : first + size] for first, size in places])


def _aligned(size: int) -> int:
    return -(-size // ALIGNMENT) * ALIGNMENT


def _limit_waiting(connection: Connection, seconds: float) -> None:
    whole = int(seconds)
    limit = struct.pack("@ll", whole, int((seconds - whole) * 1e6))
    with socket.socket(fileno=os.dup(connection.fileno())) as ours:
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, limit)
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, limit)


@contextlib.contextmanager
def _timeout_named() -> Iterator[None]:
    try:
        yield
    except BlockingIOError as error:
        raise TimeoutError("it has kept this process waiting for too long") from error
