"""Signals that start greenlets. What for is not known here."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import gevent
from gevent import get_hub

__all__ = ["signals_handled"]


@contextmanager
def signals_handled(actions: Mapping[int, Callable[[], object]]) -> Iterator[None]:
    """While entered, each of these signals starts a greenlet with its action. Only in the main thread."""
    loop = get_hub().loop
    before: dict[int, Any] = {}

    def handle(number: int, frame: Any) -> None:
        loop.run_callback_threadsafe(gevent.spawn, actions[number])

    try:
        for number in actions:
            before[number] = signal.signal(number, handle)
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
