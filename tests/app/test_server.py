"""The service as its users run it: a real process, asked over a real connection."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image

from app import server
from app.settings import Settings

ToBytes = Callable[..., bytes]
AssertProblem = Callable[[httpx.Response, int], dict[str, Any]]
RunService = Callable[..., AbstractContextManager[Any]]


@pytest.fixture(scope="module")
def url(run_service: RunService) -> Iterator[str]:
    with run_service() as service:
        yield service.url


def test_fills_a_picture_over_http(url: str, files: dict[str, bytes]) -> None:
    """The request of the README works, and the answer does not tell which server software made it."""
    response = httpx.post(f"{url}/inpaint", files=files)
    assert response.status_code == 200
    assert response.headers["content-type"] == "image/png"
    assert "server" not in response.headers


def test_concurrent_requests_get_the_bytes_of_serial_ones(url: str, to_bytes: ToBytes) -> None:
    """Sixteen different requests at once are answered with exactly what each gets alone."""
    rng = np.random.default_rng(0)

    def request(seed: int) -> dict[str, bytes]:
        height, width = 40 + 8 * (seed % 4), 50 + 7 * (seed % 5)
        mask = np.zeros((height, width), dtype=np.uint8)
        mask[seed : seed + 12, 5 : 20 + seed] = 255
        image = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
        return {"image": to_bytes(Image.fromarray(image)), "mask": to_bytes(Image.fromarray(mask))}

    requests = [request(seed) for seed in range(16)]
    with httpx.Client(timeout=60) as client:

        def ask(files: dict[str, bytes]) -> bytes:
            response = client.post(f"{url}/inpaint", files=files)
            assert response.status_code == 200
            return response.content

        alone = [ask(files) for files in requests]
        with ThreadPoolExecutor(8) as clients:
            together = list(clients.map(ask, requests))
    assert together == alone
    assert len(set(alone)) == len(alone)


def long_form() -> Iterator[bytes]:
    """A well-formed multipart body of 40 MB, in pieces."""
    yield b'--x\r\nContent-Disposition: form-data; name="image"; filename="long"\r\n\r\n'
    for _ in range(40):
        yield bytes(1_000_000)
    yield b"\r\n--x--\r\n"


@pytest.mark.parametrize("declared", [True, False])
def test_a_large_body_is_answered_while_it_is_sent(
    url: str, files: dict[str, bytes], assert_problem: AssertProblem, declared: bool
) -> None:
    """With or without a declared length, the client reads its 413, and the service goes on."""
    content = b"".join(long_form()) if declared else long_form()
    headers = {"Content-Type": "multipart/form-data; boundary=x"}
    response = httpx.post(f"{url}/inpaint", content=content, headers=headers, timeout=30)
    assert "30,000,000" in assert_problem(response, 413)["detail"]
    assert httpx.post(f"{url}/inpaint", files=files).status_code == 200


def test_the_log_begins_with_what_has_no_effect(
    run_service: RunService, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A misspelt variable must not go unnoticed, least of all the one that asks for keys."""
    monkeypatch.setenv("INPAINT_API_KEY", "secret")
    with run_service(log_format="text", log_level="debug") as service:
        log = service.log.read_text()
    assert "INPAINT_API_KEY is no setting and has no effect; did you mean INPAINT_API_KEYS?" in log
    assert "secret" not in log
    if sys.platform == "linux":
        assert "The allocator was told MALLOC_ARENA_MAX, " in log


def test_a_missing_checkpoint_stops_the_start_with_one_line(tmp_path: Path) -> None:
    """One clear sentence on stderr, a failing exit code, no traceback."""
    checkpoint = str(tmp_path / "none.safetensors")
    done = subprocess.run(
        [sys.executable, "-m", "app"],
        env=os.environ | {"INPAINT_CHECKPOINT": checkpoint},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 1
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert done.stderr.startswith("The service cannot start: ")
    assert "none.safetensors" in done.stderr


def test_a_service_runs_where_nothing_can_be_forked(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Further processes are a help, not a need."""

    def full(_: object) -> None:
        raise BlockingIOError(11, "Resource temporarily unavailable")

    monkeypatch.setattr(server.fork_server, "ForkServer", full)
    with server._forking(settings.model_copy(update={"max_concurrency": 2})) as fork:
        assert fork is None
    assert "no further one can be begun: [Errno 11] Resource temporarily unavailable" in caplog.text
