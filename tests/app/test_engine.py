"""The line in front of the model is bounded, visible, and free again when a client leaves it."""

import asyncio
import dataclasses
import gc
import io
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import numpy as np
import pytest
import torch
from fastapi.testclient import TestClient
from PIL import Image

from app import images, room
from app.engine import Engine, FillRequest
from app.errors import DamagedPictureError, QueueFullError
from app.main import create_app
from app.settings import Settings
from model_core.inpainter import Inpainter, Predict
from model_core.networks import Generator
from model_core.predictor import BoolArray, FilledCrop, FloatArray, Predictor

AssertProblem = Callable[[httpx.Response, int], dict[str, Any]]


class GatedInpainter(Inpainter):
    """A real model whose inferences wait while its gate is shut; it counts them from then on."""

    gate: threading.Event
    begun: int
    at_once: int
    most_at_once: int

    def shut(self) -> None:
        self.gate.clear()
        self.begun = self.at_once = self.most_at_once = 0

    def inpaint(self, image: Image.Image, hole: np.ndarray, *predict: Predict) -> Image.Image:
        self.begun += 1
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        assert self.gate.wait(timeout=30)
        filled = super().inpaint(image, hole, *predict)
        self.at_once -= 1
        return filled


@pytest.fixture
def gated(settings: Settings) -> Iterator[GatedInpainter]:
    inpainter = GatedInpainter.from_checkpoint(settings.checkpoint, device="cpu", precision="fp32")
    assert isinstance(inpainter, GatedInpainter)
    inpainter.gate = threading.Event()
    inpainter.shut()
    inpainter.gate.set()
    yield inpainter
    inpainter.gate.set()


@pytest.fixture
def every_picture_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """None is so small that it needs no room."""
    monkeypatch.setattr(room, "SMALL_PIXELS", 0)


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def fill_request(files: dict[str, bytes]) -> FillRequest:
    return FillRequest(io.BytesIO(files["image"]), io.BytesIO(files["mask"]), "white", 0, "png", 95)


def test_a_full_line_is_refused_and_visible(
    settings: Settings, gated: GatedInpainter, files: dict[str, bytes], assert_problem: AssertProblem
) -> None:
    """One in work and one waiting is as many as may: the third is told to retry, and the two are answered."""
    app = create_app(settings.model_copy(update={"max_queued_requests": 1}), gated)
    with TestClient(app) as client, ThreadPoolExecutor() as clients:
        gated.shut()
        asked = [clients.submit(client.post, "/inpaint", files=files) for _ in range(2)]
        wait_until(
            lambda: client.get("/health").json()["queue"] == {"running": 1, "waiting": 1, "capacity": 1}
        )
        refused = client.post("/inpaint", files=files)
        problem = assert_problem(refused, 429)
        assert "1 in work, 1 of 1 waiting" in problem["detail"]
        assert int(refused.headers["retry-after"]) >= 1
        gated.gate.set()
        assert [answer.result().status_code for answer in asked] == [200, 200]
        wait_until(lambda: client.get("/health").json()["queue"]["running"] == 0)


@pytest.mark.parametrize("path", ["/inpaint", "/inpaint/batch", "/v1/images/edits", "/api/v1/inpaint"])
def test_a_full_line_refuses_before_the_body_is_read(
    settings: Settings, gated: GatedInpainter, files: dict[str, bytes], path: str
) -> None:
    """A client that has sent nothing but its headers is told already."""
    app = create_app(settings.model_copy(update={"max_queued_requests": 0}), gated)

    def never_sent() -> Iterator[bytes]:
        yield pytest.fail("the body was asked for")

    with TestClient(app) as client, ThreadPoolExecutor() as clients:
        gated.shut()
        asked = clients.submit(client.post, "/inpaint", files=files)
        wait_until(lambda: gated.begun == 1)
        assert client.post(path, content=never_sent()).status_code == 429
        gated.gate.set()
        assert asked.result().status_code == 200


def test_inferences_at_once_are_bounded(
    settings: Settings, gated: GatedInpainter, files: dict[str, bytes]
) -> None:
    """With max_concurrency 2, eight requests never have more than two inferences at once, and do have two."""
    app = create_app(settings.model_copy(update={"max_concurrency": 2}), gated)
    with TestClient(app) as client, ThreadPoolExecutor() as clients:
        gated.shut()
        asked = [clients.submit(client.post, "/inpaint", files=files) for _ in range(8)]
        wait_until(lambda: gated.begun == 2)
        gated.gate.set()
        assert {answer.result().status_code for answer in asked} == {200}
    assert gated.most_at_once == 2


