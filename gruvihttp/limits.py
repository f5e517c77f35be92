"""How much and how long: `Limits` and `H2Limits` count bytes and things, `Timeouts` counts seconds.

Each number is declared once, here, with its meaning and its origin. The command line's options and the reference
documentation are made from these declarations. Where they are enforced is not known here.
"""

from __future__ import annotations

from dataclasses import Field, dataclass, field, fields
from functools import cached_property
from typing import Any

__all__ = ["H2Limits", "Limits", "Timeouts"]

_HIGHEST = (1 << 31) - 1  # window, or number of streams, in HTTP/2


def _number(
    default: Any, meaning: str, *, least: int | None = None, most: int | None = None
) -> Any:  # Any: dataclasses types field() as its default
    return field(default=default, metadata={"help": meaning, "least": least, "most": most})


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Bounds on what a peer may make us hold or do. All count bytes or things; None means no bound.

    A limit gives the same answer however the bytes are split on their way.

    Raises ValueError for anything but a positive whole number (or None where None is the default).
    """

    request_line_bytes: int = _number(8190, "longest request line or status line, in bytes (414)")
    # 64 KiB: what nginx, Apache and gunicorn allow in sum with their defaults, rounded up
    fields_bytes: int = _number(65536, "largest header section, in bytes (431)")
    fields_count: int = _number(100, "most fields in a header or trailer section (431)")
    trailers_bytes: int = _number(8192, "largest trailer section, in bytes (431)")
    # a chunk size has at most 16 digits; the rest is extensions, which no program is known to use
    chunk_line_bytes: int = _number(256, "longest chunk-size line with its extensions, in bytes (400)")
    content_bytes: int | None = _number(None, "largest request content, in bytes (413)")
    buffer_bytes: int = _number(65536, "most content or output held for one exchange, in bytes")
    drain_bytes: int = _number(65536, "most unread content that is dropped to keep a connection, in bytes")
    # clients that read nothing before all is sent, such as browsers, see the answer to uploads of that size
    linger_bytes: int = _number(1 << 24, "most bytes that are dropped while a connection closes")
    pipelined_requests: int = _number(10, "most requests of one connection before others have their turn")
    connections: int | None = _number(None, "most connections at once; the longest idle one goes for a newcomer")
    connection_requests: int | None = _number(None, "most requests on one connection")
    active_requests: int | None = _number(None, "most requests served at once; others wait for their turn")
    # Kestrel's number: less than any line carries, and more than an attacker sends that drips
    content_rate: int | None = _number(240, "fewest bytes of content a second, after the timeout for content (408)")

    write_rate: int | None = _number(240, "fewest bytes a second that a peer reads, in each timeout for write")

    def __post_init__(self) -> None:
        for item in fields(self):
            _check(item, getattr(self, item.name), whole=True)

    @cached_property
    def small_head_bytes(self) -> int:
        """A head of no more than that exceeds neither of the limits in bytes."""
        return min(self.request_line_bytes, self.fields_bytes)


@dataclass(frozen=True, kw_only=True)
class H2Limits:
    """Bounds of HTTP/2 besides `Limits`, which hold for it as well. All count bytes or things.

    A client is told the first six (RFC 9113 §6.5.2), and ``Limits.fields_bytes`` as the largest list of fields.

    Frames that cost something and achieve nothing are paid with tokens, and so are streams that are reset. Each
    connection has `tokens` at most; they come back with time, with requests that are answered and with content that
    is sent. A peer without tokens is told to calm down (GOAWAY, ENHANCE_YOUR_CALM).

    Raises ValueError for anything but a positive whole number, and for what RFC 9113 does not allow.
    """

    concurrent_streams: int = _number(100, "most requests of a connection at a time (REFUSED_STREAM)", most=_HIGHEST)
    window_bytes: int = _number(65536, "content of a stream that may come before any is read", most=_HIGHEST)
    # 64 KiB alone would be 1.3 MB/s with a round trip of 50 ms
    widest_window_bytes: int = _number(
        1 << 20, "the same of a stream that is read as fast as content comes", most=_HIGHEST
    )
    connection_window_bytes: int = _number(
        1 << 20, "content that may be under way on all streams together", least=65535, most=_HIGHEST
    )
    header_table_bytes: int = _number(4096, "largest table of fields that a client may refer to", most=(1 << 28) - 1)
    # larger ones make everything slower: 64 KiB are read at once, and four frames of 16 KiB fit in
    frame_bytes: int = _number(16384, "largest frame", least=16384, most=(1 << 24) - 1)
    field_bytes: int = _number(16384, "longest name or value of a field (431)")
    block_bytes: int = _number(65536, "largest header section as it is sent, compressed")
    continuation_count: int = _number(8, "most CONTINUATION frames of a section")
    control_bytes: int = _number(262144, "most answers to control frames that a peer leaves unread, in bytes")
    control_count: int = _number(4096, "the same, in frames")
    tokens: int = _number(1000, "frames of no use that are borne at once")
    tokens_per_second: int = _number(100, "the same in each second from then on")

    def __post_init__(self) -> None:
        for item in fields(self):
            _check(item, getattr(self, item.name), whole=True)
            _check_range(item, getattr(self, item.name))
        if self.window_bytes > self.widest_window_bytes:
            raise ValueError("window_bytes must be widest_window_bytes at most")


@dataclass(frozen=True, kw_only=True)
class Timeouts:
    """How long each phase of a connection may last, in seconds. None means for ever; 0 means no waiting.

    A phase ends at an absolute moment: dripping a byte at a time does not make it longer.

    Raises ValueError for a negative number.
    """

    pool: float | None = _number(None, "client: until one of a pool's connections is free")
    connect: float | None = _number(None, "until a connection is made, all addresses together")
    handshake: float | None = _number(10.0, "until a TLS handshake is done")
    # browsers connect in advance; one that has sent nothing by then has changed its mind
    first_byte: float | None = _number(30.0, "until a new connection says anything")
    turn: float | None = _number(10.0, "until a request is served when too many are (503)")
    head: float | None = _number(10.0, "until a head that has begun is complete (408)")
    content: float | None = _number(30.0, "without a byte of content while somebody reads it (408)")
    write: float | None = _number(30.0, "while the peer reads nothing, or too little")
    read: float | None = _number(None, "client: until the next byte of a response")
    total: float | None = _number(None, "client: for a whole exchange")
    # above the 60 s after which nginx and cloud load balancers drop an idle connection themselves
    idle: float | None = _number(75.0, "between two exchanges of a connection")
    drain: float | None = _number(2.0, "to read content that the application left unread")
    linger: float | None = _number(2.0, "half open after the last answer, so that it arrives")
    graceful: float | None = _number(30.0, "for running exchanges to finish when the server stops")

    def __post_init__(self) -> None:
        for item in fields(self):
            _check(item, getattr(self, item.name), whole=False)

    @classmethod
    def flat(cls, seconds: float | None) -> Timeouts:
        """One number for every phase, as gruvi's ``timeout=`` has it; a phase keeps its default if that is shorter."""
        if seconds is None:
            return cls()
        if isinstance(seconds, bool) or not isinstance(seconds, (int, float)) or not seconds >= 0:
            given = type(seconds).__name__ if isinstance(seconds, cls) else repr(seconds)
            raise ValueError(f"timeout must be a number of seconds, 0 or more, or None, not {given}")
        defaults = cls()
        capped: dict[str, float] = {}
        for item in fields(cls):
            default: float | None = getattr(defaults, item.name)
            if item.name not in ("total", "graceful", "turn"):
                capped[item.name] = seconds if default is None else min(seconds, default)
        return cls(**capped)


def _check(item: Field[Any], value: object, *, whole: bool) -> None:
    if value is None and "None" in str(item.type):
        return
    accepted = int if whole else (int, float)
    if isinstance(value, bool) or not isinstance(value, accepted) or not value >= (1 if whole else 0):  # nan is not
        wanted = "a positive whole number" if whole else "a number of seconds, 0 or more"
        raise ValueError(f"{item.name} must be {wanted}, not {value!r}")


def _check_range(item: Field[Any], value: int) -> None:
    least, most = item.metadata["least"], item.metadata["most"]
    if (least is not None and value < least) or (most is not None and value > most):
        raise ValueError(f"{item.name} must be {1 if least is None else least} to {most}, not {value}")
