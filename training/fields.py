"""Nested frozen dataclasses made from plain values, every field checked against its annotation."""

import dataclasses
import typing
from typing import Any, Literal, TypeVar

from model_core.config import GeneratorConfig
from training.errors import OptionError

T = TypeVar("T")


def build(cls: type[T], values: Any, path: str) -> T:
    """An instance of the dataclass `cls` from a dict; `path` leads to it in messages.

    Raises:
        OptionError: a field is unknown or of another type.
        ConfigError: the same in a generator's configuration.
    """
    if not isinstance(values, dict):
        raise OptionError(f"{path.rstrip('.')} is {values!r}; expected an object")
    hints = typing.get_type_hints(cls)
    unknown = sorted(set(values) - set(hints))
    if unknown:
        raise OptionError(f"unknown field {path}{unknown[0]}; known: {', '.join(sorted(hints))}")
    return cls(**{name: _checked(hints[name], value, path + name) for name, value in values.items()})


def _checked(hint: Any, value: Any, name: str) -> Any:
    if hint is GeneratorConfig:
        return GeneratorConfig.from_dict(value)
    if dataclasses.is_dataclass(hint):
        return build(typing.cast(type, hint), value, name + ".")
    if typing.get_origin(hint) is Literal:
        if value not in typing.get_args(hint):
            raise OptionError(
                f"{name} is {value!r}; expected one of {', '.join(map(str, typing.get_args(hint)))}"
            )
        return value
    if hint is float and type(value) is int:
        return float(value)
    if type(value) is not hint:
        raise OptionError(f"{name} is {value!r}; expected {hint.__name__}")
    return value


def leaves(values: dict[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    """The innermost fields of nested dicts, with their dotted names."""
    found: list[tuple[str, Any]] = []
    for name, value in values.items():
        found += leaves(value, f"{prefix}{name}.") if isinstance(value, dict) else [(prefix + name, value)]
    return found
