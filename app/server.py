"""The service as a process: settings, signals, logs, and uvicorn."""

import asyncio
import contextlib
import logging
import os
import signal
import socket
import sys
from collections.abc import Iterator, Mapping
from types import FrameType
from typing import Any

import uvicorn
from pydantic import ValidationError

from app import logs
from app.connections import BoundedConnection
from app.lifecycle import Lifecycle
from app.main import create_app, load_inpainter
from app.settings import PREFIX, Settings, unknown_variables
from model_core import devices, fork_server, worker
from model_core.allocator import settle_allocator
from model_core.errors import ModelCoreError
from model_core.worker import Fork

logger = logging.getLogger(__name__)

LAST_REQUEST_SECONDS = 0.5
"""What an open connection gets to send a request in that is then refused, rather than lost."""


class Server(uvicorn.Server):
    """A uvicorn server that ends as `lifecycle` says; a second signal ends it at once."""

    def __init__(self, config: uvicorn.Config, lifecycle: Lifecycle) -> None:
        super().__init__(config)
        self._lifecycle = lifecycle

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """SIGTERM or SIGINT."""
        if not self.started:
            self.should_exit = True
        elif not self._lifecycle.draining:
            self._lifecycle.drain()
        else:
            self._cut_off()
            self.force_exit = True

    async def on_tick(self, counter: int) -> bool:
        """Ten times a second."""
        if self._lifecycle.over and not self.should_exit:
            # Answers that are complete may still be on their way to slow readers.
            self.config.timeout_graceful_shutdown = int(self._lifecycle.seconds_left) + 1
            self._cut_off()
        return await super().on_tick(counter)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop listening, give open connections a last moment, then close them."""
        for server in self.servers:
            server.close()
        if self.server_state.connections and not self.force_exit:
            await asyncio.sleep(LAST_REQUEST_SECONDS)
        await super().shutdown(sockets)
        if self.force_exit:  # then uvicorn leaves what is in work, and the application, as they are
            for task in self.server_state.tasks:
                task.cancel()
            await self.lifespan.shutdown()

    def _cut_off(self) -> None:
        if self._lifecycle.requests_in_work:
            logger.warning("cutting off %d requests in work", self._lifecycle.requests_in_work)
        self.should_exit = True


def serve(**options: object) -> None:
    """Serve until SIGTERM or SIGINT, then finish what is in work. SIGHUP reloads the checkpoint.

    `options` are fields of the settings, and go before the environment.
    """
    signal.signal(signal.SIGTERM, _exit_cleanly)
    signal.signal(signal.SIGINT, _exit_cleanly)
    settings = _read_settings(options)
    settled = settle_allocator()
    logs.configure(settings.log_level, settings.log_format)
    logger.debug("The allocator was told %s.", ", ".join(settled) or "nothing")
    for name, meant in unknown_variables(os.environ).items():
        hint = f"; did you mean {meant}?" if meant else "."
        logger.warning("The variable %s is no setting and has no effect%s", name, hint)
    with _forking(settings) as fork:
        _run(settings, fork)


def _run(settings: Settings, fork: Fork | None) -> None:
    lifecycle = Lifecycle(settings.drain_seconds, settings.grace_seconds)
    reload_wanted = asyncio.Event()
    if hasattr(signal, "SIGHUP"):
        # From here on, since its default is to end the process. The server's tick wakes whoever waits for it.
        signal.signal(signal.SIGHUP, lambda _, __: reload_wanted.set())
    try:
        # Before uvicorn, which would wrap the one sentence that a bad checkpoint deserves into a traceback.
        with devices.memory_errors_translated():
            app = create_app(settings, load_inpainter(settings), lifecycle, reload_wanted, fork)
    except ModelCoreError as error:
        sys.exit(f"The service cannot start: {error}")
    config = uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        log_config=None,
        access_log=False,
        server_header=False,
        http=BoundedConnection,
        ws="none",
        timeout_keep_alive=settings.idle_timeout_seconds,
        limit_concurrency=settings.max_connections,
    )
    Server(config, lifecycle).run()


@contextlib.contextmanager
def _forking(settings: Settings) -> Iterator[Fork | None]:
    """What begins processes for further inferences, if there may be any. Before there are threads."""
    most = min(settings.processes, settings.max_concurrency)
    if most == 1 or settings.device not in ("auto", "cpu") or not fork_server.SUPPORTED:
        yield None
        return
    try:
        server = fork_server.ForkServer(worker.serve)
    except OSError as error:
        logger.warning("one process will infer, since no further one can be begun: %s", error)
        yield None
        return
    with contextlib.closing(server):
        yield server.fork


def _read_settings(options: Mapping[str, Any]) -> Settings:
    try:
        return Settings(**options)
    except ValidationError as error:
        wrong = "; ".join(
            f"{PREFIX}{str(item['loc'][0]).upper()}: {item['msg'].removeprefix('Value error, ')}"
            for item in error.errors()
        )
        sys.exit(f"The service cannot start: {wrong}.")


def _exit_cleanly(_: int, __: FrameType | None) -> None:
    sys.exit(0)
