"""gruvi's `HttpClient`: one connection to a server, and requests on it."""

from __future__ import annotations

from typing import Any

from gruvihttp.marks import switchpoint
from gruvihttp.messages import HttpRequest, HttpResponse
from gruvihttp.net.endpoints import Client
from gruvihttp.net.sockets import Address
from gruvihttp.net.tls import TlsOption
from gruvihttp.protocol import HttpProtocol

__all__ = ["HttpClient"]


class HttpClient(Client):
    """One connection to an HTTP server. Not to be shared by greenlets: make one for each.

    `timeout`, in seconds, bounds each wait: connecting, sending, a response's head, the next piece of its body. None
    is for ever. `version` is what requests are sent as, ``'1.1'`` or ``'1.0'``.

    ::

        with HttpClient(timeout=10) as client:
            client.connect(("localhost", 8080))
            client.request("GET", "/")
            print(client.getresponse().read())
    """

    def __init__(self, timeout: float | None = None, *, version: str = "1.1") -> None:
        super().__init__(self._create_protocol, timeout)
        self._version = version
        self._hostname: str | None = None
        self._create_protocol()  # says now what is wrong with the arguments

    def connect(self, address: Address, ssl: TlsOption = False, **kwargs: Any) -> None:  # Any: see create_connection
        """Connect to ``(host, port)`` or the path of a Unix socket. See `create_connection` for the keywords.

        `ssl` is False, True (certificates are verified with the system's authorities), an SSLContext, or a function
        that returns one. A client that was closed, or whose connection is lost, may connect again.
        """
        self._hostname = address[0] if isinstance(address, tuple) else None
        super().connect(address, ssl, **kwargs)

    def close(self) -> None:
        """Send what is held back, then close the connection. Idempotent."""
        try:
            if self.connected:
                self.protocol.flush()
        finally:
            super().close()

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
        self, method: str, url: str, headers: list[tuple[str, str]] = [], body: Any = ""  # noqa: B006  # never changed
    ) -> HttpRequest:
        """Send a request: see `HttpProtocol.request`."""
        return self.protocol.request(method, url, headers, body)

    @switchpoint
    def getresponse(self, timeout: float | None = -1) -> HttpResponse:
        """Wait for the next response: see `HttpProtocol.getresponse`."""
        return self.protocol.getresponse(timeout)

    def _create_protocol(self) -> HttpProtocol:
        protocol = HttpProtocol(False, version=self._version, timeout=self.timeout)
        protocol.hostname = self._hostname
        return protocol
