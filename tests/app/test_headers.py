"""What browsers are told: to trust nothing by default, and whose pages may call the service."""

from collections.abc import Iterator

import pytest
from fastapi import FastAPI, Response
from fastapi.testclient import TestClient

from app.headers import SECURITY_HEADERS
from app.main import create_app
from app.settings import Settings

ORIGIN = "https://editor.example.org"
ASKS_FIRST = {
    "Origin": ORIGIN,
    "Access-Control-Request-Method": "POST",
    "Access-Control-Request-Headers": "authorization",
}


@pytest.fixture(scope="module")
def cross_origin(settings: Settings) -> Iterator[TestClient]:
    """A client of a service with a key that one origin's pages may call."""
    changes = {"cors_origins": f"https://other.example, {ORIGIN}", "api_keys": "key-0123456789abcdef"}
    with TestClient(create_app(Settings(**settings.model_dump(exclude_unset=True) | changes))) as client:
        yield client


def test_every_answer_carries_them(settings: Settings, files: dict[str, bytes]) -> None:
    """Pictures, problems and unexpected failures alike."""
    app: FastAPI = create_app(settings)

    @app.get("/raise")
    async def fail() -> None:
        raise RuntimeError("on purpose")

    with TestClient(app, raise_server_exceptions=False) as client:
        answers = [
            client.post("/inpaint", files=files),
            client.post("/inpaint"),
            client.get("/nothing"),
            client.get("/health"),
            client.get("/raise"),
        ]
    assert [answer.status_code for answer in answers] == [200, 422, 404, 200, 500]
    for answer in answers:
        assert {name: answer.headers.get_list(name) for name in SECURITY_HEADERS} == {
            name: [value] for name, value in SECURITY_HEADERS.items()
        }


def test_a_page_may_allow_itself_more(settings: Settings) -> None:
    """A header that a route sets stays as it is; the page of the API may load what it is made of."""
    app: FastAPI = create_app(settings)

    @app.get("/page")
    async def page(response: Response) -> None:
        response.headers["Content-Security-Policy"] = "default-src 'self'"

    client = TestClient(app)
    assert client.get("/page").headers.get_list("content-security-policy") == ["default-src 'self'"]
    docs = client.get("/docs")
    for source in ("https://cdn.jsdelivr.net", "https://fastapi.tiangolo.com"):
        assert (source in docs.text) is (source in docs.headers["content-security-policy"])


def test_other_origins_may_not_call_by_default(client: TestClient) -> None:
    """Without the setting no answer allows a page of another origin to read it."""
    answer = client.get("/health", headers={"Origin": ORIGIN})
    assert not any(name.startswith("access-control") for name in answer.headers)
    assert client.options("/inpaint", headers=ASKS_FIRST).status_code == 405


def test_a_listed_origin_may_call(cross_origin: TestClient, files: dict[str, bytes]) -> None:
    """The browser's question needs no key, the call does, and the page may read refusals too."""
    asked = cross_origin.options("/inpaint", headers=ASKS_FIRST)
    assert asked.status_code == 200
    assert asked.headers["access-control-allow-origin"] == ORIGIN
    assert "authorization" in asked.headers["access-control-allow-headers"].lower()
    called = {
        key: cross_origin.post("/inpaint", files=files, headers={"Origin": ORIGIN, "X-API-Key": key})
        for key in ("key-0123456789abcdef", "none")
    }
    assert [answer.status_code for answer in called.values()] == [200, 401]
    for answer in called.values():
        assert answer.headers["access-control-allow-origin"] == ORIGIN
        assert "X-Request-ID" in answer.headers["access-control-expose-headers"]
        assert "access-control-allow-credentials" not in answer.headers


def test_another_origin_may_not(cross_origin: TestClient) -> None:
    """An origin that is not listed is not allowed."""
    assert (
        cross_origin.options("/inpaint", headers=ASKS_FIRST | {"Origin": "https://x.example"}).status_code
        == 400
    )
