"""`Http2ClientConnection`, the HTTP/2 client driver: many requests at a time, each on a stream of its own.

The theory is that of the server's driver. Nobody but the hub reads and writes. A callback in the hub reads what has
come, gives it to the engine and hands events to the streams' `Arrivals`; it never waits, so no stream, no greenlet and
no full socket can stop reading. What greenlets say goes into the engine and leaves once per pass of the loop, as the
socket takes it. Greenlets wait on their own stream, or in a queue for a free slot.

Whatever strikes a greenlet, its stream is reset and the connection goes on. A connection takes no more requests once
it has a `_refusal`: the server's GOAWAY, its end, a fault, or our own end. Streams that the server has taken before are
finished; then the connection is closed. `_loss` is why nothing comes any more on any stream.

Responses are collected in the order of the requests of each greenlet, in which order ever they come.
"""

from __future__ import annotations

import copy
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from enum import Enum
from threading import get_ident
from time import monotonic
from typing import Any
from weakref import ref

import gevent
from gevent import get_hub
from greenlet import getcurrent

from gruvihttp.errors import (
    Error,
    HttpError,
    IncompleteMessage,
    LocalProtocolError,
    StreamError,
    Timeout,
    TransportError,
)
from gruvihttp.exchanges.http1_client_exchange import fresh
from gruvihttp.exchanges.http2_arrivals import Arrivals
from gruvihttp.exchanges.http2_client_exchange import Http2ClientExchange
from gruvihttp.exchanges.http2_outbox import Outbox
from gruvihttp.exchanges.uncollected import Uncollected
from gruvihttp.exchanges.wakeups import Wakeups
from gruvihttp.limits import Limits, Timeouts
from gruvihttp.net.channel import Channel
from gruvihttp.net.deadline import Alarm, moment_after, timeout_or_default
from gruvihttp.net.sockets import BytesLike
from gruvihttp.sansio.events import Data, EndOfMessage, InformationalResponse, Response, parsed_request
from gruvihttp.sansio.framing import Framing
from gruvihttp.sansio.h2errors import ErrorCode
from gruvihttp.sansio.h2events import ConnectionFailed, GoAwayReceived, PingAcknowledged, SettingsChanged, StreamReset
from gruvihttp.sansio.h2fields import lowercase_headers
from gruvihttp.sansio.h2settings import Settings
from gruvihttp.sansio.h2streams import Stream
from gruvihttp.sansio.headers import EMPTY, Field
from gruvihttp.sansio.http2 import H2Engine
from gruvihttp.sansio.states import CLIENT

__all__ = ["Http2ClientConnection"]

OnInformational = Callable[[Http2ClientExchange, InformationalResponse], object]


class _Wait(Enum):
    """What the connection itself waits for, and may not wait for too long."""

    SETTINGS = "the server has not said yet that it speaks HTTP/2"
    ROOM = "the socket takes nothing"
    END = "the server has not ended its side"


