"""Files made to harm: each gets a picture or a documented refusal, in bounded time and memory."""

import io
import struct
import time
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any

import httpx
import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image, PngImagePlugin

from app.errors import PictureTooLargeError, SlowPictureError
from app.images import MAX_JPEG_SCANS, EncodedPicture, PictureLimits

AssertProblem = Callable[[httpx.Response, int], dict[str, Any]]
RunService = Callable[..., AbstractContextManager[Any]]
SIZE = (96, 64)
PNG_START = b"\x89PNG\r\n\x1a\n"


def save(image: Image.Image, file_format: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, file_format, **options)
    return buffer.getvalue()


def chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def png(*chunks: bytes, size: tuple[int, int] = SIZE) -> bytes:
    """A black RGB PNG, with chunks between its header and the pixels of a picture of the usual size."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", *size, 8, 2, 0, 0, 0))
    pixels = zlib.compress(bytes((1 + 3 * SIZE[0]) * SIZE[1]))
    return PNG_START + header + b"".join(chunks) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def palette_png(transparency: bytes) -> bytes:
    """A PNG with a palette, with a chunk before its pixels."""
    data = save(PICTURE.convert("P"), "PNG")
    place = data.index(b"IDAT") - 4
    return data[:place] + transparency + data[place:]


def texts(**texts: str) -> PngImagePlugin.PngInfo:
    info = PngImagePlugin.PngInfo()
    for keyword, text in texts.items():
        info.add_text(keyword, text)
    return info


def tiff(changes: dict[int, tuple[int, int, int]], data: bytes = bytes(20_000)) -> bytes:
    """A grey TIFF of one strip, some of whose tags (type, count, value) are changed."""
    width, height = SIZE
    tags = {
        256: width,
        257: height,
        258: 8,
        259: 1,
        262: 1,
        273: 200,
        277: 1,
        278: height,
        279: width * height,
    }
    entries = {tag: (4, 1, value) for tag, value in tags.items()} | changes
    packed = b"".join(struct.pack("<HHII", tag, *entries[tag]) for tag in sorted(entries))
    head = b"II*\0" + struct.pack("<IH", 8, len(entries)) + packed + bytes(4)
    return head.ljust(200, b"\0") + data


PICTURE = Image.linear_gradient("L").resize(SIZE).convert("RGB")
FRAMES = [Image.new("RGB", SIZE, (shade, 0, 0)) for shade in range(0, 250, 25)]
JPEG = save(PICTURE, "JPEG")
BOMB = zlib.compress(bytes(100_000_000), 9)
PROGRESSIVE = save(PICTURE, "JPEG", progressive=True)
LAST_SCAN = PROGRESSIVE[PROGRESSIVE.rfind(b"\xff\xda") : -2]
BMP = save(PICTURE, "BMP")
RLE = bytearray(save(PICTURE.convert("P"), "BMP"))
struct.pack_into("<I", RLE, 30, 1)  # its compression: run lengths, whose pairs the decoder reads one by one

GOOD = {
    "animated webp": save(FRAMES[0], "WEBP", save_all=True, append_images=FRAMES[1:]),
    "animated avif": save(FRAMES[0], "AVIF", save_all=True, append_images=FRAMES[1:]),
    "animated png": save(FRAMES[0], "PNG", save_all=True, append_images=FRAMES[1:]),
    "tiff of many pages": save(FRAMES[0], "TIFF", save_all=True, append_images=FRAMES[1:]),
    "jpeg and web page": JPEG + b"<html><script>alert(1)</script></html>",
    "jpeg with a web page inside": JPEG[:2] + b"\xff\xfe\x00\x20<html><script>alert(1)</script>" + JPEG[2:],
    "png and archive": png() + b"PK\x05\x06" + bytes(18),
    "pixels that go on for 100 MB": PNG_START
    + chunk(b"IHDR", struct.pack(">IIBBBBB", *SIZE, 8, 2, 0, 0, 0))
    + chunk(b"IDAT", BOMB)
    + chunk(b"IEND", b""),
    "huge exif": save(PICTURE, "WEBP", exif=b"Exif\0\0" + bytes(2_000_000)),
    "exif of 5000 entries": save(
        PICTURE,
        "PNG",
        exif=b"II*\0"
        + struct.pack("<IH", 8, 5000)
        + struct.pack("<HHII", 1000, 7, 50_000, 100) * 5000
        + bytes(50_000),
    ),
}
# What Pillow's encoders would take for their own options, of types and lengths that they hang or fail on.
MISLEADING = {
    "long comment": png(chunk(b"tEXt", b"comment\0" + b"\xe9" * 33_000)),
    "longer comment": png(chunk(b"tEXt", b"comment\0" + b"a" * 70_000)),
    "profile of text": png(chunk(b"tEXt", b"icc_profile\0abc")),
    "transparency of text": png(chunk(b"iTXt", b"transparency\0\0\0\0\0abc")),
    "transparency of text in grey": save(PICTURE.convert("L"), "PNG", pnginfo=texts(transparency="abc")),
    "transparency of 300 colours": palette_png(chunk(b"tRNS", bytes(300))),
    "profile of a number": tiff({34675: (4, 1, 100)}),
    "exif of text": png(chunk(b"tEXt", b"exif\0abc")),
    "broken exif in text": png(chunk(b"tEXt", b"Raw profile type exif\0\nexif\n 8\n4578696600004949")),
}
REFUSED = {
    "text bomb in png": (png(chunk(b"zTXt", b"k\0\0" + BOMB)), 422),
    "international text bomb in png": (png(chunk(b"iTXt", b"k\0\1\0\0\0" + BOMB)), 422),
    "profile bomb in png": (png(chunk(b"iCCP", b"k\0\0" + BOMB)), 422),
    "many text bombs in png": (png(chunk(b"zTXt", b"k\0\0" + zlib.compress(bytes(1_000_000))) * 100), 422),
    "png of no width": (png(size=(0, 64)), 422),
    "png of 2^31 pixels": (png(size=(2**16, 2**15)), 422),
    "tiff whose strips are 4 GB": (tiff({279: (4, 1, 2**32 - 1), 259: (4, 1, 5)}), 422),
    "tiff of a million strips": (
        tiff({273: (4, 1_000_000, 200), 279: (4, 1_000_000, 200)}, bytes(4_000_000)),
        422,
    ),
    "tiff of 2^32 strips": (tiff({273: (4, 2**32 - 1, 200)}), 422),
    "tiff whose tiles are huge": (
        tiff(
            {
                322: (4, 1, 2**31 - 16),
                323: (4, 1, 2**31 - 16),
                324: (4, 1, 200),
                325: (4, 1, 100),
                259: (4, 1, 8),
            }
        ),
        422,
    ),
    "tiff of 2^31 pixels a side": (tiff({256: (4, 1, 2**31 - 1), 257: (4, 1, 2**31 - 1)}), 422),
    "bmp of 2^31 columns": (BMP[:18] + struct.pack("<i", 2**31 - 1) + BMP[22:], 422),
    "bmp of -2^31 rows": (BMP[:22] + struct.pack("<i", -(2**31)) + BMP[26:], 422),
    "jpeg of endless scans": (PROGRESSIVE[:-2] + LAST_SCAN * MAX_JPEG_SCANS + PROGRESSIVE[-2:], 422),
    "jpeg of hidden scans": (PROGRESSIVE[:-2] + (b"\xff\x01" + LAST_SCAN) * MAX_JPEG_SCANS, 422),
    "gif": (save(FRAMES[0], "GIF", save_all=True, append_images=FRAMES[1:]), 415),
    "svg": (b'<svg xmlns="http://www.w3.org/2000/svg"><image href="file:///etc/passwd"/></svg>', 415),
    "postscript": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n", 415),
    "gif behind a picture's name": (b"GIF89a" + JPEG, 415),
}
SLOW = {
    "jpeg of a million comments": JPEG[:2] + b"\xff\xfe\x00\x02" * 1_000_000 + JPEG[2:],
    "jpeg of a million fill bytes": JPEG[:2] + b"\xff" * 1_000_000 + JPEG[2:],
    "png of a million chunks": png(chunk(b"noNe", b"") * 1_000_000),
    "png of a million empty pieces": png(chunk(b"IDAT", b"") * 1_000_000),
    "bmp of a million run lengths": bytes(RLE) + bytes(2_000_000),
}


@pytest.mark.parametrize("name", GOOD)
def test_odd_files_are_filled(client: TestClient, files: dict[str, bytes], name: str) -> None:
    """Of several pictures the first counts, and what is not the picture is ignored."""
    response = client.post("/inpaint", files=files | {"image": GOOD[name]})
    assert response.status_code == 200, response.text
    answer = Image.open(io.BytesIO(response.content))
    assert answer.size == SIZE
    assert getattr(answer, "n_frames", 1) == 1


@pytest.mark.parametrize("output_format", ["png", "jpeg", "webp"])
@pytest.mark.parametrize("name", MISLEADING)
def test_misleading_metadata_is_left_out(
    client: TestClient, files: dict[str, bytes], name: str, output_format: str
) -> None:
    """The picture is filled as if it were not there, and a mask that has it marks nothing strange."""
    options = {"format": output_format}
    response = client.post("/inpaint", files=files | {"image": MISLEADING[name]}, data=options)
    assert response.status_code == 200, response.text
    response = client.post("/inpaint", files=files | {"mask": MISLEADING[name]}, data=options)
    assert response.status_code in (200, 422), response.text


@pytest.mark.parametrize("field", ["image", "mask"])
@pytest.mark.parametrize("name", REFUSED)
def test_harmful_files_are_refused(
    client: TestClient, files: dict[str, bytes], assert_problem: AssertProblem, name: str, field: str
) -> None:
    """In either field, at once."""
    data, status = REFUSED[name]
    begin = time.perf_counter()
    assert (
        f"'{field}'" in assert_problem(client.post("/inpaint", files=files | {field: data}), status)["detail"]
    )
    assert time.perf_counter() - begin < 5


def decode(file: io.BytesIO, field: str, limits: PictureLimits) -> Image.Image:
    return EncodedPicture(file, field, limits).decode()


@pytest.mark.parametrize("name", SLOW)
def test_files_of_countless_parts_are_given_up(name: str) -> None:
    """A decoder that is kept busy with trifles is stopped when its time is over."""
    begin = time.thread_time()
    with pytest.raises(SlowPictureError, match=r"'mask' took more than the 0\.1 seconds"):
        decode(io.BytesIO(SLOW[name]), "mask", PictureLimits(50_000_000, 16_383, max_seconds=0.1))
    assert time.thread_time() - begin < 1


@pytest.mark.parametrize("name", ["avif", "avif with alpha", "animated avif"])
def test_avif_frames_larger_than_the_picture(name: str) -> None:
    """A container that calls its picture small does not hide frames that are not."""
    good = seeds()[name]
    assert decode(io.BytesIO(good), "image", PictureLimits(SIZE[0] * SIZE[1], 96)).size
    small = good.replace(struct.pack(">II", *SIZE), struct.pack(">II", 16, 16))
    assert small != good
    with pytest.raises(PictureTooLargeError, match="'image' is made of frames of 96 x 64 pixels"):
        decode(io.BytesIO(small), "image", PictureLimits(1000, 96))


def test_avif_of_countless_frames() -> None:
    """All of them together are bounded too: here still pictures and animations, of colours and of alpha."""
    frames = [frame.convert("RGBA") for frame in FRAMES]
    for frame in frames:
        frame.putalpha(100)
    data = save(frames[0], "AVIF", save_all=True, append_images=frames[1:])
    with pytest.raises(PictureTooLargeError, match="'image' is made of 4 frames"):
        decode(io.BytesIO(data), "image", PictureLimits(SIZE[0] * SIZE[1], 96))
    assert decode(io.BytesIO(data), "image", PictureLimits(2 * SIZE[0] * SIZE[1], 96)).size == SIZE


def test_tiff_tiles_larger_than_the_picture() -> None:
    """Tiles that are larger than what is accepted are refused before there is memory for one."""
    tiles = {322: (4, 1, 1024), 323: (4, 1, 1024), 324: (4, 1, 200), 325: (4, 1, 100), 259: (4, 1, 8)}
    with pytest.raises(PictureTooLargeError, match="'image' is in tiles of 1024 x 1024 pixels"):
        decode(io.BytesIO(tiff(tiles)), "image", PictureLimits(1_000_000, 16_383))


def test_many_scans_are_counted_where_they_are() -> None:
    """Bytes that look like scans behind the picture or inside a comment count for nothing."""
    looks = b"\xff\xda" * 1000
    comment = b"\xff\xfe" + struct.pack(">H", 2 + len(looks)) + looks
    for data in (JPEG + looks, JPEG[:2] + comment + JPEG[2:], PROGRESSIVE):
        assert decode(io.BytesIO(data), "image", PictureLimits(50_000_000, 16_383)).size == SIZE


EXTREME = {
    "black": Image.new("RGB", SIZE),
    "white": Image.new("RGB", SIZE, "white"),
    "one row": Image.linear_gradient("L").resize((900, 1)).convert("RGB"),
    "one column": Image.linear_gradient("L").resize((1, 900)).convert("RGB"),
    "two pixels": Image.new("RGB", (2, 1), "red"),
    "longest row": Image.new("L", (16_383, 1), 200),
    "16 bits": Image.fromarray(np.arange(64 * 96, dtype=np.uint16).reshape(64, 96) * 10),
    "brightest 16 bits": Image.fromarray(np.full((64, 96), 65_535, dtype=np.uint16)),
    "ink": Image.new("CMYK", SIZE, (255, 255, 255, 255)),
    "black and white": Image.effect_noise(SIZE, 255).convert("1"),
    "palette of one colour": Image.new("P", SIZE),
    "all transparent": Image.new("RGBA", SIZE, (9, 9, 9, 0)),
    "largest alpha": Image.new("LA", SIZE, (255, 255)),
}


@pytest.mark.parametrize("name", EXTREME)
def test_extreme_pictures_are_filled(client: TestClient, name: str) -> None:
    """The answer has the picture's size, and every pixel outside the hole is as it was."""
    image = EXTREME[name]
    hole = np.zeros((image.height, image.width), dtype=bool)
    hole.flat[: hole.size // 2] = True
    file_format = "TIFF" if image.mode == "CMYK" else "PNG"
    sent = {"image": save(image, file_format), "mask": save(Image.fromarray(hole), "PNG")}
    response = client.post("/inpaint", files=sent)
    assert response.status_code == 200, response.text
    answer = Image.open(io.BytesIO(response.content))
    assert answer.size == image.size
    if image.mode not in ("CMYK", "P"):
        np.testing.assert_array_equal(np.asarray(answer)[~hole], np.asarray(image)[~hole])


@pytest.mark.parametrize(("brightest", "status"), [(0, 200), (1, 422), (255, 422), (256, 200), (65_535, 200)])
def test_a_mask_of_sixteen_bits_uses_them(
    client: TestClient, files: dict[str, bytes], assert_problem: AssertProblem, brightest: int, status: int
) -> None:
    """One that would be empty only because its values are those of 8 bits is refused with the numbers."""
    values = np.zeros((64, 96), dtype=np.uint16)
    values[20:40, 30:60] = brightest
    response = client.post("/inpaint", files=files | {"mask": save(Image.fromarray(values), "PNG")})
    assert response.status_code == status
    if status == 422:
        assert f"brightest pixel is {brightest} of 65535" in assert_problem(response, 422)["detail"]


def seeds() -> dict[str, bytes]:
    """Small good files of every accepted format, in the variants that decoders treat differently."""
    exif = Image.Exif()
    exif[0x0112] = 6
    noise = Image.effect_noise(SIZE, 60)
    colour = Image.merge("RGB", [noise, PICTURE.getchannel(0), noise.transpose(Image.Transpose.ROTATE_180)])
    alpha = colour.copy()
    alpha.putalpha(noise)
    grey16 = Image.fromarray(np.asarray(noise).astype(np.uint16) * 257)
    return {
        "jpeg": save(colour, "JPEG", exif=exif),
        "progressive jpeg": save(colour, "JPEG", progressive=True),
        "cmyk jpeg": save(colour.convert("CMYK"), "JPEG"),
        "png": save(colour, "PNG", exif=exif),
        "png of texts": save(colour, "PNG", pnginfo=texts(comment="of it" * 100, transparency="1")),
        "palette png": save(colour.convert("P"), "PNG", transparency=3),
        "16-bit png": save(grey16, "PNG"),
        "1-bit png": save(noise.convert("1"), "PNG"),
        "apng": GOOD["animated png"],
        "webp": save(colour, "WEBP", exif=exif),
        "lossless webp": save(alpha, "WEBP", lossless=True),
        "animated webp": GOOD["animated webp"],
        "bmp": BMP,
        "palette bmp": save(colour.convert("P"), "BMP"),
        "rle bmp": bytes(RLE),
        "tiff": save(colour, "TIFF", exif=exif),
        "lzw tiff": save(colour, "TIFF", compression="tiff_lzw"),
        "deflate tiff": save(alpha, "TIFF", compression="tiff_adobe_deflate"),
        "jpeg tiff": save(colour, "TIFF", compression="jpeg"),
        "fax tiff": save(noise.convert("1"), "TIFF", compression="group4"),
        "16-bit tiff": save(grey16, "TIFF"),
        "float tiff": save(noise.convert("F"), "TIFF"),
        "tiff of pages": GOOD["tiff of many pages"],
        "avif": save(colour, "AVIF", exif=exif),
        "avif with alpha": save(alpha, "AVIF"),
        "animated avif": GOOD["animated avif"],
    }


def mutants(count: int, seed: int) -> Iterator[tuple[str, bytes]]:
    """Damaged copies of the seeds in turn, each with the seed's name; the same ones for the same number."""
    rng = np.random.default_rng(seed)
    files = list(seeds().items())
    for number in range(count):
        name, good = files[number % len(files)]
        data = bytearray(good)
        for _ in range(rng.integers(1, 5)):
            # Headers are where it hurts: half of the damage is done in the first 200 bytes.
            place = int(rng.integers(0, min(len(data), 200) if rng.random() < 0.5 else len(data)))
            length = int(rng.integers(1, 9))
            other = files[rng.integers(0, len(files))][1]
            kind = rng.integers(0, 7)
            if kind == 0:
                data[place] ^= 1 << int(rng.integers(0, 8))
            elif kind == 1:
                data[place : place + length] = rng.bytes(length)
            elif kind == 2:
                data[place : place + length] = rng.choice([b"\0", b"\xff", b"\x7f", b"\x80"]) * length
            elif kind == 3 and place > 20:
                del data[place:]
            elif kind == 4:
                data[place:place] = data[place : place + 40 * length]
            elif kind == 5:
                del data[place : place + length]
            else:
                data[place : place + 40 * length] = other[place : place + 40 * length]
        yield name, bytes(data)


def fuzz(run_service: RunService, files: dict[str, bytes], count: int) -> None:
    """Send mutants in both fields to a real process: no 5xx, no hang, no growth."""
    statuses: Counter[int] = Counter()
    slowest = 0.0
    with run_service(max_pixels=1_000_000) as service, httpx.Client(timeout=20) as client:
        resident = []
        for number, (name, data) in enumerate(mutants(count, seed=7)):
            field = "image" if (number // len(seeds())) % 2 else "mask"
            begin = time.perf_counter()
            options = {"format": ("png", "jpeg", "webp")[number % 3]}
            response = client.post(f"{service.url}/inpaint", files=files | {field: data}, data=options)
            slowest = max(slowest, time.perf_counter() - begin)
            statuses[response.status_code] += 1
            assert response.status_code in (200, 400, 415, 422), (number, name, field, response.text)
            resident.append(service.resident_megabytes())
        assert client.post(f"{service.url}/inpaint", files=files).status_code == 200
        assert "Traceback" not in service.log.read_text()
    early = max(resident[: count // 2])
    print(
        f"{count} mutants: {dict(sorted(statuses.items()))}, slowest {slowest:.2f} s, "
        f"memory {resident[0]:.0f} MB at first, {early:.0f} MB in the first half, {resident[-1]:.0f} MB last"
    )
    assert statuses[422] > count // 10
    assert statuses[200] > count // 50
    assert resident[-1] < early + 60


def test_mutants_get_an_answer(run_service: RunService, files: dict[str, bytes]) -> None:
    """A few hundred damaged files of all formats."""
    fuzz(run_service, files, 200)


@pytest.mark.long
def test_thousands_of_mutants_get_an_answer(run_service: RunService, files: dict[str, bytes]) -> None:
    """The same with many more."""
    fuzz(run_service, files, 5000)
