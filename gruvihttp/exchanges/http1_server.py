"""The HTTP/1 server driver: one connection, its requests one after another, each handed to a handler.

The theory. Between two exchanges nobody works on a connection: it is parked on its channel, and a callback in the hub
reads and parses. When that completes a head, a worker greenlet takes over and *pulls*: content is read when the
handler asks for it, and not before, which is all the back-pressure there is to have. A worker goes on with the next
request if that has come as a whole; else the connection is parked again.

Output is *held* as long as that costs nobody anything: until the handler has finished, until 64 KiB are there, or
until anything in this thread waits, for then the hub runs and flushes what is held. So a small answer is one send
however many pieces it is made of, and answers to pipelined requests that are ready together leave together. How
content is framed is decided when the head leaves: by then its length is often known.

A connection is in one phase: IDLE (no byte of a request), HEAD (some), BUSY (a worker has it), CLOSING (nothing is
sent any more, what comes is dropped, so that our last bytes are not lost to a reset), CLOSED. The driver knows
neither environ nor URLs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import Enum
from functools import partial
from time import monotonic
from typing import Any

from gevent import get_hub

from gruvihttp.errors import (
    LocalProtocolError,
    RemoteProtocolError,
    Timeout,
    TransportError,
)
from gruvihttp.exchanges.config import ServerConfig
from gruvihttp.exchanges.response import ResponseHead, common_lines, plain_error
from gruvihttp.net.channel import Channel
from gruvihttp.net.deadline import Alarm
from gruvihttp.reader import StreamReader
from gruvihttp.sansio.content import Encoder, encoder_of
from gruvihttp.sansio.events import CONNECTION_CLOSED, END_OF_MESSAGE, Data, EndOfMessage, Request
from gruvihttp.sansio.framing import CHUNKED, NONE, UNTIL_CLOSE, Framing, Plan, has_no_content, length
from gruvihttp.sansio.headers import FORBIDDEN_IN_TRAILERS, Field, Headers
from gruvihttp.sansio.sentinels import NEED_DATA
from gruvihttp.sansio.wire import RequestReader

__all__ = ["Http1ServerExchange", "ServerConnection"]

Handler = Callable[["Http1ServerExchange"], None]

HELD_BYTES = 65536  # output that is held at most; larger pieces would gain nothing from being joined


class Phase(Enum):
    """What a connection is doing."""

    IDLE = "idle"
    HEAD = "head"
    BUSY = "busy"
    CLOSING = "closing"
    CLOSED = "closed"


class ServerConnection:
    """One HTTP/1 connection of a server.

    `handler(exchange)` is called in a worker greenlet for each request. It must finish or abort the exchange.
    `notes` is the handler's own, for what it wants to keep as long as the connection lasts.
    """

    __slots__ = (
        "_alarm",
        "_call_again",
        "_config",
        "_flush_wanted",
        "_handler",
        "_held",
        "_held_bytes",
        "_idle",
        "_loop",
        "_parked",
        "_reader",
        "_sending",
        "_stall",
        "may_persist",
        "_workers",
        "channel",
        "current",
        "notes",
        "phase",
    )

    def __init__(self, channel: Channel, handler: Handler, config: ServerConfig) -> None:
        self.channel = channel
        self.phase = Phase.IDLE
        self.notes: Any = None
        self.current: Http1ServerExchange | None = None
        self._handler = handler
        self._config = config
        self._reader = RequestReader(config.limits, strict=True)
        self._loop = get_hub().loop
        self._alarm = Alarm(self._loop, self._expire)
        self._idle = config.timeouts.idle
        # TLS may hold bytes that the socket does not know about: its channel has to be parked anew each time
        self._call_again = channel.get_extra_info("ssl") is not None
        self._held: list[Any] = []
        self._held_bytes = 0
        self._flush_wanted = False
        self._parked = False
        self._sending = False
        self._stall = config.timeouts.write
        self.may_persist = True  # whether the server wants to go on with this connection
        self._workers = config.workers

    def __repr__(self) -> str:
        return f"<ServerConnection {self.phase.value} {self.channel!r}>"

    # the hub's side: nobody works on the connection

    def start(self) -> None:
        """Begin to serve. Does not block."""
        self._park()

    def shutdown(self) -> None:
        """Close as soon as no request is being served: at once if idle, else with the answer, which says so."""
        self.may_persist = False
        if self.phase is Phase.IDLE:
            self._close()

    def _park(self) -> None:
        self.phase = Phase.IDLE
        if self._idle is not None:
            self._alarm.set(monotonic() + self._idle)
        if not self._parked or self._call_again:
            self._parked = True
            self.channel.park(self._readable)

    def _readable(self) -> None:
        """In the hub: read and parse, until a head is complete or there is nothing more to read."""
        if self.phase is Phase.BUSY:  # not our turn; most answers are out before more input comes
            self._parked = False
            self.channel.unpark()
            return
        try:
            data = self.channel.try_receive()
        except TransportError:
            self._close()
            return
        if data is None:
            return
        reader = self._reader
        reader.receive_data(data)
        try:
            event = reader.next_event()
        except RemoteProtocolError as exc:
            self._work(self._refuse, exc)
            return
        if event is NEED_DATA:
            self._begin_head()
        elif event is CONNECTION_CLOSED:
            self._close()
        else:
            self._work(self._serve, event)

    def _begin_head(self) -> None:
        if self.phase is Phase.IDLE and len(self._reader.buffer):
            self.phase = Phase.HEAD
            head = self._config.timeouts.head
            if head is not None:
                self._alarm.set(monotonic() + head)

    def _work(self, job: Callable[[Any], None], argument: Any) -> None:
        self.phase = Phase.BUSY
        self._workers.run(job, argument)

    def _expire(self) -> None:
        """In the hub: the phase has lasted too long."""
        if self.phase is Phase.HEAD:
            self._work(self._answer_and_close, 408)
        elif self.phase is Phase.IDLE:
            self._close()
        elif self.phase is Phase.CLOSING:
            self._abort()

    # the worker's side

    def _serve(self, request: Request | None) -> None:
        try:
            while request is not None:
                exchange = Http1ServerExchange(self, request, self._reader.plan)
                self.current = exchange
                self._handler(exchange)
                request = self._after(exchange)
        except (TransportError, Timeout):  # the peer has gone, or reads nothing: there is nobody to tell
            self._abort()
        except BaseException:
            self._abort()
            raise

    def _after(self, exchange: Http1ServerExchange) -> Request | None:
        """Bring the connection to where the next request can begin, and return that if it has come already."""
        self.current = None
        if self.phase is Phase.CLOSED:
            return None
        if not exchange.finished:
            self._abort()
            return None
        if not exchange.persists or not (exchange.content_ended or self._drained(exchange)):
            self._finish()
            return None
        buffer = self._reader.buffer
        if buffer.start < len(buffer.data) or buffer.ended:
            return self._next_request()
        self.flush()
        if self.may_persist:
            self._park()
        else:
            self._finish()
        return None

    def _next_request(self) -> Request | None:
        """There is more input already: the next request, if it is there as a whole."""
        try:
            event = self._reader.next_event()
        except RemoteProtocolError as exc:
            self._refuse(exc)
            return None
        if type(event) is Request:
            if self._held_bytes >= HELD_BYTES:
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

    def _drained(self, exchange: Http1ServerExchange) -> bool:
        """Read what is left of the request's content, within bounds. Is the connection of use afterwards?"""
        reader = self._reader
        bound = self._config.limits.drain_bytes
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
                reader.receive_data(self.channel.receive(deadline, "drain"))
        except (RemoteProtocolError, Timeout):
            return False

    def _refuse(self, exc: RemoteProtocolError) -> None:
        """Answer a request that could not be read, and close."""
        if exc.answerable:
            self._answer_and_close(exc.status)
        else:
            self._answer_and_close(None)

    def _answer_and_close(self, status: int | None) -> None:
        """Say that and nothing more; None says nothing. What is held goes first."""
        try:
            if status is not None:
                head, content = plain_error(status)
                self.hold(_head_bytes(b"1.1", head, _CLOSE, len(content)) + content)
            self._finish()
        except (TransportError, Timeout):
            self._abort()

    # output

    def hold(self, *buffers: Any) -> None:
        """Add output; it leaves by `flush`, or when anything waits after `flush_soon`."""
        for buffer in buffers:
            self._held.append(buffer)
            self._held_bytes += len(buffer)

    def flush(self) -> None:
        """Send what is held; waits while the peer does not read. Raises TransportError or Timeout("write")."""
        held = self._held
        if not held:
            return
        output = held[0] if len(held) == 1 else held.copy()
        held.clear()
        self._held_bytes = 0
        self._sending = True
        try:
            self.channel.send(output, self._stall)
        finally:
            self._sending = False

    def flush_soon(self) -> None:
        """Flush as soon as this greenlet waits for anything."""
        if not self._flush_wanted:
            self._flush_wanted = True
            self._loop.run_callback(self._flush_in_hub)

    def _flush_in_hub(self) -> None:
        self._flush_wanted = False
        if self._sending or self.phase is not Phase.BUSY:
            return
        if self.current is not None:
            self.current.commit_held()
        if not self._held:
            return
        output = b"".join(self._held)
        try:
            rest = self.channel.try_send(output)
        except TransportError:  # the worker will find out
            return
        self._held = [rest] if len(rest) else []
        self._held_bytes = len(rest)

    # the end

    def _finish(self) -> None:
        """Send what is held, then close without losing it."""
        self.flush()
        if self._reader.buffer.ended:
            self._close()
            return
        self.channel.shutdown_write()
        self.phase = Phase.CLOSING
        linger = self._config.timeouts.linger
        if linger is not None:
            self._alarm.set(monotonic() + linger)
        self._held_bytes = 0  # from here on: how much was dropped
        self.channel.park(self._discard)

    def _discard(self) -> None:
        """In the hub, closing: drop what comes until the peer ends too."""
        try:
            data = self.channel.try_receive()
        except TransportError:
            data = b""
        if data is None:
            return
        self._held_bytes += len(data)
        if not data:
            self._close()
        elif self._held_bytes > self._config.limits.linger_bytes:
            self._abort()

    def _close(self) -> None:
        self._end()
        self.channel.close()

    def _abort(self) -> None:
        self._end()
        self.channel.abort()

    def _end(self) -> None:
        self.phase = Phase.CLOSED
        self._held = []
        self._alarm.close()

    # content

    def receive_content(self, exchange: Http1ServerExchange) -> bytes:
        """The next piece of the request's content, b"" at its end; waits for it.

        Raises RemoteProtocolError, Timeout("content") or TransportError; the connection will not persist then.
        """
        try:
            while True:
                event = self._reader.next_event()
                if type(event) is Data:
                    return event.data  # type: ignore[no-any-return]  # a decoder's data is bytes
                if type(event) is EndOfMessage:
                    exchange.end_content(event.headers)
                    return b""
                if exchange.wants_continue:
                    exchange.send_continue()
                timeout = self._config.timeouts.content
                deadline = None if timeout is None else monotonic() + timeout
                self._reader.receive_data(self.channel.receive(deadline, "content"))
        except BaseException:
            exchange.persists = False
            raise

    @property
    def drain_bytes(self) -> int:
        """The most unread content that is dropped to keep the connection."""
        return self._config.limits.drain_bytes


