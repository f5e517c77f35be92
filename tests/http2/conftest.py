"""An engine with what it says in words; the h2 package behind that interface, and as a client over sockets."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from time import monotonic
from typing import Any

import h2.config
import h2.connection
import h2.events
import h2.exceptions
import h2.settings
import hpack
import hyperframe.frame
import pytest
from frameserver import FrameServer
from server_fixtures import authority, make_site, serve, server_tls, site, start_server  # noqa: F401  # fixtures

from gruvihttp import Http2Client
from gruvihttp.sansio import (
    CLIENT,
    SERVER,
    ConnectionClosed,
    Data,
    EndOfMessage,
    InformationalResponse,
    Request,
    Response,
)
from gruvihttp.sansio import frames as f
from gruvihttp.sansio.h2errors import ErrorCode
from gruvihttp.sansio.h2events import (
    ConnectionFailed,
    GoAwayReceived,
    PingAcknowledged,
    RequestRefused,
    SettingsAcknowledged,
    SettingsChanged,
    StreamIncomplete,
    StreamReset,
    WindowOpened,
)
from gruvihttp.sansio.headers import EMPTY, Headers
from gruvihttp.sansio.http2 import H2Engine
from gruvihttp.testing import RawPeer


def name_of(code: int) -> str:
    return code.name if isinstance(code, ErrorCode) else str(code)


def word(event: Any) -> str:
    """An event in words."""
    match event:
        case Request():
            return f"Request {event.method.decode()} {event.target.decode()}"
        case Response() | InformationalResponse():
            return f"{type(event).__name__} {event.status_code}"
        case Data():
            return f"Data {event.data.decode('latin-1')}"
        case EndOfMessage():
            return " ".join(["EndOfMessage", *(f"{name.decode()}={value.decode()}" for name, value in event.headers)])
        case StreamReset():
            marks = [name for name in ("local", "retryable") if getattr(event, name)]
            return " ".join(["StreamReset", name_of(event.error_code), *marks])
        case RequestRefused():
            return f"RequestRefused {event.error.status}"
        case GoAwayReceived():
            return f"GoAwayReceived {event.last_stream_id} {name_of(event.error_code)}"
        case ConnectionFailed():
            return f"ConnectionFailed {name_of(event.error_code)}"
        case PingAcknowledged():
            return f"PingAcknowledged {event.opaque.decode()}"
        case StreamIncomplete():
            return "StreamIncomplete retryable" if event.retryable else "StreamIncomplete"
    assert isinstance(event, WindowOpened | SettingsChanged | SettingsAcknowledged | ConnectionClosed)
    return type(event).__name__


class Side:
    """An engine, what it makes of bytes, and what it sends, in words. `events` are all there were."""

    def __init__(self, engine: Any) -> None:
        self.engine = engine
        self.events: list[tuple[Any, Any]] = []
        self.decoder = hpack.Decoder()
        self.sent: list[hyperframe.frame.Frame] = []

    def gets(self, *pieces: bytes, now: float | None = None) -> list[str]:
        """The events of these bytes, pieces of one content put together."""
        new = []
        for piece in pieces:
            new += self.engine.receive(piece, now)
        self.events += new
        return said(new)

    def said(self) -> list[str]:
        """All events there were."""
        return said(self.events)

    def stream(self, stream_id: int) -> Any:
        """A stream that there was an event of."""
        return next(stream for stream, _ in self.events if stream.id == stream_id)

    def last(self, kind: type) -> Any:
        """The last event of a kind."""
        return next(event for _, event in reversed(self.events) if isinstance(event, kind))

    def sends(self, limit: int = 1 << 20) -> list[str]:
        """The frames that are produced."""
        words = []
        for frame in frames_in(b"".join(self.engine.produce(limit)).removeprefix(f.PREFACE)):
            self.sent.append(frame)
            words.append(self._frame_word(frame))
        return words

    def _frame_word(self, frame: Any) -> str:
        flags = "".join(f" {flag}" for flag in sorted(frame.flags) if flag != "END_HEADERS")
        kind = type(frame).__name__.removesuffix("Frame")
        if isinstance(frame, hyperframe.frame.HeadersFrame) and "END_HEADERS" in frame.flags:
            fields = self.decoder.decode(frame.data, raw=True)
            return f"{kind} {frame.stream_id}{flags} " + " ".join(f"{n.decode()}={v.decode()}" for n, v in fields)
        if isinstance(frame, hyperframe.frame.DataFrame):
            return f"{kind} {frame.stream_id}{flags} {frame.data.decode('latin-1')}".rstrip()
        if isinstance(frame, hyperframe.frame.RstStreamFrame):
            return f"{kind} {frame.stream_id} {name_of(ErrorCode.of(frame.error_code))}"
        if isinstance(frame, hyperframe.frame.GoAwayFrame):
            return f"{kind} {frame.last_stream_id} {name_of(ErrorCode.of(frame.error_code))}"
        if isinstance(frame, hyperframe.frame.WindowUpdateFrame):
            return f"{kind} {frame.stream_id} {frame.window_increment}"
        return f"{kind}{flags}"


def said(events: Iterable[tuple[Any, Any]]) -> list[str]:
    words: list[str] = []
    for stream, event in events:
        text = f"{stream.id} {word(event)}"
        previous = words[-1] if words else ""
        if isinstance(event, Data) and previous.startswith(f"{stream.id} Data "):
            words[-1] += event.data.decode("latin-1")
        else:
            words.append(text)
    return words


def frames_in(wire: bytes) -> list[Any]:
    found = []
    while wire:
        frame, length = hyperframe.frame.Frame.parse_frame_header(memoryview(wire[:9]))
        frame.parse_body(memoryview(wire[9 : 9 + length]))
        found.append(frame)
        wire = wire[9 + length :]
    return found


class LibraryStream:
    """A stream of the h2 package, with what it cannot send yet."""

    def __init__(self, stream_id: int) -> None:
        self.id = stream_id
        self.queue = b""
        self.end_offered = False
        self.trailers: list[tuple[bytes, bytes]] | None = None
        self.received_trailers: list[tuple[bytes, bytes]] | None = None
        self.sent_end = False
        self.closed = False


class LibraryEngine:
    """The h2 package behind the interface of `H2Engine`, as far as the tests need it."""

    def __init__(self, role: Any, **settings: int) -> None:
        self.server = role is SERVER
        config = h2.config.H2Configuration(client_side=not self.server, header_encoding=None)
        self.h2 = h2.connection.H2Connection(config)
        self.streams: dict[int, LibraryStream] = {0: LibraryStream(0)}
        if settings:
            codes = {h2.settings.SettingCodes[name.upper()]: value for name, value in settings.items()}
            self.h2.local_settings = h2.settings.Settings(client=not self.server, initial_values=codes)
        self.h2.initiate_connection()
        self.failed = False

    def receive(self, data: bytes, now: float | None = None) -> list[tuple[Any, Any]]:
        try:
            events = self.h2.receive_data(data)
        except h2.exceptions.ProtocolError as exc:
            self.failed = True
            return [(self.streams[0], ConnectionFailed(exc.error_code, str(exc)))]
        return [pair for event in events for pair in self.translated(event)]

    def translated(self, event: Any) -> list[tuple[Any, Any]]:
        stream_id = getattr(event, "stream_id", None) or 0
        stream = self.streams.setdefault(stream_id, LibraryStream(stream_id))
        match event:
            case h2.events.RequestReceived():
                pseudo = {name: value for name, value in event.headers if name[:1] == b":"}
                fields = [pair for pair in event.headers if pair[0][:1] != b":"]
                target = pseudo.get(b":path", pseudo.get(b":authority", b""))
                if b":authority" in pseudo and not any(name == b"host" for name, _ in fields):
                    fields.insert(0, (b"host", pseudo[b":authority"]))
                request = Request(method=pseudo[b":method"], target=target, headers=fields, http_version="2.0")
                return [(stream, request)]
            case h2.events.InformationalResponseReceived() | h2.events.ResponseReceived():
                kind: Any = Response if isinstance(event, h2.events.ResponseReceived) else InformationalResponse
                fields = list(event.headers[1:])
                return [(stream, kind(status_code=int(event.headers[0][1]), headers=fields, http_version="2.0"))]
            case h2.events.DataReceived():
                if event.flow_controlled_length:
                    self.h2.acknowledge_received_data(event.flow_controlled_length, stream.id)
                return [(stream, Data(bytes(event.data)))] if event.data else []
            case h2.events.TrailersReceived():
                stream.received_trailers = list(event.headers)
            case h2.events.StreamEnded():
                return [(stream, EndOfMessage(headers=stream.received_trailers))]
            case h2.events.StreamReset():
                stream.closed = True
                return [(stream, StreamReset(ErrorCode.of(event.error_code)))]
        return []

    def open(self, request: Request, *, scheme: bytes = b"https", end: bool = False) -> LibraryStream:
        stream = LibraryStream(self.h2.get_next_available_stream_id())
        self.streams[stream.id] = stream
        fields = dict(request.headers)
        pseudo = [(b":method", request.method), (b":authority", fields[b"host"]), (b":scheme", scheme)]
        pseudo.append((b":path", request.target))
        rest = [(name, value) for name, value in request.headers if name != b"host"]
        self.h2.send_headers(stream.id, pseudo + rest, end_stream=end)
        stream.end_offered = stream.sent_end = end
        return stream

    def send_head(self, stream: Any, head: Any, *, end: bool = False) -> None:
        fields = [(b":status", b"%d" % head.status_code), *head.headers]
        self.h2.send_headers(stream.id, fields, end_stream=end)
        stream.end_offered = stream.sent_end = end

    def offer(self, stream: Any, data: bytes, *, end: bool = False) -> None:
        stream.queue += data
        stream.end_offered = end

    def finish(self, stream: Any, trailers: Headers = EMPTY) -> None:
        stream.trailers = list(trailers) or None
        stream.end_offered = True

    def credit(self, stream: Any, consumed: int) -> None:
        """It is credited on receipt."""

    def release(self, stream: Any) -> None:
        """It does not count."""

    def reset(self, stream: Any, code: int = ErrorCode.CANCEL) -> None:
        self.h2.reset_stream(stream.id, code)
        stream.closed = True

    @property
    def has_output(self) -> bool:
        return bool(self.h2._data_to_send) or any(self.may_send(stream) for stream in self.streams.values())

    def may_send(self, stream: LibraryStream) -> bool:
        if stream.closed or stream.sent_end or not stream.id:
            return False
        if stream.queue:
            return self.h2.local_flow_control_window(stream.id) > 0
        return stream.end_offered

    def produce(self, limit: int) -> list[bytes]:
        for stream in self.streams.values():
            while self.may_send(stream):
                self.send_some(stream)
        return [self.h2.data_to_send()]

    def send_some(self, stream: LibraryStream) -> None:
        room = min(self.h2.local_flow_control_window(stream.id), self.h2.max_outbound_frame_size)
        piece, stream.queue = stream.queue[:room], stream.queue[room:]
        last = stream.end_offered and not stream.queue
        if piece or (last and stream.trailers is None):
            self.h2.send_data(stream.id, piece, end_stream=last and stream.trailers is None)
        if last and stream.trailers is not None:
            self.h2.send_headers(stream.id, stream.trailers, end_stream=True)
        stream.sent_end = last


GUARD = 10.0


class Talk:
    """A client's connection: h2 decides what is said, and this keeps what was heard, by stream."""

    def __init__(
        self, address: Any, *, window: int | None = None, context: Any = None, hostname: str | None = None
    ) -> None:
        self.peer = RawPeer.connect(address, context, hostname)
        config = h2.config.H2Configuration(
            header_encoding="utf-8", validate_outbound_headers=False, normalize_outbound_headers=False
        )
        self.h2 = h2.connection.H2Connection(config)
        if window is not None:
            sizes = {h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: window}
            self.h2.local_settings = h2.settings.Settings(client=True, initial_values=sizes)
        self.h2.initiate_connection()
        self.answers_pings = True
        self.credits = True  # whether content that comes opens the windows again
        self.heads: dict[int, dict[str, str]] = {}
        self.informational: dict[int, list[dict[str, str]]] = {}
        self.content: dict[int, bytes] = {}
        self.trailers: dict[int, list[tuple[str, str]]] = {}
        self.resets: dict[int, int] = {}
        self.ended: list[int] = []
        self.goaways: list[int] = []  # their error codes
        self.over = False
        self.held = b""
        self.flush()

    def flush(self) -> None:
        self.peer.send(self.h2.data_to_send())

    def begin(self, path: str = "/", *fields: tuple[str, str], method: str = "GET", end: bool = True) -> int:
        """Send the head of a request; the number of its stream."""
        stream = self.h2.get_next_available_stream_id()
        pseudo = [(":method", method), (":authority", "a.example"), (":scheme", "http"), (":path", path)]
        self.h2.send_headers(stream, [*pseudo, *fields], end_stream=end)
        self.flush()
        return stream

    def data(self, stream: int, content: bytes, *, end: bool = False) -> None:
        self.h2.send_data(stream, content, end_stream=end)
        self.flush()

    def upload(self, stream: int, content: bytes) -> None:
        """Send content as the windows allow it, and the end."""
        while content:
            room = min(self.h2.local_flow_control_window(stream), self.h2.max_outbound_frame_size)
            if room > 0:
                self.data(stream, content[:room])
                content = content[room:]
            else:
                self.hear()
        self.data(stream, b"", end=True)

    def hear(self) -> None:
        """Wait for more, and take it in."""
        data = self.peer.channel.receive(monotonic() + GUARD)
        if not data:
            self.over = True
            return
        self.held += data
        while len(self.held) >= 9:
            frame, length = hyperframe.frame.Frame.parse_frame_header(memoryview(self.held[:9]))
            if len(self.held) < 9 + length:
                break
            content, self.held = self.held[: 9 + length], self.held[9 + length :]
            if isinstance(frame, hyperframe.frame.GoAwayFrame):  # behind it h2 takes nothing any more
                frame.parse_body(memoryview(content[9:]))
                self.goaways.append(frame.error_code)
                continue
            if isinstance(frame, hyperframe.frame.PingFrame) and not self.answers_pings:
                continue
            for event in self.h2.receive_data(content):
                self.note(event)
        if not self.goaways or self.h2.open_outbound_streams:
            self.flush()

    def note(self, event: Any) -> None:
        fields: Any = getattr(event, "headers", ())  # as text, since it was told to decode them
        match event:
            case h2.events.InformationalResponseReceived():
                self.informational.setdefault(event.stream_id, []).append(dict(fields))
            case h2.events.ResponseReceived():
                self.heads[event.stream_id] = dict(fields)
            case h2.events.DataReceived():
                known = self.content.get(event.stream_id, b"")
                self.content[event.stream_id] = known + event.data
                if self.credits and event.flow_controlled_length:
                    self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            case h2.events.TrailersReceived():
                self.trailers[event.stream_id] = list(fields)
            case h2.events.StreamEnded():
                self.ended.append(event.stream_id)
            case h2.events.StreamReset():
                self.resets[event.stream_id] = event.error_code

    def hear_until(self, condition: Callable[[], object]) -> None:
        while not condition():
            assert not self.over, "the connection ended too soon"
            self.hear()

    def hear_until_the_end(self) -> None:
        while not self.over:
            self.hear()
        self.peer.close()

    def answer(self, stream: int) -> tuple[str, bytes]:
        """Status and content of a whole response."""
        self.hear_until(lambda: stream in self.ended)
        return self.heads[stream][":status"], self.content.get(stream, b"")

    def get(self, path: str = "/") -> tuple[str, bytes]:
        return self.answer(self.begin(path))

    def reset(self, stream: int, code: int = ErrorCode.CANCEL) -> None:
        self.h2.reset_stream(stream, code)
        self.flush()


