"""Much at once over one HTTP/2 connection between our client and our server: uploads, downloads, kills, timeouts.

Both engines are looked at from inside at the end: every stream gone, every window as wide as at the beginning, and what
one side believes that it may send is what the other is ready to receive.
"""

from __future__ import annotations

import gc
import random
import tracemalloc
from collections.abc import Callable, Iterator
from typing import Any

import gevent
import pytest
from gevent.event import Event

from gruvihttp import Http2Client, HttpServer, StreamError, Timeout, Timeouts
from gruvihttp.limits import H2Limits

GUARD = 30.0
PIECE = bytes(range(256)) * 40  # 10,240 bytes


class Site:
    """Takes content and gives content, in pieces; /wait does so when it may."""

    def __init__(self) -> None:
        self.opened = Event()

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Any:
        start_response("200 OK", [])
        return getattr(self, environ["PATH_INFO"].strip("/"))(environ["wsgi.input"])

    def echo(self, content: Any) -> Iterator[bytes]:
        while piece := content.read1(65536):
            yield piece

    def count(self, content: Any) -> Iterator[bytes]:
        count = 0
        while piece := content.read1(65536):
            count += len(piece)
        yield b"%d" % count

    def large(self, content: Any) -> Iterator[bytes]:
        for _ in range(30):
            yield PIECE

    def huge(self, content: Any) -> Iterator[bytes]:
        for _ in range(128):
            yield bytes(65536)

    def fail(self, content: Any) -> Iterator[bytes]:
        yield content.read1(10)
        raise gevent.GreenletExit

    def wait(self, content: Any) -> Iterator[bytes]:
        assert self.opened.wait(GUARD)
        yield content.read()


@pytest.fixture
def site() -> Site:
    return Site()


@pytest.fixture
def pair(site: Site) -> Iterator[Callable[..., tuple[Http2Client, HttpServer]]]:
    """A client and the server that it is connected to."""
    made: list[Any] = []

    def make(server_window: int = 65536, **options: Any) -> tuple[Http2Client, HttpServer]:
        server = HttpServer(site, h2_limits=H2Limits(tokens=1_000_000, window_bytes=server_window))
        server.listen(("127.0.0.1", 0))
        client = Http2Client(GUARD, **options)
        client.connect(server.address, ssl=False)
        made.extend((client, server))
        return client, server

    yield make
    site.opened.set()
    for one in made:
        one.close()


def engines(client: Http2Client, server: HttpServer) -> tuple[Any, Any]:
    [(_, protocol)] = server.connections
    return client.protocol.connection.engine, protocol._server.engine  # type: ignore[union-attr,attr-defined]


def await_rest(client: Http2Client, server: HttpServer) -> None:
    """Wait until nothing is left over, at either end."""
    ours, theirs = engines(client, server)
    with gevent.Timeout(GUARD):
        while any(end.streams or end.taken_slots for end in (ours, theirs)) or not windows_agree(ours, theirs):
            gevent.sleep(0.01)
    for engine in (ours, theirs):
        connection = engine.connection
        assert connection.recv_window + connection.credited == connection.window_bytes


def windows_agree(one: Any, other: Any) -> bool:
    return bool(
        one._sender.window == other.connection.recv_window and other._sender.window == one.connection.recv_window
    )


class Greedy:
    """One greenlet that makes requests of all sorts, and gives some of them up."""

    def __init__(self, client: Http2Client, seed: int) -> None:
        self._client = client
        self._random = random.Random(seed)
        self.done = 0

    def run(self) -> None:
        acts = [self.echo, self.steps, self.download, self.close_early, self.forget, self.hurry, self.fail, self.total]
        for _ in range(6):
            self._random.choice(acts)()
            self.done += 1

    def content(self) -> bytes:
        return self._random.randbytes(self._random.randrange(1, 150_000))

    def echo(self) -> None:
        content = self.content()
        if len(content) > 60_000:  # an echo whose answer nobody reads stops when the window is full
            content = content[:60_000]
        assert self._client.request("POST", "/echo", [], content).getresponse().read() == content

    def steps(self) -> None:
        content = self.content()
        request = self._client.request("POST", "/count", body=None)
        for start in range(0, len(content), 7000):
            request.write(content[start : start + 7000])
        request.end_request([("x-some", "trailer")])
        assert request.getresponse().read() == b"%d" % len(content)

    def download(self) -> None:
        response = self._client.request("GET", "/large").getresponse()
        assert response.read() == PIECE * 30

    def close_early(self) -> None:
        response = self._client.request("GET", "/large").getresponse()
        response.read(self._random.randrange(1000))
        response.close()

    def forget(self) -> None:
        self._client.request("GET", "/large").getresponse().read1()

    def hurry(self) -> None:
        with gevent.Timeout(self._random.random() * 0.02, False):  # type: ignore[arg-type]
            self._random.choice([self.echo, self.steps, self.download])()

    def total(self) -> None:
        timeouts = Timeouts(total=self._random.random() * 0.02)
        try:
            self._client.request("POST", "/count", [], self.content(), timeout=timeouts).getresponse().read()
        except Timeout as exc:
            assert exc.phase == "total"

    def fail(self) -> None:
        with pytest.raises(StreamError):
            self._client.request("POST", "/fail", [], self.content()).getresponse().read()


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("window", [65535, 1 << 20], ids=["64 KiB", "1 MiB"])
def test_fifty_greedy_greenlets_leave_nothing_behind(pair: Any, seed: int, window: int) -> None:
    client, server = pair(window=window)
    rng = random.Random(seed)
    run_greedy(client, rng)
    gc.collect()  # what struck greenlets held
    assert client.request("GET", "/large").getresponse().read() == PIECE * 30
    await_rest(client, server)


