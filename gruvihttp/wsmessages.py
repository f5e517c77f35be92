"""`WebSocket`: messages instead of frames, on either side of a WebSocket (RFC 6455).

Frames are wsproto's, which comes with ``pip install gruvihttp[websocket]``. How the connection came to speak WebSocket
is not known here.

The end is the difficult part. The side that closes sends a close frame; from then on there is a `code`. The peer
answers with a close frame of its own, and then the server is the first to close the connection. A greenlet that waits
in `receive` is the only one that can see the answer, so it ends the connection then, and the caller of `close` waits
for it. If no greenlet waits, nothing looks at what arrives: the wire drops it, and closes when the peer does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from importlib.util import find_spec
from itertools import chain, count
from time import monotonic
from typing import Any, Protocol, Self

import gevent
from gevent.event import AsyncResult, Event
from gevent.lock import RLock

from gruvihttp.errors import Error, Timeout
from gruvihttp.net.deadline import Alarm, moment_after

__all__ = [
    "CLOSE_SECONDS",
    "GOING_AWAY",
    "NORMAL",
    "WebSocket",
    "WebSocketClosed",
    "Wire",
    "check_options",
    "compression",
    "is_available",
    "wsproto",
]

NORMAL, GOING_AWAY, _ABNORMAL, _TOO_BIG = 1000, 1001, 1006, 1009  # RFC 6455 §7.4.1
_READ_BYTES = 65536
_READ_BYTES_COMPRESSED = 4096  # deflate makes up to 1032 bytes of one, and they are checked after each read
CLOSE_SECONDS = 5.0  # for the peer to answer a close frame

_AVAILABLE = find_spec("wsproto") is not None
_MADE_PAYLOADS = count()


class WebSocketClosed(Error, ConnectionError):
    """The WebSocket has ended, so nothing can be sent. `code` and `reason` are those of the end."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(f"the WebSocket is closed: {code} {reason}".rstrip())
        self.code = code
        self.reason = reason


class Wire(Protocol):
    """The connection below the frames."""

    def sendall(self, data: bytes) -> None:
        """Send all of it. Raises Timeout("write") or OSError."""

    def receive(self, size: int, deadline: float | None) -> bytes:
        """What comes next, ``b""`` at the end. Raises Timeout("read") or OSError."""

    def close(self) -> None:
        """End it so that the peer gets what was sent."""

    def abort(self) -> None:
        """Cut it."""


def is_available() -> bool:
    """Is wsproto installed?"""
    return _AVAILABLE


def wsproto() -> Any:
    """wsproto. Raises RuntimeError, with what to do, where it is missing."""
    try:
        import wsproto.connection
        import wsproto.events
        import wsproto.extensions
        import wsproto.handshake
        import wsproto.utilities
    except ImportError as exc:
        raise RuntimeError("WebSocket needs wsproto: pip install 'gruvihttp[websocket]'") from exc
    return wsproto


def check_options(max_message_size: int, ping_interval: float | None) -> None:
    """Raise ValueError for options that `WebSocket` would refuse, before the peer has been told anything."""
    if not isinstance(max_message_size, int) or max_message_size < 1:
        raise ValueError(f"max_message_size must be a positive whole number, not {max_message_size!r}")
    if ping_interval is not None and (not isinstance(ping_interval, (int, float)) or not ping_interval > 0):
        raise ValueError(f"ping_interval must be a number of seconds above 0, or None, not {ping_interval!r}")


def compression() -> Any:
    """wsproto's permessage-deflate (RFC 7692), to be agreed on."""
    return wsproto().extensions.PerMessageDeflate()


