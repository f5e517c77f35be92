"""A pool over HTTP/2: one connection for all requests to an origin, replaced when it dies or the server leaves."""

from __future__ import annotations

import gc
import os
import ssl
from collections.abc import Callable
from typing import Any

import gevent
import pytest
import trustme
from frameserver import FrameServer
from gevent.event import Event
from relays import tunnelling
from sites import Site
from striking import STRIKES, strike_at

from gruvihttp import HttpError, HttpPool, StreamError, Timeout, TransportError
from gruvihttp.origins import destination_of
from gruvihttp.sansio import frames as f
from gruvihttp.sansio.h2errors import ErrorCode
from gruvihttp.sansio.h2settings import MAX_CONCURRENT_STREAMS
from gruvihttp.testing import RawPeer

GUARD = 10.0
MakePool = Callable[..., HttpPool]
Settled = Callable[[HttpPool, tuple[int, int, int]], None]


@pytest.fixture
def context(authority: trustme.CA) -> ssl.SSLContext:
    """A server's context that agrees to HTTP/2."""
    made = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("localhost", "127.0.0.1").configure_cert(made)
    made.set_alpn_protocols(["h2", "http/1.1"])
    return made


@pytest.fixture
def offering(authority: trustme.CA) -> ssl.SSLContext:
    """A client's context that offers it."""
    made = ssl.create_default_context()
    authority.configure_trust(made)
    made.set_alpn_protocols(["h2", "http/1.1"])
    return made


@pytest.fixture
def site(make_site: Callable[..., Site], context: ssl.SSLContext) -> Site:
    return make_site(context=context)


@pytest.fixture
def pool(make_pool: MakePool, offering: ssl.SSLContext) -> HttpPool:
    return make_pool(http2=True, ssl=offering)


@pytest.fixture
def converse(serve: Any, context: ssl.SSLContext) -> Callable[..., str]:
    """The URL of a server that runs a script, a function of a `FrameServer`, for each connection."""

    def make(*scripts: Callable[[FrameServer], object], settings: Any = ()) -> str:
        def runner(script: Callable[[FrameServer], object]) -> Callable[[RawPeer], object]:
            return lambda peer: script(FrameServer(peer, settings))

        return f"https://127.0.0.1:{serve(*map(runner, scripts), context=context).port}"

    return make


def answering(*contents: bytes) -> Callable[[FrameServer], None]:
    def script(server: FrameServer) -> None:
        for content in contents:
            server.answer(server.request().stream, content)
        server.rest()

    return script


def test_requests_of_many_greenlets_share_one_connection(pool: HttpPool, site: Site, settled: Settled) -> None:
    def ask(number: int) -> str:
        response = pool.post(f"{site.url}/echo", body=f"{number}" * 1000)
        assert response.version == (2, 0)
        return response.text

    greenlets = [gevent.spawn(ask, number) for number in range(50)]
    gevent.joinall(greenlets, GUARD, raise_error=True)
    assert [one.value for one in greenlets] == [f"{number}" * 1000 for number in range(50)]
    assert len(site.peers) == 1
    settled(pool, (0, 1, 0))


def test_connection_is_used_again_when_it_was_idle(pool: HttpPool, site: Site, settled: Settled) -> None:
    for _ in range(3):
        assert pool.get(f"{site.url}/bytes?size=5").content == b"xxxxx"
        settled(pool, (0, 1, 0))
    assert len(site.peers) == 1


@pytest.mark.parametrize("size", [0, 10, 100_000, 3_000_000])
def test_content_of_any_length_arrives(pool: HttpPool, site: Site, settled: Settled, size: int) -> None:
    assert len(pool.get(f"{site.url}/bytes?size={size}").content) == size
    assert len(pool.get(f"{site.url}/bytes?size={size}&length").content) == size
    settled(pool, (0, 1, 0))


