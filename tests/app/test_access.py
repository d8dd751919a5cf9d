"""Who may ask and how often: nothing is asked for by default, and nothing protected answers without a key."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi.testclient import TestClient
from pydantic import ValidationError

from app.access import OPEN_PATHS
from app.main import create_app
from app.settings import Settings

AssertProblem = Callable[[httpx.Response, int], dict[str, Any]]
KEYS = ("first-key-0123456789", "second-key-0123456789")
BEARER = {"Authorization": f"Bearer {KEYS[0]}"}


def serve(settings: Settings, **changes: Any) -> TestClient:
    """A client of the application with some settings from text, as the environment gives them."""
    return TestClient(create_app(Settings(**settings.model_dump(exclude_unset=True) | changes)))


@pytest.fixture(scope="module")
def locked(settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    """A client of a service that wants a key: one from each of the two settings."""
    path = tmp_path_factory.mktemp("keys") / "keys"
    path.write_text(f"# of the second client\n\n  {KEYS[1]}  \n")
    with serve(settings, api_keys=KEYS[0], api_keys_file=str(path)) as client:
        yield client


@pytest.mark.parametrize(
    "headers",
    [
        BEARER,
        {"Authorization": f"bearer  {KEYS[0]}"},
        {"X-API-Key": KEYS[0]},
        {"X-API-Key": KEYS[1]},
        {"X-API-Key": KEYS[1], "Authorization": "Basic dXNlcjpwYXNz"},
    ],
)
def test_each_key_opens(locked: TestClient, files: dict[str, bytes], headers: dict[str, str]) -> None:
    """Every key of both settings is accepted, in both headers."""
    assert locked.post("/inpaint", files=files, headers=headers).status_code == 200


@pytest.mark.parametrize(
    ("headers", "said"),
    [
        ({}, "has none"),
        ({"Authorization": "Bearer"}, "has none"),
        ({"Authorization": f"Basic {KEYS[0]}"}, "has none"),
        ({"Authorization": f"Bearer {KEYS[0]}x"}, "not accepted"),
        ({"X-API-Key": KEYS[0][:-1]}, "not accepted"),
        ({"X-API-Key": "schlüssel-0123456789"}, "not accepted"),
        ({"X-API-Key": ",".join(KEYS)}, "not accepted"),
    ],
)
def test_without_a_valid_key_nothing_is_filled(
    locked: TestClient,
    files: dict[str, bytes],
    assert_problem: AssertProblem,
    headers: dict[str, str],
    said: str,
) -> None:
    """The answer is a 401 that says how to send a key, and does not repeat the one that was sent."""
    raw = {name: value.encode("latin-1") for name, value in headers.items()}
    response = locked.post("/inpaint", files=files, headers=raw)
    problem = assert_problem(response, 401)
    assert said in problem["detail"]
    assert response.headers["www-authenticate"] == "Bearer"
    assert "0123456789" not in response.text


def test_a_body_is_not_read_without_a_key(locked: TestClient) -> None:
    """Whoever has no key cannot make the service take an upload."""

    def body() -> Iterator[bytes]:
        raise AssertionError("the body was read")
        yield b""

    assert locked.post("/inpaint", content=body()).status_code == 401


def test_every_path_but_the_listed_ones_is_protected(locked: TestClient) -> None:
    """A route that is added later needs a key unless the list names it, and so does what does not exist."""
    paths = locked.get("/openapi.json").json()["paths"]
    assert "/inpaint" in paths
    for path in {
        *paths,
        *OPEN_PATHS,
        "/nothing",
        "/health/",
        "/health/live/x",
        "/Health",
    }:
        assert (locked.get(path).status_code != 401) is (path in OPEN_PATHS), path
    for path in ("/health", "/health/live", "/health/ready", "/docs", "/openapi.json"):
        assert locked.get(path).status_code == 200


@pytest.mark.parametrize("keys", ["", KEYS[0]])
def test_openapi_says_what_is_asked_for(settings: Settings, keys: str) -> None:
    """Both schemes are declared, needed only if there are keys, and on no open path."""
    with serve(settings, api_keys=keys) as client:
        document = client.get("/openapi.json").json()
    assert document["components"]["securitySchemes"]["Bearer"]["scheme"] == "bearer"
    assert document["components"]["securitySchemes"]["Key"]["name"] == "X-API-Key"
    operation = document["paths"]["/inpaint"]["post"]
    assert operation["security"] == [{"Bearer": []}, {"Key": []}, *([] if keys else [{}])]
    assert {"401", "429"} <= set(operation["responses"])
    assert "security" not in document["paths"]["/health"]["get"]


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("api_keys", "too-short", "key 1 of 1"),
        ("api_keys", f"{KEYS[0]},a key with spaces", "key 2 of 2"),
        ("api_keys_file", "/nowhere/keys", "/nowhere/keys"),
        ("rate_limit", "often", "60/minute"),
        ("rate_limit", "0/minute", "60/minute"),
        ("rate_limit", "1/second; 5/minute", "60/minute"),
        ("cors_origins", "example.org", "https://example.org"),
        ("cors_origins", "https://example.org/page", "https://example.org"),
    ],
)
def test_unusable_settings_are_refused(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, said: str
) -> None:
    """The sentence says what was expected, and quotes no key."""
    monkeypatch.setenv(f"INPAINT_{name.upper()}", value)
    with pytest.raises(ValidationError) as caught:
        Settings()
    (error,) = caught.value.errors()
    assert error["loc"] == (name,)
    assert said in error["msg"]
    assert name != "api_keys" or value not in error["msg"]


@pytest.mark.parametrize("content", [b"", b"# nothing else\n", b"\xff\xfe\x00"])
def test_a_file_without_keys_is_refused(tmp_path: Path, content: bytes) -> None:
    """A file that was meant to protect the service never leaves it open."""
    path = tmp_path / "keys"
    path.write_bytes(content)
    with pytest.raises(ValidationError, match="keys"):
        Settings(api_keys_file=str(path))


@pytest.mark.parametrize("name", ["api_keys", "api_keys_file", "cors_origins"])
def test_empty_variables_mean_nothing(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """A variable that is set to nothing is like one that is not set."""
    monkeypatch.setenv(f"INPAINT_{name.upper()}", "")
    assert not getattr(Settings(), name)


def test_settings_do_not_show_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever prints the settings prints no key."""
    monkeypatch.setenv("INPAINT_API_KEYS", KEYS[0])
    assert len(Settings().api_keys) == 1
    assert KEYS[0] not in repr(Settings()) + str(Settings().model_dump())


