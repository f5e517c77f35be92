"""`HijackedSocket`: a connection that an application takes away from HTTP, in the shape of a socket.

It is lazy: looking at it changes nothing, so a middleware may, and a request that is not upgraded stays an ordinary
one. The first input or output detaches the connection. What libraries for WebSocket expect to find in environ is
known here, too; what is spoken on the connection is not.
"""

from __future__ import annotations

import errno
import io
import os
import select
import socket
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Literal, cast

import gevent
from gevent import get_hub
from gevent.lock import RLock
from gevent.monkey import get_original

from gruvihttp._version import PRODUCT_ID
from gruvihttp.environ import Environ
from gruvihttp.errors import Timeout
from gruvihttp.exchanges.base import ServerExchange
from gruvihttp.exchanges.tunnel import Tunnel
from gruvihttp.net.channel import Channel
from gruvihttp.net.deadline import moment_after, timeout_left
from gruvihttp.net.sockets import Address, BytesLike
from gruvihttp.responsehead import response_head

__all__ = ["HijackedSocket", "WebSocketCompat", "offer_hijack"]

WebSocketCompat = Literal["gevent", "werkzeug", "gunicorn"] | None

_GEVENT_SOFTWARE = f"gevent/{gevent.__version__} {PRODUCT_ID}"
_thread_ident = get_original("_thread", "get_ident")  # where threads are greenlets, too
_CLEARTEXT_HTTP2 = b"h2c"  # RFC 9113 §3.1: nobody may ask for that any more, and some clients always do


