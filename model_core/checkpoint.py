"""Checkpoints: one safetensors file that holds a generator, its configuration and where it came from.

The format, version 1. A file is, in this order:

    8 bytes          N, the header's length: an unsigned little-endian 64-bit integer, at most 4 MiB
    N bytes          the header: JSON in UTF-8
    the rest         the tensors' bytes, little-endian, row-major, one after another without gaps

The header maps each tensor's name to {"dtype", "shape", "data_offsets"} as safetensors defines, and the name
`__metadata__` to an object with the one key `inpainting_generator`. Its value is JSON in a string, as
safetensors allows only strings there, and a single one, as it writes several in any order; the same model
gives the same bytes. That JSON is an object with exactly these fields:

    format_version   1
    config           the fields of `GeneratorConfig`
    info             the fields of `CheckpointInfo`

Rules, all checked when a file is loaded:

-   The tensors are exactly those of `Generator(config).state_dict()`: none missing, none extra, shapes equal.
-   Floating tensors are stored as F16, whatever they were trained in, and loaded as float32. Other tensors
    (counters of batch norms, indices) keep their dtype.
-   Every value is finite. A weight beyond the half-precision range is refused when it is saved.
-   `info.created` is a moment in ISO 8601 with its time zone.
-   A file is at most 256 MiB.

What is not allowed, and why: pickled objects (loading them runs code), optimizers, discriminators and random
states (they belong to training and have a file of their own), and fields unknown to this version (a reader
that ignores what it does not know serves another model than the one that was measured).

A file is written beside its destination and moved over it: a reader sees the old file or the new one, whole.
"""

import contextlib
import dataclasses
import hashlib
import importlib.resources
import json
import os
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

from model_core.config import GeneratorConfig
from model_core.errors import CheckpointError, ConfigError
from model_core.networks import Generator

METADATA_KEY = "inpainting_generator"
FORMAT_VERSION = 1
MAX_FILE_BYTES = 256 * 1024**2
MAX_HEADER_BYTES = 4 * 1024**2


@dataclasses.dataclass(frozen=True)
class CheckpointInfo:
    """Where a checkpoint came from.

    Attributes:
        name: the model's name, as the service reports it.
        steps: optimizer steps of the generator.
        samples: pictures seen during training.
        provenance: the training data and their licences, in words.
        scores: what the model reached, by name of the measure.
        created: the moment of saving, ISO 8601 with time zone.
    """

    name: str
    steps: int
    samples: int
    provenance: str
    scores: dict[str, float]
    created: str


class Checkpoint(NamedTuple):
    """A loaded checkpoint.

    Attributes:
        generator: in eval mode, float32 parameters on the CPU.
        info: where it came from.
        sha256: hexadecimal digest of the file's bytes.
        parameters: how many numbers the generator learned.
    """

    generator: Generator
    info: CheckpointInfo
    sha256: str
    parameters: int


def bundled_path() -> Path:
    """Where the checkpoint that comes with this package lies."""
    return Path(str(importlib.resources.files("model_core") / "weights" / "default.safetensors"))


def save_checkpoint(path: str | Path, generator: Generator, info: CheckpointInfo) -> None:
    """Write `generator` and `info` to `path`, replacing what is there in one step. Folders are not created.

    Raises:
        CheckpointError: a weight is not finite in half precision, the result is larger than a checkpoint may
            be, or the file cannot be written.
    """
    path = Path(path)
    metadata = {
        "format_version": FORMAT_VERSION,
        "config": generator.config.to_dict(),
        "info": dataclasses.asdict(info),
    }
    tensors = {name: _stored(tensor) for name, tensor in generator.state_dict().items()}
    _require_finite(path, tensors)
    data = safetensors.torch.save(tensors, {METADATA_KEY: json.dumps(metadata)})
    _require_size(path, len(data))
    try:
        with open_atomically(path) as file:
            file.write(data)
    except OSError as error:
        raise CheckpointError(f"checkpoint {path} cannot be written: {error.strerror}") from error


def load_checkpoint(path: str | Path) -> Checkpoint:
    """Read and check the checkpoint at `path`.

    Raises:
        CheckpointError: the file is missing, too large, damaged, of another format or version, or its tensors
            are not those of its configuration. The message names the file and the field.
    """
    path = Path(path)
    data = _read(path)
    metadata = _metadata(path, data)
    config = _config(path, metadata["config"])
    info = _info(path, metadata["info"])
    try:
        tensors = safetensors.torch.load(data)
    except (SafetensorError, KeyError) as error:
        raise CheckpointError(f"checkpoint {path} is damaged: {error}") from error
    # On the meta device nothing is allocated or drawn at random before the file's tensors are known to fit.
    with torch.device("meta"):
        generator = Generator(config).eval()
    _require_same_tensors(path, expected=generator.state_dict(), found=tensors)
    _require_finite(path, tensors)
    generator.load_state_dict({name: _loaded(tensor) for name, tensor in tensors.items()}, assign=True)
    parameters = sum(parameter.numel() for parameter in generator.parameters())
    return Checkpoint(generator, info, hashlib.sha256(data).hexdigest(), parameters)


