"""`Transport`: a `Channel` that also answers to the names that gruvi's transports have.

``close``, ``abort`` and ``get_extra_info`` are the channel's own. Pausing and resuming have no counterpart: input is
only read when a greenlet receives, and a greenlet that writes too much waits.
"""

from __future__ import annotations

from collections.abc import Iterable

from gruvihttp.net.channel import Channel
from gruvihttp.net.sockets import BytesLike

__all__ = ["Transport"]


class Transport(Channel):
    """A connection as gruvi's protocols see it."""

    __slots__ = ()

    def write(self, data: BytesLike) -> None:
        """Send all of `data`; waits while the peer does not read."""
        self.send(data)

    def writelines(self, seq: Iterable[BytesLike]) -> None:
        """Send all buffers of `seq`, in one system call where the system allows it."""
        self.send(list(seq))

    def write_eof(self) -> None:
        """Tell the peer that nothing more will come. Reading goes on."""
        self.shutdown_write()

    def can_write_eof(self) -> bool:
        """Always: TCP and Unix sockets close one way, and TLS has its close_notify."""
        return True
