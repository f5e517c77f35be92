"""The receiving half of an HTTP/2 connection: bytes to frames, each handed to its handler (RFC 9113 §4, §6).

Frames are taken apart in one loop. Those that lie in one piece are read where they are; of one that is cut, the rest
is awaited, except for DATA, whose content is handed on as it comes, so that content is neither held nor copied twice.

What the peer does wrong is a fault. A stream's ends that stream, with RST_STREAM and an event; the connection's is
raised. In both cases the events that came before stand.

Every byte of DATA is credited to the connection as soon as it arrives, so that no stream can stop another; a stream's
own window is credited when the application has consumed the content, which is not known here.
"""

from __future__ import annotations

from gruvihttp.errors import ContentTooLarge
from gruvihttp.limits import H2Limits
from gruvihttp.sansio import allowance as costs
from gruvihttp.sansio import frames
from gruvihttp.sansio.events import END_OF_MESSAGE, Data
from gruvihttp.sansio.frames import (
    ACK,
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    FRAME_HEAD_BYTES,
    HEADERS,
    HIGHEST_ID,
    PADDED,
    PREFACE,
    PRIORITY_FIELDS,
    SETTINGS,
)
from gruvihttp.sansio.h2control import ControlFrames
from gruvihttp.sansio.h2errors import ConnectionFault, Defence, ErrorCode, StreamFault
from gruvihttp.sansio.h2events import RequestRefused
from gruvihttp.sansio.h2inbox import Inbox
from gruvihttp.sansio.h2sections import Sections
from gruvihttp.sansio.h2settings import DEFAULT_FRAME_BYTES
from gruvihttp.sansio.h2streams import Stream

__all__ = ["Receiver"]

_PRIORITY_BYTES = 5
_unpack = frames.FRAME_HEAD.unpack_from


