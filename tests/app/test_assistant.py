"""A batcher's CPU gets help while there is more to do, and does without where that fails."""

import logging
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from multiprocessing import Pipe
from multiprocessing.connection import Connection

import numpy as np
import pytest
import torch

from app import assistant
from app.batcher import Batcher
from app.crops import Prediction
from app.turns import CROWDED_IN_A_ROW, Turns
from model_core.networks import Generator
from model_core.predictor import BoolArray, FilledCrop, FloatArray, Predictor
from model_core.worker import Fork

CPU = torch.device("cpu")
WANTED = threading.Event()


class CountingPredictor(Predictor):
    """A real predictor that counts the crops filled in this process."""

    filled_here = 0

    def predict(self, rgb: FloatArray, holes: BoolArray) -> list[FilledCrop]:
        self.filled_here += len(rgb)
        return super().predict(rgb, holes)


@pytest.fixture
def predictor(tiny_generator: Generator) -> CountingPredictor:
    return CountingPredictor(tiny_generator, CPU, torch.float32)


@contextmanager
def crowded(fork: Fork) -> Iterator[Batcher]:
    """A batcher that always believes that more is asked for."""
    batcher = Batcher(devices=1, max_batch_size=1)
    batcher.employ(fork, Turns(most=2, threads=2, is_crowded=lambda: True))
    threads = torch.get_num_threads()
    try:
        yield batcher
    finally:
        batcher.close()
        torch.set_num_threads(threads)


def crop(seed: int) -> tuple[FloatArray, BoolArray]:
    hole = np.zeros((32, 32), dtype=bool)
    hole[8:20, 8:20] = True
    return np.random.default_rng(seed).random((32, 32, 3), dtype=np.float32), hole


def fill(batcher: Batcher, predictor: Predictor, count: int) -> list[Prediction]:
    """Four at once."""
    predictors = (predictor,)
    with ThreadPoolExecutor(4) as pool:
        return list(pool.map(lambda seed: batcher.predict(predictors, *crop(seed), WANTED), range(count)))


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def get_help(batcher: Batcher, predictor: Predictor) -> None:
    """Be crowded until a worker is there."""
    for _ in range(CROWDED_IN_A_ROW):
        fill(batcher, predictor, 1)
    wait_until(lambda: batcher.processes == 2)


def test_a_worker_does_its_part(
    fork_a_thread: Fork, predictor: CountingPredictor, tiny_generator: Generator
) -> None:
    """The fills are what they would be without it, to the bit."""
    with crowded(fork_a_thread) as batcher:
        assert batcher.processes == 1
        get_help(batcher, predictor)
        predictor.filled_here = 0
        predictions = fill(batcher, predictor, 40)
        assert predictor.filled_here < 40
    alone = Predictor(tiny_generator, CPU, torch.float32)
    for seed, prediction in enumerate(predictions):
        rgb, hole = crop(seed)
        expected = alone.predict(rgb[None], hole[None])[0]
        np.testing.assert_array_equal(prediction.fill.colours[hole], expected.colours[hole])
        np.testing.assert_array_equal(prediction.fill.source[:, hole], expected.source[:, hole])


def test_a_worker_with_nothing_to_do_ends(
    fork_a_thread: Fork, predictor: CountingPredictor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its memory is free, and it comes again with the next crowd."""
    monkeypatch.setattr(assistant, "IDLE_SECONDS", 0.2)
    with crowded(fork_a_thread) as batcher:
        for _ in range(2):
            get_help(batcher, predictor)
            wait_until(lambda: batcher.processes == 1)


def test_a_worker_that_fails_loses_no_crop(
    predictor: CountingPredictor, caplog: pytest.LogCaptureFixture
) -> None:
    """Its crops are filled here, and no other is begun for a while."""
    forks: list[Connection] = []

    def fork() -> Connection:
        ours, theirs = Pipe()
        theirs.close()  # as if the process had been killed at once
        forks.append(ours)
        return ours

    with crowded(fork) as batcher, caplog.at_level(logging.ERROR):
        get_help(batcher, predictor)
        predictor.filled_here = 0
        assert len(fill(batcher, predictor, 40)) == 40
        assert predictor.filled_here == 40
        wait_until(lambda: batcher.processes == 1)
        fill(batcher, predictor, 2 * CROWDED_IN_A_ROW)
    assert len(forks) == 1
    assert [record.message for record in caplog.records] == [
        "an inference process failed, and others do its work: the process is gone: [Errno 32] Broken pipe"
    ]


def test_a_process_that_cannot_be_begun_is_done_without(
    predictor: CountingPredictor, caplog: pytest.LogCaptureFixture
) -> None:
    """Tried again only after a while."""
    asked = threading.Semaphore(0)

    def fork() -> Connection:
        asked.release()
        raise BlockingIOError(11, "Resource temporarily unavailable")

    with crowded(fork) as batcher:
        assert len(fill(batcher, predictor, 40)) == 40
        assert asked.acquire(timeout=10)
        assert not asked.acquire(blocking=False)
        assert batcher.processes == 1
    assert "Resource temporarily unavailable" in caplog.text


def test_a_closed_batcher_ends_its_workers(fork_a_thread: Fork, predictor: CountingPredictor) -> None:
    """What is in work is finished first."""
    answers: list[Future[Prediction]] = []
    with crowded(fork_a_thread) as batcher, ThreadPoolExecutor(4) as pool:
        get_help(batcher, predictor)
        predictors = (predictor,)
        answers += [pool.submit(batcher.predict, predictors, *crop(seed), WANTED) for seed in range(8)]
        for answer in answers:
            answer.result(timeout=10)
    assert batcher.processes == 1
