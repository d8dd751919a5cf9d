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

    def take(self, pixels: int) -> None:
        """Wait for room, which is to be given back."""
        if pixels <= SMALL_PIXELS:
            return
        place = object()
        with self._changed:
            self._line.append(place)
            self._changed.wait_for(
                lambda: self._line[0] is place and (pixels <= self._free or self._free == self._all)
            )
            self._line.popleft()
            self._free -= pixels
            self._changed.notify_all()  # the next in the line may fit too

    def give_back(self, pixels: int) -> None:
        """Let others have it."""
        if pixels <= SMALL_PIXELS:
            return
        with self._changed:
            self._free += pixels
            self._changed.notify_all()
