"""The HTTP contract: POST /inpaint and the health checks."""

from typing import Annotated, Any, Literal, cast
from urllib.parse import quote

from fastapi import APIRouter, Depends, File, Form, Request, Response, UploadFile

from app import health, images, problems
from app.engine import Engine, FillRequest
from app.errors import NotReadyError, UnsupportedMediaTypeError

MAX_GROW_PIXELS = 256

router = APIRouter()


def get_engine(request: Request) -> Engine:
    """The engine that lifespan made."""
    engine = getattr(request.state, "engine", None)
    if engine is None:
        raise NotReadyError("The model is not loaded yet.")
    return cast(Engine, engine)


def require_form(request: Request) -> None:
    """Tell apart a body of another kind from a form that lacks fields."""
    media_type = request.headers.get("content-type", "").split(";")[0].strip().lower()
    if media_type not in ("", "multipart/form-data", "application/x-www-form-urlencoded"):
        raise UnsupportedMediaTypeError("The body's Content-Type must be multipart/form-data.")


def read_form(
    image: Annotated[
        UploadFile, File(description=f"The picture to fill: {', '.join(images.ACCEPTED_FORMATS)}.")
    ],
    mask: Annotated[
        UploadFile | None,
        File(
            description="A picture of the same size; white (brighter than 127) = fill. Optional if the "
            "image has alpha: then its transparent pixels (alpha below 128) are filled and become opaque."
        ),
    ] = None,
    mask_polarity: Annotated[
        Literal["white", "black"], Form(description="The colour in the mask that marks what to fill.")
    ] = "white",
    grow: Annotated[
        int, Form(ge=0, le=MAX_GROW_PIXELS, description="Fill this many more pixels on every side.")
    ] = 0,
    format: Annotated[
        images.OutputFormat, Form(description="Of the answer; png keeps every known pixel bit-equal.")
    ] = "png",
    quality: Annotated[int, Form(ge=1, le=100, description="Of jpeg and webp answers.")] = 95,
) -> FillRequest:
    """The form of POST /inpaint."""
    # A browser sends a file input that was left empty as a part without a name or content.
    mask_file = mask.file if mask is not None and (mask.filename or mask.size) else None
    return FillRequest(image.file, mask_file, mask_polarity, grow, format, quality)


EngineDep = Annotated[Engine, Depends(get_engine)]
FillRequestDep = Annotated[FillRequest, Depends(read_form)]


_TEXT_HEADER = {"schema": {"type": "string"}}
_INPAINT_DOCS: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The filled picture, of the image's size and mode, in the asked-for format.",
        "content": {
            media_type: {"schema": {"type": "string", "format": "binary"}}
            for media_type in images.MEDIA_TYPES.values()
        },
        "headers": {
            "X-Request-ID": {"description": "The client's own, or a new one.", **_TEXT_HEADER},
            "X-Model": {"description": "The checkpoint: name@start of its SHA-256.", **_TEXT_HEADER},
            "Server-Timing": {
                "description": "Milliseconds: decode, queue, inference, encode.",
                **_TEXT_HEADER,
            },
        },
    },
    **problems.documentation(400, 408, 413, 415, 422, 429, 500, 503, 504),
}


@router.post(
    "/inpaint",
    summary="Fill the holes of a picture",
    response_class=Response,
    responses=_INPAINT_DOCS,
    dependencies=[Depends(require_form)],
)
async def inpaint(engine: EngineDep, fill_request: FillRequestDep) -> Response:
    """Fill what the mask marks and keep the rest. EXIF orientation is applied; EXIF and ICC profile stay."""
    filled = await engine.fill(fill_request)
    headers = {
        "Server-Timing": filled.timings.server_timing(),
        "X-Model": f"{quote(engine.inpainter.info.name)}@{engine.inpainter.sha256[:12]}",
    }
    return Response(filled.data, headers=headers, media_type=filled.media_type)


@router.get("/health", summary="State of the service", responses=problems.documentation(503))
@router.get("/health/ready", summary="Can the service fill pictures?", responses=problems.documentation(503))
async def ready(engine: EngineDep, request: Request, response: Response) -> health.Health:
    """200 once the model has answered a tiny real inference; 503 with the reason otherwise."""
    response.headers["Cache-Control"] = "no-store"
    return health.report(engine, request.app.version)


@router.get("/health/live", summary="Does the process answer?")
async def live(response: Response) -> health.Alive:
    """200 as long as the process answers at all."""
    response.headers["Cache-Control"] = "no-store"
    return health.Alive()
