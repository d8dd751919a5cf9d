"""A predictor's double in a process of its own, for another inference at the same time.

Two threads of one process wait for each other, since Python runs one of them at a time; two processes do not.
"""

import contextlib
import weakref
from collections import deque
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from typing import NamedTuple

import numpy as np

from model_core import devices, mailbox
from model_core.fork_server import ForkedProcess
from model_core.mailbox import Mailbox
from model_core.predictor import BoolArray, FilledCrop, FloatArray, IntArray, Predictor, PredictorState

Fork = Callable[[], ForkedProcess]
"""Begins a process that does `serve`; raises OSError if that fails."""

# A process that keeps others waiting for so long hangs, and is ended: far longer than any inference takes.
ANSWER_SECONDS = 120.0

AHEAD = mailbox.AREAS
"""How many crops a worker may have been given that it has not answered."""


class WorkerError(Exception):
    """A worker's process is gone, or cannot be begun. No client hears of it: others do the work."""


class _Crop(NamedTuple):
    """What a worker is asked to fill, as `Predictor.predict`, and with how many threads."""

    rgb: FloatArray
    hole: BoolArray
    threads: int


class _Fill(NamedTuple):
    """What it answers: `FilledCrop`, but only the rows and columns that the hole lies in."""

    rows: slice
    columns: slice
    colours: FloatArray
    source: IntArray


class _Failure(NamedTuple):
    """What it answers, before it ends, if it cannot."""

    reason: str


class Worker:
    """A process that fills crops. For one thread at a time.

    It may be given its next crop before it has answered, so that it does not wait for one.
    """

    def __init__(self, fork: Fork) -> None:
        """Begin the process.

        Raises:
            WorkerError: it cannot be begun.
        """
        self._loaded: weakref.ref[Predictor] | None = None
        self._sizes: deque[tuple[int, int]] = deque()
        with _translated():
            self._process = fork()
        try:
            with _translated():
                self._mailbox = Mailbox.begin(self._process.connection, ANSWER_SECONDS)
        except WorkerError:
            self.close()
            raise

    def may_be_given(self, predictor: Predictor) -> bool:
        """Whether it has room for a crop, and the model for it or nothing else to do than to load it."""
        return not self._sizes or (len(self._sizes) < AHEAD and self._has_loaded(predictor))

    def give(self, predictor: Predictor, rgb: FloatArray, hole: BoolArray, threads: int) -> None:
        """Have it fill a crop, when it `may_be_given` one, as `predictor` would with so many `threads`.

        Args:
            rgb: (h, w, 3) float32 in [0, 1].
            hole: (h, w) bool, True = hole.

        Raises:
            WorkerError: the process is gone, or hangs. It is of no use then.
        """
        with _translated():
            if not self._has_loaded(predictor):
                # In a thread that ends, since the caller's is not to keep a team of torch's.
                self._mailbox.send(devices.start_passing_thread(predictor.state).result())
                self._loaded = weakref.ref(predictor)
            # Contiguous, or else they would have to go through the connection.
            self._mailbox.send(_Crop(np.ascontiguousarray(rgb), np.ascontiguousarray(hole), threads))
        self._sizes.append(hole.shape)

    def take(self) -> FilledCrop:
        """Wait for the fill of the crop that it was given first; what lies outside the hole means nothing.

        Raises:
            WorkerError: the process is gone, hangs or has failed, for whatever reason. It is of no use then.
        """
        with _translated():
            answer: _Fill | _Failure = self._mailbox.receive()
            if isinstance(answer, _Failure):
                raise WorkerError(answer.reason)
            return _spread(answer, self._sizes.popleft())

    def close(self) -> None:
        """End the process."""
        self._process.close()

    def _has_loaded(self, predictor: Predictor) -> bool:
        return self._loaded is not None and self._loaded() is predictor


def serve(connection: Connection) -> None:
    """What a worker's process does, until it is hung up on or fails."""
    predictor: Predictor | None = None
    with contextlib.suppress(EOFError, OSError):  # which is how hanging up looks
        letters = Mailbox.join(connection)
        while True:
            message = letters.receive()
            if isinstance(message, PredictorState):
                predictor = Predictor.from_state(message)
                continue
            assert predictor is not None, "a worker is given a model before crops"
            try:
                fill = _fill(predictor, *message)
            except Exception as error:
                # Told, not printed: the service logs it, and fills the crop itself.
                letters.send(_Failure(f"{type(error).__name__}: {error}"))
                return
            letters.send(fill)
            del message, fill  # or they would stay in memory until the next come


def _fill(predictor: Predictor, rgb: FloatArray, hole: BoolArray, threads: int) -> _Fill:
    devices.use_cpu_threads(threads)
    [fill] = predictor.predict(rgb[None], hole[None])
    rows, columns = _extent(hole, axis=0), _extent(hole, axis=1)
    colours, source = fill.colours[rows, columns], fill.source[:, rows, columns]
    return _Fill(rows, columns, np.ascontiguousarray(colours), np.ascontiguousarray(source))


def _extent(hole: BoolArray, axis: int) -> slice:
    """The rows (axis 0) or columns (axis 1) from the first to the last with a hole."""
    marked = np.flatnonzero(hole.any(axis=1 - axis))
    # A crop can be without a hole where it was shrunk and each of its pixels was known in part.
    return slice(int(marked[0]), int(marked[-1]) + 1) if marked.size else slice(0, 0)


def _spread(fill: _Fill, size: tuple[int, int]) -> FilledCrop:
    filled = FilledCrop(np.zeros((*size, 3), np.float32), np.zeros((2, *size), np.int32))
    filled.colours[fill.rows, fill.columns] = fill.colours
    filled.source[:, fill.rows, fill.columns] = fill.source
    return filled


@contextlib.contextmanager
def _translated() -> Iterator[None]:
    """Turn whatever happens into a WorkerError: an answer left unread would be taken for the next one."""
    try:
        yield
    except WorkerError:
        raise
    except TimeoutError as error:
        raise WorkerError(f"the process hangs: {error}") from error
    except (EOFError, OSError) as error:
        raise WorkerError(f"the process is gone: {str(error) or type(error).__name__}") from error
    except Exception as error:
        raise WorkerError(f"{type(error).__name__}: {error}") from error
