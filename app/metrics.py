"""What GET /metrics says, in Prometheus' text format; docs/operation.md explains each name."""

from collections.abc import Collection

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    Info,
    ProcessCollector,
    generate_latest,
)

from app.engine import Engine
from app.lifecycle import Lifecycle
from app.problems import KINDS
from app.records import RequestRecord
from model_core.errors import OutOfMemoryError
from model_core.inpainter import Inpainter

MEDIA_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_BATCH_SIZES = (1, 2, 4, 8, 16, 32, 64)


class Metrics:
    """The metrics of one application, in a registry of their own."""

    def __init__(self, lifecycle: Lifecycle, filling_paths: Collection[str]) -> None:
        """`filling_paths` are those that fill pictures."""
        self._registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        self._requests = Counter(
            "inpaint_requests",
            "Requests that are over.",
            ("method", "path", "status", "problem", "outcome"),
            registry=registry,
        )
        self._request_seconds = Histogram(
            "inpaint_request_duration_seconds",
            "From a request's head to its answer's end.",
            ("path", "outcome"),
            buckets=_SECONDS,
            registry=registry,
        )
        self._stage_seconds = Histogram(
            "inpaint_stage_duration_seconds",
            "Time that a filled picture spent in a stage: queue, decode, inference or encode.",
            ("stage",),
            buckets=_SECONDS,
            registry=registry,
        )
        self._batch_size = Histogram(
            "inpaint_batch_size",
            "Pictures that shared an inference, observed once for each of them.",
            buckets=_BATCH_SIZES,
            registry=registry,
        )
        self._pixels = Counter(
            "inpaint_pixels", "Pixels of the pictures that were filled.", registry=registry
        )
        self._queue = Gauge(
            "inpaint_queue_requests",
            "Requests in work (running) and in line (waiting).",
            ("state",),
            registry=registry,
        )
        self._capacity = Gauge("inpaint_queue_capacity", "Requests that may wait in line.", registry=registry)
        self._processes = Gauge(
            "inpaint_processes", "Processes that infer at once if there is enough to do.", registry=registry
        )
        self._model = Info("inpaint_model", "The checkpoint that serves.", registry=registry)
        self._reloads = Counter(
            "inpaint_reloads", "Attempts to serve a new checkpoint.", ("outcome",), registry=registry
        )
        draining = Gauge(
            "inpaint_draining", "1 from when the service is told to stop, before that 0.", registry=registry
        )
        draining.set_function(lambda: float(lifecycle.draining))
        self._begin_at_zero(filling_paths)

    def _begin_at_zero(self, filling_paths: Collection[str]) -> None:
        """Have what alerts look at from the start, so that its first event is an increase."""
        no_memory = KINDS[OutOfMemoryError]
        for path in filling_paths:
            self._requests_like(RequestRecord("POST", path, no_memory.status, no_memory.name))
        for outcome in ("ok", "failed"):
            self._reloads.labels(outcome)

    def attach(self, engine: Engine) -> None:
        """Report the line in front of `engine`, and its model."""
        self._queue.labels("running").set_function(lambda: float(engine.running))
        self._queue.labels("waiting").set_function(lambda: float(engine.waiting))
        self._capacity.set(engine.max_queued)
        self._processes.set_function(lambda: float(engine.processes))
        self.name_model(engine.inpainter)

    def name_model(self, inpainter: Inpainter) -> None:
        """Report which model serves."""
        self._model.info(
            {
                "name": inpainter.info.name,
                "sha256": inpainter.sha256,
                "device": inpainter.device_names,
                "precision": inpainter.precision_name,
            }
        )

    def observe(self, record: RequestRecord) -> None:
        """Count a request that is over."""
        self._requests_like(record).inc()
        self._request_seconds.labels(record.path, record.outcome).observe(record.seconds)
        self._pixels.inc(record.pixels)
        for fill in record.fills:
            self._batch_size.observe(fill.batch_size)
            for stage, seconds in fill.seconds.items():
                self._stage_seconds.labels(stage).observe(seconds)

    def _requests_like(self, record: RequestRecord) -> Counter:
        status = str(record.status or "")
        return self._requests.labels(record.method, record.path, status, record.problem, record.outcome)

    def count_reload(self, outcome: str) -> None:
        """Count an attempt to serve a new checkpoint: ok or failed."""
        self._reloads.labels(outcome).inc()

    def render(self) -> bytes:
        """All metrics as Prometheus reads them."""
        return generate_latest(self._registry)