class Http2ClientConnection:
    """An HTTP/2 connection, seen from the client.

    Of `timeouts` it uses `read`, `write` and `total`, of which each request may have its own, `handshake` for the
    server's SETTINGS, and `linger`. `on_informational(exchange, response)` is called for each 1xx, in a greenlet.
    With `wait_for_settings` nothing is asked before the server has acknowledged our SETTINGS. `on_refused` is called in
    the hub when it takes no more requests.
    """

    on_refused: Callable[[], object] | None = None
    silent = False  # whether a connection is dead that seemed idle: here that is told before a request is sent

    def __init__(
        self,
        channel: Channel,
        limits: Limits | None = None,
        timeouts: Timeouts | None = None,
        on_informational: OnInformational | None = None,
        *,
        settings: Settings | None = None,
        wait_for_settings: bool = False,
    ) -> None:
        self.engine = H2Engine(CLIENT, settings, limits)
        self.loop = get_hub().loop
        self.thread = get_ident()
        self._channel = channel
        self._timeouts = timeouts or Timeouts()
        self._on_informational = on_informational
        self._scheme = b"http" if channel.get_extra_info("ssl") is None else b"https"
        self._wait_for_settings = wait_for_settings
        self._outbox = Outbox(self.engine, channel, self.flush_soon)
        self._alarm = Alarm(self.loop, self._expire)
        self._wait: _Wait | None = None
        self._flush_wanted = False
        self._fields: Sequence[Field] | None = None
        self._headers = EMPTY
        self._open: dict[Arrivals, ref[Http2ClientExchange]] = {}  # of which more may come
        self._emptying: set[Arrivals] = set()  # those that wait until all of theirs has left
        self._uncollected: Uncollected[Http2ClientExchange] = Uncollected()
        self._queue: deque[Wakeups] = deque()  # greenlets that wait for a slot
        self._news = Wakeups(self.loop)  # those that wait for anything else about the connection
        self._pings: dict[bytes, float] = {}  # what was acknowledged when
        self._pings_count = 0
        self._goaway: GoAwayReceived | None = None
        self._refusal: Error | None = None
        self._loss: Error | None = None
        self._closing = False
        self._dropped_bytes = 0
        self._linger_bytes = (limits or Limits()).linger_bytes

    def __repr__(self) -> str:
        state = "open" if self._refusal is None else f"refused: {self._refusal}"
        return f"<Http2ClientConnection {len(self._open)} responses due, {state}, {self._channel!r}>"

    def start(self) -> None:
        """Introduce ourselves, and begin to listen."""
        self._channel.park(self._readable)
        self.flush_soon()
        self._watch()

    # requests

    def send(
        self,
        method: bytes,
        target: bytes,
        version: bytes,
        fields: Sequence[Field],
        content: BytesLike,
        owner: Any,
        timeouts: Timeouts | None = None,
        upgrade: bytes = b"",
    ) -> None:
        """Send a whole request, whose fields are in lower case. `owner` is for `collect` and for errors.

        Waits for a slot, and for the windows. Returns when they allow all of it to leave, or when a response has come
        that makes the rest pointless. Raises HttpError when the connection takes no more requests, Timeout, and what
        has befallen the stream, which is a StreamError if the server has reset it.
        """
        exchange = self._open_stream(method, target, fields, owner, timeouts, end=not content)
        if content:
            try:
                exchange.send_all(content)
            except BaseException:
                self.withdraw(exchange)
                raise

    def begin(
        self,
        method: bytes,
        target: bytes,
        version: bytes,
        fields: Sequence[Field],
        framing: Framing,
        owner: Any,
        timeouts: Timeouts | None = None,
    ) -> Http2ClientExchange:
        """Begin a request whose content comes in pieces. Raises as `send` does."""
        return self._open_stream(method, target, fields, owner, timeouts, end=False)

    def collect(self, timeout: float | None = -1, owner: Any = None) -> Http2ClientExchange:
        """An exchange that was not collected yet, once the head of its response has come.

        It is the oldest one of the calling greenlet; for a greenlet that has made no request, the oldest one that no
        other greenlet waits for; with `owner`, that one's, in whatever order. `timeout` is in seconds: negative means
        the `read` of the request's timeouts, None for ever.

        Raises RuntimeError if there is none, or if another greenlet waits for it. Raises Timeout, after which one may
        try again unless its phase is ``"total"``, and what has befallen the stream.
        """
        exchange = self._uncollected.choose(owner)
        arrivals = exchange.arrivals
        if arrivals.response is None:
            self._await_response(exchange, moment_after(timeout_or_default(timeout, arrivals.timeouts.read)))
        self._uncollected.remove(exchange)
        exchange.content = arrivals.open_content()
        return exchange

    def _await_response(self, exchange: Http2ClientExchange, deadline: float | None) -> None:
        exchange.wanted = True
        try:
            exchange.arrivals.await_response(deadline)
        except Timeout as exc:
            if exc.phase == "total":
                self._uncollected.remove(exchange)
            raise
        except Error:
            self._uncollected.remove(exchange)
            raise
        except BaseException as exc:
            self._uncollected.remove(exchange)
            exchange.arrivals.give_up(HttpError(f"{type(exc).__name__} struck while waiting for the response"))
            raise
        finally:
            exchange.wanted = False

    def withdraw(self, exchange: Http2ClientExchange) -> None:
        """Let nobody collect the response to a request that has failed."""
        self._uncollected.remove(exchange)

    def ping(self, timeout: float | None = -1) -> float:
        """How long the server takes to send eight bytes back, in seconds. Raises Timeout("read"), HttpError."""
        self._check_usable()
        deadline = moment_after(timeout_or_default(timeout, self._timeouts.read))
        self._pings_count += 1
        opaque = self._pings_count.to_bytes(8)
        began = monotonic()
        self.engine.ping(opaque)
        self.flush_soon()
        while opaque not in self._pings:
            if self._loss is not None:
                raise fresh(self._loss)
            if not self._news.wait(deadline):
                raise Timeout("timed out: no answer to PING", phase="read")
        return self._pings.pop(opaque) - began

    def flush_at_end(self) -> None:
        """Say good-bye, and send what may leave. Quiet if that is not possible any more; never waits for long."""
        self._refuse(HttpError("it was closed"))
        if self._loss is None:
            self.engine.goaway()
        deadline = moment_after(self._timeouts.linger)
        self._flush()
        # closing with the server's SETTINGS unread would reset the connection, and it might lose what was asked
        while not self._is_over and (not self._outbox.empty or (self._open and self.engine.awaits_preface)):
            if not self._news.wait(deadline):
                break

    def leave(self) -> None:
        """Say good-bye as far as the socket takes it at once, and close. Never waits."""
        self._refuse(HttpError("it was closed"))
        if self._loss is None:
            self.engine.goaway()
        self._flush()
        self._channel.close()

    def lost(self) -> None:
        """The channel was closed."""
        self._lose(TransportError("the connection is closed"))

    # may there be a request?

    @property
    def is_idle(self) -> bool:
        """Whether all is answered to the end, and another request may be sent, as far as is known."""
        return not self._open and self._refusal is None

    def let_go(self) -> bool:
        """Whether it is idle. Responses that are here to their ends may be read later in any case."""
        return self.is_idle

    def stays_idle(self) -> bool:
        """Whether the connection can still be used."""
        return self._refusal is None

    # streams

    def _open_stream(
        self,
        method: bytes,
        target: bytes,
        fields: Sequence[Field],
        owner: Any,
        timeouts: Timeouts | None,
        *,
        end: bool,
    ) -> Http2ClientExchange:
        """Begin a stream, as soon as there is a slot for it."""
        timeouts = timeouts or self._timeouts
        deadline = moment_after(timeouts.total)
        self._check_usable()
        if self._queue or not self._has_slot():
            self._await_slot(timeouts, deadline)
        if fields is not self._fields:  # many requests are like the one before
            self._fields, self._headers = fields, lowercase_headers(list(fields))
        request = parsed_request(method, self._headers, target, b"2.0")
        try:
            stream = self.engine.open(request, scheme=self._scheme, end=end)
        except LocalProtocolError as exc:
            raise ValueError(f"HTTP/2 cannot carry this request: {exc}") from exc
        arrivals = stream.owner = Arrivals(self, stream, timeouts, deadline)
        exchange = Http2ClientExchange(self, arrivals, owner, ref(getcurrent()))
        self._open[arrivals] = ref(exchange)
        self._uncollected.add(exchange)
        self.flush_soon()
        return exchange

    def _has_slot(self) -> bool:
        if self._wait_for_settings and self.engine.awaits_acknowledgement:
            return False
        return self.engine.free_slots > 0

    def _await_slot(self, timeouts: Timeouts, total: float | None) -> None:
        """Wait until the server takes one more stream. First come, first served."""
        deadline, phase = moment_after(timeouts.write), "write"
        if total is not None and (deadline is None or total < deadline):
            deadline, phase = total, "total"
        mine = Wakeups(self.loop)
        self._queue.append(mine)
        try:
            while self._queue[0] is not mine or not self._has_slot():
                self._drop_unwanted()
                if not mine.wait(deadline):
                    raise Timeout(f"timed out: the server takes no more requests at a time ({phase})", phase=phase)
                self._check_usable()
        finally:
            self._queue.remove(mine)
            if self._queue:
                self._queue[0].wake()

    def _drop_unwanted(self) -> None:
        """Reset streams that only hold others up: full of content, or half sent, and their greenlet has ended."""
        for exchange in self._uncollected.abandoned():
            stream = exchange.arrivals.stream
            if stream.recv_window <= 0 or not stream.end_offered:
                self._uncollected.remove(exchange)
                exchange.arrivals.give_up(HttpError("the greenlet that made the request has ended"))

    def _offer_slot(self) -> None:
        if self._queue and (self._refusal is not None or self._has_slot()):
            self._queue[0].wake()

    def forget(self, arrivals: Arrivals) -> None:
        """Nothing comes any more on this stream."""
        self._open.pop(arrivals, None)

    def await_empty(self, arrivals: Arrivals) -> None:
        """Wake it when all of its output has left."""
        self._emptying.add(arrivals)

    # input, in the hub

    def _readable(self) -> None:
        """Read, and hand on what that means. An error of ours ends this connection, and the hub reports it."""
        try:
            data = self._channel.try_receive()
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
        self._offer_slot()
        if self._refusal is not None or self.engine.has_output:
            self.flush_soon()
        self._watch()

    def _react(self, stream: Stream, event: Any) -> None:
        """What is rare."""
        match event:
            case InformationalResponse():
                self._inform(stream.owner, event)
            case StreamReset():
                stream.owner.fail(_reset_error(event))
            case GoAwayReceived():
                self._goaway = event
                self._refuse(_goaway_error(event))
                self._news.wake()
            case SettingsChanged():
                self._news.wake()
            case PingAcknowledged():
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

    def flush_soon(self) -> None:
        """Send what there is at the end of this pass of the loop."""
        if not self._flush_wanted:
            self._flush_wanted = True
            self.loop.run_callback(self._flush)

    def _flush(self) -> None:
        self._flush_wanted = False
        if self._is_over:
            return
        try:
            if self._outbox.send():
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
        self._offer_slot()
        if self._outbox.empty:
            self._news.wake()
            if self._refusal is not None and not self._open:
                self._finish()
        self._watch()

    def _lose_output(self, exc: TransportError) -> None:
        """Nothing can be sent any more. What has come before says why, or is an answer."""
        with suppress(TransportError):
            while data := self._channel.try_receive():
                self._take(data)
        if self._goaway is not None and self._goaway.error_code != ErrorCode.NO_ERROR:
            self._lose(_goaway_error(self._goaway))
        else:
            self._lose(exc)

    # time

    def _watch(self) -> None:
        """Look what the connection waits for, and for how long that may be; nothing if it goes on waiting."""
        wait = self._waits_for()
        if wait is self._wait:
            return
        self._wait = wait
        seconds = self._patience(wait)
        if seconds is None:
            self._alarm.clear()
        else:
            self._alarm.set(monotonic() + seconds)

    def _waits_for(self) -> _Wait | None:
        if self._channel.closed:
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
                self._flush()  # before those who are woken close it
            case _Wait.ROOM:
                self._lose(Timeout("timed out: the server does not read", phase="write"))
            case _Wait.END:
                self._lose(HttpError("it was closed"))

    # the end

    def _check_usable(self) -> None:
        if self._refusal is not None:
            refusal = self._refusal
            error = HttpError(f"the connection cannot be used any more: {refusal}; close it and connect again")
            error.__cause__ = refusal
            error.retryable = True  # nothing of the request was sent
            raise error

    def _refuse(self, error: Error) -> None:
        """Take no more requests. The first reason counts."""
        if self._refusal is None:
            self._refusal = error
            for waiting in self._queue:
                waiting.wake()
            if self.on_refused is not None:
                self.loop.run_callback(self.on_refused)

    def _fail_all(self, error: Error) -> None:
        """Nothing comes any more on any stream; each hears of it."""
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
        """Whether nothing is sent any more."""
        return self._closing or self._channel.closed

    def _finish(self) -> None:
        """All is said: let the server read it before the connection is closed."""
        self._closing = True
        self._channel.shutdown_write()
        self._channel.park(self._discard)

    def _discard(self) -> None:
        """In the hub, closing: drop what comes until the server ends too."""
        data: bytes | None = b""
        with suppress(TransportError):
            data = self._channel.try_receive()
        if data is None:
            return
        self._dropped_bytes += len(data)
        if not data or self._dropped_bytes > self._linger_bytes:
            self._lose(HttpError("it was closed"))

    def _lose(self, error: Error) -> None:
        """The connection is over."""
        self._fail_all(error)
        self.engine.eof()  # no stream is open any more
        self._alarm.close()
        self._wait = None
        if self._channel.broken or isinstance(error, (Timeout, TransportError)):
            self._channel.abort()
        else:
            self._channel.close()

    def _end_error(self) -> Error:
        """What the end of the stream of bytes means."""
        goaway = self._goaway
        if goaway is not None and goaway.error_code != ErrorCode.NO_ERROR:
            return _goaway_error(goaway)
        return IncompleteMessage("the server closed the connection before the response was complete")


def _reset_error(event: StreamReset) -> StreamError:
    code = event.error_code
    if event.reason == "GOAWAY":
        text = "the server is leaving and has not looked at this request"
    elif event.local:
        text = f"the server broke the rules of HTTP/2 on this stream: {event.reason}"
    else:
        text = f"the server has reset the stream: {_name_of(code)}"
    error = StreamError(text, error_code=code)
    error.retryable = event.retryable
    return error


def _goaway_error(event: GoAwayReceived) -> StreamError:
    text = "the server is leaving"
    if event.error_code != ErrorCode.NO_ERROR:
        text = f"the server has given the connection up: {_name_of(event.error_code)}"
    if event.debug:
        text += f" ({event.debug[:64].decode('ascii', 'backslashreplace')!r})"
    return StreamError(text, error_code=event.error_code)


def _name_of(code: int) -> str:
    return code.name if isinstance(code, ErrorCode) else f"error {code}"
