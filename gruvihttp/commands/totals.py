"""`Totals`: what the workers of one server count together, those included that have ended."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gevent

from gruvihttp.metrics import Stats, ended, total
from gruvihttp.processes.prefork import STATS
from gruvihttp.processes.worker import Worker

__all__ = ["Totals"]

_PATIENCE_SECONDS = 2.0  # for a worker that is busy; after that, its latest answer counts


class Totals:
    """Asks the workers on demand, and keeps the latest answer of each.

    A worker's counts outlive it, or the sums would go down and look like those of a restarted server.
    `is_ready` is whether the server as a whole wants requests.
    """

    def __init__(self, workers: Callable[[], list[Worker]], is_ready: Callable[[], bool]) -> None:
        self._workers = workers
        self._is_ready = is_ready
        self._said: dict[Worker, Stats] = {}
        self._ended: list[Stats] = []  # at most one, the sum

    def heard(self, worker: Worker, stats: Any) -> None:
        """A worker has told what it counts."""
        self._said[worker] = stats

    def gone(self, worker: Worker) -> None:
        """A worker has ended; its latest counts stay in the sums."""
        last = self._said.pop(worker, None)
        if last is not None:
            self._ended = [total([*self._ended, ended(last)])]

    def stats(self) -> Stats:
        """The sums."""
        serving = [worker for worker in self._workers() if worker.serves]
        asking = [gevent.spawn(worker.ask, STATS, _PATIENCE_SECONDS) for worker in serving]
        gevent.joinall(asking)
        sums = total([*self._ended, *self._said.values()])
        sums["ready"] = self._is_ready()
        return sums
