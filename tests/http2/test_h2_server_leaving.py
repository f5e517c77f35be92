"""HTTP/2 while a server leaves: connections end between two requests, and whoever comes is served."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import gevent
import httpx
import pytest
from gevent.event import Event

from gruvihttp.server import HttpServer

GUARD = 10.0


class Site:
    """A server whose requests for /slow wait until they may go on."""

    def __init__(self) -> None:
        self.entered, self.may_go_on = Event(), Event()
        self.server = HttpServer(self)
        self.server.listen(("127.0.0.1", 0))

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
        if environ["PATH_INFO"] == "/slow":
            self.entered.set()
            assert self.may_go_on.wait(GUARD)
        start_response("200 OK", [])
        return [environ["PATH_INFO"].encode()]

    def leave(self) -> None:
        gevent.spawn(self.server.leave, 3600.0)
        gevent.idle()


@pytest.fixture
def site() -> Iterator[Site]:
    site = Site()
    yield site
    site.may_go_on.set()
    site.server.close(0)


@pytest.mark.parametrize("begins", ["before", "after"])
def test_connection_ends_behind_its_next_answer(site: Site, talking: Any, begins: str) -> None:
    talk = None
    if begins == "before":
        talk = talking(site.server.address)
        assert talk.get("/before") == ("200", b"/before")
    site.leave()
    talk = talk or talking(site.server.address)
    assert talk.get("/after") == ("200", b"/after")
    talk.hear_until_the_end()
    assert set(talk.goaways) == {0}


def test_nothing_is_said_while_a_stream_is_open(site: Site, talking: Any) -> None:
    talk = talking(site.server.address)
    slow = talk.begin("/slow")
    assert site.entered.wait(GUARD)
    site.leave()
    assert [talk.get(f"/{number}") for number in range(3)] == [("200", b"/%d" % number) for number in range(3)]
    assert talk.goaways == []  # there are clients that would give up the slow one
    site.may_go_on.set()
    assert talk.answer(slow) == ("200", b"/slow")
    talk.hear_until_the_end()
    assert set(talk.goaways) == {0}


def test_client_of_the_h2_library_loses_no_request(site: Site) -> None:
    """It takes nothing behind a GOAWAY, so there must be one only, and no PING."""
    address = site.server.address
    site.leave()

    def ask(client: httpx.Client) -> list[str]:
        return [client.get(f"http://127.0.0.1:{address[1]}/{number}").text for number in range(20)]

    with httpx.Client(http1=False, http2=True, timeout=GUARD) as client:
        assert gevent.get_hub().threadpool.apply(ask, (client,)) == [f"/{number}" for number in range(20)]
    assert site.server.accepted > 1


def test_connection_on_which_nothing_is_asked_stays_until_the_server_drains(site: Site, talking: Any) -> None:
    asked, silent = talking(site.server.address), talking(site.server.address)
    assert asked.get("/before") == ("200", b"/before")
    silent.hear()  # SETTINGS, so it is known to speak HTTP/2
    site.leave()
    assert (asked.goaways, silent.goaways, len(site.server.connections)) == ([], [], 2)
    site.server.drain()
    for talk in (asked, silent):
        talk.hear_until_the_end()
    assert site.server.join(GUARD)


def test_stream_that_its_client_gives_up_does_not_hold_the_connection(site: Site, talking: Any) -> None:
    talk = talking(site.server.address, window=0)
    refused = talk.begin("/", ("expect", "a miracle"))
    talk.hear_until(lambda: refused in talk.heads)  # its content cannot leave, and no handler waits for that
    site.server.drain()
    talk.hear_until(lambda: len(talk.goaways) == 2)
    talk.reset(refused)
    talk.hear_until_the_end()
