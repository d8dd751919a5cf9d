"""A zip file that is sent while it is written, so that no more than one of its files is in memory."""

import io
import zipfile


class ZipStream:
    """Files in, the zip's next bytes out. Pictures do not deflate, so files are stored as they are."""

    def __init__(self) -> None:
        self._window = _Window()
        self._zip = zipfile.ZipFile(self._window, "w", zipfile.ZIP_STORED)

    def add(self, name: str, data: bytes) -> bytes:
        """The bytes of the zip that hold this file."""
        self._zip.writestr(name, data)
        return self._window.take()

    def close(self) -> bytes:
        """The zip's last bytes: its table of contents."""
        self._zip.close()
        return self._window.take()


class _Window(io.BytesIO):
    """The end of a file that is being written: what was not taken yet. Positions count from the file's start.

    It can be sought in, so that zipfile writes each file's size before its content: some readers of streams
    need it there.
    """

    def __init__(self) -> None:
        super().__init__()
        self._taken = 0

    def tell(self) -> int:
        return self._taken + super().tell()

    def seek(self, position: int, whence: int = io.SEEK_SET, /) -> int:
        offset = self._taken if whence == io.SEEK_SET else 0
        return self._taken + super().seek(position - offset, whence)

    def take(self) -> bytes:
        data = self.getvalue()
        self._taken += len(data)
        super().seek(0)
        self.truncate(0)
        return data
