"""Pipelined requests leave together: when they are held, when they leave, and what becomes of them if they cannot."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import gevent
import pytest
from gevent.event import Event

from gruvihttp import HttpClient, HttpError, HttpProtocol, Timeout, TransportError
from gruvihttp.testing import MemoryChannel, RawPeer, memory_pair


def content(body: bytes, fields: bytes = b"") -> bytes:
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n%b\r\n%b" % (len(body), fields, body)


class Ends:
    """A client protocol in memory, its channel, and the other end."""

    def __init__(self, buffer_bytes: int | None = None) -> None:
        self.channel, other = memory_pair(buffer_bytes)
        self.peer = RawPeer(other)
        self.client = HttpProtocol(False, server_name="a", timeout=10)
        self.client.connection_made(self.channel)
        self.client.start()

    def targets(self) -> list[list[bytes]]:
        """What was asked for in each send."""
        return [[line.split()[1] for line in sent.split(b"\r\n") if line[-8:] == b"HTTP/1.1"] for sent in self.sends]

    @property
    def sends(self) -> list[bytes]:
        return self.channel.sends


@pytest.fixture
def ends() -> Iterator[Ends]:
    made = Ends()
    yield made
    made.channel.close()
    made.peer.close()


@pytest.fixture
def narrow() -> Iterator[Ends]:
    """Both ends, with little room between them."""
    made = Ends(1)
    yield made
    made.channel.close()
    made.peer.close()


def test_first_request_leaves_at_once_and_the_others_together(ends: Ends) -> None:
    for number in range(5):
        ends.client.request("GET", f"/{number}")
    assert ends.targets() == [[b"/0"]]
    answering = gevent.spawn(lambda: [ends.peer.read_until(), ends.peer.send(content(b"x") * 5)])
    assert [ends.client.getresponse().read() for _ in range(5)] == [b"x"] * 5
    answering.get(timeout=10)
    assert ends.targets() == [[b"/0"], [b"/1", b"/2", b"/3", b"/4"]]


def test_requests_that_are_answered_one_by_one_leave_one_by_one(ends: Ends) -> None:
    def answer() -> None:
        for _ in range(3):
            ends.peer.read_until()
            ends.peer.send(content(b"x"))

    answering = gevent.spawn(answer)
    for number in range(3):
        ends.client.request("GET", f"/{number}")
        assert ends.client.getresponse().read() == b"x"
    answering.get(timeout=10)
    assert ends.targets() == [[b"/0"], [b"/1"], [b"/2"]]


def test_held_requests_leave_when_anything_waits(ends: Ends) -> None:
    ends.client.request("GET", "/0")
    ends.client.request("GET", "/1")
    ends.client.request("GET", "/2")
    gevent.sleep(0)
    assert ends.targets() == [[b"/0"], [b"/1", b"/2"]]
    ends.client.request("GET", "/3")
    gevent.sleep(0)
    assert ends.targets()[2:] == [[b"/3"]]


def test_held_requests_leave_at_64_kib(ends: Ends) -> None:
    reading = gevent.spawn(ends.peer.read_to_end)
    for _ in range(1 + 70):
        ends.client.request("POST", "/", body=b"x" * 1000)
    assert len(ends.sends) == 2
    assert 65536 <= len(ends.sends[1]) < 65536 + 1200
    ends.channel.close()
    reading.get(timeout=10)


@pytest.mark.parametrize("body", [b"x" * 70_000, [b"x"], None], ids=["large", "pieces", "by hand"])
def test_held_requests_leave_with_one_that_is_not_held(ends: Ends, body: Any) -> None:
    reading = gevent.spawn(ends.peer.read_to_end)
    ends.client.request("GET", "/0")
    ends.client.request("GET", "/1")
    ends.client.request("POST", "/2", body=body)
    assert ends.targets()[:2] == [[b"/0"], [b"/1", b"/2"]]
    ends.channel.close()
    reading.get(timeout=10)


def test_held_requests_leave_while_a_body_is_read(ends: Ends) -> None:
    ends.client.request("GET", "/0")
    ends.peer.send(content(b"abc")[:-1])
    response = ends.client.getresponse()
    ends.client.request("GET", "/1")

    def go_on() -> None:
        ends.peer.read_until()
        assert ends.peer.read_until().startswith(b"GET /1 ")
        ends.peer.send(b"c" + content(b"x"))

    going_on = gevent.spawn(go_on)
    assert response.read() == b"abc"
    assert ends.client.getresponse().read() == b"x"
    going_on.get(timeout=10)


@pytest.mark.parametrize("way", ["getresponse", "hub", "large request"])
def test_held_request_does_not_leave_when_something_came_that_nobody_asked_for(ends: Ends, way: str) -> None:
    """The first is answered while the second is held, and then something comes that it could be taken for."""
    ends.client.request("GET", "/0")
    second = ends.client.request("GET", "/1")
    ends.peer.send(content(b"x"))
    ends.client.connection._look()
    ends.peer.send(content(b"poison"))
    ends.channel.sends.clear()
    assert ends.client.getresponse().read() == b"x"
    if way == "hub":
        gevent.sleep(0)
    elif way == "large request":
        with pytest.raises(HttpError, match="not asked for"):
            ends.client.request("POST", "/2", body=b"x" * 70_000)
    with pytest.raises(HttpError, match="not asked for") as caught:
        ends.client.getresponse()
    assert caught.value.unanswered == [second]
    assert ends.sends == []


def test_response_and_more_behind_it_fail_what_is_held(ends: Ends) -> None:
    ends.client.request("GET", "/0")
    second = ends.client.request("GET", "/1")
    ends.peer.send(content(b"x") + content(b"poison"))
    ends.client.connection._look()
    ends.channel.sends.clear()
    assert ends.client.getresponse().read() == b"x"
    with pytest.raises(HttpError, match="not asked for") as caught:
        ends.client.getresponse()
    assert caught.value.unanswered == [second]
    assert ends.sends == []
    assert "refused" in repr(ends.client.connection)


def test_close_sends_what_is_held(serve: Any) -> None:
    peer = serve(RawPeer.read_to_end)
    with HttpClient(timeout=10) as client:
        client.connect(peer.address)
        for number in range(3):
            client.request("GET", f"/{number}")
    peer.wait_for_connections()
    peer.wait()
    assert peer.received.count(b"HTTP/1.1\r\n") == 3


def test_close_with_held_requests_is_quiet_when_the_peer_is_gone(serve: Any) -> None:
    peer = serve(RawPeer.reset)
    client = HttpClient(timeout=10)
    client.connect(peer.address)
    client.request("GET", "/0")
    peer.wait_for_connections()
    peer.wait()
    client.request("GET", "/1")
    client.close()
    assert not client.connected


@pytest.mark.parametrize("answered", [False, True])
def test_transport_that_is_closed_fails_what_is_held(ends: Ends, answered: bool) -> None:
    requests = [ends.client.request("GET", f"/{number}") for number in range(2)]
    if answered:
        ends.peer.send(content(b"x"))
        ends.client.connection._look()
        assert ends.client.getresponse().read() == b"x"
    ends.channel.close()
    gevent.sleep(0)
    with pytest.raises((HttpError, TransportError), match="closed") as caught:
        ends.client.getresponse()
    assert caught.value.unanswered == requests[answered:]


def test_held_requests_that_do_not_fit_leave_as_the_peer_reads(narrow: Ends) -> None:
    """Nobody calls the client meanwhile: the hub sends."""
    count = 60
    for number in range(count):
        narrow.client.request("POST", f"/{number:02}", body=b"x" * 1000)
    gevent.sleep(0)
    for number in range(count):
        assert narrow.peer.read_until().startswith(b"POST /%02d " % number)
        assert narrow.peer.read(1000) == b"x" * 1000


def test_held_requests_that_do_not_fit_leave_before_a_response_is_awaited(narrow: Ends) -> None:
    count = 60

    def answer() -> None:
        for number in range(count):
            assert narrow.peer.read_until().startswith(b"POST /%02d " % number)
            assert narrow.peer.read(1000) == b"x" * 1000
            narrow.peer.send(content(b"y" * 2000))

    for number in range(count):
        narrow.client.request("POST", f"/{number:02}", body=b"x" * 1000)
    gevent.sleep(0)  # the hub sends a part
    answering = gevent.spawn(answer)
    for _ in range(count):
        assert narrow.client.getresponse().read() == b"y" * 2000
    answering.get(timeout=10)


def test_failure_while_the_hub_sends_is_told_with_the_next_response(connect: Any) -> None:
    gone = Event()

    def script(peer: RawPeer) -> None:
        peer.read_until()
        peer.send(b"HTTP/1.1 200 OK\r\n\r\nuntil the end?")
        gone.set()
        peer.reset()

    client = connect(script)
    client.request("GET", "/0")
    assert gone.wait(10)
    second = client.request("GET", "/1")
    gevent.sleep(0)
    with pytest.raises(HttpError):
        client.request("GET", "/2")
    response = client.getresponse()
    with pytest.raises(TransportError):  # an end that may be a reset is no end of content
        response.read()
    with pytest.raises((HttpError, TransportError)) as caught:
        client.getresponse()
    assert caught.value.unanswered == [second]


def test_held_requests_fail_with_the_connection(ends: Ends) -> None:
    requests = [ends.client.request("GET", f"/{number}") for number in range(3)]
    ends.peer.send(content(b"x", b"Connection: close\r\n"))
    ends.channel.sends.clear()
    ends.client.connection._look()
    assert ends.client.getresponse().read() == b"x"
    with pytest.raises(HttpError) as caught:
        ends.client.getresponse()
    assert caught.value.unanswered == requests[1:]
    assert caught.value.retryable
    gevent.sleep(0)
    assert ends.sends == []


def test_wait_for_a_response_times_out_while_held_requests_are_stuck_and_may_be_repeated(narrow: Ends) -> None:
    count = 60
    for number in range(count):
        narrow.client.request("POST", f"/{number:02}", body=b"x" * 1000)
    for _ in range(3):
        with pytest.raises(Timeout):
            narrow.client.getresponse(0.01)

    def answer() -> None:
        for number in range(count):
            assert narrow.peer.read_until().startswith(b"POST /%02d " % number)
            assert narrow.peer.read(1000) == b"x" * 1000
            narrow.peer.send(content(b"y"))

    answering = gevent.spawn(answer)
    assert [narrow.client.getresponse().read() for _ in range(count)] == [b"y"] * count
    answering.get(timeout=10)


def test_interruption_while_held_requests_leave_makes_the_connection_unusable(narrow: Ends) -> None:
    for _ in range(60):
        narrow.client.request("POST", "/", body=b"x" * 1000)
    with pytest.raises(gevent.Timeout), gevent.Timeout(0.02):
        narrow.client.getresponse(None)
    with pytest.raises(HttpError, match="interrupted by Timeout"):
        narrow.client.request("GET", "/")


def test_connect_is_not_held(ends: Ends) -> None:
    ends.client.request("GET", "/0")
    ends.client.request("GET", "/1")
    ends.client.request("CONNECT", "a:443")
    assert len(ends.sends) == 2
    assert isinstance(ends.channel, MemoryChannel)
