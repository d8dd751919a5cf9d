"""POST /inpaint: good requests are filled, bad ones get their documented problem, and the service goes on."""

import io
import re
import struct
import zlib
from collections.abc import Callable
from typing import Any

import httpx
import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image, ImageCms

ToBytes = Callable[..., bytes]
AssertProblem = Callable[[httpx.Response, int], dict[str, Any]]


def picture(response: httpx.Response) -> Image.Image:
    assert response.status_code == 200, response.text
    return Image.open(io.BytesIO(response.content))


def png(width: int, height: int) -> bytes:
    """A PNG of the given size whose pixels are missing; its header is all that may be read of it."""
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    checksum = struct.pack(">I", zlib.crc32(header))
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + header + checksum + struct.pack(">I", 9) + b"IDAT"


def test_fills_the_hole_and_keeps_the_rest(
    client: TestClient, files: dict[str, bytes], photo: Image.Image, hole: np.ndarray
) -> None:
    """The answer is a PNG of the same size; outside the hole every pixel is the same, inside it is not."""
    response = client.post("/inpaint", files=files)
    filled = picture(response)
    assert response.headers["content-type"] == "image/png"
    assert (filled.format, filled.mode, filled.size) == ("PNG", "RGB", photo.size)
    changed = (np.asarray(filled) != np.asarray(photo)).any(axis=-1)
    assert not changed[~hole].any()
    assert changed[hole].mean() > 0.5


def test_headers_tell_the_model_and_the_time(client: TestClient, files: dict[str, bytes]) -> None:
    """Every answer names its model, its stages' milliseconds and its request."""
    response = client.post("/inpaint", files=files, headers={"X-Request-ID": "mine"})
    health = client.get("/health").json()
    assert response.headers["x-request-id"] == "mine"
    assert response.headers["x-model"] == f"tiny@{health['model']['sha256'][:12]}"
    stages = dict(re.findall(r"(\w+);dur=([\d.]+)", response.headers["server-timing"]))
    assert list(stages) == ["decode", "queue", "inference", "encode"]
    assert float(stages["inference"]) > 0


def test_the_same_request_gives_the_same_bytes(client: TestClient, files: dict[str, bytes]) -> None:
    """Nothing of a request is left over for the next one."""
    assert client.post("/inpaint", files=files).content == client.post("/inpaint", files=files).content


def test_an_empty_mask_returns_the_image(
    client: TestClient, files: dict[str, bytes], photo: Image.Image, to_bytes: ToBytes
) -> None:
    """Nothing to fill: every pixel comes back."""
    black = to_bytes(Image.new("L", photo.size))
    filled = picture(client.post("/inpaint", files=files | {"mask": black}))
    np.testing.assert_array_equal(np.asarray(filled), np.asarray(photo))


def test_black_polarity_reads_the_mask_the_other_way(
    client: TestClient, files: dict[str, bytes], mask: Image.Image, to_bytes: ToBytes
) -> None:
    """An inverted mask with mask_polarity=black asks for the same."""
    inverted = to_bytes(Image.eval(mask, lambda value: 255 - value))
    response = client.post("/inpaint", files=files | {"mask": inverted}, data={"mask_polarity": "black"})
    assert response.content == client.post("/inpaint", files=files).content


@pytest.mark.parametrize("mode", ["1", "L", "RGB", "P", "RGBA", "LA", "CMYK"])
def test_masks_of_any_mode(
    client: TestClient, files: dict[str, bytes], mask: Image.Image, to_bytes: ToBytes, mode: str
) -> None:
    """What is white in the mask is filled, however its pixels are stored."""
    file_format = "TIFF" if mode == "CMYK" else "PNG"
    other = to_bytes(mask.convert("RGB").convert(mode), file_format)
    response = client.post("/inpaint", files=files | {"mask": other})
    assert response.content == client.post("/inpaint", files=files).content


