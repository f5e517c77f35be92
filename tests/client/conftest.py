"""What the tests of the client share: scripted servers, connected clients, and two ways for bytes to arrive.

The servers are bare sockets that record what they hear and say what the test tells them. A test that uses `say` runs
twice: what is said arrives in one piece, and byte by byte.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

import gevent
import pytest
import trustme

from gruvihttp import HttpClient
from gruvihttp.testing import RawPeer, Script, ScriptedPeer

GUARD_SECONDS = 10.0

Say: TypeAlias = Callable[[RawPeer, bytes], None]
Serve: TypeAlias = Callable[..., ScriptedPeer]
Connect: TypeAlias = Callable[..., HttpClient]
Wire: TypeAlias = Callable[..., bytes]


@pytest.fixture(params=["whole", "bytes"])
def say(request: pytest.FixtureRequest) -> Say:
    """How the server says something: all at once, or one byte at a time."""
    if request.param == "whole":
        return RawPeer.send
    return RawPeer.send_in_pieces


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Starts a server that runs a script for each connection; see `ScriptedPeer`."""
    peers: list[ScriptedPeer] = []

    def start(*scripts: Script, **options: Any) -> ScriptedPeer:
        peers.append(ScriptedPeer(*scripts, **options))
        return peers[-1]

    yield start
    for peer in peers:
        peer.close()


@pytest.fixture
def connect(serve: Serve) -> Iterator[Connect]:
    """Connects a client to a scripted server, or to what has an `address`. Options are HttpClient's."""
    clients: list[HttpClient] = []

    def make(target: Any, **options: Any) -> HttpClient:
        peer = serve(target) if callable(target) else target
        options.setdefault("timeout", GUARD_SECONDS)
        client = HttpClient(**options)
        client.connect(peer.address)
        clients.append(client)
        return client

    yield make
    for client in clients:
        client.close()


@pytest.fixture
def wire(serve: Serve) -> Wire:
    """Lets a function use a client, closes the client, and returns every byte that the server has heard."""

    def heard(act: Callable[[HttpClient], object], **options: Any) -> bytes:
        with serve(RawPeer.read_to_end) as peer:
            with HttpClient(GUARD_SECONDS, **options) as client:
                client.connect(peer.address)
                act(client)
            peer.wait_for_connections()
            peer.wait()
            return peer.received

    return heard


@pytest.fixture
def ticks() -> Iterator[list[int]]:
    """A list that grows each time the hub gets its turn."""
    counted: list[int] = []

    def tick() -> None:
        while True:
            counted.append(len(counted))
            gevent.sleep(0)

    ticking = gevent.spawn(tick)
    yield counted
    ticking.kill()


@pytest.fixture(scope="session")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="session")
def server_tls(authority: trustme.CA) -> ssl.SSLContext:
    """A server's context for ``localhost`` and 127.0.0.1."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("localhost", "127.0.0.1").configure_cert(context)
    return context


@pytest.fixture(scope="session")
def client_tls(authority: trustme.CA) -> ssl.SSLContext:
    """A client's context that trusts the authority."""
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context
