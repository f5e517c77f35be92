"""`Http2ClientExchange`: one request on a stream of HTTP/2, and its responses, on the client's side.

What is sent goes into the stream's queue and leaves as the windows allow. A sender waits *before* it adds to a full
queue, not afterwards: so the last piece and the end of a request are in the queue together and leave in one frame.

What is received is in `Arrivals`. Frames and other streams are not known here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from greenlet import getcurrent, greenlet

from gruvihttp.errors import HttpError, LocalProtocolError, Timeout, fresh
from gruvihttp.exchanges.http2.arrivals import Arrivals
from gruvihttp.exchanges.http2.taking import Taking, TakingCarrier
from gruvihttp.exchanges.turns import GreenletRef
from gruvihttp.net.deadline import moment_after
from gruvihttp.net.sockets import BytesLike
from gruvihttp.reader import StreamReader
from gruvihttp.sansio.events import InformationalResponse, Response
from gruvihttp.sansio.h2sender import LOW_WATER_BYTES
from gruvihttp.sansio.headers import EMPTY, Headers

__all__ = ["Http2ClientExchange"]

_PIECE_BYTES = 65536


class Carrier(TakingCarrier, Protocol):
    """What an exchange needs of its connection."""

    def flush_soon(self) -> None: ...
    def await_empty(self, arrivals: Arrivals) -> None: ...
    def withdraw(self, exchange: Http2ClientExchange) -> None: ...


class Http2ClientExchange:
    """One request and its responses. See `gruvihttp.exchanges.base.ClientExchange`."""

    tunnel = None  # what follows a CONNECT is content, both ways
    wanted = False  # a greenlet waits for the response
    content: StreamReader
    _sender: greenlet | None = None  # the greenlet that waits for room in the queue

    def __init__(self, connection: Carrier, arrivals: Arrivals, owner: Any, greenlet: GreenletRef) -> None:
        self.arrivals = arrivals
        self.owner = owner
        self.greenlet = greenlet  # the one that made the request
        self._connection = connection
        self._stream = arrivals.stream

    def __repr__(self) -> str:
        return f"<Http2ClientExchange {self._stream.method.decode()} {self.arrivals!r}>"

    @property
    def response(self) -> Response | None:
        """The head of the final response, once it has arrived."""
        return self.arrivals.response

    @property
    def informational(self) -> Sequence[InformationalResponse]:
        """The informational responses that have arrived."""
        return self.arrivals.informational

    @property
    def trailers(self) -> Headers:
        """The response's trailers; they arrive with its end."""
        return self.arrivals.trailers

    @property
    def failed(self) -> bool:
        """Whether there will be no response."""
        return self.arrivals.response is None and self.arrivals.failure is not None

    @property
    def is_taken(self) -> bool:
        """Whether the response has ended and all of its content was taken."""
        return self.arrivals.is_taken and not self.content.buffer_size

    @property
    def stream_id(self) -> int | None:
        """The number of the stream; None until the request has left."""
        return self._stream.id or None

    # the request

    def send_head(self) -> None:
        """Send the head now: it leaves as soon as anything waits. Raises the failure of the stream."""
        self._is_wanted()
        self._connection.flush_soon()

    def send_data(self, data: BytesLike) -> bool:
        """Send a piece of content; waits while the queue is full. False when the server wants no more of it."""
        self._check_sender()
        left = self._stream.left_to_offer
        if left is not None and len(data) > left and self._is_wanted():
            raise LocalProtocolError("Too much data for declared Content-Length")
        for piece in _pieces(data):
            self._await_queue(LOW_WATER_BYTES - 1)
            if not self._is_wanted():
                return False
            self._connection.engine.offer(self._stream, piece)
            self._connection.flush_soon()
        if len(data) > _PIECE_BYTES and left != len(data):  # after the last piece, `finish` waits
            self._await_queue(LOW_WATER_BYTES - 1)
        return self._is_wanted()

    def send_all(self, content: BytesLike) -> None:
        """Send the whole content and the end."""
        if type(content) is bytes:
            self._connection.engine.offer(self._stream, content, end=True)
            self._connection.flush_soon()
            self._await_windows()
        elif self.send_data(content):
            self.finish()

    def await_permission(self, seconds: float) -> None:
        """Wait for ``100 Continue`` or a final response, but no longer than `seconds`."""
        arrivals = self.arrivals
        deadline = moment_after(seconds)
        self._connection.flush_soon()
        try:
            while arrivals.response is None and not arrivals.over and not self._may_continue():
                arrivals.wait(deadline, "read")
        except Timeout as exc:
            if exc.phase == "total":
                raise
        except BaseException as exc:
            self._give_up(exc)
            raise
        if arrivals.response is not None:
            arrivals.stopped = True

    def finish(self, trailers: Headers = EMPTY) -> None:
        """End the request, and wait until the windows allow all of it to leave."""
        self._check_sender()
        if self._is_wanted():
            self._connection.engine.finish(self._stream, trailers)
            self._connection.flush_soon()
            self._await_windows()

    def abandon(self, reason: str) -> None:
        """Leave the request unfinished: the stream ends, and the connection goes on."""
        self._connection.withdraw(self)
        self.arrivals.give_up(HttpError(reason))

    def close(self) -> None:
        """Give up the rest of the content."""
        self.arrivals.give_up(HttpError("the response was closed before its end"))

    def _may_continue(self) -> bool:
        return any(response.status_code == 100 for response in self.arrivals.informational)

    def _is_wanted(self) -> bool:
        """Whether the server wants more of the request. Raises the failure of the stream."""
        arrivals = self.arrivals
        if arrivals.failure is not None and not arrivals.stopped:
            raise fresh(arrivals.failure)
        return not arrivals.stopped

    def _check_sender(self) -> None:
        """Raise unless this greenlet may send more of the request."""
        if self._sender is not None:
            raise RuntimeError("another greenlet is sending this request")
        if self._stream.end_offered:
            raise RuntimeError("this request is finished")

    def _await_windows(self) -> None:
        """If the peer's windows do not allow what is queued to leave, wait until it has."""
        if not self._connection.engine.fits(self._stream):
            self._connection.await_empty(self.arrivals)
            self._await_queue(0)

    def _await_queue(self, most_bytes: int) -> None:
        """Wait until at most `most_bytes` are queued. Without progress, reset the stream and raise Timeout("write")."""
        stream = self._stream
        if stream.queued_bytes <= most_bytes:
            return
        taking = Taking(self._connection, stream, self.arrivals.timeouts.write)
        self._sender = getcurrent()
        try:
            while stream.queued_bytes > most_bytes and not self.arrivals.over:
                self._await_progress(taking)
        except BaseException as exc:
            self._give_up(exc)
            raise
        finally:
            self._sender = None
        self._is_wanted()

    def _await_progress(self, taking: Taking) -> None:
        try:
            self.arrivals.wait(taking.deadline, "write")
        except Timeout as exc:
            if exc.phase == "total" or not taking.goes_on():
                raise

    def _give_up(self, exc: BaseException) -> None:
        """What has begun to be sent cannot be taken up again by anybody, and its response will not be asked for."""
        self._connection.withdraw(self)
        self.arrivals.give_up(HttpError(f"sending the request was interrupted by {type(exc).__name__}"))


def _pieces(data: BytesLike) -> Sequence[BytesLike]:
    """The content in pieces to be queued. Mutable content is copied on that occasion, so not all of it at once."""
    if type(data) is bytes or len(data) <= _PIECE_BYTES:
        return (data,) if len(data) else ()
    view = memoryview(data)
    return [view[start : start + _PIECE_BYTES] for start in range(0, len(view), _PIECE_BYTES)]