class Receiver:
    """Bytes to events. `frame_bytes` is the largest frame that the peer may send."""

    def __init__(self, inbox: Inbox, sections: Sections, control: ControlFrames, h2_limits: H2Limits) -> None:
        self.frame_bytes = DEFAULT_FRAME_BYTES
        self._inbox = inbox
        self._sections = sections
        self._control = control
        self._limits = h2_limits
        self._preface = PREFACE if inbox.server else b""  # what has to come of it
        self._held = bytearray()  # the beginning of a frame
        self._needed = 0  # bytes in `_held` before there is a reason to look again
        self._only: int | None = SETTINGS  # the one type that may come now (RFC 9113 §3.4, §6.10)
        # a section that goes on in CONTINUATION
        self._parts: list[bytes] = []
        self._parts_left = 0  # bytes that may still be added
        self._parts_stream = 0
        self._parts_end = False
        # DATA whose content has not arrived entirely
        self._in_content = False
        self._content_left = 0
        self._padding_left = 0
        self._content_ends = False
        self._content_stream: Stream | None = None  # None: it is dropped

    @property
    def awaits_preface(self) -> bool:
        """Whether the peer has not said yet that it speaks HTTP/2."""
        return bool(self._preface) or self._only == SETTINGS

    @property
    def mid_section(self) -> bool:
        """Whether a section has begun and not ended."""
        return self._only == CONTINUATION or (len(self._held) > 3 and self._held[3] == HEADERS)

    def receive(self, data: bytes) -> None:
        """Read what can be read. Raises ConnectionFault."""
        held = self._held
        if held:
            held += data
            if len(held) < self._needed:
                return
            data = bytes(held)
            held.clear()
        pos = self._skip_preface(data) if self._preface else 0
        end = len(data)
        while True:
            if self._in_content:
                pos = self._read_content(data, pos)
                if self._in_content:
                    return
            if end - pos < FRAME_HEAD_BYTES:
                needed = FRAME_HEAD_BYTES
                break
            high, low, kind, flags, stream_id = _unpack(data, pos)
            length = high << 8 | low
            if self._only is not None and kind != self._only:
                self._refuse_kind()
            if length > self.frame_bytes:
                raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "a frame that is too large")
            start = pos + FRAME_HEAD_BYTES
            stop = start + length
            if kind == DATA:
                if flags & PADDED and length and end == start:
                    needed = FRAME_HEAD_BYTES + 1
                    break
                pos = self._begin_content(data, start, length, flags, stream_id & HIGHEST_ID)
                continue
            if stop > end:
                needed = FRAME_HEAD_BYTES + length
                break
            pos = stop
            if kind == HEADERS:
                self._read_headers(data, start, stop, flags, stream_id & HIGHEST_ID)
            elif self._only is None:
                self._control.read(kind, flags, stream_id & HIGHEST_ID, data[start:stop])
            else:
                self._read_only(kind, flags, stream_id & HIGHEST_ID, data[start:stop])
        if pos < end:
            held += data[pos:]
            self._needed = needed

    def _skip_preface(self, data: bytes) -> int:
        """Compare as much of the preface as there is; the index behind it."""
        come = len(data) if len(data) < len(self._preface) else len(self._preface)
        if data[:come] != self._preface[:come]:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "no preface of HTTP/2")
        self._preface = self._preface[come:]
        return come

    def _refuse_kind(self) -> None:
        if self._only == SETTINGS:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "no SETTINGS at the beginning, as if it were not HTTP/2")
        raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "a frame amid a section")

    def _read_only(self, kind: int, flags: int, stream_id: int, content: bytes) -> None:
        """The one frame that may come now: the first SETTINGS, or CONTINUATION."""
        if kind == CONTINUATION:
            self._continue_section(flags, stream_id, content)
            return
        if flags & ACK:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "an acknowledgement before SETTINGS")
        self._only = None
        self._control.read(kind, flags, stream_id, content)

    # sections

    def _read_headers(self, data: bytes, start: int, stop: int, flags: int, stream_id: int) -> None:
        if not stream_id:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "HEADERS on the connection")
        if flags & (PADDED | PRIORITY_FIELDS):
            start, stop = _without_extras(data, start, stop, flags)
        if flags & END_HEADERS:
            self._sections.read(stream_id, data[start:stop], ends=bool(flags & END_STREAM))
            return
        self._only = CONTINUATION
        self._parts = [data[start:stop]]
        self._parts_left = self._limits.block_bytes - (stop - start)
        self._parts_stream = stream_id
        self._parts_end = bool(flags & END_STREAM)

    def _continue_section(self, flags: int, stream_id: int, content: bytes) -> None:
        parts = self._parts
        if stream_id != self._parts_stream:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "CONTINUATION of another stream's section")
        if not content and not flags & END_HEADERS:
            raise _too_much_section("an empty CONTINUATION")
        parts.append(content)
        self._parts_left -= len(content)
        if len(parts) > self._limits.continuation_count + 1 or self._parts_left < 0:
            raise _too_much_section("a section that is too large")
        if flags & END_HEADERS:
            self._only = None
            self._parts = []
            self._sections.read(stream_id, b"".join(parts), ends=self._parts_end)

    # content

    def _begin_content(self, data: bytes, start: int, length: int, flags: int, stream_id: int) -> int:
        """Account for a DATA frame; the index where its content begins, which may not have arrived yet."""
        if not stream_id:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "DATA on the connection")
        extra = 0
        if flags & PADDED:
            if not length:
                raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "padding in a frame without room")
            extra = data[start] + 1
            start += 1
            if extra > length:
                raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "more padding than frame")
        self._credit_connection(length)
        self._in_content = True
        self._content_left = length - extra
        self._padding_left = extra - 1 if extra else 0
        self._content_ends = bool(flags & END_STREAM)
        self._content_stream = None
        inbox = self._inbox
        stream = inbox.streams.by_id.get(stream_id)
        if stream is None:
            self._late_content(stream_id, length)
            return start
        try:
            self._account(stream, length, extra)
        except StreamFault as fault:
            inbox.fail(stream, fault)
        else:
            self._content_stream = stream
        return start

    def _credit_connection(self, length: int) -> None:
        connection = self._inbox.connection
        connection.recv_window -= length
        if connection.recv_window < 0:
            reason = "more than the connection's window"
            raise ConnectionFault(ErrorCode.FLOW_CONTROL_ERROR, reason, Defence.WINDOW_EXCEEDED)
        connection.credited += length
        if connection.credited * 2 >= connection.window_bytes:
            self._inbox.sender.updates[connection] = None

    def _late_content(self, stream_id: int, length: int) -> None:
        inbox = self._inbox
        if inbox.is_idle(stream_id):
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "DATA on a stream that nobody has begun")
        if not inbox.streams.was_reset(stream_id):
            raise ConnectionFault(ErrorCode.STREAM_CLOSED, "DATA on a stream that is over")
        if not length:
            inbox.charge(costs.EMPTY_DATA)

    def _account(self, stream: Stream, length: int, extra: int) -> None:
        """Take a frame from the stream's window and from what was announced. Raises StreamFault."""
        if stream.got_end:
            raise StreamFault(ErrorCode.STREAM_CLOSED, "DATA behind the end of the stream")
        if not stream.got_head:
            raise StreamFault(ErrorCode.PROTOCOL_ERROR, "DATA before the head")
        stream.recv_window -= length
        if stream.recv_window < 0:
            reason = "more than the stream's window"
            raise StreamFault(ErrorCode.FLOW_CONTROL_ERROR, reason, Defence.WINDOW_EXCEEDED)
        content = self._content_left
        if stream.left_to_receive is not None:
            if content > stream.left_to_receive:
                raise StreamFault(ErrorCode.PROTOCOL_ERROR, "more content than announced")
            stream.left_to_receive -= content
        elif stream.allowed_bytes is not None:
            self._check_allowed(stream, content)
        if not content and not self._content_ends:
            self._inbox.charge(costs.EMPTY_DATA)
        if extra:
            self.credit(stream, extra)  # the application does not see it

    def _check_allowed(self, stream: Stream, content: int) -> None:
        assert stream.allowed_bytes is not None
        stream.allowed_bytes -= content
        if stream.allowed_bytes < 0 and not stream.dropping:
            stream.dropping = True
            self._inbox.put(stream, RequestRefused(ContentTooLarge("content beyond the limit"), None))

    def _read_content(self, data: bytes, pos: int) -> int:
        """Hand on what has arrived of a DATA frame; the index behind it."""
        stream = self._content_stream
        wanted = stream is not None and not stream.closed and not stream.dropping
        left = self._content_left
        if left:
            stop = min(pos + left, len(data))
            if stop > pos and wanted:
                assert stream is not None
                self._inbox.events.append((stream, Data(data[pos:stop])))
            self._content_left = left - (stop - pos)
            pos = stop
        if self._padding_left:
            stop = min(pos + self._padding_left, len(data))
            self._padding_left -= stop - pos
            pos = stop
        if not self._content_left and not self._padding_left:
            self._in_content = False
            self._content_stream = None
            if self._content_ends and stream is not None and not stream.closed:
                self._end(stream)
        return pos

    def _end(self, stream: Stream) -> None:
        try:
            self._sections.finish(stream, END_OF_MESSAGE)
        except StreamFault as fault:
            self._inbox.fail(stream, fault)

    def credit(self, stream: Stream, consumed: int, widest: int = 0) -> None:
        """The application has consumed this many bytes of a stream; tell the peer when it is worth a frame.

        A window that the application has emptied entirely grows, up to `widest`: it was what held the peer back.
        """
        stream.credited += consumed
        credited, window = stream.credited, stream.window_bytes
        emptied = stream.recv_window + credited >= window
        if credited * 2 >= window or (emptied and credited * 4 >= window):
            if emptied and window < widest:
                grown = min(window * 2, widest)
                stream.window_bytes = grown
                stream.credited += grown - window
            self._inbox.sender.updates[stream] = None


def _too_much_section(reason: str) -> ConnectionFault:
    return ConnectionFault(ErrorCode.ENHANCE_YOUR_CALM, reason, Defence.CONTINUATION_FLOOD)


def _without_extras(data: bytes, start: int, stop: int, flags: int) -> tuple[int, int]:
    """Where the block of HEADERS begins and ends."""
    block = start
    if flags & PADDED:
        block += 1
    if flags & PRIORITY_FIELDS:  # RFC 9113 §5.3.2: deprecated, and ignored
        block += _PRIORITY_BYTES
    if block > stop:
        raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "padding or priority in a frame without room")
    if flags & PADDED:
        stop -= data[start]
        if block > stop:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "more padding than frame")
    return block, stop