class Http1ServerExchange:
    """One request on an HTTP/1 connection, and its responses. See `gruvihttp.exchanges.base.ServerExchange`."""

    # What a usual exchange never changes stands here once, instead of being set for each.
    finished = False
    content_ended = False
    _head: ResponseHead | None = None
    _encoder: Encoder | None = None  # None until the head has left
    _pieces_bytes = 0

    def __init__(self, connection: ServerConnection, request: Request, plan: Plan) -> None:
        self.connection = connection  # with its `channel` and the handler's `notes`
        self.request = request
        self.persists = plan.persists
        self.wants_continue = plan.expects_continue
        self.request_trailers: list[tuple[str, str]] = []  # filled when the content has ended
        self.response_trailers: list[tuple[str, str]] = []  # the handler's, sent at the end if that is possible
        self._plan = plan
        self._pieces: list[bytes] = []  # content that waits for the head to leave

    @property
    def head_sent(self) -> bool:
        """Whether the head of the final response cannot be changed any more."""
        return self._encoder is not None

    # request

    def open_content(self) -> StreamReader:
        """A reader for the request's content."""
        if self._plan.framing is NONE:
            return StreamReader.complete()
        return StreamReader(source=partial(self.connection.receive_content, self))

    def end_content(self, trailers: Headers) -> None:
        """The content has ended, with these trailers."""
        self.content_ended = True
        for name, value in trailers.raw:
            self.request_trailers.append((name.decode("ascii"), value.decode("latin-1")))

    # response

    def send_informational(self, status: int, reason: bytes, fields: Sequence[Field] = ()) -> None:
        """Send a 1xx response at once. HTTP/1.0 clients, which know none, get none (RFC 9110 §15.2)."""
        self.wants_continue = self.wants_continue and status != 100
        if self.head_sent or self.request.http_version < b"1.1":
            return
        lines = b"".join([b"%b: %b\r\n" % field for field in fields])
        self.connection.hold(b"HTTP/1.1 %d %b\r\n%b\r\n" % (status, reason, lines))
        self.connection.flush()

    def send_continue(self) -> None:
        """Tell a client that waits for it to send its content; when the answer has begun, only stop waiting."""
        self.send_informational(100, b"Continue")
        self.wants_continue = False

    def send_head(self, head: ResponseHead) -> None:
        """Give the head of the final response. It may be given again until it has left, with the first content."""
        if self.head_sent:
            raise LocalProtocolError("the head of the response has been sent")
        self._head = head

    def send_data(self, data: bytes) -> None:
        """Send a piece of content; empty is nothing. Raises LocalProtocolError if it is more than was announced."""
        if not data:
            return
        if self._encoder is None:
            self._pieces.append(data)
            self._pieces_bytes += len(data)
            if self._pieces_bytes < HELD_BYTES:
                self.connection.flush_soon()
                return
            self._commit(complete=False)
        else:
            self.connection.hold(*self._encoder.data(data))
            if self.connection._held_bytes < HELD_BYTES:
                self.connection.flush_soon()
                return
        self.connection.flush()

    def finish(self, content: bytes = b"") -> None:
        """Send `content` and end the response, with `response_trailers` if they are possible: they need chunks.

        Raises LocalProtocolError if there is less content than announced; the response is not ended then.
        """
        if self._encoder is None:
            if self._finished_at_once(content):
                return
            if content:
                self._pieces.append(content)
                self._pieces_bytes += len(content)
            self._commit(complete=not self.response_trailers or self.request.http_version == b"1.0")
        elif content:
            self.connection.hold(*self._encoder.data(content))
        assert self._encoder is not None
        chunked = self._encoder is _CHUNKED_ENCODER
        end = self._encoder.end(_sendable(self.response_trailers) if chunked else _NO_TRAILERS)
        if end:
            self.connection.hold(end)
        self.finished = True

    def _finished_at_once(self, content: bytes) -> bool:
        """The usual response is whole when its head is made: then head and content are one buffer, and no encoder."""
        head = self._head
        request = self.request
        if (
            head is None
            or self._pieces
            or self.response_trailers
            or head.content_length not in (None, len(content))
            or head.status in _CONTENTLESS
            or request.method in _UNUSUAL_METHODS
            or request.http_version != b"1.1"
        ):
            return False
        connection = self.connection
        option = b""
        if not (self.persists and connection.may_persist and self._content_is_bounded()):
            self.persists = False
            option = _CLOSE
        self._encoder = _SILENT_ENCODER
        self.finished = True
        connection.hold(_head_bytes(b"1.1", head, option, len(content)) + content)
        return True

    def finish_with_error(self, status: int) -> None:
        """Answer with nothing but a status, in place of what was given. Only possible until the head has left."""
        head, content = plain_error(status)
        self._pieces.clear()
        self._pieces_bytes = 0
        self.send_head(head)
        self.finish(content)

    def abort(self) -> None:
        """Cut the connection, so that the peer cannot take what it got for a whole response."""
        self.connection._abort()

    def commit_held(self) -> None:
        """In the hub, because the handler waits: let head and content go that were held."""
        if self._encoder is None and self._pieces:
            self._commit(complete=False)

    def _commit(self, *, complete: bool) -> None:
        """Decide the framing and hand the head and the content so far to the connection."""
        head = self._head
        if head is None:
            raise LocalProtocolError("content without a head")
        pieces_bytes = self._pieces_bytes
        modern = self.request.http_version != b"1.0"
        method = self.request.method
        announced = head.content_length
        if announced is None and complete and not (head.status == 304 or method == b"HEAD" and not pieces_bytes):
            announced = pieces_bytes
        if head.status == 204 or head.status < 200 or (method == b"CONNECT" and head.status < 300):
            announced = None
            framing = NONE
        elif announced is not None:
            framing = length(announced)
        elif complete:
            framing = NONE
        else:
            framing = CHUNKED if modern else UNTIL_CLOSE
        self._commit_as(head, framing, announced, modern)

    def _commit_as(self, head: ResponseHead, framing: Framing, announced: int | None, modern: bool) -> None:
        connection = self.connection
        silent = has_no_content(self.request.method, head.status)
        if framing is UNTIL_CLOSE and not silent or head.status < 300 and self.request.method == b"CONNECT":
            self.persists = False
        if self.persists and not (connection.may_persist and self._content_is_bounded()):
            self.persists = False
        if self.persists:
            option = b"" if modern else b"Connection: keep-alive\r\n"
        else:
            option = _CLOSE
        if framing is CHUNKED:
            option += b"Transfer-Encoding: chunked\r\n"
        encoder = _SILENT_ENCODER if silent else encoder_of(framing)
        version = b"1.1" if modern else b"1.0"
        buffers: list[Any] = [_head_bytes(version, head, option, announced)]
        for piece in self._pieces:
            buffers += encoder.data(piece)
        self._encoder = encoder
        self._pieces = []
        connection.hold(*buffers)

    def _content_is_bounded(self) -> bool:
        """Is what the application may leave unread so little that it can be dropped? (RFC 9112 §9.3)"""
        framing = self._plan.framing
        if framing is NONE or self.content_ended:
            return True
        if self.wants_continue:
            return False  # the client may send it, or may not: then the next request would be taken for it
        return framing.kind == "length" and framing.length <= self.connection.drain_bytes


