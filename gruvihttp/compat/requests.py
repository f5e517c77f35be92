"""The requests door: a transport adapter, which has requests' sessions send through our pool.

``session.mount("https://", HTTPAdapter())``, or `mount` for both schemes, or `session` for a new one. Everything else
stays requests': cookies, redirects, authentication, content codings. Nothing needs to be monkey-patched.

Connections are not known here, nor is what a response looks like to urllib3.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterator
from functools import lru_cache
from io import TextIOBase
from typing import Any, NamedTuple

import gevent

from gruvihttp import Error, HttpPool, Timeouts
from gruvihttp.compat.pooling import UNBOUNDED, Fields, sendable_fields
from gruvihttp.compat.urllib3view import RawResponse, translated
from gruvihttp.origins import destination_of
from gruvihttp.pool.perthread import ThreadPools
from gruvihttp.pool.replay import rewinder_of
from gruvihttp.proxy import Proxy, proxy_of

try:
    import requests
    from requests import adapters
    from requests import exceptions as theirs
    from requests.utils import DEFAULT_CA_BUNDLE_PATH, select_proxy
    from urllib3 import Retry, Timeout
    from urllib3 import exceptions as below
except ImportError as exc:
    raise ImportError("the door of requests needs requests: pip install 'gruvihttp[requests]'") from exc

__all__ = ["HTTPAdapter", "mount", "session"]

_IDLE_SECONDS = 60.0
_SKIPPED = "@@@SKIP_HEADER@@@"  # with this value, urllib3 sends no field of its own
# What urllib3 raises, and what requests makes of it; the first that fits
_KINDS: tuple[tuple[type[Exception], type[theirs.RequestException]], ...] = (
    (below.ProxyError, theirs.ProxyError),
    (below.SSLError, theirs.SSLError),
    (below.ResponseError, theirs.RetryError),
    (below.NewConnectionError, theirs.ConnectionError),
    (below.ConnectTimeoutError, theirs.ConnectTimeout),
    (below.ReadTimeoutError, theirs.ReadTimeout),
    (below.HTTPError, theirs.ConnectionError),
)


class _Way(NamedTuple):
    """What a connection depends on besides the origin: requests on the same way share a pool."""

    verify: Any  # a path, True or False
    cert: Any  # a path, or two
    proxy: Proxy | None
    closes: bool


class _Order(NamedTuple):
    """One request, as our pool takes it. `place` is for messages."""

    method: str
    url: str
    target: str  # for messages as well: a URL may have a password in it
    fields: Fields
    body: Any
    rewind: Callable[[], object] | None
    timeouts: Timeouts
    place: str
    through_proxy: bool


class HTTPAdapter(adapters.HTTPAdapter):
    """Sends the requests of a session over connections of ours; in place of ``requests.adapters.HTTPAdapter``.

    `pool_maxsize` bounds the connections to each origin if `pool_block` is true; else there is no bound. An idle one
    is closed after `idle_seconds`. `pool_connections` is for how many combinations of proxy and certificates
    connections are kept. `max_retries` is a number, or urllib3's ``Retry``. `ssl_context` says all about TLS instead
    of ``verify`` and ``cert``.

    Besides numbers and pairs of them, ``timeout=`` takes our `Timeouts`, with `total` a deadline for everything.
    """

    __attrs__ = [*adapters.HTTPAdapter.__attrs__, "_idle_seconds"]

    _ssl_context: ssl.SSLContext | None = None
    _idle_seconds = _IDLE_SECONDS

    def __init__(
        self,
        pool_connections: int = adapters.DEFAULT_POOLSIZE,
        pool_maxsize: int = adapters.DEFAULT_POOLSIZE,
        max_retries: int | Retry = adapters.DEFAULT_RETRIES,
        pool_block: bool = adapters.DEFAULT_POOLBLOCK,
        *,
        ssl_context: ssl.SSLContext | None = None,
        idle_seconds: float = _IDLE_SECONDS,
    ) -> None:
        self._ssl_context = ssl_context
        self._idle_seconds = idle_seconds
        super().__init__(pool_connections, pool_maxsize, max_retries, pool_block)

    def init_poolmanager(self, connections: int, maxsize: int, block: bool = False, **pool_kwargs: Any) -> None:
        """Prepare the pools. Subclasses that give a `ssl_context` here are heard. Raises TypeError for the rest."""
        self._pool_connections = connections
        self._pool_maxsize = maxsize
        self._pool_block = block
        self._ssl_context = pool_kwargs.pop("ssl_context", self._ssl_context)
        if pool_kwargs:
            raise TypeError(f"not known here: {', '.join(pool_kwargs)}; what concerns TLS belongs into ssl_context")
        self._pools = ThreadPools(connections)

    def send(
        self,
        request: requests.PreparedRequest,
        stream: bool = False,
        timeout: Any = None,
        verify: Any = True,
        cert: Any = None,
        proxies: Any = None,
    ) -> requests.Response:
        """Send a request; the arguments are requests', and so are the exceptions."""
        self.add_headers(request, stream=stream, timeout=timeout, verify=verify, cert=cert, proxies=proxies)
        proxy = self._proxy_for(request, proxies) if proxies else None
        order, closes = _order_of(request, _timeouts_of(timeout), proxy is not None)
        way = _Way(verify, tuple(cert) if isinstance(cert, list) else cert, proxy, closes)
        pool = self._pools.get(way, lambda: self._make_pool(way))
        try:
            raw = self._carry_out(pool, order)
        except below.MaxRetryError as exc:
            kind = _kind_of(exc.reason)
            # requests has it so: of timeouts, only those of connecting keep their name when all attempts are used up
            raise (theirs.ConnectionError if kind is theirs.ReadTimeout else kind)(exc, request=request) from exc
        except below.HTTPError as exc:
            raise _kind_of(exc)(exc, request=request) from exc
        return self.build_response(request, raw)

    def close(self) -> None:
        """Close idle connections, and those in use when their responses have ended; of the calling thread."""
        self._pools.close()

    # pools

    def _make_pool(self, way: _Way) -> HttpPool:
        bound = self._pool_maxsize if self._pool_block else UNBOUNDED
        return HttpPool(
            per_origin=bound,
            in_all=UNBOUNDED,
            idle_seconds=0.0 if way.closes else self._idle_seconds,
            cookies=False,
            # the authorities that requests would ask
            verify=DEFAULT_CA_BUNDLE_PATH if way.verify is True or way.verify is None else way.verify,
            cert=way.cert,
            ssl=self._ssl_context,
            proxy=way.proxy,
        )

    def _proxy_for(self, request: requests.PreparedRequest, proxies: Any) -> Proxy | None:
        proxy_url = str(select_proxy(str(request.url), proxies) or "")  # type: ignore[no-untyped-call, unused-ignore]
        if not proxy_url:
            return None
        if proxy_url.lower().startswith("socks"):
            raise theirs.InvalidSchema("this door knows no SOCKS, only http:// proxies", request=request)
        if "://" not in proxy_url:
            proxy_url = f"http://{proxy_url}"
        try:
            address = proxy_of(proxy_url).address
        except ValueError as exc:
            raise theirs.InvalidProxyURL(str(exc), request=request) from None
        fields: dict[str, Any] = dict(self.proxy_headers(proxy_url))
        if "Proxy-Authorization" in request.headers and str(request.url).startswith("http:"):  # not through a tunnel
            fields.setdefault("Proxy-Authorization", request.headers["Proxy-Authorization"])
        return Proxy(address, tuple((_text(name), _text(value)) for name, value in fields.items()))

    # attempts

    def _carry_out(self, pool: HttpPool, order: _Order) -> RawResponse:
        """Make a request as often as `max_retries` lets us."""
        retries = self.max_retries
        while True:
            try:
                response = pool.request(
                    order.method,
                    order.url,
                    headers=order.fields,
                    body=order.body,
                    timeout=order.timeouts,
                    allow_redirects=False,
                    stream=True,
                    decode=False,
                )
            except Error as exc:
                retries = _after_error(retries, order, exc)
                _pause(retries)
                continue
            raw = RawResponse(response, order.method, order.target, retries)
            if not retries.is_retry(order.method, raw.status, "Retry-After" in raw.headers) or order.rewind is None:
                return raw
            try:
                retries = retries.increment(order.method, order.target, response=raw)
            except below.MaxRetryError:
                if not retries.raise_on_status:
                    return raw
                raw.close()
                raise
            raw.close()
            _pause(retries, raw)
            order.rewind()


