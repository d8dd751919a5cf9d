"""A new checkpoint without a restart: loaded and tried beside the old one, then put in its place."""

import asyncio
import hashlib
import logging
import os
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, Field

from app.engine import Engine
from app.logs import with_fields
from app.metrics import Metrics
from app.settings import Settings
from model_core import devices, errors
from model_core.inpainter import Inpainter

logger = logging.getLogger(__name__)

_REASONS: Mapping[type[Exception], str] = {
    errors.CheckpointError: "The checkpoint file is missing, incomplete, damaged or of another format.",
    errors.DeviceError: "The device or the precision is not available any more.",
    errors.InferenceError: "The new model gave no usable answer to a test picture.",
    errors.OutOfMemoryError: "There is not enough memory for the new model beside the old one.",
}
_UNEXPECTED = "The new model could not be loaded; the log says why."


class LastReload(BaseModel):
    """How the last attempt to serve a new checkpoint went."""

    outcome: Literal["ok", "failed"]
    time: datetime
    reason: str | None = Field(default=None, description="Why the model before it still serves.")


class Reloader:
    """Serves the checkpoint file's content of the moment when it is asked to, or when it sees a change."""

    def __init__(
        self,
        settings: Settings,
        load: Callable[[Settings], Inpainter],
        engine: Engine,
        metrics: Metrics,
        wanted: asyncio.Event,
    ) -> None:
        """`wanted` asks for a reload."""
        self._settings = settings
        self._load = load
        self._engine = engine
        self._metrics = metrics
        self._wanted = wanted
        self._watched = WatchedFile(settings.checkpoint)
        self.last: LastReload | None = None

    async def run(self) -> None:
        """Reload whenever there is a reason to, until cancelled."""
        while True:
            try:
                async with asyncio.timeout(self._settings.watch_checkpoint or None):
                    await self._wanted.wait()
            except TimeoutError:
                if not await asyncio.to_thread(self._watched.is_new, self._engine.inpainter.sha256):
                    continue
            self._wanted.clear()
            await self.reload()

    async def reload(self) -> None:
        """Serve what the checkpoint file holds now. A model that cannot serve changes nothing."""
        try:
            inpainter = await asyncio.wrap_future(devices.start_passing_thread(self._prepare))
        except errors.ModelCoreError as error:
            logger.error("the checkpoint was not reloaded, the one before still serves: %s", error)
            self._note("failed", _REASONS.get(type(error), _UNEXPECTED))
        except Exception:
            # The outermost frame of a background task: whatever failed, the service goes on.
            logger.exception("the checkpoint was not reloaded, the one before still serves")
            self._note("failed", _UNEXPECTED)
        else:
            self._engine.swap(inpainter)
            self._metrics.name_model(inpainter)
            self._note("ok")
            fields = with_fields(model=inpainter.info.name, sha256=inpainter.sha256)
            logger.info("the checkpoint was reloaded", extra=fields)

    def _prepare(self) -> Inpainter:
        with devices.memory_errors_translated():
            inpainter = self._load(self._settings)
            inpainter.warm_up()
        return inpainter

    def _note(self, outcome: Literal["ok", "failed"], reason: str | None = None) -> None:
        self.last = LastReload(outcome=outcome, time=datetime.now(UTC), reason=reason)
        self._metrics.count_reload(outcome)


class WatchedFile:
    """A file that may be replaced or rewritten at any time."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen: tuple[int, int, int] | None = None
        self._judged: tuple[int, int, int] | None = None
        self._reported: tuple[int, int, int] | None = None

    def is_new(self, serving_sha256: str) -> bool:
        """Whether the file holds something else than what serves. True once for each content.

        A file that changed since the last look may still be being written, and is left until the next.
        """
        try:
            status = os.stat(self._path)
        except OSError:
            # Gone for a moment, as while it is replaced. What serves stays.
            return False
        stamp = (status.st_ino, status.st_size, status.st_mtime_ns)
        settled, self._seen = stamp == self._seen, stamp
        if not settled or stamp == self._judged:
            return False
        try:
            with open(self._path, "rb") as file:
                sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            # Tried at each look, since a file that becomes readable need not change otherwise.
            if stamp != self._reported:
                self._reported = stamp
                logger.error("the changed checkpoint %s cannot be read: %s", self._path, error.strerror)
            return False
        self._judged = stamp
        return sha256 != serving_sha256
