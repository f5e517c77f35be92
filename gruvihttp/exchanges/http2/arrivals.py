"""`Arrivals`: what has arrived on one stream of a client, and the greenlets that wait for it.

The hub fills it and never waits. Greenlets take from it, and wait as long as their deadlines allow. How much content
can wait here is bounded by the stream's window, which opens again as content is taken.

It lives as long as its stream and does not refer to the exchange, so that an exchange that its user has forgotten can
be freed. Giving up the content, explicitly or by forgetting it (`ContentSource`), ends the stream; the connection goes
on. Frames and other streams are not known here.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from threading import get_ident
from typing import Any, Protocol

from gruvihttp.errors import Error, HttpError, StreamError, Timeout, fresh
from gruvihttp.exchanges.faults import one_too_many, out_of_time
from gruvihttp.exchanges.wakeups import Wakeups
from gruvihttp.limits import Timeouts
from gruvihttp.net.deadline import moment_after
from gruvihttp.reader import StreamReader
from gruvihttp.sansio.events import InformationalResponse, Response
from gruvihttp.sansio.h2errors import ErrorCode
from gruvihttp.sansio.h2streams import Stream
from gruvihttp.sansio.headers import EMPTY, Headers
from gruvihttp.sansio.http2 import H2Engine

__all__ = ["Arrivals"]


class Carrier(Protocol):
    """What a stream needs of its connection."""

    engine: H2Engine
    loop: Any
    thread: int

    def flush_soon(self) -> None: ...
    def forget(self, arrivals: Arrivals) -> None: ...


class Arrivals:
    """One stream, as the driver of a client knows it.

    `ended`: the response has arrived to its end. `failure`: why it, or the rest of it, never will. `stopped`: the
    server has answered and wants no more of the request. `deadline` is that of the whole exchange.
    """

    response: Response | None = None
    informational: Sequence[InformationalResponse] = ()
    trailers: Headers = EMPTY
    ended = False
    stopped = False
    failure: Error | None = None
    _reading = False

    def __init__(self, connection: Carrier, stream: Stream, timeouts: Timeouts, deadline: float | None) -> None:
        self.stream = stream
        self.timeouts = timeouts
        self.deadline = deadline
        self._connection = connection
        self._chunks: deque[bytes] = deque()
        self._wakeups = Wakeups(connection.loop)

    def __repr__(self) -> str:
        status = "no response" if self.response is None else self.response.status_code
        return f"<Arrivals {self.stream!r} {status}>"

    @property
    def over(self) -> bool:
        """Whether nothing more will arrive."""
        return self.ended or self.failure is not None

    @property
    def is_taken(self) -> bool:
        """Whether the response has ended, and all that has arrived is taken."""
        return self.ended and not self._chunks

    # the hub's side

    def respond(self, response: Response) -> None:
        """The head of the final response has arrived."""
        self.response = response
        self.wake()

    def inform(self, response: InformationalResponse) -> bool:
        """An informational response has arrived. False if there are too many: then the stream is given up."""
        if (error := one_too_many(self.informational)) is not None:
            self.give_up(error, ErrorCode.ENHANCE_YOUR_CALM)
            return False
        self.informational = [*self.informational, response]
        self.wake()
        return True

    def feed(self, content: bytes) -> None:
        """A piece of content has arrived."""
        if self.failure is None:
            self._chunks.append(content)
            self.wake()

    def end(self, trailers: Headers) -> None:
        """The response has ended. If the request has not, the rest of it is not needed (RFC 9113 §8.1)."""
        self.trailers = trailers
        self.ended = True
        if not self.stream.sent_end:
            self.stopped = True
            self._connection.engine.reset(self.stream, ErrorCode.CANCEL)
        self._finish()

    def fail(self, failure: Error) -> None:
        """The stream is over before its end."""
        if self.over:
            return
        self.failure = failure
        self.stopped = isinstance(failure, StreamError) and failure.error_code == ErrorCode.NO_ERROR
        self._finish()

    def wake(self) -> None:
        """Let the greenlets that wait look again."""
        self._wakeups.wake()

    def _finish(self) -> None:
        self._connection.forget(self)
        self.stream.owner = _NOBODY  # otherwise there is a reference cycle
        self.wake()

    # either side

    def give_up(self, failure: Error, code: int = ErrorCode.CANCEL) -> None:
        """Reset the stream; `failure` is raised from now on. Without effect when nothing more will arrive."""
        if not self.over:
            self._chunks.clear()
            self._connection.engine.reset(self.stream, code)
            self._connection.flush_soon()
            self.fail(failure)

    # the greenlets' side

    def wait(self, deadline: float | None, phase: str) -> None:
        """Wait until something has happened. Raises Timeout(phase), or with ``"total"`` when all time is used up."""
        total = self.deadline
        if total is None or (deadline is not None and deadline < total):
            if not self._wakeups.wait(deadline):
                raise Timeout(f"timed out: {phase}", phase=phase)
        elif not self._wakeups.wait(total):
            timeout = out_of_time()
            self.give_up(timeout)
            raise fresh(timeout)

    def await_response(self, deadline: float | None) -> None:
        """Wait for the head of the final response. Raises Timeout, or the failure of the stream."""
        while self.response is None:
            if self.failure is not None:
                raise fresh(self.failure)
            self.wait(deadline, "read")

    def open_content(self) -> StreamReader:
        """A reader for the response's content. Call it once."""
        if not self.ended:
            return StreamReader(source=ContentSource(self).pull)
        chunks = self._chunks
        content = chunks[0] if len(chunks) == 1 else b"".join(chunks)
        chunks.clear()
        return StreamReader.complete(content)

    def take(self) -> bytes:
        """The next piece of content, b"" at its end; waits for it. What is taken opens the window again."""
        if not self._chunks:
            self._await_content()
            if not self._chunks:
                return b""
        content = self._chunks.popleft()
        connection = self._connection
        engine = connection.engine
        engine.credit(self.stream, len(content))
        if engine.has_output:
            connection.flush_soon()
        return content

    def _await_content(self) -> None:
        if self._reading:
            raise RuntimeError("another greenlet is reading this response")
        self._reading = True
        deadline = moment_after(self.timeouts.read)
        try:
            while not self._chunks and not self.ended:
                if self.failure is not None:
                    raise fresh(self.failure)
                self.wait(deadline, "read")
        finally:
            self._reading = False

    def drop_soon(self) -> None:
        """Give up the rest. For finalizers, which may run in any thread and at any moment."""
        connection = self._connection
        run: Callable[..., object] = connection.loop.run_callback
        if get_ident() != connection.thread:
            run = connection.loop.run_callback_threadsafe
        run(self.give_up, HttpError("the response was forgotten before its end"))


class _Nobody:
    """The owner of a stream that is over: it ignores what may still arrive."""

    def feed(self, content: bytes) -> None:
        """Content behind a reset."""

    def respond(self, response: Response) -> None:
        """A head behind a reset."""

    def inform(self, response: InformationalResponse) -> bool:
        """An informational response behind a reset."""
        return False

    def end(self, trailers: Headers) -> None:
        """An end behind a reset."""

    def fail(self, failure: Error) -> None:
        """A reset behind the end, which says that the rest of the request is not wanted (RFC 9113 §8.1)."""

    def wake(self) -> None:
        """Room in the queue: nothing follows."""


_NOBODY = _Nobody()


class ContentSource:
    """Gives the content of a response to its reader. If the reader is forgotten before the end, so is the stream."""

    __slots__ = ("_arrivals",)

    def __init__(self, arrivals: Arrivals) -> None:
        self._arrivals = arrivals

    def pull(self) -> bytes:
        """The next piece, b"" at the end."""
        return self._arrivals.take()

    def __del__(self) -> None:
        if not self._arrivals.over:
            self._arrivals.drop_soon()
