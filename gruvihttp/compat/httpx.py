"""The httpx door: a transport, which has httpx's clients send through our pool.

``httpx.Client(transport=HTTPTransport())``. Everything else stays httpx's: redirects, cookies, authentication, content
codings. Nothing needs to be monkey-patched. Connections are not known here.
"""

from __future__ import annotations

import os
import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

import gevent

from gruvihttp import Error, HttpPool, LocalProtocolError, Timeout, Timeouts, TransportError
from gruvihttp.compat.pooling import UNBOUNDED, Fields, sendable_fields
from gruvihttp.origins import basic_credentials
from gruvihttp.pool.perthread import ThreadPools
from gruvihttp.pool.response import PoolResponse
from gruvihttp.proxy import Proxy

try:
    import certifi
    import httpx
except ImportError as exc:
    raise ImportError("the door of httpx needs httpx: pip install 'gruvihttp[httpx]'") from exc

__all__ = ["HTTPTransport"]

_DEFAULT_LIMITS = httpx.Limits(max_connections=100, max_keepalive_connections=20)  # as httpx has them
_VERSIONS = {2: b"HTTP/2"}  # those that httpx calls otherwise than we do
_FIRST_PAUSE_SECONDS = 0.5  # before the second attempt to connect that is repeated; twice as long before each later one
_TIMEOUTS: Mapping[str | None, type[httpx.TimeoutException]] = {
    "pool": httpx.PoolTimeout,
    "connect": httpx.ConnectTimeout,
    "handshake": httpx.ConnectTimeout,
    "write": httpx.WriteTimeout,
}


class HTTPTransport(httpx.BaseTransport):
    """Sends the requests of a client over connections of ours; in place of ``httpx.HTTPTransport``.

    The arguments are those of httpx: `verify` is a bool, the path of a file or directory of authorities, or an
    ``SSLContext``, which then says all about TLS; `cert` the client's certificate; `trust_env` lets SSL_CERT_FILE and
    SSL_CERT_DIR name authorities. With `http2`, servers that agree to it over TLS are spoken with in HTTP/2, all
    requests on one connection; as httpx does it, an ``SSLContext`` that is given is told to offer it. `limits` bounds
    connections and how long they stay idle, but not how many are idle. `proxy` is an http:// URL, or httpx's ``Proxy``.
    `uds` is the path of a Unix socket, to which all connections go. `retries` says how often connecting is tried again.
    """

    def __init__(
        self,
        verify: ssl.SSLContext | str | bool = True,
        cert: Any = None,  # as httpx has it: a path, or a tuple of two, or of three with a password
        trust_env: bool = True,
        http1: bool = True,
        http2: bool = False,
        limits: httpx.Limits = _DEFAULT_LIMITS,
        proxy: httpx.Proxy | httpx.URL | str | None = None,
        uds: str | None = None,
        local_address: str | None = None,
        retries: int = 0,
    ) -> None:
        if not http1:
            raise ValueError("http1=False is not possible here: which version is spoken is for TLS to settle")
        self._options: dict[str, Any] = {
            "per_origin": UNBOUNDED if limits.max_connections is None else limits.max_connections,
            "in_all": UNBOUNDED if limits.max_connections is None else limits.max_connections,
            "cookies": False,
            "proxy": None if proxy is None else _proxy_of(proxy),
            "address_of": None if uds is None else lambda origin: uds,
            "local_address": None if local_address is None else (local_address, 0),
            "http2": http2,
            **_trust(verify, cert, trust_env),
        }
        if http2 and "ssl" in self._options:
            self._options["ssl"].set_alpn_protocols(["h2", "http/1.1"])
        self._idle_seconds = float(UNBOUNDED) if limits.keepalive_expiry is None else limits.keepalive_expiry
        self._retries = retries
        self._through_proxy = proxy is not None
        self._pools = ThreadPools()

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request; the exceptions are httpx's."""
        if request.url.scheme not in ("http", "https"):
            raise httpx.UnsupportedProtocol(f"{request.url.scheme!r} is not spoken here, only http and https")
        for unread in ("sni_hostname", "target"):  # to ignore them would be to ask for something else
            if unread in request.extensions:
                raise ValueError(f"the request's extension {unread!r} is not taken here: say it in the URL")
        fields, closes = _fields_of(request)
        pool = self._pools.get(closes, lambda: self._make_pool(closes))
        timeouts = _timeouts_of(request.extensions.get("timeout", {}))
        with self._translating():
            response = self._carry_out(pool, request, fields, timeouts)
        return httpx.Response(
            response.status,
            headers=[(name.encode("latin-1"), value.encode("latin-1")) for name, value in response.headers],
            stream=_Content(response, self),
            extensions={
                "http_version": _VERSIONS.get(response.version.major) or f"HTTP/{response.version}".encode("ascii"),
                "reason_phrase": response.reason.encode("latin-1"),
            },
        )

    def close(self) -> None:
        """Close idle connections, and those in use when their responses have ended; of the calling thread."""
        self._pools.close()

    def _make_pool(self, closes: bool) -> HttpPool:
        return HttpPool(idle_seconds=0.0 if closes else self._idle_seconds, **self._options)

    def _carry_out(
        self, pool: HttpPool, request: httpx.Request, fields: Fields, timeouts: Timeouts
    ) -> PoolResponse:
        """Make a request; connecting is tried as often as `retries` lets us."""
        attempt = 0
        while True:
            try:
                return pool.request(
                    request.method,
                    str(request.url),
                    headers=fields,
                    body=_body_of(request),
                    timeout=timeouts,
                    allow_redirects=False,
                    stream=True,
                    decode=False,
                )
            except (Timeout, TransportError) as exc:
                if not exc.retryable or attempt == self._retries:
                    raise
            if attempt:
                gevent.sleep(_FIRST_PAUSE_SECONDS * 2 ** (attempt - 1))
            attempt += 1

    @contextmanager
    def _translating(self) -> Iterator[None]:
        try:
            yield
        except Error as exc:
            raise self.translated(exc) from exc

    def translated(self, exc: Error) -> httpx.TransportError:
        """The exception of httpx that means what `exc` does."""
        if isinstance(exc, Timeout):
            return _TIMEOUTS.get(exc.phase, httpx.ReadTimeout)(str(exc))
        if isinstance(exc, LocalProtocolError):
            return httpx.LocalProtocolError(str(exc))
        if not isinstance(exc, TransportError):
            return httpx.RemoteProtocolError(str(exc))
        if not exc.retryable:  # a request was on its way
            return httpx.ReadError(str(exc))
        by_proxy = self._through_proxy and not isinstance(exc.__cause__, ssl.SSLError)
        return httpx.ProxyError(str(exc)) if by_proxy else httpx.ConnectError(str(exc))


