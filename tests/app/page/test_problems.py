"""Whatever goes wrong is told in a sentence, and the work goes on."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image
from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from app.main import create_app
from app.settings import Settings
from model_core.inpainter import Inpainter, Predict

Visit = Callable[..., Any]
ToBytes = Callable[..., bytes]


class RequireKey:
    """Asks for a key in front of POST requests, as a proxy may."""

    def __init__(self, app: ASGIApp, key: str) -> None:
        self._app = app
        self._expected = f"Bearer {key}"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        allowed = scope.get("method") != "POST" or Headers(scope=scope).get("authorization") == self._expected
        answer = self._app if allowed else JSONResponse({"detail": "A key is needed."}, 401)
        await answer(scope, receive, send)


def test_a_server_that_is_gone(visit: Visit, serve: Any, settings: Settings, photo_file: bytes):
    """The page says that it cannot be reached, and keeps the paint."""
    with serve(create_app(settings)) as address:
        screen = visit(address)
        screen.open(photo_file)
        screen.paint((48, 32))

    assert "cannot be reached" in screen.fill()
    assert screen.paint_at(48, 32)
    assert screen.page.is_enabled("[data-command=fill]")


def test_the_service_explains_a_refusal(visit: Visit, photo_file: bytes):
    """The detail of a problem is shown until it is dismissed."""
    screen = visit()
    screen.open(photo_file)
    screen.page.locator("#size").fill("200")
    for y in (5, 30, 60):
        screen.paint((0, y), (95, y))
    said = screen.fill()

    assert said.startswith("The server cannot fill this picture.")
    assert len(said) > 60
    screen.page.click("[data-command=dismiss]")
    assert screen.said == ""


def test_a_key_is_asked_for(visit: Visit, serve: Any, settings: Settings, photo_file: bytes):
    """A refused key is asked for again, the right one is kept for the next request, and none cancels."""
    app = create_app(settings)
    app.add_middleware(RequireKey, key="right")
    with serve(app) as address:
        screen = visit(address)
        screen.open(photo_file)
        screen.paint((48, 32))
        screen.page.click("#go")
        screen.page.click("#key button:not([value=use])")
        screen.page.wait_for_selector("body:not(.busy)")
        assert screen.said == "The server asks for a key. A key is needed."

        screen.page.click("#go")
        for key in ("wrong", "right"):
            screen.page.locator("#key input").fill(key)
            screen.page.keyboard.press("Enter")
            if key == "wrong":
                screen.page.wait_for_selector("#key p:has-text('did not accept')")
        screen.page.wait_for_selector("[data-command=download]:enabled")
        screen.paint((20, 20))
        assert screen.fill().startswith("Filled in ")
        screen.page.context.close()


class GatedInpainter(Inpainter):
    """A real model whose inferences wait while its gate is shut."""

    gate: threading.Event
    begun: threading.Event

    def inpaint(self, image: Image.Image, hole: np.ndarray, *predict: Predict) -> Image.Image:
        self.begun.set()
        assert self.gate.wait(timeout=60)
        return super().inpaint(image, hole, *predict)


@pytest.fixture
def gated(settings: Settings) -> Iterator[GatedInpainter]:
    inpainter = GatedInpainter.from_checkpoint(settings.checkpoint, device="cpu", precision="fp32")
    assert isinstance(inpainter, GatedInpainter)
    inpainter.gate, inpainter.begun = threading.Event(), threading.Event()
    inpainter.gate.set()
    yield inpainter
    inpainter.gate.set()


def test_a_busy_service_is_asked_again(
    visit: Visit, serve: Any, settings: Settings, gated: GatedInpainter, files: dict[str, bytes]
):
    """On 429 the page waits as Retry-After asks, which can be cancelled, and in the end has its picture."""
    app = create_app(settings.model_copy(update={"max_queued_requests": 0}), gated)
    with serve(app) as address, ThreadPoolExecutor(1) as other:
        screen = visit(address)
        screen.open(files["image"])
        screen.paint((48, 32))
        gated.begun.clear()
        gated.gate.clear()
        first = other.submit(httpx.post, f"{address}inpaint", files=files, timeout=60)
        assert gated.begun.wait(timeout=20)

        screen.page.click("#go")
        screen.page.wait_for_selector("#status:has-text('The server asks to wait. Trying again in 1 s')")
        screen.page.click("#go:has-text('Cancel')")
        screen.page.wait_for_selector("body:not(.busy)")
        assert screen.said == "Cancelled."
        assert screen.paint_at(48, 32)

        screen.page.click("#go")
        screen.page.wait_for_selector("#status:has-text('The server asks to wait.')")
        gated.gate.set()
        assert first.result().status_code == 200
        screen.page.wait_for_selector("#status:has-text('Filled in')")
        screen.page.context.close()


def test_too_large_pictures_are_not_sent(visit: Visit, serve: Any, settings: Settings, to_bytes: ToBytes):
    """They are refused when they are chosen, with the numbers."""
    limits = {"max_request_bytes": 30_000, "max_pixels": 9000, "max_side": 100}
    noise = np.random.default_rng(0).integers(0, 256, (100, 120, 3), dtype=np.uint8)
    refusals = [
        (Image.fromarray(noise), "The file has 0.0 MB; this server takes at most 0.0 MB."),
        (Image.new("L", (99, 98)), "The picture has 99 × 98 pixels"),
        (Image.new("L", (101, 5)), "100 pixels on a side"),
    ]
    with serve(create_app(settings.model_copy(update=limits))) as address:
        screen = visit(address)
        for picture, said in refusals:
            file = {"name": "photo.png", "mimeType": "image/png", "buffer": to_bytes(picture)}
            screen.page.set_input_files("#file", file)
            screen.page.wait_for_selector(f"#alert:has-text('{said}')")
            assert screen.page.is_visible("#welcome")
        screen.page.context.close()


def test_what_is_no_picture_is_refused(visit: Visit):
    """The page names the kinds that work."""
    screen = visit()
    file = {"name": "notes.txt", "mimeType": "text/plain", "buffer": b"no picture"}
    screen.page.set_input_files("#file", file)
    screen.page.wait_for_selector("#alert:not(:empty)")

    assert "JPEG, PNG, WebP" in screen.said
