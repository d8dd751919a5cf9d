"""OpenAI's own Python client works with the service: its calls, its answers, its exceptions."""

import base64
import io
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import openai
import pytest
from fastapi import HTTPException
from fastapi.testclient import TestClient
from PIL import Image

from app.errors import QueueFullError, RequestTimeoutError
from app.main import create_app
from app.settings import Settings

ToBytes = Callable[..., bytes]


@pytest.fixture(scope="module")
def official(service_url: str) -> Iterator[openai.OpenAI]:
    """The official client, pointed at a real process."""
    with openai.OpenAI(base_url=f"{service_url}/v1", api_key="unused", max_retries=0) as client:
        yield client


@pytest.fixture(scope="session")
def alpha_mask(hole: np.ndarray, to_bytes: ToBytes) -> bytes:
    """A PNG of arbitrary colours that is transparent where to fill."""
    bands = np.full((*hole.shape, 4), 200, dtype=np.uint8)
    bands[..., 3] = np.where(hole, 0, 255)
    return to_bytes(Image.fromarray(bands))


def picture(answer: Any) -> Image.Image:
    (only,) = answer.data
    assert only.url is None
    return Image.open(io.BytesIO(base64.b64decode(only.b64_json, validate=True)))


def test_edit_fills_the_transparent_pixels_of_the_mask(
    official: openai.OpenAI,
    files: dict[str, bytes],
    alpha_mask: bytes,
    photo: Image.Image,
    hole: np.ndarray,
) -> None:
    """Called as its documentation says, the client gets a PNG whose pixels outside the hole are the same."""
    answer = official.images.edit(
        model="gpt-image-1",
        image=io.BytesIO(files["image"]),
        mask=io.BytesIO(alpha_mask),
        prompt="a meadow",
        n=1,
        size="auto",
    )
    filled = picture(answer)
    changed = (np.asarray(filled) != np.asarray(photo)).any(axis=-1)
    assert answer.created > 1_700_000_000
    assert (filled.format, filled.size) == ("PNG", photo.size)
    assert not changed[~hole].any()
    assert changed[hole].mean() > 0.5


def test_without_a_mask_the_images_own_transparency_counts(
    official: openai.OpenAI, photo: Image.Image, hole: np.ndarray, to_bytes: ToBytes
) -> None:
    """Transparent pixels are filled and become opaque; a list of one picture is one picture."""
    image = photo.copy()
    image.putalpha(Image.fromarray(np.where(hole, 0, 255).astype(np.uint8)))
    filled = picture(official.images.edit(image=[("a.png", to_bytes(image))], prompt="x", size="96x64"))
    assert np.asarray(filled.getchannel("A")).min() == 255
    np.testing.assert_array_equal(np.asarray(filled.convert("RGB"))[~hole], np.asarray(photo)[~hole])


def test_what_is_filled_can_be_seen(
    official: openai.OpenAI, photo: Image.Image, hole: np.ndarray, to_bytes: ToBytes
) -> None:
    """A cut-out that is its own mask comes back opaque."""
    image = photo.copy()
    image.putalpha(Image.fromarray(np.where(hole, 0, 255).astype(np.uint8)))
    cut_out = to_bytes(image)
    filled = picture(official.images.edit(image=io.BytesIO(cut_out), mask=io.BytesIO(cut_out), prompt="x"))
    assert np.asarray(filled.getchannel("A")).min() == 255


def test_output_formats(official: openai.OpenAI, files: dict[str, bytes], alpha_mask: bytes) -> None:
    """The format is as asked for, and less compression makes a larger file."""
    sizes = {}
    for output_format in ("jpeg", "webp"):
        for quality in (0, 100):
            answer = official.images.edit(
                image=files["image"],
                mask=alpha_mask,
                prompt="",
                output_format=output_format,
                output_compression=quality,
            )
            assert picture(answer).format == output_format.upper()
            assert answer.output_format == output_format
            sizes[output_format, quality] = len(answer.data[0].b64_json)
    assert sizes["jpeg", 0] < sizes["jpeg", 100]
    assert sizes["webp", 0] < sizes["webp", 100]


