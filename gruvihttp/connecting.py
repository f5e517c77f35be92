"""`Connector`: opens connections to origins, directly or through an HTTP proxy. Their use is not known here."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias, cast

from gruvihttp.compose import raw_fields
from gruvihttp.exchanges.http2.client import Http2ClientConnection
from gruvihttp.exchanges.request import ComposedRequest
from gruvihttp.net.deadline import moment_after
from gruvihttp.net.endpoints import create_connection
from gruvihttp.net.opening import start_protocol
from gruvihttp.net.sockets import Address
from gruvihttp.net.transport import Transport
from gruvihttp.origins import Origin
from gruvihttp.protocol import HttpProtocol
from gruvihttp.proxy import Proxy, ProxyOption, open_tunnel, proxy_of
from gruvihttp.sansio.headers import Field

__all__ = ["AddressOf", "Connector", "OriginConnection", "SharedConnection"]

# Where to find an origin: (host, port), the path of a Unix socket, or a connected socket
AddressOf: TypeAlias = Callable[[Origin], Address]
ContextSource: TypeAlias = Callable[[], ssl.SSLContext]


class OriginConnection:
    """A connection on which an origin answers, with the protocol that speaks there and its driver."""

    __slots__ = ("driver", "protocol", "transport")

    multiplexed = False  # one exchange at a time
    driver: Any  # of the version that is spoken

    def __init__(self, transport: Transport, protocol: HttpProtocol) -> None:
        self.transport = transport
        self.protocol = protocol
        self.driver = protocol.connection

    def __repr__(self) -> str:
        return f"<OriginConnection {self.transport!r}>"

    def close(self) -> None:
        """Close it, without waiting for responses that are due."""
        if self.driver.is_idle:
            self.transport.close()
        else:
            self.transport.abort()

    def watch(self, on_dead: Callable[[], object]) -> None:
        """Call `on_dead` when something comes that makes it useless: on an idle connection, anything does."""

        def look() -> None:
            if not self.driver.stays_idle():
                on_dead()

        self.transport.park(look)
        self.transport.keep_loop(alive=False)

    def unwatch(self) -> None:
        """Stop watching."""
        self.transport.unpark()
        self.transport.keep_loop(alive=True)


class SharedConnection(OriginConnection):
    """One that carries many exchanges at a time, in HTTP/2. Its driver always reads, so it notices its end itself."""

    __slots__ = ("served",)

    multiplexed = True
    driver: Http2ClientConnection

    def __init__(self, transport: Transport, protocol: HttpProtocol) -> None:
        super().__init__(transport, protocol)
        self.served = 0  # exchanges whose responses have arrived

    @property
    def usable(self) -> bool:
        """Whether it takes one more exchange, as far as is known."""
        return self.driver.stays_idle()

    def close(self) -> None:
        """Send GOAWAY and close it, without waiting for responses that are due."""
        self.driver.leave()

    def watch(self, on_dead: Callable[[], object]) -> None:
        """Call `on_dead` when the server takes no more requests, or goes."""
        self.driver.on_refused = on_dead
        self.transport.keep_loop(alive=False)
        if not self.usable:
            on_dead()

    def unwatch(self) -> None:
        """Stop watching."""
        self.driver.on_refused = None
        self.transport.keep_loop(alive=True)


class _ProxyProtocol(HttpProtocol):
    """Speaks with a proxy that carries requests on, and wants to see fields of its own in each."""

    def __init__(self, fields: Sequence[Field]) -> None:
        super().__init__(False)
        self._fields = fields

    def compose(self, *request: Any, **options: Any) -> ComposedRequest:  # Any: as in HttpProtocol
        composed = super().compose(*request, **options)
        outline = composed.outline
        return composed._replace(outline=outline._replace(fields=[*outline.fields, *self._fields]))


class Connector:
    """Opens connections to origins.

    `context_of()` makes the TLS context when it is first needed. `proxy` is an HTTP proxy, to which plain requests are
    sent as they are, and through which all others go in tunnels. `address_of(origin)` says where an origin is. With
    `http2` that is spoken where TLS agrees on it.
    """

    def __init__(
        self,
        context_of: ContextSource,
        proxy: ProxyOption | None = None,
        address_of: AddressOf | None = None,
        local_address: Address = None,
        http2: bool = False,
    ) -> None:
        self._version = "auto" if http2 else "1.1"
        self._context_of = context_of
        self._proxy: Proxy | None = None if proxy is None else proxy_of(proxy)
        self._address_of = address_of or _own_address
        self._local_address = local_address
        if self._proxy is not None:
            host, port = cast(tuple[str, int], self._proxy.address)
            self._proxy_origin = Origin("http", host, port)

    def route(self, origin: Origin, target: str) -> tuple[Origin, str]:
        """The origin that a request is sent to, and its target (RFC 9112 §3.2.2)."""
        if self._proxy is None or origin.scheme == "https" or origin.path:
            return origin, target
        return self._proxy_origin, f"http://{origin.authority}{target}"

    def connect(self, origin: Origin, connect: float | None, handshake: float | None) -> OriginConnection:
        """Open a connection, within `connect` seconds and another `handshake` for TLS.

        Raises TransportError, Timeout, HttpError when the proxy does not speak HTTP.
        """

        def protocol() -> HttpProtocol:
            if self._proxy is not None and origin == self._proxy_origin and self._proxy.headers:
                return _ProxyProtocol(raw_fields(self._proxy.headers))
            return HttpProtocol(False, server_name=origin.authority, version=self._version)

        context = self._context_of() if origin.scheme == "https" else False
        local_address = None if origin.path else self._local_address
        if self._proxy is not None and origin.scheme == "https" and not origin.path:
            deadline = moment_after(connect)
            transport = open_tunnel(self._proxy, (origin.host, origin.port), deadline, local_address=local_address)
            made = start_protocol(transport, protocol, context, origin.host, moment_after(handshake))
        else:
            transport, made = create_connection(
                protocol,
                self._address_of(origin),
                context,
                server_hostname=origin.host,
                local_address=local_address,
                timeout=connect,
                handshake_timeout=handshake,
            )
        spoken = cast(HttpProtocol, made)
        return (SharedConnection if spoken.version == "2" else OriginConnection)(transport, spoken)


def _own_address(origin: Origin) -> Address:
    return origin.path or (origin.host, origin.port)
