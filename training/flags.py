"""Command line flags made from the fields of the configuration."""

import argparse
from typing import Any

from training.config import TrainConfig
from training.errors import OptionError
from training.fields import leaves


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Add a flag for every field: --batch-size, and --losses.perceptual for those of nested parts."""
    for name, default in leaves(TrainConfig().to_dict()):
        flag = "--" + name.replace("_", "-")
        parser.add_argument(
            flag, dest=name, metavar=type(default).__name__.upper(), help=f"default: {default!r}"
        )


def changes_from_flags(arguments: argparse.Namespace) -> dict[str, Any]:
    """The fields given on the command line, nested like `TrainConfig.to_dict`.

    Raises:
        OptionError: a value cannot be read as its field's type.
    """
    changes: dict[str, Any] = {}
    for name, default in leaves(TrainConfig().to_dict()):
        text = getattr(arguments, name)
        if text is not None:
            *parents, field = name.split(".")
            place = changes
            for parent in parents:
                place = place.setdefault(parent, {})
            place[field] = _parse(name, text, type(default))
    return changes


def merge(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """`base` with `changes` laid over it, nested objects field by field."""
    merged = dict(base)
    for name, value in changes.items():
        inner = merged.get(name)
        merged[name] = merge(inner, value) if isinstance(inner, dict) and isinstance(value, dict) else value
    return merged


def _parse(name: str, text: str, kind: type) -> Any:
    words = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
    try:
        return words[text.lower()] if kind is bool else kind(text)
    except (KeyError, ValueError) as error:
        raise OptionError(f"{name} is {text!r}; expected {kind.__name__}") from error
