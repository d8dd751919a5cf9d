"""From a file to the file that is downloaded: what is sent, what comes back, and what is shown of it."""

import base64
import io
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from PIL import Image

from app.main import create_app
from app.settings import Settings

Visit = Callable[..., Any]
ToBytes = Callable[..., bytes]
BRUSH = 40 / 4
"""Diameter in pixels of the picture: 40 on the screen, where 96 x 64 pixels are shown at scale 4."""


def pixels(data: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


def disc(x: float, y: float, radius: float, width: int = 96, height: int = 64) -> np.ndarray:
    """(height, width) bool: the pixels whose middle lies within `radius` of a point."""
    rows, columns = np.mgrid[0:height, 0:width] + 0.5
    return np.hypot(columns - x, rows - y) <= radius


def test_what_is_not_painted_stays_as_it_was(visit: Visit, photo_file: bytes):
    """The downloaded PNG differs from the original in the painted disc and in no pixel outside of it."""
    screen = visit()
    screen.open(photo_file, "my.photo.png")
    screen.paint((48, 32))

    assert screen.fill().startswith("Filled in ")
    name, data = screen.download()

    assert name == "my.photo-filled.png"
    changed = (pixels(data) != pixels(photo_file)).any(axis=-1)
    assert not changed[~disc(48, 32, BRUSH / 2 + 1)].any()
    assert changed[disc(48, 32, BRUSH / 2 - 1)].mean() > 0.9


def test_the_result_is_filled_again(visit: Visit, photo_file: bytes):
    """A second fill keeps the first, and undo goes back through both to the paint of the first."""
    screen = visit()
    screen.open(photo_file)
    screen.paint((30, 32))
    screen.fill()
    _, first = screen.download()
    screen.paint((70, 32))
    screen.fill()
    _, second = screen.download()

    changed = (pixels(second) != pixels(first)).any(axis=-1)
    assert changed[disc(70, 32, BRUSH / 2 - 1)].mean() > 0.9
    assert not changed[~disc(70, 32, BRUSH / 2 + 1)].any()

    for _ in range(3):
        screen.page.keyboard.press("Control+z")
    screen.settle()
    assert screen.paint_at(30, 32)
    assert not screen.page.is_enabled("[data-command=download]")


def test_a_turned_photograph_is_painted_upright(visit: Visit, photo: Image.Image, to_bytes: ToBytes):
    """EXIF orientation is applied to what is seen, to the mask and to the answer alike."""
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = to_bytes(photo, "JPEG", quality=95, exif=exif)
    upright = np.rot90(pixels(turned), -1)
    screen = visit()
    screen.open(turned, "photo.jpg")
    assert screen.colour_at(20.5, 10.5, size=(64, 96)) == pytest.approx(upright[10, 20], abs=40)
    screen.paint((20, 70), size=(64, 96))
    screen.fill()
    _, data = screen.download()

    filled = pixels(data)
    assert filled.shape == upright.shape
    changed = (filled != upright).any(axis=-1)
    assert not changed[~disc(20, 70, BRUSH / 2 + 1, 64, 96)].any()
    assert changed[disc(20, 70, BRUSH / 2 - 1, 64, 96)].mean() > 0.9


@pytest.mark.parametrize(
    ("file_format", "name"), [("jpeg", "photo-filled.jpg"), ("webp", "photo-filled.webp")]
)
def test_other_formats_are_downloaded(visit: Visit, photo_file: bytes, file_format: str, name: str):
    """The service encodes the same result in the chosen format."""
    screen = visit()
    screen.open(photo_file)
    screen.paint((48, 32))
    screen.fill()
    _, lossless = screen.download()
    saved_as, data = screen.download(file_format)

    image = Image.open(io.BytesIO(data))
    assert (saved_as, image.format, image.size) == (name, file_format.upper(), (96, 64))
    assert np.abs(pixels(data).astype(int) - pixels(lossless)).mean() < 6


def test_before_and_after_are_compared(visit: Visit, photo_file: bytes):
    """Left of the divider is the original, right of it the result; mouse and keys move the divider."""
    screen = visit()
    screen.open(photo_file)
    screen.paint((40, 32))
    screen.fill()
    filled = screen.colour_at(40.5, 32.5)
    screen.page.keyboard.press("c")
    screen.settle()
    original = screen.colour_at(40.5, 32.5)
    assert original == pytest.approx(pixels(photo_file)[32, 40], abs=60)
    assert original != filled

    divider = screen.page.locator("#divider")
    box = screen.page.locator("#stage").bounding_box()
    screen.page.mouse.move(box["x"] + box["width"] / 2, box["y"] + 30)
    screen.page.mouse.down()
    screen.page.mouse.move(box["x"] + box["width"] / 4, box["y"] + 30, steps=4)
    screen.page.mouse.up()
    screen.settle()
    assert float(divider.input_value()) == pytest.approx(25, abs=1)
    assert screen.colour_at(40.5, 32.5) == filled

    divider.focus()
    screen.page.keyboard.press("End")
    screen.settle()
    assert screen.colour_at(40.5, 32.5) == original


@pytest.mark.parametrize("way", ["paste", "drop"])
def test_pictures_are_pasted_and_dropped(visit: Visit, photo_file: bytes, way: str):
    """A file on the clipboard or from the desktop is opened like a chosen one."""
    screen = visit()
    screen.page.evaluate(
        """([way, data]) => {
            const transfer = new DataTransfer();
            const bytes = Uint8Array.from(atob(data), (each) => each.charCodeAt(0));
            transfer.items.add(new File([bytes], "pasted.png", { type: "image/png" }));
            const event = way === "paste"
                ? new ClipboardEvent("paste", { clipboardData: transfer, bubbles: true })
                : new DragEvent("drop", { dataTransfer: transfer, bubbles: true, cancelable: true });
            document.body.dispatchEvent(event);
        }""",
        [way, base64.b64encode(photo_file).decode()],
    )
    screen.page.wait_for_selector("body.working:not(.busy)")
    screen.settle()

    assert screen.colour_at(10.5, 10.5) == pytest.approx(pixels(photo_file)[10, 10], abs=60)


def test_the_example_needs_one_press(visit: Visit):
    """It comes with its paint, so that the first thing to press is Fill."""
    screen = visit()
    screen.page.click("[data-command=example]")
    screen.page.wait_for_selector("body.working:not(.busy)")

    assert screen.fill().startswith("Filled in ")


def test_the_mask_is_white_where_the_paint_is(visit: Visit):
    """The PNG that is sent has the picture's size, strokes in white, and what was erased in black."""
    encoded = visit().page.evaluate(
        """async () => {
            const { encodeMask } = await import("/page/mask.js");
            const stroke = (x, y, radius, erases) => ({ points: [{ x, y }], radius, erases });
            const strokes = [stroke(1500, 700, 300, false), stroke(1500, 700, 100, true)];
            const bytes = new Uint8Array(await (await encodeMask(strokes, 2001, 1503)).arrayBuffer());
            return btoa(bytes.reduce((text, byte) => text + String.fromCharCode(byte), ""));
        }"""
    )
    image = Image.open(io.BytesIO(base64.b64decode(encoded)))
    mask = np.asarray(image.convert("L"))
    size = (2001, 1503)
    expected = disc(1500, 700, 300, *size) & ~disc(1500, 700, 100, *size)

    assert image.size == size
    assert set(np.unique(mask)) == {0, 255}
    assert np.count_nonzero((mask == 255) != expected) < 0.002 * expected.sum()


def test_a_result_that_is_too_large_is_sent_as_jpeg(
    visit: Visit, serve: Any, settings: Settings, photo: Image.Image, to_bytes: ToBytes
):
    """A JPEG whose PNG is over the limit can still be filled twice, and the page says what it did."""
    large = to_bytes(photo.resize((480, 320)), "JPEG", quality=80)
    app = create_app(settings.model_copy(update={"max_request_bytes": 2 * len(large)}))
    size = (480, 320)
    with serve(app) as address:
        screen = visit(address)
        screen.open(large, "photo.jpg")
        screen.paint((100, 100), size=size)
        assert "JPEG" not in screen.fill()
        _, first = screen.download()
        screen.paint((300, 100), size=size)
        said = screen.fill()
        _, second = screen.download()
        screen.page.context.close()

    assert len(first) > 2 * len(large)
    assert "sent as JPEG" in said
    assert np.abs(pixels(second).astype(int) - pixels(first)).mean() < 6
