"""How long a request may take: each wait, and all of it together."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from time import monotonic
from typing import Any

import gevent
import pytest
from misbehaviour import silent

from gruvihttp import HttpPool, RedirectError, Timeout, Timeouts
from gruvihttp.testing import RawPeer

SOON = 0.1
LONG = 10.0


def url_of(peer: Any) -> str:
    return f"http://127.0.0.1:{peer.port}/"


def drip(head: bytes) -> Callable[[RawPeer], None]:
    """Says `head`, and then a byte each hundredth of a second, for ever."""

    def script(peer: RawPeer) -> None:
        peer.read_until()
        peer.send(head)
        while True:
            peer.send(b"x")
            gevent.sleep(0.01)

    return script


def deaf(peer: RawPeer) -> None:
    gevent.sleep(LONG)


def pieces() -> Iterator[bytes]:
    while True:
        yield b"x" * 65536


WAITS: list[Any] = [
    pytest.param(silent, {}, SOON, "read", id="head"),
    pytest.param(silent, {}, Timeouts(read=SOON), "read", id="head-by-name"),
    pytest.param(deaf, {"body": pieces}, SOON, "write", id="write"),
    pytest.param(deaf, {"body": pieces}, Timeouts(write=SOON), "write", id="write-by-name"),
    pytest.param(silent, {}, Timeouts(total=SOON), "total", id="total-head"),
    pytest.param(deaf, {"body": pieces}, Timeouts(total=SOON), "total", id="total-write"),
    pytest.param(drip(b"HTTP/1.1 200 OK\r\nX: "), {}, Timeouts(total=SOON), "total", id="total-dripping-head"),
    pytest.param(
        drip(b"HTTP/1.1 200 OK\r\nContent-Length: 99999\r\n\r\n"), {}, Timeouts(total=SOON), "total", id="total-drip"
    ),
    pytest.param(
        drip(b"HTTP/1.1 200 OK\r\n\r\n"), {}, Timeouts(total=SOON, read=LONG), "total", id="total-until-close"
    ),
]


def option(options: dict[str, Any]) -> dict[str, Any]:
    return {name: value() for name, value in options.items()}


@pytest.mark.parametrize(("script", "options", "timeout", "phase"), WAITS)
def test_wait_ends_in_time_and_costs_the_connection(
    serve: Any, pool: HttpPool, script: Any, options: Any, timeout: Any, phase: str
) -> None:
    peer = serve(script)
    began = monotonic()
    with pytest.raises(Timeout) as caught:
        pool.request("PUT", url_of(peer), timeout=timeout, **option(options))
    assert caught.value.phase == phase
    assert SOON * 0.9 <= monotonic() - began < LONG / 2
    assert pool.counts == (0, 0, 0)


def test_timeout_of_the_pool_is_for_requests_that_say_nothing(serve: Any, make_pool: Any) -> None:
    peer = serve(silent)
    with pytest.raises(Timeout):
        make_pool(timeout=SOON).get(url_of(peer))
    with pytest.raises(Timeout) as caught:
        make_pool(timeout=Timeouts(total=SOON)).get(url_of(peer))
    assert caught.value.phase == "total"


def test_deadline_is_new_for_each_request(site: Any, make_pool: Any) -> None:
    pool = make_pool(timeout=Timeouts(total=0.5))
    for _ in range(4):
        pool.get(site.url)
        gevent.sleep(0.15)
    assert len(site.peers) == 1


STREAMS = [
    pytest.param(b"Content-Length: 99999\r\n\r\n", id="length"),
    # a gzip head whose file name never ends
    pytest.param(b"Content-Encoding: gzip\r\n\r\n\x1f\x8b\x08\x08\0\0\0\0\0\0", id="gzip"),
]


@pytest.mark.parametrize("rest", STREAMS)
def test_stream_that_drips_ends_at_the_deadline(serve: Any, pool: HttpPool, rest: bytes) -> None:
    peer = serve(drip(b"HTTP/1.1 200 OK\r\n" + rest))
    began = monotonic()
    response = pool.get(url_of(peer), stream=True, timeout=Timeouts(total=SOON))
    with pytest.raises(Timeout) as caught:
        response.read()
    assert caught.value.phase == "total"
    assert monotonic() - began < LONG / 2
    assert pool.counts == (0, 0, 0)


def test_deadline_has_the_redirects_in_it(serve: Any, pool: HttpPool) -> None:
    def script(peer: RawPeer) -> None:
        while peer.read_until().endswith(b"\r\n\r\n"):
            gevent.sleep(SOON / 2)
            peer.send(b"HTTP/1.1 302 Found\r\nLocation: /again\r\nContent-Length: 0\r\n\r\n")

    peer = serve(script)
    began = monotonic()
    with pytest.raises(Timeout) as caught:
        pool.get(url_of(peer), timeout=Timeouts(total=SOON))
    assert caught.value.phase == "total"
    assert monotonic() - began < LONG / 2
    with pytest.raises(RedirectError):
        pool.get(url_of(peer), timeout=Timeouts(total=LONG))


@pytest.mark.parametrize(
    ("timeout", "phase"),
    [
        pytest.param(SOON, "pool", id="wait"),
        pytest.param(Timeouts(pool=SOON), "pool", id="by-name"),
        pytest.param(Timeouts(total=SOON), "total", id="total"),
    ],
)
def test_wait_for_a_connection_ends_in_time(site: Any, make_pool: Any, timeout: Any, phase: str) -> None:
    pool = make_pool(1)
    response = pool.get(site.url + "/half", stream=True)
    with pytest.raises(Timeout) as caught:
        pool.get(site.url, timeout=timeout)
    assert caught.value.phase == phase
    assert pool.counts == (1, 0, 0)
    site.held.set()
    assert response.content
    assert pool.counts == (0, 1, 0)


@pytest.mark.parametrize(
    ("timeout", "phase"),
    [
        pytest.param(SOON, "connect", id="wait"),
        pytest.param(Timeouts(connect=SOON), "connect", id="by-name"),
        pytest.param(Timeouts(total=SOON), "total", id="total"),
    ],
)
def test_connection_that_is_not_accepted_ends_in_time(pool: HttpPool, timeout: Any, phase: str) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        fillers = []
        for _ in range(4):  # until the system queues no more
            filler = socket.socket()
            filler.setblocking(False)
            filler.connect_ex(listener.getsockname())
            fillers.append(filler)
        try:
            with pytest.raises(Timeout) as caught:
                pool.get(f"http://127.0.0.1:{listener.getsockname()[1]}/", timeout=timeout)
            assert caught.value.phase == phase
            assert caught.value.retryable, "nothing was sent"
        finally:
            for filler in fillers:
                filler.close()
    assert pool.counts == (0, 0, 0)


@pytest.mark.parametrize(
    ("timeout", "phase"),
    [
        pytest.param(SOON, "handshake", id="wait"),
        pytest.param(Timeouts(handshake=SOON), "handshake", id="by-name"),
        pytest.param(Timeouts(total=SOON), "total", id="total"),
    ],
)
def test_handshake_ends_in_time(serve: Any, pool: HttpPool, timeout: Any, phase: str) -> None:
    peer = serve(silent)
    with pytest.raises(Timeout) as caught:
        pool.get(f"https://127.0.0.1:{peer.port}/", timeout=timeout)
    assert caught.value.phase == phase
    assert pool.counts == (0, 0, 0)


def test_no_timeout_waits_as_long_as_it_takes(site: Any, make_pool: Any) -> None:
    pool = make_pool(timeout=None)
    waiting = gevent.spawn(pool.get, site.url + "/held", timeout=None)
    while not site.asked:
        gevent.idle()
    site.held.set()
    assert waiting.get(timeout=LONG).text == "held"


def test_timed_out_request_is_not_sent_again(serve: Any, pool: HttpPool) -> None:
    def script(peer: RawPeer) -> None:
        peer.read_until()
        peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        peer.read_to_end()

    peer = serve(script)
    pool.get(url_of(peer))
    with pytest.raises(Timeout):
        pool.get(url_of(peer), timeout=SOON)
    assert len(peer.connections) == 1
