"""Fixtures that start servers in this process; a conftest imports those that its tests use."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from sites import Site
from tls_fixtures import authority, client_tls, server_tls

from gruvihttp.server import HttpServer
from gruvihttp.testing import RawPeer, ScriptedPeer

__all__ = ["authority", "client_tls", "make_site", "serve", "server_tls", "site", "start_server"]


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
def serve() -> Iterator[Callable[..., ScriptedPeer]]:
    """Starts a server that runs a script for each connection; see `ScriptedPeer`."""
    peers: list[ScriptedPeer] = []

    def start(*scripts: Callable[[RawPeer], object], **options: Any) -> ScriptedPeer:
        peers.append(ScriptedPeer(*scripts, **options))
        return peers[-1]

    yield start
    for peer in peers:
        peer.close()


@pytest.fixture
def start_server() -> Iterator[Callable[..., HttpServer]]:
    """Serves an application on a port of its own until the test ends. Options are those of `HttpServer`."""
    servers: list[HttpServer] = []

    def start(application: Any, **options: Any) -> HttpServer:
        servers.append(HttpServer(application, **options))
        servers[-1].listen(("127.0.0.1", 0))
        return servers[-1]

    yield start
    for server in servers:
        server.close(timeout=0)
