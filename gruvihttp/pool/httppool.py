"""`HttpPool`: requests to any URL, over connections that are kept for each origin.

What one request needs is decided once, in a `Call`; then a `Courier` carries it out, or several if there are
redirects, and its content is delivered. Connections are not known here.
"""

from __future__ import annotations

import os
import ssl
from http.cookiejar import CookieJar
from sys import is_finalizing
from time import monotonic
from typing import Any, NoReturn, Self, SupportsIndex

from gruvihttp.connecting import AddressOf, Connector
from gruvihttp.errors import RedirectError
from gruvihttp.marks import switchpoint
from gruvihttp.net.sockets import Address
from gruvihttp.net.tls import ALPN
from gruvihttp.net.trust import CertOption, VerifyOption, client_context_for
from gruvihttp.origins import Destination, destination_of
from gruvihttp.pool.call import Call, Fields, TimeoutOption, has_field, timeouts_of
from gruvihttp.pool.courier import Courier
from gruvihttp.pool.decoding import MAX_RATIO, Decoder, accepted_codings, codings_of
from gruvihttp.pool.forms import HeadersOption, Pairs, body_of, credentials_of, pairs_of, with_params
from gruvihttp.pool.redirects import REDIRECTS, step_of
from gruvihttp.pool.replay import rewinder_of
from gruvihttp.pool.response import PoolResponse, Progress
from gruvihttp.pool.saving import save
from gruvihttp.pool.sharedcourier import SharedCourier
from gruvihttp.pool.slots import Counts, Slots
from gruvihttp.proxy import ProxyOption
from gruvihttp.reader import StreamReader

__all__ = ["Auth", "HttpPool", "TimeoutOption"]

Auth = tuple[str, str]

MOST_REDIRECTS = 10
_MOST_USUAL_CALLS = 1024
DEFAULT_SECONDS = 60.0  # for a wait: longer than most servers and proxies give a request themselves


