"""ASGI middleware that bounds what one request may cost: its body's bytes, its time, and work for nobody."""

import asyncio

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.errors import AppError, RequestTimeoutError, RequestTooLargeError, SlowUploadError
from app.problems import problem_response


class RequestLimits:
    """Refuse large bodies while they stream in (413), slow uploads (408) and slow answers (504).

    A client that goes away before its answer has begun cancels its request, which frees its place in line.
    An answer that has begun may take as long as the client needs to read it.
    """

    def __init__(self, app: ASGIApp, *, max_request_bytes: int, timeout_seconds: float) -> None:
        self._app = app
        self._max_request_bytes = max_request_bytes
        self._timeout_seconds = timeout_seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        deadline = asyncio.timeout(self._timeout_seconds)
        exchange = _Exchange(scope, receive, send, deadline, self._max_request_bytes)
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


class _Exchange:
    """One request and its answer, as they pass by."""

    def __init__(
        self, scope: Scope, receive: Receive, send: Send, deadline: asyncio.Timeout, max_request_bytes: int
    ) -> None:
        self._receive = receive
        self._send = send
        self._deadline = deadline
        self._max_request_bytes = max_request_bytes
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
        self._received_bytes += len(message.get("body", b""))
        if self._received_bytes > self._max_request_bytes:
            raise RequestTooLargeError(
                f"The request holds more than the {self._max_request_bytes:,} bytes that are accepted."
            )
        if message["type"] == "http.request" and not message.get("more_body", False):
            self._watcher = asyncio.create_task(self._cancel_when_client_leaves())
        return message

    async def send(self, message: Message) -> None:
        self._deadline.reschedule(None)
        await self._send(message)

    def timeout_error(self, timeout_seconds: float) -> AppError:
        if self._watcher:
            return RequestTimeoutError(f"The picture was not filled within {timeout_seconds:g} seconds.")
        return SlowUploadError(
            f"Only {self._received_bytes:,} bytes of the request arrived within {timeout_seconds:g} seconds."
        )

    def close(self) -> None:
        if self._watcher:
            self._watcher.cancel()

    async def _cancel_when_client_leaves(self) -> None:
        await self._receive()  # after a whole body the only message is http.disconnect
        if self._deadline.when() is not None:  # the answer has not begun
            self.client_is_gone = True
            self._deadline.reschedule(asyncio.get_running_loop().time())
