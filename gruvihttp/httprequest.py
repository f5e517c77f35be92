"""gruvi's `HttpRequest`: one request as its sender sees it, in text, at once or in pieces.

Names and values are str. Sockets are not known here, nor is what a request looks like on the wire.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Protocol
from weakref import ref

from greenlet import getcurrent, greenlet

from gruvihttp.bodies import PieceEncoder, pieces_of
from gruvihttp.compose import HTTP2, compose_trailers
from gruvihttp.errors import LocalProtocolError
from gruvihttp.exchanges.base import ClientDriver, ClientExchange
from gruvihttp.exchanges.request import ComposedRequest
from gruvihttp.httpresponse import HttpResponse, text_of
from gruvihttp.limits import Timeouts
from gruvihttp.marks import switchpoint
from gruvihttp.net.sockets import BytesLike
from gruvihttp.net.transport import Transport
from gruvihttp.sansio.framing import CHUNKED
from gruvihttp.sansio.headers import EMPTY, Headers

__all__ = ["HttpRequest"]


class Requester(Protocol):
    """What a request needs of the protocol that it is sent with."""

    transport: Transport | None

    @property
    def connection(self) -> ClientDriver:
        """The driver. Raises HttpError when there is no connection."""

    def compose(
        self, method: str, url: str, headers: Any, body: Any, expect: bool = False, upgrade: str | None = None
    ) -> ComposedRequest:
        """What is to be sent. Raises TypeError, ValueError, UnicodeEncodeError."""


class HttpRequest:
    """One request of a client. `HttpProtocol.request` makes them.

    When the content comes in several steps, or trailers follow it, a request is written by hand: `start_request` (or
    ``request(..., body=None)``), then `write` as often as needed, then `end_request`.
    """

    __slots__ = ("_composed", "_protocol", "_upload")

    def __init__(self, transport: Transport | None, protocol: Requester) -> None:
        """`transport` is the protocol's; the argument is there because gruvi has it."""
        self._protocol = protocol
        self._composed: ComposedRequest | None = None
        self._upload: _Upload | None = None

    def __repr__(self) -> str:
        return f"<HttpRequest {self.method} {self.url}>" if self._composed else "<HttpRequest not started>"

    @property
    def transport(self) -> Transport | None:
        """The connection that it was sent on."""
        return self._protocol.transport

    @property
    def protocol(self) -> Any:  # Any: HttpProtocol, which lies above this module
        """The protocol that it was sent with."""
        return self._protocol

    @property
    def method(self) -> str:
        """The method."""
        return self._started().method.decode("ascii")

    @property
    def url(self) -> str:
        """The URL, as it was given."""
        return self._started().target.decode("ascii")

    @property
    def headers(self) -> list[tuple[str, str]]:
        """All fields that were sent, those of ours included."""
        return text_of(self._started().outline.fields)

    @switchpoint
    def start_request(
        self,
        method: str,
        url: str,
        headers: list[tuple[str, str]] | None = None,
        body: Any = None,
        *,
        timeouts: Timeouts | None = None,
        expect: float = False,
    ) -> None:
        """Send the head. `body` only tells how long the content will be: it is yours to `write`.

        `timeouts` are the connection's if not given. With `expect`, the first `write` waits for the server to agree:
        see `HttpProtocol.request`.

        Without a Content-Length in `headers`, and without bytes or str as `body`, the content is chunked.
        """
        upload = self._begin(self._compose(method, url, headers, body, expect), timeouts, expect)
        try:
            upload.exchange.send_head()
        except BaseException:
            upload.abandon("a request was not sent")
            raise
        self._upload = upload

    @switchpoint
    def write(self, buf: Any) -> None:
        """Send a piece of content: bytes, or str, which is encoded with the charset of Content-Type.

        Without effect once the server has answered and wants no more. Raises RuntimeError for more than was
        announced, of which nothing is sent then, and when several greenlets write.
        """
        self._open_upload().write(buf)

    @switchpoint
    def end_request(self, trailers: list[tuple[str, str]] | None = None) -> None:
        """End the content; `trailers` need the chunked coding, or HTTP/2.

        Raises RuntimeError for less content than was announced; with HTTP/1 the connection cannot be used any more.
        """
        upload = self._open_upload()
        section = EMPTY
        if trailers:
            outline = self._started().outline
            if outline.framing is not CHUNKED and outline.version != HTTP2:
                raise RuntimeError("trailers need the chunked coding: announce no Content-Length")
            section = compose_trailers(trailers)
        self._upload = None
        upload.end(section)

    @switchpoint
    def getresponse(self, timeout: float | None = -1) -> HttpResponse:
        """Wait for the response to this request. With HTTP/1 it must be the oldest one of this greenlet without one."""
        return HttpResponse(self._protocol.connection.collect(timeout, self))

    def send(
        self,
        method: str,
        url: str,
        headers: Any,
        body: Any,
        *,
        timeouts: Timeouts | None = None,
        expect: float = False,
        upgrade: str | None = None,
    ) -> None:
        """Send the whole request: what `HttpProtocol.request` does."""
        composed = self._compose(method, url, headers, body, expect, upgrade)
        content = composed.content
        if content is not None:
            announced = composed.outline.framing.length
            if len(content) != announced:
                raise RuntimeError(f"Content-Length announces {announced} bytes, the body has {len(content)}")
        if content is None or (expect and content):
            upload = self._begin(composed, timeouts, expect)
            upload.send_all(pieces_of(body, upload.encode) if content is None else (content,))
        else:
            self._composed = composed
            offered = b"" if upgrade is None else upgrade.encode("latin-1")
            self._protocol.connection.send(composed, self, timeouts, offered)

    def send_composed(self, composed: ComposedRequest, timeouts: Timeouts | None = None) -> None:
        """Send a request with complete content, which `compose` of a protocol like this one has made before."""
        if self._composed is not None:
            raise RuntimeError("this request was started already")
        self._composed = composed
        self._protocol.connection.send(composed, self, timeouts)

    def _compose(
        self, method: str, url: str, headers: Any, body: Any, expect: float, upgrade: str | None = None
    ) -> ComposedRequest:
        if self._composed is not None:
            raise RuntimeError("this request was started already")
        if expect and not (isinstance(expect, (int, float)) and expect > 0):  # nan is not
            raise ValueError(f"expect must be True, or how many seconds to wait, not {expect!r}")
        if expect and upgrade is not None:
            raise ValueError("expect and upgrade do not go together")
        return self._protocol.compose(method, url, headers, body, bool(expect), upgrade)

    def _begin(self, composed: ComposedRequest, timeouts: Timeouts | None, expect: float) -> _Upload:
        exchange = self._protocol.connection.begin(composed, self, timeouts)
        self._composed = composed
        outline = composed.outline
        return _Upload(exchange, outline.charset, float(expect) if outline.version != b"1.0" else 0.0)

    def _started(self) -> ComposedRequest:
        if self._composed is None:
            raise RuntimeError("this request was not started: call start_request()")
        return self._composed

    def _open_upload(self) -> _Upload:
        if self._upload is None:
            self._started()
            raise RuntimeError("this request has ended")
        return self._upload


