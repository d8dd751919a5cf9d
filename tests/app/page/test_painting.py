"""The mask is painted with mouse, finger and pen, and undone, moved and enlarged with everything else."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

Visit = Callable[..., Any]


@pytest.fixture
def screen(visit: Visit, photo_file: bytes) -> Iterator[Any]:
    screen = visit()
    screen.open(photo_file)
    return screen


def is_enabled(screen: Any, command: str) -> bool:
    return bool(screen.page.is_enabled(f"[data-command={command}]"))


def painted_pixels(screen: Any) -> int:
    """How many pixels of the screen have paint on them."""
    count: int = screen.page.evaluate(
        """() => {
            const canvas = document.querySelector("#paint");
            const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
            return data.filter((value, index) => index % 4 === 3 && value).length;
        }"""
    )
    return count


def input_of(screen: Any) -> Callable[..., None]:
    """Sends events into the browser's own input pipeline, where a finger's and a pen's come from."""
    session = screen.page.context.new_cdp_session(screen.page)

    def send(kind: str, *points: tuple[float, float], **options: Any) -> None:
        if kind.startswith("touch"):
            touches = [{"x": x, "y": y, "id": number} for number, (x, y) in enumerate(points)]
            session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": touches})
        else:
            ((x, y),) = points
            session.send("Input.dispatchMouseEvent", {"type": kind, "x": x, "y": y, **options})

    return send


def test_a_mouse_paints_and_the_eraser_takes_away(screen: Any):
    """Paint lies where the mouse was drawn; erasing all of it leaves only what lies beside."""
    assert not is_enabled(screen, "fill")

    screen.paint((20, 20), (70, 20))

    assert screen.paint_at(45, 20)
    assert not screen.paint_at(45, 50)
    assert is_enabled(screen, "fill")

    screen.page.keyboard.press("e")
    screen.paint((20, 20), (45, 20))

    assert not screen.paint_at(30, 20)
    assert screen.paint_at(70, 20)


def test_strokes_are_undone_and_redone(screen: Any):
    """Stroke by stroke, by button and by key; clearing is a step too."""
    screen.paint((20, 20))
    screen.paint((70, 20))
    screen.page.click("[data-command=undo]")
    screen.settle()
    assert (screen.paint_at(20, 20), screen.paint_at(70, 20)) == (True, False)

    screen.page.keyboard.press("Control+z")
    screen.settle()
    assert not screen.paint_at(20, 20)
    assert not is_enabled(screen, "undo")

    screen.page.keyboard.press("Control+Shift+z")
    screen.page.click("[data-command=redo]")
    screen.settle()
    assert (screen.paint_at(20, 20), screen.paint_at(70, 20)) == (True, True)
    assert not is_enabled(screen, "redo")

    screen.page.keyboard.press("Delete")
    screen.settle()
    assert not screen.paint_at(20, 20)
    screen.page.keyboard.press("Control+z")
    screen.settle()
    assert screen.paint_at(20, 20)


def test_the_brush_has_a_size(screen: Any):
    """The slider and the keys change how far from its middle a stroke reaches."""
    screen.page.locator("#size").fill("20")
    screen.paint((20, 30))
    screen.page.keyboard.press("]")
    for _ in range(6):
        screen.page.keyboard.press("]")
    screen.paint((70, 30))

    assert not screen.paint_at(20, 38)
    assert screen.paint_at(70, 38)


def test_the_wheel_enlarges_what_is_under_it(screen: Any):
    """The point under the mouse stays, paint and picture grow alike, and the whole picture comes back."""
    screen.paint((48, 32))
    edge = (48, 38)
    assert not screen.paint_at(*edge)
    colour = screen.colour_at(48.5, 32.5)

    screen.page.mouse.move(*screen.place(48.5, 32.5, 96, 64))
    screen.page.mouse.wheel(0, -600)
    screen.settle()

    assert screen.colour_at(48.5, 32.5) == pytest.approx(colour, abs=60)
    assert screen.paint_at(*edge)

    screen.page.keyboard.press("0")
    screen.settle()
    assert not screen.paint_at(*edge)


