"""What the service does is what its own OpenAPI document says, for requests made up from that document."""

import base64
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from PIL import Image
from schemathesis import GenerationMode
from schemathesis.specs.openapi.checks import negative_data_rejection, positive_data_acceptance

from app.main import create_app

ToBytes = Callable[..., bytes]
NOT_KNOWN = {
    GenerationMode.POSITIVE: [positive_data_acceptance, negative_data_rejection],
    GenerationMode.NEGATIVE: [],
}
RunService = Callable[..., AbstractContextManager[Any]]
OPERATIONS = [
    (path, method.upper(), mode)
    for path, operations in create_app().openapi()["paths"].items()
    for method, operation in operations.items()
    for mode in GenerationMode
    if mode is GenerationMode.POSITIVE or operation.keys() & {"parameters", "requestBody"}
]


@pytest.fixture(scope="module")
def schema(run_service: RunService) -> Iterator[schemathesis.BaseSchema]:
    """The document of a running service."""
    with run_service() as service:
        yield schemathesis.openapi.from_url(f"{service.url}/openapi.json")


@pytest.fixture
def cutout(photo: Image.Image, hole: np.ndarray, to_bytes: ToBytes) -> bytes:
    """A picture that says itself what to fill."""
    image = photo.copy()
    image.putalpha(Image.fromarray(~hole))
    return to_bytes(image)


def with_picture(body: dict[str, Any], path: str, cutout: bytes) -> dict[str, Any]:
    """The body with a picture that can be filled, in the place where the path takes it."""
    if path == "/api/v1/inpaint":
        # The picture's colours serve as its mask: only their shape matters here.
        picture = base64.b64encode(cutout).decode()
        return {**body, "image": picture, "mask": picture}
    rest = {name: value for name, value in body.items() if name not in {"mask", "image[]", "size"}}
    return {**rest, "image": cutout if path == "/inpaint" else [cutout]}


@pytest.mark.parametrize(("path", "method", "mode"), OPERATIONS)
def test_answers_are_documented(
    schema: schemathesis.BaseSchema, cutout: bytes, path: str, method: str, mode: GenerationMode
) -> None:
    """No status, content type, header or body but those of the document, for good and for bad requests."""
    operation = schema[path][method]
    statuses: Counter[int] = Counter()

    @given(case=operation.as_strategy(generation_mode=mode))
    @settings(
        max_examples=40,
        deadline=None,
        database=None,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
    )
    def ask(case: schemathesis.Case) -> None:
        if isinstance(case.body, dict) and mode is GenerationMode.POSITIVE and statuses.total() % 2:
            case.body = with_picture(case.body, path, cutout)
        # What a document cannot say: which bytes are a picture, and that one of two fields is needed.
        either = [positive_data_acceptance] if path == "/v1/images/edits" else []
        # In a form every value is bytes, and of a batch's bytes each has its outcome in an answer of 200.
        any_bytes = [negative_data_rejection] if path == "/inpaint/batch" else []
        response = case.call_and_validate(excluded_checks=NOT_KNOWN[mode] + either + any_bytes)
        statuses[response.status_code] += 1

    ask()
    print(f"{method} {path}, {mode.value}: {dict(statuses)}")
    if mode is GenerationMode.POSITIVE:
        assert 200 in statuses
    else:
        assert 200 not in statuses or path == "/inpaint/batch"
