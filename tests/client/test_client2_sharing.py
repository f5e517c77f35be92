"""Many greenlets on one connection: each gets its own responses, and nobody blocks the others for ever."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any
from weakref import ref

import gevent
import pytest
from gevent.event import Event
from greenlet import getcurrent

from gruvihttp import HttpClient, HttpError, HttpServer, Timeout, Timeouts, TransportError
from gruvihttp.compose import Composer
from gruvihttp.exchanges.http1.client import ClientConnection
from gruvihttp.exchanges.http1.client_exchange import Http1ClientExchange
from gruvihttp.testing import RawPeer, memory_pair

KIB = 1024


def content(body: bytes) -> bytes:
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)


def echo(peer: RawPeer) -> None:
    """Answers with the target."""
    while head := peer.read_until():
        peer.send(content(head.split()[1]))


def let_others_run() -> None:
    """Give everybody who can do something in this hub his turn, input that is here included."""
    gevent.idle()


def wait_all(greenlets: list[Any]) -> list[Any]:
    gevent.joinall(greenlets, timeout=20)
    return [greenlet.get(block=False) for greenlet in greenlets]


def test_each_greenlet_gets_its_own_responses(connect: Any) -> None:
    client = connect(echo)
    chance = random.Random(1)

    def work(name: int) -> None:
        for turn in range(50):
            depth = chance.randint(1, 4)
            targets = [f"/{name}/{turn}/{number}" for number in range(depth)]
            for target in targets:
                client.request("GET", target)
            if chance.random() < 0.5:
                let_others_run()
            for target in targets:
                assert client.getresponse().read() == target.encode()

    wait_all([gevent.spawn(work, name) for name in range(20)])


def test_each_greenlet_gets_its_own_large_responses(connect: Any) -> None:
    def script(peer: RawPeer) -> None:
        while head := peer.read_until():
            peer.send(content(head.split()[1] * 30_000))

    client = connect(script)

    def work(name: int) -> None:
        for turn in range(5):
            target = f"/{name}/{turn}"
            client.request("GET", target)
            response = client.getresponse()
            let_others_run()
            assert response.read() == target.encode() * 30_000

    wait_all([gevent.spawn(work, name) for name in range(10)])


def test_uploads_of_many_greenlets_do_not_mix(connect: Any) -> None:
    def script(peer: RawPeer) -> None:
        while head := peer.read_until():
            if b"chunked" in head:
                peer.send(content(peer.read_until(b"0\r\n\r\n")[3:4]))
            else:
                length = int(head.partition(b"Content-Length: ")[2].partition(b"\r\n")[0])
                peer.send(content(peer.read(length)[:1]))

    client = connect(script)

    def slowly(mark: bytes) -> Any:
        for _ in range(3):
            yield mark
            let_others_run()

    def work(mark: bytes) -> None:
        for turn in range(10):
            client.request("POST", "/", body=slowly(mark) if turn % 2 else mark * 300 * KIB)
            assert client.getresponse().read() == mark

    wait_all([gevent.spawn(work, b"%d" % number) for number in range(8)])


def test_responses_arrive_by_bytes(connect: Any, say: Any) -> None:
    def script(peer: RawPeer) -> None:
        heads = [peer.read_until() for _ in range(3)]
        for head in heads:
            say(peer, content(head.split()[1]))
        peer.read_to_end()

    client = connect(script)

    def work(target: str) -> bytes:
        client.request("GET", target)
        body: bytes = client.getresponse().read()
        return body

    assert wait_all([gevent.spawn(work, target) for target in ("/a", "/b", "/c")]) == [b"/a", b"/b", b"/c"]


def test_later_small_response_does_not_wait_for_the_reader_of_an_earlier_small_one(connect: Any) -> None:
    client = connect(echo)
    client.request("GET", "/mine")

    def other() -> bytes:
        client.request("GET", "/other")
        body: bytes = client.getresponse().read()
        return body

    assert gevent.spawn(other).get(timeout=10) == b"/other"
    assert client.getresponse().read() == b"/mine"


def test_later_response_waits_until_a_large_body_is_read(connect: Any) -> None:
    large = b"x" * 1024 * KIB

    order: list[str] = []

    def script(peer: RawPeer) -> None:
        peer.read_until()
        peer.read_until()
        peer.send(content(large) + content(b"small"))
        peer.read_to_end()

    client = connect(script)
    client.request("GET", "/large")

    def other() -> bytes:
        client.request("GET", "/small")
        body: bytes = client.getresponse().read()
        order.append("small")
        return body

    waiting = gevent.spawn(other)
    response = client.getresponse()
    let_others_run()
    assert response.read(1000 * KIB) == large[: 1000 * KIB]
    order.append("large")
    assert response.read() == large[1000 * KIB :]
    assert waiting.get(timeout=10) == b"small"
    assert order == ["large", "small"]


def test_later_response_times_out_while_a_large_body_is_not_read(connect: Any) -> None:
    def script(peer: RawPeer) -> None:
        peer.read_until()
        peer.send(content(b"x" * 4096 * KIB))
        peer.read_to_end()

    client = connect(script)
    client.request("GET", "/large")
    response = client.getresponse()

    def other() -> None:
        client.request("GET", "/small")
        with pytest.raises(Timeout):
            client.getresponse(0.1)

    gevent.spawn(other).get(timeout=10)
    assert len(response.read()) == 4096 * KIB


@pytest.mark.parametrize("collected", [False, True])
@pytest.mark.parametrize("size", [10, 100 * KIB, 8192 * KIB])
def test_response_of_a_greenlet_that_has_ended_does_not_block(connect: Any, collected: bool, size: int) -> None:
    def script(peer: RawPeer) -> None:
        peer.read_until()
        peer.send(content(b"x" * size))
        while peer.read_until():
            peer.send(content(b"small"))

    client = connect(script)

    def die() -> None:
        client.request("GET", "/")
        if collected:
            client.getresponse()

    def other() -> bytes:
        client.request("GET", "/")
        body: bytes = client.getresponse().read()
        return body

    gevent.spawn(die).join(10)
    working = gevent.spawn(other)
    if size > 1024 * KIB:  # too much to drain: the connection is given up
        with pytest.raises(HttpError):
            working.get(timeout=10)
    else:
        assert working.get(timeout=10) == b"small"


def test_many_informational_responses_for_a_greenlet_that_has_ended_do_not_block(connect: Any) -> None:
    def script(peer: RawPeer) -> None:
        peer.read_until()
        hint = b"HTTP/1.1 103 Early Hints\r\nLink: %b\r\n\r\n" % (b"x" * 4 * KIB)
        peer.send(hint * 60 + content(b"x"))  # several times Limits.buffer_bytes
        while peer.read_until():
            peer.send(content(b"small"))

    client = connect(script)

    def other() -> bytes:
        client.request("GET", "/")
        body: bytes = client.getresponse().read()
        return body

    gevent.spawn(client.request, "GET", "/").join(10)
    assert gevent.spawn(other).get(timeout=10) == b"small"


def test_response_to_a_dropped_request_takes_no_room_once_it_has_ended(connect: Any) -> None:
    """It is dropped before its response has come, which is then parsed for those who wait behind it."""

    def script(peer: RawPeer) -> None:
        peer.read_until()
        hint = b"HTTP/1.1 103 Early Hints\r\nLink: %b\r\n\r\n" % (b"x" * 4 * KIB)
        peer.send(hint * 30 + content(b"x"))  # Limits.buffer_bytes nearly twice: it is dropped at the first time
        for size in (1, 20 * KIB, 3, 2):
            peer.read_until()
            peer.send(content(b"x" * size))

    client = connect(script)
    answered = Event()

    def ask() -> int:
        client.request("GET", "/")
        return len(client.getresponse().read())

    def ask_twice_and_wait() -> list[int]:
        client.request("GET", "/")
        client.request("GET", "/")
        answered.wait()
        return [len(client.getresponse().read()) for _ in range(2)]

    gevent.spawn(client.request, "GET", "/").join(10)
    assert gevent.spawn(ask).get(timeout=10) == 1
    slow = gevent.spawn(ask_twice_and_wait)
    let_others_run()
    assert gevent.spawn(ask).get(timeout=10) == 2  # with all that comes before it in memory
    answered.set()
    assert slow.get(timeout=10) == [20 * KIB, 3]


def test_greenlet_that_ends_while_others_wait_wakes_them(connect: Any) -> None:
    def script(peer: RawPeer) -> None:
        peer.read_until()
        peer.send(content(b"x" * 8192 * KIB))
        peer.read_to_end()

    client = connect(script)
    go_on = Event()

    def hold() -> None:
        client.request("GET", "/")
        client.getresponse()
        go_on.wait(10)

    def other() -> None:
        client.request("GET", "/")
        with pytest.raises(HttpError):
            client.getresponse(None)

    holding = gevent.spawn(hold)
    let_others_run()
    waiting = gevent.spawn(other)
    let_others_run()
    assert not waiting.ready()
    go_on.set()
    holding.join(10)
    waiting.get(timeout=10)


def test_upload_of_a_greenlet_that_has_ended_gives_the_connection_up(connect: Any) -> None:
    client = connect(RawPeer.read_to_end)

    def die() -> None:
        client.request("POST", "/", body=None).write(b"x")

    gevent.spawn(die).join(10)
    with pytest.raises(HttpError, match="has ended"):
        client.request("GET", "/")


def test_greenlet_that_asked_nothing_gets_the_oldest(connect: Any) -> None:
    client = connect(echo)

    def ask() -> None:
        client.request("GET", "/1")
        client.request("GET", "/2")

    gevent.spawn(ask).join(10)
    assert [client.getresponse().read() for _ in range(2)] == [b"/1", b"/2"]
    with pytest.raises(RuntimeError, match="every request"):
        client.getresponse()


ENDS = {
    "closed": lambda peer: peer.close(),
    "reset": RawPeer.reset,
    "closed within a response": lambda peer: (peer.send(b"HTTP/1.1 20"), peer.close()),
}
UPLOADS = {"whole": bytes(30_000 * KIB), "in pieces": [bytes(100 * KIB)] * 300}


@pytest.mark.parametrize("body", UPLOADS.values(), ids=UPLOADS)
@pytest.mark.parametrize("end", ENDS.values(), ids=ENDS)
def test_greenlet_that_waits_for_the_response_to_a_failed_upload_hears_of_it(
    connect: Any, end: Callable[[RawPeer], object], body: Any
) -> None:
    waits = Event()

    def script(peer: RawPeer) -> None:
        peer.read_until()
        assert waits.wait(10)
        let_others_run()
        end(peer)

    def upload() -> None:
        with pytest.raises(TransportError):
            client.request("POST", "/", body=body)

    def wait() -> None:
        waits.set()
        with pytest.raises(HttpError):
            client.getresponse()

    client = connect(script)
    uploading = gevent.spawn(upload)
    let_others_run()
    with gevent.Timeout(20):
        wait_all([uploading, gevent.spawn(wait)])


def test_greenlet_whose_requests_are_answered_takes_no_others(connect: Any) -> None:
    client = connect(echo)
    client.request("GET", "/mine")
    gevent.spawn(client.request, "GET", "/other").join(10)
    assert client.getresponse().read() == b"/mine"
    with pytest.raises(RuntimeError, match="this greenlet"):
        client.getresponse()


def test_request_names_its_response_whoever_asks(connect: Any) -> None:
    client = connect(echo)
    requests = [gevent.spawn(client.request, "GET", f"/{number}").get(timeout=10) for number in range(3)]
    assert [request.getresponse().read() for request in reversed(requests)] == [b"/2", b"/1", b"/0"]
    with pytest.raises(RuntimeError, match="response"):
        requests[0].getresponse()


@pytest.mark.parametrize("version", ["1.1", "2"])
def test_body_is_read_by_one_greenlet_at_a_time(version: str) -> None:
    go_on = Event()

    def application(environ: Any, start_response: Any) -> Any:
        write = start_response("200 OK", [])
        write(b"first ")
        go_on.wait(10)
        return [b"second"]

    with HttpServer(application) as server, HttpClient(timeout=10, version=version) as client:
        server.listen(("127.0.0.1", 0))
        client.connect(server.address)
        client.request("GET", "/")
        response = client.getresponse()
        reading = gevent.spawn(response.read)
        let_others_run()
        with pytest.raises(RuntimeError, match="another greenlet is reading"):
            response.read()
        go_on.set()
        assert reading.get(timeout=10) == b"first second"


def test_body_may_be_read_by_another_greenlet_than_collected_it(connect: Any) -> None:
    def script(peer: RawPeer) -> None:
        peer.read_until()
        peer.send(content(b"x" * 1024 * KIB))
        while peer.read_until():
            peer.send(content(b"small"))

    client = connect(script)
    client.request("GET", "/")
    response = gevent.spawn(client.getresponse).get(timeout=10)
    assert len(response.read(200 * KIB)) == 200 * KIB  # who reads on has taken it over

    def other() -> bytes:
        client.request("GET", "/")
        body: bytes = client.getresponse().read()
        return body

    waiting = gevent.spawn(other)
    let_others_run()
    assert len(response.read()) == 824 * KIB
    assert waiting.get(timeout=10) == b"small"


@pytest.mark.parametrize("others", [0, 1])
def test_who_waits_for_a_request_that_is_not_on_the_connection_is_told(others: int) -> None:
    channel, other = memory_pair()
    with RawPeer(other) as peer:
        connection = ClientConnection(channel)
        for _ in range(others):
            connection.send(Composer("1.1", "a", "test")("GET", "/", [], ""), None)
            peer.send(content(b"x"))
        stray = Http1ClientExchange(connection, b"GET", None, Timeouts(), ref(getcurrent()))
        with pytest.raises(RuntimeError, match="not on the connection"):
            connection.await_permission(stray, 30)
        for _ in range(others):
            assert connection.collect().content.read() == b"x"
        channel.close()


def test_killed_greenlet_leaves_no_wrong_answer_to_the_others(serve: Any) -> None:
    """Whichever greenlet is struck, the others get their own response, or an error."""
    chance = random.Random(3)
    outcomes = {"right": 0, "error": 0}
    enough = 0
    reached = Event()
    peer = serve(echo)

    def work(client: HttpClient, name: int) -> None:
        for turn in range(100):
            target = f"/{name}/{turn}"
            try:
                client.request("GET", target)
                got = client.getresponse().read()
            except HttpError:
                outcomes["error"] += 1
                return
            assert got == target.encode()
            outcomes["right"] += 1
            if outcomes["right"] == enough:
                reached.set()

    for _ in range(30):
        with HttpClient(10) as client:
            client.connect(peer.address)
            enough = outcomes["right"] + chance.randint(1, 100)
            reached.clear()
            workers = [gevent.spawn(work, client, name) for name in range(6)]
            assert reached.wait(10)
            chance.choice(workers).kill()
            wait_all(workers)
    assert min(outcomes.values()) > 0, outcomes
