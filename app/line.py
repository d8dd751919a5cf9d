"""ASGI middleware that sends requests away from a full line before their pictures are read."""

from collections.abc import Collection

from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from app.errors import QueueFullError
from app.problems import problem_response


class FullLine:
    """Answer 429 to whoever wants a picture filled while the line is full; the body is not waited for.

    Reading what is refused anyway would take time from the requests that are in the line.
    """

    def __init__(self, app: ASGIApp, *, paths: Collection[str]) -> None:
        """`paths` are those that fill pictures."""
        self._app = app
        self._paths = paths

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] in self._paths and "engine" in scope["state"]:
            try:
                scope["state"]["engine"].require_room()
            except QueueFullError as error:
                await problem_response(Request(scope), error)(scope, receive, send)
                return
        await self._app(scope, receive, send)
