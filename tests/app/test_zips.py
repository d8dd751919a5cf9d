"""The pieces of a zip stream are a zip file that any reader can read, and no piece is kept."""

import io
import zipfile

from app.zips import ZipStream

FILES = {"a.png": b"picture", "empty": b"", "b.json": bytes(100_000)}


def test_the_pieces_are_a_whole_zip_file() -> None:
    """Every file comes back, is not compressed, and has its size written before its content."""
    stream = ZipStream()
    pieces = [stream.add(name, data) for name, data in FILES.items()] + [stream.close()]
    with zipfile.ZipFile(io.BytesIO(b"".join(pieces))) as archive:
        assert archive.testzip() is None
        assert {info.filename: archive.read(info) for info in archive.infolist()} == FILES
        assert {info.compress_type for info in archive.infolist()} == {zipfile.ZIP_STORED}
        assert {info.flag_bits & 0x08 for info in archive.infolist()} == {0}


def test_each_piece_holds_its_file_only() -> None:
    """What was taken is not sent or kept again."""
    stream = ZipStream()
    for name, data in FILES.items():
        assert len(data) < len(stream.add(name, data)) < len(data) + 100
