"""Timeouts: each wait, each call, and the whole exchange, which no peer can stretch."""

from __future__ import annotations

from time import monotonic
from typing import Any

import gevent
import pytest
from gevent.event import Event
from misbehaviour import silent

from gruvihttp import HttpClient, HttpError, Timeout, Timeouts
from gruvihttp.testing import RawPeer

MIB = 1024 * 1024


def drip(peer: RawPeer, head: bytes, piece: bytes) -> None:
    """Says something again and again, far more often than any read timeout."""
    peer.read_until()
    peer.send(head)
    while True:
        peer.send(piece)
        gevent.idle()


def deaf(peer: RawPeer) -> None:
    Event().wait(10)


@pytest.mark.parametrize(
    ("timeout", "phase"),
    [
        pytest.param(0.05, "read", id="number"),
        pytest.param(Timeouts(read=0.05), "read", id="read"),
        pytest.param(Timeouts(total=0.05), "total", id="total"),
        pytest.param(Timeouts(read=10, total=0.05), "total", id="total-before-read"),
        pytest.param(Timeouts(read=0.05, total=10), "read", id="read-before-total"),
    ],
)
@pytest.mark.parametrize("per_call", [False, True], ids=["client", "call"])
def test_silent_server_is_a_timeout_that_names_its_phase(
    connect: Any, timeout: Any, phase: str, per_call: bool
) -> None:
    client = connect(silent, timeout=None if per_call else timeout)
    client.request("GET", "/", timeout=timeout if per_call else -1)
    with pytest.raises(Timeout) as caught:
        client.getresponse()
    assert caught.value.phase == phase


@pytest.mark.parametrize(
    ("head", "piece"),
    [
        pytest.param(b"HTTP/1.1 200 OK\r\nX: ", b"x", id="head"),
        pytest.param(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n", b"x", id="length"),
        pytest.param(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n", id="chunked"),
        pytest.param(b"HTTP/1.1 200 OK\r\n\r\n", b"x", id="until-close"),
    ],
)
def test_total_ends_an_exchange_that_a_server_drips(connect: Any, head: bytes, piece: bytes) -> None:
    client = connect(lambda peer: drip(peer, head, piece), timeout=Timeouts(read=10, total=0.1))
    started = monotonic()
    request = client.request("GET", "/")
    with pytest.raises(Timeout) as caught:
        client.getresponse().read()
    assert (caught.value.phase, isinstance(caught.value, TimeoutError)) == ("total", True)
    assert 0.1 <= monotonic() - started < 5
    with pytest.raises(HttpError, match="connect again"):
        client.request("GET", "/")
    assert list(caught.value.unanswered) in ([], [request])


def test_total_ends_a_server_that_never_lets_us_wait(connect: Any) -> None:
    def script(peer: RawPeer) -> None:
        peer.read_until()
        peer.send(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            peer.send(b"x" * MIB)

    client = connect(script, timeout=Timeouts(total=0.1))
    client.request("GET", "/")
    response = client.getresponse()
    with pytest.raises(Timeout) as caught:
        while response.read(MIB):
            pass
    assert caught.value.phase == "total"


@pytest.mark.parametrize(("timeout", "phase"), [(0.1, "write"), (Timeouts(total=0.1), "total")])
def test_server_that_does_not_read_is_a_timeout(connect: Any, timeout: Any, phase: str) -> None:
    client = connect(deaf, timeout=timeout)
    with pytest.raises(Timeout) as caught:
        client.request("POST", "/", body=b"x" * 64 * MIB)
    assert caught.value.phase == phase
    with pytest.raises(HttpError, match="connect again"):
        client.request("GET", "/")


def test_server_that_reads_by_drips_cannot_stretch_total(connect: Any) -> None:
    def script(peer: RawPeer) -> None:
        while peer.channel.receive(size=100):
            gevent.idle()

    client = connect(script, timeout=Timeouts(write=10, total=0.15))
    with pytest.raises(Timeout) as caught:
        client.request("POST", "/", body=b"x" * 256 * MIB)
    assert caught.value.phase == "total"


def test_total_begins_anew_with_each_exchange(connect: Any, say: Any) -> None:
    def script(peer: RawPeer) -> None:
        while peer.read_until():
            say(peer, b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

    client = connect(script, timeout=Timeouts(total=5))
    started = monotonic()
    for _ in range(3):
        client.request("GET", "/")
        assert client.getresponse().read() == b"ok"
    assert monotonic() - started < 5


def test_response_that_is_here_in_time_may_be_read_later(connect: Any, say: Any) -> None:
    def script(peer: RawPeer) -> None:
        peer.read_until()
        say(peer, b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        said.set()
        peer.read_to_end()

    said = Event()
    client = connect(script, timeout=Timeouts(total=0.3))
    client.request("GET", "/")
    response = client.getresponse()
    assert said.wait(10)
    assert response.read(1) == b"o"
    with gevent.Timeout(10):
        Event().wait(0.4)  # the time of the exchange is over, and so is the exchange
    assert response.read() == b"k"


def test_none_of_a_call_waits_for_ever(connect: Any) -> None:
    client = connect(silent, timeout=Timeouts(read=0.01, total=0.01))
    client.request("GET", "/", timeout=None)
    waiting = gevent.spawn(client.getresponse)
    waiting.join(0.1)
    assert not waiting.ready()
    waiting.kill()


def test_zero_of_a_call_does_not_wait(connect: Any) -> None:
    client = connect(silent, timeout=None)
    client.request("GET", "/", timeout=0)
    with pytest.raises(Timeout):
        client.getresponse()


def test_unanswered_requests_behind_the_one_that_took_too_long_are_named(connect: Any) -> None:
    client = connect(silent, timeout=None)
    first = client.request("GET", "/1", timeout=Timeouts(total=0.05))
    second = client.request("GET", "/2")
    with pytest.raises(Timeout) as caught:
        client.getresponse()
    assert list(caught.value.unanswered) == [first, second]
    with pytest.raises(HttpError, match="total time"):
        second.getresponse()


@pytest.mark.parametrize(
    ("timeouts", "phase"),
    [pytest.param(Timeouts(handshake=0.05), "handshake", id="handshake"), pytest.param(0.05, "handshake", id="number")],
)
def test_tls_handshake_has_its_own(serve: Any, client_tls: Any, timeouts: Any, phase: str) -> None:
    with HttpClient(timeouts) as client:
        with pytest.raises(Timeout) as caught:
            client.connect(serve(silent).address, ssl=client_tls)
        assert caught.value.phase == phase


def test_connecting_may_have_timeouts_of_its_own(serve: Any, client_tls: Any) -> None:
    with HttpClient(10) as client:
        with pytest.raises(Timeout) as caught:
            client.connect(serve(silent).address, ssl=client_tls, timeout=Timeouts(handshake=0.05))
        assert caught.value.phase == "handshake"
