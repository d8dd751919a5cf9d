"""A batcher's CPU gets help while there is more to do, and does without where that fails."""

import gc
import logging
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from multiprocessing.connection import Connection

import numpy as np
import pytest
import torch

from app import assistant
from app.batcher import Batcher
from app.crops import Prediction, WaitingCrop
from app.turns import CROWDED_IN_A_ROW, Turns
from model_core.fork_server import ForkedProcess
from model_core.mailbox import Mailbox
from model_core.networks import Generator
from model_core.predictor import BoolArray, FilledCrop, FloatArray, Predictor
from model_core.worker import Fork, serve

CPU = torch.device("cpu")
WANTED = threading.Event()
ForkThread = Callable[[Callable[[Connection], None]], ForkedProcess]


class CountingPredictor(Predictor):
    """A real predictor that counts the crops filled in this process."""

    filled_here = 0

    def predict(self, rgb: FloatArray, holes: BoolArray) -> list[FilledCrop]:
        self.filled_here += len(rgb)
        return super().predict(rgb, holes)


class GatedPredictor(Predictor):
    """A real predictor that waits while its gate is shut."""

    def __init__(self, generator: Generator) -> None:
        super().__init__(generator, CPU, torch.float32)
        self.gate = threading.Event()
        self.gate.set()

    def predict(self, rgb: FloatArray, holes: BoolArray) -> list[FilledCrop]:
        assert self.gate.wait(timeout=20)
        return super().predict(rgb, holes)


@pytest.fixture
def gated(tiny_generator: Generator) -> GatedPredictor:
    return GatedPredictor(tiny_generator)


@pytest.fixture
def predictor(tiny_generator: Generator) -> CountingPredictor:
    return CountingPredictor(tiny_generator, CPU, torch.float32)


@pytest.fixture
def workers(fork_thread: ForkThread) -> Callable[[], ForkedProcess]:
    """Begins workers that work."""
    return lambda: fork_thread(serve)


@contextmanager
def crowded(fork: Fork, processes: int = 2) -> Iterator[Batcher]:
    """A batcher that is asked for far more than it can do at once."""
    turns = Turns(processes, processes, asked=lambda: 99)
    batcher = Batcher(devices=1, max_batch_size=1, turns=turns, fork=fork)
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


def begin_and_end(connection: Connection) -> None:
    """What a worker does that is killed before it has answered."""
    Mailbox.join(connection)


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def get_help(batcher: Batcher, predictor: Predictor) -> None:
    """Be crowded until one more worker is asked for."""
    for _ in range(CROWDED_IN_A_ROW):
        fill(batcher, predictor, 1)


def test_a_worker_does_its_part(
    workers: Fork, predictor: CountingPredictor, tiny_generator: Generator
) -> None:
    """The fills are what they would be without it, to the bit."""
    with crowded(workers) as batcher:
        assert batcher.processes == 1
        get_help(batcher, predictor)
        wait_until(lambda: batcher.processes == 2)
        predictor.filled_here = 0
        predictions = fill(batcher, predictor, 40)
        assert predictor.filled_here < 40
    alone = Predictor(tiny_generator, CPU, torch.float32)
    for seed, prediction in enumerate(predictions):
        rgb, hole = crop(seed)
        expected = alone.predict(rgb[None], hole[None])[0]
        np.testing.assert_array_equal(prediction.fill.colours[hole], expected.colours[hole])
        np.testing.assert_array_equal(prediction.fill.source[:, hole], expected.source[:, hole])


def test_a_worker_is_given_its_next_crop_before_it_answers(
    fork_thread: ForkThread, gated: GatedPredictor, caplog: pytest.LogCaptureFixture
) -> None:
    """As long as one is left for this process; none is lost with a worker that fails."""
    given: list[object] = []
    fail = threading.Event()

    def hoard(connection: Connection) -> None:
        letters = Mailbox.join(connection)
        letters.receive()  # the model
        for _ in range(2):
            given.append(letters.receive())
        fail.wait()

    with crowded(lambda: fork_thread(hoard)) as batcher:
        get_help(batcher, gated)
        wait_until(lambda: batcher.processes == 2)
        gated.gate.clear()
        waiting = [WaitingCrop((gated,), *crop(seed), WANTED, 0.0, Future()) for seed in range(4)]
        with batcher._crops.changed:  # so that all are there when the first is taken
            for one in waiting:
                batcher._crops.put(one)
        wait_until(lambda: len(given) == 2)
        assert len(batcher._crops) == 1, "one is filled here, one is left"
        fail.set()
        gated.gate.set()
        assert all(one.future.result(timeout=20).fill.colours.shape == (32, 32, 3) for one in waiting)
    assert "an inference process failed" in caplog.text


