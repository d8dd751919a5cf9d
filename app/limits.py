"""ASGI middleware that bounds what requests may cost: bytes, time, and work for nobody."""

import asyncio

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.errors import AppError, HeldBytesError, RequestTimeoutError, RequestTooLargeError, SlowUploadError
from app.problems import problem_response

PIECE_BYTES = 262_144
"""An answer goes out in such pieces, each when the client has taken the one before."""


class RequestLimits:
    """Refuse large bodies while they stream in (413), slow uploads (408) and slow answers (504).

    What has arrived of all requests, with what clients have not taken of their answers, is bounded too (429).
    A client that goes away before its answer has begun cancels its request, which frees its place in line.
    An answer that has begun may take as long as the client needs to read it; `connections` sees that it does.
    """

    def __init__(
        self, app: ASGIApp, *, max_request_bytes: int, max_held_bytes: int, timeout_seconds: float
    ) -> None:
        self._app = app
        self._max_request_bytes = max_request_bytes
        self._held = HeldBytes(max_held_bytes)
        self._timeout_seconds = timeout_seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        deadline = asyncio.timeout(self._timeout_seconds)
        exchange = _Exchange(scope, receive, send, deadline, self._max_request_bytes, self._held)
        try:
            async with deadline:
                await self._app(scope, exchange.receive, exchange.send)
        except TimeoutError:
            if not deadline.expired():
                raise
            if not exchange.client_is_gone:
                error = exchange.timeout_error(self._timeout_seconds)
                await problem_response(Request(scope), error)(scope, receive, send)
        finally:
            exchange.close()


class HeldBytes:
    """What all requests and answers in work hold together."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._total = 0

    def take(self, size: int) -> None:
        """Count bytes that are held from now on."""
        self._total += size

    def give_back(self, size: int) -> None:
        """Count bytes that are held no longer."""
        self._total -= size

    def require_room(self) -> None:
        """Raise HeldBytesError if more is held than may be."""
        if self._total > self._limit:
            raise HeldBytesError(
                f"All requests and answers together hold more than {self._limit:,} bytes at the moment."
            )


class _Exchange:
    """One request and its answer, as they pass by."""

    def __init__(
        self,
        scope: Scope,
        receive: Receive,
        send: Send,
        deadline: asyncio.Timeout,
        max_request_bytes: int,
        held: HeldBytes,
    ) -> None:
        self._receive = receive
        self._send = send
        self._deadline = deadline
        self._max_request_bytes = max_request_bytes
        self._held = held
        self._declared_bytes = int(Headers(scope=scope).get("content-length", "0"))
        self._received_bytes = 0
        self._watcher: asyncio.Task[None] | None = None
        self.client_is_gone = False

    async def receive(self) -> Message:
        # Refused before the first byte is read, so that a client which waits for "100 Continue" sends none.
        if self._declared_bytes > self._max_request_bytes:
            raise RequestTooLargeError(
                f"The request declares {self._declared_bytes:,} bytes; "
                f"at most {self._max_request_bytes:,} are accepted."
            )
        message = await self._receive()
        self._count(len(message.get("body", b"")))
        if message["type"] == "http.request" and not message.get("more_body", False):
            self._watcher = asyncio.create_task(self._cancel_when_client_leaves())
        return message

    async def send(self, message: Message) -> None:
        self._deadline.reschedule(None)
        body = message.get("body", b"")
        self._held.take(len(body))
        try:
            last = max(0, len(body) - 1) // PIECE_BYTES * PIECE_BYTES
            for start in range(0, last, PIECE_BYTES):
                piece = body[start : start + PIECE_BYTES]
                await self._send({"type": "http.response.body", "body": piece, "more_body": True})
            await self._send({**message, "body": body[last:]} if last else message)
        finally:
            self._held.give_back(len(body))

    def timeout_error(self, timeout_seconds: float) -> AppError:
        if self._watcher:
            return RequestTimeoutError(f"The picture was not filled within {timeout_seconds:g} seconds.")
        return SlowUploadError(
            f"Only {self._received_bytes:,} bytes of the request arrived within {timeout_seconds:g} seconds."
        )

    def close(self) -> None:
        self._held.give_back(self._received_bytes)
        if self._watcher:
            self._watcher.cancel()

    def _count(self, size: int) -> None:
        self._received_bytes += size
        self._held.take(size)
        if self._received_bytes > self._max_request_bytes:
            raise RequestTooLargeError(
                f"The request holds more than the {self._max_request_bytes:,} bytes that are accepted."
            )
        if size:
            self._held.require_room()

    async def _cancel_when_client_leaves(self) -> None:
        await self._receive()  # after a whole body the only message is http.disconnect
        if self._deadline.when() is not None:  # the answer has not begun
            self.client_is_gone = True
            self._deadline.reschedule(asyncio.get_running_loop().time())
