"""Fixtures of the page's tests: the real service on a tiny checkpoint, and a real browser."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from fastapi import FastAPI
from PIL import Image
from playwright.sync_api import Browser, ConsoleMessage, Page, sync_playwright

from app.main import create_app
from app.settings import Settings

START_SECONDS = 30
CHROMIUM_ARGUMENTS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
)
CHROMIUM_NAMES = ("chromium", "chromium-browser", "google-chrome")

ToBytes = Callable[..., bytes]
Serve = Callable[[FastAPI], AbstractContextManager[str]]


class Screen:
    """The page as a user's eyes and hands have it; places are given in pixels of the picture."""

    def __init__(self, page: Page) -> None:
        self.page = page

    def open(self, data: bytes, name: str = "photo.png") -> None:
        """Choose a picture, and wait until it is shown."""
        self.page.set_input_files(
            "#file", {"name": name, "mimeType": "application/octet-stream", "buffer": data}
        )
        self.page.wait_for_selector("body.working:not(.busy)")
        self.settle()

    def settle(self) -> None:
        """Let what was asked for be drawn."""
        self.page.evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")

    def place(self, x: float, y: float, width: int, height: int) -> tuple[float, float]:
        """Where a point of a picture that is seen as a whole lies in the window."""
        box = self.page.locator("#stage").bounding_box()
        assert box
        scale = min(box["width"] / width, box["height"] / height, 4)
        left = box["x"] + (box["width"] - width * scale) / 2
        top = box["y"] + (box["height"] - height * scale) / 2
        return left + x * scale, top + y * scale

    def paint(self, *points: tuple[float, float], size: tuple[int, int] = (96, 64)) -> None:
        """Draw a stroke with the mouse from point to point."""
        places = [self.place(*point, *size) for point in points]
        self.page.mouse.move(*places[0])
        self.page.mouse.down()
        for place in places:
            self.page.mouse.move(*place, steps=5)
        self.page.mouse.up()
        self.settle()

    def paint_at(self, x: float, y: float, size: tuple[int, int] = (96, 64)) -> bool:
        """Whether there is paint at a point."""
        return self._pixel("#paint", x, y, size)[3] > 0

    def colour_at(self, x: float, y: float, size: tuple[int, int] = (96, 64)) -> tuple[int, ...]:
        """The colour that the picture is shown with at a point."""
        return tuple(self._pixel("#picture", x, y, size)[:3])

    def _pixel(self, canvas: str, x: float, y: float, size: tuple[int, int]) -> list[int]:
        left, top = self.place(x, y, *size)
        pixel: list[int] = self.page.evaluate(
            """([selector, x, y]) => {
                const canvas = document.querySelector(selector);
                const box = canvas.getBoundingClientRect();
                const inside = [x - box.left, y - box.top].map((each) => Math.floor(each * devicePixelRatio));
                return [...canvas.getContext("2d").getImageData(...inside, 1, 1).data];
            }""",
            [canvas, left, top],
        )
        return pixel

    def fill(self) -> str:
        """Press Fill, wait for the result, and say what the page said."""
        self.page.click("#go")
        self.page.wait_for_selector("body:not(.busy)")
        self.settle()
        return self.said

    @property
    def said(self) -> str:
        """The status or the complaint that is to be read."""
        return self.page.inner_text("#status") or self.page.inner_text("#alert")

    def download(self, file_format: str = "png") -> tuple[str, bytes]:
        """The name and the bytes of the file that Download saves."""
        self.page.select_option("#format", file_format)
        with self.page.expect_download() as download:
            self.page.click("[data-command=download]")
        self.page.wait_for_selector("body:not(.busy)")
        return download.value.suggested_filename, Path(download.value.path()).read_bytes()


Visit = Callable[..., Screen]


@pytest.fixture(scope="session")
def serve() -> Serve:
    """Serve an application on a free port for as long as the context lasts; gives its address."""

    @contextmanager
    def running(app: FastAPI) -> Iterator[str]:
        config = uvicorn.Config(app, port=0, log_level="warning", timeout_graceful_shutdown=1)
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run)
        thread.start()
        deadline = time.monotonic() + START_SECONDS
        while not server.started:
            assert thread.is_alive()
            assert time.monotonic() < deadline
            time.sleep(0.02)
        try:
            yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}/"
        finally:
            server.should_exit = True
            thread.join()

    return running


@pytest.fixture(scope="session")
def address(serve: Serve, settings: Settings) -> Iterator[str]:
    """One service for every test that needs no settings of its own."""
    with serve(create_app(settings)) as address:
        yield address


# Of one module, since a running Playwright would be in the way of other modules' event loops.
@pytest.fixture(scope="module")
def browser(find_command: Callable[..., str]) -> Iterator[Browser]:
    path = find_command(*CHROMIUM_NAMES)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=[*CHROMIUM_ARGUMENTS])
        yield browser
        browser.close()


@pytest.fixture
def visit(browser: Browser, address: str) -> Iterator[Visit]:
    """Open the page; in the end, check that it asked nobody else and that nothing went wrong in it."""
    opened: list[Page] = []
    asked: list[str] = []
    wrong: list[str] = []
    origins: set[str] = set()

    def open_page(url: str = address, **options: Any) -> Screen:
        origins.add(url)
        page = browser.new_context(**({"viewport": {"width": 1100, "height": 760}} | options)).new_page()
        opened.append(page)
        page.on("request", lambda request: asked.append(request.url))
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("console", lambda message: wrong.append(message.text) if is_fault(message) else None)
        page.goto(url)
        page.wait_for_selector("#go span:not(:empty)", state="attached")
        return Screen(page)

    yield open_page
    for page in opened:
        page.context.close()
    assert [url for url in asked if not url.startswith((*origins, "blob:"))] == []
    assert wrong == []


def is_fault(message: ConsoleMessage) -> bool:
    """Whether the browser complains, a violated policy included, of more than an answer that was not 200."""
    return message.type == "error" and not message.text.startswith("Failed to load resource")


@pytest.fixture(scope="session")
def photo_file(photo: Image.Image, to_bytes: ToBytes) -> bytes:
    """The photo as a PNG file."""
    return to_bytes(photo)
