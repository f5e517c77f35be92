"""`Http2Input`: the content of a request on a stream of HTTP/2: the hub feeds it in, and the handler takes it.

How much can wait here is bounded by the stream's window, which opens again when the handler takes content. If the
stream ends early, a waiting handler is woken, and its next read raises the reason. What is answered is not known here.
"""

from __future__ import annotations

from collections import deque
from time import monotonic
from typing import Any, Protocol

from gruvihttp.errors import LocalProtocolError, Timeout
from gruvihttp.exchanges.served import NO_CONTENT, ServedExchange
from gruvihttp.exchanges.wakeups import Wakeups
from gruvihttp.net.channel import Channel
from gruvihttp.net.deadline import moment_after
from gruvihttp.reader import StreamReader
from gruvihttp.sansio.h2streams import Stream
from gruvihttp.sansio.headers import Headers
from gruvihttp.sansio.http2 import H2Engine

__all__ = ["Http2Input", "InputCarrier"]


class InputCarrier(Protocol):
    """What the receiving half needs of its connection."""

    channel: Channel
    engine: H2Engine
    loop: Any  # Any: gevent's loops share no public type

    def content_patience(self, exchange: Http2Input) -> float | None: ...
    def flush_soon(self) -> None: ...


class Http2Input(ServedExchange):
    """The receiving half of an exchange. The half that answers is a subclass."""

    upgrade: tuple[bytes, ...] = ()  # RFC 9113 §8.6: there is none, but with extended CONNECT
    _is_over = False  # the handler has ended
    _fault: BaseException | None = None  # why no more content will arrive

    def __init__(self, connection: InputCarrier, stream: Stream) -> None:
        self.connection = connection
        self.stream = stream
        self.wants_continue = stream.expects_continue
        self.request_trailers: list[tuple[str, str]] = []  # filled when the content has ended
        self._chunks: deque[bytes] = deque()  # content that has arrived and was not taken yet
        self._wakeups = Wakeups(connection.loop)  # greenlets that wait for content, or for room in the queue
        self._engine = connection.engine

    def send_continue(self) -> None:
        """Tell a client that waits for it to send its content."""
        raise NotImplementedError

    # the hub's side

    def feed(self, content: bytes) -> None:
        """A piece of content has arrived."""
        self._chunks.append(content)
        self.wake()

    def end_content(self, trailers: Headers) -> None:
        """The content has ended, with these trailers."""
        super().end_content(trailers)
        self.wake()

    def fail(self, fault: BaseException) -> None:
        """No more content will arrive, for this reason; if the stream is closed, nothing can be sent either."""
        if self._fault is None:
            self._fault = fault
        self.wake()

    def wake(self) -> None:
        """Let the greenlets that wait look again."""
        self._wakeups.wake()

    # the handler's side

    def open_content(self) -> StreamReader:
        """A reader for the request's content."""
        if (self.content_ended and not self._chunks) or self.upgrade:
            return NO_CONTENT
        return StreamReader(source=self._take_content)

    def peer_has_gone(self) -> bool:
        """Whether the client has reset the stream or ended the connection. Never waits."""
        return self.connection.channel.closed or (self.stream.closed and not self.stream.sent_end)

    def _take_content(self) -> bytes:
        """The next piece of content, b"" at its end; waits for it. What is taken opens the window again."""
        if self._is_over:
            raise LocalProtocolError("the exchange is over")
        begun: float | None = None
        deadline: float | None = None
        while not self._chunks:
            if self.content_ended:
                return b""
            if self._fault is not None:
                self.failure = self._fault
                raise self._fault
            if self.wants_continue:
                self.send_continue()
            if begun is None:
                begun = monotonic()
                deadline = moment_after(self.connection.content_patience(self))
            if not self._wakeups.wait(deadline):
                self.failure = Timeout("timed out: content", phase="content")
                raise self.failure
        if begun is not None:
            self.waited_seconds += monotonic() - begun
        return self._taken(0)

    def take(self, deadline: float | None, phase: str, size: int = 0) -> bytes:
        """Wait for the next bytes of another protocol: at most `size` of them unless that is 0, b"" at the end.

        Raises Timeout(phase) at `deadline`, and the reason for an early end.
        """
        while not self.has_content():
            if not self._wakeups.wait(deadline):
                raise Timeout(f"timed out: {phase}", phase=phase)
        if not self._chunks and self._fault is not None:
            self.failure = self._fault
            raise self._fault
        return self._taken(size) if self._chunks else b""

    def has_content(self) -> bool:
        """Whether `take` has something to give, or to raise, at once."""
        return bool(self._chunks) or self.content_ended or self._fault is not None

    def _taken(self, size: int) -> bytes:
        content = self._chunks.popleft()
        if 0 < size < len(content):
            self._chunks.appendleft(content[size:])
            content = content[:size]
        self.received_bytes += len(content)
        self._engine.credit(self.stream, len(content))
        if self._engine.has_output:
            self.connection.flush_soon()
        return content
