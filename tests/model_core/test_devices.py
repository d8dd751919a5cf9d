import contextlib
import gc
import sys
import threading
import time
import weakref
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from model_core.devices import (
    available_devices,
    choose_device,
    choose_precision,
    computes_bf16,
    computes_int8,
    fast_floats,
    memory_errors_translated,
    precision_name,
    start_passing_thread,
)
from model_core.errors import DeviceError, OutOfMemoryError

CPU = torch.device("cpu")


def test_every_machine_offers_a_cpu_last():
    """The CPU is there, and everything faster comes before it."""
    assert available_devices()[-1] == "cpu"


def test_auto_takes_the_best_device_offered():
    """ "auto" is the first of the devices that the machine offers."""
    assert choose_device("auto") == torch.device(available_devices()[0])


def test_cpu_can_always_be_chosen():
    """The CPU can be asked for by name, also beside a GPU."""
    assert choose_device("cpu") == CPU


@pytest.mark.parametrize("name", ["cuda:99", "tpu", "", "CPU", "cpu:1"])
def test_a_device_that_is_not_there_is_refused(name: str):
    """The error names what was asked for and what the machine offers."""
    with pytest.raises(DeviceError) as caught:
        choose_device(name)

    assert repr(name) in str(caught.value)
    assert "cpu" in str(caught.value)


@pytest.mark.parametrize(("name", "dtype"), [("bf16", torch.bfloat16), ("fp32", torch.float32)])
def test_precisions_by_name(name: str, dtype: torch.dtype):
    """A named precision is taken as it is, and has that name."""
    assert choose_precision(name, CPU) is dtype
    assert precision_name(dtype) == name


@pytest.mark.parametrize("name", ["fp16", "int4", ""])
def test_precisions_that_the_cpu_does_not_offer(name: str):
    """Half floats need a GPU, and unknown names are refused."""
    with pytest.raises(DeviceError, match="precision"):
        choose_precision(name, CPU)


def test_half_floats_are_offered_on_a_gpu():
    """The choice depends on the kind of device; none has to be there to decide it."""
    assert choose_precision("fp16", torch.device("cuda:0")) is torch.float16


@pytest.mark.parametrize(
    ("capabilities", "expected"),
    [
        ({"amx_bf16": True}, True),
        ({"avx512_bf16": True, "amx_bf16": False}, True),
        ({"bf16": True}, True),
        ({"avx2": True, "avx512_bf16": False, "amx_bf16": False}, False),
        ({}, False),
    ],
)
def test_which_cpus_compute_bf16(capabilities: dict[str, object], expected: bool):
    """Only instructions that multiply bfloat16 count; vector width alone does not."""
    assert computes_bf16(capabilities) is expected


@pytest.mark.parametrize(
    ("capabilities", "expected"),
    [
        ({"amx_int8": True}, True),
        ({"avx512_vnni": True}, True),
        ({"avx_vnni": True, "avx512_vnni": False}, True),
        ({"avx512_f": True, "avx512_vnni": False, "avx512_bf16": True}, False),
        ({}, False),
    ],
)
def test_which_cpus_compute_int8(capabilities: dict[str, object], expected: bool):
    assert computes_int8(capabilities) is expected


@pytest.mark.parametrize(
    ("capabilities", "expected", "floats"),
    [
        ({"avx512_vnni": True, "avx512_bf16": True}, torch.int8, torch.bfloat16),
        ({"avx512_vnni": True}, torch.int8, torch.float32),
        ({"bf16": True}, torch.bfloat16, torch.bfloat16),
        ({}, torch.float32, torch.float32),
    ],
)
def test_auto_precision_follows_the_cpu(
    monkeypatch: pytest.MonkeyPatch,
    capabilities: dict[str, object],
    expected: torch.dtype,
    floats: torch.dtype,
):
    """Whole numbers of 8 bits, bf16 and fp32, in this order, where the processor computes them natively."""
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities)
    assert choose_precision("auto", CPU) is expected
    assert fast_floats(CPU) is floats


def test_int8_is_refused_where_it_is_not_native(monkeypatch: pytest.MonkeyPatch):
    """The error says what it needs, and what to take instead."""
    monkeypatch.setattr(torch.cpu, "get_capabilities", dict)
    with pytest.raises(DeviceError, match="int8 needs a CPU with AVX512-VNNI, AVX-VNNI or AMX; take auto"):
        choose_precision("int8", CPU)
    with pytest.raises(DeviceError, match="int8 needs a CPU"):
        choose_precision("int8", torch.device("cuda:0"))


def test_auto_precision_elsewhere_is_full():
    """A device without a rule of its own runs in float32."""
    assert choose_precision("auto", torch.device("mps")) is torch.float32


def test_memory_errors_become_one_error():
    """What ran out of memory holds nothing any more: its frames' variables are gone."""

    class Held:
        pass

    held = Held()
    reference = weakref.ref(held)

    def needs_too_much(kept: Held) -> torch.Tensor:
        return torch.empty(1 << 60, dtype=torch.uint8)

    def hand_over() -> None:
        nonlocal held
        kept, held = held, None
        needs_too_much(kept)

    with pytest.raises(OutOfMemoryError), memory_errors_translated():
        hand_over()

    assert reference() is None


@pytest.mark.parametrize("error", [RuntimeError("a shape does not fit"), ValueError("other")])
def test_other_errors_stay_what_they_are(error: Exception):
    """Only memory is translated."""
    with pytest.raises(type(error), match=str(error)), memory_errors_translated():
        raise error


@pytest.fixture
def two_threads() -> Iterator[None]:
    """For torch in every thread that has not computed yet."""
    count = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(count)


def threads_of_the_process() -> int:
    """Python's and all others."""
    return len(list(Path("/proc/self/task").iterdir()))


def compute() -> float:
    """Large enough for torch to share it out to its workers."""
    return float(torch.rand(2_000_000).square().sum())


@pytest.mark.skipif(sys.platform != "linux", reason="counts the threads under /proc")
def test_workers_end_with_a_passing_thread(two_threads: None):
    """A thread that goes on keeps its workers; what ran in passing leaves none behind."""
    over, computed = threading.Event(), threading.Event()

    def stay() -> None:
        compute()
        computed.set()
        over.wait()

    before = threads_of_the_process()
    assert start_passing_thread(compute).result() > 0
    deadline = time.monotonic() + 20
    while threads_of_the_process() > before:
        assert time.monotonic() < deadline
        time.sleep(0.01)

    staying = threading.Thread(target=stay)
    staying.start()
    assert computed.wait(timeout=20)
    kept = threads_of_the_process() - before
    over.set()
    staying.join()
    assert kept >= 2


def test_a_passing_thread_raises_what_its_work_raises():
    """The caller sees the error as if it had done the work itself."""
    with pytest.raises(KeyError, match="lost"):
        start_passing_thread(lambda: {}["lost"]).result()


class Model:
    """Something large that a failed load leaves behind."""


def test_what_failed_in_a_passing_thread_is_freed_at_once():
    """Without the garbage collector, which may not run for minutes: a model on a GPU is no garbage to it."""
    left_behind: list[weakref.ref[Model]] = []

    def fail() -> None:
        model = Model()
        left_behind.append(weakref.ref(model))
        raise ValueError("unusable")

    gc.disable()
    try:
        with contextlib.suppress(ValueError):
            start_passing_thread(lambda: start_passing_thread(fail).result()).result()
        assert left_behind[0]() is None
    finally:
        gc.enable()
