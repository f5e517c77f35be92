"""`Shares`: connections of a pool that many exchanges use at a time, one for each origin.

A connection that can carry many exchanges is *shared* from the moment when its slot is taken until it has no more
users; then the slot goes back like any other, and the connection is idle. So the books of `Slots` hold for
both sorts, and a shared connection counts as one.

What an origin speaks is known after the first connection to it. Until then one greenlet finds out, and the others wait
for what it finds: else a hundred of them would open as many connections as they may, where one was enough.

Requests are not known here, nor is what makes a connection one that can be shared.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable

from gevent import get_hub
from gevent.monkey import get_original

from gruvihttp.errors import Timeout
from gruvihttp.exchanges.wakeups import Wakeups
from gruvihttp.net.deadline import moment_after
from gruvihttp.pool.slots import Slot, Slots

__all__ = ["Finding", "Share", "Shares"]

get_ident: Callable[[], int] = get_original("_thread", "get_ident")

_MOST_KNOWN = 1024  # origins of which it is remembered that they share nothing


class Share:
    """One connection, and how many use it."""

    __slots__ = ("_shares", "origin", "slot", "users")

    def __init__(self, shares: Shares, origin: Hashable, slot: Slot) -> None:
        self._shares = shares
        self.origin = origin
        self.slot = slot
        self.users = 1

    def __repr__(self) -> str:
        return f"<Share {self.origin} {self.users} users>"

    def leave(self) -> None:
        """One user less. The last one gives the slot back, or drops it if the connection is unusable. Never waits."""
        self.users -= 1
        if not self.users:
            self._shares.end(self)

    def leave_soon(self) -> None:
        """`leave`, for finalizers, which may run in any thread and at any moment."""
        self._shares.run_soon(self.leave)


class Finding:
    """A greenlet is finding out what an origin speaks. `interrupted`: it was kept from that, and another one has to."""

    __slots__ = ("interrupted", "over", "waiting")

    def __init__(self, waiting: Wakeups) -> None:
        self.waiting = waiting
        self.over = False
        self.interrupted = False


class Shares:
    """The shared connections of one pool. `is_usable(connection)` says whether it takes one more exchange."""

    def __init__(self, slots: Slots, is_usable: Callable[[object], bool]) -> None:
        self._slots = slots
        self._is_usable = is_usable
        self._shares: dict[Hashable, Share] = {}
        self._findings: dict[Hashable, Finding] = {}
        self._unshared: OrderedDict[Hashable, None] = OrderedDict()
        self._loop = get_hub().loop
        self._thread = get_ident()

    def join(self, origin: Hashable) -> Share | None:
        """A share with one more user, if there is one. Raises RuntimeError in another thread."""
        if get_ident() != self._thread:
            raise RuntimeError("a pool belongs to the thread that made it: make one for each thread")
        share = self._shares.get(origin)
        if share is None or self._slots.closed:
            return None
        if not self._is_usable(share.slot.connection):
            del self._shares[origin]  # those who use it go on
            return None
        share.users += 1
        return share

    def found(self, origin: Hashable, slot: Slot) -> Share:
        """The connection in a slot that was taken can be shared: a share with one user.

        If another one was found in the meantime, that is used, and this one is for later.
        """
        other = self.join(origin)
        if other is not None:
            self._slots.give_back(slot)
            return other
        share = self._shares[origin] = Share(self, origin, slot)
        return share

    def end(self, share: Share) -> None:
        """It has no more users."""
        if self._shares.get(share.origin) is share:
            del self._shares[share.origin]
        if self._is_usable(share.slot.connection):
            self._slots.give_back(share.slot)
        else:
            self._slots.drop(share.slot)

    def run_soon(self, action: Callable[[], object]) -> None:
        """Call it in the hub, from whatever thread this is."""
        run = self._loop.run_callback if get_ident() == self._thread else self._loop.run_callback_threadsafe
        run(action)

    # finding out

    def begin_finding(self, origin: Hashable, seconds: float | None) -> Finding | None:
        """Be the one who finds out what an origin speaks: `end_finding` has to follow.

        None if that is known, or if another one has just done it, for which this waits. Raises Timeout("pool").
        """
        if origin in self._unshared:
            self._unshared.move_to_end(origin)
            return None
        deadline = moment_after(seconds)
        while (finding := self._findings.get(origin)) is not None:
            while not finding.over:
                if not finding.waiting.wait(deadline):
                    raise Timeout(f"timed out: no connection to {origin} was made in {seconds:g} s", phase="pool")
            if not finding.interrupted:
                return None
        finding = self._findings[origin] = Finding(Wakeups(self._loop))
        return finding

    def end_finding(self, origin: Hashable, finding: Finding, *, shared: bool | None) -> None:
        """Whether its connections can be shared; None: none could be made."""
        finding.over = True
        self._findings.pop(origin, None)
        if shared:
            self._unshared.pop(origin, None)
        elif shared is False:
            self._unshared[origin] = None
            if len(self._unshared) > _MOST_KNOWN:
                self._unshared.popitem(last=False)
        finding.waiting.wake()
