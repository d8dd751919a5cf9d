"""ASGI middleware that gives every request an id, which its answer and its problems name."""

import re
import uuid

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_ACCEPTED_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")


class RequestId:
    """Take the client's X-Request-ID where it is harmless to log and echo, or make one up."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        wished = Headers(scope=scope).get("x-request-id", "")
        request_id = wished if _ACCEPTED_ID.fullmatch(wished) else uuid.uuid4().hex
        scope.setdefault("state", {})["request_id"] = request_id

        async def send_with_id(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)["X-Request-ID"] = request_id
            await send(message)

        await self._app(scope, receive, send_with_id)
