"""`Taking`: whether the peer takes enough of a stream that a greenlet waits for.

A stream may stand still for three reasons. It waits for its turn, or for the socket: then the connection is watched.
What it has sent is still on its way, behind what others have sent, and its window cannot open before it is there: then
the connection must get on. Or the peer has it all, and opens no window: then the stream itself must get on.
"""

from __future__ import annotations

from time import monotonic
from typing import Protocol

from gruvihttp.net.channel import Channel
from gruvihttp.net.deadline import moment_after
from gruvihttp.sansio.h2streams import Stream
from gruvihttp.sansio.http2 import H2Engine

__all__ = ["Taking", "TakingCarrier"]


class TakingCarrier(Protocol):
    """What it needs of the connection."""

    channel: Channel
    engine: H2Engine
    sent_bytes: int


class Taking:
    """Periods of `seconds`, None for ever, in each of which the peer has to take enough. `deadline` ends this one."""

    __slots__ = ("_carrier", "_least", "_queued", "_seconds", "_stream", "_taken", "deadline")

    def __init__(self, carrier: TakingCarrier, stream: Stream, seconds: float | None) -> None:
        self._carrier = carrier
        self._stream = stream
        self._seconds = seconds
        self._least = max(carrier.channel.least_rate * (seconds or 0), 1)
        self._begin()

    def goes_on(self) -> bool:
        """Now that the deadline may have passed: has the peer taken enough? Then it has another period."""
        if self.deadline is None or monotonic() < self.deadline:
            return True
        if not self._is_enough():
            return False
        self._begin()
        return True

    def _begin(self) -> None:
        self.deadline = moment_after(self._seconds)
        self._queued = self._stream.queued_bytes
        self._taken = self._taken_of_all()

    def _is_enough(self) -> bool:
        carrier, stream = self._carrier, self._stream
        if carrier.engine.window(stream) > 0 or self._queued - stream.queued_bytes >= self._least:
            return True
        others_go_first = stream.send_window > 0 or carrier.channel.unread_bytes() > 0
        return others_go_first and self._taken_of_all() - self._taken >= self._least

    def _taken_of_all(self) -> int:
        """How much of what was sent on the connection has reached the peer's system."""
        return self._carrier.sent_bytes - self._carrier.channel.unread_bytes()
