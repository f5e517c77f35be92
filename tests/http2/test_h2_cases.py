"""What RFC 9113 and RFC 7541 ask of a server, case by case in the order of h2spec's groups, on a running server.

h2spec is the conformance test that others use. Each case of its groups "generic", "http2" and "hpack" has its row
here. Two are not among ours: that a stream depends on itself (its 5.3.1) is no fault any more, since RFC 9113 §5.3.2
has priorities of that kind ignored, so these rows say that it is not. Faults of clients that h2spec does not know are
in ``test_h2_hostile.py``.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import pytest
from attacker import GET, SLOW, Attacker, Fields, Held, block, data, headers, serving

from gruvihttp.sansio import frames as f
from gruvihttp.server import HttpServer

# Outcomes. What ends a stream leaves the connection as it was.
ANSWERED = "200"
NOTHING = "nothing"
CLOSED = "RST 1 STREAM_CLOSED"
MALFORMED = "RST 1 PROTOCOL_ERROR"
NO_PEER = "GOAWAY PROTOCOL_ERROR"
BAD_SIZE = "GOAWAY FRAME_SIZE_ERROR"
BAD_BLOCK = "GOAWAY COMPRESSION_ERROR"
OVERFLOW = "GOAWAY FLOW_CONTROL_ERROR"

HEAD = [(b":method", b"HEAD"), *GET[1:]]
POST = [(b":method", b"POST"), *GET[1:]]
FINISHED = headers(1)
WEIGHT = b"\0\0\0\0\xff"
CONTENT = b"test"


def priority(stream_id: int, depends_on: int = 0, *, exclusive: bool = False) -> bytes:
    return f.frame(f.PRIORITY, 0, stream_id, f.UINT32.pack(depends_on | exclusive << 31) + b"\xff")


def in_pieces(*cuts: int, end: int = f.END_HEADERS) -> bytes:
    """A GET whose section goes on in CONTINUATION, cut at these places; `end` are the flags of its last frame."""
    whole = block(GET)
    bounds = [0, *cuts, len(whole)]
    parts = [whole[start:stop] for start, stop in zip(bounds, bounds[1:], strict=False)]
    first = f.frame(f.HEADERS, f.END_STREAM, 1, parts[0])
    rest = [f.frame(f.CONTINUATION, 0, 1, part) for part in parts[1:-1]]
    return first + b"".join(rest) + f.frame(f.CONTINUATION, end, 1, parts[-1])


def with_block(more: bytes, before: bytes = b"") -> bytes:
    """A GET with something of HPACK's behind its fields, or before them."""
    return f.frame(f.HEADERS, f.END_HEADERS | f.END_STREAM, 1, before + block(GET) + more)


def with_fields(*more: tuple[bytes, bytes]) -> bytes:
    return headers(1, [*GET, *more])


def without(name: bytes) -> Fields:
    return [pair for pair in GET if pair[0] != name]


def upload(*fields: tuple[bytes, bytes]) -> bytes:
    return headers(1, [*POST, *fields], end=False)


class Case(NamedTuple):
    """What is sent, what comes of it, and a request that has been answered before."""

    says: bytes
    outcome: str
    first: bytes = b""


OPEN = headers(1, SLOW, end=False)
HALF_CLOSED = headers(1, SLOW)
SHORT_PING = f.frame(f.PING, 0, 3, bytes(8))

