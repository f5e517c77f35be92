"""The sending half of an HTTP/2 connection: what waits to be sent, and in which order it leaves.

Three things wait. Control frames leave first. Then heads: they wait as fields, and are encoded at the moment they
leave, so that the order of HPACK's blocks is the order of the wire, a client's stream ids rise, and a request that is
given up earlier leaves no trace. Then content, a frame of each stream in turn, as far as the windows of the
stream and of the connection allow. As heads go before content, content never overtakes the head of its own stream; and
trailers become a head only when the content before them has left.

A frame leaves whole or not at all. Readers and waiters are not known here.
"""

from __future__ import annotations

from collections import deque
from typing import Any

from gruvihttp.sansio import frames
from gruvihttp.sansio.allowance import Allowance
from gruvihttp.sansio.frames import DATA, END_STREAM, HIGHEST_ID
from gruvihttp.sansio.h2settings import DEFAULT_FRAME_BYTES, DEFAULT_WINDOW_BYTES
from gruvihttp.sansio.h2streams import Stream, Streams
from gruvihttp.sansio.headers import Field
from gruvihttp.sansio.hpack import Encoder

__all__ = ["LOW_WATER_BYTES", "Sender"]

# A stream with less than this in its queue may be given more
LOW_WATER_BYTES = 65536
_NO_ERROR = 0


