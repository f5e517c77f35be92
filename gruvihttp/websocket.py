"""WebSocket (RFC 6455), both sides: `accept` in an application, `connect` in a client, and `WebSocket` from either.

It needs wsproto: ``pip install gruvihttp[websocket]``. Here are only the names.
"""

from __future__ import annotations

from gruvihttp.wsaccepting import HandshakeError, accept
from gruvihttp.wsconnecting import HandshakeRefused, connect
from gruvihttp.wsmessages import WebSocket, WebSocketClosed, is_available

__all__ = [
    "HandshakeError",
    "HandshakeRefused",
    "WebSocket",
    "WebSocketClosed",
    "accept",
    "connect",
    "is_available",
]
