"""The crops that wait for a device, and the passes that they are taken in."""

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import CancelledError, Future
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from model_core.predictor import BoolArray, FilledCrop, FloatArray, Predictor

Fill = Callable[[Sequence[Predictor], FloatArray, BoolArray], list[FilledCrop]]
"""The model on each device, and what `Predictor.predict` takes -> what it returns."""


class Prediction(NamedTuple):
    """One crop's fill, the seconds it waited, and how many crops shared its pass."""

    fill: FilledCrop
    waited_seconds: float
    batch_size: int


@dataclass(frozen=True, eq=False)
class WaitingCrop:
    """A crop that waits.

    Attributes:
        predictors: the model on each device.
        rgb: (h, w, 3) float32 in [0, 1].
        hole: (h, w) bool, True = hole.
        abandoned: set when nobody wants the answer any more.
        arrival: of `time.perf_counter`.
        future: where the answer goes.
    """

    predictors: Sequence[Predictor]
    rgb: FloatArray
    hole: BoolArray
    abandoned: threading.Event
    arrival: float
    future: Future[Prediction]

    @property
    def key(self) -> tuple[int, tuple[int, ...]]:
        """Equal for those that may share a pass."""
        return id(self.predictors), self.hole.shape


class WaitingCrops:
    """The crops that wait, in the order in which they came.

    Attributes:
        changed: the lock that all of it is behind, and whatever decides who takes crops.
        closed: whether no more may come.
    """

    def __init__(self, max_batch_size: int) -> None:
        self.changed = threading.Condition()
        self.closed = False
        self._max_batch_size = max_batch_size
        self._crops: deque[WaitingCrop] = deque()

    def __len__(self) -> int:
        return len(self._crops)

    @property
    def first(self) -> WaitingCrop:
        """Under the lock: the crop that has waited longest. There must be one."""
        return self._crops[0]

    def put(self, crop: WaitingCrop) -> None:
        """Have a crop wait.

        Raises:
            CancelledError: no more may come.
        """
        with self.changed:
            if self.closed:
                raise CancelledError
            self._crops.append(crop)
            self.changed.notify_all()

    def put_back(self, crop: WaitingCrop) -> None:
        """Have a crop that was taken wait again, in front of all others."""
        with self.changed:
            self._crops.appendleft(crop)
            self.changed.notify_all()

    def take(self) -> WaitingCrop:
        """Under the lock: the crop that has waited longest. There must be one."""
        self.changed.notify_all()  # since a turn has begun, others may begin, or be needed
        return self._crops.popleft()

    def take_batch(self) -> list[WaitingCrop]:
        """Under the lock: the crop that has waited longest and those that may share its pass, if any wait."""
        batch = [crop for crop in self._crops if crop.key == self._crops[0].key][: self._max_batch_size]
        for crop in batch:
            self._crops.remove(crop)
        self.changed.notify_all()
        return batch

    def close(self) -> None:
        """Let no more come; what waits is still to be taken."""
        with self.changed:
            self.closed = True
            self.changed.notify_all()


def still_wanted(batch: list[WaitingCrop]) -> list[WaitingCrop]:
    """Those that somebody waits for; the others are cancelled."""
    for crop in batch:
        if crop.abandoned.is_set():
            crop.future.set_exception(CancelledError())
    return [crop for crop in batch if not crop.future.done()]


def fill_together(batch: list[WaitingCrop], fill: Fill) -> None:
    """Fill crops of one size in one pass, and hand out the fills. What `fill` raises is for the caller."""
    start = time.perf_counter()
    rgb, holes = np.stack([crop.rgb for crop in batch]), np.stack([crop.hole for crop in batch])
    for crop, filled in zip(batch, fill(batch[0].predictors, rgb, holes), strict=True):
        crop.future.set_result(Prediction(filled, start - crop.arrival, len(batch)))


def fill_all(batch: list[WaitingCrop], fill: Fill) -> None:
    """Fill the crops of a batch that are still wanted, and hand out the fills, or the errors."""
    batch = still_wanted(batch)
    try:
        if batch:
            fill_together(batch, fill)
        return
    except Exception as error:
        if len(batch) == 1:
            # Whatever it is, it is for whoever waits for this crop; the thread has others to serve.
            batch[0].future.set_exception(error)
            return
    # One crop's trouble, or too little memory for all at once, is not the others'. They are tried again when
    # the error is gone, since its frames hold what the whole batch had allocated.
    for crop in batch:
        fill_all([crop], fill)
