"""Which pictures of a folder are filled, with which masks, and under which names."""

import io
import logging
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from app.engine import Engine
from app.folders import Failure, FillOptions, Job, fill_all, plan, remove_leftovers
from app.settings import Settings
from model_core.checkpoint import open_atomically
from model_core.inpainter import Inpainter, Predict


def touch(folder: Path, *names: str) -> Path:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return folder


def short(jobs: list[Job], root: Path) -> list[tuple[str, str | None, str]]:
    return [
        (job.name, job.mask and str(job.mask.relative_to(root)), str(job.output.relative_to(root)))
        for job in jobs
    ]


def test_masks_are_found_by_name(tmp_path: Path) -> None:
    """Subfolders count, suffixes and other files do not; what cannot be written becomes PNG."""
    images = touch(tmp_path / "in", "a.JPG", "b/a.tiff", "b/c.webp", "notes.txt", "d.gif")
    masks = touch(tmp_path / "masks", "a.png", "b/a.png", "b/c.jpeg", "e.png")
    assert short(plan(images, masks, tmp_path / "out"), tmp_path) == [
        ("a.JPG", "masks/a.png", "out/a.JPG"),
        ("b/a.tiff", "masks/b/a.png", "out/b/a.png"),
        ("b/c.webp", "masks/b/c.jpeg", "out/b/c.webp"),
    ]


@pytest.mark.parametrize("mask", [None, "mask.png"])
def test_one_mask_for_all_or_none(tmp_path: Path, mask: str | None) -> None:
    """A file is the mask of every picture; without one their own transparency is."""
    images = touch(tmp_path / "in", "a.png", "b.png")
    jobs = plan(images, touch(tmp_path, mask) / mask if mask else None, tmp_path / "out")
    assert [job.mask and job.mask.name for job in jobs] == [mask, mask]
    assert [job.problem for job in jobs] == [None, None]


def test_results_and_masks_inside_the_folder_are_no_pictures(tmp_path: Path) -> None:
    """A second run does not fill the results of the first."""
    touch(tmp_path, "a.png", "out/a.png", "masks/a.png")
    assert [job.name for job in plan(tmp_path, tmp_path / "masks", tmp_path / "out")] == ["a.png"]


def test_results_around_the_pictures(tmp_path: Path) -> None:
    """Results and masks may lie in a folder that holds that of the pictures."""
    images = touch(tmp_path / "in", "a.png")
    touch(tmp_path, "a.png")
    assert [job.name for job in plan(images, tmp_path, tmp_path)] == ["a.png"]


def test_masks_beside_the_pictures_folder_itself(tmp_path: Path) -> None:
    """The folder may be its own folder of masks, as when each picture is its own mask."""
    touch(tmp_path, "a.png")
    (job,) = plan(tmp_path, tmp_path, tmp_path / "out")
    assert job.mask == job.image


def test_what_cannot_even_be_tried_says_why(tmp_path: Path) -> None:
    """No mask, two masks, and a result whose name is taken; the first to take it keeps it."""
    images = touch(tmp_path / "in", "a.png", "b.png", "c.bmp", "c.png")
    masks = touch(tmp_path / "masks", "b.png", "b.jpg", "c.png")
    problems = {job.name: job.problem for job in plan(images, masks, tmp_path / "out")}
    assert problems == {
        "a.png": "expected one mask named a.*, found 0",
        "b.png": "expected one mask named b.*, found 2: b.jpg, b.png",
        "c.bmp": None,
        "c.png": "its result would have the name of that of c.bmp",
    }


def test_leftovers_of_results_are_removed_and_nothing_else(tmp_path: Path) -> None:
    """Only what a killed run of ours can have left."""
    images = touch(tmp_path / "in", "b/a.png")
    jobs = plan(images, None, tmp_path / "out")
    (tmp_path / "out/b").mkdir(parents=True)
    with open_atomically(jobs[0].output) as file:
        assert isinstance(file, io.BufferedWriter)
        leftover = Path(file.name)
        others = touch(tmp_path / "out", ".mine.7.tmp", "b/.a.png.tmp", "a.png.7.tmp")
        remove_leftovers(tmp_path / "out", jobs)
        assert not leftover.exists()
        leftover.touch()
    assert len(list(others.rglob("*.tmp"))) == 3


class BrokenInpainter(Inpainter):
    """A real model that fails unexpectedly on pictures of 8 x 8 pixels."""

    def inpaint(self, image: Image.Image, hole: np.ndarray, *predict: Predict) -> Image.Image:
        if image.size == (8, 8):
            raise RuntimeError("of a library")
        return super().inpaint(image, hole, *predict)


def test_unexpected_failures_and_unwritable_results_fail_alone(
    tmp_path: Path, settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    """Each is told with its picture; the log has the traceback of what nobody expected."""
    for name, size in {"a.png": (8, 8), "b/c.png": (20, 16), "d.png": (20, 16)}.items():
        picture = Image.new("RGBA", size, "grey")
        picture.putpixel((3, 3), (0, 0, 0, 0))
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        picture.save(tmp_path / "in" / name)
    touch(tmp_path / "out", "b")
    inpainter = BrokenInpainter.from_checkpoint(settings.checkpoint, device="cpu", precision="fp32")
    engine = Engine(inpainter, settings)
    done: list[Failure | None] = []
    with caplog.at_level(logging.ERROR):
        fill_all(plan(tmp_path / "in", None, tmp_path / "out"), engine, FillOptions(), 1, done.append)
    engine.close()
    assert done == [
        Failure("a.png", "an unexpected RuntimeError; the log has more"),
        Failure("b/c.png", f"{tmp_path / 'out' / 'b'}: File exists"),
        None,
    ]
    assert "a.png failed" in caplog.text
    assert "of a library" in caplog.text