def session(**options: Any) -> requests.Session:
    """A new session of requests that sends through us. The options are those of `HTTPAdapter`."""
    return mount(requests.Session(), **options)


def mount(session: requests.Session, **options: Any) -> requests.Session:
    """Have an existing session send through us, whatever the URL. The options are those of `HTTPAdapter`."""
    adapter = HTTPAdapter(**options)
    for prefix in ("http://", "https://", "http+unix://", "https+unix://"):
        session.mount(prefix, adapter)
    return session


# from one attempt to the next


def _after_error(retries: Retry, order: _Order, exc: Error) -> Retry:
    """What is left to try; raises urllib3's exceptions if nothing is."""
    error = translated(exc, order.place, order.target, through_proxy=order.through_proxy)
    error.__cause__ = exc
    place: Any = order.place
    retries = retries.increment(order.method, order.target, error=error, _pool=place, _stacktrace=exc.__traceback__)
    if not exc.retryable:
        if order.rewind is None:
            raise error
        order.rewind()
    return retries


def _pause(retries: Retry, raw: RawResponse | None = None) -> None:
    """Wait before the next attempt; other greenlets run meanwhile, which `Retry.sleep` cannot promise."""
    seconds = retries.get_retry_after(raw) if raw is not None and retries.respect_retry_after_header else None
    gevent.sleep(seconds if seconds else retries.get_backoff_time())


