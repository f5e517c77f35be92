"""`Http2ClientConnection`, the HTTP/2 client driver: many requests at a time, each on a stream of its own.

Greenlets begin streams here, and wait in a queue while the server takes no more of them. From then on each waits for
its own stream only. If a greenlet is interrupted, its stream is reset and the connection goes on. Each greenlet
collects its responses in the order of its requests, in whatever order they arrive.

How bytes are received and sent is described in `link`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from time import monotonic
from typing import Any
from weakref import ref

from greenlet import getcurrent

from gruvihttp.errors import Error, HttpError, LocalProtocolError, Timeout, fresh
from gruvihttp.exchanges.faults import refused
from gruvihttp.exchanges.http2.arrivals import Arrivals
from gruvihttp.exchanges.http2.client_exchange import Http2ClientExchange
from gruvihttp.exchanges.http2.link import Http2Link, OnInformational
from gruvihttp.exchanges.request import ComposedRequest
from gruvihttp.exchanges.uncollected import Uncollected
from gruvihttp.exchanges.wakeups import Wakeups
from gruvihttp.limits import Limits, Timeouts
from gruvihttp.net.channel import Channel
from gruvihttp.net.deadline import moment_after, timeout_or_default
from gruvihttp.sansio.events import parsed_request
from gruvihttp.sansio.h2fields import lowercase_headers
from gruvihttp.sansio.h2settings import Settings
from gruvihttp.sansio.headers import EMPTY, Field

__all__ = ["Http2ClientConnection"]


class Http2ClientConnection(Http2Link):
    """An HTTP/2 connection, seen from the client.

    Of `timeouts` it uses `read`, `write` and `total`, of which each request may have its own, `handshake` for the
    server's SETTINGS, and `linger`. `on_informational(exchange, response)` is called for each 1xx, in a greenlet.
    With `wait_for_settings` no request leaves before the server has acknowledged our SETTINGS.
    """

    silent = False  # as HTTP/1 has it; here a dead connection is noticed before a request is sent

    def __init__(
        self,
        channel: Channel,
        limits: Limits | None = None,
        timeouts: Timeouts | None = None,
        on_informational: OnInformational | None = None,
        *,
        settings: Settings | None = None,
        wait_for_settings: bool = False,
    ) -> None:
        super().__init__(channel, limits, timeouts, on_informational, settings)
        self._scheme = b"http" if channel.get_extra_info("ssl") is None else b"https"
        self._wait_for_settings = wait_for_settings
        self._fields: Sequence[Field] | None = None
        self._headers = EMPTY
        self._uncollected: Uncollected[Http2ClientExchange] = Uncollected()
        self._queue: deque[Wakeups] = deque()  # one for each greenlet that waits for a slot
        self._pings_count = 0

    def __repr__(self) -> str:
        state = "open" if self._refusal is None else f"refused: {self._refusal}"
        return f"<Http2ClientConnection {len(self._open)} responses due, {state}, {self.channel!r}>"

    # requests

    def send(
        self, request: ComposedRequest, owner: Any, timeouts: Timeouts | None = None, upgrade: bytes = b""
    ) -> None:
        """Send a whole request, whose fields are in lower case. `owner` is for `collect` and for errors.

        Waits for a slot, and for the windows. Returns when they allow all of it to leave, or when a response makes the
        rest pointless. Raises HttpError when the connection takes no more requests, Timeout, and the failure of the
        stream, which is a StreamError if the server has reset it.
        """
        content = request.content
        exchange = self._open_stream(request, owner, timeouts, end=not content)
        if content:
            try:
                exchange.send_all(content)
            except BaseException:
                self.withdraw(exchange)
                raise

    def begin(self, request: ComposedRequest, owner: Any, timeouts: Timeouts | None = None) -> Http2ClientExchange:
        """Begin a request whose content comes in pieces. Raises as `send` does."""
        return self._open_stream(request, owner, timeouts, end=False)

    def collect(self, timeout: float | None = -1, owner: Any = None) -> Http2ClientExchange:
        """The next exchange of the calling greenlet, once the head of its response has arrived.

        That is its oldest uncollected one. A greenlet that has made no request gets the oldest one that no other
        greenlet waits for. With `owner`, it is that owner's exchange, in any order. `timeout` is in seconds: negative
        means the `read` of the request's timeouts, None for ever.

        Raises RuntimeError if there is none, or if another greenlet waits for it. Raises Timeout, after which it may
        be called again unless the phase is ``"total"``, and the failure of the stream.
        """
        exchange = self._uncollected.choose(owner)
        arrivals = exchange.arrivals
        if arrivals.response is None:
            self._await_response(exchange, moment_after(timeout_or_default(timeout, arrivals.timeouts.read)))
        self._uncollected.drop(exchange)
        exchange.content = arrivals.open_content()
        return exchange

    def _await_response(self, exchange: Http2ClientExchange, deadline: float | None) -> None:
        exchange.wanted = True
        try:
            exchange.arrivals.await_response(deadline)
        except Timeout as exc:
            if exc.phase == "total":
                self._uncollected.drop(exchange)
            raise
        except Error:
            self._uncollected.drop(exchange)
            raise
        except BaseException as exc:
            self._uncollected.drop(exchange)
            exchange.arrivals.give_up(HttpError(f"waiting for the response was interrupted by {type(exc).__name__}"))
            raise
        finally:
            exchange.wanted = False

    def withdraw(self, exchange: Http2ClientExchange) -> None:
        """Remove an exchange whose request has failed, so that its response is not waited for."""
        self._uncollected.drop(exchange)

    def ping(self, timeout: float | None = -1) -> float:
        """How long the server takes to answer a PING, in seconds. Raises Timeout("read"), HttpError."""
        self._check_usable()
        deadline = moment_after(timeout_or_default(timeout, self._timeouts.read))
        self._pings_count += 1
        opaque = self._pings_count.to_bytes(8)
        self._pings[opaque] = None
        began = monotonic()
        self.engine.ping(opaque)
        self.flush_soon()
        try:
            while (answered := self._pings[opaque]) is None:
                if self._loss is not None:
                    raise fresh(self._loss)
                if not self._news.wait(deadline):
                    raise Timeout("timed out: no answer to PING", phase="read")
        finally:
            del self._pings[opaque]
        return answered - began

    def flush_at_end(self) -> None:
        """Send GOAWAY, and what may still leave; waits for `Timeouts.linger` at most.

        Does nothing if the connection is lost.
        """
        self._refuse(HttpError("it was closed"))
        if self._loss is None:
            self.engine.goaway()
        deadline = moment_after(self._timeouts.linger)
        self._flush()
        # closing with the server's SETTINGS unread would reset the connection, and might destroy our requests
        while not self._is_over and (not self._outbox.empty or (self._open and self.engine.awaits_preface)):
            if not self._news.wait(deadline):
                break

    def leave(self) -> None:
        """Send GOAWAY, as far as the socket takes it at once, and close. Never waits."""
        self._refuse(HttpError("it was closed"))
        if self._loss is None:
            self.engine.goaway()
        self._flush()
        self.channel.close()

    # may there be a request?

    @property
    def is_idle(self) -> bool:
        """Whether every response has ended and another request may be sent, as far as is known."""
        return not self._open and self._refusal is None

    def let_go(self) -> bool:
        """Whether it is idle. Responses that have arrived to their ends may be read later in any case."""
        return self.is_idle

    def stays_idle(self) -> bool:
        """Whether the connection can still be used."""
        return self._refusal is None

    def _check_usable(self) -> None:
        if self._refusal is None and not self.engine.takes_streams:
            self._refuse(HttpError("all streams of this connection are used up"))
        if self._refusal is not None:
            raise refused(self._refusal)

    # streams

    def _open_stream(
        self, composed: ComposedRequest, owner: Any, timeouts: Timeouts | None, *, end: bool
    ) -> Http2ClientExchange:
        """Begin a stream, as soon as there is a slot for it."""
        timeouts = timeouts or self._timeouts
        deadline = moment_after(timeouts.total)
        self._check_usable()
        if self._queue or not self._has_slot():
            self._await_slot(timeouts, deadline)
        fields = composed.outline.fields
        if fields is not self._fields:  # many requests are like the one before
            self._fields, self._headers = fields, lowercase_headers(list(fields))
        request = parsed_request(composed.method, self._headers, composed.target, b"2.0")
        try:
            stream = self.engine.open(request, scheme=self._scheme, end=end)
        except LocalProtocolError as exc:
            raise ValueError(f"HTTP/2 cannot carry this request: {exc}") from exc
        arrivals = stream.owner = Arrivals(self, stream, timeouts, deadline)
        exchange = Http2ClientExchange(self, arrivals, owner, ref(getcurrent()))
        self._open[arrivals] = ref(exchange)
        self._uncollected.add(exchange)
        self.flush_soon()
        return exchange

    def _has_slot(self) -> bool:
        if self._wait_for_settings and self.engine.awaits_acknowledgement:
            return False
        return self.engine.free_slots > 0

    def _await_slot(self, timeouts: Timeouts, total: float | None) -> None:
        """Wait until the server takes one more stream. First come, first served."""
        deadline, phase = moment_after(timeouts.write), "write"
        if total is not None and (deadline is None or total < deadline):
            deadline, phase = total, "total"
        mine = Wakeups(self.loop)
        self._queue.append(mine)
        try:
            while self._queue[0] is not mine or not self._has_slot():
                self._drop_unwanted()
                if not mine.wait(deadline):
                    raise Timeout(f"timed out: the server takes no more requests at a time ({phase})", phase=phase)
                self._check_usable()
        finally:
            self._queue.remove(mine)
            if self._queue:
                self._queue[0].wake()

    def _drop_unwanted(self) -> None:
        """Reset streams that only block others: full or half sent, and their greenlets have ended."""
        for exchange in self._uncollected.abandoned():
            stream = exchange.arrivals.stream
            if stream.recv_window <= 0 or not stream.end_offered:
                self._uncollected.drop(exchange)
                exchange.arrivals.give_up(HttpError("the greenlet that made the request has ended"))

    def _slots_changed(self) -> None:
        if self._queue and (self._refusal is not None or self._has_slot()):
            self._queue[0].wake()