def test_grow_fills_more(
    client: TestClient, files: dict[str, bytes], photo: Image.Image, hole: np.ndarray
) -> None:
    """grow=4 is the same as a mask with four more pixels on each side."""
    filled = picture(client.post("/inpaint", files=files, data={"grow": "4"}))
    changed = (np.asarray(filled) != np.asarray(photo)).any(axis=-1)
    grown = np.zeros_like(hole)
    grown[16:44, 26:64] = True
    assert not changed[~grown].any()
    assert changed[grown & ~hole].mean() > 0.5


@pytest.mark.parametrize(("output_format", "media_type"), [("jpeg", "image/jpeg"), ("webp", "image/webp")])
def test_lossy_formats(
    client: TestClient, files: dict[str, bytes], photo: Image.Image, output_format: str, media_type: str
) -> None:
    """The answer is in the format that was asked for, smaller at lower quality."""
    sizes = []
    for quality in ("20", "95"):
        response = client.post("/inpaint", files=files, data={"format": output_format, "quality": quality})
        assert response.headers["content-type"] == media_type
        filled = picture(response)
        assert (filled.format, filled.size) == (output_format.upper(), photo.size)
        sizes.append(len(response.content))
    assert sizes[0] < sizes[1]


def test_transparency_is_the_mask_and_becomes_opaque(
    client: TestClient, photo: Image.Image, hole: np.ndarray, to_bytes: ToBytes
) -> None:
    """Without a mask the image's transparent pixels are filled; half-transparent ones keep their alpha."""
    alpha = np.full(hole.shape, 255, dtype=np.uint8)
    alpha[:, 70:] = 200
    alpha[hole] = 0
    image = photo.copy()
    image.putalpha(Image.fromarray(alpha))
    filled = picture(client.post("/inpaint", files={"image": to_bytes(image)}))
    assert filled.mode == "RGBA"
    np.testing.assert_array_equal(np.asarray(filled.getchannel("A")), np.where(hole, 255, alpha))
    known = np.asarray(filled.convert("RGB"))[~hole]
    np.testing.assert_array_equal(known, np.asarray(photo)[~hole])


def test_a_mask_beside_transparency_leaves_alpha_alone(
    client: TestClient, files: dict[str, bytes], photo: Image.Image, to_bytes: ToBytes
) -> None:
    """With a mask, alpha is not a mask: it comes back as it was."""
    image = photo.copy()
    image.putalpha(90)
    filled = picture(client.post("/inpaint", files=files | {"image": to_bytes(image)}))
    assert np.asarray(filled.getchannel("A")).tolist() == np.full((64, 96), 90).tolist()


def test_an_empty_file_input_of_a_browser_is_no_mask(
    client: TestClient, photo: Image.Image, hole: np.ndarray, to_bytes: ToBytes
) -> None:
    """A part without a file name and content is what a browser sends for an input that was left empty."""
    image = photo.copy()
    image.putalpha(Image.fromarray(np.where(hole, 0, 255).astype(np.uint8)))
    body = (
        b'--x\r\nContent-Disposition: form-data; name="image"; filename="a.png"\r\n\r\n'
        + to_bytes(image)
        + b'\r\n--x\r\nContent-Disposition: form-data; name="mask"; filename=""\r\n\r\n\r\n--x--\r\n'
    )
    response = client.post(
        "/inpaint", content=body, headers={"Content-Type": "multipart/form-data; boundary=x"}
    )
    assert picture(response).size == photo.size


def test_a_rotated_photograph_comes_back_upright(
    client: TestClient, files: dict[str, bytes], photo: Image.Image, hole: np.ndarray, to_bytes: ToBytes
) -> None:
    """The mask fits the picture as it is seen; the answer is upright and carries no orientation."""
    exif = Image.Exif()
    exif[0x0112] = 6
    as_shot = to_bytes(photo.transpose(Image.Transpose.ROTATE_90), exif=exif)
    filled = picture(client.post("/inpaint", files=files | {"image": as_shot}))
    np.testing.assert_array_equal(np.asarray(filled)[~hole], np.asarray(photo)[~hole])
    assert filled.getexif().get(0x0112, 1) == 1


