"""The input half of a channel: reading, waiting for input, and being parked.

One read watcher belongs to the socket for its whole life and stays started while input is wanted. Its callback is
swapped, instead of the watcher being stopped and started: it is the switch of a greenlet that waits in `receive`,
otherwise the callback that was given to `park`, otherwise the watcher's own ``stop``, because a level-triggered watcher
without a reader would spin.

After a short read the socket is empty, so the next `receive` waits before it reads: one system call less per turn.
"""

from __future__ import annotations

from _socket import MSG_PEEK
from collections.abc import Callable
from select import POLLIN
from time import monotonic
from typing import NoReturn

from gevent import get_hub
from gevent.monkey import get_original
from greenlet import getcurrent, greenlet

from gruvihttp.errors import Timeout, TransportError
from gruvihttp.net.deadline import Alarm
from gruvihttp.net.sockets import BytesLike, RawSocket, transport_error
from gruvihttp.net.tlslayer import TlsLayer
from gruvihttp.net.watchers import Watcher

__all__ = ["LARGE_READ_BYTES", "READ_BYTES", "Receiving", "closed_error"]

READ_BYTES = 65536  # per read; a kernel's receive buffer seldom holds more for one connection
LARGE_READ_BYTES = 2 * READ_BYTES  # while so much keeps coming: a third less time per byte; larger still gains nothing

_poll = get_original("select", "poll")  # the system's, also in a patched program: it is asked, and never waits

READABLE, WRITABLE = 1, 2  # gevent's names for what an io watcher looks at


