"""`Channel`: one connected byte stream, over TCP, a Unix socket or TLS alike. It knows no messages.

One read watcher belongs to the channel for its whole life and stays started while anybody cares about input. Its
callback is swapped, never stopped and started again: the switch of a greenlet that waits in `receive`; else the
callback of whoever is parked; else a function that stops the watcher, because a level-triggered watcher that nobody
answers would spin. There is a write watcher only while output is stuck.

After a short read the socket is empty, so `receive` waits first and reads then: one system call less per turn.

The hot path is: parked callback, `try_receive`, `try_send` or `send`. What those must not do, state does for them:
a channel that cannot receive or send any more has other functions in `_recv` and `_send`.
"""

from __future__ import annotations

import _socket
import ssl
import struct
from collections import deque
from collections.abc import Callable, Sequence
from itertools import islice
from time import monotonic
from typing import Any, NoReturn, Protocol

from gevent import get_hub
from greenlet import getcurrent, greenlet

from gruvihttp.errors import Timeout, TransportError
from gruvihttp.net.deadline import Alarm, moment_after
from gruvihttp.net.sockets import (
    Address,
    BytesLike,
    format_address,
    set_up,
    take_over,
    transport_error,
    unix_credentials,
)
from gruvihttp.net.tlslayer import TlsLayer, handshake_error

__all__ = ["Channel"]

READ_BYTES = (
    65536  # per read; a kernel's receive buffer seldom holds more of one request
)
JOIN_BYTES = 65536  # buffers that are smaller together are copied into one send; larger ones are gathered
IOV_MAX = 1024  # the limit of Linux; POSIX promises 16, BSD and macOS have 1024 too

_READABLE, _WRITABLE = 1, 2


class _Watcher(Protocol):
    """What gevent's type stubs leave out: the callback of a watcher may be replaced while it is active."""

    active: bool
    callback: Callable[..., object]

    def start(self, callback: Callable[..., object], *args: object) -> None: ...
    def stop(self) -> None: ...
    def close(self) -> None: ...


