"""What the doors of requests and httpx share: the pools behind a door, and the fields of other people's requests.

A pool belongs to a thread, and the sessions of others may be used from several; so each thread has pools of its own,
which go when the thread ends. Whose exceptions are raised is not known here.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from typing import Any

from gevent.monkey import get_original

from gruvihttp.pool.httppool import HttpPool

__all__ = ["Fields", "ThreadPools", "UNBOUNDED", "sendable_fields"]

Fields = list[tuple[str, str]]

UNBOUNDED = 1 << 30  # connections: more than any system has
_ThreadLocal: Callable[[], Any] = get_original("_thread", "_local")  # of threads, also where greenlets pose as these

# They concern one connection, and it is ours (RFC 9110 §7.6.1). Who asks for Upgrade must hear that it is not possible.
_OURS = frozenset((
    "connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "proxy-connection", "te", "trailers",
    "transfer-encoding",
))  # fmt: skip


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
        pools = self._of_this_thread()
        while pools:
            pools.popitem()[1].close()

    def _of_this_thread(self) -> dict[Hashable, HttpPool]:
        try:
            pools: dict[Hashable, HttpPool] = self._local.pools
        except AttributeError:
            pools = self._local.pools = {}
        return pools


def _close_unused(pools: dict[Hashable, HttpPool]) -> None:
    """Close the pool that was not used for longest, of those that have nothing to do."""
    for key, pool in pools.items():
        taken, _, waiting = pool.counts
        if not taken and not waiting:
            del pools[key]
            pool.close()
            return


def sendable_fields(pairs: Iterable[tuple[str, str]]) -> tuple[Fields, bool]:
    """Those of a request's fields that may be sent, and whether the connection shall close afterwards."""
    fields: Fields = []
    closes = False
    for field in pairs:
        name = field[0].lower()
        if name not in _OURS:
            fields.append(field)
        elif name == "connection" and "close" in field[1].lower():
            closes = True
    return fields, closes
