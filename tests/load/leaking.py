"""The service with a leak: it keeps every answer that it gives. Its argument is an open socket's number."""

import socket
import sys

import uvicorn
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.main import create_app


class Hoard:
    """ASGI middleware that never lets go of what it has sent."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._sent: list[Message] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_and_keep(message: Message) -> None:
            self._sent.append(message)
            await send(message)

        await self._app(scope, receive, send_and_keep)


if __name__ == "__main__":
    server = uvicorn.Server(uvicorn.Config(Hoard(create_app()), log_config=None))
    server.run(sockets=[socket.socket(fileno=int(sys.argv[1]))])
