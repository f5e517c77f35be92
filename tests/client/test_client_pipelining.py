"""Requests that leave before the responses to earlier ones have come, and what becomes of them when something fails."""

from __future__ import annotations

from typing import Any

import gevent
import pytest
from gevent.event import Event

from gruvihttp import HttpError, TransportError
from gruvihttp.errors import RemoteProtocolError
from gruvihttp.testing import RawPeer


def content(body: bytes, fields: bytes = b"") -> bytes:
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n%b\r\n%b" % (len(body), fields, body)


def answering(*answers: bytes, say: Any = RawPeer.send, requests: int | None = None) -> Any:
    """Reads `requests` heads (as many as there are answers), says all answers at once, and waits for the end."""

    def script(peer: RawPeer) -> None:
        for _ in range(len(answers) if requests is None else requests):
            peer.read_until()
        say(peer, b"".join(answers))
        peer.read_to_end()

    return script


def test_g02_connection_persists(serve: Any, connect: Any, say: Any) -> None:
    def script(peer: RawPeer) -> None:
        while head := peer.read_until():
            say(peer, content(head.split()[1]))

    peer = serve(script)
    client = connect(peer)
    for number in range(100):
        client.request("GET", f"/{number}")
        assert client.getresponse().read() == b"/%d" % number
    assert len(peer.connections) == 1


def test_g03_all_requests_leave_before_the_first_answer(serve: Any, connect: Any, say: Any) -> None:
    heads: list[bytes] = []

    def script(peer: RawPeer) -> None:
        heads.extend(peer.read_until() for _ in range(10))
        for number in range(10):
            say(peer, content(b"%d" % number))

    client = connect(script)
    requests = [client.request("GET", f"/{number}") for number in range(10)]
    responses = []
    for number in range(10):
        responses.append(client.getresponse())
        assert responses[-1].read() == b"%d" % number
    assert [response.request for response in responses] == requests
    assert [head.split()[1] for head in heads] == [b"/%d" % number for number in range(10)]


def test_g65_one_response_too_many_is_refused_without_waiting(connect: Any, say: Any) -> None:
    client = connect(answering(content(b"a"), say=say), timeout=None)
    with pytest.raises(RuntimeError):
        client.getresponse()
    client.request("GET", "/")
    client.getresponse().read()
    with pytest.raises(RuntimeError, match="every request"):
        client.getresponse()


def test_g65_request_of_its_own_is_answered_in_order_only(connect: Any, say: Any) -> None:
    client = connect(answering(content(b"a"), content(b"b"), say=say))
    first, second = client.request("GET", "/a"), client.request("GET", "/b")
    with pytest.raises(RuntimeError, match="oldest"):
        second.getresponse()
    assert first.getresponse().read() == b"a"
    assert second.getresponse().read() == b"b"


def test_responses_of_every_framing_follow_each_other(connect: Any, say: Any) -> None:
    answers = [
        content(b"a"),
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nb\r\n0\r\nX: 1\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n",
        b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 1\r\n\r\ne",
        b"HTTP/1.1 200 OK\r\n\r\nuntil the end",
    ]

    def script(peer: RawPeer) -> None:
        for _ in answers:
            peer.read_until()
        say(peer, b"".join(answers))

    client = connect(script)
    for method in ("GET", "GET", "GET", "HEAD", "GET", "GET"):
        client.request(method, "/")
    bodies = [client.getresponse().read() for _ in answers]
    assert bodies == [b"a", b"b", b"", b"", b"e", b"until the end"]


# a body that nobody has read


