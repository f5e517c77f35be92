"""Heads: bytes to head, head to bytes, and why a head was refused.

Accepting is one match of one pattern over the whole head. When it does not match, a head is repaired if the reader is
tolerant (obs-fold, bare LF), and matched again; if that fails too, `explain_request` or `explain_response` walks it
slowly and names the reason and the offset. Explaining never accepts.

Sizes are judged first and count bytes from the head's beginning, so that a head is refused for the same reason
whether it arrived at once or byte by byte. States and content are not known here.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from gruvihttp.errors import (
    FieldsTooLarge,
    RemoteProtocolError,
    TargetTooLong,
    UnsupportedVersion,
)
from gruvihttp.limits import Limits
from gruvihttp.sansio import grammar
from gruvihttp.sansio.authority import names_host, names_host_and_port
from gruvihttp.sansio.buffer import Buffer
from gruvihttp.sansio.events import Request, parsed_request, parsed_response
from gruvihttp.sansio.fieldlines import field_of_line, headers_of_lines
from gruvihttp.sansio.headers import FORBIDDEN_IN_TRAILERS, Field, Headers, parsed_headers

__all__ = ["read_request", "read_response", "read_trailers", "write_request", "write_response", "write_trailers"]

_match_request = grammar.REQUEST.match
_match_response = grammar.RESPONSE.match
_RESPONSE_START = b"HTTP/"
_OBS_FOLD = re.compile(rb"\r\n[ \t]++")  # RFC 9112 §5.2; grammar for repair only
_VALUE_LINE = re.compile(grammar.FIELD_VALUE + rb"\r\n")
_TOLERANT_VALUE_LINE = re.compile(grammar.TOLERANT_FIELD_VALUE + rb"\r\n")
_BARE_LF = re.compile(rb"(?<!\r)\n")  # RFC 9112 §2.2


def read_request(buffer: Buffer, limits: Limits, *, strict: bool) -> Request | None:
    """Remove a request's head from the buffer; None if it is not complete.

    `strict` refuses obs-fold and control characters in field values. A bare LF is refused in any case.

    Raises TargetTooLong, FieldsTooLarge, UnsupportedVersion or RemoteProtocolError.
    """
    start = buffer.start
    # a head that arrives in pieces is not matched again with each piece; that would take quadratic time
    match = _match_request(buffer.data, start) if buffer.searched <= start else None
    if match is not None:
        end = match.end()
        if end - start > limits.small_head_bytes:
            _check_sizes(buffer.data, start, end, limits)
    else:
        end = _end_of_head(buffer, limits)
        if not end:
            return None
        head = bytes(buffer.data[buffer.start : end])
        match = (grammar.REQUEST if strict else grammar.TOLERANT_REQUEST).match(head)
        if match is None and not strict:
            match = grammar.TOLERANT_REQUEST.match(_unfolded(head))
        if match is None:
            raise explain_request(head, strict=strict)
    method, target, version, section = match.groups()
    fields = list(map(field_of_line, section.splitlines()))  # as `headers_of_lines` does it, without the call
    if version != b"1.1":
        _check_version(version)
    if target[0] != 0x2F or b"#" in target or method == b"CONNECT":
        _check_target(method, target)
    if len(fields) > limits.fields_count:
        raise FieldsTooLarge(f"more than {limits.fields_count} fields")
    buffer.start = buffer.searched = end
    return parsed_request(method, parsed_headers(section, fields), target, version)


def read_response(buffer: Buffer, limits: Limits) -> Any:
    """Remove a response's head from the buffer: a Response or InformationalResponse; None if it is not complete.

    Control characters in values, obs-fold and bare LF are repaired: a client has to cope with the servers that exist.

    Raises FieldsTooLarge, TargetTooLong (for the status line), UnsupportedVersion or RemoteProtocolError.
    """
    start = buffer.start
    # a head that arrives in pieces is not matched again with each piece; that would take quadratic time
    match = _match_response(buffer.data, start) if buffer.searched <= start else None
    if match is not None:
        end = match.end()
        if end - start > limits.small_head_bytes:
            _check_sizes(buffer.data, start, end, limits)
    else:
        end = _end_of_head(buffer, limits, _RESPONSE_START)
        if not end:
            return None
        head = bytes(buffer.data[buffer.start : end])
        match = grammar.TOLERANT_RESPONSE.match(head)
        if match is None:
            match = grammar.TOLERANT_RESPONSE.match(_unfolded(_BARE_LF.sub(b"\r\n", head)))
        if match is None:
            raise explain_response(head)
    version, status, reason, section = match.groups()
    fields = list(map(field_of_line, section.splitlines()))  # as above
    if version != b"1.1":
        _check_version(version)
    if len(fields) > limits.fields_count:
        raise FieldsTooLarge(f"more than {limits.fields_count} fields")
    buffer.start = buffer.searched = end
    return parsed_response(int(status), parsed_headers(section, fields), version, reason or b"")


def read_trailers(buffer: Buffer, limits: Limits, *, tolerant_of_lf: bool, strict: bool) -> Headers | None:
    """Remove a trailer section with its blank line from the buffer; None if it is not complete.

    Fields that may not stand in a trailer section (RFC 9110 §6.5.1) are dropped.

    Raises FieldsTooLarge or RemoteProtocolError.
    """
    start = buffer.start
    data = buffer.data
    if data.startswith(b"\r\n", start):
        buffer.skip_to(start + 2)
        return Headers()
    if data.startswith(b"\n", start):
        if not tolerant_of_lf:
            raise RemoteProtocolError("illegal trailer section: it ends in a bare LF")  # now, not when more has arrived
        buffer.skip_to(start + 1)
        return Headers()
    end = buffer.find_blank_line()
    if (end or len(data)) - start > limits.trailers_bytes + 2:
        raise FieldsTooLarge(f"trailer section of more than {limits.trailers_bytes} bytes")
    if not end:
        return None
    section = bytes(data[start:end])
    match = (grammar.TRAILERS if strict else grammar.TOLERANT_TRAILERS).fullmatch(section)
    if match is None and not strict:
        repaired = _BARE_LF.sub(b"\r\n", section) if tolerant_of_lf else section
        match = grammar.TOLERANT_TRAILERS.fullmatch(_OBS_FOLD.sub(b" ", repaired))
    if match is None:
        raise _explain_fields(section, 0, strict=strict, what="trailer")
    buffer.skip_to(end)
    received = headers_of_lines(match[1])
    if len(received) > limits.fields_count:
        raise FieldsTooLarge(f"more than {limits.fields_count} fields")
    return Headers([raw for raw, (name, _) in zip(received.raw, received, strict=True)
                    if name not in FORBIDDEN_IN_TRAILERS])


def write_request(method: bytes, target: bytes, version: bytes, raw: Sequence[Field]) -> bytes:
    """The bytes of a request's head; Host goes first (RFC 9110 §7.2)."""
    return b"%b %b HTTP/%b\r\n%b\r\n" % (method, target, version, _field_lines(raw))


