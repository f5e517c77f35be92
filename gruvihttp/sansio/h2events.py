"""What happens on an HTTP/2 connection besides messages: resets, windows, settings, the end.

The engine gives each event together with its stream; those of the connection come with stream 0. Messages are the
events that HTTP/1 has. What to do about any of them is not known here.
"""

from __future__ import annotations

from dataclasses import dataclass

from gruvihttp.errors import RemoteProtocolError
from gruvihttp.sansio.events import Event, GivenHeaders, Request
from gruvihttp.sansio.h2errors import Defence
from gruvihttp.sansio.h2settings import PeerSettings

__all__ = [
    "ConnectionFailed",
    "ExtendedConnect",
    "GoAwayReceived",
    "PingAcknowledged",
    "RequestRefused",
    "SettingsAcknowledged",
    "SettingsChanged",
    "StreamIncomplete",
    "StreamReset",
    "WindowOpened",
]


@dataclass(init=False, frozen=True)
class ExtendedConnect(Request):
    """A CONNECT with a `protocol`, such as ``b"websocket"`` (RFC 8441 §4). Its target is a path."""

    __slots__ = ("protocol",)

    protocol: bytes

    def __init__(self, *, target: bytes | str, headers: GivenHeaders, protocol: bytes) -> None:
        super().__init__(method=b"CONNECT", target=target, headers=headers, http_version=b"2.0")
        object.__setattr__(self, "protocol", protocol)

    __hash__ = None  # as the other heads


@dataclass(frozen=True, slots=True)
class RequestRefused(Event):
    """A request that is to be answered with `error.status`; its content is dropped. `request` where it could be read.

    Takes the place of `Request`, or comes in the middle of the content when that grows too large.
    """

    error: RemoteProtocolError
    request: Request | None
    defence: Defence | None = None


@dataclass(frozen=True, slots=True)
class StreamReset(Event):
    """The stream is over before its end. `local`: we had to end it, for a fault of the peer's that `reason` tells,
    and that `defence` has found.

    `retryable`: the peer has not looked at the request (RFC 9113 §8.7).
    """

    error_code: int
    local: bool = False
    retryable: bool = False
    reason: str = ""
    defence: Defence | None = None


@dataclass(frozen=True, slots=True)
class StreamIncomplete(Event):
    """The connection has ended before the stream. `retryable`: nothing of the request was sent."""

    retryable: bool


@dataclass(frozen=True, slots=True)
class WindowOpened(Event):
    """There is room in a window where there was none; stream 0 stands for the connection's."""


@dataclass(frozen=True, slots=True)
class SettingsChanged(Event):
    """The peer's SETTINGS, which are in force already. More or fewer streams may be allowed now."""

    settings: PeerSettings


@dataclass(frozen=True, slots=True)
class SettingsAcknowledged(Event):
    """The peer has acknowledged our SETTINGS and follows them from here on."""


@dataclass(frozen=True, slots=True)
class PingAcknowledged(Event):
    """The peer has sent our PING back."""

    opaque: bytes


@dataclass(frozen=True, slots=True)
class GoAwayReceived(Event):
    """The peer takes no new streams; those above `last_stream_id` are reset, by events of their own."""

    last_stream_id: int
    error_code: int
    debug: bytes


@dataclass(frozen=True, slots=True)
class ConnectionFailed(Event):
    """The peer broke the protocol. Nothing comes after this event; send the output that there is and close."""

    error_code: int
    reason: str
    defence: Defence | None = None