GENERIC = {
    "1 preface": Case(b"", NOTHING),
    "2 PRIORITY on an idle stream": Case(priority(1), NOTHING),
    "2 WINDOW_UPDATE on a half-closed stream": Case(HALF_CLOSED + f.window_update(1, 1), NOTHING),
    "2 PRIORITY on a half-closed stream": Case(HALF_CLOSED + priority(1), NOTHING),
    "2 RST_STREAM on a half-closed stream": Case(HALF_CLOSED + f.reset(1, 8), NOTHING),
    "2 PRIORITY on a closed stream": Case(priority(1), NOTHING, FINISHED),
    "3.1 DATA": Case(upload() + data(1, CONTENT, end=True), ANSWERED),
    "3.1 several DATA": Case(upload() + data(1, CONTENT) + data(1, CONTENT, end=True), ANSWERED),
    "3.1 padded DATA": Case(upload() + f.frame(f.DATA, 9, 1, b"\x06" + CONTENT + bytes(6)), ANSWERED),
    "3.2 HEADERS": Case(headers(1), ANSWERED),
    "3.2 padded HEADERS": Case(f.frame(f.HEADERS, 13, 1, b"\x06" + block(GET) + bytes(6)), ANSWERED),
    "3.2 HEADERS with a priority": Case(f.frame(f.HEADERS, 0x25, 1, WEIGHT + block(GET)), ANSWERED),
    "3.3 PRIORITY of the least weight": Case(f.frame(f.PRIORITY, 0, 1, bytes(5)) + headers(1), ANSWERED),
    "3.3 PRIORITY of the most weight": Case(priority(1) + headers(1), ANSWERED),
    "3.3 PRIORITY with a dependency": Case(priority(3) + priority(1, 3) + headers(1), ANSWERED),
    "3.3 PRIORITY exclusively": Case(priority(1, 3, exclusive=True) + headers(1), ANSWERED),
    "3.3 PRIORITY of a higher stream": Case(priority(5) + headers(1), ANSWERED),
    "3.4 RST_STREAM": Case(OPEN + f.reset(1, 8), NOTHING),
    "3.5 SETTINGS": Case(f.settings([(0x3, 100)]), NOTHING),
    "3.7 PING": Case(f.ping(b"12345678"), NOTHING),
    "3.8 GOAWAY": Case(f.goaway(0, 0, b"over"), NOTHING),
    "3.9 WINDOW_UPDATE of the connection": Case(f.window_update(0, 1), NOTHING),
    "3.9 WINDOW_UPDATE of a stream": Case(HALF_CLOSED + f.window_update(1, 1), NOTHING),
    "3.10 CONTINUATION": Case(in_pieces(2), ANSWERED),
    "3.10 several CONTINUATION": Case(in_pieces(1, 3, 4), ANSWERED),
    "4 GET": Case(headers(1), ANSWERED),
    "4 HEAD": Case(headers(1, HEAD), ANSWERED),
    "4 POST": Case(upload() + data(1, CONTENT, end=True), ANSWERED),
    "4 POST with trailers": Case(upload() + data(1, CONTENT) + headers(1, [(b"x-test", b"ok")]), ANSWERED),
    "5 indexed field": Case(with_block(b"\xba"), ANSWERED),
    "5 indexing with an indexed name": Case(with_block(b"\x7a\x06h2spec"), ANSWERED),
    "5 indexing with an indexed name, Huffman": Case(with_block(b"\x7a\x84\x9c\x48\xac\xa4"), ANSWERED),
    "5 indexing with a new name": Case(with_block(b"\x40\x06x-test\x06h2spec"), ANSWERED),
    "5 indexing with a new name, Huffman": Case(
        with_block(b"\x40\x85\xf2\xb2\x4a\x84\xff\x84\x9c\x48\xac\xa4"), ANSWERED
    ),
    "5 no indexing with an indexed name": Case(with_block(b"\x0f\x2b\x06h2spec"), ANSWERED),
    "5 no indexing with an indexed name, Huffman": Case(with_block(b"\x0f\x2b\x84\x9c\x48\xac\xa4"), ANSWERED),
    "5 no indexing with a new name": Case(with_block(b"\x00\x06x-test\x06h2spec"), ANSWERED),
    "5 no indexing with a new name, Huffman": Case(
        with_block(b"\x00\x85\xf2\xb2\x4a\x84\xff\x84\x9c\x48\xac\xa4"), ANSWERED
    ),
    "5 never indexed with an indexed name": Case(with_block(b"\x1f\x2b\x06h2spec"), ANSWERED),
    "5 never indexed with an indexed name, Huffman": Case(with_block(b"\x1f\x2b\x84\x9c\x48\xac\xa4"), ANSWERED),
    "5 never indexed with a new name": Case(with_block(b"\x10\x06x-test\x06h2spec"), ANSWERED),
    "5 never indexed with a new name, Huffman": Case(
        with_block(b"\x10\x85\xf2\xb2\x4a\x84\xff\x84\x9c\x48\xac\xa4"), ANSWERED
    ),
    "5 change of the table's size": Case(with_block(b"", b"\x20"), ANSWERED),
    "5 two changes of the table's size": Case(with_block(b"", b"\x20\x3f\xe1\x1f"), ANSWERED),
}  # fmt: skip

