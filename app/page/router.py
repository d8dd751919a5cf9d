"""Serves the page at GET / and its files below /page."""

import os
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request
from pydantic import BaseModel, Field
from starlette.responses import Response
from starlette.staticfiles import StaticFiles

from app.settings import Settings

FILES = Path(__file__).parent / "static"
HEADERS = {
    # The page needs nothing but its own files and this service; a script that got in otherwise does not run.
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    # Asked for again at each visit, and answered with 304 while unchanged: an update reaches every browser.
    "Cache-Control": "no-cache",
}


class Limits(BaseModel):
    """What the page refuses before it uploads anything."""

    max_request_bytes: int = Field(description="Largest request body.")
    max_pixels: int = Field(description="Most pixels of a picture.")
    max_side: int = Field(description="Longest side of a picture in pixels.")


class _PageFiles(StaticFiles):
    """Static files that carry the page's headers."""

    def file_response(self, full_path: "str | os.PathLike[str]", *args: Any, **options: Any) -> Response:
        response = super().file_response(full_path, *args, **options)
        response.headers.update(HEADERS)
        return response


def install(app: FastAPI, settings: Settings) -> None:
    """Add the page, unless the settings switch it off."""
    if not settings.page:
        return
    files = _PageFiles(directory=FILES)
    limits = Limits.model_validate(settings, from_attributes=True)

    @app.get("/page/limits", include_in_schema=False)
    async def page_limits() -> Limits:
        return limits

    @app.api_route("/", methods=["GET", "HEAD"], include_in_schema=False)
    @app.api_route("/page/{name}", methods=["GET", "HEAD"], include_in_schema=False)
    async def page_file(request: Request) -> Response:
        return await files.get_response(request.path_params.get("name", "index.html"), request.scope)
