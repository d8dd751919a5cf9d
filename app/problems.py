"""From an exception to the HTTP answer: RFC 9457 problem+json, one table, one function."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException

from app import errors
from app.headers import SECURITY_HEADERS
from model_core import errors as model_errors

logger = logging.getLogger(__name__)

MEDIA_TYPE = "application/problem+json"
RETRY_SOON: Mapping[str, str] = {"Retry-After": "1"}
# Of every form, beside the limits of a whole request.
MAX_FORM_FILES = 16
MAX_FORM_FIELDS = 32
MAX_FIELD_BYTES = 65_536


@dataclass(frozen=True)
class Kind:
    """How one class of error is answered; `detail` replaces a sentence that is not public."""

    status: int
    name: str
    title: str
    detail: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)


_NO_ANSWER = "The model of this service gave no usable answer to this picture."
_MODEL_UNAVAILABLE = "The model of this service cannot be used at the moment."

KINDS: Mapping[type[Exception], Kind] = {
    errors.EmptyFileError: Kind(400, "empty-file", "A file is empty"),
    errors.UnauthorizedError: Kind(
        401, "unauthorized", "A valid API key is needed", headers={"WWW-Authenticate": "Bearer"}
    ),
    errors.SlowUploadError: Kind(408, "slow-upload", "The upload took too long"),
    errors.RequestTooLargeError: Kind(413, "request-too-large", "The request is too large"),
    errors.UnsupportedMediaTypeError: Kind(415, "unsupported-media-type", "The request is not a form"),
    errors.UnsupportedTypeError: Kind(415, "unsupported-type", "A file is not of an accepted picture type"),
    errors.DamagedPictureError: Kind(422, "damaged-picture", "A picture cannot be decoded"),
    errors.PictureTooLargeError: Kind(422, "picture-too-large", "A picture is too large"),
    errors.SlowPictureError: Kind(422, "slow-picture", "A picture takes too long to decode"),
    errors.MissingMaskError: Kind(422, "missing-mask", "Nothing says what to fill"),
    model_errors.SizeMismatchError: Kind(422, "size-mismatch", "Image and mask differ in size"),
    model_errors.NothingKnownError: Kind(422, "nothing-known", "The mask covers everything"),
    model_errors.PictureModeError: Kind(422, "picture-mode", "A picture's pixel format is not supported"),
    errors.QueueFullError: Kind(429, "queue-full", "Too many requests are waiting", headers=RETRY_SOON),
    errors.HeldBytesError: Kind(429, "held-bytes", "Too much is being sent at once", headers=RETRY_SOON),
    errors.RateLimitedError: Kind(429, "rate-limited", "One client asks too often"),
    model_errors.InferenceError: Kind(500, "inference", "The model failed", _NO_ANSWER),
    errors.NotReadyError: Kind(503, "not-ready", "The service is not ready", headers=RETRY_SOON),
    model_errors.ConfigError: Kind(503, "bad-model", "The model is unusable", _MODEL_UNAVAILABLE),
    model_errors.CheckpointError: Kind(503, "bad-checkpoint", "The model is unusable", _MODEL_UNAVAILABLE),
    model_errors.DeviceError: Kind(503, "bad-device", "The model is unusable", _MODEL_UNAVAILABLE),
    errors.RequestTimeoutError: Kind(504, "timeout", "The answer took too long"),
}

# Frameworks' own refusals carry a status; their sentences are ours, so that no library's text gets out.
HTTP_DETAILS: Mapping[int, str] = {
    400: "The request body is not well-formed multipart/form-data, or has more than "
    f"{MAX_FORM_FILES} files, {MAX_FORM_FIELDS} other fields, or {MAX_FIELD_BYTES:,} bytes in one of these.",
    404: "There is nothing at this path; /docs lists what there is.",
    405: "This path does not offer that method; the Allow header lists those it does.",
}
INVALID_FIELD = Kind(422, "invalid-field", "A form field is missing or invalid")
UNEXPECTED = "The service failed to answer this request; the failure is in its log under this request_id."


class ProblemDetails(BaseModel):
    """The body of every error answer (RFC 9457, application/problem+json)."""

    type: str = Field(
        description="Stable name of the kind of problem; about:blank if the status says it all."
    )
    title: str = Field(description="The kind of problem in a few words.")
    status: int = Field(description="The HTTP status.")
    detail: str = Field(description="What was wrong and what is expected, with the numbers.")
    instance: str = Field(description="The path that was asked for.")
    request_id: str = Field(description="The same as the X-Request-ID header.")
    errors: list[dict[str, str]] | None = Field(
        default=None, description="One object with field and message for each invalid form field."
    )


def find_kind(error_class: type[Exception]) -> Kind | None:
    """The table's entry for a class or the nearest of its bases."""
    return next((KINDS[base] for base in error_class.__mro__ if base in KINDS), None)


