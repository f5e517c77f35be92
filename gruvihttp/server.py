"""gruvi's `HttpServer`: a WSGI application behind listening sockets.

It joins an endpoint, which accepts, with the driver that serves a connection and the gateway that calls the
application. Parsing is not known here.
"""

from __future__ import annotations

from collections.abc import Iterable

from gruvihttp.exchanges.config import ServerConfig
from gruvihttp.forwarded import DEFAULT_FIELDS, TrustedProxies
from gruvihttp.hijack import WebSocketCompat
from gruvihttp.limits import Limits, Timeouts
from gruvihttp.net.endpoints import Server
from gruvihttp.net.sockets import Address
from gruvihttp.net.tls import TlsOption
from gruvihttp.net.transport import Transport
from gruvihttp.protocol import HttpProtocol
from gruvihttp.wsgi import Application, WsgiGateway

__all__ = ["HttpServer"]


class HttpServer(Server):
    """Serves a WSGI application (PEP 3333) over HTTP/1.1 and HTTP/1.0.

    `server_name` is what the application sees as SERVER_NAME; by default the host that was given to `listen`, and for
    a wildcard address the address that the client connected to. `timeout`, in seconds, is the most that any phase of a
    connection may last; `timeouts` sets each by name instead. `debug` shows an application's traceback to the client.

    Proxies among `trusted_proxies` (addresses, networks, ``"unix"``) are believed what they say about their clients in
    `proxy_fields`, which are to be all that they set. `strip_untrusted` removes from environ what such fields say
    otherwise. By default nobody is believed and nothing is removed.

    `websocket_compat` is the server, ``"gevent"``, ``"werkzeug"`` or ``"gunicorn"``, whose way of handing out the
    socket of a WebSocket request is imitated for libraries; None hands it out by ``gruvihttp.hijack`` only.

    ::

        server = HttpServer(application)
        server.listen(("127.0.0.1", 8080))
        server.run()
    """

    gateway_class: type[WsgiGateway] = WsgiGateway  # for doors that run exchanges in a way of their own

    def __init__(
        self,
        application: Application,
        server_name: str | None = None,
        timeout: float | None = None,
        *,
        limits: Limits | None = None,
        timeouts: Timeouts | None = None,
        debug: bool = False,
        trusted_proxies: Iterable[str] | None = None,
        proxy_fields: Iterable[str] = DEFAULT_FIELDS,
        strip_untrusted: bool = True,
        websocket_compat: WebSocketCompat = "gevent",
    ) -> None:
        config = ServerConfig(limits=limits or Limits(), timeouts=timeouts or Timeouts.flat(timeout))
        self._proxies: TrustedProxies | None = None
        if trusted_proxies is not None:
            self._proxies = TrustedProxies(trusted_proxies, proxy_fields, strip_untrusted=strip_untrusted)
        super().__init__(self._no_protocol, timeout, timeouts=config.timeouts)
        self._application = application
        self._server_name = server_name
        self._debug = debug
        self._websocket_compat: WebSocketCompat = websocket_compat
        self._config = config
        self._default = self._gateway(server_name)
        self._gateways: dict[Address, WsgiGateway] = {}  # by the address that is listened at

    @property
    def application(self) -> Application:
        """The WSGI application."""
        return self._application

    def listen(
        self,
        address: Address,
        ssl: TlsOption = False,
        family: int = 0,
        flags: int = 0,
        backlog: int = 1024,
        *,
        mode: int | None = None,
    ) -> None:
        """Serve at `address` from now on: see `Server.listen`. May be called several times."""
        known = len(self.addresses)
        super().listen(address, ssl, family, flags, backlog, mode=mode)
        host = address[0] if isinstance(address, tuple) else None
        if self._server_name is None and host not in (None, "", "0.0.0.0", "::"):
            gateway = self._gateway(str(host))
            for bound in self.addresses[known:]:
                self._gateways[bound] = gateway

    def create_protocol(self, transport: Transport) -> HttpProtocol:
        """A protocol that serves this connection."""
        gateway = self._gateways.get(transport.get_extra_info("sockname"), self._default)
        return HttpProtocol.serving(gateway, self._config)

    def _gateway(self, server_name: str | None) -> WsgiGateway:
        return self.gateway_class(
            self._application,
            server_name,
            debug=self._debug,
            proxies=self._proxies,
            websocket_compat=self._websocket_compat,
        )

    def _no_protocol(self) -> HttpProtocol:
        raise NotImplementedError("create_protocol makes the protocols")
