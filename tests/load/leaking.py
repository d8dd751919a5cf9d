"""The service with a leak: it keeps all requests and answers. Its argument is an open socket's number."""

import socket
import sys

import uvicorn
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.main import create_app


class Hoard:
    """ASGI middleware that never lets go of what it has received and sent."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._kept: list[Message] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def receive_and_keep() -> Message:
            message = await receive()
            self._kept.append(message)
            return message

        async def send_and_keep(message: Message) -> None:
            self._kept.append(message)
            await send(message)

        await self._app(scope, receive_and_keep, send_and_keep)


if __name__ == "__main__":
    server = uvicorn.Server(uvicorn.Config(Hoard(create_app()), log_config=None))
    server.run(sockets=[socket.socket(fileno=int(sys.argv[1]))])
