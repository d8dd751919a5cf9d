"""Neither the company of other requests nor a batch shared with them changes an answer."""

import io
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image
from prometheus_client.parser import text_string_to_metric_families

RunService = Callable[..., AbstractContextManager[Any]]
MakeRequest = Callable[..., dict[str, bytes]]
AskAll = Callable[..., list[httpx.Response]]

SIZES = ((64, 64), (96, 64), (200, 150), (256, 256), (320, 240), (512, 384), (640, 480), (800, 600))
FORMATS = (("PNG", False), ("JPEG", False), ("WEBP", False), ("PNG", True), ("WEBP", True))
CLIENTS = 16


@pytest.fixture(scope="module")
def requests(make_request: MakeRequest) -> list[dict[str, bytes]]:
    """64 requests, all different; eight neighbours have one size, so that they can share batches."""
    return [
        make_request(8 * group + index, *size, *FORMATS[index % len(FORMATS)])
        for group, size in enumerate(SIZES)
        for index in range(8)
    ]


def shared_a_batch(url: str) -> float:
    """How many of the pictures so far were filled together with another one."""
    families = text_string_to_metric_families(httpx.get(f"{url}/metrics").text)
    samples = next(family.samples for family in families if family.name == "inpaint_batch_size")
    counts = {sample.name + sample.labels.get("le", ""): sample.value for sample in samples}
    return counts["inpaint_batch_size_count"] - counts["inpaint_batch_size_bucket1.0"]


def pixels_of(response: httpx.Response) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(response.content))).astype(int)


def differences(alone: Sequence[httpx.Response], together: Sequence[httpx.Response]) -> list[np.ndarray]:
    """By how many of 255 levels each pixel differs, for those answers whose bytes do."""
    return [
        np.abs(pixels_of(one) - pixels_of(other)).max(axis=-1)
        for one, other in zip(alone, together, strict=True)
        if one.content != other.content
    ]


@pytest.mark.parametrize("model", ["tiny", pytest.param("bundled", marks=pytest.mark.long)])
def test_a_batch_changes_no_answer(
    run_service: RunService,
    ask_all: AskAll,
    requests: list[dict[str, bytes]],
    checkpoint: Path,
    model: str,
    precision: str,
) -> None:
    """Sixteen clients at once get what one gets alone: the bytes, in fp32 all but the last bit of a pixel."""
    settings = {"precision": precision, "threads": 1, "max_concurrency": 8}
    with run_service(checkpoint=checkpoint, **settings) as service:
        alone = ask_all(service.url, requests, clients=1)
        assert shared_a_batch(service.url) == 0
        together = ask_all(service.url, requests, clients=CLIENTS)
        shared = shared_a_batch(service.url)
    assert {answer.status_code for answer in (*alone, *together)} == {200}
    assert len({answer.content for answer in alone}) == len(requests)
    assert shared
    found = differences(alone, together)
    levels = max((int(difference.max()) for difference in found), default=0)
    share = max((float((difference > 0).mean()) for difference in found), default=0.0)
    print(
        f"{model} in {precision}: {shared:.0f} of {len(requests)} shared a batch; {len(found)} answers "
        f"differ, by at most {levels} of 255 in {share:.4%} of the pixels"
    )
    if precision == "fp32":
        # The order in which a small float32 convolution sums depends on the batch's size (oneDNN). That moves
        # a value by 4e-7 at most, and a colour only where it lies that near to the next level.
        assert levels <= 1
        assert share < 0.001
    else:
        assert not found
