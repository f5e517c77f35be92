"""Opening connections: tries the candidates of an address in turn until one answers."""

from __future__ import annotations

import _socket
import errno
import os
from time import monotonic

import gevent
from gevent import get_hub

from gruvihttp.errors import Timeout, TransportError
from gruvihttp.net.deadline import timeout_left
from gruvihttp.net.resolve import Candidate, resolve
from gruvihttp.net.sockets import Address, RawSocket, format_address, take_over, transport_error

__all__ = ["dial"]

# A Unix socket whose backlog is full says "try again", and there is nothing to wait on.
_RETRY_SECONDS = 0.01


def dial(
    address: Address, *, local_address: Address = None, family: int = 0, flags: int = 0, deadline: float | None = None
) -> RawSocket:
    """A connected socket for `address`: (host, port), a Unix path, or a socket or descriptor that is connected.

    Every candidate is tried; with a deadline, each gets an equal share of the time that is left, so that one that
    swallows packets cannot use it up. Raises TransportError (the last one, if all failed) or
    Timeout(phase="connect").
    """
    if not isinstance(address, (tuple, str, bytes)):
        return take_over(address)
    candidates = resolve(address, family, flags, deadline=deadline)
    failure: TransportError | Timeout | None = None
    for index, candidate in enumerate(candidates):
        try:
            return _connect(candidate, local_address, _share(deadline, len(candidates) - index))
        except (TransportError, Timeout) as exc:
            failure = exc
    if failure is None:
        raise TransportError(f"cannot connect to {format_address(address)}: it has no addresses")
    raise failure


def _share(deadline: float | None, ways: int) -> float | None:
    if deadline is None or ways < 2:
        return deadline
    now = monotonic()
    return now + (deadline - now) / ways


def _connect(candidate: Candidate, local_address: Address, deadline: float | None) -> RawSocket:
    doing = f"cannot connect to {format_address(candidate.address)}"
    try:
        sock = _socket.socket(candidate.family, candidate.kind, candidate.proto)
    except OSError as exc:  # an address family that this system lacks
        raise transport_error(exc, doing) from exc
    try:
        sock.setblocking(False)
        if local_address is not None:
            _bind(sock, candidate.family, local_address, deadline)
        _finish(sock, candidate.address, deadline)
    except Timeout:
        sock.close()
        raise Timeout(f"{doing}: timed out", phase="connect") from None
    except TransportError:
        sock.close()
        raise
    except OSError as exc:
        sock.close()
        raise transport_error(exc, doing) from exc
    except BaseException:
        sock.close()
        raise
    return sock


def _bind(sock: RawSocket, family: int, local_address: Address, deadline: float | None) -> None:
    local = resolve(local_address, deadline=deadline)
    for candidate in local:
        if candidate.family == family:
            sock.bind(candidate.address)
            return
    raise TransportError(f"the local address {format_address(local_address)} is of another family")


def _finish(sock: RawSocket, address: Address, deadline: float | None) -> None:
    code = sock.connect_ex(address)
    while code == errno.EAGAIN:
        if deadline is not None and deadline <= monotonic():
            raise Timeout(phase="connect")
        gevent.sleep(_RETRY_SECONDS)
        code = sock.connect_ex(address)
    if code in (errno.EINPROGRESS, errno.EINTR):
        _wait_writable(sock, deadline)
        code = sock.getsockopt(_socket.SOL_SOCKET, _socket.SO_ERROR)
    if code:
        raise OSError(code, os.strerror(code))


def _wait_writable(sock: RawSocket, deadline: float | None) -> None:
    hub = get_hub()
    watcher = hub.loop.io(sock.fileno(), 2)
    timer = gevent.Timeout(timeout_left(deadline))
    try:
        with timer:
            hub.wait(watcher)
    except gevent.Timeout as exc:
        if exc is not timer:  # somebody else's, thrown through us
            raise
        raise Timeout(phase="connect") from None
    finally:
        watcher.close()