@pytest.mark.parametrize(
    "first",
    [content(b"body"), b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n\r\n"],
    ids=["length", "chunked"],
)
def test_g68_unread_body_is_an_error_and_nothing_is_lost(connect: Any, say: Any, first: bytes) -> None:
    client = connect(answering(first, content(b"next"), say=say))
    client.request("GET", "/")
    client.request("GET", "/")
    response = client.getresponse()
    for _ in range(2):
        with pytest.raises(RuntimeError, match="not read"):
            client.getresponse()
    assert response.read(2) == b"bo"
    with pytest.raises(RuntimeError, match="not read"):
        client.getresponse()
    assert response.read() == b"dy"
    assert client.getresponse().read() == b"next"


def test_g68_unread_body_is_an_error_at_once(connect: Any) -> None:
    def script(peer: RawPeer) -> None:
        peer.read_until()
        peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n")
        peer.read_to_end()

    client = connect(script, timeout=None)
    client.request("GET", "/")
    client.request("GET", "/")
    client.getresponse()
    with pytest.raises(RuntimeError, match="not read"):
        client.getresponse()


def test_g68_body_that_was_read_by_its_size_counts_as_read(connect: Any, say: Any) -> None:
    client = connect(answering(content(b"body"), content(b"next"), say=say))
    client.request("GET", "/")
    client.request("GET", "/")
    assert client.getresponse().read(4) == b"body"
    assert client.getresponse().read() == b"next"


# a response that ends the connection

CLOSING = {
    "announced": (content(b"last", b"Connection: close\r\n"), True),
    "http/1.0": (b"HTTP/1.0 200 OK\r\nContent-Length: 4\r\n\r\nlast", True),
    "http/1.0 until close": (b"HTTP/1.0 200 OK\r\n\r\nlast", True),
    "until close": (b"HTTP/1.1 200 OK\r\n\r\nlast", False),
}


@pytest.mark.parametrize(("answer", "retryable"), CLOSING.values(), ids=CLOSING)
def test_requests_after_the_last_response_fail_by_name(
    connect: Any, say: Any, answer: bytes, retryable: bool
) -> None:
    def script(peer: RawPeer) -> None:
        for _ in range(3):
            peer.read_until()
        say(peer, answer)

    client = connect(script)
    requests = [client.request("GET", f"/{number}") for number in range(3)]
    response = client.getresponse()
    assert response.request is requests[0]
    assert response.read() == b"last"
    for _ in range(2):
        with pytest.raises(HttpError) as caught:
            client.getresponse()
        assert caught.value.unanswered == requests[1:]
        assert caught.value.retryable is retryable
    with pytest.raises(HttpError, match="connect again") as refused:
        client.request("GET", "/")
    assert refused.value.retryable
    assert not client.connected


def test_body_of_the_last_response_is_read_although_later_requests_failed(connect: Any, say: Any) -> None:
    go_on = Event()

    def script(peer: RawPeer) -> None:
        peer.read_until()
        peer.read_until()
        say(peer, b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 8\r\n\r\nfirst")
        go_on.wait(10)
        say(peer, b"two")

    client = connect(script)
    client.request("GET", "/")
    client.request("GET", "/")
    response = client.getresponse()
    with pytest.raises(HttpError, match="connect again"):
        client.request("GET", "/")
    go_on.set()
    assert response.read() == b"firsttwo"
    with pytest.raises(HttpError):
        client.getresponse()


def test_client_connects_again_after_the_last_response(serve: Any, connect: Any, say: Any) -> None:
    peer = serve(answering(content(b"a", b"Connection: close\r\n"), say=say))
    client = connect(peer)
    for _ in range(2):
        client.request("GET", "/")
        assert client.getresponse().read() == b"a"
        assert not client.connected
        client.connect(peer.address)
    peer.wait_for_connections(3)


def test_cut_in_a_pipeline_names_all_that_is_unanswered(connect: Any, say: Any) -> None:
    def script(peer: RawPeer) -> None:
        for _ in range(3):
            peer.read_until()
        say(peer, content(b"a") + content(b"bcd")[:-1])

    client = connect(script)
    requests = [client.request("GET", f"/{number}") for number in range(3)]
    assert client.getresponse().read() == b"a"
    response = client.getresponse()
    with pytest.raises(HttpError):
        response.read()
    assert response.read(2) == b"bc"
    with pytest.raises(HttpError) as caught:
        client.getresponse()
    assert caught.value.unanswered == requests[2:]


def test_garbage_in_a_pipeline_names_all_that_is_unanswered(connect: Any, say: Any) -> None:
    client = connect(answering(content(b"a"), b"what?\r\n\r\n", content(b"c"), say=say))
    requests = [client.request("GET", f"/{number}") for number in range(3)]
    assert client.getresponse().read() == b"a"
    for _ in range(2):
        with pytest.raises(RemoteProtocolError) as caught:
            client.getresponse()
        assert caught.value.unanswered == requests[1:]


def test_response_that_came_before_a_reset_is_delivered(connect: Any) -> None:
    def script(peer: RawPeer) -> None:
        peer.read_until()
        peer.send(content(b"a"))
        answered.set()
        peer.reset()

    answered = Event()
    client = connect(script)
    requests = [client.request("GET", "/a"), client.request("GET", "/b")]
    assert answered.wait(10)
    assert client.getresponse().read() == b"a"
    with pytest.raises(TransportError) as caught:
        client.getresponse()
    assert caught.value.unanswered == requests[1:]


# bytes that nobody asked for


def test_bytes_behind_the_last_response_kill_the_connection(connect: Any, say: Any) -> None:
    said = Event()

    def script(peer: RawPeer) -> None:
        peer.read_until()
        say(peer, content(b"a") + content(b"poison"))
        said.set()
        peer.read_to_end()

    client = connect(script)
    client.request("GET", "/")
    assert client.getresponse().read() == b"a"
    assert said.wait(10)
    with pytest.raises(HttpError, match="not asked for"):
        client.request("GET", "/")
    with pytest.raises(RuntimeError):
        client.getresponse()


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        (content(b"poison"), "not asked for"),
        (b"HTTP/1.1 408 Request Timeout\r\nConnection: close\r\n\r\n", "not asked for"),
        (b"", "closed"),
    ],
    ids=["response", "408", "end"],
)
def test_idle_connection_that_says_something_is_dead(connect: Any, say: Any, said: bytes, reason: str) -> None:
    done = Event()

    def script(peer: RawPeer) -> None:
        peer.read_until()
        say(peer, content(b"a"))
        idle.wait(10)
        say(peer, said)
        peer.half_close()
        done.set()
        peer.read_to_end()

    idle = Event()
    client = connect(script)
    client.request("GET", "/")
    assert client.getresponse().read() == b"a"
    idle.set()
    assert done.wait(10)
    with pytest.raises(HttpError, match=reason) as caught:
        client.request("GET", "/")
    assert caught.value.retryable
    assert not client.connected