def test_redirects_cookies_and_codings_work_as_ever(pool: HttpPool, site: Site) -> None:
    response = pool.get(f"{site.url}/cookie?set=a=b&to=/gzip")
    assert (response.text, len(response.history)) == ("zeros " * 1000, 1)
    assert pool.get(f"{site.url}/told").json()["fields"]["cookie"] == "a=b; second=2"
    assert pool.post(f"{site.url}/told", json={"a": 1}).json()["content"] == '{"a":1}'


def test_server_without_http2_is_spoken_with_in_http1(
    make_site: Callable[..., Site], make_pool: MakePool, server_tls: ssl.SSLContext, offering: ssl.SSLContext
) -> None:
    secure, plain = make_site(context=server_tls), make_site()
    pool = make_pool(http2=True, ssl=offering)
    for site in (secure, plain):
        greenlets = [gevent.spawn(pool.get, f"{site.url}/held") for _ in range(3)]
        gevent.idle()
        site.held.set()
        gevent.joinall(greenlets, GUARD, raise_error=True)
        assert {one.value.version for one in greenlets} == {(1, 1)}
        assert len(site.peers) == 3


def test_pool_speaks_http1_unless_told(make_pool: MakePool, site: Site, client_tls: ssl.SSLContext) -> None:
    assert make_pool(ssl=client_tls).get(f"{site.url}/told").version == (1, 1)
    assert make_pool(ssl=client_tls, http2=True).get(f"{site.url}/told").version == (1, 1)  # it offers nothing else


def test_pool_offers_http2_with_its_own_context(make_pool: MakePool, site: Site) -> None:
    assert make_pool(http2=True, verify=False).get(f"{site.url}/told").version == (2, 0)
    assert make_pool(verify=False).get(f"{site.url}/told").version == (1, 1)


# responses that are not read to their ends


@pytest.mark.parametrize("how", ["closed", "forgotten", "read", "with"])
def test_streamed_response_holds_the_connection_until_nobody_wants_it(
    pool: HttpPool, site: Site, settled: Settled, how: str
) -> None:
    response = pool.get(f"{site.url}/half", stream=True)
    assert response.body.read(6) == b"first "
    assert pool.counts == (1, 0, 0)
    assert pool.get(f"{site.url}/told").status == 200  # on another stream
    if how == "closed":
        response.close()
    elif how == "with":
        with response:
            pass
    elif how == "read":
        site.held.set()
        assert response.body.read() == b"second"
    del response
    gc.collect()
    settled(pool, (0, 1, 0))
    assert pool.get(f"{site.url}/told").status == 200
    assert len(site.peers) == 1


@pytest.mark.parametrize("strike", [gevent.GreenletExit, gevent.Timeout], ids=lambda kind: kind.__name__)
def test_struck_greenlet_leaves_the_connection_to_others(
    pool: HttpPool, site: Site, settled: Settled, strike: type[BaseException]
) -> None:
    asking = gevent.spawn(pool.get, f"{site.url}/held")
    other = gevent.spawn(pool.get, f"{site.url}/half")
    with gevent.Timeout(GUARD):
        while len(site.asked) < 2:
            gevent.sleep(0.001)
    asking.kill(strike(), timeout=GUARD)
    site.held.set()
    assert other.get(timeout=GUARD).content == b"first second"
    settled(pool, (0, 1, 0))
    assert len(site.peers) == 1


def test_timeout_costs_its_request_alone(pool: HttpPool, site: Site, settled: Settled) -> None:
    for timeout in (0.05, 0.05):
        with pytest.raises(Timeout) as caught:
            pool.get(f"{site.url}/held", timeout=timeout)
        assert caught.value.phase == "read"
    assert pool.get(f"{site.url}/told").status == 200
    assert len(site.peers) == 1
    settled(pool, (0, 1, 0))


