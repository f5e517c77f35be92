"""`ClientConnection`, the HTTP/1 client driver: sends requests, pipelined if the caller does not wait between them.

Requests leave in the order in which they were begun, and only one is being written at a time. The first request on an
idle connection leaves at once. While responses are due, a small and complete request is *held*: until 64 KiB are
there, until somebody waits for a response, or until anything in this thread waits, for then the hub runs and sends
what is held. So pipelined requests leave together, and none waits while nobody works.

How the responses are received is described in `http1_due`.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

from gevent import get_hub
from greenlet import getcurrent, greenlet

from gruvihttp.errors import Error, HttpError, Timeout, TransportError
from gruvihttp.exchanges.http1_client_exchange import OPEN, SENT, STOPPED, UNSENT, Http1ClientExchange, fresh
from gruvihttp.exchanges.http1_due import DueResponses, OnInformational, interrupted, not_asked_for, owners
from gruvihttp.limits import Limits, Timeouts
from gruvihttp.net.channel import Channel
from gruvihttp.net.deadline import moment_after, timeout_or_default
from gruvihttp.net.sockets import BytesLike
from gruvihttp.sansio.framing import Framing
from gruvihttp.sansio.headers import Field
from gruvihttp.sansio.heads import write_request
from gruvihttp.sansio.wire import MessageWriter

__all__ = ["ClientConnection"]


class ClientConnection(DueResponses):
    """An HTTP/1 connection, seen from the client.

    Of `timeouts` it uses `read`, `write`, `drain` and `linger`. `on_informational(exchange, response)` is called for
    each 1xx.
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
        self._held: list[BytesLike] = []
        self._held_bytes = 0
        self._loop = get_hub().loop
        self._tail_fields: Sequence[Field] | None = None
        self._tail = b""

    def __repr__(self) -> str:
        state = "open" if self._refusal is None else f"refused: {self._refusal}"
        due = len(self._awaiting) + len(self._unsent)
        return f"<ClientConnection {due} responses due, {state}, {self._channel!r}>"

    # collecting

    def collect(self, timeout: float | None = -1, owner: Any = None) -> Http1ClientExchange:
        """The oldest exchange that was not collected yet, once the head of its response has come.

        `timeout` is in seconds: negative means `Timeouts.read`, None for ever. With `owner`, only that one's.

        Raises RuntimeError if there is none, if it is another's, if the content of the one before was not read to its
        end, or if another greenlet waits. Raises Timeout, after which one may try again, and whatever has become of
        the exchange, in which case it stays uncollected.
        """
        previous = self._collected
        if previous is not None and not previous.content.eof:
            self._check_read(previous)
        if not self._uncollected:
            raise RuntimeError("every request has got its response")
        exchange = self._uncollected[0]
        if owner is not None and exchange.owner is not owner:
            raise RuntimeError("responses come in the order of the requests, and this is not the oldest one")
        if exchange.response is None:
            self._await_response(exchange, moment_after(timeout_or_default(timeout, self._timeouts.read)))
        self._uncollected.popleft()
        if exchange.ahead_bytes:
            self._ahead_bytes -= exchange.ahead_bytes
        self._collected = exchange
        return exchange

    # whole requests

    def send(
        self,
        method: bytes,
        target: bytes,
        version: bytes,
        fields: Sequence[Field],
        content: BytesLike,
        owner: Any,
    ) -> None:
        """Send a whole request, whose fields say how long its content is. `owner` is for `collect` and for errors.

        Returns when the system has all of it, when it is held, or when a response has come that makes the rest
        pointless. Raises HttpError when the connection takes no more requests, RuntimeError when another one is not
        finished, TransportError or Timeout when this one could not be sent; then it has no response to collect.
        """
        self._check_usable()
        exchange = Http1ClientExchange(self, method, owner)
        head = self._head(method, target, version, fields)
        size = len(head) + len(content)
        try:
            if (self._awaiting or self._unsent) and size < self._limits.buffer_bytes and method != b"CONNECT":
                self._hold(exchange, head + content if content else head)
                return
            self._writing = exchange
            self._transmit(exchange, [head, content] if content else [head])
        except BaseException:
            self._withdraw(exchange)
            raise
        self.request_done(exchange)

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
            self._send_out(self._take_held())

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
    ) -> Http1ClientExchange:
        """Begin a request whose content comes in pieces. Nothing is sent before its first piece: see `send_head`.

        No other request can begin until this one is finished or abandoned. Raises as `send` does.
        """
        self._check_usable()
        exchange = Http1ClientExchange(self, method, owner)
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

    def _withdraw(self, exchange: Http1ClientExchange) -> None:
        """Let nobody collect the response to a request that its owner never got hold of."""
        if self._writing is exchange:
            self._writing = None
        if self._uncollected and self._uncollected[-1] is exchange:
            self._uncollected.pop()
        if self._awaiting and self._awaiting[-1] is exchange:
            self._awaiting.pop()

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
        self._awaiting.append(exchange)

    def _transmit(self, exchange: Http1ClientExchange, buffers: list[BytesLike]) -> None:
        """Send a part of the request that is being written. The upload is STOPPED if the rest is pointless."""
        if self._held:
            if not self._may_send_held():
                raise self._refused()
            buffers = [*self._take_held(), *buffers]
        if exchange.upload is UNSENT:
            self._enlist(exchange)
            self._uncollected.append(exchange)
            exchange.upload = OPEN
        if self._send_out(buffers):
            return
        if exchange.failure is not None:
            raise fresh(exchange.failure)
        if exchange.upload is OPEN:
            if exchange.response is None and self._loss is not None:
                raise fresh(self._loss)
            exchange.upload = STOPPED

    def _send_out(self, buffers: Sequence[BytesLike]) -> bool:
        """Send, while receiving if need be. False if that ended early, for a reason that is written down."""
        self._sender = getcurrent()
        try:
            return self._channel.send(buffers, self._timeouts.write, self._receive_while_sending)
        except TransportError as exc:
            if self._sending_makes_sense():  # else we have closed it ourselves
                self._lose_output(exc)
            return False
        except Timeout as exc:
            self._fail(HttpError("the server did not read for too long, and a part of a request was not sent"))
            exc.unanswered = owners(self._uncollected)
            raise
        except BaseException as exc:
            self._fail(interrupted(exc, "sending a request"))
            raise
        finally:
            self._sender = None

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

    def _check_usable(self) -> None:
        if self._writing is not None and self._refusal is None:
            raise RuntimeError("another request on this connection is not finished: see HttpRequest.end_request()")
        if self._refusal is None and not self._awaiting and not self._unsent:
            self._see_whether_idle()
        if self._refusal is not None:
            raise self._refused()
        if self._uncollected and self._uncollected[-1].method == b"CONNECT":
            raise RuntimeError("the response to CONNECT decides what this connection is: wait for it")

    def _see_whether_idle(self) -> None:
        """Nothing is due, so nothing may have come: it could be taken for the response to what is sent next."""
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
