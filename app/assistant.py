"""Threads that join a CPU's own while there is more to do than it can."""

import contextlib
import logging
import threading
from collections.abc import Sequence

from app.crops import WaitingCrop, WaitingCrops, fill_together, still_wanted
from app.turns import Turns
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
                self._employ_worker()
            except WorkerError as error:
                # As text, since whoever keeps the record would keep the error's frames and their pictures.
                logger.error("an inference process failed, and others do its work: %s", str(error))
            else:
                continue
            self._pause()  # where the error is gone

    def _is_wanted(self) -> bool:
        """Wait until there is need of one more worker; False once the crops are closed."""
        with self._crops.changed:
            self._crops.changed.wait_for(lambda: self._turns.wants_worker or self._crops.closed)
            if not self._crops.closed:
                self._turns.expect_worker()
            return not self._crops.closed

    def _employ_worker(self) -> None:
        """Begin a worker, let it work, and end it when there is nothing for it to do.

        Raises:
            WorkerError: it could not be begun, or failed.
        """
        try:
            worker = Worker(self._fork)
        except WorkerError:
            with self._crops.changed:
                self._turns.no_more_expected()
            raise
        with contextlib.closing(worker):
            with self._crops.changed:
                self._turns.join()
            try:
                while self._do_next(worker):
                    pass
            finally:
                with self._crops.changed:
                    self._turns.leave()

    def _do_next(self, worker: Worker) -> bool:
        """Have the worker fill a crop when it is its turn; False if that has not come for long.

        Raises:
            WorkerError: the worker failed, and the crop waits for others.
        """
        crops, turns = self._crops, self._turns
        with crops.changed:
            crops.changed.wait_for(
                lambda: crops.closed or (crops and turns.worker_may_begin()), timeout=IDLE_SECONDS
            )
            if not (crops and turns.worker_may_begin()):
                return False
            threads = turns.begin_in_worker()
            crop = crops.take()
        try:
            self._have_filled(crop, worker, threads)
        finally:
            with crops.changed:
                turns.end_in_worker(threads)
        return True

    def _have_filled(self, crop: WaitingCrop, worker: Worker, threads: int) -> None:
        def fill(predictors: Sequence[Predictor], rgb: FloatArray, holes: BoolArray) -> list[FilledCrop]:
            return worker.predict(predictors[0], rgb, holes, threads)

        try:
            if still_wanted([crop]):
                fill_together([crop], fill)
        except WorkerError:
            # Not filled here and now: if it was for want of memory, there is still none.
            self._crops.put_back(crop)
            raise
        except Exception as error:
            # Whatever else it is, the worker is well, and whoever waits for this crop must not wait for ever.
            crop.future.set_exception(error)

    def _pause(self) -> None:
        with self._crops.changed:
            self._crops.changed.wait_for(lambda: self._crops.closed, timeout=FAILED_SECONDS)
