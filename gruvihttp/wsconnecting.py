"""The client's side of WebSocket: finding the server, and the handshake of RFC 6455. What is said is not known here.

A WebSocket begins as a GET request over HTTP/1.1. It is made as any request is; only its fields, and what the answer
to it must say, are this file's business.
"""

from __future__ import annotations

import os
import ssl as ssl_module
from base64 import b64encode
from collections.abc import Mapping, Sequence
from typing import Any

from gruvihttp.connecting import Connector
from gruvihttp.errors import Error, RemoteProtocolError
from gruvihttp.exchanges.tunnel import Tunnel
from gruvihttp.limits import Timeouts
from gruvihttp.marks import switchpoint
from gruvihttp.messages import HttpResponse
from gruvihttp.net.deadline import moment_after, timeout_left
from gruvihttp.net.trust import CertOption, VerifyOption, client_context_for
from gruvihttp.origins import Destination, destination_of, shown_url
from gruvihttp.proxy import ProxyOption
from gruvihttp.wsaccepting import accept_value, members
from gruvihttp.wsmessages import WebSocket, check_options, compression, wsproto

__all__ = ["HandshakeRefused", "connect"]

_SCHEMES = {"ws": "http", "wss": "https", "ws+unix": "http+unix", "wss+unix": "https+unix"}
_OURS = frozenset(("connection", "host", "upgrade"))  # beside these, all that begin with sec-websocket-
_MOST_SHOWN_BYTES = 65536
_LINGER_SECONDS = 1.0  # for the server to close the connection, which is its part (RFC 6455 §7.1.1)
_LINGER_BYTES = 1 << 20


class HandshakeRefused(Error, ConnectionError):
    """The server has answered, but not with a WebSocket. `status`, `headers` and `content` are those of the answer."""

    def __init__(self, response: HttpResponse, content: bytes) -> None:
        super().__init__(f"the server answers {response.status} {response.reason} instead of a WebSocket")
        self.status = response.status
        self.headers = response.headers
        self.content = content


@switchpoint
def connect(
    url: str,
    *,
    subprotocols: Sequence[str] = (),
    headers: Mapping[str, str] | Sequence[tuple[str, str]] = (),
    origin: str | None = None,
    timeout: float | None = 30.0,
    max_message_size: int = 1 << 20,
    compress: bool = False,
    ping_interval: float | None = None,
    verify: VerifyOption = True,
    cert: CertOption = None,
    ssl: ssl_module.SSLContext | None = None,
    proxy: ProxyOption | None = None,
) -> WebSocket:
    """Open a WebSocket to ``ws://``, ``wss://``, or by a Unix socket ``ws+unix://%2Frun%2Fapp.sock/path``.

    `subprotocols` are offered, the best first. `headers` are added to the request; credentials in the URL become
    Authorization. `timeout`, in seconds, bounds all until the handshake is done, and after that each wait for a server
    that does not read. A message of more than `max_message_size` bytes (characters, if it is text) ends the
    connection. `compress` offers permessage-deflate. `ping_interval` is as for `accept`; `verify`, `cert`, `ssl` and
    `proxy` are as for `HttpPool`.

    Raises HandshakeRefused for another answer, RemoteProtocolError for a wrong one, TransportError, Timeout, and
    ValueError for a URL that cannot be understood.
    """
    destination = _destination_of(url)
    _check_names(subprotocols)
    check_options(max_message_size, ping_interval)
    extensions = [compression()] if compress else []
    wsproto()  # if it is missing, say so before there is a connection
    key = b64encode(os.urandom(16)).decode("ascii")
    fields = _fields(destination, key, subprotocols, extensions, headers, origin)
    deadline = moment_after(timeout)
    connector = Connector(lambda: ssl or client_context_for(verify, cert), _tunnelled(proxy, destination))
    connection = connector.connect(destination.origin, timeout, timeout)
    try:
        response = _ask(connection.protocol, destination.target, fields, deadline)
        tunnel = response.transport
        if tunnel is None:
            raise HandshakeRefused(response, response.body.read(_MOST_SHOWN_BYTES))
        chosen = _check(response, key, subprotocols)
        agreed = _agreed(response, extensions)
    except BaseException:
        connection.transport.abort()
        raise
    return WebSocket(
        _ClientWire(tunnel, timeout),
        is_client=True,
        subprotocol=chosen,
        subprotocols=subprotocols,
        extensions=agreed,
        max_message_size=max_message_size,
        ping_interval=ping_interval,
    )


def _destination_of(url: str) -> Destination:
    """Where a URL leads, as HTTP sees it."""
    if not isinstance(url, str):
        raise TypeError(f"a URL must be str, not {type(url).__name__}")
    scheme, mark, rest = url.partition("://")
    known = _SCHEMES.get(scheme.lower())
    if not mark or known is None:
        raise ValueError(f"the URL {shown_url(url)!r} is not one of a WebSocket: it begins with 'ws://' or 'wss://'")
    if "#" in rest:
        raise ValueError(f"the URL {shown_url(url)!r} has a fragment, and those of a WebSocket have none")
    return destination_of(f"{known}://{rest}")


