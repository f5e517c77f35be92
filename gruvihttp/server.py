"""gruvi's `HttpServer`: a WSGI application behind listening sockets.

It joins an endpoint, which accepts, with the driver that serves a connection and the gateway that calls the
application. Parsing is not known here.
"""

from __future__ import annotations

from gruvihttp.exchanges.config import ServerConfig
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

    ::

        server = HttpServer(application)
        server.listen(("127.0.0.1", 8080))
        server.run()
    """

    def __init__(
        self,
        application: Application,
        server_name: str | None = None,
        timeout: float | None = None,
        *,
        limits: Limits | None = None,
        timeouts: Timeouts | None = None,
        debug: bool = False,
    ) -> None:
        config = ServerConfig(limits=limits or Limits(), timeouts=timeouts or Timeouts.flat(timeout))
        super().__init__(self._no_protocol, timeout, timeouts=config.timeouts)
        self._application = application
        self._server_name = server_name
        self._debug = debug
        self._config = config
        self._default = WsgiGateway(application, server_name, debug=debug)
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
            gateway = WsgiGateway(self._application, str(host), debug=self._debug)
            for bound in self.addresses[known:]:
                self._gateways[bound] = gateway

    def create_protocol(self, transport: Transport) -> HttpProtocol:
        """A protocol that serves this connection."""
        gateway = self._gateways.get(transport.get_extra_info("sockname"), self._default)
        return HttpProtocol.serving(gateway, self._config)

    def _no_protocol(self) -> HttpProtocol:
        raise NotImplementedError("create_protocol makes the protocols")
