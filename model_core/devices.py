"""Which device the generator runs on, and in which precision."""

import contextlib
import threading
import traceback
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from typing import TypeVar

import torch

from model_core.errors import DeviceError, OutOfMemoryError

T = TypeVar("T")

PRECISIONS = {"int8": torch.int8, "bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}


def available_devices() -> list[str]:
    """The devices that this machine offers, best first, as names that `choose_device` takes."""
    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    names = [f"cuda:{index}" for index in range(gpus)]
    if torch.backends.mps.is_available():
        names.append("mps")
    return [*names, "cpu"]


def choose_device(name: str) -> torch.device:
    """The device called `name`: "auto" (the best that is there), "cuda", "cuda:N", "mps" or "cpu".

    Raises:
        DeviceError: this machine has no such device.
    """
    offered = available_devices()
    wanted = {"auto": offered[0], "cuda": "cuda:0"}.get(name, name)
    if wanted not in offered:
        raise DeviceError(f"there is no device {name!r} here; this machine offers: {', '.join(offered)}")
    return torch.device(wanted)


def choose_devices(name: str) -> list[torch.device]:
    """Every device that `name` stands for: "auto" is all GPUs of the best kind, or else the CPU.

    Raises:
        DeviceError: this machine has no such device.
    """
    first = choose_device(name)
    if name == "auto" and first.type == "cuda":
        return [torch.device(offered) for offered in available_devices() if offered.startswith("cuda")]
    return [first]


def choose_precision(name: str, device: torch.device) -> torch.dtype:
    """The precision called `name` on `device`: "auto", "int8", "bf16", "fp16" or "fp32".

    "auto" takes int8 on a CPU with instructions for it (AVX512-VNNI, AVX-VNNI or AMX), otherwise the same as
    `fast_floats`. With int8, what is not computed in it is computed in those.

    Raises:
        DeviceError: the precision has no such name, or the device cannot compute in it.
    """
    # Not every torch is built with oneDNN, which computes in them.
    built = hasattr(torch.ops.onednn, "qconv2d_pointwise")
    integers = device.type == "cpu" and built and computes_int8(torch.cpu.get_capabilities())
    if name == "auto":
        return torch.int8 if integers else fast_floats(device)
    if name not in PRECISIONS:
        raise DeviceError(f"there is no precision {name!r}; expected auto, {', '.join(PRECISIONS)}")
    if name == "fp16" and device.type == "cpu":
        raise DeviceError("precision fp16 needs a GPU; on the CPU take auto, bf16 or fp32")
    if name == "int8" and not integers:
        raise DeviceError("precision int8 needs a CPU with AVX512-VNNI, AVX-VNNI or AMX; take auto")
    return PRECISIONS[name]


def fast_floats(device: torch.device) -> torch.dtype:
    """The fastest floats that are safe on `device`.

    Half precision where the device computes it natively: bfloat16 or else float16 on CUDA, bfloat16 on a CPU
    with AVX512-BF16, AMX or Arm's extension for it; float32 everywhere else.
    """
    if device.type == "cuda":
        native = torch.cuda.is_bf16_supported(including_emulation=False)
        return torch.bfloat16 if native else torch.float16
    if device.type == "cpu" and computes_bf16(torch.cpu.get_capabilities()):
        return torch.bfloat16
    return torch.float32


def precision_name(precision: torch.dtype) -> str:
    """The name of one of the four precisions: "int8", "bf16", "fp16" or "fp32"."""
    return {dtype: name for name, dtype in PRECISIONS.items()}[precision]


def computes_bf16(capabilities: Mapping[str, object]) -> bool:
    """Whether a CPU with these capabilities (`torch.cpu.get_capabilities`) multiplies bfloat16 natively."""
    return any(capabilities.get(flag) for flag in ("amx_bf16", "avx512_bf16", "bf16", "sve_bf16"))


def computes_int8(capabilities: Mapping[str, object]) -> bool:
    """Whether a CPU with these capabilities multiplies whole numbers of 8 bits natively."""
    return any(capabilities.get(flag) for flag in ("amx_int8", "avx512_vnni", "avx_vnni"))


def cpu_threads() -> int:
    """How many CPU threads torch computes with."""
    return torch.get_num_threads()


def use_cpu_threads(threads: int) -> None:
    """Have torch compute with so many CPU threads from now on in this thread, and in those yet to come."""
    torch.set_num_threads(threads)


def start_passing_thread(work: Callable[[], T]) -> Future[T]:
    """Run `work` in a thread that ends with it; its result or error is in the future.

    On the CPU, torch keeps a team of workers for every thread that has computed with it. Once there are more
    workers than cores, none of them waits for its next task awake any more, and waking them at every layer
    made an inference take 1.5 times as long. So a thread that outlives what it computed once, as while a
    model is loaded, must not be the one that computes it.
    """
    outcome: Future[T] = Future()
    outcome.set_running_or_notify_cancel()  # so that nobody can cancel what cannot be stopped
    # A daemon, so that a process that is told to end while it loads need not wait for it.
    threading.Thread(target=_settle, args=(outcome, work), name="passing", daemon=True).start()
    return outcome


def _settle(outcome: Future[T], work: Callable[[], T]) -> None:
    try:
        outcome.set_result(work())
    except BaseException as error:
        outcome.set_exception(error)
    finally:
        # An error holds this frame, which must not hold the error: what failed to load would stay in memory.
        del outcome


@contextlib.contextmanager
def memory_errors_translated() -> Iterator[None]:
    """Turn what Python, NumPy and torch raise when memory runs out into one error, and free what is unused.

    Raises:
        OutOfMemoryError: the block needed more memory than there is. What it had allocated is free again.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not _is_out_of_memory(error):
            raise
        # The frames that failed would hold their tensors for as long as anyone holds the error.
        traceback.clear_frames(error.__traceback__)
        _empty_caches()
        raise OutOfMemoryError("there is not enough free memory on the device or the host") from error


def _is_out_of_memory(error: Exception) -> bool:
    """torch has a class for accelerators only; its CPU allocator and MPS raise a bare RuntimeError."""
    texts = ("DefaultCPUAllocator", "not enough memory", "MPS backend out of memory")
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or any(
        text in str(error) for text in texts
    )


def _empty_caches() -> None:
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    if torch.backends.mps.is_available():
        torch.mps.empty_cache()
