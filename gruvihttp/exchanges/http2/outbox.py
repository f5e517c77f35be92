"""`Outbox`: the output of an HTTP/2 engine, sent as the socket takes it. It runs in the hub and never waits.

Output is composed when it can leave, 64 KiB at a time, so that a reset can still stop what is queued. What follows
from having sent something is not known here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from gruvihttp.net.channel import Channel
from gruvihttp.net.sockets import BytesLike
from gruvihttp.sansio.http2 import H2Engine

__all__ = ["Outbox"]

_OUTPUT_BYTES = 65536  # composed at once
_MOST_ROUNDS = 4  # of that in one pass of the loop, so that others have their turn


class Outbox:
    """Sends the output of `engine` on `channel`.

    `flush()` is the connection's: it is called in the hub when something may leave, and calls `send`.
    """

    def __init__(self, engine: H2Engine, channel: Channel, loop: Any, flush: Callable[[], object]) -> None:
        self._engine = engine
        self._channel = channel
        self._loop = loop
        self._flush: Callable[[], object] | None = flush
        self._flush_wanted = False
        self._rest: BytesLike = b""  # composed, but not taken by the socket yet

    @property
    def stuck(self) -> bool:
        """Whether the socket takes nothing for now."""
        return bool(self._rest)

    @property
    def empty(self) -> bool:
        """Whether everything has left that may leave now."""
        return not self._rest and not self._engine.has_output

    def flush_soon(self) -> None:
        """Have `flush` called at the end of this pass of the loop, once however often this is called."""
        if not self._flush_wanted and self._flush is not None:
            self._flush_wanted = True
            self._loop.run_callback(self._flush)

    def close(self) -> None:
        """Let go of the connection, which is over: nothing will leave any more."""
        self._flush = None

    def send(self) -> int:
        """Send as much as the socket takes. Returns how many bytes it took. Raises TransportError."""
        self._flush_wanted = False
        sent = 0
        for _ in range(_MOST_ROUNDS):
            if not self._rest:
                self._rest = b"".join(self._engine.produce(_OUTPUT_BYTES))
                if not self._rest:
                    return sent
            before = len(self._rest)
            self._rest = self._channel.try_send(self._rest)
            sent += before - len(self._rest)
            if self._rest:
                self._channel.when_writable(self.flush_soon)
                return sent
        if self._engine.has_output:
            self.flush_soon()
        return sent
