"""A folder of pictures filled into another one: what is there already is kept, so a stopped run goes on."""

import asyncio
import json
import logging
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from app.defaults import DEFAULT_QUALITY
from app.engine import Engine, FillRequest
from app.errors import AppError
from app.images import OUTPUT_SUFFIXES, output_format_of
from model_core.checkpoint import open_atomically
from model_core.errors import ModelCoreError

logger = logging.getLogger(__name__)

PICTURE_SUFFIXES = frozenset({*OUTPUT_SUFFIXES, ".bmp", ".tif", ".tiff", ".avif"})
_LEFTOVER = re.compile(r"\.(.+)\.\d+\.tmp")


@dataclass(frozen=True)
class FillOptions:
    """What holds for every picture."""

    mask_polarity: Literal["white", "black"] = "white"
    grow_pixels: int = 0
    quality: int = DEFAULT_QUALITY


@dataclass(frozen=True)
class Job:
    """One picture to fill; `problem` says why that cannot even be tried."""

    name: str
    image: Path
    mask: Path | None
    output: Path
    problem: str | None = None


@dataclass(frozen=True)
class Failure:
    """A picture that was not filled, and why."""

    image: str
    reason: str


@dataclass(frozen=True)
class Report:
    """What became of a folder."""

    filled: int
    skipped: int
    failed: list[Failure]

    def write(self, path: Path) -> None:
        """As JSON."""
        with open_atomically(path) as file:
            file.write(json.dumps(asdict(self), indent=2, ensure_ascii=False).encode() + b"\n")


def plan(images: Path, masks: Path | None, output: Path) -> list[Job]:
    """One job for each picture in a folder and its subfolders, in the order of their names.

    `masks` is a folder with a file of the same name, but for the suffix, for each picture; or one file for
    all; or None: the pictures' own transparency. The results have the names of the pictures, and PNG where
    their format cannot be written.
    """
    inside = images.resolve()
    kept_out = [
        folder.resolve() for folder in (output, masks) if folder and inside in folder.resolve().parents
    ]
    masks_by_stem = _by_stem(masks) if masks and masks.is_dir() else None
    jobs, taken = [], dict[Path, str]()
    for path in _pictures(images):
        if any(path.resolve().is_relative_to(folder) for folder in kept_out):
            continue
        relative = path.relative_to(images)
        target = output / (relative if output_format_of(path) else relative.with_suffix(".png"))
        mask, problem = masks, None
        if masks_by_stem is not None:
            mask, problem = _choose(masks_by_stem.get(relative.with_suffix(""), []), relative)
        if target in taken:
            problem = f"its result would have the name of that of {taken[target]}"
        taken.setdefault(target, str(relative))
        jobs.append(Job(str(relative), path, mask, target, problem))
    return jobs


def remove_leftovers(output: Path, jobs: Iterable[Job]) -> None:
    """Delete what a killed run left half-written."""
    results = {job.output for job in jobs}
    for path in output.rglob(".*.tmp"):
        match = _LEFTOVER.fullmatch(path.name)
        if match and path.with_name(match[1]) in results:
            path.unlink()


def fill_all(
    jobs: Iterable[Job],
    engine: Engine,
    options: FillOptions,
    at_once: int,
    done: Callable[[Failure | None], None],
) -> None:
    """Fill the pictures, a few at once, and tell `done` of each. One that fails does not stop the others."""

    async def work(waiting: Iterator[Job]) -> None:
        for job in waiting:
            reason = job.problem or await _reason_of_failure(job, engine, options)
            done(Failure(job.name, reason) if reason else None)

    async def work_together() -> None:
        waiting = iter(jobs)
        async with asyncio.TaskGroup() as group:
            for _ in range(at_once):
                group.create_task(work(waiting))

    asyncio.run(work_together())


async def fill_file(job: Job, engine: Engine, options: FillOptions) -> None:
    """Fill one picture into a new file, which appears when it is complete.

    Raises:
        AppError, ModelCoreError: the picture or its mask cannot be filled.
        OSError: a file cannot be read or written.
    """
    with ExitStack() as files:
        request = FillRequest(
            image=files.enter_context(open(job.image, "rb")),
            mask=files.enter_context(open(job.mask, "rb")) if job.mask else None,
            mask_polarity=options.mask_polarity,
            grow_pixels=options.grow_pixels,
            output_format=output_format_of(job.output) or "png",
            quality=options.quality,
        )
        filled = await engine.fill(request)
    await asyncio.to_thread(_write, job.output, filled.data)


async def _reason_of_failure(job: Job, engine: Engine, options: FillOptions) -> str | None:
    try:
        await fill_file(job, engine, options)
    except (AppError, ModelCoreError) as error:
        return str(error)
    except OSError as error:
        return f"{error.filename or job.output}: {error.strerror}"
    except Exception as error:
        # Thousands of other pictures may be waiting, so even this is only one of them that failed.
        logger.exception("%s failed with an unexpected %s", job.name, type(error).__name__)
        return f"an unexpected {type(error).__name__}; the log has more"
    return None


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with open_atomically(path) as file:
        file.write(data)


def _pictures(folder: Path) -> list[Path]:
    return sorted(
        path for path in folder.rglob("*") if path.suffix.lower() in PICTURE_SUFFIXES and path.is_file()
    )


def _by_stem(folder: Path) -> dict[Path, list[Path]]:
    found = defaultdict(list)
    for path in _pictures(folder):
        found[path.relative_to(folder).with_suffix("")].append(path)
    return found


def _choose(masks: list[Path], image: Path) -> tuple[Path | None, str | None]:
    """The one mask of a picture, or why there is none."""
    if len(masks) == 1:
        return masks[0], None
    names = f": {', '.join(path.name for path in masks)}" if masks else ""
    return None, f"expected one mask named {image.with_suffix('')}.*, found {len(masks)}{names}"