def test_stream_that_is_reset_raises_and_leaves_the_connection(converse: Any, pool: HttpPool, settled: Settled) -> None:
    def script(server: FrameServer) -> None:
        server.say(f.reset(server.request().stream, ErrorCode.INTERNAL_ERROR))
        stream = server.request().stream
        server.say(server.head(stream), server.data(stream, b"half"), f.reset(stream, ErrorCode.CANCEL))
        server.answer(server.request().stream, b"fine")
        server.rest()

    url = converse(script)
    with pytest.raises(StreamError) as caught:
        pool.get(url)
    assert caught.value.error_code == ErrorCode.INTERNAL_ERROR
    with pytest.raises(StreamError):
        pool.get(url)
    assert pool.get(url).content == b"fine"
    settled(pool, (0, 1, 0))


# servers that leave, refuse, or go


def test_leaving_server_is_asked_again_on_another_connection(converse: Any, pool: HttpPool) -> None:
    def leaving(server: FrameServer) -> None:
        server.answer(server.request().stream, b"first")
        server.request()
        server.say(f.goaway(1, 0))
        server.rest()

    url = converse(leaving, answering(b"second"))
    assert pool.get(url).content == b"first"
    assert pool.post(url, body=b"content").content == b"second"


def test_requests_under_way_are_answered_while_the_server_leaves(
    converse: Any, pool: HttpPool, settled: Settled
) -> None:
    def leaving(server: FrameServer) -> None:
        stream = server.request().stream
        server.say(f.goaway(stream, 0))
        assert replaced.wait(GUARD)
        server.answer(stream, b"old")
        server.rest()

    def fresh(server: FrameServer) -> None:
        stream = server.request().stream
        replaced.set()
        server.answer(stream, b"new")
        server.rest()

    replaced = Event()
    url = converse(leaving, fresh)
    old = gevent.spawn(pool.get, url)
    gevent.sleep(0.05)  # whenever the server has left: before or after, all is answered
    new = gevent.spawn(pool.get, url)
    assert old.get(timeout=GUARD).content == b"old"
    assert new.get(timeout=GUARD).content == b"new"
    settled(pool, (0, 1, 0))


def test_idle_connection_that_the_server_leaves_is_replaced(converse: Any, pool: HttpPool) -> None:
    def leaving(server: FrameServer) -> None:
        server.answer(server.request().stream, b"first")
        server.say(f.goaway(1, 0))
        left.set()

    left = Event()
    url = converse(leaving, answering(b"second"))
    assert pool.get(url).content == b"first"
    assert left.wait(GUARD)
    gevent.idle()
    assert pool.get(url).content == b"second"


def test_dead_connection_is_noticed_while_it_is_idle(
    converse: Any, pool: HttpPool, settled: Settled, monkeypatch: pytest.MonkeyPatch
) -> None:
    def closing(server: FrameServer) -> None:
        server.answer(server.request().stream, b"first")
        assert watched.wait(GUARD)

    monkeypatch.setattr("gruvihttp.pool.slots._LOOK_SECONDS", 0.01)
    watched = Event()
    url = converse(closing)
    assert pool.get(url).content == b"first"
    settled(pool, (0, 1, 0))
    gevent.sleep(0.05)
    watched.set()
    settled(pool, (0, 0, 0))


def test_refused_stream_is_asked_again_once(converse: Any, pool: HttpPool, settled: Settled) -> None:
    def refusing(server: FrameServer) -> None:
        for _ in range(2):
            server.say(f.reset(server.request().stream, ErrorCode.REFUSED_STREAM))
        server.answer(server.request().stream, b"fine")
        server.rest()

    url = converse(refusing)
    with pytest.raises(StreamError) as caught:
        pool.post(url, body=b"content")
    assert caught.value.retryable
    assert pool.get(url).content == b"fine"
    settled(pool, (0, 1, 0))