class _Upload:
    """The content of one request, as it is being sent."""

    __slots__ = ("_expect", "_writer", "encode", "exchange")

    def __init__(self, exchange: ClientExchange, charset: str, expect: float) -> None:
        """`expect` is for how many seconds the server's permission is waited for."""
        self._expect = expect
        self.exchange = exchange
        self.encode = PieceEncoder(charset)
        self._writer: ref[greenlet] | None = None

    def write(self, buf: Any) -> None:
        """Send what a user gives."""
        me = ref(getcurrent())
        if self._writer is None:
            self._writer = me
        elif self._writer is not me:
            raise RuntimeError("another greenlet writes this body")
        self.send(self.encode(buf))

    def send(self, piece: BytesLike) -> bool:
        """Send a piece. False when the server wants no more."""
        if self._expect:
            seconds, self._expect = self._expect, 0.0
            self.exchange.await_permission(seconds)
        try:
            return self.exchange.send_data(piece)
        except LocalProtocolError as exc:
            raise RuntimeError("more content than Content-Length announces") from exc

    def send_all(self, pieces: Iterable[BytesLike]) -> None:
        """Send the pieces, or as many of them as the server wants, and end the content."""
        try:
            for piece in pieces:
                if not self.send(piece):
                    break
            self.end(EMPTY)
        except BaseException as exc:
            self.abandon(f"sending a request was interrupted by {type(exc).__name__}")
            raise

    def end(self, trailers: Headers) -> None:
        """End the content."""
        if rest := self.encode.finish():
            self.send(rest)
        try:
            self.exchange.finish(trailers)
        except LocalProtocolError as exc:
            self.abandon("a request ended before its announced content")
            raise RuntimeError("less content than Content-Length announces") from exc

    def abandon(self, reason: str) -> None:
        """Leave the request unfinished."""
        self.exchange.abandon(reason)
