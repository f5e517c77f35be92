"""Opening connections: tries the candidates of an address until one answers, which is RFC 8305 ("happy eyeballs").

The candidates take turns by family, beginning with the one that the resolver prefers. Each gets a head start; then
the next one is tried as well, and at once when the one before has failed. The first connection wins, the others are
dropped. So an address that swallows packets costs a quarter of a second, whatever the deadline.
"""

from __future__ import annotations

import _socket
import errno
import os
from collections.abc import Iterable
from itertools import chain, zip_longest
from time import monotonic

import gevent
from gevent import get_hub
from gevent.queue import Empty, Queue

from gruvihttp.errors import Timeout, TransportError
from gruvihttp.net.deadline import timeout_left
from gruvihttp.net.resolve import Candidate, resolve
from gruvihttp.net.sockets import Address, RawSocket, format_address, take_over, transport_error

__all__ = ["dial"]

# A Unix socket whose backlog is full says "try again", and there is nothing to wait on.
_RETRY_SECONDS = 0.01
_STAGGER_SECONDS = 0.25  # the "Connection Attempt Delay" that RFC 8305 §5 recommends


def dial(
    address: Address, *, local_address: Address = None, family: int = 0, flags: int = 0, deadline: float | None = None
) -> RawSocket:
    """A connected socket for `address`: (host, port), a Unix path, or a socket or descriptor that is connected.

    Every candidate is tried, 250 ms after the one before or as soon as that has failed; when there is less time, each
    gets an equal share of it. Raises TransportError (the last one, if all failed) or Timeout(phase="connect").
    """
    if not isinstance(address, (tuple, str, bytes)):
        return take_over(address)
    candidates = resolve(address, family, flags, deadline=deadline)
    if not candidates:
        raise TransportError(f"cannot connect to {format_address(address)}: it has no addresses")
    if len(candidates) == 1:
        return _connect(candidates[0], local_address, deadline)
    return _Race(_interleaved(candidates), local_address, deadline).run()


def _interleaved(candidates: Iterable[Candidate]) -> list[Candidate]:
    """By turns of one family and the others (RFC 8305 §4)."""
    families: dict[int, list[Candidate]] = {}
    for candidate in candidates:
        families.setdefault(candidate.family, []).append(candidate)
    return [one for one in chain.from_iterable(zip_longest(*families.values())) if one is not None]


class _Race:
    """Attempts at several candidates, each in a greenlet, of which the first to connect wins."""

    def __init__(self, candidates: list[Candidate], local_address: Address, deadline: float | None) -> None:
        self._waiting = candidates
        self._local_address = local_address
        self._deadline = deadline
        self._stagger = _STAGGER_SECONDS
        if deadline is not None:
            self._stagger = min(self._stagger, max(deadline - monotonic(), 0.0) / len(candidates))
        # not a SimpleQueue: in gevent 24.10 that is the standard library's, which blocks the thread
        self._outcomes: Queue[RawSocket | BaseException] = Queue()
        self._attempts: list[gevent.Greenlet[..., None]] = []

    def run(self) -> RawSocket:
        """The winner's socket. Raises the failure of the last, if all fail."""
        failed = 0
        try:
            while True:
                if self._waiting:
                    self._attempts.append(gevent.spawn(self._attempt, self._waiting.pop(0)))
                outcome = self._next_outcome()
                if isinstance(outcome, BaseException):
                    failed += 1
                    if failed == len(self._attempts) and not self._waiting:
                        raise outcome
                elif outcome is not None:
                    return outcome
        finally:
            gevent.killall(self._attempts)  # which waits no longer than it takes to close their sockets
            self._drop_late()

    def _next_outcome(self) -> RawSocket | BaseException | None:
        """The outcome of the next attempt; None when it is time for another one."""
        try:
            return self._outcomes.get(timeout=self._stagger if self._waiting else None)
        except Empty:
            return None

    def _attempt(self, candidate: Candidate) -> None:
        try:
            sock = _connect(candidate, self._local_address, self._deadline)
        except Exception as exc:  # for the greenlet that dials
            self._outcomes.put(exc)
            return
        self._outcomes.put(sock)

    def _drop_late(self) -> None:
        """Close what has connected beside the winner."""
        while not self._outcomes.empty():
            outcome = self._outcomes.get()
            if not isinstance(outcome, BaseException):
                outcome.close()


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
        if exc is not timer:  # a foreign one, thrown through us
            raise
        raise Timeout(phase="connect") from None
    finally:
        watcher.close()
