import dataclasses
import hashlib
import json
import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import safetensors.torch
import torch
from safetensors import safe_open

from model_core import checkpoint
from model_core.checkpoint import (
    METADATA_KEY,
    CheckpointInfo,
    bundled_path,
    load_checkpoint,
    open_atomically,
    save_checkpoint,
)
from model_core.errors import CheckpointError
from model_core.networks import Generator

INFO = CheckpointInfo(
    name="test",
    steps=3,
    samples=12,
    provenance="noise",
    scores={"psnr": 21.5},
    created="2026-01-01T00:00:00+00:00",
)


def header_of(data: bytes) -> tuple[dict, bytes]:
    length = int.from_bytes(data[:8], "little")
    return json.loads(data[8 : 8 + length]), data[8 + length :]


def with_header(data: bytes, change: Callable[[dict], None]) -> bytes:
    """The same file with another header."""
    header, body = header_of(data)
    change(header)
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + body


def with_metadata(data: bytes, **fields: object) -> bytes:
    """The same file with other metadata fields; None removes one."""

    def change(header: dict) -> None:
        metadata = {**json.loads(header["__metadata__"][METADATA_KEY]), **fields}
        kept = {name: value for name, value in metadata.items() if value is not None}
        header["__metadata__"] = {METADATA_KEY: json.dumps(kept)}

    return with_header(data, change)


def with_tensors(data: bytes, change: Callable[[dict[str, torch.Tensor]], None]) -> bytes:
    tensors = safetensors.torch.load(data)
    change(tensors)
    return safetensors.torch.save(tensors, header_of(data)[0]["__metadata__"])


class TestRoundTrip:
    def test_weights_come_back_rounded_to_half_precision(
        self, tiny_generator: Generator, tiny_checkpoint: Path
    ):
        """Loading gives the saved weights, rounded once to float16, as float32."""
        loaded = load_checkpoint(tiny_checkpoint).generator

        saved = tiny_generator.state_dict()
        assert loaded.state_dict().keys() == saved.keys()
        for name, tensor in loaded.state_dict().items():
            assert tensor.dtype == saved[name].dtype
            assert torch.equal(tensor, saved[name].to(torch.float16).to(tensor.dtype))

    def test_saving_what_was_loaded_gives_the_same_file(self, tiny_checkpoint: Path, tmp_path: Path):
        """Half precision is lost once: the second file is byte-equal to the first."""
        loaded = load_checkpoint(tiny_checkpoint)

        save_checkpoint(tmp_path / "again", loaded.generator, loaded.info)

        assert (tmp_path / "again").read_bytes() == tiny_checkpoint.read_bytes()

    def test_info_config_and_digest(self, tiny_generator: Generator, tmp_path: Path):
        """Everything that a model card needs comes back with the weights."""
        path = tmp_path / "model.safetensors"
        save_checkpoint(path, tiny_generator, INFO)

        loaded = load_checkpoint(path)

        assert loaded.info == INFO
        assert loaded.generator.config == tiny_generator.config
        assert loaded.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
        assert loaded.parameters == sum(parameter.numel() for parameter in tiny_generator.parameters())

    def test_the_loaded_generator_is_ready_to_run(self, tiny_checkpoint: Path):
        """It is in eval mode, on the CPU, and computes."""
        generator = load_checkpoint(tiny_checkpoint).generator
        side = 4 * generator.config.size_multiple

        with torch.inference_mode():
            prediction = generator(torch.zeros(1, 3, side, side), torch.ones(1, 1, side, side)).prediction

        assert not generator.training
        assert prediction.shape == (1, 3, side, side)
        assert prediction.isfinite().all()

    def test_loading_draws_no_random_numbers(self, tiny_checkpoint: Path):
        """A training run that loads a checkpoint keeps its place in the random sequence."""
        before = torch.get_rng_state()

        load_checkpoint(tiny_checkpoint)

        assert torch.equal(torch.get_rng_state(), before)

    def test_weights_in_channels_last_are_saved(
        self, tiny_generator: Generator, tiny_checkpoint: Path, tmp_path: Path
    ):
        """The order in memory during training does not reach the file."""
        generator = Generator(tiny_generator.config).to(memory_format=torch.channels_last)
        generator.load_state_dict(tiny_generator.state_dict())

        save_checkpoint(tmp_path / "model", generator, load_checkpoint(tiny_checkpoint).info)

        assert (tmp_path / "model").read_bytes() == tiny_checkpoint.read_bytes()

    def test_other_readers_of_safetensors_read_it(self, tiny_checkpoint: Path):
        """The file is plain safetensors, half precision throughout, with the documented metadata."""
        with safe_open(tiny_checkpoint, framework="pt") as file:
            assert set(file.metadata()) == {METADATA_KEY}
            dtypes = {file.get_tensor(name).dtype for name in file.keys()}

        assert dtypes == {torch.float16}


