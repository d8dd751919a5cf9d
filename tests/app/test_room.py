"""How much may be decoded at the same time."""

import threading
import time
from collections.abc import Callable

import pytest

from app import room as room_module
from app.room import Room

WANTED = threading.Event()


@pytest.fixture
def room(monkeypatch: pytest.MonkeyPatch) -> Room:
    monkeypatch.setattr(room_module, "SMALL_PIXELS", 3)
    return Room(100)


@pytest.fixture
def enter(room: Room) -> Callable[[int], threading.Event]:
    """Take room in another thread; the event tells that it has been let in."""

    def start(pixels: int) -> threading.Event:
        let_in = threading.Event()

        def take() -> None:
            room.take(pixels, WANTED)
            let_in.set()

        before = len(room._line)
        threading.Thread(target=take, daemon=True).start()
        deadline = time.monotonic() + 10
        while not let_in.is_set() and len(room._line) == before:
            assert time.monotonic() < deadline
            time.sleep(0.001)
        return let_in

    return start


Enter = Callable[[int], threading.Event]


def test_what_fits_is_let_in_at_once(enter: Enter):
    assert all(enter(pixels).wait(10) for pixels in (50, 40, 10))


def test_what_does_not_fit_waits(room: Room, enter: Enter):
    assert enter(60).wait(10)
    second = enter(50)
    assert not second.wait(0.05)
    room.give_back(60)
    assert second.wait(10)


def test_nothing_overtakes_what_waits(room: Room, enter: Enter):
    """Or else a large picture might wait for ever among small ones."""
    first, *others = [enter(pixels) for pixels in (60, 90, 5)]
    assert first.wait(10)
    assert not any(other.wait(0.05) for other in others)
    room.give_back(60)
    assert all(other.wait(10) for other in others)


def test_what_is_larger_than_all_room_is_let_in_alone(room: Room, enter: Enter):
    assert enter(30).wait(10)
    huge, next_one = enter(500), enter(4)
    assert not huge.wait(0.05)
    room.give_back(30)
    assert huge.wait(10)
    assert not next_one.wait(0.05)
    room.give_back(500)
    assert next_one.wait(10)


def test_what_is_small_needs_no_room(room: Room, enter: Enter):
    """It neither waits for what is large, nor does that wait for it."""
    assert enter(3).wait(10)
    assert enter(500).wait(10), "there is nothing that counts"
    assert enter(3).wait(10)
    room.give_back(3)
    waiting = enter(100)
    assert not waiting.wait(0.05), "what was given back had not been taken"
    room.give_back(500)
    assert waiting.wait(10)


def test_what_is_abandoned_leaves_the_line(room: Room, enter: Enter):
    """It takes nothing, and what comes after it need not wait for it."""
    abandoned, answers = threading.Event(), []
    assert enter(60).wait(10)
    waiting = threading.Thread(target=lambda: answers.append(room.take(90, abandoned)))
    waiting.start()
    while not room.waiting:
        time.sleep(0.001)
    behind = enter(40)
    assert not behind.wait(0.05)
    abandoned.set()
    room.look_again()
    waiting.join(10)
    assert answers == [False]
    assert behind.wait(10)
    assert room.waiting == 0