def test_the_rate_is_that_of_a_key(settings: Settings, assert_problem: AssertProblem) -> None:
    """One key's third request a minute is refused; another key's is not."""
    with serve(settings, api_keys=",".join(KEYS), rate_limit="2/minute") as client:
        statuses = [client.post("/inpaint", headers=BEARER).status_code for _ in range(2)]
        refused = client.post("/inpaint", headers=BEARER)
        assert client.post("/inpaint", headers={"X-API-Key": KEYS[1]}).status_code == 422
        assert client.get("/health", headers=BEARER).status_code == 200
        assert "2 per 1 minute" in assert_problem(refused, 429)["detail"]
        assert 1 <= int(refused.headers["retry-after"]) <= 61
    assert statuses == [422, 422]


def test_who_comes_back_when_told_to_is_answered(settings: Settings) -> None:
    """Retry-After is as long as the refusal lasts."""
    with serve(settings, rate_limit="1/second") as client:
        answers = (client.get("/nothing") for _ in range(100))
        refused = next(answer for answer in answers if answer.status_code == 429)
        time.sleep(int(refused.headers["retry-after"]))
        assert client.get("/nothing").status_code == 404


@pytest.mark.parametrize(
    ("addresses", "statuses"),
    [
        (["192.0.2.1", "192.0.2.2", "192.0.2.1"], [404, 404, 429]),
        (["2001:db8::1", "2001:db8::2", "2001:db8:0:1::1"], [404, 429, 404]),
        (["::ffff:192.0.2.1", "::ffff:192.0.2.2", "::ffff:192.0.2.1"], [404, 404, 429]),
        (["no address", "no address"], [404, 429]),
    ],
)
def test_without_keys_the_rate_is_that_of_an_address(
    settings: Settings, addresses: list[str], statuses: list[int]
) -> None:
    """Of IPv6, a client owns the 64 bits behind its network, which count as one."""
    app = serve(settings, rate_limit="1/hour").app
    clients = [TestClient(app, client=(address, 1)) for address in addresses]
    assert [client.get("/nothing").status_code for client in clients] == statuses


def test_nothing_is_counted_by_default(client: TestClient) -> None:
    """A service without a rate answers any number of requests."""
    assert {client.post("/inpaint").status_code for _ in range(50)} == {422}
