"""A new checkpoint takes over without a lost request, and a bad one changes nothing."""

import asyncio
import dataclasses
import hashlib
import io
import resource
import signal
import threading
import time
import weakref
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import torch
from fastapi.testclient import TestClient
from PIL import Image

from app.engine import Engine, FillRequest
from app.lifecycle import Lifecycle
from app.main import create_app, load_inpainter
from app.metrics import Metrics
from app.reload import Reloader, WatchedFile
from app.settings import Settings
from model_core.checkpoint import CheckpointInfo, save_checkpoint
from model_core.config import GeneratorConfig
from model_core.inpainter import Inpainter, Predict
from model_core.networks import Generator

RunService = Callable[..., AbstractContextManager[Any]]
INFO = CheckpointInfo(
    name="first",
    steps=0,
    samples=0,
    provenance="random weights",
    scores={},
    created="2026-01-01T00:00:00+00:00",
)


def write(path: Path, name: str) -> None:
    """A good checkpoint with weights and a name of its own, in place of what is there."""
    torch.manual_seed(sum(name.encode()))
    save_checkpoint(path, Generator(GeneratorConfig.tiny()), dataclasses.replace(INFO, name=name))


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    path = tmp_path / "served.safetensors"
    write(path, "first")
    return path


class Reloadable:
    """An application, and the event that asks it to reload."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.serve(None)

    def serve(self, inpainter: Inpainter | None) -> None:
        self._wanted = asyncio.Event()
        self._app = create_app(self._settings, inpainter, reload_wanted=self._wanted)

    @contextmanager
    def client(self) -> Iterator[TestClient]:
        with TestClient(self._app) as self._client:
            self._seen = self.health()["last_reload"]
            yield self._client

    def reload(self) -> dict[str, Any]:
        """Ask for a reload, and wait for what /health says of it."""
        assert self._client.portal
        self._client.portal.call(self._wanted.set)
        return self.wait_for_reload()

    def wait_for_reload(self, outcome: str | None = None) -> dict[str, Any]:
        """The next reload, or the next one that goes like that."""
        deadline = time.monotonic() + 20
        while (last := self.health()["last_reload"]) == self._seen or outcome not in (None, last["outcome"]):
            assert time.monotonic() < deadline
            time.sleep(0.02)
        self._seen = last
        return dict(last)

    def health(self) -> dict[str, Any]:
        return dict(self._client.get("/health").json())


@pytest.fixture
def reloadable(settings: Settings, checkpoint: Path) -> Reloadable:
    return Reloadable(settings.model_copy(update={"checkpoint": checkpoint}))


def test_a_good_checkpoint_takes_over(
    reloadable: Reloadable, checkpoint: Path, files: dict[str, bytes]
) -> None:
    """Answers, health and metrics name the new model; before, health said that there had been no reload."""
    with reloadable.client() as client:
        assert reloadable.health()["last_reload"] is None
        write(checkpoint, "second")
        last = reloadable.reload()
        assert (last["outcome"], last["reason"]) == ("ok", None)
        health = reloadable.health()
        assert health["model"]["name"] == "second"
        answered = client.post("/inpaint", files=files).headers["x-model"]
        assert answered == f"second@{health['model']['sha256'][:12]}"
        metrics = client.get("/metrics").text
        assert 'inpaint_reloads_total{outcome="ok"} 1.0' in metrics
        assert 'name="second"' in metrics
        assert 'name="first"' not in metrics


def break_file(path: Path) -> None:
    """Write half of a good checkpoint."""
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])


def make_useless(path: Path) -> None:
    """Write a checkpoint that loads, and computes no numbers."""
    generator = Generator(GeneratorConfig.tiny())
    with torch.no_grad():
        for parameter in generator.parameters():
            parameter.fill_(6e4)
    save_checkpoint(path, generator, dataclasses.replace(INFO, name="useless"))


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [(break_file, "incomplete"), (Path.unlink, "missing"), (make_useless, "no usable answer")],
)
def test_a_bad_checkpoint_changes_nothing(
    reloadable: Reloadable,
    checkpoint: Path,
    files: dict[str, bytes],
    caplog: pytest.LogCaptureFixture,
    spoil: Callable[[Path], None],
    reason: str,
) -> None:
    """The model before it answers the same bytes; health gives a public reason, the log names the file."""
    with reloadable.client() as client:
        before = client.post("/inpaint", files=files).content
        spoil(checkpoint)
        last = reloadable.reload()
        assert last["outcome"] == "failed"
        assert reason in last["reason"]
        assert str(checkpoint) not in last["reason"]
        assert reloadable.health()["model"]["name"] == "first"
        assert client.post("/inpaint", files=files).content == before
        assert 'inpaint_reloads_total{outcome="failed"} 1.0' in client.get("/metrics").text
    told = [line for line in caplog.records if line.name == "app.reload"]
    assert len(told) == 1
    assert not told[0].exc_info


def absurd_allocation() -> torch.Tensor:
    return torch.empty(1 << 60, dtype=torch.uint8)


def missing_operator() -> object:
    return torch.ops.aten.no_such_operator


@pytest.mark.parametrize(
    ("fail", "reason", "traceback"),
    [(absurd_allocation, "not enough memory", False), (missing_operator, "the log says why", True)],
)
def test_an_unexpected_failure_does_not_end_reloading(
    settings: Settings,
    caplog: pytest.LogCaptureFixture,
    fail: Callable[[], object],
    reason: str,
    traceback: bool,
) -> None:
    """Whatever loading raises, the old model serves; only what nobody foresaw brings a traceback."""

    def load(_: Settings) -> Inpainter:
        raise AssertionError(f"this did not fail: {fail()}")

    old = load_inpainter(settings)
    engine = Engine(old, settings)
    reloader = Reloader(settings, load, engine, Metrics(Lifecycle(0, 0), ()), asyncio.Event())
    asyncio.run(reloader.reload())
    assert reloader.last is not None
    assert reloader.last.outcome == "failed"
    assert reason in str(reloader.last.reason)
    assert engine.inpainter is old
    assert [bool(line.exc_info) for line in caplog.records] == [traceback]
    engine.close()


def test_stopping_does_not_wait_for_a_reload(settings: Settings) -> None:
    """A checkpoint on a disk that hangs must not keep the process from ending."""
    begun, readable = threading.Event(), threading.Event()

    def load(_: Settings) -> Inpainter:
        begun.set()
        readable.wait(30)
        raise AssertionError("nobody waits for this")

    async def serve_and_stop(reloader: Reloader) -> None:
        reloading = asyncio.create_task(reloader.reload())
        while not begun.is_set():
            await asyncio.sleep(0.01)
        reloading.cancel()

    engine = Engine(load_inpainter(settings), settings)
    reloader = Reloader(settings, load, engine, Metrics(Lifecycle(0, 0), ()), asyncio.Event())
    start = time.monotonic()
    asyncio.run(serve_and_stop(reloader))
    assert time.monotonic() - start < 20
    readable.set()
    engine.close()


def test_a_replaced_model_is_freed(reloadable: Reloadable, checkpoint: Path, settings: Settings) -> None:
    """Nothing holds the old model once its last request is answered, not even the first one."""
    inpainter = load_inpainter(settings.model_copy(update={"checkpoint": checkpoint}))
    old = weakref.ref(inpainter)
    reloadable.serve(inpainter)
    del inpainter
    with reloadable.client() as client:
        assert client.get("/health").status_code == 200
        assert old() is not None
        reloadable.reload()
        assert old() is None


def test_a_request_keeps_the_model_that_it_began_with(
    settings: Settings, checkpoint: Path, files: dict[str, bytes]
) -> None:
    """A swap in the middle of an inference changes the next answer, not this one."""
    begun, go_on = threading.Event(), threading.Event()

    class Paused(Inpainter):
        def inpaint(self, image: Image.Image, hole: np.ndarray, *predict: Predict) -> Image.Image:
            begun.set()
            assert go_on.wait(timeout=20)
            return super().inpaint(image, hole, *predict)

    slow = Paused.from_checkpoint(checkpoint, device="cpu", precision="fp32")
    new = load_inpainter(settings)
    engine = Engine(slow, settings)

    def request() -> FillRequest:
        return FillRequest(io.BytesIO(files["image"]), io.BytesIO(files["mask"]), "white", 0, "png", 95)

    async def scenario() -> list[str]:
        first = asyncio.create_task(engine.fill(request()))
        await asyncio.to_thread(begun.wait)
        engine.swap(new)
        go_on.set()
        return [(await first).model, (await engine.fill(request())).model]

    models = asyncio.run(scenario())
    engine.close()
    assert [model.split("@")[0] for model in models] == ["first", "tiny"]


def test_models_are_prepared_in_threads_that_end(
    settings: Settings, checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At the start and at a reload: workers that torch kept for them would slow every inference after it."""
    used: list[threading.Thread] = []
    load, prepare, warm_up = Inpainter.from_checkpoint, Inpainter.prepare, Inpainter.warm_up

    def noted_load(*arguments: Any, **options: Any) -> Inpainter:
        used.append(threading.current_thread())
        return load(*arguments, **options)

    def noted_prepare(self: Inpainter) -> None:
        used.append(threading.current_thread())
        prepare(self)

    def noted_warm_up(self: Inpainter, predict: Predict | None = None) -> None:
        if predict is None:  # or else the batcher's thread computes
            used.append(threading.current_thread())
        warm_up(self, predict)

    monkeypatch.setattr(Inpainter, "from_checkpoint", noted_load)
    monkeypatch.setattr(Inpainter, "prepare", noted_prepare)
    monkeypatch.setattr(Inpainter, "warm_up", noted_warm_up)
    reloadable = Reloadable(settings.model_copy(update={"checkpoint": checkpoint}))
    with reloadable.client():
        assert reloadable.reload()["outcome"] == "ok"
        assert len(used) == 4
        assert not any(thread.is_alive() for thread in used)


