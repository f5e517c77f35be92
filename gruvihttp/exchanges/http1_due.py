"""The receiving half of an HTTP/1 client connection: the responses that are due, and what becomes of them.

The theory. Nothing in a response says which request it answers; only their order does. So there are two queues of
exchanges. `_awaiting` is the parser's: the next bytes belong to its first entry, which leaves when its final response
has ended. `_uncollected` is the caller's: an entry leaves when it is handed out. Informational responses take nothing
out of either.

Whoever wants a response or its content *pulls*: asks the parser, and the channel when the parser has too little. What
nobody asks for stays in the system's buffers, and the peer feels it.

With one exception, for two peers that both only write wait for each other for ever: while a send cannot go on,
whatever arrives is received. It is parsed ahead, so that a response that makes the rest of an upload pointless ends
the upload. As soon as `Limits.buffer_bytes` are parsed that nobody has asked for, what follows waits unparsed in a
`Backlog`, in memory first and then in a file.

Each exchange ends in one of two ways: with its response, or with a `failure`. A connection takes no more requests
once it has a `_refusal`. What failed is raised as a fresh copy each time, with the first as its cause. A foreign
exception that strikes while we wait, such as a gevent.Timeout, passes through and leaves the connection refused and
closed: a response that comes later could be taken for the answer to another request.

What is sent, and when, is not known here.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from typing import Any

from gruvihttp.errors import Error, HttpError, IncompleteMessage, RemoteProtocolError, Timeout, TransportError
from gruvihttp.exchanges.backlog import Backlog
from gruvihttp.exchanges.http1_client_exchange import OPEN, SENT, STOPPED, Http1ClientExchange, fresh
from gruvihttp.exchanges.tunnel import Tunnel
from gruvihttp.limits import Limits, Timeouts
from gruvihttp.net.channel import Channel
from gruvihttp.net.deadline import moment_after
from gruvihttp.reader import StreamReader
from gruvihttp.sansio.events import END_OF_MESSAGE, Data, EndOfMessage, InformationalResponse, Response
from gruvihttp.sansio.framing import UNTIL_CLOSE, persists
from gruvihttp.sansio.sentinels import NEED_DATA
from gruvihttp.sansio.wire import ResponseReader

__all__ = ["DueResponses", "interrupted", "not_asked_for", "owners"]

# Memory for what is received while a send is stuck, in multiples of Limits.buffer_bytes: 1 MiB by default.
_BACKLOG_BUFFERS = 16
# And file space. A peer that has sent so much and still reads nothing will not begin to; the send times out.
_BACKLOG_FILE_BYTES = 1 << 30
# Each takes memory and answers nothing. A server that sends a 102 per second is given up after a minute.
_MOST_INFORMATIONAL = 64

OnInformational = Callable[[Http1ClientExchange, InformationalResponse], object]


class DueResponses:
    """What has been asked on a connection and not been answered yet. The half that sends is a subclass."""

    def __init__(
        self,
        channel: Channel,
        limits: Limits | None = None,
        timeouts: Timeouts | None = None,
        on_informational: OnInformational | None = None,
    ) -> None:
        self._channel = channel
        self._limits = limits = limits or Limits()
        self._timeouts = timeouts or Timeouts()
        self._on_informational = on_informational
        self._reader = ResponseReader(limits)
        self._unsent: list[Http1ClientExchange] = []  # complete requests that have not left yet
        self._awaiting: deque[Http1ClientExchange] = deque()
        self._uncollected: deque[Http1ClientExchange] = deque()
        self._collected: Http1ClientExchange | None = None
        self._backlog = Backlog(_BACKLOG_BUFFERS * limits.buffer_bytes, _BACKLOG_FILE_BYTES)
        self._ahead_bytes = 0  # the sum over `_uncollected`
        self._receiving = False  # a greenlet is in channel.receive
        self._drain_deadline: float | None = None
        self._refusal: Error | None = None
        self._loss: TransportError | None = None  # why nothing can be sent; then no end of input is a proper one

    # what the half that sends adds

    def _begin_flush(self) -> None:
        """Send what is held back, as far as that goes at once; the hub goes on with it while somebody waits."""
        raise NotImplementedError

    def _wake_sender(self) -> None:
        """Another greenlet may be stuck in sending what nobody wants any more: end that."""
        raise NotImplementedError

    def _close_if_done(self) -> None:
        """Close the connection if nothing is sent or received on it any more."""
        raise NotImplementedError

    # what the caller asks for

    def _await_response(self, exchange: Http1ClientExchange, deadline: float | None) -> None:
        """Wait for the head of the final response."""
        while exchange.response is None:
            if exchange.failure is not None:
                raise fresh(exchange.failure)
            if not self._step():
                self._receive(deadline)

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

    # receiving

    def _receive(self, deadline: float | None) -> None:
        """Give the parser more to read, or fail everything that is due."""
        if self._receiving:
            raise RuntimeError("another greenlet is waiting for a response on this connection")
        self._begin_flush()
        if not self._awaiting:  # that has failed, or is not possible now
            if self._unsent:
                raise RuntimeError("another greenlet is sending on this connection")
            return
        self._receiving = True
        try:
            received = self._backlog.take() if self._backlog else self._channel.receive(deadline)
        except Timeout:
            raise
        except TransportError as exc:
            self._fail(self._loss or exc)
            return
        except BaseException as exc:
            self._fail(interrupted(exc, "waiting for a response"))
            raise
        finally:
            self._receiving = False
        self._feed(received)

    def _look(self) -> None:
        """See what has come, without waiting, unless enough of it waits already."""
        if not self._receiving and not self._backlog and self._has_room():
            try:
                self._take_what_is_here()
            except TransportError:  # whoever sends or waits will meet it too, and knows what to do
                pass

    def _take_what_is_here(self) -> bool:
        """Receive without waiting, and parse ahead. May there be more?"""
        if self._backlog.full:
            return False
        received = self._channel.try_receive()
        if received is None:
            return False
        self._take_in(received)
        return bool(received)

    def _take_in(self, received: bytes) -> None:
        if self._backlog or not self._has_room():
            self._backlog.append(received)
        else:
            self._feed(received)
        self._parse_ahead()

    def _feed(self, received: bytes) -> None:
        reader = self._reader
        if received:
            reader.receive_data(received)
        elif self._loss is not None:  # a reset that a send has met looks like an end to who receives
            self._fail(self._loss)
        elif self._channel.ragged_eof and reader.plan.framing is UNTIL_CLOSE:
            self._fail(IncompleteMessage("the TLS stream was cut, so the content may not be complete"))
        else:
            reader.receive_data(b"")

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

    def _lose_output(self, exc: TransportError) -> None:
        """Nothing can be sent any more. What was received before may yet say why (RFC 9112 §9.5)."""
        self._refuse(exc)
        self._loss = exc
        if self._receiving:  # another greenlet, which will find the end itself
            return
        try:
            while self._take_what_is_here():
                pass
        except TransportError:
            self._take_in(b"")

    # events

    def _step(self) -> bool:
        """Handle the next event. False if more bytes are needed for one."""
        if not self._awaiting:
            # nothing is due; what is to be sent first, if anything, will be when somebody waits for its response
            return not self._unsent
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
            self._fail(not_asked_for())

    def _end_with(self, exchange: Http1ClientExchange, response: Response) -> None:
        """No further request will be answered after this one."""
        error = HttpError("the server closes the connection after the response to an earlier request")
        # RFC 9112 §9.6: who announces the close does not act on what comes after. Who just closes may have.
        error.retryable = not persists(response)
        self._awaiting.popleft()
        self._give_up(error)
        self._awaiting.append(exchange)
        if error.unanswered:
            self._wake_sender()

    def _stop_upload(self, exchange: Http1ClientExchange) -> None:
        """The server has answered without the rest of the request. What is on the wire fits no further request."""
        exchange.upload = STOPPED
        self._refuse(HttpError("the server has answered before the request was complete"))
        self._wake_sender()

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
        elif len(exchange.informational) == _MOST_INFORMATIONAL:
            self._fail(RemoteProtocolError(f"more than {_MOST_INFORMATIONAL} informational responses to one request"))
        else:
            exchange.informational = [*exchange.informational, response]
            if self._on_informational is not None:
                self._on_informational(exchange, response)

    # failing

    def _refuse(self, error: Error) -> None:
        """Take no more requests. The first reason counts."""
        if self._refusal is None:
            self._refusal = error

    def _give_up(self, error: Error) -> None:
        """Nothing that is due, or has not left yet, will be answered."""
        lost = [*self._awaiting, *self._unsent]
        error.unanswered = owners(exchange for exchange in lost if exchange.response is None)
        for exchange in lost:
            exchange.failure = error
        self._awaiting.clear()
        self._unsent.clear()
        self._refuse(error)

    def _fail(self, error: Error) -> None:
        """Give up, and drop the connection."""
        self._give_up(error)
        self._backlog.clear()
        self._channel.abort()


def interrupted(exc: BaseException, doing: str) -> HttpError:
    """Why a connection is of no use after something foreign has struck."""
    return HttpError(f"{type(exc).__name__} struck while {doing}, and nobody knows what comes next")


def not_asked_for() -> HttpError:
    """Why a connection is of no use on which a response came without a request."""
    return HttpError("the server sent something that was not asked for")


def owners(exchanges: Iterable[Http1ClientExchange]) -> list[Any]:
    """Whom the exchanges belong to."""
    return [exchange.owner for exchange in exchanges]
