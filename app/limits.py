"""ASGI middleware that bounds what requests may cost: bytes, time, and work for nobody."""

import asyncio

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.errors import AppError, HeldBytesError, RequestTimeoutError, RequestTooLargeError, SlowUploadError
from app.problems import problem_response

PIECE_BYTES = 262_144
"""An answer goes out in such pieces, each when the client has taken the one before."""
LEAST_BYTES_PER_SECOND = 32_000
"""How fast an answer has to be read, beyond the time that every request has."""


class RequestLimits:
    """Refuse large bodies while they stream in (413), slow uploads (408) and slow answers (504).

    What has arrived of all requests, with what clients have not taken of their answers, is bounded too: an
    upload and an answer of more than one piece are refused when they do not fit (429). The bytes of a request
    count until the last of its answer is there, which a batch needs them for.
    A client that goes away before its answer has begun ends its request, which frees its place in line.
    An answer that has begun is cut off if it is read too slowly, or its next part, of a batch, does not fit.
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
        exchange = _Exchange(
            scope, receive, send, deadline, self._timeout_seconds, self._max_request_bytes, self._held
        )
        try:
            async with deadline:
                await self._app(scope, exchange.receive, exchange.send)
        except TimeoutError:
            if not deadline.expired():
                raise
            if error := exchange.error():
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
        timeout_seconds: float,
        max_request_bytes: int,
        held: HeldBytes,
    ) -> None:
        self._receive = receive
        self._send = send
        self._deadline = deadline
        self._timeout_seconds = timeout_seconds
        self._max_request_bytes = max_request_bytes
        self._held = held
        self._declared_bytes = int(Headers(scope=scope).get("content-length", "0"))
        self._received_bytes = 0
        self._held_bytes = 0
        self._watcher: asyncio.Task[None] | None = None
        self._head: Message | None = None
        self._refusal: HeldBytesError | None = None
        self._can_answer = True

    async def receive(self) -> Message:
        # Refused before the first byte is read, so that a client which waits for "100 Continue" sends none.
        if self._declared_bytes > self._max_request_bytes:
            raise RequestTooLargeError(
                f"The request declares {self._declared_bytes:,} bytes; "
                f"at most {self._max_request_bytes:,} are accepted."
            )
        message = await self._receive()
        if message["type"] == "http.disconnect":
            await self._end_without_client()
        self._count(len(message.get("body", b"")))
        if message["type"] == "http.request" and not message.get("more_body", False):
            self._watcher = asyncio.create_task(self._end_when_client_leaves())
        return message

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._head = message  # goes out with the first bytes, since these may not fit
            self._set_deadline(None)
            return
        if not message.get("more_body", False):
            self._give_request_back()
        size = len(message.get("body", b""))
        self._held.take(size)
        try:
            if size > PIECE_BYTES:
                await self._require_room()
            self._set_deadline(self._timeout_seconds + size / LEAST_BYTES_PER_SECOND)
            await self._send_in_pieces(message)
            self._set_deadline(None)
        finally:
            self._held.give_back(size)

    def error(self) -> AppError | None:
        """Why the request was ended; None if its client is gone, or has another answer half read."""
        if not self._can_answer:
            return None
        if self._refusal:
            return self._refusal
        if self._watcher:
            return RequestTimeoutError(
                f"The picture was not filled within {self._timeout_seconds:g} seconds."
            )
        return SlowUploadError(
            f"Only {self._received_bytes:,} bytes of the request arrived within "
            f"{self._timeout_seconds:g} seconds."
        )

    def close(self) -> None:
        self._give_request_back()
        if self._watcher:
            self._watcher.cancel()

    def _count(self, size: int) -> None:
        self._received_bytes += size
        self._held_bytes += size
        self._held.take(size)
        if self._received_bytes > self._max_request_bytes:
            raise RequestTooLargeError(
                f"The request holds more than the {self._max_request_bytes:,} bytes that are accepted."
            )
        if size:
            self._held.require_room()

    def _give_request_back(self) -> None:
        self._held.give_back(self._held_bytes)
        self._held_bytes = 0

    async def _require_room(self) -> None:
        try:
            self._held.require_room()
        except HeldBytesError as error:
            self._refusal = error
            await self._end()

    async def _send_in_pieces(self, message: Message) -> None:
        if self._head:
            self._can_answer = False
            await self._send(self._head)
            self._head = None
        body = message.get("body", b"")
        last = max(0, len(body) - 1) // PIECE_BYTES * PIECE_BYTES
        for start in range(0, last, PIECE_BYTES):
            piece = body[start : start + PIECE_BYTES]
            await self._send({"type": "http.response.body", "body": piece, "more_body": True})
        await self._send({**message, "body": body[last:]} if last else message)

    async def _end_when_client_leaves(self) -> None:
        await self._receive()  # after a whole body the only message is http.disconnect
        await self._end_without_client()

    async def _end_without_client(self) -> None:
        if self._can_answer:  # an answer that has begun notices by itself
            self._can_answer = False
            await self._end()

    async def _end(self) -> None:
        """Have the deadline cancel the application, which would make an answer of an exception."""
        self._set_deadline(0.0)
        await asyncio.Event().wait()

    def _set_deadline(self, seconds: float | None) -> None:
        if not self._deadline.expired():
            now = asyncio.get_running_loop().time()
            self._deadline.reschedule(None if seconds is None else now + seconds)