def test_a_watched_file_is_new_once_it_is_settled(checkpoint: Path) -> None:
    """Not while it may be half written, not twice, not when it is gone, not if its bytes serve already."""
    watched = WatchedFile(checkpoint)
    serving = hashlib.sha256(checkpoint.read_bytes()).hexdigest()

    def looks(count: int) -> list[bool]:
        return [watched.is_new(serving) for _ in range(count)]

    assert looks(3) == [False, False, False]
    write(checkpoint, "second")
    assert looks(4) == [False, True, False, False]
    checkpoint.unlink()
    assert looks(2) == [False, False]
    write(checkpoint, "first")
    assert looks(3) == [False, False, False]


def test_a_file_that_was_replaced_before_the_first_look_is_new(checkpoint: Path) -> None:
    """What changed while the service was still loading is not overlooked."""
    watched = WatchedFile(checkpoint)
    assert [watched.is_new("0" * 64) for _ in range(3)] == [False, True, False]


@contextmanager
def no_more_files() -> Iterator[None]:
    """No file can be opened in the block, whatever its rights."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_a_watched_file_that_cannot_be_read_is_tried_again(
    checkpoint: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """What hinders it is logged once, and it is new as soon as it can be read, unchanged as it is."""
    watched = WatchedFile(checkpoint)
    with no_more_files():
        unreadable = [watched.is_new("0" * 64) for _ in range(4)]
    assert unreadable == [False] * 4
    (line,) = caplog.records
    assert str(checkpoint) in line.getMessage()
    assert [watched.is_new("0" * 64) for _ in range(2)] == [True, False]


def test_a_watching_service_follows_its_file(settings: Settings, checkpoint: Path) -> None:
    """Half a file is refused, the whole one is served, without a signal."""
    watching = Reloadable(settings.model_copy(update={"checkpoint": checkpoint, "watch_checkpoint": 0.05}))
    with watching.client():
        good = checkpoint.read_bytes()
        write(checkpoint, "second")
        assert watching.wait_for_reload()["outcome"] == "ok"
        whole = checkpoint.read_bytes()
        assert whole != good
        checkpoint.write_bytes(good[: len(good) // 2])
        assert watching.wait_for_reload()["outcome"] == "failed"
        with open(checkpoint, "ab") as file:
            file.write(good[len(good) // 2 :])
        # On a busy machine a file that is being written can seem settled, and be refused once more.
        watching.wait_for_reload("ok")
        assert watching.health()["model"]["name"] == "first"


def reload_under_load(service: Any, checkpoint: Path, files: dict[str, bytes], swaps: int) -> Counter[str]:
    """Who answered eight clients that ask without a pause while good and broken checkpoints take turns."""
    answers: Counter[str] = Counter()
    over = threading.Event()

    def ask() -> None:
        with httpx.Client(timeout=60) as client:
            while not over.is_set():
                response = client.post(f"{service.url}/inpaint", files=files)
                answers[
                    response.headers["x-model"] if response.is_success else str(response.status_code)
                ] += 1

    def reload(outcome: str) -> None:
        before = httpx.get(f"{service.url}/health").json()["last_reload"]
        service.process.send_signal(signal.SIGHUP)
        deadline = time.monotonic() + 30
        while (last := httpx.get(f"{service.url}/health").json()["last_reload"]) == before:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        assert last["outcome"] == outcome

    with ThreadPoolExecutor(8) as clients:
        asking = [clients.submit(ask) for _ in range(8)]
        try:
            for swap in range(swaps):
                write(checkpoint, f"swap-{swap}")
                reload("ok")
                break_file(checkpoint)
                reload("failed")
        finally:
            over.set()
    for client in asking:
        client.result()
    return answers


@pytest.mark.parametrize("swaps", [3, pytest.param(20, marks=pytest.mark.long)])
def test_reloading_under_load_loses_no_request(
    run_service: RunService, checkpoint: Path, files: dict[str, bytes], swaps: int
) -> None:
    """Every request is filled, by one of the good models, while good and broken checkpoints take turns."""
    with run_service(checkpoint=checkpoint) as service:
        answers = reload_under_load(service, checkpoint, files, swaps)
        metrics = httpx.get(f"{service.url}/metrics").text
    print(f"{swaps} swaps and {swaps} broken files: {answers.total()} requests, {len(answers)} models")
    assert {name.split("@")[0] for name in answers} <= {"first", *(f"swap-{swap}" for swap in range(swaps))}
    assert len(answers) > 1
    assert f'inpaint_reloads_total{{outcome="ok"}} {swaps}.0' in metrics
    assert f'inpaint_reloads_total{{outcome="failed"}} {swaps}.0' in metrics
