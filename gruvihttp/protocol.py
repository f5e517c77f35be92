"""gruvi's `HttpProtocol`: HTTP on one connection. The client's side asks and collects; the server's side serves.

Each side has a driver of its own, which is made when the connection is there. environ is not known here, nor are
bytes on the wire.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache, partial
from typing import Any

from gruvihttp._version import PRODUCT_ID
from gruvihttp.compose import Composer, Http2Composer
from gruvihttp.errors import HttpError
from gruvihttp.exchanges.base import ClientExchange, Handler
from gruvihttp.exchanges.config import ServerConfig
from gruvihttp.exchanges.http1.client import ClientConnection
from gruvihttp.exchanges.http1.server import ServerConnection
from gruvihttp.exchanges.http2.client import Http2ClientConnection
from gruvihttp.exchanges.http2.server import Http2ServerConnection
from gruvihttp.exchanges.request import ComposedRequest
from gruvihttp.limits import Limits, Timeouts
from gruvihttp.marks import switchpoint
from gruvihttp.messages import HttpRequest, HttpResponse
from gruvihttp.net.deadline import check_timeout
from gruvihttp.net.protocol import MessageProtocol
from gruvihttp.net.transport import Transport
from gruvihttp.sansio.events import InformationalResponse
from gruvihttp.sansio.h2settings import CLIENT_SETTINGS, Settings
from gruvihttp.wsgi import Application, WsgiGateway

__all__ = ["HttpProtocol"]


class HttpProtocol(MessageProtocol):
    """HTTP on one connection.

    On the client's side, `version` is what requests are sent as: ``'1.1'``, ``'1.0'``, ``'2'``, or ``'auto'``, which
    is 2 if TLS has agreed on that and 1.1 otherwise; `server_name` is what stands in Host, by default `hostname` and
    `port` or the peer's address, with the port unless it is the scheme's own; `timeout`, in seconds, bounds each wait,
    and `Timeouts` say more.

    On the server's side, `application` is a WSGI application; `server_name` is its
    SERVER_NAME, by default the address that the client connected to.

    `on_informational(request, response)` is called for each informational response (1xx). It must not wait.
    """

    identifier = PRODUCT_ID
    max_header_size = 65536
    max_buffer_size = 65536
    max_pipeline_size = 10

    hostname: str | None = None
    port: int | None = None
    http2_settings: Settings = CLIENT_SETTINGS
    wait_for_settings = False  # ask nothing before the server has acknowledged our SETTINGS
    on_informational: Callable[[HttpRequest, HttpResponse], object] | None = None

    def __init__(
        self,
        server_side: bool,
        application: Application | None = None,
        server_name: str | None = None,
        version: str = "1.1",
        timeout: float | Timeouts | None = None,
    ) -> None:
        if server_side and application is None:
            raise ValueError("the server's side needs an application")
        if version not in ("1.0", "1.1", "2", "auto"):
            raise ValueError(f"version must be '1.0', '1.1', '2' or 'auto', not {version!r}")
        self._server_name = server_name
        self._version = version
        self._timeouts = timeout if isinstance(timeout, Timeouts) else None
        self._timeout = timeout.read if isinstance(timeout, Timeouts) else timeout
        check_timeout(self._timeout)
        self._handler: Handler | None = None if application is None else WsgiGateway(application, server_name)
        self._server_side = server_side
        self._config: ServerConfig | None = None
        self._client: ClientConnection | Http2ClientConnection | None = None
        self._server: ServerConnection | Http2ServerConnection | None = None
        self._composer: Composer | None = None

    @classmethod
    def serving(cls, handler: Handler, config: ServerConfig, server_name: str | None = None) -> HttpProtocol:
        """The server's side, for a handler of exchanges and a configuration that many connections share."""
        protocol = cls(False)
        protocol._server_side = True
        protocol._server_name = server_name
        protocol._handler = handler
        protocol._config = config
        return protocol

    def __repr__(self) -> str:
        return f"<HttpProtocol {'server' if self._server_side else 'client'} {self.transport!r}>"

    @property
    def server_side(self) -> bool:
        """Whether this side answers requests."""
        return self._server_side

    @property
    def active_requests(self) -> int:
        """How many requests this side is answering at the moment."""
        return 0 if self._server is None else self._server.active_requests

    def idle_since(self) -> float | None:
        """See `MessageProtocol.idle_since`. A client cannot tell."""
        return None if self._server is None else self._server.idle_since()

    def evict(self) -> bool:
        """See `MessageProtocol.evict`."""
        return self._server is not None and self._server.evict()

    @property
    def server_name(self) -> str | None:
        """The server's name: the given one, else what the connection says about it; None before there is one."""
        if self._server_name is not None or self.transport is None:
            return self._server_name
        if self._server_side:
            return _host_of(self.transport.get_extra_info("sockname"))
        return self._host_field(self.transport)

    @property
    def version(self) -> str:
        """The version of HTTP that requests are sent as; ``'auto'`` until that is known."""
        return self._version

    @property
    def timeout(self) -> float | None:
        """The default for waits, in seconds; None is for ever."""
        return self._timeout

    # the endpoint's side

    def start(self) -> None:
        """Make the driver. A server begins to serve."""
        transport = self.transport
        if transport is None:
            raise RuntimeError("connection_made() comes first")
        if self._handler is not None:
            self._serve(transport, self._handler)
            return
        self._settle_version(transport)
        host, limits, timeouts = self._host_field(transport), self._limits(), self._own_timeouts()
        if self._version != "2":
            self._composer = Composer(self._version, host, self.identifier)
            self._client = ClientConnection(transport, limits, timeouts, self._inform)
            return
        self._composer = Http2Composer(host, self.identifier)
        self._client = client = Http2ClientConnection(
            transport,
            limits,
            timeouts,
            self._inform,
            settings=self.http2_settings,
            wait_for_settings=self.wait_for_settings,
        )
        client.start()

    def connection_lost(self, exc: Exception | None) -> None:
        """The transport has been closed: greenlets that wait for something in HTTP/2 are told."""
        if isinstance(self._client, Http2ClientConnection):
            self._client.lost()

    def _settle_version(self, transport: Transport) -> None:
        """What TLS has agreed on (RFC 9113 §3.2); without TLS, the server is known to speak the version."""
        agreed = transport.get_extra_info("alpn")
        if self._version == "auto":
            self._version = "2" if agreed == "h2" else "1.1"
        elif self._version == "2":
            if agreed == "h2" or transport.get_extra_info("ssl") is None:
                return
            raise HttpError(
                f"the server does not agree to HTTP/2: TLS has settled on {agreed or 'no protocol at all'} (ALPN); an "
                "SSLContext has to offer it with set_alpn_protocols(['h2'])"
            )
        elif agreed == "h2":
            raise HttpError(
                f"TLS has settled on HTTP/2, which the SSLContext offers, and this client is to speak {self._version}: "
                "take version='auto', or another context"
            )

    def shutdown(self) -> None:
        """End politely: a server finishes the requests that it is at."""
        server = self._server
        if server is None:
            super().shutdown()
            return
        server.shutdown()
        if self._server is not server and self._server is not None:  # it was HTTP/2, as only its first bytes have said
            self._server.shutdown()

    def leave(self) -> None:
        """A server ends this connection with the next answer, since others are to be asked from now on."""
        if self._server is not None:
            self._server.leave()

    def _serve(self, transport: Transport, handler: Handler) -> None:
        """Serve the version that TLS has agreed on, or that the first bytes show."""
        config = self._config or self._own_config()
        speaks_http2 = config.h2_limits is not None
        if speaks_http2 and transport.get_extra_info("alpn") == "h2":
            self._serve_http2(transport, handler, config, b"")
            return
        self._server = server = ServerConnection(transport, handler, config, self)
        if speaks_http2 and transport.get_extra_info("ssl") is None:  # RFC 9113 §3.2: TLS must have agreed on h2
            server.on_preface = partial(self._serve_http2, transport, handler, config)
        server.start()

    def _serve_http2(self, transport: Transport, handler: Handler, config: ServerConfig, data: bytes) -> None:
        self._server = server = Http2ServerConnection(transport, handler, config, self)
        server.start(data)

    def _own_config(self) -> ServerConfig:
        timeouts = self._timeouts or Timeouts.flat(self._timeout)
        return ServerConfig(limits=self._limits(), timeouts=timeouts, identifier=self.identifier)

    def _own_timeouts(self) -> Timeouts:
        return self._timeouts or _client_timeouts(self._timeout)

    def _limits(self) -> Limits:
        return _limits_of(self.max_header_size, self.max_buffer_size, self.max_pipeline_size)

    def _host_field(self, transport: Transport) -> str:
        """What stands in Host (RFC 9110 §7.2): a name or address, and the port unless it is the scheme's own."""
        if self._server_name is not None:
            return self._server_name
        peer = transport.get_extra_info("peername")
        host = self.hostname or _host_of(peer)
        if ":" in host:
            host = f"[{host.partition('%')[0]}]"  # RFC 6874 §4: the zone is for this machine only
        default = 80 if transport.get_extra_info("ssl") is None else 443
        port = peer[1] if self.port is None and isinstance(peer, tuple) else self.port
        return host if port is None or port == default else f"{host}:{port}"

    # the client's side

    @switchpoint
    def request(
        self,
        method: str,
        url: str,
        headers: list[tuple[str, str]] = [],  # noqa: B006  # never changed
        body: Any = "",
        *,
        timeout: float | Timeouts | None = -1,
        expect: float = False,
        upgrade: str | None = None,
    ) -> HttpRequest:
        """Send a request. Further ones may follow before its response is collected with `getresponse`.

        `headers` are (name, value) pairs of str. `body` is bytes or str, which is sent with a Content-Length; a file
        or an iterable of bytes or str, which is sent in chunks; or None: then the caller goes on with
        `HttpRequest.write` and `HttpRequest.end_request`. str is encoded with the charset of Content-Type, or as
        ISO-8859-1.

        `timeout`, in seconds, bounds each wait of this exchange, those for its response included; -1 is this
        protocol's, None is for ever, 0 is no waiting; `Timeouts` say more, such as `total`.

        `expect` asks the server whether it wants the body (``Expect: 100-continue``). The body waits for its answer,
        one second with True, or as many as `expect` says; it is not sent if a final response comes. `upgrade` offers
        to change to other protocols, such as ``'websocket'``: the fields Connection and Upgrade are written here, and
        after a response 101 the connection is its `transport`.

        Many greenlets may make requests. Each waits while the request of another one is being sent.

        Raises TypeError, ValueError or UnicodeEncodeError for what cannot be sent, before anything is; HttpError
        when the connection cannot be used (any more); TransportError and Timeout.
        """
        request = HttpRequest(self.transport, self)
        timeouts = None
        if timeout != -1:
            timeouts = _timeouts_of_call(self._own_timeouts(), timeout)
        if body is None:
            if upgrade is not None:
                raise ValueError("a request that offers another protocol has a body of bytes or str, or none")
            request.start_request(method, url, headers, timeouts=timeouts, expect=expect)
        else:
            request.send(method, url, headers, body, timeouts=timeouts, expect=expect, upgrade=upgrade)
        return request

    @switchpoint
    def getresponse(self, timeout: float | None = -1) -> HttpResponse:
        """Wait for the head of the response to the oldest request that has got none; call it once for each request.

        The oldest request of the calling greenlet is meant. A greenlet that has made none gets the oldest one that no
        other greenlet waits for. `HttpRequest.getresponse` names one.

        `timeout` is in seconds: -1 is the request's, None is for ever. After a Timeout it may be called again, unless
        its phase is ``"total"``.

        Raises RuntimeError when every request has its response, or the body of the previous one was not read to its
        end; HttpError or TransportError when there will be no response: `unanswered` names the requests concerned.
        """
        return HttpResponse(self.connection.collect(timeout))

    @switchpoint
    def ping(self, timeout: float | None = -1) -> float:
        """How long the server takes to answer a PING of HTTP/2, in seconds. Raises Timeout, HttpError."""
        if not isinstance(self.connection, Http2ClientConnection):
            raise HttpError("there is no PING in HTTP/1")
        return self.connection.ping(timeout)

    def flush(self) -> None:
        """Send the requests that are held to leave together. Does nothing if the connection is lost; waits briefly."""
        if self._client is not None:
            self._client.flush_at_end()

    @property
    def connection(self) -> ClientConnection | Http2ClientConnection:
        """The client's driver. Raises HttpError when there is none."""
        if self._client is None:
            raise self._no_client()
        return self._client

    def compose(
        self, method: str, url: str, headers: Any, body: Any, expect: bool = False, upgrade: str | None = None
    ) -> ComposedRequest:
        """A request in bytes, as it would be sent on this connection."""
        if self._composer is None:
            raise self._no_client()
        return self._composer(method, url, headers, body, expect, upgrade)

    def _no_client(self) -> HttpError:
        return HttpError("a server sends no requests" if self._server_side else "not connected: call connect() first")

    def _inform(self, exchange: ClientExchange, response: InformationalResponse) -> None:
        if self.on_informational is not None:
            self.on_informational(exchange.owner, HttpResponse(response))


def _host_of(address: Any) -> str:
    return address[0] if isinstance(address, tuple) else "localhost"


@lru_cache(maxsize=64)
def _limits_of(fields_bytes: int, buffer_bytes: int, pipelined_requests: int) -> Limits:
    return Limits(fields_bytes=fields_bytes, buffer_bytes=buffer_bytes, pipelined_requests=pipelined_requests)


def _timeouts_of_call(default: Timeouts, timeout: float | Timeouts | None) -> Timeouts:
    """What the `timeout` of one request means."""
    if isinstance(timeout, Timeouts):
        return timeout
    try:
        if timeout is not None and timeout < 0:
            return default
    except TypeError:
        raise TypeError(f"timeout must be a number of seconds, Timeouts, or None for ever, not {timeout!r}") from None
    return _replaced(default, timeout)


@lru_cache(maxsize=64)
def _replaced(default: Timeouts, timeout: float | None) -> Timeouts:
    return replace(default, read=timeout, write=timeout, total=None if timeout is None else default.total)


@lru_cache(maxsize=64)
def _client_timeouts(timeout: float | None) -> Timeouts:
    return Timeouts(read=timeout, write=timeout)
