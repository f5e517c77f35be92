"""Several addresses of one name: the first that answers wins, and one that swallows packets costs little (RFC 8305)."""

from __future__ import annotations

import _socket
import os
import socket
from collections.abc import Iterator
from time import monotonic
from typing import Any

import gevent
import pytest
from gevent import socket as gevent_socket

from gruvihttp.errors import Timeout, TransportError
from gruvihttp.net import dial as dialling
from gruvihttp.net.deadline import moment_after
from gruvihttp.net.dial import dial
from gruvihttp.net.resolve import Candidate

linux = pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="counts descriptors in /proc")


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[str]]:
    """Names and their addresses, which stand in for a resolver."""
    known: dict[str, list[str]] = {}

    def getaddrinfo(host: str, port: int, *_: object) -> list[Any]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (one, port)) for one in known[host]]

    monkeypatch.setattr(gevent_socket, "getaddrinfo", getaddrinfo)
    return known


@pytest.fixture
def silent() -> Iterator[int]:
    """The port of a full backlog at 127.0.0.1: what comes is dropped."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        clients = []
        for _ in range(4):
            client = socket.socket()
            client.setblocking(False)
            client.connect_ex(listener.getsockname())
            clients.append(client)
        yield listener.getsockname()[1]
        for client in clients:
            client.close()


@pytest.mark.parametrize("seconds", [None, 10.0])
def test_next_address_is_tried_after_a_quarter_of_a_second(
    names: dict[str, list[str]], silent: int, seconds: float | None
) -> None:
    names["both"] = ["127.0.0.1", "127.0.0.2"]
    with socket.create_server(("127.0.0.2", silent)):
        started = monotonic()
        sock = dial(("both", silent), deadline=moment_after(seconds))
        assert sock.getpeername()[0] == "127.0.0.2"
        sock.close()
    assert 0.2 <= monotonic() - started < 5


def test_refusal_does_not_wait_for_the_next_attempt(names: dict[str, list[str]]) -> None:
    names["many"] = [f"127.0.0.{number}" for number in range(2, 30)]
    with socket.create_server(("127.0.0.29", 0)) as listener:
        started = monotonic()
        dial(("many", listener.getsockname()[1])).close()
    assert monotonic() - started < 2  # 27 quarters would be near 7


def test_all_that_fail_leave_the_last_failure(names: dict[str, list[str]]) -> None:
    names["both"] = ["127.0.0.2", "127.0.0.3"]
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        with pytest.raises(TransportError, match=r"127\.0\.0\.3"):
            dial(("both", reserved.getsockname()[1]))


@linux
@pytest.mark.parametrize("end", ["won", "killed", "timeout"])
def test_attempts_that_lose_leave_no_descriptor(names: dict[str, list[str]], silent: int, end: str) -> None:
    names["both"] = ["127.0.0.1", "127.0.0.2"]
    gevent.get_hub()
    gevent.sleep(0)
    before = len(os.listdir("/proc/self/fd"))
    if end == "won":
        with socket.create_server(("127.0.0.2", silent)):
            dial(("both", silent)).close()
    elif end == "timeout":
        names["both"] = ["127.0.0.1", "127.0.0.3"]  # nobody listens there
        with pytest.raises((Timeout, TransportError)):
            dial(("both", silent), deadline=moment_after(0.05))
    else:
        working = gevent.spawn(dial, ("both", silent))
        gevent.idle()
        working.kill()
    gevent.idle()
    assert len(os.listdir("/proc/self/fd")) <= before


def test_families_take_turns() -> None:
    def candidate(family: int, host: str) -> Candidate:
        return Candidate(family, _socket.SOCK_STREAM, 6, (host, 80))

    six, four = _socket.AF_INET6, _socket.AF_INET
    given = [candidate(six, "::1"), candidate(six, "::2"), candidate(six, "::3"), candidate(four, "127.0.0.1")]
    ordered = [one.address[0] for one in dialling._interleaved(given)]
    assert ordered == ["::1", "127.0.0.1", "::2", "::3"]


def test_local_address_holds_for_every_attempt(names: dict[str, list[str]]) -> None:
    names["both"] = ["127.0.0.2", "127.0.0.3"]
    with socket.create_server(("127.0.0.3", 0)) as listener:
        sock = dial(("both", listener.getsockname()[1]), local_address=("127.0.0.9", 0))
        assert sock.getsockname()[0] == "127.0.0.9"
        sock.close()
