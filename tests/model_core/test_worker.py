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
from model_core.mailbox import Mailbox
from model_core.networks import Generator
from model_core.predictor import BoolArray, FilledCrop, FloatArray, Predictor, PredictorState
from model_core.worker import Worker, WorkerError, serve

CPU = torch.device("cpu")
ForkThread = Callable[[Callable[[Connection], None]], ForkedProcess]
Crop = tuple[FloatArray, BoolArray]


@pytest.fixture
def worker(fork_thread: ForkThread) -> Iterator[Worker]:
    with contextlib.closing(Worker(lambda: fork_thread(serve))) as worker:
        yield worker


@pytest.fixture
def predictor(tiny_generator: Generator) -> Predictor:
    return Predictor(tiny_generator, CPU, torch.float32)


@pytest.fixture
def crops() -> list[Crop]:
    """With holes of different sizes, one of two parts."""
    random = np.random.default_rng(0)
    holes = np.zeros((3, 48, 64), dtype=bool)
    holes[0, 8:20, 8:30] = holes[1, 30:, :9] = holes[2, 3:5, 60:] = holes[2, 40, 2] = True
    return [(random.random((48, 64, 3), dtype=np.float32), hole) for hole in holes]


def ask(worker: Worker, predictor: Predictor, crop: Crop, threads: int | None = None) -> FilledCrop:
    worker.give(predictor, *crop, threads or torch.get_num_threads())
    return worker.take()


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16, torch.int8])
def test_a_worker_answers_what_its_predictor_would(
    worker: Worker,
    tiny_generator: Generator,
    crops: list[Crop],
    precision: torch.dtype,
    require_native: Callable[[str], None],
):
    """To the bit, in the holes."""
    if precision is torch.int8:
        require_native("int8")
    predictor = Predictor(tiny_generator, CPU, precision)
    for rgb, hole in crops:
        fill = ask(worker, predictor, (rgb, hole))
        [expected] = predictor.predict(rgb[None], hole[None])
        assert fill.colours.shape == expected.colours.shape
        np.testing.assert_array_equal(fill.colours[hole], expected.colours[hole])
        np.testing.assert_array_equal(fill.source[:, hole], expected.source[:, hole])


def test_a_crop_may_be_without_a_hole(worker: Worker, predictor: Predictor, crops: list[Crop]):
    """As where a fine mask was shrunk; and cut out of a larger one, so that it lies in pieces."""
    rgb = crops[0][0]
    hole = np.zeros((96, 128), dtype=bool)[::2, ::2]
    assert ask(worker, predictor, (rgb, hole)).colours.shape == rgb.shape
    assert ask(worker, predictor, crops[1]).colours.shape == rgb.shape


def test_a_worker_may_be_given_crops_ahead(
    worker: Worker, predictor: Predictor, tiny_generator: Generator, crops: list[Crop]
):
    """As many as it has room for, of the model that it has loaded; it answers in their order."""
    other = Predictor(tiny_generator, CPU, torch.float32)
    expected = [ask(worker, predictor, crop).colours for crop in crops]
    assert worker.may_be_given(other), "it has nothing to do"
    worker.give(predictor, *crops[0], threads=1)
    assert worker.may_be_given(predictor)
    assert not worker.may_be_given(other)
    worker.give(predictor, *crops[1], threads=1)
    assert not worker.may_be_given(predictor)
    filled = [worker.take().colours]
    worker.give(predictor, *crops[2], threads=1)
    filled += [worker.take().colours, worker.take().colours]
    for (_, hole), one, other_time in zip(crops, filled, expected, strict=True):
        np.testing.assert_array_equal(one[hole], other_time[hole])


def test_a_worker_follows_its_predictor(worker: Worker, tiny_generator: Generator, crops: list[Crop]):
    """After a reload another model fills, and one that still runs may come back."""
    changed = copy.deepcopy(tiny_generator)
    torch.nn.init.constant_(changed.refinement.to_image.bias, 0.5)
    old, new = (Predictor(generator, CPU, torch.float32) for generator in (tiny_generator, changed))
    hole = crops[0][1]
    filled = [ask(worker, predictor, crops[0]).colours[hole] for predictor in (old, new, old)]
    assert not np.array_equal(filled[0], filled[1])
    np.testing.assert_array_equal(filled[0], filled[2])


def test_crops_that_fail_are_an_error(worker: Worker, predictor: Predictor):
    """It says what went wrong in the process, which has ended."""
    two_channels = np.zeros((32, 32, 2), np.float32), np.ones((32, 32), dtype=bool)
    with pytest.raises(WorkerError, match=r"RuntimeError: .*channels"):
        ask(worker, predictor, two_channels)
    with pytest.raises(WorkerError, match="the process is gone"):
        ask(worker, predictor, two_channels)


def test_a_process_that_is_gone_is_an_error(fork_thread: ForkThread, predictor: Predictor, crops: list[Crop]):
    worker = Worker(lambda: fork_thread(begin_and_end))
    with contextlib.closing(worker), pytest.raises(WorkerError, match="the process is gone"):
        ask(worker, predictor, crops[0])


def begin_and_end(connection: Connection) -> None:
    Mailbox.join(connection)


@pytest.mark.parametrize("reads", [False, True])
def test_a_process_that_hangs_is_an_error(
    fork_thread: ForkThread, predictor: Predictor, monkeypatch: pytest.MonkeyPatch, reads: bool
):
    """Whether it hangs before it has read a crop, for which memory has no room nor a socket, or after."""
    monkeypatch.setattr(worker_module, "ANSWER_SECONDS", 0.3)
    crop = np.zeros((1280, 1280, 3), np.float32), np.ones((1280, 1280), dtype=bool)
    over = threading.Event()

    def hang(connection: Connection) -> None:
        letters = Mailbox.join(connection)
        with contextlib.suppress(EOFError, OSError):
            while reads:
                letters.receive()
        over.wait()

    worker = Worker(lambda: fork_thread(hang))
    with contextlib.closing(worker), pytest.raises(WorkerError, match="the process hangs"):
        ask(worker, predictor, crop)
    over.set()


@pytest.mark.parametrize("answer", ["nonsense", (1, 2), None])
def test_an_answer_that_makes_no_sense_is_an_error(
    answer: object, fork_thread: ForkThread, predictor: Predictor, crops: list[Crop]
):
    """Nobody gets what was meant for another."""

    def babble(connection: Connection) -> None:
        letters = Mailbox.join(connection)
        with contextlib.suppress(EOFError):
            while message := letters.receive():
                if not isinstance(message, PredictorState):
                    letters.send(answer)

    worker = Worker(lambda: fork_thread(babble))
    with contextlib.closing(worker), pytest.raises(WorkerError, match="AttributeError"):
        ask(worker, predictor, crops[0])


def test_a_process_that_cannot_be_begun_is_an_error():
    def fork() -> ForkedProcess:
        raise BrokenPipeError(32, "Broken pipe")

    with pytest.raises(WorkerError, match="Broken pipe"):
        Worker(fork)


def test_a_process_that_ends_at_once_is_an_error(fork_thread: ForkThread):
    """And nothing of it stays."""
    forked = []

    def fork() -> ForkedProcess:
        process = fork_thread(lambda connection: None)
        process.connection.poll(10)  # until it has hung up
        forked.append(process)
        return process

    with pytest.raises(WorkerError, match="the process is gone"):
        Worker(fork)
    assert forked[0].connection.closed