def run_greedy(client: Http2Client, rng: random.Random) -> None:
    greedy = [Greedy(client, rng.randrange(1 << 30)) for _ in range(50)]
    greenlets = [gevent.spawn(one.run) for one in greedy]
    killed = rng.sample(greenlets, 15)
    for victim in killed:
        gevent.sleep(rng.random() * 0.005)  # anywhere in what it does
        victim.kill(rng.choice([gevent.GreenletExit, gevent.Timeout])(), block=False)
    assert len(gevent.joinall(greenlets, GUARD)) == len(greenlets)
    for greenlet in greenlets:
        if greenlet not in killed and greenlet.exception is not None:
            raise greenlet.exception
    assert sum(one.done for one in greedy) > 6 * 30


# much in little memory


@pytest.mark.parametrize("window", [65536, 1 << 20], ids=["64 KiB", "1 MiB"])
def test_download_takes_no_more_memory_than_its_window(pair: Any, window: int) -> None:
    client, server = pair(window=window)
    tracemalloc.start()
    try:
        response = client.request("GET", "/huge").getresponse()
        gevent.sleep(0.01)  # as much comes as may
        received = 0
        while piece := response.read1():
            received += len(piece)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert received == 128 * 65536
    assert peak < 2 * window + 2_000_000  # the server's share is in this process, too
    await_rest(client, server)


@pytest.mark.parametrize("window", [65536, 1 << 20], ids=["64 KiB", "1 MiB"])
def test_upload_takes_little_memory(pair: Any, window: int) -> None:
    client, server = pair(server_window=window)
    body = (bytes(65536) for _ in range(128))
    tracemalloc.start()
    try:
        assert client.request("POST", "/count", [], body).getresponse().read() == b"%d" % (128 * 65536)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 2 * window + 2_000_000
    await_rest(client, server)


def test_hundred_uploads_and_downloads_side_by_side(pair: Any) -> None:
    def upload(number: int) -> None:
        size = 50_000 + number
        assert client.request("POST", "/count", [], bytes(size)).getresponse().read() == b"%d" % size

    def download() -> None:
        assert client.request("GET", "/large").getresponse().read() == PIECE * 30

    client, server = pair()
    greenlets = [gevent.spawn(upload, number) for number in range(100)]
    greenlets += [gevent.spawn(download) for _ in range(30)]
    gevent.joinall(greenlets, GUARD, raise_error=True)
    await_rest(client, server)


def test_both_directions_at_full_speed_with_small_windows(pair: Any) -> None:
    def write() -> None:
        for _ in range(100):
            request.write(PIECE * 4)
        request.end_request()

    client, server = pair(window=65535)
    request = client.request("POST", "/echo", body=None)
    writing = gevent.spawn(write)
    response = request.getresponse()
    assert response.read() == PIECE * 400
    writing.get(timeout=GUARD)
    await_rest(client, server)


def test_neither_side_reads_and_both_go_on_when_they_do(pair: Any, site: Site) -> None:
    """Applications that do not read, and users that do not: nothing is stuck but those streams."""
    client, server = pair(window=65535)
    uploads = [gevent.spawn(lambda: client.request("POST", "/wait", [], bytes(100_000))) for _ in range(20)]
    downloads = [client.request("GET", "/large").getresponse() for _ in range(20)]
    assert client.ping() > 0
    assert client.request("POST", "/count", [], b"through").getresponse().read() == b"7"
    assert not any(one.ready() for one in uploads)
    site.opened.set()
    gevent.joinall(uploads, GUARD, raise_error=True)
    assert [one.value.getresponse().read() for one in uploads] == [bytes(100_000)] * 20
    assert [response.read() for response in downloads] == [PIECE * 30] * 20
    await_rest(client, server)


def test_slow_response_does_not_hold_up_fast_ones(pair: Any, site: Site) -> None:
    client, server = pair()
    slow = client.request("GET", "/wait")
    for _ in range(20):
        assert client.request("POST", "/count", [], b"x").getresponse().read() == b"1"
    site.opened.set()
    assert slow.getresponse().read() == b""
    await_rest(client, server)
