"""`Http1Phases`: the phases of a server's HTTP/1 connection, how long each may last, and how the last ones go.

A connection is in one phase: IDLE (no byte of a request has arrived), HEAD (some have), BUSY (a worker has it), CLOSING
(nothing more is sent, and what arrives is dropped, so that our last bytes are not lost to a reset), CLOSED. One alarm
serves all of them. What is received and sent in them is not known here.
"""

from __future__ import annotations

from enum import Enum
from time import monotonic
from typing import Any

from gevent import get_hub

from gruvihttp.exchanges.config import ServerConfig
from gruvihttp.net.channel import Channel
from gruvihttp.net.deadline import Alarm

__all__ = ["BUSY", "CLOSED", "CLOSING", "HEAD", "IDLE", "Http1Phases", "Phase"]


class Phase(Enum):
    """What a connection is doing."""

    IDLE = "idle"
    HEAD = "head"
    BUSY = "busy"
    CLOSING = "closing"
    CLOSED = "closed"


# under names of their own, since looking up a member in its class is slow
IDLE, HEAD, BUSY, CLOSING, CLOSED = Phase


class Http1Phases:
    """A connection that is in a phase, and since when."""

    __slots__ = ("_alarm", "_config", "_loop", "_parked", "_tally", "channel", "phase", "since")

    def __init__(self, channel: Channel, config: ServerConfig) -> None:
        self.channel = channel
        channel.least_rate = config.limits.write_rate or 0
        self.phase = IDLE
        self.since = 0.0  # a moment of time.monotonic(): when a phase with a time of its own began
        self._config = config
        self._tally = config.tally
        self._loop: Any = get_hub().loop  # Any: gevent's loops share no public type
        self._alarm = Alarm(self._loop, self._expire)
        self._parked = False

    def _enter(self, phase: Phase, seconds: float | None) -> None:
        """Begin a phase that may last `seconds`, or for ever."""
        self.phase = phase
        self.since = now = monotonic()
        if seconds is None:
            self._alarm.clear()  # that of the previous phase
        else:
            self._alarm.set(now + seconds)

    def _expire(self) -> None:
        """In the hub: the phase has lasted too long."""
        if self.phase is HEAD:
            self._head_is_late()
        elif self.phase is IDLE:
            self._close()
        elif self.phase is CLOSING:
            self.abort()

    def _head_is_late(self) -> None:
        """In the hub: a request has begun, and its head is not complete in time."""
        raise NotImplementedError

    def _unpark(self) -> None:
        """Stop reading: leave input in the system's buffer."""
        self._parked = False
        self.channel.unpark()

    # the end

    def _linger(self) -> None:
        """Everything is sent: end our side, and wait until the peer has ended its own."""
        self.channel.shutdown_write()
        self._enter(CLOSING, self._config.timeouts.linger)
        self.channel.park_and_drop(self._config.limits.linger_bytes, self._end_lingering)

    def _end_lingering(self, too_much: bool) -> None:
        if not too_much:
            self._close()
        elif self._config.timeouts.linger is None:
            self.abort()
        else:
            self._unpark()  # a peer whose upload is stuck has the rest of the time to read the answer

    def _close(self) -> None:
        self._end()
        self.channel.close()

    def abort(self) -> None:
        """Reset the connection, so that the peer cannot take what it got for a complete response."""
        self._end()
        self.channel.abort()

    def _end(self) -> None:
        self.phase = CLOSED
        self._alarm.close()
