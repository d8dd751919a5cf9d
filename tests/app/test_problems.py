"""Every error has a status, and every answer to an error is complete and tells nothing it should not."""

import logging
from collections.abc import Callable, Iterator
from http import HTTPStatus
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from app.errors import AppError, QueueFullError
from app.main import create_app
from app.problems import KINDS, find_kind
from app.settings import Settings
from model_core.errors import ModelCoreError, SizeMismatchError

AssertProblem = Callable[[httpx.Response, int], dict[str, Any]]


def leaves(error_class: type[Exception]) -> Iterator[type[Exception]]:
    """The classes of a hierarchy that have no subclass: the ones that are raised."""
    children = error_class.__subclasses__()
    if not children:
        yield error_class
    for child in children:
        yield from leaves(child)


@pytest.mark.parametrize("error_class", [*leaves(AppError), *leaves(ModelCoreError)])
def test_every_error_has_its_own_status(error_class: type[Exception]) -> None:
    """A class that is added to a hierarchy needs a line in the table."""
    assert error_class in KINDS
    assert KINDS[error_class].status in set(HTTPStatus)


def test_a_subclass_is_answered_like_its_base() -> None:
    """The table is looked up along the bases."""

    class Narrower(SizeMismatchError):
        pass

    assert find_kind(Narrower) is KINDS[SizeMismatchError]
    assert find_kind(RuntimeError) is None


def test_names_are_unique() -> None:
    """A client can tell every kind from the others by its type."""
    names = [kind.name for kind in KINDS.values()]
    assert len(names) == len(set(names))


@pytest.fixture
def broken_client(settings: Settings) -> TestClient:
    """A client of the application with routes that raise, and without its model."""
    app: FastAPI = create_app(settings)
    secrets = {
        "unexpected": RuntimeError("secret of a library"),
        "bad-model": next(leaves(ModelCoreError))("secret path of a checkpoint"),
        "queue-full": QueueFullError("The line is full."),
    }

    @app.get("/raise/{name}")
    async def fail(name: str) -> None:
        raise secrets[name]

    return TestClient(app, raise_server_exceptions=False)


def test_an_unexpected_error_is_logged_but_not_told(
    broken_client: TestClient, assert_problem: AssertProblem, caplog: pytest.LogCaptureFixture
) -> None:
    """The client gets a 500 with the request's id, under which the log names the failure."""
    with caplog.at_level(logging.ERROR):
        response = broken_client.get("/raise/unexpected", headers={"X-Request-ID": "find-me"})
    problem = assert_problem(response, 500)
    assert "secret" not in response.text
    assert problem["request_id"] == "find-me"
    line = next(line for line in caplog.records if line.name == "app.problems")
    assert "RuntimeError" in line.getMessage()
    assert line.fields["request_id"] == "find-me"


def test_an_unexpected_error_reaches_the_server(settings: Settings) -> None:
    """After the answer the exception goes on to the server, whose log has the traceback."""
    app = create_app(settings)

    @app.get("/raise")
    async def fail() -> None:
        raise RuntimeError("for the log")

    with pytest.raises(RuntimeError, match="for the log"):
        TestClient(app).get("/raise")


def test_an_error_of_the_model_keeps_its_sentence_inside(
    broken_client: TestClient, assert_problem: AssertProblem
) -> None:
    """Sentences that name files of the server do not leave it."""
    response = broken_client.get("/raise/bad-model")
    assert_problem(response, 503)
    assert "secret" not in response.text


def test_headers_of_the_table_are_sent(broken_client: TestClient, assert_problem: AssertProblem) -> None:
    """A full line says when to come back, and in our own words."""
    response = broken_client.get("/raise/queue-full")
    problem = assert_problem(response, 429)
    assert int(response.headers["retry-after"]) >= 1
    assert problem["detail"] == "The line is full."
    assert problem["type"] == "urn:inpainting:problem:queue-full"


def test_unknown_paths_and_methods(client: TestClient, assert_problem: AssertProblem) -> None:
    """The framework's own refusals look like ours and keep their headers."""
    problem = assert_problem(client.get("/nothing"), 404)
    assert problem["instance"] == "/nothing"
    assert problem["type"] == "about:blank"
    response = client.get("/inpaint")
    assert_problem(response, 405)
    assert response.headers["allow"] == "POST"


@pytest.mark.parametrize(
    ("sent", "echoed"),
    [
        ("abc-1.2_3", True),
        ("a" * 128, True),
        ("a" * 129, False),
        ("two words", False),
        ("a\u00e9", False),
        ("", False),
    ],
)
def test_request_ids(client: TestClient, sent: str, echoed: bool) -> None:
    """A client's id is echoed where it is harmless; otherwise a new one is made."""
    response = client.get("/health/live", headers={"X-Request-ID": sent.encode("latin-1")})
    assert (response.headers["x-request-id"] == sent) is echoed
    assert response.headers["x-request-id"]
