"""Fields as HTTP/2 has them, to heads and back (RFC 9113 §8.2, §8.3).

What can be known about a field by itself is found out once, when it is spelled out, and becomes its mark: it is a
pseudo-field, or a cookie, or must be checked together with others, or is bad. HPACK's table keeps the mark, and gives
the sum of the marks of a section; for most requests that number shows that their fields need no further check. The
grammar is HTTP/1's.

What breaks a rule is malformed and ends its stream: `StreamFault`. Streams and content are not known here.
"""

from __future__ import annotations

import re
from typing import Any, Final, NamedTuple

from gruvihttp.errors import (
    ContentTooLarge,
    ExpectationFailed,
    FieldsTooLarge,
    RemoteProtocolError,
)
from gruvihttp.sansio import grammar
from gruvihttp.sansio.authority import names_host, names_host_and_port
from gruvihttp.sansio.events import Request, parsed_request, parsed_response
from gruvihttp.sansio.h2errors import Defence, ErrorCode, StreamFault
from gruvihttp.sansio.h2events import ExtendedConnect
from gruvihttp.sansio.headers import (
    EMPTY,
    FORBIDDEN_IN_TRAILERS,
    Field,
    Headers,
    list_members,
    merged_content_length,
    parsed_headers,
)
from gruvihttp.sansio.hpacktable import ENTRY_OVERHEAD

__all__ = [
    "CONNECTION_SPECIFIC",
    "RequestHead",
    "classify_request",
    "classify_response",
    "lowercase_headers",
    "request_of",
    "response_of",
    "trailers_of",
]

# Marks are added up, so each has 20 bits to count in: more than a block has bytes
PSEUDO: Final = 1
COOKIE: Final = 1 << 20
SPECIAL: Final = 1 << 40
BAD: Final = 1 << 60
_PSEUDO_COUNT: Final = COOKIE - 1
_SEVERAL_COOKIES: Final = 2 * COOKIE

# RFC 9113 §8.2.2; TE has a rule of its own
CONNECTION_SPECIFIC = frozenset((b"connection", b"keep-alive", b"proxy-connection", b"transfer-encoding", b"upgrade"))
VERSION: Final = b"2.0"  # RFC 9113 §8.3: implied, as it is not sent

_VALUE_RE = re.compile(grammar.FIELD_VALUE)
_TOLERANT_VALUE_RE = re.compile(grammar.TOLERANT_FIELD_VALUE)
_SCHEME_RE = re.compile(rb"[A-Za-z][A-Za-z0-9+\-.]*+")  # RFC 3986 §3.1
_STATUS_RE = re.compile(grammar.STATUS)

_USUAL = frozenset((b":method", b":scheme", b":authority", b":path"))
_WITHOUT_AUTHORITY = frozenset((b":method", b":scheme", b":path"))
_TUNNEL = frozenset((b":method", b":authority"))


class RequestHead(NamedTuple):
    """A request, and what its fields say about its content.

    `refusal`: it is to be answered with that error; `defence` is what has found it.
    """

    request: Request | None
    content_length: int | None = None
    expects_continue: bool = False
    refusal: RemoteProtocolError | None = None
    defence: Defence | None = None


def classify_request(name: bytes, value: bytes) -> int:
    """The mark of a field that a client sends."""
    if name[:1] == b":":
        return PSEUDO if _is_request_pseudo(name, value) else BAD
    if _is_bad(name, value, _VALUE_RE):
        return BAD
    if name == b"cookie":
        return COOKIE
    if name == b"expect":
        return SPECIAL
    if name == b"host":
        return SPECIAL if names_host(value) else BAD
    if name == b"content-length":
        return SPECIAL if grammar.CONTENT_LENGTH_RE.fullmatch(value) else BAD
    return 0


def classify_response(name: bytes, value: bytes) -> int:
    """The mark of a field that a server sends. As in HTTP/1, a client takes some control characters in values."""
    if name[:1] == b":":
        return PSEUDO if name == b":status" and _STATUS_RE.fullmatch(value) else BAD
    if _is_bad(name, value, _TOLERANT_VALUE_RE):
        return BAD
    if name == b"content-length":
        return SPECIAL if merged_content_length(value) is not None else BAD
    return 0


