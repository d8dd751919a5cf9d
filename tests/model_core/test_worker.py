"""A predictor's double behind a connection, whose other end is a thread here and a fork in the service."""

import contextlib
import copy
import threading
from collections.abc import Iterator
from multiprocessing import Pipe
from multiprocessing.connection import Connection

import numpy as np
import pytest
import torch

from model_core import worker as worker_module
from model_core.networks import Generator
from model_core.predictor import BoolArray, FloatArray, Predictor, PredictorState
from model_core.worker import Fork, Worker, WorkerError

CPU = torch.device("cpu")


@pytest.fixture
def worker(fork_a_thread: Fork) -> Iterator[Worker]:
    with contextlib.closing(Worker(fork_a_thread)) as worker:
        yield worker


@pytest.fixture
def crops() -> tuple[FloatArray, BoolArray]:
    """Two, with holes of different sizes."""
    rgb = np.random.default_rng(0).random((2, 48, 64, 3), dtype=np.float32)
    holes = np.zeros((2, 48, 64), dtype=bool)
    holes[0, 8:20, 8:30] = holes[1, 30:, :9] = True
    return rgb, holes


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_a_worker_answers_what_its_predictor_would(
    worker: Worker, tiny_generator: Generator, crops: tuple[FloatArray, BoolArray], precision: torch.dtype
):
    """To the bit, in the holes; elsewhere 0."""
    predictor = Predictor(tiny_generator, CPU, precision)
    fills = worker.predict(predictor, *crops, threads=torch.get_num_threads())
    for fill, expected, hole in zip(fills, predictor.predict(*crops), crops[1], strict=True):
        np.testing.assert_array_equal(fill.colours[hole], expected.colours[hole])
        np.testing.assert_array_equal(fill.source[:, hole], expected.source[:, hole])
        assert not fill.colours[~hole].any()
        assert not fill.source[:, ~hole].any()


def test_a_worker_follows_its_predictor(
    worker: Worker, tiny_generator: Generator, crops: tuple[FloatArray, BoolArray]
):
    """After a reload another model fills, and one that still runs may come back."""
    changed = copy.deepcopy(tiny_generator)
    torch.nn.init.constant_(changed.refinement.to_image.bias, 0.5)
    old, new = (Predictor(generator, CPU, torch.float32) for generator in (tiny_generator, changed))
    threads = torch.get_num_threads()
    filled = [worker.predict(predictor, *crops, threads)[0].colours for predictor in (old, new, old)]
    assert not np.array_equal(filled[0], filled[1])
    np.testing.assert_array_equal(filled[0], filled[2])


def test_crops_that_fail_are_an_error(worker: Worker, tiny_generator: Generator):
    """It says what went wrong in the process, which has ended."""
    predictor = Predictor(tiny_generator, CPU, torch.float32)
    two_channels = np.zeros((1, 32, 32, 2), np.float32), np.ones((1, 32, 32), dtype=bool)
    with pytest.raises(WorkerError, match=r"RuntimeError: .*channels"):
        worker.predict(predictor, *two_channels, threads=1)
    with pytest.raises(WorkerError, match="the process is gone"):
        worker.predict(predictor, *two_channels, threads=1)


def test_a_process_that_is_gone_is_an_error(tiny_generator: Generator, crops: tuple[FloatArray, BoolArray]):
    def fork() -> Connection:
        ours, theirs = Pipe()
        theirs.close()
        return ours

    with contextlib.closing(Worker(fork)) as worker, pytest.raises(WorkerError, match="the process is gone"):
        worker.predict(Predictor(tiny_generator, CPU, torch.float32), *crops, threads=1)


@pytest.mark.parametrize(
    ("answer", "sentence"),
    [
        (None, r"the process has not answered for 0\.1 seconds"),
        ([], r"ValueError: zip\(\) argument 2 is longer"),
        (["nonsense", "nonsense"], "ValueError"),
    ],
)
def test_a_process_that_answers_nothing_or_nonsense_is_an_error(
    answer: object,
    sentence: str,
    tiny_generator: Generator,
    crops: tuple[FloatArray, BoolArray],
    monkeypatch: pytest.MonkeyPatch,
):
    """Nobody waits for ever, and nobody gets what was meant for another."""
    monkeypatch.setattr(worker_module, "ANSWER_SECONDS", 0.1)
    ours, theirs = Pipe()

    def listen() -> None:
        with contextlib.suppress(EOFError):
            while message := theirs.recv():
                if answer is not None and not isinstance(message, PredictorState):
                    theirs.send(answer)

    threading.Thread(target=listen, daemon=True).start()
    worker = Worker(lambda: ours)
    with contextlib.closing(worker), pytest.raises(WorkerError, match=sentence):
        worker.predict(Predictor(tiny_generator, CPU, torch.float32), *crops, threads=1)


def test_a_process_that_cannot_be_begun_is_an_error():
    def fork() -> Connection:
        raise BrokenPipeError(32, "Broken pipe")

    with pytest.raises(WorkerError, match="Broken pipe"):
        Worker(fork)
