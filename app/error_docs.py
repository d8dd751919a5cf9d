"""How the OpenAPI document describes errors: what each status can mean, with an example of each kind."""

from http import HTTPStatus
from typing import Any

from app import problems
from app.error_bodies import ProblemDetails

_BAD_SIZE = "'image' is 20000 x 9000 pixels (width x height), 180,000,000 in all"
_EXAMPLE_DETAILS = {
    "empty-file": "The file in 'image' is empty (0 bytes); a picture is expected.",
    "bad-json": "The body is not valid JSON; a JSON object with 'image' and 'mask' is expected.",
    "unauthorized": "A valid API key is needed, as 'Authorization: Bearer KEY' or 'X-API-Key: KEY'; "
    "this request has none.",
    "slow-upload": "Only 40,960 bytes of the request arrived within 60 seconds.",
    "request-too-large": "The request declares 41,000,000 bytes; at most 30,000,000 are accepted.",
    "unsupported-media-type": "The body's Content-Type must be multipart/form-data.",
    "unsupported-type": "The content of 'image' is none of the accepted picture types: JPEG, PNG, WEBP.",
    "invalid-field": "grow: Input should be less than or equal to 256",
    "damaged-picture": "The file in 'image' begins like a picture, but is truncated or damaged.",
    "picture-too-large": f"{_BAD_SIZE}; at most 50,000,000 in all and 16,383 a side are accepted.",
    "slow-picture": "'image' took more than the 5 seconds that decoding may take.",
    "missing-mask": "There is no 'mask', and nothing in 'image' is transparent.",
    "unsupported-size": "'size' is 1024x1024 but the image is 512x384 (width x height).",
    "size-mismatch": "mask is 512 x 384 but image is 512 x 512 (height x width)",
    "nothing-known": "the mask covers all 262144 pixels of the 512 x 512 image (height x width)",
    "picture-mode": "mode LAB cannot be filled; expected one of P, PA, RGB, RGBA, L, LA, I;16, 1, CMYK",
    "queue-full": "The line is full: 3 in work, 64 of 64 waiting.",
    "held-bytes": "All requests and answers together hold more than 500,000,000 bytes at the moment.",
    "rate-limited": "More requests came from this client than the 60 per 1 minute that are accepted.",
    "not-ready": "The model is not loaded yet.",
    "draining": "The service is stopping and takes no more requests.",
    "timeout": "The picture was not filled within 60 seconds.",
}


def describe(path: str, *statuses: int) -> dict[int | str, dict[str, Any]]:
    """FastAPI's `responses` for the errors that a path answers with these statuses."""
    dialect = problems.dialect_of(path)
    kinds = [*problems.KINDS.values(), problems.INVALID_FIELD]
    return {
        status: _response(path, status, [kind for kind in kinds if dialect.status(kind) == status])
        for status in statuses
    }


def _response(path: str, status: int, kinds: list[problems.Kind]) -> dict[str, Any]:
    dialect = problems.dialect_of(path)
    title = HTTPStatus(status).phrase
    kinds = kinds or [
        problems.Kind(status, "", title, problems.HTTP_DETAILS.get(status, problems.UNEXPECTED))
    ]
    content: dict[str, Any] = {"examples": {kind.name or title: _example(path, kind) for kind in kinds}}
    response: dict[str, Any] = {
        "description": "; ".join(dict.fromkeys(kind.title for kind in kinds)),
        "content": {dialect.media_type: content},
    }
    if dialect is problems.PROBLEM_JSON:
        # FastAPI's own `model` would declare it as application/json.
        content["schema"] = ProblemDetails.model_json_schema()
    else:
        response["model"] = dialect.model
    return response


def _example(path: str, kind: problems.Kind) -> dict[str, Any]:
    detail = kind.detail or _EXAMPLE_DETAILS[kind.name]
    fields = None
    if kind is problems.INVALID_FIELD:
        field, _, message = detail.partition(": ")
        fields = [{"field": field, "message": message}]
    problem = problems.build(kind, detail, path, "6f1c0a4c8f0d4f6e9a5e1b2c3d4e5f60", fields)
    return {"summary": kind.title, "value": problems.dialect_of(path).body(problem)}
