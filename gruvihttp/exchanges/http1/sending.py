"""`RequestSender`: how requests leave on an HTTP/1 client connection: at once, or held and then together.

Only one request is written at a time. A small and complete one may be *held*: until there are 64 KiB, until a greenlet
waits for a response, or until anything in this thread waits, for then the hub runs and sends what is held. So pipelined
requests leave together, and none waits while the thread is idle.

While a send cannot go on, input is received. What becomes of a request that could not be sent is not known here.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace

from gevent import get_hub
from greenlet import getcurrent

from gruvihttp.errors import Error, HttpError, Timeout, TransportError, fresh
from gruvihttp.exchanges.faults import out_of_time
from gruvihttp.exchanges.http1.client_exchange import OPEN, SENT, STOPPED, UNSENT, Http1ClientExchange
from gruvihttp.exchanges.http1.due import OnInformational, owners
from gruvihttp.exchanges.http1.receiving import ResponseReceiver, interrupted
from gruvihttp.limits import Limits, Timeouts
from gruvihttp.net.channel import Channel
from gruvihttp.net.deadline import Alarm
from gruvihttp.net.sockets import BytesLike

__all__ = ["RequestSender"]


class RequestSender(ResponseReceiver):
    """A connection that sends requests."""

    def __init__(
        self,
        channel: Channel,
        limits: Limits | None = None,
        timeouts: Timeouts | None = None,
        on_informational: OnInformational | None = None,
    ) -> None:
        super().__init__(channel, limits, timeouts, on_informational)
        self._held_bytes = 0
        self._loop = get_hub().loop
        self._total_alarm: Alarm | None = None

    # held requests

    def _hold(self, exchange: Http1ClientExchange, message: bytes) -> None:
        """Let a request leave soon, together with others."""
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
        """Send everything that is held. Waits while the server does not read; what it sends meanwhile is received."""
        while self._held and self._due.sender is None and self._may_send_held():
            self._send_out(self._take_held(), self._timeouts.write)

    def flush_at_end(self) -> None:
        """Send what is held, before the connection is closed. Does nothing if that is no longer possible."""
        if self._held:
            self._timeouts = replace(self._timeouts, write=self._timeouts.linger)
            with suppress(Error):
                self.flush()

    def _begin_flush(self) -> None:
        """Send what is held, as far as the socket takes it; the rest leaves when there is room. Never waits."""
        if not self._held or self._due.sender is not None or not self._may_send_held():
            return
        try:
            rest = self._channel.try_send(b"".join(self._take_held()))
            if rest:
                self._held.append(rest)
                self._held_bytes = len(rest)
                self._channel.when_writable(self._begin_flush)
        except TransportError as exc:  # what has arrived before is for the greenlets that wait for responses
            self._due.refuse(exc)
            self._loss = exc

    def _may_send_held(self) -> bool:
        """Whether what is held may leave. If not, it is dropped, and its requests fail."""
        if self._due.refusal is None and self._unsent and not self._awaiting:
            self._due.see_whether_idle()
        if self._due.refusal is None:
            return True
        self._due.give_up(self._due.refusal)
        self._held.clear()
        self._held_bytes = 0
        return False

    def _take_held(self) -> list[BytesLike]:
        """Take what is held. The responses to it are due from now on."""
        held, self._held, self._held_bytes = self._held, [], 0
        for exchange in self._unsent:
            self._enlist(exchange)
        self._unsent.clear()
        return held

    # sending

    def _enlist(self, exchange: Http1ClientExchange) -> None:
        """Expect the response to a request."""
        if not self._awaiting:
            self._reader.request_method = exchange.method
            self.silent = True
        self._awaiting.append(exchange)

    def _transmit(self, exchange: Http1ClientExchange, buffers: bytes | list[BytesLike]) -> None:
        """Send a part of the request that is being written. Its upload is STOPPED if the rest is pointless."""
        if self._held:
            if not self._may_send_held():
                raise self._due.refused()
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
        """Send, and receive meanwhile if necessary. False if it ended early: `_loss` or the exchange says why."""
        self._due.sender = getcurrent()
        alarm = None if exchange is None or exchange.deadline is None else self._watch_total(exchange.deadline)
        try:
            return self._channel.send(buffers, stall, self._receive_while_sending)
        except TransportError as exc:
            if self._sending_makes_sense():  # otherwise we have closed it ourselves
                self._lose_output(exc)
            return False
        except Timeout as exc:
            self._due.fail(HttpError("the server did not read for too long, and a part of a request was not sent"))
            exc.unanswered = owners(self._uncollected)
            if exc.phase == "total" and exchange is not None:
                exchange.failure = exc
            raise
        except BaseException as exc:
            self._due.fail(interrupted(exc, "sending a request"))
            raise
        finally:
            if alarm is not None:
                alarm.clear()
            self._due.sender = None
            if self._turns.waiting:
                self._turns.wake_all()

    def _watch_total(self, deadline: float) -> Alarm:
        """Interrupt the sender at the deadline of its exchange."""
        if self._total_alarm is None:
            self._total_alarm = Alarm(self._loop, self._expire_total)
        self._total_alarm.set(deadline)
        return self._total_alarm

    def _expire_total(self) -> None:
        if self._due.sender is not None:
            self._due.sender.throw(out_of_time())

    def _receive_while_sending(self) -> bool:
        """Output is stuck and input is there: receive it. False if sending should not go on."""
        self._take_what_is_here()
        return self._sending_makes_sense()

    def _sending_makes_sense(self) -> bool:
        """Whether what is being sent will still be answered."""
        exchange = self._due.writing
        if exchange is None:
            return self._due.refusal is None
        return exchange.upload is not STOPPED and exchange.failure is None
