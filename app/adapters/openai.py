"""What a client of OpenAI's image API needs: POST /v1/images/edits and GET /v1/models.

There the transparent pixels of a mask are filled, and the prompt has no meaning: the model follows no words.
"""

import base64
import time
from datetime import datetime
from typing import Annotated, Literal

from fastapi import APIRouter, Depends, File, Form, Request, Response, UploadFile
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, Field
from starlette.concurrency import run_in_threadpool

from app import error_docs, images
from app.defaults import DEFAULT_QUALITY
from app.engine import FillRequest
from app.error_bodies import OpenAIErrorBody
from app.records import note_fill
from app.routes import HEADER_DOCS, EngineDep, answer_headers, given_file, require_form

EDITS_PATH = "/v1/images/edits"
MODELS_PATH = "/v1/models"

router = APIRouter(tags=["OpenAI"])


class EditedImage(BaseModel):
    """One filled picture."""

    b64_json: str = Field(description="The picture's bytes in base64.")


class EditedImages(BaseModel):
    """The answer of POST /v1/images/edits."""

    created: int = Field(description="When it was made, in seconds since 1970.")
    data: list[EditedImage] = Field(description="Always one picture.")
    output_format: images.OutputFormat


class Model(BaseModel):
    """The loaded checkpoint."""

    id: str
    object: Literal["model"] = "model"
    created: int = Field(description="When the checkpoint was saved, in seconds since 1970.")
    owned_by: Literal["inpainting-server"] = "inpainting-server"


class Models(BaseModel):
    """The answer of GET /v1/models."""

    object: Literal["list"] = "list"
    data: list[Model] = Field(description="Always one model: the loaded checkpoint.")


async def read_image(
    image: Annotated[
        list[UploadFile],
        File(default_factory=list, description="The picture to fill; under this name or as image[]."),
    ],
    image_array: Annotated[
        list[UploadFile],
        File(alias="image[]", default_factory=list, description="The same; one picture in all."),
    ],
) -> UploadFile:
    """The one picture of the form."""
    files = [*image, *image_array]
    if len(files) != 1:
        message = f"expected one picture in 'image' or 'image[]', got {len(files)}"
        raise RequestValidationError([{"type": "one_picture", "loc": ("body", "image"), "msg": message}])
    return files[0]


async def read_size(
    size: Annotated[
        str,
        Form(
            pattern=r"^(auto|[1-9]\d{0,4}x[1-9]\d{0,4})$",
            description="auto, or the image's own width x height: the answer has no other size.",
        ),
    ] = "auto",
) -> tuple[int, int] | None:
    """(width, height), or None for auto."""
    if size == "auto":
        return None
    width, height = size.split("x")
    return int(width), int(height)


async def read_form(
    image: Annotated[UploadFile, Depends(read_image)],
    size: Annotated[tuple[int, int] | None, Depends(read_size)],
    mask: Annotated[
        UploadFile | None,
        File(
            description="A picture of the same size; its transparent pixels (alpha below 128) are filled. "
            "Without it, the image's own transparent pixels are. What is filled becomes opaque."
        ),
    ] = None,
    n: Annotated[int, Form(ge=1, le=1, description="Only 1: the model has one answer.")] = 1,
    response_format: Annotated[
        Literal["b64_json"], Form(description="Only b64_json: the service keeps no pictures to link to.")
    ] = "b64_json",
    stream: Annotated[Literal["false"], Form(description="Only false.")] = "false",
    output_format: Annotated[
        images.OutputFormat, Form(description="png keeps every known pixel bit-equal.")
    ] = "png",
    output_compression: Annotated[
        int, Form(ge=0, le=100, description="Quality of jpeg and webp; 0 is taken as 1.")
    ] = DEFAULT_QUALITY,
    prompt: Annotated[str, Form(description="Ignored: the model follows no description in words.")] = "",
    model: Annotated[str, Form(description="Ignored: GET /v1/models names the one model.")] = "",
) -> FillRequest:
    """The form of POST /v1/images/edits; fields that are not listed are ignored."""
    quality = max(1, output_compression)
    return FillRequest(image.file, given_file(mask), "transparent", 0, output_format, quality, size)


@router.post(
    EDITS_PATH,
    summary="Fill a picture, as OpenAI's clients ask for it",
    response_model=EditedImages,
    responses={
        200: {"headers": HEADER_DOCS},
        **error_docs.describe(EDITS_PATH, 400, 401, 408, 413, 429, 500, 503, 504),
        # Keeps FastAPI from declaring a 422, which is a 400 here.
        "default": {"model": OpenAIErrorBody, "description": "Any other error"},
    },
    dependencies=[Depends(require_form)],
)
async def edit(
    engine: EngineDep, fill_request: Annotated[FillRequest, Depends(read_form)], request: Request
) -> Response:
    """Fill the mask's transparent pixels and keep the rest. The prompt is accepted and ignored."""
    filled = await engine.fill(fill_request)
    await request.close()  # drops the form's files, which the answer outlives
    note_fill(request, filled)
    # In a thread, since a large picture would hold up all other requests.
    content = await run_in_threadpool(_as_json, filled.data, fill_request.output_format)
    return Response(content, headers=answer_headers(filled), media_type="application/json")


def _as_json(data: bytes, output_format: images.OutputFormat) -> str:
    picture = EditedImage(b64_json=base64.b64encode(data).decode("ascii"))
    return EditedImages(
        created=int(time.time()), data=[picture], output_format=output_format
    ).model_dump_json()


@router.get(
    MODELS_PATH,
    summary="The loaded checkpoint, as OpenAI's clients ask for it",
    responses=error_docs.describe(MODELS_PATH, 401, 429, 503),
)
async def models(engine: EngineDep) -> Models:
    """A list of one: the checkpoint that the service has loaded."""
    info = engine.inpainter.info
    created = int(datetime.fromisoformat(info.created).timestamp())
    return Models(data=[Model(id=info.name, created=created)])
