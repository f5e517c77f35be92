"""`ClientConnection`, the HTTP/1 client driver: sends requests, pipelined if the caller does not wait between them.

Requests leave in the order in which they were begun. The first request on an idle connection leaves at once; while
responses are due, a small and complete one is held, to leave with others: see `sending`. How responses are
received is described in `receiving`, and which request they answer in `due`.

Many greenlets may send. A request in pieces keeps the others waiting until it has ended. If its greenlet ends without
finishing it, the connection is given up.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from weakref import ref

from greenlet import getcurrent

from gruvihttp.errors import HttpError, Timeout, fresh
from gruvihttp.exchanges.http1.client_exchange import OPEN, SENT, STOPPED, UNSENT, Http1ClientExchange
from gruvihttp.exchanges.http1.due import OnInformational
from gruvihttp.exchanges.http1.receiving import STRETCH_BYTES
from gruvihttp.exchanges.http1.sending import RequestSender
from gruvihttp.exchanges.request import ComposedRequest, Outline
from gruvihttp.exchanges.turns import GreenletRef, is_alive
from gruvihttp.limits import Limits, Timeouts
from gruvihttp.net.channel import Channel
from gruvihttp.net.deadline import moment_after, timeout_or_default
from gruvihttp.net.sending import JOIN_BYTES
from gruvihttp.net.sockets import BytesLike
from gruvihttp.sansio.headers import Field
from gruvihttp.sansio.heads import write_request
from gruvihttp.sansio.wire import MessageWriter

__all__ = ["ClientConnection"]

_WRITING = object()  # what greenlets need that want to send


class ClientConnection(RequestSender):
    """An HTTP/1 connection, seen from the client.

    Of `timeouts` it uses `read`, `write`, `total`, `drain` and `linger`; each request may have its own.
    `on_informational(exchange, response)` is called for each 1xx.
    """

    def __init__(
        self,
        channel: Channel,
        limits: Limits | None = None,
        timeouts: Timeouts | None = None,
        on_informational: OnInformational | None = None,
    ) -> None:
        super().__init__(channel, limits, timeouts, on_informational)
        self.writer = MessageWriter()
        self._tail_fields: Sequence[Field] | None = None
        self._tail = b""

    def __repr__(self) -> str:
        state = "open" if self._due.refusal is None else f"refused: {self._due.refusal}"
        due = len(self._awaiting) + len(self._unsent)
        return f"<ClientConnection {due} responses due, {state}, {self._channel!r}>"

    def collect(self, timeout: float | None = -1, owner: Any = None) -> Http1ClientExchange:
        """The next exchange of the calling greenlet, once the head of its response has arrived.

        That is its oldest uncollected one. A greenlet that has made no request gets the oldest one that no other
        greenlet waits for. With `owner`, it is that owner's exchange. `timeout` is in seconds: negative means the
        `read` of the request's timeouts, None for ever.

        Raises RuntimeError if there is none, if an older one of this greenlet was not collected, if the content of
        the previous one was not read to its end, or if another greenlet waits for it. Raises Timeout, after which it
        may be called again, and the exchange's failure, with which the exchange stays uncollected.
        """
        me = ref(getcurrent())
        uncollected = self._uncollected
        previous = self._collected
        if previous is not None and not previous.content.eof and previous.greenlet is me:
            self._check_read(previous)
        exchange = uncollected[0] if uncollected else None
        mine = exchange is not None and (exchange.greenlet is me if owner is None else exchange.owner is owner)
        if exchange is None or not mine or exchange.wanted:
            exchange = uncollected.choose(owner)
        buffer = self._reader.buffer
        here = buffer.start != len(buffer.data) and not self._turns.waiting
        if exchange.response is None and not (here and self._parse_response(exchange)):
            exchange.wanted = True
            try:
                self._await_response(exchange, moment_after(timeout_or_default(timeout, exchange.timeouts.read)))
            finally:
                exchange.wanted = False
        if uncollected and uncollected[0] is exchange:
            uncollected.popleft()
        else:
            uncollected.remove(exchange)
        exchange.greenlet = me
        self._collected = exchange
        if exchange.ahead_bytes:
            self._ahead_bytes -= exchange.ahead_bytes
            exchange.ahead_bytes = 0
            self._turns.wake_all()  # there is room to parse more
        return exchange

    # whole requests

    def send(
        self, request: ComposedRequest, owner: Any, timeouts: Timeouts | None = None, upgrade: bytes = b""
    ) -> None:
        """Send a whole request, whose fields say how long its content is. `owner` is for `collect` and for errors.

        `timeouts` are the connection's if not given. `upgrade` names the protocols that the fields offer.

        Returns when the system has all of it, when it is held, or when a response makes the rest pointless. Raises
        HttpError when the connection takes no more requests, RuntimeError when this greenlet has another unfinished
        request, TransportError or Timeout when this one could not be sent; then there is no response to collect.
        """
        method, target, content, outline = request
        assert content is not None
        exchange = self._new_exchange(method, owner, timeouts)
        exchange.upgrade = upgrade
        head = self._head(method, target, outline)
        size = len(head) + len(content)
        try:
            alone = upgrade or method == b"CONNECT"
            if (self._awaiting or self._unsent) and size < self._limits.buffer_bytes and not alone:
                self._hold(exchange, head + content if content else head)
                return
            self._due.writing = exchange
            if content:
                self._transmit(exchange, head + content if size < JOIN_BYTES else [head, content])
            else:
                self._transmit(exchange, head)
        except BaseException:
            self._withdraw(exchange)
            self._disappoint(exchange)
            raise
        self.request_done(exchange)

    def _new_exchange(self, method: bytes, owner: Any, timeouts: Timeouts | None) -> Http1ClientExchange:
        """Make an exchange of the calling greenlet, once its request may be sent."""
        me = ref(getcurrent())
        timeouts = timeouts or self._timeouts
        deadline = None if timeouts.total is None else moment_after(timeouts.total)
        due = self._due
        if due.writing is not None or due.sender is not None:
            self._await_my_turn(me, timeouts, deadline)
        self._check_usable()
        if me is not self._uncollected.asker:
            self._uncollected.remember(me)
        exchange = Http1ClientExchange(self, method, owner, timeouts, me)
        if deadline is not None:
            exchange.deadline = deadline
        return exchange

    def _await_my_turn(self, me: GreenletRef, timeouts: Timeouts, total: float | None) -> None:
        """Wait while another greenlet sends: a part of its request is on the wire, and the rest must follow first."""
        deadline, phase = moment_after(timeouts.write), "write"
        if total is not None and (deadline is None or total < deadline):
            deadline, phase = total, "total"
        due = self._due
        while due.refusal is None and (due.writing is not None or due.sender is not None):
            writing = due.writing
            if writing is None:
                self._turns.wait(_WRITING, deadline, phase)
            elif writing.greenlet is me:
                raise RuntimeError("another request on this connection is not finished: see HttpRequest.end_request()")
            elif is_alive(writing.greenlet):
                self._turns.wait(_WRITING, deadline, phase, [writing.greenlet])
            else:
                self.abandon(writing, "the greenlet that was sending a request has ended before it")

    def _head(self, method: bytes, target: bytes, outline: Outline) -> bytes:
        """The head of a request. All after the target is kept for the next request, which often has the same fields."""
        fields = outline.fields
        if fields is not self._tail_fields:
            self._tail_fields = fields
            self._tail = write_request(method, target, outline.version, fields)[len(method) + len(target) + 1 :]
        return b"%b %b%b" % (method, target, self._tail)

    # requests in pieces

    def begin(self, request: ComposedRequest, owner: Any, timeouts: Timeouts | None = None) -> Http1ClientExchange:
        """Begin a request whose content comes in pieces. Nothing is sent before its first piece: see `send_head`.

        No other request can begin until this one is finished or abandoned. Raises as `send` does.
        """
        exchange = self._new_exchange(request.method, owner, timeouts)
        exchange.head = self._head(request.method, request.target, request.outline)
        self.writer.start(request.outline.framing)
        self._due.writing = exchange
        return exchange

    def check_sender(self, exchange: Http1ClientExchange) -> None:
        """Raise unless more of this request can be sent now."""
        if exchange.failure is not None:
            raise fresh(exchange.failure)
        if self._due.writing is not exchange:
            raise RuntimeError("this request is finished")
        if self._due.sender is not None:
            raise RuntimeError("another greenlet is sending on this connection")
        exchange.greenlet = ref(getcurrent())

    def send_more(self, exchange: Http1ClientExchange, buffers: list[BytesLike]) -> None:
        """Send a further part of a request that was begun, and its head if that is still here."""
        if exchange.upload is UNSENT:
            buffers = [exchange.head, *buffers]
            exchange.head = b""
        else:
            self._look()
        if exchange.failure is not None:
            raise fresh(exchange.failure)
        if exchange.upload is STOPPED:
            return
        self._transmit(exchange, buffers)
        self._stretch_bytes += sum(map(len, buffers))
        if self._stretch_bytes >= STRETCH_BYTES:
            self._pause("sending a request")

    def request_done(self, exchange: Http1ClientExchange) -> None:
        """Note that no more of this request will be sent."""
        self._due.writing = None
        if self._turns.waiting:
            self._turns.wake(_WRITING)
        if exchange.upload is not STOPPED:
            exchange.upload = SENT
        elif exchange.tunnel is None:
            self._due.close_if_done()

    def abandon(self, exchange: Http1ClientExchange, reason: str) -> None:
        """Give up a request. If a part of it has been sent, the connection is given up, too."""
        was_open = exchange.upload is OPEN
        exchange.upload = STOPPED
        self._withdraw(exchange)
        if was_open and exchange.failure is None and self._loss is None:
            self._due.fail(HttpError(reason))
        self._disappoint(exchange)

    def _disappoint(self, exchange: Http1ClientExchange) -> None:
        """Fail the exchange for a greenlet that waits for its response, which there will not be."""
        if exchange.wanted and exchange.failure is None:
            exchange.failure = HttpError("the request was not sent as a whole, so nothing will answer it")
            self._turns.wake_all()

    def _withdraw(self, exchange: Http1ClientExchange) -> None:
        """Remove an exchange whose request has failed, so that its response is not waited for."""
        if self._due.writing is exchange:
            self._due.writing = None
            self._turns.wake(_WRITING)
        if self._uncollected and self._uncollected[-1] is exchange:
            self._uncollected.pop()
        if self._awaiting and self._awaiting[-1] is exchange:
            self._awaiting.pop()

    def await_permission(self, exchange: Http1ClientExchange, seconds: float) -> None:
        """Wait until the server wants the content of a request, or has answered without it; at most `seconds`.

        RFC 9110 §10.1.1: a server may ignore the expectation, so the wait must be bounded.
        """
        deadline = moment_after(seconds)
        try:
            while exchange.response is None and exchange.failure is None and not _may_continue(exchange):
                if self._awaiting and self._awaiting[0] is not exchange:
                    self._go_ahead(exchange, deadline)
                elif not self._due.step():
                    self._receive(exchange, deadline)
        except Timeout:
            if exchange.failure is not None:  # the time of the whole exchange is used up
                raise
        finally:
            self._pass_on()
        if exchange.response is not None and exchange.upload is OPEN:
            self._due.stop_upload(exchange)

    # may there be a request?

    @property
    def is_idle(self) -> bool:
        """Whether every response has ended and another request may be sent, as far as is known without looking."""
        due = self._due
        return not (due.refusal or due.awaiting or due.unsent or due.writing or self._uncollected)

    def let_go(self) -> bool:
        """If the connection is idle, forget the latest response, which may be read later. False if it is not idle."""
        latest = self._collected
        awaiting = self._awaiting
        if latest is not None and awaiting:
            # if only the end of its content is missing, and has arrived, take that first
            while not latest.content.buffer_size and awaiting and awaiting[0] is latest and self._due.step():
                pass
        if not self.is_idle:
            return False
        self._collected = None
        return True

    def stays_idle(self) -> bool:
        """Whether an idle connection can still be used; if not, it is closed. Never waits."""
        if self.is_idle:
            self._due.see_whether_idle()
        return self._due.refusal is None

    def _check_usable(self) -> None:
        due = self._due
        if due.writing is not None and due.refusal is None:
            raise RuntimeError("another request on this connection is not finished: see HttpRequest.end_request()")
        if due.refusal is None and not due.awaiting and not due.unsent:
            due.see_whether_idle()
        if due.refusal is not None:
            raise due.refused()
        latest = self._uncollected[-1] if self._uncollected else None
        if latest is not None and latest.response is None and (latest.upgrade or latest.method == b"CONNECT"):
            asked = "Upgrade" if latest.upgrade else "CONNECT"
            raise RuntimeError(f"the response to {asked} decides what this connection is: wait for it")


def _may_continue(exchange: Http1ClientExchange) -> bool:
    return any(response.status_code == 100 for response in exchange.informational)
