"""What the tests of the pool share: a server in this process that tells what it was asked, and scripted ones."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

import gevent
import pytest
from server_fixtures import authority, client_tls, make_site, serve, server_tls, site  # noqa: F401  # fixtures

from gruvihttp import HttpPool

GUARD_SECONDS = 10.0

MakePool: TypeAlias = Callable[..., HttpPool]


@pytest.fixture
def make_pool() -> Iterator[MakePool]:
    pools: list[HttpPool] = []

    def make(*args: Any, **options: Any) -> HttpPool:
        options.setdefault("timeout", GUARD_SECONDS)
        pools.append(HttpPool(*args, **options))
        return pools[-1]

    yield make
    for pool in pools:
        pool.close()


@pytest.fixture
def pool(make_pool: MakePool) -> HttpPool:
    return make_pool()


@pytest.fixture
def settled() -> Callable[[HttpPool, tuple[int, int, int]], None]:
    """Waits until a pool's counts are what they should be: some of it happens in the hub, later in the same pass."""

    def wait(pool: HttpPool, counts: tuple[int, int, int]) -> None:
        with gevent.Timeout(GUARD_SECONDS, AssertionError(f"counts stay {pool.counts}, not {counts}")):
            while pool.counts != counts:
                gevent.idle()

    return wait
