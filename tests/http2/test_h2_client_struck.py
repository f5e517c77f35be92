"""The HTTP/2 client is struck at each of its waits, one after the other: only the stream that was struck is lost."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from typing import Any

import gevent
import pytest
from striking import STRIKES, strike_at

from gruvihttp import Http2Client, HttpServer
from gruvihttp.limits import H2Limits

GUARD = 10.0
PIECE = bytes(range(256)) * 40


def application(environ: dict[str, Any], start_response: Any) -> Iterator[bytes]:
    content = environ["wsgi.input"]
    if environ["PATH_INFO"] == "/large":
        start_response("200 OK", [])
        for _ in range(4):
            yield PIECE
            gevent.sleep(0)
        return
    count = 0
    while piece := content.read1(65536):
        count += len(piece)
    start_response("200 OK", [])
    yield b"%d" % count


@pytest.fixture
def client() -> Iterator[Http2Client]:
    server = HttpServer(application, h2_limits=H2Limits(tokens=1_000_000, window_bytes=10_000, concurrent_streams=2))
    server.listen(("127.0.0.1", 0))
    with Http2Client(GUARD, window=65535) as client:
        client.connect(server.address, ssl=False)
        client.ping()
        yield client
    server.close(0)


def get(client: Http2Client) -> None:
    assert client.request("GET", "/large").getresponse().read() == PIECE * 4


def upload(client: Http2Client) -> None:
    assert client.request("POST", "/", [], PIECE * 5).getresponse().read() == b"51200"


def steps(client: Http2Client) -> None:
    request = client.request("POST", "/", body=None)
    for _ in range(5):
        request.write(PIECE)
    request.end_request([("x-some", "trailer")])
    assert request.getresponse().read() == b"51200"


def lines(client: Http2Client) -> None:
    response = client.request("GET", "/large").getresponse()
    while response.read1(1000):
        pass


def expecting(client: Http2Client) -> None:
    assert client.request("POST", "/", [], PIECE, expect=True).getresponse().read() == b"10240"


def waiting_for_a_slot(client: Http2Client) -> None:
    others = [client.request("POST", "/", body=None) for _ in range(2)]
    gevent.spawn(lambda: [other.end_request() for other in others])
    assert client.request("POST", "/", [], b"x").getresponse(GUARD)
    for other in others:
        other.getresponse().read()


ACTS: list[Callable[[Http2Client], None]] = [get, upload, steps, lines, expecting, waiting_for_a_slot]


@pytest.mark.parametrize("error", STRIKES, ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("act", ACTS, ids=lambda act: act.__name__)
def test_struck_at_any_wait_the_client_goes_on(
    client: Http2Client, act: Callable[[Http2Client], None], error: type[BaseException]
) -> None:
    for wait_number in range(200):
        struck = strike_at(wait_number, error, lambda: act(client))
        gc.collect()
        get(client)
        engine = client.protocol.connection.engine  # type: ignore[union-attr]
        with gevent.Timeout(GUARD):
            while engine.streams:
                gevent.sleep(0.001)
        assert engine.taken_slots == 0
        if not struck:
            return
    pytest.fail("there is no end of waits")
