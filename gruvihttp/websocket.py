"""WebSocket (RFC 6455) for applications: the handshake, and messages instead of frames.

The handshake is ours; frames are wsproto's, which comes with ``pip install gruvihttp[websocket]``. How the connection
is taken away from HTTP is not known here. No extension is spoken, so nothing is compressed.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from binascii import Error as Base64Error
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from hashlib import sha1
from importlib.util import find_spec
from typing import Any

from gruvihttp.environ import Environ
from gruvihttp.errors import Error, Timeout
from gruvihttp.hijack import HijackedSocket
from gruvihttp.net.deadline import moment_after

__all__ = ["HandshakeError", "LazyWebSocket", "WebSocket", "WebSocketClosed", "accept", "is_available"]

_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455 §1.3
_READ_BYTES = 65536
_NORMAL, _ABNORMAL, _TOO_BIG = 1000, 1006, 1009  # RFC 6455 §7.4.1


class HandshakeError(Error, ValueError):
    """The request cannot become a WebSocket. It is a WSGI application that says so to the client."""

    def __init__(self, message: str, status: str = "400 Bad Request") -> None:
        super().__init__(message)
        self.status = status

    def __call__(self, environ: Environ, start_response: Callable[..., Any]) -> list[bytes]:
        """Answer the request."""
        headers = [("Content-Type", "text/plain; charset=utf-8")]
        if self.status.startswith("400"):
            headers.append(("Sec-WebSocket-Version", "13"))  # RFC 6455 §4.4
        start_response(self.status, headers)
        return [f"{self}\n".encode()]


class WebSocketClosed(Error, ConnectionError):
    """There is nobody to send to any more. `code` and `reason` are those of the end."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(f"the WebSocket is closed: {code} {reason}".rstrip())
        self.code = code
        self.reason = reason


def is_available() -> bool:
    """Is wsproto installed?"""
    return _AVAILABLE


_AVAILABLE = find_spec("wsproto") is not None


def accept(
    environ: Environ,
    subprotocols: Sequence[str] = (),
    *,
    check_origin: Callable[[str | None], bool] | None = None,
    max_message_size: int = 1 << 20,
    headers: list[tuple[str, str]] | None = None,
) -> WebSocket:
    """Answer the handshake of a request, and speak WebSocket on its connection from now on.

    `subprotocols` are ours, the best first. `check_origin` gets the Origin of the request, None without one; without
    that hook every page in every browser may connect with its user's cookies. A message of more than
    `max_message_size` bytes (characters, if it is text) ends the connection. `headers` are added to the response.

    Raises HandshakeError, which is an answer to return: ``return exc(environ, start_response)``.
    """
    key = _checked_key(environ)
    if check_origin is not None and not check_origin(environ.get("HTTP_ORIGIN")):
        raise HandshakeError("this origin may not connect", "403 Forbidden")
    engine = _new_engine()
    offered = _members(environ.get("HTTP_SEC_WEBSOCKET_PROTOCOL", ""))
    chosen = next((ours for ours in subprotocols if ours in offered), None)
    fields = [("Sec-WebSocket-Accept", b64encode(sha1(key.encode("latin-1") + _GUID).digest()).decode("ascii"))]
    if chosen is not None:
        fields.append(("Sec-WebSocket-Protocol", chosen))
    sock = environ["gruvihttp.upgrade"]("websocket", fields + (headers or []))
    return WebSocket(sock, engine, environ, chosen, max_message_size)


def _checked_key(environ: Environ) -> str:
    """The key of a handshake that is as RFC 6455 section 4.2.1 wants it."""
    asks = "websocket" in (member.lower() for member in _members(environ.get("HTTP_UPGRADE", "")))
    if not asks or "gruvihttp.upgrade" not in environ:
        raise HandshakeError("this is a WebSocket: ask for it")
    if environ["REQUEST_METHOD"] != "GET":
        raise HandshakeError("the handshake of a WebSocket is a GET request")
    if environ.get("HTTP_SEC_WEBSOCKET_VERSION") != "13":
        raise HandshakeError("only version 13 of WebSocket is spoken")
    key: str = environ.get("HTTP_SEC_WEBSOCKET_KEY", "")
    try:
        size = len(b64decode(key, validate=True))
    except (Base64Error, ValueError):
        size = 0
    if size != 16:
        raise HandshakeError("Sec-WebSocket-Key must be 16 bytes in base64")
    return key


def _members(value: str) -> list[str]:
    return [member.strip() for member in value.split(",") if member.strip()]


def _wsproto() -> Any:
    try:
        import wsproto.connection
        import wsproto.events
        import wsproto.utilities
    except ImportError as exc:
        raise RuntimeError("WebSocket needs wsproto: pip install gruvihttp[websocket]") from exc
    return wsproto


def _new_engine() -> Any:
    wsproto = _wsproto()
    return wsproto.connection.Connection(wsproto.ConnectionType.SERVER)


