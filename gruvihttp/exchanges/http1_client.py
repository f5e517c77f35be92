"""`ClientConnection`, the HTTP/1 client driver: sends requests, pipelined if the caller does not wait between them.

Requests leave in the order in which they were begun, and only one is being written at a time. The first request on an
idle connection leaves at once. While responses are due, a small and complete request is *held*: until 64 KiB are
there, until somebody waits for a response, or until anything in this thread waits, for then the hub runs and sends
what is held. So pipelined requests leave together, and none waits while nobody works.

Many greenlets may send. A request that comes in pieces keeps the others waiting until it has ended; if the greenlet
that was at it has ended without it, the connection is given up.

How the responses are received is described in `http1_due`.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any
from weakref import ref

from gevent import get_hub
from greenlet import getcurrent, greenlet

from gruvihttp.errors import Error, HttpError, Timeout, TransportError
from gruvihttp.exchanges.http1_client_exchange import OPEN, SENT, STOPPED, UNSENT, Http1ClientExchange, fresh
from gruvihttp.exchanges.http1_due import DueResponses, OnInformational, interrupted, not_asked_for, owners
from gruvihttp.exchanges.turns import GreenletRef, is_alive
from gruvihttp.limits import Limits, Timeouts
from gruvihttp.net.channel import Channel
from gruvihttp.net.deadline import Alarm, moment_after, timeout_or_default
from gruvihttp.net.sending import JOIN_BYTES
from gruvihttp.net.sockets import BytesLike
from gruvihttp.sansio.framing import Framing
from gruvihttp.sansio.headers import Field
from gruvihttp.sansio.heads import write_request
from gruvihttp.sansio.wire import MessageWriter

__all__ = ["ClientConnection"]

# Greenlets are remembered that have made requests. From so many on it is looked which of them have ended.
_MANY_ASKERS = 64
_WRITING = object()  # what greenlets wait for that want to send


class ClientConnection(DueResponses):
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
        self._writing: Http1ClientExchange | None = None  # whose request is not finished
        self._sender: greenlet | None = None  # the one in channel.send
        self._held_bytes = 0
        self._loop = get_hub().loop
        self._tail_fields: Sequence[Field] | None = None
        self._tail = b""
        self._asker: GreenletRef | None = None  # the latest
        self._askers: set[GreenletRef] = set()
        self._many_askers = _MANY_ASKERS
        self._total_alarm: Alarm | None = None

    def __repr__(self) -> str:
        state = "open" if self._refusal is None else f"refused: {self._refusal}"
        due = len(self._awaiting) + len(self._unsent)
        return f"<ClientConnection {due} responses due, {state}, {self._channel!r}>"

    # collecting

    def collect(self, timeout: float | None = -1, owner: Any = None) -> Http1ClientExchange:
        """An exchange that was not collected yet, once the head of its response has come.

        It is the oldest one of the calling greenlet; for a greenlet that has made no request, the oldest one that no
        other greenlet waits for; with `owner`, that one's. `timeout` is in seconds: negative means the `read` of the
        request's timeouts, None for ever.

        Raises RuntimeError if there is none, if an older one of this greenlet was not collected, if the content of
        the one before was not read to its end, or if another greenlet waits for it. Raises Timeout, after which one
        may try again, and whatever has become of the exchange, in which case it stays uncollected.
        """
        me = ref(getcurrent())
        previous = self._collected
        if previous is not None and not previous.content.eof and previous.greenlet is me:
            self._check_read(previous)
        exchange = self._uncollected[0] if self._uncollected else None
        mine = exchange is not None and (exchange.greenlet is me if owner is None else exchange.owner is owner)
        if exchange is None or not mine or exchange.wanted:
            exchange = self._choose(me, owner)
        buffer = self._reader.buffer
        here = buffer.start != len(buffer.data) and not self._turns.waiting
        if exchange.response is None and not (here and self._parse_response(exchange)):
            exchange.wanted = True
            try:
                self._await_response(exchange, moment_after(timeout_or_default(timeout, exchange.timeouts.read)))
            finally:
                exchange.wanted = False
        if self._uncollected and self._uncollected[0] is exchange:
            self._uncollected.popleft()
        else:
            self._uncollected.remove(exchange)
        exchange.greenlet = me
        self._collected = exchange
        if exchange.ahead_bytes:
            self._ahead_bytes -= exchange.ahead_bytes
            self._turns.wake_all()  # there is room now for more
        return exchange

    def _choose(self, me: GreenletRef, owner: Any) -> Http1ClientExchange:
        """The exchange to collect. Raises RuntimeError if there is none for this greenlet."""
        uncollected = self._uncollected
        if not uncollected:
            raise RuntimeError("every request has got its response")
        exchange: Http1ClientExchange | None = uncollected[0]
        if owner is not None:
            exchange = self._find(me, owner)
        elif uncollected[0].greenlet is not me:
            exchange = next((one for one in uncollected if one.greenlet is me), None)
            if exchange is None and me in self._askers:
                raise RuntimeError("every request of this greenlet has got its response")
            if exchange is None:
                exchange = next((one for one in uncollected if not one.wanted), None)
        if exchange is None or exchange.wanted:
            raise RuntimeError("another greenlet is waiting for that response")
        return exchange

    def _find(self, me: GreenletRef, owner: Any) -> Http1ClientExchange:
        """The exchange of `owner`."""
        for exchange in self._uncollected:
            if exchange.owner is owner:
                return exchange
            if exchange.greenlet is me and exchange.failure is None:
                raise RuntimeError("responses come in the order of the requests, and this is not the oldest one")
        raise RuntimeError("this request has got its response, or was not sent")

    # whole requests

    def send(
        self,
        method: bytes,
        target: bytes,
        version: bytes,
        fields: Sequence[Field],
        content: BytesLike,
        owner: Any,
        timeouts: Timeouts | None = None,
        upgrade: bytes = b"",
    ) -> None:
        """Send a whole request, whose fields say how long its content is. `owner` is for `collect` and for errors.

        `timeouts` are the connection's if not given. `upgrade` names the protocols that the fields offer.

        Returns when the system has all of it, when it is held, or when a response has come that makes the rest
        pointless. Raises HttpError when the connection takes no more requests, RuntimeError when another one of this
        greenlet is not finished, TransportError or Timeout when this one could not be sent; then it has no response
        to collect.
        """
        exchange = self._new_exchange(method, owner, timeouts)
        exchange.upgrade = upgrade
        head = self._head(method, target, version, fields)
        size = len(head) + len(content)
        try:
            alone = upgrade or method == b"CONNECT"
            if (self._awaiting or self._unsent) and size < self._limits.buffer_bytes and not alone:
                self._hold(exchange, head + content if content else head)
                return
            self._writing = exchange
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
        """An exchange of the calling greenlet, once it may be sent."""
        me = ref(getcurrent())
        timeouts = timeouts or self._timeouts
        deadline = None if timeouts.total is None else moment_after(timeouts.total)
        if self._writing is not None or self._sender is not None:
            self._await_my_turn(me, timeouts, deadline)
        self._check_usable()
        if me is not self._asker:
            self._remember(me)
        exchange = Http1ClientExchange(self, method, owner, timeouts, me)
        if deadline is not None:
            exchange.deadline = deadline
        return exchange

    def _await_my_turn(self, me: GreenletRef, timeouts: Timeouts, total: float | None) -> None:
        """Wait while another greenlet sends. Its request is on the wire in part, and nothing fits into it."""
        deadline, phase = moment_after(timeouts.write), "write"
        if total is not None and (deadline is None or total < deadline):
            deadline, phase = total, "total"
        while self._refusal is None and (self._writing is not None or self._sender is not None):
            writing = self._writing
            if writing is None:
                self._turns.wait(_WRITING, deadline, phase)
            elif writing.greenlet is me:
                raise RuntimeError("another request on this connection is not finished: see HttpRequest.end_request()")
            elif is_alive(writing.greenlet):
                self._turns.wait(_WRITING, deadline, phase, [writing.greenlet])
            else:
                self.abandon(writing, "the greenlet that was sending a request has ended before it")

    def _remember(self, me: GreenletRef) -> None:
        self._asker = me
        self._askers.add(me)
        if len(self._askers) > self._many_askers:
            self._askers = {asker for asker in self._askers if is_alive(asker)}
            self._many_askers = max(_MANY_ASKERS, 2 * len(self._askers))

    def _hold(self, exchange: Http1ClientExchange, message: bytes) -> None:
        """Have a request leave with others, soon."""
        exchange.upload = SENT
        self._unsent.append(exchange)
        self._uncollected.append(exchange)
        if not self._held:
            self._loop.run_callback(self._begin_flush)
        self._held.append(message)
        self._held_bytes += len(message)
        if self._held_bytes >= self._limits.buffer_bytes:
            self.flush()

    def flush(self) -> None:
        """Send all that is held. Waits while the server does not read; what it says meanwhile is received."""
        while self._held and self._sender is None and self._may_send_held():
            self._send_out(self._take_held(), self._timeouts.write)

    def flush_at_end(self) -> None:
        """Send what is held, before the connection is closed. Quiet if that is not possible any more."""
        if self._held:
            self._timeouts = replace(self._timeouts, write=self._timeouts.linger)
            with suppress(Error):
                self.flush()

    def _begin_flush(self) -> None:
        """Send what is held, as far as that goes at once. The hub goes on when there is room. Never waits."""
        if not self._held or self._sender is not None or not self._may_send_held():
            return
        try:
            rest = self._channel.try_send(b"".join(self._take_held()))
            if rest:
                self._held.append(rest)
                self._held_bytes = len(rest)
                self._channel.when_writable(self._begin_flush)
        except TransportError as exc:  # whoever waits for a response will find what came before
            self._refuse(exc)
            self._loss = exc

    def _may_send_held(self) -> bool:
        """Whether what is held may leave. Else it is dropped, and the requests have failed."""
        if self._refusal is None and self._unsent and not self._awaiting:
            self._see_whether_idle()
        if self._refusal is None:
            return True
        self._give_up(self._refusal)
        self._held.clear()
        self._held_bytes = 0
        return False

    def _take_held(self) -> list[BytesLike]:
        """What is held, of which the responses are due from now on."""
        held, self._held, self._held_bytes = self._held, [], 0
        for exchange in self._unsent:
            self._enlist(exchange)
        self._unsent.clear()
        return held

    # requests in pieces

    def begin(
        self,
        method: bytes,
        target: bytes,
        version: bytes,
        fields: Sequence[Field],
        framing: Framing,
        owner: Any,
        timeouts: Timeouts | None = None,
    ) -> Http1ClientExchange:
        """Begin a request whose content comes in pieces. Nothing is sent before its first piece: see `send_head`.

        No other request can begin until this one is finished or abandoned. Raises as `send` does.
        """
        exchange = self._new_exchange(method, owner, timeouts)
        exchange.head = self._head(method, target, version, fields)
        self.writer.start(framing)
        self._writing = exchange
        return exchange

    def check_sender(self, exchange: Http1ClientExchange) -> None:
        """Raise unless more of this request can be sent now."""
        if exchange.failure is not None:
            raise fresh(exchange.failure)
        if self._writing is not exchange:
            raise RuntimeError("this request is finished")
        if self._sender is not None:
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
        if exchange.upload is not STOPPED:
            self._transmit(exchange, buffers)

    def request_done(self, exchange: Http1ClientExchange) -> None:
        """No more of this request will be sent."""
        self._writing = None
        if self._turns.waiting:
            self._turns.wake(_WRITING)
        if exchange.upload is not STOPPED:
            exchange.upload = SENT
        elif exchange.tunnel is None:
            self._close_if_done()

    def abandon(self, exchange: Http1ClientExchange, reason: str) -> None:
        """Give up a request: for nothing, if no byte of it was sent; else the connection goes with it."""
        was_open = exchange.upload is OPEN
        exchange.upload = STOPPED
        self._withdraw(exchange)
        if was_open and exchange.failure is None and self._loss is None:
            self._fail(HttpError(reason))
        self._disappoint(exchange)

    def _disappoint(self, exchange: Http1ClientExchange) -> None:
        """Tell a greenlet that waits for the response to another one's request that none is coming."""
        if exchange.wanted and exchange.failure is None:
            exchange.failure = HttpError("the request was not sent as a whole, so nothing will answer it")
            self._turns.wake_all()

    def _withdraw(self, exchange: Http1ClientExchange) -> None:
        """Let nobody collect the response to a request that its owner never got hold of."""
        if self._writing is exchange:
            self._writing = None
            self._turns.wake(_WRITING)
        if self._uncollected and self._uncollected[-1] is exchange:
            self._uncollected.pop()
        if self._awaiting and self._awaiting[-1] is exchange:
            self._awaiting.pop()

    def await_permission(self, exchange: Http1ClientExchange, seconds: float) -> None:
        """Wait until the server wants the content of a request, or has answered without it, but no longer than that.

        RFC 9110 §10.1.1: a server may not know the expectation, so nobody waits for ever.
        """
        deadline = moment_after(seconds)
        try:
            while exchange.response is None and exchange.failure is None and not _may_continue(exchange):
                if self._awaiting and self._awaiting[0] is not exchange:
                    self._go_ahead(exchange, deadline)
                elif not self._step():
                    self._receive(exchange, deadline)
        except Timeout:
            if exchange.failure is not None:  # that was the time of the whole exchange
                raise
        finally:
            self._pass_on()
        if exchange.response is not None and exchange.upload is OPEN:
            self._stop_upload(exchange)

    # sending

    def _head(self, method: bytes, target: bytes, version: bytes, fields: Sequence[Field]) -> bytes:
        """A request's head. What follows the target is kept for the next request, which often has the same fields."""
        if fields is not self._tail_fields:
            self._tail_fields = fields
            self._tail = write_request(method, target, version, fields)[len(method) + len(target) + 1 :]
        return b"%b %b%b" % (method, target, self._tail)

    def _enlist(self, exchange: Http1ClientExchange) -> None:
        """Expect the response to a request."""
        if not self._awaiting:
            self._reader.request_method = exchange.method
            self.silent = True
        self._awaiting.append(exchange)

    def _transmit(self, exchange: Http1ClientExchange, buffers: bytes | list[BytesLike]) -> None:
        """Send a part of the request that is being written. The upload is STOPPED if the rest is pointless."""
        if self._held:
            if not self._may_send_held():
                raise self._refused()
            held = self._take_held()
            buffers = [*held, buffers] if isinstance(buffers, bytes) else [*held, *buffers]
        if exchange.upload is UNSENT:
            self._enlist(exchange)
            self._uncollected.append(exchange)
            exchange.upload = OPEN
        if self._send_out(buffers, exchange.timeouts.write, exchange):
            return
        if exchange.failure is not None:
            raise fresh(exchange.failure)
        if exchange.upload is OPEN:
            if exchange.response is None and self._loss is not None:
                raise fresh(self._loss)
            exchange.upload = STOPPED

    def _send_out(
        self, buffers: bytes | Sequence[BytesLike], stall: float | None, exchange: Http1ClientExchange | None = None
    ) -> bool:
        """Send, while receiving if need be. False if that ended early, for a reason that is written down."""
        self._sender = getcurrent()
        alarm = None if exchange is None or exchange.deadline is None else self._watch_total(exchange.deadline)
        try:
            return self._channel.send(buffers, stall, self._receive_while_sending)
        except TransportError as exc:
            if self._sending_makes_sense():  # else we have closed it ourselves
                self._lose_output(exc)
            return False
        except Timeout as exc:
            self._fail(HttpError("the server did not read for too long, and a part of a request was not sent"))
            exc.unanswered = owners(self._uncollected)
            if exc.phase == "total" and exchange is not None:
                exchange.failure = exc
            raise
        except BaseException as exc:
            self._fail(interrupted(exc, "sending a request"))
            raise
        finally:
            if alarm is not None:
                alarm.clear()
            self._sender = None
            if self._turns.waiting:
                self._turns.wake_all()

    def _watch_total(self, deadline: float) -> Alarm:
        """Have the sender interrupted at the deadline of its exchange."""
        if self._total_alarm is None:
            self._total_alarm = Alarm(self._loop, self._expire_total)
        self._total_alarm.set(deadline)
        return self._total_alarm

    def _expire_total(self) -> None:
        if self._sender is not None:
            self._sender.throw(Timeout("timed out: the exchange as a whole has taken too long", phase="total"))

    def _receive_while_sending(self) -> bool:
        """Output is stuck and input is there: receive it. Should the sending go on?"""
        self._take_what_is_here()
        return self._sending_makes_sense()

    def _sending_makes_sense(self) -> bool:
        """Whether anybody will answer what is being sent."""
        exchange = self._writing
        if exchange is None:
            return self._refusal is None
        return exchange.upload is not STOPPED and exchange.failure is None

    def _wake_sender(self) -> None:
        if self._sender is not None and self._sender is not getcurrent():
            self._channel.shutdown_write()

    def _close_if_done(self) -> None:
        if self._awaiting or self._writing is not None:
            return
        if self._channel.broken:
            self._channel.abort()
        else:
            self._channel.close()

    # may there be a request?

    @property
    def is_idle(self) -> bool:
        """Whether all is answered to the end, and another request may be sent, as far as is known without looking."""
        return not (self._refusal or self._awaiting or self._unsent or self._writing or self._uncollected)

    def let_go(self) -> bool:
        """If the connection is idle, forget the latest response: whoever has it may read it later. Else False."""
        latest = self._collected
        if latest is not None and self._awaiting:
            # that its end was not seen yet does not count, if the end is here
            while not latest.content.buffer_size and self._awaiting and self._awaiting[0] is latest and self._step():
                pass
        if not self.is_idle:
            return False
        self._collected = None
        return True

    def stays_idle(self) -> bool:
        """Look whether an idle connection can still be used. It is closed if not. Never waits."""
        if self.is_idle:
            self._see_whether_idle()
        return self._refusal is None

    def _check_usable(self) -> None:
        if self._writing is not None and self._refusal is None:
            raise RuntimeError("another request on this connection is not finished: see HttpRequest.end_request()")
        if self._refusal is None and not self._awaiting and not self._unsent:
            self._see_whether_idle()
        if self._refusal is not None:
            raise self._refused()
        latest = self._uncollected[-1] if self._uncollected else None
        if latest is not None and latest.response is None and (latest.upgrade or latest.method == b"CONNECT"):
            asked = "Upgrade" if latest.upgrade else "CONNECT"
            raise RuntimeError(f"the response to {asked} decides what this connection is: wait for it")

    def _see_whether_idle(self) -> None:
        """Nothing is due, so nothing may have come: it could be taken for the response to what is sent next."""
        if self._channel.is_quiet():
            return
        try:
            received = self._channel.try_receive()
        except TransportError as exc:
            self._refuse(exc)
        else:
            if received is None:
                return
            self._refuse(not_asked_for() if received else HttpError("the server has closed it"))
        self._channel.abort()

    def _refused(self) -> HttpError:
        error = HttpError(f"the connection cannot be used any more: {self._refusal}; close it and connect again")
        error.__cause__ = self._refusal
        error.retryable = True  # nothing of the request was sent
        return error


def _may_continue(exchange: Http1ClientExchange) -> bool:
    return any(response.status_code == 100 for response in exchange.informational)
