"""Calls functions in other threads while the hub of this one goes on."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeVar

import gevent

__all__ = ["call_in_thread"]

GUARD_SECONDS = 10.0

T = TypeVar("T")


def call_in_thread(function: Callable[[], T]) -> T:
    """What the function returns in a thread of its own. This thread's greenlets run meanwhile."""
    results: list[T] = []
    thread = threading.Thread(target=lambda: results.append(function()))
    thread.start()
    with gevent.Timeout(GUARD_SECONDS):
        while thread.is_alive():
            gevent.sleep(0.001)
    thread.join()
    [result] = results
    return result
