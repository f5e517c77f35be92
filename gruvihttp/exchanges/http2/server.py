"""The HTTP/2 server driver: one connection, its streams each handed to a handler in a greenlet of its own.

The theory. Only the hub reads and writes. A callback in the hub reads what has arrived, gives it to the engine, and
hands events to the exchanges; it never waits, so no stream and no handler can stop reading. What handlers send goes
into the engine and leaves once per pass of the loop, as much as the socket takes; the rest waits for room. A handler
waits for its own exchange only: for content, or for room in its stream's queue.

How long anything may last is in `phases`. The driver knows neither environ nor URLs.
"""

from __future__ import annotations

from collections.abc import Sequence
from errno import ECONNRESET
from time import monotonic
from typing import Any

from gevent import GreenletExit
from greenlet import getcurrent

from gruvihttp.errors import Timeout, TransportError
from gruvihttp.exchanges.base import Handler
from gruvihttp.exchanges.config import ServerConfig
from gruvihttp.exchanges.http2.input import Http2Input
from gruvihttp.exchanges.http2.phases import CLOSED, CLOSING, DRAINING, LEAVING, OPEN, Http2Phases, Wait
from gruvihttp.exchanges.http2.server_exchange import Http2ServerExchange
from gruvihttp.exchanges.pace import content_patience
from gruvihttp.exchanges.response import plain_error
from gruvihttp.exchanges.workers import Workers
from gruvihttp.net.channel import Channel
from gruvihttp.sansio.events import ConnectionClosed, Data, EndOfMessage, Request
from gruvihttp.sansio.frames import HIGHEST_ID
from gruvihttp.sansio.h2errors import ErrorCode
from gruvihttp.sansio.h2events import (
    ConnectionFailed,
    ExtendedConnect,
    PingAcknowledged,
    RequestRefused,
    StreamIncomplete,
    StreamReset,
)
from gruvihttp.sansio.h2streams import Stream
from gruvihttp.sansio.headers import Field
from gruvihttp.sansio.http2 import H2Engine
from gruvihttp.sansio.states import SERVER

__all__ = ["Http2ServerConnection"]