def test_reset_of_an_idle_connection_is_told_with_the_next_request(connect: Any) -> None:
    gone = Event()

    def script(peer: RawPeer) -> None:
        peer.reset()
        gone.set()

    client = connect(script)
    assert gone.wait(10)
    with pytest.raises(HttpError, match="reset") as caught:
        client.request("GET", "/")
    assert caught.value.retryable
    assert isinstance(caught.value.__cause__, TransportError)


def test_bytes_before_the_first_request_kill_the_connection(connect: Any, say: Any) -> None:
    greeted = Event()

    def script(peer: RawPeer) -> None:
        say(peer, content(b"poison"))
        greeted.set()
        peer.read_to_end()

    client = connect(script)
    assert greeted.wait(10)
    with pytest.raises(HttpError, match="not asked for"):
        client.request("GET", "/")


def test_bytes_behind_a_last_response_are_not_taken_for_another(connect: Any, say: Any) -> None:
    client = connect(answering(content(b"a", b"Connection: close\r\n"), content(b"poison"), requests=2, say=say))
    client.request("GET", "/")
    client.request("GET", "/")
    assert client.getresponse().read() == b"a"
    with pytest.raises(HttpError, match="closes"):
        client.getresponse()


# CONNECT


def test_connect_gives_a_tunnel_with_what_came_behind_the_head(connect: Any, say: Any) -> None:
    def script(peer: RawPeer) -> None:
        peer.read_until()
        say(peer, b"HTTP/1.1 200 Connected\r\nContent-Length: 5\r\n\r\nhello")
        assert peer.read(4) == b"ping"
        peer.send(b"pong")

    client = connect(script)
    client.request("CONNECT", "example.com:443")
    with pytest.raises(RuntimeError, match="CONNECT"):
        client.request("GET", "/")
    response = client.getresponse()
    assert (response.status, response.read()) == (200, b"")
    tunnel = response.transport
    assert tunnel is not None
    heard = b""
    while len(heard) < 5:
        heard += tunnel.receive()
    assert heard == b"hello"
    tunnel.write(b"ping")
    assert tunnel.receive() == b"pong"
    assert tunnel.receive() == b""
    assert tunnel.try_receive() == b""
    assert "Tunnel" in repr(tunnel)
    with pytest.raises(HttpError, match="tunnel"):
        client.request("GET", "/")


def test_refused_connect_leaves_a_usable_connection(connect: Any, say: Any) -> None:
    def script(peer: RawPeer) -> None:
        for answer in (b"HTTP/1.1 403 No\r\nContent-Length: 2\r\n\r\nno", content(b"a")):
            peer.read_until()
            say(peer, answer)

    client = connect(script)
    client.request("CONNECT", "example.com:443")
    response = client.getresponse()
    assert (response.status, response.read(), response.transport) == (403, b"no", None)
    client.request("GET", "/")
    assert client.getresponse().read() == b"a"


# several greenlets


def test_second_greenlet_that_waits_for_a_response_is_refused(connect: Any, say: Any) -> None:
    go_on = Event()

    def script(peer: RawPeer) -> None:
        peer.read_until()
        peer.read_until()
        go_on.wait(10)
        say(peer, content(b"a") + content(b"b"))

    client = connect(script)
    client.request("GET", "/")
    client.request("GET", "/")
    waiting = gevent.spawn(client.getresponse)
    gevent.sleep(0)
    with pytest.raises(RuntimeError, match="another greenlet"):
        client.getresponse()
    go_on.set()
    assert waiting.get(timeout=10).read() == b"a"
    assert client.getresponse().read() == b"b"


def test_one_greenlet_may_ask_while_another_collects(connect: Any, say: Any) -> None:
    def script(peer: RawPeer) -> None:
        while head := peer.read_until():
            say(peer, content(head.split()[1]))

    client = connect(script)

    def ask() -> None:
        for number in range(50):
            client.request("GET", f"/{number}")
            if number % 10 == 0:
                gevent.sleep(0)

    asking = gevent.spawn(ask)
    gevent.sleep(0)
    assert [client.getresponse().read() for _ in range(50)] == [b"/%d" % number for number in range(50)]
    asking.get(timeout=10)
