"""Between the requests and the devices: crops of equal size that wait together are filled in one pass."""

import threading
import time
from collections import deque
from collections.abc import Sequence
from concurrent.futures import CancelledError, Future
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from model_core.predictor import FilledCrop, Predictor

FloatArray = NDArray[np.float32]
BoolArray = NDArray[np.bool_]


class Prediction(NamedTuple):
    """One crop's fill, the seconds it waited, and how many crops shared its pass."""

    fill: FilledCrop
    waited_seconds: float
    batch_size: int


@dataclass(frozen=True, eq=False)
class _Item:
    """A crop that waits; `key` is equal for those that may share a pass."""

    key: tuple[int, tuple[int, ...]]
    predictors: Sequence[Predictor]
    rgb: FloatArray
    hole: BoolArray
    abandoned: threading.Event
    arrival: float
    future: Future[Prediction]


class Batcher:
    """Runs one thread a device. Each takes the crop that has waited longest, with all others of its size.

    Nothing is held back to wait for company: crops gather while the devices are busy, and a lone request on
    an idle device starts at once.
    """

    def __init__(self, devices: int, max_batch_size: int) -> None:
        self._max_batch_size = max_batch_size
        self._waiting: deque[_Item] = deque()
        self._changed = threading.Condition()
        self._closed = False
        self._threads = [
            threading.Thread(target=self._serve, args=(index,), name=f"device-{index}", daemon=True)
            for index in range(devices)
        ]
        for thread in self._threads:
            thread.start()

    def predict(
        self, predictors: Sequence[Predictor], rgb: FloatArray, hole: BoolArray, abandoned: threading.Event
    ) -> Prediction:
        """Wait until a device has filled the crop.

        Args:
            predictors: the model on each device, as many as this batcher has threads.
            rgb: (h, w, 3) float32 in [0, 1].
            hole: (h, w) bool, True = hole.
            abandoned: set when nobody wants the answer any more; checked before the pass begins.

        Raises:
            CancelledError: it was abandoned before its turn, or the batcher is closed.
            Exception: whatever the predictor raised on this crop.
        """
        future: Future[Prediction] = Future()
        key = (id(predictors), hole.shape)
        item = _Item(key, predictors, rgb, hole, abandoned, time.perf_counter(), future)
        with self._changed:
            if self._closed:
                raise CancelledError
            self._waiting.append(item)
            self._changed.notify()
        return future.result()

    def close(self) -> None:
        """Finish what waits, then stop the threads."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()

    def _serve(self, device: int) -> None:
        while batch := self._next_batch():
            _run(batch, device)
            # Or else the last pictures, and a model that was replaced, would live until the next request.
            del batch

    def _next_batch(self) -> list[_Item]:
        """The crop that has waited longest and those that may share its pass; none once closed and empty."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._closed)
            if not self._waiting:
                return []
            key = self._waiting[0].key
            batch = [item for item in self._waiting if item.key == key][: self._max_batch_size]
            for item in batch:
                self._waiting.remove(item)
            return batch


def _run(batch: list[_Item], device: int) -> None:
    """Fill the crops of a batch and hand out the fills; those that nobody wants any more are left out."""
    for item in batch:
        if item.abandoned.is_set():
            item.future.set_exception(CancelledError())
    batch = [item for item in batch if not item.future.done()]
    if not batch:
        return
    start = time.perf_counter()
    try:
        fills = _predict(batch, device)
    except Exception as error:
        if len(batch) == 1:
            batch[0].future.set_exception(error)
            return
    else:
        for item, fill in zip(batch, fills, strict=True):
            item.future.set_result(Prediction(fill, start - item.arrival, len(batch)))
        return
    # One crop's trouble, or too little memory for all at once, is not the others'. They are tried again when
    # the error is gone, since its frames hold what the whole batch had allocated.
    for item in batch:
        _run([item], device)


def _predict(batch: list[_Item], device: int) -> list[FilledCrop]:
    rgb, holes = np.stack([item.rgb for item in batch]), np.stack([item.hole for item in batch])
    return batch[0].predictors[device].predict(rgb, holes)
