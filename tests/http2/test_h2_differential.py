"""Whole exchanges between our engine and the h2 package, both ways round, and promises that hold for any bytes.

How the bytes are split on their way, how much each side takes at a time, and how wide the windows are, differs from
example to example; what arrives must not.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import hpack
import hyperframe.frame
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gruvihttp.sansio import (
    CLIENT,
    SERVER,
    Data,
    EndOfMessage,
    Headers,
    InformationalResponse,
    Request,
    Response,
)
from gruvihttp.sansio import frames as f
from gruvihttp.sansio.h2events import ConnectionFailed, RequestRefused, StreamReset
from gruvihttp.sansio.h2settings import Settings
from gruvihttp.sansio.http2 import H2Engine


@dataclass
class Message:
    """What is sent in one direction of an exchange."""

    content: list[bytes] = field(default_factory=list)
    trailers: list[tuple[str, str]] = field(default_factory=list)


@dataclass
class Received:
    """What has come of a message; `words` are its heads."""

    words: list[str] = field(default_factory=list)
    fields: list[tuple[bytes, bytes]] = field(default_factory=list)
    content: bytes = b""
    trailers: list[tuple[bytes, bytes]] = field(default_factory=list)
    ended: bool = False


class Driver:
    """Moves bytes between two engines, and does what two programs would do with their events."""

    def __init__(self, client: Any, server: Any, sizes: list[int], answers: list[Message]) -> None:
        self.client, self.server = client, server
        self.sizes = sizes
        self.turn = 0
        self.answers = answers
        self.at_server: dict[int, Received] = {}
        self.at_client: dict[int, Received] = {}

    def size(self) -> int:
        self.turn += 1
        return self.sizes[self.turn % len(self.sizes)]

    def run(self) -> None:
        while self.client.has_output or self.server.has_output:
            self.carry(self.client, self.server, self.at_server)
            self.carry(self.server, self.client, self.at_client)

    def carry(self, sender: Any, receiver: Any, received: dict[int, Received]) -> None:
        wire = b"".join(sender.produce(self.size() + 100))
        while wire:
            size = self.size()
            piece, wire = wire[:size], wire[size:]
            for stream, event in receiver.receive(piece):
                self.note(receiver, stream, event, received)

    def note(self, engine: Any, stream: Any, event: Any, received: dict[int, Received]) -> None:
        assert not isinstance(event, ConnectionFailed | StreamReset), event
        message = received.setdefault(stream.id, Received())
        match event:
            case Request():
                message.words.append(f"{event.method.decode()} {event.target.decode()}")
                message.fields = sorted(event.headers)
            case Response() | InformationalResponse():
                message.words.append(str(event.status_code))
                message.fields = sorted(event.headers)
            case Data():
                message.content += event.data
                engine.credit(stream, len(event.data))
            case EndOfMessage():
                assert not message.ended
                message.ended = True
                message.trailers = list(event.headers)
                if engine is self.server:
                    self.answer(stream)

    def answer(self, stream: Any) -> None:
        message = self.answers[stream.id // 2]
        self.server.send_head(stream, InformationalResponse(status_code=103, headers=[("link", "</a>")]))
        self.server.send_head(stream, Response(status_code=200, headers=[("x-number", str(stream.id))]))
        send(self.server, stream, message)
        self.server.release(stream)


def send(engine: Any, stream: Any, message: Message) -> None:
    for piece in message.content:
        engine.offer(stream, piece)
    engine.finish(stream, Headers.of(message.trailers))


PIECES = st.sampled_from([0, 1, 10, 1000, 20000, 70000]).map(lambda size: b"0123456789" * (size // 10) or b"x" * size)
TRAILERS = st.sampled_from([[], [("x-sum", "1")], [("x-a", ""), ("x-b", "2")]])
MESSAGES = st.builds(Message, st.lists(PIECES, max_size=3), TRAILERS)
SIZES = st.lists(st.sampled_from([1, 2, 9, 10, 50, 1000, 16393, 100000]), min_size=1, max_size=5).filter(
    lambda sizes: max(sizes) > 100
)
WINDOWS = st.sampled_from([1000, 16384, 65535, 1 << 20])

PAIRS = ["ours, ours", "ours, library", "library, ours"]


def engines(pair: str, library: Any, window: int) -> tuple[Any, Any]:
    ours = Settings(window_bytes=window, widest_window_bytes=window)
    kinds = pair.split(", ")
    made = []
    for kind, role in zip(kinds, (CLIENT, SERVER), strict=True):
        if kind == "ours":
            made.append(H2Engine(role, ours))
        else:
            made.append(library(role, initial_window_size=window))
    return made[0], made[1]


@pytest.mark.parametrize("pair", PAIRS)
@settings(max_examples=40)
@given(exchanges=st.lists(st.tuples(MESSAGES, MESSAGES), min_size=1, max_size=4), sizes=SIZES, window=WINDOWS)
def test_messages_arrive_as_they_were_sent(
    pair: str, library: Any, exchanges: list[tuple[Message, Message]], sizes: list[int], window: int
) -> None:
    client, server = engines(pair, library, window)
    driver = Driver(client, server, sizes, [answer for _, answer in exchanges])
    for number, (message, _) in enumerate(exchanges):
        head = Request(method="POST", target=f"/{number}", headers=[("host", "a"), ("cookie", "a=1"), ("x-y", "z")])
        send(client, client.open(head), message)
    driver.run()
    for number, (message, answer) in enumerate(exchanges):
        got = driver.at_server[2 * number + 1]
        assert got.words == [f"POST /{number}"]
        assert got.fields == [(b"cookie", b"a=1"), (b"host", b"a"), (b"x-y", b"z")]
        assert (got.content, got.ended) == (b"".join(message.content), True)
        assert got.trailers == Headers.of(message.trailers)
        got = driver.at_client[2 * number + 1]
        assert got.words == ["103", "200"]
        assert got.fields == [(b"x-number", b"%d" % (2 * number + 1))]
        assert (got.content, got.ended) == (b"".join(answer.content), True)
        assert got.trailers == Headers.of(answer.trailers)
    for engine in (client, server):
        if isinstance(engine, H2Engine):
            check_at_rest(engine)


def check_at_rest(engine: H2Engine) -> None:
    """No stream, no slot, and the connection's window as it was."""
    assert engine.streams == []
    assert engine.taken_slots == 0
    assert engine.connection.recv_window + engine.connection.credited == engine.connection.window_bytes
    assert not engine.has_output


