"""The page as it is served; what it does is tested in a browser, in tests/app/page."""

import json
import re
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from fastapi.testclient import TestClient

from app.main import create_app
from app.page.router import FILES
from app.problems import INVALID_FIELD, KINDS
from app.settings import Settings

AssertProblem = Callable[[httpx.Response, int], dict[str, Any]]
STRINGS: dict[str, dict[str, str]] = json.loads((FILES / "strings.json").read_text())
SOURCES = "".join(path.read_text() for path in FILES.iterdir() if path.suffix in {".html", ".js"})


@pytest.mark.parametrize("path", ["/", "/page/main.js", "/page/style.css", "/page/icon.svg"])
def test_the_page_is_served_under_a_strict_policy(client: TestClient, path: str) -> None:
    """Nothing from elsewhere, nothing inline; a browser that has it asks only whether it changed."""
    response = client.get(path)
    assert response.status_code == 200
    policy = response.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; ")
    assert "unsafe" not in policy
    assert "http" not in policy
    assert response.headers["cache-control"] == "no-cache"

    again = client.get(path, headers={"If-None-Match": response.headers["etag"]})
    assert again.status_code == 304
    assert again.headers["content-security-policy"] == policy


@pytest.mark.parametrize("path", ["/page/none.js", "/page/../router.py", "/page/%2e%2e/router.py", "/page/"])
def test_only_the_pages_files_are_served(
    client: TestClient, assert_problem: AssertProblem, path: str
) -> None:
    """Whatever else is asked for is a 404 of the service's own kind."""
    assert_problem(client.get(path), 404)


def test_the_page_knows_the_limits(settings: Settings) -> None:
    """What the settings say is what the page refuses before an upload."""
    limited = settings.model_copy(update={"max_request_bytes": 1, "max_pixels": 2, "max_side": 3})
    with TestClient(create_app(limited)) as client:
        assert client.get("/page/limits").json() == {
            "max_request_bytes": 1,
            "max_pixels": 2,
            "max_side": 3,
        }


@pytest.mark.parametrize("path", ["/", "/page/main.js", "/page/limits"])
def test_the_page_can_be_switched_off(settings: Settings, assert_problem: AssertProblem, path: str) -> None:
    """Then there is nothing at its addresses."""
    with TestClient(create_app(settings.model_copy(update={"page": False}))) as client:
        assert_problem(client.get(path), 404)


def test_every_language_has_every_text() -> None:
    """Same keys, no empty text, and the same values to be put in."""
    english, *others = STRINGS.values()
    assert others
    for texts in STRINGS.values():
        assert texts.keys() == english.keys()
        assert all(texts.values())
        for key, text in texts.items():
            assert sorted(re.findall(r"\{\w+\}", text)) == sorted(re.findall(r"\{\w+\}", english[key]))


def test_every_text_is_used_and_every_used_text_exists() -> None:
    """The elements and modules name only keys that there are, and each key but the statuses' is named."""
    named = set(re.findall(r'data-(?:text|label)="(\w+)"', SOURCES))
    named |= set(re.findall(r'(?:texts\.get|\.say|new Refusal)\(\s*"(\w+)"', SOURCES))
    assert named <= STRINGS["en"].keys()

    plain = {key for key in STRINGS["en"] if not re.fullmatch(r"problem\d+", key)}
    assert {key for key in plain if not re.search(rf"\b{key}\b", SOURCES)} == set()


def test_every_problem_has_a_title() -> None:
    """Each status that the service answers is told in the page's words, not as a number."""
    statuses = {kind.status for kind in [*KINDS.values(), INVALID_FIELD]}
    assert {f"problem{status}" for status in statuses} <= STRINGS["en"].keys()


def test_other_methods_are_told_which_there_are(client: TestClient, assert_problem: AssertProblem) -> None:
    """The page is only read."""
    response = client.post("/page/main.js")
    assert_problem(response, 405)
    assert set(response.headers["allow"].split(", ")) == {"GET", "HEAD"}
