"""`BlockingWatch`: says which function keeps the loop from running.

While one greenlet computes, or waits in a way that gevent does not know of, no other greenlet runs. A timer of the loop
notes the time again and again; a thread of the system, which runs even then, sees when that is long ago, and looks what
the loop's thread is doing. It must be a real thread, so it uses the standard library's functions from before they were
patched.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from time import monotonic
from types import FrameType
from typing import Any

from gevent import get_hub
from gevent.monkey import get_original

from gruvihttp.commands.tracebacks import is_authors

__all__ = ["BlockingWatch"]

_start_thread = get_original("_thread", "start_new_thread")
_get_ident = get_original("_thread", "get_ident")
_sleep = get_original("time", "sleep")

_QUIET_SECONDS = 10.0  # between two lines about the same place


class BlockingWatch:
    """Reports the place where the loop of this thread has been blocked for `seconds`, or longer.

    `report` gets a line of text, in another thread: it must not use anything of gevent's. A place is reported once in
    ten seconds.
    """

    def __init__(self, seconds: float, report: Callable[[str], object]) -> None:
        self._seconds = seconds
        self._report = report
        self._thread = _get_ident()
        self._mark = monotonic()
        self._ended = False
        self._reported: dict[str, float] = {}
        self._timer: Any = get_hub().loop.timer(seconds / 4, seconds / 4, ref=False)

    def start(self) -> None:
        """Watch from now on."""
        self._timer.start(self._leave_mark, update=True)
        _start_thread(self._watch, ())

    def stop(self) -> None:
        """Watch no more."""
        self._ended = True
        self._timer.close()

    def _leave_mark(self) -> None:
        self._mark = monotonic()

    def _watch(self) -> None:
        told = 0.0
        while not self._ended:
            _sleep(self._seconds / 2)
            mark = self._mark
            blocked = monotonic() - mark
            if blocked >= self._seconds and mark != told:
                frame = sys._current_frames().get(self._thread)
                if frame is not None and self._mark == mark and self._tell(frame, blocked):
                    told = mark  # once for each time that the loop is blocked

    def _tell(self, frame: FrameType, blocked: float) -> bool:
        """Report the place of a frame. False if the loop is not blocked by any code, but has only just begun to run."""
        if frame.f_code.co_filename.endswith(os.path.join("gevent", "hub.py")):
            return False
        place = _place(frame)
        now = monotonic()
        if now - self._reported.get(place, -_QUIET_SECONDS) >= _QUIET_SECONDS:
            self._reported[place] = now
            self._report(f"the loop has been blocked for {blocked:.2g} s by {place}; nobody is served meanwhile")
        return True


def _place(frame: FrameType) -> str:
    """``checkout (shop.py, line 12)``: the innermost function of the application's author, and what that has called."""
    innermost = frame
    candidate: FrameType | None = frame
    while candidate is not None and not is_authors(candidate.f_code.co_filename):
        candidate = candidate.f_back
    if candidate is None or candidate is innermost:
        return _name(innermost)
    return f"{_name(candidate)}, in {_name(innermost)}"


def _name(frame: FrameType) -> str:
    code = frame.f_code
    file = os.path.relpath(code.co_filename) if code.co_filename.startswith(os.getcwd() + os.sep) else code.co_filename
    return f"{code.co_qualname} ({file}, line {frame.f_lineno})"
