"""`Wakeups`: greenlets that wait for something to happen, and that the hub or another greenlet wakes.

They learn that something has happened, never what: a greenlet that is woken looks again. What it looks for is not known
here.
"""

from __future__ import annotations

from time import monotonic
from typing import Any

import gevent
from gevent.hub import Waiter

__all__ = ["Wakeups"]


class Wakeups:
    """The waiting greenlets. False while there are none."""

    __slots__ = ("_loop", "_waiting")

    def __init__(self, loop: Any) -> None:  # Any: gevent's loops share no public type
        self._loop = loop
        self._waiting: list[Any] = []  # Any: Waiter is generic in the stubs only

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def wait(self, deadline: float | None) -> bool:
        """Wait until woken. False if `deadline`, a moment of ``time.monotonic()``, passes first."""
        if deadline is None:
            self._wait()
            return True
        left = deadline - monotonic()
        if left > 0:
            with gevent.Timeout(left, False):  # type: ignore[arg-type]  # False is missing in the stubs
                self._wait()
                return True
        return False

    def wake(self) -> None:
        """Let all of them go on, in the next pass of the loop. Never switches."""
        if self._waiting:
            woken, self._waiting = self._waiting, []
            for waiter in woken:
                self._loop.run_callback(waiter.switch, None)

    def _wait(self) -> None:
        waiter: Any = Waiter()
        self._waiting.append(waiter)
        try:
            waiter.get()
        finally:
            if waiter in self._waiting:
                self._waiting.remove(waiter)
