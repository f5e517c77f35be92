"""Listening sockets: binding them, and accepting from them in the hub."""

from __future__ import annotations

import _socket
import errno
import os
import stat
from collections.abc import Callable
from select import POLLIN
from typing import Any

from gevent import get_hub
from gevent.monkey import get_original

from gruvihttp.errors import TransportError
from gruvihttp.net.resolve import Candidate, resolve
from gruvihttp.net.sockets import Address, RawSocket, format_address, take_over, transport_error

__all__ = ["Listener", "bind_sockets", "open_listeners"]

# The connection had ended before we came (accept(2) names these); the next one may be fine.
_GONE = frozenset(
    (
        errno.ECONNABORTED,
        errno.EPROTO,
        errno.EPERM,
        errno.ENETDOWN,
        errno.ENETUNREACH,
        errno.EHOSTDOWN,
        errno.EHOSTUNREACH,
    )
)
# After any other failure, out of descriptors above all, the connection stays in the backlog and the watcher would spin.
_REST_SECONDS = 0.1
_REST_SECONDS_MOST = 1.0

# A port that was free for one family may be taken for the next; a few attempts find one that is free for all.
_PORT_ATTEMPTS = 16

# The most batches that a closing listener accepts: 4096 connections, the longest backlog that Linux has by default.
_REST_WAKES = 64


MayAccept = Callable[[Callable[[], bool]], bool]

_poll = get_original("select", "poll")  # the system's, also in a patched program: it is asked, and never waits


class Listener:
    """One listening socket. Calls ``on_accept(sock, peer_address)`` in the hub for each new connection.

    Before that, ``may_accept(is_wanted)`` is asked, where ``is_wanted()`` tells whether there is one. If it says no
    although there is one, it must pause the listener. ``on_failure(error)`` is called when the system cannot give us a
    connection that waits; we try again soon.
    """

    ACCEPTS_PER_WAKE = 64  # then the established connections have their turn

    def __init__(
        self,
        sock: RawSocket,
        on_accept: Callable[[RawSocket, Address], object],
        may_accept: MayAccept | None = None,
        on_failure: Callable[[OSError], object] | None = None,
    ) -> None:
        sock.setblocking(False)
        self._sock = sock
        self._on_accept = on_accept
        self._may_accept = may_accept
        self._on_failure = on_failure
        self._loop = get_hub().loop
        self._watcher = self._loop.io(sock.fileno(), 1)
        self._rest: Any = None  # the timer of a back-off
        self._rest_seconds = _REST_SECONDS
        self._unlink: tuple[str, int, int] | None = None
        self.accepting = False
        self.address: Address = sock.getsockname()

    def __repr__(self) -> str:
        return f"<Listener {format_address(self.address)} {'accepting' if self.accepting else 'paused'}>"

    def own_path(self) -> None:
        """Remember that the file of a Unix socket is ours, so that `close` removes it."""
        status = os.stat(self.address)
        self._unlink = (self.address, status.st_dev, status.st_ino)

    def start(self) -> None:
        """Accept from now on. Idempotent."""
        if not self.accepting:
            self.accepting = True
            self._watcher.start(self._accept_many)

    def pause(self) -> None:
        """Leave new connections in the backlog. Idempotent."""
        self.accepting = False
        self._watcher.stop()
        self._end_rest()

    def accept_rest(self) -> None:
        """Accept what the backlog holds: clients that connected before `close` are not turned away."""
        for _ in range(_REST_WAKES):
            if not self.accepting or not self._accept_many():
                return

    def close(self) -> None:
        """Close the socket and remove its file. Idempotent."""
        self.pause()
        self._watcher.close()
        self._sock.close()
        if self._unlink is not None:
            _remove(*self._unlink)
            self._unlink = None

    def _accept_many(self) -> bool:
        """Accept until nothing is left, or for one wake; whether there may be more."""
        for _ in range(self.ACCEPTS_PER_WAKE):
            if self._may_accept is not None and not self._may_accept(self._is_wanted):
                return False
            try:
                descriptor, peer = self._sock._accept()  # type: ignore[attr-defined]  # what socket.accept is made of
            except BlockingIOError:
                return False
            except OSError as exc:
                if exc.errno in _GONE:
                    continue
                self._take_rest()
                if self._on_failure is not None:
                    self._on_failure(exc)
                return False
            self._rest_seconds = _REST_SECONDS
            sock = _socket.socket(self._sock.family, self._sock.type, self._sock.proto, descriptor)
            self._on_accept(sock, peer)
            if not self.accepting:
                return False
        return True

    def _is_wanted(self) -> bool:
        """Whether a connection waits to be accepted right now. Another process may have been quicker than we."""
        poller = _poll()
        poller.register(self._sock.fileno(), POLLIN)
        return bool(poller.poll(0))

    def _take_rest(self) -> None:
        self._watcher.stop()
        self._rest = self._loop.timer(self._rest_seconds)
        self._rest.start(self._resume)
        self._rest_seconds = min(self._rest_seconds * 2, _REST_SECONDS_MOST)

    def _resume(self) -> None:
        self._end_rest()
        if self.accepting:
            self._watcher.start(self._accept_many)

    def _end_rest(self) -> None:
        if self._rest is not None:
            self._rest.stop()
            self._rest.close()
            self._rest = None


