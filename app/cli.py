"""The command line: inpaint-server serve, fill, fill-folder, models.

What needs torch is imported inside the commands: it takes seconds, for which --help and the completion of a
shell should not wait.
"""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from app.defaults import DEFAULT_QUALITY, MAX_GROW_PIXELS

INTERRUPTED = 130

Decorator = Callable[[Callable[..., None]], Callable[..., None]]

PRECISIONS = ("auto", "fp32", "bf16", "fp16", "int8")
FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)

_MODEL_OPTIONS: tuple[Decorator, ...] = (
    click.option("--checkpoint", type=FILE, help="Checkpoint file; by default the bundled one."),
    click.option("--device", help="auto, cpu, mps, cuda or cuda:N."),
    click.option("--precision", type=click.Choice(PRECISIONS), help="Arithmetic."),
    click.option("--threads", type=click.IntRange(min=1), help="CPU threads of one inference."),
)
_FILL_OPTIONS: tuple[Decorator, ...] = (
    click.option(
        "--mask-polarity",
        type=click.Choice(["white", "black"]),
        default="white",
        show_default=True,
        help="The colour in masks that marks what to fill.",
    ),
    click.option(
        "--grow",
        type=click.IntRange(0, MAX_GROW_PIXELS),
        default=0,
        show_default=True,
        help="Fill this many more pixels on every side.",
    ),
    click.option(
        "--quality",
        type=click.IntRange(1, 100),
        default=DEFAULT_QUALITY,
        show_default=True,
        help="Of JPEG and WebP files.",
    ),
)


def _with(options: tuple[Decorator, ...]) -> Decorator:
    def add(command: Callable[..., None]) -> Callable[..., None]:
        for option in reversed(options):
            command = option(command)
        return command

    return add


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="inpainting-server", message="%(prog)s %(version)s")
def cli() -> None:
    """Fill holes in pictures: as a service, or right here. White in a mask is what gets filled.

    The settings that the documentation lists, such as INPAINT_DEVICE, hold for every command; an option goes
    before the setting of the same name.
    """


@cli.command()
@click.option("--host", help="Address to listen on; 0.0.0.0 for all interfaces.")
@click.option("--port", type=click.IntRange(1, 65_535), help="TCP port to listen on.")
@click.option(
    "--log-level",
    type=click.Choice(["critical", "error", "warning", "info", "debug"]),
    help="Least severe messages that are logged to stderr.",
)
@_with(_MODEL_OPTIONS)
def serve(**options: Any) -> None:
    """Serve over HTTP until SIGTERM or Ctrl+C."""
    from app.server import serve as run_service

    run_service(**_given(options))


@cli.command()
@click.argument("image", type=FILE)
@click.argument("mask", type=FILE, required=False)
@click.option(
    "-o", "--output", type=click.Path(dir_okay=False, path_type=Path), required=True, help="The result."
)
@_with(_FILL_OPTIONS)
@_with(_MODEL_OPTIONS)
def fill(
    image: Path, mask: Path | None, output: Path, mask_polarity: Any, grow: int, quality: int, **options: Any
) -> None:
    """Fill what MASK marks in IMAGE, without a server.

    Without MASK the transparent pixels of IMAGE are filled. The name of the output decides its format:
    .png, .jpg, .jpeg or .webp; only PNG keeps every known pixel bit-equal.
    """
    from app import local
    from app.folders import FillOptions

    fill_options = FillOptions(mask_polarity, grow, quality)
    local.fill_picture(image, mask, output, fill_options, _given(options))


@cli.command("fill-folder")
@click.argument("images", type=FOLDER)
@click.argument("masks", type=click.Path(exists=True, path_type=Path), required=False)
@click.option(
    "-o",
    "--output",
    type=click.Path(file_okay=False, path_type=Path),
    required=True,
    help="The folder of the results; made if it is not there.",
)
@click.option(
    "--report",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Where to write what failed and why, as JSON; by default report.json in the output folder.",
)
@_with(_FILL_OPTIONS)
@_with(_MODEL_OPTIONS)
def fill_folder(
    images: Path,
    masks: Path | None,
    output: Path,
    report: Path | None,
    mask_polarity: Any,
    grow: int,
    quality: int,
    **options: Any,
) -> None:
    """Fill every picture of the folder IMAGES and its subfolders, without a server.

    MASKS is one file for all pictures, or a folder with a mask of the same name (but for the suffix) for
    each; without it the pictures' own transparent pixels are filled. Results have the names of the pictures
    and keep their format; BMP, TIFF and AVIF become PNG.

    Results that are there already are skipped, so the same command goes on after an interruption. A picture
    that cannot be filled does not stop the others; if there are any, the exit status is 1.
    """
    from app import local
    from app.folders import FillOptions

    fill_options = FillOptions(mask_polarity, grow, quality)
    report = report or output / "report.json"
    result = local.fill_folder(images, masks, output, report, fill_options, _given(options))
    for failure in result.failed:
        click.echo(f"{failure.image}: {failure.reason}", err=True)
    click.echo(
        f"{result.filled} filled, {result.skipped} skipped as already there, {len(result.failed)} failed."
    )
    sys.exit(1 if result.failed else 0)


@cli.command()
@click.option("--checkpoint", type=FILE, help="Checkpoint file; by default the one of the settings.")
@click.option("--card", is_flag=True, help="Print the bundled checkpoint's model card instead.")
def models(checkpoint: Path | None, card: bool) -> None:
    """Show what a checkpoint is: its name, size, training, origin and scores."""
    from app import local

    if card and checkpoint:
        raise click.UsageError("--card is the bundled checkpoint's; leave --checkpoint out.")
    if card:
        click.echo(local.CARD.read_text(encoding="utf-8"))
        return
    facts = local.describe_checkpoint(checkpoint)
    width = max(map(len, facts))
    for name, value in facts.items():
        click.echo(f"{name:<{width}}  {value}")


def _given(options: dict[str, Any]) -> dict[str, Any]:
    """The options that were on the command line; the settings decide the others."""
    return {name: value for name, value in options.items() if value is not None}


def main() -> None:
    """The installed command."""
    try:
        sys.exit(cli(prog_name="inpaint-server", standalone_mode=False))
    except click.Abort:  # Ctrl+C before or after the work that can be continued
        sys.exit(INTERRUPTED)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
