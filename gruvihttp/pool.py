"""`HttpPool`: requests to any URL, over connections that are kept for each origin.

What one request needs is decided once, in a `_Call`; then it is an exchange on a connection of the pool, or several
if there are redirects. A connection is in the hands of exactly one exchange, and whatever interrupts that, it goes
back to the pool or is closed: every way out of `_exchange` and of a `Lease` does one of the two.

The bytes on the wire are not known here, nor is what a driver does with them.
"""

from __future__ import annotations

import os
import ssl
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from http.cookiejar import CookieJar
from time import monotonic
from typing import Any, Self

from gruvihttp.compose import ComposedRequest
from gruvihttp.connecting import AddressOf, Connector, OriginConnection
from gruvihttp.cookies import cookies_for, keep_cookies
from gruvihttp.decoding import MAX_RATIO, Decoder, accepted_codings, codings_of
from gruvihttp.errors import (
    Error,
    IncompleteMessage,
    RedirectError,
    Timeout,
    TransportError,
)
from gruvihttp.exchanges.base import ClientExchange
from gruvihttp.forms import HeadersOption, Pairs, body_of, pairs_of, with_params
from gruvihttp.lease import Lease
from gruvihttp.limits import Timeouts
from gruvihttp.marks import switchpoint
from gruvihttp.messages import HttpRequest
from gruvihttp.net.sockets import Address
from gruvihttp.net.trust import CertOption, VerifyOption, client_context_for
from gruvihttp.origins import Destination, Origin, basic_credentials, destination_of
from gruvihttp.pooledresponse import PoolResponse, Progress
from gruvihttp.proxy import ProxyOption
from gruvihttp.reader import StreamReader
from gruvihttp.redirects import REDIRECTS, Step, fields_kept, step_of
from gruvihttp.replay import IDEMPOTENT, rewinder_of
from gruvihttp.saving import save
from gruvihttp.slots import Counts, Slot, Slots

__all__ = ["Auth", "HttpPool", "TimeoutOption"]

Auth = tuple[str, str]
TimeoutOption = float | Timeouts | None
Fields = list[tuple[str, str]]

MOST_REDIRECTS = 10
_MOST_USUAL_CALLS = 1024
DEFAULT_SECONDS = 60.0  # for a wait: longer than most servers and proxies give a request themselves


@dataclass(slots=True, kw_only=True, eq=False)
class _Call:
    """One request as it is to be made, the same for each attempt.

    It is sent to `origin`, asking for `target`; that is the destination's own unless a proxy stands between. `deadline`
    is that of the whole, redirects included.
    """

    method: str
    destination: Destination
    origin: Origin
    target: str
    headers: Fields
    body: Any = ""
    rewind: Callable[[], object] | None = None  # None: the body can be sent once
    timeouts: Timeouts
    deadline: float | None = None
    jar: CookieJar | None
    expect: float = False
    decode: bool = True
    composed: ComposedRequest | None = None  # what was sent before, if it may be sent like that again
    is_usual: bool = False  # it says nothing but where to, and is remembered