HTTP2 = {
    "4.1 unknown type": Case(f.frame(0x16, 0, 0, bytes(8)), NOTHING),
    "4.1 undefined flags": Case(f.frame(f.PING, 0x16, 0, bytes(8)), NOTHING),
    "4.1 reserved bit": Case(f.frame(f.PING, 0, 0x80000000, bytes(8)), NOTHING),
    "4.2 DATA of 2**14 bytes": Case(upload() + data(1, bytes(16384), end=True), ANSWERED),
    "4.2 DATA too large": Case(OPEN + data(1, bytes(16385)), BAD_SIZE),
    "4.2 HEADERS too large": Case(headers(1, [*GET, (b"x", bytes(16385))]), BAD_SIZE),
    "4.3 invalid block": Case(f.frame(f.HEADERS, 5, 1, b"\xff\xff\xff\xff\xff"), BAD_BLOCK),
    "4.3 PRIORITY amid a section": Case(in_pieces(2, end=0) + priority(1), NO_PEER),
    "4.3 HEADERS of another stream amid a section": Case(in_pieces(2, end=0) + headers(3), NO_PEER),
    "5.1 idle: DATA": Case(data(1, CONTENT, end=True), NO_PEER),
    "5.1 idle: RST_STREAM": Case(f.reset(1, 8), NO_PEER),
    "5.1 idle: WINDOW_UPDATE": Case(f.window_update(1, 100), NO_PEER),
    "5.1 idle: CONTINUATION": Case(f.frame(f.CONTINUATION, 4, 1, block(GET)), NO_PEER),
    "5.1 half closed: DATA": Case(HALF_CLOSED + data(1, CONTENT, end=True), CLOSED),
    "5.1 half closed: HEADERS": Case(HALF_CLOSED + headers(1), CLOSED),
    "5.1 half closed: CONTINUATION": Case(HALF_CLOSED + f.frame(f.CONTINUATION, 4, 1, block(GET)), NO_PEER),
    "5.1 reset: DATA": Case(OPEN + f.reset(1, 8) + data(1, CONTENT, end=True), "GOAWAY STREAM_CLOSED"),
    "5.1 reset: HEADERS": Case(OPEN + f.reset(1, 8) + headers(1), "GOAWAY STREAM_CLOSED"),
    "5.1 reset: CONTINUATION": Case(OPEN + f.reset(1, 8) + f.frame(f.CONTINUATION, 4, 1, b""), NO_PEER),
    "5.1 closed: DATA": Case(data(1, CONTENT, end=True), "GOAWAY STREAM_CLOSED", FINISHED),
    "5.1 closed: HEADERS": Case(headers(1), "GOAWAY STREAM_CLOSED", FINISHED),
    "5.1 closed: CONTINUATION": Case(f.frame(f.CONTINUATION, 4, 1, block(GET)), NO_PEER, FINISHED),
    "5.1.1 even stream": Case(headers(2), NO_PEER),
    "5.1.1 stream lower than one before": Case(headers(3), NO_PEER, headers(1) + headers(5)),
    "5.3.1 HEADERS that depend on themselves": Case(
        f.frame(f.HEADERS, 0x25, 1, b"\0\0\0\1\xff" + block(GET)), ANSWERED
    ),
    "5.3.1 PRIORITY that depends on itself": Case(priority(1, 1), NOTHING),
    "5.4.1 GOAWAY and the end of the connection": Case(SHORT_PING, NO_PEER),
    "5.5 unknown extension": Case(f.frame(0xFF, 0, 0, bytes(8)), NOTHING),
    "5.5 unknown extension amid a section": Case(in_pieces(2, end=0) + f.frame(0xFF, 0, 0, bytes(8)), NO_PEER),
    "6.1 DATA on the connection": Case(data(0, CONTENT), NO_PEER),
    "6.1 DATA on a stream that is not open": Case(HALF_CLOSED + data(1, CONTENT), CLOSED),
    "6.1 DATA with more padding than frame": Case(OPEN + f.frame(f.DATA, 9, 1, b"\x08" + CONTENT), NO_PEER),
    "6.2 PRIORITY behind HEADERS without END_HEADERS": Case(headers(1, flags=0) + priority(1), NO_PEER),
    "6.2 HEADERS of another stream": Case(headers(1, flags=0) + headers(3), NO_PEER),
    "6.2 HEADERS on the connection": Case(headers(0), NO_PEER),
    "6.2 HEADERS with more padding than frame": Case(f.frame(f.HEADERS, 13, 1, b"\xff" + block(GET)), NO_PEER),
    "6.3 PRIORITY on the connection": Case(priority(0), NO_PEER),
    "6.3 PRIORITY of 4 bytes": Case(OPEN + f.frame(f.PRIORITY, 0, 1, bytes(4)), BAD_SIZE),
    "6.4 RST_STREAM on the connection": Case(f.reset(0, 8), NO_PEER),
    "6.4 RST_STREAM on an idle stream": Case(f.reset(1, 8), NO_PEER),
    "6.4 RST_STREAM of 3 bytes": Case(OPEN + f.frame(f.RST_STREAM, 0, 1, bytes(3)), BAD_SIZE),
    "6.5 SETTINGS acknowledged with content": Case(f.frame(f.SETTINGS, f.ACK, 0, bytes(6)), BAD_SIZE),
    "6.5 SETTINGS on a stream": Case(f.frame(f.SETTINGS, 0, 1, b"\0\3\0\0\0\x64"), NO_PEER),
    "6.5 SETTINGS of 3 bytes": Case(f.frame(f.SETTINGS, 0, 0, bytes(3)), BAD_SIZE),
    "6.5.2 ENABLE_PUSH": Case(f.settings([(0x2, 2)]), NO_PEER),
    "6.5.2 INITIAL_WINDOW_SIZE": Case(f.settings([(0x4, 1 << 31)]), OVERFLOW),
    "6.5.2 MAX_FRAME_SIZE too small": Case(f.settings([(0x5, 16383)]), NO_PEER),
    "6.5.2 MAX_FRAME_SIZE too large": Case(f.settings([(0x5, 1 << 24)]), NO_PEER),
    "6.5.2 unknown setting": Case(f.settings([(0xFF, 1)]), NOTHING),
    "6.7 PING that is acknowledged": Case(f.ping(b"invalid!", ack=True), NOTHING),
    "6.7 PING on a stream": Case(f.frame(f.PING, 0, 1, bytes(8)), NO_PEER),
    "6.7 PING of 6 bytes": Case(f.frame(f.PING, 0, 0, bytes(6)), BAD_SIZE),
    "6.8 GOAWAY on a stream": Case(f.frame(f.GOAWAY, 0, 1, bytes(8)), NO_PEER),
    "6.9 WINDOW_UPDATE of 0 of the connection": Case(f.window_update(0, 0), NO_PEER),
    "6.9 WINDOW_UPDATE of 0 of a stream": Case(OPEN + f.window_update(1, 0), MALFORMED),
    "6.9 WINDOW_UPDATE of 3 bytes": Case(f.frame(f.WINDOW_UPDATE, 0, 0, bytes(3)), BAD_SIZE),
    "6.9.1 connection's window too wide": Case(f.window_update(0, f.HIGHEST_ID) * 2, OVERFLOW),
    "6.9.1 stream's window too wide": Case(OPEN + f.window_update(1, f.HIGHEST_ID) * 2, "RST 1 FLOW_CONTROL_ERROR"),
    "6.9.2 first window too wide": Case(f.settings([(0x4, 0x80000000)]), OVERFLOW),
    "6.10 several CONTINUATION": Case(in_pieces(1, 3), ANSWERED),
    "6.10 DATA behind CONTINUATION": Case(in_pieces(2, end=0) + data(1, CONTENT), NO_PEER),
    "6.10 CONTINUATION on the connection": Case(
        headers(1, flags=0) + f.frame(f.CONTINUATION, 4, 0, block(GET)), NO_PEER
    ),
    "6.10 CONTINUATION behind END_HEADERS": Case(OPEN + f.frame(f.CONTINUATION, 4, 1, b""), NO_PEER),
    "6.10 CONTINUATION behind the last one": Case(in_pieces(2) + f.frame(f.CONTINUATION, 4, 1, b""), NO_PEER),
    "6.10 CONTINUATION behind DATA": Case(OPEN + data(1, CONTENT) + f.frame(f.CONTINUATION, 4, 1, b""), NO_PEER),
    "7 GOAWAY with an unknown code": Case(f.goaway(0, 0xFF), NOTHING),
    "7 RST_STREAM with an unknown code": Case(OPEN + f.reset(1, 0xFF), NOTHING),
    "8.1 HEADERS again without END_STREAM": Case(OPEN + headers(1, POST, end=False), MALFORMED),
    "8.1.2 name in upper case": Case(with_fields((b"X-TEST", b"ok")), MALFORMED),
    "8.1.2.1 unknown pseudo-field": Case(headers(1, [*GET, (b":test", b"ok")]), MALFORMED),
    "8.1.2.1 pseudo-field of responses": Case(headers(1, [*GET, (b":status", b"200")]), MALFORMED),
    "8.1.2.1 pseudo-field in trailers": Case(OPEN + data(1, CONTENT) + headers(1, [(b":method", b"200")]), MALFORMED),
    "8.1.2.1 pseudo-field behind others": Case(headers(1, [*GET[:3], (b"x", b"y"), GET[3]]), MALFORMED),
    "8.1.2.2 field of the connection": Case(with_fields((b"connection", b"keep-alive")), MALFORMED),
    "8.1.2.2 TE": Case(with_fields((b"trailers", b"test"), (b"te", b"trailers, deflate")), MALFORMED),
    "8.1.2.3 empty :path": Case(headers(1, [*GET[:3], (b":path", b"")]), MALFORMED),
    "8.1.2.3 no :method": Case(headers(1, without(b":method")), MALFORMED),
    "8.1.2.3 no :scheme": Case(headers(1, without(b":scheme")), MALFORMED),
    "8.1.2.3 no :path": Case(headers(1, without(b":path")), MALFORMED),
    "8.1.2.3 :method twice": Case(headers(1, [GET[0], *GET]), MALFORMED),
    "8.1.2.3 :scheme twice": Case(headers(1, [GET[1], *GET]), MALFORMED),
    "8.1.2.3 :path twice": Case(headers(1, [GET[3], *GET]), MALFORMED),
    "8.1.2.6 length of one DATA": Case(
        headers(1, [*SLOW, (b"content-length", b"1")], end=False) + data(1, CONTENT, end=True), MALFORMED
    ),
    "8.1.2.6 length of several DATA": Case(
        headers(1, [*SLOW, (b"content-length", b"1")], end=False) + data(1, CONTENT) + data(1, CONTENT, end=True),
        MALFORMED,
    ),
    "8.2 PUSH_PROMISE": Case(OPEN + f.frame(f.PUSH_PROMISE, 4, 1, b"\0\0\0\3" + block(GET)), NO_PEER),
}  # fmt: skip

