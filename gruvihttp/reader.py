"""`StreamReader`: read, readline and their kin over bytes that arrive in chunks. It knows neither sockets nor HTTP.

The theory. Chunks wait in a list, as they came: `_chunks[_first]` holds the next unread byte, at `_offset`, and what
stands before `_first` is spent. `_held` counts the bytes from there on. Unread chunks are never empty, never changed.

A call has two steps: *gather*, which only adds to the buffer and may wait or fail in the source, then *take*, which
only removes and cannot fail. Hence whatever interrupts a call, a timeout or a killed greenlet, costs no byte: the
next call finds all that had arrived.

The end is one value: `_end` is None while more may come, `_EOF`, or the error that was fed. The first end stands: an
EOF cannot paper over an error, and a later failure of the connection cannot spoil a complete stream. An end shows
only when all bytes before it are read.

Work is linear in the bytes, however small the chunks: taking cuts from the first chunk without moving the rest, spent
places leave the list when they are more than half of it, and a search that ran out of bytes leaves a mark
(`_searched`) from which the next one goes on.

One caller reads at a time. Feeding is allowed while that caller waits in its source.
"""

from __future__ import annotations

import copy
import errno
import io
import operator
import sys
from collections.abc import Callable
from typing import Final, TypeAlias

__all__ = ["StreamReader"]

Source: TypeAlias = Callable[[], "bytes | None"]
SizeCallback: TypeAlias = Callable[["StreamReader", int, int], object]

_EOF: Final[BaseException] = EOFError("the stream has ended")  # a mark; never raised


