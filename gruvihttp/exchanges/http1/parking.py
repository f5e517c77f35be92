"""`Http1Parking`: a server's HTTP/1 connection while no worker has it: parked on its channel, and read in the hub.

When a head is complete, malformed or late, a worker takes over. What workers do is not known here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from gevent import GreenletExit
from greenlet import greenlet

from gruvihttp.errors import RemoteProtocolError, TransportError
from gruvihttp.exchanges.config import ServerConfig
from gruvihttp.exchanges.http1.input import Http1Input
from gruvihttp.exchanges.http1.phases import BUSY, CLOSED, HEAD, IDLE
from gruvihttp.net.channel import Channel
from gruvihttp.sansio.events import CONNECTION_CLOSED, Request
from gruvihttp.sansio.sentinels import NEED_DATA

__all__ = ["Http1Parking"]

# The first line of the preface of HTTP/2; the rest may arrive later
_HTTP2_PREFACE = b"PRI * HTTP/2.0\r\n\r\n"

# A round trip on any line: a client that has just connected sends its request within that time.
_FRESH_SECONDS = 1.0


class Http1Parking(Http1Input):
    """A connection that can be parked. A subclass says what its workers do."""

    __slots__ = ("_idle_seconds", "_is_fresh", "_worker", "may_persist", "on_preface")

    def __init__(self, channel: Channel, config: ServerConfig) -> None:
        super().__init__(channel, config)
        self.may_persist = True  # whether the server wants to go on with this connection
        self.on_preface: Callable[[bytes], object] | None = None
        self._idle_seconds = config.timeouts.idle
        self._is_fresh = True  # no request yet
        self._worker: greenlet | None = None  # who is at work, if it is to end with its client

    # the worker's side

    def _serve(self, request: Request) -> None:
        """Answer a request, and those behind it."""
        raise NotImplementedError

    def _refuse(self, exc: RemoteProtocolError) -> None:
        """Answer a request that could not be read, and close."""
        raise NotImplementedError

    def _answer_and_close(self, status: int | None) -> None:
        """Answer with a bare status, or with None not at all, and close. What is held is sent first."""
        raise NotImplementedError

    # the hub's side

    def start(self) -> None:
        """Begin to serve. Does not block."""
        self._enter(IDLE, self._config.timeouts.first_byte)
        self._listen()

    def shutdown(self) -> None:
        """Close as soon as no request is being served: at once if idle, else with the response, which announces it.

        A connection that has not had a request yet gets a moment for its first, which may be on its way. If the
        connection has left HTTP, its tunnel is told.
        """
        self.may_persist = False
        if self.current is not None and self.current.tunnel is not None:
            self.current.tunnel.drain()
        if self.phase is IDLE:
            self._readable()  # a request that has arrived already is answered
        if self.phase is IDLE:
            if self._is_fresh:
                self._enter(IDLE, _FRESH_SECONDS)
            else:
                self._close()

    def idle_since(self) -> float | None:
        """See `gruvihttp.net.room.Leaver`. One whose first request, or whose next head, is on its way has a moment."""
        if self.phase is HEAD:
            return self.since + _FRESH_SECONDS
        if self.phase is not IDLE or not self.may_persist:
            return None
        return self.since + _FRESH_SECONDS if self._is_fresh else self.since

    def evict(self) -> bool:
        """Close, because another client needs the place. False if a request has arrived, which is answered then."""
        if self.phase is IDLE or self.phase is HEAD:
            self._readable()
        if self.phase is IDLE or self.phase is HEAD:
            self._close()
        return self.phase is CLOSED

    def _listen(self) -> None:
        if not self._parked:
            self._parked = True
            self.channel.park(self._readable)

    def _park(self) -> None:
        self._enter(IDLE, self._idle_seconds)
        self._listen()

    def _readable(self) -> None:
        """In the hub: read and parse, until a head is complete or there is nothing more to read.

        An error of ours ends this connection, and the hub reports it.
        """
        if self.phase is BUSY:  # a worker has the connection; most answers are out before more input comes
            self._overhear()
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
        """Whether what was refused is HTTP/2, from a client that knows that we speak it (RFC 9113 §3.3)."""
        buffer = self._reader.buffer
        return buffer.data.startswith(_HTTP2_PREFACE, buffer.start)

    def _give_to(self, successor: Callable[[bytes], object]) -> None:
        """Hand over the connection, with what has arrived on it."""
        self._unpark()
        self._end()
        successor(self._reader.trailing_data[0])

    def _begin_head(self) -> None:
        if self.phase is IDLE and len(self._reader.buffer):
            self._enter(HEAD, self._config.timeouts.head)

    def _overhear(self) -> None:
        """In the hub, while a worker has the connection: leave input where it is.

        Unless the worker is to end with its client: the client's end lies behind what it has sent, so that is kept.
        """
        if self._worker is None or len(self._reader.buffer) >= self._config.limits.buffer_bytes:
            self._unpark()
            return
        try:
            data = self.channel.try_receive()
        except TransportError:
            data = b""
        if data is None:
            return
        self._tally.received_bytes += len(data)
        self._reader.receive_data(data)
        if data:
            return
        self._unpark()
        if self._worker is not None and self.current is not None and not self.current.finished:
            self._worker.throw(GreenletExit)

    def _work(self, job: Callable[[Any], None], argument: Any) -> None:
        self.phase = BUSY
        self._workers.run(job, argument)

    def _end(self) -> None:
        super()._end()
        self.on_preface = None  # it leads back here: only the collector would part them

    def _expire(self) -> None:
        phase = self.phase
        if phase is IDLE or phase is HEAD:
            self._readable()  # what has arrived in time may have had to wait for us
        if self.phase is phase:
            super()._expire()

    def _head_is_late(self) -> None:
        self._work(self._answer_and_close, 408)
