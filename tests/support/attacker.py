"""`Attacker`: a client of HTTP/2 that sends whatever it likes, frame by frame, and notes what it hears."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import hpack
import hyperframe.frame
from gevent.event import Event

from gruvihttp.errors import TransportError
from gruvihttp.sansio import frames as f
from gruvihttp.sansio.h2errors import ErrorCode
from gruvihttp.server import HttpServer
from gruvihttp.testing import RawPeer

__all__ = ["GET", "SLOW", "Attacker", "Fields", "Held", "block", "data", "headers", "serving"]

GUARD = 10.0
Fields = list[tuple[bytes, bytes]]
_SIZES = {"/large": 1_000_000, "/share": 40_000}

GET = [(b":method", b"GET"), (b":scheme", b"http"), (b":authority", b"a"), (b":path", b"/")]
SLOW = [*GET[:3], (b":path", b"/slow")]


def block(fields: Fields) -> bytes:
    """Without a table, so that requests do not depend on each other."""
    return hpack.Encoder().encode([hpack.NeverIndexedHeaderTuple(*pair) for pair in fields], huffman=False)


def headers(stream_id: int, fields: Fields = GET, *, end: bool = True, flags: int = f.END_HEADERS) -> bytes:
    return f.frame(f.HEADERS, flags | (f.END_STREAM if end else 0), stream_id, block(fields))


def data(stream_id: int, content: bytes = b"", *, end: bool = False) -> bytes:
    return f.frame(f.DATA, f.END_STREAM if end else 0, stream_id, content)


class Attacker:
    """A connection that says whatever it likes, and notes what it hears: faults in words, the rest by stream."""

    def __init__(self, address: Any) -> None:
        self.peer = RawPeer.connect(address)
        self.faults: list[str] = []
        self.statuses: dict[int, bytes] = {}
        self.content: dict[int, bytes] = {}
        self.ended: set[int] = set()
        self.pongs = 0
        self.over = False
        self._decoder = hpack.Decoder()

    def greet(self, *settings: tuple[int, int]) -> None:
        self.say(f.PREFACE + f.settings(settings) + f.frame(f.SETTINGS, f.ACK, 0))

    def say(self, content: bytes) -> None:
        try:
            self.peer.send(content)
        except TransportError:  # the server has had enough
            pass

    def hear(self) -> None:
        """Note the next frame, or the end."""
        try:
            head = self.peer.read(9)
            if len(head) < 9:
                self.over = True
                return
            frame, length = hyperframe.frame.Frame.parse_frame_header(memoryview(head))
            frame.parse_body(memoryview(self.peer.read(length)))
        except TransportError:
            self.over = True
            return
        match frame:
            case hyperframe.frame.HeadersFrame():
                fields = self._decoder.decode(frame.data, raw=True)
                self.statuses[frame.stream_id] = bytes(next(iter(fields))[1])
            case hyperframe.frame.DataFrame():
                self.content[frame.stream_id] = self.content.get(frame.stream_id, b"") + frame.data
            case hyperframe.frame.RstStreamFrame():
                self.faults.append(f"RST {frame.stream_id} {ErrorCode(frame.error_code).name}")
            case hyperframe.frame.GoAwayFrame():
                self.faults.append(f"GOAWAY {ErrorCode(frame.error_code).name}")
            case hyperframe.frame.PingFrame():
                self.pongs += 1
        if "END_STREAM" in frame.flags:
            self.ended.add(frame.stream_id)

    def hear_until(self, condition: Callable[[], object]) -> None:
        while not self.over and not condition():
            self.hear()

    def pause(self) -> None:
        """Let the server get at what was said."""
        seen = self.pongs
        self.say(f.ping(bytes(8)))
        self.hear_until(lambda: self.pongs > seen)


class Held:
    """An application that answers at once, but /slow when it may; it reads nothing."""

    def __init__(self) -> None:
        self.opened = Event()
        self.calls = 0

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Any:
        self.calls += 1
        if environ["PATH_INFO"] == "/slow":
            assert self.opened.wait(GUARD)
        start_response("200 OK", [])
        return [b"x" * _SIZES[environ["PATH_INFO"]]] if environ["PATH_INFO"] in _SIZES else [b"index"]


@contextmanager
def serving(application: Held) -> Iterator[Callable[..., HttpServer]]:
    """A function that starts servers, which are closed at the end."""
    servers: list[HttpServer] = []

    def start(address: Any = ("127.0.0.1", 0), **options: Any) -> HttpServer:
        server = HttpServer(application, **options)
        server.listen(address)
        servers.append(server)
        return server

    yield start
    application.opened.set()
    for server in servers:
        server.close(timeout=0)
