"""The error codes of HTTP/2, and the two kinds of fault: one ends a stream, the other the connection (RFC 9113 §5.4).

Faults are how the engine's parts tell each other what the peer did wrong. They do not leave the engine.
"""

from __future__ import annotations

from enum import IntEnum

__all__ = ["ConnectionFault", "ErrorCode", "Fault", "StreamFault"]


class ErrorCode(IntEnum):
    """RFC 9113 §7. A peer may send others; those are plain numbers."""

    NO_ERROR = 0x0
    PROTOCOL_ERROR = 0x1
    INTERNAL_ERROR = 0x2
    FLOW_CONTROL_ERROR = 0x3
    SETTINGS_TIMEOUT = 0x4
    STREAM_CLOSED = 0x5
    FRAME_SIZE_ERROR = 0x6
    REFUSED_STREAM = 0x7
    CANCEL = 0x8
    COMPRESSION_ERROR = 0x9
    CONNECT_ERROR = 0xA
    ENHANCE_YOUR_CALM = 0xB
    INADEQUATE_SECURITY = 0xC
    HTTP_1_1_REQUIRED = 0xD

    @staticmethod
    def of(number: int) -> int:
        """The member with this number where there is one, else the number."""
        return _KNOWN.get(number, number)


_KNOWN: dict[int, int] = {int(code): code for code in ErrorCode}


class Fault(Exception):
    """What the peer did wrong: an error code, and a reason that holds no secret."""

    def __init__(self, code: ErrorCode, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


class StreamFault(Fault):
    """Ends a stream; the connection goes on."""


class ConnectionFault(Fault):
    """Ends the connection."""
