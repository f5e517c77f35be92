"""The two halves of an HTTP/1 connection: a reader and a writer of messages, one direction each.

A reader turns bytes into events, message after message, for as long as it is asked; it knows the plan of the current
message. A writer turns the content of one message after another into bytes. Neither knows the other direction, the
joint state of an exchange, or any policy: the code that couples two halves decides whether another message may follow.
"""

from __future__ import annotations

from copy import copy
from dataclasses import replace
from typing import Any

from gruvihttp.errors import IncompleteMessage, RemoteProtocolError
from gruvihttp.limits import Limits
from gruvihttp.sansio.buffer import Buffer
from gruvihttp.sansio.content import NO_CONTENT, Decoder, Encoder, LengthDecoder, decoder_of, encoder_of
from gruvihttp.sansio.events import (
    CONNECTION_CLOSED,
    END_OF_MESSAGE,
    Data,
    EndOfMessage,
    InformationalResponse,
    Request,
)
from gruvihttp.sansio.framing import NONE, PLAIN, Framing, Plan, of_request, of_response
from gruvihttp.sansio.headers import Headers
from gruvihttp.sansio.heads import read_request, read_response
from gruvihttp.sansio.sentinels import NEED_DATA, PAUSED

__all__ = ["MessageReader", "MessageWriter", "RequestReader", "ResponseReader"]

# RFC 9112 §2.2 wants "at least one" ignored; some clients send a CRLF after each POST. More is an attack on patience.
_MOST_EMPTY_LINES = 16


class MessageReader:
    """Bytes to events for the messages of one direction: what both kinds of reader share."""

    __slots__ = ("_decoder", "_limits", "buffer", "plan")

    def __init__(self, limits: Limits | None = None) -> None:
        self.buffer = Buffer()
        self.plan: Plan = PLAIN
        self._limits = limits or Limits()
        self._decoder: Decoder | None = None  # None between two messages

    def receive_data(self, data: bytes) -> None:
        """Take bytes from the peer; b"" says that its stream has ended. RuntimeError for bytes after the end."""
        buffer = self.buffer
        if not data:
            buffer.ended = True
        elif buffer.ended:
            raise RuntimeError("bytes after the end of the stream")
        else:
            buffer.append(data)

    @property
    def trailing_data(self) -> tuple[bytes, bool]:
        """The bytes that were received and not parsed, and whether the stream has ended."""
        return bytes(self.buffer), self.buffer.ended

    def next_event(self) -> Any:
        """The next event, NEED_DATA, or ConnectionClosed when the stream ended between two messages.

        Raises RemoteProtocolError or a subclass; the reader is unusable then. Each kind of reader has its own, in one
        function, since this is the hottest call.
        """

    def take_content(self) -> bytes | None:
        """All content of the message whose head was the latest event, if it has arrived; the message has ended then.

        None if `next_event` has to be used: the content is chunked, or some of it is missing.
        """
        decoder = self._decoder
        if decoder is NO_CONTENT:
            self._decoder = None
            return b""
        if type(decoder) is LengthDecoder:
            content = decoder.read_whole(self.buffer)
            if content is not None:
                self._decoder = None
            return content
        return None

    def has_rest(self, most_bytes: int) -> bool:
        """Whether the end of the message has arrived, behind at most `most_bytes` of content. Takes nothing."""
        decoder, buffer = copy(self._decoder), copy(self.buffer)  # reading leaves the bytes themselves alone
        if decoder is None:
            return True
        try:
            while type(event := decoder.read(buffer)) is Data:
                most_bytes -= len(event.data)
                if most_bytes < 0:
                    return False
        except RemoteProtocolError:
            return False
        return event is not NEED_DATA

    def _next_piece(self, decoder: Decoder) -> Any:
        """The next event of the message whose head has been read."""
        event = decoder.read(self.buffer)
        if event is END_OF_MESSAGE or type(event) is EndOfMessage:
            self._decoder = None
        return event

    def _no_head(self) -> Any:
        """The event while a head is not complete."""
        buffer = self.buffer
        if not buffer.ended:
            return NEED_DATA
        if len(buffer):
            raise IncompleteMessage("peer closed connection in the middle of a head")
        return CONNECTION_CLOSED