# What a client may do with its streams, in any order
STEPS = st.lists(
    st.tuples(st.sampled_from(["open", "offer", "finish", "cancel", "answer", "decline", "carry"]), st.integers(0, 3)),
    max_size=60,
)


@settings(max_examples=60)
@given(steps=STEPS, sizes=SIZES)
def test_windows_and_slots_are_back_after_any_resets(steps: list[tuple[str, int]], sizes: list[int]) -> None:
    client, server = H2Engine(CLIENT), H2Engine(SERVER, Settings(concurrent_streams=3))
    opened: list[Any] = []
    served: list[Any] = []
    turns = iter_sizes(sizes)

    def carry() -> None:
        for sender, receiver in ((client, server), (server, client)) * 2:
            wire = b"".join(sender.produce(next(turns) + 1000))
            for stream, event in receiver.receive(wire):
                assert not isinstance(event, ConnectionFailed), event
                if isinstance(event, Request | RequestRefused):
                    served.append(stream)
                elif isinstance(event, Data):
                    receiver.credit(stream, len(event.data))

    for step, number in steps:
        act(step, number, client, server, opened, served)
        if step == "carry":
            carry()
    for stream in opened:
        client.reset(stream)
    while client.has_output or server.has_output:
        carry()
    for stream in served:
        server.release(stream)
    while client.has_output or server.has_output:
        carry()
    check_at_rest(client)
    check_at_rest(server)


def iter_sizes(sizes: list[int]) -> Iterator[int]:
    while True:
        yield from sizes


