"""What a client of IOPaint's API needs: POST /api/v1/inpaint, JSON with a picture and a mask in base64."""

import asyncio
import binascii
import re
import tempfile
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Annotated, Any, BinaryIO, cast

from fastapi import APIRouter, Depends, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, Field, ValidationError
from starlette.concurrency import run_in_threadpool

from app import error_docs, images
from app.defaults import DEFAULT_QUALITY
from app.engine import FillRequest
from app.errors import BadJsonError, UnsupportedMediaTypeError
from app.records import note_fill
from app.routes import HEADER_DOCS, EngineDep, answer_headers

INPAINT_PATH = "/api/v1/inpaint"
IN_MEMORY_BYTES = 1_000_000
"""What is larger waits in a temporary file, as the files of forms do."""
MAX_JSON_VALUES = 10_000
"""Parsed, small values take twenty times the memory of their text."""

_DATA_URI = re.compile(r"data:[\w/+.;=-]{0,100},")


def from_base64(text: str, field: str) -> bytes:
    """The bytes that base64 text stands for, with or without a data URI's head.

    Raises:
        RequestValidationError: naming the field; the text is not base64, or not only.
    """
    head = _DATA_URI.match(text)
    try:
        return binascii.a2b_base64(text[head.end() :] if head else text, strict_mode=True)
    except ValueError as exc:
        message = "expected a file in base64 (RFC 4648, padded, no line breaks) or a data URI of one"
        raise RequestValidationError([{"type": "base64", "loc": ("body", field), "msg": message}]) from exc


class InpaintRequest(BaseModel):
    """The fields that mean something here; all others are ignored."""

    image: str = Field(
        description=f"The picture to fill in base64, or a data URI: {', '.join(images.ACCEPTED_FORMATS)}."
    )
    mask: str = Field(
        description="A picture of the same size in base64, or a data URI; white (brighter than 127) = fill."
    )
    sd_seed: int = Field(default=-1, description="Comes back as X-Seed; the answer has no randomness.")


@dataclass(frozen=True)
class JsonFill:
    """What a body asks for."""

    request: FillRequest
    seed: int


class JsonReader:
    """Reads JSON bodies without letting many large ones be in memory at once.

    Bodies arrive in temporary files, are parsed one at a time, and leave their pictures in temporary files.
    """

    def __init__(self) -> None:
        # Unlike a lock, its one thread is free only when what it parses is done, even if nobody waits for it.
        self._parser = ThreadPoolExecutor(1, thread_name_prefix="json")

    async def read(self, request: Request) -> AsyncIterator[JsonFill]:
        """Yield what the body asks for; its pictures are dropped afterwards.

        Raises:
            UnsupportedMediaTypeError: the body is declared as something else than JSON.
            BadJsonError: it is not valid JSON, or holds too many values.
            RequestValidationError: a field is missing or invalid.
        """
        media_type = request.headers.get("content-type", "").split(";")[0].strip().lower()
        if media_type not in ("", "application/json"):
            raise UnsupportedMediaTypeError("The body's Content-Type must be application/json.")
        with tempfile.SpooledTemporaryFile(IN_MEMORY_BYTES) as body:
            async for chunk in request.stream():
                await run_in_threadpool(body.write, chunk)
            loop = asyncio.get_running_loop()
            asked = await loop.run_in_executor(self._parser, _parse, cast(BinaryIO, body))
        with asked.request.image, cast(BinaryIO, asked.request.mask):
            yield asked


def _parse(body: BinaryIO) -> JsonFill:
    body.seek(0)
    data = body.read()
    _require_few_values(data)
    try:
        asked = InpaintRequest.model_validate_json(data)
    except ValidationError as error:
        problems = error.errors(include_input=False, include_context=False, include_url=False)
        if any(not problem["loc"] for problem in problems):
            raise BadJsonError(
                "The body is not valid JSON; a JSON object with 'image' and 'mask' in base64 is expected."
            ) from error
        raise RequestValidationError(problems) from error
    image, mask = from_base64(asked.image, "image"), from_base64(asked.mask, "mask")
    output_format = images.output_format_like(image[:16])
    request = FillRequest(_spool(image), _spool(mask), "white", 0, output_format, DEFAULT_QUALITY)
    return JsonFill(request, asked.sd_seed)


def _require_few_values(data: bytes) -> None:
    # Each value but the first follows one of these, and base64 holds none of them.
    values = 1 + sum(data.count(mark) for mark in (b",", b"[", b"{"))
    if values > MAX_JSON_VALUES:
        raise BadJsonError(
            f"The body holds up to {values:,} JSON values; at most {MAX_JSON_VALUES:,} are accepted, and two "
            "are expected: 'image' and 'mask'."
        )


def _spool(data: bytes) -> BinaryIO:
    file = tempfile.SpooledTemporaryFile(IN_MEMORY_BYTES)
    file.write(data)
    file.seek(0)
    return cast(BinaryIO, file)


_DOCS: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The filled picture in the input's format: JPEG, WebP, and PNG for all others.",
        "content": {
            media_type: {"schema": {"type": "string", "format": "binary"}}
            for media_type in images.MEDIA_TYPES.values()
        },
        "headers": HEADER_DOCS
        | {"X-Seed": {"description": "The request's sd_seed.", "schema": {"type": "integer"}}},
    },
    **error_docs.describe(INPAINT_PATH, 400, 401, 408, 413, 415, 422, 429, 500, 503, 504),
}


def create_router() -> APIRouter:
    """The routes of one application."""
    router = APIRouter(tags=["IOPaint"])
    reader = JsonReader()

    @router.post(
        INPAINT_PATH,
        summary="Fill a picture, as IOPaint's clients ask for it",
        response_class=Response,
        responses=_DOCS,
        openapi_extra={
            "requestBody": {
                "required": True,
                "content": {"application/json": {"schema": InpaintRequest.model_json_schema()}},
            }
        },
    )
    async def inpaint(
        engine: EngineDep,
        # The answer, which may take long to be read, outlives the pictures.
        asked: Annotated[JsonFill, Depends(reader.read, scope="function")],
        request: Request,
    ) -> Response:
        """Fill what the mask marks in white and keep the rest."""
        filled = await engine.fill(asked.request)
        note_fill(request, filled)
        headers = answer_headers(filled) | {"X-Seed": str(asked.seed)}
        return Response(filled.data, headers=headers, media_type=filled.media_type)

    return router
