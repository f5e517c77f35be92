"""`Http2ServerExchange`: one request on a stream of an HTTP/2 connection, and the responses to it.

Output goes into the stream's queue, and a handler waits while that is full. If the stream ends early, a waiting
handler is woken, and its next write raises the reason. The request's content is in `input`. Frames and other streams
are not known here.
"""

from __future__ import annotations

from collections.abc import Sequence
from errno import ECONNRESET
from typing import Any, Protocol, cast

from greenlet import greenlet

from gruvihttp.errors import LocalProtocolError, Timeout, TransportError
from gruvihttp.exchanges.http2.input import Http2Input, InputCarrier
from gruvihttp.exchanges.http2.taking import Taking
from gruvihttp.exchanges.http2.tunnel import StreamChannel, as_upgrade
from gruvihttp.exchanges.response import CommonLines, ResponseHead, sendable_trailers
from gruvihttp.exchanges.served import BROKEN_OFF, COMPLETE, DETACHED
from gruvihttp.exchanges.tally import Tally
from gruvihttp.exchanges.tunnel import Tunnel
from gruvihttp.net.channel import Channel
from gruvihttp.net.sockets import BytesLike
from gruvihttp.sansio.events import Request, parsed_response
from gruvihttp.sansio.framing import has_no_content
from gruvihttp.sansio.h2errors import Defence, ErrorCode
from gruvihttp.sansio.h2events import ExtendedConnect
from gruvihttp.sansio.h2fields import lowercase_headers
from gruvihttp.sansio.h2sender import LOW_WATER_BYTES
from gruvihttp.sansio.h2streams import Stream
from gruvihttp.sansio.headers import Field

__all__ = ["Http2ServerExchange"]


class Carrier(InputCarrier, Protocol):
    """What an exchange needs of its connection."""

    common: CommonLines
    notes: Any
    owner: Any
    sent_bytes: int
    tally: Tally

    @property
    def draining(self) -> bool: ...

    @property
    def write_timeout(self) -> float | None: ...
    def await_end(self, exchange: Http2ServerExchange) -> None: ...