class HttpPool:
    """Makes requests to any URL, and keeps connections for the next ones. Many greenlets of one thread may share it.

    ::

        with HttpPool() as pool:
            print(pool.get("https://example.com/").text)

    `per_origin` and `in_all` bound the connections, those in use included; who finds none waits, first come, first
    served. An idle one is closed after `idle_seconds`; at the bound for all, the one that has been idle for longest
    gives way to another origin.

    `timeout` is what requests have that say nothing else: a number of seconds bounds each wait (for a connection, for
    the server to read, for the head, for each piece of the body); `Timeouts` give each its own, and with `total` a
    deadline for all together, redirects and body included. None is for ever.

    `headers` are sent with each request unless it has its own. `cookies` is the jar; True makes one, False keeps none
    beyond the redirects of one request. `auth` is (user, password) for all origins that have no other.

    `verify` False believes any server, a path names a file or directory of authorities; `cert` is a file with the
    client's certificate and key, or one for each; `ssl` is a ready context instead of both. `proxy` is that of
    `HttpClient.connect`. `address_of(origin)` returns where to connect to: (host, port), the path of a Unix socket,
    or a connected socket. A URL ``http+unix://%2Frun%2Fapp.sock/path`` leads to a Unix socket as well.

    A connection that the server has closed is noticed when it is taken, and nobody hears of it. If it breaks later,
    the request is sent once more on a new connection, provided that the connection had been used before, that not a
    byte of the response has come, and that the method is idempotent and the body can be sent again. Nothing else is
    ever repeated.
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
    ) -> None:
        for name, value in (("per_origin", per_origin), ("in_all", in_all)):
            if not isinstance(value, int) or value < 1:
                raise ValueError(f"{name} must be a whole number of connections, 1 or more, not {value!r}")
        self._slots = Slots(per_origin, in_all, idle_seconds)
        self._connector = Connector(
            lambda: ssl or client_context_for(verify, cert), proxy, address_of, local_address
        )
        self._timeouts = _timeouts_of(timeout)
        self._jar = CookieJar() if cookies is True else None if cookies is False else cookies
        self._authorization = None if auth is None else basic_credentials(*auth)
        self._max_ratio = max_ratio
        self._headers = pairs_of(headers)
        self._usual_calls: dict[tuple[str, str], _Call] = {}

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
        """Close idle connections now, and those in use when their responses have ended. Who waits gets HttpError."""
        self._slots.close()

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
        timeouts = self._timeouts if timeout == -1 else _timeouts_of(timeout)
        destination = destination_of(url if params is None else with_params(url, params))
        content, content_type = body_of(body, json, data)
        authorization = destination.credentials if auth is None else basic_credentials(*auth)
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

    def _usual(self, method: str, url: str) -> _Call:
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

    def _call_to(self, destination: Destination, **fields: Any) -> _Call:
        """A call, with the way to its destination."""
        origin, target = self._connector.route(destination.origin, destination.target)
        return _Call(destination=destination, origin=origin, target=target, **fields)

    def _make(self, call: _Call, allow_redirects: bool = True, stream: bool = False) -> PoolResponse:
        """Make the request, and those that it leads to."""
        response = self._exchange(call)
        if allow_redirects and response.status in REDIRECTS:
            response, call = self._follow(response, call)
        if response.coding is not None or response.leased:
            self._deliver(response, call, stream)
        return response

    # one exchange

    def _exchange(self, call: _Call) -> PoolResponse:
        """Take a connection, send, and wait for the head of the response. Its content is still to be delivered."""
        started = monotonic()
        if call.deadline is not None:
            return self._within_deadline(call, call.deadline, started)
        timeouts = call.timeouts
        slot = self._slots.take(call.origin, timeouts.connect)
        try:
            exchange = self._ask(slot, call, timeouts)
        except BaseException:
            self._slots.drop(slot)
            raise
        return self._received(exchange, slot, call, started)

    def _within_deadline(self, call: _Call, deadline: float, started: float) -> PoolResponse:
        """The same with a deadline for all of it. Whatever runs out is then called by its name."""
        try:
            slot = self._slots.take(call.origin, _shortened(call.timeouts, deadline).connect)
            try:
                exchange = self._ask(slot, call, _shortened(call.timeouts, deadline))
            except BaseException:
                self._slots.drop(slot)
                raise
        except Timeout as exc:
            if exc.phase == "total" or monotonic() < deadline:
                raise
            raise Timeout(f"timed out: the request as a whole has taken too long ({exc.phase})", phase="total") from exc
        return self._received(exchange, slot, call, started)

    def _ask(self, slot: Slot, call: _Call, timeouts: Timeouts) -> ClientExchange:
        """The exchange of a request in a slot, when the head of its response has come."""
        connection: OriginConnection | None = slot.connection
        if connection is not None:
            try:
                return self._send(connection, call, timeouts)
            except Error as exc:
                if not _may_go_again(call, connection, exc):
                    raise
            slot.empty()
        slot.connection = self._connector.connect(call.origin, timeouts.connect, timeouts.handshake)
        return self._send(slot.connection, call, timeouts)

    def _send(self, connection: OriginConnection, call: _Call, timeouts: Timeouts) -> ClientExchange:
        headers = call.headers
        cookie = None if call.jar is None else cookies_for(call.jar, call.destination)
        if cookie is not None and not _has(headers, "cookie"):
            headers = [*headers, ("Cookie", cookie)]
        protocol = connection.protocol
        request = HttpRequest(connection.transport, protocol)
        if call.is_usual and cookie is None:  # all connections to an origin compose alike
            if call.composed is None:
                call.composed = protocol.compose(call.method, call.target, headers, "")
            request.send_composed(call.composed, timeouts)
        else:
            request.send(call.method, call.target, headers, call.body, timeouts=timeouts, expect=call.expect)
        return connection.driver.collect(-1, request)

    def _received(self, exchange: ClientExchange, slot: Slot, call: _Call, started: float) -> PoolResponse:
        """The head is here, and often everything. Nothing here waits."""
        if slot.connection.driver.let_go():
            self._slots.give_back(slot)
            lease = None
        else:
            lease = Lease(self._slots, slot, exchange)
        response = PoolResponse(exchange, call.destination.url, monotonic() - started, lease)
        if call.jar is not None and response.set_cookies:
            keep_cookies(call.jar, call.destination, response.set_cookies)
        return response

    def _deliver(self, response: PoolResponse, call: _Call, stream: bool) -> None:
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

    def _follow(self, response: PoolResponse, call: _Call) -> tuple[PoolResponse, _Call]:
        """Follow redirects; returns the last response, with the call that it answers."""
        history: list[PoolResponse] = []
        if call.jar is None:  # what a server sets on the way it wants to see at the end
            jar = CookieJar()
            keep_cookies(jar, call.destination, response.set_cookies)
            call = replace(call, jar=jar)
        try:
            while response.status in REDIRECTS and (location := response.get_header("Location")) is not None:
                if len(history) == MOST_REDIRECTS:
                    raise RedirectError(f"more than {MOST_REDIRECTS} redirects")
                step = step_of(response.status, call.method, response.url, location)
                call = self._redirected(call, step)
                response.close()
                history.append(response)
                response = self._exchange(call)
        except RedirectError as exc:
            exc.response = response
            response.drop()
            raise
        except BaseException:
            response.drop()
            raise
        response.history = history
        return response, call

    def _redirected(self, call: _Call, step: Step) -> _Call:
        """The call that follows a redirect."""
        same_origin = step.destination.origin == call.destination.origin
        headers = fields_kept(call.headers, same_origin=same_origin, keeps_content=step.keeps_content)
        origin, target = self._connector.route(step.destination.origin, step.destination.target)
        call = replace(
            call,
            method=step.method,
            destination=step.destination,
            origin=origin,
            target=target,
            headers=headers,
            composed=None,
            is_usual=False,
        )
        if not step.keeps_content:
            return replace(call, body="", rewind=None, expect=False)
        if call.body != "":
            if call.rewind is None:
                raise RedirectError("the server wants the body at another place, and it cannot be sent twice")
            call.rewind()
        return call

    # fields

    def _completed(
        self, given: Fields, decode: bool, content_type: str | None = None, authorization: str | None = None
    ) -> Fields:
        """The fields of a request: the user's, the pool's, and those of ours that neither names."""
        fields = [*given, *(field for field in self._headers if not _has(given, field[0]))]
        ours = {
            "Accept-Encoding": accepted_codings() if decode else "identity",
            "Content-Type": content_type,
            "Authorization": authorization or self._authorization,
        }
        fields += [(name, value) for name, value in ours.items() if value is not None and not _has(fields, name)]
        return fields


def _may_go_again(call: _Call, connection: OriginConnection, exc: Error) -> bool:
    """Whether the request may be sent on another connection, because this one, used before, has failed."""
    if exc.retryable:  # nothing was sent, and of the body nothing was read
        return True
    if not isinstance(exc, (TransportError, IncompleteMessage)) or not connection.driver.silent:
        return False
    if call.method not in IDEMPOTENT:
        return False
    if call.body == "":
        return True
    if call.rewind is None:
        return False
    call.rewind()
    return True


def _has(headers: Fields, name: str) -> bool:
    """Whether a field of that name is among the given ones, which may be anything: they are checked later."""
    lower = name.lower()
    return any(isinstance(field[0], str) and field[0].lower() == lower for field in headers)


def _method(method: str) -> str:
    if method == "CONNECT":
        raise ValueError("a tunnel is not for a pool: use HttpClient")
    return method


@lru_cache(maxsize=64)
def _timeouts_of(option: TimeoutOption) -> Timeouts:
    """What `timeout` means: a number is for each wait."""
    if isinstance(option, Timeouts):
        return option
    if option is not None and (isinstance(option, bool) or option < 0):
        raise ValueError(f"timeout must be a number of seconds, 0 or more, Timeouts, or None, not {option!r}")
    return Timeouts(connect=option, handshake=option, write=option, read=option)


def _shortened(timeouts: Timeouts, deadline: float) -> Timeouts:
    """Timeouts of which none lasts beyond a deadline. Raises Timeout if that has passed."""
    left = deadline - monotonic()
    if left <= 0:
        raise Timeout("timed out: the request as a whole has taken too long", phase="total")
    connect = left if timeouts.connect is None else min(timeouts.connect, left)
    handshake = left if timeouts.handshake is None else min(timeouts.handshake, left)
    return replace(timeouts, connect=connect, handshake=handshake, total=left)
