"""The command line: `python -m training fit|evaluate|export`."""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from model_core.checkpoint import load_checkpoint
from model_core.errors import ModelCoreError
from training.config import TrainConfig, add_flags, changes_from_flags, load_config, merge
from training.errors import TrainingError
from training.loop import fit
from training.state import FILE_NAME


def main(arguments: list[str] | None = None) -> int:
    """Run one command; returns the process's exit status, 2 for what the user can put right."""
    options = build_parser().parse_args(arguments)
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
    return parser


def add_fit(parser: argparse.ArgumentParser) -> None:
    """The flags of `fit`: one for every field of the configuration."""
    parser.set_defaults(command=run_fit)
    parser.add_argument("--config", metavar="FILE", help="JSON file with any of the fields below; flags override it")
    parser.add_argument("--dry-run", action="store_true", help="print the configuration and stop")
    add_flags(parser)


def run_fit(options: argparse.Namespace) -> int:
    """Train, or print what would be trained."""
    config = resolve_config(options)
    if options.dry_run:
        print(json.dumps(config.to_dict(), indent=2))
        return 0
    return fit(config)


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


if __name__ == "__main__":
    sys.exit(main())