class Http2ServerConnection(Http2Phases):
    """One HTTP/2 connection of a server. `handler(exchange)` is called in a worker greenlet for each request.

    `notes` is the handler's own, for what it wants to keep as long as the connection lasts; so is `requests`, a number
    to count with. `owner` is the object that made the connection.
    """

    multiplexed = True

    def __init__(self, channel: Channel, handler: Handler, config: ServerConfig, owner: Any = None) -> None:
        engine = H2Engine(SERVER, config.h2_settings, config.limits, config.h2_limits)
        super().__init__(channel, engine, config)
        self.owner = owner
        self.notes: Any = None
        self.common = config.common_lines
        self.requests = 0
        self.refusal: tuple[Request | None, bytes] = (None, b"")  # what is known of the latest one
        self._handler = handler
        self._workers = config.workers or Workers.of_hub()
        self._left = config.limits.connection_requests or 0  # it is the 0 reached by counting down that counts
        self._ending: set[Http2ServerExchange] = set()  # those that wait until all of their output has left

    def __repr__(self) -> str:
        return f"<Http2ServerConnection {self._phase.value} {len(self._running)} running {self.channel!r}>"

    @property
    def active_requests(self) -> int:
        """How many requests are being answered."""
        return len(self._running)

    @property
    def write_timeout(self) -> float | None:
        """How long the peer may go without reading anything, in seconds; None: for ever."""
        return self._config.timeouts.write

    def evict(self) -> bool:
        """Leave, because another client needs the place. False if a request has arrived, which is answered then."""
        self._readable()
        if self.idle_since() is None:
            return self._phase is CLOSED
        if self._wait is Wait.REQUEST:
            self._go_away()
        else:
            self._lose()  # it has not got so far that it would wait for a goodbye
        return True

    def content_patience(self, exchange: Http2Input) -> float | None:
        """How long an exchange may wait for its next piece of content, in seconds."""
        return content_patience(self._config, exchange.received_bytes, exchange.waited_seconds)

    def peer_has_gone(self) -> bool:
        """Whether the peer has ended its side of the connection. Never waits."""
        return self.channel.peer_has_ended()

    def send_early_hints(self, fields: Sequence[Field]) -> None:
        """Does nothing: many exchanges are being answered, so each has this method of its own."""

    def start(self, data: bytes = b"") -> None:
        """Begin to serve; `data` has been received already. Does not block."""
        if data:
            self._take(data)
        if self._phase is not CLOSED:
            self.channel.park(self._readable)
            self.flush_soon()
            self._watch()

    def shutdown(self) -> None:
        """Take no more requests, let those be answered that there are, then close (RFC 9113 §6.8)."""
        if self._phase is OPEN:
            self._phase = LEAVING
            self.engine.goaway(last=HIGHEST_ID)
            self.engine.ping()
            for exchange in tuple(self._running):
                if exchange.tunnel is not None:
                    exchange.tunnel.drain()
            self.flush_soon()
            self._watch()

    def _lose(self, *, abort: bool = False) -> None:
        super()._lose(abort=abort)
        self.owner = self.notes = None  # or only the collector would part them

    # input, in the hub

    def _expire(self) -> None:
        wait = self._wait
        if wait is Wait.REQUEST or wait is Wait.HEAD:
            self._readable()  # what has arrived in time may have had to wait for us
        if self._wait is wait:
            super()._expire()

    def _readable(self) -> None:
        """Read, and hand on the events. An error of ours ends this connection, and the hub reports it."""
        try:
            data = self.channel.try_receive()
            if data is not None:
                self._take(data)
        except TransportError:
            self._lose()
        except BaseException:
            self._lose()
            raise

    def _take(self, data: bytes) -> None:
        self.tally.received_bytes += len(data)
        events = self.engine.receive(data, monotonic()) if data else self.engine.eof()
        for stream, event in events:
            kind = type(event)
            if kind is Data:
                if stream.owner is not None:
                    stream.owner.feed(event.data)  # type: ignore[attr-defined]
            elif kind is EndOfMessage:
                if stream.owner is not None:
                    stream.owner.end_content(event.headers)  # type: ignore[attr-defined]
            elif kind is Request:
                self._begin(stream, event)  # type: ignore[arg-type]  # it is one
            else:
                self._react(stream, event)
        if not data:
            self._lose()
        elif self._phase is not CLOSED:
            if self.engine.has_output or self._phase is DRAINING:  # a reset may have ended the last stream
                self.flush_soon()
            self._watch()

    def _begin(self, stream: Stream, request: Request) -> None:
        exchange = stream.owner = Http2ServerExchange(self, stream, request)
        self._running.add(exchange)
        self._is_fresh = False
        self._left -= 1
        if not self._left:
            self.shutdown()
        self._workers.run(self._serve, exchange)

    def _begin_other(self, stream: Stream, request: ExtendedConnect) -> None:
        """The client wants to speak another protocol on a stream (RFC 8441)."""
        if request.protocol.lower() == b"websocket":
            self._begin(stream, request)
        else:
            self._answer(stream, request, 501)  # RFC 9220 §3

    def _react(self, stream: Stream, event: Any) -> None:
        """Handle the rare events."""
        if getattr(event, "defence", None) is not None:
            self._count(event.defence)
        match event:
            case ExtendedConnect():
                self._begin_other(stream, event)
            case RequestRefused():
                if stream.owner is None:
                    self._answer(stream, event.request, event.error.status)
                else:
                    stream.owner.fail(event.error)
            case StreamReset():
                if stream.owner is not None:
                    self._give_up(stream.owner, _reset_error(event))
            case StreamIncomplete():
                if stream.owner is not None:
                    self._give_up(stream.owner, TransportError(ECONNRESET, "the client has closed the connection"))
            case ConnectionFailed():
                self._fail_all(TransportError(ECONNRESET, f"the connection has failed: {event.reason}"))
                self._phase = DRAINING
            case PingAcknowledged():
                if self._phase is LEAVING:
                    self._go_away()
            case ConnectionClosed():
                pass  # the caller has seen the end itself

    def _answer(self, stream: Stream, request: Request | None, status: int) -> None:
        """Answer a request without a handler."""
        if stream.closed:  # by what followed the request
            self.engine.release(stream)
        else:
            exchange = Http2ServerExchange(self, stream, request or _UNREADABLE)
            head, content = plain_error(status)
            exchange.send_head(head)
            exchange.finish_at_once(content)
            exchange.end()
        self.tally.refused += 1
        self.tally.statuses[status] += 1
        if self._config.on_refusal is not None:
            self.refusal = (request, b"")
            self._config.on_refusal(self, status)

    def _fail_all(self, fault: BaseException) -> None:
        for exchange in self._running:
            self._give_up(exchange, fault)

    def _give_up(self, exchange: Http2ServerExchange, fault: BaseException) -> None:
        """The client has gone, or has given up this exchange."""
        exchange.fail(fault)
        if exchange.worker is not None:
            self.loop.run_callback(self._cancel, exchange)  # after the greenlets that `fail` has woken

    def _cancel(self, exchange: Http2ServerExchange) -> None:
        if exchange.worker is not None and not exchange.finished:
            exchange.worker.throw(GreenletExit)

    # the worker's side

    def _serve(self, exchange: Http2ServerExchange) -> None:
        if self._config.cancel_on_disconnect:
            exchange.worker = getcurrent()
        try:
            self._handler(exchange)
        except (TransportError, Timeout):  # the peer has gone, or reads nothing: nobody is left to be told
            pass
        finally:
            self._end(exchange)

    def _end(self, exchange: Http2ServerExchange) -> None:
        exchange.worker = None
        self._running.discard(exchange)
        self._ending.discard(exchange)
        exchange.end()
        if exchange.complete:
            self.tally.statuses[exchange.head.status] += 1  # type: ignore[union-attr]  # complete, so there is one
        else:
            self.tally.aborted += 1
        exchange.let_go()
        exchange.stream.owner = None  # or only the collector would part them
        self.flush_soon()

    def await_end(self, exchange: Http2ServerExchange) -> None:
        """Wake an exchange when all of its output has left."""
        self._ending.add(exchange)

    # output, in the hub

    def _flush(self) -> None:
        if self._phase in (CLOSING, CLOSED):
            return
        try:
            sent_bytes = self._outbox.send()
        except TransportError:
            self._lose()
            return
        except BaseException:
            self._lose()
            raise
        if sent_bytes:
            self.tally.sent_bytes += sent_bytes
            self._note_sent(sent_bytes)
        for stream in self.engine.take_relieved():
            if stream.owner is not None:
                stream.owner.wake()
        for exchange in self._ending:
            if not exchange.stream.queued_bytes:
                exchange.wake()
        if self._phase is DRAINING and self._is_done():
            self._finish()
        self._watch()


# in place of a request whose fields were too many to be read
_UNREADABLE = Request(method=b"GET", target=b"/", headers=[(b"host", b"unknown")], http_version=b"2.0")


def _reset_error(event: StreamReset) -> TransportError:
    code = event.error_code.name if isinstance(event.error_code, ErrorCode) else str(event.error_code)
    if event.local:
        return TransportError(ECONNRESET, f"the stream was reset with {code}: {event.reason}")
    return TransportError(ECONNRESET, f"the client has reset the stream: {code}")
