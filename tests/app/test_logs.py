"""The log has one line a request, for machines or for people, and nothing of what the client sent."""

import json
import logging
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import httpx
import pytest
from fastapi.testclient import TestClient

from app import logs
from app.logs import JsonFormatter, TextFormatter, with_fields

RunService = Callable[..., AbstractContextManager[Any]]


def line_of(formatter: logging.Formatter, message: str, **arguments: Any) -> str:
    logger = logging.getLogger("a.module")
    record = logger.makeRecord(logger.name, logging.WARNING, "file", 1, message, (), None)
    for name, value in arguments.items():
        setattr(record, name, value)
    return formatter.format(record)


def test_json_is_one_line_with_the_fields() -> None:
    """Whatever the message holds, a line is one object; its time names its zone."""
    line = line_of(JsonFormatter(), 'two\nlines "quoted"', **with_fields(request_id="abc", status=None))
    assert "\n" not in line
    entry = json.loads(line)
    assert entry.pop("time").endswith("+00:00")
    assert entry == {
        "level": "warning",
        "logger": "a.module",
        "message": 'two\nlines "quoted"',
        "request_id": "abc",
        "status": None,
    }


def test_json_holds_the_traceback() -> None:
    """An exception is a field of the same line."""
    try:
        raise ValueError("inside")
    except ValueError as error:
        line = line_of(JsonFormatter(), "failed", exc_info=(ValueError, error, error.__traceback__))
    assert "\n" not in line
    assert json.loads(line)["exception"].endswith("ValueError: inside")


def test_text_has_the_same_fields() -> None:
    """For people the fields follow the message."""
    line = line_of(TextFormatter(), "failed", **with_fields(request_id="abc", status=503))
    assert line.endswith(" WARNING a.module: failed request_id=abc status=503")


def test_a_request_is_one_line(
    client: TestClient, files: dict[str, bytes], caplog: pytest.LogCaptureFixture
) -> None:
    """Its id, route, status, pixels, and each stage's milliseconds; no name, query or key of the client."""
    with caplog.at_level(logging.INFO):
        client.post(
            "/inpaint?key=secret-query",
            files={"image": ("secret-name.png", files["image"]), "mask": files["mask"]},
            headers={"X-Request-ID": "find-me", "Authorization": "Bearer secret-key"},
        )
        client.get("/health")
        client.get("/metrics")
    (line,) = [record for record in caplog.records if record.name == "app.records"]
    fields = line.fields
    assert (fields["request_id"], fields["method"], fields["path"]) == ("find-me", "POST", "/inpaint")
    assert (fields["status"], fields["problem"], fields["outcome"]) == (200, None, "answered")
    assert fields["pixels"] == 64 * 96
    stages = sum(fields[f"{stage}_ms"] for stage in ("decode", "queue", "inference", "encode"))
    assert 0 < stages <= fields["duration_ms"] + 1
    assert "secret" not in JsonFormatter().format(line)


def test_a_refusal_names_its_problem(client: TestClient, caplog: pytest.LogCaptureFixture) -> None:
    """The log says which kind of problem the client was told of."""
    with caplog.at_level(logging.INFO):
        client.post("/inpaint", content=b"{}", headers={"Content-Type": "application/json"})
    (line,) = [record for record in caplog.records if record.name == "app.records"]
    assert (line.fields["status"], line.fields["problem"]) == (415, "unsupported-media-type")
    assert line.fields["outcome"] == "refused"


def test_every_line_of_the_process_is_json(run_service: RunService, files: dict[str, bytes]) -> None:
    """The server's own lines look like ours, and each request is in the log once."""
    with run_service(drain_seconds=0) as service:
        assert httpx.post(f"{service.url}/inpaint", files=files).status_code == 200
        service.process.terminate()
        service.process.wait(timeout=20)
        lines = [json.loads(line) for line in service.log.read_text().splitlines()]
    assert {line["level"] for line in lines} == {"info"}
    assert {"uvicorn.error", "app.records", "app.lifecycle"} <= {line["logger"] for line in lines}
    assert [line["path"] for line in lines if line["logger"] == "app.records"] == ["/inpaint"]


@pytest.mark.parametrize(("log_format", "is_json"), [("json", True), ("text", False)])
def test_the_format_is_a_setting(log_format: logs.LogFormat, is_json: bool) -> None:
    """Of the process as a whole: one handler on the root logger."""
    root = logging.getLogger()
    level, before = root.level, root.handlers[:]
    root.handlers.clear()
    try:
        logs.configure("warning", log_format)
        (handler,) = root.handlers
        assert isinstance(handler.formatter, JsonFormatter) is is_json
    finally:
        root.handlers[:] = before
        root.setLevel(level)
        logging.captureWarnings(False)
