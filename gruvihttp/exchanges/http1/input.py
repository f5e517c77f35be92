"""`Http1Input`: the content of requests on a server's HTTP/1 connection: pulled by handlers, or dropped.

Content is received when a handler asks for it, and not before, which is all the back-pressure that is needed. What
handlers leave unread is dropped within bounds, so that the next request can be found. Heads are not read here.
"""

from __future__ import annotations

from time import monotonic

from gruvihttp.errors import LocalProtocolError, RemoteProtocolError, Timeout
from gruvihttp.exchanges.config import ServerConfig
from gruvihttp.exchanges.http1.output import Http1Output
from gruvihttp.exchanges.http1.server_exchange import Http1ServerExchange
from gruvihttp.exchanges.pace import content_patience
from gruvihttp.net.channel import Channel
from gruvihttp.sansio.events import END_OF_MESSAGE, Data, EndOfMessage
from gruvihttp.sansio.wire import RequestReader

__all__ = ["Http1Input"]


class Http1Input(Http1Output):
    """A connection from which content is read."""

    __slots__ = ("_reader", "drain_bytes", "drains_chunks")

    def __init__(self, channel: Channel, config: ServerConfig) -> None:
        super().__init__(channel, config)
        self.drain_bytes = config.drain_bytes  # the most unread content that is dropped to keep the connection
        self.drains_chunks = config.reject_upload == "drain"  # though its length is unknown
        self._reader = RequestReader(config.limits, strict=True)

    def peer_has_gone(self) -> bool:
        """Whether the peer has ended its side of the connection. Never waits."""
        return self._reader.buffer.ended or self.channel.peer_has_ended()

    def receive_content(self, exchange: Http1ServerExchange) -> bytes:
        """The next piece of the request's content, b"" at its end; waits for it.

        Raises RemoteProtocolError, Timeout("content") or TransportError; the connection will not persist then.
        LocalProtocolError if the exchange is over: what arrives now belongs to another one.
        """
        if self.current is not exchange:
            raise LocalProtocolError("the exchange is over")
        try:
            while True:
                event = self._reader.next_event()
                if type(event) is Data:
                    exchange.received_bytes += len(event.data)
                    self.pause_at_times(len(event.data))
                    return event.data  # type: ignore[no-any-return]  # a decoder's data is bytes
                if type(event) is EndOfMessage:
                    exchange.end_content(event.headers)
                    return b""
                if exchange.wants_continue:
                    exchange.send_continue()
                self._await_content(exchange)
        except BaseException as exc:
            exchange.persists = False
            exchange.failure = exc
            raise

    def rest_is_here(self) -> bool:
        """Has all come of the content of the current request, and is so little of it unread that it can be dropped?"""
        return self._reader.has_rest(self.drain_bytes)

    def _await_content(self, exchange: Http1ServerExchange) -> None:
        begun = monotonic()
        patience = content_patience(self._config, exchange.received_bytes, exchange.waited_seconds)
        self._receive(None if patience is None else begun + patience, "content")
        exchange.waited_seconds += monotonic() - begun

    def _drained(self, exchange: Http1ServerExchange) -> bool:
        """Read what is left of the request's content, within bounds. Is the connection of use afterwards?"""
        reader = self._reader
        bound = self.drain_bytes
        deadline: float | None = None
        try:
            while True:
                event = reader.next_event()
                if event is END_OF_MESSAGE or type(event) is EndOfMessage:
                    return True
                if type(event) is Data:
                    bound -= len(event.data)
                    if bound < 0:
                        return False
                    continue
                self.flush()  # the peer may wait for the answer before it goes on
                if deadline is None and self._config.timeouts.drain is not None:
                    deadline = monotonic() + self._config.timeouts.drain
                self._receive(deadline, "drain")
        except (RemoteProtocolError, Timeout):
            return False

    def _receive(self, deadline: float | None, phase: str) -> None:
        """Wait for more of the request's content."""
        data = self.channel.receive(deadline, phase)
        self._tally.received_bytes += len(data)
        self._reader.receive_data(data)
