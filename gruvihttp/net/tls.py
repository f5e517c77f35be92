"""TLS contexts by the options that users give. The session itself is driven in `tlslayer`."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from functools import cache
from typing import Any, TypeAlias, cast

from gruvihttp.net.sockets import RawSocket

__all__ = ["ALPN", "TlsOption", "check_client_option", "check_server_option", "client_context", "server_context"]

# What a client offers for the versions that TLS can settle (RFC 7301)
ALPN = {"2": ("h2",), "auto": ("h2", "http/1.1")}
# What users may give as ``ssl=``. A callable gets the raw socket; so it can choose by address, or read new files.
TlsOption: TypeAlias = bool | ssl.SSLContext | Callable[[RawSocket], ssl.SSLContext]


def check_client_option(option: TlsOption | None) -> None:
    """Raise TypeError for what `client_context` could make nothing of, before there is a connection."""
    if option and option is not True and not callable(option):
        _checked(option)


def check_server_option(option: TlsOption | None) -> None:
    """Raise TypeError, or ValueError for a context of clients, which would fail each handshake."""
    if option is True:
        raise TypeError("a server's ssl= must be an SSLContext with a certificate, not True")
    if option and not callable(option) and _checked(option).protocol == ssl.PROTOCOL_TLS_CLIENT:
        raise ValueError("this SSLContext is for clients: a server's is made for ssl.Purpose.CLIENT_AUTH")


def client_context(option: TlsOption | None, sock: RawSocket, alpn: tuple[str, ...] = ()) -> ssl.SSLContext | None:
    """The context for a connection that we open, or None for one without TLS.

    True means the system's trust store, with certificates and host names verified; `alpn` is offered with that one
    only, since a context that the user made says itself what it offers.
    """
    if option is True:
        return _default_client_context(alpn)
    return _given_context(option, sock)


def server_context(option: TlsOption | None, sock: RawSocket) -> ssl.SSLContext | None:
    """The context for a connection that we accepted, or None for one without TLS."""
    check_server_option(option)
    return _given_context(option, sock)


def _given_context(option: TlsOption | None, sock: RawSocket) -> ssl.SSLContext | None:
    if option is None or option is False:
        return None
    return _checked(option(sock) if callable(option) else option)


def _checked(context: Any) -> ssl.SSLContext:
    # by what it can do, not by its class: gevent's patching replaces the name, and a context may be older than that
    if not hasattr(context, "wrap_bio"):
        raise TypeError(f"ssl= must be False, True, an SSLContext or a callable that returns one, not {context!r}")
    return cast(ssl.SSLContext, context)


@cache
def _default_client_context(alpn: tuple[str, ...]) -> ssl.SSLContext:
    context = ssl.create_default_context()
    if alpn:
        context.set_alpn_protocols(list(alpn))
    return context
