"""For tests of ours and of our users: a pair of channels in memory, a scripted peer, a clock that stands still.

Nothing here is a fake of our own classes. The channels are real ones over a pair of sockets that never leaves the
kernel; the scripted peer listens on the loopback interface. Every wait is guarded, so that a test that hangs fails
with a Timeout that says what was waited for. Nothing in the package imports this.
"""

from __future__ import annotations

import _socket
import ssl
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Self, TypeAlias

import gevent
from gevent.event import Event

from gruvihttp.errors import Error, Timeout, TransportError
from gruvihttp.net.channel import Channel
from gruvihttp.net.deadline import moment_after, timeout_left
from gruvihttp.net.dial import dial
from gruvihttp.net.listening import open_listeners
from gruvihttp.net.sockets import Address, BytesLike, RawSocket
from gruvihttp.net.transport import Transport

__all__ = ["ManualClock", "MemoryChannel", "RawPeer", "Script", "ScriptedPeer", "memory_pair", "replies"]

GUARD_SECONDS = 10.0  # far above what anything on a loopback interface needs


class ManualClock:
    """A clock, for code that takes one as a function: it returns `now`, which only `advance` changes."""

    def __init__(self, now: float = 0.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        """Let `seconds` pass."""
        if seconds < 0:
            raise ValueError("time does not go back")
        self.now += seconds


class MemoryChannel(Transport):
    """One end of a `memory_pair`. `sends` has the content of each send, one item per call that sent something."""

    __slots__ = ("sends",)

    def __init__(self, sock: RawSocket) -> None:
        super().__init__(sock)
        self.sends: list[bytes] = []

    def send(
        self,
        content: BytesLike | Sequence[BytesLike],
        stall: float | None = None,
        on_input: Callable[[], bool] | None = None,
    ) -> bool:
        one = content if isinstance(content, (bytes, bytearray, memoryview)) else b"".join(content)
        self.sends.append(bytes(one))
        return super().send(content, stall, on_input)

    def try_send(self, content: BytesLike) -> BytesLike:
        rest = super().try_send(content)
        if sent := bytes(content[: len(content) - len(rest)]):
            self.sends.append(sent)
        return rest


def memory_pair(buffer_bytes: int | None = None) -> tuple[MemoryChannel, MemoryChannel]:
    """Two channels that are connected with each other.

    `buffer_bytes` makes the buffers between them small, so that a sender soon waits; the system has a least size of
    some thousand bytes.
    """
    ends = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_STREAM)
    if buffer_bytes is not None:
        for end in ends:
            end.setsockopt(_socket.SOL_SOCKET, _socket.SO_SNDBUF, buffer_bytes)
    return MemoryChannel(ends[0]), MemoryChannel(ends[1])


class RawPeer:
    """The bare other end of a connection: says exactly what it is told and records what it hears in `received`.

    Every wait ends with Timeout after `guard` seconds.
    """

    def __init__(self, channel: Channel, guard: float = GUARD_SECONDS) -> None:
        self.channel = channel
        self.guard = guard
        self.received = bytearray()
        self._taken = 0  # how much of `received` the read methods have returned

    @classmethod
    def connect(cls, address: Address, context: ssl.SSLContext | None = None, hostname: str | None = None) -> Self:
        """A raw client of the server at `address`, with TLS if there is a context."""
        channel = Channel(dial(address, deadline=moment_after(GUARD_SECONDS)))
        if context is not None:
            channel.start_tls(context, False, hostname, moment_after(GUARD_SECONDS))
        return cls(channel)

    def send(self, content: bytes) -> None:
        """Send all of it, in one piece if the system does."""
        self.channel.send(content, stall=self.guard)

    def send_in_pieces(self, content: bytes, size: int = 1) -> None:
        """Send `size` bytes at a time, so that another end in this hub reads them one by one."""
        for start in range(0, len(content), size):
            self.send(content[start : start + size])
            gevent.idle()  # all greenlets of this hub that have input have had their turn

    def read(self, size: int) -> bytes:
        """The next `size` bytes; fewer only if the stream ends before."""
        while len(self.received) - self._taken < size and self._hear():
            pass
        return self._take(size)

    def read_until(self, end: bytes = b"\r\n\r\n") -> bytes:
        """Everything up to `end`, which is included; up to the end of the stream if it does not come."""
        while (found := self.received.find(end, self._taken)) < 0:
            if not self._hear():
                return self._take(len(self.received) - self._taken)
        return self._take(found + len(end) - self._taken)

    def read_to_end(self) -> bytes:
        """Everything up to the end of the stream."""
        while self._hear():
            pass
        return self._take(len(self.received) - self._taken)

    def half_close(self) -> None:
        """Send nothing more, but go on listening."""
        self.channel.shutdown_write()

    def close(self) -> None:
        """Close politely."""
        self.channel.close()

    def reset(self) -> None:
        """Close with a TCP reset."""
        self.channel.abort()

    def _hear(self) -> bool:
        heard = self.channel.receive(moment_after(self.guard), "test")
        self.received += heard
        return bool(heard)

    def _take(self, size: int) -> bytes:
        start, self._taken = self._taken, min(self._taken + size, len(self.received))
        return bytes(self.received[start : self._taken])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