def _is_request_pseudo(name: bytes, value: bytes) -> bool:
    if name == b":path":
        # RFC 9112 §3.2.1 as for HTTP/1: visible characters, and no fragment
        return grammar.TARGET_RE.fullmatch(value) is not None and b"#" not in value
    if name == b":authority":
        return names_host(value)
    if name in (b":method", b":protocol"):
        return grammar.METHOD_RE.fullmatch(value) is not None
    return name == b":scheme" and _SCHEME_RE.fullmatch(value) is not None


def _is_bad(name: bytes, value: bytes, pattern: re.Pattern[bytes]) -> bool:
    return (
        not grammar.FIELD_NAME_RE.fullmatch(name)
        or name != name.lower()
        or not pattern.fullmatch(value)
        or value != value.strip(b" \t")
        or name in CONNECTION_SPECIFIC
        or (name == b"te" and value.lower() != b"trailers")
    )


def request_of(
    fields: list[Field], marks: int, *, connect_protocol: bool = False, content_limit: int | None = None
) -> RequestHead:
    """The request that these fields make. `connect_protocol`: an extended CONNECT is allowed (RFC 8441 §3).

    Host, if there is none, is made from :authority, and comes first; cookies in several fields are joined.
    Raises StreamFault.
    """
    if marks >= BAD:
        raise _malformed(_explain(fields, classify_request))
    count = marks & _PSEUDO_COUNT
    pseudo = dict(fields[:count])
    method = pseudo.get(b":method")
    if pseudo.keys() != _USUAL or count != 4 or method == b"CONNECT":
        _check_pseudo(pseudo, count, connect_protocol=connect_protocol)
        method = pseudo[b":method"]
    authority = pseudo.get(b":authority")
    target = pseudo.get(b":path", authority)
    assert method is not None and target is not None  # a tunnel has :authority, all others :path
    if target[0] != 0x2F and b":path" in pseudo and not (target == b"*" and method == b"OPTIONS"):
        raise _malformed("a path that does not begin with /")
    regular = fields[count:]
    if marks < _SEVERAL_COOKIES and authority is not None:
        regular.insert(0, (b"host", authority))
        head = RequestHead(parsed_request(method, lowercase_headers(regular), target, VERSION))
    else:
        head = _special_request(method, target, authority, regular, content_limit)
    if b":protocol" in pseudo:
        assert head.request is not None
        protocol, headers = pseudo[b":protocol"], head.request.headers
        return head._replace(request=ExtendedConnect(target=target, headers=headers, protocol=protocol))
    return head


def _check_pseudo(pseudo: dict[bytes, bytes], count: int, *, connect_protocol: bool) -> None:
    """Raise unless these are the pseudo-fields of a request, each once and before the others (RFC 9113 §8.3)."""
    if len(pseudo) != count or any(name[0] != 0x3A for name in pseudo):
        raise _malformed("a pseudo-field twice, or behind other fields")
    names = set(pseudo)
    if b":protocol" in names:
        if not connect_protocol or pseudo.get(b":method") != b"CONNECT":
            raise _malformed(":protocol without leave")
        names.remove(b":protocol")
    elif pseudo.get(b":method") == b"CONNECT":
        if names != _TUNNEL or not names_host_and_port(pseudo[b":authority"]):
            raise _malformed("CONNECT with more or less than host:port")
        return
    if names not in (_USUAL, _WITHOUT_AUTHORITY):
        raise _malformed("a pseudo-field is missing")