class Channel:
    """A connected stream of bytes that owns its socket. Belongs to the thread whose hub was current when it was made.

    One greenlet may receive while another sends. A second receiver, or a second sender, gets RuntimeError.
    Errors of the system come as TransportError with its errno, deadlines that pass as Timeout. Foreign exceptions
    that are thrown into a waiting greenlet pass through: a receiver loses nothing by them, an interrupted send
    leaves the channel `broken`.
    """

    __slots__ = (
        "__weakref__",
        "_empty",
        "_hub",
        "_peername",
        "_read_alarm",
        "_read_phase",
        "_reader",
        "_recv",
        "_rest",
        "_send",
        "_sock",
        "_sockname",
        "_tls",
        "_watcher",
        "_write_alarm",
        "_write_watcher",
        "_writer",
        "broken",
        "closed",
        "eof",
        "error",
        "on_close",
    )

    def __init__(self, sock: Any, peername: Address = None) -> None:
        """Take over `sock`: a socket of any library, or a descriptor. `peername` saves asking the system."""
        self._sock = sock = take_over(sock)
        set_up(sock)
        self._hub = get_hub()
        self._recv: Callable[[int], bytes] = sock.recv
        self._send: Callable[[BytesLike], int] = sock.send
        self._watcher = self._make_watcher(_READABLE)
        self._rest: Callable[[], object] | None = None
        self._write_watcher: _Watcher | None = None
        self._reader: greenlet | None = None
        self._writer: greenlet | None = None
        self._read_alarm: Alarm | None = None
        self._write_alarm: Alarm | None = None
        self._read_phase = "read"
        self._tls: TlsLayer | None = None
        self._peername = peername
        self._sockname: Address = None
        # "Nothing to read as far as we know": wait before reading. None: not read since `on_input` was called.
        self._empty: bool | None = False
        self.eof = False
        self.closed = False
        self.broken = False
        self.error: TransportError | None = None
        self.on_close: Callable[[Any], None] | None = (
            None  # Any: a subclass is given where it is declared for one
        )

    def _make_watcher(self, events: int) -> _Watcher:
        return self._hub.loop.io(self._sock.fileno(), events)  # type: ignore[return-value]  # see _Watcher

    # -- receiving ---------------------------------------------------------------------------------------------

    def try_receive(self) -> bytes | None:
        """What has arrived, ``b""`` at the end of the stream, None if there is nothing yet. Never waits."""
        try:
            received = self._recv(READ_BYTES)
        except BlockingIOError:
            self._empty = True
            return None
        except OSError as exc:
            self._fail(exc)
        if received:
            self._empty = len(received) < READ_BYTES
        else:
            self._empty = False
            self.eof = True
        return received

    def receive(self, deadline: float | None = None, phase: str = "read") -> bytes:
        """Wait until something has arrived and return it; ``b""`` at the end of the stream.

        Raises Timeout(phase) when `deadline`, a moment of ``time.monotonic()``, passes first.
        """
        if (
            self._empty
            and (deadline is None or deadline > monotonic())
            and not self._has_pending()
        ):
            self._wait_readable(deadline, phase)
        while (received := self.try_receive()) is None:
            self._wait_readable(deadline, phase)
        return received

    def _has_pending(self) -> bool:
        return self._tls is not None and self._tls.pending()

    def park(self, callback: Callable[[], object]) -> None:
        """Have `callback` called in the hub each time there is input, or the end of it, until `unpark`.

        It must not block. It is called again and again until the input is read. If it raises, the hub reports the
        error and the watcher rests until the next `park` or wait. A greenlet in `receive` goes before it.
        """
        if self.closed:
            raise _closed_error()
        self._rest = callback
        if self._reader is None:
            self._listen(callback)
        if self._has_pending():
            self._hub.loop.run_callback(self._offer)

    def unpark(self) -> None:
        """Call nobody back. Input stays where it is, and the peer feels it when the buffers are full."""
        self._rest = None
        if self._reader is None and not self.closed:
            self._watcher.callback = self._stop_listening

    def _offer(self) -> None:
        """Call the parked callback for input that the socket does not know about."""
        if self._rest is not None and self._reader is None and self._has_pending():
            self._rest()

    def _listen(self, callback: Callable[..., object]) -> None:
        # `active` is asked each time: gevent stops a watcher whose callback raised
        if self._watcher.active:
            self._watcher.callback = callback
        else:
            self._watcher.start(callback)

    def _stop_listening(self) -> None:
        self._watcher.stop()

    def _wait_readable(self, deadline: float | None, phase: str) -> None:
        if self.closed:
            raise _closed_error()
        if self._reader is not None:
            raise RuntimeError(
                "another greenlet is already receiving from this channel"
            )
        if deadline is not None:
            if deadline <= monotonic():
                raise Timeout(f"{phase}: timed out", phase=phase)
            if self._read_alarm is None:
                self._read_alarm = Alarm(self._hub.loop, self._expire_read)
            self._read_alarm.set(deadline)
            self._read_phase = phase
        self._reader = current = getcurrent()
        self._listen(current.switch)
        try:
            self._hub.switch()
        finally:
            self._reader = None
            if deadline is not None and self._read_alarm is not None:
                self._read_alarm.clear()
            if not self.closed:
                self._watcher.callback = self._rest or self._stop_listening

    def _expire_read(self) -> None:
        if self._reader is not None:
            self._reader.throw(
                Timeout(f"{self._read_phase}: timed out", phase=self._read_phase)
            )

    # -- sending -----------------------------------------------------------------------------------------------

    def try_send(self, content: BytesLike) -> BytesLike:
        """Send what can go at once; the rest that was not accepted is returned, ``b""`` if there is none.

        Over TLS the last record may still be on its way; the hub sends it, and ``send(b"")`` waits for it.
        """
        try:
            sent = self._send(content)
        except BlockingIOError:
            return content
        except OSError as exc:
            self._fail(exc)
        return b"" if sent == len(content) else memoryview(content)[sent:]

    def send(
        self,
        content: BytesLike | Sequence[BytesLike],
        stall: float | None = None,
        on_input: Callable[[], bool] | None = None,
    ) -> bool:
        """Send everything, waiting while the peer does not read. True when the system has taken it all.

        `stall` bounds the seconds without progress; then Timeout(phase="write").

        `on_input` is called, in this greenlet, while output is stuck and input is there that nobody else waits for.
        It should `try_receive`; when it does not, it is not called again before there is progress. When it returns
        False, sending ends: what is unsent is dropped, the channel is `broken` and False is returned.
        """
        if not isinstance(content, (bytes, bytearray, memoryview)):
            if sum(map(len, content)) >= JOIN_BYTES:
                return self._send_rest(
                    deque(memoryview(part).cast("B") for part in content if part),
                    stall,
                    on_input,
                )
            content = b"".join(content)
        try:
            sent = self._send(content)
        except BlockingIOError:
            sent = 0
        except OSError as exc:
            self._fail(exc)
        if sent == len(content) and (self._tls is None or not self._tls.unsent_bytes):
            return True
        return self._send_rest(deque((memoryview(content)[sent:],)), stall, on_input)

    def _send_rest(
        self,
        rest: deque[memoryview],
        stall: float | None,
        on_input: Callable[[], bool] | None,
    ) -> bool:
        """Send `rest` as the only sender. If that is left early, in whatever way, the channel is broken."""
        self._check_sending()
        self._writer = getcurrent()
        usable, self._send = self._send, _refuse_second_sender
        done = False
        try:
            done = self._send_all(rest, stall, on_input)
        finally:
            self._writer = None
            if done:
                self._send = usable
            else:
                self._break()
        return done

    def _send_all(
        self,
        rest: deque[memoryview],
        stall: float | None,
        on_input: Callable[[], bool] | None,
    ) -> bool:
        self._push(rest)
        deadline = moment_after(stall)
        listening = on_input is not None
        while rest or (self._tls is not None and self._tls.unsent_bytes):
            if self._wait_writable(deadline, listening):
                if self._push(rest):
                    deadline = moment_after(stall)
                    listening = on_input is not None
            elif on_input is not None:
                self._empty = None
                if not on_input():
                    return False
                listening = self._empty is not None and not self.eof
        return True

    def _push(self, rest: deque[memoryview]) -> bool:
        """Send what can go at once and take it off `rest`. Was there any progress?"""
        progress = False
        try:
            if self._tls is not None:
                unsent_bytes = self._tls.unsent_bytes
                flushed = self._tls.flush()
                progress = self._tls.unsent_bytes < unsent_bytes
                while rest and flushed:
                    progress = True
                    _advance(rest, self._tls.send(rest[0]))
                    flushed = not self._tls.unsent_bytes
                return progress
            while rest:
                many = len(rest) > 1
                _advance(
                    rest,
                    self._sock.sendmsg(islice(rest, IOV_MAX))
                    if many
                    else self._sock.send(rest[0]),
                )
                progress = True
        except BlockingIOError:
            pass
        except OSError as exc:
            self._fail(exc)
        return progress

    def _wait_writable(self, deadline: float | None, listening: bool) -> bool:
        """Wait for room in the socket, or for input if `listening`. Was it room?"""
        if listening and self._has_pending():
            return False
        if deadline is not None:
            if deadline <= monotonic():
                raise Timeout("write: timed out", phase="write")
            if self._write_alarm is None:
                self._write_alarm = Alarm(self._hub.loop, self._expire_write)
            self._write_alarm.set(deadline)
        wake = getcurrent().switch
        watcher = self._start_write_watcher(wake, True)
        mine = listening and self._rest is None
        if mine:
            self._rest = wake
            if self._reader is None:
                self._listen(wake)
        try:
            return self._hub.switch() is True
        finally:
            if deadline is not None and self._write_alarm is not None:
                self._write_alarm.clear()
            if not self.closed:
                watcher.stop()
                if mine and self._rest is wake:
                    self.unpark()

    def _start_write_watcher(
        self, callback: Callable[..., object], *args: object
    ) -> _Watcher:
        if self._write_watcher is None:
            self._write_watcher = self._make_watcher(_WRITABLE)
        self._write_watcher.stop()
        self._write_watcher.start(callback, *args)
        return self._write_watcher

    def _expire_write(self) -> None:
        if self._writer is not None:
            self._writer.throw(Timeout("write: timed out", phase="write"))

    def _flush_later(self) -> None:
        """Ciphertext is stuck in the TLS layer. If no greenlet waits for room, the hub does."""
        if self._writer is None:
            self._start_write_watcher(self._flush_in_hub)

    def _flush_in_hub(self) -> None:
        try:
            done = self._tls is None or self._tls.flush()
        except OSError as exc:
            self._note(exc)
            done = True
        if done and self._write_watcher is not None:
            self._write_watcher.stop()

    def _check_sending(self) -> None:
        if self._writer is not None:
            _refuse_second_sender()
        if self.closed:
            raise _closed_error()
        if self._send is _refuse_broken:
            _refuse_broken()

    def _break(self) -> None:
        self.broken = True
        if not self.closed:
            self._send = _refuse_broken

    # -- failing -----------------------------------------------------------------------------------------------

    def _fail(self, exc: OSError) -> NoReturn:
        if isinstance(
            exc, TransportError
        ):  # ours already: from a channel that is closed or broken
            raise exc
        raise self._note(exc) from exc

    def _note(self, exc: OSError) -> TransportError:
        """The system says that the peer is gone, or that nothing more will work: remember it."""
        error = transport_error(exc)
        self.broken = True
        if self.error is None:
            self.error = error
        return error

    # -- TLS ---------------------------------------------------------------------------------------------------

    def start_tls(
        self,
        context: ssl.SSLContext,
        server_side: bool,
        server_hostname: str | None = None,
        deadline: float | None = None,
    ) -> None:
        """Do a TLS handshake and speak TLS from now on. Blocks this greenlet until `deadline`.

        Raises Timeout(phase="handshake"), or TransportError if the handshake fails; the ssl error is its cause.
        The channel is of no use then: close it.
        """
        if self._tls is not None:
            raise RuntimeError("this channel speaks TLS already")
        if (
            self._reader is not None
            or self._writer is not None
            or self._rest is not None
        ):
            raise RuntimeError(
                "cannot start TLS while somebody receives, sends or is parked"
            )
        layer = TlsLayer(
            self._sock,
            context,
            server_side=server_side,
            server_hostname=server_hostname,
            on_stuck=self._flush_later,
        )
        self._tls = layer
        try:
            self._shake_hands(layer, deadline)
        except BaseException:
            self._break()
            raise
        self._recv, self._send, self._empty = layer.recv, layer.send, False

    def _shake_hands(self, layer: TlsLayer, deadline: float | None) -> None:
        while True:
            try:
                return layer.handshake()
            except BlockingIOError:
                self._wait_readable(deadline, "handshake")
            except OSError as exc:
                self.error = handshake_error(exc)
                raise self.error from exc

    @property
    def ragged_eof(self) -> bool:
        """Did a TLS stream end without the peer saying so? Then it may have been cut."""
        return self._tls is not None and self._tls.ragged_eof

    # -- ending ------------------------------------------------------------------------------------------------

    def shutdown_write(self) -> None:
        """Tell the peer that nothing more will come. Reading goes on. Quiet if the peer is gone already."""
        try:
            if self._tls is not None:
                self._tls.close_notify()
                if (
                    self._tls.unsent_bytes
                ):  # the end of the TCP stream would overtake it
                    return
            self._sock.shutdown(_socket.SHUT_WR)
        except OSError:
            self.broken = True

    def linger(self, max_bytes: int, deadline: float | None) -> bool:
        """Read and drop input until it ends: True. False after `max_bytes`, at `deadline`, or when it fails.

        A socket that is closed with unread input resets the connection, and the peer may lose what we said last.
        """
        try:
            while max_bytes > 0 and not self.eof:
                try:
                    dropped = self._sock.recv(
                        READ_BYTES
                    )  # below TLS: nobody wants to decrypt it
                except BlockingIOError:
                    self._wait_readable(deadline, "linger")
                    continue
                self.eof = not dropped
                max_bytes -= len(dropped)
        except OSError:  # Timeout is one, too
            return False
        return self.eof

    def close(self) -> None:
        """Close the socket. Idempotent, never waits. Greenlets that wait on the channel get TransportError.

        What the system has taken from `send` is still delivered, unless input was left unread: see `linger`.
        """
        if self.closed:
            return
        if self._tls is not None and not self.broken:
            self._tls.close_notify()
        self._release()

    def abort(self) -> None:
        """Close at once and drop what is unsent; over TCP the peer gets a reset. Idempotent."""
        if self.closed:
            return
        try:
            self._sock.setsockopt(_socket.SOL_SOCKET, _socket.SO_LINGER, _LINGER_ZERO)
        except OSError:  # some systems refuse once the peer has gone
            pass
        self._release()

    def _release(self) -> None:
        self.closed = True
        for resource in (
            self._watcher,
            self._write_watcher,
            self._read_alarm,
            self._write_alarm,
        ):
            if resource is not None:
                resource.close()  # a watcher must be gone before its descriptor is
        self._sock.close()
        self._recv, self._send, self._rest = _refuse_closed, _refuse_closed, None
        if self._reader is not None or self._writer is not None:
            self._hub.loop.run_callback(self._wake_all)
        if (on_close := self.on_close) is not None:
            self.on_close = None
            on_close(self)

    def _wake_all(self) -> None:
        for waiting in (self._reader, self._writer):
            if waiting is not None:
                waiting.throw(_closed_error())

    # -- facts -------------------------------------------------------------------------------------------------

    def fileno(self) -> int:
        """The file descriptor; -1 when closed."""
        return self._sock.fileno()

    def get_extra_info(
        self, name: str, default: Any = None
    ) -> Any:  # Any: as many types as names
        """A fact about the connection, or `default` where there is none.

        Names: ``peername``, ``sockname``, ``unix_creds`` (pid, uid, gid), ``socket``, and for TLS ``ssl`` (the
        SSLObject), ``sslctx``, ``server_hostname``, ``alpn``. The socket is the raw one: good for its options, not
        for reading or writing.
        """
        found = self._find_fact(name)
        return default if found is None else found

    def _find_fact(self, name: str) -> Any:
        if name in ("peername", "sockname"):
            return self._address(name)
        if name == "socket":
            return self._sock
        if name == "unix_creds":
            return None if self.closed else unix_credentials(self._sock)
        if self._tls is None:
            return None
        session = self._tls.object
        if name == "ssl":
            return session
        if name == "sslctx":
            return session.context
        if name == "server_hostname":
            return session.server_hostname
        if name == "alpn":
            return session.selected_alpn_protocol()
        return None

    def _address(self, name: str) -> Address:
        slot = f"_{name}"
        known = getattr(self, slot)
        if known is None and not self.closed:
            try:
                known = (
                    self._sock.getpeername()
                    if name == "peername"
                    else self._sock.getsockname()
                )
            except OSError:  # not connected any more
                return None
            setattr(self, slot, known)
        return known

    def __repr__(self) -> str:
        ends = " -> ".join(
            format_address(self._address(name)) for name in ("sockname", "peername")
        )
        return f"<{type(self).__name__} {ends} {' '.join(self._states())}>"

    def _states(self) -> list[str]:
        if self.closed:
            return ["closed"]
        words = {
            "tls": self._tls,
            "receiving": self._reader,
            "sending": self._writer,
            "parked": self._rest,
            "eof": self.eof,
            "broken": self.broken,
        }
        return ["open", *(word for word, holds in words.items() if holds)]


_LINGER_ZERO = struct.pack("ii", 1, 0)


def _advance(rest: deque[memoryview], sent: int) -> None:
    """Take `sent` bytes off the front."""
    while rest and sent >= len(rest[0]):
        sent -= len(rest.popleft())
    if sent:
        rest[0] = rest[0][sent:]


def _closed_error() -> TransportError:
    return TransportError("the connection is closed")


def _refuse_closed(*_: object) -> NoReturn:
    raise _closed_error()


def _refuse_broken(*_: object) -> NoReturn:
    raise TransportError(
        "an earlier send was interrupted, so nothing more can be sent on this connection"
    )


def _refuse_second_sender(*_: object) -> NoReturn:
    raise RuntimeError("another greenlet is already sending on this channel")
