"""The service's configuration: one frozen object, read from the environment once and passed on."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, PositiveInt
from pydantic_settings import BaseSettings, SettingsConfigDict

from model_core.checkpoint import bundled_path

LARGEST_SIDE = 16_383
"""Pixels. WebP can hold no longer side, so every accepted picture fits every output format."""
LARGEST_PIXELS = 89_000_000
"""Above this Pillow itself begins to refuse."""


class Settings(BaseSettings):
    """Each field is the environment variable INPAINT_ plus its name in capitals."""

    model_config = SettingsConfigDict(env_prefix="INPAINT_", frozen=True)

    checkpoint: Path = Field(
        default_factory=bundled_path, description="Checkpoint file (safetensors); by default the bundled one."
    )
    device: Annotated[str, Field(pattern=r"^(auto|cpu|mps|cuda(:\d+)?)$")] = Field(
        default="auto", description="Where the model runs: auto, cpu, mps, cuda or cuda:N."
    )
    precision: Literal["auto", "fp32", "bf16", "fp16"] = Field(
        default="auto", description="Arithmetic of the model: auto takes the fastest safe one of the device."
    )
    threads: PositiveInt | None = Field(
        default=None, description="CPU threads of one inference; by default as many as there are cores."
    )
    max_request_bytes: PositiveInt = Field(
        default=30_000_000, description="Largest request body in bytes; a larger one is answered with 413."
    )
    max_pixels: PositiveInt = Field(
        default=50_000_000,
        le=LARGEST_PIXELS,
        description="Most pixels of an image or mask, read from its header before decoding; more is a 422.",
    )
    max_side: PositiveInt = Field(
        default=LARGEST_SIDE,
        le=LARGEST_SIDE,
        description="Longest side of an image or mask in pixels, read from its header; longer is a 422.",
    )
    max_concurrency: int = Field(
        default=1, ge=1, le=64, description="Inferences that run on the device at the same time."
    )
    max_queued_requests: int = Field(
        default=64, ge=0, description="Requests that may wait for their turn; one more is answered with 429."
    )
    timeout_seconds: float = Field(
        default=60.0,
        gt=0,
        description="Longest time from a request to its answer; then 504 (408 while it uploads).",
    )
    host: str = Field(default="127.0.0.1", description="Address to listen on; 0.0.0.0 for all interfaces.")
    port: int = Field(default=8000, ge=1, le=65_535, description="TCP port to listen on.")
    page: bool = Field(default=True, description="Whether GET / is the page to paint on; else it is a 404.")
    log_level: Literal["critical", "error", "warning", "info", "debug"] = Field(
        default="info", description="Least severe messages that are logged to stderr."
    )
