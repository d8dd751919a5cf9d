"""Puts the application together."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import metadata
from typing import TypedDict

from fastapi import FastAPI
from starlette.concurrency import run_in_threadpool

from app import problems
from app.engine import Engine
from app.limits import RequestLimits
from app.page import router as page
from app.routes import router
from app.settings import Settings
from app.tracing import RequestId
from model_core.inpainter import Inpainter


class State(TypedDict):
    """What lifespan hands to the requests."""

    engine: Engine


def load_inpainter(settings: Settings) -> Inpainter:
    """The model that the settings name.

    Raises:
        CheckpointError, ConfigError: the checkpoint is missing or broken.
        DeviceError: this machine lacks the device or precision.
    """
    return Inpainter.from_checkpoint(
        settings.checkpoint, device=settings.device, precision=settings.precision, threads=settings.threads
    )


def create_app(settings: Settings | None = None, inpainter: Inpainter | None = None) -> FastAPI:
    """The service. Unless given, settings come from the environment and the model from its checkpoint."""
    settings = settings or Settings()

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[State]:
        model = inpainter if inpainter is not None else await run_in_threadpool(load_inpainter, settings)
        # Nothing is served before one real inference has succeeded.
        await run_in_threadpool(model.warm_up)
        engine = Engine(model, settings)
        try:
            yield {"engine": engine}
        finally:
            await run_in_threadpool(engine.close)

    package = metadata("inpainting-server")
    app = FastAPI(
        title="Inpainting server", summary=package["Summary"], version=package["Version"], lifespan=lifespan
    )
    app.include_router(router)
    page.install(app, settings)
    problems.install(app)
    # The last one added is the outermost: every answer, a limit's own too, carries its request's id.
    app.add_middleware(
        RequestLimits, max_request_bytes=settings.max_request_bytes, timeout_seconds=settings.timeout_seconds
    )
    app.add_middleware(RequestId)
    return app
