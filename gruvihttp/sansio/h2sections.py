"""Header and trailer sections to events: requests, responses, trailers, and what becomes of those that are refused.

A section is decoded before anything else is checked, as HPACK has to stay in step whatever becomes of its stream. A
request that is the same as an earlier one, byte by byte, and changes no table, becomes the same event. Frames are not
known here.
"""

from __future__ import annotations

from gruvihttp.errors import FieldsTooLarge
from gruvihttp.limits import H2Limits, Limits
from gruvihttp.sansio import allowance as costs
from gruvihttp.sansio.events import END_OF_MESSAGE, EndOfMessage, Response
from gruvihttp.sansio.frames import HIGHEST_ID
from gruvihttp.sansio.framing import has_no_content
from gruvihttp.sansio.h2errors import ConnectionFault, Defence, ErrorCode, StreamFault
from gruvihttp.sansio.h2events import ExtendedConnect, RequestRefused
from gruvihttp.sansio.h2fields import (
    RequestHead,
    classify_request,
    classify_response,
    request_of,
    response_of,
    trailers_of,
)
from gruvihttp.sansio.h2inbox import Inbox
from gruvihttp.sansio.h2settings import DEFAULT_WINDOW_BYTES
from gruvihttp.sansio.h2streams import Stream
from gruvihttp.sansio.headers import Field
from gruvihttp.sansio.hpack import Decoder, HpackError

__all__ = ["Sections"]

_MOST_KNOWN = 256
_LONGEST_KNOWN = 512  # bytes of a block
# An oversized list that is that much larger than its block is an attack: it names one large entry again and again
_BOMB_RATIO = 16


