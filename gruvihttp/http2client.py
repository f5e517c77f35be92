"""`Http2Client`: one connection that speaks HTTP/2, or an error."""

from __future__ import annotations

from typing import Any

from gruvihttp.client import HttpClient
from gruvihttp.limits import Timeouts
from gruvihttp.marks import switchpoint
from gruvihttp.net.sockets import Address
from gruvihttp.net.tls import TlsOption
from gruvihttp.protocol import HttpProtocol
from gruvihttp.proxy import ProxyOption
from gruvihttp.sansio.h2settings import CLIENT_SETTINGS, Settings

__all__ = ["Http2Client"]


class Http2Client(HttpClient):
    """One connection to a server that speaks HTTP/2.

    Any number of greenlets may make requests, each on a stream of its own: a response waits for no other. What was
    said of `HttpClient` holds here, too, with these differences:

    * The body of a response need not be read before the next one is asked for. One that is closed or forgotten before
      its end costs its stream and nothing else; so does a request that a timeout or a kill interrupts.
    * `HttpRequest.getresponse` waits for its own response, whichever comes first. A request that the server has reset
      raises `StreamError`, which has an ``error_code``; it is ``retryable`` if the server has not looked at it.
    * There is no `upgrade`, and no chunked coding: a body without a length is just sent. Trailers may always follow.

    `window` is how much of a response, in bytes, the server may send before it is read; so much memory may each
    unread response take. With `wait_for_settings` nothing is asked before the server has acknowledged our SETTINGS:
    some servers allow only a few requests at a time, and break off when more arrive before they could say so. The
    ``handshake`` of `Timeouts` bounds the wait for the server's SETTINGS, too.

    A connection is read all the time: close a client that is no longer used, best by a ``with`` statement.

    ::

        with Http2Client(timeout=10) as client:
            client.connect(("example.com", 443))
            requests = [client.request("GET", path) for path in ("/", "/style.css")]
            for request in reversed(requests):
                print(request.getresponse().read())
    """

    def __init__(
        self, timeout: float | Timeouts | None = None, *, wait_for_settings: bool = False, window: int = 1 << 20
    ) -> None:
        widest = CLIENT_SETTINGS.connection_window_bytes
        self._settings = Settings(
            window_bytes=window, widest_window_bytes=window, connection_window_bytes=max(window, widest)
        )
        self._wait_for_settings = wait_for_settings
        super().__init__(timeout, version="2")

    def connect(
        self,
        address: Address,
        ssl: TlsOption = True,
        *,
        proxy: ProxyOption | None = None,
        timeout: float | Timeouts | None = -1,
        **kwargs: Any,  # Any: see create_connection
    ) -> None:
        """Connect as `HttpClient.connect` does, with TLS unless `ssl` is False: then the server is known to speak it.

        Raises HttpError if the server does not agree to HTTP/2, before anything is sent to it.
        """
        super().connect(address, ssl, proxy=proxy, timeout=timeout, **kwargs)

    @switchpoint
    def ping(self, timeout: float | None = -1) -> float:
        """How long the server takes to answer, in seconds. Raises Timeout, and HttpError for a lost connection."""
        return self.protocol.ping(timeout)

    def _create_protocol(self) -> HttpProtocol:
        protocol = super()._create_protocol()
        protocol.http2_settings = self._settings
        protocol.wait_for_settings = self._wait_for_settings
        return protocol
