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

__all__ = ["Workers"]

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
            _Worker(self._idle, self._most_idle).switch(job, argument)


class _Worker(Greenlet):  # type: ignore[type-arg]  # generic in the stubs only
    """One greenlet of a pool. It is started by being switched to, with its first job."""

    def __init__(self, idle: list[_Worker], most_idle: int) -> None:
        super().__init__()
        self._pool = idle
        self._most_idle = most_idle

    def run(self, job: Job, argument: Any) -> None:  # type: ignore[override]  # they come with the first switch
        idle = self._pool
        wait = get_hub().switch
        while True:
            self.gr_context = Context()
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
