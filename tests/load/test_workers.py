"""Under load a second process infers: nobody notices but by the speed."""

import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

RunService = Callable[..., AbstractContextManager[Any]]
MakeRequest = Callable[..., dict[str, bytes]]
AskAll = Callable[..., list[httpx.Response]]
Children = Callable[[int], list[int]]

SIZES = ((64, 64), (200, 150), (320, 240), (512, 384))
CLIENTS = 8
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="further processes are for Linux only")


@pytest.fixture(scope="module")
def requests(make_request: MakeRequest) -> list[dict[str, bytes]]:
    return [make_request(seed, *SIZES[seed % len(SIZES)]) for seed in range(32)]


def processes(url: str) -> float:
    """How many processes infer, as the service says."""
    families = text_string_to_metric_families(httpx.get(f"{url}/metrics").text)
    return next(family.samples[0].value for family in families if family.name == "inpaint_processes")


def wait_for_processes(url: str, number: int, ask: Callable[[], object]) -> None:
    """Ask until so many infer."""
    deadline = time.monotonic() + 30
    while processes(url) != number:
        assert time.monotonic() < deadline
        ask()


def contents(answers: Sequence[httpx.Response]) -> list[bytes]:
    assert {answer.status_code for answer in answers} == {200}
    return [answer.content for answer in answers]


@pytest.mark.parametrize("model", ["tiny", pytest.param("bundled", marks=pytest.mark.long)])
def test_a_second_process_changes_no_answer(
    run_service: RunService,
    ask_all: AskAll,
    checkpoint: Path,
    requests: list[dict[str, bytes]],
    precision: str,
) -> None:
    """Eight clients get, of two threads or of one in each of two processes, what one client gets."""
    # Each crop has a pass of its own, since a shared one may round otherwise in fp32.
    settings = {"precision": precision, "threads": 2, "max_batch_size": 1}
    with run_service(checkpoint=checkpoint, **settings) as service:
        alone = contents(ask_all(service.url, requests, clients=1))
        assert processes(service.url) == 1
        wait_for_processes(service.url, 2, lambda: ask_all(service.url, requests, CLIENTS))
        assert contents(ask_all(service.url, requests, CLIENTS)) == alone


def test_a_process_that_is_killed_costs_no_request(
    run_service: RunService, ask_all: AskAll, children: Children, requests: list[dict[str, bytes]]
) -> None:
    """As where memory runs out. Then the service ends as it should, and leaves no process behind."""
    with run_service(threads=2) as service:
        wait_for_processes(service.url, 2, lambda: ask_all(service.url, requests, CLIENTS))
        [forking] = children(service.process.pid)
        [worker] = children(forking)
        os.kill(worker, signal.SIGKILL)
        wait_for_processes(service.url, 1, lambda: contents(ask_all(service.url, requests, CLIENTS)))
        assert "an inference process failed" in service.log.read_text()
        service.process.terminate()
        assert service.process.wait(timeout=20) == 0
        deadline = time.monotonic() + 10
        while Path(f"/proc/{forking}").exists():
            assert time.monotonic() < deadline
            time.sleep(0.05)


def test_one_process_where_that_is_asked_for(
    run_service: RunService, ask_all: AskAll, children: Children, requests: list[dict[str, bytes]]
) -> None:
    with run_service(threads=2, processes=1) as service:
        contents(ask_all(service.url, requests, CLIENTS))
        assert processes(service.url) == 1
        assert children(service.process.pid) == []
