"""Large photographs in reasonable time and memory, with the bundled checkpoint."""

import io
import os
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import httpx
import pytest
from PIL import Image

from model_core.checkpoint import bundled_path

RunService = Callable[..., AbstractContextManager[Any]]
MakeRequest = Callable[..., dict[str, bytes]]
Megabytes = Callable[[int, str], float]

HOLE = 400
SETTINGS = {"checkpoint": bundled_path(), "precision": "auto", "threads": os.cpu_count() or 1}


@pytest.fixture
def photograph(make_request: MakeRequest) -> Callable[[int, int], dict[str, bytes]]:
    """Make a JPEG of any size, with a mask that has a box of 400 x 400 pixels in the middle."""

    def make(width: int, height: int) -> dict[str, bytes]:
        mask = Image.new("L", (width, height))
        mask.paste(
            255, ((width - HOLE) // 2, (height - HOLE) // 2, (width + HOLE) // 2, (height + HOLE) // 2)
        )
        buffer = io.BytesIO()
        mask.save(buffer, "PNG")
        return {**make_request(0, width, height, "JPEG"), "mask": buffer.getvalue()}

    return make


def fill(url: str, files: dict[str, bytes]) -> tuple[float, httpx.Response]:
    """The answer as JPEG, and how many seconds it took."""
    begin = time.perf_counter()
    response = httpx.post(f"{url}/inpaint", files=files, data={"format": "jpeg"}, timeout=120)
    return time.perf_counter() - begin, response


@pytest.mark.long
@pytest.mark.parametrize(
    ("width", "height", "most_seconds", "most_megabytes"),
    [(4000, 3000, 3.6, 1500), (8000, 6000, 12, 2500)],
)
def test_a_large_photograph(
    run_service: RunService,
    photograph: Callable[[int, int], dict[str, bytes]],
    megabytes: Megabytes,
    width: int,
    height: int,
    most_seconds: float,
    most_megabytes: float,
) -> None:
    """12 and 48 megapixels: soon ready, answered in time, within memory, and filled."""
    files = photograph(width, height)
    begin = time.perf_counter()
    with run_service(**SETTINGS) as service:
        ready = time.perf_counter() - begin
        idle = megabytes(service.process.pid, "VmRSS")
        answers = [fill(service.url, files) for _ in range(3)]
        peak = megabytes(service.process.pid, "VmHWM")
    for seconds, response in answers:
        print(f"{width} x {height}: {seconds:.2f} s; {response.headers.get('server-timing')}")
    print(f"ready after {ready:.1f} s with {idle:.0f} MB; {peak:.0f} MB at most")
    assert {response.status_code for _, response in answers} == {200}
    assert Image.open(io.BytesIO(answers[0][1].content)).size == (width, height)
    # Other programs' moments are not the service's.
    assert min(seconds for seconds, _ in answers) < most_seconds
    assert peak < most_megabytes
    assert ready < 10
