"""`evaluate`: a generator's fills beside those of classical methods, as numbers and as pictures."""

import contextlib
import importlib
import json
import statistics
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from model_core.inpainter import Inpainter
from training.cases import Case
from training.masks import Mask
from training.metrics import Picture, Scores, score
from training.stlpips import StLpips

CV_RADIUS = 5
BASE = "cv2-ns"
OURS = "ours"
PATCHMATCH = "patchmatch"
PATCHMATCH_SIZE = 5
SHEET_SIDE = 256
# Upper limits of the hole's share of the picture.
BUCKETS = (0.1, 0.2, 0.3, 0.5, 1.0)

Method = Callable[[Picture, Mask], NDArray[Any]]


class Result(NamedTuple):
    """One case's scores: {method: scores}, and the seconds that our fill took."""

    case: str
    groups: list[str]
    scores: dict[str, Scores]
    seconds: float


def evaluate(
    inpainter: Inpainter, cases: Iterable[Case], output: Path, sheet_rows: int = 12
) -> dict[str, Any]:
    """Fill and score all cases; write scores.json and, for each kind of mask, sheet-KIND.jpg with its first
    `sheet_rows` cases into `output`. Returns what is in scores.json.
    """
    metric = StLpips()
    methods = classical_methods()
    results: list[Result] = []
    sheets: dict[str, list[list[Picture]]] = {}
    output.mkdir(parents=True, exist_ok=True)
    for case in cases:
        damaged = np.where(case.hole[..., None], np.uint8(0), case.truth)
        started = time.perf_counter()
        filled = {OURS: np.asarray(inpainter.inpaint(Image.fromarray(damaged), case.hole))}
        seconds = time.perf_counter() - started
        filled |= {name: method(damaged, case.hole) for name, method in methods.items()}
        filled = {
            name: np.where(case.hole[..., None], picture, case.truth) for name, picture in filled.items()
        }
        scores = {name: score(picture, case.truth, case.hole, metric) for name, picture in filled.items()}
        results.append(Result(case.name, groups_of(case), scores, seconds))
        rows = sheets.setdefault(case.kind, [])
        if len(rows) < sheet_rows:
            shown = np.where(case.hole[..., None], np.uint8(255), case.truth)
            peers = [filled[name] for name in (PATCHMATCH, BASE) if name in filled]
            rows.append([_reduced(picture) for picture in (shown, filled[OURS], *peers, case.truth)])
    report = summarise(results, inpainter)
    (output / "scores.json").write_text(json.dumps(report, indent=1) + "\n")
    for kind, rows in sheets.items():
        contact_sheet(rows).save(output / f"sheet-{kind}.jpg", quality=80)
    return report


def classical_methods() -> dict[str, Method]:
    """OpenCV's two methods, and PatchMatch where the package pypatchmatch is installed."""
    methods: dict[str, Method] = {
        BASE: lambda image, hole: cv2.inpaint(image, hole.astype(np.uint8), CV_RADIUS, cv2.INPAINT_NS),
        "cv2-telea": lambda image, hole: cv2.inpaint(
            image, hole.astype(np.uint8), CV_RADIUS, cv2.INPAINT_TELEA
        ),
    }
    # No dependency: it has no wheels for every platform, and only this comparison would use it.
    with contextlib.suppress(ImportError):
        patch_match = importlib.import_module("patchmatch.patch_match")
        methods[PATCHMATCH] = lambda image, hole: patch_match.inpaint(
            image, hole[..., None].astype(np.uint8) * 255, patch_size=PATCHMATCH_SIZE
        )
    return methods


def groups_of(case: Case) -> list[str]:
    """The groups whose means a case counts in: all, its kind, and its hole's size."""
    share = case.hole.mean()
    lower, upper = next(pair for pair in zip((0.0, *BUCKETS), BUCKETS, strict=False) if share <= pair[1])
    return ["all", case.kind, f"hole {lower:.0%}-{upper:.0%}"]


def summarise(results: list[Result], inpainter: Inpainter) -> dict[str, Any]:
    """Means by group and method, and each case's scores.

    `ratio` is a method's mean ST-LPIPS over that of Navier-Stokes on the same cases. `scores` holds the
    headline figures that an exported checkpoint can carry.
    """
    groups: dict[str, Any] = {}
    for group in sorted(
        {group for result in results for group in result.groups}, key=lambda name: (name != "all", name)
    ):
        chosen = [result for result in results if group in result.groups]
        means = {method: _means([result.scores[method] for result in chosen]) for method in results[0].scores}
        for scores in means.values():
            scores["ratio"] = scores["lpips"] / max(means[BASE]["lpips"], 1e-9)
        groups[group] = {"cases": len(chosen), **means}
    ours = groups["all"][OURS]
    seconds = statistics.median(result.seconds for result in results)
    return {
        "model": {"name": inpainter.info.name, "sha256": inpainter.sha256, "samples": inpainter.info.samples},
        "device": inpainter.device_names,
        "precision": inpainter.precision_name,
        "seconds_p50": seconds,
        "scores": {name: round(ours[name], 5) for name in ("ratio", "lpips", "psnr", "ssim", "l1")},
        "groups": groups,
        "cases": {result.case: result.scores for result in results},
    }


def table(report: dict[str, Any]) -> str:
    """The means as text, a block for each group."""
    lines = []
    for group, entry in report["groups"].items():
        lines.append(f"{group} ({entry['cases']} cases)")
        for method, scores in entry.items():
            if method != "cases":
                numbers = "  ".join(f"{name} {value:.4f}" for name, value in scores.items())
                lines.append(f"  {method:10} {numbers}")
    return "\n".join([*lines, f"seconds a picture, median: {report['seconds_p50']:.3f}"])


def contact_sheet(rows: list[list[Picture]]) -> Image.Image:
    """A row a case: damaged, ours, PatchMatch where it is installed, Navier-Stokes, truth."""
    return Image.fromarray(np.concatenate([np.concatenate(row, axis=1) for row in rows]))


def _reduced(picture: Picture) -> Picture:
    side = (SHEET_SIDE, SHEET_SIDE)
    return np.asarray(Image.fromarray(picture).resize(side, Image.Resampling.LANCZOS))


def _means(scores: list[Scores]) -> Scores:
    names = scores[0].keys()
    return {name: statistics.fmean(entry[name] for entry in scores if name in entry) for name in names}