class WebSocket:
    """One WebSocket connection: messages, which are str or bytes. `accept` and `connect` make it.

    Any greenlet may send; one at a time may receive. Pings are answered while a greenlet receives. `subprotocol` is the
    one that was agreed on, `subprotocols` those that the client has offered, `compressed` whether messages are.
    `code` and `reason` say how it has ended; `code` is None until then.

    ``with`` and iteration work: a loop over it gets messages until one of the sides ends it.
    """

    def __init__(
        self,
        wire: Wire,
        *,
        is_client: bool,
        subprotocol: str | None = None,
        subprotocols: Sequence[str] = (),
        extensions: Sequence[Any] = (),
        max_message_size: int = 1 << 20,
        ping_interval: float | None = None,
    ) -> None:
        package = wsproto()
        side = package.ConnectionType.CLIENT if is_client else package.ConnectionType.SERVER
        self.subprotocol = subprotocol
        self.subprotocols = list(subprotocols)
        self.compressed = bool(extensions)
        self.code: int | None = None
        self.reason = ""
        self._wire = wire
        self._is_client = is_client
        self._engine = package.connection.Connection(side, list(extensions))
        self._kinds = package.events
        self._closing = (package.connection.ConnectionState.REMOTE_CLOSING, package.connection.ConnectionState.CLOSED)
        self._sending = RLock()  # frames leave in the order in which they were made
        self._receiving = False
        self._ended = Event()  # the wire is closed
        self._leaving = False  # the server is told to stop
        self._events: Iterator[Any] = iter(())  # one by one: once wsproto has seen the end, it sends nothing
        self._pieces: list[Any] = []
        self._size = 0
        self._most = max_message_size
        self._read_bytes = _READ_BYTES_COMPRESSED if extensions else _READ_BYTES
        self._pings: dict[bytes, list[tuple[float, AsyncResult[float]]]] = {}  # unanswered, by payload
        self._goodbye: tuple[int, str] | None = None  # what the peer has said in its close frame
        self._silent = False  # nothing has arrived since our last automatic ping
        if ping_interval is not None:
            gevent.spawn(self._keep_alive, ping_interval)

    def __repr__(self) -> str:
        return f"<WebSocket {'open' if self.code is None else f'closed {self.code}'} {self._wire!r}>"

    @property
    def closed(self) -> bool:
        """Has one of the sides ended it?"""
        return self.code is not None

    @property
    def going_away(self) -> bool:
        """Does the server stop? Then the next `receive` that finds no message ends it with 1001."""
        return self._leaving

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # sending

    def send(self, message: str | bytes) -> None:
        """Send a message: str as text, bytes as binary. Raises WebSocketClosed, Timeout("write")."""
        if isinstance(message, str):
            self._send(self._kinds.TextMessage(data=message))
        elif isinstance(message, (bytes, bytearray, memoryview)):
            self._send(self._kinds.BytesMessage(data=bytes(message)))
        else:  # bytes(5) would be five zeros
            raise TypeError(f"a message is str or bytes, not {type(message).__name__}")

    def ping(self, payload: bytes | None = None) -> AsyncResult[float]:
        """Send a ping, of at most 125 bytes. ``get(timeout)`` of the result gives the seconds until the answer came.

        A greenlet must receive meanwhile, or the answer is not read. If none arrives, ``get`` raises WebSocketClosed at
        the end of the connection.
        """
        if payload is None:
            payload = next(_MADE_PAYLOADS).to_bytes(4, "big")
        if len(payload) > 125:
            raise ValueError("a ping carries at most 125 bytes")
        answer: AsyncResult[float] = AsyncResult()
        self._pings.setdefault(payload, []).append((monotonic(), answer))
        self._send(self._kinds.Ping(payload=payload))
        return answer

    def _keep_alive(self, interval: float) -> None:
        """Ping now and then, and give up a peer that does not answer while a greenlet receives."""
        while not self._ended.wait(interval):
            if self._silent and self._receiving:
                self._note(_ABNORMAL, "")
                self._wire.abort()  # the greenlet that receives ends it
                return
            self._silent = True
            try:
                self._send(self._kinds.Ping(payload=b""))
            except (WebSocketClosed, Timeout):
                return

    def close(self, code: int = NORMAL, reason: str = "") -> None:
        """End the connection. Idempotent. What was sent before arrives; what the peer still sends is dropped.

        A client waits a few seconds for the server's close frame; a server does not wait for the client's.
        Raises ValueError for a code that cannot be sent.
        """
        if not isinstance(code, int) or not 1000 <= code <= 4999:  # RFC 6455 §7.4
            raise ValueError(f"a close code is a number from 1000 to 4999, not {code!r}")
        if self.code is not None:
            return
        if not self._say_close(code, reason):
            return
        if not self._receiving and self._is_client:
            self.receive(CLOSE_SECONDS)  # the answer; messages before it are dropped
            return
        if not self._receiving:
            self._end()
            return
        late = Alarm(gevent.get_hub().loop, self._wire.abort)
        late.set(monotonic() + CLOSE_SECONDS)
        self._ended.rawlink(lambda _: late.close())
        if self._is_client:
            self._ended.wait(CLOSE_SECONDS)

    def _say_close(self, code: int, reason: str) -> bool:
        """Send a close frame. Whether the connection has survived it."""
        try:
            self._send(self._kinds.CloseConnection(code=code, reason=reason), before=lambda: self._note(code, reason))
        except WebSocketClosed:
            return False
        return True

    def _send(self, event: Any, before: Callable[[], object] | None = None) -> None:
        with self._sending:
            if self.code is not None:
                raise WebSocketClosed(self.code, self.reason)
            if self._goodbye is not None and not isinstance(event, self._kinds.CloseConnection):
                raise WebSocketClosed(*self._goodbye)
            if before is not None:
                before()
            self._put(self._engine.send(event))

    def _put(self, frames: bytes) -> None:
        try:
            self._wire.sendall(frames)
        except OSError as exc:  # Timeout is one, too
            self._note(_ABNORMAL, "")
            self._wire.abort()
            self._end()
            if isinstance(exc, Timeout):
                raise
            raise WebSocketClosed(_ABNORMAL, "") from exc

    def _note(self, code: int, reason: str) -> None:
        if self.code is None:
            self.code = code
            self.reason = reason

    def _end(self) -> None:
        """Close the wire. Nothing more is received."""
        if not self._ended.is_set():
            self._ended.set()
            self._wire.close()
            for _, answer in chain.from_iterable(self._pings.values()):
                answer.set_exception(WebSocketClosed(self.code or _ABNORMAL, self.reason))
            self._pings.clear()

    # receiving

    def receive(self, timeout: float | None = None) -> str | bytes | None:
        """The next message; None when the connection has ended. Raises Timeout after `timeout` seconds."""
        deadline = moment_after(timeout)
        while not self._ended.is_set():
            if (event := next(self._events, None)) is not None:
                message = self._take(event)
                if message is not None and self.code is None:
                    return message
            elif self._leaving and self.code is None:
                self.close(GOING_AWAY)
            else:
                self._hear(deadline)
        return None

    def __iter__(self) -> Iterator[str | bytes]:
        while (message := self.receive()) is not None:
            yield message

    def leave(self) -> None:
        """End it properly, as `going_away` says. Does not block."""
        self._leaving = True
        if self._receiving and self.code is None:
            gevent.spawn(self.close, GOING_AWAY)

    def _hear(self, deadline: float | None) -> None:
        """Wait for input and parse it."""
        if self._receiving:
            raise RuntimeError("another greenlet receives already")
        self._receiving = True
        try:
            received = self._wire.receive(self._read_bytes, deadline)
        except OSError as exc:  # Timeout is one, too
            if isinstance(exc, Timeout) and self.code is None:
                raise
            received = b""
        finally:
            self._receiving = False
        if received:
            self._silent = False
            self._engine.receive_data(received)
            self._events = self._engine.events()
        else:
            self._note(_ABNORMAL, "")
            self._end()

    def _break_off(self, code: int) -> None:
        """Close, because the peer has broken the rules, and read nothing more."""
        self._events = iter(())
        self._pieces.clear()
        self._say_close(code, "")
        self._end()

    def _take(self, event: Any) -> str | bytes | None:
        """What an event means; a message if it completes one."""
        kinds = self._kinds
        if isinstance(event, kinds.Message):
            return self._join(event)
        if isinstance(event, kinds.Ping):
            self._answer(event)
        elif isinstance(event, kinds.Pong):
            for begun, answer in self._pings.pop(bytes(event.payload), ()):
                answer.set(monotonic() - begun)
        elif isinstance(event, kinds.CloseConnection):
            if self._engine.state not in self._closing:  # the peer has broken the rules, and wsproto has noticed
                self._break_off(int(event.code))
                return None
            self._goodbye = int(event.code), event.reason or ""  # others may be about to send
            self._answer(event)
            self._note(*self._goodbye)
            self._end()
        return None

    def _answer(self, event: Any) -> None:
        """Answer a ping, or a close frame if we have sent none before."""
        try:
            self._send(event.response())
        except WebSocketClosed:  # `receive` says so by its result
            pass

    def _join(self, event: Any) -> str | bytes | None:
        self._size += len(event.data)
        if self._size > self._most:
            self._break_off(_TOO_BIG)
            return None
        self._pieces.append(event.data)
        if not event.message_finished:
            return None
        pieces, self._pieces, self._size = self._pieces, [], 0
        return "".join(pieces) if isinstance(event, self._kinds.TextMessage) else b"".join(pieces)