Script: TypeAlias = Callable[[RawPeer], object]


def replies(*answers: bytes, after: bytes = b"\r\n\r\n") -> Script:
    """A script that reads up to `after` and sends the next answer, for each of `answers`, and then closes."""

    def script(peer: RawPeer) -> None:
        for answer in answers:
            peer.read_until(after)
            peer.send(answer)

    return script


class ScriptedPeer:
    """A server on the loopback interface that does what its scripts say.

    The first connection is run by the first script, and so on; the last script is used for all that follow. A script
    is a function of the connection, a `RawPeer`, in a greenlet of its own; when it returns, the connection is closed.
    What goes wrong in a script, except that the other end has gone, is raised by `close`, hence at the end of a
    ``with`` block.
    """

    def __init__(self, *scripts: Script, context: ssl.SSLContext | None = None) -> None:
        if not scripts:
            raise ValueError("a scripted peer needs a script")
        self._scripts = scripts
        self._context = context
        self._greenlets: list[gevent.Greenlet[..., object]] = []
        self._arrived = Event()
        self._errors: list[BaseException] = []
        self.connections: list[RawPeer] = []
        [self._listener] = open_listeners(("127.0.0.1", 0), self._accepted)
        self._listener.start()

    @property
    def address(self) -> tuple[str, int]:
        """(host, port) to connect to."""
        host, port = self._listener.address
        return host, port

    @property
    def port(self) -> int:
        """The port alone."""
        return self.address[1]

    @property
    def received(self) -> bytes:
        """What all connections together have heard, in the order of connecting."""
        return b"".join(connection.received for connection in self.connections)

    def wait_for_connections(self, count: int = 1) -> None:
        """Wait until there have been `count` connections."""
        while len(self.connections) < count:
            self._arrived.clear()
            if not self._arrived.wait(GUARD_SECONDS):
                raise Timeout(f"timed out: {len(self.connections)} of {count} connections came", phase="test")

    def wait(self) -> None:
        """Wait until all scripts that have begun are done."""
        deadline = moment_after(GUARD_SECONDS)
        for greenlet in self._greenlets:
            greenlet.join(timeout_left(deadline))
        left = [greenlet for greenlet in self._greenlets if not greenlet.ready()]
        if left:
            raise Timeout(f"timed out: {len(left)} scripts have not ended", phase="test")

    def close(self) -> None:
        """Stop listening, end the scripts, and raise the first error of one."""
        self._listener.close()
        gevent.killall(self._greenlets, timeout=GUARD_SECONDS)
        for connection in self.connections:
            connection.close()
        if self._errors:
            raise self._errors.pop(0)

    def _accepted(self, sock: RawSocket, peer: Address) -> None:
        script = self._scripts[min(len(self.connections), len(self._scripts) - 1)]
        connection = RawPeer(Channel(sock, peer))
        self.connections.append(connection)
        self._greenlets.append(gevent.spawn(self._run, script, connection))
        self._arrived.set()

    def _run(self, script: Script, connection: RawPeer) -> None:
        try:
            if self._context is not None:
                try:
                    connection.channel.start_tls(self._context, True, None, moment_after(GUARD_SECONDS))
                except Error:  # what the client makes of it is the test
                    return
            script(connection)
        except TransportError:  # the other end has gone, as it may
            pass
        except Exception as exc:  # raised again where the test sees it
            self._errors.append(exc)
        finally:
            connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            self.close()
        except Exception as exc:
            if error is None:
                raise
            error.add_note(f"and a script of the peer failed: {exc!r}")