class Sections:
    """Reads one section at a time.

    `stream_window` is what a new stream may send us; `most_streams` how many may be open; `last_id` is the last one
    that we take, once we have said so in GOAWAY.
    """

    def __init__(self, inbox: Inbox, limits: Limits, h2_limits: H2Limits) -> None:
        self.stream_window = DEFAULT_WINDOW_BYTES
        self.most_streams = 0
        self.last_id = HIGHEST_ID
        self.connect_protocol = False
        self._inbox = inbox
        self._limits = limits
        self._decoder = Decoder(
            classify_request if inbox.server else classify_response,
            list_bytes=limits.fields_bytes,
            fields_count=limits.fields_count + 5,  # pseudo-fields are not counted in HTTP/1
            field_bytes=h2_limits.field_bytes,
        )
        self._known: dict[bytes, RequestHead] = {}

    def set_table_limit(self, table_bytes: int) -> None:
        """The peer has acknowledged our HEADER_TABLE_SIZE."""
        self._decoder.set_limit(table_bytes)
        self._known.clear()  # the next block has to be decoded: it must say that the table is smaller

    def read(self, stream_id: int, block: bytes, *, ends: bool) -> None:
        """Make events of a section; `ends`: nothing follows it on this stream. Raises ConnectionFault."""
        inbox = self._inbox
        stream = inbox.streams.by_id.get(stream_id)
        if stream is not None:
            try:
                self._read_more(stream, block, ends=ends)
            except StreamFault as fault:
                inbox.fail(stream, fault)
            except FieldsTooLarge as exc:
                inbox.fail(stream, StreamFault(ErrorCode.PROTOCOL_ERROR, str(exc), self._defence(block)))
        elif inbox.server and stream_id > inbox.streams.highest and stream_id & 1:
            self._read_request(stream_id, block, ends=ends)
        else:
            self._read_late(stream_id, block)

    def finish(self, stream: Stream, end: EndOfMessage) -> None:
        """The peer has ended its message. Raises StreamFault if content is missing."""
        if stream.left_to_receive:
            raise StreamFault(ErrorCode.PROTOCOL_ERROR, "less content than announced")
        stream.got_end = True
        if not stream.dropping:
            self._inbox.events.append((stream, end))
        if stream.sent_end:
            self._inbox.streams.finish(stream)

    def _decode(self, block: bytes) -> tuple[list[Field], int]:
        decoder = self._decoder
        try:
            return decoder.decode(block)
        except HpackError as exc:
            raise ConnectionFault(ErrorCode.COMPRESSION_ERROR, str(exc)) from None
        finally:
            if not decoder.repeatable and self._known:
                self._known.clear()

    def _read_late(self, stream_id: int, block: bytes) -> None:
        """A section for a stream that is over, or never was."""
        try:
            self._decode(block)
        except FieldsTooLarge:
            pass  # the list is not used, so it may be too large
        inbox = self._inbox
        if inbox.is_idle(stream_id):
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "HEADERS on a stream of the wrong kind")
        if inbox.streams.was_passed_over(stream_id):
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "a stream lower than one before")  # RFC 9113 §5.1.1
        if not inbox.streams.was_reset(stream_id):
            raise ConnectionFault(ErrorCode.STREAM_CLOSED, "HEADERS on a stream that is over")
        inbox.charge(costs.LATE_FRAME)

    def _read_request(self, stream_id: int, block: bytes, *, ends: bool) -> None:
        inbox = self._inbox
        streams = inbox.streams
        head = self._known.get(block)
        fault: StreamFault | None = None
        if head is None:
            try:
                head = self._request_head(block)
            except StreamFault as exc:
                fault = exc
        streams.begin(stream_id)
        stream = Stream(stream_id, send_window=inbox.sender.stream_window, recv_window=self.stream_window)
        if streams.taken >= self.most_streams or stream_id > self.last_id:
            inbox.reset(stream, ErrorCode.REFUSED_STREAM, "too many streams, or going away", Defence.STREAM_LIMIT)
            inbox.charge(costs.REFUSED)
        elif head is None:
            assert fault is not None
            inbox.fail(stream, fault)
        else:
            streams.by_id[stream_id] = stream
            streams.take_slot(stream)
            try:
                self._begin(stream, head, ends=ends)
            except StreamFault as exc:
                inbox.fail(stream, exc)

    def _request_head(self, block: bytes) -> RequestHead:
        try:
            fields, marks = self._decode(block)
        except FieldsTooLarge as exc:
            return RequestHead(None, refusal=exc, defence=self._defence(block))
        head = request_of(
            fields, marks, connect_protocol=self.connect_protocol, content_limit=self._limits.content_bytes
        )
        if self._decoder.repeatable and len(block) <= _LONGEST_KNOWN:
            if len(self._known) >= _MOST_KNOWN:
                self._known.clear()
            self._known[block] = head
        return head

    def _defence(self, block: bytes) -> Defence:
        """Which one has found the block, which was just decoded, to be too large."""
        is_bomb = self._decoder.unfolded_bytes > len(block) * _BOMB_RATIO
        return Defence.HPACK_BOMB if is_bomb else Defence.HEADER_LIST

    def _begin(self, stream: Stream, head: RequestHead, *, ends: bool) -> None:
        request, length, stream.expects_continue, refusal, defence = head
        stream.got_head = True
        if request is not None:
            stream.method = request.method
            stream.tunnel = stream.method == b"CONNECT"
        if refusal is not None:
            stream.dropping = True
            stream.got_end = ends
            self._inbox.put(stream, RequestRefused(refusal, request, defence))
            return
        if length is not None:
            if ends and length:
                stream.released = True  # the application never sees it
                raise StreamFault(ErrorCode.PROTOCOL_ERROR, "less content than announced")
            stream.content_length = stream.left_to_receive = length
        elif not ends and not isinstance(request, ExtendedConnect):  # the bytes of a tunnel are no content
            stream.allowed_bytes = self._limits.content_bytes
        assert request is not None
        self._inbox.events.append((stream, request))
        if ends:
            stream.got_end = True
            self._inbox.events.append((stream, END_OF_MESSAGE))

    def _read_more(self, stream: Stream, block: bytes, *, ends: bool) -> None:
        """A section on a stream that is open: a response, or trailers."""
        fields, marks = self._decode(block)
        if stream.got_end:
            raise StreamFault(ErrorCode.STREAM_CLOSED, "HEADERS behind the end of the stream")
        if not stream.got_head:
            self._response(stream, fields, marks, ends=ends)
            return
        if stream.tunnel:
            raise StreamFault(ErrorCode.PROTOCOL_ERROR, "HEADERS in a tunnel")  # RFC 9113 §8.5
        if not ends:
            raise StreamFault(ErrorCode.PROTOCOL_ERROR, "trailers without END_STREAM")
        trailers = trailers_of(fields, marks, self._limits.trailers_bytes)
        self.finish(stream, EndOfMessage(headers=trailers))

    def _response(self, stream: Stream, fields: list[Field], marks: int, *, ends: bool) -> None:
        response, length = response_of(fields, marks)
        if not isinstance(response, Response):
            if ends:
                raise StreamFault(ErrorCode.PROTOCOL_ERROR, "an informational response that ends the stream")
            self._inbox.charge(costs.INFORMATIONAL)
            self._inbox.put(stream, response)
            return
        stream.got_head = True
        stream.tunnel = stream.method == b"CONNECT" and response.status_code < 300
        if not stream.tunnel:
            stream.content_length = length
            stream.left_to_receive = 0 if has_no_content(stream.method, response.status_code) else length
        self._inbox.put(stream, response)
        if ends:
            self.finish(stream, END_OF_MESSAGE)