def test_body_that_cannot_be_sent_twice_is_sent_once(converse: Any, pool: HttpPool) -> None:
    def refusing(server: FrameServer) -> None:
        server.say(f.reset(server.request().stream, ErrorCode.REFUSED_STREAM))
        server.answer(server.request().stream, server.content(3))
        server.rest()

    url = converse(refusing)
    with pytest.raises(StreamError):
        pool.post(url, body=iter([b"content"]))
    assert pool.post(url, body=b"content").content == b"content"


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_lost_connection_that_had_worked_is_tried_again_if_that_is_safe(
    converse: Any, pool: HttpPool, method: str
) -> None:
    def closing(server: FrameServer) -> None:
        server.answer(server.request().stream, b"first")
        server.request()

    url = converse(closing, answering(b"second"))
    assert pool.get(url).content == b"first"
    if method == "GET":
        assert pool.get(url).content == b"second"
    else:
        with pytest.raises((HttpError, TransportError)):
            pool.post(url, body=b"content")


def test_new_connection_that_is_lost_is_an_error(converse: Any, pool: HttpPool, settled: Settled) -> None:
    url = converse(lambda server: server.request())
    with pytest.raises((HttpError, TransportError)):
        pool.get(url)
    settled(pool, (0, 0, 0))


# opening connections


def test_refused_connection_is_an_error_for_all_who_wait(make_pool: MakePool, serve: Any) -> None:
    peer = serve(lambda peer: None)
    port = peer.port
    peer.close()
    pool = make_pool(http2=True, verify=False)
    greenlets = [gevent.spawn(pool.get, f"https://127.0.0.1:{port}/") for _ in range(20)]
    gevent.joinall(greenlets, GUARD)
    assert all(isinstance(one.exception, TransportError) for one in greenlets)
    assert pool.counts == (0, 0, 0)


def test_waiting_for_somebody_elses_connection_ends_by_timeout_or_kill(
    make_pool: MakePool, serve: Any, settled: Settled
) -> None:
    peer = serve(lambda peer: peer.read_to_end())  # accepts, and never says anything in TLS
    pool = make_pool(http2=True, verify=False)
    url = f"https://127.0.0.1:{peer.port}/"
    first = gevent.spawn(pool.get, url, timeout=GUARD)
    peer.wait_for_connections()
    with pytest.raises(Timeout) as caught:
        pool.get(url, timeout=0.05)
    assert caught.value.phase == "pool"
    waiting = gevent.spawn(pool.get, url)
    gevent.idle()
    waiting.kill(timeout=GUARD)
    first.kill(timeout=GUARD)
    settled(pool, (0, 0, 0))
    assert len(peer.connections) == 1


def test_requests_wait_for_streams_and_not_for_connections(converse: Any, pool: HttpPool) -> None:
    def script(server: FrameServer) -> None:
        for _ in range(5):
            server.answer(server.request().stream, b"one at a time")
        server.rest()

    url = converse(script, settings=((MAX_CONCURRENT_STREAMS, 1),))
    greenlets = [gevent.spawn(pool.get, url) for _ in range(4)]
    gevent.joinall(greenlets, GUARD)
    # more than one may have left before the server could say that it takes one only; it has answered them all the same
    assert [one.value.content for one in greenlets] == [b"one at a time"] * 4
    assert pool.get(url).content == b"one at a time"


# the end of a pool


def test_closed_pool_says_good_bye(converse: Any, make_pool: MakePool, offering: ssl.SSLContext) -> None:
    def script(server: FrameServer) -> None:
        server.answer(server.request().stream, b"only")
        kinds.extend(frame.kind for frame in server.rest())
        over.set()

    kinds: list[str] = []
    over = Event()
    pool = make_pool(http2=True, ssl=offering)
    assert pool.get(converse(script)).content == b"only"
    pool.close()
    assert over.wait(GUARD)
    assert kinds[-1] == "GoAway"


def test_closed_pool_finishes_what_is_under_way_and_takes_nothing_new(pool: HttpPool, site: Site) -> None:
    response = pool.get(f"{site.url}/half", stream=True)
    pool.close()
    with pytest.raises(HttpError, match="closed"):
        pool.get(f"{site.url}/told")
    site.held.set()
    assert response.read() == b"first second"
    assert pool.counts == (0, 0, 0)


