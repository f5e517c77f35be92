"""`Uncollected`: exchanges whose responses nobody has asked for yet, and which of them a greenlet gets.

Each greenlet gets the responses to its own requests, in their order. A greenlet that has made none gets the oldest one
that nobody waits for. Connections and versions are not known here.
"""

from __future__ import annotations

from collections import deque
from typing import Any, Generic, Protocol, TypeVar
from weakref import ref

from greenlet import getcurrent

from gruvihttp.exchanges.turns import GreenletRef, is_alive

__all__ = ["Uncollected"]

# From so many on it is looked whether there are failed ones among them that nobody is left to ask for
_MANY = 64
# Greenlets are remembered that have made requests. From so many on it is looked which of them have ended.
_MANY_ASKERS = 64


class Collectable(Protocol):
    """What must be known of an exchange."""

    greenlet: GreenletRef  # who asked
    owner: Any
    wanted: bool  # somebody waits for it

    @property
    def failed(self) -> bool:
        """Whether there will be no response."""


X = TypeVar("X", bound=Collectable)


class Uncollected(Generic[X]):
    """A queue, from which one's own is taken."""

    def __init__(self) -> None:
        self._waiting: deque[X] = deque()
        self._many = _MANY
        self._asker: GreenletRef | None = None  # the latest
        self._askers: set[GreenletRef] = set()
        self._many_askers = _MANY_ASKERS

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, exchange: X) -> None:
        """One more, of the greenlet that it says."""
        if len(self._waiting) >= self._many:
            self._waiting = deque(one for one in self._waiting if not one.failed or is_alive(one.greenlet))
            self._many = max(_MANY, 2 * len(self._waiting))
        self._waiting.append(exchange)
        if exchange.greenlet is not self._asker:
            self._remember(exchange.greenlet)

    def remove(self, exchange: X) -> None:
        """It is not to be collected (any more)."""
        waiting = self._waiting
        if waiting and waiting[0] is exchange:
            waiting.popleft()
        elif exchange in waiting:
            waiting.remove(exchange)

    def choose(self, owner: Any = None) -> X:
        """The one to collect: the owner's, or the calling greenlet's. Raises RuntimeError if there is none."""
        waiting = self._waiting
        me = ref(getcurrent())
        found: X | None
        if owner is not None:
            found = next((one for one in waiting if one.owner is owner), None)
            if found is None:
                raise RuntimeError("this request has got its response, or was not sent")
        elif not waiting:
            raise RuntimeError("every request has got its response")
        else:
            found = next((one for one in waiting if one.greenlet is me), None)
            if found is None and me in self._askers:
                raise RuntimeError("every request of this greenlet has got its response")
            if found is None:
                found = next((one for one in waiting if not one.wanted), None)
        if found is None or found.wanted:
            raise RuntimeError("another greenlet is waiting for that response")
        return found

    def abandoned(self) -> list[X]:
        """Those whose greenlets have ended, and that nobody waits for."""
        return [one for one in self._waiting if not one.wanted and not is_alive(one.greenlet)]

    def _remember(self, asker: GreenletRef) -> None:
        self._asker = asker
        self._askers.add(asker)
        if len(self._askers) > self._many_askers:
            self._askers = {one for one in self._askers if is_alive(one)}
            self._many_askers = max(_MANY_ASKERS, 2 * len(self._askers))
