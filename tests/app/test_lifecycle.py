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
from PIL import Image

from app.lifecycle import Lifecycle
from app.main import create_app
from app.settings import Settings

AssertProblem = Callable[[httpx.Response, int], dict[str, Any]]
ToBytes = Callable[..., bytes]
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


def test_ctrl_c_ends_the_process_cleanly(run_service: RunService, files: dict[str, bytes]) -> None:
    """Exit code 0 and no traceback, even while a client keeps its connection."""
    with run_service(drain_seconds=0) as service, httpx.Client() as client:
        assert client.post(f"{service.url}/inpaint", files=files).status_code == 200
        service.process.send_signal(signal.SIGINT)
        assert service.process.wait(timeout=20) == 0
        assert "Traceback" not in service.log.read_text()


class Load:
    """Sixteen clients that ask without a pause until they are refused."""

    def __init__(self, url: str, files: dict[str, bytes]) -> None:
        self.statuses: Counter[int] = Counter()
        self._url = f"{url}/inpaint"
        self._files = files
        self._pool = ThreadPoolExecutor(CLIENTS)
        self._clients = [self._pool.submit(self._ask_until_refused) for _ in range(CLIENTS)]

    def lost(self) -> list[BaseException]:
        """What went wrong instead of an answer, once all clients are through."""
        self._pool.shutdown()
        return [error for client in self._clients if (error := client.exception())]

    def _ask_until_refused(self) -> None:
        with httpx.Client(timeout=60) as client:
            status, resets = 200, 0
            while status == 200:
                request = client.build_request("POST", self._url, files=self._files)
                try:
                    response = client.send(request, stream=True)
                except httpx.ConnectError:
                    return
                except (httpx.ReadError, httpx.WriteError):
                    # Reset before an answer began, as is a connection that the process had not accepted yet
                    # when it ended. One whose request it had read would be closed, which is another error.
                    resets += 1
                    if resets > 1:
                        raise
                    continue
                response.read()
                status = response.status_code
                self.statuses[status] += 1


def test_sigterm_under_load_loses_no_request(run_service: RunService, files: dict[str, bytes]) -> None:
    """Each request is filled, or its client is told to come back; the process ends in the grace time."""
    with run_service(drain_seconds=0.5, grace_seconds=30) as service:
        load = Load(service.url, files)
        time.sleep(1.5)
        told = time.monotonic()
        service.process.send_signal(signal.SIGTERM)
        code = service.process.wait(timeout=40)
        took = time.monotonic() - told
        lost = load.lost()
        print(f"{CLIENTS} clients: {dict(load.statuses)}, {len(lost)} lost, exit {code} after {took:.1f} s")
        assert lost == []
        assert load.statuses.keys() <= {200, 503}
        assert load.statuses[200] >= CLIENTS
        assert code == 0
        assert took < 30.5
        assert "cutting off" not in service.log.read_text()


@pytest.mark.parametrize(
    ("settings", "signals"),
    [({"drain_seconds": 0, "grace_seconds": 0}, 1), ({"drain_seconds": 60}, 2)],
    ids=["no grace time", "second signal"],
)
def test_what_is_cut_off_is_told(
    run_service: RunService, to_bytes: ToBytes, settings: dict[str, float], signals: int
) -> None:
    """Past the grace time, or at a second signal, clients that still wait are told to come back, at once."""
    image, mask = Image.new("RGB", (1500, 1500), "grey"), Image.new("L", (1500, 1500))
    mask.paste(255, (100, 100, 1400, 1400))
    with run_service(**settings) as service:
        load = Load(service.url, {"image": to_bytes(image), "mask": to_bytes(mask)})
        time.sleep(1.5)
        for _ in range(signals):
            service.process.send_signal(signal.SIGTERM)
            time.sleep(0.2)
        assert service.process.wait(timeout=20) == 0
        assert load.lost() == []
        assert load.statuses.keys() <= {200, 503}
        log = service.log.read_text()
        assert "cutting off" in log
        assert "Traceback" not in log


def test_a_killed_service_is_ready_again_soon(run_service: RunService, files: dict[str, bytes]) -> None:
    """Nothing that a kill leaves behind stands in the way of the next start, on the same port."""
    begun = time.monotonic()
    with run_service() as service:
        first = time.monotonic() - begun
        port = service.url.rsplit(":", 1)[1]
    begun = time.monotonic()
    with run_service(port=port) as service:
        again = time.monotonic() - begun
        print(f"ready after {first:.1f} s, after SIGKILL after {again:.1f} s")
        # On a machine that is busy otherwise, the first start says what can be expected.
        assert again < max(30, 3 * first)
        assert httpx.post(f"{service.url}/inpaint", files=files).status_code == 200
