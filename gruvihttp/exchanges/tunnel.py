"""`Tunnel`: a connection or a stream that has left HTTP; its first bytes may have been received before it did."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from gruvihttp.net.channel import Channel

__all__ = ["Tunnel"]


class Tunnel:
    """A channel that gives `leading` first, and then what it receives. Everything else is the channel's own.

    `draining` says that the server is stopping and wants it to end; `on_drain` is called, in the hub, when that begins.
    """

    __slots__ = ("_leading", "channel", "draining", "on_drain")

    def __init__(self, channel: Channel, leading: bytes, *, draining: bool = False) -> None:
        self.channel = channel
        self.draining = draining
        self.on_drain: Callable[[], object] | None = None
        self._leading = leading

    def __getattr__(self, name: str) -> Any:  # Any: whatever the channel has
        return getattr(self.channel, name)

    def __repr__(self) -> str:
        return f"<Tunnel {len(self._leading)} bytes held, {self.channel!r}>"

    def drain(self) -> None:
        """Tell its user that it is to end. Does not block."""
        self.draining = True
        if self.on_drain is not None:
            self.on_drain()

    @property
    def leading_bytes(self) -> int:
        """How many bytes arrived before it was a tunnel, and were not taken yet."""
        return len(self._leading)

    def try_receive(self) -> bytes | None:
        """What has arrived already, ``b""`` at the end of the stream, None if there is nothing yet. Never waits."""
        return self.take_leading() or self.channel.try_receive()

    def receive(self, deadline: float | None = None, phase: str = "read") -> bytes:
        """Wait for the next bytes; ``b""`` at the end of the stream. See `Channel.receive`."""
        return self.take_leading() or self.channel.receive(deadline, phase)

    def take_leading(self) -> bytes:
        """The bytes that arrived before it was a tunnel. They are given once."""
        leading, self._leading = self._leading, b""
        return leading
