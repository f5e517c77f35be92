"""`Http1Output`: what a server's HTTP/1 connection sends, and when that leaves.

Output is *held* as long as nobody waits for it: until the handler has finished, until there are 64 KiB, or until
anything in this thread waits, for then the hub runs and flushes what is held. So a small response is one send however
many pieces it is made of, and responses to pipelined requests that are ready together leave together.
"""

from __future__ import annotations

from gruvihttp.errors import Timeout, TransportError
from gruvihttp.exchanges.config import ServerConfig
from gruvihttp.exchanges.http1.phases import BUSY, Http1Phases
from gruvihttp.exchanges.http1.server_exchange import Http1ServerExchange
from gruvihttp.exchanges.workers import Workers
from gruvihttp.net.channel import Channel
from gruvihttp.net.sockets import BytesLike

__all__ = ["Http1Output"]

_STRETCH_BYTES = 1 << 17  # of content between two pauses: some tens of microseconds
_PIECE_BYTES = 1 << 14  # what a piece counts for at least, since even a byte takes time


class Http1Output(Http1Phases):
    """A connection that sends. `current` is the exchange that is being answered, if there is one."""

    __slots__ = (
        "_flush_wanted",
        "_held",
        "_sending",
        "_stall",
        "_stretch",
        "_workers",
        "common",
        "current",
        "held_bytes",
        "is_cut",
    )

    def __init__(self, channel: Channel, config: ServerConfig) -> None:
        super().__init__(channel, config)
        self.current: Http1ServerExchange | None = None
        self.common = config.common_lines  # of every response
        self.held_bytes = 0
        self.is_cut = False  # what was held could not be sent, since the peer has gone
        self._held: list[BytesLike] = []
        self._flush_wanted = False
        self._sending = False
        self._stall = config.timeouts.write
        self._stretch = 0
        self._workers = config.workers or Workers.of_hub()

    @property
    def write_timeout(self) -> float | None:
        """How long the peer may go without reading anything, in seconds; None: for ever."""
        return self._stall

    def hold(self, *buffers: BytesLike) -> None:
        """Add output; it leaves by `flush`, or when anything waits after `flush_soon`."""
        for buffer in buffers:
            self._held.append(buffer)
            self.held_bytes += len(buffer)

    def hold_whole(self, buffer: bytes) -> None:
        """`hold` for one buffer, in fewer steps."""
        self._held.append(buffer)
        self.held_bytes += len(buffer)

    def flush(self) -> None:
        """Send what is held; waits while the peer does not read. Raises TransportError or Timeout("write")."""
        held = self._held
        if not held:
            return
        output = held[0] if len(held) == 1 else held.copy()
        held.clear()
        self._tally.sent_bytes += self.held_bytes
        self.held_bytes = 0
        self._sending = True
        try:
            self.channel.send(output, self._stall)
        except BaseException as exc:
            if self.current is not None:
                self.current.failure = exc
            raise
        finally:
            self._sending = False

    def pause_at_times(self, size: int) -> None:
        """Call this for each piece of content, received or sent, of `size` bytes. Now and then it lets others run.

        A peer that is as quick as we are never makes us wait, and would otherwise keep the hub to itself.
        """
        self._stretch += size if size > _PIECE_BYTES else _PIECE_BYTES
        if self._stretch >= _STRETCH_BYTES:
            self._stretch = 0
            self._workers.pause()

    def send_file(self, fd: int, offset: int, count: int) -> None:
        """Send what is held, then that part of a file, which only works without TLS. Raises as `flush` does."""
        self.flush()
        self._sending = True
        try:
            self.channel.send_file(fd, offset, count, self._stall)
        except (TransportError, Timeout) as exc:
            if self.current is not None:
                self.current.failure = exc
            raise
        finally:
            self._sending = False
        self._tally.sent_bytes += count

    def flush_soon(self) -> None:
        """Flush as soon as this greenlet waits for anything."""
        if not self._flush_wanted:
            self._flush_wanted = True
            self._loop.run_callback(self._flush_in_hub)

    def _flush_in_hub(self) -> None:
        self._flush_wanted = False
        if self._sending or self.phase is not BUSY:
            return
        if self.current is not None:
            self.current.commit_held()
        if not self._held:
            return
        output = b"".join(self._held)
        try:
            rest = self.channel.try_send(output)
        except TransportError:  # the worker meets it, too, with its next piece
            self.is_cut = True
            return
        self._tally.sent_bytes += len(output) - len(rest)
        self._held = [rest] if len(rest) else []
        self.held_bytes = len(rest)
        if self._held:  # the worker may wait for a long time
            self.channel.when_writable(self._flush_in_hub)

    def _end(self) -> None:
        super()._end()
        self._held = []
