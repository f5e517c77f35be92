"""What the tests of the network layer share: connected pairs of each kind, certificates, waiting for a condition."""

from __future__ import annotations

import gc
import os
import socket
import ssl
from collections.abc import Callable, Iterator
from time import monotonic
from typing import TypeAlias

import gevent
import pytest
import trustme
from tls_fixtures import authority, client_tls, server_context  # noqa: F401  # fixtures

from gruvihttp.net.deadline import moment_after
from gruvihttp.net.transport import Transport
from gruvihttp.testing import memory_pair

Pair: TypeAlias = tuple[Transport, Transport]
MakePair: TypeAlias = Callable[[str], Pair]


@pytest.fixture(scope="session")
def server_tls(authority: trustme.CA) -> ssl.SSLContext:  # noqa: F811  # the fixture
    """A server's context for ``localhost`` and 127.0.0.1 that speaks h2 and http/1.1."""
    context = server_context(authority, "localhost", "127.0.0.1")
    context.set_alpn_protocols(["h2", "http/1.1"])
    return context


@pytest.fixture
def make_pair(
    server_tls: ssl.SSLContext, client_tls: ssl.SSLContext  # noqa: F811  # fixtures
) -> Iterator[MakePair]:
    """Makes two connected transports: client and server side, over ``unix``, ``tcp`` or ``tls``."""
    made: list[Transport] = []

    def make(kind: str) -> Pair:
        if kind == "unix":
            pair: Pair = memory_pair()
        else:
            pair = tcp_pair()
            if kind == "tls":
                accepted = gevent.spawn(pair[1].start_tls, server_tls, True, None, moment_after(10))
                pair[0].start_tls(client_tls, False, "localhost", moment_after(10))
                accepted.get(timeout=10)
        made.extend(pair)
        return pair

    yield make
    for transport in made:
        transport.close()


def tcp_pair() -> Pair:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = socket.create_connection(listener.getsockname())
        server, _ = listener.accept()
    return Transport(client), Transport(server)


@pytest.fixture(params=["unix", "tcp", "tls"])
def pair(request: pytest.FixtureRequest, make_pair: MakePair) -> Pair:
    """Two connected transports, of each kind."""
    return make_pair(request.param)


@pytest.fixture
def tcp(make_pair: MakePair) -> Pair:
    return make_pair("tcp")


@pytest.fixture
def tls(make_pair: MakePair) -> Pair:
    return make_pair("tls")


@pytest.fixture
def until() -> Callable[[Callable[[], object]], None]:
    """Lets the hub run until a condition holds."""

    def until(condition: Callable[[], object]) -> None:
        guard = monotonic() + 10
        while not condition():
            assert monotonic() < guard, "the condition never held"
            gevent.sleep(0.001)

    return until


@pytest.fixture
def descriptors() -> Callable[[], int]:
    """Counts the open file descriptors of this process."""

    def count() -> int:
        counted, before = 0, -1
        while counted != before:  # what earlier tests have dropped or are still closing does not count
            gc.collect()
            gevent.idle()
            counted, before = len(os.listdir("/proc/self/fd")), counted
        return counted

    return count