class Http2ServerExchange(Http2Input):
    """One request on a stream, and its responses. See `gruvihttp.exchanges.base.ServerExchange`."""

    worker: greenlet | None = None  # the one at work, if it is to end with its client
    head_sent = False
    persists = True  # a stream's end is not the connection's
    connection: Carrier
    _is_silent = False  # the response has no content, whatever the handler says

    def __init__(self, connection: Carrier, stream: Stream, request: Request) -> None:
        super().__init__(connection, stream)
        self.request = request
        if type(request) is ExtendedConnect:
            self.request = as_upgrade(request)
            self.upgrade = (request.protocol.lower(),)
        self.response_trailers: list[tuple[str, str]] = []  # the handler's, sent at the end

    def __repr__(self) -> str:
        return f"<Http2ServerExchange {self.request.method!r} {self.request.target!r} {self.stream!r}>"

    @property
    def status(self) -> int | None:
        """The status of the final response; None until its head has left."""
        return self.head.status if self.head is not None and self.head_sent else None

    def end(self) -> None:
        """The handler has ended. Reset the stream if the response, or the request, is not complete."""
        self._is_over = True
        self._chunks.clear()
        if self.ending is DETACHED:
            self.end_tunnel()
        if self.complete:
            if not self.stream.got_end:
                self._engine.reset(self.stream, ErrorCode.NO_ERROR)  # RFC 9113 §8.1: after the end of the response
        else:
            self._engine.reset(self.stream, ErrorCode.INTERNAL_ERROR)
        self._engine.release(self.stream)

    # response

    def send_informational(self, status: int, reason: bytes, fields: Sequence[Field] = ()) -> None:
        """Send a 1xx response at once, unless the final one has begun."""
        self.wants_continue = self.wants_continue and status != 100
        if self.head_sent or self.stream.closed:
            return
        headers = lowercase_headers(_lowered(fields))
        self._engine.send_head(self.stream, parsed_response(status, headers, b"2.0", b""))
        self.connection.flush_soon()

    def send_early_hints(self, fields: Sequence[Field]) -> None:
        """Send 103 (Early Hints); nothing if the final head has left already."""
        self.send_informational(103, b"Early Hints", fields)

    def send_continue(self) -> None:
        """Tell a client that waits for it to send its content."""
        self.send_informational(100, b"Continue")
        self.wants_continue = False

    def send_head(self, head: ResponseHead) -> None:
        """Give the head of the final response. It may be given again until it has left, with the first content."""
        if self.head_sent:
            if self.ending is DETACHED:
                return
            raise LocalProtocolError("the head of the response has been sent")
        self.head = head

    def send_data(self, data: bytes) -> bool:
        """Send a piece of content. Waits while the queue is full.

        False when the response has no content, so that more pieces are pointless. Raises LocalProtocolError if it is
        more than was announced, or if the response is finished; TransportError when the stream is over;
        Timeout("write").
        """
        if self.ending is not None:
            if self.ending is DETACHED:
                return False
            raise LocalProtocolError("the response is finished")
        if not data:
            return True
        self._check_open()
        if not self.head_sent:
            self._commit(self._announced(None))
        self.connection.flush_soon()
        if self._is_silent:
            return False
        self._engine.offer(self.stream, data)
        self.sent_bytes += len(data)
        if self.stream.queued_bytes >= LOW_WATER_BYTES:
            self._await_queue(LOW_WATER_BYTES - 1, self.connection.write_timeout)
        return True

    def finish(self, content: bytes = b"") -> None:
        """Send `content` and end the response, with `response_trailers`.

        Raises LocalProtocolError if there is less content than announced; the response is not ended then.
        """
        if self.ending is DETACHED:
            return
        self._give_rest(content)
        if not self._engine.fits(self.stream):
            self.connection.await_end(self)  # otherwise a client that does not take it would go unnoticed
            self._await_queue(0, self.connection.write_timeout)
        self.ending = COMPLETE

    def finish_at_once(self, content: bytes) -> None:
        """`finish` for the hub, which does not wait."""
        self._give_rest(content)
        self.ending = COMPLETE

    def _give_rest(self, content: bytes) -> None:
        if self.ending is not None:
            raise LocalProtocolError("the response is finished")
        self._check_open()
        trailers = sendable_trailers(self.response_trailers)
        if not self.head_sent:
            length = None if self.response_trailers else len(content)
            self._commit(self._announced(length), empty=not content and not trailers.fields)
        if not self._is_silent:
            ends = not trailers.fields
            if content:
                self._engine.offer(self.stream, content, end=ends)
                self.sent_bytes += len(content)
            if not self.stream.end_offered:
                self._engine.finish(self.stream, trailers)
        self.connection.flush_soon()

    def break_off(self) -> None:
        """End a response in the middle, after its head has left, so that the peer can see that it is incomplete."""
        self.ending = BROKEN_OFF
        self._reset()

    def abort(self) -> None:
        """End the stream at once, and drop what has not left."""
        self._reset(ErrorCode.CANCEL if self.ending is DETACHED else ErrorCode.INTERNAL_ERROR)  # RFC 8441 §5

    def _reset(self, code: ErrorCode = ErrorCode.INTERNAL_ERROR) -> None:
        self._engine.reset(self.stream, code)
        self.connection.flush_soon()

    # another protocol

    def detach(self) -> Tunnel:
        """Take the stream away from HTTP, to speak one of `upgrade` on it. The caller writes the 101 response.

        Raises RuntimeError when the exchange cannot be detached, or no longer.
        """
        if not self.upgrade:
            raise RuntimeError("the client has not asked for another protocol")
        if self.finished or self.head_sent:
            raise RuntimeError("the response has begun: it is too late for another protocol")
        self.head = ResponseHead(101, b"Switching Protocols", [])  # for the log: the caller writes the real one
        self.head_sent = True
        self.ending = DETACHED
        self.tunnel = Tunnel(cast(Channel, StreamChannel(self)), b"", draining=self.connection.draining)
        return self.tunnel

    def open_tunnel(self, status: int, fields: list[Field]) -> None:
        """Send the head of the response to a tunnel's request; names in `fields` are in lower case."""
        self._check_open()
        self._engine.send_checked(self.stream, status, fields, None)
        self.connection.flush_soon()

    def put(self, content: BytesLike, stall: float | None) -> None:
        """Send bytes of another protocol. Waits while the queue is full; Timeout("write") after `stall` seconds."""
        self._check_open()
        self._engine.offer(self.stream, content)
        self.connection.flush_soon()
        if self.stream.queued_bytes >= LOW_WATER_BYTES:
            self._await_queue(LOW_WATER_BYTES - 1, stall)

    def end_tunnel(self) -> None:
        """End a detached stream properly. Idempotent."""
        stream = self.stream
        if not stream.sent_head:
            self._engine.reset(stream, ErrorCode.CANCEL)  # there was no response
        elif not stream.end_offered:
            self._engine.finish(stream)
        self.connection.flush_soon()

    def _announced(self, length: int | None) -> int | None:
        """The Content-Length to send; `length` is the content's, where that is known."""
        head = self.head
        if head is None:
            raise LocalProtocolError("content without a head")
        if head.content_length is not None:
            return head.content_length
        if head.status in (204, 304) or (self.request.method == b"HEAD" and not length):
            return None
        if self.request.method == b"CONNECT" and head.status < 300:
            return None
        return length

    def _commit(self, announced: int | None, *, empty: bool = False) -> None:
        """Hand over the head. `empty`: no content follows it."""
        head = self.head
        assert head is not None  # `_announced` has looked
        fields = _lowered(head.fields)
        fields += self.connection.common.fields_of(head)
        if self.upgrade and head.status < 300:
            head.status = 501  # a client would take 200 for consent, and the content for the other protocol
        silent = has_no_content(self.request.method, head.status)
        end = silent or (empty and not announced)
        self._engine.send_checked(self.stream, head.status, fields, announced, end=end)
        self._is_silent = silent
        self.head_sent = True

    def _await_queue(self, most_bytes: int, patience: float | None) -> None:
        """Wait until at most `most_bytes` are queued. Raises Timeout("write") when the client takes too little."""
        stream = self.stream
        taking = Taking(self.connection, stream, patience)
        while stream.queued_bytes > most_bytes:
            if not self._wakeups.wait(taking.deadline) and not taking.goes_on():
                self.connection.tally.defences[Defence.SLOW_READER] += 1
                self._engine.reset(stream, ErrorCode.CANCEL)
                self.failure = Timeout("timed out: the peer does not read", phase="write")
                raise self.failure
        if not stream.sent_end:
            self._check_open()

    def _check_open(self) -> None:
        if self.stream.closed:
            self.failure = self._fault or TransportError(ECONNRESET, "the client has ended the stream")
            raise self.failure


def _lowered(fields: Sequence[Field]) -> list[Field]:
    """Fields as HTTP/2 writes them: names in lower case, no blanks around values (RFC 9113 §8.2.1)."""
    return [(name.lower(), value.strip(b" \t")) for name, value in fields]
