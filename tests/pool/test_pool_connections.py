"""How the pool keeps connections: reuse, death while idle, replay, streams, the end of the pool."""

from __future__ import annotations

import gc
import io
import os
import socket
from collections.abc import Callable, Iterator
from threading import Thread
from typing import Any

import gevent
import gevent.socket
import pytest

from gruvihttp import HttpError, HttpPool, IncompleteMessage, TransportError
from gruvihttp.testing import RawPeer, replies

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


def url_of(peer: Any, path: str = "/") -> str:
    return f"http://127.0.0.1:{peer.port}{path}"


def test_connection_is_used_again(site: Any, pool: HttpPool) -> None:
    for _ in range(5):
        pool.get(site.url)
    assert len(site.peers) == 1
    assert pool.counts == (0, 1, 0)


def test_greenlets_have_a_connection_each_up_to_the_limit(site: Any, make_pool: Any) -> None:
    pool = make_pool(3)
    greenlets = [gevent.spawn(pool.get, site.url + "/held") for _ in range(8)]
    while pool.counts != (3, 0, 5):
        gevent.idle()
    site.held.set()
    gevent.joinall(greenlets, timeout=10, raise_error=True)
    assert {greenlet.get().text for greenlet in greenlets} == {"held"}
    assert len(site.peers) == 3
    assert pool.counts == (0, 3, 0)


def test_responses_reach_those_who_asked(site: Any, make_pool: Any) -> None:
    pool = make_pool(4)

    def ask(name: str) -> None:
        for number in range(20):
            assert pool.get(f"{site.url}/told?{name}.{number}").json()["target"] == f"/told?{name}.{number}"

    gevent.joinall([gevent.spawn(ask, str(name)) for name in range(12)], raise_error=True)
    assert len(site.peers) <= 4


