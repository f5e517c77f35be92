"""Frames that carry no message: SETTINGS, PING, GOAWAY, RST_STREAM, WINDOW_UPDATE, PRIORITY and unknown ones.

How frames are found in bytes is not known here.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from gruvihttp.sansio import allowance as costs
from gruvihttp.sansio import frames
from gruvihttp.sansio.frames import ACK, HIGHEST_ID, UINT32
from gruvihttp.sansio.h2errors import ConnectionFault, Defence, ErrorCode, StreamFault
from gruvihttp.sansio.h2events import (
    GoAwayReceived,
    PingAcknowledged,
    SettingsAcknowledged,
    SettingsChanged,
    StreamReset,
    WindowOpened,
)
from gruvihttp.sansio.h2inbox import Inbox
from gruvihttp.sansio.h2settings import PeerSettings
from gruvihttp.sansio.h2streams import Stream

__all__ = ["ControlFrames"]

_ZERO = "WINDOW_UPDATE of 0"
_WIDE = "a window that is too wide"


class ControlFrames:
    """Reads one frame at a time. `unacknowledged` are actions for when the peer acknowledges our SETTINGS."""

    def __init__(self, inbox: Inbox) -> None:
        self.peer_settings = PeerSettings()
        self.unacknowledged: deque[Callable[[], None]] = deque()
        self.goaway_last: int | None = None  # the last stream that the peer takes, as it has said
        self._inbox = inbox

    def read(self, kind: int, flags: int, stream_id: int, content: bytes) -> None:
        """Do what a frame says. Raises ConnectionFault."""
        reader = _READERS.get(kind)
        if reader is None:
            self._inbox.charge(costs.UNKNOWN_FRAME)  # RFC 9113 §4.1: otherwise ignored
        else:
            reader(self, flags, stream_id, content)

    def _priority(self, flags: int, stream_id: int, content: bytes) -> None:
        _check_on_stream(stream_id)
        _check_size(content, 5)
        self._inbox.charge(costs.PRIORITY)  # RFC 9113 §5.3.2: deprecated; otherwise ignored

    def _reset(self, flags: int, stream_id: int, content: bytes) -> None:
        _check_on_stream(stream_id)
        _check_size(content, 4)
        inbox = self._inbox
        stream = inbox.streams.by_id.get(stream_id)
        if stream is None:
            self._late(stream_id)
            return
        code = ErrorCode.of(UINT32.unpack(content)[0])
        inbox.streams.reset(stream, code, by_us=False)
        inbox.put(stream, StreamReset(code, retryable=code == ErrorCode.REFUSED_STREAM))
        if inbox.server:
            inbox.charge(costs.RESET)

    def _late(self, stream_id: int) -> None:
        """A frame for a stream that is not open: allowed after its end, and a fault before its beginning."""
        if self._inbox.is_idle(stream_id):
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "a frame for a stream that nobody has begun")
        self._inbox.charge(costs.LATE_FRAME)

    def _settings(self, flags: int, stream_id: int, content: bytes) -> None:
        _check_on_connection(stream_id)
        if flags & ACK:
            self._settings_acknowledged(content)
            return
        if len(content) % 6:
            raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "SETTINGS that are not a multiple of six bytes")
        inbox = self._inbox
        inbox.charge(costs.SETTINGS)
        sender = inbox.sender
        for table_bytes in self.peer_settings.apply(content, from_server=not inbox.server):
            sender.encoder.set_limit(table_bytes)
        sender.frame_bytes = self.peer_settings.frame_bytes
        sender.may_send_content = True
        # the acknowledgement leaves before any head that follows the new size of the table (RFC 7541 §4.2)
        sender.control(frames.frame(frames.SETTINGS, ACK, 0))
        self._move_windows(self.peer_settings.window_bytes)
        inbox.put(inbox.connection, SettingsChanged(self.peer_settings))

    def _settings_acknowledged(self, content: bytes) -> None:
        _check_size(content, 0)
        if not self.unacknowledged:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "an acknowledgement of nothing")
        self.unacknowledged.popleft()()
        self._inbox.put(self._inbox.connection, SettingsAcknowledged())

    def _move_windows(self, window_bytes: int) -> None:
        """The windows of all streams change by as much as the first window does (RFC 9113 §6.9.2)."""
        inbox = self._inbox
        delta = window_bytes - inbox.sender.stream_window
        if not delta:
            return
        inbox.sender.stream_window = window_bytes
        for stream in list(inbox.streams.by_id.values()):
            try:
                opened = inbox.sender.open_stream(stream, delta)
            except OverflowError:
                raise _too_wide() from None
            if opened:
                inbox.put(stream, WindowOpened())

    def _push_promise(self, flags: int, stream_id: int, content: bytes) -> None:
        raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "PUSH_PROMISE, which nobody has allowed")

    def _ping(self, flags: int, stream_id: int, content: bytes) -> None:
        _check_on_connection(stream_id)
        _check_size(content, 8)
        inbox = self._inbox
        inbox.charge(costs.PING)
        if flags & ACK:
            inbox.put(inbox.connection, PingAcknowledged(content))
        else:
            inbox.sender.control(frames.ping(content, ack=True))

    def _goaway(self, flags: int, stream_id: int, content: bytes) -> None:
        _check_on_connection(stream_id)
        if len(content) < 8:
            raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "GOAWAY of the wrong size")
        inbox = self._inbox
        inbox.charge(costs.GOAWAY)
        last = UINT32.unpack_from(content)[0] & HIGHEST_ID
        code = ErrorCode.of(UINT32.unpack_from(content, 4)[0])
        # it may name a lower stream later, never a higher one (RFC 9113 §6.8)
        self.goaway_last = last = last if self.goaway_last is None else min(last, self.goaway_last)
        inbox.put(inbox.connection, GoAwayReceived(last, code, content[8:]))
        if not inbox.server:
            for stream in self._not_taken(last):
                inbox.streams.reset(stream, ErrorCode.REFUSED_STREAM, by_us=False)
                inbox.put(stream, StreamReset(ErrorCode.REFUSED_STREAM, retryable=True, reason="GOAWAY"))

    def _not_taken(self, last: int) -> list[Stream]:
        """Our streams that the peer has not looked at, those included that have not left."""
        above = [stream for stream_id, stream in self._inbox.streams.by_id.items() if stream_id > last]
        return above + self._inbox.sender.unsent()

    def _window_update(self, flags: int, stream_id: int, content: bytes) -> None:
        _check_size(content, 4)
        inbox = self._inbox
        increment = UINT32.unpack(content)[0] & HIGHEST_ID
        if not stream_id:
            self._connection_window(increment)
            return
        stream = inbox.streams.by_id.get(stream_id)
        if stream is None:
            self._late(stream_id)
            return
        if stream.send_window > 0 or not stream.queued_bytes:
            inbox.charge(costs.IDLE_UPDATE)
        try:
            if not increment:
                raise StreamFault(ErrorCode.PROTOCOL_ERROR, _ZERO, Defence.ZERO_INCREMENT)
            if inbox.sender.open_stream(stream, increment):
                inbox.put(stream, WindowOpened())
        except OverflowError:
            fault = StreamFault(ErrorCode.FLOW_CONTROL_ERROR, _WIDE, Defence.WINDOW_OVERFLOW)
            inbox.fail(stream, fault)
        except StreamFault as fault:
            inbox.fail(stream, fault)

    def _connection_window(self, increment: int) -> None:
        inbox = self._inbox
        if not increment:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, _ZERO, Defence.ZERO_INCREMENT)
        if inbox.sender.window > 0:
            inbox.charge(costs.IDLE_UPDATE)
        try:
            opened = inbox.sender.open_connection(increment)
        except OverflowError:
            raise _too_wide() from None
        if opened:
            inbox.put(inbox.connection, WindowOpened())

    def _continuation(self, flags: int, stream_id: int, content: bytes) -> None:
        raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "CONTINUATION of nothing")


def _too_wide() -> ConnectionFault:
    return ConnectionFault(ErrorCode.FLOW_CONTROL_ERROR, _WIDE, Defence.WINDOW_OVERFLOW)


def _check_size(content: bytes, size: int) -> None:
    if len(content) != size:
        raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, f"{len(content)} bytes where {size} belong")


def _check_on_stream(stream_id: int) -> None:
    if not stream_id:
        raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "a frame on the connection that belongs on a stream")


def _check_on_connection(stream_id: int) -> None:
    if stream_id:
        raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "a frame on a stream that belongs on the connection")


_READERS: dict[int, Callable[[ControlFrames, int, int, bytes], None]] = {
    frames.PRIORITY: ControlFrames._priority,
    frames.RST_STREAM: ControlFrames._reset,
    frames.SETTINGS: ControlFrames._settings,
    frames.PUSH_PROMISE: ControlFrames._push_promise,
    frames.PING: ControlFrames._ping,
    frames.GOAWAY: ControlFrames._goaway,
    frames.WINDOW_UPDATE: ControlFrames._window_update,
    frames.CONTINUATION: ControlFrames._continuation,
}
