"""A predictor's double in a process of its own, for another inference at the same time.

Two threads of one process wait for each other, since Python runs one of them at a time; two processes do not.
"""

import contextlib
import pickle
import threading
import weakref
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from model_core import devices
from model_core.fork_server import ForkedProcess
from model_core.predictor import BoolArray, FilledCrop, FloatArray, IntArray, Predictor, PredictorState

Fork = Callable[[], ForkedProcess]
"""Begins a process that does `serve`; raises OSError if that fails."""

# A process that has not answered for so long hangs, and is killed: far longer than any inference takes.
ANSWER_SECONDS = 120.0


class WorkerError(Exception):
    """A worker's process is gone, or cannot be begun. No client hears of it: others do the work."""


class _Crops(NamedTuple):
    """What a worker is asked to fill, as `Predictor.predict`, and with how many threads."""

    rgb: FloatArray
    holes: BoolArray
    threads: int


class _HoleFill(NamedTuple):
    """What it answers for each crop: `FilledCrop`, but only what lies in the hole, (N, 3) and (2, N)."""

    colours: FloatArray
    source: IntArray


class _Failure(NamedTuple):
    """What it answers, before it ends, if it cannot."""

    reason: str


class Worker:
    """A process that fills crops. For one thread at a time."""

    def __init__(self, fork: Fork) -> None:
        """Begin the process.

        Raises:
            WorkerError: it cannot be begun.
        """
        self._loaded: weakref.ref[Predictor] | None = None
        with _translated():
            self._process = fork()

    def predict(
        self, predictor: Predictor, rgb: FloatArray, holes: BoolArray, threads: int
    ) -> list[FilledCrop]:
        """What `predictor.predict` returns, 0 where there is no hole, computed by the process with `threads`.

        Raises:
            WorkerError: the process is gone, hangs or has failed, for whatever reason. It is of no use then.
        """
        watchdog = threading.Timer(ANSWER_SECONDS, self._process.kill)
        watchdog.start()
        try:
            with _translated():
                return self._ask(predictor, rgb, holes, threads)
        finally:
            watchdog.cancel()

    def close(self) -> None:
        """End the process."""
        self._process.close()

    def _ask(self, predictor: Predictor, rgb: FloatArray, holes: BoolArray, threads: int) -> list[FilledCrop]:
        connection = self._process.connection
        if self._loaded is None or self._loaded() is not predictor:
            # In a thread that ends, since the caller's is not to keep a team of torch's.
            _send(connection, devices.start_passing_thread(predictor.state).result())
            self._loaded = weakref.ref(predictor)
        _send(connection, _Crops(rgb, holes, threads))
        answer: list[_HoleFill] | _Failure = _receive(connection)
        if isinstance(answer, _Failure):
            raise WorkerError(answer.reason)
        return [_spread(fill, hole) for fill, hole in zip(answer, holes, strict=True)]


def serve(connection: Connection) -> None:
    """What a worker's process does, until it is hung up on or fails."""
    predictor: Predictor | None = None
    with contextlib.suppress(EOFError, OSError):  # which is how hanging up looks
        while True:
            message = _receive(connection)
            if isinstance(message, PredictorState):
                predictor = Predictor.from_state(message)
                continue
            assert predictor is not None, "a worker is given a model before crops"
            try:
                fills = _fill(predictor, *message)
            except Exception as error:
                # Told, not printed: the service logs it, and fills the crop itself.
                _send(connection, _Failure(f"{type(error).__name__}: {error}"))
                return
            _send(connection, fills)
            del message, fills  # or they would stay in memory until the next come


def _fill(predictor: Predictor, rgb: FloatArray, holes: BoolArray, threads: int) -> list[_HoleFill]:
    devices.use_cpu_threads(threads)
    fills = zip(predictor.predict(rgb, holes), holes, strict=True)
    return [_HoleFill(fill.colours[hole], fill.source[:, hole]) for fill, hole in fills]


def _spread(fill: _HoleFill, hole: NDArray[np.bool_]) -> FilledCrop:
    colours = np.zeros((*hole.shape, 3), np.float32)
    source = np.zeros((2, *hole.shape), np.int32)
    colours[hole], source[:, hole] = fill
    return FilledCrop(colours, source)


def _send(connection: Connection, message: object) -> None:
    # `Connection.send` would make a view of a buffer. Where an error leaves that to the garbage collector,
    # CPython 3.12.1 crashes (its issue 111049).
    connection.send_bytes(pickle.dumps(message, pickle.HIGHEST_PROTOCOL))


def _receive(connection: Connection) -> Any:
    # Pickle is safe here: at the other end is the process that this one was forked from, or its fork.
    return pickle.loads(connection.recv_bytes())


@contextlib.contextmanager
def _translated() -> Iterator[None]:
    """Turn whatever happens into a WorkerError: an answer left unread would be taken for the next one."""
    try:
        yield
    except WorkerError:
        raise
    except (EOFError, OSError) as error:
        raise WorkerError(f"the process is gone: {str(error) or type(error).__name__}") from error
    except Exception as error:
        raise WorkerError(f"{type(error).__name__}: {error}") from error
