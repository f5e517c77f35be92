"""A timer or a kill that strikes at any wait of an exchange, one wait after the other: what does the client do next?

It works, on this connection or a fresh one, or it raises. What it never does is hand out another request's response.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import gevent
import pytest
from striking import STRIKES, strike_at

from gruvihttp import Error, HttpClient, HttpResponse, Timeouts
from gruvihttp.testing import RawPeer, ScriptedPeer

GUARD_SECONDS = 10.0
KIB = 1024
MIB = 1024 * KIB


# a server whose every answer says to which request it is one


def serving(peer: RawPeer) -> None:
    """Answers with the target and the size of the content, in two pieces; ``/early`` without reading the content."""
    while (head := peer.read_until()).endswith(b"\r\n\r\n"):
        target = head.split()[1]
        if b"Expect: 100-continue" in head:
            gevent.idle()
            peer.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        if target == b"/early":
            answer(peer, target, b"413 Content Too Large", 0, 0)
            while peer.channel.receive():
                pass
            return
        answer(peer, target, b"200 OK", read_content(peer, head), 300_000 if b"large" in target else 10)


def read_content(peer: RawPeer, head: bytes) -> int:
    if b"Transfer-Encoding: chunked" not in head:
        return len(peer.read(int(head.partition(b"Content-Length: ")[2].partition(b"\r\n")[0] or b"0")))
    total = 0
    while size := int(peer.read_until(b"\r\n"), 16):
        peer.read(size + 2)
        total += size
    peer.read_until(b"\r\n")
    return total


def answer(peer: RawPeer, target: bytes, status: bytes, content_bytes: int, stuffing: int) -> None:
    content = b"%b %d " % (target, content_bytes) + b"." * stuffing
    if b"chunked" in target:
        pieces = [b"HTTP/1.1 %b\r\nTransfer-Encoding: chunked\r\n\r\n" % status]
        pieces += [b"%x\r\n%b\r\n" % (len(piece), piece) for piece in (content[:5], content[5:])]
        pieces += [b"0\r\nX: 1\r\n\r\n"]
    else:
        head = b"HTTP/1.1 %b\r\nContent-Length: %d\r\n\r\n" % (status, len(content))
        pieces = [head[:7], head[7:] + content[:3], content[3:]]
    for piece in pieces:
        gevent.idle()
        peer.send(piece)


def proxying(peer: RawPeer) -> None:
    """A proxy that answers CONNECT and is then itself what the client wants to reach."""
    if not peer.read_until().startswith(b"CONNECT "):
        return  # the client was struck before it could say so
    gevent.idle()
    peer.send(b"HTTP/1.1 200 Connection ")
    gevent.idle()
    peer.send(b"established\r\n\r\n")
    serving(peer)


def upgrading(peer: RawPeer) -> None:
    """Changes to a protocol that repeats what it hears, if that is asked for."""
    head = peer.read_until()
    if b"Upgrade: echo" not in head:
        return serving_first(peer, head)
    gevent.idle()
    peer.send(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\nhello")
    while heard := peer.channel.receive():
        peer.send(heard)


def serving_first(peer: RawPeer, head: bytes) -> None:
    if not head:
        return
    answer(peer, head.split()[1], b"200 OK", read_content(peer, head), 10)
    serving(peer)


# what the client does meanwhile


def check(response: HttpResponse) -> int:
    """It is the answer to its request. Returns how many bytes the server has received."""
    target, size, stuffing = response.read().split(b" ")
    assert target.decode() == response.request.url
    assert set(stuffing) <= {ord(".")}
    return int(size)


def plain(client: HttpClient) -> None:
    client.request("GET", "/plain")
    assert check(client.getresponse()) == 0


def large(client: HttpClient) -> None:
    client.request("GET", "/large")
    check(client.getresponse())


def chunked(client: HttpClient) -> None:
    client.request("GET", "/chunked")
    check(client.getresponse())


def pipelined(client: HttpClient) -> None:
    for number in range(5):
        client.request("GET", f"/pipelined-{number}")
    for _ in range(5):
        check(client.getresponse())


def pipelined_large(client: HttpClient) -> None:
    """Both sides write, so that sending has to receive."""
    for number in range(3):
        client.request("POST", f"/large-{number}", body=b"x" * MIB)
    for _ in range(3):
        assert check(client.getresponse()) == MIB


def upload(client: HttpClient) -> None:
    client.request("POST", "/upload", body=b"x" * 8 * MIB)
    assert check(client.getresponse()) == 8 * MIB


def pieces() -> Iterator[bytes]:
    for _ in range(3):
        yield b"x" * 100_000
        gevent.sleep(0)


def upload_in_pieces(client: HttpClient) -> None:
    client.request("POST", "/pieces", body=pieces())
    assert check(client.getresponse()) == 300_000


def written_by_hand(client: HttpClient) -> None:
    request = client.request("POST", "/by-hand", body=None)
    for piece in pieces():
        request.write(piece)
    request.end_request()
    assert check(request.getresponse()) == 300_000


def early_answer(client: HttpClient) -> None:
    client.request("POST", "/early", body=(b"x" * 64 * KIB for _ in range(1000)))
    assert client.getresponse().status == 413
    client.close()  # that connection is of no use any more, as it should be


def expecting(client: HttpClient) -> None:
    client.request("POST", "/expect", body=b"x" * 1000, expect=5)
    assert check(client.getresponse()) == 1000


def expecting_in_pieces(client: HttpClient) -> None:
    client.request("POST", "/expect", body=pieces(), expect=5)
    assert check(client.getresponse()) == 300_000


def closed_early(client: HttpClient) -> None:
    client.request("GET", "/large")
    response = client.getresponse()
    response.read(20)
    response.close()


def with_a_deadline(client: HttpClient) -> None:
    client.request("POST", "/deadline", body=b"x" * 8 * MIB, timeout=Timeouts(total=10))
    assert check(client.getresponse()) == 8 * MIB


def shared(client: HttpClient) -> None:
    """The response comes behind that of another greenlet, which has to read its own first."""

    def other() -> None:
        with suppress(Error):  # that is what it gets if the connection is given up meanwhile
            client.request("GET", "/large-other")
            check(client.getresponse())

    others = gevent.spawn(other)
    gevent.idle()
    client.request("GET", "/shared")
    check(client.getresponse())
    others.join(GUARD_SECONDS)
    assert others.successful()


ACTIONS = [
    plain, large, chunked, pipelined, pipelined_large, upload, upload_in_pieces, written_by_hand, early_answer,
    expecting, expecting_in_pieces, closed_early, with_a_deadline, shared,
]  # fmt: skip
Connecting = Callable[[HttpClient], None]


def use_again(client: HttpClient, connect: Connecting) -> None:
    """Use the client as somebody would who does not know what has happened. Raises nothing."""
    worked = False
    try:
        client.request("GET", "/again")
        while True:  # there may be responses that were due before
            response = client.getresponse(1)
            check(response)
            worked = worked or response.request.url == "/again"
    except (Error, RuntimeError):
        pass
    if not worked:  # then it must say so, and a fresh connection helps
        client.close()
        connect(client)
        plain(client)


def strike_everywhere(connect: Connecting, action: Callable[[HttpClient], None], error: type[BaseException]) -> int:
    """Strike at each wait, those of connecting included. Returns how many there are."""
    wait_number = 0
    while True:
        with HttpClient(GUARD_SECONDS) as client:

            def act(client: HttpClient = client) -> None:
                connect(client)
                action(client)

            struck = strike_at(wait_number, error, act)
            use_again(client, connect)
        if not struck:
            return wait_number
        wait_number += 1


each_strike = pytest.mark.parametrize("error", STRIKES)
each_action = pytest.mark.parametrize("action", ACTIONS, ids=lambda action: action.__name__)


@each_strike
@each_action
def test_struck_at_each_wait_in_turn(serve: Any, action: Any, error: type[BaseException]) -> None:
    peer: ScriptedPeer = serve(serving)
    assert strike_everywhere(lambda client: client.connect(peer.address), action, error) > 1


@each_strike
@pytest.mark.parametrize("action", [plain, upload, pipelined], ids=lambda action: action.__name__)
def test_struck_at_each_wait_with_tls(
    serve: Any, server_tls: Any, client_tls: Any, action: Any, error: type[BaseException]
) -> None:
    peer: ScriptedPeer = serve(serving, context=server_tls)
    waits = strike_everywhere(
        lambda client: client.connect(("localhost", peer.port), ssl=client_tls), action, error
    )  # fmt: skip
    assert waits > 3


@each_strike
@pytest.mark.parametrize("action", [plain, upload], ids=lambda action: action.__name__)
def test_struck_at_each_wait_behind_a_proxy(serve: Any, action: Any, error: type[BaseException]) -> None:
    proxy: ScriptedPeer = serve(proxying)
    waits = strike_everywhere(lambda client: client.connect(("far", 80), proxy=proxy.address), action, error)
    assert waits > 3


@each_strike
def test_struck_at_each_wait_of_tls_behind_a_proxy(
    serve: Any, server_tls: Any, client_tls: Any, error: type[BaseException]
) -> None:
    def script(peer: RawPeer) -> None:
        peer.read_until()
        peer.send(b"HTTP/1.1 200 Connection established\r\n\r\n")
        peer.channel.start_tls(server_tls, True)
        serving(peer)

    proxy: ScriptedPeer = serve(script)

    def connect(client: HttpClient) -> None:
        client.connect(("localhost", 443), ssl=client_tls, proxy=proxy.address)

    assert strike_everywhere(connect, plain, error) > 4


@each_strike
def test_struck_at_each_wait_of_connect_by_hand(serve: Any, error: type[BaseException]) -> None:
    def script(peer: RawPeer) -> None:
        head = peer.read_until()
        if not head.startswith(b"CONNECT "):
            return serving_first(peer, head)
        gevent.idle()
        peer.send(b"HTTP/1.1 200 OK\r\n\r\nhel")
        gevent.idle()
        peer.send(b"lo")
        peer.read_to_end()

    def tunnel(client: HttpClient) -> None:
        client.request("CONNECT", "far:80")
        channel = client.getresponse().transport
        heard = b""
        while len(heard) < 5:
            heard += channel.receive()
        assert heard == b"hello"

    peer: ScriptedPeer = serve(script)
    assert strike_everywhere(lambda client: client.connect(peer.address), tunnel, error) > 1


@each_strike
def test_struck_at_each_wait_of_an_upgrade(serve: Any, error: type[BaseException]) -> None:
    def upgrade(client: HttpClient) -> None:
        client.request("GET", "/echo", upgrade="echo")
        channel = client.getresponse().transport
        channel.send(b"!")
        heard = b""
        while len(heard) < 6:
            heard += channel.receive()
        assert heard == b"hello!"

    peer: ScriptedPeer = serve(upgrading)
    assert strike_everywhere(lambda client: client.connect(peer.address), upgrade, error) > 1
