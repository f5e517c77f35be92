"""`ResponseReceiver`: the greenlets that wait for responses on an HTTP/1 client connection. One of them receives.

`DueResponses` knows which response belongs to which request. Beside its queue there is that of the callers:
`_uncollected`, from which an exchange is removed when it is handed out.

A greenlet that wants a response or its content *pulls*: it asks the parser, and the channel when the parser needs more.
What nobody asks for stays in the system's buffers, so that the server has to wait.

There is one exception, because two peers that both only write wait for each other for ever: while a send cannot go on,
whatever arrives is received. It is parsed ahead, so that a response that makes the rest of an upload pointless ends
the upload. Once `Limits.buffer_bytes` are parsed that nobody has asked for, what follows waits unparsed in a
`Backlog`, in memory first and then in a file.

Many greenlets may wait, each for the response to its own request. One of them receives; the others wait in `_turns`
until their response is there, or until no greenlet receives. A greenlet that needs a later response than the current
one parses ahead, on behalf of the current one's greenlet, up to `Limits.buffer_bytes`; then that greenlet has to read
on, or to close its response. If it has ended, its response is drained, or the connection is given up if the response is
too long for that.

`Timeouts.total` becomes a moment, the exchange's `deadline`. What has been received of the response by then can be
read; a greenlet that waits for more of it gets Timeout, and the connection is given up.

A failure is raised as a fresh copy each time, with the first one as its cause. A foreign exception that is raised while
we wait, such as a gevent.Timeout, passes through, and the connection is closed: a response that arrives later could be
taken for the answer to another request.

What is sent, and when, is not known here.
"""

from __future__ import annotations

from collections.abc import Iterable
from time import monotonic
from weakref import ref

from greenlet import getcurrent

from gruvihttp.errors import Error, HttpError, IncompleteMessage, Timeout, TransportError, fresh
from gruvihttp.exchanges.backlog import Backlog
from gruvihttp.exchanges.faults import out_of_time
from gruvihttp.exchanges.http1.client_exchange import Http1ClientExchange
from gruvihttp.exchanges.http1.due import DueResponses, OnInformational
from gruvihttp.exchanges.turns import Turns, is_alive
from gruvihttp.exchanges.uncollected import Uncollected
from gruvihttp.exchanges.workers import Workers
from gruvihttp.limits import Limits, Timeouts
from gruvihttp.net.channel import Channel
from gruvihttp.net.deadline import moment_after
from gruvihttp.net.sockets import BytesLike
from gruvihttp.sansio.framing import UNTIL_CLOSE

__all__ = ["STRETCH_BYTES", "ResponseReceiver", "interrupted"]

STRETCH_BYTES = 1 << 19  # between two pauses: a few hundred microseconds, of which a pause takes one in a hundred
# Memory for what is received while a send is stuck, in multiples of Limits.buffer_bytes: 1 MiB by default.
_BACKLOG_BUFFERS = 16
# And file space. A peer that has sent that much and still reads nothing never will; the send times out.
_BACKLOG_FILE_BYTES = 1 << 30


