"""Many streams of one connection at once, and what others have stumbled over: nothing waits for ever, nothing is lost.

The client is the h2 package. The server's engine is looked at from inside at the end: every stream gone, every window
as wide as at the beginning.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable
from functools import partial
from typing import Any

import gevent
import pytest
from gevent.event import Event

from gruvihttp.limits import H2Limits
from gruvihttp.sansio import frames as f
from gruvihttp.server import HttpServer

GUARD = 10.0


class Site:
    """Takes content and gives content, in pieces, and sometimes gives up; /wait does nothing until it may."""

    def __init__(self) -> None:
        self.opened = Event()
        self.waiting = 0

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Any:
        handler = getattr(self, environ["PATH_INFO"].strip("/"))
        return handler(environ, start_response)

    def echo(self, environ: Any, start_response: Any) -> Any:
        start_response("200 OK", [])
        content = environ["wsgi.input"]
        while piece := content.read1(10_000):
            yield piece

    def digest(self, environ: Any, start_response: Any) -> Any:
        content, digest = environ["wsgi.input"], hashlib.sha256()
        while piece := content.read1():
            digest.update(piece)
        start_response("200 OK", [])
        return [digest.hexdigest().encode()]

    def fail(self, environ: Any, start_response: Any) -> Any:
        start_response("200 OK", [])
        yield environ["wsgi.input"].read1()
        raise gevent.GreenletExit

    def large(self, environ: Any, start_response: Any) -> Any:
        start_response("200 OK", [])
        for _ in range(20):
            yield b"x" * 10_000

    def wait(self, environ: Any, start_response: Any) -> Any:
        self.waiting += 1
        assert self.opened.wait(GUARD)
        start_response("200 OK", [])
        return [environ["wsgi.input"].read()]


@pytest.fixture
def site() -> Site:
    return Site()


@pytest.fixture
def serve(site: Site, start_server: Callable[..., HttpServer]) -> Callable[..., HttpServer]:
    return partial(start_server, site)


def engine_of(server: HttpServer) -> Any:
    [(_, protocol)] = server.connections
    return protocol._server.engine  # type: ignore[attr-defined]


def send_some(talk: Any, stream: int, content: bytes) -> bytes:
    """Send what the windows allow; what is left."""
    room = min(talk.h2.local_flow_control_window(stream), talk.h2.max_outbound_frame_size)
    if room > 0:
        talk.data(stream, content[:room], end=room >= len(content))
        content = content[room:]
    return content


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("window", [None, 1000], ids=["64 KiB", "1000 bytes"])
def test_fifty_streams_with_resets_leave_nothing_behind(
    serve: Callable[..., HttpServer], talking: Any, window: int | None, seed: int
) -> None:
    rng = random.Random(seed)
    server = serve(h2_limits=H2Limits(tokens=1_000_000, window_bytes=window or 65536))
    talk = talking(server.address, window=window)
    left: dict[int, bytes] = {}
    expected: dict[int, bytes] = {}
    for _ in range(50):
        path = rng.choice(["/echo", "/echo", "/digest", "/fail", "/large"])
        content = rng.randbytes(rng.randrange(1, 60_000))
        stream = talk.begin(path, method="POST", end=False)
        left[stream] = content
        if path in ("/echo", "/digest"):
            expected[stream] = content if path == "/echo" else hashlib.sha256(content).hexdigest().encode()
    given_up: set[int] = set()
    while set(left) - given_up - set(talk.resets) - set(talk.ended):
        for stream in [*left]:
            if stream in given_up or stream in talk.resets or stream in talk.ended:
                continue
            if rng.random() < 0.005:
                talk.reset(stream)
                given_up.add(stream)
            elif left[stream]:
                left[stream] = send_some(talk, stream, left[stream])
        if set(left) - given_up - set(talk.resets) - set(talk.ended):
            talk.hear()
    for stream in set(talk.ended) & set(expected) - given_up:
        assert talk.content[stream] == expected[stream]
    assert set(expected) <= set(talk.ended) | given_up
    stream = talk.begin("/large")  # the connection has all of its windows
    talk.answer(stream)
    engine = engine_of(server)
    with gevent.Timeout(GUARD):  # until the client's last frames have been read
        while engine.taken_slots or engine._sender.window != talk.h2.inbound_flow_control_window:
            gevent.sleep(0.01)
    assert (engine.streams, engine.taken_slots) == ([], 0)
    connection = engine.connection
    assert connection.recv_window + connection.credited == connection.window_bytes


def test_hundred_uploads_side_by_side_all_arrive(serve: Callable[..., HttpServer], talking: Any) -> None:
    talk = talking(serve().address)
    content = bytes(range(256)) * 400
    left = {talk.begin("/digest", method="POST", end=False): content for _ in range(100)}
    while any(left.values()):
        before = sum(map(len, left.values()))
        for stream in left:
            if left[stream]:
                left[stream] = send_some(talk, stream, left[stream])
        if sum(map(len, left.values())) == before:
            talk.hear()
    digest = hashlib.sha256(content).hexdigest().encode()
    assert [talk.answer(stream) for stream in left] == [("200", digest)] * 100


def test_neither_side_reads_and_both_go_on_when_they_do(
    serve: Callable[..., HttpServer], site: Site, talking: Any
) -> None:
    """Applications that do not read, and a client that gives no window: control frames still go both ways."""
    talk = talking(serve().address, window=0)
    uploads = [talk.begin("/wait", method="POST", end=False) for _ in range(20)]
    for stream in uploads:
        talk.data(stream, b"x" * 3000)  # 60 kB: all of what the connection's window is at first
    downloads = [talk.begin("/large") for _ in range(20)]
    talk.hear_until(lambda: len(talk.heads) == 20)
    talk.h2.ping(b"12345678")
    talk.flush()
    talk.hear()
    assert site.waiting == 20
    assert talk.content == {}
    site.opened.set()
    for stream in uploads:
        talk.data(stream, b"", end=True)
    for stream in uploads + downloads:
        talk.h2.increment_flow_control_window(300_000, stream)
    talk.h2.increment_flow_control_window(10_000_000)
    talk.flush()
    assert [talk.answer(stream) for stream in uploads] == [("200", b"x" * 3000)] * 20
    assert [talk.answer(stream) for stream in downloads] == [("200", b"x" * 200_000)] * 20


# what others have stumbled over


def test_connection_window_of_one_byte_is_nobody_s_own(serve: Callable[..., HttpServer], talking: Any) -> None:
    """hyper#4003: a stream that kept the last byte of the connection's window stopped the others."""
    talk = talking(serve().address)
    talk.credits = False
    streams = [talk.begin("/large"), talk.begin("/large")]
    talk.hear_until(lambda: sum(map(len, talk.content.values())) == 65535)
    talk.reset(streams[0])
    for _ in range(100):
        before = len(talk.content.get(streams[1], b""))
        talk.h2.increment_flow_control_window(1)
        talk.h2.increment_flow_control_window(1, streams[1])
        talk.flush()
        talk.hear_until(lambda before=before: len(talk.content.get(streams[1], b"")) > before)


