"""The HTTP/1 server driver: one connection, its requests one after another, each handed to a handler.

The theory. Between two exchanges nobody works on a connection: it is parked on its channel, and a callback in the hub
reads and parses. When that completes a head, a worker greenlet takes over and *pulls*: content is read when the
handler asks for it, and not before, which is all the back-pressure there is to have. A worker goes on with the next
request if that has come as a whole; else the connection is parked again.

Output is *held* as long as that costs nobody anything: until the handler has finished, until 64 KiB are there, or
until anything in this thread waits, for then the hub runs and flushes what is held. So a small answer is one send
however many pieces it is made of, and answers to pipelined requests that are ready together leave together. How
content is framed is decided when the head leaves: by then its length is often known.

A connection is in one phase: IDLE (no byte of a request), HEAD (some), BUSY (a worker has it), CLOSING (nothing is
sent any more, what comes is dropped, so that our last bytes are not lost to a reset), CLOSED. The driver knows
neither environ nor URLs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import Enum
from time import monotonic
from typing import Any

from gevent import get_hub

from gruvihttp.errors import (
    LocalProtocolError,
    RemoteProtocolError,
    Timeout,
    TransportError,
)
from gruvihttp.exchanges.config import ServerConfig
from gruvihttp.exchanges.http1_exchange import CLOSE, COMPLETE, DETACHED, HELD_BYTES, Http1ServerExchange, head_bytes
from gruvihttp.exchanges.response import plain_error
from gruvihttp.exchanges.tunnel import Tunnel
from gruvihttp.exchanges.workers import Workers, renew_context
from gruvihttp.net.channel import Channel
from gruvihttp.net.deadline import Alarm
from gruvihttp.sansio.events import CONNECTION_CLOSED, END_OF_MESSAGE, Data, EndOfMessage, Request
from gruvihttp.sansio.framing import NONE
from gruvihttp.sansio.headers import Field
from gruvihttp.sansio.sentinels import NEED_DATA
from gruvihttp.sansio.wire import RequestReader

__all__ = ["ServerConnection"]

_MOST_SHOWN_BYTES = 1024  # of the first line of what is no request: it may be anything, and is for people

# The first line of what begins a connection of HTTP/2; what follows it may come later
_HTTP2_PREFACE = b"PRI * HTTP/2.0\r\n\r\n"

Handler = Callable[[Http1ServerExchange], None]


# A round trip on any line: whoever has connected sends its request within that.
FRESH_SECONDS = 1.0


class Phase(Enum):
    """What a connection is doing."""

    IDLE = "idle"
    HEAD = "head"
    BUSY = "busy"
    CLOSING = "closing"
    CLOSED = "closed"


# by these names, for looking a member up in its class costs more than all else that is done with it
IDLE, HEAD, BUSY, CLOSING, CLOSED = Phase


class ServerConnection:
    """One HTTP/1 connection of a server.

    `handler(exchange)` is called in a worker greenlet for each request. It must finish or abort the exchange.
    `notes` is the handler's own, for what it wants to keep as long as the connection lasts; so is `requests`, a number
    to count with. `owner` is whoever made the connection, for handlers that want to know. `on_preface(data)` takes the
    connection over, with the bytes that have come, when the client turns out to speak HTTP/2.
    """

    __slots__ = (
        "_alarm",
        "_config",
        "_flush_wanted",
        "_handler",
        "_held",
        "held_bytes",
        "_idle",
        "_is_fresh",
        "_loop",
        "_parked",
        "_reader",
        "_sending",
        "_stall",
        "_statuses",
        "_tally",
        "may_persist",
        "on_preface",
        "_workers",
        "channel",
        "current",
        "drain_bytes",
        "notes",
        "owner",
        "phase",
        "requests",
    )

    multiplexed = False

    def __init__(self, channel: Channel, handler: Handler, config: ServerConfig, owner: Any = None) -> None:
        self.channel = channel
        self.owner = owner
        self.phase = IDLE
        self.notes: Any = None
        self.requests = 0
        self.current: Http1ServerExchange | None = None
        self.drain_bytes = config.limits.drain_bytes  # the most unread content that is dropped to keep the connection
        self._handler = handler
        self._config = config
        self._reader = RequestReader(config.limits, strict=True)
        self._loop = get_hub().loop
        self._alarm = Alarm(self._loop, self._expire)
        self._idle = config.timeouts.idle
        self._held: list[Any] = []
        self.held_bytes = 0
        self._flush_wanted = False
        self._is_fresh = True  # no request yet
        self._parked = False
        self._sending = False
        self._stall = config.timeouts.write
        self._tally = config.tally
        self._statuses = config.tally.statuses
        self.may_persist = True  # whether the server wants to go on with this connection
        self.on_preface: Callable[[bytes], object] | None = None
        self._workers = config.workers or Workers.of_hub()

    def __repr__(self) -> str:
        return f"<ServerConnection {self.phase.value} {self.channel!r}>"

    @property
    def active_requests(self) -> int:
        """How many requests are being answered."""
        return int(self.phase is BUSY)

    @property
    def write_timeout(self) -> float | None:
        """How long a peer may read nothing, in seconds."""
        return self._stall

    @property
    def refusal(self) -> tuple[Request | None, bytes]:
        """What is known of a request that was refused: all of it, or its first line as far as that has come."""
        reader = self._reader
        if reader.refused is not None:
            return reader.refused, b""
        start = reader.buffer.start
        line = bytes(reader.buffer.data[start : start + _MOST_SHOWN_BYTES]).partition(b"\n")[0]
        return None, line.removesuffix(b"\r")

    # the hub's side: nobody works on the connection

    def start(self) -> None:
        """Begin to serve. Does not block."""
        self._park()

    def shutdown(self) -> None:
        """Close as soon as no request is being served: at once if idle, else with the answer, which says so.

        A connection that has not had a request yet gets a moment for its first: that is on its way, or has no excuse.
        Whoever has taken the connection away from HTTP is told.
        """
        self.may_persist = False
        if self.current is not None and self.current.tunnel is not None:
            self.current.tunnel.drain()
        if self.phase is IDLE:
            self._readable()  # what has arrived already is answered
        if self.phase is IDLE:
            if self._is_fresh:
                self._enter(IDLE, FRESH_SECONDS)
            else:
                self._close()

    def _park(self) -> None:
        self._enter(IDLE, self._idle)
        if not self._parked:
            self._parked = True
            self.channel.park(self._readable)

    def _readable(self) -> None:
        """In the hub: read and parse, until a head is complete or there is nothing more to read.

        An error of ours ends this connection, and the hub reports it.
        """
        if self.phase is BUSY:  # not our turn; most answers are out before more input comes
            self._parked = False
            self.channel.unpark()
            return
        try:
            data = self.channel.try_receive()
            if data is None:
                return
            self._tally.received_bytes += len(data)
            reader = self._reader
            reader.receive_data(data)
            event = reader.next_event()
            if event is NEED_DATA:
                self._begin_head()
            elif event is CONNECTION_CLOSED:
                self._close()
            else:
                self._work(self._serve, event)
        except TransportError:
            self._close()
        except RemoteProtocolError as exc:
            if self._is_fresh and self.on_preface is not None and self._has_preface():
                self._give_to(self.on_preface)
            else:
                self._work(self._refuse, exc)
        except BaseException:
            self.abort()
            raise

    def _has_preface(self) -> bool:
        """Is what was refused the beginning of HTTP/2, from a client that knows that we speak it? (RFC 9113 §3.3)"""
        buffer = self._reader.buffer
        return buffer.data.startswith(_HTTP2_PREFACE, buffer.start)

    def _give_to(self, successor: Callable[[bytes], object]) -> None:
        """Let somebody else have the connection and what has come on it."""
        self._parked = False
        self.channel.unpark()
        self._end()
        successor(self._reader.trailing_data[0])

    def _begin_head(self) -> None:
        if self.phase is IDLE and len(self._reader.buffer):
            self._enter(HEAD, self._config.timeouts.head)

    def _enter(self, phase: Phase, seconds: float | None) -> None:
        """Begin a phase that may last so long."""
        self.phase = phase
        if seconds is None:
            self._alarm.clear()  # of the phase before
        else:
            self._alarm.set(monotonic() + seconds)

    def _work(self, job: Callable[[Any], None], argument: Any) -> None:
        self.phase = BUSY
        self._workers.run(job, argument)

    def _expire(self) -> None:
        """In the hub: the phase has lasted too long."""
        if self.phase is HEAD:
            self._work(self._answer_and_close, 408)
        elif self.phase is IDLE:
            self._close()
        elif self.phase is CLOSING:
            self.abort()

    # the worker's side

    def _serve(self, request: Request | None) -> None:
        self._is_fresh = False
        try:
            while request is not None:
                exchange = Http1ServerExchange(self, request, self._reader.plan)
                self.current = exchange
                self._handler(exchange)
                request = self._after(exchange)
                if request is not None:
                    renew_context()  # the job goes on, the exchange does not
        except (TransportError, Timeout):  # the peer has gone, or reads nothing: there is nobody to tell
            self._abandon()
        except BaseException:
            self._abandon()
            raise

    def _abandon(self) -> None:
        if self.current is not None:  # else the exchange was over
            self._tally.aborted += 1
        self.abort()

    def _after(self, exchange: Http1ServerExchange) -> Request | None:
        """Bring the connection to where the next request can begin, and return that if it has come already."""
        self.current = None
        if exchange.ending is not COMPLETE or self.phase is CLOSED:
            self._after_failure(exchange)
            return None
        self._statuses[exchange.head.status] += 1  # type: ignore[union-attr]  # complete, so there is one
        if exchange.plan.framing is NONE:
            self._reader.next_event()  # the end of the request
        elif not exchange.content_ended and not (exchange.persists and self._drained(exchange)):
            exchange.persists = False
        if not exchange.persists:
            self._finish()
            return None
        buffer = self._reader.buffer
        if buffer.start < len(buffer.data) or buffer.ended:
            return self._next_request()
        self.flush()
        if self.may_persist:
            self._park()
        else:
            self._finish()
        return None

    def _after_failure(self, exchange: Http1ServerExchange) -> None:
        """The response is not complete. End the connection, politely if the peer can see that all the same."""
        if exchange.ending is DETACHED:
            self._statuses[101] += 1
            self.end_tunnel()
            return
        self._tally.aborted += 1
        if exchange.finished and self.phase is not CLOSED:
            self._finish()
        else:
            self.abort()

    def _next_request(self) -> Request | None:
        """There is more input already: the next request, if it is there as a whole."""
        try:
            event = self._reader.next_event()
        except RemoteProtocolError as exc:
            self._refuse(exc)
            return None
        if type(event) is Request:
            if self.held_bytes >= HELD_BYTES:
                self.flush()
            elif self._held:
                self.flush_soon()
            return event
        self.flush()
        if event is CONNECTION_CLOSED or not self.may_persist:
            self._finish()
        else:
            self._park()
            self._begin_head()
        return None

    def _drained(self, exchange: Http1ServerExchange) -> bool:
        """Read what is left of the request's content, within bounds. Is the connection of use afterwards?"""
        reader = self._reader
        bound = self.drain_bytes
        deadline: float | None = None
        try:
            while True:
                event = reader.next_event()
                if event is END_OF_MESSAGE or type(event) is EndOfMessage:
                    return True
                if type(event) is Data:
                    bound -= len(event.data)
                    if bound < 0:
                        return False
                    continue
                self.flush()  # the peer may wait for the answer before it goes on
                if deadline is None and self._config.timeouts.drain is not None:
                    deadline = monotonic() + self._config.timeouts.drain
                self._receive(deadline, "drain")
        except (RemoteProtocolError, Timeout):
            return False

    def _refuse(self, exc: RemoteProtocolError) -> None:
        """Answer a request that could not be read, and close."""
        if exc.answerable:
            self._answer_and_close(exc.status)
        else:
            self._answer_and_close(None)

    def _answer_and_close(self, status: int | None) -> None:
        """Say that and nothing more; None says nothing. What is held goes first."""
        if status is None:
            self._tally.aborted += 1
        else:
            self._tally.refused += 1
            self._statuses[status] += 1
        if self._config.on_refusal is not None:
            self._config.on_refusal(self, status)
        try:
            if status is not None:
                head, content = plain_error(status)
                self.hold(head_bytes(b"1.1", head, CLOSE, len(content)) + content)
            self._finish()
        except (TransportError, Timeout):
            self.abort()

    def _receive(self, deadline: float | None, phase: str) -> None:
        """Wait for more of the request's content."""
        data = self.channel.receive(deadline, phase)
        self._tally.received_bytes += len(data)
        self._reader.receive_data(data)

    # output

    def hold(self, *buffers: Any) -> None:
        """Add output; it leaves by `flush`, or when anything waits after `flush_soon`."""
        for buffer in buffers:
            self._held.append(buffer)
            self.held_bytes += len(buffer)

    def hold_whole(self, buffer: bytes) -> None:
        """`hold` for one buffer, in fewer steps."""
        self._held.append(buffer)
        self.held_bytes += len(buffer)

    def flush(self) -> None:
        """Send what is held; waits while the peer does not read. Raises TransportError or Timeout("write")."""
        held = self._held
        if not held:
            return
        output = held[0] if len(held) == 1 else held.copy()
        held.clear()
        self._tally.sent_bytes += self.held_bytes
        self.held_bytes = 0
        self._sending = True
        try:
            self.channel.send(output, self._stall)
        except BaseException as exc:
            if self.current is not None:
                self.current.failure = exc
            raise
        finally:
            self._sending = False

    def send_file(self, fd: int, offset: int, count: int) -> None:
        """Send what is held, then that part of a file, which only works without TLS. Raises as `flush` does."""
        self.flush()
        self._sending = True
        try:
            self.channel.send_file(fd, offset, count, self._stall)
        except (TransportError, Timeout) as exc:
            if self.current is not None:
                self.current.failure = exc
            raise
        finally:
            self._sending = False
        self._tally.sent_bytes += count

    def flush_soon(self) -> None:
        """Flush as soon as this greenlet waits for anything."""
        if not self._flush_wanted:
            self._flush_wanted = True
            self._loop.run_callback(self._flush_in_hub)

    def _flush_in_hub(self) -> None:
        self._flush_wanted = False
        if self._sending or self.phase is not BUSY:
            return
        if self.current is not None:
            self.current.commit_held()
        if not self._held:
            return
        output = b"".join(self._held)
        try:
            rest = self.channel.try_send(output)
        except TransportError:  # the worker will find out
            return
        self._tally.sent_bytes += len(output) - len(rest)
        self._held = [rest] if len(rest) else []
        self.held_bytes = len(rest)
        if self._held:  # the worker may wait for long
            self.channel.when_writable(self._flush_in_hub)

    # the end

    def _finish(self) -> None:
        """Send what is held, then close without losing it."""
        self.flush()
        if self._reader.buffer.ended:
            self._close()
            return
        self.channel.shutdown_write()
        self._enter(CLOSING, self._config.timeouts.linger)
        self.held_bytes = 0  # from here on: how much was dropped
        self.channel.park(self._discard)

    def _discard(self) -> None:
        """In the hub, closing: drop what comes until the peer ends too."""
        try:
            data = self.channel.try_receive()
        except TransportError:
            data = b""
        if data is None:
            return
        self.held_bytes += len(data)
        if not data:
            self._close()
        elif self.held_bytes > self._config.limits.linger_bytes:
            self.abort()

    def _close(self) -> None:
        self._end()
        self.channel.close()

    def abort(self) -> None:
        """Cut the connection: the peer cannot take what it got for a whole response."""
        self._end()
        self.channel.abort()

    def _end(self) -> None:
        self.phase = CLOSED
        self._held = []
        self._alarm.close()

    # another protocol

    def detach(self, exchange: Http1ServerExchange) -> Tunnel:
        """Give the connection away, with the bytes that have come too early. No request follows on it."""
        if self.current is not exchange or self.phase is not BUSY:
            raise RuntimeError("the exchange is over")
        self.flush()
        self._parked = False
        self.channel.unpark()
        leading, _ = self._reader.trailing_data
        return Tunnel(self.channel, leading, draining=not self.may_persist)

    def end_tunnel(self) -> None:
        """Whoever had the connection is done with it: let the peer have all that was sent."""
        if self.phase is BUSY:
            try:
                self._finish()
            except TransportError:
                self.abort()

    def peer_has_gone(self) -> bool:
        """Has the peer ended its side of the connection? Never waits."""
        return self._reader.buffer.ended or self.channel.peer_has_ended()

    def send_early_hints(self, fields: Sequence[Field]) -> None:
        """Send 103 (Early Hints) for the exchange that is being answered; nothing if its head has left already."""
        if self.current is not None:
            self.current.send_informational(103, b"Early Hints", fields)

    # content

    def receive_content(self, exchange: Http1ServerExchange) -> bytes:
        """The next piece of the request's content, b"" at its end; waits for it.

        Raises RemoteProtocolError, Timeout("content") or TransportError; the connection will not persist then.
        LocalProtocolError if the exchange is over: what comes now belongs to another one.
        """
        if self.current is not exchange:
            raise LocalProtocolError("the exchange is over")
        try:
            while True:
                event = self._reader.next_event()
                if type(event) is Data:
                    exchange.received_bytes += len(event.data)
                    return event.data  # type: ignore[no-any-return]  # a decoder's data is bytes
                if type(event) is EndOfMessage:
                    exchange.end_content(event.headers)
                    return b""
                if exchange.wants_continue:
                    exchange.send_continue()
                timeout = self._config.timeouts.content
                deadline = None if timeout is None else monotonic() + timeout
                self._receive(deadline, "content")
        except BaseException as exc:
            exchange.persists = False
            exchange.failure = exc
            raise