CLOSING = [
    pytest.param(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok", id="announced"),
    pytest.param(b"HTTP/1.1 200 OK\r\n\r\nok", id="until-close"),
    pytest.param(b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok", id="http-1.0"),
    pytest.param(OK + b"HTTP/1.1 200 OK\r\n", id="more-than-asked-for"),
]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("answer", CLOSING)
def test_connection_that_ends_with_its_response_is_not_kept(
    serve: Any, pool: HttpPool, answer: bytes, stream: bool
) -> None:
    peer = serve(replies(answer))
    for _ in range(2):
        assert pool.get(url_of(peer), stream=stream).content == b"ok"
        assert pool.counts == (0, 0, 0)
    assert len(peer.connections) == 2


DYING = [
    pytest.param(lambda peer: None, id="closed"),
    pytest.param(RawPeer.reset, id="reset"),
    pytest.param(lambda peer: peer.send(b"HTTP/1.1 408 Too Late\r\n\r\n"), id="spoke"),
]


@pytest.mark.parametrize("body", [pytest.param("", id="nothing"), pytest.param([b"a", b"b"], id="pieces")])
@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize("dies", DYING)
def test_connection_that_died_while_idle_is_dropped_without_a_word(
    serve: Any, pool: HttpPool, dies: Callable[[RawPeer], object], method: str, body: Any
) -> None:
    def first(peer: RawPeer) -> None:
        replies(OK)(peer)
        dies(peer)

    peer = serve(first, replies(OK))
    assert pool.get(url_of(peer)).content == b"ok"
    peer.wait()
    assert pool.request(method, url_of(peer, "/two"), body=iter(body) if body else "").content == b"ok"
    assert len(peer.connections) == 2
    assert peer.connections[1].received.startswith(f"{method} /two ".encode())


def test_idle_connection_that_the_server_closes_is_closed_here_too(serve: Any, pool: HttpPool) -> None:
    ending = gevent.event.Event()

    def script(peer: RawPeer) -> None:
        replies(OK)(peer)
        ending.wait(10)

    peer = serve(script)
    pool.get(url_of(peer))
    assert pool.counts == (0, 1, 0)
    slots: Any = pool._slots
    for slot in slots._idle:
        slot.idle_since -= 2  # so that it is looked at now
    slots._look_after_idle()
    ending.set()
    with gevent.Timeout(10):
        while pool.counts.idle:
            gevent.idle()


# replay


def dies_after_request(how: Callable[[RawPeer], object]) -> Callable[[RawPeer], object]:
    """Answers one request, reads another, and dies."""

    def script(peer: RawPeer) -> None:
        replies(OK)(peer)
        peer.read_until()
        how(peer)

    return script


def half_a_head(peer: RawPeer) -> None:
    peer.send(b"HTTP/1.1 2")


def early_hints(peer: RawPeer) -> None:
    peer.send(b"HTTP/1.1 103 Early Hints\r\n\r\n")


REPLAYED = [
    pytest.param("GET", "", RawPeer.reset, id="get"),
    pytest.param("GET", "", lambda peer: None, id="get-closed"),
    pytest.param("DELETE", "", RawPeer.reset, id="delete"),
    pytest.param("PUT", b"body", RawPeer.reset, id="put-bytes"),
    pytest.param("PUT", io.BytesIO(b"body"), RawPeer.reset, id="put-file"),
    pytest.param("PUT", [b"bo", b"dy"], RawPeer.reset, id="put-list"),
]


@pytest.mark.parametrize(("method", "body", "dies"), REPLAYED)
def test_request_is_sent_once_more_if_that_is_safe(
    serve: Any, pool: HttpPool, method: str, body: Any, dies: Callable[[RawPeer], object]
) -> None:
    def second(peer: RawPeer) -> None:
        peer.read_until()
        if body:
            rest = b"2\r\nbo\r\n2\r\ndy\r\n0\r\n\r\n" if isinstance(body, list) else b"body"
            rest = b"4\r\nbody\r\n0\r\n\r\n" if isinstance(body, io.BytesIO) else rest
            assert peer.read(len(rest)) == rest
        peer.send(OK)

    peer = serve(dies_after_request(dies), second)
    pool.get(url_of(peer))
    assert pool.request(method, url_of(peer, "/again"), body=body).content == b"ok"
    assert [b"/again" in one.received for one in peer.connections] == [True, True]
    assert pool.counts == (0, 1, 0)


NOT_REPLAYED = [
    pytest.param("POST", b"body", RawPeer.reset, TransportError, id="post"),
    pytest.param("POST", "", lambda peer: None, IncompleteMessage, id="post-without-body"),
    pytest.param("PATCH", b"body", RawPeer.reset, TransportError, id="patch"),
    pytest.param("PUT", "generator", RawPeer.reset, TransportError, id="put-generator"),
    pytest.param("GET", "", half_a_head, IncompleteMessage, id="half-a-head"),
    pytest.param("GET", "", early_hints, IncompleteMessage, id="informational"),
]


@pytest.mark.parametrize(("method", "body", "dies", "error"), NOT_REPLAYED)
def test_request_is_not_sent_again_where_it_may_have_had_an_effect(
    serve: Any, pool: HttpPool, method: str, body: Any, dies: Callable[[RawPeer], object], error: type[Exception]
) -> None:
    peer = serve(dies_after_request(dies), replies(OK))
    pool.get(url_of(peer))
    with pytest.raises(error):
        pool.request(method, url_of(peer, "/again"), body=iter([b"body"]) if body == "generator" else body)
    assert len(peer.connections) == 1
    assert pool.counts == (0, 0, 0)
    assert pool.get(url_of(peer)).content == b"ok"


@pytest.mark.parametrize("dies", [RawPeer.reset, lambda peer: None])
def test_request_on_a_new_connection_is_not_sent_again(
    serve: Any, pool: HttpPool, dies: Callable[[RawPeer], object]
) -> None:
    def script(peer: RawPeer) -> None:
        peer.read_until()
        dies(peer)

    peer = serve(script)
    with pytest.raises((TransportError, IncompleteMessage)):
        pool.get(url_of(peer))
    assert len(peer.connections) == 1


def test_request_is_sent_no_more_than_twice(serve: Any, pool: HttpPool) -> None:
    def dies(peer: RawPeer) -> None:
        peer.read_until()
        peer.reset()

    peer = serve(dies_after_request(RawPeer.reset), dies)
    pool.get(url_of(peer))
    with pytest.raises(TransportError):
        pool.get(url_of(peer))
    assert len(peer.connections) == 2
    assert pool.counts == (0, 0, 0)


def test_connection_that_cannot_be_made_costs_nothing(pool: HttpPool) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(TransportError, match="cannot connect"):
        pool.get(f"http://127.0.0.1:{port}/")
    assert pool.counts == (0, 0, 0)


# streams


def test_stream_holds_its_connection_until_the_last_piece(site: Any, make_pool: Any) -> None:
    pool = make_pool(1)
    response = pool.get(site.url + "/half", stream=True)
    assert response.read(6) == b"first "
    assert pool.counts == (1, 0, 0)
    site.held.set()
    assert response.read(6) == b"second"
    assert pool.counts == (0, 1, 0)
    assert response.read() == b""
    assert pool.get(site.url).ok
    assert len(site.peers) == 1


def test_stream_that_is_here_already_holds_nothing(site: Any, pool: HttpPool) -> None:
    response = pool.get(site.url, stream=True)
    assert pool.counts == (0, 1, 0)
    assert response.json()["method"] == "GET"


@pytest.mark.parametrize(
    ("size", "kept"), [pytest.param(80_000, 1, id="little-left"), pytest.param(5_000_000, 0, id="much-left")]
)
def test_closed_stream_keeps_the_connection_if_little_is_left(site: Any, pool: HttpPool, size: int, kept: int) -> None:
    with pool.get(f"{site.url}/bytes?size={size}&length=1", stream=True) as response:
        assert response.read(40_000) == b"x" * 40_000
    assert pool.counts == (0, kept, 0)
    with pytest.raises(ValueError, match="closed"):
        response.read()
    response.close()
    assert pool.get(site.url).ok


@pytest.mark.parametrize("held", ["response", "body", "iterator"])
def test_forgotten_stream_gives_its_room_back(
    site: Any, make_pool: Any, settled: Callable[..., None], held: str
) -> None:
    pool = make_pool(1)
    gc.disable()  # it must not need a collection of cycles
    try:
        response: Any = pool.get(f"{site.url}/half", stream=True)
        kept = {"response": response, "body": response.body, "iterator": response.iter_content()}.pop(held)
        del response
        gevent.idle()
        assert pool.counts == (1, 0, 0)
        del kept
        settled(pool, (0, 0, 0))
    finally:
        gc.enable()
    assert pool.get(site.url).ok


def test_stream_that_is_forgotten_in_another_thread_gives_its_room_back(
    site: Any, make_pool: Any, settled: Callable[..., None]
) -> None:
    pool = make_pool(1)
    responses = [pool.get(f"{site.url}/half", stream=True)]
    thread = Thread(target=responses.clear)
    thread.start()
    thread.join()
    settled(pool, (0, 0, 0))
    assert pool.get(site.url).ok


def test_waiting_greenlet_gets_the_room_of_a_forgotten_stream(site: Any, make_pool: Any) -> None:
    pool = make_pool(1)
    pool.get(f"{site.url}/half", stream=True)
    assert pool.get(site.url).ok


def test_stream_that_breaks_gives_its_room_back(serve: Any, pool: HttpPool) -> None:
    peer = serve(replies(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf"))
    response = pool.get(url_of(peer), stream=True)
    with pytest.raises(IncompleteMessage):
        response.read()
    assert pool.counts == (0, 0, 0)
    assert response.read1() == b"half"


def test_trailers_are_there_at_the_end(serve: Any, pool: HttpPool) -> None:
    answer = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nX-Sum: 1\r\n\r\n"
    peer = serve(replies(answer, answer))
    assert pool.get(url_of(peer)).content == b"ok"
    response = pool.get(url_of(peer), stream=True)
    assert response.content == b"ok"
    assert response.get_trailer("x-sum") == "1"


def test_iter_content_gives_pieces_with_a_bound(site: Any, pool: HttpPool) -> None:
    pieces = list(pool.get(f"{site.url}/bytes?size=30000", stream=True).iter_content(7000))
    assert b"".join(pieces) == b"x" * 30_000
    assert max(map(len, pieces)) <= 7000
    assert pool.counts == (0, 1, 0)


def test_body_of_one_request_may_be_the_response_to_another(site: Any, pool: HttpPool) -> None:
    source = pool.get(f"{site.url}/bytes?size=200000", stream=True)
    copied = pool.post(f"{site.url}/echo", body=source.iter_content())
    assert copied.content == b"x" * 200_000
    assert pool.counts == (0, 2, 0)


def test_early_answer_ends_the_upload_and_the_connection(serve: Any, pool: HttpPool) -> None:
    def script(peer: RawPeer) -> None:
        peer.read_until()
        peer.send(b"HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\n\r\nno")
        peer.read_to_end()

    def body() -> Iterator[bytes]:
        for _ in range(10_000):
            yield b"x" * 65536
            gevent.idle()

    peer = serve(script)
    response = pool.post(url_of(peer), body=body())
    assert (response.status, response.content) == (413, b"no")
    assert pool.counts == (0, 0, 0)


def test_body_that_raises_costs_the_connection_only(site: Any, pool: HttpPool) -> None:
    def body() -> Iterator[bytes]:
        yield b"x"
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        pool.post(site.url, body=body())
    assert pool.counts == (0, 0, 0)


# the end


def test_closed_pool_refuses_and_closes_what_comes_back(site: Any, make_pool: Any) -> None:
    pool = make_pool(1)
    with pool:
        response = pool.get(site.url + "/half", stream=True)
        waiter = gevent.spawn(pool.get, site.url)
        while pool.counts.waiting == 0:
            gevent.idle()
    with pytest.raises(HttpError, match="the pool is closed"):
        waiter.get(timeout=10)
    with pytest.raises(HttpError, match="the pool is closed"):
        pool.get(site.url)
    site.held.set()
    assert response.content == b"first second"
    assert pool.counts == (0, 0, 0)


def test_child_of_a_fork_leaves_the_connections_of_its_parent_alone(site: Any, pool: HttpPool) -> None:
    pool.get(site.url)
    child = os.fork()  # not gevent's: what it does to the hub is not for a process with the threads of a test run
    if child == 0:
        os._exit(0 if pool.counts == (0, 0, 0) else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert pool.counts == (0, 1, 0)
    assert pool.get(site.url).ok
    assert len(site.peers) == 1


def test_connection_that_is_refused_says_that_nothing_was_sent(pool: HttpPool) -> None:
    with socket.socket() as unheard:
        unheard.bind(("127.0.0.1", 0))
        with pytest.raises(TransportError) as caught:
            pool.post(f"http://127.0.0.1:{unheard.getsockname()[1]}/", body=iter([b"x"]))
    assert caught.value.retryable


def test_connection_that_cannot_be_made_again_does_not_say_so_of_what_was_sent(pool: HttpPool) -> None:
    listener = gevent.socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen()
    url = f"http://127.0.0.1:{listener.getsockname()[1]}/"

    def answer_once() -> None:
        with listener, listener.accept()[0] as sock:
            sock.recv(65536)
            sock.sendall(OK)
            sock.recv(65536)
            listener.close()

    answering = gevent.spawn(answer_once)
    pool.get(url)
    with pytest.raises(TransportError) as caught:
        pool.get(url)
    assert not caught.value.retryable
    answering.get(timeout=10)
