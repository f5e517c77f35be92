"""`FileBody`: a file as the body of a request, with the fields that describe it.

The length is announced before the content is read, and files change. So the last piece is held back until the file has
ended where it was said to: a receiver never takes a part of a file, or a mixture, for the file.
"""

from __future__ import annotations

import io
import mimetypes
import os
import stat
from collections.abc import Iterable, Iterator
from typing import Any, Self

__all__ = ["FileBody"]

_READ_BYTES = 262144  # the hub rests while the disk is asked
# What RFC 9110 §8.4.1 and the registry know as content codings. Of others, such as bzip2, a receiver knows the type.
_CODINGS = {"gzip": "gzip", "compress": "compress", "br": "br", "zstd": "zstd"}
_CODED_TYPES = {"bzip2": "application/x-bzip2", "xz": "application/x-xz"}


class FileBody:
    """An iterable of the content of a file. `size` is in bytes, None if that cannot be known before the end.

    Takes a path, or an object with ``read``, which must give bytes and is read from where it stands. It closes only
    what it has opened. Raises TypeError for a file in text mode, OSError.
    """

    def __init__(self, path_or_file: Any) -> None:  # Any: a path, or whatever has `read`
        self._opened = not hasattr(path_or_file, "read")
        if isinstance(path_or_file, io.TextIOBase):
            raise TypeError("the file must be opened in binary mode: its size is in bytes")
        self._file: Any = open(os.fspath(path_or_file), "rb") if self._opened else path_or_file
        name = getattr(self._file, "name", None)
        self._name = os.fsdecode(name) if isinstance(name, (str, bytes)) else ""
        try:
            self.size = _size_of(self._file)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close what was opened here."""
        if self._opened:
            self._file.close()

    def fields(self, given: Iterable[tuple[str, str]] = ()) -> list[tuple[str, str]]:
        """Content-Length, Content-Type and Content-Encoding, as far as they are known and not `given`."""
        names = {name.lower() for name, _ in given if isinstance(name, str)}
        kind, coding = mimetypes.guess_type(self._name) if self._name else (None, None)
        if coding in _CODED_TYPES:
            kind, coding = _CODED_TYPES[coding], None
        found = []
        if self.size is not None:
            found.append(("Content-Length", str(self.size)))
        if kind is not None and "content-encoding" not in names:
            found.append(("Content-Type", kind))
        if coding in _CODINGS and "content-type" not in names:  # a caller that names the type means the file as it is
            found.append(("Content-Encoding", _CODINGS[coding]))
        return [field for field in found if field[0].lower() not in names]

    def __iter__(self) -> Iterator[bytes]:
        return self._read_all() if self.size is None else self._read_exactly(self.size)

    def _read_all(self) -> Iterator[bytes]:
        while piece := self._read(_READ_BYTES):
            yield piece

    def _read_exactly(self, size: int) -> Iterator[bytes]:
        left = size
        while left > 0:
            piece = self._read(min(left, _READ_BYTES))
            left -= len(piece)
            if not piece:
                raise RuntimeError(f"the file has become shorter: {left} of {size} bytes are missing")
            if left == 0:
                self._check_end(size)
            yield piece
        if size == 0:
            self._check_end(size)

    def _check_end(self, size: int) -> None:
        if self._read(1):
            raise RuntimeError(f"the file has become longer than the {size} bytes that it had")

    def _read(self, size: int) -> bytes:
        piece: Any = self._file.read(size)
        if not isinstance(piece, (bytes, bytearray, memoryview)):
            raise TypeError(f"the file gives {type(piece).__name__}, not bytes: open it in binary mode")
        return bytes(piece)


def _size_of(file: Any) -> int | None:
    """What is left of a file, if that is fixed."""
    try:
        facts = os.fstat(file.fileno())
    except (AttributeError, OSError, ValueError):  # in memory, or wrapped
        return _size_by_seeking(file)
    if stat.S_ISREG(facts.st_mode) and (seeked := _size_by_seeking(file)) is not None:
        return seeked
    return None


def _size_by_seeking(file: Any) -> int | None:
    try:
        if not file.seekable():
            return None
        start = file.tell()
        end = file.seek(0, os.SEEK_END)
        file.seek(start)
    except (AttributeError, OSError, ValueError):
        return None
    return max(int(end) - int(start), 0)
