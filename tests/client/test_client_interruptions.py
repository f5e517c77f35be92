"""What a user's own timer, or the end of a greenlet, leaves behind: never an answer to the wrong request."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import gevent
import pytest
from gevent.event import Event

from gruvihttp import HttpClient, HttpError, Timeout
from gruvihttp.testing import RawPeer

MIB = 1024 * 1024


def content(body: bytes) -> bytes:
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)


class Foreign(BaseException):
    """What somebody else throws into a greenlet."""


def deaf(peer: RawPeer) -> None:
    """Neither reads nor says anything."""
    Event().wait(60)


def half_an_answer(peer: RawPeer) -> None:
    peer.read_until()
    peer.send(content(b"abcdef")[:-3])
    peer.read_to_end()


def ask(client: HttpClient) -> None:
    client.request("GET", "/")
    client.getresponse()


def read(client: HttpClient) -> None:
    client.request("GET", "/")
    client.getresponse().read()


def send(client: HttpClient) -> None:
    client.request("POST", "/", body=b"x" * 64 * MIB)


def send_pieces(client: HttpClient) -> None:
    client.request("POST", "/", body=(b"x" * MIB for _ in range(64)))


def rest_in_a_body(client: HttpClient) -> None:
    def body() -> Iterator[bytes]:
        yield b"x"
        Event().wait(60)

    client.request("POST", "/", body=body())


def write(client: HttpClient) -> None:
    request = client.request("POST", "/", body=None)
    request.write(b"x" * 64 * MIB)


WAITS: dict[str, tuple[Any, Callable[[HttpClient], None]]] = {
    "getresponse": (RawPeer.read_to_end, ask),
    "read": (half_an_answer, read),
    "request": (deaf, send),
    "request in pieces": (deaf, send_pieces),
    "request in a body": (RawPeer.read_to_end, rest_in_a_body),
    "write": (deaf, write),
}
each_wait = pytest.mark.parametrize(("script", "act"), WAITS.values(), ids=WAITS)


def assert_unusable(client: HttpClient) -> None:
    with pytest.raises(HttpError, match="connect again") as caught:
        client.request("GET", "/")
    assert caught.value.retryable
    with pytest.raises((HttpError, RuntimeError)):
        client.getresponse()
    assert not client.connected


@each_wait
def test_gevent_timeout_of_the_caller_passes_and_the_connection_is_unusable(
    serve: Any, connect: Any, script: Any, act: Callable[[HttpClient], None]
) -> None:
    client = connect(script, timeout=None)
    timer = gevent.Timeout(0.05)
    with pytest.raises(gevent.Timeout) as caught, timer:
        act(client)
    assert caught.value is timer
    assert_unusable(client)


@each_wait
def test_killed_greenlet_leaves_an_unusable_connection(
    connect: Any, script: Any, act: Callable[[HttpClient], None]
) -> None:
    client = connect(script, timeout=None)
    acting = gevent.spawn(act, client)
    acting.join(0.05)
    acting.kill(timeout=10)
    assert isinstance(acting.value, gevent.GreenletExit)
    assert_unusable(client)


@each_wait
def test_foreign_exception_passes_and_is_named(
    connect: Any, script: Any, act: Callable[[HttpClient], None]
) -> None:
    client = connect(script, timeout=None)
    caught: list[BaseException] = []

    def acting() -> None:
        try:
            act(client)
        except Foreign as exc:
            caught.append(exc)

    greenlet = gevent.spawn(acting)
    greenlet.join(0.05)
    foreign = Foreign("!")
    greenlet.kill(foreign, timeout=10)
    assert caught == [foreign]
    with pytest.raises(HttpError, match="Foreign"):
        client.request("GET", "/")


def test_interrupted_wait_names_all_requests_that_stay_unanswered(connect: Any) -> None:
    client = connect(RawPeer.read_to_end, timeout=None)
    requests = [client.request("GET", f"/{number}") for number in range(3)]
    with pytest.raises(gevent.Timeout), gevent.Timeout(0.02):
        client.getresponse()
    for _ in range(2):
        with pytest.raises(HttpError) as caught:
            client.getresponse()
        assert caught.value.unanswered == requests
        assert not caught.value.retryable


def test_body_of_an_interrupted_read_does_not_end(connect: Any) -> None:
    client = connect(half_an_answer, timeout=None)
    client.request("GET", "/")
    response = client.getresponse()
    with pytest.raises(gevent.Timeout), gevent.Timeout(0.02):
        response.read()
    with pytest.raises(HttpError, match="interrupted by Timeout"):
        response.read()
    assert response.read(3) == b"abc"  # what had come is not lost


def test_answer_that_comes_after_an_interruption_is_given_to_nobody(serve: Any, connect: Any) -> None:
    answered = Event()
    late = Event()

    def script(peer: RawPeer) -> None:
        peer.read_until()
        late.wait(10)
        peer.send(content(b"late"))
        answered.set()

    def next_script(peer: RawPeer) -> None:
        peer.read_until()
        peer.send(content(b"next"))

    peer = serve(script, next_script)
    client = connect(peer, timeout=None)
    client.request("GET", "/late")
    with pytest.raises(gevent.Timeout), gevent.Timeout(0.02):
        client.getresponse()
    late.set()
    client.connect(peer.address)  # the old connection is closed already
    client.request("GET", "/next")
    assert client.getresponse().read() == b"next"


def test_sum_of_calls_is_bounded_by_a_timer_of_gevent(connect: Any) -> None:
    def script(peer: RawPeer) -> None:
        while peer.read_until():
            peer.send(content(b"a"))

    client = connect(script)
    with pytest.raises(gevent.Timeout), gevent.Timeout(0.1):
        while True:
            client.request("GET", "/")
            client.getresponse().read()
            gevent.sleep(0)


# several greenlets write


def test_two_greenlets_that_write_one_body_are_refused(connect: Any) -> None:
    client = connect(deaf, timeout=None)
    request = client.request("POST", "/", body=None)
    writing = gevent.spawn(request.write, b"x" * 64 * MIB)
    gevent.sleep(0)
    with pytest.raises(RuntimeError, match="another greenlet"):
        request.write(b"y")
    with pytest.raises(RuntimeError, match="another greenlet"):
        request.end_request()
    assert not writing.ready()
    writing.kill()


def test_greenlets_that_write_one_body_in_turn_are_refused(connect: Any) -> None:
    client = connect(RawPeer.read_to_end)
    request = client.request("POST", "/", body=None)
    request.write(b"x")
    with pytest.raises(RuntimeError, match="another greenlet"):
        gevent.spawn(request.write, b"y").get(timeout=10)


def test_body_may_be_handed_to_another_greenlet(connect: Any) -> None:
    def script(peer: RawPeer) -> None:
        peer.read_until(b"0\r\n\r\n")
        peer.send(content(b"ok"))

    client = connect(script)
    request = client.request("POST", "/", body=None)
    gevent.spawn(request.write, b"x").get(timeout=10)
    request.end_request()
    assert client.getresponse().read() == b"ok"


@pytest.mark.parametrize("pulls", [0, 1, 2])
def test_body_that_uses_the_same_client_is_refused(connect: Any, pulls: int) -> None:
    client = connect(RawPeer.read_to_end)

    def body() -> Iterator[bytes]:
        for _ in range(pulls):
            yield b"x"
        client.request("GET", "/nested")

    with pytest.raises(RuntimeError, match="not finished"):
        client.request("POST", "/", body=body())


def test_body_that_lets_another_greenlet_use_the_client_interleaves_nothing(serve: Any, connect: Any) -> None:
    def script(peer: RawPeer) -> None:
        peer.read_until(b"0\r\n\r\n")
        peer.send(content(b"ok"))

    peer = serve(script)
    client = connect(peer)
    errors: list[BaseException] = []

    def other() -> None:
        try:
            client.request("GET", "/other", timeout=0)  # it would wait until the other request has ended
        except Timeout as exc:
            errors.append(exc)

    def body() -> Iterator[bytes]:
        yield b"x"
        gevent.spawn(other).join()
        yield b"y"

    client.request("POST", "/", body=body())
    assert client.getresponse().read() == b"ok"
    assert len(errors) == 1
    assert b"/other" not in peer.received


def test_collecting_greenlet_ends_the_upload_that_is_stuck(connect: Any) -> None:
    """One greenlet is stuck in sending; the other, which waits for the answer, gets it: it must wake the first."""
    done = Event()

    def script(peer: RawPeer) -> None:
        peer.read_until()
        asked.wait(10)
        peer.send(b"HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\n\r\nno")
        done.wait(10)

    asked = Event()
    client = connect(script, timeout=None)
    sending = gevent.spawn(client.request, "POST", "/", body=b"x" * 64 * MIB)
    gevent.sleep(0)
    collecting = gevent.spawn(client.getresponse)
    gevent.sleep(0)
    asked.set()
    assert collecting.get(timeout=10).read() == b"no"
    sending.get(timeout=10)
    done.set()


def test_collecting_greenlet_ends_the_upload_that_nobody_will_answer(connect: Any) -> None:
    def script(peer: RawPeer) -> None:
        peer.read_until()
        peer.read_until()
        asked.wait(10)
        peer.send(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 8\r\n\r\nfirst")
        go_on.wait(10)
        peer.send(b"two")
        done.wait(10)

    asked, go_on, done = Event(), Event(), Event()
    client = connect(script, timeout=None)
    client.request("GET", "/")
    sending = gevent.spawn(client.request, "POST", "/", body=b"x" * 64 * MIB)
    gevent.sleep(0)
    collecting = gevent.spawn(client.getresponse)
    gevent.sleep(0)
    asked.set()
    response = collecting.get(timeout=10)
    with pytest.raises(HttpError, match="closes the connection"):
        sending.get(timeout=10)
    go_on.set()
    assert response.read() == b"firsttwo"
    done.set()