HPACK = {
    "2.3.3 index beyond the table": Case(with_block(b"\xc6"), BAD_BLOCK),
    "2.3.3 name beyond the table": Case(with_block(b"\x7f\x07\x05empty"), BAD_BLOCK),
    "4.2 change of the table's size at the end": Case(with_block(b"\x21"), BAD_BLOCK),
    "5.2 more than seven bits of padding": Case(
        with_block(b"\x00\x85\xf2\xb2\x4a\x84\xff\x87\x49\x50\x9f\xff\xff\xff\xff"), BAD_BLOCK
    ),
    "5.2 padding of zeros": Case(with_block(b"\x00\x85\xf2\xb2\x4a\x84\xff\x83\x49\x50\x90"), BAD_BLOCK),
    "5.2 EOS": Case(with_block(b"\x00\x85\xf2\xb2\x4a\x84\xff\x84\xff\xff\xff\xfc"), BAD_BLOCK),
    "6.1 index 0": Case(with_block(b"\x80"), BAD_BLOCK),
    "6.3 table larger than allowed": Case(with_block(b"", b"\x3f\xe2\x1f"), BAD_BLOCK),
}

CASES = {
    f"{group} {name}": case
    for group, cases in (("generic", GENERIC), ("http2", HTTP2), ("hpack", HPACK))
    for name, case in cases.items()
}


