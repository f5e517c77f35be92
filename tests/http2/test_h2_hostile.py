"""What a server makes of frames that no honest client sends: which of them end a stream, which the connection.

Each row is received whole and byte by byte, with the same outcome.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import hpack
import pytest

from gruvihttp.limits import H2Limits
from gruvihttp.sansio import SERVER, Response
from gruvihttp.sansio import frames as f
from gruvihttp.sansio.http2 import H2Engine

Fields = list[tuple[bytes, bytes]]

GET = [(b":method", b"GET"), (b":scheme", b"http"), (b":authority", b"a"), (b":path", b"/")]
POST = [(b":method", b"POST"), *GET[1:]]


def block(fields: Fields) -> bytes:
    """Without a table, so that rows do not depend on each other."""
    return b"".join(
        b"\x00%c%b%c%b" % (len(name), name, len(value), value) if len(value) < 127 else _long(name, value)
        for name, value in fields
    )


def _long(name: bytes, value: bytes) -> bytes:
    return hpack.Encoder().encode([hpack.NeverIndexedHeaderTuple(name, value)], huffman=False)


def headers(stream_id: int, fields: Fields, *, end: bool = True, flags: int = f.END_HEADERS) -> bytes:
    return f.frame(f.HEADERS, flags | (f.END_STREAM if end else 0), stream_id, block(fields))


def data(stream_id: int, content: bytes = b"", *, end: bool = False) -> bytes:
    return f.frame(f.DATA, f.END_STREAM if end else 0, stream_id, content)


def upload(stream_id: int, *fields: tuple[bytes, bytes]) -> bytes:
    return headers(stream_id, [*POST, *fields], end=False)


GOOD = headers(3, GET)
BOTH = ["1 Request GET /", "1 EndOfMessage"]
THIRD = ["3 Request GET /", "3 EndOfMessage"]


def failed(code: str) -> list[str]:
    return [f"0 ConnectionFailed {code}"]


def reset(code: str, stream_id: int = 1) -> list[str]:
    return [f"{stream_id} StreamReset {code} local" + " retryable" * (code == "REFUSED_STREAM")]


UPLOAD = ["1 Request POST /"]

# frames -> events. A good request follows each of those that end a stream only
STREAM_ENDS: dict[str, tuple[bytes, list[str]]] = {
    "content beyond its length": (
        upload(1, (b"content-length", b"3")) + data(1, b"four"), UPLOAD + reset("PROTOCOL_ERROR")
    ),
    "content short of its length": (
        upload(1, (b"content-length", b"5"))
        + data(1, b"four", end=True), [*UPLOAD, "1 Data four", *reset("PROTOCOL_ERROR")]
    ),
    "length without content": (headers(1, [*POST, (b"content-length", b"4")]), reset("PROTOCOL_ERROR")),
    "trailers short of its length": (
        upload(1, (b"content-length", b"5")) + headers(1, [(b"x", b"y")]), UPLOAD + reset("PROTOCOL_ERROR")
    ),
    "trailers without END_STREAM": (
        upload(1) + headers(1, [(b"x", b"y")], end=False), UPLOAD + reset("PROTOCOL_ERROR")
    ),
    "pseudo-field in trailers": (upload(1) + headers(1, [(b":path", b"/")]), UPLOAD + reset("PROTOCOL_ERROR")),
    "bad field in trailers": (upload(1) + headers(1, [(b"X", b"y")]), UPLOAD + reset("PROTOCOL_ERROR")),
    "trailers too large": (
        upload(1) + headers(1, [(b"x%d" % i, b"y" * 100) for i in range(90)]), UPLOAD + reset("PROTOCOL_ERROR")
    ),
    "HEADERS in a tunnel": (
        headers(1, [(b":method", b"CONNECT"), (b":authority", b"a:1")], end=False) + headers(1, [(b"x", b"y")]),
        ["1 Request CONNECT a:1", *reset("PROTOCOL_ERROR")],
    ),
    "DATA behind the end": (headers(1, GET) + data(1, b"x"), BOTH + reset("STREAM_CLOSED")),
    "HEADERS behind the end": (headers(1, GET) + headers(1, [(b"x", b"y")]), BOTH + reset("STREAM_CLOSED")),
    "WINDOW_UPDATE of 0": (upload(1) + f.window_update(1, 0), UPLOAD + reset("PROTOCOL_ERROR")),
    "window too wide": (upload(1) + f.window_update(1, f.HIGHEST_ID), UPLOAD + reset("FLOW_CONTROL_ERROR")),
    "DATA beyond the window": (
        upload(1) + b"".join(data(1, b"x" * 16384) for _ in range(4)) + data(1, b"x"),
        [*UPLOAD, "1 Data " + "x" * 65536, *reset("FLOW_CONTROL_ERROR")],
    ),
    "padding only, with content missing": (
        upload(1, (b"content-length", b"1")) + f.frame(f.DATA, f.PADDED | f.END_STREAM, 1, b"\x02\0\0"),
        UPLOAD + reset("PROTOCOL_ERROR"),
    ),
    "RST_STREAM": (upload(1) + f.reset(1, 8), [*UPLOAD, "1 StreamReset CANCEL"]),
    "RST_STREAM with a code of its own": (upload(1) + f.reset(1, 99), [*UPLOAD, "1 StreamReset 99"]),
    "frames after our reset": (
        upload(1, (b"content-length", b"3")) + data(1, b"four") + data(1, b"more") + headers(1, [(b"x", b"y")])
        + f.window_update(1, 5) + f.reset(1, 8),
        UPLOAD + reset("PROTOCOL_ERROR"),
    ),
    "trailers too large after our reset": (
        upload(1, (b"content-length", b"3")) + data(1, b"four")
        + headers(1, [(b"x", b"y" * 100)]* 110), UPLOAD + reset("PROTOCOL_ERROR"),
    ),
    "frames of unknown types and PRIORITY": (
        headers(1, GET) + f.frame(0x10, 0, 0, b"0123") + f.frame(0xBE, 0xFF, 1, b"")
        + f.frame(f.PRIORITY, 0, 5, bytes(5)),
        BOTH,
    ),
    "unknown settings": (f.settings([(0x99, 1), (0x3, 0), (0x6, 5)]) + headers(1, GET), ["0 SettingsChanged", *BOTH]),
    "priority and padding in HEADERS": (
        f.frame(f.HEADERS, 0x2D, 1, b"\x03" + bytes(5) + block(GET) + bytes(3)), BOTH
    ),
    "priority in HEADERS": (f.frame(f.HEADERS, 0x25, 1, bytes(5) + block(GET)), BOTH),
    "padded DATA": (
        upload(1) + f.frame(f.DATA, f.PADDED, 1, b"\x02hello\0\0")
        + f.frame(f.DATA, f.PADDED | f.END_STREAM, 1, b"\0!"),
        [*UPLOAD, "1 Data hello!", "1 EndOfMessage"],
    ),
    "section in pieces": (
        f.frame(f.HEADERS, f.END_STREAM, 1, block(GET)[:5]) + f.frame(f.CONTINUATION, 0, 1, block(GET)[5:9])
        + f.frame(f.CONTINUATION, f.END_HEADERS, 1, block(GET)[9:]), BOTH,
    ),
    "reserved bits": (f.frame(f.PING, 0x2, 0x80000000, b"01234567") + headers(0x80000001, GET), BOTH),
}  # fmt: skip

CONNECTION_ENDS: dict[str, tuple[bytes, list[str]]] = {
    "frame too large": (f.frame(f.DATA, 0, 1, b"x" * 16385), failed("FRAME_SIZE_ERROR")),
    "even stream": (headers(2, GET), failed("PROTOCOL_ERROR")),
    "stream begun again": (headers(3, GET) + f.reset(3, 8) + headers(3, GET),
                           [*THIRD, "3 StreamReset CANCEL", *failed("STREAM_CLOSED")]),
    "lower stream, which was passed over": (
        headers(5, GET) + headers(1, GET), ["5 Request GET /", "5 EndOfMessage", *failed("PROTOCOL_ERROR")]
    ),
    "lower stream, which is over": (
        headers(1, GET[1:]) + headers(5, GET) + f.reset(5, 8) + headers(5, GET),
        [*reset("PROTOCOL_ERROR"), "5 Request GET /", "5 EndOfMessage", "5 StreamReset CANCEL",
         *failed("STREAM_CLOSED")],
    ),
    "DATA on a stream that is over": (upload(1) + f.reset(1, 8) + data(1, b"x"),
                                      [*UPLOAD, "1 StreamReset CANCEL", *failed("STREAM_CLOSED")]),
    "HEADERS on the connection": (headers(0, GET), failed("PROTOCOL_ERROR")),
    "DATA on the connection": (data(0, b"x"), failed("PROTOCOL_ERROR")),
    "DATA on an idle stream": (data(1, b"x"), failed("PROTOCOL_ERROR")),
    "DATA on a stream of ours": (data(2, b"x"), failed("PROTOCOL_ERROR")),
    "RST_STREAM on an idle stream": (f.reset(1, 8), failed("PROTOCOL_ERROR")),
    "RST_STREAM on the connection": (f.reset(0, 8), failed("PROTOCOL_ERROR")),
    "RST_STREAM too short": (upload(1) + f.frame(f.RST_STREAM, 0, 1, b"123"), UPLOAD + failed("FRAME_SIZE_ERROR")),
    "WINDOW_UPDATE on an idle stream": (f.window_update(1, 1), failed("PROTOCOL_ERROR")),
    "WINDOW_UPDATE of 0": (f.window_update(0, 0), failed("PROTOCOL_ERROR")),
    "WINDOW_UPDATE too short": (f.frame(f.WINDOW_UPDATE, 0, 0, b"123"), failed("FRAME_SIZE_ERROR")),
    "window too wide": (f.window_update(0, f.HIGHEST_ID), failed("FLOW_CONTROL_ERROR")),
    "SETTINGS on a stream": (f.frame(f.SETTINGS, 0, 1), failed("PROTOCOL_ERROR")),
    "SETTINGS cut": (f.frame(f.SETTINGS, 0, 0, b"12345"), failed("FRAME_SIZE_ERROR")),
    "SETTINGS acknowledged with content": (f.frame(f.SETTINGS, f.ACK, 0, bytes(6)), failed("FRAME_SIZE_ERROR")),
    "SETTINGS acknowledged once more": (f.frame(f.SETTINGS, f.ACK, 0), failed("PROTOCOL_ERROR")),
    "ENABLE_PUSH of 2": (f.settings([(0x2, 2)]), failed("PROTOCOL_ERROR")),
    "INITIAL_WINDOW_SIZE too large": (f.settings([(0x4, 1 << 31)]), failed("FLOW_CONTROL_ERROR")),
    "MAX_FRAME_SIZE too small": (f.settings([(0x5, 16383)]), failed("PROTOCOL_ERROR")),
    "MAX_FRAME_SIZE too large": (f.settings([(0x5, 1 << 24)]), failed("PROTOCOL_ERROR")),
    "ENABLE_CONNECT_PROTOCOL taken back": (f.settings([(0x8, 1)]) + f.settings([(0x8, 0)]),
                                           ["0 SettingsChanged", *failed("PROTOCOL_ERROR")]),
    "SETTINGS widen a window too far": (
        upload(1) + f.window_update(1, f.HIGHEST_ID - 65535) + f.settings([(0x4, 65536)]
    ),
                                        UPLOAD + failed("FLOW_CONTROL_ERROR")),
    "PING on a stream": (f.frame(f.PING, 0, 1, bytes(8)), failed("PROTOCOL_ERROR")),
    "PING too short": (f.frame(f.PING, 0, 0, bytes(7)), failed("FRAME_SIZE_ERROR")),
    "GOAWAY on a stream": (f.frame(f.GOAWAY, 0, 1, bytes(8)), failed("PROTOCOL_ERROR")),
    "GOAWAY too short": (f.frame(f.GOAWAY, 0, 0, bytes(7)), failed("FRAME_SIZE_ERROR")),
    "PRIORITY on the connection": (f.frame(f.PRIORITY, 0, 0, bytes(5)), failed("PROTOCOL_ERROR")),
    "PRIORITY too short": (f.frame(f.PRIORITY, 0, 1, bytes(4)), failed("FRAME_SIZE_ERROR")),
    "PUSH_PROMISE": (f.frame(f.PUSH_PROMISE, 4, 1, bytes(4)), failed("PROTOCOL_ERROR")),
    "CONTINUATION of nothing": (f.frame(f.CONTINUATION, 4, 1, b""), failed("PROTOCOL_ERROR")),
    "CONTINUATION of another stream": (
        headers(1, GET, flags=0) + f.frame(f.CONTINUATION, 4, 3, b""), failed("PROTOCOL_ERROR")
    ),
    "a frame amid a section": (headers(1, GET, flags=0) + f.ping(bytes(8)), failed("PROTOCOL_ERROR")),
    "empty CONTINUATION": (headers(1, GET, flags=0) + f.frame(f.CONTINUATION, 0, 1), failed("ENHANCE_YOUR_CALM")),
    "many CONTINUATION": (
        headers(1, GET, flags=0) + f.frame(f.CONTINUATION, 0, 1, b"\x82") * 9, failed("ENHANCE_YOUR_CALM")
    ),
    "large CONTINUATION": (
        headers(1, GET, flags=0) + f.frame(f.CONTINUATION, 0, 1, b"\x82" * 16384) * 4, failed("ENHANCE_YOUR_CALM")
    ),
    "padding larger than HEADERS": (f.frame(f.HEADERS, 0xC, 1, b"\x05\x82"), failed("PROTOCOL_ERROR")),
    "HEADERS without room for padding": (f.frame(f.HEADERS, 0xC, 1, b""), failed("FRAME_SIZE_ERROR")),
    "HEADERS without room for priority behind padding": (
        f.frame(f.HEADERS, 0x2C, 1, b"\0" + bytes(4)), failed("FRAME_SIZE_ERROR")
    ),
    "HEADERS without room for priority": (f.frame(f.HEADERS, 0x24, 1, b"\x82"), failed("FRAME_SIZE_ERROR")),
    "padding larger than DATA": (
        upload(1) + f.frame(f.DATA, f.PADDED, 1, b"\x02\0"), UPLOAD + failed("PROTOCOL_ERROR")
    ),
    "DATA without room for padding": (upload(1) + f.frame(f.DATA, f.PADDED, 1), UPLOAD + failed("FRAME_SIZE_ERROR")),
    "HPACK index beyond the table": (f.frame(f.HEADERS, 5, 1, b"\xff\x7f"), failed("COMPRESSION_ERROR")),
    "HPACK cut short": (f.frame(f.HEADERS, 5, 1, b"\x40"), failed("COMPRESSION_ERROR")),
}  # fmt: skip


def pieces(received: bytes, size: int) -> list[bytes]:
    return [received[i : i + size] for i in range(0, len(received), size)]


@pytest.mark.parametrize("size", [1 << 20, 1], ids=["whole", "bytes"])
@pytest.mark.parametrize("row", STREAM_ENDS)
def test_fault_of_a_stream_leaves_the_others_alone(row: str, size: int, server: Any) -> None:
    received, expected = STREAM_ENDS[row]
    side = server()
    assert side.gets(*pieces(received + GOOD, size)) == expected + THIRD
    assert not side.engine.failed
    resets = [name for name in side.sends() if name.startswith("RstStream")]
    assert resets == [f"RstStream 1 {name.split()[2]}" for name in expected if name.endswith(" local")]


@pytest.mark.parametrize("size", [1 << 20, 1], ids=["whole", "bytes"])
@pytest.mark.parametrize("row", CONNECTION_ENDS)
def test_fault_of_the_connection_is_its_last_event(row: str, size: int, server: Any) -> None:
    received, expected = CONNECTION_ENDS[row]
    side = server()
    assert side.gets(*pieces(received + GOOD, size)) == expected
    assert side.engine.failed
    assert side.sends()[-1].split()[0::2] == ["GoAway", expected[-1].split()[-1]]
    assert side.gets(GOOD) == []
    assert not side.engine.has_output


BEFORE_SETTINGS = {
    "HTTP/1": (b"GET / HTTP/1.1\r\n", failed("PROTOCOL_ERROR")),
    "preface with a fault": (f.PREFACE[:-1] + b"x", failed("PROTOCOL_ERROR")),
    "another frame": (f.PREFACE + f.ping(bytes(8)), failed("PROTOCOL_ERROR")),
    "DATA": (f.PREFACE + data(1, b""), failed("PROTOCOL_ERROR")),
    "acknowledgement": (f.PREFACE + f.frame(f.SETTINGS, f.ACK, 0), failed("PROTOCOL_ERROR")),
    "SETTINGS": (f.PREFACE + f.settings([]), ["0 SettingsChanged"]),
}


@pytest.mark.parametrize("size", [1 << 20, 1], ids=["whole", "bytes"])
@pytest.mark.parametrize("row", BEFORE_SETTINGS)
def test_connection_begins_with_the_preface_and_settings(row: str, size: int, side: Any) -> None:
    received, expected = BEFORE_SETTINGS[row]
    fresh = side(H2Engine(SERVER))
    assert fresh.engine.awaits_preface
    assert fresh.gets(*pieces(received, size)) == expected
    sent = fresh.sends()
    assert sent[0] == "Settings"
    assert sent[-1] == ("GoAway 0 PROTOCOL_ERROR" if fresh.engine.failed else "Settings ACK")


def flood(make: Callable[[int], bytes], count: int) -> bytes:
    return b"".join(make(number) for number in range(count))


# What every server must survive: (frames in one go, how many of them are too many)
FLOODS: dict[str, Callable[[int], bytes]] = {
    "PING": lambda n: f.ping(bytes(8)),
    "SETTINGS": lambda n: f.settings([]),
    "PRIORITY": lambda n: f.frame(f.PRIORITY, 0, 1, bytes(5)),
    "unknown frames": lambda n: f.frame(0x77, 0, 0),
    "empty DATA": lambda n: data(1),
    "WINDOW_UPDATE that nobody needs": lambda n: f.window_update(1, 1),
    "WINDOW_UPDATE of the connection": lambda n: f.window_update(0, 1),
    "RST_STREAM of streams that are over": lambda n: f.reset(3, 8),
    "rapid reset": lambda n: headers(2 * n + 5, GET) + f.reset(2 * n + 5, 8),
    "faults": lambda n: headers(2 * n + 5, GET[1:]),
    "streams beyond the bound": lambda n: headers(2 * n + 5, GET),
    "GOAWAY": lambda n: f.goaway(0, 0),
    "empty DATA after a reset": lambda n: data(7),
}


@pytest.mark.parametrize("row", FLOODS)
def test_flood_ends_the_connection(row: str, server: Any) -> None:
    side = server(upload(1) + upload(3) + f.reset(3, 8))
    if "after" in row:
        side.gets(upload(7, (b"content-length", b"3")) + data(7, b"four"))
    events = side.gets(flood(FLOODS[row], 1200))
    assert events[-1] == "0 ConnectionFailed ENHANCE_YOUR_CALM"
    assert side.sends()[-1].endswith("ENHANCE_YOUR_CALM")


def test_rapid_reset_is_stopped_after_two_hundred(server: Any) -> None:
    side = server()
    events = side.gets(flood(lambda n: headers(2 * n + 1, GET) + f.reset(2 * n + 1, 8), 300))
    # the applications of a hundred are running: the others are refused at once
    assert events.count("0 ConnectionFailed ENHANCE_YOUR_CALM") == 1
    assert sum(" Request " in event for event in events) == 100


def test_allowance_recovers_with_time(server: Any) -> None:
    side = server()
    for second in range(60):
        assert side.gets(f.ping(bytes(8)) * 100, now=float(second)) == []
        side.sends()


def test_allowance_recovers_with_requests_that_are_finished(server: Any) -> None:
    side = server()
    for number in range(1, 2000, 2):
        side.gets(headers(number, GET) + f.ping(bytes(8)) * 4)
        stream = side.stream(number)
        side.engine.send_head(stream, Response(status_code=204), end=True)
        side.engine.release(stream)
        side.sends()
        side.events.clear()
    assert not side.engine.failed
    assert side.engine.tokens == 1000


def test_answers_that_are_not_read_end_the_connection(server: Any) -> None:
    side = server(h2_limits=H2Limits(tokens=1 << 30))
    assert side.gets(f.ping(bytes(8)) * 4096) == []
    assert side.gets(f.ping(bytes(8))) == failed("ENHANCE_YOUR_CALM")
    assert side.sends() == ["GoAway 0 ENHANCE_YOUR_CALM"]


def test_streams_beyond_the_bound_are_refused_and_the_others_live(server: Any) -> None:
    """pgjones/hypercorn#335."""
    side = server()
    events = side.gets(flood(lambda n: headers(2 * n + 1, GET), 120))
    assert events[:4] == [*BOTH, "3 Request GET /", "3 EndOfMessage"]
    assert events[200:] == [f"{2 * n + 1} StreamReset REFUSED_STREAM local retryable" for n in range(100, 120)]
    assert side.engine.taken_slots == 100
    assert side.sends() == [f"RstStream {2 * n + 1} REFUSED_STREAM" for n in range(100, 120)]