class HijackedSocket:
    """The connection of an exchange as a blocking socket of this hub.

    `recv` gives what has arrived early first. `send` sends everything, because libraries do not look at what it
    returns; the calls of several greenlets follow one another. Without `settimeout`, `recv` waits for ever, and `send`
    as long as the server waits for a peer that does not read. `close` sees to it that the peer gets what was sent.

    The first of these calls takes the connection away from HTTP. RuntimeError if the response has begun by then.
    """

    family = socket.AF_INET
    type = socket.SOCK_STREAM
    proto = 0

    def __init__(self, exchange: ServerExchange) -> None:
        self._exchange = exchange
        self._channel: Channel = exchange.connection.channel
        self._shares = exchange.connection.multiplexed  # there is no descriptor for it alone
        self._tunnel: Tunnel | None = None
        self._leading = b""
        self._timeout: float | None = None
        self._stall: float | None = exchange.connection.write_timeout
        self._hub = get_hub()
        self._sending = RLock()
        self._closed = False
        self._on_drain: Callable[[], object] | None = None

    def __repr__(self) -> str:
        state = "closed" if self._closed else "not used yet" if self._tunnel is None else "in use"
        return f"<HijackedSocket {state} {self._channel!r}>"

    # input

    def recv(self, bufsize: int, flags: int = 0) -> bytes:
        """The next bytes, at most `bufsize`; waits for the first; ``b""`` at the end of the stream."""
        if flags:
            raise ValueError("recv() has no flags here")
        if self._timeout == 0:
            self._detach()
            if not self._leading:
                return self._receive_at_once(bufsize)
        return self.receive(bufsize, moment_after(self._timeout))

    def recv_into(self, buffer: Any, nbytes: int = 0, flags: int = 0) -> int:
        """`recv` into a buffer. How many bytes that were."""
        view = memoryview(buffer).cast("B")
        received = self.recv(nbytes or len(view), flags)
        view[: len(received)] = received
        return len(received)

    def receive(self, size: int, deadline: float | None = None) -> bytes:
        """`recv` until a moment of ``time.monotonic()``, whatever `settimeout` was told."""
        self._detach()
        if self._leading:
            received, self._leading = self._leading[:size], self._leading[size:]
            return received
        if self._is_at_home():
            return self._channel.receive(deadline, "read", size)
        while (arrived := self._channel.try_receive(size)) is None:
            self._wait_in_thread(select.POLLIN, deadline, "read")
        return arrived

    def _receive_at_once(self, size: int) -> bytes:
        received = self._channel.try_receive(size)
        if received is None:
            raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
        return received

    # output

    def send(self, data: BytesLike, flags: int = 0) -> int:
        """Send all of `data`; waits while the peer does not read. How many bytes it has."""
        self._detach()
        content = memoryview(data).cast("B")
        with self._sending:
            if self._is_at_home():
                self._channel.send(content, self._timeout or self._stall)
            else:
                self._send_in_thread(content)
        return len(content)

    def sendall(self, data: BytesLike, flags: int = 0) -> None:
        """`send`, as sockets have it."""
        self.send(data, flags)

    def _send_in_thread(self, rest: BytesLike) -> None:
        deadline = moment_after(self._timeout or self._stall)
        while rest := self._channel.try_send(rest):
            self._wait_in_thread(select.POLLOUT, deadline, "write")

    def _wait_in_thread(self, events: int, deadline: float | None, phase: Literal["read", "write"]) -> None:
        """Wait in another thread than the connection's, which has no hub that knows it. Not for TLS: see `_detach`."""
        poll = select.poll()
        poll.register(self.fileno(), events)
        left = timeout_left(deadline)
        if not poll.poll(None if left is None else left * 1000):
            raise Timeout(f"timed out: {phase}", phase=phase)

    # the end

    def shutdown(self, how: int) -> None:
        """End one direction or both."""
        self._detach()
        if how in (socket.SHUT_WR, socket.SHUT_RDWR):
            self._channel.shutdown_write()
        if how in (socket.SHUT_RD, socket.SHUT_RDWR):
            with suppress(OSError):
                if not self._shares:
                    self._channel.get_extra_info("socket").shutdown(socket.SHUT_RD)

    def close(self) -> None:
        """Send nothing more, and take nothing more. Idempotent. A socket that was never used stays as it is."""
        if self._tunnel is not None and not self._closed:
            self._closed = True
            if self._is_at_home():
                self._exchange.end_tunnel()
            else:
                self._hub.loop.run_callback_threadsafe(self._exchange.end_tunnel)

    def abort(self) -> None:
        """Cut the connection, and drop what has not left. Idempotent."""
        if self._tunnel is not None and not self._closed:
            self._closed = True
            if self._is_at_home():
                self._exchange.abort()
            else:
                self._hub.loop.run_callback_threadsafe(self._exchange.abort)

    def on_drain(self, callback: Callable[[], object]) -> None:
        """Have `callback` called when the server is told to stop, in the hub, where it must not block.

        The connection stays until it is closed here, or the server's patience ends. The last callback given counts.
        """
        self._on_drain = callback
        if self._tunnel is not None:
            self._announce(self._tunnel)

    def _announce(self, tunnel: Tunnel) -> None:
        tunnel.on_drain = self._on_drain
        if tunnel.draining and tunnel.on_drain is not None:  # it was too soon for anybody to hear of it
            self._hub.loop.run_callback_threadsafe(tunnel.on_drain)

    def __enter__(self) -> HijackedSocket:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # facts and options

    def fileno(self) -> int:
        """The file descriptor, to wait on; -1 when closed. Over TLS, what is read from it is not what `recv` gives.

        Raises io.UnsupportedOperation over HTTP/2.
        """
        if self._shares:
            raise io.UnsupportedOperation("a stream of HTTP/2 has no descriptor of its own")
        return -1 if self._closed else self._channel.fileno()

    def settimeout(self, value: float | None) -> None:
        """How long `recv` and `send` may wait, in seconds; None is the default of each."""
        self._timeout = value

    def gettimeout(self) -> float | None:
        """What `settimeout` was told."""
        return self._timeout

    def setblocking(self, flag: bool) -> None:
        """True is ``settimeout(None)``, False is ``settimeout(0)``."""
        self._timeout = None if flag else 0.0

    def getpeername(self) -> Address:
        """The address of the client."""
        return cast(Address, self._channel.get_extra_info("peername"))

    def getsockname(self) -> Address:
        """The address that the client has connected to."""
        return cast(Address, self._channel.get_extra_info("sockname"))

    def setsockopt(self, *args: Any) -> None:
        """Set an option of the socket; over HTTP/2 nothing, as it is the socket of others, too."""
        if not self._shares:
            self._channel.get_extra_info("socket").setsockopt(*args)

    def getsockopt(self, *args: Any) -> Any:
        """An option of the socket."""
        return self._channel.get_extra_info("socket").getsockopt(*args)

    def dup(self) -> HijackedSocket:
        """This socket itself: the connection has one owner, and is closed once."""
        return self

    def makefile(self, mode: str = "r", buffering: int | None = None, **options: Any) -> Any:
        """A file over this socket, as ``socket.makefile`` makes it; closing it does not close the socket."""
        raw = _SocketFile(self)
        size = io.DEFAULT_BUFFER_SIZE if buffering is None or buffering < 0 else buffering
        if size == 0:
            if "b" not in mode:
                raise ValueError("only binary files can be unbuffered")
            return raw
        reads, writes = "r" in mode, "w" in mode
        file: Any
        if reads and writes:
            file = io.BufferedRWPair(raw, raw, size)
        else:
            file = io.BufferedWriter(raw, size) if writes else io.BufferedReader(raw, size)
        return file if "b" in mode else io.TextIOWrapper(file, **options)

    def _is_at_home(self) -> bool:
        """Is this the thread of the connection?"""
        return bool(_thread_ident() == self._hub.thread_ident)

    def _detach(self) -> None:
        if self._closed:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        if not self._is_at_home() and (self._shares or self._channel.get_extra_info("ssl") is not None):
            what = "a stream" if self._shares else "a TLS connection"
            raise RuntimeError(f"{what} can only be used in its own thread: use greenlets, or patch threads")
        if self._tunnel is None:
            self._tunnel = self._exchange.detach()
            self._channel = self._tunnel.channel
            self._leading = self._tunnel.take_leading()
            self._announce(self._tunnel)


