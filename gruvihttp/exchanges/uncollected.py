"""`Uncollected`: exchanges whose responses have not been collected yet, and which of them a greenlet gets.

Each greenlet gets the responses to its own requests, in the order of the requests. A greenlet that has made no request
gets the oldest response that no other greenlet waits for. Connections and versions are not known here.
"""

from __future__ import annotations

from collections import deque
from typing import Any, Protocol, TypeVar
from weakref import ref

from greenlet import getcurrent

from gruvihttp.exchanges.turns import GreenletRef, is_alive

__all__ = ["Uncollected"]

# From this number on, exchanges are dropped that have failed and whose greenlets have ended
_MANY = 64
# From this number on, greenlets are forgotten that have made requests and have ended
_MANY_ASKERS = 64


class Collectable(Protocol):
    """What an exchange has to offer here."""

    greenlet: GreenletRef  # the one that made the request
    owner: Any
    wanted: bool  # a greenlet waits for the response

    @property
    def failed(self) -> bool:
        """Whether there will be no response."""


X = TypeVar("X", bound=Collectable)


class Uncollected(deque[X]):
    """A queue of exchanges, of which each greenlet takes its own.

    It is a deque so that a caller that knows that the oldest one is wanted can take that directly. `in_order` says that
    responses arrive in the order of the requests, so that a greenlet cannot have a later one of its own first.
    """

    def __init__(self, *, in_order: bool = False) -> None:
        super().__init__()
        self._in_order = in_order
        self._many = _MANY
        self.asker: GreenletRef | None = None  # the latest one: it is known to be among the askers
        self._askers: set[GreenletRef] = set()
        self._many_askers = _MANY_ASKERS

    def add(self, exchange: X) -> None:
        """Append an exchange, and remember its greenlet."""
        if len(self) >= self._many:
            kept = [one for one in self if not one.failed or is_alive(one.greenlet)]
            self.clear()
            self.extend(kept)
            self._many = max(_MANY, 2 * len(kept))
        self.append(exchange)
        if exchange.greenlet is not self.asker:
            self.remember(exchange.greenlet)

    def remember(self, asker: GreenletRef) -> None:
        """Note that this greenlet makes requests of its own, so that it does not get the responses of others."""
        self.asker = asker
        self._askers.add(asker)
        if len(self._askers) > self._many_askers:
            self._askers = {one for one in self._askers if is_alive(one)}
            self._many_askers = max(_MANY_ASKERS, 2 * len(self._askers))

    def drop(self, exchange: X) -> None:
        """Remove an exchange, if it is there."""
        if self and self[0] is exchange:
            self.popleft()
        elif exchange in self:
            self.remove(exchange)

    def choose(self, owner: Any = None) -> X:
        """The exchange to collect: that of `owner`, or the calling greenlet's. Raises RuntimeError if there is none."""
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
        """The exchanges whose greenlets have ended, and that no other greenlet waits for."""
        return [one for one in self if not one.wanted and not is_alive(one.greenlet)]

    def _find(self, owner: Any, me: GreenletRef) -> X:
        for one in self:
            if one.owner is owner:
                return one
            if self._in_order and one.greenlet is me and not one.failed:
                raise RuntimeError("responses come in the order of the requests, and this is not the oldest one")
        raise RuntimeError("this request has got its response, or was not sent")