@pytest.fixture(scope="module")
def server() -> Iterator[HttpServer]:
    with serving(Held()) as start:
        yield start()


@pytest.mark.parametrize("row", CASES)
def test_case_has_the_outcome_that_the_rfc_asks_for(row: str, server: HttpServer) -> None:
    case = CASES[row]
    attacker = Attacker(server.address)
    attacker.greet()
    if case.first:
        attacker.say(case.first)
        attacker.hear_until(lambda: 1 in attacker.ended)
        attacker.pause()
    attacker.say(case.says)
    if case.outcome.startswith("GOAWAY"):
        attacker.hear_until(lambda: attacker.over)
        assert attacker.faults == [case.outcome]
        return
    if case.outcome == ANSWERED:
        attacker.hear_until(lambda: 1 in attacker.ended)
        assert attacker.statuses == {1: b"200"}
    attacker.pause()
    assert not attacker.over
    assert attacker.faults == ([case.outcome] if case.outcome.startswith("RST") else [])


# windows, where the outcome is how much content comes

WINDOWS = {
    "6.5.3 the last of several values counts": [f.settings([(0x4, 100), (0x4, 1)]) + headers(1)],
    "6.9.1 window of one byte": [f.settings([(0x4, 1)]) + headers(1)],
    "6.9.2 wider after the request": [f.settings([(0x4, 0)]) + headers(1), f.settings([(0x4, 1)])],
    "6.9.2 negative": [
        f.settings([(0x4, 3)]) + headers(1), f.settings([(0x4, 0)]) + f.window_update(1, 3), f.window_update(1, 1)
    ],
}


