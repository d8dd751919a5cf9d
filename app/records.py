"""One record of every request, for the log and the metrics. It holds nothing of what the client sent but its
request id: no file names, no query, no headers, no picture.
"""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

from fastapi import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.engine import FilledPicture
from app.logs import with_fields

logger = logging.getLogger(__name__)

OPERATOR_PATHS = frozenset({"/health", "/health/live", "/health/ready", "/metrics"})
"""What orchestrators and monitoring ask: neither logged nor counted, and answered while the service stops."""

_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


class Fill(NamedTuple):
    """What one picture cost."""

    pixels: int
    batch_size: int
    seconds: dict[str, float]


@dataclass
class RequestRecord:
    """What is known of a request when it is over.

    Attributes:
        method, path: from small sets, so that clients cannot make up metrics; the path is the route's.
        status: of the answer; None if the client left before there was one.
        problem: the kind of problem that the answer names, "" if none.
        seconds: from the request's head to the end of its answer.
        fills: one for each picture that was filled.
    """

    method: str
    path: str = ""
    status: int | None = None
    problem: str = ""
    seconds: float = 0.0
    fills: list[Fill] = field(default_factory=list)

    @property
    def outcome(self) -> str:
        """answered, refused (4xx), failed (5xx), or abandoned by the client before it had an answer."""
        if self.status is None:
            return "abandoned"
        return "answered" if self.status < 400 else "refused" if self.status < 500 else "failed"

    @property
    def pixels(self) -> int:
        return sum(fill.pixels for fill in self.fills)

    def stage_milliseconds(self) -> dict[str, float]:
        """The time of each stage, over all pictures of the request."""
        stages: dict[str, float] = {}
        for fill in self.fills:
            for stage, seconds in fill.seconds.items():
                stages[f"{stage}_ms"] = round(stages.get(f"{stage}_ms", 0.0) + 1000 * seconds, 1)
        return stages


def note_fill(request: Request, filled: FilledPicture) -> None:
    """Add a filled picture to the record of its request. Every route that fills pictures calls this."""
    record: RequestRecord = request.state.record
    record.fills.append(Fill(filled.pixels, filled.batch_size, filled.timings.seconds))


def _path_template(scope: Scope) -> str:
    """The path without what a client may choose freely in it."""
    if "endpoint" not in scope:
        return "unmatched"
    if "app_root_path" in scope:  # a mounted folder or application
        return str(scope["root_path"] or "/")
    if scope["path_params"]:
        return str(getattr(scope.get("route"), "path", "unmatched"))
    return str(scope["path"])


class RequestRecords:
    """ASGI middleware: keep a record of each request, log it when it is over, and hand it to `observe`."""

    def __init__(self, app: ASGIApp, *, observe: Callable[[RequestRecord], None]) -> None:
        self._app = app
        self._observe = observe

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] in OPERATOR_PATHS:
            await self._app(scope, receive, send)
            return
        record = RequestRecord(scope["method"] if scope["method"] in _METHODS else "other")
        scope["state"]["record"] = record
        start = time.perf_counter()

        async def send_noted(message: Message) -> None:
            if message["type"] == "http.response.start":
                record.status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, send_noted)
        except Exception:
            # Answered further out, where nothing is left that could be recorded.
            record.status, record.problem = 500, "about:blank"
            raise
        finally:
            record.seconds = time.perf_counter() - start
            self._close(scope, record)

    def _close(self, scope: Scope, record: RequestRecord) -> None:
        record.path = _path_template(scope)
        record.problem = scope["state"].get("problem", record.problem)
        self._observe(record)
        logger.log(
            logging.WARNING if record.outcome == "failed" else logging.INFO,
            "%s %s: %s",
            record.method,
            record.path,
            record.status or record.outcome,
            extra=with_fields(
                request_id=scope["state"]["request_id"],
                method=record.method,
                path=record.path,
                status=record.status,
                problem=record.problem or None,
                outcome=record.outcome,
                pixels=record.pixels,
                duration_ms=round(1000 * record.seconds, 1),
                **record.stage_milliseconds(),
            ),
        )
