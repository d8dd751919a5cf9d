"""The HTTP contract of batches: POST /inpaint/batch."""

import io
from collections.abc import Sequence
from typing import Annotated, Any, BinaryIO

from fastapi import APIRouter, Depends, File, Request, UploadFile
from fastapi.exceptions import RequestValidationError
from fastapi.responses import StreamingResponse

from app import error_docs
from app.batch import BatchItem, zip_of
from app.engine import FillRequest
from app.routes import EngineDep, FillOptionsDep, given_file, model_header, require_form
from app.settings import Settings

PATH = "/inpaint/batch"
MEDIA_TYPE = "application/zip"

_DOCS: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "A zip file of the filled pictures, NNN-name.png, and last of it outcomes.json: for "
        "each picture its index, its status, and its file and times or its problem.",
        "content": {MEDIA_TYPE: {"schema": {"type": "string", "format": "binary"}}},
    },
    **error_docs.describe(PATH, 400, 401, 408, 413, 415, 422, 429, 500, 503),
}


def create_router(settings: Settings) -> APIRouter:
    """The route of an application with these settings."""
    router = APIRouter()

    def read_form(
        options: FillOptionsDep,
        image: Annotated[
            list[UploadFile], File(description=f"The pictures to fill, 1 to {settings.max_batch_items}.")
        ],
        mask: Annotated[
            list[UploadFile] | None,
            File(
                description="A mask for each picture, in the same order, or one for all; white = fill. "
                "Without any, each picture's own transparent pixels are filled."
            ),
        ] = None,
    ) -> list[BatchItem]:
        """The pictures of POST /inpaint/batch, each with its mask."""
        masks = [file for upload in mask or [] if (file := given_file(upload))]
        _require_counts(len(image), len(masks), settings.max_batch_items)
        return [
            BatchItem(index, upload.filename or "", FillRequest(upload.file, file, *options))
            for index, (upload, file) in enumerate(zip(image, _for_each(masks, len(image)), strict=True))
        ]

    @router.post(
        PATH,
        summary="Fill the holes of many pictures",
        response_class=StreamingResponse,
        responses=_DOCS,
        dependencies=[Depends(require_form)],
    )
    async def inpaint_batch(
        engine: EngineDep, items: Annotated[list[BatchItem], Depends(read_form)], request: Request
    ) -> StreamingResponse:
        """Fill each picture as POST /inpaint would. A bad one becomes an entry in outcomes.json, and the
        others are filled all the same. The answer is sent while it is made."""
        engine.require_room()
        content = zip_of(items, engine, request, settings.timeout_seconds)
        return StreamingResponse(content, headers=model_header(engine.model), media_type=MEDIA_TYPE)

    return router


def _for_each(masks: Sequence[BinaryIO], pictures: int) -> Sequence[BinaryIO | None]:
    """A mask for each picture: its own, the only one, or none."""
    if len(masks) != 1:
        return masks or [None] * pictures
    # Two pictures may be read at once, so the mask is opened once for each.
    data = masks[0].read()
    return [io.BytesIO(data) for _ in range(pictures)]


def _require_counts(images: int, masks: int, most: int) -> None:
    """Raise RequestValidationError unless there are few enough pictures, with no, one or as many masks."""
    if images > most:
        _refuse("image", f"expected 1 to {most} pictures, got {images}")
    if masks not in (0, 1, images):
        _refuse("mask", f"expected no mask, one for all or one for each of {images} pictures, got {masks}")


def _refuse(field: str, message: str) -> None:
    raise RequestValidationError([{"type": "count", "loc": ("body", field), "msg": message}])