class HttpPool:
    """Makes requests to any URL, and keeps connections for the next ones. Many greenlets of one thread may share it.

    ::

        with HttpPool() as pool:
            print(pool.get("https://example.com/").text)

    `per_origin` and `in_all` bound the connections, those in use included; requests that find none free wait, first
    come, first served. An idle connection is closed after `idle_seconds`; at the bound for all, the one that has been
    idle for longest gives way to another origin.

    `timeout` is what requests have that say nothing else: a number of seconds bounds each wait (for a connection, for
    the server to read, for the head, for each piece of the body); `Timeouts` give each its own, and with `total` a
    deadline for all together, redirects and body included. None is for ever.

    `headers` are sent with each request unless it has its own. `cookies` is the jar; True makes one, False keeps none
    beyond the redirects of one request. `auth` is (user, password) for all origins that have no other.

    `verify` False accepts any certificate, a path names a file or directory of authorities; `cert` is a file with the
    client's certificate and key, or one for each; `ssl` is a ready context instead of both. `proxy` is that of
    `HttpClient.connect`. `address_of(origin)` returns where to connect to: (host, port), the path of a Unix socket,
    or a connected socket. A URL ``http+unix://%2Frun%2Fapp.sock/path`` leads to a Unix socket as well. `local_address`
    is (host, port) to connect from. Content that expands more than `max_ratio` times is refused beyond 10 MiB.

    With `http2`, servers that agree to it over TLS are spoken with in HTTP/2. Then all requests to an origin share one
    connection, each on a stream of its own, and what interrupts one leaves the others alone. A context given as `ssl`
    has to offer it: ``set_alpn_protocols(["h2", "http/1.1"])``. A request that the server has refused to look at, as it
    is leaving, for example, is sent once more on another connection.

    A connection that the server has closed is noticed when it is taken, and replaced. If it breaks later, the request
    is sent once more on a new connection, provided that the connection had been used before, that no byte of the
    response has arrived, and that the method is idempotent and the body can be sent again. Nothing else is ever
    repeated.
    """

    def __init__(
        self,
        per_origin: int = 10,
        in_all: int = 100,
        idle_seconds: float = 60.0,
        *,
        timeout: TimeoutOption = DEFAULT_SECONDS,
        headers: HeadersOption | None = None,
        cookies: CookieJar | bool = True,
        auth: Auth | None = None,
        verify: VerifyOption = True,
        cert: CertOption = None,
        ssl: ssl.SSLContext | None = None,
        proxy: ProxyOption | None = None,
        address_of: AddressOf | None = None,
        local_address: Address = None,
        max_ratio: float | None = MAX_RATIO,
        http2: bool = False,
    ) -> None:
        for name, value in (("per_origin", per_origin), ("in_all", in_all)):
            if not isinstance(value, int) or value < 1:
                raise ValueError(f"{name} must be a whole number of connections, 1 or more, not {value!r}")
        self._slots = Slots(per_origin, in_all, idle_seconds)
        alpn = ALPN["auto"] if http2 else ()
        connector = Connector(
            lambda: ssl or client_context_for(verify, cert, alpn), proxy, address_of, local_address, http2
        )
        self._route = connector.route
        self._courier = (SharedCourier if http2 else Courier)(self._slots, connector)
        self._timeouts = timeouts_of(timeout)
        self._jar = CookieJar() if cookies is True else None if cookies is False else cookies
        self._authorization = None if auth is None else credentials_of(auth)
        self._max_ratio = max_ratio
        self._headers = pairs_of(headers)
        self._usual_calls: dict[tuple[str, str], Call] = {}

    def __repr__(self) -> str:
        taken, idle, waiting = self._slots.counts
        return f"<HttpPool {'closed, ' if self._slots.closed else ''}{taken} taken, {idle} idle, {waiting} waiting>"

    @property
    def counts(self) -> Counts:
        """How many connections are taken (in use or being made) and idle, and how many greenlets wait for one."""
        return self._slots.counts

    @property
    def cookies(self) -> CookieJar | None:
        """The jar, which is an `http.cookiejar.CookieJar`; None if cookies are not kept."""
        return self._jar

    def close(self) -> None:
        """Close idle connections now, and those in use after their responses. Requests that wait get HttpError."""
        self._slots.close()

    def __del__(self) -> None:
        """Nobody has closed it, and nobody can use it any more."""
        slots = getattr(self, "_slots", None)  # it has none if its arguments were wrong
        if slots is not None and not slots.closed and not is_finalizing():
            slots.close()

    def __reduce_ex__(self, protocol: SupportsIndex) -> NoReturn:
        raise TypeError("a pool cannot be copied or pickled: make another one")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # requests

    @switchpoint
    def request(
        self,
        method: str,
        url: str,
        *,
        params: Pairs | None = None,
        headers: HeadersOption | None = None,
        body: Any = None,
        json: Any = None,
        data: Any = None,
        auth: Auth | None = None,
        timeout: TimeoutOption = -1,
        allow_redirects: bool = True,
        stream: bool = False,
        decode: bool = True,
        expect: float = False,
    ) -> PoolResponse:
        """Make a request and return the response, with all of its body unless `stream`.

        `params` go into the query. `body` is bytes, str, a file, or an iterable of these; `json` is sent as JSON;
        `data` as a form if it is a mapping or pairs, else like `body`. `timeout` is that of the pool if -1. At most
        10 redirects are followed; Authorization and Cookie do not go along to another origin. `decode` False leaves
        gzip and the like as they come. With `expect`, the body waits for the server to want it.

        Raises TypeError and ValueError for what cannot be sent; Timeout, TransportError and HttpError for what goes
        wrong; RedirectError; DecodingError. No status is an error: see `PoolResponse.raise_for_status`.
        """
        timeouts = self._timeouts if timeout == -1 else timeouts_of(timeout)
        destination = destination_of(url if params is None else with_params(url, params))
        content, content_type = body_of(body, json, data)
        authorization = destination.credentials if auth is None else credentials_of(auth)
        call = self._call_to(
            destination,
            method=_method(method),
            headers=self._completed(pairs_of(headers), decode, content_type, authorization),
            body=content,
            rewind=rewinder_of(content),
            timeouts=timeouts,
            deadline=None if timeouts.total is None else monotonic() + timeouts.total,
            jar=self._jar,
            expect=expect,
            decode=decode,
        )
        return self._make(call, allow_redirects, stream)

    @switchpoint
    def get(self, url: str, **options: Any) -> PoolResponse:
        """GET; the options are those of `request`."""
        return self.request("GET", url, **options) if options else self._make(self._usual("GET", url))

    @switchpoint
    def head(self, url: str, **options: Any) -> PoolResponse:
        """HEAD; the options are those of `request`."""
        return self.request("HEAD", url, **options) if options else self._make(self._usual("HEAD", url))

    @switchpoint
    def post(self, url: str, **options: Any) -> PoolResponse:
        """POST; the options are those of `request`."""
        return self.request("POST", url, **options)

    @switchpoint
    def put(self, url: str, **options: Any) -> PoolResponse:
        """PUT; the options are those of `request`."""
        return self.request("PUT", url, **options)

    @switchpoint
    def patch(self, url: str, **options: Any) -> PoolResponse:
        """PATCH; the options are those of `request`."""
        return self.request("PATCH", url, **options)

    @switchpoint
    def delete(self, url: str, **options: Any) -> PoolResponse:
        """DELETE; the options are those of `request`."""
        return self.request("DELETE", url, **options) if options else self._make(self._usual("DELETE", url))

    @switchpoint
    def download(
        self, url: str, path: str | os.PathLike[str], *, progress: Progress | None = None, **options: Any
    ) -> PoolResponse:
        """GET a URL into a file, in little memory; `request` has the options. The file appears when it is complete.

        `progress(received_bytes, total_bytes)` is called after each piece; the latter is None if it is not known.
        Raises StatusError for 4xx and 5xx, OSError when the file cannot be written, else as `request` does.
        """
        with self.request("GET", url, stream=True, **options) as response:
            save(response.raise_for_status().iter_content(progress=progress), path)
            return response

    # what is to be done

    def _usual(self, method: str, url: str) -> Call:
        """The call of a request that says nothing but where to. They come again and again, so they are remembered."""
        call = self._usual_calls.get((method, url))
        if call is None or call.deadline is not None:
            timeouts = self._timeouts
            destination = destination_of(url)
            call = self._call_to(
                destination,
                method=method,
                headers=self._completed([], True, None, destination.credentials),
                timeouts=timeouts,
                deadline=None if timeouts.total is None else monotonic() + timeouts.total,
                jar=self._jar,
                is_usual=True,
            )
            if len(self._usual_calls) == _MOST_USUAL_CALLS:
                self._usual_calls.clear()
            self._usual_calls[method, url] = call
        return call

    def _call_to(self, destination: Destination, **fields: Any) -> Call:
        """A call, with the way to its destination."""
        origin, target = self._route(destination.origin, destination.target)
        return Call(destination=destination, origin=origin, target=target, **fields)

    def _make(self, call: Call, allow_redirects: bool = True, stream: bool = False) -> PoolResponse:
        """Make the request, and those that it leads to."""
        response = self._carry(call)
        if allow_redirects and response.status in REDIRECTS:
            response, call = self._follow(response, call)
        if response.coding is not None or response.leased:
            self._deliver(response, call, stream)
        return response

    def _carry(self, call: Call) -> PoolResponse:
        """One exchange. The content is still to be delivered."""
        response = self._courier.carry(call)
        if response.set_cookies:
            call.keep_cookies(response)
        return response

    def _deliver(self, response: PoolResponse, call: Call, stream: bool) -> None:
        """Have the content decoded, and here if it is not to be a stream."""
        try:
            if response.coding is not None and call.decode and (codings := codings_of(response.coding)):
                response.body = StreamReader(source=Decoder(codings, response.body.read1, self._max_ratio).pull)
            elif not response.leased:
                return
            if not stream:
                response.body = StreamReader.complete(response.body.read())
        except BaseException:
            response.drop()
            raise

    # redirects

    def _follow(self, response: PoolResponse, call: Call) -> tuple[PoolResponse, Call]:
        """Follow redirects; returns the last response, with the call that it answers."""
        history: list[PoolResponse] = []
        if call.jar is None:
            call = call.with_jar()
            call.keep_cookies(response)
        try:
            while response.status in REDIRECTS and (location := response.get_header("Location")) is not None:
                if len(history) == MOST_REDIRECTS:
                    raise RedirectError(f"more than {MOST_REDIRECTS} redirects")
                step = step_of(response.status, call.method, response.url, location)
                call = call.redirected(step, self._route)
                response.close()
                history.append(response)
                response = self._carry(call)
        except RedirectError as exc:
            exc.response = response
            response.drop()
            raise
        except BaseException:
            response.drop()
            raise
        response.history = history
        return response, call

    # fields

    def _completed(
        self, given: Fields, decode: bool, content_type: str | None = None, authorization: str | None = None
    ) -> Fields:
        """The fields of a request: the user's, the pool's, and those of ours that neither names."""
        fields = [*given, *(field for field in self._headers if not has_field(given, field[0]))]
        ours = {
            "Accept-Encoding": accepted_codings() if decode else "identity",
            "Content-Type": content_type,
            "Authorization": authorization or self._authorization,
        }
        fields += [(name, value) for name, value in ours.items() if value is not None and not has_field(fields, name)]
        return fields


def _method(method: str) -> str:
    if method == "CONNECT":
        raise ValueError("a tunnel is not for a pool: use HttpClient")
    return method
