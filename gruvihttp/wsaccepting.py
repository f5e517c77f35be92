"""The server's side of WebSocket: the handshake of RFC 6455, and what happens to a WebSocket when the server stops.

How the connection is taken away from HTTP is not known here, nor what is said on it then.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from binascii import Error as Base64Error
from collections.abc import Callable, Sequence
from hashlib import sha1
from time import monotonic
from typing import Any

import gevent

from gruvihttp.environ import Environ
from gruvihttp.errors import Error
from gruvihttp.hijack import HijackedSocket
from gruvihttp.net.deadline import Alarm
from gruvihttp.wsmessages import CLOSE_SECONDS, NORMAL, WebSocket, check_options, compression, wsproto

__all__ = ["HandshakeError", "LazyWebSocket", "accept", "accept_value", "dismiss_on_drain", "members"]

_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455 §1.3
_GOING_AWAY = b"\x88\x02\x03\xe9"  # a close frame with 1001, as a server sends it


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


def accept(
    environ: Environ,
    subprotocols: Sequence[str] = (),
    *,
    check_origin: Callable[[str | None], bool] | None = None,
    max_message_size: int = 1 << 20,
    headers: list[tuple[str, str]] | None = None,
    compress: bool = False,
    ping_interval: float | None = None,
) -> WebSocket:
    """Answer the handshake of a request, and speak WebSocket on its connection from now on.

    `subprotocols` are ours, the best first. `check_origin` gets the Origin of the request, None without one; without
    that hook every page in every browser may connect with its user's cookies. A message of more than
    `max_message_size` bytes (characters, if it is text) ends the connection. `headers` are added to the response.
    `compress` agrees to permessage-deflate where the client offers it, at the price of 100 to 300 KB of memory. With
    `ping_interval`, in seconds, the client is pinged that often, and given up (1006) if it does not answer while a
    greenlet receives.

    When the server is told to stop, a WebSocket on which a greenlet waits for a message is ended with 1001, and any
    other as soon as one does.

    Raises HandshakeError, which is an answer to return: ``return exc(environ, start_response)``.
    """
    check_options(max_message_size, ping_interval)
    key = _checked_key(environ)
    if check_origin is not None and not check_origin(environ.get("HTTP_ORIGIN")):
        raise HandshakeError("this origin may not connect", "403 Forbidden")
    offered = members(environ.get("HTTP_SEC_WEBSOCKET_PROTOCOL", ""))
    chosen = next((ours for ours in subprotocols if ours in offered), None)
    extensions, agreed = _agree(environ.get("HTTP_SEC_WEBSOCKET_EXTENSIONS", ""), compress=compress)
    fields = [("Sec-WebSocket-Accept", accept_value(key))]
    if chosen is not None:
        fields.append(("Sec-WebSocket-Protocol", chosen))
    if agreed is not None:
        fields.append(("Sec-WebSocket-Extensions", agreed))
    wsproto()  # it says what is missing, while an answer is still possible
    sock: HijackedSocket = environ["gruvihttp.upgrade"]("websocket", fields + (headers or []))
    made = WebSocket(
        sock,
        is_client=False,
        subprotocol=chosen,
        subprotocols=offered,
        extensions=extensions,
        max_message_size=max_message_size,
        ping_interval=ping_interval,
    )
    sock.on_drain(made.leave)
    return made


def accept_value(key: str) -> str:
    """The value of Sec-WebSocket-Accept for a Sec-WebSocket-Key (RFC 6455 section 4.2.2)."""
    return b64encode(sha1(key.encode("latin-1") + _GUID).digest()).decode("ascii")


def members(value: str) -> list[str]:
    """The members of a list in a field."""
    return [member.strip() for member in value.split(",") if member.strip()]


def dismiss_on_drain(sock: HijackedSocket) -> None:
    """Have a WebSocket that some library speaks on `sock` ended with 1001 when the server is told to stop.

    The library does not know of it: it hears of the end when the client answers, as every client must. One that
    does not is cut off after a while. Libraries send whole frames at a time, so ours comes between two of them.
    """

    def say() -> None:
        try:
            sock.sendall(_GOING_AWAY)
        except OSError:  # it has ended by itself
            return
        Alarm(gevent.get_hub().loop, sock.abort).set(monotonic() + CLOSE_SECONDS)

    sock.on_drain(lambda: gevent.spawn(say))


def _agree(offered: str, *, compress: bool) -> tuple[list[Any], str | None]:
    """The extensions that are spoken, and how that is said; none if the offer cannot be understood."""
    if not compress or not offered:
        return [], None
    ours = compression()
    try:
        said = wsproto().handshake.server_extensions_handshake(members(offered), [ours])
    except ValueError:  # a window that is no number
        return [], None
    return ([], None) if said is None else ([ours], said.decode("ascii"))


def _checked_key(environ: Environ) -> str:
    """The key of a handshake that is as RFC 6455 section 4.2.1 wants it."""
    asks = "websocket" in (member.lower() for member in members(environ.get("HTTP_UPGRADE", "")))
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

    def close(self, code: int = NORMAL, message: str | bytes = "") -> None:
        """End the connection. Nothing happens if it was never used."""
        if self._made is not None:
            self._made.close(code, message.decode() if isinstance(message, bytes) else message)

    def _socket(self) -> WebSocket:
        if self._made is None:
            self._made = accept(self._environ, max_message_size=1 << 26)
        return self._made
