"""`HTTPConnection` and `HTTPSConnection`: the standard library's send side over cooperative sockets.

They are subclasses, and everything that programs reach into is the original: ``_buffer``, ``_tunnel``, ``send``, the
names of the states. What is ours is how a connection is made, and what becomes of it when something went wrong.
"""

from __future__ import annotations

import socket
import sys
import weakref
from http import client as stock
from typing import Any

from gevent import socket as gevent_socket

from gruvihttp.compat.http_client.response import HTTPResponse
from gruvihttp.compat.http_client.tls import wrap_tls

__all__ = ["HTTPConnection", "HTTPSConnection"]

_UNSET: Any = socket._GLOBAL_DEFAULT_TIMEOUT  # type: ignore[attr-defined]
_STARTED = stock._CS_REQ_STARTED  # type: ignore[attr-defined]
_SENT = stock._CS_REQ_SENT  # type: ignore[attr-defined]


class HTTPConnection(stock.HTTPConnection):
    """`http.client.HTTPConnection` whose sockets let other greenlets run, monkey-patched or not."""

    response_class: Any = HTTPResponse  # Any: callers put factories here

    # vcrpy takes the static methods from the dictionary of the class
    _is_textIO = staticmethod(stock.HTTPConnection._is_textIO)  # type: ignore[attr-defined]
    _get_content_length = staticmethod(stock.HTTPConnection._get_content_length)  # type: ignore[attr-defined]

    def __init__(
        self,
        host: str,
        port: int | None = None,
        timeout: float | None = _UNSET,
        source_address: tuple[str, int] | None = None,
        blocksize: int = 8192,
    ) -> None:
        super().__init__(host, port, timeout, source_address, blocksize)
        self._create_connection = gevent_socket.create_connection

    def connect(self) -> None:
        """Connect to the host, through the tunnel if one was set. A connection that failed half way is closed."""
        try:
            super().connect()
        except BaseException:
            if self.sock is not None:  # up, but not through the proxy: what is sent next would be for the proxy
                self.close()
            raise

    def send(self, data: Any) -> None:  # Any: bytes-like, a file, or an iterable of either
        """Send `data`, connecting if that was not done."""
        sock = self.sock
        if type(data) is not bytes or type(sock) is not gevent_socket.socket or self.debuglevel:
            super().send(data)
            return
        sys.audit("http.client.send", self, data)
        sent = sock.send(data)  # nearly always all; `sendall` prepares for more
        if sent < len(data):
            sock.sendall(memoryview(data)[sent:])

    def getresponse(self) -> Any:  # Any: what `response_class` makes
        """The response to the request that was sent, its head read."""
        response = super().getresponse()
        if isinstance(response, HTTPResponse):
            response._owner = weakref.ref(self)
        return response

    def _awaits_response(self) -> bool:
        return bool(self._HTTPConnection__state == _SENT)  # type: ignore[attr-defined]

    def _drop_socket(self) -> None:
        """Have the next request make a new connection. One that is being put together is not lost."""
        if self._HTTPConnection__state != _STARTED:  # type: ignore[attr-defined]
            self.close()
        elif self.sock is not None:
            self.sock.close()
            self.sock = None


class HTTPSConnection(stock.HTTPSConnection, HTTPConnection):
    """`http.client.HTTPSConnection` over cooperative sockets, with any context."""

    def connect(self) -> None:
        """Connect, and do the TLS handshake. A connection that failed half way is closed."""
        HTTPConnection.connect(self)
        try:
            host = self._tunnel_host or self.host  # type: ignore[attr-defined]
            self.sock = wrap_tls(self.sock, self._context, host)  # type: ignore[attr-defined]
        except BaseException:
            self.close()
            raise