class WebSocket:
    """One WebSocket connection: messages, which are str or bytes. `accept` makes it.

    Any greenlet may send; one at a time may receive. Pings are answered while somebody receives.
    `subprotocol` is the one that was agreed on, `subprotocols` those that the client has offered. `code` and `reason`
    say how it has ended; `code` is None until then.
    """

    def __init__(
        self, sock: HijackedSocket, engine: Any, environ: Environ, subprotocol: str | None, max_message_size: int
    ) -> None:
        self.subprotocol = subprotocol
        self.subprotocols = _members(environ.get("HTTP_SEC_WEBSOCKET_PROTOCOL", ""))
        self.code: int | None = None
        self.reason = ""
        self._sock = sock
        self._engine = engine
        self._wsproto = _wsproto()
        self._events: deque[Any] = deque()
        self._pieces: list[Any] = []
        self._size = 0
        self._most = max_message_size

    def __repr__(self) -> str:
        return f"<WebSocket {'open' if self.code is None else f'closed {self.code}'} {self._sock!r}>"

    @property
    def closed(self) -> bool:
        """Has one of the sides ended it?"""
        return self.code is not None

    # sending

    def send(self, message: str | bytes) -> None:
        """Send a message: str as text, bytes as binary. Raises WebSocketClosed, Timeout("write")."""
        events = self._wsproto.events
        if isinstance(message, str):
            self._send(events.TextMessage(data=message))
        else:
            self._send(events.BytesMessage(data=bytes(message)))

    def ping(self, payload: bytes = b"") -> None:
        """Send a ping; `receive` takes the answer and says nothing of it. At most 125 bytes."""
        if len(payload) > 125:
            raise ValueError("a ping carries at most 125 bytes")
        self._send(self._wsproto.events.Ping(payload=payload))

    def close(self, code: int = _NORMAL, reason: str = "") -> None:
        """End the connection. Idempotent. What was sent before arrives; what the peer still sends is dropped."""
        if self.code is None:
            self._close(code, reason)

    def _send(self, event: Any) -> None:
        if self.code is not None:
            raise WebSocketClosed(self.code, self.reason)
        try:
            self._sock.sendall(self._engine.send(event))
        except Timeout:
            self._end(_ABNORMAL, "")
            raise
        except OSError as exc:
            self._end(_ABNORMAL, "")
            raise WebSocketClosed(_ABNORMAL, "") from exc

    def _close(self, code: int, reason: str) -> None:
        try:
            self._send(self._wsproto.events.CloseConnection(code=code, reason=reason))
        except WebSocketClosed:
            return
        self._end(code, reason)

    def _end(self, code: int, reason: str) -> None:
        if self.code is None:
            self.code = code
            self.reason = reason
            self._sock.close()

    # receiving

    def receive(self, timeout: float | None = None) -> str | bytes | None:
        """The next message; None when the connection has ended. Raises Timeout after `timeout` seconds."""
        deadline = moment_after(timeout)
        while self.code is None:
            if not self._events:
                self._hear(deadline)
                continue
            message = self._take(self._events.popleft())
            if message is not None:
                return message
        return None

    def __iter__(self) -> Iterator[str | bytes]:
        while (message := self.receive()) is not None:
            yield message

    def _hear(self, deadline: float | None) -> None:
        """Wait for input and parse it."""
        try:
            received = self._sock.receive(_READ_BYTES, deadline)
        except Timeout:
            raise
        except OSError:
            received = b""
        if not received:
            self._end(_ABNORMAL, "")
            return
        try:
            self._engine.receive_data(received)
            for event in self._engine.events():
                self._events.append(event)
        except self._wsproto.utilities.RemoteProtocolError as exc:
            hint = exc.event_hint
            self._close(int(hint.code) if hint is not None else 1002, "")

    def _take(self, event: Any) -> str | bytes | None:
        """What an event means; a message if it completes one."""
        events = self._wsproto.events
        if isinstance(event, events.Message):
            return self._join(event)
        if isinstance(event, events.Ping):
            self._answer(event)
        elif isinstance(event, events.CloseConnection):
            self._answer(event)
            self._end(int(event.code), event.reason or "")
        return None

    def _answer(self, event: Any) -> None:
        try:
            self._send(event.response())
        except WebSocketClosed:  # `receive` says so by its result
            pass

    def _join(self, event: Any) -> str | bytes | None:
        self._size += len(event.data)
        if self._size > self._most:
            self._pieces.clear()
            self._close(_TOO_BIG, "")
            return None
        self._pieces.append(event.data)
        if not event.message_finished:
            return None
        pieces, self._pieces, self._size = self._pieces, [], 0
        return "".join(pieces) if isinstance(event, self._wsproto.events.TextMessage) else b"".join(pieces)


class LazyWebSocket:
    """`wsgi.websocket`, in the shape that gevent-websocket has given it.

    The facts are those of the request; the handshake is done when the first message is sent or waited for.
    """

    def __init__(self, environ: Environ) -> None:
        self._environ = environ
        self._made: WebSocket | None = None

    @property
    def version(self) -> str | None:
        """The version of the protocol that the client speaks."""
        return self._environ.get("HTTP_SEC_WEBSOCKET_VERSION")

    @property
    def path(self) -> str:
        """PATH_INFO."""
        return str(self._environ.get("PATH_INFO", ""))

    @property
    def origin(self) -> str | None:
        """The Origin of the request."""
        return self._environ.get("HTTP_ORIGIN")

    @property
    def protocol(self) -> str | None:
        """The subprotocol that was agreed on: none, since nobody was asked."""
        return None

    @property
    def closed(self) -> bool:
        """Has one of the sides ended it?"""
        return self._made is not None and self._made.closed

    def receive(self) -> str | bytes | None:
        """The next message; None when the connection has ended."""
        return self._socket().receive()

    def send(self, message: str | bytes, binary: bool | None = None) -> None:
        """Send a message; `binary` says what it is sent as, whatever it is."""
        if binary is True and isinstance(message, str):
            message = message.encode()
        elif binary is False and isinstance(message, bytes):
            message = message.decode()
        self._socket().send(message)

    def close(self, code: int = _NORMAL, message: str | bytes = "") -> None:
        """End the connection. Nothing happens if it was never used."""
        if self._made is not None:
            self._made.close(code, message.decode() if isinstance(message, bytes) else message)

    def _socket(self) -> WebSocket:
        if self._made is None:
            self._made = accept(self._environ, max_message_size=1 << 26)
        return self._made
