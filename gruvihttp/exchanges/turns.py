"""`Turns`: greenlets of one connection that wait for something which another greenlet does.

They learn that something has happened, never what: a greenlet that is woken looks again. What they wait for is not
known here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from time import monotonic
from typing import Any
from weakref import ref

import gevent
from gevent.event import Event
from greenlet import greenlet

from gruvihttp.errors import Timeout
from gruvihttp.net.deadline import timeout_left

__all__ = ["GreenletRef", "Turns", "is_alive"]

GreenletRef = ref[greenlet]

# gevent tells when one of its Greenlets has ended. A greenlet of another sort has to be looked at.
_LOOK_SECONDS = 1.0


class _Waiting:
    """A waiting greenlet. `subject` is what it needs."""

    __slots__ = ("event", "subject")

    def __init__(self, subject: object) -> None:
        self.subject = subject
        self.event = Event()


class Turns:
    """The waiting greenlets. False while there are none, so that asking costs little."""

    __slots__ = ("waiting",)

    def __init__(self) -> None:
        self.waiting: list[_Waiting] = []  # public to be tested for emptiness at least cost; not to be changed

    def __bool__(self) -> bool:
        return bool(self.waiting)

    def wait(self, subject: object, deadline: float | None, phase: str, on: Iterable[GreenletRef] = ()) -> None:
        """Wait until woken, or until one of the greenlets `on` has ended. May return without a reason.

        Raises Timeout(phase) at `deadline`. A caller that is left by an exception should wake the others: the wake-up
        that is lost with it may have been the only one.
        """
        if deadline is not None and deadline <= monotonic():
            raise Timeout(f"timed out: {phase}", phase=phase)
        waiting = _Waiting(subject)
        watched, unwatched = _watch(on, waiting.event.set)
        self.waiting.append(waiting)
        try:
            left = timeout_left(deadline)
            if unwatched:
                left = _LOOK_SECONDS if left is None else min(left, _LOOK_SECONDS)
            if not waiting.event.wait(left) and not unwatched:
                raise Timeout(f"timed out: {phase}", phase=phase)
        finally:
            self.waiting.remove(waiting)
            for one, wake in watched:
                one.unlink(wake)

    def wake(self, subject: object) -> bool:
        """Wake the greenlets that need `subject`. True if there are any."""
        found = False
        for waiting in self.waiting:
            if waiting.subject is subject:
                waiting.event.set()
                found = True
        return found

    def wake_all(self) -> None:
        """Wake all of them."""
        for waiting in self.waiting:
            waiting.event.set()

    def wake_if(self, may_go_on: Callable[[object], bool]) -> None:
        """Wake the greenlets for whose subject that is true."""
        for waiting in self.waiting:
            if may_go_on(waiting.subject):
                waiting.event.set()


def is_alive(reference: GreenletRef | None) -> bool:
    """Whether this greenlet has not ended. It may not have started yet."""
    one = None if reference is None else reference()
    return one is not None and not one.dead


def _watch(
    references: Iterable[GreenletRef], wake: Callable[[], object]
) -> tuple[list[tuple[Any, Callable[..., object]]], bool]:  # Any: gevent's Greenlet, whatever it runs
    """Have `wake` called when one of the greenlets ends.

    Returns what is to be unlinked later, and whether there are greenlets that cannot be watched.
    """

    def ended(_: object) -> None:
        wake()

    watched: list[tuple[Any, Callable[..., object]]] = []
    unwatched = False
    for reference in references:
        one = reference()
        if isinstance(one, gevent.Greenlet):
            one.rawlink(ended)
            watched.append((one, ended))
        else:
            unwatched = True
    return watched, unwatched