def test_sixteen_bits_and_profile_are_kept(
    client: TestClient, files: dict[str, bytes], hole: np.ndarray, to_bytes: ToBytes
) -> None:
    """16-bit grey stays 16-bit, bit-equal outside the hole, with its colour profile."""
    rows, columns = np.mgrid[0:64, 0:96]
    grey = (rows * 400 + columns * 300 + 7).astype(np.uint16)
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    image = to_bytes(Image.fromarray(grey), icc_profile=profile)
    filled = picture(client.post("/inpaint", files=files | {"image": image}))
    assert filled.mode == "I;16"
    np.testing.assert_array_equal(np.asarray(filled)[~hole], grey[~hole])
    assert filled.info["icc_profile"] == profile


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "CMYK"])
@pytest.mark.parametrize("output_format", ["png", "jpeg", "webp"])
def test_images_of_any_mode(
    client: TestClient,
    files: dict[str, bytes],
    photo: Image.Image,
    to_bytes: ToBytes,
    mode: str,
    output_format: str,
) -> None:
    """Whatever the image's pixels are, there is an answer of its size in every format."""
    image = to_bytes(photo.convert(mode), "TIFF" if mode == "CMYK" else "PNG")
    response = client.post("/inpaint", files=files | {"image": image}, data={"format": output_format})
    assert picture(response).size == photo.size


def as_bytes(image: Image.Image, file_format: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, file_format)
    return buffer.getvalue()


SIZE = (96, 64)
IMAGE = as_bytes(Image.linear_gradient("L").resize(SIZE).convert("RGB"))
JPEG = as_bytes(Image.effect_noise(SIZE, 50), "JPEG")
MASK = as_bytes(Image.radial_gradient("L").resize(SIZE))
BLACK, WHITE = (as_bytes(Image.new("L", SIZE, value)) for value in (0, 255))
WORDS = b"just some words"
MULTIPART = {"Content-Type": "multipart/form-data; boundary=x"}
NAMELESS_PART = b"--x\r\nContent-Disposition: form-data\r\n\r\na\r\n--x--\r\n"


def form(image: bytes = IMAGE, mask: bytes = MASK, **fields: str) -> dict[str, Any]:
    """The arguments of a request that is good but for what is given."""
    return {"files": {"image": image, "mask": mask}, "data": fields}