# Fixtures of the whole session, for hypothesis wants none that it would have to renew for each example.


@pytest.fixture(scope="session")
def side() -> Any:
    return Side


@pytest.fixture(scope="session")
def server() -> Any:
    """Make a server that has seen the client's preface."""

    def make(*pieces: bytes, **options: Any) -> Side:
        made = Side(H2Engine(SERVER, **options))
        made.sends()
        made.gets(f.PREFACE + f.settings([]) + f.frame(f.SETTINGS, f.ACK, 0), *pieces)
        made.sends()
        return made

    return make


@pytest.fixture(scope="session")
def client() -> Any:
    """Make a client that has seen the server's SETTINGS, with these."""

    def make(pairs: Iterable[tuple[int, int]] = (), **options: Any) -> Side:
        made = Side(H2Engine(CLIENT, **options))
        made.sends()
        made.gets(f.settings(pairs) + f.frame(f.SETTINGS, f.ACK, 0))
        made.sends()
        return made

    return make


@pytest.fixture(scope="session")
def library() -> Any:
    return LibraryEngine


@pytest.fixture(scope="session")
def talking() -> Any:
    """Connect to an address as a client: `Talk`."""
    return Talk


@pytest.fixture
def converse(serve: Any) -> Iterator[Any]:  # noqa: F811  # the fixture
    """Connects a client to a server that runs a script, a function of a `FrameServer`. Options are Http2Client's."""
    clients: list[Http2Client] = []

    def make(script: Callable[[FrameServer], object], *, settings: Any = (), piecewise: bool = False,
             acknowledge: bool = True, **options: Any) -> Http2Client:  # fmt: skip
        def run(peer: RawPeer) -> None:
            script(FrameServer(peer, settings, piecewise=piecewise, acknowledge=acknowledge))

        client = Http2Client(**{"timeout": GUARD, **options})
        clients.append(client)
        client.connect(serve(run).address, ssl=False)
        return client

    yield make
    for client in clients:
        client.close()


@pytest.fixture(params=["whole", "bytes"])
def piecewise(request: pytest.FixtureRequest) -> bool:
    """Whether what a server says arrives a byte at a time."""
    return bool(request.param == "bytes")
