"""`Http2Phases`: the phases of a server's HTTP/2 connection, what it waits for in them, and how the last ones go.

A connection is OPEN, then LEAVING (GOAWAY was announced, requests may be under way), DRAINING (no more streams are
taken), CLOSING (nothing more is sent, and what arrives is dropped) and CLOSED. One alarm limits whatever it waits for
at the moment: see `Wait`. What is received and sent is not known here.
"""

from __future__ import annotations

from enum import Enum
from errno import ECONNRESET
from time import monotonic
from typing import Any

from gevent import get_hub

from gruvihttp.errors import TransportError
from gruvihttp.exchanges.config import ServerConfig
from gruvihttp.exchanges.http2.outbox import Outbox
from gruvihttp.exchanges.http2.server_exchange import Http2ServerExchange
from gruvihttp.net.channel import Channel
from gruvihttp.net.deadline import Alarm
from gruvihttp.net.stall import Stall
from gruvihttp.sansio.h2errors import Defence, ErrorCode
from gruvihttp.sansio.http2 import H2Engine

__all__ = ["CLOSED", "CLOSING", "DRAINING", "LEAVING", "OPEN", "Http2Phases", "Phase", "Wait"]

# A round trip on any line: requests that the client sent before it knew of GOAWAY have arrived by then
_NOTICE_SECONDS = 1.0


class Phase(Enum):
    """What becomes of a connection."""

    OPEN = "open"
    LEAVING = "leaving"
    DRAINING = "draining"
    CLOSING = "closing"
    CLOSED = "closed"


OPEN, LEAVING, DRAINING, CLOSING, CLOSED = Phase


class Wait(Enum):
    """What the connection waits for, for a limited time."""

    ROOM = "the socket takes nothing"
    HEAD = "the preface or a section has begun"
    SETTINGS = "our SETTINGS are not acknowledged"
    NOTICE = "the client may not know yet that we leave"
    REQUEST = "no stream is open"
    WINDOW = "no handler runs, and clients do not take what is left"
    END = "the peer has not ended its side"
    HANDLER = "handlers run, each with timeouts of its own"


_BEFORE_REQUESTS = (Wait.REQUEST, Wait.HEAD, Wait.SETTINGS)


