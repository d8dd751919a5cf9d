"""The batcher, with real predictors on the CPU."""

import threading
import time
import weakref
from collections.abc import Iterator
from concurrent.futures import CancelledError, ThreadPoolExecutor

import numpy as np
import pytest
import torch

from app.batcher import Batcher
from app.crops import Prediction
from model_core.networks import Generator
from model_core.predictor import BoolArray, FilledCrop, FloatArray, Predictor

CPU = torch.device("cpu")
WANTED = threading.Event()


class GatedPredictor(Predictor):
    """A real predictor that begins a pass when told to, and notes the sizes of its batches."""

    def __init__(self, generator: Generator) -> None:
        super().__init__(generator, CPU, torch.float32)
        self.begun, self.gate = threading.Semaphore(0), threading.Semaphore(0)
        self.batches: list[int] = []

    def predict(self, rgb: FloatArray, holes: BoolArray) -> list[FilledCrop]:
        self.batches.append(len(rgb))
        self.begun.release()
        assert self.gate.acquire(timeout=10)
        if np.isnan(rgb).any():
            raise ValueError("a poisoned crop")
        return super().predict(rgb, holes)


@pytest.fixture
def predictor(tiny_generator: Generator) -> GatedPredictor:
    return GatedPredictor(tiny_generator)


@pytest.fixture
def batcher() -> Iterator[Batcher]:
    batcher = Batcher(devices=1, max_batch_size=4)
    yield batcher
    batcher.close()


def crop(seed: int, side: int = 32) -> tuple[FloatArray, BoolArray]:
    hole = np.zeros((side, side), dtype=bool)
    hole[8:20, 8:20] = True
    return np.random.default_rng(seed).random((side, side, 3), dtype=np.float32), hole


def wait_for(batcher: Batcher, count: int) -> None:
    """Until that many crops wait."""
    deadline = time.monotonic() + 10
    while len(batcher._crops) < count:
        assert time.monotonic() < deadline
        time.sleep(0.001)


def test_crops_of_one_size_that_wait_together_share_a_pass(
    batcher: Batcher, predictor: GatedPredictor, tiny_generator: Generator
):
    """The first goes alone; of the six that come meanwhile four share a pass, and the odd one has its own."""
    predictors = (predictor,)
    alone = Predictor(tiny_generator, CPU, torch.float32)
    crops = [crop(seed, side=48 if seed == 3 else 32) for seed in range(7)]
    with ThreadPoolExecutor(7) as pool:
        futures = [pool.submit(batcher.predict, predictors, *crops[0], WANTED)]
        assert predictor.begun.acquire(timeout=10)
        for count, item in enumerate(crops[1:], start=1):
            futures.append(pool.submit(batcher.predict, predictors, *item, WANTED))
            wait_for(batcher, count)
        predictor.gate.release(4)
        predictions = [future.result(timeout=10) for future in futures]

    assert predictor.batches == [1, 4, 1, 1]
    assert [prediction.batch_size for prediction in predictions] == [1, 4, 4, 1, 4, 4, 1]
    assert predictions[0].waited_seconds < predictions[6].waited_seconds
    for (rgb, hole), prediction in zip(crops, predictions, strict=True):
        expected = alone.predict(rgb[None], hole[None])[0]
        np.testing.assert_allclose(prediction.fill.colours, expected.colours, atol=1e-4)


def test_crops_of_two_models_never_share_a_pass(batcher: Batcher, predictor: GatedPredictor):
    """After a reload, requests that began with the old model keep it."""
    old, new = (predictor,), (predictor,) * 2
    with ThreadPoolExecutor(3) as pool:
        futures = [pool.submit(batcher.predict, old, *crop(0), WANTED)]
        assert predictor.begun.acquire(timeout=10)
        for count, predictors in enumerate((old, new), start=1):
            futures.append(pool.submit(batcher.predict, predictors, *crop(1), WANTED))
            wait_for(batcher, count)
        predictor.gate.release(3)
        assert [future.result(timeout=10).batch_size for future in futures] == [1, 1, 1]


