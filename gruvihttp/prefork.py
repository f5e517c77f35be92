"""`Prefork`: a parent that keeps worker processes at work on listening sockets that it holds itself.

The theory. Each worker has its place, and each place has its sockets: with SO_REUSEPORT sockets of its own, so that the
system spreads the connections, else the same for all. The parent never accepts, and never closes a place's sockets
before it ends. So a connection that comes while a worker is replaced waits in a backlog and is not refused. A worker is
a new process that executes the parent's own command line: it begins with new code, and takes over no state.

Parent and worker share a pair of connected sockets. The worker says there when it serves, and when it wants to be
relieved; its end tells the worker that the parent has gone. HTTP and the application are not known here.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Mapping, Sequence
from time import monotonic
from typing import Any

import gevent
from gevent import get_hub, socket
from gevent.event import Event
from gevent.subprocess import Popen

from gruvihttp.net.sockets import RawSocket

__all__ = ["Prefork", "READY", "RELIEF", "VARIABLE"]

VARIABLE = "GRUVIHTTP_WORKER"  # descriptors: that of the pair, a colon, those to listen on, with commas
READY = b"+"
RELIEF = b"-"

_STEADY_SECONDS = 10.0  # who has lived so long has not failed at its beginning, and is replaced at once
_PAUSE_SECONDS = 0.5  # before a worker is started that ended sooner; doubled each time
_PAUSE_SECONDS_MOST = 30.0
_QUICK_SECONDS = 1.0  # for running requests, on SIGINT


class _Worker:
    """One process. `news` is set when it has ended, or wants to be relieved."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str], sockets: Sequence[RawSocket]) -> None:
        ours, theirs = socket.socketpair()
        descriptors = [sock.fileno() for sock in sockets]
        variable = f"{theirs.fileno()}:{','.join(map(str, descriptors))}"
        self.begun = monotonic()
        # in a session of its own, for Ctrl-C in a terminal is for the parent only
        self._process = Popen(
            command,
            env={**environment, VARIABLE: variable},
            pass_fds=[theirs.fileno(), *descriptors],
            start_new_session=True,
        )
        theirs.close()
        self._pair = ours
        self.pid: int = self._process.pid
        self.ready = Event()
        self.ended = Event()
        self.news = Event()
        gevent.spawn(self._listen)
        gevent.spawn(self._wait)

    @property
    def code(self) -> int:
        """The exit code; negative for a signal."""
        return int(self._process.returncode)

    def _listen(self) -> None:
        try:
            while said := self._pair.recv(16):
                if READY in said:
                    self.ready.set()
                if RELIEF in said:
                    self.news.set()
        except OSError:
            pass

    def _wait(self) -> None:
        self._process.wait()
        self._pair.close()
        self.ended.set()
        self.news.set()
        self.ready.set()

    def begins(self) -> bool:
        """Wait until it serves, or has ended. Whether it serves."""
        self.ready.wait()
        return not self.ended.is_set()

    def retire(self, patience: float | None) -> None:
        """Let it end politely, and kill it when it takes longer than `patience` seconds."""
        self._send(signal.SIGTERM)
        if not self.ended.wait(patience):
            self._send(signal.SIGKILL)
            self.ended.wait()

    def _send(self, number: int) -> None:
        if not self.ended.is_set():
            os.kill(self.pid, number)


class _Place:
    """The sockets of a worker, and the worker that serves there now."""

    def __init__(self, sockets: Sequence[RawSocket]) -> None:
        self.sockets = sockets
        self.worker: _Worker | None = None


class Prefork:
    """Keeps a worker at work for each of `places`, which are the listening sockets of one worker each.

    `command` is what a worker executes. `graceful` is how long running requests may take when a worker ends, in
    seconds; None is for ever. `report` gets a line of text about what operators want to know.
    """

    def __init__(
        self,
        command: Sequence[str],
        places: Sequence[Sequence[RawSocket]],
        *,
        graceful: float | None = 30.0,
        report: Callable[[str], object] = print,
    ) -> None:
        self._command = command
        self._places = [_Place(sockets) for sockets in places]
        self._graceful = graceful
        self._report = report
        self._patience = graceful
        self._stopping = Event()
        self._reloading = False
        self._retiring: list[Any] = []

    def run(self, serving: Callable[[], object]) -> int:
        """Serve until SIGTERM or SIGINT; SIGHUP replaces all workers. `serving` is called when all workers serve.

        Returns an exit code: that of the first worker if it cannot begin, else 0.
        """
        loop = get_hub().loop
        actions = {signal.SIGTERM: self.stop, signal.SIGINT: self._stop_quickly, signal.SIGHUP: self.reload}
        before = {}
        for number, action in actions.items():

            def handle(_number: int, _frame: Any, action: Callable[[], object] = action) -> None:
                loop.run_callback_threadsafe(gevent.spawn, action)

            before[number] = signal.signal(number, handle)
        try:
            return self._run(serving)
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _run(self, serving: Callable[[], object]) -> int:
        first = self._start(self._places[0])  # alone: if it cannot begin, once is enough to hear why
        if not first.begins() and not self._stopping.is_set():
            return first.code
        if not self._stopping.is_set():
            others = [self._start(place) for place in self._places[1:]]
            keepers = [gevent.spawn(self._keep, place) for place in self._places]
            if all(worker.begins() for worker in others):
                serving()
            self._stopping.wait()
            gevent.joinall(keepers)
        for place in self._places:  # before the workers hear of it: with them, the last descriptor closes
            for sock in place.sockets:
                sock.close()
        for place in self._places:
            if place.worker is not None:
                self._retire(place.worker)
        gevent.joinall(self._retiring)
        return 0

    def stop(self) -> None:
        """End: let all workers finish what they are at."""
        self._stopping.set()

    def _stop_quickly(self) -> None:
        self._patience = _QUICK_SECONDS if self._graceful is None else min(_QUICK_SECONDS, self._graceful)
        self._stopping.set()

    def reload(self) -> None:
        """Replace one worker after the other, each when its successor serves. Those that cannot be replaced stay."""
        if self._reloading or self._stopping.is_set():
            return
        self._reloading = True
        try:
            for place in self._places:
                if self._stopping.is_set() or not self._replace(place):
                    return
            self._report("all workers have been replaced")
        finally:
            self._reloading = False

    def _start(self, place: _Place) -> _Worker:
        place.worker = self._new(place)
        return place.worker

    def _new(self, place: _Place) -> _Worker:
        return _Worker(self._command, os.environ, place.sockets)

    def _replace(self, place: _Place) -> bool:
        successor = self._new(place)
        if not successor.begins():
            self._report(f"a new worker could not begin, so the old ones stay (exit code {successor.code})")
            return False
        old, place.worker = place.worker, successor
        if old is not None:
            old.news.set()  # whoever keeps the place looks at the new one
            self._retire(old)
        return True

    def _retire(self, worker: _Worker) -> None:
        # a little longer than the worker's own patience, so that it can abort what is left itself
        patience = self._patience + 1 if self._patience is not None else None
        self._retiring = [one for one in self._retiring if not one.ready()]
        self._retiring.append(gevent.spawn(worker.retire, patience))

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
                self._replace(place)
                continue
            steady = monotonic() - worker.begun > _STEADY_SECONDS
            pause = 0.0 if steady else min(max(pause * 2, _PAUSE_SECONDS), _PAUSE_SECONDS_MOST)
            what = f"worker {worker.pid} ended by itself (exit code {worker.code})"
            self._report(f"{what}, another begins in {pause:g} s")
            self._stopping.wait(pause)
            if place.worker is worker and not self._stopping.is_set():
                self._start(place)
