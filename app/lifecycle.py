"""From serving to gone: readiness fails first, then new requests are refused, then the process ends.

    serving --SIGTERM--> draining --drain seconds--> stopping --nothing in work--> exit
                                                            --grace seconds------> exit

While it drains the service still answers everything, so that a load balancer has time to notice. While it
stops it answers only what it has accepted, and refuses the rest with 503.
"""

import asyncio
import logging
import time

from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.errors import DrainingError
from app.problems import problem_response
from app.records import OPERATOR_PATHS

logger = logging.getLogger(__name__)


class Lifecycle:
    """Where the service stands between its start and its end, and how many requests are in work."""

    def __init__(self, drain_seconds: float, grace_seconds: float) -> None:
        self._drain_seconds = drain_seconds
        self._grace_seconds = grace_seconds
        self._told_to_stop: float | None = None
        self.requests_in_work = 0

    def drain(self) -> None:
        """Begin to stop."""
        self._told_to_stop = time.monotonic()
        logger.info(
            "told to stop: refusing requests in %g seconds, %d in work",
            self._drain_seconds,
            self.requests_in_work,
        )

    @property
    def draining(self) -> bool:
        """Whether the service has been told to stop."""
        return self._told_to_stop is not None

    @property
    def stopping(self) -> bool:
        """Whether new requests are refused."""
        return self._seconds_since_told() >= self._drain_seconds

    @property
    def over(self) -> bool:
        """Whether the process may end: nothing is in work, or what is has had its time."""
        return self.stopping and (self.requests_in_work == 0 or self.seconds_left == 0)

    @property
    def seconds_left(self) -> float:
        """Seconds until what is in work is cut off."""
        return max(0.0, self._drain_seconds + self._grace_seconds - self._seconds_since_told())

    def require_serving(self) -> None:
        """Raise DrainingError once the service has been told to stop."""
        if self.draining:
            raise DrainingError("The service has been told to stop; ask another one, or come back later.")

    def _seconds_since_told(self) -> float:
        return -1.0 if self._told_to_stop is None else time.monotonic() - self._told_to_stop


class DrainGate:
    """ASGI middleware: counts requests in work, and marks those that begin too late, while the service stops.

    They are refused where their form has been read, for a connection that is closed with unread bytes can
    lose the answer. From the signal on every answer closes its connection, so that no client sends its next
    request into one that is about to be closed. Operators' paths are answered to the end.
    """

    def __init__(self, app: ASGIApp, *, lifecycle: Lifecycle) -> None:
        self._app = app
        self._lifecycle = lifecycle

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] in OPERATOR_PATHS:
            await self._app(scope, receive, send)
            return

        begun = False

        async def send_last(message: Message) -> None:
            nonlocal begun
            begun = True
            if message["type"] == "http.response.start" and self._lifecycle.draining:
                MutableHeaders(scope=message)["Connection"] = "close"
            await send(message)

        scope["state"]["too_late"] = self._lifecycle.stopping
        weight = 0 if self._lifecycle.stopping else 1  # nobody waits for what will be refused
        self._lifecycle.requests_in_work += weight
        try:
            await self._app(scope, receive, send_last)
        except asyncio.CancelledError:
            if not self._lifecycle.draining or begun:
                raise
            # The server cuts off what is in work.
            error = DrainingError("The service stopped before it could answer.")
            await problem_response(Request(scope), error)(scope, receive, send_last)
        finally:
            self._lifecycle.requests_in_work -= weight