class _SocketFile(io.RawIOBase):
    """What `makefile` buffers."""

    def __init__(self, sock: HijackedSocket) -> None:
        self._sock = sock

    def readable(self) -> bool:
        return True

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._sock.fileno()

    def readinto(self, buffer: Any) -> int:
        return self._sock.recv_into(buffer)

    def write(self, data: Any) -> int:
        return self._sock.send(data)


class _UpgradeInput:
    """`wsgi.input` with the attribute through which some libraries find the socket under gevent's own server."""

    def __init__(self, content: Any, sock: HijackedSocket) -> None:
        self._content = content
        self.raw = _Raw(sock)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._content, name)

    def __iter__(self) -> Any:
        return iter(self._content)


class _Raw:
    def __init__(self, sock: HijackedSocket) -> None:
        self._sock = sock


class _Offer:
    """The callables that an application finds in environ, and the one socket that they lead to."""

    def __init__(self, exchange: ServerExchange, sock: HijackedSocket) -> None:
        self._exchange = exchange
        self._sock = sock

    def hijack(self) -> HijackedSocket:
        """The connection as a socket. The user of it answers the request, with 101 or otherwise."""
        return self._sock

    def upgrade(self, protocol: str, headers: list[tuple[str, str]] | None = None) -> HijackedSocket:
        """Answer that `protocol` is spoken from now on, with these fields, and return the connection.

        Raises ValueError for a protocol that the client has not asked for.
        """
        if protocol.lower().encode("latin-1") not in self._exchange.upgrade:
            raise ValueError(f"the client has not asked for {protocol!r}")
        lines = response_head("200 OK", headers or []).lines  # checked as those of any response
        start = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: %b\r\n"
        self._sock.sendall(start % protocol.encode("latin-1") + lines + b"\r\n")
        return self._sock


def offer_hijack(environ: Environ, exchange: ServerExchange, compat: WebSocketCompat) -> HijackedSocket | None:
    """Put into environ what an application needs to speak one of `exchange.upgrade`, and return the socket of it.

    `compat` names the server whose way of handing out the socket is imitated for libraries. HTTP/2 over cleartext is
    not offered: a client that asks for it is served over HTTP/1.1 (RFC 9113 §3.1).
    """
    if all(protocol == _CLEARTEXT_HTTP2 for protocol in exchange.upgrade):
        return None
    sock = HijackedSocket(exchange)
    offer = _Offer(exchange, sock)
    environ["gruvihttp.hijack"] = offer.hijack
    environ["gruvihttp.upgrade"] = offer.upgrade
    if compat == "gevent":
        environ["SERVER_SOFTWARE"] = _GEVENT_SOFTWARE
        environ["wsgi.input"] = _UpgradeInput(environ["wsgi.input"], sock)
    elif compat is not None:
        environ[f"{compat}.socket"] = sock
    return sock
