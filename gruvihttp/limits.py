"""How much and how long: `Limits` counts bytes and things, `Timeouts` counts seconds.

Each number is declared once, here, with its meaning and its origin. The command line's options and the reference
documentation are made from these declarations. Where they are enforced is not known here.
"""

from __future__ import annotations

from dataclasses import Field, dataclass, field, fields
from functools import cached_property
from typing import Any

__all__ = ["Limits", "Timeouts"]


def _number(default: Any, meaning: str) -> Any:  # Any: dataclasses types field() as its default
    return field(default=default, metadata={"help": meaning})


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
    # a chunk size has at most 16 digits; the rest is extensions, for which nobody has found a use
    chunk_line_bytes: int = _number(256, "longest chunk-size line with its extensions, in bytes (400)")
    content_bytes: int | None = _number(None, "largest request content, in bytes (413)")
    buffer_bytes: int = _number(65536, "most content or output held for one exchange, in bytes")
    drain_bytes: int = _number(65536, "most unread content that is dropped to keep a connection, in bytes")
    linger_bytes: int = _number(1 << 20, "most bytes that are dropped while a connection closes")
    pipelined_requests: int = _number(10, "most requests parsed ahead on one connection")

    def __post_init__(self) -> None:
        for item in fields(self):
            _check(item, getattr(self, item.name), whole=True)

    @cached_property
    def small_head_bytes(self) -> int:
        """A head of no more than that exceeds neither of the limits in bytes."""
        return min(self.request_line_bytes, self.fields_bytes)


@dataclass(frozen=True, kw_only=True)
class Timeouts:
    """How long each phase of a connection may last, in seconds. None means for ever; 0 means no waiting.

    A phase ends at an absolute moment: dripping a byte at a time does not make it longer.

    Raises ValueError for a negative number.
    """

    connect: float | None = _number(None, "until a connection is made, all addresses together")
    handshake: float | None = _number(10.0, "until a TLS handshake is done")
    head: float | None = _number(10.0, "until a head that has begun is complete (408)")
    content: float | None = _number(30.0, "without a byte of content while somebody reads it (408)")
    write: float | None = _number(30.0, "without progress while the peer does not read")
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
        defaults = cls()
        capped: dict[str, float] = {}
        for item in fields(cls):
            default: float | None = getattr(defaults, item.name)
            if item.name not in ("total", "graceful"):
                capped[item.name] = seconds if default is None else min(seconds, default)
        return cls(**capped)


def _check(item: Field[Any], value: object, *, whole: bool) -> None:
    if value is None and "None" in str(item.type):
        return
    accepted = int if whole else (int, float)
    if isinstance(value, bool) or not isinstance(value, accepted) or value < (1 if whole else 0):
        wanted = "a positive whole number" if whole else "a number of seconds, 0 or more"
        raise ValueError(f"{item.name} must be {wanted}, not {value!r}")
