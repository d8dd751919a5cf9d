"""The command line, in this process where that shows the same, and as a process where it may be killed."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image

from app import local
from app.cli import cli, main

ToBytes = Callable[..., bytes]
COMMAND = [sys.executable, "-m", "app.cli"]


def opened(path: Path) -> Image.Image:
    """A picture file, decoded to its end."""
    with Image.open(path) as image:
        image.load()
        return image


@pytest.fixture
def invoke(tiny_checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """Run a command with the tiny checkpoint as the setting."""
    for name, value in {"CHECKPOINT": str(tiny_checkpoint), "DEVICE": "cpu", "PRECISION": "fp32"}.items():
        monkeypatch.setenv(f"INPAINT_{name}", value)

    def run(*arguments: object) -> Result:
        return CliRunner().invoke(cli, [str(argument) for argument in arguments])

    return run


@pytest.fixture
def paths(tmp_path: Path, files: dict[str, bytes]) -> dict[str, Path]:
    """The picture and its mask as files, and a folder for results."""
    for name, data in files.items():
        (tmp_path / f"{name}.png").write_bytes(data)
    return {name: tmp_path / f"{name}.png" for name in files} | {"out": tmp_path / "out"}


def test_fill_gives_the_bytes_of_the_service(
    invoke: Callable[..., Result], service_url: str, files: dict[str, bytes], paths: dict[str, Path]
) -> None:
    """The same picture, mask and options: the same file, without a server."""
    output = paths["out"].with_suffix(".png")
    done = invoke("fill", paths["image"], paths["mask"], "-o", output, "--grow", 2, "--threads", 1)
    assert done.exit_code == 0, done.output
    assert done.output == ""
    assert (
        output.read_bytes() == httpx.post(f"{service_url}/inpaint", files=files, data={"grow": "2"}).content
    )


def test_the_outputs_name_decides_its_format(invoke: Callable[..., Result], paths: dict[str, Path]) -> None:
    """A .jpg is a JPEG, of the quality that is asked for."""
    sizes = []
    for quality in (30, 95):
        output = paths["out"].with_suffix(".jpg")
        done = invoke("fill", paths["image"], paths["mask"], "--output", output, "--quality", quality)
        assert done.exit_code == 0, done.output
        assert opened(output).format == "JPEG"
        sizes.append(output.stat().st_size)
    assert sizes[0] < sizes[1]


@pytest.mark.parametrize(
    ("arguments", "status", "sentence"),
    [
        (["fill", "image", "nothing.png", "-o", "out.png"], 2, "'nothing.png' does not exist"),
        (["fill", "image", "mask", "-o", "out.gif"], 2, "must end in one of .png, .jpg, .jpeg, .webp"),
        (["fill", "image", "mask"], 2, "Missing option '-o'"),
        (["fill", "image", "mask", "-o", "out.png", "--grow", "300"], 2, "0<=x<=256"),
        (["fill", "image", "mask", "-o", "out.png", "--device", "tpu"], 2, "device: "),
        (["fill", "image", "mask", "-o", "out.png", "--device", "cuda:99"], 1, "cuda"),
        (["fill", "image", "mask", "-o", "out.png", "--checkpoint", "mask"], 1, "checkpoint"),
        (["fill", "image", "-o", "out.png"], 1, "nothing in 'image' is transparent"),
        (["fill-folder", "empty", "-o", "out"], 2, "there is no picture in"),
        (["fill-folder", "empty", "-o", "empty"], 2, "must be another one"),
        (["fill-folder", ".", "-o", "full", "--report", "none/why.json"], 1, "No such file or directory"),
        (["models", "--checkpoint", "mask"], 1, "checkpoint"),
        (["models", "--checkpoint", "mask", "--card"], 2, "leave --checkpoint out"),
        (["serve", "--port", "0"], 2, "1<=x<=65535"),
        (["paint"], 2, "No such command 'paint'"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_mistakes_are_told_in_one_sentence(
    invoke: Callable[..., Result],
    paths: dict[str, Path],
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    status: int,
    sentence: str,
) -> None:
    """2 for what is wrong with the command, 1 for what is wrong with its files or its machine."""
    monkeypatch.chdir(paths["out"].parent)
    for name in ("empty", "full"):
        Path(name).mkdir()
    done = invoke(*(f"{name}.png" if name in ("image", "mask") else name for name in arguments))
    assert done.exit_code == status, done.output
    assert sentence in done.output
    assert len(re.findall("^Error: ", done.output, flags=re.MULTILINE)) == 1
    assert "Traceback" not in done.output
    assert not [path for path in Path().iterdir() if path.name.startswith("out")]


def test_models_describes_a_checkpoint(
    invoke: Callable[..., Result], tiny_checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That of the option, else of the settings, else the bundled one, which has scores and a card."""
    assert re.search(r"^name +tiny$", invoke("models").output, flags=re.MULTILINE)
    monkeypatch.delenv("INPAINT_CHECKPOINT")
    bundled = invoke("models").output
    assert re.search(r"^sha256 +[0-9a-f]{64}$", bundled, flags=re.MULTILINE)
    assert re.search(r"^score lpips +0\.\d+$", bundled, flags=re.MULTILINE)
    assert re.search(
        r"^name +tiny$", invoke("models", "--checkpoint", tiny_checkpoint).output, flags=re.MULTILINE
    )
    assert invoke("models", "--card").output.startswith("# ")