def act(step: str, number: int, client: Any, server: Any, opened: list[Any], served: list[Any]) -> None:
    if step == "open" and client.free_slots:
        opened.append(client.open(Request(method="PUT", target="/", headers=[("host", "a")])))
    streams = opened if step in ("offer", "finish", "cancel") else served
    if not streams or step in ("open", "carry"):
        return
    stream = streams[number % len(streams)]
    if step == "offer" and not stream.end_offered:
        client.offer(stream, b"x" * 30000)
    elif step == "finish" and not stream.end_offered:
        client.finish(stream)
    elif step == "cancel":
        client.reset(stream)
    elif step == "answer" and not stream.sent_head:
        server.send_head(stream, Response(status_code=200))
        server.offer(stream, b"y" * 30000, end=True)
    elif step == "decline":
        server.reset(stream, 0)


# Any bytes. Frames that are nearly right find more than noise does.

SECTION = st.sampled_from(
    [
        b"\x82\x87\x84\x01\x01a",
        b"\x83\x87\x84\x41\x01a\x0f\x0d\x015",
        b"\x88",
        b"\x88\x0f\x0d\x015",
        b"\x40\x01x\x01y",
        b"\x20",
        b"",
    ]
)
CONTENT = SECTION | st.binary(max_size=12) | st.just(bytes(4)) | st.just(bytes(8)) | st.just(b"\0\0\0\x05")
FRAMES = st.builds(
    lambda kind, flags, stream, content: f.frame(kind, flags, stream, content),
    st.sampled_from([0, 0, 1, 1, 1, 2, 3, 4, 5, 6, 7, 8, 9, 20]),
    st.sampled_from([0, 1, 4, 5, 8, 13, 45]),
    st.sampled_from([0, 0, 1, 1, 3, 3, 5, 2]),
    CONTENT,
)


@pytest.mark.parametrize("role", [CLIENT, SERVER], ids=["client", "server"])
@settings(max_examples=200)
@given(frames=st.lists(FRAMES, max_size=12), size=st.sampled_from([1, 7, 1000]))
def test_no_bytes_raise_and_all_splits_say_the_same(role: Any, frames: list[bytes], size: int) -> None:
    wire = (f.PREFACE if role is SERVER else b"") + f.settings([]) + b"".join(frames)
    whole, split = sample(role), sample(role)
    expected = whole.receive(wire)
    events = [pair for i in range(0, len(wire), size) for pair in split.receive(wire[i : i + size])]
    assert summary(events) == summary(expected)
    assert b"".join(whole.produce(1 << 20)) == b"".join(split.produce(1 << 20))
    kinds = [type(event) for _, event in events]
    assert ConnectionFailed not in kinds[:-1]
    assert split.failed == (kinds[-1:] == [ConnectionFailed])


def sample(role: Any) -> H2Engine:
    engine = H2Engine(role)
    if role is CLIENT:
        for _ in range(2):
            engine.open(Request(method="GET", target="/", headers=[("host", "a")]), end=True)
        engine.produce(1 << 20)
    return engine


def summary(events: list[Any]) -> list[Any]:
    """Events by stream, pieces of one content put together."""
    found: list[Any] = []
    for stream, event in events:
        if isinstance(event, Data) and found and found[-1][:2] == [stream.id, Data]:
            found[-1][2] += event.data
        elif isinstance(event, Data):
            found.append([stream.id, Data, event.data])
        else:
            found.append([stream.id, type(event), getattr(event, "reason", "")])
    return found


def test_frames_of_hyperframe_are_read(server: Any) -> None:
    block = hpack.Encoder().encode(
        [(b":method", b"POST"), (b":scheme", b"http"), (b":authority", b"a"), (b":path", b"/")]
    )
    section = hyperframe.frame.HeadersFrame(1, block, flags=["END_HEADERS", "PADDED", "PRIORITY"], pad_length=9)
    content = hyperframe.frame.DataFrame(1, b"hello", flags=["PADDED", "END_STREAM"], pad_length=200)
    side = server()
    assert side.gets(section.serialize(), content.serialize()) == ["1 Request POST /", "1 Data hello", "1 EndOfMessage"]
