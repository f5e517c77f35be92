"""Streams: what is known about each one, and which of them there are (RFC 9113 §5.1).

There is no enumeration of states. A stream is begun by one side and ended by each: `got_end`, `sent_end`; or it is
`closed`, by both ends or by a reset, and then it is no longer in the table. Windows are signed, as SETTINGS can take
away what was given before (RFC 9113 §6.9.2). Frames are not known here.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from typing import Any

from gruvihttp.sansio.allowance import FINISHED, Allowance
from gruvihttp.sansio.headers import Field

__all__ = ["Stream", "Streams"]

# How many streams are remembered as reset by us, for which frames may still be under way
_MOST_RESETS = 1024
# How many gaps between the streams of a peer are remembered
_MOST_GAPS = 16


class Stream:
    """One exchange. `owner` is the driver's own; the rest is to be read, not written, outside the engine.

    `id` is 0 until a client's request is on its way. `method` is the request's. `content_length` is what the peer has
    announced, if it has. `queued_bytes` were offered and are not sent yet. `reset_code` is the reset's, if there was
    one, by whichever side.
    """

    __slots__ = (
        "allowed_bytes", "closed", "content_length", "credited", "dropping", "end_offered", "expects_continue",
        "got_end", "got_head", "holds_slot", "id", "in_ready", "left_to_offer", "left_to_receive", "method", "owner",
        "queue", "queued_bytes", "recv_window", "released", "reset_after_end", "reset_code", "send_window", "sent_end",
        "sent_head", "trailers", "tunnel", "window_bytes",
    )  # fmt: skip

    def __init__(self, stream_id: int, *, send_window: int, recv_window: int) -> None:
        self.id = stream_id
        self.owner: Any = None
        self.method = b""
        self.closed = False
        self.reset_code: int | None = None
        self.holds_slot = False
        self.released = False
        # receiving
        self.recv_window = self.window_bytes = recv_window
        self.credited = 0  # bytes that were consumed, and that the peer has not been told of
        self.got_head = False
        self.got_end = False
        self.dropping = False  # content is not wanted any more
        self.content_length: int | None = None
        self.expects_continue = False
        self.left_to_receive: int | None = None
        self.allowed_bytes: int | None = None  # of content that was not announced
        self.tunnel = False  # what comes is another protocol's
        # sending
        self.send_window = send_window
        self.queue: deque[Any] = deque()  # of bytes-like objects
        self.queued_bytes = 0
        self.in_ready = False
        self.sent_head = False  # given, though perhaps not on its way
        self.end_offered = False
        self.sent_end = False
        self.trailers: list[Field] | None = None
        self.left_to_offer: int | None = None
        self.reset_after_end = False

    def __repr__(self) -> str:
        if self.closed:
            state = "closed" if self.reset_code is None else f"reset {self.reset_code}"
        else:
            ends = [name for name in ("got_end", "sent_end") if getattr(self, name)]
            state = " ".join(["open", *ends])
        return f"<Stream {self.id} {state}>"

    def drop_output(self) -> None:
        """Forget what was offered."""
        self.queue.clear()
        self.queued_bytes = 0
        self.trailers = None


class Streams:
    """The streams that are open, and how many slots are taken.

    A slot is what MAX_CONCURRENT_STREAMS counts for us. A server's is free when the stream is closed and the
    application is done with it; if a reset alone freed it, a client could start any number of applications.
    """

    __slots__ = ("_allowance", "_forgotten", "_gaps", "_resets", "by_id", "highest", "queued_bytes", "taken")

    def __init__(self, allowance: Allowance) -> None:
        self.by_id: dict[int, Stream] = {}
        self.highest = 0  # of those that the peer has begun
        self.taken = 0
        self.queued_bytes = 0  # of all streams
        self._allowance = allowance
        self._resets: OrderedDict[int, None] = OrderedDict()
        self._forgotten = 0  # the highest id that has left `_resets`
        self._gaps: deque[tuple[int, int]] = deque(maxlen=_MOST_GAPS)  # the ids between which none was used

    def begin(self, stream_id: int) -> None:
        """The peer has begun this stream, which is higher than all before."""
        if stream_id > self.highest + 2:
            self._gaps.append((self.highest, stream_id))
        self.highest = stream_id

    def was_passed_over(self, stream_id: int) -> bool:
        """Whether the peer has begun a higher stream without this one, not long ago: it cannot be begun any more."""
        return any(below < stream_id < above for below, above in self._gaps)

    def take_slot(self, stream: Stream) -> None:
        """Count a stream among those that take a slot."""
        stream.holds_slot = True
        self.taken += 1

    def release(self, stream: Stream) -> None:
        """The application has ended."""
        stream.released = True
        if stream.closed:
            self._free_slot(stream)

    def finish(self, stream: Stream) -> None:
        """Both sides have sent everything."""
        self._allowance.give(FINISHED)
        self._close(stream)

    def reset(self, stream: Stream, code: int, *, by_us: bool) -> None:
        """The stream is over before its end."""
        stream.reset_code = code
        if by_us and stream.id:
            self.remember_reset(stream.id)
        self._close(stream)

    def abandon(self, stream: Stream) -> None:
        """The connection is gone, and the stream with it."""
        self._close(stream)

    def remember_reset(self, stream_id: int) -> None:
        """Remember that what still arrives for this stream is late, and no fault."""
        self._resets[stream_id] = None
        if len(self._resets) > _MOST_RESETS:
            self._forgotten = max(self._forgotten, self._resets.popitem(last=False)[0])

    def was_reset(self, stream_id: int) -> bool:
        """Whether we have reset this stream. For those of long ago the answer is yes."""
        return stream_id in self._resets or stream_id <= self._forgotten

    def _close(self, stream: Stream) -> None:
        stream.closed = True
        self.queued_bytes -= stream.queued_bytes
        stream.drop_output()
        self.by_id.pop(stream.id, None)
        if stream.released:
            self._free_slot(stream)

    def _free_slot(self, stream: Stream) -> None:
        if stream.holds_slot:
            stream.holds_slot = False
            self.taken -= 1