class Sender:
    """Frames, heads and content that wait; `produce` composes them.

    `window` is the connection's; `stream_window` is what a new stream gets; `may_send_content` says that the peer's
    SETTINGS have arrived, before which its windows are not known. `relieved` are streams whose queue fell below
    `LOW_WATER_BYTES`; the caller that takes them empties the list.
    """

    def __init__(self, streams: Streams, allowance: Allowance, *, preface: bytes, next_id: int) -> None:
        self.window = self.stream_window = DEFAULT_WINDOW_BYTES
        self.frame_bytes = DEFAULT_FRAME_BYTES
        self.may_send_content = False
        self.encoder = Encoder()
        self.relieved: list[Stream] = []
        self.next_id = next_id
        self.control_bytes = 0
        self.updates: dict[Stream, None] = {}  # streams whose `credited` is to be told
        self.heads: deque[tuple[Stream, list[Field] | None, bool]] = deque()  # no fields: an empty DATA
        self._control: deque[bytes] = deque()
        self._ready: deque[Stream] = deque()  # with content and a window
        self._streams = streams
        self._allowance = allowance
        self._preface = preface

    @property
    def control_count(self) -> int:
        """How many control frames wait."""
        return len(self._control)

    @property
    def has_output(self) -> bool:
        """Whether `produce` has anything to give."""
        if self._control or self.heads or self.updates or self._preface:
            return True
        return bool(self._ready) and self.window > 0 and self.may_send_content

    @property
    def ready(self) -> list[Stream]:
        """The streams that have content and a window, in the order of their turns."""
        return [stream for stream in self._ready if not stream.closed and stream.send_window > 0]

    def unsent(self) -> list[Stream]:
        """The streams whose request has not left, so that they have no id yet."""
        waiting = [stream for stream, _, _ in self.heads if not stream.id and not stream.closed]
        return list(dict.fromkeys(waiting))  # once, though its trailers may wait, too

    def open_streams(self) -> list[Stream]:
        """The streams that are open, those included whose request has not left."""
        return [*self._streams.by_id.values(), *self.unsent()]

    def control(self, frame: bytes) -> None:
        """Send a control frame."""
        self._control.append(frame)
        self.control_bytes += len(frame)

    def head(self, stream: Stream, fields: list[Field] | None, *, end: bool) -> None:
        """Send a head, or without fields the bare end of a stream that has no content left."""
        self.heads.append((stream, fields, end))

    def content(self, stream: Stream, content: Any) -> None:
        """Send content that the caller will not change."""
        stream.queue.append(content)
        stream.queued_bytes += len(content)
        self._streams.queued_bytes += len(content)
        self.make_ready(stream)

    def end(self, stream: Stream) -> None:
        """Note that nothing but trailers, if there are any, follows what is queued."""
        if stream.queued_bytes:
            return
        if stream.trailers is None and self.heads and self.heads[-1][0] is stream:
            self.heads[-1] = (stream, self.heads[-1][1], True)  # END_STREAM on its head, which is still here
        else:
            self.head(stream, stream.trailers, end=True)
            stream.trailers = None

    def make_ready(self, stream: Stream) -> None:
        """Let a stream take its turn if it has something to send and may send it. Without an id it cannot."""
        if not stream.in_ready and stream.queued_bytes and stream.send_window > 0 and stream.id:
            stream.in_ready = True
            self._ready.append(stream)

    def reset(self, stream: Stream, code: int) -> None:
        """End a stream at once; what is queued for it is dropped. A request that has not left never will."""
        if stream.id:
            self.control(frames.reset(stream.id, code))
        self._streams.reset(stream, code, by_us=True)

    def fail(self, goaway: bytes) -> None:
        """Nothing leaves any more but the preface, if it has not, and this."""
        self._control.clear()
        self.control_bytes = 0
        self.updates.clear()
        self.heads.clear()
        self._ready.clear()
        self.control(goaway)

    def produce(self, limit: int) -> list[Any]:
        """Whole frames of `limit` bytes in all, in bytes-like pieces; only a last one without content may go beyond."""
        output: list[Any] = []
        if self._control or self.updates or self._preface:
            limit -= self._produce_control(output, limit)
        if self.heads and limit > 0:
            limit -= self._produce_heads(output, limit)
        if self._ready and self.window > 0 and self.may_send_content:
            limit -= self._produce_content(output, limit)
            if self.heads and limit > 0:  # trailers
                self._produce_heads(output, limit)
        return output

    def _produce_control(self, output: list[Any], limit: int) -> int:
        produced = len(self._preface)
        if produced:
            output.append(self._preface)
            self._preface = b""
        for stream in self.updates:
            if stream.credited and not stream.got_end and not stream.closed:
                self.control(frames.window_update(stream.id, stream.credited))
                stream.recv_window += stream.credited
                stream.credited = 0
        self.updates.clear()
        control = self._control
        while control and produced < limit:
            frame = control.popleft()
            produced += len(frame)
            self.control_bytes -= len(frame)
            output.append(frame)
        return produced

    def _produce_heads(self, output: list[Any], limit: int) -> int:
        produced = 0
        heads = self.heads
        while heads and produced < limit:
            stream, fields, end = heads.popleft()
            if stream.closed:
                continue
            if not stream.id:
                self._give_id(stream)
            if fields is None:
                frame = frames.frame(DATA, END_STREAM, stream.id)
            else:
                block = self.encoder.encode(fields)
                frame = frames.head(block, end=end, stream_id=stream.id, frame_bytes=self.frame_bytes)
            produced += len(frame)
            output.append(frame)
            if end:
                self._has_ended(stream)
        return produced

    def _give_id(self, stream: Stream) -> None:
        stream.id = self.next_id
        self.next_id += 2
        stream.send_window = self.stream_window
        self._streams.by_id[stream.id] = stream
        self.make_ready(stream)

    def _produce_content(self, output: list[Any], limit: int) -> int:
        produced = given = 0
        ready = self._ready
        most = self.frame_bytes
        head_bytes = frames.FRAME_HEAD_BYTES
        while ready and self.window > 0:
            room = limit - produced - head_bytes
            if room <= 0:
                break
            stream = ready.popleft()
            length = stream.queued_bytes
            if length > room or length > most:
                length = min(room, most)
            if length > stream.send_window or length > self.window:
                length = min(stream.send_window, self.window)
            if length <= 0:  # closed, or SETTINGS have taken its window away
                stream.in_ready = False
                continue
            left = stream.queued_bytes - length
            end = stream.end_offered and not left and stream.trailers is None
            output.append(frames.data_head(length, END_STREAM if end else 0, stream.id))
            _take(stream.queue, length, output)
            if stream.queued_bytes >= LOW_WATER_BYTES > left:
                self.relieved.append(stream)
            stream.queued_bytes = left
            self._streams.queued_bytes -= length
            stream.send_window -= length
            self.window -= length
            produced += head_bytes + length
            # what we send will be acknowledged, by some peers in small steps
            given += 2 + (length >> 10)
            if left and stream.send_window > 0:
                ready.append(stream)
                continue
            stream.in_ready = False
            if end:
                self._has_ended(stream)
            elif not left and stream.end_offered:
                self.end(stream)
        if given:
            self._allowance.give(given)
        return produced

    def _has_ended(self, stream: Stream) -> None:
        """The end of a stream has left."""
        stream.sent_end = True
        if stream.got_end:
            self._streams.finish(stream)
        elif stream.reset_after_end:
            # in the next output, and so in a TLS record of its own: curl 7.88 loses a response that it reads with this
            self.reset(stream, _NO_ERROR)

    def open_stream(self, stream: Stream, increment: int) -> bool:
        """Widen a stream's window. Was there no room before, and is now?

        Raises OverflowError for a window beyond 2**31 - 1.
        """
        before = stream.send_window
        stream.send_window = after = before + increment
        if after > HIGHEST_ID:
            raise OverflowError
        self.make_ready(stream)
        return before <= 0 < after

    def open_connection(self, increment: int) -> bool:
        """Widen the connection's window. Was there no room before, and is now? Raises OverflowError."""
        before = self.window
        self.window = after = before + increment
        if after > HIGHEST_ID:
            raise OverflowError
        return before <= 0 < after


def _take(queue: deque[Any], length: int, output: list[Any]) -> None:
    """Move `length` bytes from the queue to the output without copying them."""
    while length:
        piece = queue[0]
        if len(piece) <= length:
            output.append(piece)
            length -= len(piece)
            queue.popleft()
        else:
            view = memoryview(piece)
            output.append(view[:length])
            queue[0] = view[length:]
            length = 0
