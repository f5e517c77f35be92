"""What the parts of the receiving half share: where events go, what trouble costs, how a bad stream is ended.

Bytes are not known here.
"""

from __future__ import annotations

from gruvihttp.sansio.allowance import FAULT, Allowance, Cost
from gruvihttp.sansio.events import Event
from gruvihttp.sansio.h2errors import ConnectionFault, Defence, ErrorCode, StreamFault
from gruvihttp.sansio.h2events import StreamReset
from gruvihttp.sansio.h2sender import Sender
from gruvihttp.sansio.h2streams import Stream, Streams

__all__ = ["Inbox"]


class Inbox:
    """Events with their streams, in the order of their arrival. `connection` is stream 0."""

    __slots__ = ("_allowance", "connection", "events", "sender", "server", "streams")

    def __init__(
        self, streams: Streams, sender: Sender, allowance: Allowance, connection: Stream, *, server: bool
    ) -> None:
        self.events: list[tuple[Stream, Event]] = []
        self.streams = streams
        self.sender = sender
        self.connection = connection
        self.server = server
        self._allowance = allowance

    def put(self, stream: Stream, event: Event) -> None:
        """Append an event."""
        self.events.append((stream, event))

    def charge(self, cost: Cost) -> None:
        """Let the peer pay for trouble. Raises ConnectionFault when it cannot."""
        if not self._allowance.spend(cost.tokens):
            reason = "too many frames that bring nobody forward"
            raise ConnectionFault(ErrorCode.ENHANCE_YOUR_CALM, reason, cost.defence)

    def fail(self, stream: Stream, fault: StreamFault) -> None:
        """End a stream for a fault of the peer's."""
        self.reset(stream, fault.code, fault.reason, fault.defence)
        if self.server:
            self.charge(FAULT)

    def reset(self, stream: Stream, code: int, reason: str, defence: Defence) -> None:
        """End a stream, and say so to both sides."""
        self.sender.reset(stream, code)
        retryable = code == ErrorCode.REFUSED_STREAM
        self.put(stream, StreamReset(code, local=True, retryable=retryable, reason=reason, defence=defence))

    def is_idle(self, stream_id: int) -> bool:
        """Whether this stream has not been begun yet."""
        if bool(stream_id & 1) == self.server:
            return stream_id > self.streams.highest
        return stream_id >= self.sender.next_id
