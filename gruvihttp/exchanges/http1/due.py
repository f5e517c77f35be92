"""`DueResponses`: the responses that are due on an HTTP/1 client connection, and which request each of them answers.

The theory. Nothing in a response says which request it answers; only the order does. So `awaiting` is the parser's
queue: the next bytes belong to its first entry, which is removed when its final response has ended. Informational
responses remove nothing. Requests that are complete but held back are in `unsent`.

Each exchange ends in one of two ways: with its response, or with a `failure`. A connection takes no more requests
once it has a `refusal`.

Which greenlets wait for responses, where bytes come from, and how requests leave is not known here.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from typing import Any

from greenlet import getcurrent, greenlet

from gruvihttp.errors import Error, HttpError, IncompleteMessage, RemoteProtocolError, TransportError
from gruvihttp.exchanges.backlog import Backlog
from gruvihttp.exchanges.faults import one_too_many, refused
from gruvihttp.exchanges.http1.client_exchange import OPEN, SENT, STOPPED, Http1ClientExchange
from gruvihttp.exchanges.tunnel import Tunnel
from gruvihttp.exchanges.turns import Turns
from gruvihttp.limits import Limits
from gruvihttp.net.channel import Channel
from gruvihttp.reader import StreamReader
from gruvihttp.sansio.events import END_OF_MESSAGE, Data, EndOfMessage, InformationalResponse, Response
from gruvihttp.sansio.framing import persists
from gruvihttp.sansio.headers import list_members
from gruvihttp.sansio.sentinels import NEED_DATA
from gruvihttp.sansio.wire import ResponseReader

__all__ = ["DueResponses", "OnInformational", "owners"]

# What is parsed of content together with its head: a small chunked response is one piece, its end, and no more
_FIRST_PIECES = 2

OnInformational = Callable[[Http1ClientExchange, InformationalResponse], object]


class DueResponses:
    """The requests of a connection that are not answered yet, and whether there may be more of them.

    `turns` are the greenlets to wake when something has failed; `backlog` holds bytes that go to `reader` later.
    """

    __slots__ = (
        "_backlog", "_channel", "_on_informational", "_turns", "awaiting", "reader", "refusal", "sender", "unsent",
        "writing",
    )  # fmt: skip

    def __init__(
        self,
        channel: Channel,
        limits: Limits,
        backlog: Backlog,
        turns: Turns,
        on_informational: OnInformational | None,
    ) -> None:
        self._channel = channel
        self._backlog = backlog
        self._turns = turns
        self._on_informational = on_informational
        self.reader = ResponseReader(limits)
        self.awaiting: deque[Http1ClientExchange] = deque()
        self.unsent: list[Http1ClientExchange] = []  # complete requests that have not left yet
        self.writing: Http1ClientExchange | None = None  # the one whose request is not finished
        self.sender: greenlet | None = None  # the one in channel.send
        self.refusal: Error | None = None

    # events

    def step(self) -> bool:
        """Handle the next event. False if that needs more bytes, or no response is due."""
        awaiting = self.awaiting
        if not awaiting:
            return False
        exchange = awaiting[0]
        try:
            event = self.reader.next_event()
        except RemoteProtocolError as exc:
            self.fail(exc)
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
            self.fail(IncompleteMessage("the server closed the connection before it sent a response"))
        return True

    def _begin_response(self, exchange: Http1ClientExchange, response: Response) -> None:
        reader = self.reader
        exchange.response = response
        if exchange.method == b"CONNECT" and response.status_code < 300:
            self._begin_tunnel(exchange)
            return
        if not reader.plan.persists:
            self._end_with(exchange, response)
        # Nearly always the content has arrived with the head, and a reader that is complete needs no source.
        whole = reader.take_content()
        if whole is None:
            self._begin_content(exchange, response)
        else:
            exchange.content = StreamReader.complete(whole)
            self._end_response(exchange, END_OF_MESSAGE)

    def _begin_content(self, exchange: Http1ClientExchange, response: Response) -> None:
        """Make a reader of what has arrived of the content, which will ask for the rest unless that is all."""
        pieces: list[bytes] = []
        event: Any = None
        try:
            while len(pieces) < _FIRST_PIECES and type(event := self.reader.next_event()) is Data:
                pieces.append(event.data)
        except RemoteProtocolError as exc:
            self.fail(exc)
        if type(event) is EndOfMessage:
            exchange.content = StreamReader.complete(b"".join(pieces))
            self._end_response(exchange, event)
            return
        exchange.content = content = StreamReader(source=exchange.pull)
        for piece in pieces:
            content.feed(piece)
        if exchange.upload is OPEN and response.status_code >= 300:
            self.stop_upload(exchange)

    def _end_response(self, exchange: Http1ClientExchange, end: EndOfMessage) -> None:
        if end is not END_OF_MESSAGE:
            exchange.trailers = end.headers
        awaiting = self.awaiting
        awaiting.popleft()
        if exchange.upload is not SENT:
            self.stop_upload(exchange)
        if awaiting:
            self.reader.request_method = awaiting[0].method
        elif self.refusal is not None:
            self.close_if_done()
        elif self.reader.buffer.start != len(self.reader.buffer.data) or not self._backlog.empty:
            self.fail(_not_asked_for())

    def _end_with(self, exchange: Http1ClientExchange, response: Response) -> None:
        """No further request will be answered after this one."""
        error = HttpError("the server closes the connection after the response to an earlier request")
        # RFC 9112 §9.6: a server that announces the close does not act on later requests; one that just closes may.
        error.retryable = not persists(response)
        self.awaiting.popleft()
        self.give_up(error)
        self.awaiting.append(exchange)
        if error.unanswered:
            self._wake_sender()

    def stop_upload(self, exchange: Http1ClientExchange) -> None:
        """The server has answered without the rest of the request. What is on the wire fits no further request."""
        exchange.upload = STOPPED
        self.refuse(HttpError("the server has answered before the request was complete"))
        self._wake_sender()

    def _begin_tunnel(self, exchange: Http1ClientExchange) -> None:
        self.refuse(HttpError("it is a tunnel now: see the transport of the response"))
        leading = [self.reader.trailing_data[0]]
        while not self._backlog.empty:
            leading.append(self._backlog.take())
        exchange.content = StreamReader.complete()
        exchange.tunnel = Tunnel(self._channel, b"".join(leading))
        self.awaiting.clear()

    def _switch_protocol(self, exchange: Http1ClientExchange, response: InformationalResponse) -> None:
        """RFC 9110 §7.8: the server has changed to another protocol, which must be one of those that we offered."""
        chosen = set(list_members(b",".join(value for name, value in response.headers if name == b"upgrade")))
        if exchange.upload is not SENT or not chosen or not chosen <= set(list_members(exchange.upgrade)):
            self.fail(RemoteProtocolError("the server switches to a protocol that nobody asked for"))
            return
        exchange.response = response
        self._begin_tunnel(exchange)

    def _inform(self, exchange: Http1ClientExchange, response: InformationalResponse) -> None:
        if response.status_code == 101:
            self._switch_protocol(exchange, response)
        elif (error := one_too_many(exchange.informational)) is not None:
            self.fail(error)
        else:
            exchange.informational = [*exchange.informational, response]
            if self._on_informational is not None:
                self._on_informational(exchange, response)

    # failing

    def refuse(self, error: Error) -> None:
        """Take no more requests. The first reason counts."""
        if self.refusal is None:
            self.refusal = error

    def give_up(self, error: Error) -> None:
        """Let every request fail that is not answered yet, whether it has left or not."""
        lost = [*self.awaiting, *self.unsent]
        error.unanswered = owners(exchange for exchange in lost if exchange.response is None)
        for exchange in lost:
            exchange.failure = error
        self.awaiting.clear()
        self.unsent.clear()
        self.refuse(error)
        self._turns.wake_all()

    def fail(self, error: Error) -> None:
        """`give_up`, and drop the connection."""
        self.give_up(error)
        self._backlog.clear()
        self._channel.abort()

    def _wake_sender(self) -> None:
        """End the sending of another greenlet, which may be stuck in what is no longer wanted."""
        if self.sender is not None and self.sender is not getcurrent():
            self._channel.shutdown_write()

    def close_if_done(self) -> None:
        """Close the connection if nothing is being sent or received on it."""
        if self.awaiting or self.writing is not None:
            return
        if self._channel.broken:
            self._channel.abort()
        else:
            self._channel.close()

    # may there be a request?

    def see_whether_idle(self) -> None:
        """Refuse further requests if input has arrived on the idle connection, and close it. Never waits.

        Nothing is due, so input is the server's end, or could be taken for the response to the next request.
        """
        if self._channel.is_quiet():
            return
        try:
            received = self._channel.try_receive()
        except TransportError as exc:
            self.refuse(exc)
        else:
            if received is None:
                return
            self.refuse(_not_asked_for() if received else HttpError("the server has closed it"))
        self._channel.abort()

    def refused(self) -> HttpError:
        """The error for a request that is refused, which it is: there is a `refusal`."""
        assert self.refusal is not None
        return refused(self.refusal)


def owners(exchanges: Iterable[Http1ClientExchange]) -> list[Any]:
    """The owners of the exchanges."""
    return [exchange.owner for exchange in exchanges]


def _not_asked_for() -> HttpError:
    """Why a connection is unusable that has received a response without a request."""
    return HttpError("the server sent something that was not asked for")
