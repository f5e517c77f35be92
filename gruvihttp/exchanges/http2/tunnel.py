"""WebSocket on a stream of HTTP/2 (RFC 8441), in the shape that it has on HTTP/1.

Programs expect a GET that asks for another protocol, and a socket, to which they write ``101 Switching Protocols``. So
the extended CONNECT of a client is presented as such a GET, and its stream as such a socket; the head that is written
becomes that of the response. What is said afterwards is not known here.
"""

from __future__ import annotations

import io
from typing import Any, Protocol

from gruvihttp.errors import LocalProtocolError
from gruvihttp.net.channel import Channel
from gruvihttp.net.sockets import BytesLike
from gruvihttp.sansio.events import Request, parsed_request
from gruvihttp.sansio.h2events import ExtendedConnect
from gruvihttp.sansio.h2fields import lowercase_headers
from gruvihttp.sansio.headers import HOP_BY_HOP, Field, Headers

__all__ = ["StreamChannel", "as_upgrade"]

# RFC 8441 §5: the client sends no key. RFC 6455 §4.2.1: programs expect one of 16 bytes.
_KEY = (b"sec-websocket-key", b"AAAAAAAAAAAAAAAAAAAAAA==")
_LEFT_OUT = HOP_BY_HOP | {b"sec-websocket-accept", b"content-length"}
_LONGEST_HEAD = 65536
_READ_BYTES = 65536


def as_upgrade(request: ExtendedConnect) -> Request:
    """The GET of HTTP/1 that means the same as this CONNECT."""
    fields = [field for field in request.headers.fields if field[0] != _KEY[0]]
    fields += [(b"connection", b"Upgrade"), (b"upgrade", request.protocol), _KEY]
    return parsed_request(b"GET", lowercase_headers(fields), request.target, request.http_version)


class Carrier(Protocol):
    """What the channel needs of its exchange."""

    connection: Any

    def take(self, deadline: float | None, phase: str, size: int = 0) -> bytes: ...
    def has_content(self) -> bool: ...
    def put(self, content: BytesLike, stall: float | None) -> None: ...
    def open_tunnel(self, status: int, fields: list[Field]) -> None: ...
    def end_tunnel(self) -> None: ...


class StreamChannel:
    """A stream, with those methods of a `Channel` that programs use on a connection that has left HTTP.

    What is sent first is a head of HTTP/1. It is held until it is complete.
    """

    def __init__(self, exchange: Carrier) -> None:
        self._exchange = exchange
        self._channel: Channel = exchange.connection.channel
        self._head: bytearray | None = bytearray()  # None: it has left

    def __repr__(self) -> str:
        return f"<StreamChannel of {self._exchange!r}>"

    def receive(self, deadline: float | None = None, phase: str = "read", size: int = _READ_BYTES) -> bytes:
        """Wait for the next bytes; ``b""`` at the end of the stream. See `Channel.receive`."""
        return self._exchange.take(deadline, phase, size)

    def try_receive(self, size: int = _READ_BYTES) -> bytes | None:
        """What has arrived already, ``b""`` at the end of the stream, None if there is nothing yet. Never waits."""
        return self._exchange.take(0.0, "read", size) if self._exchange.has_content() else None

    def send(self, content: BytesLike, stall: float | None = None) -> None:
        """Send all of it; wait while the client does not read."""
        head = self._head
        if head is not None:
            head += content
            end = head.find(b"\r\n\r\n")
            if end < 0:
                if len(head) > _LONGEST_HEAD:
                    raise LocalProtocolError("a response must come first")
                return
            self._head = None
            self._exchange.open_tunnel(*_response_of(bytes(head[:end])))
            content = bytes(head[end + 4 :])
        if content:
            self._exchange.put(content, stall)

    def shutdown_write(self) -> None:
        """Send nothing more."""
        self._exchange.end_tunnel()

    def fileno(self) -> int:
        """Raises io.UnsupportedOperation: many streams share one descriptor."""
        raise io.UnsupportedOperation("a stream of HTTP/2 has no descriptor of its own")

    def get_extra_info(self, name: str, default: Any = None) -> Any:  # Any: as many types as names
        """A fact about the connection, but not its ``"socket"``, which is not this stream's own."""
        return default if name == "socket" else self._channel.get_extra_info(name, default)


def _response_of(head: bytes) -> tuple[int, list[Field]]:
    """Status and fields of a head of HTTP/1, as HTTP/2 has them. Raises LocalProtocolError."""
    start, *lines = head.split(b"\r\n")
    version, _, rest = start.partition(b" ")
    status = rest[:3]
    if not version.startswith(b"HTTP/1.") or not status.isdigit() or status < b"101":
        raise LocalProtocolError("a response must come first")
    pairs = [line.partition(b":") for line in lines]
    fields = Headers.of([(name, value.strip(b" \t")) for name, _, value in pairs]).fields
    return 200 if status == b"101" else int(status), [field for field in fields if field[0] not in _LEFT_OUT]