class _Content(httpx.SyncByteStream):
    """The content of a response, as it comes. It lets go of the connection at its end, or when it is closed."""

    def __init__(self, response: PoolResponse, transport: HTTPTransport) -> None:
        self._response = response
        self._transport = transport

    def __iter__(self) -> Iterator[bytes]:
        read1 = self._response.body.read1
        try:
            while piece := read1():
                yield piece
        except Error as exc:
            raise self._transport.translated(exc) from exc

    def close(self) -> None:
        self._response.close()


# from httpx's request to ours


def _fields_of(request: httpx.Request) -> tuple[Fields, bool]:
    """The fields to send, and whether the connection shall close afterwards. Raises LocalProtocolError for Upgrade."""
    if "Upgrade" in request.headers:
        raise httpx.LocalProtocolError("Upgrade is not for a transport: see HttpClient")
    return sendable_fields(_text(request.headers))


def _text(headers: httpx.Headers) -> Fields:
    """The fields in their own spelling, which httpx's text has not."""
    return [(name.decode("latin-1"), value.decode("latin-1")) for name, value in headers.raw]


def _body_of(request: httpx.Request) -> Any:
    """What is to be sent: bytes if they are there, else an iterator that gives them."""
    stream = request.stream
    if isinstance(stream, httpx.ByteStream):
        return b"".join(stream) or ""
    if not isinstance(stream, httpx.SyncByteStream):
        raise RuntimeError("the body is for an AsyncClient")
    return iter(stream)


def _timeouts_of(seconds: Mapping[str, float | None]) -> Timeouts:
    return _timeouts(seconds.get("pool"), seconds.get("connect"), seconds.get("write"), seconds.get("read"))


@lru_cache(maxsize=64)
def _timeouts(pool: float | None, connect: float | None, write: float | None, read: float | None) -> Timeouts:
    return Timeouts(pool=pool, connect=connect, handshake=connect, write=write, read=read)


# from the arguments of a transport to ours


def _trust(verify: ssl.SSLContext | str | bool, cert: Any, trust_env: bool) -> dict[str, Any]:
    """The options of a pool that say which servers to trust."""
    if isinstance(verify, ssl.SSLContext):
        return {"ssl": verify}
    if isinstance(cert, tuple) and len(cert) == 3:
        return {"ssl": httpx.create_ssl_context(verify=verify, cert=cert, trust_env=trust_env)}
    if verify is True:
        named = (os.environ.get("SSL_CERT_FILE") or os.environ.get("SSL_CERT_DIR")) if trust_env else None
        verify = named or certifi.where()
    return {"verify": verify, "cert": cert}


def _proxy_of(proxy: httpx.Proxy | httpx.URL | str) -> Proxy:
    """Raises ValueError for a proxy that is spoken with in another way than HTTP without TLS."""
    if not isinstance(proxy, httpx.Proxy):
        proxy = httpx.Proxy(proxy)
    if proxy.url.scheme != "http":
        raise ValueError(f"this door knows http:// proxies only, not {proxy.url.scheme}://")
    fields = _text(proxy.headers)
    if proxy.auth is not None:
        fields.append(("Proxy-Authorization", basic_credentials(*proxy.auth)))
    return Proxy((proxy.url.host, proxy.url.port or 80), tuple(fields))