@contextlib.contextmanager
def open_atomically(path: Path) -> Iterator[BinaryIO]:
    """A new binary file that takes the place of `path` when the block ends well, and vanishes otherwise."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def _stored(tensor: Tensor) -> Tensor:
    dtype = torch.float16 if tensor.is_floating_point() else tensor.dtype
    return tensor.detach().to("cpu", dtype).contiguous()


def _loaded(tensor: Tensor) -> Tensor:
    return tensor.float() if tensor.is_floating_point() else tensor.clone()


def _read(path: Path) -> bytes:
    try:
        with open(path, "rb") as file:
            data = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise CheckpointError(f"checkpoint {path} cannot be read: {error.strerror}") from error
    _require_size(path, len(data))
    return data


def _require_size(path: Path, size: int) -> None:
    if size > MAX_FILE_BYTES:
        raise CheckpointError(f"checkpoint {path} is larger than the limit of {MAX_FILE_BYTES} bytes")


def _metadata(path: Path, data: bytes) -> dict[str, Any]:
    """What the header says of the checkpoint, of the version that this module reads."""
    length = int.from_bytes(data[:8], "little")
    if len(data) < 8 or length > min(len(data) - 8, MAX_HEADER_BYTES):
        raise CheckpointError(
            f"checkpoint {path} is no safetensors file: its {len(data)} bytes begin with no header's length"
        )
    header = _object(path, "header", _parsed(path, "header", data[8 : 8 + length]))
    strings = _object(path, "__metadata__", header.get("__metadata__"))
    if strings.keys() != {METADATA_KEY}:
        raise CheckpointError(
            f"checkpoint {path}: __metadata__ has {sorted(strings)}, expected {METADATA_KEY}"
        )
    metadata = _object(path, METADATA_KEY, _parsed(path, METADATA_KEY, strings[METADATA_KEY]))
    version = metadata.get("format_version")
    if version != FORMAT_VERSION:
        raise CheckpointError(f"checkpoint {path}: format_version is {version!r}, expected {FORMAT_VERSION}")
    _require_fields(path, METADATA_KEY, metadata, {"format_version", "config", "info"})
    return metadata


def _parsed(path: Path, field: str, text: str | bytes) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"checkpoint {path}: {field} is not JSON: {error}") from error


def _object(path: Path, field: str, value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise CheckpointError(f"checkpoint {path}: {field} is a {type(value).__name__}, expected an object")
    return value


def _require_fields(path: Path, field: str, values: dict[str, Any], expected: set[str]) -> None:
    if values.keys() != expected:
        raise CheckpointError(
            f"checkpoint {path}: {field} has the fields {sorted(values)}, expected {sorted(expected)}"
        )


def _config(path: Path, value: Any) -> GeneratorConfig:
    try:
        return GeneratorConfig.from_dict(_object(path, "config", value))
    except ConfigError as error:
        raise CheckpointError(f"checkpoint {path}: config: {error}") from error


def _info(path: Path, value: Any) -> CheckpointInfo:
    values = _object(path, "info", value)
    types = {"name": str, "steps": int, "samples": int, "provenance": str, "scores": dict, "created": str}
    _require_fields(path, "info", values, set(types))
    for field, expected in types.items():
        found = type(values[field])
        if found is not expected:
            raise CheckpointError(
                f"checkpoint {path}: info.{field} is a {found.__name__}, expected {expected.__name__}"
            )
    for name, score in values["scores"].items():
        if type(score) not in (int, float):
            raise CheckpointError(f"checkpoint {path}: info.scores.{name} is {score!r}, expected a number")
    if not _is_moment(values["created"]):
        raise CheckpointError(
            f"checkpoint {path}: info.created is {values['created']!r}, expected ISO 8601 with a time zone"
        )
    return CheckpointInfo(**values)


def _is_moment(text: str) -> bool:
    try:
        return datetime.fromisoformat(text).tzinfo is not None
    except ValueError:
        return False


def _require_same_tensors(path: Path, expected: dict[str, Tensor], found: dict[str, Tensor]) -> None:
    for what, names in (
        ("lacks", expected.keys() - found.keys()),
        ("has unexpected", found.keys() - expected.keys()),
    ):
        if names:
            raise CheckpointError(
                f"checkpoint {path} {what} tensors: {', '.join(sorted(names)[:5])} ({len(names)})"
            )
    for name, tensor in expected.items():
        dtype = torch.float16 if tensor.is_floating_point() else tensor.dtype
        if (found[name].shape, found[name].dtype) != (tensor.shape, dtype):
            raise CheckpointError(
                f"checkpoint {path}: tensor {name} is {_describe(found[name].shape, found[name].dtype)}, "
                f"expected {_describe(tensor.shape, dtype)}"
            )


def _describe(shape: torch.Size, dtype: torch.dtype) -> str:
    return f"{tuple(shape)} {str(dtype).removeprefix('torch.')}"


def _require_finite(path: Path, tensors: dict[str, Tensor]) -> None:
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not tensor.isfinite().all():
            raise CheckpointError(
                f"checkpoint {path}: tensor {name} holds values that are not finite in float16"
            )
