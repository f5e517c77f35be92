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

Many greenlets may wait, each for the response to its own request. One of them receives; the others wait in `_turns`
until their response is there, or nobody receives. Who needs a later response than the one that is coming parses ahead
for its owner, up to `Limits.buffer_bytes`; then the owner has to read on, or to close it. If that greenlet has ended,
its response is drained, or the connection given up if it is too long for that.

`Timeouts.total` is a moment of the exchange, its `deadline`. What has come of the response by then is there; whoever
waits for more of it gets Timeout, and the connection is given up.

Each exchange ends in one of two ways: with its response, or with a `failure`. A connection takes no more requests
once it has a `_refusal`. What failed is raised as a fresh copy each time, with the first as its cause. A foreign
exception that strikes while we wait, such as a gevent.Timeout, passes through and leaves the connection refused and
closed: a response that comes later could be taken for the answer to another request.

What is sent, and when, is not known here.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from time import monotonic
from typing import Any
from weakref import ref

from greenlet import getcurrent

from gruvihttp.errors import Error, HttpError, IncompleteMessage, RemoteProtocolError, Timeout, TransportError
from gruvihttp.exchanges.backlog import Backlog
from gruvihttp.exchanges.http1_client_exchange import OPEN, SENT, STOPPED, Http1ClientExchange, fresh
from gruvihttp.exchanges.tunnel import Tunnel
from gruvihttp.exchanges.turns import Turns, is_alive
from gruvihttp.limits import Limits, Timeouts
from gruvihttp.net.channel import Channel
from gruvihttp.net.deadline import moment_after
from gruvihttp.net.sockets import BytesLike
from gruvihttp.reader import StreamReader
from gruvihttp.sansio.events import END_OF_MESSAGE, Data, EndOfMessage, InformationalResponse, Response
from gruvihttp.sansio.framing import UNTIL_CLOSE, persists
from gruvihttp.sansio.headers import list_members
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
        self._held: list[BytesLike] = []  # and their bytes
        self._awaiting: deque[Http1ClientExchange] = deque()
        self._uncollected: deque[Http1ClientExchange] = deque()
        self._collected: Http1ClientExchange | None = None
        self._backlog = Backlog(_BACKLOG_BUFFERS * limits.buffer_bytes, _BACKLOG_FILE_BYTES)
        self._ahead_bytes = 0  # the sum over `_uncollected`
        self._receiving = False  # a greenlet is in channel.receive
        self.silent = True  # not a byte has come since a request was sent on an idle connection
        self._turns = Turns()  # those who wait for each other, with the exchange that they need
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

    def _parse_response(self, exchange: Http1ClientExchange) -> bool:
        """Is the response here already, needing no more than to be parsed? Nobody who waits is concerned then."""
        awaiting = self._awaiting
        buffer = self._reader.buffer
        while buffer.start != len(buffer.data) and awaiting and awaiting[0] is exchange and self._step():
            if exchange.response is not None:
                return True
        return False

    def _await_response(self, exchange: Http1ClientExchange, deadline: float | None) -> None:
        """Wait for the head of the final response."""
        awaiting = self._awaiting
        buffer = self._reader.buffer
        try:
            while exchange.response is None:
                if exchange.failure is not None:
                    raise fresh(exchange.failure)
                if awaiting and awaiting[0] is not exchange:
                    self._go_ahead(exchange, deadline)
                elif (buffer.start == len(buffer.data) and not buffer.ended) or not self._step():
                    self._receive(exchange, deadline)
        finally:
            if self._turns.waiting:
                self._pass_on()

    def pull(self, exchange: Http1ClientExchange) -> None:
        """Have the next piece of content handed to its reader."""
        me = ref(getcurrent())
        if exchange.reading is not None:
            raise RuntimeError("another greenlet is reading this response")
        exchange.greenlet = exchange.reading = me
        deadline = self._drain_deadline
        if deadline is None:
            deadline = moment_after(exchange.timeouts.read)
        awaiting = self._awaiting
        before_bytes = exchange.content.buffer_size
        try:
            # another greenlet may have parsed a piece meanwhile, or the end, and then what comes is not ours
            while awaiting and awaiting[0] is exchange and exchange.content.buffer_size == before_bytes:
                if self._step():
                    break
                self._receive(exchange, deadline)
        finally:
            exchange.reading = None
            self._pass_on()

    def discard(self, exchange: Http1ClientExchange, held_bytes: int = 0) -> None:
        """Drop what is left of an exchange's content if that is little and near; else drop the connection."""
        self._drain_deadline = moment_after(self._timeouts.drain)
        exchange.deadline = None
        try:
            ended = exchange.content.drain(held_bytes + self._limits.drain_bytes)
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

    def _receive(self, exchange: Http1ClientExchange, deadline: float | None) -> None:
        """Give the parser more to read for the sake of an exchange, or fail everything that is due."""
        if self._receiving:
            self._wait_for_others(exchange, deadline)
            return
        if self._held:
            self._begin_flush()
        if not self._awaiting:  # that has failed, or another greenlet has to finish its sending first
            if self._unsent:
                self._wait_for_others(exchange, deadline)
            return
        phase = "read"
        if exchange.deadline is not None:
            deadline, phase = self._least(exchange, deadline)
        self._receiving = True
        try:
            if self._backlog.empty:
                received = self._channel.receive(deadline, phase)
            else:
                received = self._backlog.take()
        except Timeout:
            if phase == "total":
                raise self._run_out(exchange) from None
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

    def _least(self, exchange: Http1ClientExchange, deadline: float | None) -> tuple[float | None, str]:
        """The deadline that comes first, and its phase. Raises Timeout if the exchange has no time left at all."""
        total = exchange.deadline
        if total is None or (deadline is not None and deadline < total):
            return deadline, "read"
        if total <= monotonic():
            raise self._run_out(exchange)
        return total, "total"

    def _run_out(self, exchange: Http1ClientExchange) -> Timeout:
        """Give up, because an exchange has used up its total time."""
        timeout = Timeout("timed out: the exchange as a whole has taken too long", phase="total")
        error = HttpError("an exchange has used up its total time, and the rest of it may still come")
        self._fail(error)
        timeout.unanswered = error.unanswered
        exchange.failure = timeout
        return fresh(timeout)

    # several greenlets

    def _go_ahead(self, exchange: Http1ClientExchange, deadline: float | None) -> None:
        """Get on with what comes before this exchange on the wire, which is others'."""
        first = self._awaiting[0]
        held_bytes = self._ahead_bytes
        if first is self._collected and first.response is not None:
            held_bytes += first.content.buffer_size
        if held_bytes < self._limits.buffer_bytes:
            if not self._step_ahead(first):
                self._receive(exchange, deadline)
            return
        blocking = [first, *(other for other in self._uncollected if other.ahead_bytes)]
        lost = [other for other in blocking if not is_alive(other.greenlet) and not other.wanted]
        for other in lost:
            self._drop(other)
        if not lost:
            self._turns.wake(first)
            self._wait_for_others(exchange, deadline, blocking)

    def _drop(self, exchange: Http1ClientExchange) -> None:
        """Nobody is left who could read this response, and others wait."""
        if exchange in self._uncollected:
            self._uncollected.remove(exchange)
            self._ahead_bytes -= exchange.ahead_bytes
            exchange.ahead_bytes = 0
        if self._awaiting and self._awaiting[0] is exchange and exchange.response is not None:
            self._collected = exchange
            self.discard(exchange, exchange.content.buffer_size)

    def _wait_for_others(
        self,
        exchange: Http1ClientExchange,
        deadline: float | None,
        blocking: Iterable[Http1ClientExchange] = (),
    ) -> None:
        """Wait until another greenlet has received, read or sent something."""
        deadline, phase = self._least(exchange, deadline)
        try:
            self._turns.wait(exchange, deadline, phase, [other.greenlet for other in blocking])
        except Timeout:
            if phase == "total":
                raise self._run_out(exchange) from None
            raise
        except BaseException as exc:
            self._fail(interrupted(exc, "waiting for a response"))
            raise

    def _pass_on(self) -> None:
        """Wake who can do something now: those who have been answered, and somebody who receives."""
        turns = self._turns
        if not turns:
            return
        turns.wake_if(_may_go_on)
        if not self._receiving and not (self._awaiting and turns.wake(self._awaiting[0])):
            turns.wake_all()

    def _look(self) -> None:
        """See what has come, without waiting, unless enough of it waits already."""
        if self._channel.is_quiet():
            return
        if not self._receiving and self._backlog.empty and self._has_room():
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
        if not self._backlog.empty or not self._has_room():
            self._backlog.append(received)
        else:
            self._feed(received)
        self._parse_ahead()

    def _feed(self, received: bytes) -> None:
        reader = self._reader
        if received:
            self.silent = False
            reader.receive_data(received)
        elif self._loss is not None:  # a reset that a send has met looks like an end to who receives
            self._fail(self._loss)
        elif self._channel.ragged_eof and reader.plan.framing is UNTIL_CLOSE:
            self._fail(IncompleteMessage("the TLS stream was cut, so the content may not be complete"))
        else:
            reader.receive_data(b"")

    def _parse_ahead(self) -> None:
        """Parse what has come as long as there is room for it."""
        while self._awaiting and self._has_room():
            if self._step_ahead(self._awaiting[0]):
                continue
            if self._backlog.empty:
                break
            self._feed(self._backlog.take())
        self._pass_on()

    def _step_ahead(self, exchange: Http1ClientExchange) -> bool:
        """Handle the next event, which is the exchange's, and count what it takes until somebody asks for it."""
        buffer = self._reader.buffer
        before_bytes = len(buffer)
        if not self._step():
            return False
        if exchange is not self._collected:
            parsed_bytes = before_bytes - len(buffer)
            exchange.ahead_bytes += parsed_bytes
            self._ahead_bytes += parsed_bytes
        if self._turns and exchange.response is not None:
            self._turns.wake(exchange)
        return True

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
        whole = reader.take_content()
        if whole is not None:
            exchange.content = StreamReader.complete(whole)
            self._end_response(exchange, END_OF_MESSAGE)
            return
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
        elif self._reader.buffer.start != len(self._reader.buffer.data) or not self._backlog.empty:
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
        self._refuse(HttpError("it is a tunnel now: see the transport of the response"))
        leading = [self._reader.trailing_data[0]]
        while not self._backlog.empty:
            leading.append(self._backlog.take())
        exchange.content = StreamReader.complete()
        exchange.tunnel = Tunnel(self._channel, b"".join(leading))
        self._awaiting.clear()

    def _switch_protocol(self, exchange: Http1ClientExchange, response: InformationalResponse) -> None:
        """RFC 9110 §7.8: the server has changed to a protocol that we offered. It had better be one of them."""
        chosen = set(list_members(b",".join(value for name, value in response.headers if name == b"upgrade")))
        if exchange.upload is not SENT or not chosen or not chosen <= set(list_members(exchange.upgrade)):
            self._fail(RemoteProtocolError("the server switches to a protocol that nobody asked for"))
            return
        exchange.response = response
        self._begin_tunnel(exchange)

    def _inform(self, exchange: Http1ClientExchange, response: InformationalResponse) -> None:
        if response.status_code == 101:
            self._switch_protocol(exchange, response)
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
        self._turns.wake_all()

    def _fail(self, error: Error) -> None:
        """Give up, and drop the connection."""
        self._give_up(error)
        self._backlog.clear()
        self._channel.abort()


def _may_go_on(subject: object) -> bool:
    """Whether nobody need receive anything for who waits for this: his response is here, or never comes."""
    return not isinstance(subject, Http1ClientExchange) or bool(subject.response or subject.failure)


def interrupted(exc: BaseException, doing: str) -> HttpError:
    """Why a connection is of no use after something foreign has struck."""
    return HttpError(f"{type(exc).__name__} struck while {doing}, and nobody knows what comes next")


def not_asked_for() -> HttpError:
    """Why a connection is of no use on which a response came without a request."""
    return HttpError("the server sent something that was not asked for")


def owners(exchanges: Iterable[Http1ClientExchange]) -> list[Any]:
    """Whom the exchanges belong to."""
    return [exchange.owner for exchange in exchanges]
