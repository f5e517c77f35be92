"""gruvi's `HttpResponse`: the response to one request as users see it, in text.

Names and values are str, decoded as ISO-8859-1; the body is a stream of bytes. Sockets are not known here, nor is what
a response looks like on the wire.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from gruvihttp.exchanges.base import ClientExchange
from gruvihttp.exchanges.tunnel import Tunnel
from gruvihttp.fieldtools import DEFAULT_CHARSET, charset_of
from gruvihttp.marks import switchpoint
from gruvihttp.reader import StreamReader
from gruvihttp.sansio.events import InformationalResponse, Response
from gruvihttp.sansio.framing import persists
from gruvihttp.sansio.headers import EMPTY, Field, Headers

__all__ = ["HttpResponse", "HttpVersion", "text_of"]


class HttpVersion(NamedTuple):
    """A version of HTTP; ``str()`` gives ``'1.1'``."""

    major: int
    minor: int

    def __str__(self) -> str:
        return f"{self.major}.{self.minor}"


class HttpResponse:
    """A response, once its head has arrived. `body` is a stream of its content, and its methods are here, too."""

    __slots__ = ("_exchange", "_head", "_headers", "body")

    def __init__(self, message: ClientExchange | Response | InformationalResponse) -> None:
        """`message` is an exchange whose response has arrived, or the head of a response, which then has no content."""
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
        return f"<HttpResponse {self.status}{self.reason and ' ' + self.reason}>"

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
            self._headers = text_of(self._head.headers.raw)
        return self._headers

    @property
    def trailers(self) -> list[tuple[str, str]]:
        """The trailer section; empty until the body has been read to its end, and nearly always after that."""
        section = self._trailers()
        return text_of(section.raw) if section else []

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
    def stream_id(self) -> int | None:
        """The number of the stream that brought it; None without HTTP/2."""
        return None if self._exchange is None else self._exchange.stream_id

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
        """Give up the rest of the body.

        With HTTP/1 it is dropped if it is short and arrives soon; otherwise the connection is given up. With HTTP/2 the
        server is told not to send it, and the connection goes on.
        """
        if self._exchange is not None:
            self._exchange.close()

    def _trailers(self) -> Headers:
        return EMPTY if self._exchange is None or not self.body.eof else self._exchange.trailers


_versions = {b"1.0": HttpVersion(1, 0), b"1.1": HttpVersion(1, 1), b"2.0": HttpVersion(2, 0)}


def text_of(fields: Iterable[Field]) -> list[tuple[str, str]]:
    """Fields as users see them."""
    return [(name.decode("latin-1"), value.decode("latin-1")) for name, value in fields]


def _find(section: Headers, name: str, default: str | None) -> str | None:
    wanted = name.lower().encode("latin-1", "replace")
    for lower, value in section:
        if lower == wanted:
            return value.decode("latin-1")
    return default
