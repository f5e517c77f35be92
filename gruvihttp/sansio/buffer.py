"""`Buffer`: received bytes that are not parsed yet, and how far they have been searched already.

Bytes that arrive in one piece stay in that piece, uncopied, as long as nothing has to be joined; pieces are joined in a
bytearray, which grows at its end and shrinks at its front at little cost. What was searched once is not searched
again, so the work for each received byte is bounded however the bytes are split.
"""

from __future__ import annotations

from gruvihttp.sansio.grammar import BLANK_LINE

__all__ = ["Buffer"]


class Buffer:
    """Unparsed bytes: `data[start:]`. `ended` says that no more will come."""

    __slots__ = ("data", "ended", "searched", "start")

    def __init__(self) -> None:
        self.data: bytes | bytearray = b""
        self.start = 0
        self.searched = 0  # no end of line or head that was looked for begins before this position
        self.ended = False

    def __len__(self) -> int:
        return len(self.data) - self.start

    def __bytes__(self) -> bytes:
        return bytes(self.data[self.start :])

    def append(self, piece: bytes) -> None:
        """Add bytes at the end."""
        if self.start == len(self.data):
            self.data = piece
            self.start = self.searched = 0
        else:
            self._join(piece)

    def _join(self, piece: bytes) -> None:
        data = self.data
        start = self.start
        if type(data) is bytearray:
            del data[:start]
            data += piece
        else:
            self.data = bytearray(memoryview(data)[start:])
            self.data += piece
        self.start = 0
        self.searched = max(self.searched - start, 0)

    def take(self, most: int) -> bytes:
        """Remove and return up to `most` bytes from the front."""
        start = self.start
        data = self.data
        if start == 0 and len(data) <= most:
            self.data = b""
            return bytes(data)  # a bytes object is its own copy
        end = start + most
        taken = data[start:end]
        self.start = min(end, len(data))
        return bytes(taken)

    def skip_to(self, position: int) -> None:
        """Remove everything before `position`, an index into `data`."""
        self.start = self.searched = position

    def find_line_end(self) -> int:
        """The index behind the first LF, or 0 if there is none yet."""
        found = self.data.find(b"\n", max(self.start, self.searched))
        if found < 0:
            self.searched = len(self.data)
        return found + 1

    def find_blank_line(self) -> int:
        """The index behind the first blank line, or 0 if there is none yet."""
        found = BLANK_LINE.search(self.data, max(self.start, self.searched))
        if found is None:
            self.searched = max(len(self.data) - 2, self.start)  # its first two bytes may be there: LF CR
            return 0
        return found.end()
