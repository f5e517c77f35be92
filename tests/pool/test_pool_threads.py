"""Pools that nobody closes, in threads that end: what they have open goes with them."""

from __future__ import annotations

import gc
import ssl
import threading
from collections.abc import Callable, Iterator
from typing import Any

import gevent
import httpx
import pytest
import requests
from gevent.event import Event

import gruvihttp
from gruvihttp import HttpError, HttpPool
from gruvihttp.compat.httpx import HTTPTransport
from gruvihttp.compat.requests import HTTPAdapter

GUARD_SECONDS = 10.0


def run_in_thread(job: Callable[[], Any]) -> None:
    """Run it in a thread of the system, and wait for that one's end, while this thread's hub serves it."""
    loop = gevent.get_hub().loop
    over = Event()
    failures: list[BaseException] = []

    def run() -> None:
        try:
            job()
        except BaseException as exc:
            failures.append(exc)
        finally:
            loop.run_callback_threadsafe(over.set)

    thread = threading.Thread(target=run)
    with gevent.Timeout(GUARD_SECONDS, AssertionError("the thread does not end")):
        thread.start()
        over.wait()
    thread.join(GUARD_SECONDS)
    if failures:
        raise failures[0]


def destroy() -> None:
    gevent.get_hub().destroy()


def nothing() -> None:
    """Leave the hub to itself, as most do who do not know of it."""


@pytest.fixture(params=[nothing, destroy], ids=["hub_left", "hub_destroyed"])
def end(request: Any) -> Callable[[], None]:
    """What a thread does with its hub in the end."""
    chosen: Callable[[], None] = request.param
    return chosen


@pytest.fixture
def all_gone(site: Any) -> Iterator[Callable[[], None]]:
    """Waits until the site has no connection any more, without a hint to the garbage collector."""

    def wait() -> None:
        with gevent.Timeout(GUARD_SECONDS, AssertionError("connections stay open")):
            while site.server.connections:
                gevent.idle()

    gc.disable()
    yield wait
    gc.enable()


def by_function(site: Any) -> Callable[[], Any]:
    return lambda: gruvihttp.get(site.url)


def by_pool(site: Any) -> Callable[[], Any]:
    return lambda: HttpPool().get(site.url)


def by_requests(site: Any) -> Callable[[], Any]:
    session = requests.Session()
    session.mount("http://", HTTPAdapter())
    return lambda: session.get(site.url)


def by_httpx(site: Any) -> Callable[[], Any]:
    client = httpx.Client(transport=HTTPTransport())
    return lambda: client.get(site.url)


WAYS = [by_function, by_pool, by_requests, by_httpx]


@pytest.mark.parametrize("way", WAYS, ids=[way.__name__ for way in WAYS])
def test_idle_connections_of_a_thread_are_closed_when_it_ends(
    site: Any, end: Callable[[], None], all_gone: Callable[[], None], way: Callable[[Any], Callable[[], Any]]
) -> None:
    ask = way(site)

    def job() -> None:
        ask()
        end()

    for _ in range(3):
        run_in_thread(job)
    assert len(site.peers) == 3
    all_gone()


def test_idle_connections_that_are_watched_are_closed_when_their_thread_ends(
    site: Any, end: Callable[[], None], all_gone: Callable[[], None], monkeypatch: Any
) -> None:
    monkeypatch.setattr("gruvihttp.pool.slots._LOOK_SECONDS", 0.0)

    def job() -> None:
        gruvihttp.get(site.url)
        gevent.sleep(0.01)  # the hub looks after the idle ones meanwhile
        end()

    run_in_thread(job)
    all_gone()


@pytest.fixture
def contexts(authority: Any) -> list[ssl.SSLContext]:
    """For a server and its client, which agree on HTTP/2."""
    made = [ssl.create_default_context(purpose) for purpose in (ssl.Purpose.CLIENT_AUTH, ssl.Purpose.SERVER_AUTH)]
    authority.issue_cert("127.0.0.1").configure_cert(made[0])
    authority.configure_trust(made[1])
    for context in made:
        context.set_alpn_protocols(["h2"])
    return made


