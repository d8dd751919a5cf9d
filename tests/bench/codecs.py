"""`python -m tests.bench.codecs`: writers of PNG and readers of JPEG, side by side.

CPU milliseconds of one thread, so that other programs disturb less.
"""

import argparse
import functools
import io
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image

from app import png

from .cases import make_cases, read_cases


def pillow(**options: int) -> Callable[[Image.Image], bytes]:
    def write(image: Image.Image) -> bytes:
        buffer = io.BytesIO()
        image.save(buffer, "png", **options)
        return buffer.getvalue()

    return write


def opencv(*options: int) -> Callable[[Image.Image], bytes]:
    return lambda image: cv2.imencode(".png", np.asarray(image), options)[1].tobytes()


WRITERS: dict[str, Callable[[Image.Image], bytes]] = {
    "Pillow, level 1": pillow(compress_level=1),
    "Pillow, run lengths": pillow(compress_level=1, compress_type=zlib.Z_RLE),
    "OpenCV, as it is": opencv(),
    "OpenCV, filter up": opencv(cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_FILTER_UP),
    "app.png": lambda image: png.encode(image, None, b""),
}
READERS: dict[str, Callable[[bytes], Any]] = {
    "Pillow": lambda data: Image.open(io.BytesIO(data)).convert("RGB"),
    "OpenCV": lambda data: cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR),
}


def milliseconds(work: Callable[[], object], rounds: int = 5) -> float:
    times = []
    for _ in range(rounds):
        start = time.thread_time()
        work()
        times.append(1000 * (time.thread_time() - start))
    return min(times)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.codecs", description=__doc__.split("\n")[0])
    parser.add_argument("--cases", type=Path, help="folder with images/ and masks/ of 512 x 512 pixels")
    options = parser.parse_args()
    cv2.setNumThreads(1)
    cases = read_cases(options.cases, 20) if options.cases else make_cases(512, 512, 200, 6)
    for name, write in WRITERS.items():
        taken = np.mean([milliseconds(functools.partial(write, case.image)) for case in cases])
        size = np.mean([len(write(case.image)) for case in cases])
        print(f"PNG   {name:20} {taken:6.1f} ms {size / 1000:7.0f} kB")
    files = []
    for case in cases:
        buffer = io.BytesIO()
        case.image.save(buffer, "jpeg", quality=92)
        files.append(buffer.getvalue())
    for name, read in READERS.items():
        taken = np.mean([milliseconds(functools.partial(read, data)) for data in files])
        print(f"JPEG  {name:20} {taken:6.1f} ms")


if __name__ == "__main__":
    main()