def _check_names(subprotocols: Sequence[str]) -> None:
    if isinstance(subprotocols, str):
        raise TypeError(f"subprotocols must be a list of names, not {subprotocols!r}")


def _tunnelled(proxy: ProxyOption | None, destination: Destination) -> ProxyOption | None:
    if proxy is not None and destination.origin.scheme == "http":
        raise ValueError("a proxy is for wss:// only: it would not pass a WebSocket on that it can read")
    return proxy


def _fields(
    destination: Destination,
    key: str,
    subprotocols: Sequence[str],
    extensions: Sequence[Any],
    headers: Mapping[str, str] | Sequence[tuple[str, str]],
    origin: str | None,
) -> list[tuple[str, str]]:
    """The fields of the request. Raises ValueError for those that are not the caller's to say."""
    fields = [("Sec-WebSocket-Key", key), ("Sec-WebSocket-Version", "13")]
    if subprotocols:
        fields.append(("Sec-WebSocket-Protocol", ", ".join(subprotocols)))
    for extension in extensions:
        fields.append(("Sec-WebSocket-Extensions", f"{extension.name}; {extension.offer()}"))
    if origin is not None:
        fields.append(("Origin", origin))
    if destination.credentials is not None:
        fields.append(("Authorization", destination.credentials))
    for name, value in headers.items() if isinstance(headers, Mapping) else headers:
        if name.lower() in _OURS or name.lower().startswith("sec-websocket-"):
            raise ValueError(f"{name} is written by the handshake itself")
        fields.append((name, value))
    return fields


def _ask(protocol: Any, target: str, fields: list[tuple[str, str]], deadline: float | None) -> HttpResponse:
    """Send the request and wait for the answer to it."""
    left = timeout_left(deadline)
    protocol.request("GET", target, fields, upgrade="websocket", timeout=Timeouts(read=left, write=left, total=left))
    response: HttpResponse = protocol.getresponse(-1)
    return response


def _all(response: HttpResponse, name: str) -> list[str]:
    """The members of a field, from all its lines."""
    return [member for known, value in response.headers if known.lower() == name.lower() for member in members(value)]


def _check(response: HttpResponse, key: str, offered: Sequence[str]) -> str | None:
    """The subprotocol that was chosen. Raises RemoteProtocolError for what RFC 6455 section 4.1 does not let pass."""
    if "upgrade" not in (option.lower() for option in _all(response, "Connection")):
        raise RemoteProtocolError("the answer to the handshake has no Connection: Upgrade")
    if _all(response, "Sec-WebSocket-Accept") != [accept_value(key)]:
        raise RemoteProtocolError("the answer to the handshake has a wrong Sec-WebSocket-Accept")
    chosen = _all(response, "Sec-WebSocket-Protocol")
    if len(chosen) > 1 or not set(chosen) <= set(offered):
        raise RemoteProtocolError(f"the server speaks {', '.join(chosen)}, which was not offered")
    return chosen[0] if chosen else None


def _agreed(response: HttpResponse, offered: Sequence[Any]) -> Sequence[Any]:
    """The extensions that the server has chosen. Raises RemoteProtocolError for those that were not offered."""
    chosen = _all(response, "Sec-WebSocket-Extensions")
    try:
        agreed: Sequence[Any] = wsproto().handshake.client_extensions_handshake(chosen, offered)
    except wsproto().utilities.RemoteProtocolError as exc:
        raise RemoteProtocolError(f"the server answers the handshake with an {exc}") from None
    return agreed


class _ClientWire:
    """The connection of a client, below the frames."""

    def __init__(self, tunnel: Tunnel, stall: float | None) -> None:
        self._channel = tunnel.channel
        self._leading = tunnel.take_leading()
        self._stall = stall

    def __repr__(self) -> str:
        return repr(self._channel)

    def sendall(self, data: bytes) -> None:
        """Send all of it."""
        self._channel.send(data, self._stall)

    def receive(self, size: int, deadline: float | None) -> bytes:
        """What comes next; what came with the answer to the handshake is first."""
        if self._leading:
            received, self._leading = self._leading[:size], self._leading[size:]
            return received
        return self._channel.receive(deadline, "read", size)

    def close(self) -> None:
        """Wait for the server to close the connection, not for long, and close it."""
        if not self._channel.closed:
            self._channel.linger(_LINGER_BYTES, moment_after(_LINGER_SECONDS))
            self._channel.close()

    def abort(self) -> None:
        """Cut it."""
        self._channel.abort()
