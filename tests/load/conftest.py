"""What tests of load share: requests made of photographs, many clients at once, a process's memory."""

import io
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import numpy as np
import pytest
from PIL import Image, ImageDraw

from model_core.checkpoint import bundled_path

PICTURES = Path(__file__).parent.parent / "pictures"
Files = dict[str, bytes]


def to_bytes(image: Image.Image, file_format: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, file_format, quality=90)
    return buffer.getvalue()


def holes(width: int, height: int, rng: np.random.Generator) -> Image.Image:
    """A mask, white = fill: one to three ellipses, lines and boxes, and always something known."""
    mask = Image.new("L", (width, height))
    draw = ImageDraw.Draw(mask)
    for _ in range(rng.integers(1, 4)):
        left, top = rng.integers(0, (width // 2, height // 2))
        right, bottom = (
            left + rng.integers(4, min(200, width // 3)),
            top + rng.integers(4, min(200, height // 3)),
        )
        shape = (draw.ellipse, draw.rectangle, draw.line)[rng.integers(3)]
        shape((left, top, right, bottom), fill=255, width=5) if shape == draw.line else shape(
            (left, top, right, bottom), fill=255
        )
    return mask


@pytest.fixture(scope="session")
def make_request() -> Callable[..., Files]:
    """Make the files of a request: a photograph of any size, and a hole that no other seed has."""
    photos = [Image.open(path).convert("RGB") for path in sorted(PICTURES.glob("*.jpg"))]

    def make(seed: int, width: int, height: int, file_format: str = "PNG", alpha: bool = False) -> Files:
        """With `alpha` the hole is where the picture is transparent, and there is no mask."""
        rng = np.random.default_rng(seed)
        photo = photos[seed % len(photos)]
        side = int(min(photo.size) * rng.uniform(0.5, 1))
        left, top = rng.integers(0, (photo.width - side + 1, photo.height - side + 1))
        image = photo.resize((width, height), box=(left, top, left + side, top + side))
        grain = rng.integers(0, 16, (height, width, 3), dtype=np.uint8)
        image = Image.fromarray(np.minimum(np.asarray(image), 255 - 15) + grain)
        mask = holes(width, height, rng)
        if alpha:
            image.putalpha(mask.point(lambda value: 255 - value))
            return {"image": to_bytes(image, file_format)}
        return {"image": to_bytes(image, file_format), "mask": to_bytes(mask)}

    return make


@pytest.fixture(scope="session")
def ask_all() -> Callable[..., list[httpx.Response]]:
    """Send requests to POST /inpaint from some clients at once; the answers are in the requests' order."""

    def ask(url: str, requests: Sequence[Files], clients: int) -> list[httpx.Response]:
        with httpx.Client(timeout=300) as client, ThreadPoolExecutor(clients) as pool:
            return list(pool.map(lambda files: client.post(f"{url}/inpaint", files=files), requests))

    return ask


@pytest.fixture
def checkpoint(model: str, tiny_checkpoint: Path) -> Path:
    """That of the test's `model`: tiny or bundled."""
    return bundled_path() if model == "bundled" else tiny_checkpoint


@pytest.fixture(params=["int8", "bf16", "fp32"])
def precision(request: pytest.FixtureRequest, require_native: Callable[[str], None]) -> str:
    """Each precision that this CPU computes natively."""
    require_native(request.param)
    return str(request.param)


@pytest.fixture(scope="session")
def children() -> Callable[[int], list[int]]:
    """The processes that one has begun and that still run."""

    def read(pid: int) -> list[int]:
        threads = Path(f"/proc/{pid}/task").iterdir()
        return [int(child) for thread in threads for child in (thread / "children").read_text().split()]

    return read


@pytest.fixture(scope="session")
def megabytes(children: Callable[[int], list[int]]) -> Callable[[int, str], float]:
    """The memory of a process as Linux counts it: what it holds (VmRSS), or the most it has held (VmHWM).

    To both comes what its children hold now and do not share with it.
    """

    def total(path: str, name: str) -> float:
        lines = Path(path).read_text().splitlines()
        return sum(int(line.split()[1]) for line in lines if line.startswith(name)) * 1024 / 1e6

    def private(pid: int) -> float:
        return total(f"/proc/{pid}/smaps_rollup", "Private_") + sum(map(private, children(pid)))

    def read(pid: int, name: str) -> float:
        return total(f"/proc/{pid}/status", f"{name}:") + sum(map(private, children(pid)))

    return read
