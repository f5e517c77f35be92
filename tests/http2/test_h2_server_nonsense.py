"""Frames at random, most of them sensible: whatever comes, a server goes on serving others, and nothing is left."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import gevent
import hpack
import pytest
from hub_reports import nothing_is_reported  # noqa: F401  # a fixture

from gruvihttp.errors import TransportError
from gruvihttp.limits import H2Limits, Timeouts
from gruvihttp.sansio import frames as f
from gruvihttp.server import HttpServer
from gruvihttp.testing import RawPeer

GUARD = 10.0
NAMES = [b":method", b":path", b":scheme", b":authority", b":protocol", b"x", b"content-length", b"te", b"cookie", b"X"]
VALUES = [b"GET", b"POST", b"CONNECT", b"/", b"http", b"a", b"websocket", b"0", b"5", b"trailers", b"", b"\n"]
USUAL = [(b":method", b"POST"), (b":scheme", b"http"), (b":authority", b"a"), (b":path", b"/")]


def site(environ: dict[str, Any], start_response: Any) -> Any:
    """Answers some of the content as it comes, and the rest at the end."""
    start_response("200 OK", [])
    content = environ["wsgi.input"]
    yield content.read1(100)
    yield content.read(1000)


@pytest.fixture
def server() -> Iterator[HttpServer]:
    limits = H2Limits(tokens=100_000, concurrent_streams=20)
    server = HttpServer(site, h2_limits=limits, timeouts=Timeouts(head=0.3, content=0.3, write=0.3, linger=0.3))
    server.listen(("127.0.0.1", 0))
    yield server
    server.close(timeout=0)


class Nonsense:
    """What a client says that has lost its mind, but not entirely."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.next_id = 1
        self.open: list[int] = []  # what has not ended; a mistake about that would be the end of the connection
        self.encoder = hpack.Encoder()

    def wire(self, count: int) -> bytes:
        makers = [self.begin] * 4 + [self.data] * 4
        makers += [self.trailers, self.update, self.reset, self.settings, self.ping, self.anything]
        return b"".join(self.rng.choice(makers)() for _ in range(count))

    def some_id(self) -> int:
        return self.rng.choice([max(1, self.next_id - 2 * self.rng.randrange(1, 6)), self.next_id, 0, 2])

    def open_id(self) -> int:
        return self.rng.choice(self.open or [max(1, self.next_id - 2)])

    def begin(self) -> bytes:
        fields = list(USUAL)
        if self.rng.random() < 0.3:
            fields.append((self.rng.choice(NAMES), self.rng.choice(VALUES)))
        if self.rng.random() < 0.1:
            self.rng.shuffle(fields)
        ends = self.rng.random() < 0.3
        if not ends:
            self.open = [*self.open[-5:], self.next_id]
        self.next_id += 2
        flags = f.END_HEADERS | (f.END_STREAM if ends else 0)
        return f.frame(f.HEADERS, flags, self.next_id - 2, self.encoder.encode(fields))

    def data(self) -> bytes:
        if not self.open:
            return self.begin()
        stream = self.open_id()
        ends = self.rng.random() < 0.3
        if ends:
            self.open.remove(stream)
        return f.frame(f.DATA, f.END_STREAM if ends else 0, stream, bytes(self.rng.randrange(3000)))

    def trailers(self) -> bytes:
        if not self.open:
            return self.begin()
        stream = self.open.pop()
        return f.frame(f.HEADERS, f.END_HEADERS | f.END_STREAM, stream, self.encoder.encode([(b"x", b"y")]))

    def update(self) -> bytes:
        return f.window_update(self.rng.choice([0, self.open_id()]), self.rng.choice([1, 100, 65536]))

    def reset(self) -> bytes:
        stream = self.open_id()
        if stream in self.open:
            self.open.remove(stream)
        return f.reset(stream, self.rng.randrange(16))

    def settings(self) -> bytes:
        return f.settings([(4, self.rng.choice([0, 10, 65535, 1 << 20])), (3, 5)])

    def ping(self) -> bytes:
        return f.ping(self.rng.randbytes(8))

    def anything(self) -> bytes:
        if self.rng.random() < 0.98:
            return f.frame(0x77, 0xFF, self.rng.randrange(100), b"unknown")
        return f.frame(
            self.rng.randrange(10), self.rng.randrange(256), self.some_id(), self.rng.randbytes(self.rng.randrange(20))
        )


@pytest.mark.parametrize("seed", range(25))
def test_nonsense_harms_nobody_else(server: HttpServer, talking: Any, seed: int) -> None:
    nonsense = Nonsense(seed)
    peer = RawPeer.connect(server.address)
    peer.send(f.PREFACE + f.settings([]) + f.frame(f.SETTINGS, f.ACK, 0) + nonsense.begin())
    try:
        for _ in range(40):
            peer.send(nonsense.wire(10))
            gevent.idle()
    except TransportError:  # it has heard enough
        pass
    talk = talking(server.address)
    stream = talk.begin("/", method="POST", end=False)
    talk.data(stream, b"content", end=True)
    assert talk.answer(stream) == ("200", b"content")
    peer.close()
    talk.peer.close()
    with gevent.Timeout(GUARD):
        while server.connections or server.stats()["active_requests"]:
            gevent.sleep(0.005)
