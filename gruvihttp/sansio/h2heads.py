"""Heads that we send, to the fields of HTTP/2: pseudo-fields first, nothing that concerns a connection (RFC 9113 §8).

What a program gives for HTTP/1 keeps its meaning: Host becomes :authority, Connection and its like are left out. What
HTTP/2 cannot express is refused before anything is sent. Streams are not known here.
"""

from __future__ import annotations

from typing import NamedTuple

from gruvihttp.errors import LocalProtocolError
from gruvihttp.sansio.authority import names_host, names_host_and_port
from gruvihttp.sansio.events import InformationalResponse, Request, Response
from gruvihttp.sansio.framing import has_no_content
from gruvihttp.sansio.grammar import CONTENT_LENGTH_RE
from gruvihttp.sansio.h2events import ExtendedConnect
from gruvihttp.sansio.h2fields import CONNECTION_SPECIFIC
from gruvihttp.sansio.headers import Field, Headers

__all__ = ["SentHead", "of_checked", "of_request", "of_response", "of_trailers"]

# A server that sees anything but `trailers` in TE resets the stream (RFC 9113 §8.2.2)
_RULED = CONNECTION_SPECIFIC | {b"content-length", b"host", b"te"}
_STATUS = {code: (b":status", b"%d" % code) for code in range(100, 1000)}


class SentHead(NamedTuple):
    """The fields to send, and how much content must follow; None: that is not known."""

    fields: list[Field]
    content_length: int | None


def of_request(request: Request, scheme: bytes) -> SentHead:
    """The fields of a request. Raises LocalProtocolError."""
    regular, ruled = _sorted_out(request.headers)
    authority = ruled.get(b"host")
    method, target = request.method, request.target
    if method == b"CONNECT" and not isinstance(request, ExtendedConnect):
        if not names_host_and_port(target):
            raise LocalProtocolError("target of CONNECT is not host:port")
        return SentHead([(b":method", method), (b":authority", target), *regular], None)
    if authority is None or not names_host(authority):
        raise LocalProtocolError("a request needs a Host field that names a host")
    if b"#" in target or not (target[0] == 0x2F or (target == b"*" and method == b"OPTIONS")):
        raise LocalProtocolError("target is not a path")
    pseudo = [(b":method", method), (b":authority", authority), (b":scheme", scheme), (b":path", target)]
    if isinstance(request, ExtendedConnect):
        pseudo.append((b":protocol", request.protocol))
    if ruled.get(b"te", b"").lower() == b"trailers":
        regular.append((b"te", b"trailers"))
    length = ruled.get(b"content-length")
    if length is None:
        return SentHead(pseudo + regular, None)
    return SentHead([*pseudo, *regular, (b"content-length", length)], _checked_length(length))


def of_response(response: Response | InformationalResponse, request_method: bytes) -> SentHead:
    """The fields of a response to a request with `request_method`. Raises LocalProtocolError."""
    status = response.status_code
    if status == 101:
        raise LocalProtocolError("101 does not exist in HTTP/2")
    tunnel = request_method == b"CONNECT" and 200 <= status < 300
    fields = [_STATUS[status]]
    length: int | None = None
    for field in response.headers.fields:
        name = field[0]
        if name not in _RULED:
            fields.append(field)
        elif name == b"content-length":
            length = _checked_length(field[1])
            if not (tunnel or status < 200 or status == 204):  # RFC 9110 §8.6: no length in these
                fields.append(field)
    if tunnel:
        return SentHead(fields, None)
    return SentHead(fields, 0 if has_no_content(request_method, status) else length)


def of_checked(status: int, fields: list[Field], length: int | None, request_method: bytes) -> SentHead:
    """The same for a final response whose fields are checked, and in lower case, and say nothing of its length."""
    sent = [_STATUS[status], *fields]
    if request_method == b"CONNECT" and status < 300:
        return SentHead(sent, None)
    if length is not None and status != 204:
        sent.append((b"content-length", b"%d" % length))
    return SentHead(sent, 0 if has_no_content(request_method, status) else length)


def of_trailers(trailers: Headers) -> list[Field]:
    """The fields of a trailer section."""
    return _sorted_out(trailers)[0]


def _sorted_out(headers: Headers) -> tuple[list[Field], dict[bytes, bytes]]:
    """The fields without rules, and the values of those with rules; of several, the first."""
    regular: list[Field] = []
    ruled: dict[bytes, bytes] = {}
    for field in headers.fields:
        if field[0] in _RULED:
            ruled.setdefault(*field)
        else:
            regular.append(field)
    return regular, ruled


def _checked_length(length: bytes) -> int:
    if not CONTENT_LENGTH_RE.fullmatch(length):  # a received event is taken as it is
        raise LocalProtocolError("bad Content-Length")
    return int(length)
