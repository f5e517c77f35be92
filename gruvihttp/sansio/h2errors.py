"""The error codes of HTTP/2, and the two kinds of fault: one ends a stream, the other the connection (RFC 9113 §5.4).

Each fault also says which defence has found it, so that those can be counted.

Faults are how the engine's parts tell each other what the peer did wrong. They do not leave the engine.
"""

from __future__ import annotations

from enum import IntEnum, StrEnum

__all__ = ["ConnectionFault", "Defence", "ErrorCode", "Fault", "StreamFault"]


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


class Defence(StrEnum):
    """What a peer was stopped from doing. The comments say what one of each is."""

    # requests or streams, while the connection goes on
    STREAM_LIMIT = "stream_limit"  # a request beyond those that may run at a time, or after our GOAWAY
    HEADER_LIST = "header_list"  # a section beyond the limits
    HPACK_BOMB = "hpack_bomb"  # such a section, out of a small part of its size
    MALFORMED = "malformed"  # a message that breaks a rule
    # streams or connections
    ZERO_INCREMENT = "zero_increment"  # WINDOW_UPDATE of 0
    WINDOW_OVERFLOW = "window_overflow"  # a window beyond 2**31 - 1
    WINDOW_EXCEEDED = "window_exceeded"  # more content than the window
    SLOW_READER = "slow_reader"  # it took nothing for too long
    # connections
    RAPID_RESET = "rapid_reset"  # too many requests were taken back (CVE-2023-44487)
    FAULT_FLOOD = "fault_flood"  # too many streams had to be reset (CVE-2025-8671)
    STREAM_FLOOD = "stream_flood"  # too many were beyond the limit
    CONTINUATION_FLOOD = "continuation_flood"  # a section in too many pieces, or too large (CVE-2024-27316)
    EMPTY_DATA_FLOOD = "empty_data_flood"
    GOAWAY_FLOOD = "goaway_flood"
    INFORMATIONAL_FLOOD = "informational_flood"
    LATE_FLOOD = "late_flood"  # frames for streams that are over
    PING_FLOOD = "ping_flood"
    PRIORITY_FLOOD = "priority_flood"
    SETTINGS_FLOOD = "settings_flood"
    UNKNOWN_FLOOD = "unknown_flood"  # frames of unknown types
    UPDATE_FLOOD = "update_flood"  # WINDOW_UPDATE where nothing waits for it
    UNREAD_ANSWERS = "unread_answers"  # what has to be answered, by a peer that does not read
    SLOW_HEAD = "slow_head"  # the preface or a section took too long
    SETTINGS_TIMEOUT = "settings_timeout"  # our SETTINGS were not acknowledged
    PROTOCOL = "protocol"  # frames that nobody may send like that


class Fault(Exception):
    """What the peer did wrong: an error code, a reason that holds no secret, and the defence that has found it."""

    _defence: Defence

    def __init__(self, code: ErrorCode, reason: str, defence: Defence | None = None) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason
        self.defence = self._defence if defence is None else defence


class StreamFault(Fault):
    """Ends a stream; the connection goes on."""

    _defence = Defence.MALFORMED


class ConnectionFault(Fault):
    """Ends the connection."""

    _defence = Defence.PROTOCOL
