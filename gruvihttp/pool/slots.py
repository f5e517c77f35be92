"""`Slots`: which greenlets may have a connection to which origin, and in which order they get one.

The theory. A *slot* is room for one connection to one origin. It is taken by an exchange, or idle with a connection in
it, or gone. `per_origin` bounds the slots of an origin, `in_all` those of all. Three things hold whenever another
greenlet can run:

* every slot that is not gone is counted, once, at its origin and in all;
* a greenlet waits for an origin only because there is nothing to give: no slot of the origin is idle, and there is no
  room, nor an idle connection of another origin that could be closed to make room;
* among the greenlets that can be served at all, the first to come is served first.

So only `take` waits, at one place; and a slot that was handed to a greenlet that is killed at that very moment goes on
to the next. The greenlet that has taken a slot must `give_back` or `drop` it; doing so again has no effect.

A timer looks after idle connections, and runs only while there are any: the oldest are closed when they expire, and the
others are watched, so that a connection that the server closes does not stay open on our side.

Requests, origins and how connections are made are not known here.
"""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Callable, Hashable
from enum import Enum
from functools import partial
from itertools import count
from math import inf
from time import monotonic
from typing import Any, NamedTuple, Protocol
from weakref import WeakSet

from gevent import get_hub
from gevent.event import AsyncResult
from gevent.monkey import get_original

from gruvihttp.errors import HttpError, Timeout
from gruvihttp.net.deadline import Alarm

__all__ = ["Counts", "PooledConnection", "Slot", "Slots"]

get_ident: Callable[[], int] = get_original("_thread", "get_ident")  # of threads, also where that was patched

_LOOK_SECONDS = 1.0  # between two looks at the idle ones; most connections are taken again before


class PooledConnection(Protocol):
    """What is kept in a slot."""

    def close(self) -> None:
        """Close it. Never waits."""

    def watch(self, on_dead: Callable[[], object]) -> None:
        """Call `on_dead`, in the hub, as soon as the connection is no longer usable."""

    def unwatch(self) -> None:
        """Stop watching."""


class State(Enum):
    """What a slot is."""

    TAKEN = "taken"
    IDLE = "idle"
    GONE = "gone"


TAKEN, IDLE, GONE = State.TAKEN, State.IDLE, State.GONE


class Counts(NamedTuple):
    """How many connections a pool has, taken or being made, and idle; and how many greenlets wait for one."""

    taken: int
    idle: int
    waiting: int


class Slot:
    """Room for one connection."""

    __slots__ = ("connection", "idle_since", "line", "state", "watched")

    def __init__(self, line: _Line) -> None:
        self.line = line
        self.connection: Any = None  # Any: a PooledConnection, which its owner knows better
        self.state = TAKEN
        self.idle_since = 0.0
        self.watched = False

    def __repr__(self) -> str:
        return f"<Slot {self.state.value} {self.line.origin}>"

    def empty(self) -> None:
        """Close the connection; the room stays."""
        connection, self.connection = self.connection, None
        self.watched = False
        if connection is not None:
            connection.close()


class _Line:
    """The slots of one origin, and the greenlets that wait for one."""

    __slots__ = ("idle", "origin", "slots_count", "waiters")

    def __init__(self, origin: Hashable) -> None:
        self.origin = origin
        self.slots_count = 0
        self.idle: list[Slot] = []  # the last one in is the first one out: the others may expire
        self.waiters: OrderedDict[_Waiter, None] = OrderedDict()

    @property
    def first_number(self) -> int:
        """The place of its first waiter among those of all origins."""
        return next(iter(self.waiters)).number


class _Waiter:
    """One greenlet in `take`."""

    __slots__ = ("handed", "number")

    def __init__(self, number: int) -> None:
        self.number = number
        self.handed: AsyncResult[Slot | None] = AsyncResult()


