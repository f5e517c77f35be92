"""HTTP/2 frames as bytes: their types, their flags, and how one is put together (RFC 9113 §4.1, §6).

Which frame may come when is not known here.
"""

from __future__ import annotations

from collections.abc import Iterable
from struct import Struct

__all__ = [
    "ACK", "CONTINUATION", "DATA", "END_HEADERS", "END_STREAM", "FRAME_HEAD", "FRAME_HEAD_BYTES", "GOAWAY", "HEADERS",
    "HIGHEST_ID", "PADDED", "PING", "PREFACE", "PRIORITY", "PRIORITY_FIELDS", "PUSH_PROMISE", "RST_STREAM", "SETTINGS",
    "SETTING", "UINT32", "WINDOW_UPDATE", "data_head", "frame", "goaway", "head", "ping", "reset", "settings",
    "window_update",
]  # fmt: skip

# What a client sends first (RFC 9113 §3.4)
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

DATA = 0x0
HEADERS = 0x1
PRIORITY = 0x2
RST_STREAM = 0x3
SETTINGS = 0x4
PUSH_PROMISE = 0x5
PING = 0x6
GOAWAY = 0x7
WINDOW_UPDATE = 0x8
CONTINUATION = 0x9

ACK = END_STREAM = 0x1
END_HEADERS = 0x4
PADDED = 0x8
PRIORITY_FIELDS = 0x20  # flag of HEADERS: five bytes of priority go before the block

HIGHEST_ID = 0x7FFFFFFF  # also the largest window; the bit above it is reserved

# Length (of 24 bits, which `struct` does not have), type, flags, stream
FRAME_HEAD = Struct(">HBBBL")
FRAME_HEAD_BYTES = FRAME_HEAD.size
SETTING = Struct(">HL")
UINT32 = Struct(">L")
_UPDATE = Struct(">HBBBLL")
_GOAWAY = Struct(">LL")

_pack = FRAME_HEAD.pack


def frame(kind: int, flags: int, stream_id: int, content: bytes = b"") -> bytes:
    """A whole frame."""
    length = len(content)
    return _pack(length >> 8, length & 0xFF, kind, flags, stream_id) + content


def data_head(length: int, flags: int, stream_id: int) -> bytes:
    """What goes before `length` bytes of content."""
    return _pack(length >> 8, length & 0xFF, DATA, flags, stream_id)


def head(block: bytes, *, end: bool, stream_id: int, frame_bytes: int) -> bytes:
    """HEADERS, and as many CONTINUATION as a block needs when a frame holds `frame_bytes`."""
    end_stream = END_STREAM if end else 0
    length = len(block)
    if length <= frame_bytes:
        return _pack(length >> 8, length & 0xFF, HEADERS, END_HEADERS | end_stream, stream_id) + block
    parts = [block[start : start + frame_bytes] for start in range(0, length, frame_bytes)]
    whole = [frame(HEADERS, end_stream, stream_id, parts[0])]
    whole += [frame(CONTINUATION, 0, stream_id, part) for part in parts[1:-1]]
    whole.append(frame(CONTINUATION, END_HEADERS, stream_id, parts[-1]))
    return b"".join(whole)


def window_update(stream_id: int, increment: int) -> bytes:
    """`increment` more bytes may be sent on a stream, or on the connection (stream 0)."""
    return _UPDATE.pack(0, 4, WINDOW_UPDATE, 0, stream_id, increment)


def reset(stream_id: int, code: int) -> bytes:
    """RST_STREAM: the stream is over."""
    return _UPDATE.pack(0, 4, RST_STREAM, 0, stream_id, code)


def settings(pairs: Iterable[tuple[int, int]]) -> bytes:
    """SETTINGS with these identifiers and values."""
    return frame(SETTINGS, 0, 0, b"".join([SETTING.pack(identifier, value) for identifier, value in pairs]))


def ping(opaque: bytes, *, ack: bool = False) -> bytes:
    """PING with eight bytes that come back."""
    return frame(PING, ACK if ack else 0, 0, opaque)


def goaway(last_stream_id: int, code: int, debug: bytes = b"") -> bytes:
    """GOAWAY: streams above `last_stream_id` were not looked at."""
    return frame(GOAWAY, 0, 0, _GOAWAY.pack(last_stream_id, code) + debug)
