"""`Room`: which connection is closed when there are as many as allowed, and another client wants to connect.

An idle connection is worth less than a new one. So the one that has been idle for the longest time is closed for a
newcomer. When none is idle, the next one that becomes so goes; meanwhile the newcomer waits in
the system's backlog.

Nothing is counted while there is room. When a connection has to go, all are asked since when they are idle. That looks
at every one, but finds many candidates at once, in their order; those that become idle later follow behind them.
"""

from __future__ import annotations

from collections.abc import Iterable
from time import monotonic
from typing import Any, Protocol
from weakref import ref

from gruvihttp.net.transport import Transport

__all__ = ["Handshake", "Leaver", "Room"]

_HANDSHAKE_SECONDS = 1.0  # a few round trips on any line


class Leaver(Protocol):
    """What a connection has to offer here."""

    def idle_since(self) -> float | None:
        """The moment since which its peer could have begun something new and has not; None while there is work."""

    def evict(self) -> bool:
        """Close, since nothing is going on. False if something is after all."""


class Handshake:
    """A connection among `others` that have not begun yet. One that needs more than a moment for that makes room."""

    __slots__ = ("__weakref__", "_others", "_since", "_transport")

    def __init__(self, transport: Transport, others: dict[Transport, Any]) -> None:  # Any: these
        self._transport = transport
        self._others = others
        self._since = monotonic() + _HANDSHAKE_SECONDS

    def idle_since(self) -> float:
        """When the moment is over."""
        return self._since

    def evict(self) -> bool:
        """End it."""
        self._others.pop(self._transport, None)
        self._transport.abort()
        return True


class Room:
    """What the connections of one server know about how crowded it is.

    `is_wanted` says that a client waits for a place: the connection that becomes idle next calls `take` and ends.
    """

    __slots__ = ("_candidates", "evicted", "is_wanted")

    def __init__(self) -> None:
        self.evicted = 0  # connections, so far
        self.is_wanted = False
        self._candidates: list[tuple[float, int, ref[Leaver]]] = []  # the longest idle one is the last

    def make(self, connections: Iterable[Leaver], now: float) -> bool:
        """Close the connection that has been idle for the longest time. False if none is.

        It may be closed when this returns, or have begun to end.
        """
        while True:
            if not self._candidates and not self._look_around(connections, now):
                return False
            since, _, reference = self._candidates.pop()
            leaver = reference()
            if leaver is not None and leaver.idle_since() == since and leaver.evict():
                self.evicted += 1
                return True

    def take(self) -> bool:
        """Whether a client waits for a place. If so, the caller gives up its own, and no other connection has to."""
        if not self.is_wanted:
            return False
        self.is_wanted = False
        self.evicted += 1
        return True

    def _look_around(self, connections: Iterable[Leaver], now: float) -> bool:
        """Find candidates. Are there any?"""
        moments = ((each.idle_since(), each) for each in connections)
        found = [(since, id(each), ref(each)) for since, each in moments if since is not None and since <= now]
        found.sort(reverse=True)
        self._candidates = found
        return bool(found)
