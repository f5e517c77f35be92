"""`Uncollected`: exchanges whose responses nobody has asked for yet, and which of them a greenlet gets.

Each greenlet gets the responses to its own requests, in their order. A greenlet that has made none gets the oldest one
that nobody waits for. Connections and versions are not known here.
"""

from __future__ import annotations

from collections import deque
from typing import Any, Protocol, TypeVar
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


class Uncollected(deque[X]):
    """A queue, from which one's own is taken.

    It is a deque, for whoever knows that the oldest is the one need not ask for more. `in_order` says that responses
    come in the order of the requests, so that nobody can have a later one of his first.
    """

    def __init__(self, *, in_order: bool = False) -> None:
        super().__init__()
        self._in_order = in_order
        self._many = _MANY
        self.asker: GreenletRef | None = None  # the latest, who need not be remembered again
        self._askers: set[GreenletRef] = set()
        self._many_askers = _MANY_ASKERS

    def add(self, exchange: X) -> None:
        """One more, of the greenlet that it says."""
        if len(self) >= self._many:
            kept = [one for one in self if not one.failed or is_alive(one.greenlet)]
            self.clear()
            self.extend(kept)
            self._many = max(_MANY, 2 * len(kept))
        self.append(exchange)
        if exchange.greenlet is not self.asker:
            self.remember(exchange.greenlet)

    def remember(self, asker: GreenletRef) -> None:
        """This greenlet makes requests, so others' responses are not for it."""
        self.asker = asker
        self._askers.add(asker)
        if len(self._askers) > self._many_askers:
            self._askers = {one for one in self._askers if is_alive(one)}
            self._many_askers = max(_MANY_ASKERS, 2 * len(self._askers))

    def drop(self, exchange: X) -> None:
        """It is not to be collected (any more)."""
        if self and self[0] is exchange:
            self.popleft()
        elif exchange in self:
            self.remove(exchange)

    def choose(self, owner: Any = None) -> X:
        """The one to collect: the owner's, or the calling greenlet's. Raises RuntimeError if there is none."""
        me = ref(getcurrent())
        found: X | None
        if owner is not None:
            found = self._find(owner, me)
        elif not self:
            raise RuntimeError("every request has got its response")
        else:
            found = next((one for one in self if one.greenlet is me), None)
            if found is None and me in self._askers:
                raise RuntimeError("every request of this greenlet has got its response")
            if found is None:
                found = next((one for one in self if not one.wanted), None)
        if found is None or found.wanted:
            raise RuntimeError("another greenlet is waiting for that response")
        return found

    def abandoned(self) -> list[X]:
        """Those whose greenlets have ended, and that nobody waits for."""
        return [one for one in self if not one.wanted and not is_alive(one.greenlet)]

    def _find(self, owner: Any, me: GreenletRef) -> X:
        for one in self:
            if one.owner is owner:
                return one
            if self._in_order and one.greenlet is me and not one.failed:
                raise RuntimeError("responses come in the order of the requests, and this is not the oldest one")
        raise RuntimeError("this request has got its response, or was not sent")