class StreamReader(io.BufferedIOBase):
    """A binary stream over chunks that are fed to it, or that it asks a source for.

    `source()` is called only when the bytes at hand do not suffice. It waits as it likes and returns the next chunk,
    or ``b""`` at the end; None says "look again: I have fed it". What it raises passes through, and the next read
    calls it again. Without a source, a read that lacks bytes raises `BlockingIOError`. Neither costs a byte.

    `on_buffer_size_change(reader, previous_bytes, now_bytes)` is called after each change of `buffer_size`; it must
    not raise. `timeout` (seconds) is only kept here, for the code that waits.

    Sizes, limits and hints are in bytes; a negative one or None means no bound. Reading after `close` raises
    ValueError. `close` concerns reading alone: it touches neither the source nor what is buffered.
    """

    __slots__ = (
        "_chunks", "_closed", "_end", "_first", "_held", "_offset", "_on_change", "_searched", "_source", "timeout",
    )  # fmt: skip

    def __init__(
        self,
        on_buffer_size_change: SizeCallback | None = None,
        timeout: float | None = None,
        *,
        source: Source | None = None,
    ) -> None:
        self._chunks: list[bytes] = []
        self._first = self._offset = self._held = 0
        self._searched: tuple[bytes, int, int, int, bytes] | None = None
        self._end: BaseException | None = None
        self._closed = False
        self._on_change = on_buffer_size_change
        self._source = source
        self.timeout = timeout

    @classmethod
    def complete(cls, content: bytes = b"") -> StreamReader:
        """Make a reader that holds `content` and its end already."""
        reader = cls.__new__(cls)  # one is made for each response: without the call of __init__
        reader._chunks = [content] if content else []
        reader._first = reader._offset = 0
        reader._held = len(content)
        reader._searched = reader._on_change = reader._source = reader.timeout = None
        reader._end = _EOF
        reader._closed = False
        return reader

    def __repr__(self) -> str:
        end = "open" if self._end is None else "ended" if self._end is _EOF else f"failed with {self._end!r}"
        return f"<{type(self).__name__} {end}, {self._held} bytes held{', closed' if self._closed else ''}>"

    @property
    def eof(self) -> bool:
        """Whether the stream has ended and everything has been read."""
        return self._end is _EOF and not self._held

    @property
    def buffer_size(self) -> int:
        """The number of bytes that have arrived and have not been read."""
        return self._held

    @property
    def closed(self) -> bool:
        """Whether `close` was called. It says nothing about the end of the stream: see `eof`."""
        return self._closed

    def readable(self) -> bool:
        return True

    def close(self) -> None:
        """Refuse to be read from now on. Feeding and `drain` go on as before."""
        self._closed = True

    def __del__(self) -> None:
        """Do nothing, where io would close: there is nothing to release, and one reader dies per request."""

    def feed(self, data: bytes | bytearray | memoryview) -> None:
        """Append a chunk. A buffer that its owner may reuse is copied, bytes are not. ValueError after the end."""
        if self._end is not None:
            raise ValueError("bytes were fed after the end of the stream")
        chunk = data if type(data) is bytes else bytes(memoryview(data))
        if chunk:
            self._chunks.append(chunk)
            self._resize(self._held + len(chunk))

    def feed_eof(self) -> None:
        """Say that nothing follows. Without effect after an end."""
        self._finish(_EOF)

    def feed_error(self, exc: BaseException | type[BaseException]) -> None:
        """End with an error, which every read raises once the bytes before it are read. Without effect after an end.

        What is raised is a new copy each time, with `exc` as its cause: an exception that is raised again and again
        collects tracebacks, and with them the frames of all its readers.
        """
        self._finish(exc() if isinstance(exc, type) else exc)

    def read(self, size: int | None = -1) -> bytes:
        """Return exactly `size` bytes, or all to the end; fewer only where the stream ends. Waits for them."""
        self._check_open()
        chunks = self._chunks
        if (size is None or size < 0) and self._end is _EOF and len(chunks) == 1 and not self._offset:
            self._searched = None  # all of it is here in one piece: most content is read so
            self._resize(0)
            return chunks.pop()
        wanted = _bound(size)
        while self._held < wanted and self._pull():
            pass
        return self._take(min(wanted, self._held))

    def read1(self, size: int | None = -1) -> bytes:
        """Return the next chunk, or its first `size` bytes; ``b""`` at the end. Waits only if nothing is here.

        Never joins chunks: the very object that arrived is returned if all of it is wanted.
        """
        self._check_open()
        wanted = _bound(size)
        return self._take(min(wanted, self._ready())) if wanted else b""

    def peek(self, size: int = 0) -> bytes:
        """Return what `read1` would, and leave it there. A `size` of 0 means no bound, as in `io.BufferedReader`."""
        self._check_open()
        there = min(_bound(size or -1), self._ready())
        return self._chunks[self._first][self._offset : self._offset + there] if there else b""

    def readline(self, limit: int | None = -1, delim: bytes = b"\n") -> bytes:
        """Return the bytes through the next `delim`, but no more than `limit`; the rest if the stream ends first.

        TypeError for a delimiter that is not bytes, ValueError for an empty one.
        """
        self._check_open()
        if not isinstance(delim, bytes):
            raise TypeError(f"a delimiter must be bytes, not {type(delim).__name__}")
        if not delim:
            raise ValueError("a delimiter must not be empty")
        return self._take(self._gather_through(delim, limit=_bound(limit)))

    def readlines(self, hint: int | None = -1) -> list[bytes]:
        """Return lines until their total length exceeds `hint`, or all of them if `hint` is not positive."""
        # not line by line: were the source to raise, the lines taken so far would be lost
        if hint is None or hint <= 0:
            return io.BytesIO(self.read()).readlines()
        self._check_open()
        return io.BytesIO(self._take(self._gather_through(b"\n", skip=operator.index(hint)))).readlines()

    def drain(self, limit: int | None = None) -> bool:
        """Read and drop. True when the end was reached, False when more than `limit` bytes stand before it.

        Works on a closed reader, too: it is for the owner of the connection. Raises as `read` does.
        """
        left = _bound(limit)
        while there := self._ready():
            if there > left:
                return False
            left -= there
            self._take(there)
        return True

    # gather

    def _pull(self) -> bool:
        """Try to get more. False when what is held is all that can be read for now: the end lies behind it."""
        if self._end is not None:
            if self._end is _EOF or self._held:
                return False
            raise _again(self._end)
        if self._source is None:
            raise BlockingIOError(errno.EAGAIN, "not enough bytes: feed more, feed the end, or give a source")
        chunk = self._source()
        if chunk:
            self.feed(chunk)
        elif chunk is not None:
            self.feed_eof()
        return True

    def _ready(self) -> int:
        """Wait for a byte; return how many the first chunk has left, 0 at the end."""
        while not self._held and self._pull():
            pass
        return len(self._chunks[self._first]) - self._offset if self._held else 0

    def _gather_through(self, delim: bytes, *, skip: int = 0, limit: int = sys.maxsize) -> int:
        """Count the bytes through the first `delim` that begins at byte `skip` or later: `limit`, or all, if none.

        A delimiter may be cut, even several times: each chunk is searched with `tail` before it, the bytes with
        which a delimiter may have begun. `at` is the position of that window, counted from the next unread byte.
        """
        chunks, overlap = self._chunks, len(delim) - 1
        index, at, tail = self._first, -self._offset, b""
        if self._searched is not None and self._searched[:2] == (delim, skip):
            index, at, tail = self._searched[2:]
        while at + len(tail) < limit:
            if index == len(chunks):
                self._searched = (delim, skip, index, at, tail)
                if not self._pull():
                    break
                continue
            window = tail + chunks[index]
            found = window.find(delim, max(skip - at, 0), limit - at)
            if found >= 0:
                return at + found + len(delim)
            tail = window[-overlap:] if overlap else b""
            at += len(window) - len(tail)
            index += 1
        return min(limit, self._held)

    # take

    def _take(self, size: int) -> bytes:
        """Remove and return the first `size` bytes, which must be here. Whole chunks are not copied."""
        if not size:
            return b""
        chunks, first, offset = self._chunks, self._first, self._offset
        if not offset and len(chunks) == 1 and len(chunks[0]) == size:  # all of it: most content is read so
            self._searched = None
            self._resize(0)
            return chunks.pop()
        pieces = []
        wanted = size
        while wanted:
            chunk = chunks[first]
            piece = chunk[offset : offset + wanted]
            pieces.append(piece)
            wanted -= len(piece)
            offset += len(piece)
            if offset == len(chunk):
                chunks[first] = b""  # spent: hold its place, not its memory
                first, offset = first + 1, 0
        if first > len(chunks) // 2:
            del chunks[:first]
            first = 0
        self._first, self._offset, self._searched = first, offset, None
        self._resize(self._held - size)
        return b"".join(pieces)

    def _resize(self, now_bytes: int) -> None:
        previous_bytes, self._held = self._held, now_bytes
        if self._on_change is not None:
            self._on_change(self, previous_bytes, now_bytes)

    def _finish(self, end: BaseException) -> None:
        if self._end is None:
            self._end, self._source = end, None  # a body that is kept must not keep its connection

    def _check_open(self) -> None:
        if self._closed:
            raise ValueError("read from a closed reader")


def _bound(size: int | None) -> int:
    return sys.maxsize if size is None or size < 0 else operator.index(size)  # 2.0 would fail only if it cut a chunk


def _again(error: BaseException) -> BaseException:
    """Copy `error`, with the original as cause. What cannot be copied is returned itself, without its traceback."""
    try:
        fresh = copy.copy(error)
    except Exception:  # its constructor may want anything, and do anything
        fresh = error
    if fresh is error or type(fresh) is not type(error):
        return error.with_traceback(None)
    fresh.args, fresh.__cause__ = error.args, error
    return fresh
