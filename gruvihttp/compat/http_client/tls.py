"""TLS for the door: a cooperative TLS socket for any context. What is said over it is not known here."""

from __future__ import annotations

import ssl
from typing import Any

from gevent import socket as gevent_socket
from gevent import ssl as gevent_ssl

__all__ = ["wrap_tls"]

# the class itself and its method: monkey-patching replaces the name, and a context may be older than that
_STOCK_WRAP = getattr(gevent_ssl, "orig_SSLContext", ssl.SSLContext).wrap_socket


def wrap_tls(sock: Any, context: Any, server_hostname: str | None = None) -> Any:  # Any: see `take_over`
    """`sock` with TLS on it, the handshake done.

    A context of the standard library makes sockets that block the whole hub. If its ``wrap_socket`` was not replaced,
    and the socket is gevent's, the TLS socket is gevent's, too; otherwise the context makes it.
    """
    if type(sock) is gevent_socket.socket and type(context).wrap_socket is _STOCK_WRAP:
        return gevent_ssl.SSLSocket(sock, server_hostname=server_hostname, _context=context)
    return context.wrap_socket(sock, server_hostname=server_hostname)
