"""gruvi's `HttpClient`: one connection to a server, directly or through a proxy, and requests on it."""

from __future__ import annotations

from ssl import SSLContext
from typing import Any, cast

from gruvihttp.filebody import FileBody
from gruvihttp.httprequest import HttpRequest
from gruvihttp.httpresponse import HttpResponse
from gruvihttp.limits import Timeouts
from gruvihttp.marks import switchpoint
from gruvihttp.net.deadline import moment_after
from gruvihttp.net.opening import Client, start_protocol
from gruvihttp.net.protocol import MessageProtocol
from gruvihttp.net.sockets import Address
from gruvihttp.net.tls import ALPN, TlsOption, client_context
from gruvihttp.net.transport import Transport
from gruvihttp.protocol import HttpProtocol
from gruvihttp.proxy import ProxyOption, open_tunnel, proxy_of

__all__ = ["HttpClient"]


class HttpClient(Client):
    """One connection to an HTTP server.

    `timeout`, in seconds, bounds each wait: connecting, sending, a response's head, the next piece of its body. None
    is for ever. `Timeouts` give each its own, and with `total` a deadline for each exchange, from the beginning of the
    request to the last byte of the response, which nothing that drips can stretch. A `Timeout` names its ``phase``:
    ``"connect"``, ``"handshake"``, ``"write"``, ``"read"`` or ``"total"``.

    `version` is what requests are sent as: ``'1.1'``, ``'1.0'``, ``'2'`` (see `Http2Client`), or ``'auto'``: then
    HTTP/2 is offered where there is TLS, and spoken if the server agrees. Afterwards `version` tells what is spoken.

    Many greenlets may share a client. Each gets the responses to its own requests. In HTTP/2 each request has a stream
    of its own. In HTTP/1 the responses arrive in the order of all the requests, so a later one waits until those before
    it have been received. Small ones are received on behalf of their greenlets; a large body must be read by its
    greenlet, or closed. If that greenlet has ended, the rest of the body is dropped, or, if that is long, the
    connection is given up.

    ::

        with HttpClient(timeout=10) as client:
            client.connect(("localhost", 8080))
            client.request("GET", "/")
            print(client.getresponse().read())
    """

    def __init__(self, timeout: float | Timeouts | None = None, *, version: str = "1.1") -> None:
        super().__init__(self._create_protocol, timeout.read if isinstance(timeout, Timeouts) else timeout)
        self._timeouts = timeout if isinstance(timeout, Timeouts) else None
        self._version = version
        self._alpn = ALPN.get(version, ())
        self._hostname: str | None = None
        self._port: int | None = None  # where that is not the peer's, which is a proxy
        self._create_protocol()  # says now what is wrong with the arguments

    def connect(
        self,
        address: Address,
        ssl: TlsOption = False,
        *,
        proxy: ProxyOption | None = None,
        timeout: float | Timeouts | None = -1,
        **kwargs: Any,  # Any: see create_connection
    ) -> None:
        """Connect to ``(host, port)`` or the path of a Unix socket. See `create_connection` for the keywords.

        `ssl` is False, True (certificates are verified with the system's authorities), an SSLContext, or a function
        that returns one. A context says itself which protocols it offers: HTTP/2 needs `set_alpn_protocols`. A client
        that was closed, or whose connection is lost, may connect again.

        `proxy` is an HTTP proxy that makes the connection: (host, port), or ``'http://user:password@host:port'``, or
        a `Proxy`. It is asked with CONNECT, and TLS is spoken with the server, through it. TransportError has the
        status if it refuses.

        `timeout` bounds the whole: resolving, connecting, the TLS handshake, with Timeouts each by its own.
        """
        timeouts = self._timeouts if timeout == -1 else timeout
        if isinstance(timeouts, Timeouts):
            timeout = timeouts.connect
            kwargs.setdefault("handshake_timeout", timeouts.handshake)
        super().connect(address, ssl, timeout=timeout, proxy=proxy, **kwargs)

    def _open(
        self, address: Address, ssl: TlsOption, **kwargs: Any  # Any: as above
    ) -> tuple[Transport, MessageProtocol]:
        if ssl is True and self._alpn:
            ssl = _default_context(self._alpn)
        proxy = kwargs.pop("proxy")
        self._hostname = address[0] if isinstance(address, tuple) else None
        self._port = address[1] if proxy is not None and isinstance(address, tuple) else None
        if proxy is None:
            return super()._open(address, ssl, **kwargs)
        deadline = moment_after(kwargs.pop("timeout"))
        handshake = kwargs.pop("handshake_timeout", -1)
        hostname = kwargs.pop("server_hostname", None)
        transport = open_tunnel(proxy_of(proxy), address, deadline, **kwargs)
        if handshake is None or handshake >= 0:
            deadline = moment_after(handshake)
        hostname = address[0] if hostname is None else hostname
        return transport, start_protocol(transport, self._protocol_factory, ssl, hostname, deadline)

    def close(self) -> None:
        """Send what is held back, then close the connection. Idempotent."""
        try:
            if self.connected:
                self.protocol.flush()
        finally:
            super().close()

    @property
    def version(self) -> str:
        """The version of HTTP that is spoken; before `connect`, and after `close`, the one that was asked for."""
        return self._version if self._protocol is None else self.protocol.version

    @property
    def protocol(self) -> HttpProtocol:
        """The protocol. Raises HttpError before `connect` and after `close`."""
        protocol: HttpProtocol | None = self._protocol  # type: ignore[assignment]  # what the factory below makes
        return super().protocol if protocol is None else protocol

    @property
    def connection(self) -> tuple[Any, HttpProtocol]:
        """(transport, protocol), as gruvi has it."""
        return self.transport, self.protocol

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
        """Send a request: see `HttpProtocol.request`."""
        return self.protocol.request(method, url, headers, body, timeout=timeout, expect=expect, upgrade=upgrade)

    @switchpoint
    def upload(
        self,
        method: str,
        url: str,
        path_or_file: Any,  # Any: a path, or whatever has `read`
        headers: list[tuple[str, str]] = [],  # noqa: B006  # never changed
        *,
        timeout: float | Timeouts | None = -1,
        expect: float = False,
    ) -> HttpRequest:
        """Send a file as the body of a request; `getresponse` has the answer.

        `path_or_file` is a path, or a file opened in binary mode, which is sent from where it stands. Content-Length
        is what is left of it; what has no size, such as a pipe, is sent in chunks. Content-Type and Content-Encoding
        are guessed from its name, unless they are among `headers`.

        Raises RuntimeError when the file turns out shorter or longer than it was; the connection is given up then,
        for the server was promised something else. OSError when it cannot be read; else as `request` does.
        """
        with FileBody(path_or_file) as body:
            return self.request(method, url, [*headers, *body.fields(headers)], body, timeout=timeout, expect=expect)

    @switchpoint
    def getresponse(self, timeout: float | None = -1) -> HttpResponse:
        """Wait for the next response: see `HttpProtocol.getresponse`."""
        return self.protocol.getresponse(timeout)

    def _create_protocol(self) -> HttpProtocol:
        protocol = HttpProtocol(False, version=self._version, timeout=self._timeouts or self.timeout)
        protocol.hostname = self._hostname
        protocol.port = self._port
        return protocol


def _default_context(alpn: tuple[str, ...]) -> TlsOption:
    return lambda sock: cast(SSLContext, client_context(True, sock, alpn))
