"""Whatever strikes a request, wherever it waits: no connection is lost, and the next request gets its own answer."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from typing import Any

import gevent
import pytest
from gevent import GreenletExit
from relays import tunnelling
from striking import STRIKES, strike_at

from gruvihttp import Error, HttpPool, Timeouts
from gruvihttp.testing import RawPeer

GUARD_SECONDS = 10.0


def pieces() -> Iterator[bytes]:
    for _ in range(3):
        yield b"piece"
        gevent.sleep(0)


def get(pool: HttpPool, url: str) -> None:
    assert pool.get(url + "/told?mine").json()["target"] == "/told?mine"


def upload(pool: HttpPool, url: str) -> None:
    assert pool.post(url + "/told", body=pieces()).json()["content"] == "piece" * 3


def large_upload(pool: HttpPool, url: str) -> None:
    assert len(pool.post(url + "/echo", body=b"x" * 3_000_000).content) == 3_000_000


def expecting(pool: HttpPool, url: str) -> None:
    assert pool.put(url + "/told", body=b"1", expect=5).ok


def stream(pool: HttpPool, url: str) -> None:
    with pool.get(url + "/bytes?size=500000", stream=True) as response:
        assert sum(map(len, response.iter_content())) == 500_000


def close_early(pool: HttpPool, url: str) -> None:
    with pool.get(url + "/bytes?size=200000", stream=True) as response:
        response.read(150_000)


def forget(pool: HttpPool, url: str) -> None:
    pool.get(url + "/bytes?size=500000", stream=True).read(10)


def redirect(pool: HttpPool, url: str) -> None:
    assert pool.get(url + "/redirect?to=/told").json()["target"] == "/told"


def decode(pool: HttpPool, url: str) -> None:
    assert len(pool.get(url + "/gzip?times=100000").content) == 600_000


def with_a_deadline(pool: HttpPool, url: str) -> None:
    assert pool.get(url + "/bytes?size=100000", timeout=Timeouts(total=10)).content == b"x" * 100_000


ACTIONS = [get, upload, large_upload, expecting, stream, close_early, forget, redirect, decode, with_a_deadline]


@pytest.mark.parametrize("error", STRIKES)
@pytest.mark.parametrize("warm", [pytest.param(False, id="new"), pytest.param(True, id="reused")])
@pytest.mark.parametrize("action", ACTIONS, ids=lambda action: action.__name__)
def test_struck_at_each_wait_in_turn(
    site: Any, make_pool: Any, settled: Callable[..., None], action: Any, warm: bool, error: type[BaseException]
) -> None:
    wait_number = 0
    goes_on = True
    while goes_on:
        pool = make_pool(1)  # so that a connection that is lost is missed at once
        if warm:
            get(pool, site.url)
        goes_on = strike_at(wait_number, error, lambda pool=pool: action(pool, site.url))  # type: ignore[misc]
        settled(pool, (0, min(pool.counts.idle, 1), 0))
        get(pool, site.url)
        assert pool.counts == (0, 1, 0)
        pool.close()
        wait_number += 1
    assert wait_number > 1, "it has never waited"


@pytest.mark.parametrize("error", STRIKES)
def test_struck_while_it_waits_for_its_turn(
    site: Any, make_pool: Any, settled: Callable[..., None], error: type[BaseException]
) -> None:
    pool = make_pool(1)
    response = pool.get(site.url + "/half", stream=True)
    assert strike_at(0, error, lambda: get(pool, site.url))
    assert pool.counts == (1, 0, 0)
    site.held.set()
    assert response.content == b"first second"
    get(pool, site.url)
    assert pool.counts == (0, 1, 0)


@pytest.mark.parametrize("error", [gevent.Timeout, GreenletExit])
def test_struck_during_a_tls_handshake(
    make_site: Any, make_pool: Any, server_tls: Any, client_tls: Any, error: type[BaseException]
) -> None:
    site = make_site(context=server_tls)
    wait_number = 0
    goes_on = True
    while goes_on:
        pool = make_pool(1, ssl=client_tls)
        goes_on = strike_at(wait_number, error, lambda pool=pool: get(pool, site.url))  # type: ignore[misc]
        get(pool, site.url)
        assert pool.counts == (0, 1, 0)
        wait_number += 1
    assert wait_number > 2


@pytest.mark.parametrize("error", STRIKES)
def test_struck_at_each_wait_of_a_tunnel(
    make_site: Any, serve: Any, make_pool: Any, server_tls: Any, client_tls: Any, error: type[BaseException]
) -> None:
    """Connecting to the proxy, its answer, the handshake through it, and the request."""
    site = make_site(context=server_tls)
    proxy = serve(tunnelling)
    wait_number = 0
    goes_on = True
    while goes_on:
        pool = make_pool(1, ssl=client_tls, proxy=("127.0.0.1", proxy.port))
        goes_on = strike_at(wait_number, error, lambda pool=pool: get(pool, site.url))  # type: ignore[misc]
        get(pool, site.url)
        assert pool.counts == (0, 1, 0)
        pool.close()
        wait_number += 1
    assert wait_number > 3


def test_callers_timeout_is_honoured_and_not_repeated(site: Any, pool: HttpPool) -> None:
    get(pool, site.url)
    with pytest.raises(gevent.Timeout) as caught, gevent.Timeout(0.05) as mine:
        pool.get(site.url + "/held")
    assert caught.value is mine
    assert site.targets.count("GET /held") == 1
    assert pool.counts == (0, 0, 0)


def slow_answers(peer: RawPeer) -> None:
    """Answers with the target, in pieces, and is sometimes slow."""
    chance = random.Random(peer.channel.fileno())
    while (head := peer.read_until()).endswith(b"\r\n\r\n"):
        target = head.split()[1]
        size = int(head.partition(b"Content-Length: ")[2].partition(b"\r\n")[0] or b"0")
        peer.read(size)
        content = target * chance.choice([1, 1, 1, 1000])
        said = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(content), content)
        cut = chance.randrange(len(said))
        peer.send(said[:cut])
        for _ in range(chance.choice([0, 0, 1, 3])):
            gevent.sleep(0)
        peer.send(said[cut:])


@pytest.mark.timeout(180)
def test_ten_thousand_kills_and_timeouts_lose_no_connection(serve: Any, make_pool: Any) -> None:
    peers = [serve(slow_answers) for _ in range(3)]
    chance = random.Random(1)
    pool: HttpPool = make_pool(4, 8, timeout=GUARD_SECONDS)
    answered = 0
    strikes = 0

    def ask(number: int) -> None:
        nonlocal answered, strikes
        target = f"/{number}"
        url = f"http://127.0.0.1:{chance.choice(peers).port}{target}"
        timer = gevent.Timeout(chance.choice([None, None, 0.0005, 0.002]))
        timer.start()
        try:
            response = pool.request(
                chance.choice(["GET", "PUT"]),
                url,
                stream=chance.random() < 0.5,
                body=b"x" * chance.choice([0, 10, 5000]),
                timeout=chance.choice([GUARD_SECONDS, 0.001]),
            )
            if chance.random() < 0.7:
                assert set(response.content.decode().split("/")) == {"", str(number)}
                answered += 1
            elif chance.random() < 0.5:
                response.close()
        except gevent.Timeout as exc:
            assert exc is timer
            strikes += 1
        except GreenletExit:
            strikes += 1
            raise
        except Error:
            strikes += 1
        finally:
            timer.close()

    running: list[Any] = []
    number = 0
    while strikes < 10_000:
        while len(running) < 40:
            number += 1
            running.append(gevent.spawn(ask, number))
        gevent.sleep(0)
        for victim in chance.sample(running, chance.randrange(6)):
            victim.kill(block=False)
        gevent.joinall([one for one in running if one.dead], raise_error=True)
        running = [one for one in running if not one.dead]
    gevent.joinall(running, timeout=GUARD_SECONDS, raise_error=True)
    assert answered > 100
    gevent.idle()  # what was forgotten is dropped in the hub
    taken, idle, waiting = pool.counts
    assert (taken, waiting) == (0, 0)
    assert 0 <= idle <= 8
    greenlets = [gevent.spawn(pool.get, f"http://127.0.0.1:{peer.port}/last") for peer in peers for _ in range(20)]
    gevent.joinall(greenlets, timeout=GUARD_SECONDS, raise_error=True)
    assert {one.get().text.replace("/last", "") for one in greenlets} == {""}
    pool.close()
    assert pool.counts == (0, 0, 0)