def _kind_of(exc: BaseException | None) -> type[theirs.RequestException]:
    return next((kind for cause, kind in _KINDS if isinstance(exc, cause)), theirs.ConnectionError)


# from requests' request to ours


def _order_of(request: requests.PreparedRequest, timeouts: Timeouts, through_proxy: bool) -> tuple[_Order, bool]:
    """What is to be sent, and whether the connection shall close afterwards. Raises InvalidURL, InvalidHeader."""
    url = str(request.url)
    try:
        origin, target, _, _ = destination_of(url)
    except ValueError as exc:
        raise theirs.InvalidURL(str(exc), request=request) from None
    fields, closes = _fields_of(request)
    body = _body_of(request.body)
    place = f"{origin.scheme}://{origin.host}:{origin.port}"
    order = _Order(
        str(request.method), url, target, fields, body, rewinder_of(body), timeouts, place, through_proxy
    )
    return order, closes


def _fields_of(request: requests.PreparedRequest) -> tuple[Fields, bool]:
    """The fields to send, and whether the connection shall close afterwards. Raises InvalidHeader for Upgrade."""
    if "Upgrade" in request.headers:
        raise theirs.InvalidHeader("Upgrade is not for a session: see HttpClient", request=request)
    pairs = ((_text(name), _text(value)) for name, value in request.headers.items())
    return sendable_fields(pair for pair in pairs if pair[1] != _SKIPPED)


def _text(value: Any) -> Any:
    """requests takes names and values as bytes, too. What is neither is refused later."""
    return value.decode("latin-1") if isinstance(value, bytes) else value


def _body_of(body: Any) -> Any:
    """A body of requests', with UTF-8 where it is str, as urllib3 has it."""
    if body is None:
        return ""
    if isinstance(body, str):
        return body.encode()
    if isinstance(body, TextIOBase):
        return _encoded(iter(lambda: body.read(65536), ""))
    if isinstance(body, (list, tuple)):
        return [piece.encode() if isinstance(piece, str) else piece for piece in body]
    return _encoded(body) if isinstance(body, Iterator) and not hasattr(body, "read") else body


def _encoded(pieces: Iterator[Any]) -> Iterator[Any]:
    return (piece.encode() if isinstance(piece, str) else piece for piece in pieces)


def _timeouts_of(timeout: Any) -> Timeouts:
    """What ``timeout=`` means in requests: seconds, a pair of them for connecting and reading, or urllib3's object."""
    if isinstance(timeout, Timeouts):
        return timeout
    if isinstance(timeout, Timeout):
        clock = timeout.clone()
        clock.start_connect()
        return _timeouts(Timeout.resolve_default_timeout(clock.connect_timeout), clock.read_timeout)
    pair = timeout if isinstance(timeout, tuple) else (timeout, timeout)
    if len(pair) != 2 or not all(one is None or isinstance(one, (int, float)) for one in pair):
        raise ValueError(f"timeout is a number, or a pair of them for connecting and reading, not {timeout!r}")
    return _timeouts(*pair)


@lru_cache(maxsize=64)
def _timeouts(connect: float | None, read: float | None) -> Timeouts:
    return Timeouts(pool=connect, connect=connect, handshake=connect, write=read, read=read)
