"""Messages through memory that two ends see. The other end is a thread here and a process in the service."""

import contextlib
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection

import numpy as np
import pytest

from model_core.fork_server import SUPPORTED, ForkedProcess
from model_core.mailbox import AREA_BYTES, AREAS, Mailbox

ForkThread = Callable[[Callable[[Connection], None]], ForkedProcess]

pytestmark = pytest.mark.skipif(not SUPPORTED, reason="memory to share on Linux only")


def echo(connection: Connection) -> None:
    """Send back what comes, arrays doubled."""
    with contextlib.suppress(EOFError):
        theirs = Mailbox.join(connection)
        while True:
            text, *arrays = theirs.receive()
            theirs.send((text, *(2 * array for array in arrays)))


@pytest.fixture
def mailbox(fork_thread: ForkThread) -> Iterator[Mailbox]:
    with contextlib.closing(fork_thread(echo)) as process:
        yield Mailbox.begin(process.connection, wait_seconds=10)


def test_what_is_sent_arrives(mailbox: Mailbox):
    """Arrays of every size and kind, of which none disturbs another."""
    random = np.random.default_rng(0)
    floats = random.random((5, 7, 3), dtype=np.float32)
    numbers = random.integers(0, 9, (2, 11), dtype=np.int32)
    across, nothing = floats[:, ::2], np.zeros((0, 3), np.float32)
    mailbox.send(("hello", floats, numbers, across, nothing))
    text, *arrays = mailbox.receive()
    assert text == "hello"
    for received, sent in zip(arrays, (floats, numbers, across, nothing), strict=True):
        np.testing.assert_array_equal(received, 2 * sent)
        assert received.dtype == sent.dtype


def test_as_many_messages_as_there_are_areas_may_wait(mailbox: Mailbox):
    """Each with arrays of its own; and again, in the same areas."""
    for _ in range(3):
        for number in range(AREAS):
            mailbox.send((str(number), np.full((512, 512), number, np.float32)))
        for number in range(AREAS):
            text, array = mailbox.receive()
            assert text == str(number)
            assert (array == 2 * number).all()


def test_arrays_go_through_the_memory(fork_thread: ForkThread):
    """What the connection carries does not grow with them."""
    carried = []

    def note(connection: Connection) -> None:
        Mailbox.join(connection)
        with contextlib.suppress(EOFError):
            while True:
                carried.append(len(connection.recv_bytes()))
                connection.send_bytes(b"noted")

    with contextlib.closing(fork_thread(note)) as process:
        mailbox = Mailbox.begin(process.connection, wait_seconds=10)
        for size in (8, 800):
            mailbox.send(np.zeros((size, size), np.float32))
            process.connection.recv_bytes()
    assert max(carried) < 1000


def test_what_has_no_room_goes_through_the_connection(mailbox: Mailbox):
    small, large = np.arange(4, dtype=np.int32), np.ones(AREA_BYTES + 1, np.uint8)
    mailbox.send(("both", small, large))
    _, small_again, large_again = mailbox.receive()
    np.testing.assert_array_equal(small_again, 2 * small)
    np.testing.assert_array_equal(large_again, 2 * large)


def test_a_message_that_does_not_come_is_an_error(fork_thread: ForkThread):
    def keep_silent(connection: Connection) -> None:
        Mailbox.join(connection)
        with contextlib.suppress(EOFError):
            connection.recv_bytes()

    with contextlib.closing(fork_thread(keep_silent)) as process:
        mailbox = Mailbox.begin(process.connection, wait_seconds=0.1)
        with pytest.raises(TimeoutError, match="kept this process waiting"):
            mailbox.receive()


def test_an_end_that_is_gone_is_an_error(fork_thread: ForkThread):
    with contextlib.closing(fork_thread(lambda connection: None)) as process:
        process.connection.poll(10)
        with pytest.raises(OSError, match="Broken pipe"):
            Mailbox.begin(process.connection, wait_seconds=1)
