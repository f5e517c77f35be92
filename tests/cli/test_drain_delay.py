"""``--drain-delay``: what SIGTERM does first, and what makes it shorter."""

from __future__ import annotations

import re
import signal
import socket
from collections.abc import Callable
from http.client import HTTPConnection
from typing import Any, TypeAlias

import pytest

Serve: TypeAlias = Callable[..., Any]

GUARD = 40.0
ANNOUNCED = r"gruvihttp tells that it is not ready, and stops in 3600 s \(SIGTERM again stops now\)\n"


def get(connection: HTTPConnection, path: str) -> int:
    connection.request("GET", path)
    response = connection.getresponse()
    response.read()
    return response.status


@pytest.fixture
def leaving(serve: Serve) -> Any:
    served = serve("--drain-delay", "1h", "--ready-path", "/ready", "--health-path", "/alive")
    kept = HTTPConnection("127.0.0.1", served.port, timeout=GUARD)
    assert get(kept, "/ready") == 200
    served.send(signal.SIGTERM)
    assert re.fullmatch(ANNOUNCED, served.read_line())
    return served, kept


def test_requests_are_served_while_the_ready_path_says_no(leaving: Any) -> None:
    served, kept = leaving
    fresh = HTTPConnection("127.0.0.1", served.port, timeout=GUARD)
    for connection in (kept, fresh):
        assert [get(connection, path) for path in ("/ready", "/alive", "/")] == [503, 200, 200]
    kept.close()
    fresh.close()
    assert served.end(signal.SIGTERM) == (0, "")


def test_answers_say_that_the_connection_ends_while_the_server_leaves(leaving: Any) -> None:
    served, kept = leaving
    for sock in (kept.sock, socket.create_connection(("127.0.0.1", served.port), timeout=GUARD)):
        sock.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        answer = b"".join(iter(lambda sock=sock: sock.recv(65536), b""))
        assert b"\r\nConnection: close\r\n" in answer
        sock.close()
    assert served.end(signal.SIGTERM) == (0, "")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
def test_second_signal_does_not_wait_for_the_delay(leaving: Any, number: signal.Signals) -> None:
    served, kept = leaving
    assert served.end(number) == (0, "")
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", served.port), timeout=GUARD)
    kept.close()


def test_third_signal_does_not_wait_for_requests(serve: Serve) -> None:
    served = serve("--drain-delay", "1h", "--timeout-graceful", "none", "--timeout-content", "none")
    with socket.create_connection(("127.0.0.1", served.port), timeout=GUARD) as sock:
        sock.sendall(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n")
        assert sock.recv(65536).startswith(b"HTTP/1.1 100 ")
        served.send(signal.SIGTERM)
        assert re.fullmatch(ANNOUNCED, served.read_line())
        served.send(signal.SIGTERM)
        assert served.read_line().startswith("gruvihttp waits for 1 connection")
        assert served.end(signal.SIGTERM)[0] == 128 + signal.SIGTERM


def test_signal_after_the_delay_does_not_wait_for_requests(serve: Serve) -> None:
    served = serve("--drain-delay", "1ms", "--timeout-graceful", "none", "--timeout-content", "none")
    with socket.create_connection(("127.0.0.1", served.port), timeout=GUARD) as sock:
        sock.sendall(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n")
        assert sock.recv(65536).startswith(b"HTTP/1.1 100 ")
        served.send(signal.SIGTERM)
        assert "not ready" in served.read_line()
        assert served.read_line().startswith("gruvihttp waits for 1 connection")
        assert served.end(signal.SIGTERM)[0] == 128 + signal.SIGTERM


def test_interrupt_does_not_wait_for_the_delay(serve: Serve) -> None:
    assert serve("--drain-delay", "1h").end(signal.SIGINT) == (0, "")


def test_it_stops_by_itself_when_the_delay_is_over(serve: Serve) -> None:
    served = serve("--drain-delay", "100ms")
    code, said = served.end(signal.SIGTERM)
    assert (code, said.count("\n")) == (0, 1)