class Receiving:
    """A socket that is read from, directly or through TLS. What can be received is always bytes, never messages.

    The hot path is: parked callback, `try_receive`. What it must not do, state does for it: `_recv` is another
    function once the channel is closed.
    """

    __slots__ = (
        "_alarm",
        "_empty",
        "_hub",
        "_parked",
        "_phase",
        "_poll",
        "_read_bytes",
        "_reader",
        "_recv",
        "_send",
        "_sock",
        "_tls",
        "_watcher",
        "broken",
        "closed",
        "eof",
        "error",
    )

    def __init__(self, sock: RawSocket) -> None:
        self._sock = sock
        self._hub = get_hub()
        self._recv: Callable[[int], bytes] = sock.recv
        self._send: Callable[[BytesLike], int] = sock.send
        self._watcher = self._make_watcher(READABLE)
        self._parked: Callable[[], object] | None = None  # what is called when no greenlet is receiving
        self._reader: greenlet | None = None
        self._alarm: Alarm | None = None
        self._phase = "read"
        self._read_bytes = READ_BYTES
        self._poll: Callable[[int], object] | None = None
        self._tls: TlsLayer | None = None
        # As far as we know there is nothing to read. None: nobody has read since a sender's `on_input` was called.
        self._empty: bool | None = False
        self.eof = False
        self.closed = False
        self.broken = False
        self.error: TransportError | None = None

    def try_receive(self, size: int = READ_BYTES) -> bytes | None:
        """What has arrived, ``b""`` at the end of the stream, None if there is nothing yet. Never waits."""
        try:
            received = self._recv(size)
        except BlockingIOError:
            self._empty = True
            return None
        except OSError as exc:
            self._fail(exc)
        if received:
            self._empty = len(received) < size
        else:
            self._empty = False
            self.eof = True
        return received

    def is_quiet(self) -> bool:
        """Is there surely nothing to be received, not even the end? Never waits; cheaper than `try_receive`."""
        if self.closed or self.broken or self._tls is not None:
            return False
        return not self._has_arrived()

    def _has_arrived(self) -> bool:
        """Is there something in the socket, as of now?"""
        if self._poll is None:
            poller = _poll()
            poller.register(self._sock.fileno(), POLLIN)
            self._poll = poller.poll
        return bool(self._poll(0))

    def receive(self, deadline: float | None = None, phase: str = "read", size: int = 0) -> bytes:
        """Wait until something has arrived and return it, at most `size` bytes; ``b""`` at the end of the stream.

        Without `size`, it is READ_BYTES at most, and LARGE_READ_BYTES once so much has been there.

        Raises Timeout(phase) when `deadline`, a moment of ``time.monotonic()``, passes first. A deadline that is past
        means no waiting: what is there is returned.
        """
        if self._empty and (deadline is None or monotonic() < deadline) and (
            self._tls is None or not self._tls.pending()
        ):
            self._wait(deadline, phase)
        most = size or self._read_bytes
        while (received := self.try_receive(most)) is None:
            self._wait_readable(deadline, phase)
        if not size:
            self._read_bytes = READ_BYTES if len(received) < READ_BYTES else LARGE_READ_BYTES
        return received

    def peer_has_ended(self) -> bool:
        """Is the end of the stream, or its loss, the next thing that would be received? Never waits, takes nothing."""
        if self.closed or self.broken or self.eof:
            return True
        try:
            return not self._sock.recv(1, MSG_PEEK) and not self._has_pending()
        except BlockingIOError:
            return False
        except OSError as exc:
            self._note(exc)
            return True

    def park(self, callback: Callable[[], object]) -> None:
        """Have `callback` called in the hub each time there is input, or the end of it, until `unpark`.

        It must neither block nor raise: gevent reports an error in the hub and then calls nobody any more, before the
        next `park` or wait. It is called again and again until the input is read. A greenlet in `receive` comes first.
        """
        if self.closed:
            raise closed_error()
        self._parked = callback
        if self._reader is None:
            self._listen(callback)
        if self._tls is not None and self._tls.pending():
            self._hub.loop.run_callback(self._offer_pending)

    def unpark(self) -> None:
        """Stop calling. Input stays in the system's buffers, and the peer has to wait when they are full."""
        self._parked = None
        if self._reader is None and not self.closed:
            self._watcher.callback = self._watcher.stop

    def keep_loop(self, *, alive: bool) -> None:
        """Whether the hub's loop goes on for the sake of what may be received here, as it does unless told otherwise.

        Without it, ``gevent.wait()`` returns although somebody is parked. Not for as long as a greenlet waits.
        """
        if not self.closed:
            self._watcher.ref = alive

    def park_and_drop(self, most_bytes: int, ended: Callable[[bool], object]) -> None:
        """Have what comes dropped in the hub, so that our last bytes are not lost to a reset, until that is over.

        `ended(too_much)` is called then: the peer has ended its side, or has sent more than `most_bytes`. It must close
        the channel, abort it, or `unpark`.
        """
        dropped_bytes = 0

        def drop() -> None:
            nonlocal dropped_bytes
            try:
                data = self.try_receive()
            except TransportError:
                data = b""
            if data is None:
                return
            dropped_bytes += len(data)
            if not data or dropped_bytes > most_bytes:
                ended(bool(data))

        self.park(drop)

    def _has_pending(self) -> bool:
        """Is there input that the socket does not know about?"""
        return self._tls is not None and self._tls.pending()

    def _recv_tls(self, size: int) -> bytes:
        """Stands in for ``recv`` with TLS: the parked callback is owed a call for what stays in the layer."""
        assert self._tls is not None
        received = self._tls.recv(size)
        if self._parked is not None and (len(received) == size or self._tls.ended):
            self._hub.loop.run_callback(self._offer_pending)
        return received

    def _offer_pending(self) -> None:
        if self._parked is not None and self._reader is None and self._has_pending():
            self._parked()

    def _make_watcher(self, events: int) -> Watcher:
        return self._hub.loop.io(self._sock.fileno(), events)  # type: ignore[return-value]  # see Watcher

    def _listen(self, callback: Callable[..., object]) -> None:
        # the watcher itself is asked whether it is active: gevent stops one whose callback raised
        if self._watcher.active:
            self._watcher.callback = callback
        else:
            self._watcher.start(callback)

    def _wait_readable(self, deadline: float | None, phase: str) -> None:
        if deadline is not None and deadline <= monotonic():
            raise _timeout(phase)
        self._wait(deadline, phase)

    def _wait(self, deadline: float | None, phase: str) -> None:
        if self.closed:
            raise closed_error()
        if self._reader is not None:
            raise RuntimeError("another greenlet is already receiving from this channel")
        if deadline is not None:
            if self._alarm is None:
                self._alarm = Alarm(self._hub.loop, self._expire)
            self._alarm.set(deadline)
            self._phase = phase
        watcher = self._watcher
        self._reader = current = getcurrent()
        if watcher.active:  # as in `_listen`
            watcher.callback = current.switch
        else:
            watcher.start(current.switch)
        try:
            self._hub.switch()
        finally:
            self._reader = None
            if deadline is not None and self._alarm is not None:
                self._alarm.clear()
            if not self.closed:
                watcher.callback = self._parked or watcher.stop

    def _expire(self) -> None:
        if self._reader is None:
            return
        if self._has_arrived():  # in time, but the loop was busy: its watcher calls the reader next
            return
        self._reader.throw(_timeout(self._phase))

    def _fail(self, exc: OSError) -> NoReturn:
        if isinstance(exc, TransportError):  # ours already, from a channel that is closed or broken
            raise exc
        raise self._note(exc) from exc

    def _note(self, exc: OSError) -> TransportError:
        """Remember that the system says that the peer is gone, or that nothing will work any more."""
        self.broken = True
        if self.error is None:
            self.error = transport_error(exc)  # not what is raised: that will hold frames, and they this channel
        return transport_error(exc)


def _timeout(phase: str) -> Timeout:
    return Timeout(f"timed out: {phase}", phase=phase)


def closed_error() -> TransportError:
    """The error for using a closed channel, or waiting on it while it is closed."""
    return TransportError("the connection is closed")
