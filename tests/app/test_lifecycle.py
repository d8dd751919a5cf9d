"""How the service ends: readiness first, nothing that was accepted is lost, and in time."""

import signal
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from typing import Any

import httpx
import pytest
from fastapi.testclient import TestClient

from app.lifecycle import Lifecycle
from app.main import create_app
from app.settings import Settings

AssertProblem = Callable[[httpx.Response, int], dict[str, Any]]
RunService = Callable[..., AbstractContextManager[Any]]
CLIENTS = 16


def told_to_stop(drain_seconds: float, grace_seconds: float = 60.0) -> Lifecycle:
    lifecycle = Lifecycle(drain_seconds, grace_seconds)
    lifecycle.drain()
    return lifecycle


@pytest.mark.parametrize("path", ["/health", "/health/ready"])
def test_a_draining_service_answers_but_is_not_ready(
    settings: Settings, files: dict[str, bytes], assert_problem: AssertProblem, path: str
) -> None:
    """Readiness fails first; requests are still filled, and their connections closed."""
    lifecycle = Lifecycle(drain_seconds=60, grace_seconds=60)
    with TestClient(create_app(settings, lifecycle=lifecycle)) as client:
        assert "connection" not in client.post("/inpaint", files=files).headers
        lifecycle.drain()
        response = client.get(path)
        assert assert_problem(response, 503)["type"] == "urn:inpainting:problem:draining"
        assert response.headers["retry-after"]
        assert client.get("/health/live").status_code == 200
        filled = client.post("/inpaint", files=files)
        assert (filled.status_code, filled.headers["connection"]) == (200, "close")


def test_a_stopping_service_refuses_what_is_new(
    settings: Settings, files: dict[str, bytes], assert_problem: AssertProblem
) -> None:
    """After the drain time requests are told to come back, while operators still get their answers."""
    with TestClient(create_app(settings, lifecycle=told_to_stop(drain_seconds=0))) as client:
        response = client.post("/inpaint", files=files)
        assert assert_problem(response, 503)["type"] == "urn:inpainting:problem:draining"
        assert (response.headers["retry-after"], response.headers["connection"]) == ("1", "close")
        assert client.get("/health/live").status_code == 200
        assert "inpaint_draining 1.0" in client.get("/metrics").text


def test_the_end_waits_for_work_but_not_for_ever() -> None:
    """Over means: nothing is in work, or the grace time is up."""
    idle, busy, late = (told_to_stop(0), told_to_stop(0), told_to_stop(0, grace_seconds=0))
    busy.requests_in_work = late.requests_in_work = 1
    assert (idle.over, busy.over, late.over) == (True, False, True)
    assert not told_to_stop(drain_seconds=60).over
    assert not Lifecycle(0, 0).over


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_process_cleanly(
    run_service: RunService, files: dict[str, bytes], end: signal.Signals
) -> None:
    """Exit code 0 and no traceback, even while a client keeps its connection."""
    with run_service(drain_seconds=0) as service, httpx.Client() as client:
        assert client.post(f"{service.url}/inpaint", files=files).status_code == 200
        service.process.send_signal(end)
        assert service.process.wait(timeout=20) == 0
        assert "Traceback" not in service.log.read_text()


def test_sigterm_under_load_loses_no_request(run_service: RunService, files: dict[str, bytes]) -> None:
    """Sixteen clients ask without a pause: each request is filled, or the client is told to come back."""
    seen: Counter[int] = Counter()

    def ask_until_refused(url: str) -> None:
        with httpx.Client(timeout=30) as client:
            status = 200
            while status == 200:
                try:
                    status = client.post(f"{url}/inpaint", files=files).status_code
                except httpx.ConnectError:
                    return
                seen[status] += 1

    with run_service(drain_seconds=0.5, grace_seconds=15) as service:
        with ThreadPoolExecutor(CLIENTS) as clients:
            asking = [clients.submit(ask_until_refused, service.url) for _ in range(CLIENTS)]
            time.sleep(1.5)
            told = time.monotonic()
            service.process.send_signal(signal.SIGTERM)
            code = service.process.wait(timeout=20)
            took = time.monotonic() - told
        lost = [client.exception() for client in asking if client.exception()]
        print(f"SIGTERM with {CLIENTS} clients: {dict(seen)}, {len(lost)} lost, exit {code} after {took:.1f} s")
        assert lost == []
        assert seen.keys() <= {200, 503}
        assert seen[200] >= CLIENTS
        assert seen[503] <= CLIENTS
        assert code == 0
        assert took < 15.5
        assert "cutting off" not in service.log.read_text()


def test_a_second_signal_ends_the_process_at_once(run_service: RunService) -> None:
    """Whoever asks twice does not wait for the drain time."""
    with run_service(drain_seconds=60) as service:
        service.process.send_signal(signal.SIGTERM)
        time.sleep(0.3)
        assert httpx.get(f"{service.url}/health/ready").status_code == 503
        service.process.send_signal(signal.SIGTERM)
        assert service.process.wait(timeout=5) == 0
        assert "Traceback" not in service.log.read_text()


def test_a_killed_service_is_ready_again_soon(run_service: RunService, files: dict[str, bytes]) -> None:
    """Nothing that a kill leaves behind stands in the way of the next start, on the same port."""
    with run_service() as service:
        service.process.kill()
        service.process.wait()
        started = time.monotonic()
        with run_service(port=service.url.rsplit(":", 1)[1]) as again:
            took = time.monotonic() - started
            print(f"ready {took:.1f} s after SIGKILL")
            assert took < 10
            assert httpx.post(f"{again.url}/inpaint", files=files).status_code == 200
