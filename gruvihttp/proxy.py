"""Connections through an HTTP proxy, which is asked for them with CONNECT (RFC 9110 §9.3.6).

What is spoken through them afterwards, TLS or not, is not known here.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence
from typing import Any, NamedTuple, TypeAlias
from urllib.parse import unquote

from gruvihttp._version import PRODUCT_ID
from gruvihttp.compose import Composer, raw_fields
from gruvihttp.errors import Timeout, TransportError
from gruvihttp.exchanges.http1.client import ClientConnection
from gruvihttp.limits import Timeouts
from gruvihttp.net.deadline import timeout_left
from gruvihttp.net.dial import dial
from gruvihttp.net.sockets import Address, format_address
from gruvihttp.net.transport import Transport
from gruvihttp.urls import parse_url

__all__ = ["Proxy", "ProxyOption", "open_tunnel", "proxy_of"]

ProxyOption: TypeAlias = "str | tuple[str, int] | Proxy"


class Proxy(NamedTuple):
    """Where a proxy is, and the fields that it alone gets."""

    address: Address
    headers: Sequence[tuple[str, str]] = ()


def proxy_of(option: ProxyOption) -> Proxy:
    """A proxy from (host, port), or from ``http://[user:password@]host[:port]``, whose port is 80 by default.

    Raises ValueError for a URL that is none, or of another scheme; TypeError for what is neither.
    """
    if isinstance(option, Proxy):
        return option
    if isinstance(option, tuple) and len(option) == 2:
        return Proxy(option)
    if not isinstance(option, str):
        raise TypeError(f"a proxy is (host, port) or an http:// URL, not {option!r}")
    parsed = parse_url(option)
    if parsed.scheme != "http" or not parsed.host:
        raise ValueError("a proxy is (host, port) or an http:// URL: TLS is spoken through it, not with it")
    if not parsed.userinfo:
        return Proxy(parsed.addr)
    # RFC 7617 §2, with the charset that nearly everybody means
    secret = b64encode(unquote(parsed.userinfo).encode("utf-8")).decode("ascii")
    return Proxy(parsed.addr, [("Proxy-Authorization", f"Basic {secret}")])


def open_tunnel(proxy: Proxy, address: Address, deadline: float | None, **dialling: Any) -> Transport:
    """A connection to ``(host, port)`` that a proxy has made. `dialling` are keywords of `dial`.

    Raises ValueError for an address that no proxy can connect to; TransportError when the proxy cannot be reached,
    or refuses, and then the message has its status; Timeout; HttpError when it does not speak HTTP.
    """
    if not isinstance(address, tuple):
        raise ValueError(f"a proxy connects to (host, port), not to {format_address(address)}")
    target = format_address(address)
    request = Composer("1.1", target, PRODUCT_ID)("CONNECT", target, [], "")
    outline = request.outline._replace(fields=[*request.outline.fields, *raw_fields(list(proxy.headers))])
    transport = Transport(dial(proxy.address, deadline=deadline, **dialling))
    try:
        left = timeout_left(deadline)
        connection = ClientConnection(transport, timeouts=Timeouts(read=left, write=left, total=left))
        connection.send(request._replace(outline=outline), None)
        exchange = connection.collect()
        response, tunnel = exchange.response, exchange.tunnel
        if tunnel is None:
            raise _refused(proxy, target, response)
        if tunnel.leading_bytes:  # a server of HTTP or TLS speaks when it is spoken to
            raise TransportError(f"the proxy {format_address(proxy.address)} has sent more than was asked for")
    except BaseException as exc:
        transport.abort()
        if isinstance(exc, Timeout):  # it names a phase of the exchange with the proxy
            text = f"timed out: the proxy {format_address(proxy.address)} has not connected to {target}"
            raise Timeout(text, phase="connect") from exc
        raise
    return transport


def _refused(proxy: Proxy, target: str, response: Any) -> TransportError:
    status = f"{response.status_code} {response.reason.decode('latin-1')}".rstrip()
    return TransportError(f"the proxy {format_address(proxy.address)} does not connect to {target}: {status}")
