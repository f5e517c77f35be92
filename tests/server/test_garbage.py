"""What requests and connections leave behind: nothing that only the garbage collector could take away."""

from __future__ import annotations

import gc
import weakref
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import gevent
import pytest

from gruvihttp import Http2Client
from gruvihttp.limits import Limits
from gruvihttp.sansio.content import ChunkedDecoder

REQUESTS = 60


def application(environ: Any, start_response: Any) -> Any:
    """Reads what it is sent, and says how much that was."""
    content = environ["wsgi.input"].read()
    if environ["PATH_INFO"] == "/fails":
        raise ValueError("as it was told to")
    start_response("200 OK", [])
    text = b"%d" % len(content)
    return (piece for piece in (text, text)) if environ["PATH_INFO"] == "/pieces" else [text]


@pytest.fixture
def garbage_of() -> Iterator[Callable[[Callable[[], object]], set[type]]]:
    """The types of ours of which a function leaves one for each request to the garbage collector.

    A few of what earlier tests have left may come to an end meanwhile.
    """

    def garbage_of(function: Callable[[], object]) -> set[type]:
        for _ in range(20):  # what a finalizer has held on to goes in another round
            if not gc.collect():
                break
            gevent.idle()
        gc.disable()
        gc.set_debug(gc.DEBUG_SAVEALL)
        function()
        gc.collect()
        found = Counter(type(thing) for thing in gc.garbage if type(thing).__module__.startswith("gruvihttp"))
        return {kind for kind, count in found.items() if count >= REQUESTS // 2}

    yield garbage_of
    gc.set_debug(0)
    gc.garbage.clear()
    gc.enable()


MESSAGES = {
    "get": b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
    "head": b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n",
    "pieces": b"GET /pieces HTTP/1.1\r\nHost: a\r\n\r\n",
    "failing": b"GET /fails HTTP/1.1\r\nHost: a\r\n\r\n",
    "announced": b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc",
    "chunked": b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
}


@pytest.mark.parametrize("message", MESSAGES.values(), ids=MESSAGES)
def test_request_leaves_no_circles(serve: Any, garbage_of: Any, message: bytes) -> None:
    talk = serve(application).connect()

    def ask() -> None:
        for _ in range(REQUESTS):
            talk.ask(message)

    ask()
    assert garbage_of(ask) == set()


def test_request_over_http2_leaves_no_circles(serve: Any, speak_http2: Any, garbage_of: Any) -> None:
    streams = speak_http2(serve(application).server.address)

    def ask() -> None:
        for number in range(REQUESTS):
            streams.get("/pieces" if number % 2 else "/")

    ask()
    assert garbage_of(ask) == set()


CONNECTIONS = {
    "silent": b"",
    "kept": MESSAGES["get"],
    "closed by us": b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
    "refused": b"GET\r\n\r\n",
    "announced": MESSAGES["announced"],
    "cut short": MESSAGES["announced"][:-1],
}


@pytest.mark.parametrize("with_tls", [False, True], ids=["plain", "TLS"])
@pytest.mark.parametrize("message", CONNECTIONS.values(), ids=CONNECTIONS)
def test_connection_leaves_no_circles(
    serve: Any, garbage_of: Any, until: Any, message: bytes, with_tls: bool, server_tls: Any, client_tls: Any
) -> None:
    served = serve(application, ssl=server_tls if with_tls else False)

    def connect() -> None:
        for _ in range(REQUESTS):
            talk = served.connect(client_tls if with_tls else None)
            talk.say(message)
            talk.channel.shutdown_write()
            talk.read_to_end()
            talk.close()
        served.talks.clear()
        del talk
        until(lambda: not served.server.connections)

    connect()
    assert garbage_of(connect) == set()


def test_connection_over_http2_leaves_no_circles(serve: Any, speak_http2: Any, garbage_of: Any, until: Any) -> None:
    served = serve(application)

    def connect() -> None:
        for _ in range(REQUESTS):
            streams = speak_http2(served.server.address)
            streams.get("/pieces")
            streams.peer.close()
        until(lambda: not served.server.connections)

    connect()
    assert garbage_of(connect) == set()


def test_connection_that_breaks_does_not_hold_what_was_not_sent(serve: Any, until: Any) -> None:
    """Nor the environ: that goes when its request does, and no garbage collector has to come by."""

    class Watched:
        """In environ, to see when that goes."""

    seen: list[weakref.ref[Watched]] = []

    def flooding(environ: Any, start_response: Any) -> Any:
        environ["watched"] = watched = Watched()
        seen.append(weakref.ref(watched))
        start_response("200 OK", [])
        return (bytes(60_000) for _ in range(1000))

    talk = serve(flooding).connect()
    gc.collect()
    gc.disable()
    try:
        talk.say(MESSAGES["get"])
        talk.read_until()
        talk.reset()
        until(lambda: seen[0]() is None)
    finally:
        gc.enable()


def test_client_over_http2_leaves_no_circles(serve: Any, garbage_of: Any) -> None:
    with Http2Client(timeout=10) as client:
        client.connect(serve(application).server.address, ssl=False)

        def ask() -> None:
            for _ in range(REQUESTS):
                client.request("POST", "/", body=b"abc")
                assert client.getresponse().read() == b"3"

        ask()
        assert garbage_of(ask) == set()


def test_the_decoder_of_chunks_does_not_hold_itself(garbage_of: Any) -> None:
    def make() -> None:
        for _ in range(REQUESTS):
            ChunkedDecoder(Limits(), tolerant_of_lf=False, strict=True)

    assert garbage_of(make) == set()