def test_pool_belongs_to_its_thread(pool: HttpPool, site: Site) -> None:
    pool.get(f"{site.url}/told")
    threads = gevent.get_hub().threadpool
    with pytest.raises(RuntimeError, match="belongs to the thread"):
        threads.apply(pool.get, (f"{site.url}/told",))


def test_child_of_a_fork_leaves_the_shared_connection_to_its_parent(pool: HttpPool, site: Site) -> None:
    response = pool.get(f"{site.url}/half", stream=True)
    shares = pool._courier._shares  # type: ignore[attr-defined]
    origin = destination_of(site.url).origin
    child = os.fork()
    if child == 0:
        os._exit(0 if shares.join(origin) is None else 1)
    assert os.waitpid(child, 0)[1] == 0
    site.held.set()
    assert response.read() == b"first second"
    assert pool.get(f"{site.url}/told").ok
    assert len(site.peers) == 1


# interruptions


def download(pool: HttpPool, url: str) -> None:
    assert len(pool.get(f"{url}/bytes?size=200000").content) == 200_000


def upload(pool: HttpPool, url: str) -> None:
    assert pool.post(f"{url}/echo", body=b"x" * 200_000).content == b"x" * 200_000


def stream(pool: HttpPool, url: str) -> None:
    with pool.get(f"{url}/bytes?size=200000", stream=True) as response:
        assert response.body.read(1000)


@pytest.mark.parametrize("error", STRIKES, ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("warm", [False, True], ids=["new", "used"])
@pytest.mark.parametrize("act", [download, upload, stream], ids=lambda act: act.__name__)
def test_struck_at_any_wait_the_books_of_the_pool_are_right(
    make_pool: MakePool,
    offering: ssl.SSLContext,
    site: Site,
    settled: Settled,
    act: Callable[[HttpPool, str], None],
    warm: bool,
    error: type[BaseException],
) -> None:
    for wait_number in range(200):
        pool = make_pool(1, http2=True, ssl=offering)  # so that a connection that is lost is missed at once
        if warm:
            assert pool.get(f"{site.url}/told").ok
        struck = strike_at(wait_number, error, lambda pool=pool: act(pool, site.url))  # type: ignore[misc]
        gc.collect()
        settled(pool, (0, min(pool.counts.idle + pool.counts.taken, 1), 0))
        assert pool.get(f"{site.url}/told").ok
        settled(pool, (0, 1, 0))
        pool.close()
        if not struck:
            return
    pytest.fail("there is no end of waits")


def test_proxy_carries_http2_in_a_tunnel(
    make_pool: MakePool, offering: ssl.SSLContext, site: Site, make_site: Callable[..., Site], serve: Any
) -> None:
    proxy = serve(tunnelling)
    pool = make_pool(http2=True, ssl=offering, proxy=proxy.address)
    for _ in range(3):
        assert pool.get(f"{site.url}/told").version == (2, 0)
    assert len(site.peers) == len(proxy.connections) == 1


def test_when_the_first_is_killed_while_it_connects_one_other_does(
    make_pool: MakePool, offering: ssl.SSLContext, site: Site, serve: Any
) -> None:
    silent = serve(RawPeer.read_to_end)
    made: list[Any] = []

    def address_of(origin: Any) -> Any:
        made.append(origin)
        return silent.address if len(made) == 1 else ("127.0.0.1", site.port)

    pool = make_pool(http2=True, ssl=offering, address_of=address_of)
    first = gevent.spawn(pool.get, site.url)
    others = [gevent.spawn(pool.get, site.url) for _ in range(5)]
    silent.wait_for_connections()
    first.kill()
    gevent.joinall(others, timeout=GUARD, raise_error=True)
    assert len(made) == 2
    assert pool.counts == (0, 1, 0)
