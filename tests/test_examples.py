"""The examples of the documents do what they say: each is run as it stands, against a real service."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from app.cli import cli

ROOT = Path(__file__).parent.parent
DOCUMENTS = ("quickstart.md", "http-api.md", "clients.md", "command-line.md")
ADDRESS = "http://127.0.0.1:8000"
SECONDS = 120


class Example(NamedTuple):
    """A block of a document, to be run by its language's interpreter."""

    place: str
    language: str
    code: str


def examples() -> list[Example]:
    found = []
    for name in DOCUMENTS:
        text = (ROOT / "docs" / name).read_text()
        for match in re.finditer(r"^```(sh|python|js)\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL):
            line = text[: match.start()].count("\n") + 1
            found.append(Example(f"{name}:{line}", match[1], match[2]))
    return found


@pytest.fixture
def folder(tmp_path: Path, tiny_checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder that the examples expect, with the command where a shell finds it."""
    photo = Image.fromarray(np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8))
    hole = np.zeros((48, 64), dtype=np.uint8)
    hole[10:30, 20:40] = 255
    photo.save(tmp_path / "photo.jpg")
    Image.fromarray(hole).save(tmp_path / "mask.png")
    photo.putalpha(Image.fromarray(255 - hole))
    photo.save(tmp_path / "hole.png")
    for name, picture in {"photos": "photo.jpg", "masks": "mask.png"}.items():
        (tmp_path / name / "b").mkdir(parents=True)
        shutil.copy(tmp_path / picture, tmp_path / name / "b" / f"cat{Path(picture).suffix}")
    command = tmp_path / "bin" / "inpaint-server"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nPYTHONPATH="{ROOT}" exec "{sys.executable}" -m app.cli "$@"\n')
    command.chmod(0o755)
    monkeypatch.setenv("PATH", f"{command.parent}{os.pathsep}{os.environ['PATH']}")
    for name, value in {"CHECKPOINT": str(tiny_checkpoint), "DEVICE": "cpu", "THREADS": "1"}.items():
        monkeypatch.setenv(f"INPAINT_{name}", value)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run_python(code: str) -> None:
    exec(compile(code, "example", "exec"), {"__name__": "__main__"})


def run_shell(code: str) -> None:
    commands = [shlex.split(line) for line in code.splitlines()]
    if all(command[0] == "inpaint-server" for command in commands):
        # In this process, since a new one takes seconds to import torch.
        for command in commands:
            done = CliRunner().invoke(cli, command[1:])
            assert done.exit_code == 0, done.output
        return
    subprocess.run(["bash", "-euo", "pipefail", "-c", code], check=True, timeout=SECONDS)


def run_node(code: str) -> None:
    Path("example.mjs").write_text(code)
    subprocess.run(["node", "example.mjs"], check=True, timeout=SECONDS)


RUNNERS: dict[str, Callable[[str], None]] = {"python": run_python, "sh": run_shell, "js": run_node}


@pytest.mark.parametrize("example", examples(), ids=lambda example: f"{example.place} {example.language}")
def test_example(example: Example, service_url: str, folder: Path, find_command: Callable[..., str]) -> None:
    """It runs without an error, and every picture that it makes is a whole one of the photograph's size."""
    if example.language == "js":
        find_command("node")
    elif "curl " in example.code:
        find_command("curl")
    given = set(folder.rglob("*"))
    RUNNERS[example.language](example.code.replace(ADDRESS, service_url))
    written = [path for path in folder.rglob("*") if path not in given and path.is_file()]
    promised = re.findall(r"\bout\.(?:png|jpg|webp|zip|json)\b", example.code)
    assert {path.name for path in written} >= set(promised)
    for path in written:
        if path.suffix in (".png", ".jpg", ".webp"):
            with Image.open(path) as picture:
                picture.load()
            assert picture.size == (64, 48)


def test_every_call_has_an_example_in_every_language() -> None:
    """curl, httpx, requests and fetch for the calls of this service; the adapters' have their own clients."""
    text = (ROOT / "docs" / "http-api.md").read_text()
    for call in ("/inpaint", "/inpaint/batch"):
        section = text.split(f"\n## POST {call}\n")[1].split("\n## ")[0]
        for tool in ("curl ", "httpx.post(", "requests.post(", "fetch("):
            assert re.search(rf"{re.escape(tool)}[^;]*127\.0\.0\.1:8000{call}\b(?!/)", section), (call, tool)
