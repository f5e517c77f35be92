"""`WireView`: the received bytes of one response, exactly as they came. It is what `HTTPResponse.fp` is here.

The file that the standard library puts there is a buffered reader over a socket file. Callers read it beside the
response: urllib3 takes chunk lines from it with ``readline``, botocore finds the socket in ``.raw._sock``. So whatever
was received and not yet asked for stays in here, framing and all. What the bytes mean is not known here.

After a read was interrupted, by a timeout or another exception thrown into the greenlet, what it had gathered is gone.
Reading on would skip it silently, so a view refuses that, with the standard library's message for it.
"""

from __future__ import annotations

import io
from typing import Any

from gevent import socket as gevent_socket

from gruvihttp.sansio.buffer import Buffer

__all__ = ["WireView"]

# per system call; a read that wants more takes up to the larger number at once
READ_BYTES = 65536
MOST_READ_BYTES = 262144
# io.BufferedReader.peek shows no more either, and a caller that peeks line by line pays for each byte it is shown
PEEK_BYTES = io.DEFAULT_BUFFER_SIZE


class WireView(io.BufferedIOBase):
    """A readable binary file over a cooperative socket, of which it holds a share as any socket file does.

    For gevent's own sockets: a share is counted, and input waited for, by names that other sockets do not have.
    """

    closed: Any = False  # Any: a property in the base class, which costs a chain of calls for each view

    def __init__(self, sock: Any, unread: bytes = b"") -> None:  # Any: gevent's sockets share no type with others
        """`unread` are bytes that were received from `sock` before."""
        sock._io_refs += 1  # as its makefile does; without `raw`, that halves the cost of a view
        self._sock = sock
        self._is_plain = type(sock) is gevent_socket.socket  # a TLS socket may hold what its descriptor does not show
        self._raw: io.RawIOBase | None = None
        self._recv = sock.recv
        self._buffer = buffer = Buffer()
        if unread:
            buffer.append(unread)
        self._is_interrupted = False
        self.received_bytes = len(unread)

    # -- for the response ---------------------------------------------------------------------------------------

    @property
    def unread_bytes(self) -> int:
        """How many bytes were received and not read."""
        return len(self._buffer)

    @property
    def read_bytes(self) -> int:
        """How many bytes were read, by any caller."""
        return self.received_bytes - len(self._buffer)

    @property
    def sock(self) -> Any:
        """The socket."""
        return self._sock

    @property
    def raw(self) -> Any:
        """The socket's own unbuffered file."""
        if self._raw is None:
            self._raw = self._sock.makefile("rb", 0)
        return self._raw

    def take_unread(self) -> bytes:
        """Remove and return what was received and not read."""
        return self._buffer.take(len(self._buffer))

    def fill(self) -> Buffer:
        """What was received and not read, after waiting for something if that was nothing. It may be taken out."""
        buffer = self._buffer
        if buffer.start == len(buffer.data):
            if not (self.received_bytes or self._is_interrupted) and self._is_plain and self._sock.timeout != 0:
                # A response is seldom here before it is waited for. To look first, as recv does, costs a system call
                # and an exception: an eighth of a small request.
                self._sock._wait(self._sock._read_event)
            buffer.append(self._receive(READ_BYTES))
        return buffer

    # -- io.BufferedIOBase ----------------------------------------------------------------------------------------

    def read(self, size: int | None = -1, /) -> bytes:
        """`size` bytes, or everything until the stream ends; less if it ends before."""
        buffer = self._buffer
        if size is None or size < 0:
            return self._read_to_end()
        if size <= len(buffer):
            return buffer.take(size)
        pieces = [buffer.take(len(buffer))]
        missing = size - len(pieces[0])
        while missing > 0:
            piece = self._receive(min(max(missing, READ_BYTES), MOST_READ_BYTES))
            if not piece:
                break
            if len(piece) > missing:
                buffer.append(piece)
                piece = buffer.take(missing)
            pieces.append(piece)
            missing -= len(piece)
        return b"".join(pieces)

    def _read_to_end(self) -> bytes:
        pieces = [self.take_unread()]
        while piece := self._receive(MOST_READ_BYTES):
            pieces.append(piece)
        return b"".join(pieces)

    def read1(self, size: int = -1, /) -> bytes:
        """What is there, up to `size` bytes; waits only if there is nothing."""
        buffer = self._buffer
        if not size:
            return b""
        if not len(buffer):
            buffer.append(self._receive(READ_BYTES))
        return buffer.take(len(buffer) if size < 0 else size)

    def readinto(self, target: Any, /) -> int:
        """Fill `target`; how many bytes that were, fewer only at the end of the stream."""
        view = memoryview(target).cast("B")
        found = self._buffer.take(min(len(view), len(self._buffer)))
        done = len(found)
        view[:done] = found
        while done < len(view):
            received = self._receive_into(view[done:])
            if not received:
                break
            done += received
        return done

    def readinto1(self, target: Any, /) -> int:
        """What is there, as far as `target` has room."""
        view = memoryview(target).cast("B")
        found = self.read1(len(view))
        view[: len(found)] = found
        return len(found)

    def readline(self, limit: int | None = -1, /) -> bytes:
        """A line with its end; less at `limit` bytes or at the end of the stream."""
        buffer = self._buffer
        most = -1 if limit is None else limit
        while not (end := buffer.find_line_end()) and not 0 <= most <= len(buffer):
            piece = self._receive(READ_BYTES)
            if not piece:
                break
            buffer.append(piece)
        size = end - buffer.start if end else len(buffer)
        return buffer.take(size if most < 0 else min(size, most))

    def peek(self, size: int = 0, /) -> bytes:
        """Some of what comes next, without removing it; waits only if there is nothing."""
        buffer = self.fill()
        return bytes(buffer.data[buffer.start : buffer.start + PEEK_BYTES])

    def readable(self) -> bool:
        """Always."""
        return True

    def fileno(self) -> int:
        """The socket's file descriptor."""
        return int(self._sock.fileno())

    def close(self) -> None:
        """Give back the share of the socket, which closes with the last one."""
        if not self.closed:
            self.closed = True
            self._is_interrupted = True
            if self._raw is not None:
                self._raw.close()
            self._sock._decref_socketios()

    def _receive(self, size: int) -> bytes:
        if self._is_interrupted:
            raise self._refusal()
        self._is_interrupted = True  # cheaper than to catch everything
        piece: bytes = self._recv(size)
        self._is_interrupted = False
        self.received_bytes += len(piece)
        return piece

    def _receive_into(self, view: memoryview) -> int:
        if self._is_interrupted:
            raise self._refusal()
        self._is_interrupted = True
        received: int = self._sock.recv_into(view)
        self._is_interrupted = False
        self.received_bytes += received
        return received

    def _refusal(self) -> Exception:
        if self.closed:
            return ValueError("I/O operation on closed file.")
        return OSError("cannot read from timed out object")
