"""The HTTP/1 client driver: one connection, with a queue of requests whose responses are due.

The theory. Requests leave in the order in which they were begun, and their responses come in that order; nothing in
a response says which request it answers. So there are two queues of exchanges. `_awaiting` is the parser's: its first
entry is what the next bytes belong to, and it leaves when its final response has ended. `_uncollected` is the
caller's: an entry leaves when `collect` hands it out. Informational responses take nothing out of either.

Whoever wants a response or its content *pulls*: asks the parser, and the channel when the parser has too little. What
nobody asks for stays in the system's buffers, and the peer feels it.

With one exception, for two peers that both only write wait for each other for ever: while a send cannot go on,
whatever arrives is received. It is parsed ahead, so that a response that makes the rest of an upload pointless ends
the upload. As soon as `Limits.buffer_bytes` are parsed and not yet wanted, the rest waits in a `Backlog`, in memory
first and then in a file, and is parsed when its turn comes.

Each exchange ends in one of two ways: with its response, or with a `failure`. A connection takes no more requests
once it has a `_refusal`. What failed is raised as a fresh copy each time, the first as its cause. A foreign exception
that strikes while we wait, such as a gevent.Timeout, passes through and leaves the connection refused and closed: a
response that comes later could be taken for the answer to another request.
"""

from __future__ import annotations

import copy
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from greenlet import getcurrent, greenlet

from gruvihttp.errors import Error, HttpError, IncompleteMessage, RemoteProtocolError, Timeout, TransportError
from gruvihttp.exchanges.backlog import Backlog
from gruvihttp.exchanges.tunnel import Tunnel
from gruvihttp.limits import Limits, Timeouts
from gruvihttp.net.channel import Channel
from gruvihttp.net.deadline import moment_after, timeout_or_default
from gruvihttp.net.sockets import BytesLike
from gruvihttp.reader import StreamReader
from gruvihttp.sansio.events import END_OF_MESSAGE, Data, EndOfMessage, InformationalResponse, Response
from gruvihttp.sansio.framing import UNTIL_CLOSE, Framing, persists
from gruvihttp.sansio.headers import EMPTY, Field, Headers
from gruvihttp.sansio.heads import write_request
from gruvihttp.sansio.sentinels import NEED_DATA
from gruvihttp.sansio.wire import MessageWriter, ResponseReader

__all__ = ["ClientConnection", "Http1ClientExchange"]

# Memory for what is received while a send is stuck, in multiples of Limits.buffer_bytes: 1 MiB by default.
_BACKLOG_BUFFERS = 16
# And file space. A peer that sends as much and still reads nothing is not serving us; the send then times out.
_BACKLOG_FILE_BYTES = 1 << 30
# Each takes memory and answers nothing. A server that sends a 102 per second is given up after a minute.
_MOST_INFORMATIONAL = 64

# What has become of a request, on its way to the peer
UNSENT, OPEN, SENT, STOPPED = "unsent", "open", "sent", "stopped"

Buffers = BytesLike | Sequence[BytesLike]
E = TypeVar("E", bound=BaseException)


class Http1ClientExchange:
    """One request and its responses on an HTTP/1 connection: see `ClientExchange`."""

    response: Response | None = None
    content: StreamReader
    trailers: Headers = EMPTY
    informational: Sequence[InformationalResponse] = ()
    tunnel: Tunnel | None = None
    failure: Error | None = None  # why the response, or the rest of it, will not come
    upload = UNSENT
    ahead_bytes = 0  # what was parsed before anybody asked for it
    head = b""  # of the request, until it is sent

    def __init__(self, connection: ClientConnection, method: bytes, owner: Any) -> None:
        self._connection = connection
        self.method = method
        self.owner = owner

    def __repr__(self) -> str:
        status = "no response" if self.response is None else self.response.status_code
        return f"<Http1ClientExchange {self.method.decode()} {self.upload}, {status}>"

    def send_head(self) -> None:
        self._connection.send_more(self, [])

    def send_data(self, data: BytesLike) -> bool:
        connection = self._connection
        connection.check_sender(self)
        buffers = connection.writer.data(data)
        if buffers:
            connection.send_more(self, buffers)
        return self.upload is not STOPPED

    def finish(self, trailers: Headers = EMPTY) -> None:
        connection = self._connection
        connection.check_sender(self)
        if self.upload is not STOPPED:
            end = connection.writer.end(trailers)
            if end or self.upload is UNSENT:
                connection.send_more(self, [end])
        connection.request_done(self)

    def abandon(self, reason: str) -> None:
        self._connection.abandon(self, reason)

    def close(self) -> None:
        if not self.content.eof and self.failure is None:
            self._connection.discard(self)

    def pull(self) -> None:
        """Have more of the content fed to its reader, or its end: the reader's source."""
        if self.failure is not None:
            raise fresh(self.failure)
        self._connection.pull()