@pytest.mark.usefixtures("every_picture_counts")
def test_pixels_in_work_are_bounded(
    settings: Settings, gated: GatedInpainter, files: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of four pictures two have room, and no other is decoded before they have been answered."""
    image = Image.open(io.BytesIO(files["image"]))
    pixels = 5 * image.width * image.height // 2
    decoded = []
    decode = images.EncodedPicture.decode
    monkeypatch.setattr(
        images.EncodedPicture, "decode", lambda picture: decoded.append(picture) or decode(picture)
    )
    updates = {"max_concurrency": 4, "max_pixels_in_work": pixels}
    with TestClient(create_app(settings.model_copy(update=updates), gated)) as client:
        gated.shut()
        decoded.clear()
        with ThreadPoolExecutor() as clients:
            asked = [clients.submit(client.post, "/inpaint", files=files) for _ in range(4)]
            wait_until(lambda: client.get("/health").json()["queue"]["running"] == 4)
            wait_until(lambda: gated.begun == 2)
            assert len(decoded) == 4, "two images and two masks"
            gated.gate.set()
            assert {answer.result().status_code for answer in asked} == {200}
    assert gated.most_at_once == 2


@pytest.mark.usefixtures("every_picture_counts")
def test_a_request_that_leaves_before_there_is_room_is_not_decoded(
    settings: Settings, gated: GatedInpainter, files: dict[str, bytes]
) -> None:
    engine = Engine(gated, settings.model_copy(update={"max_concurrency": 2, "max_pixels_in_work": 1}))

    async def scenario() -> None:
        running = asyncio.create_task(engine.fill(fill_request(files)))
        await asyncio.to_thread(wait_until, lambda: gated.begun == 1)
        abandoned = asyncio.create_task(engine.fill(fill_request(files)))
        await asyncio.to_thread(wait_until, lambda: engine.running == 2)
        abandoned.cancel()
        with pytest.raises(asyncio.CancelledError):
            await abandoned
        gated.gate.set()
        await running

    gated.shut()
    asyncio.run(scenario())
    engine.close()
    assert gated.begun == 1


def test_a_slow_model_is_given_up(
    settings: Settings, gated: GatedInpainter, files: dict[str, bytes], assert_problem: AssertProblem
) -> None:
    """An answer that is not ready in time is a 504, and the service then answers the next request."""
    app = create_app(settings.model_copy(update={"timeout_seconds": 3}), gated)
    with TestClient(app) as client:
        gated.shut()
        assert "3 seconds" in assert_problem(client.post("/inpaint", files=files), 504)["detail"]
        gated.gate.set()
        wait_until(lambda: client.get("/health").json()["queue"]["running"] == 0)
        assert client.post("/inpaint", files=files).status_code == 200


def test_a_cancelled_wait_leaves_the_line(
    settings: Settings, gated: GatedInpainter, files: dict[str, bytes]
) -> None:
    """A request that is cancelled while it waits costs no inference, and its place is free at once."""
    engine = Engine(gated, settings.model_copy(update={"max_queued_requests": 2}))

    gated.shut()

    async def scenario() -> None:
        running = [asyncio.create_task(engine.fill(fill_request(files))) for _ in range(2)]
        waiting = asyncio.create_task(engine.fill(fill_request(files)))
        while engine.waiting < 2:
            await asyncio.sleep(0.01)
        with pytest.raises(QueueFullError):
            await engine.fill(fill_request(files))
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert engine.waiting == 1
        gated.gate.set()
        await asyncio.gather(*running)

    asyncio.run(scenario())
    engine.close()
    assert gated.begun == 2
    assert (engine.running, engine.waiting) == (0, 0)


class GatedFile(io.BytesIO):
    """A picture whose reading waits while its gate is shut."""

    def __init__(self, data: bytes) -> None:
        super().__init__(data)
        self.begun, self.gate = threading.Event(), threading.Event()

    def read(self, size: int | None = -1) -> bytes:
        self.begun.set()
        assert self.gate.wait(timeout=30)
        return super().read(size)


def test_a_request_abandoned_while_it_is_decoded_starts_no_inference(
    settings: Settings, gated: GatedInpainter, files: dict[str, bytes]
) -> None:
    """A request whose client leaves while its picture is read is given up once it has been."""
    engine = Engine(gated, settings)
    gated.shut()
    gated.gate.set()
    image = GatedFile(files["image"])

    async def scenario() -> None:
        request = dataclasses.replace(fill_request(files), image=image)
        abandoned = asyncio.create_task(engine.fill(request))
        assert await asyncio.to_thread(image.begun.wait, 20)
        abandoned.cancel()
        with pytest.raises(asyncio.CancelledError):
            await abandoned
        image.gate.set()

    asyncio.run(scenario())
    engine.close()
    assert gated.begun == 0
    assert (engine.running, engine.waiting) == (0, 0)


class GatedPredictor(Predictor):
    """A real predictor whose passes wait while its gate is shut; it counts them."""

    def __init__(self, generator: Generator) -> None:
        super().__init__(generator, torch.device("cpu"), torch.float32)
        self.passes, self.gate = 0, threading.Event()

    def predict(self, rgb: FloatArray, holes: BoolArray) -> list[FilledCrop]:
        self.passes += 1
        assert self.gate.wait(timeout=30)
        return super().predict(rgb, holes)


def test_a_request_abandoned_in_front_of_the_device_does_not_get_it(
    settings: Settings, tiny_generator: Generator, files: dict[str, bytes]
) -> None:
    """A request that is decoded and waits for the device when its client leaves costs no pass."""
    predictor = GatedPredictor(tiny_generator)
    inpainter = Inpainter(tiny_generator, [predictor.device], torch.float32)
    inpainter.predictors = (predictor,)
    engine = Engine(inpainter, settings.model_copy(update={"max_concurrency": 2}))

    async def scenario() -> None:
        running = asyncio.create_task(engine.fill(fill_request(files)))
        await asyncio.to_thread(wait_until, lambda: predictor.passes == 1)
        abandoned = asyncio.create_task(engine.fill(fill_request(files)))
        await asyncio.to_thread(wait_until, lambda: len(engine._batcher._crops) == 1)
        abandoned.cancel()
        with pytest.raises(asyncio.CancelledError):
            await abandoned
        predictor.gate.set()
        await running

    asyncio.run(scenario())
    engine.close()
    assert predictor.passes == 1
    assert (engine.running, engine.waiting) == (0, 0)


def test_a_request_that_no_thread_takes_holds_no_place(
    gated: GatedInpainter, settings: Settings, files: dict[str, bytes]
) -> None:
    """An engine that is closed takes nothing, and counts nothing as in work."""
    engine = Engine(gated, settings)
    engine.close()
    with pytest.raises(RuntimeError, match="shutdown"):
        asyncio.run(engine.fill(fill_request(files)))
    assert (engine.running, engine.waiting) == (0, 0)


def test_a_failing_inference_does_not_block_the_device(settings: Settings, files: dict[str, bytes]) -> None:
    """After an unexpected failure the device is free for the next request."""

    class FailsOnce(Inpainter):
        fails = False

        def inpaint(self, image: Image.Image, hole: np.ndarray, *predict: Predict) -> Image.Image:
            if self.fails:
                self.fails = False
                raise RuntimeError("once")
            return super().inpaint(image, hole, *predict)

    inpainter = FailsOnce.from_checkpoint(settings.checkpoint, device="cpu", precision="fp32")
    with TestClient(create_app(settings, inpainter), raise_server_exceptions=False) as client:
        inpainter.fails = True
        statuses = [client.post("/inpaint", files=files).status_code for _ in range(3)]
    assert statuses == [500, 200, 200]


def test_a_damaged_mask_leaves_no_picture_behind(
    settings: Settings, gated: GatedInpainter, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its error, which comes from another thread, must not keep the image until garbage is collected."""
    decode, decoded = images.EncodedPicture.decode, []

    def noting(encoded: images.EncodedPicture) -> Image.Image:
        picture = decode(encoded)
        decoded.append(weakref.ref(picture))
        return picture

    monkeypatch.setattr(images.EncodedPicture, "decode", noting)
    picture = io.BytesIO()
    Image.new("RGB", (64, 64)).save(picture, "PNG")
    engine = Engine(gated, settings)
    gc.disable()
    try:
        request = FillRequest(picture, io.BytesIO(picture.getvalue()[:60]), "white", 0, "png", 90)
        picture.seek(0)
        with pytest.raises(DamagedPictureError):
            engine._decode(engine._open(request), request)
        assert [held() for held in decoded] == [None]
    finally:
        gc.enable()
        engine.close()