@pytest.mark.parametrize(
    ("changes", "param", "message"),
    [
        ({"n": 2}, "n", "less than or equal to 1"),
        ({"response_format": "url"}, "response_format", "'b64_json'"),
        ({"size": "1024x1024"}, None, "'size' is 1024x1024 but the image is 96x64"),
        ({"size": "large"}, "size", "pattern"),
        ({"output_format": "gif"}, "output_format", "'png', 'jpeg' or 'webp'"),
        ({"output_compression": 101}, "output_compression", "100"),
        ({"stream": True}, "stream", "'false'"),
        ({"image": ["twice"]}, "image", "got 2"),
        ({"image": b"GIF89a and so on"}, None, "accepted picture types"),
        ({"mask": "white on black"}, None, "Nothing in 'mask' is transparent"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else None,
)
def test_what_is_not_offered_is_a_bad_request(
    official: openai.OpenAI,
    files: dict[str, bytes],
    alpha_mask: bytes,
    changes: dict[str, Any],
    param: str | None,
    message: str,
) -> None:
    """The client raises BadRequestError, which says what is wrong and in which field."""
    if changes.get("image") == ["twice"]:
        changes = {"image": [files["image"], files["image"]]}
    if changes.get("mask"):
        changes = {"mask": files["mask"]}
    with pytest.raises(openai.BadRequestError) as caught:
        official.images.edit(**{"image": files["image"], "mask": alpha_mask, "prompt": "x"} | changes)
    error = caught.value.body
    assert isinstance(error, dict)
    assert message in error["message"]
    assert error["type"] == "invalid_request_error"
    assert error["param"] == param
    assert error["code"]


def test_models_names_the_checkpoint(official: openai.OpenAI) -> None:
    """The one model has the checkpoint's name and moment of saving."""
    (model,) = official.models.list().data
    assert model.id == "tiny"
    assert model.created == 1767225600


def test_unknown_paths_raise_the_clients_exception(official: openai.OpenAI) -> None:
    """What is answered before any route has the form too."""
    with pytest.raises(openai.NotFoundError) as caught:
        official.images.generate(prompt="a meadow")
    assert caught.value.type == "invalid_request_error"


def test_a_body_over_the_limit(settings: Settings, files: dict[str, bytes]) -> None:
    """A middleware's refusal has the form and keeps its status."""
    with TestClient(create_app(settings.model_copy(update={"max_request_bytes": 100}))) as client:
        response = client.post("/v1/images/edits", files=files)
    assert response.status_code == 413
    assert response.json()["error"]["code"] == "request-too-large"
    assert set(response.json()["error"]) == {"message", "type", "param", "code"}


def test_before_the_model_is_loaded(settings: Settings, files: dict[str, bytes]) -> None:
    """503, with the time to wait that the client honours."""
    response = TestClient(create_app(settings)).post("/v1/images/edits", files=files)
    assert response.status_code == 503
    assert response.headers["retry-after"] == "1"
    assert response.json()["error"]["type"] == "server_error"


@pytest.mark.parametrize(
    ("name", "raised", "error_type"),
    [
        ("no-key", openai.AuthenticationError, "authentication_error"),
        ("queue-full", openai.RateLimitError, "rate_limit_error"),
        ("unexpected", openai.InternalServerError, "server_error"),
        ("timeout", openai.InternalServerError, "server_error"),
    ],
)
def test_each_status_raises_the_clients_own_exception(
    settings: Settings, name: str, raised: type[openai.APIStatusError], error_type: str
) -> None:
    """Whoever raises the error, a middleware or the engine, and without what is not to be told."""
    app = create_app(settings)
    errors = {
        "no-key": HTTPException(401),
        "queue-full": QueueFullError("The line is full."),
        "unexpected": RuntimeError("secret of a library"),
        "timeout": RequestTimeoutError("It took too long."),
    }

    @app.post("/v1/raise/{name}")
    async def fail(name: str) -> None:
        raise errors[name]

    with (
        TestClient(app, raise_server_exceptions=False) as transport,
        openai.OpenAI(
            base_url="http://testserver/v1", api_key="x", max_retries=0, http_client=transport
        ) as client,
        pytest.raises(raised) as caught,
    ):
        client.post(f"/raise/{name}", cast_to=object)
    assert caught.value.type == error_type
    assert "secret" not in caught.value.response.text
