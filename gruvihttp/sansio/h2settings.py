"""The SETTINGS of both ends: what we ask of the peer, and what the peer asks of us (RFC 9113 §6.5).

When a value comes into force, and what it does to streams, is not known here.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Final

from gruvihttp.limits import H2Limits
from gruvihttp.sansio.frames import HIGHEST_ID, SETTING
from gruvihttp.sansio.h2errors import ConnectionFault, ErrorCode
from gruvihttp.sansio.hpack import DEFAULT_TABLE_BYTES

__all__ = [
    "CLIENT_SETTINGS", "DEFAULT_FRAME_BYTES", "DEFAULT_WINDOW_BYTES", "ENABLE_CONNECT_PROTOCOL", "ENABLE_PUSH",
    "HEADER_TABLE_SIZE", "INITIAL_WINDOW_SIZE", "MAX_CONCURRENT_STREAMS", "MAX_FRAME_SIZE", "MAX_HEADER_LIST_SIZE",
    "NO_RFC7540_PRIORITIES", "SERVER_SETTINGS", "PeerSettings", "Settings",
]  # fmt: skip

HEADER_TABLE_SIZE = 0x1
ENABLE_PUSH = 0x2
MAX_CONCURRENT_STREAMS = 0x3
INITIAL_WINDOW_SIZE = 0x4
MAX_FRAME_SIZE = 0x5
MAX_HEADER_LIST_SIZE = 0x6
ENABLE_CONNECT_PROTOCOL = 0x8  # RFC 8441 §3
NO_RFC7540_PRIORITIES = 0x9  # RFC 9218 §2.1

# RFC 9113 §6.5.2 and §6.9.2: what holds before SETTINGS say otherwise
DEFAULT_FRAME_BYTES = 16384
DEFAULT_WINDOW_BYTES = 65535
_LARGEST_FRAME_BYTES = (1 << 24) - 1


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What we ask of the peer.

    A stream's window begins with `window_bytes` and grows up to `widest_window_bytes` while the application keeps
    up. `connection_window_bytes` bounds what is under way on all streams together. Raises ValueError.
    """

    header_table_bytes: int = H2Limits.header_table_bytes
    concurrent_streams: int = H2Limits.concurrent_streams
    window_bytes: int = H2Limits.window_bytes
    widest_window_bytes: int = H2Limits.widest_window_bytes
    connection_window_bytes: int = H2Limits.connection_window_bytes
    frame_bytes: int = H2Limits.frame_bytes
    connect_protocol: bool = False

    @classmethod
    def within(cls, limits: H2Limits, *, connect_protocol: bool = False) -> Settings:
        """A server's, with what these limits say."""
        numbers = {item.name: getattr(limits, item.name) for item in fields(cls) if item.name != "connect_protocol"}
        return cls(**numbers, connect_protocol=connect_protocol)

    def __post_init__(self) -> None:
        if not DEFAULT_FRAME_BYTES <= self.frame_bytes <= _LARGEST_FRAME_BYTES:
            raise ValueError(f"frame_bytes must be {DEFAULT_FRAME_BYTES} to {_LARGEST_FRAME_BYTES}")
        if not 0 < self.window_bytes <= self.widest_window_bytes <= HIGHEST_ID:
            raise ValueError("window_bytes must be positive, and at most widest_window_bytes")
        if not DEFAULT_WINDOW_BYTES <= self.connection_window_bytes <= HIGHEST_ID:
            raise ValueError(f"connection_window_bytes must be {DEFAULT_WINDOW_BYTES} to {HIGHEST_ID}")
        if not 0 <= self.header_table_bytes < 1 << 28 or self.concurrent_streams < 0:
            raise ValueError("header_table_bytes and concurrent_streams must not be negative, nor too large")

    def pairs(self, *, server: bool, list_bytes: int, all_values: bool = False) -> list[tuple[int, int]]:
        """What SETTINGS say, with the largest list of fields that we take. Defaults are said with `all_values` only."""
        pairs = [(INITIAL_WINDOW_SIZE, self.window_bytes), (MAX_HEADER_LIST_SIZE, list_bytes)]
        if all_values or self.header_table_bytes != DEFAULT_TABLE_BYTES:
            pairs.append((HEADER_TABLE_SIZE, self.header_table_bytes))
        if all_values or self.frame_bytes != DEFAULT_FRAME_BYTES:
            pairs.append((MAX_FRAME_SIZE, self.frame_bytes))
        if server:
            pairs.append((MAX_CONCURRENT_STREAMS, self.concurrent_streams))
            pairs.append((NO_RFC7540_PRIORITIES, 1))
            if self.connect_protocol:
                pairs.append((ENABLE_CONNECT_PROTOCOL, 1))
        else:
            pairs.append((ENABLE_PUSH, 0))
        return sorted(pairs)


SERVER_SETTINGS: Final = Settings()
CLIENT_SETTINGS: Final = Settings(window_bytes=1 << 20)


class PeerSettings:
    """What the peer asks of us, so far. `concurrent_streams` is None where it has set no bound."""

    __slots__ = ("concurrent_streams", "connect_protocol", "frame_bytes", "list_bytes", "window_bytes")

    def __init__(self) -> None:
        self.concurrent_streams: int | None = None
        self.connect_protocol = False
        self.frame_bytes = DEFAULT_FRAME_BYTES
        self.list_bytes: int | None = None
        self.window_bytes = DEFAULT_WINDOW_BYTES

    def __repr__(self) -> str:
        return f"<PeerSettings {', '.join(f'{name}={getattr(self, name)}' for name in self.__slots__)}>"

    def apply(self, content: bytes, *, from_server: bool) -> list[int]:
        """Take over what a SETTINGS frame says; the table sizes that it names. Raises ConnectionFault.

        Unknown settings are ignored (RFC 9113 §6.5.2).
        """
        table_sizes = []
        for identifier, value in SETTING.iter_unpack(content):
            if identifier == HEADER_TABLE_SIZE:
                table_sizes.append(value)
            elif identifier == MAX_CONCURRENT_STREAMS:
                self.concurrent_streams = value
            elif identifier == MAX_HEADER_LIST_SIZE:
                self.list_bytes = value
            elif identifier == INITIAL_WINDOW_SIZE:
                if value > HIGHEST_ID:
                    raise ConnectionFault(ErrorCode.FLOW_CONTROL_ERROR, "INITIAL_WINDOW_SIZE too large")
                self.window_bytes = value
            elif identifier == MAX_FRAME_SIZE:
                if not DEFAULT_FRAME_BYTES <= value <= _LARGEST_FRAME_BYTES:
                    raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "MAX_FRAME_SIZE out of range")
                self.frame_bytes = value
            elif identifier in _SWITCHES:
                self._switch(identifier, value, from_server=from_server)
        return table_sizes

    def _switch(self, identifier: int, value: int, *, from_server: bool) -> None:
        if value > 1:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "a setting that is neither 0 nor 1")
        if identifier == ENABLE_PUSH and from_server and value:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "ENABLE_PUSH from a server")
        if identifier == ENABLE_CONNECT_PROTOCOL:
            if self.connect_protocol and not value:
                raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "ENABLE_CONNECT_PROTOCOL taken back")
            self.connect_protocol = bool(value)


_SWITCHES = frozenset((ENABLE_PUSH, ENABLE_CONNECT_PROTOCOL, NO_RFC7540_PRIORITIES))
