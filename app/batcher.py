"""Between the requests and the devices: crops of equal size that wait together are filled in one pass."""

import functools
import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future

from app.assistant import Assistant
from app.crops import Prediction, WaitingCrop, WaitingCrops, fill_all
from app.turns import Turns
from model_core.devices import use_cpu_threads
from model_core.predictor import BoolArray, FilledCrop, FloatArray, Predictor
from model_core.worker import Fork


class Batcher:
    """Runs one thread a device. Each takes the crop that has waited longest, with all others of its size.

    Nothing is held back to wait for company: crops gather while the devices are busy, and a lone request on
    an idle device starts at once. A CPU's thread is joined by assistants while there is more to do; then each
    crop has a pass of its own, since there is more to gain from another core than from a larger pass.
    """

    def __init__(
        self, devices: int, max_batch_size: int, turns: Turns | None = None, fork: Fork | None = None
    ) -> None:
        """With `turns` and `fork`, which begins the workers, the device, a CPU, has assistants."""
        self._crops = WaitingCrops(max_batch_size)
        self._turns = turns
        self._threads = [
            threading.Thread(target=self._serve, args=(index,), name=f"device-{index}", daemon=True)
            for index in range(devices)
        ]
        if turns and fork:
            self._threads += [Assistant(self._crops, turns, fork) for _ in range(1, turns.most)]
        for thread in self._threads:
            thread.start()

    @property
    def processes(self) -> int:
        """Those that infer at the same time if there is enough to do."""
        return self._turns.processes if self._turns else 1

    def predict(
        self, predictors: Sequence[Predictor], rgb: FloatArray, hole: BoolArray, abandoned: threading.Event
    ) -> Prediction:
        """Wait until a device has filled the crop.

        Args:
            predictors: the model on each device, as many as this batcher has devices.
            rgb: (h, w, 3) float32 in [0, 1].
            hole: (h, w) bool, True = hole.
            abandoned: set when nobody wants the answer any more; checked before a device is given the crop.

        Raises:
            CancelledError: it was abandoned before its turn, or the batcher is closed.
            Exception: whatever the predictor raised on this crop.
        """
        future: Future[Prediction] = Future()
        self._crops.put(WaitingCrop(predictors, rgb, hole, abandoned, time.perf_counter(), future))
        return future.result()

    def close(self) -> None:
        """Finish what waits, then stop the threads."""
        self._crops.close()
        for thread in self._threads:
            thread.join()

    def _serve(self, device: int) -> None:
        while batch := self._next_batch():
            fill_all(batch, functools.partial(_predict, device))
            # Or else the last pictures, and a model that was replaced, would live until the next request.
            del batch
            if self._turns:
                with self._crops.changed:
                    self._turns.end_here()

    def _next_batch(self) -> list[WaitingCrop]:
        """The crop that has waited longest and those that may share its pass; none once closed and empty."""
        crops, turns = self._crops, self._turns
        with crops.changed:
            crops.changed.wait_for(lambda: crops or crops.closed)
            if crops and turns:
                use_cpu_threads(turns.begin_here())
                if turns.processes > 1:
                    return [crops.take()]
            return crops.take_batch()


def _predict(
    device: int, predictors: Sequence[Predictor], rgb: FloatArray, holes: BoolArray
) -> list[FilledCrop]:
    return predictors[device].predict(rgb, holes)
