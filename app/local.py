"""Filling files without a server: the same engine, the same limits, the messages for a terminal."""

import asyncio
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
from pydantic import ValidationError

from app.engine import Engine
from app.errors import AppError
from app.folders import Failure, FillOptions, Job, Report, fill_all, fill_file, plan, remove_leftovers
from app.images import OUTPUT_SUFFIXES, output_format_of
from app.main import load_inpainter
from app.settings import Settings
from model_core.allocator import settle_allocator
from model_core.checkpoint import bundled_path, load_checkpoint
from model_core.errors import ModelCoreError

CARD = bundled_path().parent / "MODEL_CARD.md"


def fill_picture(
    image: Path, mask: Path | None, output: Path, fill_options: FillOptions, model_options: Mapping[str, Any]
) -> None:
    """Fill one file into another.

    Raises:
        ClickException: it cannot be filled.
    """
    if output_format_of(output) is None:
        raise click.UsageError(f"the output's name must end in one of {', '.join(OUTPUT_SUFFIXES)}: {output}")
    with _sentences(), _engine(_settings(model_options)) as engine:
        asyncio.run(fill_file(Job(image.name, image, mask, output), engine, fill_options))


def fill_folder(
    images: Path,
    masks: Path | None,
    output: Path,
    report: Path,
    fill_options: FillOptions,
    model_options: Mapping[str, Any],
) -> Report:
    """Fill the pictures of a folder whose results are not there yet, and write a report.

    Raises:
        ClickException: there are no pictures, no model to fill them, or no way to write.
    """
    if output.resolve() == images.resolve():
        raise click.UsageError("the output folder must be another one than the folder of the images.")
    settings = _settings(model_options)
    jobs = plan(images, masks, output)
    if not jobs:
        raise click.UsageError(f"there is no picture in {images}.")
    with _sentences():
        output.mkdir(parents=True, exist_ok=True)
        remove_leftovers(output, jobs)
        left = [job for job in jobs if job.problem or not job.output.exists()]
        failed = _fill_with_progress(left, settings, fill_options) if left else []
        result = Report(len(left) - len(failed), len(jobs) - len(left), failed)
        result.write(report)
    return result


def describe_checkpoint(path: Path | None) -> dict[str, object]:
    """What there is to say about a checkpoint, by default the one that the settings name.

    Raises:
        ClickException: it cannot be loaded.
    """
    path = path or _settings({}).checkpoint
    with _sentences():
        loaded = load_checkpoint(path)
    info = loaded.info
    return {
        "name": info.name,
        "file": path,
        "sha256": loaded.sha256,
        "parameters": f"{loaded.parameters:,}",
        "trained": f"{info.steps:,} steps, {info.samples:,} samples",
        "created": info.created,
        "provenance": info.provenance,
        **{f"score {name}": value for name, value in info.scores.items()},
    }


def _fill_with_progress(jobs: Sequence[Job], settings: Settings, options: FillOptions) -> list[Failure]:
    failed: list[Failure] = []

    def speed(finished: int | None) -> str:
        return f"{finished / (time.monotonic() - start):.1f}/s" if finished else ""

    with _engine(settings) as engine:
        start = time.monotonic()
        bar = click.progressbar(
            range(len(jobs)), label="Filling", show_pos=True, item_show_func=speed, file=sys.stderr
        )
        with bar:

            def done(failure: Failure | None) -> None:
                failed.extend([failure] if failure else [])
                bar.update(1, bar.pos + 1)

            try:
                fill_all(jobs, engine, options, _at_once(settings), done)
            except KeyboardInterrupt:
                click.echo("\nStopped. The same command goes on from here.", err=True)
                raise
    return failed


def _settings(options: Mapping[str, Any]) -> Settings:
    """Settings from options and the environment, with which own pictures never find the line full."""
    try:
        settings = Settings(**options)
    except ValidationError as error:
        wrong = "; ".join(f"{item['loc'][0]}: {item['msg']}" for item in error.errors())
        raise click.UsageError(f"{wrong}.") from error
    return settings.model_copy(update={"max_queued_requests": _at_once(settings)})


def _at_once(settings: Settings) -> int:
    """Pictures in work: one more than the engine has workers, so that none waits for a file to be written."""
    return settings.max_concurrency + 1


@contextmanager
def _engine(settings: Settings) -> Iterator[Engine]:
    settle_allocator()
    engine = Engine(load_inpainter(settings), settings)
    try:
        yield engine
    finally:
        engine.close()


@contextmanager
def _sentences() -> Iterator[None]:
    """Errors that were raised on purpose become one sentence and exit status 1."""
    try:
        yield
    except (AppError, ModelCoreError) as error:
        raise click.ClickException(str(error)) from error
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        raise click.ClickException(f"{where}{error.strerror}") from error