def describe(status: int) -> str:
    """What a status can mean here, for the documentation."""
    titles = [kind.title for kind in KINDS.values() if kind.status == status]
    if status == INVALID_FIELD.status:
        titles.insert(0, INVALID_FIELD.title)
    return "; ".join(dict.fromkeys(titles)) or HTTPStatus(status).phrase


def documentation(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The OpenAPI description of answers that are problems."""
    content = {MEDIA_TYPE: {"schema": ProblemDetails.model_json_schema()}}
    return {status: {"description": describe(status), "content": content} for status in statuses}


def problem_response(request: Request, error: Exception) -> JSONResponse:
    """The problem+json answer to any exception."""
    if isinstance(error, RequestValidationError):
        return _field_problems(request, error)
    if kind := find_kind(type(error)):
        if kind.status >= 500:
            logger.error("request %s: %s", _request_id(request), error)
        own_headers = getattr(error, "headers", None) or {}
        kind = replace(kind, headers={**kind.headers, **own_headers})
        return _respond(request, kind, kind.detail or str(error))
    if isinstance(error, HTTPException):
        title = HTTPStatus(error.status_code).phrase
        kind = Kind(error.status_code, "", title, headers=error.headers or {})
        return _respond(request, kind, HTTP_DETAILS.get(error.status_code, title))
    logger.error("request %s failed with an unexpected %s", _request_id(request), type(error).__name__)
    return _respond(request, Kind(500, "", HTTPStatus(500).phrase), UNEXPECTED)


def install(app: FastAPI) -> None:
    """Answer every exception of the application as problem+json."""

    async def answer(request: Request, error: Exception) -> JSONResponse:
        return problem_response(request, error)

    for error_class in (
        errors.AppError,
        model_errors.ModelCoreError,
        HTTPException,
        RequestValidationError,
        Exception,
    ):
        app.add_exception_handler(error_class, answer)


def _field_problems(request: Request, error: RequestValidationError) -> JSONResponse:
    fields = [{"field": _field_name(item), "message": _field_message(item)} for item in error.errors()]
    detail = "; ".join(f"{problem['field']}: {problem['message']}" for problem in fields)
    return _respond(request, INVALID_FIELD, detail, fields)


def _field_name(item: Mapping[str, Any]) -> str:
    return str(item["loc"][-1])


def _field_message(item: Mapping[str, Any]) -> str:
    """Pydantic's sentence, except where it would name Python classes instead of form fields."""
    if item["type"] == "missing":
        return "this field is required"
    if item["type"] == "value_error":
        return "expected a file, with a file name, not text"
    return str(item["msg"])


def _request_id(request: Request) -> str:
    return str(getattr(request.state, "request_id", ""))


def _respond(
    request: Request, kind: Kind, detail: str, fields: list[dict[str, str]] | None = None
) -> JSONResponse:
    problem = ProblemDetails(
        type=f"urn:inpainting:problem:{kind.name}" if kind.name else "about:blank",
        title=kind.title,
        status=kind.status,
        detail=detail,
        instance=request.url.path,
        request_id=_request_id(request),
        errors=fields,
    )
    # The answer to an unexpected error does not pass through the middlewares that add these.
    headers = {"X-Request-ID": problem.request_id, **SECURITY_HEADERS, **kind.headers}
    return JSONResponse(problem.model_dump(exclude_none=True), kind.status, headers, MEDIA_TYPE)
