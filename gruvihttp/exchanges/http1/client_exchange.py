"""`Http1ClientExchange`: one request on an HTTP/1 connection, and its responses, as the client has them.

What is on the connection before and after this exchange is not known here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from gruvihttp.errors import Error, fresh
from gruvihttp.exchanges.tunnel import Tunnel
from gruvihttp.exchanges.turns import GreenletRef
from gruvihttp.limits import Timeouts
from gruvihttp.net.sockets import BytesLike
from gruvihttp.reader import StreamReader
from gruvihttp.sansio.events import InformationalResponse, Response
from gruvihttp.sansio.headers import EMPTY, Headers
from gruvihttp.sansio.wire import MessageWriter

__all__ = ["OPEN", "SENT", "STOPPED", "UNSENT", "Http1ClientExchange"]

# How much of a request has left: nothing; some; all; some, and the rest will not
UNSENT, OPEN, SENT, STOPPED = "unsent", "open", "sent", "stopped"


class Carrier(Protocol):
    """What an exchange needs of its connection."""

    writer: MessageWriter

    def check_sender(self, exchange: Http1ClientExchange) -> None: ...
    def send_more(self, exchange: Http1ClientExchange, buffers: list[BytesLike]) -> None: ...
    def request_done(self, exchange: Http1ClientExchange) -> None: ...
    def abandon(self, exchange: Http1ClientExchange, reason: str) -> None: ...
    def discard(self, exchange: Http1ClientExchange) -> None: ...
    def pull(self, exchange: Http1ClientExchange) -> None: ...
    def await_permission(self, exchange: Http1ClientExchange, seconds: float) -> None: ...


class Http1ClientExchange:
    """One request and its responses. See `gruvihttp.exchanges.base.ClientExchange`."""

    # What a usual exchange never changes stands here once, instead of being set for each.
    response: Response | InformationalResponse | None = None
    content: StreamReader
    trailers: Headers = EMPTY
    informational: Sequence[InformationalResponse] = ()
    tunnel: Tunnel | None = None
    stream_id: int | None = None
    failure: Error | None = None  # why the response, or the rest of it, will not come
    upload = UNSENT
    ahead_bytes = 0  # of the response, parsed before anybody asked for it
    head = b""  # of the request, until it is sent
    deadline: float | None = None  # for the whole exchange
    upgrade = b""  # the protocols that the request offers
    wanted = False  # a greenlet waits for the response
    dropped = False  # nobody is left to collect the response
    reading: GreenletRef | None = None  # the greenlet that waits for content

    def __init__(
        self, connection: Carrier, method: bytes, owner: Any, timeouts: Timeouts, greenlet: GreenletRef
    ) -> None:
        self._connection = connection
        self.method = method
        self.owner = owner
        self.timeouts = timeouts
        self.greenlet = greenlet  # the one that has it: that asked, then that collected, then that reads

    def __repr__(self) -> str:
        status = "no response" if self.response is None else self.response.status_code
        return f"<Http1ClientExchange {self.method.decode()} {self.upload}, {status}>"

    @property
    def failed(self) -> bool:
        """Whether the response, or the rest of it, will not come."""
        return self.failure is not None

    def send_head(self) -> None:
        """Send the head now, without waiting for content."""
        self._connection.send_more(self, [])

    def send_data(self, data: BytesLike) -> bool:
        """Send a piece of content, with the head if that is still here. False when no more of it is wanted."""
        connection = self._connection
        connection.check_sender(self)
        buffers = connection.writer.data(data)
        if buffers:
            connection.send_more(self, buffers)
        return self.upload is not STOPPED

    def await_permission(self, seconds: float) -> None:
        """Send the head, and wait for ``100 Continue`` or a final response, but no longer than `seconds`."""
        if self.upload is UNSENT:
            self.send_head()
        self._connection.await_permission(self, seconds)

    def finish(self, trailers: Headers = EMPTY) -> None:
        """End the request."""
        connection = self._connection
        connection.check_sender(self)
        if self.upload is not STOPPED:
            end = connection.writer.end(trailers)
            if end or self.upload is UNSENT:
                connection.send_more(self, [end])
        connection.request_done(self)

    def abandon(self, reason: str) -> None:
        """Leave the request unfinished."""
        self._connection.abandon(self, reason)

    def close(self) -> None:
        """Drop the rest of the content."""
        if not self.content.eof and self.failure is None:
            self._connection.discard(self)

    def pull(self) -> None:
        """Feed more of the content, or its end, to the reader, whose source this is."""
        if self.failure is not None:
            raise fresh(self.failure)
        self._connection.pull(self)
