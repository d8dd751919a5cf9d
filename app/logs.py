"""How log lines look: one JSON object a line for machines, or text for people, with the same fields."""

import json
import logging
import warnings
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Literal

LogFormat = Literal["json", "text"]


class JsonFormatter(logging.Formatter):
    """One line of JSON: time, level, logger, message, the line's own fields, and an exception's traceback."""

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **_fields(record),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


class TextFormatter(logging.Formatter):
    """The same for a terminal: the fields follow the message as name=value."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s")

    def formatMessage(self, record: logging.LogRecord) -> str:
        pairs = (f"{name}={value}" for name, value in _fields(record).items())
        return " ".join([super().formatMessage(record), *pairs])


def configure(level: str, log_format: LogFormat) -> None:
    """Send what the process logs from `level` on to stderr, the server's and libraries' own lines too."""
    handler = logging.StreamHandler()
    handler.setFormatter(JsonFormatter() if log_format == "json" else TextFormatter())
    logging.basicConfig(level=level.upper(), handlers=[handler])
    logging.captureWarnings(True)
    # Pillow would log what a picture's tags say, and warn of what it finds odd about them.
    logging.getLogger("PIL").setLevel(logging.INFO)
    warnings.filterwarnings("ignore", module="PIL")


def with_fields(**fields: object) -> dict[str, Mapping[str, object]]:
    """The `extra` of a logging call that gives its line these fields."""
    return {"fields": fields}


def _fields(record: logging.LogRecord) -> Mapping[str, Any]:
    fields: Mapping[str, Any] = getattr(record, "fields", {})
    return fields