class TestAtomicWriting:
    def test_a_failure_leaves_the_old_file(self, tmp_path: Path):
        """When the writer fails half way, the old bytes stay and nothing else does."""
        path = tmp_path / "model"
        path.write_bytes(b"old")

        def write_half() -> None:
            with open_atomically(path) as file:
                file.write(b"ne")
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            write_half()

        assert path.read_bytes() == b"old"
        assert list(tmp_path.iterdir()) == [path]

    def test_success_replaces_the_file(self, tmp_path: Path):
        """The new bytes take the old file's place, and no temporary file stays."""
        path = tmp_path / "model"
        path.write_bytes(b"old")

        with open_atomically(path) as file:
            file.write(b"new")

        assert path.read_bytes() == b"new"
        assert list(tmp_path.iterdir()) == [path]

    @pytest.mark.skipif(os.name != "posix", reason="open files cannot be replaced elsewhere")
    def test_a_reader_of_the_old_file_is_not_disturbed(self, tmp_path: Path):
        """Who has begun to read gets the old bytes to the end."""
        path = tmp_path / "model"
        path.write_bytes(b"old")

        with open(path, "rb") as reader:
            with open_atomically(path) as file:
                file.write(b"new")
            assert reader.read() == b"old"

    @pytest.mark.skipif(os.name != "posix", reason="permission bits are POSIX")
    def test_others_may_read_it(self, tiny_checkpoint: Path):
        """A service under another user reads what training wrote, as the umask allows."""
        umask = os.umask(0)
        os.umask(umask)

        assert tiny_checkpoint.stat().st_mode & 0o777 == 0o666 & ~umask

    def test_a_missing_folder_is_named(self, tiny_generator: Generator, tmp_path: Path):
        """Saving does not create folders; it says which file could not be written."""
        path = tmp_path / "missing" / "model"

        with pytest.raises(CheckpointError, match="cannot be written") as caught:
            save_checkpoint(path, tiny_generator, INFO)

        assert str(path) in str(caught.value)

    @pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e6])
    def test_weights_beyond_half_precision_are_not_saved(
        self, tiny_checkpoint: Path, tmp_path: Path, value: float
    ):
        """A diverged generator never becomes a checkpoint."""
        generator = load_checkpoint(tiny_checkpoint).generator
        name, parameter = next(iter(generator.named_parameters()))
        with torch.no_grad():
            parameter.view(-1)[0] = value

        with pytest.raises(CheckpointError, match="not finite") as caught:
            save_checkpoint(tmp_path / "model", generator, INFO)

        assert name in str(caught.value)
        assert list(tmp_path.iterdir()) == []


def flip_header_bit(data: bytes) -> bytes:
    return data[:9] + bytes([data[9] ^ 0x80]) + data[10:]


def without_first(tensors: dict[str, torch.Tensor]) -> None:
    del tensors[min(tensors)]


def with_extra(tensors: dict[str, torch.Tensor]) -> None:
    tensors["surplus"] = torch.zeros(1)


def with_nan(tensors: dict[str, torch.Tensor]) -> None:
    tensors[min(tensors)].view(-1)[0] = torch.nan


def with_other_shape(tensors: dict[str, torch.Tensor]) -> None:
    tensors[min(tensors)] = torch.zeros(2, 3, 5, 7, dtype=torch.float16)


def with_other_dtype(tensors: dict[str, torch.Tensor]) -> None:
    tensors[min(tensors)] = tensors[min(tensors)].float()


def with_unknown_dtype(header: dict) -> None:
    first = min(name for name in header if name != "__metadata__")
    header[first]["dtype"] = "F12"


def with_info(data: bytes, **changes: object) -> bytes:
    return with_metadata(data, info={**dataclasses.asdict(INFO), **changes})


def with_metadata_text(data: bytes, **strings: object) -> bytes:
    return with_header(data, lambda header: header.update(__metadata__=strings))