@pytest.mark.parametrize("row", WINDOWS)
def test_window_lets_through_what_fits(row: str, server: HttpServer) -> None:
    attacker = Attacker(server.address)
    attacker.greet()
    for step in WINDOWS[row]:
        attacker.say(step)
        attacker.hear_until(lambda: 1 in attacker.statuses)
        attacker.pause()
    expected = b"inde" if "negative" in row else b"i"
    attacker.hear_until(lambda: len(attacker.content.get(1, b"")) >= len(expected))
    attacker.pause()
    assert attacker.content[1] == expected


def test_preface_that_is_none_ends_the_connection(server: HttpServer) -> None:
    """h2spec's http2 3.5; such a beginning is taken for HTTP/1."""
    attacker = Attacker(server.address)
    attacker.say(b"INVALID CONNECTION PREFACE\r\n\r\n")
    assert attacker.peer.channel.receive().startswith(b"HTTP/1.1 400 ")
    while attacker.peer.channel.receive():
        pass


def test_streams_beyond_the_bound_are_refused(server: HttpServer) -> None:
    """h2spec's http2 5.1.2."""
    attacker = Attacker(server.address)
    attacker.greet()
    attacker.say(b"".join(headers(2 * n + 1, SLOW) for n in range(101)))
    attacker.hear_until(lambda: attacker.faults)
    attacker.pause()
    assert attacker.faults == ["RST 201 REFUSED_STREAM"]