class Http2Phases:
    """A connection that is in a phase, and waits."""

    def __init__(self, channel: Channel, engine: H2Engine, config: ServerConfig) -> None:
        self.channel = channel
        channel.least_rate = config.limits.write_rate or 0
        self.engine = engine
        self.tally = config.tally
        self._config = config
        self.loop: Any = get_hub().loop  # Any: gevent's loops share no public type
        self._alarm = Alarm(self.loop, self._expire)
        self._outbox = Outbox(engine, channel, self.loop, self._flush)
        self.flush_soon = self._outbox.flush_soon
        self._phase = OPEN
        self._wait: Wait | None = None
        self._since = 0.0  # a moment of time.monotonic(): when that wait began
        self._reading: Stall | None = None  # while it waits for the client to read
        self.sent_bytes = 0  # that the system has accepted
        self._is_fresh = True  # no request yet
        self._is_leaving = config.is_leaving()  # to be left as soon as no stream is open
        self._running: set[Http2ServerExchange] = set()

    def _flush(self) -> None:
        """In the hub: send what may leave."""
        raise NotImplementedError

    def _fail_all(self, fault: BaseException) -> None:
        """No handler can go on."""
        raise NotImplementedError

    def idle_since(self) -> float | None:
        """See `gruvihttp.net.room.Leaver`. One whose first request, or whose next head, is on its way has a moment."""
        if self._phase is not OPEN or self._running:
            return None
        if self._wait is Wait.REQUEST and not self._is_fresh:
            return self._since
        return self._since + _NOTICE_SECONDS if self._wait in _BEFORE_REQUESTS else None

    @property
    def draining(self) -> bool:
        """Whether this connection is to end."""
        return self._phase is not OPEN

    def _is_done(self) -> bool:
        engine = self.engine
        if not self._outbox.empty:
            return False
        return engine.failed or not (self._running or engine.streams)

    # time

    def _watch(self) -> None:
        """Set the alarm for what the connection waits for now, unless it still waits for the same."""
        wait = self._waits_for()
        if wait is self._wait:
            return
        self._wait = wait
        self._since = monotonic()
        seconds = self._patience(wait)
        self._reading = self.channel.stall(seconds) if wait is Wait.ROOM or wait is Wait.WINDOW else None
        if seconds is None:
            self._alarm.clear()
        else:
            self._alarm.set(self._since + seconds)
        room = self._config.room
        if room.is_wanted and self.idle_since() == self._since and room.take():
            self._go_away()
        elif self._is_leaving and wait is Wait.REQUEST and not self._is_fresh:
            self._go_away()

    def leave(self) -> None:
        """Send GOAWAY as soon as no stream is open; an idle connection stays until its next request is answered.

        Not earlier: some clients give up their open streams when they receive it.
        """
        self._is_leaving = True
        if not self.engine.streams:
            self._is_fresh = True  # as if it had begun now

    def _waits_for(self) -> Wait | None:
        engine = self.engine
        if self._phase is CLOSED:
            return None
        if self._phase is CLOSING:
            return Wait.END
        if self._outbox.stuck:
            return Wait.ROOM
        if self._phase is LEAVING:
            return Wait.NOTICE
        if engine.awaits_preface or engine.mid_section:
            return Wait.HEAD
        if self._phase is OPEN and engine.awaits_acknowledgement:
            return Wait.SETTINGS
        if self._running:
            return Wait.HANDLER
        return Wait.WINDOW if engine.streams else Wait.REQUEST

    def _patience(self, wait: Wait | None) -> float | None:
        timeouts = self._config.timeouts
        match wait:
            case Wait.ROOM | Wait.WINDOW:
                return timeouts.write
            case Wait.HEAD | Wait.SETTINGS:
                return timeouts.head
            case Wait.NOTICE:
                return _NOTICE_SECONDS
            case Wait.REQUEST:
                return timeouts.idle
            case Wait.END:
                return timeouts.linger
        return None

    def _expire(self) -> None:
        """In the hub: it has waited too long."""
        match self._wait:
            case Wait.NOTICE | Wait.REQUEST:
                self._go_away()
            case Wait.SETTINGS:
                self._count(Defence.SETTINGS_TIMEOUT)
                self._go_away(ErrorCode.SETTINGS_TIMEOUT)
            case Wait.HEAD:
                self._count(Defence.SLOW_HEAD)
                self._lose(abort=True)
            case Wait.WINDOW | Wait.ROOM:
                if self._reading is not None and self._reading.extend(self._alarm):
                    return
                self._count(Defence.SLOW_READER)
                self._lose(abort=True)
            case Wait.END:
                self._lose(abort=True)

    def _note_sent(self, size: int) -> None:
        """So many bytes have left. What waits for the client to read waits on, if that is still so."""
        self.sent_bytes += size
        if self._reading is not None:
            self._reading.accept(size)
        elif self._wait is Wait.REQUEST:  # what it has got is as new as a request would be
            self._wait = None

    def _count(self, defence: Defence) -> None:
        self.tally.defences[defence] += 1

    # the end

    def _go_away(self, code: ErrorCode = ErrorCode.NO_ERROR) -> None:
        """Take no more streams, but those that have arrived."""
        self._phase = DRAINING
        self.engine.goaway(code)
        self.flush_soon()
        self._watch()

    def _finish(self) -> None:
        """Everything is sent: close without losing it."""
        if self.channel.eof:
            self._lose()
            return
        self._phase = CLOSING
        self.channel.shutdown_write()
        self.channel.park_and_drop(
            self._config.limits.linger_bytes, lambda too_much: self._lose(abort=too_much)
        )

    def _lose(self, *, abort: bool = False) -> None:
        """The connection is over; the next read or write of each handler raises that."""
        if self._phase is CLOSED:
            return
        self._phase = CLOSED
        self._alarm.close()
        self._outbox.close()
        self.engine.eof()  # no stream is open any more
        self._fail_all(TransportError(ECONNRESET, "the connection is closed"))
        if abort:
            self.channel.abort()
        else:
            self.channel.close()