def write_response(version: bytes, status_code: int, reason: bytes, raw: Sequence[Field]) -> bytes:
    """The bytes of a response's head."""
    return b"HTTP/%b %d %b\r\n%b\r\n" % (version, status_code, reason, _field_lines(raw))


def write_trailers(raw: Sequence[Field]) -> bytes:
    """The bytes of a trailer section with the blank line that ends it."""
    return b"%b\r\n" % _field_lines(raw)


def _field_lines(raw: Sequence[Field]) -> bytes:
    hosts = [field for field in raw if len(field[0]) == 4 and field[0].lower() == b"host"]
    if hosts:
        raw = hosts + [field for field in raw if field not in hosts]
    return b"\r\n".join([*map(b": ".join, raw), b""])


def _check_version(version: bytes) -> None:
    if version[0] != 0x31:
        raise UnsupportedVersion(f"HTTP version {version.decode('ascii')}")


def _end_of_head(buffer: Buffer, limits: Limits, begins: bytes = b"") -> int:
    """The index behind the head's blank line, 0 if that has not arrived; raises if the head is too large.

    It has to begin with `begins`. Nobody needs to wait for the end of what is no head, like other protocols' banners.
    """
    start = buffer.start
    if len(buffer) and buffer.data[start] < 0x21:
        raise RemoteProtocolError("illegal first byte", offset=0)  # TLS hello, NUL, blank
    begun = bytes(buffer.data[start : start + len(begins)])
    if not begins.startswith(begun):
        raise RemoteProtocolError("illegal status line: bad version", offset=0)
    end = buffer.find_blank_line()
    _check_sizes(buffer.data, start, end or len(buffer.data), limits)
    return end


