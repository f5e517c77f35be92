"""The HTTP/2 engine: bytes to events on streams, and back, for both roles (RFC 9113).

It holds what a connection knows and nothing of what surrounds it: it has no socket, no clock and no log, and it never
waits and never calls back. A driver puts in what has come (`receive`), takes out what is to be sent (`produce`), and
acts on events. What must stay true:

* What the peer does never raises. Its fault in a stream ends that stream: RST_STREAM is queued, and `StreamReset` is
  an event. Its fault in the connection makes `ConnectionFailed` the last event, behind all good ones, with GOAWAY
  queued. What the caller does wrong raises LocalProtocolError before anything has changed.
* Heads are encoded, and a client's streams get their ids, at the moment they are produced. So HPACK's order is the
  order of the wire, ids rise whatever the callers do, and a request that is given up before that leaves no trace.
* Frames are produced whole. A driver may drop everything after any call, never half a frame.
* Nothing that comes makes reading stop. Content is bounded by the windows of the streams, which open only as the
  application consumes (`credit`); the connection's window opens as content comes, so a stream that nobody reads stops
  itself and no other. Control frames that pile up because the peer does not read end the connection.
* Windows are signed; there is room when both are positive. The end of a stream needs none.
* The number of streams is kept here alone. A client's slot is free when the stream is over; a server's when, besides,
  the application is done (`release`).

Messages are the events of HTTP/1, and what they may contain is decided by the same grammar.
"""

from __future__ import annotations

from typing import Any

from gruvihttp.errors import LocalProtocolError
from gruvihttp.limits import H2Limits, Limits
from gruvihttp.sansio import frames
from gruvihttp.sansio.allowance import FINISHED, Allowance
from gruvihttp.sansio.events import CONNECTION_CLOSED, Event, InformationalResponse, Request, Response
from gruvihttp.sansio.frames import HIGHEST_ID
from gruvihttp.sansio.h2control import ControlFrames
from gruvihttp.sansio.h2errors import ConnectionFault, Defence, ErrorCode
from gruvihttp.sansio.h2events import ConnectionFailed, ExtendedConnect, StreamIncomplete
from gruvihttp.sansio.h2heads import SentHead, of_checked, of_request, of_response, of_trailers
from gruvihttp.sansio.h2inbox import Inbox
from gruvihttp.sansio.h2ownsettings import OwnSettings, preface
from gruvihttp.sansio.h2receiver import Receiver
from gruvihttp.sansio.h2sections import Sections
from gruvihttp.sansio.h2sender import Sender
from gruvihttp.sansio.h2settings import (
    CLIENT_SETTINGS,
    DEFAULT_WINDOW_BYTES,
    SERVER_SETTINGS,
    PeerSettings,
    Settings,
)
from gruvihttp.sansio.h2streams import Stream, Streams
from gruvihttp.sansio.headers import EMPTY, Field, Headers
from gruvihttp.sansio.states import SERVER

__all__ = ["H2Engine"]

# How many streams a client may begin before the server has said it (RFC 9113 §6.5.2 recommends no less)
_STREAMS_AT_FIRST = 100
_DEBUG_BYTES = 64


