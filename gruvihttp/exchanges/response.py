"""`ResponseHead`: the head of a final response as an application gives it, for any version of HTTP.

What a server adds to it, Date and Server, is made here too; how the content is framed is not known here.
"""

from __future__ import annotations

from email.utils import formatdate
from http import HTTPStatus
from time import time

from gruvihttp._version import PRODUCT_ID
from gruvihttp.errors import LocalProtocolError
from gruvihttp.sansio.headers import EMPTY, FORBIDDEN_IN_TRAILERS, Field, Headers

__all__ = ["PHRASES", "CommonLines", "ResponseHead", "plain_error", "sendable_trailers"]

PHRASES = {status.value: status.phrase.encode("ascii") for status in HTTPStatus}
PHRASES[413] = b"Content Too Large"  # RFC 9110 §15.5.14; older Pythons have the name that it had before


class ResponseHead:
    """Status, reason and fields, checked already, with the facts about the fields that a driver needs.

    `fields` are (name, value) pairs of bytes, free of what only the server may send (`HOP_BY_HOP`) and of
    Content-Length, whose value is `content_length` (None: not announced).
    """

    __slots__ = ("content_length", "fields", "has_date", "has_server", "reason", "status")

    def __init__(self, status: int, reason: bytes, fields: list[Field], content_length: int | None = None) -> None:
        self.status = status
        self.reason = reason
        self.fields = fields
        self.content_length = content_length
        self.has_date = self.has_server = False

    @property
    def lines(self) -> bytes:
        """The fields as HTTP/1 writes them."""
        return b"".join([b"%b: %b\r\n" % field for field in self.fields])


def plain_error(status: int) -> tuple[ResponseHead, bytes]:
    """Head and content of an answer that says nothing but its status, in text."""
    phrase = PHRASES.get(status, b"Error")
    content = b"%d %b\n" % (status, phrase)
    fields = [(b"Content-Type", b"text/plain; charset=utf-8")]
    return ResponseHead(status, phrase, fields, len(content)), content


def sendable_trailers(trailers: list[tuple[str, str]]) -> Headers:
    """A handler's trailers, checked. Raises LocalProtocolError for a field that may not be one."""
    if not trailers:
        return EMPTY
    checked = Headers.of([(name.encode("latin-1"), value.encode("latin-1")) for name, value in trailers])
    for name, _ in checked:
        if name in FORBIDDEN_IN_TRAILERS:
            raise LocalProtocolError(f"{name.decode('ascii')} may not be a trailer (RFC 9110 section 6.5.1)")
    return checked


def _is_plain(text: str) -> bool:
    return isinstance(text, str) and text.isascii() and text.isprintable() and text.strip() == text


class CommonLines:
    """The lines that a server adds to each response: Date, made once a second, and Server, if it has an `identifier`.

    Raises ValueError for an identifier that cannot be a field's value.
    """

    def __init__(self, identifier: str | None = PRODUCT_ID) -> None:
        self._second = -1
        self._date = b""
        self._server = b""
        self._both = b""
        self._split: dict[bytes, list[Field]] = {}
        if identifier is not None:
            if not _is_plain(identifier):
                raise ValueError(f"{identifier!r} cannot stand in Server: use printable ASCII")
            self._server = b"Server: %b\r\n" % identifier.encode("ascii")

    def of(self, head: ResponseHead) -> bytes:
        """Those of the lines that the application has not given itself."""
        second = int(time())
        if second != self._second:
            self._second = second
            self._date = b"Date: %b\r\n" % formatdate(second, usegmt=True).encode("ascii")  # RFC 9110 §5.6.7
            self._both = self._date + self._server
        if not (head.has_date or head.has_server):
            return self._both
        return (b"" if head.has_date else self._date) + (b"" if head.has_server else self._server)

    def fields_of(self, head: ResponseHead) -> list[Field]:
        """The same as fields, with names in lower case."""
        lines = self.of(head)
        fields = self._split.get(lines)
        if fields is None:
            self._split.clear()  # it was of the second before
            parts = [line.partition(b": ") for line in lines.split(b"\r\n") if line]
            fields = self._split[lines] = [(name.lower(), value) for name, _, value in parts]
        return fields
