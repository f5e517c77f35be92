"""Watchers, which a loop calls when something happens; and how they end, also when their loop has gone before them.

A hub that is destroyed takes its loop along, as threads should have it that end. Watchers outlive that, and refuse to
be stopped then. What is watched with them has to be closed nevertheless.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

__all__ = ["LOOP_DESTROYED", "Watcher", "close_watcher"]

# What gevent raises for a watcher whose loop was destroyed: it depends on the kind of the loop
LOOP_DESTROYED = (TypeError, ValueError)


class Watcher(Protocol):
    """One of gevent, with what its type stubs leave out: its callback may be replaced while it is active."""

    active: bool
    ref: bool
    callback: Callable[..., object] | None

    def start(self, callback: Callable[..., object], *args: object) -> None: ...
    def stop(self) -> None: ...
    def close(self) -> None: ...


def close_watcher(watcher: Watcher) -> None:
    """Stop it for good. It does no harm if its loop was destroyed."""
    try:
        watcher.stop()
        watcher.close()
    except LOOP_DESTROYED:
        watcher.callback = None  # gevent never lets go of a watcher that was active then, but of this