class H2Engine:
    """One HTTP/2 connection, as `role` CLIENT or SERVER has it.

    `connection` is stream 0: events that concern the whole connection come with it, and its `owner` is the driver's.
    `peer_settings` is what the peer asks of us. `failed`: `ConnectionFailed` was given; nothing else comes.
    """

    def __init__(
        self,
        role: Any,
        settings: Settings | None = None,
        limits: Limits | None = None,
        h2_limits: H2Limits | None = None,
    ) -> None:
        self._server = server = role is SERVER
        self._settings = settings or (SERVER_SETTINGS if server else CLIENT_SETTINGS)
        self._limits = limits or Limits()
        self._h2_limits = h2_limits or H2Limits()
        self._allowance = Allowance(self._h2_limits.tokens, self._h2_limits.tokens_per_second)
        self._streams = Streams(self._allowance)
        first = preface(self._settings, server=server, list_bytes=self._limits.fields_bytes)
        self._sender = Sender(self._streams, self._allowance, preface=first, next_id=2 if server else 1)
        self.connection = Stream(
            0, send_window=DEFAULT_WINDOW_BYTES, recv_window=self._settings.connection_window_bytes
        )
        self._inbox = Inbox(self._streams, self._sender, self._allowance, self.connection, server=server)
        self._sections = Sections(self._inbox, self._limits, self._h2_limits)
        self._control = ControlFrames(self._inbox)
        self._receiver = Receiver(self._inbox, self._sections, self._control, self._h2_limits)
        self._own = OwnSettings(self._sections, self._receiver, self._control, self._sender)
        self._going_away = False
        self._ended = False
        self.failed = False
        self._own.expect(self._settings)

    # what there is to see

    @property
    def peer_settings(self) -> PeerSettings:
        """What the peer asks of us."""
        return self._control.peer_settings

    @property
    def tokens(self) -> float:
        """How much trouble the peer may still make."""
        return self._allowance.tokens

    @property
    def awaits_preface(self) -> bool:
        """Whether the peer has not sent its preface with its first SETTINGS yet."""
        return self._receiver.awaits_preface

    @property
    def awaits_acknowledgement(self) -> bool:
        """Whether the peer has not acknowledged all of our SETTINGS yet."""
        return bool(self._control.unacknowledged)

    @property
    def mid_section(self) -> bool:
        """Whether a header or trailer section has begun to come and is not complete."""
        return self._receiver.mid_section

    @property
    def takes_streams(self) -> bool:
        """Whether a client may begin a stream as soon as a slot is free. Once False it stays so."""
        closing = self.failed or self._ended or self._going_away or self._control.goaway_last is not None
        return not closing and not self._server and not self._used_up

    @property
    def _used_up(self) -> bool:
        """Whether there may be no id left for another stream of ours, as each head that waits may take one."""
        return self._sender.next_id + 2 * len(self._sender.heads) > HIGHEST_ID  # RFC 9113 §5.1.1

    @property
    def streams(self) -> list[Stream]:
        """The streams that are open, those included whose request has not left."""
        return self._sender.open_streams()

    @property
    def taken_slots(self) -> int:
        """How many streams take a slot: on a server, also those that are over, but whose application is not done."""
        return self._streams.taken

    @property
    def free_slots(self) -> int:
        """How many streams a client may begin now. It can be no more for a while when the peer lowers its bound."""
        most = self.peer_settings.concurrent_streams
        if most is None:
            most = HIGHEST_ID if self._sender.may_send_content else _STREAMS_AT_FIRST
        return max(0, most - self._streams.taken) if self.takes_streams else 0

    @property
    def has_output(self) -> bool:
        """Whether `produce` has something to give."""
        return self._sender.has_output

    @property
    def ready_streams(self) -> list[Stream]:
        """The streams that have content queued and room in their own window."""
        return self._sender.ready

    def window(self, stream: Stream) -> int:
        """How much content of a stream may leave now; 0 or less: none."""
        if not self._sender.may_send_content:
            return 0
        return min(stream.send_window if stream.id else self._sender.stream_window, self._sender.window)

    def fits(self, stream: Stream) -> bool:
        """Whether the windows let all leave that is queued for a stream, and what is queued for others besides."""
        queued = stream.queued_bytes
        return not queued or (queued <= self.window(stream) and self._streams.queued_bytes <= self._sender.window)

    # what comes

    def receive(self, data: bytes, now: float | None = None) -> list[tuple[Stream, Event]]:
        """The events of these bytes, each with its stream. `now`, in seconds, lets the peer's allowance recover."""
        if self.failed:
            return []
        if now is not None:
            self._allowance.tick(now)
        events: list[tuple[Stream, Event]] = []
        self._inbox.events = events
        try:
            self._receiver.receive(data)
            self._check_output()
        except ConnectionFault as fault:
            self._fail(fault)
        return events

    def eof(self) -> list[tuple[Stream, Event]]:
        """The events of the end of the peer's bytes: `StreamIncomplete` for open streams, then ConnectionClosed."""
        if self.failed or self._ended:
            return []
        self._ended = True
        events: list[tuple[Stream, Event]] = []
        for stream in self.streams:
            events.append((stream, StreamIncomplete(retryable=not stream.id)))
            self._streams.abandon(stream)
        events.append((self.connection, CONNECTION_CLOSED))
        return events

    def _check_output(self) -> None:
        limits, sender = self._h2_limits, self._sender
        if sender.control_bytes > limits.control_bytes or sender.control_count > limits.control_count:
            reason = "answers that the peer does not read"
            raise ConnectionFault(ErrorCode.ENHANCE_YOUR_CALM, reason, Defence.UNREAD_ANSWERS)

    def _fail(self, fault: ConnectionFault) -> None:
        self.failed = True
        for stream in self.streams:
            self._streams.abandon(stream)
        debug = fault.reason.encode("ascii", "replace")[:_DEBUG_BYTES]
        self._sender.fail(frames.goaway(self._streams.highest, fault.code, debug))
        self._inbox.put(self.connection, ConnectionFailed(fault.code, fault.reason, fault.defence))

    # what is to be sent

    def open(self, request: Request, *, scheme: bytes = b"https", end: bool = False) -> Stream:
        """Begin a stream with a request; `end`: it has no content. Its id is 0 until the head is produced.

        Raises LocalProtocolError if there is no slot (`free_slots`), if the connection takes no streams any more, or
        for a request that HTTP/2 cannot say.
        """
        if not self.takes_streams:
            used_up = "all streams of this connection are used up"
            raise LocalProtocolError(used_up if self._used_up else "no stream can be begun on this connection any more")
        if self.free_slots <= 0:
            raise LocalProtocolError("the peer allows no more streams at a time")
        if isinstance(request, ExtendedConnect) and not self.peer_settings.connect_protocol:
            raise LocalProtocolError("the peer does not take extended CONNECT")
        head = of_request(request, scheme)
        if end and head.content_length:
            raise LocalProtocolError("Too little data for declared Content-Length")
        stream = Stream(0, send_window=0, recv_window=self._sections.stream_window)
        stream.method = request.method
        stream.released = True
        stream.sent_head = True
        stream.end_offered = end
        stream.left_to_offer = head.content_length
        self._streams.take_slot(stream)
        self._sender.head(stream, head.fields, end=end)
        return stream

    def send_head(self, stream: Stream, head: Response | InformationalResponse, *, end: bool = False) -> None:
        """Answer a stream; `end`: there is no content. A stream that is closed is left alone.

        Raises LocalProtocolError for a second final response, and for what HTTP/2 cannot say.
        """
        if stream.closed:
            return
        if isinstance(head, Response):
            self._answer(stream, of_response(head, stream.method), end=end)
            return
        self._check_unanswered(stream)
        if end:
            raise LocalProtocolError("an informational response is not the end")
        self._sender.head(stream, of_response(head, stream.method).fields, end=False)

    def send_checked(
        self, stream: Stream, status: int, fields: list[Field], length: int | None, *, end: bool = False
    ) -> None:
        """`send_head` for a final response whose fields are known to be right, with names in lower case.

        `length` becomes its Content-Length, where it may have one. What concerns a connection must not be there.
        """
        if not stream.closed:
            self._answer(stream, of_checked(status, fields, length, stream.method), end=end)

    def _answer(self, stream: Stream, sent: SentHead, *, end: bool) -> None:
        self._check_unanswered(stream)
        if end and sent.content_length:
            raise LocalProtocolError("Too little data for declared Content-Length")
        stream.sent_head = True
        stream.end_offered = end
        stream.left_to_offer = sent.content_length
        self._sender.head(stream, sent.fields, end=end)

    def _check_unanswered(self, stream: Stream) -> None:
        if not self._server or stream.sent_head:
            raise LocalProtocolError("this stream cannot be answered (again)")

    def offer(self, stream: Stream, data: Any, *, end: bool = False) -> None:
        """Queue content, any bytes-like object; `end`: it is the last. A stream that is closed is left alone.

        What can be changed by others is copied. How much is queued is the caller's care (`Stream.queued_bytes`).
        Raises LocalProtocolError before the head, behind the end, for more than announced, and for an early end.
        """
        if stream.closed:
            return
        content = _frozen(data)
        self._count(stream, len(content), end=end)
        if content:
            self._sender.content(stream, content)
        if end:
            stream.end_offered = True
            self._sender.end(stream)

    def finish(self, stream: Stream, trailers: Headers = EMPTY) -> None:
        """No more content. Raises LocalProtocolError as `offer` does."""
        if stream.closed:
            return
        self._count(stream, 0, end=True)
        stream.trailers = of_trailers(trailers) or None
        stream.end_offered = True
        self._sender.end(stream)

    def _count(self, stream: Stream, length: int, *, end: bool) -> None:
        if not stream.sent_head or stream.end_offered:
            raise LocalProtocolError("content before the head, or behind the end")
        left = stream.left_to_offer
        if left is None:
            return
        if length > left:
            raise LocalProtocolError("Too much data for declared Content-Length")
        if end and length < left:
            raise LocalProtocolError("Too little data for declared Content-Length")
        stream.left_to_offer = left - length

    def produce(self, limit: int) -> list[Any]:
        """Bytes-like pieces of whole frames, `limit` bytes in all: control frames, heads, content in turns.

        Only a last frame without content may exceed the limit. The pieces have to be sent, in this order.
        """
        return self._sender.produce(limit)

    def take_relieved(self) -> list[Stream]:
        """The streams whose queue fell below `h2sender.LOW_WATER_BYTES` since the last call: they may be given more."""
        relieved, self._sender.relieved = self._sender.relieved, []
        return relieved

    # steering

    def credit(self, stream: Stream, consumed: int) -> None:
        """The application has consumed this many bytes of a stream. Raises LocalProtocolError for too many."""
        if stream.closed or stream.got_end or stream.left_to_receive == 0:
            return  # nothing comes any more that would need room
        if consumed > stream.window_bytes - stream.recv_window - stream.credited:
            raise LocalProtocolError("more consumed than received")
        self._receiver.credit(stream, consumed, self._settings.widest_window_bytes)

    def reset(self, stream: Stream, code: int = ErrorCode.CANCEL) -> None:
        """End a stream before its end; what is queued for it is dropped. A stream that is closed is left alone.

        NO_ERROR after the end was offered means: when all is sent, the peer need not send the rest (RFC 9113 §8.1).
        """
        if stream.closed:
            return
        if code == ErrorCode.NO_ERROR and stream.end_offered and not stream.sent_end:
            stream.reset_after_end = stream.dropping = True  # what arrives until then is dropped
        else:
            self._sender.reset(stream, code)
            if not self._server:  # what was under way comes too late through no fault of the server's
                self._allowance.give(FINISHED)

    def release(self, stream: Stream) -> None:
        """On a server: the application is done with a stream. Needed for each `Request` and `RequestRefused`."""
        self._streams.release(stream)

    def goaway(self, code: int = ErrorCode.NO_ERROR, last: int | None = None) -> None:
        """Take no streams above `last` (by default the last one that has arrived); those below go on.

        With `last=2**31 - 1` it is a warning only, and another call has to follow (RFC 9113 §6.8).
        """
        if self.failed:
            return
        last = self._streams.highest if last is None else last
        if not self._server:
            self._going_away = True
        self._sections.last_id = last = min(last, self._sections.last_id)
        self._sender.control(frames.goaway(last, code))

    def ping(self, opaque: bytes = bytes(8)) -> None:
        """Have eight bytes sent back: `PingAcknowledged`."""
        if len(opaque) != 8:
            raise LocalProtocolError("PING carries eight bytes")
        self._sender.control(frames.ping(opaque))

    def set(self, settings: Settings) -> None:
        """Ask something else of the peer from now on. The window of the connection stays."""
        pairs = settings.pairs(server=self._server, list_bytes=self._limits.fields_bytes, all_values=True)
        self._sender.control(frames.settings(pairs))
        self._settings = settings
        self._own.expect(settings)


def _frozen(data: Any) -> bytes | memoryview:
    """The same bytes, in an object that nobody else can change."""
    if type(data) is bytes:
        return data
    if isinstance(data, memoryview) and data.readonly and data.contiguous:
        return data.cast("B")
    return bytes(data)