class ResponseReceiver:
    """The half of a connection that receives. The half that sends is a subclass, since each calls the other.

    `_awaiting`, `_unsent` and `_reader` are those of `_due`, under shorter names because each request uses them.
    """

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
        self._turns = Turns()  # greenlets that wait for others, with the exchanges that they need
        self._backlog = Backlog(_BACKLOG_BUFFERS * limits.buffer_bytes, _BACKLOG_FILE_BYTES)
        self._due = due = DueResponses(channel, limits, self._backlog, self._turns, on_informational)
        self._awaiting, self._unsent, self._reader = due.awaiting, due.unsent, due.reader
        self._held: list[BytesLike] = []  # the bytes of those unsent
        self._uncollected: Uncollected[Http1ClientExchange] = Uncollected(in_order=True)
        self._collected: Http1ClientExchange | None = None
        self._ahead_bytes = 0  # the sum of theirs over all uncollected exchanges
        self._receiving = False  # a greenlet is in channel.receive
        self._stretch_bytes = 0  # received and sent since the latest pause
        self.silent = True  # no byte has arrived since a request was sent on an idle connection
        self._drain_deadline: float | None = None
        self._loss: TransportError | None = None  # why nothing can be sent; then the end of input is not a proper one

    def _begin_flush(self) -> None:
        """Send what is held, as far as the socket takes it; the rest leaves when there is room. Never waits."""
        raise NotImplementedError

    # what the caller asks for

    def _parse_response(self, exchange: Http1ClientExchange) -> bool:
        """Parse the response if its head has arrived; False if not. Wakes nobody: only for when no greenlet waits."""
        awaiting = self._awaiting
        buffer = self._reader.buffer
        while buffer.start != len(buffer.data) and awaiting and awaiting[0] is exchange and self._due.step():
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
                elif (buffer.start == len(buffer.data) and not buffer.ended) or not self._due.step():
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
            # another greenlet may have parsed a piece meanwhile, or the end, and what follows the end is not ours
            while awaiting and awaiting[0] is exchange and exchange.content.buffer_size == before_bytes:
                if self._due.step():
                    break
                self._receive(exchange, deadline)
        finally:
            exchange.reading = None
            self._pass_on()

    def discard(self, exchange: Http1ClientExchange, held_bytes: int = 0) -> None:
        """Drop the rest of an exchange's content, if it is short and arrives soon; otherwise drop the connection."""
        self._drain_deadline = moment_after(self._timeouts.drain)
        exchange.deadline = None
        try:
            ended = exchange.content.drain(held_bytes + self._limits.drain_bytes)
        except Error:
            ended = False
        finally:
            self._drain_deadline = None
        if not ended:
            self._due.fail(HttpError("a response was closed before its end"))

    def _check_read(self, exchange: Http1ClientExchange) -> None:
        """Raise RuntimeError if there is unread content. If only its end is unread, and has arrived, read that."""
        if exchange.failure is not None:
            return
        self._look()
        awaiting = self._awaiting
        while not exchange.content.buffer_size and awaiting and awaiting[0] is exchange and self._due.step():
            pass
        if not exchange.content.eof:
            raise RuntimeError("the body of the previous response was not read to its end")

    # receiving

    def _receive(self, exchange: Http1ClientExchange, deadline: float | None) -> None:
        """Receive more, on behalf of an exchange; on an error, fail everything that is due."""
        if self._receiving:
            self._wait_for_others(exchange, deadline)
            return
        if self._stretch_bytes >= STRETCH_BYTES:
            self._pause("waiting for a response")
            return  # another greenlet may have received meanwhile
        if self._held:
            self._begin_flush()
        if not self._awaiting:
            self._await_sending(exchange, deadline)
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
            self._due.fail(self._loss or exc)
            return
        except BaseException as exc:
            self._due.fail(interrupted(exc, "waiting for a response"))
            raise
        finally:
            self._receiving = False
        self._stretch_bytes += len(received)
        self._feed(received)

    def _pause(self, doing: str) -> None:
        """Let others run: a server that is as quick as we are never makes us wait, and would keep the hub to itself."""
        self._stretch_bytes = 0
        try:
            Workers.of_hub().pause()
        except BaseException as exc:
            self._due.fail(interrupted(exc, doing))
            raise

    def _await_sending(self, exchange: Http1ClientExchange, deadline: float | None) -> None:
        """Nothing is due: wait until another greenlet has finished sending, unless the exchange has ended."""
        if self._unsent:
            self._wait_for_others(exchange, deadline)
        elif exchange.response is None and exchange.failure is None:  # to wait would be to wait for ever
            raise RuntimeError("this request is not on the connection, so nothing will answer it")

    def _least(self, exchange: Http1ClientExchange, deadline: float | None) -> tuple[float | None, str]:
        """The earlier one of two deadlines, and its phase. Raises Timeout if the exchange has no time left."""
        total = exchange.deadline
        if total is None or (deadline is not None and deadline < total):
            return deadline, "read"
        if total <= monotonic():
            raise self._run_out(exchange)
        return total, "total"

    def _run_out(self, exchange: Http1ClientExchange) -> Timeout:
        """Give up, because an exchange has used up its total time."""
        timeout = out_of_time()
        error = HttpError("an exchange has used up its total time, and the rest of it may still come")
        self._due.fail(error)
        timeout.unanswered = error.unanswered
        exchange.failure = timeout
        return fresh(timeout)

    # several greenlets

    def _go_ahead(self, exchange: Http1ClientExchange, deadline: float | None) -> None:
        """Make progress with the responses before this one, which belong to other greenlets."""
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
        """Drop a response that no greenlet is left to read, because others wait for later ones."""
        self._uncollected.drop(exchange)
        exchange.dropped = True
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
            self._due.fail(interrupted(exc, "waiting for a response"))
            raise

    def _pass_on(self) -> None:
        """Wake the greenlets that can go on: those that have their response, and one to receive."""
        turns = self._turns
        if not turns:
            return
        turns.wake_if(_may_go_on)
        if not self._receiving and not (self._awaiting and turns.wake(self._awaiting[0])):
            turns.wake_all()

    # ahead of the greenlets that ask for it

    def _look(self) -> None:
        """Receive what has arrived, unless enough of that waits already. Never waits."""
        if self._channel.is_quiet():
            return
        if not self._receiving and self._backlog.empty and self._has_room():
            try:
                self._take_what_is_here()
            except TransportError:  # the next to send or to wait will meet it, too, and knows what to do
                pass

    def _take_what_is_here(self) -> bool:
        """Receive without waiting, and parse ahead. False if there cannot be more."""
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
        elif self._loss is not None:  # a reset that a send has met looks like an end to receivers
            self._due.fail(self._loss)
        elif self._channel.ragged_eof and reader.plan.framing is UNTIL_CLOSE:
            self._due.fail(IncompleteMessage("the TLS stream was cut, so the content may not be complete"))
        else:
            reader.receive_data(b"")

    def _parse_ahead(self) -> None:
        """Parse what has arrived, as long as there is room for it."""
        while self._awaiting and self._has_room():
            if self._step_ahead(self._awaiting[0]):
                continue
            if self._backlog.empty:
                break
            self._feed(self._backlog.take())
        self._pass_on()

    def _step_ahead(self, exchange: Http1ClientExchange) -> bool:
        """Handle the next event, which is the exchange's, and count its bytes if that is not collected yet."""
        buffer = self._reader.buffer
        before_bytes = len(buffer)
        if not self._due.step():
            return False
        if exchange is not self._collected:
            parsed_bytes = before_bytes - len(buffer)
            exchange.ahead_bytes += parsed_bytes
            self._ahead_bytes += parsed_bytes
            if exchange.dropped and not (self._awaiting and self._awaiting[0] is exchange):
                self._drop(exchange)  # once more: nobody collects what has come since
        if self._turns and exchange.response is not None:
            self._turns.wake(exchange)
        return True

    def _has_room(self) -> bool:
        held_bytes = self._ahead_bytes
        if self._collected is not None:
            held_bytes += self._collected.content.buffer_size
        return held_bytes < self._limits.buffer_bytes

    def _lose_output(self, exc: TransportError) -> None:
        """Nothing more can be sent. What has been received before may say why (RFC 9112 §9.5)."""
        self._due.refuse(exc)
        self._loss = exc
        if self._receiving:  # another greenlet, which will find the end itself
            return
        try:
            while self._take_what_is_here():
                pass
        except TransportError:
            self._take_in(b"")


def _may_go_on(subject: object) -> bool:
    """Whether a greenlet that needs `subject` need not wait: its response is here, or will never be."""
    return not isinstance(subject, Http1ClientExchange) or bool(subject.response or subject.failure)


def interrupted(exc: BaseException, doing: str) -> HttpError:
    """Why a connection is unusable after a foreign exception."""
    return HttpError(f"{doing} was interrupted by {type(exc).__name__}")