def test_a_stroke_outlives_a_zoom(screen: Any):
    """What a stroke has drawn so far is still there when everything is drawn anew."""
    screen.page.mouse.move(*screen.place(40, 32, 96, 64))
    screen.page.mouse.down()
    screen.page.mouse.move(*screen.place(48, 32, 96, 64))
    screen.page.mouse.wheel(0, -300)
    screen.settle()

    assert screen.paint_at(48, 32)
    screen.page.mouse.up()
    screen.settle()
    assert screen.paint_at(48, 32)


@pytest.mark.parametrize("way", ["space", "hand", "right button"])
def test_the_picture_is_moved(screen: Any, way: str):
    """By space bar, hand or right button: the paint moves along, and none is added."""
    screen.paint((30, 32))
    for _ in range(4):
        screen.page.click("[data-command=zoomIn]")
    screen.settle()
    start = screen.place(48, 32, 96, 64)
    screen.page.mouse.move(*start)
    if way == "space":
        screen.page.keyboard.down(" ")
    elif way == "hand":
        screen.page.keyboard.press("h")
    screen.page.mouse.down(button="right" if way == "right button" else "left")
    screen.page.mouse.move(start[0] + 290, start[1], steps=4)
    screen.page.mouse.up(button="right" if way == "right button" else "left")
    screen.settle()

    assert screen.paint_at(48, 32)
    screen.page.click("[data-command=undo]")
    assert not is_enabled(screen, "undo")


def test_one_finger_paints_and_two_pinch(visit: Visit, photo_file: bytes):
    """The stroke that the first of two fingers began is taken back, and the pinch enlarges."""
    screen = visit(viewport={"width": 390, "height": 780}, has_touch=True, is_mobile=True)
    screen.open(photo_file)
    send = input_of(screen)
    (x, y), (x2, y2) = screen.place(20, 20, 96, 64), screen.place(60, 20, 96, 64)
    send("touchStart", (x, y))
    send("touchMove", (x2, y2))
    send("touchEnd")
    screen.settle()
    assert screen.paint_at(40, 20)

    screen.page.click("[data-command=undo]")
    screen.settle()
    middle_x, middle_y = screen.place(48, 32, 96, 64)
    send("touchStart", (middle_x - 20, middle_y))
    send("touchStart", (middle_x - 20, middle_y), (middle_x + 20, middle_y))
    send("touchMove", (middle_x - 80, middle_y), (middle_x + 80, middle_y))
    send("touchEnd")
    screen.settle()

    assert painted_pixels(screen) == 0
    send("touchStart", (middle_x, middle_y))
    send("touchEnd")
    screen.settle()
    assert painted_pixels(screen) == pytest.approx(3.14 * 20**2, rel=0.1)


def test_a_pen_paints(screen: Any):
    """Pens count as pointers."""
    send = input_of(screen)
    for kind, point in [("mousePressed", (20, 20)), ("mouseMoved", (70, 20)), ("mouseReleased", (70, 20))]:
        send(kind, screen.place(*point, 96, 64), button="left", buttons=1, clickCount=1, pointerType="pen")
    screen.settle()

    assert screen.paint_at(45, 20)


def test_every_shortcut_is_in_the_help(screen: Any):
    """The help lists each command with its key, and every listed command is one that the page has."""
    screen.page.keyboard.press("?")
    names = screen.page.locator("#help dt").all_inner_texts()
    shortcuts = screen.page.evaluate(
        "import('/page/shortcuts.js').then(({ SHORTCUTS }) => Object.keys(SHORTCUTS))"
    )

    assert len(names) == len(shortcuts)
    assert set(names).isdisjoint(shortcuts)
    assert all(screen.page.locator("#help dd").all_inner_texts())
