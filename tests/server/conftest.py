"""What the tests of the server share: servers that end with the test, raw clients, and a reader of answers.

The clients are bare sockets; answers are read here by a few lines of their own, not by our engine, so that both sides
of a mistake cannot agree. A test that uses the fixture `delivery` runs twice: with what is said in one piece, and byte
by byte.
"""

from __future__ import annotations

import logging
import ssl
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from time import monotonic
from typing import Any

import gevent
import h2.config
import h2.connection
import h2.events
import pytest
from hub_reports import nothing_is_reported  # noqa: F401  # a fixture
from server_fixtures import authority, client_tls, server_tls  # noqa: F401  # fixtures

from gruvihttp.errors import TransportError
from gruvihttp.net.deadline import moment_after
from gruvihttp.net.transport import Transport
from gruvihttp.server import HttpServer
from gruvihttp.testing import RawPeer

GUARD_SECONDS = 10.0
HOST = b"Host: example.com\r\n"


@dataclass
class Answer:
    """A response as it came: text where HTTP has text, the content without its framing."""

    version: str
    status: int
    reason: str
    fields: list[tuple[str, str]]
    content: bytes = b""
    trailers: list[tuple[str, str]] = field(default_factory=list)

    def all(self, name: str) -> list[str]:
        """The values of a field, one for each line."""
        return [value for known, value in self.fields if known.lower() == name.lower()]

    def __getitem__(self, name: str) -> str | None:
        """The value of a field that must not be repeated; None if it is not there."""
        values = self.all(name)
        assert len(values) < 2, f"{name} is repeated: {values}"
        return values[0] if values else None

    @property
    def closes(self) -> bool:
        """Does it say that the connection ends?"""
        return self["Connection"] == "close"


class Talk(RawPeer):
    """One connection to a server, seen from the client."""

    piece_bytes = 0  # 0: all at once

    def say(self, content: bytes) -> None:
        """Send, in one piece or in many."""
        if self.piece_bytes:
            self.send_in_pieces(content, self.piece_bytes)
        else:
            self.send(content)

    def ask(self, request: bytes) -> Answer:
        """Send a request and read the answer."""
        self.say(request)
        return self.answer(request.partition(b" ")[0])

    def get(self, target: str = "/", fields: bytes = b"") -> Answer:
        """GET with HTTP/1.1."""
        return self.ask(b"GET %b HTTP/1.1\r\n%b%b\r\n" % (target.encode("ascii"), HOST, fields))

    def post(self, content: bytes, target: str = "/", fields: bytes = b"") -> Answer:
        """POST with HTTP/1.1 and a Content-Length."""
        head = b"POST %b HTTP/1.1\r\n%b%b" % (target.encode("ascii"), HOST, fields)
        return self.ask(b"%bContent-Length: %d\r\n\r\n%b" % (head, len(content), content))

    def head(self) -> Answer:
        """The next head, of whatever status, without content."""
        raw = self.read_until()
        assert raw.endswith(b"\r\n\r\n"), f"no whole head before the connection ended: {raw!r}"
        start, *lines = raw[:-4].decode("latin-1").split("\r\n")
        version, status, reason = start.split(" ", 2)
        return Answer(version, int(status), reason, [_field(line) for line in lines])

    def answer(self, method: bytes = b"GET") -> Answer:
        """The next final response, whole. 1xx before it fails the test: use `head` where one is expected."""
        answer = self.head()
        assert answer.status >= 200, f"unexpected {answer.status}"
        coding, length = answer["Transfer-Encoding"], answer["Content-Length"]
        assert coding is None or length is None, "framed twice"
        if method == b"HEAD" or answer.status in (204, 304):
            return answer
        if coding is not None:
            assert coding == "chunked"
            self._read_chunks(answer)
        elif length is not None:
            answer.content = self.read(int(length))
            assert len(answer.content) == int(length), f"cut short: {answer.content!r} of {length}"
        elif method != b"CONNECT":
            answer.content = self.read_to_end()
        return answer

    def _read_chunks(self, answer: Answer) -> None:
        while size := int(self._line(), 16):
            answer.content += self.read(size)
            assert self._line() == b""
        while line := self._line():
            answer.trailers.append(_field(line.decode("latin-1")))

    def _line(self) -> bytes:
        line = self.read_until(b"\r\n")
        assert line.endswith(b"\r\n"), f"cut short: {line!r}"
        return line[:-2]

    def is_open(self) -> bool:
        """Does the server still answer here?"""
        return self.get("/still-open").status > 0

    def ends(self) -> bool:
        """Does the server end the connection politely, without another byte?"""
        return self.read_to_end() == b""

    def is_cut(self) -> bool:
        """Does the server cut the connection? What it said before is in `received`."""
        try:
            self.read_to_end()
        except TransportError:
            return True
        return False


def _field(line: str) -> tuple[str, str]:
    name, colon, value = line.partition(":")
    assert colon, f"not a field: {line!r}"
    return name, value.strip(" \t")


