"""From a head decide, once, how the content is delimited and what becomes of the connection (RFC 9112 §6, §9).

The answer is a value that travels on; Content-Length, Transfer-Encoding, Connection and Expect are not read again.
Buffers and the other direction are not known here.
"""

from __future__ import annotations

from collections.abc import Collection
from functools import lru_cache
from typing import NamedTuple

from gruvihttp.errors import (
    ContentTooLarge,
    ExpectationFailed,
    LocalProtocolError,
    RemoteProtocolError,
    UnsupportedCoding,
)
from gruvihttp.sansio.authority import is_authority
from gruvihttp.sansio.events import InformationalResponse, Request, Response
from gruvihttp.sansio.grammar import CONTENT_LENGTH_RE
from gruvihttp.sansio.headers import Field, combined, list_members, merged_content_length

__all__ = [
    "CHUNKED",
    "NONE",
    "PLAIN",
    "UNTIL_CLOSE",
    "Framing",
    "Plan",
    "has_no_content",
    "length",
    "of_request",
    "of_response",
    "of_sent",
]


class Framing(NamedTuple):
    """How content is delimited: `kind` is "none", "length" (with `length` bytes), "chunked" or "until-close"."""

    kind: str
    length: int = 0


NONE = Framing("none")
CHUNKED = Framing("chunked")
UNTIL_CLOSE = Framing("until-close")


def length(content_bytes: int) -> Framing:
    """The framing of content of a known length."""
    return Framing("length", content_bytes) if content_bytes else NONE


class Plan(NamedTuple):
    """What a head says about the rest of its message and about the connection.

    `persists`: the connection may carry another exchange after this one, as far as this head is concerned.
    `expects_continue`: the client waits for 100 (Continue) before it sends the content (RFC 9110 §10.1.1).
    `upgrade`: the protocols that an HTTP/1.1 client offers to change to (RFC 9110 §7.8), in lower case.
    `repeats_length`: Content-Length is there several times with one value, and must not be handed on like that
    (RFC 9110 §8.6).
    """

    framing: Framing
    persists: bool
    expects_continue: bool = False
    upgrade: tuple[bytes, ...] = ()
    repeats_length: bool = False


# What most requests say: HTTP/1.1, no content, and none of the fields that decide anything. It is the very object.
PLAIN = Plan(NONE, persists=True)
_PLAIN_LAST = Plan(NONE, persists=False)
# The fields besides Host and Connection that decide anything; a request with none of them is plain
_DECIDING = frozenset((b"content-length", b"expect", b"transfer-encoding", b"upgrade"))


def of_request(request: Request, content_limit: int | None = None, *, strict: bool = False) -> Plan:
    """Plan for a request that was received.

    `content_limit` bounds the announced length in bytes. `strict` refuses a repeated Content-Length even when all
    its values agree.

    Raises RemoteProtocolError (400) for Host missing, repeated or malformed (RFC 9112 §3.2), for a bad length, for
    Content-Length beside Transfer-Encoding (§6.3 item 3), for Transfer-Encoding before HTTP/1.1 (§6.1);
    UnsupportedCoding (501) for any coding but a single ``chunked``; ExpectationFailed (417); ContentTooLarge (413).
    """
    fields = request.headers.fields
    values = dict(fields)
    if len(values) != len(fields):
        _refuse_repeated(fields, strict)
        values = combined(fields)
    modern = request.http_version >= b"1.1"
    if modern and values.keys().isdisjoint(_DECIDING):
        return _plain(values.get(b"host"), values.get(b"connection"))
    _check_host(values.get(b"host"), modern)
    options = _options(values.get(b"connection"))
    return Plan(
        _of_request_fields(values, modern, content_limit, strict),
        _persists(options, modern),
        modern and _expects_continue(values.get(b"expect")),
        _proposals(values, options) if modern else (),
        _repeats(values.get(b"content-length")),
    )


def of_response(response: Response, request_method: bytes) -> Plan:
    """Plan for a final response that was received to a request with `request_method`.

    Raises RemoteProtocolError for a bad length, UnsupportedCoding for any coding but a single ``chunked``.
    """
    values = combined(response.headers.fields)
    return _of_response_fields(
        values.get(b"connection"),
        values.get(b"transfer-encoding"),
        values.get(b"content-length"),
        response.http_version >= b"1.1",
        request_method,
        response.status_code,
    )


@lru_cache(maxsize=512)  # most servers say the same but for the length, and many lengths come again
def _of_response_fields(
    connection: bytes | None, coding: bytes | None, announced: bytes | None, modern: bool, method: bytes, status: int
) -> Plan:
    persists = _persists(_options(connection), modern)
    repeats = _repeats(announced)
    # also where it frames nothing, for the response may be handed on to where it does
    content_bytes = 0 if announced is None else _content_length(announced, strict=False)
    if has_no_content(method, status):
        return Plan(NONE, persists, repeats_length=repeats)
    if coding is not None:
        _refuse_coding(coding)
        # RFC 9112 §6.1, §6.3: the coding wins, but a sender this confused gets no second exchange
        return Plan(CHUNKED, persists and modern and announced is None, repeats_length=repeats)
    if announced is None:
        return Plan(UNTIL_CLOSE, persists=False)
    return Plan(length(content_bytes), persists, repeats_length=repeats)


