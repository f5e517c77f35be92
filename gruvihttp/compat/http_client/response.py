"""`HTTPResponse`: the standard library's, with our reading of heads and chunks, and no loose ends.

Its methods that hand out content are kept: they take it from ``fp``, byte for byte, because callers take turns with
them there. That is why the engine's decoders have no part in it, and only its grammar has: a decoder would have read
the chunk line that urllib3 is about to ask ``fp`` for.

If a response ends early, or is followed by bytes without a request, those must not be taken for the next response. Nor
may they be hidden in here, where code that polls the socket cannot see them: the connection ends.
"""

from __future__ import annotations

import socket as stdlib_socket
import weakref
from collections.abc import Callable
from http import client as stock
from typing import TYPE_CHECKING, Any

from gevent import socket as gevent_socket
from gevent import ssl as gevent_ssl

from gruvihttp.compat.http_client import heads
from gruvihttp.compat.http_client.heads import Head, bound
from gruvihttp.compat.http_client.wireview import WireView
from gruvihttp.sansio.buffer import Buffer
from gruvihttp.sansio.grammar import CHUNK_LINE

__all__ = ["HTTPResponse"]

# Exactly these: a subclass, a mock or a socket of another kind is read through the file that it makes.
_VIEWED = {gevent_socket.socket, gevent_ssl.SSLSocket}

# Bytes that came with a response and belong to the next one, because its request had been sent already.
# By a weak reference to the socket; a plain dictionary, for each response looks whether it is empty.
_early: dict[weakref.ref[Any], bytes] = {}


class _LazyMessage:
    """An attribute that is made from the head when it is first read. Setting it replaces it for good."""

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __get__(self, response: Any, owner: type | None = None) -> Any:
        if response is None:
            return self
        if response._head is None:
            return None
        made = response.__dict__.get("_message")
        if made is None:
            made = response._message = heads.message(response._head)
        response.__dict__[self._name] = made
        return made