def test_slot_is_taken_until_the_application_has_ended(server: Any) -> None:
    side = server(headers(1, GET) + f.reset(1, 8))
    assert side.engine.taken_slots == 1
    side.engine.release(side.stream(1))
    assert side.engine.taken_slots == 0
    side.engine.release(side.stream(1))
    assert side.engine.taken_slots == 0


def test_bomb_is_answered_and_the_connection_lives(server: Any) -> None:
    bomb = block(GET) + b"\x40\x01a" + b"\x7f\xa1\x1e" + b"x" * 4000 + b"\xbe" * 7000
    side = server()
    assert side.gets(f.frame(f.HEADERS, 5, 1, bomb)) == ["1 RequestRefused 431"]
    good = f.frame(f.HEADERS, 5, 3, block(GET) + b"\xbe")
    assert side.gets(good) == THIRD
    assert side.engine.taken_slots == 2


def test_many_fields_are_refused_with_431(server: Any) -> None:
    side = server()
    assert side.gets(headers(1, GET + [(b"x", b"y")] * 100)) == BOTH
    assert side.gets(headers(3, GET + [(b"x", b"y")] * 120)) == ["3 RequestRefused 431"]


def test_old_resets_are_forgotten_in_favour_of_the_peer(server: Any) -> None:
    side = server(h2_limits=H2Limits(tokens=1 << 30))
    side.gets(flood(lambda n: headers(2 * n + 1, GET[1:]), 2000))
    side.sends()
    side.gets(data(1, b"late") + data(3999, b"late"))
    assert not side.engine.failed
