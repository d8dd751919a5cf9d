"""The service's configuration: one frozen object, read from the environment once and passed on."""

import difflib
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field, PositiveInt
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from app.defaults import MOST_BATCH_ITEMS
from app.values import ApiKeys, keys_in_file, keys_in_text, origins, rate
from model_core.checkpoint import bundled_path

LARGEST_SIDE = 16_383
"""Pixels. WebP can hold no longer side, so every accepted picture fits every output format."""
LARGEST_PIXELS = 89_000_000
"""Above this Pillow itself begins to refuse."""
PREFIX = "INPAINT_"


class Settings(BaseSettings):
    """Each field is the environment variable INPAINT_ plus its name in capitals."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True)

    checkpoint: Path = Field(
        default_factory=bundled_path, description="Checkpoint file (safetensors); by default the bundled one."
    )
    device: Annotated[str, Field(pattern=r"^(auto|cpu|mps|cuda(:\d+)?)$")] = Field(
        default="auto",
        description="Where it runs: auto (all GPUs, or else the CPU), cpu, mps, cuda (the first) or cuda:N.",
    )
    precision: Literal["auto", "fp32", "bf16", "fp16", "int8"] = Field(
        default="auto",
        description="fp32, bf16, fp16 (GPU), int8 (CPU), or auto: the fastest safe arithmetic of the device.",
    )
    threads: PositiveInt | None = Field(
        default=None, description="CPU threads of all inferences; by default as many as there are cores."
    )
    processes: int = Field(
        default=2,
        ge=1,
        le=64,
        description="Most processes that infer at once on a CPU, one a request in work; 1 except on Linux.",
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
    max_decode_seconds: float = Field(
        default=5.0, gt=0, description="CPU seconds that decoding one picture may take; more is a 422."
    )
    max_concurrency: int = Field(
        default=4,
        ge=1,
        le=64,
        description="Requests in work at once: some are decoded or encoded while others are filled.",
    )
    max_pixels_in_work: PositiveInt = Field(
        default=25_000_000,
        description="Pixels of all images in work together; one that does not fit waits for others to end.",
    )
    max_batch_size: int = Field(
        default=8, ge=1, le=64, description="Most crops of equal size that are filled in one pass."
    )
    max_queued_requests: int = Field(
        default=64, ge=0, description="Requests that may wait for their turn; one more is answered with 429."
    )
    max_batch_items: int = Field(
        default=32,
        ge=1,
        le=MOST_BATCH_ITEMS,
        description="Most pictures of one POST /inpaint/batch; more is a 422.",
    )
    timeout_seconds: float = Field(
        default=60.0,
        gt=0,
        description="Longest time from a request to its answer; then 504 (408 while it uploads).",
    )
    max_held_bytes: PositiveInt = Field(
        default=500_000_000,
        description="Bytes of requests and answers that are held at once for all clients; past it, 429.",
    )
    max_connections: PositiveInt = Field(
        default=500, description="Open connections; one more is closed after a bare 503."
    )
    idle_timeout_seconds: PositiveInt = Field(
        default=20,
        description="Longest silence: to send headers, to take a piece of an answer, between requests.",
    )
    api_keys: Annotated[ApiKeys, NoDecode, BeforeValidator(keys_in_text)] = Field(
        default_factory=frozenset,
        validate_default=False,
        repr=False,
        description="Accepted API keys, separated by commas; without any, no key is needed.",
    )
    api_keys_file: Annotated[ApiKeys, NoDecode, BeforeValidator(keys_in_file)] = Field(
        default_factory=frozenset,
        validate_default=False,
        repr=False,
        description="File of further API keys, one a line; lines that begin with # are skipped.",
    )
    rate_limit: Annotated[str, AfterValidator(rate)] | None = Field(
        default=None,
        description="Requests of one key, or without keys one address, such as 60/minute; more is a 429.",
    )
    cors_origins: Annotated[tuple[str, ...], NoDecode, BeforeValidator(origins)] = Field(
        default_factory=tuple,
        validate_default=False,
        description="Origins whose pages may call the service (CORS), separated by commas; * for all.",
    )
    host: str = Field(default="127.0.0.1", description="Address to listen on; 0.0.0.0 for all interfaces.")
    port: int = Field(default=8000, ge=1, le=65_535, description="TCP port to listen on.")
    page: bool = Field(default=True, description="Whether GET / is the page to paint on; else it is a 404.")
    log_level: Literal["critical", "error", "warning", "info", "debug"] = Field(
        default="info",
        description="Least severe messages logged to stderr: debug, info, warning, error or critical.",
    )
    log_format: Literal["json", "text"] = Field(
        default="json", description="How log lines are written: json for machines, text for people."
    )
    drain_seconds: float = Field(
        default=1.0,
        ge=0,
        description="After SIGTERM, how long requests are still accepted while readiness already fails.",
    )
    grace_seconds: float = Field(
        default=60.0,
        ge=0,
        description="After that, how long requests in work may take to finish; what is left is cut off.",
    )
    watch_checkpoint: float = Field(
        default=0.0,
        ge=0,
        description="Seconds between looks at the checkpoint file, to serve a new one; 0 = only on SIGHUP.",
    )


def unknown_variables(names: Iterable[str]) -> dict[str, str | None]:
    """Variables that look like settings and are none, each with the setting that was probably meant."""
    fields = list(Settings.model_fields)
    found: dict[str, str | None] = {}
    for name in names:
        field = name.lower().removeprefix(PREFIX.lower())
        if name.upper().startswith(PREFIX) and field not in fields:
            alike = difflib.get_close_matches(field, fields, n=1)
            found[name] = PREFIX + alike[0].upper() if alike else None
    return found
