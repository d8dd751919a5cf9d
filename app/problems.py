"""From an exception to the HTTP answer: RFC 9457 problem+json, one table, one function.

Under the paths that speak for another service's clients, the same problem is told in those clients' words.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from app import errors
from app.defaults import MOST_BATCH_ITEMS
from app.error_bodies import IOPaintErrorBody, OpenAIErrorBody, ProblemDetails
from app.headers import SECURITY_HEADERS
from app.logs import with_fields
from model_core import errors as model_errors

logger = logging.getLogger(__name__)

MEDIA_TYPE = "application/problem+json"
RETRY_SOON: Mapping[str, str] = {"Retry-After": "1"}
# Of every form, beside the limits of a whole request.
MAX_FORM_FILES = 2 * MOST_BATCH_ITEMS
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
_NO_MEMORY = "There was not enough memory for this picture; try again later, or with a smaller one."
_MODEL_UNAVAILABLE = "The model of this service cannot be used at the moment."

KINDS: Mapping[type[Exception], Kind] = {
    errors.EmptyFileError: Kind(400, "empty-file", "A file is empty"),
    errors.BadJsonError: Kind(400, "bad-json", "The body is not the JSON that is expected"),
    errors.UnauthorizedError: Kind(
        401, "unauthorized", "A valid API key is needed", headers={"WWW-Authenticate": "Bearer"}
    ),
    errors.SlowUploadError: Kind(408, "slow-upload", "The upload took too long"),
    errors.RequestTooLargeError: Kind(413, "request-too-large", "The request is too large"),
    errors.UnsupportedMediaTypeError: Kind(
        415, "unsupported-media-type", "The request's type is not accepted"
    ),
    errors.UnsupportedTypeError: Kind(415, "unsupported-type", "A file is not of an accepted picture type"),
    errors.DamagedPictureError: Kind(422, "damaged-picture", "A picture cannot be decoded"),
    errors.PictureTooLargeError: Kind(422, "picture-too-large", "A picture is too large"),
    errors.SlowPictureError: Kind(422, "slow-picture", "A picture takes too long to decode"),
    errors.MissingMaskError: Kind(422, "missing-mask", "Nothing says what to fill"),
    errors.UnsupportedSizeError: Kind(422, "unsupported-size", "The answer cannot have another size"),
    model_errors.SizeMismatchError: Kind(422, "size-mismatch", "Image and mask differ in size"),
    model_errors.NothingKnownError: Kind(422, "nothing-known", "The mask covers everything"),
    model_errors.PictureModeError: Kind(422, "picture-mode", "A picture's pixel format is not supported"),
    errors.QueueFullError: Kind(429, "queue-full", "Too many requests are waiting", headers=RETRY_SOON),
    errors.HeldBytesError: Kind(429, "held-bytes", "Too much is being sent at once", headers=RETRY_SOON),
    errors.RateLimitedError: Kind(429, "rate-limited", "One client asks too often"),
    model_errors.InferenceError: Kind(500, "inference", "The model failed", _NO_ANSWER),
    errors.NotReadyError: Kind(503, "not-ready", "The service is not ready", headers=RETRY_SOON),
    errors.DrainingError: Kind(503, "draining", "The service is stopping", headers=RETRY_SOON),
    model_errors.OutOfMemoryError: Kind(
        503, "out-of-memory", "There is not enough memory", _NO_MEMORY, RETRY_SOON
    ),
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


@dataclass(frozen=True)
class Dialect:
    """How problems are told below a path: the body, and statuses that differ from the table's."""

    media_type: str
    model: type[ProblemDetails] | type[OpenAIErrorBody] | type[IOPaintErrorBody]
    statuses: Mapping[int, int] = field(default_factory=dict)

    def status(self, kind: Kind) -> int:
        return self.statuses.get(kind.status, kind.status)

    def body(self, problem: ProblemDetails) -> dict[str, Any]:
        return self.model.of(problem).model_dump(exclude_defaults=True)


PROBLEM_JSON = Dialect(MEDIA_TYPE, ProblemDetails)
DIALECTS: Mapping[str, Dialect] = {
    # Its clients know no 415, and take every refusal of a picture or a field for a 400.
    "/v1/": Dialect("application/json", OpenAIErrorBody, {415: 400, 422: 400}),
    "/api/v1/": Dialect("application/json", IOPaintErrorBody),
}


def dialect_of(path: str) -> Dialect:
    """In whose words problems at a path are told."""
    return next((DIALECTS[prefix] for prefix in DIALECTS if path.startswith(prefix)), PROBLEM_JSON)


def find_kind(error_class: type[Exception]) -> Kind | None:
    """The table's entry for a class or the nearest of its bases."""
    return next((KINDS[base] for base in error_class.__mro__ if base in KINDS), None)


def build(
    kind: Kind, detail: str, path: str, request_id: str, fields: list[dict[str, str]] | None = None
) -> ProblemDetails:
    """What a client is told about a problem of a kind."""
    return ProblemDetails(
        type=f"urn:inpainting:problem:{kind.name}" if kind.name else "about:blank",
        title=kind.title,
        status=kind.status,
        detail=detail,
        instance=path,
        request_id=request_id,
        errors=fields,
    )


def problem_response(request: Request, error: Exception) -> JSONResponse:
    """The answer to any exception, as problem+json or in the path's dialect."""
    kind, problem = explain(request, error)
    request.state.problem = kind.name or "about:blank"
    dialect = dialect_of(request.url.path)
    # The answer to an unexpected error does not pass through the middlewares that add these.
    headers = {"X-Request-ID": problem.request_id, **SECURITY_HEADERS, **kind.headers}
    return JSONResponse(dialect.body(problem), dialect.status(kind), headers, dialect.media_type)


def explain(request: Request, error: Exception) -> tuple[Kind, ProblemDetails]:
    """What kind of problem an exception is, and what the client is told about it; failures are logged."""
    if isinstance(error, RequestValidationError):
        return _field_problems(request, error)
    if kind := find_kind(type(error)):
        if kind.detail:  # the log says what the answer does not
            logger.error("%s: %s", kind.title, error, extra=with_fields(request_id=_request_id(request)))
        own_headers = getattr(error, "headers", None) or {}
        kind = replace(kind, headers={**kind.headers, **own_headers})
        return _problem(request, kind, kind.detail or str(error))
    if isinstance(error, HTTPException):
        title = HTTPStatus(error.status_code).phrase
        kind = Kind(error.status_code, "", title, headers=error.headers or {})
        return _problem(request, kind, HTTP_DETAILS.get(error.status_code, title))
    fields = with_fields(request_id=_request_id(request))
    logger.error("an unexpected %s", type(error).__name__, extra=fields)
    return _problem(request, Kind(500, "", HTTPStatus(500).phrase), UNEXPECTED)


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


def _field_problems(request: Request, error: RequestValidationError) -> tuple[Kind, ProblemDetails]:
    fields = [{"field": _field_name(item), "message": _field_message(item)} for item in error.errors()]
    detail = "; ".join(f"{problem['field']}: {problem['message']}" for problem in fields)
    return _problem(request, INVALID_FIELD, detail, fields)


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


def _problem(
    request: Request, kind: Kind, detail: str, fields: list[dict[str, str]] | None = None
) -> tuple[Kind, ProblemDetails]:
    return kind, build(kind, detail, request.url.path, _request_id(request), fields)
