"""The command line: `python -m training fit|prune|distil|evaluate|export`."""

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from model_core.allocator import settle_allocator
from model_core.checkpoint import load_checkpoint
from model_core.devices import choose_device, choose_precision
from model_core.errors import ModelCoreError
from model_core.inpainter import Inpainter
from training.cases import Case, given_cases, validation_cases
from training.config import TrainConfig, load_config
from training.distil import distil
from training.errors import OptionError, TrainingError
from training.evaluate import evaluate, table
from training.export import export, read_scores
from training.flags import add_flags, changes_from_flags, merge
from training.loop import fit
from training.prune import PRUNED, prune_checkpoint
from training.state import FILE_NAME, averaged_generator


def main(arguments: list[str] | None = None) -> int:
    """Run one command; returns the process's exit status, 2 for what the user can put right."""
    options = build_parser().parse_args(arguments)
    settle_allocator()
    try:
        status: int = options.command(options)
    except (TrainingError, ModelCoreError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return status


def build_parser() -> argparse.ArgumentParser:
    """All commands and their flags."""
    parser = argparse.ArgumentParser(prog="python -m training", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    add_fit(commands.add_parser("fit", help="train a generator on a folder of pictures"))
    add_prune(commands.add_parser("prune", help="leave out what does little in a generator"))
    add_distil(commands.add_parser("distil", help="teach a pruned generator what the whole one paints"))
    add_evaluate(commands.add_parser("evaluate", help="score a generator beside OpenCV's methods"))
    add_export(commands.add_parser("export", help="make the service's checkpoint from a training run"))
    return parser


def add_fit(parser: argparse.ArgumentParser) -> None:
    """The flags of `fit`: one for every field of the configuration."""
    parser.set_defaults(command=run_fit)
    parser.add_argument(
        "--config", metavar="FILE", help="JSON file with any of the fields below; flags override it"
    )
    parser.add_argument("--dry-run", action="store_true", help="print the configuration and stop")
    add_flags(parser)


def run_fit(options: argparse.Namespace) -> int:
    """Train, or print what would be trained."""
    config = resolve_config(options)
    if options.dry_run:
        print(json.dumps(config.to_dict(), indent=2))
        return 0
    return fit(config)


def add_prune(parser: argparse.ArgumentParser) -> None:
    """The flags of `prune`: a new size for each field that may become smaller."""
    parser.set_defaults(command=run_prune)
    parser.add_argument("--checkpoint", type=Path, required=True, metavar="FILE", help="the whole one")
    parser.add_argument("--output", type=Path, required=True, metavar="FILE", help="the checkpoint to write")
    parser.add_argument(
        "--data", required=True, metavar="DIR", help="pictures to see on what each channel does"
    )
    for name in PRUNED:
        parser.add_argument("--" + name.replace("_", "-"), type=int, help="how many stay; default: all")


def run_prune(options: argparse.Namespace) -> int:
    """Write the smaller checkpoint and say what it is."""
    sizes = {name: getattr(options, name) for name in PRUNED if getattr(options, name) is not None}
    prune_checkpoint(options.checkpoint, options.output, options.data, sizes)
    print(f"written: {options.output} ({', '.join(f'{name} {size}' for name, size in sizes.items())})")
    return 0


def add_distil(parser: argparse.ArgumentParser) -> None:
    """The flags of `distil`: those of `fit`, of which --init is needed."""
    parser.description = (
        "Takes the flags of fit; those of losses and discriminator have no effect, "
        "and the generator is that of --init."
    )
    parser.set_defaults(command=run_distil)
    parser.add_argument("--config", metavar="FILE", help="as of fit")
    parser.add_argument("--teacher", required=True, metavar="FILE", help="the checkpoint to learn from")
    add_flags(parser)


def run_distil(options: argparse.Namespace) -> int:
    """Train a generator to paint what another one paints."""
    return distil(resolve_config(options), options.teacher)


def resolve_config(options: argparse.Namespace) -> TrainConfig:
    """Defaults, then the configuration of the run to resume, then --config, then flags; the last one wins."""
    values: dict[str, Any] = {}
    if options.config:
        values = load_config(options.config)
    values = merge(values, changes_from_flags(options))
    run = Path(values.get("run", TrainConfig.run))
    resumes = (run / FILE_NAME).exists()
    if resumes:
        values = merge(load_config(run / "config.json"), values)
    elif values.get("init"):
        stored = load_checkpoint(values["init"]).generator.config
        values = merge(values, {"generator": stored.to_dict()})
    return TrainConfig.from_dict(values)


def add_evaluate(parser: argparse.ArgumentParser) -> None:
    """The flags of `evaluate`."""
    parser.set_defaults(command=run_evaluate)
    model = parser.add_mutually_exclusive_group(required=True)
    model.add_argument("--checkpoint", type=Path, metavar="FILE", help="an exported checkpoint")
    model.add_argument(
        "--run", type=Path, metavar="DIR", help="a training run; its averaged weights are scored"
    )
    pictures = parser.add_mutually_exclusive_group(required=True)
    pictures.add_argument(
        "--data", type=Path, metavar="DIR", help="pictures; those kept out of training are used"
    )
    pictures.add_argument(
        "--images", type=Path, metavar="DIR", help="pictures, all of which are used, with --masks"
    )
    parser.add_argument("--masks", type=Path, metavar="DIR", help="NAME.png for each picture, white = hole")
    parser.add_argument(
        "--output", type=Path, default=Path("runs/evaluation"), metavar="DIR", help="default: %(default)s"
    )
    parser.add_argument(
        "--size", type=int, default=512, help="side of the squares made from --data (%(default)s)"
    )
    parser.add_argument("--limit", type=int, default=0, help="score only so many pictures; 0 = all")
    parser.add_argument(
        "--sheet-rows", type=int, default=12, help="cases shown of each kind of mask (%(default)s)"
    )
    parser.add_argument("--seed", type=int, default=7, help="of the masks drawn for --data (%(default)s)")
    parser.add_argument(
        "--validation-share", type=float, default=None, help="default: the run's own, or fit's default"
    )
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:N or mps")
    parser.add_argument("--precision", default="auto", help="auto, int8, bf16, fp16 or fp32")
    parser.add_argument("--threads", type=int, default=0, help="CPU threads; 0 = torch's choice")


def run_evaluate(options: argparse.Namespace) -> int:
    """Score, print the table, and name the files."""
    if options.threads:
        torch.set_num_threads(options.threads)
    if options.checkpoint:
        inpainter = Inpainter.from_checkpoint(options.checkpoint, options.device, options.precision)
        share = TrainConfig.validation_share
    else:
        generator, values = averaged_generator(options.run / FILE_NAME)
        device = choose_device(options.device)
        inpainter = Inpainter(generator, [device], choose_precision(options.precision, device))
        share = values["config"]["validation_share"]
    cases = chosen_cases(options, share)
    print(table(evaluate(inpainter, cases, options.output, options.sheet_rows)))
    print(f"written: {options.output / 'scores.json'} and a contact sheet for each kind of mask")
    return 0


def chosen_cases(options: argparse.Namespace, share: float) -> Iterator[Case]:
    """The cases that the flags of `evaluate` name.

    Raises:
        OptionError: --images comes without --masks, or the other way round.
    """
    if (options.images is None) != (options.masks is None):
        raise OptionError("--images and --masks belong together; give both or neither")
    if options.images:
        return given_cases(options.images, options.masks, options.limit)
    kept_out = share if options.validation_share is None else options.validation_share
    return validation_cases(options.data, kept_out, options.size, options.seed, options.limit)


def add_export(parser: argparse.ArgumentParser) -> None:
    """The flags of `export`."""
    parser.set_defaults(command=run_export)
    parser.add_argument("--run", type=Path, required=True, metavar="DIR", help="the training run")
    parser.add_argument("--output", type=Path, required=True, metavar="FILE", help="the checkpoint to write")
    parser.add_argument("--name", default="inpainting", help="the model's name (%(default)s)")
    parser.add_argument(
        "--provenance", required=True, metavar="TEXT", help="training data and their licences"
    )
    parser.add_argument(
        "--scores", type=Path, metavar="FILE", help="scores.json of `evaluate`, to be carried along"
    )


def run_export(options: argparse.Namespace) -> int:
    """Write the checkpoint and say what it is."""
    scores = read_scores(options.scores) if options.scores else {}
    info = export(options.run / FILE_NAME, options.output, options.name, options.provenance, scores)
    print(f"written: {options.output} ({info.name}, {info.steps} steps, {info.samples} samples)")
    return 0


if __name__ == "__main__":
    sys.exit(main())
