"""gruvi's `HttpRequest` and `HttpResponse`: one exchange as users see it, in text.

Names and values are str, decoded as ISO-8859-1; bodies are bytes. Sockets are not known here, nor is what a request
looks like on the wire.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple, Protocol

from greenlet import getcurrent, greenlet

from gruvihttp.bodies import PieceEncoder, pieces_of
from gruvihttp.compose import ComposedRequest, compose_trailers
from gruvihttp.errors import LocalProtocolError
from gruvihttp.exchanges.base import ClientExchange
from gruvihttp.exchanges.http1_client import ClientConnection
from gruvihttp.exchanges.tunnel import Tunnel
from gruvihttp.fieldtools import DEFAULT_CHARSET, charset_of
from gruvihttp.limits import Timeouts
from gruvihttp.marks import switchpoint
from gruvihttp.net.sockets import BytesLike
from gruvihttp.net.transport import Transport
from gruvihttp.reader import StreamReader
from gruvihttp.sansio.events import InformationalResponse, Response
from gruvihttp.sansio.framing import CHUNKED, persists
from gruvihttp.sansio.headers import EMPTY, Field, Headers

__all__ = ["HttpRequest", "HttpResponse", "HttpVersion"]


class HttpVersion(NamedTuple):
    """A version of HTTP; ``str()`` gives ``'1.1'``."""

    major: int
    minor: int

    def __str__(self) -> str:
        return f"{self.major}.{self.minor}"


class Requester(Protocol):
    """What a request needs of the protocol that it is sent with."""

    transport: Transport | None

    @property
    def connection(self) -> ClientConnection:
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
        return _text(self._started().outline.fields)

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
        upload = self._begin(self._compose(method, url, headers, body, bool(expect)), timeouts, expect)
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
        """End the content; `trailers` need the chunked coding.

        Raises RuntimeError for less content than was announced; the connection cannot be used any more then.
        """
        upload = self._open_upload()
        section = EMPTY
        if trailers:
            if self._started().outline.framing is not CHUNKED:
                raise RuntimeError("trailers need the chunked coding: announce no Content-Length")
            section = compose_trailers(trailers)
        self._upload = None
        upload.end(section)

    @switchpoint
    def getresponse(self, timeout: float | None = -1) -> HttpResponse:
        """Wait for the response to this request, which must be the oldest one of this greenlet that has none yet."""
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
        composed = self._compose(method, url, headers, body, bool(expect), upgrade)
        raw_method, target, content, outline = composed
        if content is not None:
            announced = outline.framing.length
            if len(content) != announced:
                raise RuntimeError(f"Content-Length announces {announced} bytes, the body has {len(content)}")
        if content is not None and not (expect and content):
            self._composed = composed
            self._protocol.connection.send(
                raw_method,
                target,
                outline.version,
                outline.fields,
                content,
                self,
                timeouts,
                b"" if upgrade is None else upgrade.encode("latin-1"),
            )
            return
        upload = self._begin(composed, timeouts, expect)
        try:
            for piece in pieces_of(body, upload.encode) if content is None else (content,):
                if not upload.send(piece):
                    break
            upload.end(EMPTY)
        except BaseException as exc:
            upload.abandon(f"{type(exc).__name__} struck in the middle of a request")
            raise

    def send_composed(self, composed: ComposedRequest, timeouts: Timeouts | None = None) -> None:
        """Send a request with complete content, which `compose` of a protocol like this one has made before."""
        if self._composed is not None:
            raise RuntimeError("this request was started already")
        method, target, content, outline = composed
        assert content is not None
        self._composed = composed
        self._protocol.connection.send(method, target, outline.version, outline.fields, content, self, timeouts)

    def _compose(
        self, method: str, url: str, headers: Any, body: Any, expect: bool, upgrade: str | None = None
    ) -> ComposedRequest:
        if self._composed is not None:
            raise RuntimeError("this request was started already")
        if expect and upgrade is not None:
            raise ValueError("expect and upgrade do not go together")
        return self._protocol.compose(method, url, headers, body, expect, upgrade)

    def _begin(self, composed: ComposedRequest, timeouts: Timeouts | None, expect: float) -> _Upload:
        raw_method, target, _, outline = composed
        exchange = self._protocol.connection.begin(
            raw_method, target, outline.version, outline.fields, outline.framing, self, timeouts
        )
        self._composed = composed
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
        self._writer: greenlet | None = None

    def write(self, buf: Any) -> None:
        """Send what a user gives."""
        if self._writer is None:
            self._writer = getcurrent()
        elif self._writer is not getcurrent():
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


class HttpResponse:
    """A response, as soon as its head has come. `body` is a stream of its content, and its methods are here too."""

    __slots__ = ("_exchange", "_head", "_headers", "body")

    def __init__(self, message: ClientExchange | Response | InformationalResponse) -> None:
        """`message` is an exchange whose response has come, or the head of a response, which then has no content."""
        self._headers: list[tuple[str, str]] | None = None
        if isinstance(message, (Response, InformationalResponse)):
            self._exchange: ClientExchange | None = None
            self._head = message
            self.body = StreamReader.complete()
        elif message.response is None:
            raise ValueError("there is no response yet")
        else:
            self._exchange = message
            self._head = message.response
            self.body = message.content

    def __repr__(self) -> str:
        return f"<HttpResponse {self.status} {self.reason}>"

    @property
    def version(self) -> HttpVersion:
        """The version of HTTP that the server speaks: ``(1, 1)``."""
        version = self._head.http_version
        return _versions.get(version) or HttpVersion(*map(int, version.split(b".")))

    @property
    def status(self) -> int:
        """The status code."""
        return self._head.status_code

    status_code = status

    @property
    def reason(self) -> str:
        """The reason phrase; it may be empty."""
        return self._head.reason.decode("latin-1")

    @property
    def headers(self) -> list[tuple[str, str]]:
        """The header section as (name, value) pairs, in order and with names as they were sent."""
        if self._headers is None:
            self._headers = _text(self._head.headers.raw)
        return self._headers

    @property
    def trailers(self) -> list[tuple[str, str]]:
        """The trailer section; empty until the body has been read to its end, and nearly always after that."""
        section = self._trailers()
        return _text(section.raw) if section else []

    def get_header(self, name: str, default: str | None = None) -> str | None:
        """The value of a header field, the first if there are several; `default` if there is none."""
        return _find(self._head.headers, name, default)

    def get_trailer(self, name: str, default: str | None = None) -> str | None:
        """The value of a trailer field: see `trailers`."""
        return _find(self._trailers(), name, default)

    @property
    def charset(self) -> str | None:
        """The charset that Content-Type names, in lower case; None if it names none."""
        content_type = self.get_header("Content-Type")
        return None if content_type is None else charset_of(content_type)

    @property
    def request(self) -> Any:  # Any: HttpRequest, or whatever a driver was told to answer for
        """The request that this answers."""
        return None if self._exchange is None else self._exchange.owner

    @property
    def informational(self) -> list[HttpResponse]:
        """The informational responses (1xx) that came before this one."""
        return [] if self._exchange is None else [HttpResponse(head) for head in self._exchange.informational]

    @property
    def should_keep_alive(self) -> bool:
        """Whether the server will answer further requests on this connection, as far as this head says."""
        return persists(self._head)

    @property
    def transport(self) -> Tunnel | None:
        """The bare connection after a CONNECT or Upgrade that succeeded; what came early is received from it first."""
        return None if self._exchange is None else self._exchange.tunnel

    # the body

    @switchpoint
    def read(self, size: int | None = -1) -> bytes:
        """Read `size` bytes of the body, or all to its end."""
        return self.body.read(size)

    @switchpoint
    def read1(self, size: int | None = -1) -> bytes:
        """Read what there is of the body; waits only if that is nothing."""
        return self.body.read1(size)

    @switchpoint
    def readinto(self, buffer: Any) -> int:  # Any: a writable buffer; typing has no name for it before 3.12
        """Read into `buffer`; the number of bytes is returned."""
        return self.body.readinto(buffer)

    @switchpoint
    def readline(self, limit: int | None = -1, delim: bytes = b"\n") -> bytes:
        """Read through the next `delim`, but no more than `limit` bytes."""
        return self.body.readline(limit, delim)

    @switchpoint
    def readlines(self, hint: int | None = -1) -> list[bytes]:
        """Read lines until they are more than `hint` bytes, or all."""
        return self.body.readlines(hint)

    def __iter__(self) -> Iterator[bytes]:
        """Iterate over the lines of the body."""
        return iter(self.body)

    def text_stream(self, encoding: str | None = None) -> io.TextIOWrapper:
        """The body as text, decoded by `encoding`, else by the charset of Content-Type, else as ISO-8859-1."""
        stream: Any = self.body  # typeshed wants a name of whatever is wrapped, io does not
        return io.TextIOWrapper(stream, encoding or self.charset or DEFAULT_CHARSET)

    @switchpoint
    def close(self) -> None:
        """Read the rest of the body if that is little and comes soon; else give the connection up."""
        if self._exchange is not None:
            self._exchange.close()

    def _trailers(self) -> Headers:
        return EMPTY if self._exchange is None or not self.body.eof else self._exchange.trailers


_versions = {b"1.0": HttpVersion(1, 0), b"1.1": HttpVersion(1, 1)}


def _text(fields: Iterable[Field]) -> list[tuple[str, str]]:
    return [(name.decode("latin-1"), value.decode("latin-1")) for name, value in fields]


def _find(section: Headers, name: str, default: str | None) -> str | None:
    wanted = name.lower().encode("latin-1", "replace")
    for lower, value in section:
        if lower == wanted:
            return value.decode("latin-1")
    return default
