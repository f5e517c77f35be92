"""What the tests of the pool share: a server in this process that tells what it was asked, and scripted ones."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

import gevent
import pytest
import trustme
from sites import Site

from gruvihttp import HttpPool
from gruvihttp.testing import RawPeer, ScriptedPeer

GUARD_SECONDS = 10.0

MakePool: TypeAlias = Callable[..., HttpPool]
Serve: TypeAlias = Callable[..., ScriptedPeer]


@pytest.fixture
def make_site() -> Iterator[Callable[..., Site]]:
    sites: list[Site] = []

    def make(**options: Any) -> Site:
        sites.append(Site(**options))
        return sites[-1]

    yield make
    for site in sites:
        site.held.set()
        site.server.close()


@pytest.fixture
def site(make_site: Callable[..., Site]) -> Site:
    return make_site()


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
def serve() -> Iterator[Serve]:
    """Starts a server that runs a script for each connection; see `ScriptedPeer`."""
    peers: list[ScriptedPeer] = []

    def start(*scripts: Callable[[RawPeer], object], **options: Any) -> ScriptedPeer:
        peers.append(ScriptedPeer(*scripts, **options))
        return peers[-1]

    yield start
    for peer in peers:
        peer.close()


@pytest.fixture
def settled() -> Callable[[HttpPool, tuple[int, int, int]], None]:
    """Waits until a pool's counts are what they should be: some of it happens in the hub, later in the same pass."""

    def wait(pool: HttpPool, counts: tuple[int, int, int]) -> None:
        with gevent.Timeout(GUARD_SECONDS, AssertionError(f"counts stay {pool.counts}, not {counts}")):
            while pool.counts != counts:
                gevent.idle()

    return wait


@pytest.fixture(scope="session")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="session")
def server_tls(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("localhost", "127.0.0.1").configure_cert(context)
    return context


@pytest.fixture(scope="session")
def client_tls(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context
