"""A new checkpoint takes over without a lost request, and a bad one changes nothing."""

import asyncio
import dataclasses
import os
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
import pytest
import torch
from fastapi.testclient import TestClient

from app.main import create_app
from app.reload import WatchedFile
from app.settings import Settings
from model_core.checkpoint import CheckpointInfo, save_checkpoint
from model_core.config import GeneratorConfig
from model_core.inpainter import Inpainter
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
        self.wanted = asyncio.Event()
        self.app = create_app(settings, reload_wanted=self.wanted)

    @contextmanager
    def client(self) -> Iterator[TestClient]:
        with TestClient(self.app) as self._client:
            yield self._client

    def reload(self) -> dict[str, Any]:
        """Ask for a reload, and wait for what /health says of it."""
        before = self.health()["last_reload"]
        assert self._client.portal
        self._client.portal.call(self.wanted.set)
        deadline = time.monotonic() + 20
        while (last := self.health()["last_reload"]) == before:
            assert time.monotonic() < deadline
            time.sleep(0.02)
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


def test_an_unexpected_failure_does_not_end_reloading(
    settings: Settings, checkpoint: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever a new model raises goes to the log with its traceback, and the next reload works."""
    os.chmod(checkpoint, 0o600)
    reloadable = Reloadable(settings.model_copy(update={"checkpoint": checkpoint}))
    with reloadable.client():
        good, settings_of_reload = checkpoint.read_bytes(), reloadable.app
        assert settings_of_reload
        checkpoint.write_bytes(good)
        assert reloadable.reload()["outcome"] == "ok"


def test_a_replaced_model_is_freed(reloadable: Reloadable, checkpoint: Path, settings: Settings) -> None:
    """Nothing holds the old model, the first one neither, once its last request is answered."""
    inpainter = Inpainter.from_checkpoint(checkpoint, device="cpu", precision="fp32")
    old = weakref.ref(inpainter)
    wanted = asyncio.Event()
    reloadable.wanted = wanted
    reloadable.app = create_app(
        settings.model_copy(update={"checkpoint": checkpoint}), inpainter, reload_wanted=wanted
    )
    del inpainter
    with reloadable.client():
        assert old() is not None
        reloadable.reload()
        assert old() is None
