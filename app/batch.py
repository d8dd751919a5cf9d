"""Many pictures in one request: each becomes a file or a problem, and none disturbs the others."""

import asyncio
import logging
import re
from collections import deque
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import PurePosixPath

from fastapi import Request
from pydantic import BaseModel, Field
from starlette.concurrency import run_in_threadpool

from app import problems
from app.engine import Engine, FilledPicture, FillRequest
from app.error_bodies import ProblemDetails
from app.errors import QueueFullError, RequestTimeoutError
from app.records import note_fill
from app.zips import ZipStream

logger = logging.getLogger(__name__)

OUTCOMES_FILE = "outcomes.json"
IN_FLIGHT = 2
"""Places in the line that one batch takes: one picture is decoded or encoded while another is filled."""
RETRY_SECONDS = 0.1
"""How long a batch that finds the line full waits before it asks again."""

_UNSAFE = re.compile(r"[^A-Za-z0-9_-]+")
_MAX_NAME_LENGTH = 60


class Outcome(BaseModel):
    """What became of one picture."""

    index: int = Field(description="The picture's place in the request, from 0.")
    status: int = Field(description="What POST /inpaint would have answered.")
    file: str | None = Field(default=None, description="Its name in the zip, if it was filled.")
    milliseconds: dict[str, float] | None = Field(
        default=None, description="Time by stage: decode, queue, inference, encode."
    )
    problem: ProblemDetails | None = Field(default=None, description="Why it was not filled.")


class Outcomes(BaseModel):
    """outcomes.json, the zip's last file."""

    outcomes: list[Outcome] = Field(description="One for each picture, in the request's order.")


@dataclass(frozen=True)
class BatchItem:
    """A picture of a batch."""

    index: int
    client_name: str
    request: FillRequest

    @property
    def file_name(self) -> str:
        """Its name in the zip; of the client's name only harmless characters are left."""
        stem = PurePosixPath(self.client_name.replace("\\", "/")).stem
        name = _UNSAFE.sub("_", stem)[:_MAX_NAME_LENGTH]
        return f"{self.index:03d}-{name or 'picture'}.{self.request.output_format}"


async def zip_of(
    items: Sequence[BatchItem], engine: Engine, request: Request, timeout_seconds: float
) -> AsyncGenerator[bytes]:
    """Fill the pictures, and yield the zip file of the answers while they are made.

    Args:
        request: the request that they came with, for the problems.
        timeout_seconds: how long each picture may take, waiting included.
    """
    archive, outcomes = ZipStream(), []
    async with aclosing(_fill_all(items, engine, request, timeout_seconds)) as results:
        async for outcome, filled in results:
            outcomes.append(outcome)
            if outcome.file and filled:
                # In a thread: the checksum of a large file would hold up every other request.
                yield await run_in_threadpool(archive.add, outcome.file, filled.data)
    report = Outcomes(outcomes=outcomes).model_dump_json(indent=2, exclude_none=True)
    yield archive.add(OUTCOMES_FILE, report.encode())
    yield archive.close()


async def _fill_all(
    items: Sequence[BatchItem], engine: Engine, request: Request, timeout_seconds: float
) -> AsyncGenerator[tuple[Outcome, FilledPicture | None]]:
    """The outcomes in the items' order, with few of them in the line at once."""
    tasks: deque[asyncio.Task[tuple[Outcome, FilledPicture | None]]] = deque()
    try:
        for item in items:
            tasks.append(asyncio.create_task(_fill_one(item, engine, request, timeout_seconds)))
            if len(tasks) == IN_FLIGHT:
                yield await tasks.popleft()
        while tasks:
            yield await tasks.popleft()
    finally:
        # Left over only when the client has gone.
        for task in tasks:
            task.cancel()


async def _fill_one(
    item: BatchItem, engine: Engine, request: Request, timeout_seconds: float
) -> tuple[Outcome, FilledPicture | None]:
    try:
        async with asyncio.timeout(timeout_seconds):
            filled = await _fill_when_there_is_room(engine, item.request)
    except TimeoutError:
        error = RequestTimeoutError(f"The picture was not filled within {timeout_seconds:g} seconds.")
        return _failure(item, request, error), None
    except Exception as error:
        # Even an unexpected one is this picture's own. It reaches no server that would log its traceback.
        if problems.find_kind(type(error)) is None:
            logger.exception("picture %d of a batch failed unexpectedly", item.index)
        return _failure(item, request, error), None
    note_fill(request, filled)
    milliseconds = {stage: round(1000 * seconds, 1) for stage, seconds in filled.timings.seconds.items()}
    return Outcome(index=item.index, status=200, file=item.file_name, milliseconds=milliseconds), filled


async def _fill_when_there_is_room(engine: Engine, request: FillRequest) -> FilledPicture:
    while True:
        try:
            return await engine.fill(request)
        except QueueFullError:
            await asyncio.sleep(RETRY_SECONDS)


def _failure(item: BatchItem, request: Request, error: Exception) -> Outcome:
    _, problem = problems.explain(request, error)
    return Outcome(index=item.index, status=problem.status, problem=problem)