def test_shared_connections_of_a_thread_are_closed_when_it_ends(
    make_site: Any, contexts: list[ssl.SSLContext], end: Callable[[], None]
) -> None:
    site = make_site(context=contexts[0])
    of_thread = threading.local()

    def ask() -> None:
        of_thread.pool = HttpPool(ssl=contexts[1], http2=True)
        assert of_thread.pool.get(site.url).version == (2, 0)

    def job() -> None:
        ask()
        end()  # the errors by which a hub ends refer to this frame

    run_in_thread(job)
    with gevent.Timeout(GUARD_SECONDS, AssertionError("connections stay open")):
        while site.server.connections:
            gevent.idle()


@pytest.mark.parametrize("http2", [False, True], ids=["http1", "http2"])
def test_idle_connections_do_not_keep_the_loop_alive(
    make_site: Any, contexts: list[ssl.SSLContext], http2: bool, monkeypatch: Any
) -> None:
    """A script that ends with ``gevent.wait()`` ends when its work is done, not when the server loses patience."""
    monkeypatch.setattr("gruvihttp.pool.slots._LOOK_SECONDS", 0.01)
    site = make_site(context=contexts[0] if http2 else None)

    def job() -> None:
        pool = HttpPool(ssl=contexts[1], http2=http2)
        assert gevent.spawn(pool.get, site.url).get().ok
        assert gevent.wait(timeout=GUARD_SECONDS)
        assert pool.counts == (0, 1, 0)
        asking = gevent.spawn(pool.get, site.url + "/held")
        assert gevent.wait(timeout=GUARD_SECONDS)  # as long as somebody waits, the loop goes on
        assert asking.get(block=False).ok
        pool.close()

    def release() -> None:
        while len(site.asked) < 2:
            gevent.idle()
        site.held.set()

    gevent.spawn(release)
    run_in_thread(job)
    assert len(site.peers) == 1


def test_a_pool_that_is_forgotten_closes_its_idle_connections_at_once(
    site: Any, all_gone: Callable[[], None]
) -> None:
    HttpPool().get(site.url)
    all_gone()


def test_response_of_a_forgotten_pool_can_be_read(site: Any, all_gone: Callable[[], None]) -> None:
    response = HttpPool().get(site.url, stream=True)
    assert response.json()["method"] == "GET"
    del response
    all_gone()


def test_thread_goes_on_with_a_new_pool_after_it_has_destroyed_its_hub(
    site: Any, all_gone: Callable[[], None]
) -> None:
    def job() -> None:
        gruvihttp.get(site.url)
        destroy()
        assert gruvihttp.get(site.url).status == 200
        destroy()

    run_in_thread(job)
    assert len(site.peers) == 2
    all_gone()


def test_pool_can_be_closed_after_its_hub_was_destroyed(site: Any, all_gone: Callable[[], None]) -> None:
    def job() -> None:
        pool = HttpPool()
        pool.get(site.url)
        destroy()
        pool.close()

    run_in_thread(job)
    all_gone()


def test_pool_that_is_closed_by_another_thread_is_closed_in_its_own(
    site: Any, all_gone: Callable[[], None], make_pool: Any
) -> None:
    pool = make_pool()
    pool.get(site.url)
    closers: list[int] = []
    (connection,) = (slot.connection for slot in pool._slots._idle)
    connection.transport.on_close = lambda _: closers.append(threading.get_ident())
    run_in_thread(pool.close)
    all_gone()
    assert closers == [threading.get_ident()]
    with pytest.raises(HttpError, match="the pool is closed"):
        pool.get(site.url)


def test_client_can_be_closed_after_its_hub_was_destroyed(site: Any, all_gone: Callable[[], None]) -> None:
    def job() -> None:
        client = gruvihttp.HttpClient()
        client.connect(("127.0.0.1", site.port))
        client.request("GET", "/")
        client.getresponse().read()
        destroy()
        client.close()

    run_in_thread(job)
    all_gone()
