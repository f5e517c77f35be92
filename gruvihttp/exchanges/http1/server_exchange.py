"""`Http1ServerExchange`: one request on an HTTP/1 connection, and the responses to it.

It decides how the response is framed, once, at the moment when its head leaves: by then the length is often known. It
holds the head and the first content until then. What is on the connection before and after is not known here.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, Protocol

from gruvihttp.errors import LocalProtocolError
from gruvihttp.exchanges.response import CommonLines, ResponseHead, sendable_trailers
from gruvihttp.exchanges.served import BROKEN_OFF, COMPLETE, DETACHED, NO_CONTENT, ServedExchange
from gruvihttp.exchanges.tunnel import Tunnel
from gruvihttp.net.channel import Channel
from gruvihttp.net.sockets import BytesLike
from gruvihttp.reader import StreamReader
from gruvihttp.sansio.content import Encoder, encoder_of
from gruvihttp.sansio.events import Request
from gruvihttp.sansio.framing import CHUNKED, NONE, PLAIN, UNTIL_CLOSE, Framing, Plan, has_no_content, length
from gruvihttp.sansio.headers import Field, Headers

__all__ = ["CLOSE", "HELD_BYTES", "Http1ServerExchange", "head_bytes"]

HELD_BYTES = 65536  # the most output that is held; joining larger pieces would gain nothing


class Carrier(Protocol):
    """What an exchange needs of its connection."""

    channel: Channel
    common: CommonLines
    drain_bytes: int
    drains_chunks: bool
    held_bytes: int
    is_cut: bool
    may_persist: bool
    notes: Any
    owner: Any

    def abort(self) -> None: ...
    def detach(self, exchange: Http1ServerExchange) -> Tunnel: ...
    def end_tunnel(self) -> None: ...
    def flush(self) -> None: ...
    def flush_soon(self) -> None: ...
    def hold(self, *buffers: BytesLike) -> None: ...
    def hold_whole(self, buffer: bytes) -> None: ...
    def pause_at_times(self, size: int) -> None: ...
    def peer_has_gone(self) -> bool: ...
    def receive_content(self, exchange: Http1ServerExchange) -> bytes: ...
    def rest_is_here(self) -> bool: ...
    def send_file(self, fd: int, offset: int, count: int) -> None: ...


class Http1ServerExchange(ServedExchange):
    """One request on an HTTP/1 connection, and its responses. See `gruvihttp.exchanges.base.ServerExchange`."""

    wants_continue = False
    upgrade: tuple[bytes, ...] = ()
    _encoder: Encoder | None = None  # None until the head has left
    _pieces_bytes = 0

    def __init__(self, connection: Carrier, request: Request, plan: Plan) -> None:
        self.connection = connection  # with its `channel` and the handler's `notes`
        self.request = request
        self.persists = plan.persists
        if plan is not PLAIN:
            self.wants_continue = plan.expects_continue
            self.upgrade = plan.upgrade
        self.request_trailers: list[tuple[str, str]] = []  # filled when the content has ended
        self.response_trailers: list[tuple[str, str]] = []  # the handler's, sent at the end if that is possible
        self.plan = plan
        self._pieces: list[bytes] = []  # content that waits for the head to leave

    @property
    def status(self) -> int | None:
        """The status of the final response; None until its head has left."""
        return self.head.status if self.head is not None and self._encoder is not None else None

    @property
    def head_sent(self) -> bool:
        """Whether the head of the final response has left, so that it can no longer be changed."""
        return self._encoder is not None

    # request

    def open_content(self) -> StreamReader:
        """A reader for the request's content."""
        if self.plan.framing is NONE:
            return NO_CONTENT
        return StreamReader(source=partial(self.connection.receive_content, self))

    # response

    def send_informational(self, status: int, reason: bytes, fields: Sequence[Field] = ()) -> None:
        """Send a 1xx response at once. HTTP/1.0 clients, which know none, get none (RFC 9110 §15.2)."""
        self.wants_continue = self.wants_continue and status != 100
        if self.head_sent or self.request.http_version < b"1.1":
            return
        lines = b"".join([b"%b: %b\r\n" % field for field in fields])
        self.connection.hold(b"HTTP/1.1 %d %b\r\n%b\r\n" % (status, reason, lines))
        self.connection.flush()

    def send_continue(self) -> None:
        """Send ``100 Continue`` unless the response has begun; either way the client is no longer expected to wait."""
        self.send_informational(100, b"Continue")
        self.wants_continue = False

    def send_early_hints(self, fields: Sequence[Field]) -> None:
        """Send 103 (Early Hints); nothing if the final head has left already."""
        self.send_informational(103, b"Early Hints", fields)

    def peer_has_gone(self) -> bool:
        """Whether the client has ended its side of the connection. Never waits."""
        return self.connection.peer_has_gone()

    def send_head(self, head: ResponseHead) -> None:
        """Give the head of the final response. It may be given again until it has left, with the first content.

        Content that belonged to the earlier head is dropped then.
        """
        if self.head_sent:
            if self.ending is DETACHED:
                return
            raise LocalProtocolError("the head of the response has been sent")
        if self._pieces:
            self._pieces = []
            self._pieces_bytes = 0
        self.head = head

    def send_data(self, data: bytes) -> bool:
        """Send a piece of content. False when the response has no content, so that more pieces are pointless.

        Raises LocalProtocolError if it is more than was announced, or if the response is finished.
        """
        if self.ending is not None:
            if self.ending is DETACHED:
                return False
            raise LocalProtocolError("the response is finished")
        if not data:
            return True
        if self._encoder is None:
            self._pieces.append(data)
            self._pieces_bytes += len(data)
            if self._pieces_bytes < HELD_BYTES:
                self.connection.flush_soon()
                return True
            self._commit(complete=False)
        else:
            self._hold_content(self._encoder, data)
        if self.connection.held_bytes < HELD_BYTES and not self.connection.is_cut:
            self.connection.flush_soon()
        else:
            self.connection.flush()
            self.connection.pause_at_times(len(data))
        return self._encoder is not _SILENT_ENCODER

    def send_file(self, fd: int, offset: int, count: int) -> bool:
        """Send that part of a file as the whole content, without reading it. False if it cannot: then nothing is sent.

        `fd` is a descriptor, `offset` and `count` are bytes. The head must announce `count` bytes.
        Raises EOFError if the file turns out to be shorter.
        """
        head = self.head
        if self.head_sent or self._pieces or head is None or head.content_length != count or self.response_trailers:
            return False
        if has_no_content(self.request.method, head.status) or not self.connection.channel.can_send_files:
            return False
        self._commit(complete=False)
        self.connection.send_file(fd, offset, count)
        self._encoder = _SILENT_ENCODER  # no content may follow
        self.sent_bytes = count
        return True

    def finish(self, content: bytes = b"") -> None:
        """Send `content` and end the response, with `response_trailers` if they are possible: they need chunks.

        Raises LocalProtocolError if there is less content than announced; the response is not ended then.
        """
        if self._encoder is None and self._finished_at_once(content) or self.ending is DETACHED:
            return
        trailers = sendable_trailers(self.response_trailers)  # the head must not leave if they are impossible
        if self._encoder is None:
            if content:
                self._pieces.append(content)
                self._pieces_bytes += len(content)
            self._commit(complete=not self.response_trailers or self.request.http_version == b"1.0")
        elif content:
            self._hold_content(self._encoder, content)
        assert self._encoder is not None
        end = self._encoder.end(trailers if self._encoder is _CHUNKED_ENCODER else _NO_TRAILERS)
        if end:
            self.connection.hold(end)
        self.ending = COMPLETE

    def _finished_at_once(self, content: bytes) -> bool:
        """Send head and content as one buffer, if all content is here when the head leaves, as it usually is.

        False for a response that needs more care; then nothing is sent.
        """
        head = self.head
        request = self.request
        content_bytes = len(content)
        if (
            head is None
            or (head.content_length is not None and head.content_length != content_bytes)
            or request.method in _UNUSUAL_METHODS
            or request.http_version != b"1.1"
            or head.status in _CONTENTLESS
            or self._pieces
            or self.response_trailers
            or content_bytes >= HELD_BYTES  # not to be copied
        ):
            return False
        connection = self.connection
        option = b""
        if not (self.persists and connection.may_persist and (self.plan.framing is NONE or self._content_is_bounded())):
            self.persists = False
            option = CLOSE
        self._encoder = _SILENT_ENCODER
        self.ending = COMPLETE
        self.sent_bytes = content_bytes
        connection.hold_whole(
            b"HTTP/1.1 %d %b\r\n%bContent-Length: %d\r\n%b%b\r\n%b"
            % (head.status, head.reason, head.lines, content_bytes, connection.common.of(head), option, content)
        )
        return True

    def break_off(self) -> None:
        """End a response in the middle, after its head has left, so that the peer can see that it is incomplete."""
        if self._encoder is _UNTIL_CLOSE_ENCODER:  # the end of the connection would be the end of the content
            self.abort()
        self.persists = False
        self.ending = BROKEN_OFF

    def abort(self) -> None:
        """Reset the connection at once, and drop what has not left."""
        self.connection.abort()

    def detach(self) -> Tunnel:
        """Take the connection away from HTTP, to speak one of `upgrade` on it. The caller writes the 101 response.

        Whatever is held is sent first. Raises RuntimeError when the exchange cannot be detached, or no longer.
        """
        if not self.upgrade:
            raise RuntimeError("the client has not asked for another protocol")
        if self.finished or self.head_sent or self._pieces:
            raise RuntimeError("the response has begun: it is too late for another protocol")
        if self.plan.framing is not NONE and not self.content_ended:
            raise RuntimeError("the request's content must be read before another protocol is spoken")
        self.tunnel = tunnel = self.connection.detach(self)
        self.head = ResponseHead(101, b"Switching Protocols", [])  # for the log: the caller writes the real one
        self._encoder = _SILENT_ENCODER
        self.ending = DETACHED
        self.persists = False
        return tunnel

    def end_tunnel(self) -> None:
        """End a detached connection properly. Idempotent."""
        if self.ending is DETACHED:
            self.connection.end_tunnel()

    def commit_held(self) -> None:
        """In the hub, because the handler waits: hand over the head and content that are held."""
        if self._encoder is None and self._pieces:
            self._commit(complete=False)

    def _commit(self, *, complete: bool) -> None:
        """Decide the framing and hand the head and the content so far to the connection."""
        head = self.head
        if head is None:
            raise LocalProtocolError("content without a head")
        pieces_bytes = self._pieces_bytes
        modern = self.request.http_version != b"1.0"
        method = self.request.method
        announced = head.content_length
        if announced is None and complete and not (head.status == 304 or method == b"HEAD" and not pieces_bytes):
            announced = pieces_bytes
        if head.status == 204 or head.status < 200 or (method == b"CONNECT" and head.status < 300):
            announced = None
            framing = NONE
        elif announced is not None:
            framing = length(announced)
        elif complete or head.status == 304:
            framing = NONE
        else:
            framing = CHUNKED if modern else UNTIL_CLOSE
        self._commit_as(head, framing, announced, modern)

    def _commit_as(self, head: ResponseHead, framing: Framing, announced: int | None, modern: bool) -> None:
        connection = self.connection
        silent = has_no_content(self.request.method, head.status)
        if framing is UNTIL_CLOSE and not silent or head.status < 300 and self.request.method == b"CONNECT":
            self.persists = False
        if self.persists and not (connection.may_persist and self._content_is_bounded()):
            self.persists = False
        if self.persists:
            option = b"" if modern else b"Connection: keep-alive\r\n"
        else:
            option = CLOSE
        if framing is CHUNKED:
            option += b"Transfer-Encoding: chunked\r\n"
        encoder = _SILENT_ENCODER if silent else encoder_of(framing)
        version = b"1.1" if modern else b"1.0"
        buffers: list[BytesLike] = [head_bytes(version, head, option, announced, connection.common)]
        for piece in self._pieces:
            buffers += encoder.data(piece)
        self._encoder = encoder
        self._pieces = []
        if encoder is not _SILENT_ENCODER:
            self.sent_bytes = self._pieces_bytes
        connection.hold(*buffers)

    def _hold_content(self, encoder: Encoder, content: bytes) -> None:
        self.connection.hold(*encoder.data(content))
        if encoder is not _SILENT_ENCODER:
            self.sent_bytes += len(content)

    def _content_is_bounded(self) -> bool:
        """Whether the unread content is known to be so short that it can be dropped (RFC 9112 §9.3)."""
        framing = self.plan.framing
        if framing is NONE or self.content_ended:
            return True
        connection = self.connection
        if not self.wants_continue:  # else the client may send it, or may not, and what follows would be taken for it
            if framing.kind == "length":
                return framing.length - self.received_bytes <= connection.drain_bytes
            if connection.drains_chunks:
                return True
        return connection.rest_is_here()


class _SilentEncoder:
    """For responses without content, whatever the application gives: to HEAD, 204, 304."""

    __slots__ = ()

    def data(self, data: Any) -> list[Any]:
        return []

    def end(self, trailers: Headers) -> bytes:
        return b""


CLOSE = b"Connection: close\r\n"
_SILENT_ENCODER = _SilentEncoder()
_CHUNKED_ENCODER = encoder_of(CHUNKED)
_UNTIL_CLOSE_ENCODER = encoder_of(UNTIL_CLOSE)
_CONTENTLESS = frozenset((204, 304))
_UNUSUAL_METHODS = frozenset((b"HEAD", b"CONNECT"))
_NO_TRAILERS = Headers()


def head_bytes(version: bytes, head: ResponseHead, option: bytes, announced: int | None, common: CommonLines) -> bytes:
    """The bytes of a response's head. `option` holds the field lines that concern framing and the connection."""
    if announced is not None:
        option = b"Content-Length: %d\r\n%b" % (announced, option)
    return b"HTTP/%b %d %b\r\n%b%b%b\r\n" % (
        version,
        head.status,
        head.reason,
        head.lines,
        option,
        common.of(head),
    )
