"""The metrics count what happened, under names that cannot be multiplied from outside."""

import sys
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image
from prometheus_client.parser import text_string_to_metric_families

from app.main import FILLING_PATHS, create_app
from app.settings import Settings
from model_core.inpainter import Inpainter, Predict

AssertProblem = Callable[[httpx.Response, int], dict[str, Any]]
STAGES = ("decode", "queue", "inference", "encode")


@pytest.fixture
def fresh(settings: Settings) -> Iterator[TestClient]:
    """A client of an application that has not been asked anything yet."""
    with TestClient(create_app(settings)) as client:
        yield client


def samples(client: TestClient) -> dict[str, float]:
    """Each sample by its name and labels, as Prometheus would read it."""
    response = client.get("/metrics")
    assert response.headers["content-type"].startswith("text/plain; version=0.0.4")
    assert response.headers["cache-control"] == "no-store"
    return {
        sample.name + "".join(f" {key}={value}" for key, value in sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(response.text)
        for sample in family.samples
    }


def counted(client: TestClient) -> dict[str, float]:
    """How often each kind of request was answered."""
    found = samples(client).items()
    return {
        name.removeprefix("inpaint_requests_total "): value
        for name, value in found
        if name.startswith("inpaint_requests_total ") and value
    }


def test_a_filled_picture_is_counted(fresh: TestClient, files: dict[str, bytes]) -> None:
    """One request: its outcome, its time, the time of each stage, its pixels, and the batch it was in."""
    assert fresh.post("/inpaint", files=files).status_code == 200
    found = samples(fresh)
    assert counted(fresh) == {"method=POST outcome=answered path=/inpaint problem= status=200": 1}
    assert found["inpaint_request_duration_seconds_count outcome=answered path=/inpaint"] == 1
    stages = [found[f"inpaint_stage_duration_seconds_sum stage={stage}"] for stage in STAGES]
    assert 0 < sum(stages) <= found["inpaint_request_duration_seconds_sum outcome=answered path=/inpaint"]
    assert all(found[f"inpaint_stage_duration_seconds_count stage={stage}"] == 1 for stage in STAGES)
    assert found["inpaint_pixels_total"] == 64 * 96
    assert (found["inpaint_batch_size_count"], found["inpaint_batch_size_sum"]) == (1, 1)


def test_refusals_are_counted_by_their_kind(fresh: TestClient, files: dict[str, bytes]) -> None:
    """What was wrong, on which route; paths and methods that a client makes up are one label each."""
    fresh.post("/inpaint", files={"image": b"", "mask": files["mask"]})
    fresh.post("/inpaint", data={"mask_polarity": "grey"}, files=files)
    fresh.get("/inpaint")
    fresh.get("/made/up")
    fresh.request("BREW", "/coffee")
    fresh.get("/docs")
    assert counted(fresh) == {
        "method=POST outcome=refused path=/inpaint problem=empty-file status=400": 1,
        "method=POST outcome=refused path=/inpaint problem=invalid-field status=422": 1,
        "method=GET outcome=refused path=/inpaint problem=about:blank status=405": 1,
        "method=GET outcome=refused path=unmatched problem=about:blank status=404": 1,
        "method=other outcome=refused path=unmatched problem=about:blank status=404": 1,
        "method=GET outcome=answered path=/docs problem= status=200": 1,
    }


def test_an_unexpected_failure_is_counted(settings: Settings) -> None:
    """A 500 that nobody foresaw is an outcome too, on the route's template."""
    app = create_app(settings)

    @app.get("/raise/{name}")
    async def fail(name: str) -> None:
        raise RuntimeError(name)

    with TestClient(app, raise_server_exceptions=False) as client:
        assert client.get("/raise/anything").status_code == 500
        assert counted(client) == {
            "method=GET outcome=failed path=/raise/{name} problem=about:blank status=500": 1
        }


def test_a_bad_picture_of_a_batch_is_no_problem_of_its_request(
    fresh: TestClient, files: dict[str, bytes]
) -> None:
    """The request is answered; what became of each picture is in its outcomes."""
    form = [("image", files["image"]), ("image", b"no picture"), ("mask", files["mask"])]
    assert fresh.post("/inpaint/batch", files=form).status_code == 200
    assert counted(fresh) == {"method=POST outcome=answered path=/inpaint/batch problem= status=200": 1}


def test_the_first_lack_of_memory_is_an_increase(settings: Settings, files: dict[str, bytes]) -> None:
    """What it counts on is there before, at 0: Prometheus sees no increase in what is born as 1."""

    class Hungry(Inpainter):
        warm = False

        def inpaint(self, image: Image.Image, hole: np.ndarray, *predict: Predict) -> Image.Image:
            if self.warm:
                raise MemoryError
            return super().inpaint(image, hole, *predict)

    def series(path: str) -> str:
        return (
            f"inpaint_requests_total method=POST outcome=failed path={path} problem=out-of-memory status=503"
        )

    inpainter = Hungry.from_checkpoint(settings.checkpoint, device="cpu", precision="fp32")
    with TestClient(create_app(settings, inpainter)) as client:
        inpainter.warm = True
        before = samples(client)
        assert [before[series(path)] for path in FILLING_PATHS] == [0] * len(FILLING_PATHS)
        assert client.post("/inpaint", files=files).status_code == 503
        assert samples(client)[series("/inpaint")] == 1


def test_operators_do_not_count_as_users(fresh: TestClient) -> None:
    """Health checks and the metrics themselves would drown what users ask."""
    for path in ("/health", "/health/live", "/health/ready", "/metrics"):
        assert fresh.get(path).status_code == 200
    assert counted(fresh) == {}


def test_gauges_describe_the_service(fresh: TestClient) -> None:
    """The line, the model, and that nothing has been reloaded or told to stop."""
    found = samples(fresh)
    model = fresh.get("/health").json()["model"]
    labels = f"device=cpu name=tiny precision=fp32 sha256={model['sha256']}"
    assert found[f"inpaint_model_info {labels}"] == 1
    assert found["inpaint_queue_requests state=running"] == found["inpaint_queue_requests state=waiting"] == 0
    assert found["inpaint_queue_capacity"] == 64
    assert found["inpaint_reloads_total outcome=ok"] == found["inpaint_reloads_total outcome=failed"] == 0
    assert found["inpaint_draining"] == 0


@pytest.mark.skipif(sys.platform != "linux", reason="read from Linux' /proc")
def test_the_process_is_measured(fresh: TestClient) -> None:
    """Memory and start, under the names that every Prometheus client uses."""
    found = samples(fresh)
    assert found["process_start_time_seconds"] > 0
    assert found["process_resident_memory_bytes"] > 10_000_000


def test_applications_do_not_share_metrics(fresh: TestClient, settings: Settings) -> None:
    """Each application has a registry of its own."""
    fresh.get("/made/up")
    with TestClient(create_app(settings)) as other:
        assert counted(other) == {}
