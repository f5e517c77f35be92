"""`Backlog`: received bytes that wait to be parsed, in order, in little memory.

The first bytes wait in memory. What does not fit there goes into a file without a name, which the system removes when
it is closed, even if the process is killed. Once the file is in use, everything goes through it until it has been read
to its end; so order needs no bookkeeping.
"""

from __future__ import annotations

from collections import deque
from contextlib import suppress
from tempfile import TemporaryFile
from typing import IO

from gruvihttp.errors import TransportError

__all__ = ["Backlog"]

_TAKE_BYTES = 65536


class Backlog:
    """A queue of bytes, with an end. `empty` says that nothing waits, not even the end.

    `memory_bytes` bounds what is held in memory, `file_bytes` what is put into the file. `full` says that the latter
    bound is reached; it is for the caller to respect.
    """

    __slots__ = ("_end", "_file", "_file_bytes", "_held", "_memory_bytes", "_pieces", "_read", "_written", "empty")

    def __init__(self, memory_bytes: int, file_bytes: int) -> None:
        self._memory_bytes = memory_bytes
        self._file_bytes = file_bytes
        self._pieces: deque[bytes] = deque()
        self._held = 0
        self._file: IO[bytes] | None = None
        self._written = self._read = 0  # positions in the file
        self._end = False
        self.empty = True

    @property
    def full(self) -> bool:
        """Whether the file has reached its bound."""
        return self._written >= self._file_bytes  # what has been read of it still takes space

    def append(self, piece: bytes) -> None:
        """Put a piece behind the others; ``b""`` is the end. Raises TransportError if the file cannot be written."""
        if not piece:
            self._end = True
        elif self._file is None and self._held + len(piece) <= self._memory_bytes:
            self._pieces.append(piece)
            self._held += len(piece)
        else:
            self._spill(piece)
        self.empty = False

    def take(self) -> bytes:
        """Remove and return the next bytes; ``b""`` is the end. Raises TransportError if the file cannot be read."""
        if self._pieces:
            piece = self._pieces.popleft()
            self._held -= len(piece)
        elif self._file is not None:
            piece = self._unspill(self._file)
        else:
            self._end = False
            piece = b""
        self.empty = not self._held and self._file is None and not self._end
        return piece

    def clear(self) -> None:
        """Drop everything."""
        self._pieces.clear()
        self._held = 0
        self._end = False
        self._close_file()
        self.empty = True

    def _spill(self, piece: bytes) -> None:
        try:
            if self._file is None:
                self._file = TemporaryFile(buffering=0)
            self._file.seek(self._written)
            while piece:
                written = self._file.write(piece)
                self._written += written
                piece = piece[written:]
        except OSError as exc:
            raise _file_error(exc) from exc

    def _unspill(self, file: IO[bytes]) -> bytes:
        try:
            file.seek(self._read)
            piece = file.read(min(_TAKE_BYTES, self._written - self._read))
        except OSError as exc:
            raise _file_error(exc) from exc
        self._read += len(piece)
        if self._read == self._written:
            self._close_file()
        return piece

    def _close_file(self) -> None:
        if self._file is not None:
            with suppress(OSError):  # its content is no longer wanted
                self._file.close()
            self._file = None
        self._written = self._read = 0


def _file_error(exc: OSError) -> TransportError:
    return TransportError(exc.errno, f"cannot keep what was received in a temporary file: {exc.strerror}")
