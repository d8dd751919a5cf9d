"""Threads that join a CPU's own while there is more to do than it can."""

import contextlib
import logging
import threading
import time
from collections import deque

from app.crops import Prediction, WaitingCrop, WaitingCrops, still_wanted
from app.turns import Turns
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
            employment = _Employment(worker, self._crops, self._turns)
            try:
                while employment.go_on():
                    pass
            finally:
                employment.end()

    def _pause(self) -> None:
        with self._crops.changed:
            self._crops.changed.wait_for(lambda: self._crops.closed, timeout=FAILED_SECONDS)


class _Employment:
    """What a worker has been given and not answered yet, for one thread.

    While it fills a crop it is given the next one, or else its core would idle until this process, which has
    much to do at such times, has dealt with the answer.
    """

    def __init__(self, worker: Worker, crops: WaitingCrops, turns: Turns) -> None:
        self._worker = worker
        self._crops = crops
        self._turns = turns
        self._threads = 0
        self._given: deque[WaitingCrop] = deque()
        self._begun = 0.0

    def go_on(self) -> bool:
        """Give the worker a crop or take its next answer; False if there has been neither for long.

        Raises:
            WorkerError: the worker failed.
        """
        if crop := self._next_ahead() if self._given else self._next():
            self._give(crop)
        elif self._given:
            self._take()
        else:
            return False
        return True

    def end(self) -> None:
        """Give up the place of a worker; what it has not answered waits for others."""
        with self._crops.changed:
            while self._given:
                # Not filled here and now: if it failed for want of memory, there is still none.
                self._crops.put_back(self._given.pop())
            self._turns.end_in_worker(self._threads)
            self._turns.leave()

    def _next(self) -> WaitingCrop | None:
        """Wait until it is the worker's turn."""
        crops, turns = self._crops, self._turns
        with crops.changed:
            crops.changed.wait_for(
                lambda: crops.closed or (crops and turns.worker_may_begin()), timeout=IDLE_SECONDS
            )
            if not (crops and turns.worker_may_begin()):
                return None
            self._threads = turns.begin_in_worker()
            return crops.take()

    def _next_ahead(self) -> WaitingCrop | None:
        """A crop that nobody else would begin before the worker could."""
        crops = self._crops
        with crops.changed:
            if (
                len(crops) > 1
                and self._turns.worker_keeps(self._threads)
                and self._worker.may_be_given(crops.first.predictors[0])
            ):
                return crops.take()
            return None

    def _give(self, crop: WaitingCrop) -> None:
        if still_wanted([crop]):
            self._given.append(crop)
            if len(self._given) == 1:
                self._begun = time.perf_counter()
            self._worker.give(crop.predictors[0], crop.rgb, crop.hole, self._threads)
        self._end_turn_if_idle()

    def _take(self) -> None:
        fill = self._worker.take()
        crop = self._given.popleft()
        crop.future.set_result(Prediction(fill, self._begun - crop.arrival, batch_size=1))
        self._begun = time.perf_counter()  # of the next, if there is one
        del crop, fill
        self._end_turn_if_idle()

    def _end_turn_if_idle(self) -> None:
        if not self._given:
            with self._crops.changed:
                self._turns.end_in_worker(self._threads)
                self._threads = 0
