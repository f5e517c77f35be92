"""Content: decoders take it out of the bytes of a message, encoders put it in, one class for each framing.

A decoder gives `Data` as it arrives and `EndOfMessage` once, and never presents as complete what was cut short. A
state that lasts over several calls is a method; there are no flags. Heads and roles are not known here.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Protocol

from gruvihttp.errors import ContentTooLarge, IncompleteMessage, LocalProtocolError, RemoteProtocolError
from gruvihttp.limits import Limits
from gruvihttp.sansio.buffer import Buffer
from gruvihttp.sansio.events import END_OF_MESSAGE, Data, EndOfMessage
from gruvihttp.sansio.framing import Framing
from gruvihttp.sansio.grammar import CHUNK_LINE
from gruvihttp.sansio.headers import Headers
from gruvihttp.sansio.heads import read_trailers, write_trailers
from gruvihttp.sansio.sentinels import NEED_DATA

__all__ = ["NO_CONTENT", "Decoder", "Encoder", "LengthDecoder", "decoder_of", "encoder_of"]


class Decoder(Protocol):
    """Takes the content of one message out of a buffer."""

    def read(self, buffer: Buffer) -> Any:
        """Data, EndOfMessage or NEED_DATA. Raises RemoteProtocolError, IncompleteMessage, ContentTooLarge."""


class NoContent:
    """The message ends with its head."""

    __slots__ = ()

    def read(self, buffer: Buffer) -> EndOfMessage:
        """The end, always."""
        return END_OF_MESSAGE


class LengthDecoder:
    """Exactly as many bytes as announced (RFC 9112 §6.2)."""

    __slots__ = ("_announced", "_remaining")

    def __init__(self, announced: int) -> None:
        self._announced = self._remaining = announced

    def read_whole(self, buffer: Buffer) -> bytes | None:
        """All content, if it has arrived; else None. Only before anything of it was read."""
        announced = self._announced
        if announced > len(buffer.data) - buffer.start:
            return None
        return buffer.take(announced) if announced else b""

    def read(self, buffer: Buffer) -> Any:
        """What has arrived of the content, then the end."""
        if not self._remaining:
            return END_OF_MESSAGE
        data = buffer.take(self._remaining)
        if data:
            self._remaining -= len(data)
            return Data(data)
        if buffer.ended:
            received = self._announced - self._remaining
            raise IncompleteMessage(
                "peer closed connection without sending complete message body "
                f"(received {received} bytes, expected {self._announced})"
            )
        return NEED_DATA


class UntilCloseDecoder:
    """Everything until the stream ends: responses only (RFC 9112 §6.3 item 8)."""

    __slots__ = ()

    def read(self, buffer: Buffer) -> Any:
        """What has arrived; at the end of the stream, the end."""
        if len(buffer):
            return Data(buffer.take(len(buffer)))
        return END_OF_MESSAGE if buffer.ended else NEED_DATA


class ChunkedDecoder:
    """The chunked coding (RFC 9112 §7.1)."""

    __slots__ = ("_limits", "_read", "_received", "_remaining", "_strict", "_tolerant_of_lf")

    def __init__(self, limits: Limits, *, tolerant_of_lf: bool, strict: bool) -> None:
        self._limits = limits
        self._tolerant_of_lf = tolerant_of_lf
        self._strict = strict
        self._remaining = 0  # bytes of the current chunk that have not arrived
        self._received = 0
        # functions, not methods: a bound method of this decoder would be a reference cycle
        self._read: Callable[[ChunkedDecoder, Buffer], Any] = ChunkedDecoder._chunk_line

    def read(self, buffer: Buffer) -> Any:
        """A piece of a chunk, or the end with the trailers."""
        event = self._read(self, buffer)
        if event is NEED_DATA and buffer.ended:
            raise IncompleteMessage(
                "peer closed connection without sending complete message body (incomplete chunked read)"
            )
        return event

    def _chunk_line(self, buffer: Buffer) -> Any:
        match = self._match_line(buffer)
        if match is None:
            return NEED_DATA
        if match.end() - match.start() > self._limits.chunk_line_bytes + 2:
            raise RemoteProtocolError("chunk line too long")
        size = int(match[1], 16)
        buffer.skip_to(match.end())
        if not size:
            self._read = ChunkedDecoder._trailers
            return self._trailers(buffer)
        self._count(size)
        self._remaining = size
        self._read = ChunkedDecoder._chunk_start
        return self._piece(buffer, True)

    def _match_line(self, buffer: Buffer) -> re.Match[bytes] | None:
        """The chunk line; None if it is not complete. What is refused must not depend on how it is split."""
        # one that arrives in pieces is not matched again with each piece; that would take quadratic time
        match = CHUNK_LINE.match(buffer.data, buffer.start) if buffer.searched <= buffer.start else None
        if match is not None:
            return match
        line_end = buffer.find_line_end()
        line_bytes = (line_end - 1 if line_end else len(buffer.data)) - buffer.start
        if line_bytes > self._limits.chunk_line_bytes + 1:
            raise RemoteProtocolError("chunk line too long")
        if not line_end:
            return None
        match = CHUNK_LINE.match(buffer.data, buffer.start)
        if match is None:
            raise RemoteProtocolError("illegal chunk header")
        return match

    def _count(self, size: int) -> None:
        self._received += size
        most = self._limits.content_bytes
        if self._received > 0x7FFF_FFFF_FFFF_FFFF:
            raise RemoteProtocolError("chunk size overflows")
        if most is not None and self._received > most:
            raise ContentTooLarge(f"content of more than {most} bytes")

    def _chunk_start(self, buffer: Buffer) -> Any:
        return self._piece(buffer, True)

    def _chunk_rest(self, buffer: Buffer) -> Any:
        return self._piece(buffer, False)

    def _piece(self, buffer: Buffer, chunk_start: bool) -> Any:
        data = buffer.take(self._remaining)
        if not data:
            return NEED_DATA
        self._remaining -= len(data)
        self._read = ChunkedDecoder._chunk_rest if self._remaining else ChunkedDecoder._chunk_end
        return Data(data, chunk_start, not self._remaining)

    def _chunk_end(self, buffer: Buffer) -> Any:
        end = bytes(buffer.data[buffer.start : buffer.start + 2])
        if end == b"\r\n":
            buffer.skip_to(buffer.start + 2)
            self._read = ChunkedDecoder._chunk_line
            return self._chunk_line(buffer)
        if not b"\r\n".startswith(end):
            raise RemoteProtocolError("malformed chunk footer: no CRLF after the chunk's data")
        return NEED_DATA

    def _trailers(self, buffer: Buffer) -> Any:
        trailers = read_trailers(buffer, self._limits, tolerant_of_lf=self._tolerant_of_lf, strict=self._strict)
        if trailers is None:
            return NEED_DATA
        return EndOfMessage(headers=trailers) if len(trailers) else END_OF_MESSAGE


NO_CONTENT = NoContent()


def decoder_of(framing: Framing, limits: Limits, *, tolerant_of_lf: bool, strict: bool) -> Decoder:
    """The decoder for this framing. `tolerant_of_lf` lets trailer lines end in a bare LF."""
    kind = framing.kind
    if kind == "none":
        return NO_CONTENT
    if kind == "length":
        return LengthDecoder(framing.length)
    if kind == "chunked":
        return ChunkedDecoder(limits, tolerant_of_lf=tolerant_of_lf, strict=strict)
    return UntilCloseDecoder()


class Encoder(Protocol):
    """Puts the content of one message on the wire."""

    def data(self, data: Any) -> list[Any]:
        """The buffers that carry this piece, which is any object with a length. Raises LocalProtocolError."""

    def end(self, trailers: Headers) -> bytes:
        """The bytes that end the message. Raises LocalProtocolError."""


class LengthEncoder:
    """Exactly as many bytes as announced."""

    __slots__ = ("_remaining",)

    def __init__(self, announced: int) -> None:
        self._remaining = announced

    def data(self, data: Any) -> list[Any]:
        """The piece itself, if it is not too much."""
        if len(data) > self._remaining:
            raise LocalProtocolError("Too much data for declared Content-Length")
        self._remaining -= len(data)
        return [data] if len(data) else []

    def end(self, trailers: Headers) -> bytes:
        """Nothing, if all was sent."""
        if self._remaining:
            raise LocalProtocolError("Too little data for declared Content-Length")
        return _nothing_after(trailers)


class ChunkedEncoder:
    """The chunked coding; each piece is a chunk."""

    __slots__ = ()

    def data(self, data: Any) -> list[Any]:
        """The piece as a chunk; an empty one is nothing, for an empty chunk would end the message."""
        size = len(data)
        return [b"%x\r\n" % size, data, b"\r\n"] if size else []

    def end(self, trailers: Headers) -> bytes:
        """The last chunk and the trailer section."""
        return b"0\r\n" + write_trailers(trailers.raw)


class UntilCloseEncoder:
    """Bare bytes; the end of the stream ends them."""

    __slots__ = ()

    def data(self, data: Any) -> list[Any]:
        """The piece itself."""
        return [data] if len(data) else []

    def end(self, trailers: Headers) -> bytes:
        """Nothing: the caller closes."""
        return _nothing_after(trailers)


def _nothing_after(trailers: Headers) -> bytes:
    if len(trailers):
        raise LocalProtocolError("trailers need the chunked transfer coding")
    return b""


_chunked_encoder = ChunkedEncoder()
_until_close_encoder = UntilCloseEncoder()


def encoder_of(framing: Framing) -> Encoder:
    """The encoder for this framing."""
    kind = framing.kind
    if kind == "chunked":
        return _chunked_encoder
    if kind == "until-close":
        return _until_close_encoder
    return LengthEncoder(framing.length)
