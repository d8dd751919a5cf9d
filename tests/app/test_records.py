"""A record says how a request ended, on a path that clients cannot choose."""

import asyncio
from typing import Any

import pytest
from starlette.types import Message, Receive, Scope, Send

from app.records import OPERATOR_PATHS, RequestRecord, RequestRecords


def record_of(app: Any, **scope: Any) -> list[RequestRecord]:
    """What is recorded of a request to a raw application that is given this scope."""
    records: list[RequestRecord] = []

    async def receive() -> Message:
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        pass

    request = {"type": "http", "method": "POST", "path": "/inpaint", "state": {"request_id": "x"}} | scope
    asyncio.run(RequestRecords(app, observe=records.append)(request, receive, send))
    return records


async def silent(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer nothing, as for a client that has left."""


@pytest.mark.parametrize(
    ("status", "outcome"),
    [(None, "abandoned"), (200, "answered"), (304, "answered"), (422, "refused"), (503, "failed")],
)
def test_outcomes(status: int | None, outcome: str) -> None:
    """Each status is one of four outcomes; none at all means that the client left."""

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        if status:
            await send({"type": "http.response.start", "status": status, "headers": []})

    (record,) = record_of(answer)
    assert (record.status, record.outcome) == (status, outcome)


def test_a_mounted_folder_is_one_path() -> None:
    """Whatever is asked for below a mount counts as the mount."""
    mounted = {"endpoint": silent, "app_root_path": "", "root_path": "/static", "path_params": {}}
    (record,) = record_of(silent, path="/static/any/file", **mounted)
    assert record.path == "/static"


def test_values_in_a_path_are_not_recorded() -> None:
    """A route that does not say its template counts as none at all."""
    (record,) = record_of(silent, path="/cats/7", endpoint=silent, path_params={"number": "7"})
    assert record.path == "unmatched"


@pytest.mark.parametrize("path", sorted(OPERATOR_PATHS))
def test_operators_are_not_recorded(path: str) -> None:
    """Probes ask every few seconds and say nothing about users."""
    assert record_of(silent, path=path) == []