def _check_sizes(data: bytes | bytearray, start: int, end: int, limits: Limits) -> None:
    """Raise if the head, as far as it lies in data[start:end], exceeds a limit; each is counted without line ends."""
    # the length must be the same whether the line's end has arrived or not: a CR at the end may be a part of it
    line_end = data.find(b"\n", start, end)
    line_bytes = (line_end if line_end >= 0 else end) - start
    if line_bytes and data[start + line_bytes - 1] == 0x0D:
        line_bytes -= 1
    if line_bytes > limits.request_line_bytes:
        raise TargetTooLong(f"start line of more than {limits.request_line_bytes} bytes")
    if line_end >= 0 and end - line_end - 1 > limits.fields_bytes + 2:
        raise FieldsTooLarge(f"header section of more than {limits.fields_bytes} bytes")


def _unfolded(head: bytes) -> bytes:
    start_line, end, section = head.partition(b"\r\n")
    if section[:1] in (b" ", b"\t"):
        return head  # nothing to fold into: refused as it is
    return start_line + end + _OBS_FOLD.sub(b" ", section)


def _check_target(method: bytes, target: bytes) -> None:
    """Raise unless the target has the form that its method demands (RFC 9112 §3.2)."""
    if method == b"CONNECT":
        if not names_host_and_port(target):
            raise RemoteProtocolError("target of CONNECT is not host:port")
    elif target == b"*":
        if method != b"OPTIONS":
            raise RemoteProtocolError("target * is for OPTIONS only")
    elif target[0] != 0x2F:
        match = grammar.ABSOLUTE_FORM_RE.fullmatch(target)
        if match is None or not names_host(match[1]):
            raise RemoteProtocolError("target is neither a path nor an absolute URI")
    else:
        # RFC 9112 §3.2.1. Other bytes outside RFC 3986's pchar pass, as browsers send some of them raw in queries.
        raise RemoteProtocolError("target with a fragment")


def explain_request(head: bytes, *, strict: bool) -> RemoteProtocolError:
    """Why this complete head is no request; `offset` tells where."""
    line_end = head.find(b"\n")
    line = head[:line_end]
    if not line.endswith(b"\r"):
        return RemoteProtocolError("request line ends in a bare LF", offset=line_end)
    method = grammar.METHOD_RE.match(line)
    if method is None or line[method.end() : method.end() + 1] != b" ":
        return RemoteProtocolError("illegal request line: bad method", offset=method.end() if method else 0)
    target = grammar.TARGET_RE.match(line, method.end() + 1)
    if target is None or line[target.end() : target.end() + 1] != b" ":
        offset = target.end() if target else method.end() + 1
        return RemoteProtocolError("illegal request line: bad target", offset=offset)
    if not re.fullmatch(grammar.VERSION, line[target.end() + 1 : -1]):
        return RemoteProtocolError("illegal request line: bad version", offset=target.end() + 1)
    return _explain_fields(head, line_end + 1, strict=strict, what="header")


def explain_response(head: bytes) -> RemoteProtocolError:
    """Why this complete head is no response; `offset` tells where."""
    line_end = head.find(b"\n")
    line = head[:line_end].removesuffix(b"\r")
    version = re.match(grammar.VERSION, line)
    if version is None:
        return RemoteProtocolError("illegal status line: bad version", offset=0)
    if not re.fullmatch(rb" " + grammar.STATUS + rb"(?: " + grammar.REASON + rb")?", line[version.end() :]):
        return RemoteProtocolError("illegal status line: bad status or reason", offset=version.end())
    return _explain_fields(head, line_end + 1, strict=False, what="header")


def _explain_fields(head: bytes, offset: int, *, strict: bool, what: str) -> RemoteProtocolError:
    for line in _lines(head, offset):
        name = grammar.FIELD_NAME_RE.match(line)
        if line[:1] in (b" ", b"\t"):
            return RemoteProtocolError(f"illegal {what} line: folded", offset=offset)
        if name is None:
            return RemoteProtocolError(f"illegal {what} line: bad field name", offset=offset)
        if line[name.end() : name.end() + 1] != b":":
            return RemoteProtocolError(f"illegal {what} line: no colon after the name", offset=offset + name.end())
        value = (_VALUE_LINE if strict else _TOLERANT_VALUE_LINE).match(line, name.end() + 1)
        if value is None:
            return RemoteProtocolError(f"illegal {what} line: bad field value", offset=offset + name.end() + 1)
        offset += len(line)
    return RemoteProtocolError(f"illegal {what} section", offset=offset)


def _lines(head: bytes, offset: int) -> list[bytes]:
    """The lines from `offset` on with their ends, without the blank one at the end."""
    lines = head[offset:].split(b"\n")
    return [line + b"\n" for line in lines[:-1] if line not in (b"", b"\r")]
