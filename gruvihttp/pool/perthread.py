"""`ThreadPools`: pools for code that may be called from several threads.

A pool belongs to a thread and its hub. So each thread gets pools of its own; they are closed when the thread ends, or
when it turns out to have another hub than before. How requests are made is not known here.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any
from weakref import ref

from gevent import get_hub
from gevent.monkey import get_original

from gruvihttp.pool.httppool import HttpPool

__all__ = ["ThreadPools"]

# Of threads, also in a patched program, where greenlets take their place
_ThreadLocal: Callable[[], Any] = get_original("_thread", "_local")


class ThreadPools:
    """Pools by what they were made for, `most` of them in each thread: beyond that, unused ones are closed."""

    def __init__(self, most: int = 10) -> None:
        self._most = most
        self._local = _ThreadLocal()

    def get(self, key: Hashable, make: Callable[[], HttpPool]) -> HttpPool:
        """The calling thread's pool for `key`. Use it at once: it stays open while it has something to do."""
        pools = self._of_this_thread()
        pool = pools.pop(key, None)
        if pool is None:
            if len(pools) >= self._most:
                _close_unused(pools)
            pool = make()
        pools[key] = pool  # the last one is the latest used
        return pool

    def close(self) -> None:
        """Close the pools of the calling thread. The next `get` makes new ones."""
        _close_all(self._of_this_thread())

    def _of_this_thread(self) -> dict[Hashable, HttpPool]:
        local = self._local
        hub = get_hub()
        try:
            pools: dict[Hashable, HttpPool] = local.pools
            if local.hub() is hub:
                return pools
            _close_all(pools)
        except AttributeError:  # this thread's first time
            pass
        # What only this refers to is freed when the thread ends. What the hub refers to would not be: gevent leaves the
        # hub of a thread behind, with all its descriptors, unless it is destroyed.
        pools = local.pools = {}
        local.hub = ref(hub)
        return pools


def _close_all(pools: dict[Hashable, HttpPool]) -> None:
    while pools:
        pools.popitem()[1].close()


def _close_unused(pools: dict[Hashable, HttpPool]) -> None:
    """Close the least recently used pool among those that have nothing to do."""
    for key, pool in pools.items():
        taken, _, waiting = pool.counts
        if not taken and not waiting:
            del pools[key]
            pool.close()
            return