@pytest.fixture(params=[0, 1], ids=["whole", "by-bytes"])
def delivery(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs the test twice: everything is sent in one piece, then byte by byte."""
    monkeypatch.setattr(Talk, "piece_bytes", request.param)


@dataclass
class Served:
    """A running server and the connections that a test makes to it."""

    server: HttpServer
    talks: list[Talk] = field(default_factory=list)

    def connect(self, context: ssl.SSLContext | None = None, *, address: Any = None) -> Talk:
        """A new connection, to the first address if none is given."""
        talk = Talk.connect(address or self.server.address, context, "localhost" if context else None)
        self.talks.append(talk)
        return talk

    def get(self, target: str = "/", fields: bytes = b"") -> Answer:
        """The answer to a GET on a connection of its own."""
        return self.connect().get(target, fields)

    def ask(self, request: bytes) -> Answer:
        """The answer to a request on a connection of its own."""
        return self.connect().ask(request)

    def hear(self, request: bytes) -> bytes:
        """Everything that comes until the server ends the connection."""
        talk = self.connect()
        talk.say(request)
        return talk.read_to_end()


Serve = Callable[..., Served]


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Serves an application on the loopback interface until the test ends; options are those of HttpServer."""
    running: list[Served] = []

    def serve(application: Any, *, ssl: Any = False, address: Any = ("127.0.0.1", 0), **options: Any) -> Served:
        served = Served(HttpServer(application, **options))
        running.append(served)
        served.server.listen(address, ssl)
        return served

    yield serve
    for served in running:
        for talk in served.talks:
            talk.close()
        served.server.close(timeout=0)


class Streams:
    """Requests on one HTTP/2 connection, by the h2 package. Says so when the server says goodbye."""

    def __init__(self, address: Any, leading: bytes = b"") -> None:
        self.peer = RawPeer.connect(address)
        self.engine = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding="latin-1"))
        self.engine.initiate_connection()
        self.peer.send(leading + self.engine.data_to_send())
        self.heads: dict[int, dict[str, str]] = {}
        self.content: dict[int, bytes] = {}
        self.resets: dict[int, int] = {}
        self._ended: set[int] = set()
        self.goaways: list[int] = []  # the last stream that each names

    def begin(self, path: str, *fields: tuple[str, str], method: str = "GET", end: bool = True) -> int:
        """Send a request, or its head; the number of its stream."""
        stream: int = self.engine.get_next_available_stream_id()
        pseudo = [(":method", method), (":authority", "a.example"), (":scheme", "http"), (":path", path)]
        self.engine.send_headers(stream, [*pseudo, *fields], end_stream=end)
        self.peer.send(self.engine.data_to_send())
        return stream

    def answer(self, stream: int) -> tuple[str, bytes]:
        """Status and content of a response."""
        while stream not in self._ended:
            assert self.hear(), f"the connection ended before stream {stream} did"
        return self.heads[stream][":status"], self.content.get(stream, b"")

    def hear(self) -> bool:
        """Take what comes next; False at the end of the connection."""
        data = self.peer.channel.receive(moment_after(GUARD_SECONDS))
        for event in self.engine.receive_data(data) if data else ():
            stream = getattr(event, "stream_id", 0)
            if isinstance(event, h2.events.ResponseReceived):
                self.heads[stream] = dict(event.headers)
            elif isinstance(event, h2.events.DataReceived):
                self.content[stream] = self.content.get(stream, b"") + event.data
                self.engine.acknowledge_received_data(event.flow_controlled_length, stream)
            elif isinstance(event, h2.events.StreamEnded):
                self._ended.add(stream)
            elif isinstance(event, h2.events.StreamReset):
                self.resets[stream] = event.error_code
            elif isinstance(event, h2.events.ConnectionTerminated):
                self.goaways.append(event.last_stream_id)
        answer = self.engine.data_to_send()
        if answer and data and not self.goaways:
            self.peer.send(answer)
        return bool(data)

    def get(self, path: str, *fields: tuple[str, str]) -> tuple[str, bytes]:
        """The response to a request."""
        return self.answer(self.begin(path, *fields))


@pytest.fixture
def speak_http2() -> Iterator[Callable[..., Streams]]:
    """Speaks HTTP/2 with the server at an address, in plain text, until the test ends."""
    logging.getLogger("h2").setLevel(logging.ERROR)  # it tells what it does
    opened: list[Streams] = []

    def speak(address: Any, leading: bytes = b"") -> Streams:
        opened.append(Streams(address, leading))
        return opened[-1]

    yield speak
    for streams in opened:
        streams.peer.close()


@pytest.fixture
def until() -> Callable[[Callable[[], object]], None]:
    """Lets the hub run until a condition holds."""

    def until(condition: Callable[[], object]) -> None:
        guard = monotonic() + GUARD_SECONDS
        while not condition():
            assert monotonic() < guard, "the condition never held"
            gevent.sleep(0.001)

    return until


@pytest.fixture
def errors(caplog: pytest.LogCaptureFixture) -> Callable[[], list[str]]:
    """The messages that the server has logged, with the last line of a traceback."""
    caplog.set_level(logging.WARNING, "gruvihttp")

    def errors() -> list[str]:
        messages = []
        for record in caplog.records:
            fault = record.exc_info[1] if record.exc_info else None
            messages.append(record.getMessage() + (f": {fault!r}" if fault else ""))
        return messages

    return errors


@pytest.fixture
def connections(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> list[Transport]:
    """Every transport that a server of this test has accepted, in order."""
    seen: list[Transport] = []
    made = HttpServer.connection_made

    def connection_made(self: HttpServer, transport: Transport, protocol: Any) -> None:
        seen.append(transport)
        made(self, transport, protocol)

    monkeypatch.setattr(HttpServer, "connection_made", connection_made)
    return seen