def test_version_and_completion() -> None:
    """--version says the package's, and a shell can complete commands; neither needs torch, which is slow."""
    done = subprocess.run([*COMMAND, "--version"], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout == f"inpaint-server {version('inpainting-server')}\n"
    words = {
        "_INPAINT_SERVER_COMPLETE": "bash_complete",
        "COMP_WORDS": "inpaint-server fi",
        "COMP_CWORD": "1",
    }
    script = "import sys; sys.modules['torch'] = None; sys.argv = ['']; from app import cli; cli.main()"
    done = subprocess.run(
        [sys.executable, "-c", script], env=os.environ | words, capture_output=True, text=True, timeout=60
    )
    assert done.stdout.split() == ["plain,fill", "plain,fill-folder"]


@pytest.mark.parametrize(
    ("error", "status", "said"),
    [
        (KeyboardInterrupt(), 130, ""),
        (OSError(28, "No space left on device"), 1, "Error: No space left on dev"),
    ],
)
def test_what_ends_a_command(
    error: BaseException,
    status: int,
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    """Ctrl+C has the status that shells give it; a full disk, which names no file, is told in a sentence."""

    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(local, "load_checkpoint", fail)
    monkeypatch.setattr(sys, "argv", ["inpaint-server", "models"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == status
    assert capsys.readouterr().err.strip().startswith(said)


def make_folder(root: Path, count: int, broken: list[int], to_bytes: ToBytes) -> None:
    """`count` small JPEGs with an ICC-free EXIF note and their masks; the broken ones are cut off."""
    rng = np.random.default_rng(0)
    for name in ("images", "masks"):
        (root / name).mkdir()
    mask = np.zeros((32, 48), dtype=np.uint8)
    mask[8:20, 10:30] = 255
    exif = Image.Exif()
    exif[0x010E] = "a note"
    for index in range(count):
        image = Image.fromarray(rng.integers(0, 256, (32, 48, 3), dtype=np.uint8))
        data = to_bytes(image, "JPEG", exif=exif)
        (root / f"images/{index:03d}.jpg").write_bytes(data[: len(data) // 2] if index in broken else data)
        (root / f"masks/{index:03d}.png").write_bytes(to_bytes(Image.fromarray(mask)))


def finished(folder: Path) -> dict[str, int]:
    """The results by name, with the moment that each was written."""
    return {path.name: path.stat().st_mtime_ns for path in folder.glob("[0-9]*.jpg")}


def test_a_killed_folder_goes_on_where_it_was(
    tmp_path: Path, tiny_checkpoint: Path, to_bytes: ToBytes
) -> None:
    """200 pictures, 5 of them broken: SIGKILL in the middle, then 195 results, none of them made twice."""
    broken = [0, 50, 51, 120, 199]
    make_folder(tmp_path, 200, broken, to_bytes)
    output = tmp_path / "out"
    command = [*COMMAND, "fill-folder", str(tmp_path / "images"), str(tmp_path / "masks"), "-o", str(output)]
    command += [
        "--checkpoint",
        str(tiny_checkpoint),
        "--device",
        "cpu",
        "--precision",
        "fp32",
        "--threads",
        "1",
    ]
    first = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    deadline = time.monotonic() + 60
    while len(finished(output)) < 30:
        assert first.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.002)
    first.send_signal(signal.SIGKILL)
    first.communicate()
    before = finished(output)
    assert 30 <= len(before) < 195
    (output / ".100.jpg.1.tmp").write_bytes(b"half a picture")

    second = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert second.returncode == 1, second.stderr
    after = finished(output)
    assert {name: after[name] for name in before} == before
    assert sorted(after) == [f"{index:03d}.jpg" for index in range(200) if index not in broken]
    assert second.stdout == f"{195 - len(before)} filled, {len(before)} skipped as already there, 5 failed.\n"
    report = json.loads((output / "report.json").read_text())
    assert sorted(failure["image"] for failure in report["failed"]) == [f"{i:03d}.jpg" for i in broken]
    assert all("truncated or damaged" in failure["reason"] for failure in report["failed"])
    assert all(f"{index:03d}.jpg: " in second.stderr for index in broken)
    assert list(output.glob(".*")) == []
    assert opened(output / "001.jpg").getexif()[0x010E] == "a note"


def test_a_folder_reports_every_reason(
    invoke: Callable[..., Result], tmp_path: Path, to_bytes: ToBytes
) -> None:
    """Unfit masks, missing masks and unwritable results fail alone; a second run tries only those again."""
    make_folder(tmp_path, 4, [], to_bytes)
    (tmp_path / "masks/001.png").unlink()
    (tmp_path / "masks/002.png").write_bytes(to_bytes(Image.new("L", (5, 5))))
    (tmp_path / "out/003.jpg").mkdir(parents=True)
    report = tmp_path / "why.json"
    arguments = ["fill-folder", tmp_path / "images", tmp_path / "masks", "-o", tmp_path / "out"]
    done = invoke(*arguments, "--report", report)
    assert done.exit_code == 1
    assert "1 filled, 1 skipped as already there, 2 failed." in done.output
    reasons = {failure["image"]: failure["reason"] for failure in json.loads(report.read_text())["failed"]}
    assert reasons == {
        "001.jpg": "expected one mask named 001.*, found 0",
        "002.jpg": "mask is 5 x 5 but image is 32 x 48 (height x width)",
    }
    again: dict[str, Any] = json.loads(report.read_text())
    assert invoke(*arguments, "--report", report).exit_code == 1
    assert json.loads(report.read_text()) == again | {"filled": 0, "skipped": 2}


def test_a_folder_that_is_done(invoke: Callable[..., Result], tmp_path: Path, to_bytes: ToBytes) -> None:
    """Nothing is loaded or filled, and the exit status is 0."""
    make_folder(tmp_path, 2, [], to_bytes)
    arguments = ["fill-folder", tmp_path / "images", tmp_path / "masks/000.png", "-o", tmp_path / "out"]
    assert invoke(*arguments).exit_code == 0
    done = invoke(*arguments, "--checkpoint", tmp_path / "masks/000.png")
    assert done.exit_code == 0, done.output
    assert done.output == "0 filled, 2 skipped as already there, 0 failed.\n"


def test_ctrl_c_leaves_whole_results(tmp_path: Path, tiny_checkpoint: Path, to_bytes: ToBytes) -> None:
    """Interrupted, it says that it can go on, with the status of an interruption."""
    make_folder(tmp_path, 200, [], to_bytes)
    output = tmp_path / "out"
    command = [*COMMAND, "fill-folder", str(tmp_path / "images"), str(tmp_path / "masks"), "-o", str(output)]
    process = subprocess.Popen(
        [*command, "--checkpoint", str(tiny_checkpoint), "--threads", "1"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # A shell without job control has what it starts in the background ignore interrupts.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    deadline = time.monotonic() + 60
    while not finished(output):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.002)
    process.send_signal(signal.SIGINT)
    _, log = process.communicate(timeout=30)
    assert process.returncode == 130, log
    assert "The same command goes on from here." in log
    assert "Traceback" not in log
    assert {opened(output / name).size for name in finished(output)} == {(48, 32)}
