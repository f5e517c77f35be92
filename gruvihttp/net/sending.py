"""The output half of a channel: sending what can go at once, waiting for the rest, reading while it waits.

There is a write watcher only while output is stuck. It wakes the greenlet that waits in `send`; otherwise it empties
the TLS layer and calls the callback given to `when_writable`.

A blocking sender that never reads deadlocks with a peer that does the same. So `send` takes `on_input`, which is
called while output is stuck and input is there.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Sequence
from itertools import islice
from typing import NoReturn

from greenlet import getcurrent, greenlet

from gruvihttp.errors import Timeout, TransportError
from gruvihttp.net.deadline import Alarm
from gruvihttp.net.receiving import WRITABLE, Receiving, closed_error
from gruvihttp.net.sockets import BytesLike, RawSocket, unread_bytes
from gruvihttp.net.stall import Stall
from gruvihttp.net.watchers import Watcher

__all__ = ["JOIN_BYTES", "Sending"]

JOIN_BYTES = 65536  # buffers that are smaller together are copied into one; larger ones are gathered by the system
SENDFILE_BYTES = 1 << 20  # for one system call, which may wait for the disk
IOV_MAX = 1024  # of Linux, BSD and macOS


class Sending(Receiving):
    """A socket that is written to as well.

    A channel that cannot send, because it is closed, broken, or busy with another greenlet's output, has another
    function in `_send`; the hot path does not ask.
    """

    __slots__ = ("_room_wanted", "_stall", "_stall_alarm", "_write_watcher", "_writer", "least_rate")

    def __init__(self, sock: RawSocket) -> None:
        super().__init__(sock)
        self._write_watcher: Watcher | None = None
        self._writer: greenlet | None = None
        self._stall: Stall | None = None
        self._stall_alarm: Alarm | None = None
        self.least_rate = 0  # bytes a second that the peer has to read while `send` waits, in each `stall`
        self._room_wanted: Callable[[], object] | None = None

    def try_send(self, content: BytesLike) -> BytesLike:
        """Send what can go at once; the rest that was not accepted is returned, ``b""`` if there is none.

        Over TLS the last records may still be on their way; the hub sends them, and ``send(b"")`` waits for them.
        """
        try:
            sent = self._send(content)
        except BlockingIOError:
            return content
        except OSError as exc:
            self._fail(exc)
        return b"" if sent == len(content) else memoryview(content)[sent:]

    def when_writable(self, callback: Callable[[], object]) -> None:
        """Call `callback` once, in the hub, when more can be sent: for use with `try_send`."""
        self._check_sending()
        self._room_wanted = callback
        self._watch_room(self._on_room)

    def send(
        self,
        content: BytesLike | Sequence[BytesLike],
        stall: float | None = None,
        on_input: Callable[[], bool] | None = None,
    ) -> bool:
        """Send everything, waiting while the peer does not read. True when the system has taken it all.

        `stall` bounds the seconds in which the peer reads nothing, or less than `least_rate` for each of them; then
        Timeout(phase="write").

        `on_input` is called, in this greenlet, while output is stuck and there is input that no greenlet waits for.
        It should `try_receive`; when it does not, it is not called again before there is progress. When it returns
        False, sending ends: what is unsent is dropped, the channel is `broken` and False is returned.
        """
        if not isinstance(content, (bytes, bytearray)):
            if isinstance(content, memoryview):
                content = content.cast("B")  # whose length is in bytes
            elif sum(map(len, content)) >= JOIN_BYTES:
                return self._send_rest(deque(memoryview(part).cast("B") for part in content if part), stall, on_input)
            else:
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

    def stall(self, seconds: float | None) -> Stall:
        """Watch how long the peer reads too little from now on: for use with `try_send`."""
        return Stall(self._sock, seconds, self.least_rate)

    def unread_bytes(self) -> int:
        """How much of what was sent has not reached the peer's system; 0 where ours does not tell."""
        return 0 if self.closed else unread_bytes(self._sock)

    @property
    def can_send_files(self) -> bool:
        """Can `send_file` be used? The system cannot encrypt."""
        return self._tls is None

    def send_file(self, fd: int, offset: int, count: int, stall: float | None = None) -> None:
        """Have the system send `count` bytes of a file from `offset` on. `stall` is that of `send`.

        Raises EOFError if the file is shorter; the channel is `broken` then, as after any send that was interrupted.
        """
        self._send_alone(lambda: self._send_all_of_file(fd, offset, count, stall))

    def _send_all_of_file(self, fd: int, offset: int, count: int, stall: float | None) -> bool:
        patience = self.stall(stall)
        end = offset + count
        while offset < end:
            try:
                sent = os.sendfile(self._sock.fileno(), fd, offset, min(end - offset, SENDFILE_BYTES))
            except BlockingIOError:
                self._wait_writable(patience, False)
                continue
            except OSError as exc:
                self._fail(exc)
            if not sent:
                raise EOFError("the file has become shorter while it was sent")
            offset += sent
            patience.accept(sent)
        return True

    def _send_rest(self, rest: deque[memoryview], stall: float | None, on_input: Callable[[], bool] | None) -> bool:
        return self._send_alone(lambda: self._send_all(rest, stall, on_input))

    def _send_alone(self, send: Callable[[], bool]) -> bool:
        """Call `send` as the only sender. If that is left early, in whatever way, the channel is broken."""
        self._check_sending()
        self._writer = getcurrent()
        usable, self._send = self._send, _refuse_second_sender
        done = False
        try:
            done = send()
        finally:
            self._writer = None
            if done:
                self._send = usable
            else:
                self._break()
        return done

    def _send_all(self, rest: deque[memoryview], stall: float | None, on_input: Callable[[], bool] | None) -> bool:
        self._push(rest)
        patience = self.stall(stall)
        listening = on_input is not None
        while rest or (self._tls is not None and self._tls.unsent_bytes):
            if self._wait_writable(patience, listening):
                if progress := self._push(rest):
                    patience.accept(progress)
                    listening = on_input is not None
            elif on_input is not None:
                self._empty = None
                if not on_input():
                    return False
                listening = self._empty is not None
            listening = listening and not self.eof  # the end of the stream stays readable for ever
        return True

    def _push(self, rest: deque[memoryview]) -> int:
        """Send what can go at once and take it off `rest`. By how many bytes was there progress?"""
        progress = 0
        try:
            if self._tls is not None:
                unsent_bytes = self._tls.unsent_bytes
                flushed = self._tls.flush()
                progress = unsent_bytes - self._tls.unsent_bytes
                while rest and flushed:
                    sent = self._tls.send(rest[0])
                    progress += sent
                    _advance(rest, sent)
                    flushed = not self._tls.unsent_bytes
                return progress
            while rest:
                many = len(rest) > 1
                sent = self._sock.sendmsg(islice(rest, IOV_MAX)) if many else self._sock.send(rest[0])
                progress += sent
                _advance(rest, sent)
        except BlockingIOError:
            pass
        except OSError as exc:
            self._fail(exc)
        return progress

    def _wait_writable(self, patience: Stall, listening: bool) -> bool:
        """Wait for room in the socket, or for input if `listening`. Was it room?"""
        if listening and self._has_pending():
            return False
        if patience.deadline is not None:
            self._stall = patience
            if self._stall_alarm is None:
                self._stall_alarm = Alarm(self._hub.loop, self._expire_stall)
            self._stall_alarm.set(patience.deadline)
        wake = getcurrent().switch
        watcher = self._watch_room(wake, True)
        parked = listening and self._parked is None
        if parked:
            self._parked = wake
            if self._reader is None:
                self._listen(wake)
        try:
            return self._hub.switch() is True
        finally:
            if self._stall_alarm is not None:
                self._stall_alarm.clear()
            if not self.closed:
                watcher.stop()
                if parked and self._parked is wake:
                    self.unpark()

    def _expire_stall(self) -> None:
        patience, alarm = self._stall, self._stall_alarm
        if self._writer is None or patience is None or alarm is None:
            return
        if not patience.extend(alarm):
            self._writer.throw(Timeout("timed out: the peer does not read", phase="write"))

    def _watch_room(self, callback: Callable[..., object], *args: object) -> Watcher:
        if self._write_watcher is None:
            self._write_watcher = self._make_watcher(WRITABLE)
        self._write_watcher.stop()
        self._write_watcher.start(callback, *args)
        return self._write_watcher

    def _on_stuck(self) -> None:
        """Ciphertext is stuck in the TLS layer. If no greenlet waits for room, the hub does."""
        if self._writer is None:
            self._watch_room(self._on_room)

    def _on_room(self) -> None:
        try:
            if self._tls is not None and not self._tls.flush():
                return
        except OSError as exc:  # the next send meets it
            self._note(exc)
        if self._write_watcher is not None:
            self._write_watcher.stop()
        wanted, self._room_wanted = self._room_wanted, None
        if wanted is not None:
            wanted()

    def _check_sending(self) -> None:
        if self.closed:
            raise closed_error()
        if self._writer is not None or self._send is refuse_broken:
            self._send(b"")

    def _break(self) -> None:
        self.broken = True
        if not self.closed:
            self._send = refuse_broken


def _advance(rest: deque[memoryview], sent: int) -> None:
    """Take `sent` bytes off the front."""
    while rest and sent >= len(rest[0]):
        sent -= len(rest.popleft())
    if sent:
        rest[0] = rest[0][sent:]


def refuse_broken(_: object) -> NoReturn:
    """Stands in for ``send`` on a broken channel."""
    raise TransportError("an earlier send was interrupted, so nothing more can be sent on this connection")


def _refuse_second_sender(_: object) -> NoReturn:
    raise RuntimeError("another greenlet is already sending on this channel")
