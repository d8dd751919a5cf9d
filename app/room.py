"""How much may be decoded at the same time."""

import threading
from collections import deque

SMALL_PIXELS = 1024 * 1024
"""Of pictures that take next to no room: they need not wait for large ones, which can take seconds."""


class Room:
    """Room for the pixels of all pictures in work, but for small ones.

    What does not fit waits, and so does what comes after it, so that large pictures get their turn. A picture
    that is larger than all the room is let in when it is empty.
    """

    def __init__(self, pixels: int) -> None:
        self._all = self._free = pixels
        self._changed = threading.Condition()
        self._line: deque[object] = deque()

    @property
    def waiting(self) -> int:
        """How many wait."""
        return len(self._line)

    def take(self, pixels: int, abandoned: threading.Event) -> bool:
        """Wait for room, which is to be given back.

        Returns:
            False if the picture was abandoned meanwhile, and has no room: see `look_again`.
        """
        if pixels <= SMALL_PIXELS:
            return True
        place = object()
        with self._changed:
            self._line.append(place)
            self._changed.wait_for(
                lambda: abandoned.is_set() or (self._line[0] is place and self._fits(pixels))
            )
            self._line.remove(place)
            self._changed.notify_all()  # the next in the line may fit too
            if abandoned.is_set():
                return False
            self._free -= pixels
            return True

    def look_again(self) -> None:
        """Have those leave the line that have been abandoned."""
        with self._changed:
            self._changed.notify_all()

    def give_back(self, pixels: int) -> None:
        """Let others have it."""
        if pixels <= SMALL_PIXELS:
            return
        with self._changed:
            self._free += pixels
            self._changed.notify_all()

    def _fits(self, pixels: int) -> bool:
        return pixels <= self._free or self._free == self._all
