"""What GET /health says."""

from typing import Literal

from pydantic import BaseModel, Field

from app.engine import Engine
from app.reload import LastReload


class ModelHealth(BaseModel):
    """The checkpoint that serves."""

    name: str
    sha256: str = Field(description="Of the checkpoint file, in hexadecimal.")
    parameters: int
    steps: int = Field(description="Training steps behind the checkpoint.")


class QueueHealth(BaseModel):
    """The line in front of the device."""

    running: int = Field(description="Requests in work.")
    waiting: int = Field(description="Requests in the line.")
    capacity: int = Field(description="Requests that the line can hold.")


class Health(BaseModel):
    """A service that has answered a real inference."""

    status: Literal["ok"] = "ok"
    model: ModelHealth
    device: str
    precision: str
    queue: QueueHealth
    last_reload: LastReload | None = Field(description="Null if the first checkpoint still serves.")
    uptime_seconds: float
    version: str


class Alive(BaseModel):
    """The process answers; whether it can fill pictures is what readiness says."""

    status: Literal["ok"] = "ok"


def report(engine: Engine, last_reload: LastReload | None, version: str) -> Health:
    """The state of a service with a loaded model."""
    inpainter = engine.inpainter
    return Health(
        model=ModelHealth(
            name=inpainter.info.name,
            sha256=inpainter.sha256,
            parameters=inpainter.parameters,
            steps=inpainter.info.steps,
        ),
        device=inpainter.device_names,
        precision=inpainter.precision_name,
        queue=QueueHealth(running=engine.running, waiting=engine.waiting, capacity=engine.max_queued),
        last_reload=last_reload,
        uptime_seconds=round(engine.uptime_seconds, 3),
        version=version,
    )
