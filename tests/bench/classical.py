"""OpenCV's inpainting on the same cases in the same run: the yardstick."""

import time

import cv2
import numpy as np

from .cases import Case

METHODS = {"OpenCV Telea": cv2.INPAINT_TELEA, "OpenCV Navier-Stokes": cv2.INPAINT_NS}
RADIUS = 5


def seconds(case: Case, method: int) -> float:
    """The time of the bare function call on the decoded picture."""
    image = np.asarray(case.image)[:, :, ::-1].copy()
    hole = (np.asarray(case.mask) > 127).astype(np.uint8)
    image[hole > 0] = 0
    start = time.perf_counter()
    cv2.inpaint(image, hole, RADIUS, method)
    return time.perf_counter() - start
