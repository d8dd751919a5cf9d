"""`make bench`: starts the service, drives it over loopback, and prints tables and a plot.

Run as `python -m tests.bench`. Times depend on the machine and on what else it does: compare within one run.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

import matplotlib
import numpy as np

from . import classical
from .cases import Case, make_cases, read_cases
from .service import STAGES, Load, Service, drive, running

matplotlib.use("Agg")
from matplotlib import pyplot

CONCURRENCIES = (1, 4, 8, 16)
MEGAPIXELS = {"0.25": (512, 512), "2": (1632, 1224), "4": (2304, 1728), "8": (3264, 2448), "12": (4000, 3000)}
HOLES = (32, 64, 128, 200, 300, 400)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__.splitlines()[0])
    parser.add_argument("--cases", type=Path, help="folder with images/ and masks/ of 512 x 512 pixels")
    parser.add_argument("--limit", type=int, default=60, help="use that many of them")
    parser.add_argument(
        "--requests", type=int, default=60, help="a row of the table; large pictures get fewer"
    )
    parser.add_argument("--plot", type=Path, default=Path("build/benchmark.png"))
    options = parser.parse_args()
    small = read_cases(options.cases, options.limit) if options.cases else make_cases(512, 512, 200, 20)
    with running() as service:
        print(f"ready after {service.ready_seconds:.1f} s\n")
        print_rows(service, small, options.requests)
        print_classical(small)
        plot_scaling(service, options.plot)
        print(f"\nplot of time against size: {options.plot}")


def workloads(small: list[Case]) -> Iterator[tuple[str, list[Case], dict[str, str], float]]:
    """Name, cases, form fields, and the share of requests to send, since large pictures take longer."""
    yield "512 x 512, PNG out", small, {"format": "png"}, 1
    yield "512 x 512, JPEG out", small, {"format": "jpeg"}, 1
    yield "2 MP, JPEG out", make_cases(*MEGAPIXELS["2"], 300, 6), {"format": "jpeg"}, 0.5
    yield "12 MP, JPEG out", make_cases(*MEGAPIXELS["12"], 400, 4), {"format": "jpeg"}, 0.25


def print_rows(service: Service, small: list[Case], requests: int) -> None:
    stages = " ".join(f"{stage:>9}" for stage in STAGES)
    print(f"{'':20} {'at once':>7} {'p50 s':>7} {'p95 s':>7} {'per s':>7} {'peak MB':>8}  mean ms: {stages}")
    for name, cases, form, share in workloads(small):
        for concurrency in CONCURRENCIES:
            load = drive(service, cases, form, max(concurrency, round(requests * share)), concurrency)
            print_row(name, concurrency, load, service.peak_megabytes())


def print_row(name: str, concurrency: int, load: Load, peak_megabytes: float) -> None:
    stages = " ".join(f"{load.stages[stage]:9.1f}" for stage in STAGES)
    print(
        f"{name:20} {concurrency:7} {load.p50_seconds:7.3f} {load.p95_seconds:7.3f} "
        f"{load.requests_per_second:7.2f} {peak_megabytes:8.0f}           {stages}"
    )


def print_classical(cases: list[Case]) -> None:
    print("\nthe bare function call on the 512 x 512 cases:")
    for name, method in classical.METHODS.items():
        times = [classical.seconds(case, method) for case in cases]
        print(f"{name:20}         {np.median(times):7.3f} {np.percentile(times, 95):7.3f}")


def plot_scaling(service: Service, path: Path) -> None:
    """Time against megapixels with one hole size, and against hole size in one picture size."""
    figure, (left, right) = pyplot.subplots(1, 2, figsize=(10, 4), sharey=True, layout="constrained")
    sizes = [make_cases(*size, 300, 3) for size in MEGAPIXELS.values()]
    draw(left, [float(megapixels) for megapixels in MEGAPIXELS], [median(service, cases) for cases in sizes])
    left.set(xlabel="megapixels (hole of 300 pixels)", ylabel="seconds a request, JPEG in and out")
    holes = [make_cases(*MEGAPIXELS["2"], hole, 3) for hole in HOLES]
    draw(right, HOLES, [median(service, cases) for cases in holes])
    right.set(xlabel="diameter of the hole in pixels (2 megapixels)")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)


def median(service: Service, cases: list[Case]) -> Load:
    return drive(service, cases, {"format": "jpeg"}, 6, 1)


def draw(axes: pyplot.Axes, positions: list[float], loads: list[Load]) -> None:
    """The whole request, and its inference."""
    axes.plot(positions, [load.p50_seconds for load in loads], "o-", label="request")
    axes.plot(positions, [load.stages["inference"] / 1000 for load in loads], "o-", label="inference")
    axes.set_ylim(bottom=0)
    axes.grid(alpha=0.3)
    axes.legend()


if __name__ == "__main__":
    main()
