"""The checkpoint that comes with the package."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from model_core.checkpoint import bundled_path, load_checkpoint
from model_core.inpainter import Inpainter
from training.masks import draw_kind
from training.metrics import score
from training.stlpips import StLpips

PICTURES = sorted((Path(__file__).parent.parent / "pictures").glob("*.jpg"))
MAX_BYTES = 20_000_000


@pytest.fixture(scope="module")
def inpainter() -> Inpainter:
    return Inpainter.from_checkpoint(bundled_path(), device="cpu")


def test_it_says_where_it_comes_from():
    """Small enough to bundle, trained, with its provenance and its scores inside."""
    checkpoint = load_checkpoint(bundled_path())

    assert bundled_path().stat().st_size <= MAX_BYTES
    assert checkpoint.info.steps > 0
    assert "CC" in checkpoint.info.provenance
    assert 0 < checkpoint.info.scores["ratio"] < 1


@pytest.mark.parametrize("kind", ["thin", "medium", "thick"])
def test_it_fills_better_than_navier_stokes(inpainter: Inpainter, kind: str):
    """On photographs that it never saw, ST-LPIPS is well below that of OpenCV for every kind of mask."""
    metric = StLpips()
    ours, theirs = 0.0, 0.0
    for seed, path in enumerate(PICTURES):
        truth = np.array(Image.open(path))
        hole = draw_kind(kind, *truth.shape[:2], np.random.default_rng([3, seed]))
        damaged = np.where(hole[..., None], np.uint8(0), truth)
        filled = np.array(inpainter.inpaint(Image.fromarray(damaged), hole))
        smeared = cv2.inpaint(damaged, hole.astype(np.uint8), 5, cv2.INPAINT_NS)
        ours += score(filled, truth, hole, metric)["lpips"]
        theirs += score(np.where(hole[..., None], smeared, truth), truth, hole, metric)["lpips"]

    assert ours < 0.9 * theirs
