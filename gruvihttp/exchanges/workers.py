"""`Workers`: greenlets that run one job after another.

A new greenlet costs more than a small request, since CPython maps memory for its stack, and even a switch to a
greenlet and back costs a tenth of one. So a greenlet that has done its job waits for the next. The jobs of one pass of
the loop are run by one worker, in a row, as long as none of them waits. When one waits, another worker goes on with the
rest: a job that waits delays no other.

Each job runs in a fresh `contextvars.Context`: what one request sets, the next does not see. (`gevent.local` data does
stay with the greenlet, as it stays with the threads of a threaded server.) What a job is about is not known here.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from contextvars import Context
from functools import partial
from typing import Any
from weakref import WeakKeyDictionary

from gevent import Greenlet, GreenletExit, get_hub
from greenlet import getcurrent

__all__ = ["Workers", "renew_context"]

Job = Callable[[Any], None]


class Workers:
    """A pool of greenlets of one hub. At most `most_idle` of them wait for work; more may work."""

    def __init__(self, most_idle: int = 256) -> None:
        self._most_idle = most_idle
        self._idle: list[_Worker] = []
        self._ready: deque[tuple[Job, Any]] = deque()
        self._later: deque[Callable[[], object]] = deque()
        self._turn: Any = None  # a timer of 0 seconds: it expires at once, but after the callbacks of all input

    @classmethod
    def of_hub(cls) -> Workers:
        """The pool that all servers of this hub share. A pool for each server would leave idle greenlets behind."""
        hub = get_hub()
        workers = _of_hubs.get(hub)
        if workers is None:
            workers = _of_hubs[hub] = cls()
        return workers

    def run(self, job: Job, argument: Any) -> None:
        """Run ``job(argument)`` in a worker, in this pass of the loop or at the beginning of the next.

        An exception that leaves the job ends its worker, and gevent reports it.
        """
        ready = self._ready
        ready.append((job, argument))
        if len(ready) == 1:
            get_hub().loop.run_callback(self._dispatch)

    def run_later(self, job: Job, argument: Any) -> None:
        """`run`, but in line with the greenlets that pause: see there."""
        self._queue_up(partial(self.run, job, argument))

    def pause(self) -> None:
        """Let this greenlet, which has had much of the hub's time, wait in line with others that have.

        One of them goes on in each pass of the loop. So short jobs wait for one of them at most, however many there
        are, and the line moves as fast as there is time.
        """
        turn = getcurrent().switch
        self._queue_up(turn)
        try:
            get_hub().switch()
        except BaseException:
            if turn in self._later:
                self._later.remove(turn)
            raise

    def _queue_up(self, turn: Callable[[], object]) -> None:
        self._later.append(turn)
        if len(self._later) == 1:
            if self._turn is None:
                self._turn = get_hub().loop.timer(0)
            self._turn.start(self._next_turn)

    def _next_turn(self) -> None:
        """In the hub."""
        self._turn.stop()
        if self._later:
            turn = self._later.popleft()
            if self._later:
                self._turn.start(self._next_turn)
            turn()

    def _dispatch(self) -> None:
        """In the hub: switch to workers until no job is left that has not begun."""
        idle = self._idle
        ready = self._ready
        while ready:
            (idle.pop() if idle else _Worker(idle, ready, self._most_idle)).switch()


_of_hubs: WeakKeyDictionary[Any, Workers] = WeakKeyDictionary()


def renew_context() -> None:
    """Go on in a fresh context: what this greenlet does next is not part of what it did before."""
    getcurrent().gr_context = Context()


class _Worker(Greenlet):  # type: ignore[type-arg]  # generic in the stubs only
    """One greenlet of a pool. It is started by being switched to, not by a turn of the loop.

    It must be a `Greenlet`, and begin in Greenlet's own `run`: otherwise gevent takes it for one that has not started,
    and neither a gevent.Timeout nor a `kill` ever reaches it.
    """

    def __init__(self, idle: list[_Worker], ready: deque[tuple[Job, Any]], most_idle: int) -> None:
        super().__init__()
        self._pool = idle
        self._ready = ready
        self._most_idle = most_idle

    def _run(self) -> None:
        idle = self._pool
        ready = self._ready
        wait = get_hub().switch
        while True:
            while ready:
                job, argument = ready.popleft()
                self.gr_context = Context()
                job(argument)
            job = argument = None  # type: ignore[assignment]  # an idle worker keeps nothing alive
            if len(idle) >= self._most_idle:
                return
            idle.append(self)
            while not ready:
                try:
                    wait()
                except GreenletExit:  # killed while it did nothing: somebody kept a reference
                    idle.remove(self)
                    return
                except BaseException:  # a Timeout that an earlier job forgot to cancel
                    continue