def of_sent(message: Request | Response, request_method: bytes = b"GET") -> Framing:
    """Framing of a message that we send, as its checked fields have it.

    For a response, `request_method` is the method that it answers. A response without length and coding runs until
    the connection closes; a request without them has no content.
    """
    if isinstance(message, Response) and has_no_content(request_method, message.status_code):
        return NONE
    values = dict(message.headers.fields)
    if b"transfer-encoding" in values:
        return CHUNKED
    announced = values.get(b"content-length")
    if announced is not None:
        # a received event is taken as it is, and in 2xx to CONNECT nobody has looked at this field
        if not CONTENT_LENGTH_RE.fullmatch(announced):
            raise LocalProtocolError("bad Content-Length")
        return length(int(announced))
    return NONE if isinstance(message, Request) else UNTIL_CLOSE


def has_no_content(request_method: bytes, status_code: int) -> bool:
    """Whether a response ends with its head whatever its fields say (RFC 9112 §6.3 items 1 and 2)."""
    return (
        status_code in (204, 304)
        or status_code < 200
        or request_method == b"HEAD"
        or (request_method == b"CONNECT" and status_code < 300)
    )


def persists(message: Request | Response | InformationalResponse) -> bool:
    """Whether the connection may carry on after `message`, by its Connection field and version (RFC 9112 §9.3)."""
    options: set[bytes] = set()
    for name, value in message.headers.fields:
        if name == b"connection":
            options |= _options(value)
    return _persists(options, message.http_version >= b"1.1")


@lru_cache(maxsize=512)  # few values exist, and a connection sees one or two of them
def _options(connection: bytes | None) -> frozenset[bytes]:
    return frozenset(list_members(connection or b""))


@lru_cache(maxsize=512)  # a client says the same each time
def _plain(host: bytes | None, connection: bytes | None) -> Plan:
    _check_host(host, modern=True)
    return _PLAIN_LAST if b"close" in _options(connection) else PLAIN


def _check_host(host: bytes | None, modern: bool) -> None:
    if host is None:
        if modern:
            raise RemoteProtocolError("missing Host field")
    elif not is_authority(host):
        raise RemoteProtocolError("malformed Host field")


def _refuse_repeated(fields: list[Field], strict: bool) -> None:
    names = [name for name, _ in fields]
    if names.count(b"host") > 1:
        raise RemoteProtocolError("repeated Host field")
    if strict and names.count(b"content-length") > 1:
        raise RemoteProtocolError("repeated Content-Length field")


def _of_request_fields(
    values: dict[bytes, bytes], modern: bool, content_limit: int | None, strict: bool
) -> Framing:
    coding = values.get(b"transfer-encoding")
    announced = values.get(b"content-length")
    if coding is not None:
        if not modern:
            raise RemoteProtocolError("Transfer-Encoding in a request before HTTP/1.1")
        if announced is not None:
            raise RemoteProtocolError("both Content-Length and Transfer-Encoding")
        _refuse_coding(coding)
        return CHUNKED
    if announced is None:
        return NONE
    content_bytes = _content_length(announced, strict)
    if content_limit is not None and content_bytes > content_limit:
        raise ContentTooLarge(f"content of more than {content_limit} bytes announced")
    return length(content_bytes)


def _refuse_coding(coding: bytes) -> None:
    if coding.lower() != b"chunked":
        raise UnsupportedCoding("transfer coding other than chunked")


def _content_length(announced: bytes, strict: bool) -> int:
    digits = announced if CONTENT_LENGTH_RE.fullmatch(announced) else None
    if digits is None and not strict:
        digits = merged_content_length(announced)
    if digits is None:
        raise RemoteProtocolError("bad Content-Length")
    return int(digits)


def _repeats(announced: bytes | None) -> bool:
    return announced is not None and not announced.isdigit()


def _persists(options: Collection[bytes], modern: bool) -> bool:
    return b"close" not in options and (modern or b"keep-alive" in options)


def _expects_continue(expectation: bytes | None) -> bool:
    if not expectation:
        return False
    if any(member != b"100-continue" for member in list_members(expectation)):
        raise ExpectationFailed("expectation other than 100-continue")
    return True


def _proposals(values: dict[bytes, bytes], options: Collection[bytes]) -> tuple[bytes, ...]:
    if b"upgrade" not in options:  # RFC 9110 §7.8: without the connection option the field is to be ignored
        return ()
    return tuple(list_members(values.get(b"upgrade", b"")))