def open_listeners(
    address: Address,
    on_accept: Callable[[RawSocket, Address], object],
    may_accept: MayAccept | None = None,
    on_failure: Callable[[OSError], object] | None = None,
    *,
    family: int = 0,
    flags: int = 0,
    backlog: int = 128,
    mode: int | None = None,
) -> list[Listener]:
    """Listeners, still paused, on every address that `address` resolves to. `may_accept` is that of `Listener`.

    `address` is (host, port), the path of a Unix socket, or a socket or descriptor that listens already. Port 0
    means one free port, the same for all. `mode` is what the file of a Unix socket gets.
    Raises TransportError with errno and a message that names the address.
    """
    if not isinstance(address, (tuple, str, bytes)):
        return [Listener(take_over(address), on_accept, may_accept, on_failure)]
    candidates = resolve(address, family, flags, passive=True)
    sockets = _bind_all(candidates)
    listeners = []
    try:
        for sock in sockets:
            listener = Listener(sock, on_accept, may_accept, on_failure)
            listeners.append(listener)
            if _is_path(listener.address):
                listener.own_path()
                if mode is not None:
                    os.chmod(listener.address, mode)  # before listen: nobody can connect meanwhile
            _listen(sock, backlog)
    except BaseException:
        for listener in listeners:
            listener.close()
        for sock in sockets:
            sock.close()
        raise
    return listeners


def bind_sockets(
    address: Address, *, backlog: int = 128, reuse_port: bool = False, mode: int | None = None
) -> list[RawSocket]:
    """Listening sockets on every address that `address` resolves to, for other processes to accept from.

    With `reuse_port`, other sockets may be bound to the same addresses (SO_REUSEPORT), and the system
    spreads the connections over all of them. `mode` is what the file of a Unix socket gets.
    Raises TransportError with errno and a message that names the address.
    """
    sockets = _bind_all(resolve(address, passive=True), reuse_port=reuse_port)
    try:
        for sock in sockets:
            if mode is not None and _is_path(sock.getsockname()):
                os.chmod(sock.getsockname(), mode)  # before listen: nobody can connect meanwhile
            _listen(sock, backlog)
    except BaseException:
        for sock in sockets:
            sock.close()
        raise
    return sockets


def _listen(sock: RawSocket, backlog: int) -> None:
    try:
        sock.listen(backlog)
    except OSError as exc:
        raise transport_error(exc, f"cannot listen on {format_address(sock.getsockname())}") from exc


def _bind_all(candidates: list[Candidate], *, reuse_port: bool = False) -> list[RawSocket]:
    wants_free_port = len(candidates) > 1 and candidates[0].address[1] == 0
    for attempt in range(_PORT_ATTEMPTS):
        try:
            return _bind_once(candidates, reuse_port)
        except TransportError as exc:
            if not wants_free_port or exc.errno != errno.EADDRINUSE or attempt == _PORT_ATTEMPTS - 1:
                raise
    raise AssertionError("unreachable")


def _bind_once(candidates: list[Candidate], reuse_port: bool) -> list[RawSocket]:
    sockets: list[RawSocket] = []
    unsupported: TransportError | None = None
    try:
        for candidate in candidates:
            address = candidate.address
            if sockets and candidate.family != _socket.AF_UNIX and address[1] == 0:
                address = (address[0], sockets[0].getsockname()[1], *address[2:])
            try:
                sockets.append(_bind(candidate._replace(address=address), reuse_port))
            except TransportError as exc:
                # a name such as localhost may have an address of a family that this machine does not run
                if exc.errno not in (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL) or len(candidates) == 1:
                    raise
                unsupported = exc
    except BaseException:
        for sock in sockets:
            sock.close()
        raise
    if not sockets and unsupported is not None:
        raise unsupported
    return sockets


def _bind(candidate: Candidate, reuse_port: bool) -> RawSocket:
    doing = f"cannot listen on {format_address(candidate.address)}"
    try:
        sock = _socket.socket(candidate.family, candidate.kind, candidate.proto)
    except OSError as exc:
        raise transport_error(exc, doing) from exc
    try:
        if candidate.family == _socket.AF_UNIX:
            _clear_stale(candidate.address)
        else:
            sock.setsockopt(_socket.SOL_SOCKET, _socket.SO_REUSEADDR, 1)
            if reuse_port:
                sock.setsockopt(_socket.SOL_SOCKET, _socket.SO_REUSEPORT, 1)
            if candidate.family == _socket.AF_INET6:  # the IPv4 half, if wanted, has a socket of its own
                sock.setsockopt(_socket.IPPROTO_IPV6, _socket.IPV6_V6ONLY, 1)
        sock.bind(candidate.address)
    except OSError as exc:
        sock.close()
        raise transport_error(exc, doing) from exc
    return sock


def _is_path(address: Address) -> bool:
    return isinstance(address, str) and bool(address)


def _clear_stale(path: str | bytes) -> None:
    """Remove a socket file that a process left behind: one where connecting is refused."""
    if path[:1] in ("\0", b"\0", "", b""):
        return
    try:
        if not stat.S_ISSOCK(os.stat(path).st_mode):
            return
    except OSError:
        return
    probe = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
    try:
        probe.setblocking(False)
        if probe.connect_ex(path) == errno.ECONNREFUSED:
            os.unlink(path)
    finally:
        probe.close()


def _remove(path: str, device: int, inode: int) -> None:
    """Remove our socket file, unless there is another one in its place."""
    try:
        status = os.stat(path)
        if (status.st_dev, status.st_ino) == (device, inode):
            os.unlink(path)
    except OSError:
        pass