def _special_request(
    method: bytes, target: bytes, authority: bytes | None, fields: list[Field], content_limit: int | None
) -> RequestHead:
    kept, found = _gathered(fields)
    host = _once(found, b"host")
    if authority is None and host is None:
        raise _malformed("neither :authority nor Host")
    if authority is not None and host is not None and host.lower() != authority.lower():
        raise _malformed("Host differs from :authority")
    if host is None:
        assert authority is not None
        kept.insert(0, (b"host", authority))
    length = _once(found, b"content-length")
    content_length = None if length is None else int(length)
    request = parsed_request(method, lowercase_headers(kept), target, VERSION)
    expectations = [member for value in found.get(b"expect", ()) for member in list_members(value)]
    refusal: RemoteProtocolError | None = None
    if any(member != b"100-continue" for member in expectations):
        refusal = ExpectationFailed("expectation other than 100-continue")
    elif content_limit is not None and content_length is not None and content_length > content_limit:
        refusal = ContentTooLarge(f"content of more than {content_limit} bytes announced")
    return RequestHead(request, content_length, bool(expectations), refusal)


def _gathered(fields: list[Field]) -> tuple[list[Field], dict[bytes, list[bytes]]]:
    """The fields with all cookies in the place of the first (RFC 9113 §8.2.3), and the values of those with rules."""
    kept: list[Field] = []
    found: dict[bytes, list[bytes]] = {}
    cookie_place = 0
    for field in fields:
        name, value = field
        if name in _GATHERED:
            values = found.setdefault(name, [])
            values.append(value)
            if name == b"cookie":
                if len(values) > 1:
                    continue
                cookie_place = len(kept)
        kept.append(field)
    cookies = found.get(b"cookie", ())
    if len(cookies) > 1:
        kept[cookie_place] = (b"cookie", b"; ".join(cookies))
    return kept, found


_GATHERED = frozenset((b"content-length", b"cookie", b"expect", b"host"))


def _once(found: dict[bytes, list[bytes]], name: bytes) -> bytes | None:
    values = found.get(name)
    if values is None:
        return None
    if len(values) > 1:
        raise _malformed(f"{name.decode('ascii')} twice")
    return values[0]


def response_of(fields: list[Field], marks: int) -> tuple[Any, int | None]:
    """The Response or InformationalResponse that these fields make, and its Content-Length. Raises StreamFault."""
    if marks >= BAD:
        raise _malformed(_explain(fields, classify_response))
    if marks & _PSEUDO_COUNT != 1 or fields[0][0] != b":status":
        raise _malformed(":status is not there once, and first")
    status = int(fields[0][1])
    if status == 101:  # RFC 9113 §8.6
        raise _malformed("101 in HTTP/2")
    regular = fields[1:]
    content_length = None
    if marks >= SPECIAL:
        lengths = {merged_content_length(value) for name, value in regular if name == b"content-length"}
        if len(lengths) > 1:
            raise _malformed("conflicting Content-Length fields")
        length = lengths.pop()
        assert length is not None  # or it would have been bad
        content_length = int(length)
        regular = [field for field in regular if field[0] != b"content-length"]
        regular.append((b"content-length", length))
    return parsed_response(status, lowercase_headers(regular), VERSION, b""), content_length


def trailers_of(fields: list[Field], marks: int, limit_bytes: int) -> Headers:
    """A trailer section without the fields that may not stand there (RFC 9110 §6.5.1).

    Raises StreamFault for a malformed one, FieldsTooLarge for one of more than `limit_bytes`.
    """
    if marks >= BAD or marks & _PSEUDO_COUNT:
        raise _malformed("a trailer section with a bad field")
    if sum(len(name) + len(value) + ENTRY_OVERHEAD for name, value in fields) > limit_bytes:
        raise FieldsTooLarge(f"trailer section of more than {limit_bytes} bytes")
    kept = [field for field in fields if field[0] not in FORBIDDEN_IN_TRAILERS]
    return lowercase_headers(kept) if kept else EMPTY


def lowercase_headers(fields: list[Field]) -> Headers:
    """`Headers` of fields that are checked and whose names are in lower case, as they are written in HTTP/2."""
    headers = parsed_headers(b"", fields)
    headers._raw = fields
    return headers


def _malformed(reason: str) -> StreamFault:
    return StreamFault(ErrorCode.PROTOCOL_ERROR, reason)


def _explain(fields: list[Field], classify: Any) -> str:  # Any: one of the two above
    """Which field is bad. Its value may be a secret."""
    name = next(name for name, value in fields if classify(name, value) >= BAD)
    return f"a field that is not allowed, or with a bad value: {name!r}"
