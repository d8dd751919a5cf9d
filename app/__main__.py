"""`python -m app`: the service as a process."""

import logging
import signal
import sys
import warnings
from types import FrameType

import uvicorn
from pydantic import ValidationError

from app.connections import BoundedConnection
from app.main import create_app, load_inpainter
from app.settings import Settings
from model_core.errors import ModelCoreError


def main() -> None:
    """Serve until SIGTERM or SIGINT, then finish what is in work and exit with 0."""
    # uvicorn drains on SIGTERM, and then raises it again for the handler that it found.
    signal.signal(signal.SIGTERM, _exit_cleanly)
    settings = _read_settings()
    logging.basicConfig(level=settings.log_level.upper(), format="%(levelname)s %(name)s: %(message)s")
    # Pillow would log what a picture's tags say, and print what it finds odd about them.
    logging.getLogger("PIL").setLevel(logging.INFO)
    warnings.filterwarnings("ignore", module="PIL")
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
        http=BoundedConnection,
        ws="none",
        timeout_keep_alive=settings.idle_timeout_seconds,
        limit_concurrency=settings.max_connections,
        timeout_graceful_shutdown=int(settings.timeout_seconds) + 1,
    )


def _read_settings() -> Settings:
    try:
        return Settings()
    except ValidationError as error:
        wrong = "; ".join(
            f"INPAINT_{str(item['loc'][0]).upper()}: {item['msg'].removeprefix('Value error, ')}"
            for item in error.errors()
        )
        sys.exit(f"The service cannot start: {wrong}.")


def _exit_cleanly(_: int, __: FrameType | None) -> None:
    sys.exit(0)


if __name__ == "__main__":
    main()