class Slots:
    """The slots of one pool. Belongs to the hub that is current when it is made."""

    def __init__(self, per_origin: int = 10, in_all: int = 100, idle_seconds: float = 60.0) -> None:
        self._per_origin = per_origin
        self._in_all = in_all
        self._idle_seconds = idle_seconds
        self._lines: dict[Hashable, _Line] = {}
        self._waiting: dict[_Line, None] = {}  # the lines with waiters
        self._idle: dict[Slot, None] = {}  # least recently used first
        self._slots_count = 0
        self._numbers = count()
        self._closed = False
        self._hub = get_hub()
        self._thread = get_ident()
        self._alarm = Alarm(self._hub.loop, self._look_after_idle)
        _all.add(self)

    @property
    def counts(self) -> Counts:
        """What there is now."""
        waiting = sum(len(line.waiters) for line in self._waiting)
        return Counts(self._slots_count - len(self._idle), len(self._idle), waiting)

    @property
    def closed(self) -> bool:
        """Whether nothing more can be taken."""
        return self._closed

    def take(self, origin: Hashable, timeout: float | None = None) -> Slot:
        """A slot for a connection to `origin`: with an idle one, or empty. Waits for it, `timeout` seconds at most.

        Raises Timeout(phase="pool"), HttpError when the pool is closed, RuntimeError in another thread.
        """
        line = self._lines.get(origin)
        if line is not None and line.idle and get_ident() == self._thread:
            slot = line.idle.pop()
            del self._idle[slot]
            slot.state = TAKEN
            if slot.watched:
                slot.watched = False
                slot.connection.unwatch()
            return slot
        return self._take_slowly(origin, line, timeout)

    def give_back(self, slot: Slot) -> None:
        """The connection in the slot may be used again. Never waits."""
        if slot.state is not TAKEN:
            return
        if (self._closed or self._waiting) and self._give_to_waiters(slot):
            return
        slot.state = IDLE
        slot.idle_since = monotonic()
        slot.line.idle.append(slot)
        self._idle[slot] = None
        if self._alarm.moment == inf:
            self._set_alarm()

    def drop(self, slot: Slot) -> None:
        """Give up the slot; the connection in it, if there is one, is unusable. Never waits."""
        if slot.state is TAKEN:
            self._remove(slot)
            self._serve()

    def drop_soon(self, slot: Slot) -> None:
        """`drop`, for finalizers, which may run in any thread and at any moment, even within this class."""
        loop = self._hub.loop
        if loop is not None:
            run = loop.run_callback if get_ident() == self._thread else loop.run_callback_threadsafe
            run(self.drop, slot)

    def close(self) -> None:
        """Close idle connections and fail waiting greenlets. Connections in use are closed when they come back.

        In another thread this only asks the pool's own to do so, for nobody else may touch its watchers. A thread that
        ends comes by here, too, and its hub may have been destroyed.
        """
        if self._hub.loop is not None and get_ident() != self._thread:
            self._hub.loop.run_callback_threadsafe(self.close)
            return
        self._closed = True
        self._alarm.close()
        for slot in list(self._idle):
            self._remove(slot)
        for line in list(self._waiting):
            for waiter in line.waiters:
                waiter.handed.set(None)
            line.waiters.clear()
        self._waiting.clear()

    # taking

    def _take_slowly(self, origin: Hashable, line: _Line | None, timeout: float | None) -> Slot:
        if get_ident() != self._thread:
            raise RuntimeError("a pool belongs to the thread that made it: make one for each thread")
        if self._closed:
            raise _closed_error()
        if line is None:
            line = self._lines[origin] = _Line(origin)
        if line.slots_count < self._per_origin and (self._slots_count < self._in_all or self._idle):
            if self._slots_count >= self._in_all:
                self._remove(next(iter(self._idle)))
            return self._add(line)
        return self._wait(line, timeout)

    def _add(self, line: _Line) -> Slot:
        line.slots_count += 1
        self._slots_count += 1
        return Slot(line)

    def _wait(self, line: _Line, timeout: float | None) -> Slot:
        waiter = _Waiter(next(self._numbers))
        line.waiters[waiter] = None
        self._waiting[line] = None
        try:
            if timeout != 0:
                waiter.handed.wait(timeout)
        except BaseException:
            self._leave(line, waiter)
            raise
        if waiter.handed.ready():
            if (slot := waiter.handed.value) is None:
                raise _closed_error()
            return slot
        self._leave(line, waiter)
        raise Timeout(
            f"timed out: no connection to {line.origin} became free in {timeout:g} s; "
            f"{line.slots_count} of {self._per_origin} are in use, {self._slots_count} of {self._in_all} in all",
            phase="pool",
        )

    def _leave(self, line: _Line, waiter: _Waiter) -> None:
        """Stop waiting. What was handed over in the meantime goes on to the next."""
        if not waiter.handed.ready():
            self._dequeue(line, waiter)
            self._forget_if_unused(line)
        elif (slot := waiter.handed.value) is not None:
            if slot.connection is None:
                self.drop(slot)
            else:
                self.give_back(slot)

    # handing on

    def _give_to_waiters(self, slot: Slot) -> bool:
        """A usable connection has come back, and the pool is closed or a greenlet waits. False if none can use it."""
        line = slot.line
        roomy = self._first_with_room()
        if line.waiters and (roomy is None or line.first_number <= roomy.first_number):
            self._hand(line, slot)
        elif self._closed or roomy is not None:  # an origin that waits for room gets this one's
            self._remove(slot)
            self._serve()
        else:
            return False
        return True

    def _serve(self) -> None:
        """There is room: give it to greenlets that wait for it."""
        while self._waiting and self._slots_count < self._in_all:
            line = self._first_with_room()
            if line is None:
                return
            self._hand(line, self._add(line))

    def _first_with_room(self) -> _Line | None:
        """Of the origins that may have a further slot, the one that has waited longest."""
        lines = [line for line in self._waiting if line.slots_count < self._per_origin]
        return min(lines, key=lambda line: line.first_number, default=None)

    def _hand(self, line: _Line, slot: Slot) -> None:
        waiter = next(iter(line.waiters))
        self._dequeue(line, waiter)
        waiter.handed.set(slot)

    def _dequeue(self, line: _Line, waiter: _Waiter) -> None:
        line.waiters.pop(waiter, None)
        if not line.waiters:
            self._waiting.pop(line, None)

    def _remove(self, slot: Slot) -> None:
        """Take a slot out of the books, and close what is in it."""
        line = slot.line
        if slot.state is IDLE:
            line.idle.remove(slot)
            del self._idle[slot]
        slot.state = GONE
        line.slots_count -= 1
        self._slots_count -= 1
        self._forget_if_unused(line)
        slot.empty()

    def _forget_if_unused(self, line: _Line) -> None:
        if not line.slots_count and not line.waiters:
            self._lines.pop(line.origin, None)

    # idle connections

    def _set_alarm(self) -> None:
        self._alarm.set(monotonic() + min(_LOOK_SECONDS, self._idle_seconds))

    def _look_after_idle(self) -> None:
        """In the hub, from time to time while there are idle ones. The oldest come first."""
        now = monotonic()
        for slot in list(self._idle):
            idle_seconds = now - slot.idle_since
            if idle_seconds >= self._idle_seconds:
                self._remove(slot)
            elif slot.watched:
                continue
            elif idle_seconds >= _LOOK_SECONDS:
                slot.watched = True
                slot.connection.watch(partial(self._bury, slot))
            else:
                break
        if self._idle:
            self._set_alarm()

    def _bury(self, slot: Slot) -> None:
        """In the hub: an idle connection is dead."""
        if slot.state is IDLE:
            self._remove(slot)

    def forget_idle(self) -> None:
        """This process is the child of a fork: the idle connections are its parent's. Do not touch them."""
        for slot in list(self._idle):
            slot.connection = None
            self._remove(slot)


_all: WeakSet[Slots] = WeakSet()


def _after_fork() -> None:
    for slots in list(_all):
        slots.forget_idle()


os.register_at_fork(after_in_child=_after_fork)


def _closed_error() -> HttpError:
    return HttpError("the pool is closed")
