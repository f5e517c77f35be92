"""^C as a request to end, instead of an exception in whatever greenlet is at work."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from gevent import get_hub

__all__ = ["interrupted_by"]


@contextmanager
def interrupted_by(action: Callable[[], object]) -> Iterator[None]:
    """While entered, the first ^C calls `action` in the hub.

    Python's own handler raises KeyboardInterrupt in whatever greenlet is at work, and so cuts what that one does. Who
    has another handler keeps it.
    """
    loop = get_hub().loop

    def interrupt(number: int, frame: FrameType | None) -> None:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        loop.run_callback_threadsafe(action)

    ours = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    try:
        if ours:
            signal.signal(signal.SIGINT, interrupt)
    except ValueError:  # not the main thread, which is the only one that signals reach
        ours = False
    try:
        yield
    finally:
        if ours:
            signal.signal(signal.SIGINT, signal.default_int_handler)
