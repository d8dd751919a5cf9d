"""A predictor's double behind a connection, whose other end is a thread here and a fork in the service."""

import contextlib
import copy
import threading
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection

import numpy as np
import pytest
import torch

from model_core import worker as worker_module
from model_core.fork_server import ForkedProcess
from model_core.networks import Generator
from model_core.predictor import BoolArray, FloatArray, Predictor, PredictorState
from model_core.worker import Worker, WorkerError, serve

CPU = torch.device("cpu")
ForkThread = Callable[[Callable[[Connection], None]], ForkedProcess]
Crops = tuple[FloatArray, BoolArray]


@pytest.fixture
def worker(fork_thread: ForkThread) -> Iterator[Worker]:
    with contextlib.closing(Worker(lambda: fork_thread(serve))) as worker:
        yield worker


@pytest.fixture
def predictor(tiny_generator: Generator) -> Predictor:
    return Predictor(tiny_generator, CPU, torch.float32)


@pytest.fixture
def crops() -> Crops:
    """Two, with holes of different sizes."""
    rgb = np.random.default_rng(0).random((2, 48, 64, 3), dtype=np.float32)
    holes = np.zeros((2, 48, 64), dtype=bool)
    holes[0, 8:20, 8:30] = holes[1, 30:, :9] = True
    return rgb, holes


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16, torch.int8])
def test_a_worker_answers_what_its_predictor_would(
    worker: Worker,
    tiny_generator: Generator,
    crops: Crops,
    precision: torch.dtype,
    require_native: Callable[[str], None],
):
    """To the bit, in the holes; elsewhere 0."""
    if precision is torch.int8:
        require_native("int8")
    predictor = Predictor(tiny_generator, CPU, precision)
    fills = worker.predict(predictor, *crops, threads=torch.get_num_threads())
    for fill, expected, hole in zip(fills, predictor.predict(*crops), crops[1], strict=True):
        np.testing.assert_array_equal(fill.colours[hole], expected.colours[hole])
        np.testing.assert_array_equal(fill.source[:, hole], expected.source[:, hole])
        assert not fill.colours[~hole].any()
        assert not fill.source[:, ~hole].any()


def test_a_worker_follows_its_predictor(worker: Worker, tiny_generator: Generator, crops: Crops):
    """After a reload another model fills, and one that still runs may come back."""
    changed = copy.deepcopy(tiny_generator)
    torch.nn.init.constant_(changed.refinement.to_image.bias, 0.5)
    old, new = (Predictor(generator, CPU, torch.float32) for generator in (tiny_generator, changed))
    threads = torch.get_num_threads()
    filled = [worker.predict(predictor, *crops, threads)[0].colours for predictor in (old, new, old)]
    assert not np.array_equal(filled[0], filled[1])
    np.testing.assert_array_equal(filled[0], filled[2])


def test_crops_that_fail_are_an_error(worker: Worker, predictor: Predictor):
    """It says what went wrong in the process, which has ended."""
    two_channels = np.zeros((1, 32, 32, 2), np.float32), np.ones((1, 32, 32), dtype=bool)
    with pytest.raises(WorkerError, match=r"RuntimeError: .*channels"):
        worker.predict(predictor, *two_channels, threads=1)
    with pytest.raises(WorkerError, match="the process is gone"):
        worker.predict(predictor, *two_channels, threads=1)


def test_a_process_that_is_gone_is_an_error(fork_thread: ForkThread, predictor: Predictor, crops: Crops):
    worker = Worker(lambda: fork_thread(lambda connection: None))
    with contextlib.closing(worker), pytest.raises(WorkerError, match="the process is gone"):
        worker.predict(predictor, *crops, threads=1)


@pytest.mark.parametrize("reads", [False, True])
def test_a_process_that_hangs_is_killed(
    fork_thread: ForkThread,
    predictor: Predictor,
    monkeypatch: pytest.MonkeyPatch,
    reads: bool,
):
    """Whether it hangs before it has read the crops, of which a socket does not hold all, or after."""
    monkeypatch.setattr(worker_module, "ANSWER_SECONDS", 0.3)
    crops = np.zeros((1, 512, 512, 3), np.float32), np.ones((1, 512, 512), dtype=bool)
    over = threading.Event()

    def hang(connection: Connection) -> None:
        with contextlib.suppress(EOFError, OSError):
            while reads:
                connection.recv()
        over.wait()

    worker = Worker(lambda: fork_thread(hang))
    with contextlib.closing(worker), pytest.raises(WorkerError, match="the process is gone"):
        worker.predict(predictor, *crops, threads=1)
    over.set()


@pytest.mark.parametrize(
    ("answer", "sentence"),
    [([], r"ValueError: zip\(\) argument 2 is longer"), (["nonsense", "nonsense"], "ValueError")],
)
def test_an_answer_that_makes_no_sense_is_an_error(
    answer: object, sentence: str, fork_thread: ForkThread, predictor: Predictor, crops: Crops
):
    """Nobody gets what was meant for another."""

    def babble(connection: Connection) -> None:
        with contextlib.suppress(EOFError):
            while message := connection.recv():
                if not isinstance(message, PredictorState):
                    connection.send(answer)

    worker = Worker(lambda: fork_thread(babble))
    with contextlib.closing(worker), pytest.raises(WorkerError, match=sentence):
        worker.predict(predictor, *crops, threads=1)


def test_a_process_that_cannot_be_begun_is_an_error():
    def fork() -> ForkedProcess:
        raise BrokenPipeError(32, "Broken pipe")

    with pytest.raises(WorkerError, match="Broken pipe"):
        Worker(fork)
