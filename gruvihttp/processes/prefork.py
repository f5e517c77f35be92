"""`Prefork`: a parent that keeps worker processes at work on listening sockets that it holds itself.

The theory. Each worker has its place, and each place has its sockets: with SO_REUSEPORT sockets of its own, so that the
system spreads the connections, else the same for all. The parent never accepts, and never closes a place's sockets
before it ends. So a connection that comes while a worker is replaced waits in a backlog and is not refused. A worker is
a new process that executes the parent's own command line: it begins with new code, and takes over no state.

Parent and worker have a `Link`. The worker says there when it serves, and when it wants to be relieved; its end tells
the worker that the parent has gone. Whatever else they say to each other, HTTP and the application are not known here.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Sequence
from typing import Any

import gevent
from gevent.event import Event

from gruvihttp.net.sockets import RawSocket
from gruvihttp.processes.signals import signals_handled
from gruvihttp.processes.worker import Worker
from gruvihttp.systemd import Notifier

__all__ = ["LEAVING", "PULSE", "REOPEN", "STATS", "Prefork", "announcement"]

LEAVING = "leaving"
REOPEN = "reopen"
PULSE = "pulse"
STATS = "stats"

_STEADY_SECONDS = 10.0  # a worker that has lived that long did not fail at its start, and is replaced at once
_PAUSE_SECONDS = 0.5  # before a worker is started that ended sooner; doubled each time
_PAUSE_SECONDS_MOST = 30.0
_SILENCE_SECONDS = 0.3  # enough for workers that have nothing to finish
_QUICK_SECONDS = 1.0  # for running requests, on SIGINT


def announcement(delay: float) -> str:
    """What operators are told when a server is about to stop."""
    return f"tells that it is not ready, and stops in {delay:g} s (SIGTERM again stops now)"


class _Place:
    """The sockets of a worker, and the worker that serves there now."""

    def __init__(self, sockets: Sequence[RawSocket]) -> None:
        self.sockets = sockets
        self.worker: Worker | None = None
        self.changed = Event()  # set when there is another worker; the code that waits clears it


class Prefork:
    """Keeps a worker at work for each of `places`, which are the listening sockets of one worker each.

    `command` is what a worker executes. `graceful` is how long running requests may take when a worker ends, in
    seconds; None is for ever. On SIGTERM all workers hear `LEAVING`, and serve for another `delay` seconds. `report`
    gets a line of text about what operators want to know, `heard` what a worker says that is not known here, and
    `notifier` how all of it is. If systemd watches, workers that do not answer `PULSE` in time are killed and replaced.

    `persistent` is whether to wait for `reload`, and not to end, when the first worker cannot begin.
    """

    def __init__(
        self,
        command: Sequence[str],
        places: Sequence[Sequence[RawSocket]],
        *,
        graceful: float | None = 30.0,
        delay: float = 0.0,
        report: Callable[[str], object] = print,
        heard: Callable[[Worker, str, Any], object] = lambda worker, word, content: None,
        notifier: Notifier | None = None,
        persistent: bool = False,
    ) -> None:
        self._command = command
        self._places = [_Place(sockets) for sockets in places]
        self._graceful = graceful
        self._delay = delay
        self._report = report
        self._heard = heard
        self._notifier = notifier or Notifier()
        self._patience = graceful
        self._alive: set[Worker] = set()
        self._stopping = Event()
        self._hurry = Event()
        self._leaving = False
        self._persistent = persistent
        self._begun = False
        self._again = Event()
        self._reloading = False
        self._retiring: list[Any] = []

    @property
    def workers(self) -> list[Worker]:
        """Those that have their places now."""
        return [place.worker for place in self._places if place.worker is not None]

    @property
    def leaving(self) -> bool:
        """Has it been told to end?"""
        return self._leaving or self._stopping.is_set()

    def run(self, serving: Callable[[], object]) -> int:
        """Serve until SIGTERM or SIGINT; SIGHUP replaces all workers, SIGUSR1 tells them `REOPEN`.

        `serving` is called when all workers serve. Returns an exit code: that of the first worker if it cannot begin,
        else 0.
        """
        handled: dict[int, Callable[[], object]] = {
            signal.SIGTERM: self.stop,
            signal.SIGINT: self._stop_quickly,
            signal.SIGHUP: self.reload,
            signal.SIGUSR1: self._reopen,
        }
        with signals_handled(handled):
            return self._run(serving)

    def _run(self, serving: Callable[[], object]) -> int:
        first = self._start(self._places[0])  # alone: if it cannot begin, once is enough to hear why
        while not self._begins(first) and not self._stopping.is_set():
            if not self._persistent:
                return first.code
            self._report("waits for a change")
            gevent.wait([self._again, self._stopping], count=1)
            self._again.clear()
            if not self._stopping.is_set():
                first = self._start(self._places[0])
        self._begun = True
        if not self._stopping.is_set():
            for place in self._places[1:]:
                self._start(place)
            keepers = [gevent.spawn(self._keep, place) for place in self._places]
            if all(self._is_taken(place) for place in self._places):
                serving()
                self._notifier.ready()
                self._watch()
            self._stopping.wait()
            gevent.joinall(keepers)
        self._notifier.stopping()
        for place in self._places:  # before the workers hear of it: with them, the last descriptor closes
            for sock in place.sockets:
                sock.close()
        for worker in list(self._alive):
            self._retire(worker)
        gevent.joinall(self._retiring, timeout=_SILENCE_SECONDS)
        if not all(one.ready() for one in self._retiring):
            self._report("waits for its workers to finish (Ctrl-C or SIGTERM again stops at once)")
        gevent.joinall(self._retiring)
        return 0

    def _begins(self, worker: Worker) -> bool:
        """Wait until a worker serves. False if it ends before that, or all is to end."""
        gevent.wait([worker.ready, self._stopping], count=1)
        return worker.serves and not self._stopping.is_set()

    def _is_taken(self, place: _Place) -> bool:
        """Wait until a worker serves there, if not the first, then another. False if all is to end before that."""
        while not self._stopping.is_set():
            worker = place.worker
            assert worker is not None
            if self._begins(worker):
                return True
            if worker is place.worker:
                place.changed.clear()
                gevent.wait([place.changed, self._stopping], count=1)
        return False

    def tell(self, word: str) -> None:
        """Say something to all workers, including those that are about to end."""
        for worker in list(self._alive):
            gevent.spawn(worker.say, word)  # one that hangs does not keep the others from hearing it

    def stop(self) -> None:
        """End: let all workers finish what they are at, after the delay. The second call does not wait for that.

        One that comes when they are about to finish ends them at once.
        """
        if self._delay and not self.leaving:
            self._leaving = True
            self._notifier.stopping()
            self.tell(LEAVING)
            self._report(announcement(self._delay))
            self._stopping.wait(self._delay)
            self._stopping.set()
        else:
            self._stop_now()

    def _stop_quickly(self) -> None:
        self._patience = _QUICK_SECONDS if self._graceful is None else min(_QUICK_SECONDS, self._graceful)
        self._stop_now()

    def _reopen(self) -> None:
        self.tell(REOPEN)

    def _stop_now(self) -> None:
        if self._stopping.is_set():
            self._hurry.set()
        self._stopping.set()

    def reload(self) -> None:
        """Replace one worker after the other, each when its successor serves. Those that cannot be replaced stay.

        If they are being replaced already, they are once more after that.
        """
        self._again.set()
        if self._reloading or self.leaving or not self._begun:
            return
        self._reloading = True
        self._notifier.reloading()
        try:
            while self._again.is_set() and not self.leaving:
                self._again.clear()
                if all(not self.leaving and self._replace(place) for place in self._places):
                    self._report("all workers have been replaced")
        finally:
            self._reloading = False
            if not self.leaving:
                self._notifier.ready()

    def _watch(self) -> None:
        period = self._notifier.watchdog
        if period is not None:
            self._notifier.keep_alive()
            gevent.spawn(self._feel_pulses, period)

    def _feel_pulses(self, period: float) -> None:
        while not self._stopping.wait(period / 2):
            gevent.joinall([gevent.spawn(self._feel_pulse, worker, period) for worker in self.workers])

    def _feel_pulse(self, worker: Worker, period: float) -> None:
        if not worker.serves or worker.ask(PULSE, period) is not None or worker.ended.is_set():
            return
        self._report(f"worker {worker.pid} has not answered for {period:g} s, and is killed")
        worker.kill()

    def _start(self, place: _Place) -> Worker:
        place.worker = self._new(place)
        place.changed.set()
        return place.worker

    def _new(self, place: _Place) -> Worker:
        worker = Worker(self._command, place.sockets, self._heard)
        self._alive.add(worker)
        gevent.spawn(self._accompany, worker)
        return worker

    def _accompany(self, worker: Worker) -> None:
        if worker.begins() and self._leaving:  # it was not there yet when the others heard
            worker.say(LEAVING)
        worker.ended.wait()
        self._alive.discard(worker)

    def _replace(self, place: _Place) -> bool:
        successor = self._new(place)
        if not self._begins(successor):
            if self._stopping.is_set():
                return False
            self._report(f"a new worker could not begin, so the old ones stay (exit code {successor.code})")
            return False
        old, place.worker = place.worker, successor
        place.changed.set()
        if old is not None:
            old.news.set()  # the greenlet of the place looks at the new one
            self._retire(old)
        return True

    def _retire(self, worker: Worker) -> None:
        if worker.retires:
            return
        worker.retires = True
        # a little longer than the worker's own patience, so that it can abort what is left itself
        patience = self._patience + 1 if self._patience is not None else None
        self._retiring = [one for one in self._retiring if not one.ready()]
        self._retiring.append(gevent.spawn(worker.retire, patience, self._hurry))

    def _keep(self, place: _Place) -> None:
        """Replace the worker of a place when it has ended or wants to be relieved."""
        pause = 0.0
        while not self._stopping.is_set():
            worker = place.worker
            assert worker is not None
            gevent.wait([worker.news, self._stopping], count=1)
            if self._stopping.is_set() or worker is not place.worker:
                continue
            if not worker.ended.is_set():
                worker.news.clear()
                if worker.reason:
                    self._report(f"worker {worker.pid} {worker.reason}, and is replaced")
                self._replace(place)
                continue
            steady = worker.age() > _STEADY_SECONDS
            pause = 0.0 if steady else min(max(pause * 2, _PAUSE_SECONDS), _PAUSE_SECONDS_MOST)
            what = f"worker {worker.pid} ended by itself (exit code {worker.code})"
            self._report(f"{what}, another begins in {pause:g} s")
            self._stopping.wait(pause)
            if place.worker is worker and not self._stopping.is_set():
                self._start(place)
