"""Signals that end a server: SIGTERM announces it, if so configured; the next ends it gracefully, the last at once.

The handlers are Python's, not gevent's: those of gevent run in the hub, so an application that never waits could not
be interrupted at all.
"""

from __future__ import annotations

import signal
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any

import gevent
from gevent import get_hub

__all__ = ["StopSignals"]

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class StopSignals:
    """While entered, a first SIGTERM starts a greenlet with `leave`, if that is not None.

    The next SIGTERM, or any SIGINT, starts one with `stop`; any further signal raises KeyboardInterrupt. `number` is
    the last signal that arrived.
    """

    def __init__(self, stop: Callable[[], object], leave: Callable[[], object] | None = None) -> None:
        self._stop = stop
        self._leave = leave
        self._stopping = False
        self._loop = get_hub().loop
        self._previous: dict[int, Any] = {}  # Any: what signal.signal() returns
        self.number = 0

    def proceed(self) -> None:
        """Stop as a second signal does, unless that has arrived already."""
        if not self._stopping:
            self._stopping = True
            self._stop()

    def __enter__(self) -> StopSignals:
        for number in _SIGNALS:
            if signal.getsignal(number) is not signal.SIG_IGN:  # a shell does so for background jobs
                self._previous[number] = signal.signal(number, self._handle)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        """Python calls it between two instructions of the running greenlet."""
        self.number = number
        if self._stopping:
            raise KeyboardInterrupt
        action, self._leave = self._leave, None
        if action is None or number == signal.SIGINT:  # a user at the keyboard does not want to wait
            action = self._stop
            self._stopping = True
        self._loop.run_callback_threadsafe(gevent.spawn, action)
