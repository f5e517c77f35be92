"""`Http2Link`: the hub's side of a client's HTTP/2 connection, which reads and writes and never waits.

The theory is that of the server's driver. A callback in the hub reads what has arrived, gives it to the engine and
hands events to the streams' `Arrivals`; no stream, no greenlet and no full socket can stop reading. What greenlets send
goes into the engine and leaves once per pass of the loop, as the socket takes it.

A connection takes no more requests once it has a `_refusal`: the server's GOAWAY, its end, a fault, or our own end.
Streams that the server has taken before are finished; then the connection is closed, with time for the server to read
our last frames. `_loss` is why nothing more will arrive on any stream.

Who makes requests, and when there is room for one, is not known here.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Callable
from contextlib import suppress
from enum import Enum
from threading import get_ident
from time import monotonic
from typing import Any
from weakref import WeakSet, ref

import gevent
from gevent import get_hub

from gruvihttp.errors import Error, HttpError, IncompleteMessage, StreamError, Timeout, TransportError
from gruvihttp.exchanges.http2.arrivals import Arrivals
from gruvihttp.exchanges.http2.client_exchange import Http2ClientExchange
from gruvihttp.exchanges.http2.faults import goaway_error, reset_error
from gruvihttp.exchanges.http2.outbox import Outbox
from gruvihttp.exchanges.wakeups import Wakeups
from gruvihttp.limits import Limits, Timeouts
from gruvihttp.net.channel import Channel
from gruvihttp.net.deadline import Alarm
from gruvihttp.net.stall import Stall
from gruvihttp.sansio.events import Data, EndOfMessage, InformationalResponse, Response
from gruvihttp.sansio.h2errors import ErrorCode
from gruvihttp.sansio.h2events import ConnectionFailed, GoAwayReceived, PingAcknowledged, SettingsChanged, StreamReset
from gruvihttp.sansio.h2settings import Settings
from gruvihttp.sansio.h2streams import Stream
from gruvihttp.sansio.http2 import H2Engine
from gruvihttp.sansio.states import CLIENT

__all__ = ["Http2Link", "OnInformational"]

OnInformational = Callable[[Http2ClientExchange, InformationalResponse], object]


class _Wait(Enum):
    """What the connection itself waits for, for a limited time."""

    SETTINGS = "the server has not said yet that it speaks HTTP/2"
    ROOM = "the socket takes nothing"
    END = "the server has not ended its side"


class Http2Link:
    """An HTTP/2 connection with its streams. The half that makes requests is a subclass.

    `on_refused` is called in the hub when the connection takes no more requests.
    """

    on_refused: Callable[[], object] | None = None

    def __init__(
        self,
        channel: Channel,
        limits: Limits | None = None,
        timeouts: Timeouts | None = None,
        on_informational: OnInformational | None = None,
        settings: Settings | None = None,
    ) -> None:
        self.engine = H2Engine(CLIENT, settings, limits)
        self.loop = get_hub().loop
        self.thread = get_ident()
        self.channel = channel
        self._timeouts = timeouts or Timeouts()
        self._on_informational = on_informational
        self.sent_bytes = 0  # that the system has accepted
        self._outbox = Outbox(self.engine, channel, self.loop, self._flush)
        self.flush_soon = self._outbox.flush_soon
        self._alarm = Alarm(self.loop, self._expire)
        self._wait: _Wait | None = None
        self._reading: Stall | None = None  # whether the server reads, while the socket takes nothing
        self._open: dict[Arrivals, ref[Http2ClientExchange]] = {}  # those on which more may arrive
        self._emptying: set[Arrivals] = set()  # those that wait until all of their output has left
        self._news = Wakeups(self.loop)  # greenlets that wait for something about the connection
        self._pings: dict[bytes, float | None] = {}  # when they were acknowledged; None: not yet
        self._goaway: GoAwayReceived | None = None
        self._refusal: Error | None = None
        self._loss: Error | None = None
        self._closing = False
        self._linger_bytes = (limits or Limits()).linger_bytes
        _all.add(self)

    def start(self) -> None:
        """Introduce ourselves, and begin to listen."""
        self.channel.park(self._readable)
        self.flush_soon()
        self._watch()

    def lost(self) -> None:
        """The channel was closed."""
        self._lose(TransportError("the connection is closed"))

    def forget(self, arrivals: Arrivals) -> None:
        """Nothing more will arrive on this stream."""
        self._open.pop(arrivals, None)

    def await_empty(self, arrivals: Arrivals) -> None:
        """Wake it when all of its output has left."""
        self._emptying.add(arrivals)

    def _slots_changed(self) -> None:
        """There may be room for another stream, or none ever again."""
        raise NotImplementedError

    # input, in the hub

    def _readable(self) -> None:
        """Read, and hand on the events. An error of ours ends this connection, and the hub reports it."""
        try:
            data = self.channel.try_receive()
            if data:
                self._take(data)
            elif data is not None:
                self._lose(self._end_error())
        except TransportError as exc:
            self._lose(exc)
        except BaseException as exc:
            self._lose(HttpError(f"a fault of ours: {exc!r}"))
            raise

    def _take(self, data: bytes) -> None:
        for stream, event in self.engine.receive(data, monotonic()):
            kind = type(event)
            if kind is Data:
                stream.owner.feed(event.data)  # type: ignore[attr-defined]
            elif kind is EndOfMessage:
                stream.owner.end(event.headers)  # type: ignore[attr-defined]
            elif kind is Response:
                stream.owner.respond(event)
            else:
                self._react(stream, event)
        self._slots_changed()
        if self._refusal is not None or self.engine.has_output:
            self.flush_soon()
        self._watch()

    def _react(self, stream: Stream, event: Any) -> None:
        """Handle the rare events."""
        match event:
            case InformationalResponse():
                self._inform(stream.owner, event)
            case StreamReset():
                stream.owner.fail(reset_error(event, self._goaway))
            case GoAwayReceived():
                self._goaway = event
                self._refuse(goaway_error(event))
                self._news.wake()
            case SettingsChanged():
                self._news.wake()
            case PingAcknowledged():
                if event.opaque in self._pings:
                    self._pings[event.opaque] = monotonic()
                    self._news.wake()
            case ConnectionFailed():
                reason = f"the server broke the rules of HTTP/2: {event.reason}"
                self._fail_all(StreamError(reason, error_code=event.error_code))

    def _inform(self, arrivals: Arrivals, response: InformationalResponse) -> None:
        exchange_ref = self._open.get(arrivals)
        if arrivals.inform(response) and self._on_informational is not None and exchange_ref is not None:
            exchange = exchange_ref()
            if exchange is not None:  # a user's function has no place in the hub
                gevent.spawn_raw(self._on_informational, exchange, response)

    # output, in the hub

    def _flush(self) -> None:
        if self._is_over:
            return
        try:
            if sent_bytes := self._outbox.send():
                self.sent_bytes += sent_bytes
                self._wait = None  # progress
        except TransportError as exc:
            self._lose_output(exc)
            return
        except BaseException as exc:
            self._lose(HttpError(f"a fault of ours: {exc!r}"))
            raise
        for stream in self.engine.take_relieved():
            if stream.owner is not None:
                stream.owner.wake()
        for arrivals in [one for one in self._emptying if not one.stream.queued_bytes]:
            self._emptying.discard(arrivals)
            arrivals.wake()
        self._slots_changed()
        if self._outbox.empty:
            self._news.wake()
            if self._refusal is not None and not self._open:
                self._finish()
        self._watch()

    def _lose_output(self, exc: TransportError) -> None:
        """Nothing more can be sent. What has arrived before says why, or is a response."""
        with suppress(TransportError):
            while data := self.channel.try_receive():
                self._take(data)
        if self._goaway is not None and self._goaway.error_code != ErrorCode.NO_ERROR:
            self._lose(goaway_error(self._goaway))
        else:
            self._lose(exc)

    # time

    def _watch(self) -> None:
        """Set the alarm for what the connection waits for now, unless it still waits for the same."""
        wait = self._waits_for()
        if wait is self._wait:
            return
        self._wait = wait
        seconds = self._patience(wait)
        self._reading = self.channel.stall(seconds) if wait is _Wait.ROOM else None
        if seconds is None:
            self._alarm.clear()
        else:
            self._alarm.set(monotonic() + seconds)

    def _waits_for(self) -> _Wait | None:
        if self.channel.closed:
            return None
        if self._closing:
            return _Wait.END
        if self._outbox.stuck:
            return _Wait.ROOM
        return _Wait.SETTINGS if self.engine.awaits_preface else None

    def _patience(self, wait: _Wait | None) -> float | None:
        match wait:
            case _Wait.SETTINGS:
                return self._timeouts.handshake
            case _Wait.ROOM:
                return self._timeouts.write
            case _Wait.END:
                return self._timeouts.linger
        return None

    def _expire(self) -> None:
        """In the hub: it has waited too long."""
        match self._wait:
            case _Wait.SETTINGS:
                self.engine.goaway(ErrorCode.SETTINGS_TIMEOUT)
                self._fail_all(Timeout("timed out: the server does not answer in HTTP/2", phase="handshake"))
                self._flush()  # before a greenlet that is woken closes it
            case _Wait.ROOM:
                if self._reading is not None and self._reading.extend(self._alarm):
                    return
                self._lose(Timeout("timed out: the server does not read", phase="write"))
            case _Wait.END:
                self._lose(HttpError("it was closed"))

    # the end

    def _refuse(self, error: Error) -> None:
        """Take no more requests. The first reason counts."""
        if self._refusal is None:
            self._refusal = error
            self._slots_changed()
            if self.on_refused is not None:
                self.loop.run_callback(self.on_refused)

    def _fail_all(self, error: Error) -> None:
        """Fail every stream, since nothing more will arrive."""
        self._refuse(error)
        if self._loss is None:
            self._loss = error
        lost = list(self._open.items())
        exchanges = [exchange_ref() for arrivals, exchange_ref in lost if arrivals.response is None]
        error.unanswered = [exchange.owner for exchange in exchanges if exchange is not None]
        for arrivals, _ in lost:
            failure = copy.copy(error)
            failure.retryable = not arrivals.stream.id  # nothing of it was sent
            arrivals.fail(failure)
        self._news.wake()

    @property
    def _is_over(self) -> bool:
        """Whether nothing more is sent."""
        return self._closing or self.channel.closed

    def _finish(self) -> None:
        """Everything is sent: let the server read it before the connection is closed."""
        self._closing = True
        self.channel.shutdown_write()
        self.channel.park_and_drop(self._linger_bytes, lambda _: self._lose(HttpError("it was closed")))

    def _lose(self, error: Error) -> None:
        """The connection is over."""
        self._fail_all(error)
        self.engine.eof()  # no stream is open any more
        self._alarm.close()
        self._outbox.close()
        self._wait = None
        if self.channel.broken or isinstance(error, (Timeout, TransportError)):
            self.channel.abort()
        else:
            self.channel.close()

    def _end_error(self) -> Error:
        """What the end of input means."""
        goaway = self._goaway
        if goaway is not None and goaway.error_code != ErrorCode.NO_ERROR:
            return goaway_error(goaway)
        return IncompleteMessage("the server closed the connection before the response was complete")

    def disown(self) -> None:
        """This process is the child of a fork: leave the connection to the parent, whose bytes we would read."""
        self._refusal = self._loss = HttpError("it belongs to the parent of this process")
        self._open.clear()
        self._alarm.close()
        self.channel.forget()


_all: WeakSet[Http2Link] = WeakSet()


def _after_fork() -> None:
    for link in list(_all):
        link.disown()


os.register_at_fork(after_in_child=_after_fork)