class RequestReader(MessageReader):
    """Requests, one after another: Request, Data ..., EndOfMessage, Request, ...

    `plan` is the plan of the latest request; `refused` is a request whose head was understood, but not accepted, if
    there was one. `strict` is a server's policy: it refuses obs-fold, control characters in values and a repeated
    Content-Length, and ignores a few empty lines before a request (RFC 9112 §2.2).
    """

    __slots__ = ("_empty_lines", "_strict", "refused")

    def __init__(self, limits: Limits | None = None, *, strict: bool = True) -> None:
        super().__init__(limits)
        self._strict = strict
        self._empty_lines = 0
        self.refused: Request | None = None

    def next_event(self) -> Any:
        """See `MessageReader.next_event`."""
        decoder = self._decoder
        if decoder is not None:
            if decoder is NO_CONTENT:  # saves two calls
                self._decoder = None
                return END_OF_MESSAGE
            return self._next_piece(decoder)
        buffer = self.buffer
        if buffer.start == len(buffer.data):
            return self._no_head()
        if self._strict and buffer.data[buffer.start] == 0x0D and not self._skip_empty_lines():
            return self._no_head()
        request = read_request(buffer, self._limits, strict=self._strict)
        if request is None:
            return self._no_head()
        self._empty_lines = 0
        try:
            self.plan = plan = of_request(request, self._limits.content_bytes, strict=self._strict)
        except RemoteProtocolError:
            self.refused = request
            raise
        if plan is PLAIN:
            self._decoder = NO_CONTENT
            return request
        self._decoder = decoder_of(plan.framing, self._limits, tolerant_of_lf=False, strict=self._strict)
        return _with_one_length(request) if plan.repeats_length else request

    def _skip_empty_lines(self) -> bool:
        """Skip empty lines. Whether something else follows."""
        buffer = self.buffer
        while buffer.data.startswith(b"\r\n", buffer.start):
            buffer.skip_to(buffer.start + 2)
            self._empty_lines += 1
            if self._empty_lines > _MOST_EMPTY_LINES:
                raise RemoteProtocolError("too many empty lines before a request")
        if buffer.start == len(buffer.data):
            return False
        return bytes(buffer.data[buffer.start :]) != b"\r"


class ResponseReader(MessageReader):
    """Responses, one after another: InformationalResponse ..., Response, Data ..., EndOfMessage, ...

    `request_method` is the method of the request that the next response answers, for the caller to set.
    `plan` is the plan of the latest final response. After 101, or 2xx to CONNECT, the bytes are not HTTP: PAUSED.
    """

    __slots__ = ("_switched", "request_method")

    def __init__(self, limits: Limits | None = None) -> None:
        super().__init__(limits)
        self.request_method = b"GET"
        self._switched = False

    def next_event(self) -> Any:
        """See `MessageReader.next_event`. PAUSED when the bytes are no longer HTTP."""
        if self._decoder is not None:
            return self._next_piece(self._decoder)
        buffer = self.buffer
        if self._switched:
            return PAUSED
        if buffer.start == len(buffer.data):
            return self._no_head()
        response = read_response(buffer, self._limits)
        if response is None:
            return self._no_head()
        status = response.status_code
        if type(response) is InformationalResponse:
            self._switched = status == 101
            return response
        if self.request_method == b"CONNECT" and status < 300:
            self._switched = True
            self.plan = Plan(NONE, persists=True)
            return response
        self.plan = plan = of_response(response, self.request_method)
        kind, length = plan.framing
        if kind == "length":  # the usual case, without the cost of a call
            self._decoder = LengthDecoder(length)
        else:
            self._decoder = decoder_of(plan.framing, self._limits, tolerant_of_lf=True, strict=False)
        return _with_one_length(response) if plan.repeats_length else response


def _with_one_length(head: Any) -> Any:
    """The head with the first of its Content-Length values only; they are known to be the same."""
    kept = []
    found = False
    for name, value in head.headers.raw:
        if name.lower() != b"content-length":
            kept.append((name, value))
        elif not found:
            found = True
            kept.append((name, value.partition(b",")[0].rstrip(b" \t")))
    return replace(head, headers=Headers(kept))


class MessageWriter:
    """The content of messages of one direction to bytes. Heads are written by `heads.write_request` and its twin."""

    __slots__ = ("_encoder",)

    def __init__(self) -> None:
        self._encoder: Encoder = encoder_of(NONE)

    def start(self, framing: Framing) -> None:
        """Begin the content of a message."""
        self._encoder = encoder_of(framing)

    def data(self, data: Any) -> list[Any]:
        """The buffers that carry a piece of content: any object with a length; an empty one is nothing.

        Raises LocalProtocolError if it is more than was announced; nothing of it may be sent then.
        """
        return self._encoder.data(data)

    def end(self, trailers: Headers) -> bytes:
        """The bytes that end the message.

        Raises LocalProtocolError if less content was given than announced, or if trailers are not possible.
        """
        return self._encoder.end(trailers)


