"""Threads that join a CPU's own while there is more to do than it can."""

import contextlib
import logging
import threading
from collections.abc import Iterator, Sequence

from app.crops import WaitingCrop, WaitingCrops, fill_all
from app.turns import Turns
from model_core import devices
from model_core.predictor import BoolArray, FilledCrop, FloatArray, Predictor
from model_core.worker import Fork, Worker, WorkerError

# Seconds without work after which a worker ends, so that its memory is free, ...
IDLE_SECONDS = 60.0
# ... and those after which one that failed may be replaced.
FAILED_SECONDS = 30.0

logger = logging.getLogger(__name__)


class Assistant(threading.Thread):
    """Takes crops when it is its turn, and has a worker fill them that lives while there is need of it."""

    def __init__(self, crops: WaitingCrops, turns: Turns, fork: Fork) -> None:
        super().__init__(name="assistant", daemon=True)
        self._crops = crops
        self._turns = turns
        self._fork = fork

    def run(self) -> None:
        """Begin and end workers until the crops are closed."""
        while self._is_wanted():
            try:
                with contextlib.closing(Worker(self._fork)) as worker, self._joined():
                    while turn := self._next_turn():
                        self._have_filled(worker, *turn)
                        del turn  # or the last pictures would live until the next come
            except WorkerError as error:
                logger.error("an inference process failed, and others do its work: %s", error)
                self._pause()

    def _is_wanted(self) -> bool:
        """Wait until there is need of one more worker; False once the crops are closed."""
        with self._crops.changed:
            self._crops.changed.wait_for(lambda: self._turns.wants_worker or self._crops.closed)
            return not self._crops.closed

    @contextlib.contextmanager
    def _joined(self) -> Iterator[None]:
        with self._crops.changed:
            self._turns.join()
        try:
            yield
        finally:
            with self._crops.changed:
                self._turns.leave()

    def _next_turn(self) -> tuple[list[WaitingCrop], int] | None:
        """What a worker is to fill, and with how many threads; None if that has not come for long."""
        crops, turns = self._crops, self._turns
        with crops.changed:
            crops.changed.wait_for(
                lambda: crops.closed or (crops and turns.worker_may_begin()), timeout=IDLE_SECONDS
            )
            if not (crops and turns.worker_may_begin()):
                return None
            threads = turns.begin_in_worker()
            return crops.take(turns.parts), threads

    def _have_filled(self, worker: Worker, batch: list[WaitingCrop], threads: int) -> None:
        """Raises WorkerError if the worker could not; then the crops were filled without it."""
        failures: list[WorkerError] = []

        def fill(predictors: Sequence[Predictor], rgb: FloatArray, holes: BoolArray) -> list[FilledCrop]:
            if not failures:
                try:
                    return worker.predict(predictors[0], rgb, holes, threads)
                except WorkerError as error:
                    failures.append(error)
            # In a thread that ends: this one is not to keep a team of torch's.
            return devices.start_passing_thread(lambda: predictors[0].predict(rgb, holes)).result()

        try:
            fill_all(batch, fill)
        finally:
            with self._crops.changed:
                self._turns.end_in_worker()
        if failures:
            raise failures[0]

    def _pause(self) -> None:
        with self._crops.changed:
            self._crops.changed.wait_for(lambda: self._crops.closed, timeout=FAILED_SECONDS)
