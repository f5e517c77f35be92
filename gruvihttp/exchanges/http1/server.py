"""The HTTP/1 server driver: one connection, its requests one after another, each handed to a handler.

The theory. Between two exchanges no greenlet works on a connection: it is parked on its channel, and a callback in the
hub reads and parses. When a head is complete, a worker greenlet takes over and *pulls*: content is read when the
handler asks for it, and not before, which is all the back-pressure that is needed. A worker goes on with the next
request if that has already arrived as a whole; otherwise the connection is parked again. After a few requests in a row
it is the turn of other connections. How a response's content is framed is decided when its head leaves: by then its
length is often known.

Phases and deadlines are in `phases`, output in `output`, content in `input`, the hub's part in `parking`; here is
the workers' part. The driver knows neither environ nor URLs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from greenlet import getcurrent

from gruvihttp.errors import RemoteProtocolError, Timeout, TransportError
from gruvihttp.exchanges.base import Handler
from gruvihttp.exchanges.config import ServerConfig
from gruvihttp.exchanges.http1.parking import Http1Parking
from gruvihttp.exchanges.http1.phases import BUSY, CLOSED
from gruvihttp.exchanges.http1.server_exchange import CLOSE, HELD_BYTES, Http1ServerExchange, head_bytes
from gruvihttp.exchanges.response import plain_error
from gruvihttp.exchanges.served import COMPLETE, DETACHED
from gruvihttp.exchanges.tunnel import Tunnel
from gruvihttp.exchanges.workers import renew_context
from gruvihttp.net.channel import Channel
from gruvihttp.sansio.events import CONNECTION_CLOSED, Request
from gruvihttp.sansio.framing import NONE
from gruvihttp.sansio.headers import Field

__all__ = ["ServerConnection"]

_MOST_SHOWN_BYTES = 1024  # of the first line of a refused request: it may be anything, and is only for logs


class ServerConnection(Http1Parking):
    """One HTTP/1 connection of a server.

    `handler(exchange)` is called in a worker greenlet for each request. It must finish or abort the exchange.
    `notes` is the handler's own, for what it wants to keep as long as the connection lasts; so is `requests`, a number
    to count with. `owner` is the object that made the connection, for handlers that need it. `on_preface(data)` takes
    over the connection, with the bytes that have arrived, when the client turns out to speak HTTP/2.
    """

    __slots__ = ("_handler", "_left", "_room", "_statuses", "notes", "owner", "requests")

    multiplexed = False

    def __init__(self, channel: Channel, handler: Handler, config: ServerConfig, owner: Any = None) -> None:
        super().__init__(channel, config)
        self.owner = owner
        self.notes: Any = None
        self.requests = 0
        self._handler = handler
        # counted down to 0; without a limit it starts there
        self._left = 1 if config.is_leaving() else config.limits.connection_requests or 0
        self._room = config.room
        self._statuses = config.tally.statuses

    def __repr__(self) -> str:
        return f"<ServerConnection {self.phase.value} {self.channel!r}>"

    @property
    def active_requests(self) -> int:
        """How many requests are being answered."""
        return int(self.phase is BUSY)

    @property
    def refusal(self) -> tuple[Request | None, bytes]:
        """What is known of a refused request: all of it, or its first line as far as that has arrived."""
        reader = self._reader
        if reader.refused is not None:
            return reader.refused, b""
        start = reader.buffer.start
        line = bytes(reader.buffer.data[start : start + _MOST_SHOWN_BYTES]).partition(b"\n")[0]
        return None, line.removesuffix(b"\r")

    def leave(self) -> None:
        """Announce the close with the next response head; an idle connection stays until its next request."""
        if self.current is not None and not self.current.head_sent:
            self.may_persist = False
        else:
            self._left = 1

    # the worker's side

    def _serve(self, request: Request) -> None:
        """Answer a request and those behind it, as long as they have arrived as a whole and it is our turn."""
        if self.phase is not BUSY:  # cut while it waited for its turn
            self._tally.aborted += 1
            return
        self._is_fresh = False
        in_a_row = self._config.limits.pipelined_requests
        if self._config.cancel_on_disconnect:
            self._end_with_client()
        try:
            while True:
                self._left -= 1
                if not self._left:
                    self.may_persist = False
                exchange = Http1ServerExchange(self, request, self._reader.plan)
                self.current = exchange
                self._handler(exchange)
                following = self._after(exchange)
                if following is None:
                    return
                in_a_row -= 1
                if not in_a_row:
                    self._workers.run_later(self._serve, following)
                    return
                request = following
                renew_context()  # the job goes on, the exchange does not
        except (TransportError, Timeout):  # the peer has gone, or reads nothing: nobody is left to be told
            self._abandon()
        except BaseException:
            self._abandon()
            raise
        finally:
            self._worker = None

    def _end_with_client(self) -> None:
        """Have this greenlet ended if the client goes while it works."""
        self._worker = getcurrent()
        if not self._reader.buffer.ended:
            self._listen()

    def _abandon(self) -> None:
        if self.current is not None:  # else the exchange was over
            self._tally.aborted += 1
            self.current.let_go()
        self.abort()

    def _after(self, exchange: Http1ServerExchange) -> Request | None:
        """Bring the connection to where the next request can begin. Returns that if it has arrived already."""
        self.current = None
        exchange.let_go()
        if exchange.ending is not COMPLETE or self.phase is CLOSED:
            self._after_failure(exchange)
            return None
        self._statuses[exchange.head.status] += 1  # type: ignore[union-attr]  # complete, so there is one
        if exchange.plan.framing is NONE:
            self._reader.next_event()  # the end of the request
        elif not exchange.content_ended and not (exchange.persists and self._drained(exchange)):
            self._finish(unread=True)
            return None
        if not exchange.persists:
            self._finish()
            return None
        if self._room.is_wanted:
            return self._give_place()
        buffer = self._reader.buffer
        if buffer.start < len(buffer.data) or buffer.ended:
            return self._next_request()
        self.flush()
        if self.may_persist:
            self._park()
        else:
            self._finish()
        return None

    def _give_place(self) -> Request | None:
        """Another client waits for a place, so this connection, which has been served just now, gives up its own."""
        self._room.take()
        buffer = self._reader.buffer
        if buffer.start == len(buffer.data):
            self.flush()
            self._park()
            if self.evict():
                return None
        self.may_persist = False  # there is one more request, and its response announces the close
        return self._next_request() if self.phase is BUSY and self.current is None else None

    def _after_failure(self, exchange: Http1ServerExchange) -> None:
        """The response is not complete. End the connection, gracefully if the peer can tell that it is not."""
        if exchange.ending is DETACHED:
            self._statuses[101] += 1
            self.end_tunnel()
            return
        self._tally.aborted += 1
        if exchange.finished and self.phase is not CLOSED:
            self._finish()
        else:
            self.abort()

    def _next_request(self) -> Request | None:
        """There is more input already: the next request, if it has arrived as a whole."""
        try:
            event = self._reader.next_event()
        except RemoteProtocolError as exc:
            self._refuse(exc)
            return None
        if type(event) is Request:
            if self.held_bytes >= HELD_BYTES:
                self.flush()
            elif self._held:
                self.flush_soon()
            return event
        self.flush()
        if event is CONNECTION_CLOSED or not self.may_persist:
            self._finish()
        else:
            self._park()
            self._begin_head()
        return None

    def _refuse(self, exc: RemoteProtocolError) -> None:
        """Answer a request that could not be read, and close."""
        if exc.answerable:
            self._answer_and_close(exc.status)
        else:
            self._answer_and_close(None)

    def _answer_and_close(self, status: int | None) -> None:
        """Answer with a bare status, or with None not at all, and close. What is held is sent first."""
        if status is None:
            self._tally.aborted += 1
        else:
            self._tally.refused += 1
            self._statuses[status] += 1
        if self._config.on_refusal is not None:
            self._config.on_refusal(self, status)
        try:
            if status is not None:
                head, content = plain_error(status)
                self.hold(head_bytes(b"1.1", head, CLOSE, len(content), self.common) + content)
            self._finish(unread=True)
        except (TransportError, Timeout):
            self.abort()

    # the end

    def _finish(self, *, unread: bool = False) -> None:
        """Send what is held, then close without losing it. `unread`: the peer may still send content to be dropped."""
        self.flush()
        if self._reader.buffer.ended or (unread and self._config.reject_upload == "abort"):
            self._close()
        else:
            self._linger()

    def _end(self) -> None:
        super()._end()
        self.owner = self.notes = None  # they lead back here: only the collector would part them

    # another protocol

    def detach(self, exchange: Http1ServerExchange) -> Tunnel:
        """Give away the connection, with the bytes that have arrived early. No request follows on it."""
        if self.current is not exchange or self.phase is not BUSY:
            raise RuntimeError("the exchange is over")
        self.flush()
        self._unpark()
        leading, _ = self._reader.trailing_data
        return Tunnel(self.channel, leading, draining=not self.may_persist)

    def end_tunnel(self) -> None:
        """The other protocol has ended: close, once the peer has all that was sent."""
        if self.phase is BUSY:
            try:
                self._finish()
            except TransportError:
                self.abort()

    def send_early_hints(self, fields: Sequence[Field]) -> None:
        """Send 103 (Early Hints) for the exchange that is being answered; nothing if its head has left already."""
        if self.current is not None:
            self.current.send_informational(103, b"Early Hints", fields)
