"""The HTTP contract: POST /inpaint, the health checks and the metrics."""

from typing import Annotated, Any, BinaryIO, Literal, NamedTuple, cast
from urllib.parse import quote

from fastapi import APIRouter, Depends, File, Form, Request, Response, UploadFile
from fastapi.responses import PlainTextResponse

from app import error_docs, health, images, metrics
from app.defaults import DEFAULT_QUALITY, MAX_GROW_PIXELS
from app.engine import Engine, FilledPicture, FillRequest
from app.errors import DrainingError, NotReadyError, UnsupportedMediaTypeError
from app.lifecycle import Lifecycle
from app.metrics import Metrics
from app.records import note_fill

router = APIRouter()


# Coroutines: FastAPI runs a plain function in a thread, which takes longer than what these do.
async def get_engine(request: Request) -> Engine:
    """The engine that lifespan made, unless the request came after the service began to stop."""
    engine = getattr(request.state, "engine", None)
    if engine is None:
        raise NotReadyError("The model is not loaded yet.")
    if getattr(request.state, "too_late", False):
        raise DrainingError("The service is stopping and takes no more requests.")
    return cast(Engine, engine)


async def get_lifecycle(request: Request) -> Lifecycle:
    """Where this application stands between its start and its end."""
    return cast(Lifecycle, request.app.state.lifecycle)


async def get_metrics(request: Request) -> Metrics:
    """The metrics of this application."""
    return cast(Metrics, request.app.state.metrics)


async def require_form(request: Request) -> None:
    """Tell apart a body of another kind from a form that lacks fields."""
    media_type = request.headers.get("content-type", "").split(";")[0].strip().lower()
    if media_type not in ("", "multipart/form-data", "application/x-www-form-urlencoded"):
        raise UnsupportedMediaTypeError("The body's Content-Type must be multipart/form-data.")


def given_file(upload: UploadFile | None) -> BinaryIO | None:
    """The file of a field that may be left out."""
    # A browser sends a file input that was left empty as a part without a name or content.
    return upload.file if upload is not None and (upload.filename or upload.size) else None


class FillOptions(NamedTuple):
    """What a form says beside its pictures."""

    mask_polarity: Literal["white", "black"]
    grow_pixels: int
    output_format: images.OutputFormat
    quality: int


async def read_options(
    mask_polarity: Annotated[
        Literal["white", "black"], Form(description="The colour in the mask that marks what to fill.")
    ] = "white",
    grow: Annotated[
        int, Form(ge=0, le=MAX_GROW_PIXELS, description="Fill this many more pixels on every side.")
    ] = 0,
    format: Annotated[
        images.OutputFormat, Form(description="Of the answer; png keeps every known pixel bit-equal.")
    ] = "png",
    quality: Annotated[int, Form(ge=1, le=100, description="Of jpeg and webp answers.")] = DEFAULT_QUALITY,
) -> FillOptions:
    """The fields that a single picture and a batch have in common."""
    return FillOptions(mask_polarity, grow, format, quality)


FillOptionsDep = Annotated[FillOptions, Depends(read_options)]


async def read_form(
    image: Annotated[
        UploadFile, File(description=f"The picture to fill: {', '.join(images.ACCEPTED_FORMATS)}.")
    ],
    options: FillOptionsDep,
    mask: Annotated[
        UploadFile | None,
        File(
            description="A picture of the same size; white (brighter than 127) = fill. Optional if the "
            "image has alpha: then its transparent pixels (alpha below 128) are filled and become opaque."
        ),
    ] = None,
) -> FillRequest:
    """The form of POST /inpaint."""
    return FillRequest(image.file, given_file(mask), *options)


EngineDep = Annotated[Engine, Depends(get_engine)]
LifecycleDep = Annotated[Lifecycle, Depends(get_lifecycle)]
MetricsDep = Annotated[Metrics, Depends(get_metrics)]
FillRequestDep = Annotated[FillRequest, Depends(read_form)]


def model_header(model: str) -> dict[str, str]:
    """The header that names the checkpoint."""
    return {"X-Model": quote(model, safe="/@")}


def answer_headers(filled: FilledPicture) -> dict[str, str]:
    """What the headers of a filled picture's answer tell: its model, and where its time went."""
    return {"Server-Timing": filled.timings.server_timing(), **model_header(filled.model)}


_TEXT_HEADER = {"schema": {"type": "string"}}
HEADER_DOCS = {
    "X-Request-ID": {"description": "The client's own, or a new one.", **_TEXT_HEADER},
    "X-Model": {"description": "The checkpoint: name@start of its SHA-256.", **_TEXT_HEADER},
    "Server-Timing": {"description": "Milliseconds: decode, queue, inference, encode.", **_TEXT_HEADER},
}
_INPAINT_DOCS: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The filled picture, of the image's size and mode, in the asked-for format.",
        "content": {
            media_type: {"schema": {"type": "string", "format": "binary"}}
            for media_type in images.MEDIA_TYPES.values()
        },
        "headers": HEADER_DOCS,
    },
    **error_docs.describe("/inpaint", 400, 401, 408, 413, 415, 422, 429, 500, 503, 504),
}


@router.post(
    "/inpaint",
    summary="Fill the holes of a picture",
    response_class=Response,
    responses=_INPAINT_DOCS,
    dependencies=[Depends(require_form)],
)
async def inpaint(engine: EngineDep, fill_request: FillRequestDep, request: Request) -> Response:
    """Fill what the mask marks and keep the rest. EXIF orientation is applied; EXIF and ICC profile stay."""
    filled = await engine.fill(fill_request)
    await request.close()  # drops the form's files, which the answer outlives
    note_fill(request, filled)
    return Response(filled.data, headers=answer_headers(filled), media_type=filled.media_type)


@router.get("/health", summary="State of the service", responses=error_docs.describe("/health", 503))
@router.get(
    "/health/ready",
    summary="Can the service fill pictures?",
    responses=error_docs.describe("/health/ready", 503),
)
async def ready(
    engine: EngineDep, lifecycle: LifecycleDep, request: Request, response: Response
) -> health.Health:
    """200 from the model's first real inference until the service is told to stop; else 503 and why."""
    lifecycle.require_serving()
    response.headers["Cache-Control"] = "no-store"
    return health.report(engine, request.state.reloader.last, request.app.version)


@router.get("/health/live", summary="Does the process answer?")
async def live(response: Response) -> health.Alive:
    """200 as long as the process answers at all."""
    response.headers["Cache-Control"] = "no-store"
    return health.Alive()


@router.get(
    "/metrics",
    summary="Metrics for Prometheus",
    response_class=PlainTextResponse,
    responses=error_docs.describe("/metrics", 401, 429),
)
async def show_metrics(app_metrics: MetricsDep) -> Response:
    """Requests by outcome, the line, the time of each stage, memory, the model, and reloads."""
    return Response(
        app_metrics.render(), media_type=metrics.MEDIA_TYPE, headers={"Cache-Control": "no-store"}
    )