class HTTPResponse(stock.HTTPResponse):
    """`http.client.HTTPResponse` over our engine; made, begun and read as that one is.

    Informational responses but 101 are passed over. A socket of gevent is read cooperatively; any other object is
    read through its ``makefile("rb")``.
    """

    if TYPE_CHECKING:  # what the type stubs leave out

        def _read_status(self) -> tuple[str, int, str]: ...
        def _safe_read(self, amt: int) -> bytes: ...

    fp: Any  # a WireView, or whatever file the socket makes; None when the response has ended

    headers: Any = _LazyMessage()  # Any: HTTPMessage, or None before `begin`; urllib sets what it likes
    msg: Any = _LazyMessage()

    # what holds before `begin`; the standard library sets these for each response
    version: Any = stock._UNKNOWN  # type: ignore[attr-defined]
    status = version
    reason = version
    chunked = version
    chunk_left = version
    length = version
    will_close = version

    _head: Head | None = None
    _is_complete = False
    _is_cut = False  # chunked content has ended early, or is none
    _content_start = 0  # of chunked content in the view
    _owner: Callable[[], Any] | None = None  # a weak reference to the connection that made this

    def __init__(self, sock: Any, debuglevel: int = 0, method: str | None = None, url: str | None = None) -> None:
        if type(sock) not in _VIEWED:
            self.fp = sock.makefile("rb")
        elif _early:
            self.fp = WireView(sock, _early.pop(weakref.ref(sock), b""))
        else:
            self.fp = WireView(sock)
        self.debuglevel = debuglevel
        self._method = method

    # -- the head ---------------------------------------------------------------------------------------------

    def begin(self) -> None:
        """Read the head. Does nothing when that was done."""
        if self._head is not None:
            return
        try:
            head = self._plain_head() or self._head_by_lines()
        except BaseException:
            self._give_up()
            raise
        self._head = head
        if "headers" in self.__dict__:  # the standard library's __init__ was called
            del self.headers, self.msg
        self.version = head.version
        self.code = self.status = head.status
        self.reason = head.reason
        self.chunked = head.is_chunked
        self.chunk_left = None
        self.length = head.length
        # without an end of its own the content ends with the connection
        self.will_close = head.will_close or (head.length is None and not head.is_chunked)
        if head.is_chunked and type(self.fp) is WireView:
            self._content_start = self.fp.read_bytes
        if self.debuglevel > 0:
            for name, value in self.headers.items():
                print("header:", name + ":", value)

    def _plain_head(self) -> Head | None:
        """The head, if it arrived at once, the engine accepts it, and neither debugging nor a subclass needs lines."""
        view = self.fp
        if type(view) is not WireView or self.debuglevel > 0 or type(self)._read_status is not _STOCK_READ_STATUS:
            return None
        while (head := heads.read(view.fill(), self._method)) is not None:
            if not _is_interim(head.status):
                return head
        return None

    def _head_by_lines(self) -> Head:
        while True:
            version, status, reason = self._read_status()
            section = self._read_section()
            if not _is_interim(status):
                break
            if self.debuglevel > 0:
                print("headers:", section.splitlines(keepends=True))
        buffer = Buffer()
        buffer.append(heads.wire_of(version, status, reason, section))
        return heads.read(buffer, self._method) or heads.read_tolerantly(version, status, reason, section, self._method)

    def _read_section(self) -> bytes:
        """The header section with the blank line that ends it. Only that may be missing at the end of the stream."""
        most_bytes, most_lines = bound("_MAXLINE"), bound("_MAXHEADERS")
        lines: list[bytes] = []
        while True:
            line = self.fp.readline(most_bytes + 1)
            if len(line) > most_bytes:
                raise stock.LineTooLong("header line")
            if not line and lines and not lines[-1].endswith(b"\n"):
                raise stock.IncompleteRead(b"".join(lines))  # a field that was cut may have said anything
            lines.append(line or b"\r\n")
            if len(lines) > most_lines:
                raise stock.HTTPException(f"got more than {most_lines} headers")
            if line in (b"\r\n", b"\n", b""):
                return b"".join(lines)

    # -- chunks -----------------------------------------------------------------------------------------------

    def readline(self, limit: int = -1) -> bytes:  # type: ignore[override]  # the stubs say nothing of None
        """A line, or what is left of one. Raises IncompleteRead instead of an end that is none."""
        line = super().readline(limit)
        if self._is_cut and not line:  # the standard library peeks first, and peeking hides what is wrong
            raise stock.IncompleteRead(b"")
        return line

    def _get_chunk_left(self) -> int | None:
        """The bytes that are left of the current chunk, at least one; None when the last chunk was read."""
        left: int | None = self.chunk_left
        if left:
            return left
        self._is_cut = True  # until we know better
        if left == 0 and self._safe_read(2) != b"\r\n":
            self._close_conn()
            raise stock.IncompleteRead(b"")
        try:
            left = self._read_next_chunk_size()
        except ValueError:
            raise stock.IncompleteRead(b"") from None
        if not left:
            self._read_and_discard_trailer()
            self._is_complete = True
            self._close_conn()
            left = None
        self._is_cut = False
        self.chunk_left = left
        return left

    def _read_next_chunk_size(self) -> int:
        most_bytes = bound("_MAXLINE")
        line = self.fp.readline(most_bytes + 1)
        if len(line) > most_bytes:
            raise stock.LineTooLong("chunk size")
        match = CHUNK_LINE.fullmatch(line)
        if match is None:
            self._close_conn()
            raise ValueError("illegal chunk line")
        return int(match[1], 16)

    def _read_and_discard_trailer(self) -> None:
        most_bytes, most_lines = bound("_MAXLINE"), bound("_MAXHEADERS")
        for _ in range(most_lines):
            line = self.fp.readline(most_bytes + 1)
            if len(line) > most_bytes:
                raise stock.LineTooLong("trailer line")
            if line in (b"\r\n", b"\n", b""):  # some servers close after the last chunk
                return
        raise stock.HTTPException(f"got more than {most_lines} trailers")

    # -- the end ----------------------------------------------------------------------------------------------

    closed: Any = False  # Any: a property in the base class, which costs a chain of calls for each response

    def close(self) -> None:
        """Let go of the connection. What was not read can no longer be read."""
        self.closed = True
        if self.fp is not None:
            self._close_conn()

    def _close_conn(self) -> None:
        view = self.fp
        self.fp = None
        try:
            if type(view) is WireView and (view.unread_bytes or not self._is_read(view)):
                self._tie_up(view)
        finally:
            view.close()

    def _is_read(self, view: WireView) -> bool:
        """Was everything read that belongs to this response, as far as we know?"""
        if self._head is None or self.will_close:
            return True
        if not self.chunked or self._method == "HEAD":
            return not self.length
        # Others may have read the chunks without us. Then there is no way to tell whether they read them all.
        return self._is_complete or (self.chunk_left is None and view.read_bytes > self._content_start)

    def _tie_up(self, view: WireView) -> None:
        """Make sure that nothing that was received is taken for another response, or hidden."""
        if self._head is None:
            if view.unread_bytes:  # after a proxy's answer to CONNECT
                _shut(view.sock)
            return
        sock = view.sock
        owner = self._owner() if self._owner is not None else None
        is_read = self._is_read(view)
        if owner is None:
            if is_read and not self.will_close:
                _keep_early(view)
        elif owner.sock is sock:
            if is_read and owner._awaits_response():
                _keep_early(view)
            else:
                owner._drop_socket()

    def _give_up(self) -> None:
        """End the connection, since a head was not read as a whole."""
        view = self.fp
        if type(view) is WireView and view.received_bytes:
            _shut(view.sock)


_STOCK_READ_STATUS = HTTPResponse._read_status


def _is_interim(status: int) -> bool:
    """Does another head follow? 101 is the last that is HTTP (RFC 9110 §15.2.2)."""
    return status < 200 and status != 101


def _keep_early(view: WireView) -> None:
    _early[weakref.ref(view.sock, _forget)] = view.take_unread()


def _forget(reference: weakref.ref[Any]) -> None:
    _early.pop(reference, None)


def _shut(sock: Any) -> None:
    try:
        sock.shutdown(stdlib_socket.SHUT_RDWR)
    except OSError:
        pass
