"""The client's HTTP/2 driver against servers that break the rules: what it says to them, and what its user hears.

What the engine makes of each frame has tests of its own; here it is the whole client, on a socket, with two requests
under way. A fault in a stream costs that stream, a fault in the connection all of them, and nobody waits for ever.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

import gevent
import pytest
from frameserver import FrameServer
from gevent.event import Event

from gruvihttp import Http2Client, HttpError, StreamError
from gruvihttp.sansio import frames as f
from gruvihttp.sansio.h2errors import ErrorCode as E
from gruvihttp.sansio.h2settings import INITIAL_WINDOW_SIZE

GUARD = 10.0
Converse = Callable[..., Http2Client]
Say = Callable[[FrameServer], bytes]

# What is said while streams 1 and 3 wait for their answers, and the code of RST_STREAM for stream 1
STREAM_FAULTS: dict[str, tuple[Say, int]] = {
    "no :status": (lambda s: s.section(1, ("a", "b"), end=True), E.PROTOCOL_ERROR),
    ":status twice": (lambda s: s.section(1, (":status", "200"), (":status", "200")), E.PROTOCOL_ERROR),
    ":status not a number": (lambda s: s.section(1, (":status", "2OO")), E.PROTOCOL_ERROR),
    ":status 101": (lambda s: s.head(1, 101), E.PROTOCOL_ERROR),
    "pseudo-field of requests": (lambda s: s.section(1, (":status", "200"), (":path", "/")), E.PROTOCOL_ERROR),
    "pseudo-field behind others": (lambda s: s.section(1, ("a", "b"), (":status", "200")), E.PROTOCOL_ERROR),
    "upper-case name": (lambda s: s.head(1, 200, ("Name", "v")), E.PROTOCOL_ERROR),
    "name with a blank": (lambda s: s.head(1, 200, ("na me", "v")), E.PROTOCOL_ERROR),
    "value with CR": (lambda s: s.head(1, 200, ("name", "a\rb")), E.PROTOCOL_ERROR),
    "value with NUL": (lambda s: s.head(1, 200, ("name", "a\0b")), E.PROTOCOL_ERROR),
    "connection field": (lambda s: s.head(1, 200, ("connection", "close")), E.PROTOCOL_ERROR),
    "transfer-encoding": (lambda s: s.head(1, 200, ("transfer-encoding", "chunked")), E.PROTOCOL_ERROR),
    "two lengths": (lambda s: s.head(1, 200, ("content-length", "1"), ("content-length", "2")), E.PROTOCOL_ERROR),
    "length that is none": (lambda s: s.head(1, 200, ("content-length", "+1")), E.PROTOCOL_ERROR),
    "1xx that ends": (lambda s: s.head(1, 103, end=True), E.PROTOCOL_ERROR),
    "content before the head": (lambda s: s.data(1, b"x"), E.PROTOCOL_ERROR),
    "more content than announced": (
        lambda s: s.head(1, 200, ("content-length", "1")) + s.data(1, b"xy"), E.PROTOCOL_ERROR),
    "less content than announced": (
        lambda s: s.head(1, 200, ("content-length", "2")) + s.data(1, b"x", end=True), E.PROTOCOL_ERROR),
    "trailers without the end": (lambda s: s.head(1) + s.section(1, ("a", "b")), E.PROTOCOL_ERROR),
    "trailers with a pseudo-field": (
        lambda s: s.head(1) + s.section(1, (":status", "200"), end=True), E.PROTOCOL_ERROR),
    "more than the stream's window": (
        lambda s: s.head(1) + b"".join(s.data(1, bytes(16384)) for _ in range(5)), E.FLOW_CONTROL_ERROR),
    "WINDOW_UPDATE of 0": (lambda s: f.window_update(1, 0), E.PROTOCOL_ERROR),
    "window beyond 2**31-1": (lambda s: f.window_update(1, 2**31 - 1), E.FLOW_CONTROL_ERROR),
    "fields that are too large": (
        lambda s: s.head(1, 200, *((f"name-{number}", "v" * 1000) for number in range(70))), E.PROTOCOL_ERROR),
}  # fmt: skip


@pytest.mark.parametrize("fault", STREAM_FAULTS)
def test_fault_in_a_stream_costs_that_stream(converse: Converse, fault: str) -> None:
    say, code = STREAM_FAULTS[fault]

    def script(server: FrameServer) -> None:
        server.request()
        server.request()
        for part in _frames_of(say(server)):
            server.say(part)
        codes.append(server.hear("RstStream"))
        server.answer(3, b"fine")
        server.answer(server.request().stream, b"fine as well")
        server.rest()

    codes: list[Any] = []
    client = converse(script, window=65535)
    bad, good = client.request("GET", "/bad"), client.request("GET", "/good")
    with pytest.raises(StreamError, match="broke the rules") as caught:
        bad.getresponse().read()
    assert good.getresponse().read() == b"fine"
    assert client.request("GET", "/").getresponse().read() == b"fine as well"
    assert [(one.stream, one.code) for one in codes] == [(1, code)]
    assert caught.value.error_code == code
    assert not caught.value.retryable


def _frames_of(wire: bytes) -> list[bytes]:
    found = []
    while wire:
        length = int.from_bytes(wire[:3])
        found.append(wire[: 9 + length])
        wire = wire[9 + length :]
    return found


def padded(kind: int, stream: int, content: bytes, padding: int) -> bytes:
    return f.frame(kind, f.PADDED, stream, bytes([padding]) + content)


def bomb() -> bytes:
    """A block that grows beyond all bounds: one large field, and then its index again and again."""
    value = b"v" * 4000
    literal = b"\x40\x01a\x7f" + _hpack_rest(len(value) - 127) + value
    return b"\x88" + literal + b"\xbe" * 16000


def _hpack_rest(number: int) -> bytes:
    spelled = b""
    while number >= 128:
        spelled += bytes([number % 128 + 128])
        number //= 128
    return spelled + bytes([number])


CONNECTION_FAULTS: dict[str, tuple[Say, int]] = {
    "HTTP/1": (lambda s: b"HTTP/1.1 400 Bad Request\r\n\r\n", E.FRAME_SIZE_ERROR),
    "frame that is too large": (lambda s: f.frame(f.DATA, 0, 1, bytes(16385)), E.FRAME_SIZE_ERROR),
    "PUSH_PROMISE": (lambda s: f.frame(f.PUSH_PROMISE, f.END_HEADERS, 1, b"\0\0\0\2\x82"), E.PROTOCOL_ERROR),
    "HEADERS on an idle stream": (lambda s: s.head(99), E.PROTOCOL_ERROR),
    "HEADERS on an even stream": (lambda s: s.head(2), E.PROTOCOL_ERROR),
    "HEADERS on stream 0": (lambda s: s.head(0), E.PROTOCOL_ERROR),
    "DATA on an idle stream": (lambda s: s.data(99, b"x"), E.PROTOCOL_ERROR),
    "DATA on stream 0": (lambda s: s.data(0, b"x"), E.PROTOCOL_ERROR),
    "RST_STREAM of an idle stream": (lambda s: f.reset(99, 0), E.PROTOCOL_ERROR),
    "RST_STREAM of the wrong size": (lambda s: f.frame(f.RST_STREAM, 0, 1, b"\0\0\0"), E.FRAME_SIZE_ERROR),
    "WINDOW_UPDATE of 0": (lambda s: f.window_update(0, 0), E.PROTOCOL_ERROR),
    "window beyond 2**31-1": (lambda s: f.window_update(0, 2**31 - 1), E.FLOW_CONTROL_ERROR),
    "SETTINGS of the wrong size": (lambda s: f.frame(f.SETTINGS, 0, 0, bytes(5)), E.FRAME_SIZE_ERROR),
    "SETTINGS on a stream": (lambda s: f.frame(f.SETTINGS, 0, 1), E.PROTOCOL_ERROR),
    "INITIAL_WINDOW_SIZE beyond 2**31-1": (
        lambda s: f.settings([(INITIAL_WINDOW_SIZE, 2**31)]), E.FLOW_CONTROL_ERROR),
    "MAX_FRAME_SIZE out of range": (lambda s: f.settings([(0x5, 100)]), E.PROTOCOL_ERROR),
    "ENABLE_PUSH of a server": (lambda s: f.settings([(0x2, 1)]), E.PROTOCOL_ERROR),
    "an acknowledgement of nothing": (lambda s: f.frame(f.SETTINGS, f.ACK, 0), E.PROTOCOL_ERROR),
    "PING of the wrong size": (lambda s: f.frame(f.PING, 0, 0, b"1234567"), E.FRAME_SIZE_ERROR),
    "GOAWAY on a stream": (lambda s: f.frame(f.GOAWAY, 0, 1, bytes(8)), E.PROTOCOL_ERROR),
    "GOAWAY that is too short": (lambda s: f.frame(f.GOAWAY, 0, 0, bytes(7)), E.FRAME_SIZE_ERROR),
    "CONTINUATION of nothing": (lambda s: f.frame(f.CONTINUATION, f.END_HEADERS, 1, b"\x88"), E.PROTOCOL_ERROR),
    "frame amid a section": (
        lambda s: f.frame(f.HEADERS, 0, 1, b"\x88") + f.ping(bytes(8)), E.PROTOCOL_ERROR),
    "CONTINUATION flood": (
        lambda s: f.frame(f.HEADERS, 0, 1, b"\x88") + f.frame(f.CONTINUATION, 0, 1, b"\x88") * 20,
        E.ENHANCE_YOUR_CALM),
    "empty CONTINUATION": (
        lambda s: f.frame(f.HEADERS, 0, 1, b"\x88") + f.frame(f.CONTINUATION, 0, 1), E.ENHANCE_YOUR_CALM),
    "PING flood": (lambda s: f.ping(bytes(8)) * 3000, E.ENHANCE_YOUR_CALM),
    "SETTINGS flood": (lambda s: f.settings([]) * 3000, E.ENHANCE_YOUR_CALM),
    "empty DATA flood": (lambda s: s.head(1) + s.data(1) * 3000, E.ENHANCE_YOUR_CALM),
    "PRIORITY flood": (lambda s: f.frame(f.PRIORITY, 0, 1, bytes(5)) * 3000, E.ENHANCE_YOUR_CALM),
    "unknown frames without end": (lambda s: f.frame(0xBE, 0, 0, b"?") * 3000, E.ENHANCE_YOUR_CALM),
    "block that is no HPACK": (lambda s: f.frame(f.HEADERS, f.END_HEADERS, 1, b"\xff\xff\xff\xff\xff"),
                               E.COMPRESSION_ERROR),
    "more padding than frame": (lambda s: padded(f.HEADERS, 1, b"\x88", 9), E.PROTOCOL_ERROR),
}  # fmt: skip


@pytest.mark.parametrize("fault", CONNECTION_FAULTS)
def test_fault_in_the_connection_ends_everything_at_once(converse: Converse, fault: str) -> None:
    say, code = CONNECTION_FAULTS[fault]

    def script(server: FrameServer) -> None:
        server.request()
        server.request()
        server.say(say(server))
        goaways.append(server.hear("GoAway").code)
        server.rest()

    def read_answer(request: Any) -> None:
        request.getresponse().read()

    goaways: list[Any] = []
    client = converse(script, window=65535)
    requests = [client.request("GET", "/"), client.request("GET", "/")]
    for request in requests:
        with pytest.raises(StreamError, match="broke the rules") as caught:
            read_answer(request)
        assert caught.value.error_code == code
    with pytest.raises(HttpError, match="cannot be used any more"):
        client.request("GET", "/")
    client.close()
    gevent.idle()
    assert goaways == [code]


def test_first_frame_that_is_not_settings_ends_everything(converse: Converse) -> None:
    def script(server: FrameServer) -> None:
        server.request()
        server.say(f.ping(bytes(8)))
        server.rest()

    client = converse(script, settings=None)
    with pytest.raises(StreamError, match="no SETTINGS at the beginning"):
        client.request("GET", "/").getresponse()


def test_server_of_http1_is_recognized(converse: Converse, serve: Any) -> None:
    def script(peer: Any) -> None:
        peer.read(24)
        peer.send(b"HTTP/1.1 505 HTTP Version Not Supported\r\nContent-Length: 0\r\n\r\n")

    with Http2Client(GUARD) as client:
        client.connect(serve(script).address, ssl=False)
        with pytest.raises(StreamError, match="as if it were not HTTP/2") as caught:
            client.request("GET", "/").getresponse()
    assert caught.value.error_code == E.PROTOCOL_ERROR


def test_hpack_bomb_is_not_let_off(converse: Converse) -> None:
    def script(server: FrameServer) -> None:
        server.request()
        server.say(f.head(bomb(), end=True, stream_id=1, frame_bytes=16384))
        server.hear("RstStream")
        server.rest()

    client = converse(script)
    with pytest.raises(StreamError):
        client.request("GET", "/").getresponse()


def test_good_events_before_a_fault_stand(converse: Converse) -> None:
    def script(server: FrameServer) -> None:
        server.request()
        server.request()
        server.say(server.head(1) + server.data(1, b"whole", end=True) + server.head(3) + server.data(3, b"half")
                   + f.frame(f.PING, 0, 1, bytes(8)))  # fmt: skip
        server.rest()

    client = converse(script)
    first, second = client.request("GET", "/"), client.request("GET", "/")
    assert first.getresponse().read() == b"whole"
    response = second.getresponse()
    assert response.read(4) == b"half"
    with pytest.raises(StreamError):
        response.read()


# what is strange and no fault


def test_padding_is_no_content_and_counts_for_the_windows(converse: Converse) -> None:
    def script(server: FrameServer) -> None:
        server.request()
        server.say(server.head(1))
        room = 65535
        for _ in range(128):  # 32 KiB of padding, for which nobody asks
            server.say(padded(f.DATA, 1, b"x" * 256 + bytes(255), 255))
            room -= 512
            while room < 512:
                update = server.hear("WindowUpdate")
                room += (update.increment or 0) if update.stream else 0
        server.say(f.frame(f.DATA, f.PADDED | f.END_STREAM, 1, b"\x03end" + bytes(3)))
        server.rest()

    response = converse(script, window=65535).request("GET", "/").getresponse()
    assert response.read() == b"x" * (128 * 256) + b"end"


def test_fields_of_priority_and_unknown_frames_and_settings_mean_nothing(converse: Converse, piecewise: bool) -> None:
    def script(server: FrameServer) -> None:
        server.request()
        block = b"\x88"
        server.say(
            f.frame(0xFA, 0xFF, 1, b"whatever"),
            f.settings([(0xFFFF, 7), (0x8, 0)]),
            f.frame(f.HEADERS, f.END_HEADERS | f.PRIORITY_FIELDS, 1, bytes(5) + block),
            f.frame(f.PRIORITY, 0, 1, bytes(5)),
            server.data(1),
            server.data(1, b"fine", end=True),
        )
        server.rest()

    assert converse(script, piecewise=piecewise).request("GET", "/").getresponse().read() == b"fine"


def test_section_may_come_in_parts(converse: Converse, piecewise: bool) -> None:
    def script(server: FrameServer) -> None:
        server.request()
        head = server.head(1, 200, ("name", "value"))[9:]
        server.say(f.frame(f.HEADERS, f.END_STREAM, 1, head[:2]), f.frame(f.CONTINUATION, 0, 1, head[2:4]))
        server.say(f.frame(f.CONTINUATION, f.END_HEADERS, 1, head[4:]))
        server.rest()

    response = converse(script, piecewise=piecewise).request("GET", "/").getresponse()
    assert (response.get_header("Name"), response.read()) == ("value", b"")


@pytest.mark.parametrize("late", ["content", "head", "window", "reset"])
def test_what_comes_late_for_a_stream_that_was_reset_is_no_fault(converse: Converse, late: str) -> None:
    def script(server: FrameServer) -> None:
        server.request()
        server.hear("RstStream")
        says = {
            "content": server.head(1) + server.data(1, bytes(10000), end=True),
            "head": server.head(1, 200, ("set-cookie", "a=b"), end=True),
            "window": f.window_update(1, 10),
            "reset": f.reset(1, 8),
        }
        server.say(says[late])
        server.answer(server.request().stream, b"next")
        server.rest()

    client = converse(script)
    request = client.request("GET", "/", body=None)
    asking = gevent.spawn(request.getresponse)
    client.ping()
    asking.kill()
    assert client.request("GET", "/").getresponse().read() == b"next"


def test_content_for_streams_that_were_reset_gives_the_connection_its_credit_back(converse: Converse) -> None:
    """httpcore never does, so that the connection runs dry (encode/httpcore#943, h2#1210)."""

    def script(server: FrameServer) -> None:
        room = 1 << 20
        for _ in range(40):
            stream = server.request().stream
            server.say(server.head(stream), server.data(stream, bytes(16384)))
            server.hear("RstStream")
            server.say(server.data(stream, bytes(16384)), server.data(stream, bytes(16384)))  # it was under way
            room -= 3 * 16384
            room += sum(one.increment or 0 for one in server.of_kind("WindowUpdate") if not one.stream) - sum(told)
            told[:] = [one.increment or 0 for one in server.of_kind("WindowUpdate") if not one.stream]
            assert room > 0
        stream = server.request().stream
        server.say(server.head(stream), server.data(stream, b"through", end=True))
        server.rest()

    told: list[int] = [(1 << 20) - 65535]
    client = converse(script)
    for _ in range(40):
        client.request("GET", "/").getresponse().close()
        client.ping()
    assert client.request("GET", "/").getresponse().read() == b"through"


def test_goaway_in_two_steps_takes_no_stream_back(converse: Converse) -> None:
    def script(server: FrameServer) -> None:
        stream = server.request().stream
        server.say(f.goaway(2**31 - 1, 0))
        server.sync()
        server.say(f.goaway(stream, 0))
        server.sync()
        server.answer(stream, b"last")
        server.rest()

    assert converse(script).request("GET", "/").getresponse().read() == b"last"


def test_goaway_that_raises_its_last_stream_again_changes_nothing(converse: Converse) -> None:
    def script(server: FrameServer) -> None:
        server.request()
        server.request()
        server.say(f.goaway(1, 0), f.goaway(3, 0))
        server.answer(1, b"first")
        server.rest()

    client = converse(script)
    first, second = client.request("GET", "/"), client.request("GET", "/")
    assert first.getresponse().read() == b"first"
    with pytest.raises(StreamError) as caught:
        second.getresponse()
    assert caught.value.retryable


def test_server_that_reads_no_answers_to_its_pings_is_left(converse: Converse) -> None:
    """Answers pile up because the server does not read: that ends the connection, in bounded memory."""

    def script(server: FrameServer) -> None:
        server.request()
        with gevent.Timeout(GUARD):
            while not over.is_set():
                server.peer.channel.send(f.ping(struct.pack(">Q", 7)) * 400, stall=0.1)
                gevent.sleep(0)

    over = Event()
    client = converse(script)
    with pytest.raises(HttpError):
        client.request("GET", "/").getresponse()
    over.set()