def test_one_crop_that_fails_does_not_fail_the_others(batcher: Batcher, predictor: GatedPredictor):
    """A batch that raises is tried again one by one."""
    poisoned = (np.full((32, 32, 3), np.nan, dtype=np.float32), crop(0)[1])
    with ThreadPoolExecutor(3) as pool:
        first = pool.submit(batcher.predict, (predictor,), *crop(0), WANTED)
        assert predictor.begun.acquire(timeout=10)
        # The same tuple of predictors, or they would count as two models.
        shared = (predictor,)
        bad = pool.submit(batcher.predict, shared, *poisoned, WANTED)
        wait_for(batcher, 1)
        good = pool.submit(batcher.predict, shared, *crop(1), WANTED)
        wait_for(batcher, 2)
        predictor.gate.release(4)
        assert isinstance(first.result(timeout=10), Prediction)
        assert good.result(timeout=10).batch_size == 1
        with pytest.raises(ValueError, match="a poisoned crop"):
            bad.result(timeout=10)
    assert predictor.batches == [1, 2, 1, 1]


def test_a_batch_that_was_too_large_is_gone_before_its_crops_are_tried(
    batcher: Batcher, tiny_generator: Generator
):
    """What the failed pass had allocated is not held while its crops are filled one by one."""

    class Narrow(GatedPredictor):
        together: weakref.ref[FloatArray]  # a batch's colours

        def predict(self, rgb: FloatArray, holes: BoolArray) -> list[FilledCrop]:
            fills = super().predict(rgb, holes)
            if len(rgb) > 1:
                self.together = weakref.ref(fills[0].colours)
                raise MemoryError
            assert len(self.batches) == 1 or self.together() is None
            return fills

    predictor = Narrow(tiny_generator)
    shared = (predictor,)
    with ThreadPoolExecutor(3) as pool:
        futures = [pool.submit(batcher.predict, shared, *crop(0), WANTED)]
        assert predictor.begun.acquire(timeout=10)
        for count in (1, 2):
            futures.append(pool.submit(batcher.predict, shared, *crop(count), WANTED))
            wait_for(batcher, count)
        predictor.gate.release(4)
        assert [future.result(timeout=10).batch_size for future in futures] == [1, 1, 1]
    assert predictor.batches == [1, 2, 1, 1]


def test_an_abandoned_crop_is_not_computed(batcher: Batcher, predictor: GatedPredictor):
    """Whoever gave up while waiting costs nothing."""
    abandoned = threading.Event()
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(batcher.predict, (predictor,), *crop(0), WANTED)
        assert predictor.begun.acquire(timeout=10)
        second = pool.submit(batcher.predict, (predictor,), *crop(1), abandoned)
        wait_for(batcher, 1)
        abandoned.set()
        predictor.gate.release()
        first.result(timeout=10)
        with pytest.raises(CancelledError):
            second.result(timeout=10)
    assert predictor.batches == [1]


def test_two_devices_work_at_the_same_time(tiny_generator: Generator):
    """Each device has its own thread and its own copy of the model."""
    predictors = (GatedPredictor(tiny_generator), GatedPredictor(tiny_generator))
    batcher = Batcher(devices=2, max_batch_size=4)
    with ThreadPoolExecutor(2) as pool:
        futures = [
            pool.submit(batcher.predict, predictors, *crop(seed, 32 + 16 * seed), WANTED) for seed in (0, 1)
        ]
        for predictor in predictors:
            assert predictor.begun.acquire(timeout=10)
        for predictor in predictors:
            predictor.gate.release()
        assert all(future.result(timeout=10).fill.colours.shape[2] == 3 for future in futures)
    batcher.close()
    assert [predictor.batches for predictor in predictors] == [[1], [1]]


def test_a_closed_batcher_has_finished_its_work_and_takes_no_more(predictor: GatedPredictor):
    """Closing waits for what is in work."""
    batcher = Batcher(devices=1, max_batch_size=4)
    with ThreadPoolExecutor(2) as pool:
        future = pool.submit(batcher.predict, (predictor,), *crop(0), WANTED)
        assert predictor.begun.acquire(timeout=10)
        closing = pool.submit(batcher.close)
        predictor.gate.release()
        closing.result(timeout=10)
        assert future.result(timeout=10).batch_size == 1
    with pytest.raises(CancelledError):
        batcher.predict((predictor,), *crop(0), WANTED)