def test_streams_finish_after_the_client_has_said_goaway(
    serve: Callable[..., HttpServer], site: Site, talking: Any
) -> None:
    """h2#1181: GOAWAY ended the streams that were open."""
    talk = talking(serve().address)
    stream = talk.begin("/wait", method="POST", end=False)
    talk.peer.send(f.goaway(0, 0))
    site.opened.set()
    talk.data(stream, b"content", end=True)
    assert talk.answer(stream) == ("200", b"content")


def test_content_after_a_reset_does_not_use_up_the_connection(
    serve: Callable[..., HttpServer], talking: Any
) -> None:
    """h2#1210, httpcore#943: nobody gave the window back for streams that were over."""
    talk = talking(serve().address)
    for _ in range(40):  # 1.2 MB, more than the connection's window
        stream = talk.begin("/fail", method="POST", end=False)
        talk.data(stream, b"x" * 10_000)
        talk.hear_until(lambda stream=stream: stream in talk.resets)
        # the client has not heard of the reset when it sends these
        talk.peer.send(f.frame(f.DATA, 0, stream, b"x" * 10_000) * 2)
    window = talk.h2.outbound_flow_control_window - 40 * 20_000  # as h2 knows nothing of the latter
    stream = talk.begin("/digest", method="POST", end=False)
    while window < 100_000:
        before = talk.h2.outbound_flow_control_window
        talk.hear()
        window += talk.h2.outbound_flow_control_window - before
    talk.data(stream, b"x" * 10_000, end=True)
    assert talk.answer(stream)[0] == "200"