class _SilentEncoder:
    """For responses that have no content whatever the application says: HEAD, 204, 304."""

    __slots__ = ()

    def data(self, data: Any) -> list[Any]:
        return []

    def end(self, trailers: Headers) -> bytes:
        return b""


_CLOSE = b"Connection: close\r\n"
_SILENT_ENCODER = _SilentEncoder()
_CHUNKED_ENCODER = encoder_of(CHUNKED)
_CONTENTLESS = frozenset((204, 304))
_UNUSUAL_METHODS = frozenset((b"HEAD", b"CONNECT"))
_NO_TRAILERS = Headers()


def _sendable(trailers: list[tuple[str, str]]) -> Headers:
    if not trailers:
        return _NO_TRAILERS
    checked = Headers.of([(name, value.encode("latin-1")) for name, value in trailers])
    for name, _ in checked:
        if name in FORBIDDEN_IN_TRAILERS:
            raise LocalProtocolError(f"{name.decode('ascii')} may not be a trailer (RFC 9110 section 6.5.1)")
    return checked


def _head_bytes(version: bytes, head: ResponseHead, option: bytes, announced: int | None) -> bytes:
    lines = b"".join([b"%b: %b\r\n" % field for field in head.fields])
    if announced is not None:
        option = b"Content-Length: %d\r\n%b" % (announced, option)
    return b"HTTP/%b %d %b\r\n%b%b%b\r\n" % (version, head.status, head.reason, lines, option, common_lines.of(head))