DAMAGES: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "empty": (lambda data: b"", "no safetensors file"),
    "shorter than a length": (lambda data: data[:5], "no safetensors file"),
    "cut in the header": (lambda data: data[:100], "no safetensors file"),
    "cut in the tensors": (lambda data: data[:-10], "damaged"),
    "bytes after the tensors": (lambda data: data + b"\0" * 10, "damaged"),
    "flipped bit in the header": (flip_header_bit, "header is not JSON"),
    "header longer than allowed": (lambda data: (2**40).to_bytes(8, "little") + data[8:], "no safetensors"),
    "header is a list": (lambda data: (2).to_bytes(8, "little") + b"[]", "header is a list"),
    "header nested without end": (
        lambda data: (10**6).to_bytes(8, "little") + b"[" * 10**6,
        "header is not JSON",
    ),
    "pickle": (lambda data: pickle.dumps({"weights": [1.0] * 100}), "no safetensors file"),
    "text": (lambda data: b"this is not a checkpoint at all\n" * 9, "no safetensors file"),
    "no metadata": (
        lambda data: with_header(data, lambda header: header.pop("__metadata__")),
        "__metadata__ is a NoneType",
    ),
    "metadata of another program": (lambda data: with_metadata_text(data, format="pt"), r"has \['format'\]"),
    "metadata is not JSON": (lambda data: with_metadata_text(data, **{METADATA_KEY: "{"}), "is not JSON"),
    "metadata is a list": (lambda data: with_metadata_text(data, **{METADATA_KEY: "[]"}), "is a list"),
    "a later version": (
        lambda data: with_metadata(data, format_version=2),
        "format_version is 2, expected 1",
    ),
    "no version": (lambda data: with_metadata(data, format_version=None), "format_version is None"),
    "unknown metadata": (lambda data: with_metadata(data, surplus="x"), "surplus"),
    "no info": (lambda data: with_metadata(data, info=None), "expected .*'info'"),
    "config is a list": (lambda data: with_metadata(data, config=[]), "config is a list"),
    "unknown config field": (lambda data: with_metadata(data, config={"surplus": 1}), "config: .*surplus"),
    "config of another generator": (lambda data: with_metadata(data, config={}), "tensor"),
    "info lacks a field": (lambda data: with_metadata(data, info={"name": "x"}), "info has the fields"),
    "info of another type": (lambda data: with_info(data, steps="3"), "info.steps is a str"),
    "a score in words": (lambda data: with_info(data, scores={"psnr": "high"}), "scores.psnr"),
    "a moment in words": (lambda data: with_info(data, created="yesterday"), "created is 'yesterday'"),
    "a moment without a zone": (
        lambda data: with_info(data, created="2026-01-01T00:00:00"),
        "time zone",
    ),
    "missing tensor": (lambda data: with_tensors(data, without_first), "lacks tensors"),
    "extra tensor": (lambda data: with_tensors(data, with_extra), "unexpected tensors: surplus"),
    "tensor of another shape": (
        lambda data: with_tensors(data, with_other_shape),
        r"\(2, 3, 5, 7\) float16, expected",
    ),
    "tensor of another dtype": (
        lambda data: with_tensors(data, with_other_dtype),
        "float32, expected .*float16",
    ),
    "unknown dtype": (lambda data: with_header(data, with_unknown_dtype), "damaged"),
    "tensor with NaN": (lambda data: with_tensors(data, with_nan), "not finite"),
}


class TestDamage:
    @pytest.mark.parametrize("kind", DAMAGES)
    def test_a_damaged_file_is_refused_and_named(self, tiny_checkpoint: Path, tmp_path: Path, kind: str):
        """Each damage gives a CheckpointError that names the file and what is wrong with it."""
        damage, message = DAMAGES[kind]
        path = tmp_path / "damaged.safetensors"
        path.write_bytes(damage(tiny_checkpoint.read_bytes()))

        with pytest.raises(CheckpointError, match=message) as caught:
            load_checkpoint(path)

        assert str(path) in str(caught.value)

    def test_an_unchanged_copy_is_not_refused(self, tiny_checkpoint: Path, tmp_path: Path):
        """The tools of this test do not damage by themselves."""
        path = tmp_path / "copy.safetensors"
        data = with_metadata(with_tensors(tiny_checkpoint.read_bytes(), lambda tensors: None))
        path.write_bytes(data)

        assert load_checkpoint(path).info.name == "tiny"

    def test_a_huge_config_allocates_nothing(self, tiny_checkpoint: Path, tmp_path: Path):
        """A configuration far larger than the file is refused by its shapes, before any memory is taken."""
        config = {"coarse_width": 1024, "refine_width": 1024}
        path = tmp_path / "huge.safetensors"
        path.write_bytes(with_metadata(tiny_checkpoint.read_bytes(), config=config))

        with pytest.raises(CheckpointError, match="tensor"):
            load_checkpoint(path)

    @pytest.mark.parametrize(("name", "reason"), [("missing", "No such file"), (".", "directory")])
    def test_a_file_that_cannot_be_read(self, tmp_path: Path, name: str, reason: str):
        """A missing file and a folder are named with the system's reason."""
        with pytest.raises(CheckpointError, match=reason):
            load_checkpoint(tmp_path / name)

    def test_a_file_beyond_the_limit_is_refused(self, tmp_path: Path):
        """The limit holds before anything is parsed, with the number in the message."""
        path = tmp_path / "large"
        with open(path, "wb") as file:
            file.truncate(checkpoint.MAX_FILE_BYTES + 1)

        with pytest.raises(CheckpointError, match=str(checkpoint.MAX_FILE_BYTES)):
            load_checkpoint(path)


def test_the_bundled_checkpoint_lies_in_the_package():
    """The default path is inside model_core, whatever the working directory."""
    assert bundled_path() == Path(checkpoint.__file__).parent / "weights" / "default.safetensors"


def test_loading_imports_nothing_large(tiny_checkpoint: Path):
    """A service starts sooner because building the empty networks makes torch import no computer algebra."""
    script = (
        "import sys; from model_core.checkpoint import load_checkpoint; before = set(sys.modules); "
        "load_checkpoint(sys.argv[1]); print(len(set(sys.modules) - before))"
    )

    done = subprocess.run(
        [sys.executable, "-c", script, str(tiny_checkpoint)], capture_output=True, text=True, timeout=120
    )

    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 50
