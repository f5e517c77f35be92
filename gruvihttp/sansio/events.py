"""What an HTTP message is made of, as values: h11's events, shared by HTTP/1 and HTTP/2.

Every event that one side receives can be sent by the other. Events check what they are made of; which of them may
follow which, and how they are framed, is not known here.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, ClassVar, Final

from gruvihttp.errors import LocalProtocolError
from gruvihttp.sansio.grammar import METHOD_RE, REASON_RE, TARGET_RE
from gruvihttp.sansio.headers import EMPTY, Headers, Text, to_bytes

__all__ = [
    "ConnectionClosed",
    "Data",
    "EndOfMessage",
    "Event",
    "InformationalResponse",
    "Request",
    "Response",
]

GivenHeaders = Headers | Iterable[tuple[Text, Text]] | None


class Event:
    """Base of all events. It cannot be made itself."""

    __slots__ = ()

    def __init__(self, *args: object, **kwargs: object) -> None:
        raise TypeError("Event is abstract: make a Request, a Response, ...")


_set = object.__setattr__


@dataclass(init=False, frozen=True)
class Request(Event):
    """The head of a request (RFC 9112 §3).

    `method`, `target` and `http_version` are bytes; `headers` is a `Headers`. str is taken too and must be ASCII.

    Raises LocalProtocolError for a method that is no token, a target with anything but visible ASCII, header fields
    that break their rules, and for any number of Host fields but one (HTTP/1.1) or at most one (other versions).
    """

    __slots__ = ("headers", "http_version", "method", "target")

    method: bytes
    headers: Headers
    target: bytes
    http_version: bytes

    def __init__(
        self, *, method: Text, target: Text, headers: GivenHeaders, http_version: Text = b"1.1"
    ) -> None:
        _set(self, "method", to_bytes(method))
        _set(self, "headers", Headers.of(headers))
        _set(self, "target", to_bytes(target))
        _set(self, "http_version", to_bytes(http_version))
        if not METHOD_RE.fullmatch(self.method):
            raise LocalProtocolError("Illegal method characters")
        if not TARGET_RE.fullmatch(self.target):
            raise LocalProtocolError("Illegal target characters")
        hosts = sum(name == b"host" for name, _ in self.headers)
        if self.http_version == b"1.1" and hosts == 0:
            raise LocalProtocolError("Missing mandatory Host: header")
        if hosts > 1:
            raise LocalProtocolError("Found multiple Host: headers")

    __hash__ = None  # type: ignore[assignment]  # as h11 has it


@dataclass(init=False, frozen=True)
class _AnyResponse(Event):
    """The head of a response, informational or final. Subclasses say which statuses are theirs."""

    __slots__ = ("headers", "http_version", "reason", "status_code")

    headers: Headers
    http_version: bytes
    reason: bytes
    status_code: int

    _statuses: ClassVar[tuple[int, int]]

    def __init__(
        self, *, status_code: int, headers: GivenHeaders = None, http_version: Text = b"1.1", reason: Text = b""
    ) -> None:
        _set(self, "headers", Headers.of(headers))
        _set(self, "http_version", to_bytes(http_version))
        _set(self, "reason", to_bytes(reason))
        if not isinstance(status_code, int) or isinstance(status_code, bool):
            raise LocalProtocolError("status code must be integer")
        _set(self, "status_code", int(status_code))  # an IntEnum becomes a plain int
        lowest, highest = self._statuses
        if not lowest <= status_code <= highest:
            raise LocalProtocolError(
                f"{type(self).__name__} status_code should be in range [{lowest}, {highest}], not {status_code}"
            )
        if not REASON_RE.fullmatch(self.reason):
            raise LocalProtocolError("Illegal reason characters")

    __hash__ = None  # type: ignore[assignment]


@dataclass(init=False, frozen=True)
class InformationalResponse(_AnyResponse):
    """The head of an informational response: `status_code` 100 to 199 (RFC 9110 §15.2). It has no content.

    `headers`, `http_version` and `reason` may be left out. Raises LocalProtocolError if a part breaks its rules.
    """

    __slots__ = ()
    _statuses = (100, 199)
    __hash__ = None


@dataclass(init=False, frozen=True)
class Response(_AnyResponse):
    """The head of a final response: `status_code` 200 to 999 (RFC 9110 §15).

    `headers`, `http_version` and `reason` may be left out. Raises LocalProtocolError if a part breaks its rules.
    """

    __slots__ = ()
    _statuses = (200, 999)
    __hash__ = None


@dataclass(init=False, frozen=True)
class Data(Event):
    """A piece of content. Where pieces are cut means nothing.

    `data` is bytes when received; what is sent may be any bytes-like object, or, with
    `Connection.send_with_data_passthrough`, anything that has a length. `chunk_start` and `chunk_end` tell where
    received pieces lie in their chunk (RFC 9112 §7.1); they are ignored on sending.
    """

    __slots__ = ("chunk_end", "chunk_start", "data")

    data: Any  # bytes-like, or whatever the caller wants to pass through
    chunk_start: bool
    chunk_end: bool

    def __init__(self, data: Any, chunk_start: bool = False, chunk_end: bool = False) -> None:
        _set(self, "data", data)
        _set(self, "chunk_start", chunk_start)
        _set(self, "chunk_end", chunk_end)

    __hash__ = None  # type: ignore[assignment]


@dataclass(init=False, frozen=True)
class EndOfMessage(Event):
    """The end of a message. `headers` is the trailer section (RFC 9110 §6.5); it needs the chunked coding."""

    __slots__ = ("headers",)

    headers: Headers

    def __init__(self, *, headers: GivenHeaders = None) -> None:
        _set(self, "headers", Headers.of(headers))

    __hash__ = None  # type: ignore[assignment]


@dataclass(frozen=True)
class ConnectionClosed(Event):
    """The sender has ended its half of the connection."""

    __slots__ = ()


class _Draft(Event):
    """A request in the making: a `Request` that is not frozen yet."""

    __slots__ = Request.__slots__

    method: bytes
    headers: Headers
    target: bytes
    http_version: bytes


class _ResponseDraft(Event):
    """A response in the making."""

    __slots__ = _AnyResponse.__slots__

    headers: Headers
    http_version: bytes
    reason: bytes
    status_code: int


_new = object.__new__


# What a parser has checked already is not checked again: the parts go straight into their slots.


def parsed_request(method: bytes, headers: Headers, target: bytes, http_version: bytes) -> Request:
    """A `Request` of parts that the grammar has accepted."""
    draft: Any = _new(_Draft)  # Any: of the class that it is going to be
    draft.method = method
    draft.headers = headers
    draft.target = target
    draft.http_version = http_version
    draft.__class__ = Request  # each slot of a frozen class would have to be set by a call, which takes twice the time
    return draft  # type: ignore[no-any-return]


def parsed_response(status_code: int, headers: Headers, http_version: bytes, reason: bytes) -> Any:
    """A `Response`, or an `InformationalResponse` for 1xx, of parts that the grammar has accepted."""
    draft: Any = _new(_ResponseDraft)
    draft.headers = headers
    draft.http_version = http_version
    draft.reason = reason
    draft.status_code = status_code
    draft.__class__ = InformationalResponse if status_code < 200 else Response
    return draft


END_OF_MESSAGE: Final = EndOfMessage(headers=EMPTY)
CONNECTION_CLOSED: Final = ConnectionClosed()
