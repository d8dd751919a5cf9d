"""The one object that owns the model: a bounded line of requests, a bounded number of inferences at once."""

import asyncio
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass
from typing import BinaryIO, NamedTuple

from PIL import Image

from app import images, masks
from app.batcher import Batcher
from app.errors import QueueFullError
from app.room import Room
from app.settings import Settings
from app.turns import Turns
from model_core import devices
from model_core.inpainter import BoolArray, FloatArray, Inpainter
from model_core.pictures import require_same_size
from model_core.predictor import FilledCrop, Predictor
from model_core.worker import Fork


@dataclass(frozen=True)
class FillRequest:
    """What a client wants filled, and how it wants the answer."""

    image: BinaryIO
    mask: BinaryIO | None
    mask_polarity: masks.Marks
    grow_pixels: int
    output_format: images.OutputFormat
    quality: int
    size: tuple[int, int] | None = None
    """(width, height) that the image must have; None: any."""

    @property
    def makes_opaque(self) -> bool:
        """Whether transparency marks the hole: what was filled must not stay invisible."""
        return self.mask is None or self.mask_polarity == "transparent"


class Timings:
    """Seconds by stage of one request: queue, decode, inference, encode."""

    def __init__(self) -> None:
        self.seconds = dict.fromkeys(("decode", "queue", "inference", "encode"), 0.0)

    @contextmanager
    def measure(self, stage: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self.seconds[stage] += time.perf_counter() - start

    def server_timing(self) -> str:
        """The value of a Server-Timing header, in milliseconds."""
        return ", ".join(f"{stage};dur={1000 * seconds:.1f}" for stage, seconds in self.seconds.items())


@dataclass(frozen=True)
class FilledPicture:
    """The encoded answer, where its time went, and which model filled it.

    Attributes:
        pixels: of the picture, holes or not.
        batch_size: the most crops that shared a pass with one of its own, itself included; 0 without a hole.
    """

    data: bytes
    media_type: str
    timings: Timings
    model: str
    pixels: int
    batch_size: int


class Engine:
    """Serves fill requests from any number of clients.

    A request waits as bytes and is decoded when its turn comes and there is room for its pixels, so that
    memory is bounded by what is in work and not by what is in the line. Each request in work has a thread
    that decodes, cuts out and encodes, and one that decodes its mask meanwhile, while the batcher's threads
    keep the devices busy.
    """

    def __init__(self, inpainter: Inpainter, settings: Settings, fork: Fork | None = None) -> None:
        """With `fork`, inferences on a CPU may have processes of their own; see `Turns`."""
        self.inpainter = inpainter
        self.max_queued = settings.max_queued_requests
        self._limits = images.PictureLimits(
            settings.max_pixels, settings.max_side, settings.max_decode_seconds
        )
        self._max_concurrency = settings.max_concurrency
        self._room = Room(settings.max_pixels_in_work)
        self._executor = ThreadPoolExecutor(settings.max_concurrency, thread_name_prefix="fill")
        self._mask_reader = ThreadPoolExecutor(settings.max_concurrency, thread_name_prefix="mask")
        turns = self._turns(settings) if inpainter.device_names == "cpu" else None
        self._batcher = Batcher(len(inpainter.predictors), settings.max_batch_size, turns, fork)
        self._admitted = 0
        self._lock = threading.Lock()
        self._started = time.monotonic()

    @property
    def model(self) -> str:
        """The model that serves: its name and the start of its checkpoint's SHA-256."""
        return _model_name(self.inpainter)

    @property
    def running(self) -> int:
        """Requests in work."""
        return min(self._admitted, self._max_concurrency)

    @property
    def waiting(self) -> int:
        """Requests in the line behind them."""
        return max(0, self._admitted - self._max_concurrency)

    @property
    def processes(self) -> int:
        """Those that infer, this one included."""
        return self._batcher.processes

    @property
    def uptime_seconds(self) -> float:
        return time.monotonic() - self._started

    def warm_up(self) -> None:
        """Make the model ready, and fill a tiny picture where requests will be filled.

        Raises:
            InferenceError: the model computes values that are not finite.
        """
        inpainter = self.inpainter
        devices.start_passing_thread(inpainter.prepare).result()
        inpainter.warm_up(_BatchedPredict(self._batcher, inpainter.predictors, threading.Event()))

    def swap(self, inpainter: Inpainter) -> None:
        """Serve `inpainter` from now on. A request that is in work keeps the model that it began with."""
        self.inpainter = inpainter

    async def fill(self, request: FillRequest) -> FilledPicture:
        """Decode, fill and encode in a worker thread.

        Cancelled while it waits, a request leaves the line; one that is in work is given up before its
        inference. An inference that has begun, like decoding and encoding, is finished for nobody.

        Raises:
            QueueFullError: the line is full; nothing has been read.
            OutOfMemoryError: there is too little memory for this picture.
            PictureError, MissingMaskError, InputError: the request cannot be filled.
        """
        abandoned = threading.Event()
        try:
            return await asyncio.wrap_future(self._submit(request, abandoned))
        except asyncio.CancelledError:
            abandoned.set()
            self._room.look_again()
            raise

    def require_room(self) -> None:
        """Raise QueueFullError if the line is full."""
        if self._admitted >= self._max_concurrency + self.max_queued:
            raise QueueFullError(
                f"The line is full: {self.running} in work, {self.waiting} of {self.max_queued} waiting."
            )

    def close(self) -> None:
        """Finish what is in work and stop the worker threads."""
        self._executor.shutdown()
        self._mask_reader.shutdown()
        self._batcher.close()

    def _turns(self, settings: Settings) -> Turns:
        """Those of the CPU, where no more processes are of use than requests in work, or threads."""
        threads = settings.threads or devices.cpu_threads()
        most = min(settings.processes, settings.max_concurrency, threads)
        return Turns(most, threads, asked=lambda: self.running - self._room.waiting)

    def _submit(self, request: FillRequest, abandoned: threading.Event) -> Future[FilledPicture]:
        with self._lock:
            self.require_room()
            future = self._executor.submit(self._work, request, abandoned, time.perf_counter())
            self._admitted += 1  # last, so that a request that no thread takes holds no place
        future.add_done_callback(self._leave)
        return future

    def _leave(self, _: Future[FilledPicture]) -> None:
        with self._lock:
            self._admitted -= 1

    def _work(self, request: FillRequest, abandoned: threading.Event, arrival: float) -> FilledPicture:
        with devices.memory_errors_translated():
            return self._fill(request, self.inpainter, abandoned, arrival)

    def _fill(
        self, request: FillRequest, inpainter: Inpainter, abandoned: threading.Event, arrival: float
    ) -> FilledPicture:
        timings = Timings()
        timings.seconds["queue"] = time.perf_counter() - arrival
        with timings.measure("decode"):
            upload = self._open(request)
        with timings.measure("queue"):
            if not self._room.take(upload.pixels, abandoned):
                raise CancelledError
        try:
            return self._fill_upload(upload, request, inpainter, abandoned, timings)
        finally:
            self._room.give_back(upload.pixels)

    def _fill_upload(
        self,
        upload: "_Upload",
        request: FillRequest,
        inpainter: Inpainter,
        abandoned: threading.Event,
        timings: Timings,
    ) -> FilledPicture:
        with timings.measure("decode"):
            image, hole = self._decode(upload, request)
        if abandoned.is_set():
            raise CancelledError
        batched = _BatchedPredict(self._batcher, inpainter.predictors, abandoned)
        with timings.measure("inference"):
            filled = inpainter.inpaint(image, hole, batched)
        timings.seconds["queue"] += batched.waited_seconds
        timings.seconds["inference"] -= batched.waited_seconds
        with timings.measure("encode"):
            if request.makes_opaque and "A" in filled.getbands():
                masks.make_opaque(filled, hole)
            data = images.encode(filled, request.output_format, request.quality)
        media_type = images.MEDIA_TYPES[request.output_format]
        pixels = filled.width * filled.height
        return FilledPicture(data, media_type, timings, _model_name(inpainter), pixels, batched.batch_size)

    def _open(self, request: FillRequest) -> "_Upload":
        image = images.EncodedPicture(request.image, "image", self._limits)
        if request.mask is None:
            return _Upload(image, mask=None)
        return _Upload(image, images.EncodedPicture(request.mask, "mask", self._limits))

    def _decode(self, upload: "_Upload", request: FillRequest) -> tuple[Image.Image, masks.Hole]:
        if upload.mask is None:
            image = masks.with_alpha(_decode_image(upload, request))
            return image, masks.grow(masks.hole_from_alpha(image), request.grow_pixels)
        # Beside the image, for which a lone request has a core.
        reading = self._mask_reader.submit(upload.mask.decode)
        try:
            image = _decode_image(upload, request)
        finally:
            wait([reading])
        try:
            mask = reading.result()
        finally:
            # It holds its error, whose traceback holds this frame: the image would outlive the request.
            del reading
        hole = masks.hole_of(mask, request.mask_polarity)
        require_same_size(image, hole)
        return image, masks.grow(hole, request.grow_pixels)


class _Upload(NamedTuple):
    """What a request brought, of which only the headers have been read."""

    image: images.EncodedPicture
    mask: images.EncodedPicture | None

    @property
    def pixels(self) -> int:
        """Of the larger of the two, which are to be of one size."""
        return max(picture.pixels for picture in self if picture)


def _decode_image(upload: _Upload, request: FillRequest) -> Image.Image:
    image = upload.image.decode()
    images.require_size(image, request.size)
    return image


class _BatchedPredict:
    """The `Predict` of one request: through the batcher, with a note of the time that its crops waited."""

    def __init__(self, batcher: Batcher, predictors: Sequence[Predictor], abandoned: threading.Event) -> None:
        self._batcher = batcher
        self._predictors = predictors
        self._abandoned = abandoned
        self.waited_seconds = 0.0
        self.batch_size = 0

    def __call__(self, rgb: FloatArray, hole: BoolArray) -> FilledCrop:
        prediction = self._batcher.predict(self._predictors, rgb, hole, self._abandoned)
        self.waited_seconds += prediction.waited_seconds
        self.batch_size = max(self.batch_size, prediction.batch_size)
        return prediction.fill


def _model_name(inpainter: Inpainter) -> str:
    return f"{inpainter.info.name}@{inpainter.sha256[:12]}"