class ClientConnection:
    """An HTTP/1 connection, seen from the client.

    Of `timeouts` it uses `read`, `write` and `drain`. `on_informational(exchange, response)` is called for each 1xx.
    """

    def __init__(
        self,
        channel: Channel,
        limits: Limits | None = None,
        timeouts: Timeouts | None = None,
        on_informational: Callable[[Http1ClientExchange, InformationalResponse], object] | None = None,
    ) -> None:
        self._channel = channel
        self._limits = limits = limits or Limits()
        self._timeouts = timeouts or Timeouts()
        self._on_informational = on_informational
        self._reader = ResponseReader(limits)
        self.writer = MessageWriter()
        self._awaiting: deque[Http1ClientExchange] = deque()
        self._uncollected: deque[Http1ClientExchange] = deque()
        self._collected: Http1ClientExchange | None = None
        self._backlog = Backlog(_BACKLOG_BUFFERS * limits.buffer_bytes, _BACKLOG_FILE_BYTES)
        self._ahead_bytes = 0  # the sum over `_uncollected`
        self._tail_fields: Sequence[Field] | None = None
        self._tail = b""
        self._writing: Http1ClientExchange | None = None  # whose request is not finished
        self._sender: greenlet | None = None  # the one in channel.send
        self._receiving = False  # a greenlet is in channel.receive
        self._drain_deadline: float | None = None
        self._refusal: Error | None = None
        self._loss: TransportError | None = None  # what there is to say when the backlog is used up

    def __repr__(self) -> str:
        state = "open" if self._refusal is None else f"refused: {self._refusal}"
        return f"<ClientConnection {len(self._awaiting)} responses due, {state}, {self._channel!r}>"

    # -- sending -------------------------------------------------------------------------------------------------

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

        Returns when the system has all of it, or when a response has come that makes the rest pointless. Raises
        HttpError when the connection takes no more requests, RuntimeError when another one is not finished,
        TransportError or Timeout when this one could not be sent; then it has no response to collect.
        """
        self._check_usable()
        exchange = Http1ClientExchange(self, method, owner)
        head = self._head(method, target, version, fields)
        self._writing = exchange
        try:
            self._transmit(exchange, [head, content] if content else head)
        except BaseException:
            self._withdraw(exchange)
            raise
        self.request_done(exchange)

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

    def _head(self, method: bytes, target: bytes, version: bytes, fields: Sequence[Field]) -> bytes:
        """A request's head. What follows the target is kept for the next request, which often has the same fields."""
        if fields is not self._tail_fields:
            self._tail_fields = fields
            self._tail = write_request(method, target, version, fields)[len(method) + len(target) + 1 :]
        return b"%b %b%b" % (method, target, self._tail)

    def _check_usable(self) -> None:
        if self._refusal is not None:
            raise self._refused()
        if self._writing is not None:
            raise RuntimeError("another request on this connection is not finished: see HttpRequest.end_request()")
        if not self._awaiting:
            self._check_idle()
        elif self._awaiting[-1].method == b"CONNECT":
            raise RuntimeError("the response to CONNECT decides what this connection is: wait for it")

    def _check_idle(self) -> None:
        """Nothing is due, so nothing may have come: it could be taken for the response to what we are about to send."""
        if self._receiving:
            return
        try:
            received = self._channel.try_receive()
        except TransportError as exc:
            self._refuse(exc)
        else:
            if received is None:
                return
            if received:
                self._refuse(HttpError("the server sent something that was not asked for"))
            else:
                self._refuse(HttpError("the server has closed it"))
        self._channel.abort()
        raise self._refused()

    def _refused(self) -> HttpError:
        error = HttpError(f"the connection cannot be used any more: {self._refusal}; close it and connect again")
        error.__cause__ = self._refusal
        error.retryable = True  # nothing of the request was sent
        return error

    def _transmit(self, exchange: Http1ClientExchange, buffers: Buffers) -> None:
        """Send, while receiving if need be. Returns early, with the upload STOPPED, if the rest is pointless."""
        if exchange.upload is UNSENT:
            if not self._awaiting:
                self._reader.request_method = exchange.method
            self._awaiting.append(exchange)
            self._uncollected.append(exchange)
            exchange.upload = OPEN
        self._sender = getcurrent()
        try:
            if self._channel.send(buffers, self._timeouts.write, self._receive_while_sending):
                return
        except TransportError as exc:
            if exchange.upload is OPEN and exchange.failure is None:
                self._lose_output(exc)
                if exchange.response is None and exchange.failure is None:
                    raise
        except Timeout as exc:
            self._fail(HttpError("the server did not read for too long, and a part of a request was not sent"))
            exc.unanswered = _owners(self._uncollected)
            raise
        except BaseException as exc:
            self._fail(_interrupted(exc, "sending a request"))
            raise
        finally:
            self._sender = None
        if exchange.failure is not None:
            raise fresh(exchange.failure)
        exchange.upload = STOPPED

    def _lose_output(self, exc: TransportError) -> None:
        """Nothing can be sent any more. What was received before may yet say why (RFC 9112 §9.5)."""
        self._refuse(exc)
        if self._receiving:  # another greenlet, which will find the end itself
            return
        self._loss = exc
        try:
            while not self._backlog.full and (received := self._channel.try_receive()):
                self._take_in(received)
        except TransportError:  # the end, of which we know
            pass
        self._channel.abort()
        self._parse_ahead()
        if self._awaiting and self._has_room():
            self._fail(exc)

    def _withdraw(self, exchange: Http1ClientExchange) -> None:
        """Let nobody collect the response to a request that its owner never got hold of."""
        if self._writing is exchange:
            self._writing = None
        if self._uncollected and self._uncollected[-1] is exchange:
            self._uncollected.pop()
        if self._awaiting and self._awaiting[-1] is exchange:
            self._awaiting.pop()

    # -- receiving while sending -----------------------------------------------------------------------------------

    def _receive_while_sending(self) -> bool:
        """Output is stuck and input is there: receive it. Should the sending go on?"""
        self._take_what_is_here()
        exchange = self._writing
        return exchange is None or (exchange.upload is not STOPPED and exchange.failure is None)

    def _look(self) -> None:
        """See what has come, without waiting, unless enough of it waits already."""
        if not self._receiving and not self._backlog and self._has_room():
            try:
                self._take_what_is_here()
            except TransportError:  # whoever sends or waits will meet it too, and knows what to do
                pass

    def _take_what_is_here(self) -> None:
        if self._backlog.full:
            return
        received = self._channel.try_receive()
        if received is not None:
            self._take_in(received)
            self._parse_ahead()

    def _take_in(self, received: bytes) -> None:
        if self._backlog or not self._has_room():
            self._backlog.append(received)
        else:
            self._feed(received)

    def _parse_ahead(self) -> None:
        """Parse what has come as long as there is room for it."""
        buffer = self._reader.buffer
        while self._awaiting and self._has_room():
            exchange = self._awaiting[0]
            before_bytes = len(buffer)
            if self._step():
                if exchange is not self._collected:
                    parsed_bytes = before_bytes - len(buffer)
                    exchange.ahead_bytes += parsed_bytes
                    self._ahead_bytes += parsed_bytes
            elif self._backlog:
                self._feed(self._backlog.take())
            else:
                break

    def _has_room(self) -> bool:
        held_bytes = self._ahead_bytes
        if self._collected is not None:
            held_bytes += self._collected.content.buffer_size
        return held_bytes < self._limits.buffer_bytes

    # -- receiving -------------------------------------------------------------------------------------------------

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

    def pull(self) -> None:
        """Have the next piece of content handed to its reader."""
        while not self._step():
            deadline = self._drain_deadline
            self._receive(moment_after(self._timeouts.read) if deadline is None else deadline)

    def discard(self, exchange: Http1ClientExchange) -> None:
        """Drop what is left of an exchange's content if that is little and near; else drop the connection."""
        self._drain_deadline = moment_after(self._timeouts.drain)
        try:
            ended = exchange.content.drain(self._limits.drain_bytes)
        except Error:
            ended = False
        finally:
            self._drain_deadline = None
        if not ended:
            self._fail(HttpError("a response was closed before its end"))

    def _check_read(self, exchange: Http1ClientExchange) -> None:
        """Raise if there is unread content. That its end was not seen yet does not count, if the end is here."""
        if exchange.failure is not None:
            return
        self._look()
        while not exchange.content.buffer_size and self._awaiting and self._awaiting[0] is exchange and self._step():
            pass
        if not exchange.content.eof:
            raise RuntimeError("the body of the previous response was not read to its end")

    def _await_response(self, exchange: Http1ClientExchange, deadline: float | None) -> None:
        while exchange.response is None:
            if exchange.failure is not None:
                raise fresh(exchange.failure)
            if not self._step():
                self._receive(deadline)

    def _receive(self, deadline: float | None) -> None:
        """Give the parser more to read, or fail everything that is due."""
        if self._receiving:
            raise RuntimeError("another greenlet is waiting for a response on this connection")
        self._receiving = True
        try:
            if self._backlog:
                received = self._backlog.take()
            elif self._loss is not None:
                raise self._loss
            else:
                received = self._channel.receive(deadline)
        except Timeout:
            raise
        except TransportError as exc:
            self._fail(exc)
            return
        except BaseException as exc:
            self._fail(_interrupted(exc, "waiting for a response"))
            raise
        finally:
            self._receiving = False
        self._feed(received)

    def _feed(self, received: bytes) -> None:
        reader = self._reader
        if not received and self._channel.ragged_eof and reader.plan.framing is UNTIL_CLOSE:
            self._fail(IncompleteMessage("the TLS stream was cut, so the content may not be complete"))
        else:
            reader.receive_data(received)

    # -- events ----------------------------------------------------------------------------------------------------

    def _step(self) -> bool:
        """Handle the next event. False if more bytes are needed for one."""
        if not self._awaiting:
            return True
        exchange = self._awaiting[0]
        try:
            event = self._reader.next_event()
        except RemoteProtocolError as exc:
            self._fail(exc)
            return True
        kind = type(event)
        if kind is Response:
            self._begin_response(exchange, event)
        elif event is NEED_DATA:
            return False
        elif kind is Data:
            exchange.content.feed(event.data)
        elif kind is EndOfMessage:
            exchange.content.feed_eof()
            self._end_response(exchange, event)
        elif kind is InformationalResponse:
            self._inform(exchange, event)
        else:
            self._fail(IncompleteMessage("the server closed the connection before it sent a response"))
        return True

    def _begin_response(self, exchange: Http1ClientExchange, response: Response) -> None:
        reader = self._reader
        exchange.response = response
        if exchange.method == b"CONNECT" and response.status_code < 300:
            self._begin_tunnel(exchange)
            return
        if not reader.plan.persists:
            self._end_with(exchange, response)
        # Nearly always the content has come with the head, and a reader that is complete needs no source.
        first = b""
        event: Any = None
        try:
            event = reader.next_event()
            if type(event) is Data:
                first = event.data
                event = reader.next_event()
        except RemoteProtocolError as exc:
            self._fail(exc)
        if type(event) is EndOfMessage:
            exchange.content = StreamReader.complete(first)
            self._end_response(exchange, event)
            return
        exchange.content = content = StreamReader(source=exchange.pull)
        content.feed(first)
        if type(event) is Data:
            content.feed(event.data)
        if exchange.upload is OPEN and response.status_code >= 300:
            self._stop_upload(exchange)

    def _end_response(self, exchange: Http1ClientExchange, end: EndOfMessage) -> None:
        if end is not END_OF_MESSAGE:
            exchange.trailers = end.headers
        awaiting = self._awaiting
        awaiting.popleft()
        if exchange.upload is not SENT:
            self._stop_upload(exchange)
        if awaiting:
            self._reader.request_method = awaiting[0].method
        elif self._refusal is not None:
            self._close_if_done()
        elif self._reader.buffer.start != len(self._reader.buffer.data) or self._backlog:
            self._refuse(HttpError("the server sent something that was not asked for"))
            self._channel.abort()

    def _close_if_done(self) -> None:
        if not self._awaiting and self._writing is None:
            self._channel.abort() if self._channel.broken else self._channel.close()

    def _end_with(self, exchange: Http1ClientExchange, response: Response) -> None:
        """No further request will be answered after this one."""
        error = HttpError("the server closes the connection after the response to an earlier request")
        # RFC 9112 §9.6: who announces the close does not act on what comes after. Who just closes may have.
        error.retryable = not persists(response)
        awaiting = self._awaiting
        awaiting.popleft()
        error.unanswered = _owners(awaiting)
        for behind in awaiting:
            behind.failure = error
        awaiting.clear()
        awaiting.append(exchange)
        self._refuse(error)
        if error.unanswered:
            self._wake_sender()

    def _stop_upload(self, exchange: Http1ClientExchange) -> None:
        """The server has answered without the rest of the request. What is on the wire fits no further request."""
        exchange.upload = STOPPED
        self._refuse(HttpError("the server has answered before the request was complete"))
        self._wake_sender()

    def _wake_sender(self) -> None:
        """Another greenlet may be stuck in sending what nobody wants any more: have the system refuse it."""
        if self._sender is not None and self._sender is not getcurrent():
            self._channel.shutdown_write()

    def _begin_tunnel(self, exchange: Http1ClientExchange) -> None:
        self._refuse(HttpError("it is a tunnel now, see the transport of the response to CONNECT"))
        leading = [self._reader.trailing_data[0]]
        while self._backlog:
            leading.append(self._backlog.take())
        exchange.content = StreamReader.complete()
        exchange.tunnel = Tunnel(self._channel, b"".join(leading))
        self._awaiting.clear()

    def _inform(self, exchange: Http1ClientExchange, response: InformationalResponse) -> None:
        if response.status_code == 101:
            self._fail(RemoteProtocolError("the server switches to a protocol that nobody asked for"))
            return
        if len(exchange.informational) == _MOST_INFORMATIONAL:
            self._fail(RemoteProtocolError(f"more than {_MOST_INFORMATIONAL} informational responses to one request"))
            return
        exchange.informational = [*exchange.informational, response]
        if self._on_informational is not None:
            self._on_informational(exchange, response)

    # -- failing ---------------------------------------------------------------------------------------------------

    def _refuse(self, error: Error) -> None:
        """Take no more requests. The first reason counts."""
        if self._refusal is None:
            self._refusal = error

    def _fail(self, error: Error) -> None:
        """Nothing that is due will come."""
        awaiting = self._awaiting
        error.unanswered = [exchange.owner for exchange in awaiting if exchange.response is None]
        for exchange in awaiting:
            exchange.failure = error
        awaiting.clear()
        self._backlog.clear()
        self._refuse(error)
        self._channel.abort()


def fresh(error: E) -> E:
    """A copy of `error` to raise, with `error` as its cause: one object raised again and again collects tracebacks."""
    again = copy.copy(error)
    again.__cause__ = error
    return again


def _interrupted(exc: BaseException, doing: str) -> HttpError:
    return HttpError(f"{type(exc).__name__} struck while {doing}, and nobody knows what comes next")


def _owners(exchanges: Sequence[Http1ClientExchange] | deque[Http1ClientExchange]) -> list[Any]:
    return [exchange.owner for exchange in exchanges]
