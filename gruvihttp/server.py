"""gruvi's `HttpServer`: a WSGI application behind listening sockets.

It joins an endpoint, which accepts, with the driver that serves a connection and the gateway that calls the
application. Parsing is not known here.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from errno import EMFILE
from time import monotonic

from gevent.event import Event

from gruvihttp._version import PRODUCT_ID
from gruvihttp.accesslog import Log, Recorder, as_log
from gruvihttp.admission import Admission
from gruvihttp.exchanges.base import Handler
from gruvihttp.exchanges.config import RejectUpload, ServerConfig
from gruvihttp.forwarded import DEFAULT_FIELDS, TrustedProxies
from gruvihttp.hijack import WebSocketCompat
from gruvihttp.limits import H2Limits, Limits, Timeouts
from gruvihttp.metrics import Stats, by_class, metrics_application
from gruvihttp.net.endpoints import Server
from gruvihttp.net.sockets import Address
from gruvihttp.net.tls import TlsOption
from gruvihttp.net.transport import Transport
from gruvihttp.probes import Probes
from gruvihttp.protocol import HttpProtocol
from gruvihttp.wsgi import Application, WsgiGateway

__all__ = ["HttpServer"]

log = logging.getLogger("gruvihttp.server")

_COMPLAINT_SECONDS = 60.0  # between two complaints about the same


class HttpServer(Server):
    """Serves a WSGI application (PEP 3333) over HTTP/1.1, HTTP/1.0 and HTTP/2.

    `server_name` is what the application sees as SERVER_NAME; by default the host that was given to `listen`, and for
    a wildcard address the address that the client connected to. `timeout`, in seconds, is the most that any phase of a
    connection may last; `timeouts` sets each by name instead. `debug` shows an application's traceback to the client.

    HTTP/2 is spoken with clients that begin with it, and over TLS if ALPN has chosen it; `h2_limits` are its own
    bounds. With `http2` False it is not; then the TLS context must not offer ``h2``.

    Proxies among `trusted_proxies` (addresses, networks, ``"unix"``) are believed what they say about their clients in
    `proxy_fields`, which are to be all that they set. `strip_untrusted` removes from environ what such fields say
    otherwise. By default nobody is believed and nothing is removed.

    `access_log` is called with an `AccessRecord` for each request; a text is the format of an `AccessLog` on stderr.
    GET and HEAD of `health_path` and `ready_path` are answered by the server itself: the former always with 200, the
    latter with 503 when the server closes, or when `ready` has been set to False. They are not logged.

    `websocket_compat` is the server, ``"gevent"``, ``"werkzeug"`` or ``"gunicorn"``, whose way of handing out the
    socket of a WebSocket request is imitated for libraries; None hands it out by ``gruvihttp.hijack`` only.

    `reject_upload` says what becomes of content that still arrives after the response: ``"linger"`` drops it for a
    while, so that the response arrives, ``"drain"`` drops it to keep the connection, ``"abort"`` closes at once.
    `cancel_on_disconnect` ends the greenlet of a request, by GreenletExit, when its client has gone.

    `identifier` is what the field Server says; with None there is no such field. `multiprocess` is
    what environ says in ``wsgi.multiprocess``: whether other processes serve the same application.

    ::

        server = HttpServer(application)
        server.listen(("127.0.0.1", 8080))
        server.run()
    """

    ready: bool  # whether more requests are wanted, as far as the user can tell
    gateway_class: type[WsgiGateway] = WsgiGateway  # for doors that run exchanges in a way of their own

    def __init__(
        self,
        application: Application,
        server_name: str | None = None,
        timeout: float | None = None,
        *,
        limits: Limits | None = None,
        h2_limits: H2Limits | None = None,
        http2: bool = True,
        timeouts: Timeouts | None = None,
        debug: bool = False,
        trusted_proxies: Iterable[str] | None = None,
        proxy_fields: Iterable[str] = DEFAULT_FIELDS,
        strip_untrusted: bool = True,
        access_log: str | Log | None = None,
        health_path: str | None = None,
        ready_path: str | None = None,
        websocket_compat: WebSocketCompat = "gevent",
        reject_upload: RejectUpload = "linger",
        cancel_on_disconnect: bool = False,
        identifier: str | None = PRODUCT_ID,
        multiprocess: bool = False,
    ) -> None:
        chosen = as_log(access_log)
        self._recorder = None if chosen is None else Recorder(chosen)
        config = ServerConfig(
            limits=limits or Limits(),
            h2_limits=(h2_limits or H2Limits()) if http2 else None,
            timeouts=timeouts or Timeouts.flat(timeout),
            on_refusal=None if self._recorder is None else self._recorder.refused,
            is_leaving=lambda: self._leaving,
            reject_upload=reject_upload,
            cancel_on_disconnect=cancel_on_disconnect,
            identifier=identifier,
        )
        self._proxies: TrustedProxies | None = None
        if trusted_proxies is not None:
            self._proxies = TrustedProxies(trusted_proxies, proxy_fields, strip_untrusted=strip_untrusted)
        super().__init__(self._no_protocol, timeout, timeouts=config.timeouts, room=config.room)
        if config.limits.connections is not None:
            self.max_connections = config.limits.connections
        self._application = application
        self._server_name = server_name
        self._debug = debug
        self._websocket_compat: WebSocketCompat = websocket_compat
        self._multiprocess = multiprocess
        self._config = config
        self._probe_paths = (health_path, ready_path)
        self._metrics: HttpServer | None = None
        self._draining = Event()
        self._leaving = False
        self._complains_at = 0.0  # a moment of time.monotonic()
        self._admission: Admission | None = None
        if config.limits.active_requests is not None:
            self._admission = Admission(config.limits.active_requests, config.timeouts.turn)
        self.ready = True
        self._default = self._handler(server_name)
        self._named: dict[Address, tuple[Handler, str]] = {}  # with its server's name, by the address listened at

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
        proxy_protocol: bool | Iterable[str] = False,
    ) -> None:
        """Serve at `address` from now on: see `Server.listen`. May be called several times."""
        known = len(self.addresses)
        super().listen(address, ssl, family, flags, backlog, mode=mode, proxy_protocol=proxy_protocol)
        host = address[0] if isinstance(address, tuple) else None
        if self._server_name is None and host not in (None, "", "0.0.0.0", "::"):
            named = (self._handler(str(host)), str(host))
            for bound in self.addresses[known:]:
                self._named[bound] = named

    def create_protocol(self, transport: Transport) -> HttpProtocol:
        """A protocol that serves this connection."""
        _, listened_at = transport.get_extra_info("proxy") or (None, transport.get_extra_info("sockname"))
        handler, server_name = self._named.get(listened_at, (self._default, self._server_name))
        return HttpProtocol.serving(handler, self._config, server_name)

    def _handler(self, server_name: str | None) -> Handler:
        """What is called for each exchange: the application's gateway, and before it what was asked for."""
        handler: Handler = self.gateway_class(
            self._application,
            server_name,
            debug=self._debug,
            proxies=self._proxies,
            websocket_compat=self._websocket_compat,
            multiprocess=self._multiprocess,
        )
        if self._admission is not None:
            handler = self._admission.admitting(handler)
        if self._recorder is not None:
            handler = self._recorder.recording(handler)
        if self._probe_paths != (None, None):
            handler = Probes(handler, lambda: self.stats()["ready"], *self._probe_paths)
        return handler

    def accept_failed(self, exc: OSError) -> None:
        """See `Server.accept_failed`: logged, once a minute at most."""
        now = monotonic()
        if now >= self._complains_at:
            self._complains_at = now + _COMPLAINT_SECONDS
            advice = ": raise the limit of open files, or lower Limits.connections" if exc.errno == EMFILE else ""
            log.error("cannot accept connections, which wait (%s)%s", exc.strerror, advice)

    # -- what it does ------------------------------------------------------------------------------------------

    def stats(self) -> Stats:
        """What the server is doing, and has done so far: see `gruvihttp.metrics.Stats`."""
        tally = self._config.tally
        open_protocols = [protocol for _, protocol in self.connections]
        under_way = sum(each.active_requests for each in open_protocols if isinstance(each, HttpProtocol))
        waiting, turned_away = (self._admission.waiting, self._admission.turned_away) if self._admission else (0, 0)
        return Stats(
            ready=self.ready and self.started and not self.closed,
            connections=len(open_protocols),
            handshakes=len(self._handshakes),
            active_requests=under_way - waiting,
            waiting_requests=waiting,
            accepted=self.accepted,
            evicted=self._config.room.evicted,
            handshake_failures=self.handshake_failures,
            proxy_failures=self.proxy_failures,
            requests=sum(tally.statuses) + tally.aborted,
            responses=by_class(tally.statuses),
            refused=tally.refused + turned_away,
            aborted=tally.aborted,
            received_bytes=tally.received_bytes,
            sent_bytes=tally.sent_bytes,
            http2_defences={str(defence): count for defence, count in tally.defences.items()},
        )

    def listen_metrics(self, address: Address, *, mode: int | None = None) -> None:
        """Serve what `stats` tells, for Prometheus, at ``/metrics`` of `address`; the probes are answered there, too.

        It goes on until this server has closed, so that closing can be watched. Its requests are not logged or counted.
        """
        if self._metrics is None:
            health_path, ready_path = self._probe_paths
            self._metrics = HttpServer(metrics_application(self.stats, health_path=health_path, ready_path=ready_path))
        self._metrics.listen(address, mode=mode)

    @property
    def metrics_addresses(self) -> list[Address]:
        """Where the metrics are served, as the sockets say it."""
        return [] if self._metrics is None else self._metrics.addresses

    def leave(self, delay: float) -> None:
        """Answer 503 at the ready path, and go on serving for `delay` seconds, so that load balancers notice.

        Each connection ends with its next response, which says so; new ones are served as well. Returns at once when
        the server drains.
        """
        self.ready = False
        if not self._leaving:
            self._leaving = True
            for _, protocol in self.connections:
                if isinstance(protocol, HttpProtocol):
                    protocol.leave()
        if not self.closed:
            self._draining.wait(delay)

    def drain(self) -> None:
        """See `Server.drain`."""
        super().drain()
        self._draining.set()

    def close(self, timeout: float | None = -1, delay: float = 0.0) -> None:
        """See `Server.close`; before that, `leave` for `delay` seconds. The metrics stay until all else is closed."""
        if delay:
            self.leave(delay)
        try:
            super().close(timeout)
        finally:
            if self._metrics is not None:
                self._metrics.close(0)

    stop = close

    def _no_protocol(self) -> HttpProtocol:
        raise NotImplementedError("create_protocol makes the protocols")
