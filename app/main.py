"""Puts the application together."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from importlib.metadata import metadata
from typing import TypedDict

from fastapi import FastAPI
from starlette.concurrency import run_in_threadpool
from starlette.middleware.cors import CORSMiddleware

from app import access, batch_routes, problems
from app.adapters import iopaint, openai
from app.engine import Engine
from app.headers import SecurityHeaders
from app.lifecycle import DrainGate, Lifecycle
from app.limits import RequestLimits
from app.line import FullLine
from app.metrics import Metrics
from app.page import router as page
from app.records import RequestRecords
from app.reload import Reloader
from app.routes import router
from app.settings import Settings
from app.tracing import RequestId
from app.values import ApiKeys
from model_core import devices
from model_core.inpainter import Inpainter
from model_core.worker import Fork

FILLING_PATHS = frozenset({"/inpaint", batch_routes.PATH, openai.EDITS_PATH, iopaint.INPAINT_PATH})


class State(TypedDict):
    """What lifespan hands to the requests."""

    engine: Engine
    reloader: Reloader


def load_inpainter(settings: Settings) -> Inpainter:
    """The model that the settings name.

    Raises:
        CheckpointError, ConfigError: the checkpoint is missing or broken.
        DeviceError: this machine lacks the device or precision.
    """

    def load() -> Inpainter:
        return Inpainter.from_checkpoint(
            settings.checkpoint, settings.device, settings.precision, threads=settings.threads
        )

    return devices.start_passing_thread(load).result()


def create_app(
    settings: Settings | None = None,
    inpainter: Inpainter | None = None,
    lifecycle: Lifecycle | None = None,
    reload_wanted: asyncio.Event | None = None,
    fork: Fork | None = None,
) -> FastAPI:
    """The service. Unless given, settings come from the environment and the model from its checkpoint.

    `lifecycle` is told when the process is to stop, `reload_wanted` is set to have the checkpoint reloaded,
    `fork` begins further processes that infer.
    """
    settings = settings or Settings()
    lifecycle = lifecycle or Lifecycle(settings.drain_seconds, settings.grace_seconds)
    reload_wanted = reload_wanted or asyncio.Event()
    metrics = Metrics(lifecycle, FILLING_PATHS)

    package = metadata("inpainting-server")
    app = FastAPI(
        title="Inpainting server",
        summary=package["Summary"],
        version=package["Version"],
        lifespan=_lifespan(settings, inpainter, metrics, reload_wanted, fork),
        redoc_url=None,
        form_limits={
            "max_files": problems.MAX_FORM_FILES,
            "max_fields": problems.MAX_FORM_FIELDS,
            "max_part_size": problems.MAX_FIELD_BYTES,
        },
    )
    app.state.lifecycle = lifecycle
    app.state.metrics = metrics
    _add_routes(app, settings)
    keys = settings.api_keys | settings.api_keys_file
    access.describe(app.openapi(), keys)
    problems.install(app)
    _add_middleware(app, settings, keys, lifecycle, metrics)
    return app


def _lifespan(
    settings: Settings,
    inpainter: Inpainter | None,
    metrics: Metrics,
    reload_wanted: asyncio.Event,
    fork: Fork | None,
) -> Callable[[FastAPI], AbstractAsyncContextManager[State]]:
    """What is there from the first request to the last: a model that has proved itself, and its reloading."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[State]:
        nonlocal inpainter
        if inpainter is None:
            inpainter = await run_in_threadpool(load_inpainter, settings)
        engine = Engine(inpainter, settings, fork)
        inpainter = None  # the engine alone holds the model, so that a reload frees it
        # Nothing is served before one real inference has succeeded.
        await run_in_threadpool(engine.warm_up)
        metrics.attach(engine)
        reloader = Reloader(settings, load_inpainter, engine, metrics, reload_wanted)
        reloading = asyncio.create_task(reloader.run())
        try:
            yield {"engine": engine, "reloader": reloader}
        finally:
            reloading.cancel()
            await run_in_threadpool(engine.close)

    return lifespan


def _add_routes(app: FastAPI, settings: Settings) -> None:
    app.include_router(router)
    app.include_router(batch_routes.create_router(settings))
    app.include_router(openai.router)
    app.include_router(iopaint.create_router())
    page.install(app, settings)


def _add_middleware(
    app: FastAPI, settings: Settings, keys: ApiKeys, lifecycle: Lifecycle, metrics: Metrics
) -> None:
    """The last one added is the outermost: every answer, a limit's own too, carries its request's id."""
    app.add_middleware(
        RequestLimits,
        max_request_bytes=settings.max_request_bytes,
        max_held_bytes=settings.max_held_bytes,
        timeout_seconds=settings.timeout_seconds,
    )
    app.add_middleware(FullLine, paths=FILLING_PATHS)
    app.add_middleware(access.Access, keys=keys, rate_limit=settings.rate_limit)
    app.add_middleware(DrainGate, lifecycle=lifecycle)
    app.add_middleware(RequestRecords, observe=metrics.observe)
    if settings.cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=settings.cors_origins,
            allow_methods=["GET", "POST"],
            allow_headers=["Authorization", "Content-Type", "X-API-Key", "X-Request-ID"],
            expose_headers=["X-Request-ID", "X-Model", "Server-Timing", "X-Seed", "Retry-After"],
        )
    app.add_middleware(SecurityHeaders)
    app.add_middleware(RequestId)
