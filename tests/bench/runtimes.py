"""`python -m tests.bench.runtimes`: the two networks in each runtime that is installed, side by side.

Matching is left out: it depends on the picture and stays in torch. Needs onnx for the exported graph, and
openvino or onnxruntime to run it, and g++ for AOTInductor; what is not installed is skipped. CPU
milliseconds, so that other programs disturb less.
"""

import argparse
import os
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from functools import cache
from importlib.util import find_spec
from shutil import which

import numpy as np
import torch
from torch import Tensor, nn
from torch._inductor import aoti_compile_and_package, aoti_load_package

from model_core.checkpoint import bundled_path, load_checkpoint
from model_core.devices import computes_int8
from model_core.networks import Generator, observed_peaks

Run = Callable[[], object]
SIZE = 512


class Networks(nn.Module):
    """Coarse and refinement network of a generator, one after the other."""

    def __init__(self, generator: Generator) -> None:
        super().__init__()
        self.dtype = generator.refinement.to_image.weight.dtype
        self.coarse, self.refinement = generator.networks.coarse, generator.networks.refinement

    def forward(
        self, average: Tensor, reduced: Tensor, share: Tensor, copied: Tensor, smooth: Tensor, mask: Tensor
    ) -> Tensor:
        features = self.coarse(*(part.to(self.dtype) for part in (average, reduced, share))).features
        return self.refinement(copied, smooth, mask, mask, features)


def example_inputs() -> tuple[Tensor, ...]:
    """Noise in the shapes that a picture of 512 x 512 gives."""
    quarter, channels = SIZE // 4, (3, 3, 1)
    reduced = [torch.rand(1, count, quarter, quarter) for count in channels]
    return (*reduced, *(torch.rand(1, count, SIZE, SIZE) for count in channels))


def torch_runs(networks: Networks, inputs: tuple[Tensor, ...], folder: str) -> Iterator[tuple[str, Run]]:
    generator = load_checkpoint(bundled_path()).generator.to(torch.bfloat16)
    half = Networks(generator.to(memory_format=torch.channels_last)).eval()
    whole = networks.to(memory_format=torch.channels_last)
    yield "torch, float32", lambda: whole(*inputs)
    yield "torch, bfloat16", lambda: half(*inputs)
    if computes_int8(torch.cpu.get_capabilities()):
        generator.quantize(observed_peaks(generator))
        eighth = Networks(generator).eval()
        yield "torch, int8", lambda: eighth(*inputs)
    compiled = torch.compile(half)
    yield "torch.compile, bfloat16", lambda: compiled(*inputs)
    if which("g++"):
        start = time.perf_counter()
        package = aoti_compile_and_package(
            torch.export.export(half, inputs), package_path=os.path.join(folder, "networks.pt2")
        )
        print(f"AOTInductor compiled in {time.perf_counter() - start:.0f} s, before any start")
        # In the run, so that the first one counts the loading.
        load = cache(lambda: aoti_load_package(package))
        yield "AOTInductor, bfloat16", lambda: load()(*inputs)


def exported_runs(path: str, inputs: tuple[Tensor, ...]) -> Iterator[tuple[str, Run]]:
    arrays = [tensor.numpy() for tensor in inputs]
    if find_spec("onnxruntime"):
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        session = onnxruntime.InferenceSession(path, options)
        feed = dict(zip((value.name for value in session.get_inputs()), arrays, strict=True))
        yield "ONNX Runtime, float32", lambda: session.run(None, feed)
    if find_spec("openvino"):
        import openvino

        core = openvino.Core()
        for name, hint in (("float32", "f32"), ("bfloat16", "bf16")):
            settings = {"INFERENCE_PRECISION_HINT": hint, "INFERENCE_NUM_THREADS": torch.get_num_threads()}
            request = core.compile_model(core.read_model(path), "CPU", settings).create_infer_request()
            yield f"OpenVINO, {name}", lambda request=request: request.infer(arrays)


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench.runtimes", description=__doc__.split("\n")[0]
    )
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=12)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    networks, inputs = Networks(load_checkpoint(bundled_path()).generator).eval(), example_inputs()
    with torch.inference_mode(), tempfile.TemporaryDirectory() as folder:
        runs = []
        if find_spec("onnx"):
            path = os.path.join(folder, "networks.onnx")
            with warnings.catch_warnings(action="ignore"):
                torch.onnx.export(networks, inputs, path, dynamo=False)
            runs += exported_runs(path, inputs)
        runs += torch_runs(networks, inputs, folder)
        for name, start, milliseconds in measure(runs, options.rounds):
            print(f"{name:24} {np.median(milliseconds):7.1f} ms, first call {start:6.2f} s")


def measure(runs: list[tuple[str, Run]], rounds: int) -> Iterator[tuple[str, float, list[float]]]:
    """Name, seconds of the first call, and CPU milliseconds of the others; the runs take turns."""
    starts, times = [], [[] for _ in runs]
    for _, run in runs:
        start = time.perf_counter()
        run()
        starts.append(time.perf_counter() - start)
    for _ in range(rounds):
        for (_, run), milliseconds in zip(runs, times, strict=True):
            start = time.process_time()
            run()
            milliseconds.append(1000 * (time.process_time() - start))
    yield from ((name, start, taken) for (name, _), start, taken in zip(runs, starts, times, strict=True))


if __name__ == "__main__":
    main()
