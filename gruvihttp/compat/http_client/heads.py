"""From the bytes of a response's head to what `HTTPResponse` has to know about it.

The engine reads the head and decides the framing. The standard library takes much that the engine refuses, and there
are programs and servers that live by it: such a head is read by the standard library's rules, but its connection is
used for nothing else, so that nothing can be taken for a later response. Sockets are not known here.
"""

from __future__ import annotations

import re
import sys
from email.parser import Parser
from functools import lru_cache
from http import client as stock
from typing import NamedTuple

from gruvihttp.errors import ProtocolError
from gruvihttp.limits import Limits
from gruvihttp.sansio.buffer import Buffer
from gruvihttp.sansio.framing import NONE, Plan, of_response
from gruvihttp.sansio.headers import Headers
from gruvihttp.sansio.heads import read_response

__all__ = ["Head", "bound", "message", "read", "read_tolerantly", "wire_of"]

_DOOR = __package__
_DEFAULTS = {"_MAXLINE": 65536, "_MAXHEADERS": 100}
_FOLDED = re.compile(rb"\n[ \t]")
_NO_CONTENT = Plan(NONE, persists=True)
_KNOWN_LENGTH = ("none", "length")


class Head(NamedTuple):
    """The head of a response. `version` is 10 or 11; `length` is None where the content's end decides.

    `wire` are its bytes. `fields` is None where the engine has refused them.
    """

    version: int
    status: int
    reason: str
    is_chunked: bool
    length: int | None
    will_close: bool
    wire: bytes
    fields: Headers | None


def bound(name: str) -> int:
    """The value of ``_MAXLINE`` or ``_MAXHEADERS``, which programs set on this door or in the standard library."""
    here: int = vars(sys.modules[_DOOR]).get(name, _DEFAULTS[name])
    there: int = getattr(stock, name)
    return there if here == _DEFAULTS[name] else here


@lru_cache(maxsize=8)
def _limits(line_bytes: int, lines: int) -> Limits:
    # the bytes of the section are checked where its lines are read
    return Limits(request_line_bytes=line_bytes, fields_bytes=line_bytes * lines, fields_count=lines)


def read(buffer: Buffer, method: str | None) -> Head | None:
    """Remove a head from the buffer and read it with the engine.

    None if the engine refuses it, or if it is not there as a whole; nothing is removed then.
    """
    start = buffer.start
    data = buffer.data
    line_bytes = bound("_MAXLINE")
    try:
        event = read_response(buffer, _limits(line_bytes, bound("_MAXHEADERS") - 1))
        if event is None or event.status_code < 200:
            plan = _NO_CONTENT
        else:
            plan = of_response(event, b"HEAD" if method == "HEAD" else b"GET")
    except ProtocolError:
        event = None
    wire = bytes(data[start : buffer.start])
    if event is None or (len(wire) > line_bytes and max(map(len, wire.splitlines(keepends=True))) > line_bytes):
        buffer.skip_to(start)  # also forgets how far it was searched
        return None
    kind, length = plan.framing
    return Head(
        10 if event.http_version == b"1.0" else 11,
        event.status_code,
        event.reason.decode("latin-1").strip(),
        kind == "chunked" or (method == "HEAD" and _says_chunked(event.headers)),
        length if kind in _KNOWN_LENGTH else None,
        not plan.persists,
        wire,
        event.headers,
    )


def _says_chunked(fields: Headers) -> bool:
    """What the standard library tells of a response to HEAD, too, although there is no content (RFC 9110 §9.3.2)."""
    return any(name == b"transfer-encoding" and value.lower() == b"chunked" for name, value in fields)


def wire_of(version: str, status: int, reason: str, section: bytes) -> bytes:
    """The bytes of a head whose status line was read as these."""
    return b"%b %d %b\r\n%b" % (version.encode("latin-1"), status, reason.strip().encode("latin-1"), section)


def read_tolerantly(version: str, status: int, reason: str, section: bytes, method: str | None) -> Head:
    """Read a head that the engine refuses by the rules of the standard library. Its connection closes.

    Raises UnknownProtocol, UnknownTransferEncoding, and HTTPException for lengths that contradict each other: there
    is no telling where such a response ends.
    """
    if not version.startswith(("HTTP/1.", "HTTP/0.9")):
        raise stock.UnknownProtocol(version)
    fields = _parsed(section)
    codings = {value.strip().lower() for value in fields.get_all("transfer-encoding", ())} - {"identity"}
    if codings - {"chunked"}:
        raise stock.UnknownTransferEncoding(", ".join(sorted(codings)))
    lengths = {value.strip() for value in fields.get_all("content-length", ())}
    if len(lengths) > 1:
        raise stock.HTTPException("Content-Length fields that contradict each other")
    announced = next(iter(lengths), "")
    length = int(announced) if announced.isascii() and announced.isdigit() and not codings else None
    if status in (204, 304) or status < 200 or method == "HEAD":
        length = 0
    return Head(
        10 if version in ("HTTP/1.0", "HTTP/0.9") else 11,
        status,
        reason.strip(),
        bool(codings) and (length is None or method == "HEAD"),
        length,
        True,
        wire_of(version, status, reason, section),
        None,
    )


def message(head: Head) -> stock.HTTPMessage:
    """The header section as the standard library has it."""
    # obs-fold (RFC 9112 §5.2) stays in the values there; the engine has undone it
    if head.fields is None or _FOLDED.search(head.wire):
        return _parsed(head.wire[head.wire.find(b"\n") + 1 :])
    # what the email parser makes of it, without its 20 microseconds
    made = stock.HTTPMessage()
    for name, value in head.fields.raw:
        made.set_raw(name.decode("latin-1"), value.decode("latin-1"))
    made.set_payload("")
    return made


def _parsed(section: bytes) -> stock.HTTPMessage:
    return Parser(_class=stock.HTTPMessage).parsestr(section.decode("latin-1"))