def test_workers_come_one_after_the_other(workers: Fork, predictor: CountingPredictor) -> None:
    """And all of them at work lose nothing."""
    with crowded(workers, processes=4) as batcher:
        for processes in (2, 3, 4):
            get_help(batcher, predictor)
            wait_until(lambda processes=processes: batcher.processes == processes)
        assert len(fill(batcher, predictor, 40)) == 40
        get_help(batcher, predictor)
        assert batcher.processes == 4


def test_a_worker_with_nothing_to_do_ends(
    workers: Fork, predictor: CountingPredictor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its memory is free, and the next crowd has another."""
    monkeypatch.setattr(assistant, "IDLE_SECONDS", 0.1)
    begun = threading.Semaphore(0)

    def fork() -> ForkedProcess:
        begun.release()
        return workers()

    with crowded(fork) as batcher:
        for _ in range(2):
            get_help(batcher, predictor)
            assert begun.acquire(timeout=10)
            wait_until(lambda: batcher._turns._expected_workers == 0 and batcher.processes == 1)


def test_a_worker_that_fails_loses_no_crop(
    fork_thread: ForkThread, predictor: CountingPredictor, caplog: pytest.LogCaptureFixture
) -> None:
    """Its crops are filled here, and no other is begun for a while."""
    forks: list[ForkedProcess] = []

    def fork() -> ForkedProcess:
        forks.append(fork_thread(begin_and_end))  # as if it were killed
        return forks[-1]

    with crowded(fork) as batcher, caplog.at_level(logging.ERROR):
        get_help(batcher, predictor)
        wait_until(lambda: batcher.processes == 2)
        predictor.filled_here = 0
        assert len(fill(batcher, predictor, 40)) == 40
        assert predictor.filled_here == 40
        wait_until(lambda: batcher.processes == 1)
        fill(batcher, predictor, 2 * CROWDED_IN_A_ROW)
    assert len(forks) == 1
    [record] = caplog.records
    assert "an inference process failed, and others do its work: the process is gone" in record.message


def test_after_a_failure_nothing_is_held(
    fork_thread: ForkThread, tiny_generator: Generator, caplog: pytest.LogCaptureFixture
) -> None:
    """Neither the pictures nor the model, which may have been replaced since."""
    predictor = Predictor(tiny_generator, CPU, torch.float32)
    with crowded(lambda: fork_thread(begin_and_end)) as batcher:
        get_help(batcher, predictor)
        wait_until(lambda: batcher.processes == 2)
        fill(batcher, predictor, 40)
        wait_until(lambda: batcher.processes == 1)
        assert "an inference process failed" in caplog.text
        held = weakref.ref(predictor)
        del predictor
        wait_until(lambda: gc.collect() >= 0 and held() is None)


def test_a_process_that_cannot_be_begun_is_done_without(
    predictor: CountingPredictor, caplog: pytest.LogCaptureFixture
) -> None:
    """Tried again only after a while."""
    asked = threading.Semaphore(0)

    def fork() -> ForkedProcess:
        asked.release()
        raise BlockingIOError(11, "Resource temporarily unavailable")

    with crowded(fork) as batcher:
        assert len(fill(batcher, predictor, 40)) == 40
        assert asked.acquire(timeout=10)
        assert not asked.acquire(blocking=False)
        assert batcher.processes == 1
    assert "Resource temporarily unavailable" in caplog.text


def test_closing_finishes_what_waits_and_ends_the_workers(
    fork_thread: ForkThread, predictor: CountingPredictor
) -> None:
    ended = threading.Event()

    def work(connection: Connection) -> None:
        serve(connection)
        ended.set()

    with ThreadPoolExecutor(8) as pool:
        with crowded(lambda: fork_thread(work)) as batcher:
            get_help(batcher, predictor)
            wait_until(lambda: batcher.processes == 2)
            predictors = (predictor,)
            answers = [pool.submit(batcher.predict, predictors, *crop(seed), WANTED) for seed in range(8)]
            wait_until(lambda: len(batcher._crops) > 0 or any(answer.done() for answer in answers))
        filled = [answer for answer in answers if not answer.exception(timeout=10)]
    assert filled
    assert all(answer.result().fill.colours.shape == (32, 32, 3) for answer in filled)
    assert batcher.processes == 1
    assert ended.wait(timeout=10)
