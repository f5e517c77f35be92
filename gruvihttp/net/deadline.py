"""Deadlines: absolute moments of ``time.monotonic()``, and one timer per connection that looks at them.

A deadline is set and cleared far more often than it passes. So an `Alarm` only stores the moment; its timer stays
armed from an earlier deadline, and when it goes off too early it is armed again for what is left. In steady state a
wait with a deadline costs an attribute, not a timer.

gevent's own timers count from the loop's cached clock, which stands still while a greenlet keeps the loop from running:
afterwards `gevent.spawn_later` and the timeout of `gevent.joinall` are early by that time. So what has a deadline here
is woken by an alarm, or by a `gevent.Timeout`, which updates the clock first.
"""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from time import monotonic
from typing import Any

from gruvihttp.net.watchers import LOOP_DESTROYED, close_watcher

__all__ = ["Alarm", "check_timeout", "moment_after", "timeout_left", "timeout_or_default"]

# A loop's clock is cached, so a timer may go off a little before its moment; without a least delay it would spin.
_LEAST_DELAY = 0.001


def timeout_or_default(timeout: float | None, default: float | None) -> float | None:
    """The one rule for a `timeout` argument: negative means `default`, None means for ever, 0 means no waiting."""
    if timeout is None or timeout >= 0:
        return timeout
    if timeout < 0:
        return default
    raise ValueError(f"{timeout!r} is no time")


def check_timeout(timeout: object) -> None:
    """Raise ValueError for what cannot be a default timeout."""
    if timeout is not None and (not isinstance(timeout, (int, float)) or not timeout >= 0):  # nan is not
        raise ValueError(f"timeout must be a number of seconds, 0 or more, or None for ever, not {timeout!r}")


def moment_after(seconds: float | None) -> float | None:
    """The deadline that lies `seconds` ahead; None, which is never, for None."""
    return None if seconds is None else monotonic() + seconds


def timeout_left(deadline: float | None) -> float | None:
    """The seconds until `deadline`, 0 when it is past; None, which is for ever, for None."""
    return None if deadline is None else max(deadline - monotonic(), 0.0)


class Alarm:
    """Calls `action` in the hub once `moment` has passed. One moment at a time; setting it again replaces it."""

    __slots__ = ("_action", "_fires_at", "_loop", "_timer", "moment")

    def __init__(self, loop: Any, action: Callable[[], object]) -> None:  # Any: gevent's loops share no public type
        self._loop = loop
        self._action = action
        self._timer: Any = None
        self._fires_at = inf
        self.moment = inf

    def __repr__(self) -> str:
        return f"<Alarm {'off' if self.moment == inf else f'in {self.moment - monotonic():.3f} s'}>"

    def set(self, moment: float) -> None:
        """Call the action at `moment`, or soon if that is past; never before this call returns."""
        self.moment = moment
        if moment < self._fires_at:
            self._arm(moment)

    def clear(self) -> None:
        """Forget the moment. A timer that is armed stays so: the next moment is probably later."""
        self.moment = inf

    def close(self) -> None:
        """Stop the timer for good, and let go of the action: it holds whoever has the alarm."""
        self.moment = inf
        self._action = _nothing
        self._disarm()

    def _arm(self, moment: float) -> None:
        self._disarm()
        # ref=False: what is waited for keeps the loop alive; an alarm alone should not
        timer = self._loop.timer(max(moment - monotonic(), _LEAST_DELAY), ref=False)
        try:
            timer.start(self._fire)
        except LOOP_DESTROYED:  # while connections of that loop are closed, which needs nothing to go off later
            return
        self._timer = timer
        self._fires_at = moment

    def _disarm(self) -> None:
        if self._timer is not None:
            close_watcher(self._timer)
            self._timer = None
            self._fires_at = inf

    def _fire(self) -> None:
        self._disarm()
        if self.moment == inf:
            return
        if monotonic() < self.moment:
            self._arm(self.moment)
            return
        self.moment = inf
        self._action()


def _nothing() -> None:
    """What an alarm does that has been closed."""
