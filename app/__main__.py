"""`python -m app`: the service as a process."""

import logging
import signal
import sys
from collections.abc import Mapping
from types import FrameType
from typing import Any

import uvicorn
from pydantic import ValidationError

from app.main import create_app, load_inpainter
from app.settings import Settings
from model_core.errors import ModelCoreError


def main(**options: object) -> None:
    """Serve until SIGTERM or SIGINT, then finish what is in work and exit with 0.

    `options` are fields of the settings, and go before the environment.
    """
    # uvicorn drains on SIGTERM, and then raises it again for the handler that it found.
    signal.signal(signal.SIGTERM, _exit_cleanly)
    settings = _read_settings(options)
    logging.basicConfig(level=settings.log_level.upper(), format="%(levelname)s %(name)s: %(message)s")
    try:
        # Before uvicorn, which would wrap the one sentence that a bad checkpoint deserves into a traceback.
        inpainter = load_inpainter(settings)
    except ModelCoreError as error:
        sys.exit(f"The service cannot start: {error}")
    uvicorn.run(
        create_app(settings, inpainter),
        host=settings.host,
        port=settings.port,
        log_level=settings.log_level,
        server_header=False,
        timeout_keep_alive=10,
        timeout_graceful_shutdown=int(settings.timeout_seconds) + 1,
    )


def _read_settings(options: Mapping[str, Any]) -> Settings:
    try:
        return Settings(**options)
    except ValidationError as error:
        wrong = "; ".join(f"INPAINT_{str(item['loc'][0]).upper()}: {item['msg']}" for item in error.errors())
        sys.exit(f"The service cannot start: {wrong}.")


def _exit_cleanly(_: int, __: FrameType | None) -> None:
    sys.exit(0)


if __name__ == "__main__":
    main()
