"""Fixtures of the service's tests: small pictures, one running application on a tiny real checkpoint, and
the service as a process of its own.
"""

import io
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image

from app.main import create_app
from app.settings import Settings

ToBytes = Callable[..., bytes]
AssertProblem = Callable[[httpx.Response, int], dict[str, Any]]
START_SECONDS = 60


@pytest.fixture(scope="session")
def to_bytes() -> ToBytes:
    """Encode a picture as a file's bytes, by default as PNG."""

    def encode(image: Image.Image, file_format: str = "PNG", **options: Any) -> bytes:
        buffer = io.BytesIO()
        image.save(buffer, file_format, **options)
        return buffer.getvalue()

    return encode


@pytest.fixture(scope="session")
def photo() -> Image.Image:
    """96 x 64 pixels of colour that differs everywhere, with some noise."""
    rows, columns = np.mgrid[0:64, 0:96]
    smooth = np.stack([rows * 3, columns * 2, 255 - rows - columns], axis=-1)
    noise = np.random.default_rng(0).integers(0, 20, smooth.shape)
    return Image.fromarray(np.clip(smooth + noise, 0, 255).astype(np.uint8))


@pytest.fixture(scope="session")
def hole() -> np.ndarray:
    """(64, 96) bool: a box of 20 x 30 pixels is to be filled."""
    hole = np.zeros((64, 96), dtype=bool)
    hole[20:40, 30:60] = True
    return hole


@pytest.fixture(scope="session")
def mask(hole: np.ndarray) -> Image.Image:
    """The hole as a picture: white = fill."""
    return Image.fromarray(hole.astype(np.uint8) * 255)


@pytest.fixture(scope="session")
def files(photo: Image.Image, mask: Image.Image, to_bytes: ToBytes) -> dict[str, bytes]:
    """The file fields of a good request."""
    return {"image": to_bytes(photo), "mask": to_bytes(mask)}


@pytest.fixture(scope="session")
def settings(tiny_checkpoint: Path) -> Settings:
    return Settings(checkpoint=tiny_checkpoint, device="cpu", precision="fp32", max_concurrency=1)


@pytest.fixture(scope="session")
def client(settings: Settings) -> Iterator[TestClient]:
    """A client of one application that serves all tests: bad requests of one must not disturb another."""
    with TestClient(create_app(settings)) as client:
        yield client


@pytest.fixture(scope="session")
def assert_problem() -> AssertProblem:
    """Check that a response is a complete problem+json of the given status, and return it."""

    def check(response: httpx.Response, status: int) -> dict[str, Any]:
        assert response.status_code == status, response.text
        assert response.headers["content-type"] == "application/problem+json"
        problem = response.json()
        assert {"type", "title", "status", "detail", "instance", "request_id"} <= problem.keys()
        assert problem["status"] == status
        assert problem["request_id"] == response.headers["x-request-id"]
        assert problem["title"]
        assert problem["detail"]
        assert "Traceback" not in response.text
        return problem

    return check
