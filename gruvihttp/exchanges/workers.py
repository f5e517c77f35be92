"""`Workers`: greenlets that run one job after another.

A new greenlet costs more than a small request, since CPython maps memory for its stack; a switch costs next to
nothing. So greenlets that have done their job wait for the next one. Each job runs in a fresh `contextvars.Context`:
what one request sets, the next does not see. (`gevent.local` data does stay with the greenlet, as it stays with the
threads of a threaded server.)

What a job is about is not known here.
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import Context
from typing import Any

from gevent import Greenlet, GreenletExit, get_hub
from greenlet import getcurrent

__all__ = ["Workers", "renew_context"]

Job = Callable[[Any], None]


class Workers:
    """A pool of greenlets of one hub. At most `most_idle` of them wait for work; more may work."""

    def __init__(self, most_idle: int = 256) -> None:
        self._idle: list[_Worker] = []
        self._most_idle = most_idle

    def run(self, job: Job, argument: Any) -> None:
        """Run ``job(argument)`` at once in a greenlet of its own; returns when it is done or waits. Call it in the hub.

        An exception that leaves the job ends its greenlet, and gevent reports it.
        """
        idle = self._idle
        if idle:
            idle.pop().switch(job, argument)
        else:
            _Worker(self._idle, self._most_idle, job, argument).switch()


def renew_context() -> None:
    """Go on in a fresh context: what this greenlet does next is not part of what it did before."""
    getcurrent().gr_context = Context()


class _Worker(Greenlet):  # type: ignore[type-arg]  # generic in the stubs only
    """One greenlet of a pool. It is started by being switched to, not by a turn of the loop.

    It must be a `Greenlet`, and begin in Greenlet's own `run`: otherwise gevent takes it for one that has not started,
    and neither a gevent.Timeout nor a `kill` ever reaches it.
    """

    def __init__(self, idle: list[_Worker], most_idle: int, job: Job, argument: Any) -> None:
        super().__init__()
        self._pool = idle
        self._most_idle = most_idle
        self._first: tuple[Job, Any] | None = (job, argument)  # not Greenlet's `args`, which would live as long as it

    def _run(self) -> None:
        assert self._first is not None
        job, argument = self._first
        self._first = None
        idle = self._pool
        wait = get_hub().switch
        while True:
            renew_context()
            job(argument)
            if len(idle) >= self._most_idle:
                return
            idle.append(self)
            job, argument = None, None  # type: ignore[assignment]  # an idle worker keeps nothing alive
            while job is None:
                try:
                    job, argument = wait()
                except GreenletExit:  # killed while it did nothing: somebody kept a reference
                    idle.remove(self)
                    return
                except BaseException:  # a Timeout that a former job forgot to cancel
                    continue
