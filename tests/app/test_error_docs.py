"""OpenAPI shows an example of every error, in the form in which it is really answered."""

from typing import Any

import pytest
from pydantic import BaseModel

from app.error_bodies import IOPaintErrorBody, OpenAIErrorBody, ProblemDetails
from app.error_docs import describe
from app.main import create_app
from app.problems import DIALECTS, INVALID_FIELD, KINDS, PROBLEM_JSON, Kind, dialect_of
from app.settings import Settings

POSTS = {
    "/inpaint": ProblemDetails,
    "/inpaint/batch": ProblemDetails,
    "/v1/images/edits": OpenAIErrorBody,
    "/api/v1/inpaint": IOPaintErrorBody,
}


@pytest.fixture(scope="module")
def document(settings: Settings) -> dict[str, Any]:
    return create_app(settings).openapi()


@pytest.mark.parametrize(("path", "model"), POSTS.items())
def test_every_declared_error_has_complete_examples(
    document: dict[str, Any], path: str, model: type[BaseModel]
) -> None:
    """Each status says what it can mean, and each of its examples has every field of the path's form."""
    responses = document["paths"][path]["post"]["responses"]
    errors = {
        status: response for status, response in responses.items() if status.isdigit() and status != "200"
    }
    assert ("422" in errors) is (model is not OpenAIErrorBody)
    assert {"400", "408", "413", "429", "500", "503"} <= errors.keys()
    for response in errors.values():
        assert response["description"]
        (content,) = response["content"].values()
        assert content["examples"]
        for example in content["examples"].values():
            if model is OpenAIErrorBody:
                # FastAPI leaves fields without a value out of the document; answers have them as null.
                example["value"]["error"].setdefault("param", None)
            model.model_validate(example["value"], extra="forbid", strict=True)


def test_inpaint_shows_every_kind_that_a_request_can_meet(document: dict[str, Any]) -> None:
    """The whole table."""
    responses = document["paths"]["/inpaint"]["post"]["responses"]
    shown = {
        name
        for response in responses.values()
        for content in response["content"].values()
        for name in content.get("examples", {})
    }
    assert {kind.name for kind in [*KINDS.values(), INVALID_FIELD]} <= shown


@pytest.mark.parametrize("kind", [*KINDS.values(), INVALID_FIELD], ids=lambda kind: kind.name)
def test_every_kind_has_a_sentence_of_its_own(kind: Kind) -> None:
    """An example's detail is not just the kind's title again."""
    (content,) = describe("/inpaint", kind.status)[kind.status]["content"].values()
    detail = content["examples"][kind.name]["value"]["detail"]
    assert detail.rstrip(".") != kind.title


@pytest.mark.parametrize(
    ("path", "dialect"),
    [
        ("/inpaint", PROBLEM_JSON),
        ("/v1", PROBLEM_JSON),
        ("/v1/models", DIALECTS["/v1/"]),
        ("/", PROBLEM_JSON),
    ],
)
def test_the_path_decides_the_form(path: str, dialect: object) -> None:
    """Only what lies under a prefix speaks its dialect."""
    assert dialect_of(path) is dialect
