"""Whatever client asks, in whatever form: the same picture and the same hole give the same pixels."""

import base64
import io
import subprocess
import zipfile
from collections.abc import Callable
from pathlib import Path

import httpx
import numpy as np
import openai
import pytest
import requests
from click.testing import CliRunner
from PIL import Image

from app.cli import cli

ToBytes = Callable[..., bytes]
Fill = Callable[[str, Path], bytes]


def with_httpx(url: str, folder: Path) -> bytes:
    files = {name: (folder / f"{name}.png").read_bytes() for name in ("image", "mask")}
    return httpx.post(f"{url}/inpaint", files=files, timeout=60).raise_for_status().content


def with_curl(url: str, folder: Path) -> bytes:
    form = ["-F", "image=@image.png", "-F", "mask=@mask.png", f"{url}/inpaint"]
    return subprocess.run(
        ["curl", "-sSf", *form], cwd=folder, capture_output=True, check=True, timeout=60
    ).stdout


def with_requests_as_iopaint(url: str, folder: Path) -> bytes:
    body = {
        name: base64.b64encode((folder / f"{name}.png").read_bytes()).decode() for name in ("image", "mask")
    }
    response = requests.post(f"{url}/api/v1/inpaint", json=body, timeout=60)
    response.raise_for_status()
    return response.content


def with_openai(url: str, folder: Path) -> bytes:
    with openai.OpenAI(base_url=f"{url}/v1", api_key="unused") as client:
        answer = client.images.edit(
            image=folder / "image.png", mask=folder / "alpha.png", prompt="what is behind"
        )
    assert answer.data
    return base64.b64decode(answer.data[0].b64_json or "")


def with_a_batch(url: str, folder: Path) -> bytes:
    files = [(name, (folder / f"{name}.png").read_bytes()) for name in ("image", "mask")]
    content = httpx.post(f"{url}/inpaint/batch", files=files, timeout=60).raise_for_status().content
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return archive.read("000-upload.png")


def with_the_command_line(_: str, folder: Path) -> bytes:
    paths = [str(folder / name) for name in ("image.png", "mask.png", "out.png")]
    done = CliRunner().invoke(cli, ["fill", *paths[:2], "-o", paths[2], "--threads", "1"])
    assert done.exit_code == 0, done.output
    return (folder / "out.png").read_bytes()


@pytest.fixture(scope="module")
def folder(
    files: dict[str, bytes], hole: np.ndarray, to_bytes: ToBytes, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """image.png, mask.png (white = fill) and alpha.png (transparent = fill)."""
    folder = tmp_path_factory.mktemp("pictures")
    alpha = np.zeros((*hole.shape, 4), dtype=np.uint8)
    alpha[..., 3] = np.where(hole, 0, 255)
    for name, data in {**files, "alpha": to_bytes(Image.fromarray(alpha))}.items():
        (folder / f"{name}.png").write_bytes(data)
    return folder


@pytest.fixture
def settings_as_served(tiny_checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The settings of the service, for the command line."""
    for name, value in {"CHECKPOINT": str(tiny_checkpoint), "DEVICE": "cpu", "PRECISION": "fp32"}.items():
        monkeypatch.setenv(f"INPAINT_{name}", value)


@pytest.mark.usefixtures("settings_as_served")
@pytest.mark.parametrize(
    "fill",
    [with_curl, with_requests_as_iopaint, with_openai, with_a_batch, with_the_command_line],
    ids=lambda fill: fill.__name__,
)
def test_every_client_gets_the_pixels_that_httpx_gets(
    fill: Fill, service_url: str, folder: Path, find_command: Callable[..., str]
) -> None:
    """Bit by bit, over real connections to one process, and without one."""
    if fill is with_curl:
        find_command("curl")
    expected, answer = (
        np.asarray(Image.open(io.BytesIO(ask(service_url, folder)))) for ask in (with_httpx, fill)
    )
    np.testing.assert_array_equal(answer, expected)
    assert (expected != np.asarray(Image.open(io.BytesIO((folder / "image.png").read_bytes())))).any()
