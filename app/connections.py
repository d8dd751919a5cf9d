"""Bounds what connections cost while the application does not see them: their number, and their silence."""

import asyncio
import socket
from contextlib import suppress
from typing import Any

from uvicorn.config import Config
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

UNSENT_BYTES = 262_144
"""What the system may hold of an answer beyond what is on its way to the client."""

_BUSY = (
    b"HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\nRetry-After: 1\r\nContent-Length: 0\r\n\r\n"
)


class BoundedConnection(H11Protocol):
    """uvicorn's connection, cut off when its client makes it wait: for headers, or by not reading the answer.

    Of uvicorn's configuration, `timeout_keep_alive` is also how many seconds a client has to send the whole
    head of a request, and to take what has been written to it; `limit_concurrency` is how many connections
    may be open at once. One more gets a bare 503 and is closed.
    """

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        # uvicorn would look at it when a head is complete, which an idle connection never sends.
        self.limit_concurrency = None
        self._head_clock: asyncio.TimerHandle | None = None
        self._write_clock: asyncio.TimerHandle | None = None

    # asyncio's own signature allows any transport; uvicorn's, which is overridden here, only this kind.
    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        # Writing is paused as long as anything is unsent, so that the write clock always knows.
        transport.set_write_buffer_limits(high=0)
        with suppress(AttributeError, OSError):  # not every system has it
            # Else the system takes megabytes and asks for more when a third is gone, so that a client which
            # reads steadily, but not fast, looks silent.
            connection = transport.get_extra_info("socket")
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, UNSENT_BYTES)
        most = self.config.limit_concurrency
        if most is not None and len(self.connections) > most:
            transport.write(_BUSY)
            transport.close()
        else:
            self._head_clock = self._clock()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.cycle is not None and not self.cycle.response_complete:
            self._stop(self._head_clock)
            self._head_clock = None
        elif self._head_clock is None:
            # The next head has begun, or the rest of a body arrives that was refused.
            self._head_clock = self._clock()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._write_clock = self._clock()

    def resume_writing(self) -> None:
        super().resume_writing()
        self._stop(self._write_clock)

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._stop(self._head_clock)
        self._stop(self._write_clock)

    def _clock(self) -> asyncio.TimerHandle:
        return self.loop.call_later(self.timeout_keep_alive, self.transport.abort)

    @staticmethod
    def _stop(clock: asyncio.TimerHandle | None) -> None:
        if clock is not None:
            clock.cancel()