BAD_REQUESTS: dict[str, tuple[dict[str, Any], int, str]] = {
    "different sizes": (
        form(mask=as_bytes(Image.new("L", (48, 32)))),
        422,
        "32 x 48.*64 x 96.*height x width",
    ),
    "white mask": (form(mask=WHITE), 422, "mask"),
    "black mask, black polarity": (form(mask=BLACK, mask_polarity="black"), 422, "mask"),
    "mask grown over everything": (form(grow="96"), 422, "mask"),
    "empty image": (form(image=b""), 400, "'image'.*0 bytes"),
    "empty mask file": (form(mask=b""), 400, "'mask'.*0 bytes"),
    "text as image": (form(image=WORDS), 415, "'image'.*JPEG, PNG"),
    "text as mask": (form(mask=WORDS), 415, "'mask'.*JPEG, PNG"),
    "truncated jpeg": (form(image=JPEG[: len(JPEG) // 2]), 422, "'image'.*truncated"),
    "truncated mask": (form(mask=MASK[:60]), 422, "'mask'.*truncated"),
    "60 megapixels": (form(image=png(10_000, 6_000)), 422, "10000 x 6000.*60,000,000.*50,000,000"),
    "60 megapixel mask": (form(mask=png(10_000, 6_000)), 422, "'mask'.*60,000,000.*50,000,000"),
    "decompression bomb": (form(image=png(100_000, 100_000)), 422, "50,000,000"),
    "long side": (form(image=png(20_000, 1)), 422, "20000 x 1.*16,383"),
    "40 MB": (form(image=bytes(40_000_000)), 413, "40,0.*30,000,000"),
    "no image": ({"files": {"mask": MASK}}, 422, "image: this field is required"),
    "no mask": ({"files": {"image": IMAGE}}, 422, "'mask'.*transparent"),
    "no fields at all": ({}, 422, "image: this field is required"),
    "image as text": ({"files": {"mask": MASK}, "data": {"image": "a"}}, 422, "image: expected a file"),
    "unknown polarity": (form(mask_polarity="grey"), 422, "mask_polarity.*'white' or 'black'"),
    "unknown format": (form(format="gif"), 422, "format.*'png', 'jpeg' or 'webp'"),
    "quality 0": (form(format="jpeg", quality="0"), 422, "quality.*1"),
    "quality 101": (form(format="jpeg", quality="101"), 422, "quality.*100"),
    "negative grow": (form(grow="-1"), 422, "grow.*0"),
    "grow 257": (form(grow="257"), 422, "grow.*256"),
    "grow in words": (form(grow="much"), 422, "grow.*integer"),
    "no boundary": ({"content": b"x", "headers": {"Content-Type": "multipart/form-data"}}, 400, "multipart"),
    "broken multipart": ({"content": b"--y\r\nno form", "headers": MULTIPART}, 400, "multipart"),
    "part without name": ({"content": NAMELESS_PART, "headers": MULTIPART}, 400, "multipart"),
    "json": ({"json": {"image": "aGVsbG8="}}, 415, "multipart/form-data"),
}


@pytest.mark.parametrize("name", BAD_REQUESTS)
def test_bad_requests_get_their_problem(
    client: TestClient, files: dict[str, bytes], assert_problem: AssertProblem, name: str
) -> None:
    """Each is answered with its documented status and the numbers, and the next good request is filled."""
    arguments, status, detail = BAD_REQUESTS[name]
    problem = assert_problem(client.post("/inpaint", **arguments), status)
    assert re.search(detail, problem["detail"]), problem["detail"]
    assert client.post("/inpaint", files=files).status_code == 200


def test_a_real_60_megapixel_file_is_refused(
    client: TestClient, files: dict[str, bytes], to_bytes: ToBytes, assert_problem: AssertProblem
) -> None:
    """A complete picture of that size is refused too, by its header."""
    image = to_bytes(Image.new("1", (10_000, 6_000)), "TIFF", compression="group4")
    problem = assert_problem(client.post("/inpaint", files=files | {"image": image}), 422)
    assert "60,000,000" in problem["detail"]


def test_openapi_declares_fields_limits_and_errors(client: TestClient) -> None:
    """The documentation has every field and its limits, the picture types, and each error as problem+json."""
    document = client.get("/openapi.json").json()
    responses = document["paths"]["/inpaint"]["post"]["responses"]
    assert set(responses) == {"200", "400", "401", "408", "413", "415", "422", "429", "500", "503", "504"}
    assert set(responses["200"]["content"]) == {"image/png", "image/jpeg", "image/webp"}
    assert set(responses["200"]["headers"]) == {"X-Request-ID", "X-Model", "Server-Timing"}
    for status in set(responses) - {"200"}:
        assert set(responses[status]["content"]) == {"application/problem+json"}
        assert responses[status]["description"]
    body = document["paths"]["/inpaint"]["post"]["requestBody"]["content"]["multipart/form-data"]["schema"]
    form = document["components"]["schemas"][body["$ref"].rsplit("/")[-1]]
    assert form["required"] == ["image"]
    assert all(field["description"] for field in form["properties"].values())
    assert (form["properties"]["grow"]["minimum"], form["properties"]["grow"]["maximum"]) == (0, 256)
    assert (form["properties"]["quality"]["minimum"], form["properties"]["quality"]["maximum"]) == (1, 100)
    assert form["properties"]["format"]["enum"] == ["png", "jpeg", "webp"]


def test_documentation_page_can_resolve_its_references(client: TestClient) -> None:
    """Everything that the OpenAPI document refers to is in it."""
    text = client.get("/openapi.json").text
    defined = client.get("/openapi.json").json()["components"]["schemas"]
    references = re.findall(r'"\$ref":\s*"([^"]+)"', text)
    assert references
    assert {reference.removeprefix("#/components/schemas/") for reference in references} <= set(defined)
    assert client.get("/docs").status_code == 200
