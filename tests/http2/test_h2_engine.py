"""The engine in both roles, beyond what a peer does wrong: heads, windows, ends, resets, GOAWAY and settings."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import hpack
import hyperframe.frame
import pytest

from gruvihttp.errors import LocalProtocolError
from gruvihttp.limits import H2Limits
from gruvihttp.sansio import CLIENT, SERVER, Headers, InformationalResponse, Request, Response
from gruvihttp.sansio import frames as f
from gruvihttp.sansio.h2errors import ErrorCode
from gruvihttp.sansio.h2events import GoAwayReceived, SettingsChanged
from gruvihttp.sansio.h2sender import LOW_WATER_BYTES
from gruvihttp.sansio.h2settings import Settings
from gruvihttp.sansio.http2 import H2Engine

GET = Request(method="GET", target="/", headers=[("Host", "a")])
POST = Request(method="POST", target="/", headers=[("Host", "a")])
OK = Response(status_code=200)
SENT_GET = "END_STREAM :method=GET :authority=a :scheme=https :path=/"
SENT_POST = ":method=POST :authority=a :scheme=https :path=/"

CANCEL = ErrorCode.CANCEL


def headers(stream_id: int, *fields: tuple[bytes, bytes], end: bool = False) -> bytes:
    flags = f.END_HEADERS | (f.END_STREAM if end else 0)
    return f.frame(f.HEADERS, flags, stream_id, hpack.Encoder().encode(fields))


def answer(stream_id: int, status: bytes = b"200", *, end: bool = True) -> bytes:
    return headers(stream_id, (b":status", status), end=end)


def request(stream_id: int, *, end: bool = True, method: bytes = b"GET") -> bytes:
    fields = [(b":method", method), (b":scheme", b"https"), (b":authority", b"a"), (b":path", b"/")]
    return headers(stream_id, *fields, end=end)


def data(stream_id: int, content: bytes = b"", *, end: bool = False) -> bytes:
    return f.frame(f.DATA, f.END_STREAM if end else 0, stream_id, content)


# frames

FRAMES: dict[str, tuple[bytes, Any]] = {
    "RST_STREAM": (f.reset(3, 8), hyperframe.frame.RstStreamFrame(3, error_code=8)),
    "WINDOW_UPDATE": (f.window_update(3, 99), hyperframe.frame.WindowUpdateFrame(3, window_increment=99)),
    "SETTINGS": (f.settings([(1, 2), (4, 5)]), hyperframe.frame.SettingsFrame(0, settings={1: 2, 4: 5})),
    "PING": (f.ping(b"01234567", ack=True), hyperframe.frame.PingFrame(0, b"01234567", flags=["ACK"])),
    "GOAWAY": (f.goaway(5, 2, b"x"), hyperframe.frame.GoAwayFrame(0, 5, 2, b"x")),
    "HEADERS": (
        f.head(b"abc", end=True, stream_id=7, frame_bytes=16384),
        hyperframe.frame.HeadersFrame(7, b"abc", flags=["END_HEADERS", "END_STREAM"]),
    ),
    "DATA": (f.data_head(70000, 0, 7) + b"x" * 70000, hyperframe.frame.DataFrame(7, b"x" * 70000)),
}


@pytest.mark.parametrize("row", FRAMES)
def test_frame_is_what_others_write(row: str) -> None:
    ours, theirs = FRAMES[row]
    assert ours == theirs.serialize()


def test_large_section_goes_on_in_continuation() -> None:
    wire = f.head(b"abcdefg", end=True, stream_id=1, frame_bytes=3)
    theirs = [
        hyperframe.frame.HeadersFrame(1, b"abc", flags=["END_STREAM"]),
        hyperframe.frame.ContinuationFrame(1, b"def"),
        hyperframe.frame.ContinuationFrame(1, b"g", flags=["END_HEADERS"]),
    ]
    assert wire == b"".join(frame.serialize() for frame in theirs)


# beginning

def test_client_begins_with_preface_settings_and_a_wider_window(side: Any) -> None:
    fresh = side(H2Engine(CLIENT))
    assert bytes(fresh.engine.produce(1)[0]).startswith(f.PREFACE + b"\0\0\x12\4")
    assert not fresh.engine.has_output
    assert fresh.engine.awaits_preface and fresh.engine.awaits_acknowledgement


def test_settings_of_a_client_forbid_push_and_open_the_window(side: Any) -> None:
    fresh = side(H2Engine(CLIENT))
    assert fresh.sends() == ["Settings", "WindowUpdate 0 983041"]
    assert fresh.sent[0].settings == {0x2: 0, 0x4: 1 << 20, 0x6: 65536}


def test_settings_of_a_server(side: Any) -> None:
    fresh = side(H2Engine(SERVER))
    fresh.sends()
    assert fresh.sent[0].settings == {0x3: 100, 0x4: 65536, 0x6: 65536, 0x9: 1}


def test_settings_that_differ_from_defaults_are_said(side: Any) -> None:
    settings = Settings(
        header_table_bytes=0, frame_bytes=1 << 15, connect_protocol=True, connection_window_bytes=65535, window_bytes=7,
        widest_window_bytes=7,
    )  # fmt: skip
    fresh = side(H2Engine(SERVER, settings))
    assert fresh.sends() == ["Settings"]
    assert fresh.sent[0].settings == {0x1: 0, 0x3: 100, 0x4: 7, 0x5: 1 << 15, 0x6: 65536, 0x8: 1, 0x9: 1}


def test_settings_of_limits_are_theirs() -> None:
    assert Settings.within(H2Limits()) == Settings()
    limits = H2Limits(concurrent_streams=5, window_bytes=9)
    assert Settings.within(limits, connect_protocol=True) == Settings(
        concurrent_streams=5, window_bytes=9, connect_protocol=True
    )


BAD_SETTINGS: dict[str, dict[str, int]] = {
    "frame too small": {"frame_bytes": 100},
    "window of nothing": {"window_bytes": 0},
    "window wider than the widest": {"window_bytes": 1 << 21},
    "connection's window too small": {"connection_window_bytes": 100},
    "table below nothing": {"header_table_bytes": -1},
    "streams below nothing": {"concurrent_streams": -1},
}


@pytest.mark.parametrize("row", BAD_SETTINGS)
def test_settings_that_cannot_be_are_refused(row: str) -> None:
    with pytest.raises(ValueError, match="must"):
        Settings(**BAD_SETTINGS[row])  # type: ignore[arg-type]  # whichever it is


def test_head_leaves_before_the_servers_settings_and_content_after_them(side: Any) -> None:
    fresh = side(H2Engine(CLIENT))
    stream = fresh.engine.open(POST)
    fresh.engine.offer(stream, b"content")
    assert fresh.sends()[-1] == f"Headers 1 {SENT_POST}"
    assert (fresh.engine.has_output, fresh.engine.window(stream)) == (False, 0)
    fresh.gets(f.settings([(0x4, 4)]))
    assert fresh.engine.window(stream) == 4
    assert fresh.sends() == ["Settings ACK", "Data 1 cont"]


def test_acknowledgement_is_an_event(side: Any) -> None:
    fresh = side(H2Engine(CLIENT))
    assert fresh.gets(f.settings([]), f.frame(f.SETTINGS, f.ACK, 0)) == ["0 SettingsChanged", "0 SettingsAcknowledged"]
    assert not fresh.engine.awaits_acknowledgement


# streams of a client

def test_ids_are_given_in_the_order_of_leaving(client: Any) -> None:
    side = client()
    streams = [side.engine.open(GET, end=True) for _ in range(3)]
    side.engine.reset(streams[0])
    assert [stream.id for stream in streams] == [0, 0, 0]
    assert side.sends() == [f"Headers 1 {SENT_GET}", f"Headers 3 {SENT_GET}"]
    assert [stream.id for stream in streams] == [0, 1, 3]
    assert side.engine.taken_slots == 2


def test_slots_are_bounded_by_the_server(client: Any, side: Any) -> None:
    """A bound that is lowered below what is open means waiting: pydantic/httpx2#1216."""
    limited = client([(0x3, 2)])
    for _ in range(2):
        limited.engine.open(GET, end=True)
    with pytest.raises(LocalProtocolError, match="no more streams"):
        limited.engine.open(GET, end=True)
    limited.sends()
    limited.gets(f.settings([(0x3, 1)]), answer(1))
    assert limited.engine.free_slots == 0
    limited.gets(answer(3))
    assert limited.engine.free_slots == 1
    assert side(H2Engine(CLIENT)).engine.free_slots == 100
    assert client().engine.free_slots > 1 << 30


def test_peer_settings_are_shown(client: Any) -> None:
    side = client([(0x3, 2), (0x6, 99)])
    settings = side.last(SettingsChanged).settings
    assert settings is side.engine.peer_settings
    assert repr(settings) == (
        "<PeerSettings concurrent_streams=2, connect_protocol=False, frame_bytes=16384, list_bytes=99, "
        "window_bytes=65535>"
    )


def test_ids_can_be_used_up(client: Any) -> None:
    side = client()
    side.engine._sender.next_id = f.HIGHEST_ID
    side.engine.open(GET, end=True)
    with pytest.raises(LocalProtocolError, match="used up"):
        side.engine.open(GET, end=True)


def test_server_opens_no_streams(server: Any) -> None:
    with pytest.raises(LocalProtocolError, match="no stream can be begun"):
        server().engine.open(GET)


def test_client_answers_nothing(client: Any) -> None:
    side = client()
    with pytest.raises(LocalProtocolError, match="cannot be answered"):
        side.engine.send_head(side.engine.open(GET), OK)


def opened(side: Any, event: Request = GET, *, end: bool = True) -> Any:
    stream = side.engine.open(event, end=end)
    side.sends()
    return stream


def test_response_with_everything_is_received(client: Any) -> None:
    side = client()
    stream = opened(side)
    words = side.gets(
        answer(1, b"103", end=False), answer(1, end=False), data(1, b"hello"), headers(1, (b"x", b"y"), end=True)
    )
    assert words == ["1 InformationalResponse 103", "1 Response 200", "1 Data hello", "1 EndOfMessage x=y"]
    assert repr(stream) == "<Stream 1 closed>"
    assert side.engine.taken_slots == 0


CONTENTLESS = {"HEAD": b"200", "GET": b"304", "PUT": b"204"}


@pytest.mark.parametrize("method", CONTENTLESS)
def test_response_without_content_may_end_in_empty_data_and_have_no_other(method: str, client: Any) -> None:
    side = client()
    event = Request(method=method, target="/", headers=[("Host", "a")])
    fields = [(b":status", CONTENTLESS[method])] + [(b"content-length", b"5")] * (method != "PUT")
    for content, expected in ((b"", "EndOfMessage"), (b"x", "StreamReset PROTOCOL_ERROR local")):
        stream = opened(side, event)
        words = side.gets(headers(stream.id, *fields), data(stream.id, content, end=True))
        assert words[1:] == [f"{stream.id} {expected}"]


def test_content_before_the_response_ends_the_stream(client: Any) -> None:
    side = client()
    opened(side)
    assert side.gets(data(1, b"x")) == ["1 StreamReset PROTOCOL_ERROR local"]


def test_tunnel_carries_any_content(client: Any) -> None:
    side = client()
    opened(side, Request(method="CONNECT", target="a:1", headers=[("Host", "a:1")]), end=False)
    words = side.gets(headers(1, (b":status", b"200"), (b"content-length", b"0")), data(1, b"hello"))
    assert words == ["1 Response 200", "1 Data hello"]
    assert side.gets(headers(1, (b"x", b"y"), end=True)) == ["1 StreamReset PROTOCOL_ERROR local"]


def test_refused_connect_is_a_response_as_others(client: Any) -> None:
    side = client()
    opened(side, Request(method="CONNECT", target="a:1", headers=[("Host", "a:1")]), end=False)
    words = side.gets(headers(1, (b":status", b"403"), (b"content-length", b"0")), data(1, b"hello"))
    assert words == ["1 Response 403", "1 StreamReset PROTOCOL_ERROR local"]


def test_early_response_lets_the_upload_be_stopped(client: Any) -> None:
    side = client([(0x4, 3)])
    stream = opened(side, POST, end=False)
    side.engine.offer(stream, b"content")
    assert side.sends() == ["Data 1 con"]
    assert side.gets(answer(1, b"413")) == ["1 Response 413", "1 EndOfMessage"]
    assert repr(stream) == "<Stream 1 open got_end>"
    assert side.gets(f.reset(1, 0)) == ["1 StreamReset NO_ERROR"]
    assert repr(stream) == "<Stream 1 reset 0>"
    side.engine.offer(stream, b"more")
    side.engine.finish(stream)
    assert not side.engine.has_output


def test_cancel_drops_what_is_queued_and_leaves_the_others_alone(client: Any) -> None:
    side = client()
    first, second = opened(side, POST, end=False), opened(side, POST, end=False)
    side.engine.offer(first, b"first")
    side.engine.offer(second, b"second", end=True)
    side.engine.reset(first)
    assert side.sends() == ["RstStream 1 CANCEL", "Data 3 END_STREAM second"]
    late = answer(1, end=False) + data(1, b"late", end=True)
    assert side.gets(late, answer(3)) == ["3 Response 200", "3 EndOfMessage"]
    side.engine.reset(first)
    assert not side.engine.has_output


def test_server_is_not_charged_for_what_was_under_way_when_the_client_cancelled(client: Any) -> None:
    side = client()
    for _ in range(600):
        stream = opened(side)
        side.engine.reset(stream)
        assert side.sends() == [f"RstStream {stream.id} CANCEL"]
        assert side.gets(answer(stream.id, end=False) + data(stream.id, end=True)) == []
    assert not side.engine.failed


@pytest.mark.parametrize(("code", "retryable"), [(7, " retryable"), (2, "")])
def test_reset_by_the_server_says_whether_to_try_again(code: int, retryable: str, client: Any) -> None:
    side = client()
    opened(side)
    assert side.gets(f.reset(1, code)) == [f"1 StreamReset {ErrorCode(code).name}{retryable}"]
    assert side.engine.taken_slots == 0


def test_client_is_not_charged_for_resets(client: Any) -> None:
    side = client()
    for _ in range(300):
        opened(side)
    side.gets(b"".join(f.reset(2 * n + 1, 7) for n in range(300)))
    assert not side.engine.failed


HOSTILE_SERVERS = {
    "PUSH_PROMISE": (f.frame(f.PUSH_PROMISE, 4, 1, bytes(5)), "PROTOCOL_ERROR"),
    "stream of its own": (answer(2), "PROTOCOL_ERROR"),
    "stream that is not begun": (answer(3), "PROTOCOL_ERROR"),
    "ENABLE_PUSH": (f.settings([(2, 1)]), "PROTOCOL_ERROR"),
    "response again": (answer(1) + answer(1), "STREAM_CLOSED"),
    "response again after a reset": (answer(1, end=False) + f.reset(1, 8) + answer(1), "STREAM_CLOSED"),
    "content behind the end": (answer(1) + data(1, b"x", end=True), "STREAM_CLOSED"),
    "content after a reset": (answer(1, end=False) + f.reset(1, 8) + data(1, b"x", end=True), "STREAM_CLOSED"),
    "content of a stream of its own": (data(2, b"x"), "PROTOCOL_ERROR"),
    "reset of a stream of its own": (f.reset(2, 8), "PROTOCOL_ERROR"),
    "window of a stream of its own": (f.window_update(2, 100), "PROTOCOL_ERROR"),
    "section that goes on after its end": (answer(1) + f.frame(f.CONTINUATION, 4, 1, b"\x88"), "PROTOCOL_ERROR"),
    "informational responses": (answer(1, b"100", end=False) * 1100, "ENHANCE_YOUR_CALM"),
    "more than the connection's window": (
        answer(1, end=False) + data(1, b"x" * 16384) * 65, "FLOW_CONTROL_ERROR"
    ),
}  # fmt: skip


@pytest.mark.parametrize("row", HOSTILE_SERVERS)
def test_hostile_server_ends_the_connection(row: str, client: Any) -> None:
    received, code = HOSTILE_SERVERS[row]
    side = client(settings=Settings(window_bytes=1 << 24, widest_window_bytes=1 << 24))
    stream = opened(side)
    assert side.gets(received)[-1] == f"0 ConnectionFailed {code}"
    assert stream.closed
    assert side.sends() == [f"GoAway 0 {code}"]
    with pytest.raises(LocalProtocolError):
        side.engine.open(GET)
    assert side.engine.eof() == []
    side.engine.goaway()
    assert not side.engine.has_output


# ends of the connection

def test_goaway_names_what_can_be_tried_again(client: Any) -> None:
    """Streams below the last one finish: python-hyper/h2#1181."""
    side = client()
    streams = [opened(side) for _ in range(3)]
    streams.append(side.engine.open(GET, end=True))
    words = side.gets(f.goaway(f.HIGHEST_ID, 0), f.goaway(3, 0, b"bye"))
    assert words == [
        f"0 GoAwayReceived {f.HIGHEST_ID} NO_ERROR",
        "0 StreamReset REFUSED_STREAM retryable",
        "0 GoAwayReceived 3 NO_ERROR",
        "5 StreamReset REFUSED_STREAM retryable",
    ]
    assert side.last(GoAwayReceived).debug == b"bye"
    assert (side.engine.takes_streams, side.engine.free_slots) == (False, 0)
    assert side.gets(answer(1), answer(3), f.goaway(7, 0))[-1] == "0 GoAwayReceived 3 NO_ERROR"
    assert [stream.closed for stream in streams] == [True] * 4
    assert side.sends() == []


def test_server_goes_away_in_two_steps(server: Any) -> None:
    side = server(request(1, end=False))
    side.engine.goaway(last=f.HIGHEST_ID)
    assert side.gets(request(3)) == ["3 Request GET /", "3 EndOfMessage"]
    side.engine.goaway()
    assert side.gets(request(5), data(1, b"rest", end=True)) == [
        "5 StreamReset REFUSED_STREAM local retryable",
        "1 Data rest",
        "1 EndOfMessage",
    ]
    assert side.sends() == [f"GoAway {f.HIGHEST_ID} NO_ERROR", "GoAway 3 NO_ERROR", "RstStream 5 REFUSED_STREAM"]


def test_server_hears_of_a_clients_goaway_and_serves_on(server: Any) -> None:
    side = server(request(1))
    assert side.gets(f.goaway(0, 0), request(3)) == ["0 GoAwayReceived 0 NO_ERROR", "3 Request GET /", "3 EndOfMessage"]


def test_client_that_goes_away_opens_no_streams(client: Any) -> None:
    side = client()
    opened(side)
    side.engine.goaway()
    assert side.sends() == ["GoAway 0 NO_ERROR"]
    with pytest.raises(LocalProtocolError):
        side.engine.open(GET)
    assert side.gets(answer(1)) == ["1 Response 200", "1 EndOfMessage"]


def test_end_of_the_bytes_cuts_streams_short(client: Any) -> None:
    side = client()
    opened(side)
    side.engine.open(GET)
    side.events = side.engine.eof()
    assert side.said() == ["1 StreamIncomplete", "0 StreamIncomplete retryable", "0 ConnectionClosed"]
    assert side.engine.eof() == []
    assert side.engine.taken_slots == 0
    with pytest.raises(LocalProtocolError):
        side.engine.open(GET)


def test_ping_comes_back(client: Any) -> None:
    side = client()
    side.engine.ping(b"abcdefgh")
    assert side.sends() == ["Ping"]
    assert side.sent[-1].opaque_data == b"abcdefgh"
    assert side.gets(f.ping(b"abcdefgh", ack=True)) == ["0 PingAcknowledged abcdefgh"]
    with pytest.raises(LocalProtocolError):
        side.engine.ping(b"short")


def test_ping_is_answered(server: Any) -> None:
    side = server(f.ping(b"abcdefgh"))
    assert side.gets(f.ping(b"abcdefgh")) == []
    assert side.sends() == ["Ping ACK"]


# answers of a server

def answering(server: Any, *, end: bool = True) -> tuple[Any, Any]:
    side = server(request(1, end=end))
    return side, side.stream(1)


def test_head_and_short_content_leave_together(server: Any) -> None:
    side, stream = answering(server)
    side.engine.send_head(stream, OK)
    side.engine.offer(stream, b"hello", end=True)
    assert side.engine.has_output
    assert side.sends() == ["Headers 1 :status=200", "Data 1 END_STREAM hello"]
    assert (stream.closed, stream.sent_end) == (True, True)


def test_end_without_content_is_on_the_head_while_that_is_here(server: Any) -> None:
    side, stream = answering(server)
    side.engine.send_head(stream, OK)
    side.engine.finish(stream)
    assert side.sends() == ["Headers 1 END_STREAM :status=200"]


def test_end_without_content_is_empty_data_when_the_head_has_left(server: Any) -> None:
    side, stream = answering(server)
    side.engine.send_head(stream, OK)
    side.sends()
    side.engine.offer(stream, b"", end=True)
    assert side.sends() == ["Data 1 END_STREAM"]


def test_trailers_follow_the_content(server: Any) -> None:
    side, stream = answering(server)
    side.engine.send_head(stream, OK)
    side.engine.offer(stream, b"hello")
    side.engine.finish(stream, Headers.of([("X-Sum", "1"), ("Connection", "close")]))
    assert side.sends() == ["Headers 1 :status=200", "Data 1 hello", "Headers 1 END_STREAM x-sum=1"]
    assert stream.closed


def test_trailers_without_content_follow_the_head(server: Any) -> None:
    side, stream = answering(server)
    side.engine.send_head(stream, OK)
    side.engine.finish(stream, Headers.of([("X-Sum", "1")]))
    assert side.sends() == ["Headers 1 :status=200", "Headers 1 END_STREAM x-sum=1"]


def test_trailers_wait_for_a_window_that_their_content_needs(server: Any) -> None:
    side, stream = answering(server)
    side.gets(f.settings([(0x4, 3)]))
    side.engine.send_head(stream, OK)
    side.engine.offer(stream, b"hello")
    side.engine.finish(stream, Headers.of([("X-Sum", "1")]))
    assert side.sends() == ["Settings ACK", "Headers 1 :status=200", "Data 1 hel"]
    side.gets(f.window_update(1, 100))
    assert side.sends(9 + 2) == ["Data 1 lo"]
    assert side.sends() == ["Headers 1 END_STREAM x-sum=1"]


def test_rest_of_a_request_can_be_declined_after_the_answer(server: Any) -> None:
    side, stream = answering(server, end=False)
    side.engine.send_head(stream, Response(status_code=413))
    side.engine.offer(stream, b"no", end=True)
    side.engine.reset(stream, ErrorCode.NO_ERROR)
    assert side.sends() == ["Headers 1 :status=413", "Data 1 END_STREAM no"]
    assert side.sends() == ["RstStream 1 NO_ERROR"]  # by itself: there are clients that lose what they read with it
    assert side.gets(data(1, b"late", end=True)) == []
    side.engine.release(stream)
    assert side.engine.taken_slots == 0


def test_rest_that_comes_before_it_is_declined_is_for_nobody(server: Any) -> None:
    side, stream = answering(server, end=False)
    side.engine.send_head(stream, Response(status_code=413))
    side.engine.offer(stream, b"no", end=True)
    side.engine.reset(stream, ErrorCode.NO_ERROR)
    assert side.gets(data(1, b"late") + headers(1, (b"x", b"y"), end=True)) == []
    assert side.sends() == ["Headers 1 :status=413", "Data 1 END_STREAM no"]
    assert stream.closed


def test_rest_of_a_request_can_be_declined_when_the_answer_has_left(server: Any) -> None:
    side, stream = answering(server, end=False)
    side.engine.send_head(stream, OK, end=True)
    assert side.sends() == ["Headers 1 END_STREAM :status=200"]
    assert repr(stream) == "<Stream 1 open sent_end>"
    side.engine.reset(stream, ErrorCode.NO_ERROR)
    assert side.sends() == ["RstStream 1 NO_ERROR"]


def test_answer_to_a_stream_that_is_over_is_nothing(server: Any) -> None:
    side, stream = answering(server)
    side.engine.send_head(stream, InformationalResponse(status_code=103))
    side.gets(f.reset(1, 8))
    side.engine.send_head(stream, OK)
    side.engine.offer(stream, b"x", end=True)
    side.engine.credit(stream, 5)
    assert side.sends() == []
    assert not side.engine.has_output


def with_length(server: Any, length: str) -> tuple[Any, Any]:
    side, stream = answering(server)
    side.engine.send_head(stream, Response(status_code=200, headers=[("Content-Length", length)]))
    return side, stream


def test_content_beyond_the_announced_length_is_not_queued(server: Any) -> None:
    side, stream = with_length(server, "5")
    side.engine.offer(stream, b"hell")
    with pytest.raises(LocalProtocolError, match="Too much data"):
        side.engine.offer(stream, b"o!")
    side.engine.offer(stream, b"o", end=True)
    assert side.sends()[1:] == ["Data 1 END_STREAM hello"]


def test_content_short_of_the_announced_length_cannot_be_the_end(server: Any) -> None:
    side, stream = with_length(server, "5")
    with pytest.raises(LocalProtocolError, match="Too little data"):
        side.engine.offer(stream, b"hell", end=True)
    with pytest.raises(LocalProtocolError, match="Too little data"):
        side.engine.finish(stream)
    assert stream.queued_bytes == 0


MISUSES: dict[str, Callable[[Any, Any], Any]] = {
    "head again": lambda engine, stream: engine.send_head(stream, OK),
    "content behind the end": lambda engine, stream: (engine.finish(stream), engine.offer(stream, b"x")),
    "end again": lambda engine, stream: (engine.finish(stream), engine.finish(stream)),
}


@pytest.mark.parametrize("row", MISUSES)
def test_misuse_raises(row: str, server: Any) -> None:
    side, stream = answering(server)
    side.engine.send_head(stream, OK)
    with pytest.raises(LocalProtocolError):
        MISUSES[row](side.engine, stream)
    assert not side.engine.failed


def test_content_needs_a_head(server: Any) -> None:
    side, stream = answering(server)
    with pytest.raises(LocalProtocolError, match="before the head"):
        side.engine.offer(stream, b"x")


BAD_HEADS = {
    "101": (InformationalResponse(status_code=101), False),
    "103 as the end": (InformationalResponse(status_code=103), True),
    "length without content": (Response(status_code=200, headers=[("Content-Length", "5")]), True),
}


@pytest.mark.parametrize("row", BAD_HEADS)
def test_head_that_cannot_be_is_refused(row: str, server: Any) -> None:
    side, stream = answering(server)
    head, end = BAD_HEADS[row]
    with pytest.raises(LocalProtocolError):
        side.engine.send_head(stream, head, end=end)
    assert not side.engine.has_output


# windows

def test_streams_take_turns(server: Any) -> None:
    """No stream keeps a window that another one needs: hyperium/hyper#4003."""
    side = server(request(1), request(3), f.settings([(0x4, 1 << 20)]), f.window_update(0, 1 << 20))
    side.sends()
    for number in (1, 3):
        side.engine.send_head(side.stream(number), OK)
        side.engine.offer(side.stream(number), b"x" * 40000, end=True)
    assert side.engine.ready_streams == [side.stream(1), side.stream(3)]
    words = [" ".join(word.split()[:2]) for word in side.sends()]
    assert words[2:] == ["Data 1", "Data 3", "Data 1", "Data 3", "Data 1", "Data 3"]


def test_limit_bounds_what_is_produced(server: Any) -> None:
    side = server(request(1))
    side.engine.send_head(side.stream(1), OK)
    side.engine.offer(side.stream(1), b"x" * 40000)
    for _ in range(10):
        assert len(b"".join(side.engine.produce(1000))) <= 1000
    assert side.stream(1).queued_bytes > 30000
    assert side.engine.produce(5) == []


def test_control_frames_and_heads_stop_at_the_limit(server: Any) -> None:
    side = server(request(1), request(3), f.ping(bytes(8)), f.ping(bytes(8)))
    side.gets(f.ping(bytes(8)) * 2)
    for number in (1, 3):
        side.engine.send_head(side.stream(number), OK, end=True)
    assert side.sends(10) == ["Ping ACK"]
    assert side.sends(18) == ["Ping ACK", "Headers 1 END_STREAM :status=200"]
    assert side.sends(0) == []
    assert side.sends(1) == ["Headers 3 END_STREAM :status=200"]


def test_small_pieces_share_a_frame_and_large_ones_are_not_copied(server: Any) -> None:
    side = server(request(1))
    side.engine.send_head(side.stream(1), OK)
    large = b"x" * 20000
    for piece in (b"a", b"b", large):
        side.engine.offer(side.stream(1), piece)
    produced = side.engine.produce(1 << 16)
    assert [type(piece) for piece in produced] == [bytes, bytes, bytes, bytes, memoryview, bytes, memoryview]
    assert produced[4].obj is large


def test_content_that_may_change_is_copied(server: Any) -> None:
    side = server(request(1))
    side.engine.send_head(side.stream(1), OK)
    piece = bytearray(b"hello")
    side.engine.offer(side.stream(1), piece)
    side.engine.offer(side.stream(1), memoryview(piece))
    side.engine.offer(side.stream(1), memoryview(b"!"))
    piece[:] = b"XXXXX"
    assert side.sends()[1:] == ["Data 1 hellohello!"]


def test_window_of_one_byte_lets_all_content_through(server: Any) -> None:
    side = server(f.settings([(0x4, 1)]), request(1))
    side.sends()
    stream = side.stream(1)
    side.engine.send_head(stream, OK)
    side.engine.offer(stream, b"hello", end=True)
    sent = side.sends()[1:]
    while not stream.closed:
        assert side.gets(f.window_update(1, 1)) == ["1 WindowOpened"]
        sent += side.sends()
    assert sent == ["Data 1 h", "Data 1 e", "Data 1 l", "Data 1 l", "Data 1 END_STREAM o"]


@pytest.mark.parametrize("first", [0, 1], ids=["connection first", "stream first"])
def test_blocked_upload_goes_on_when_both_windows_are_open(first: int, client: Any) -> None:
    side = client()
    stream = opened(side, POST, end=False)
    side.engine.offer(stream, b"x" * 65540)
    side.sends()
    assert (stream.queued_bytes, side.engine.window(stream), side.engine.has_output) == (5, 0, False)
    assert side.gets(f.window_update(first, 9)) == [f"{first} WindowOpened"]
    assert (side.sends(), side.engine.has_output) == ([], False)
    assert side.gets(f.window_update(1 - first, 3)) == [f"{1 - first} WindowOpened"]
    assert side.sends() == ["Data 1 xxx"]


def test_window_taken_away_by_settings_is_respected(client: Any) -> None:
    """httpcore compares a window with 0, but it can be negative."""
    side = client([(0x4, 100)])
    stream = opened(side, POST, end=False)
    side.engine.offer(stream, b"x" * 300)
    side.sends()
    assert side.gets(f.settings([(0x4, 10)])) == ["0 SettingsChanged"]
    assert stream.send_window == -90
    assert side.gets(f.window_update(1, 90)) == []
    assert (side.sends(), stream.send_window) == (["Settings ACK"], 0)
    assert side.gets(f.settings([(0x4, 15)])) == ["1 WindowOpened", "0 SettingsChanged"]
    assert side.sends() == ["Settings ACK", "Data 1 xxxxx"]


def test_stream_that_lost_its_window_gives_up_its_turn(client: Any) -> None:
    side = client()
    stream = opened(side, POST, end=False)
    side.engine.offer(stream, b"content")
    side.gets(f.settings([(0x4, 0)]))
    assert side.sends() == ["Settings ACK"]
    assert (side.engine.ready_streams, side.engine.has_output) == ([], False)
    side.gets(f.window_update(1, 99))
    assert side.sends() == ["Data 1 content"]


def test_content_fits_into_the_windows_together_with_what_others_have_queued(server: Any) -> None:
    side = server(request(1) + request(3))
    first, second = side.stream(1), side.stream(3)
    for stream in (first, second):
        side.engine.send_head(stream, Response(status_code=200))
        assert side.engine.fits(stream)
        side.engine.offer(stream, bytes(40_000), end=True)
    assert not side.engine.fits(second)
    side.engine.reset(first)
    assert side.engine.fits(second)
    side.sends()
    assert (second.queued_bytes, side.engine.fits(second)) == (0, True)
    side.gets(request(5))
    third = side.stream(5)
    side.engine.send_head(third, Response(status_code=200))
    side.engine.offer(third, bytes(25_535))
    assert side.engine.fits(third)
    side.engine.offer(third, b"x")
    assert not side.engine.fits(third)


def test_queue_that_falls_below_the_mark_is_told_once(client: Any) -> None:
    side = client([(0x4, 1 << 20)])
    side.gets(f.window_update(0, 1 << 20))
    stream = opened(side, POST, end=False)
    side.engine.offer(stream, b"x" * (LOW_WATER_BYTES + 20000))
    side.sends(16384)
    assert side.engine.take_relieved() == []
    side.sends()
    assert (side.engine.take_relieved(), side.engine.take_relieved()) == ([stream], [])


def receiving(server: Any, **settings: Any) -> tuple[Any, Any]:
    side = server(request(1, end=False, method=b"POST"), settings=Settings(**settings))
    side.sends()
    return side, side.stream(1)


def test_connection_is_credited_on_receipt_and_a_stream_on_consumption(server: Any) -> None:
    side, stream = receiving(server, connection_window_bytes=65536, window_bytes=65536)
    side.gets(data(1, b"x" * 16384) * 2)
    assert side.sends() == ["WindowUpdate 0 32768"]
    side.engine.credit(stream, 20000)
    assert side.sends() == []
    side.engine.credit(stream, 12768)
    assert side.sends() == ["WindowUpdate 1 98304"]  # half of it was consumed, and it grew to twice its size


def test_window_that_is_emptied_grows_to_the_widest(server: Any) -> None:
    side, stream = receiving(server, widest_window_bytes=150000)
    sizes = []
    for _ in range(12):
        side.gets(data(1, b"x" * 16384) * 2)
        side.engine.credit(stream, 32768)
        side.sends()
        sizes.append(stream.recv_window + stream.credited)
    assert sizes[-1] == 150000
    assert not side.engine.failed


def test_window_does_not_grow_while_content_lies_there(server: Any) -> None:
    side, stream = receiving(server)
    side.gets(data(1, b"x" * 16384) * 4)
    side.engine.credit(stream, 40000)
    assert side.sends()[-1] == "WindowUpdate 1 40000"


def test_small_window_is_credited_when_it_is_empty(server: Any) -> None:
    side, stream = receiving(server, window_bytes=65535, widest_window_bytes=65535)
    side.gets(data(1, b"x" * 16384))
    side.engine.credit(stream, 16000)
    assert side.sends() == []
    side.engine.credit(stream, 384)
    assert side.sends() == ["WindowUpdate 1 16384"]


def test_padding_is_credited_at_once(server: Any) -> None:
    side, stream = receiving(server, window_bytes=100, widest_window_bytes=100)
    side.gets(f.frame(f.DATA, f.PADDED, 1, b"\x3b" + bytes(59)))
    assert side.sends() == ["WindowUpdate 1 60"]


def test_nothing_is_credited_that_nobody_will_use(server: Any) -> None:
    side, stream = receiving(server)
    side.gets(data(1, b"x" * 16384) * 3)
    side.engine.credit(stream, 40000)
    side.gets(data(1, b"", end=True))
    side.engine.credit(stream, 9152)
    assert side.sends() == []


def test_more_than_was_received_cannot_be_consumed(server: Any) -> None:
    side, stream = receiving(server)
    side.gets(data(1, b"hello"))
    with pytest.raises(LocalProtocolError, match="more consumed"):
        side.engine.credit(stream, 6)


def test_discarded_content_does_not_use_up_the_connection(server: Any) -> None:
    """python-hyper/h2#1210, encode/httpcore#943."""
    side, stream = receiving(server, connection_window_bytes=65535)
    side.engine.reset(stream)
    for _ in range(20):
        side.gets(data(1, b"x" * 16384))
        side.sends()
    assert not side.engine.failed
    assert side.engine.connection.recv_window + side.engine.connection.credited == 65535


def test_content_of_a_frame_that_is_cut_is_handed_on(server: Any) -> None:
    side, stream = receiving(server)
    frame = f.frame(f.DATA, f.PADDED | f.END_STREAM, 1, b"\x02hello\0\0")
    assert side.gets(frame[:9]) == []
    assert side.gets(frame[9:13]) == ["1 Data hel"]
    assert side.gets(frame[13:16]) == ["1 Data lo"]
    assert side.gets(frame[16:]) == ["1 EndOfMessage"]


def test_rest_of_a_cut_frame_is_dropped_after_a_reset(server: Any) -> None:
    side, stream = receiving(server)
    frame = data(1, b"hello", end=True)
    assert side.gets(frame[:11]) == ["1 Data he"]
    side.engine.reset(stream)
    assert side.gets(frame[11:] + request(3)) == ["3 Request GET /", "3 EndOfMessage"]


def test_section_under_way_is_shown(server: Any) -> None:
    side = server()
    whole = request(1)
    side.gets(whole[:5])
    assert side.engine.mid_section
    side.gets(whole[5:])
    assert not side.engine.mid_section
    side.gets(f.frame(f.HEADERS, 0, 3, b""))
    assert side.engine.mid_section


# new settings

def test_narrower_settings_hold_when_they_are_acknowledged(server: Any) -> None:
    side, stream = receiving(server)
    side.engine.set(Settings(window_bytes=10, widest_window_bytes=10, concurrent_streams=1))
    assert side.sends() == ["Settings"]
    assert side.sent[-1].settings == {0x1: 4096, 0x3: 1, 0x4: 10, 0x5: 16384, 0x6: 65536, 0x9: 1}
    assert side.gets(request(3)) == ["3 StreamReset REFUSED_STREAM local retryable"]
    assert side.gets(data(1, b"x" * 11)) == ["1 Data xxxxxxxxxxx"]
    assert side.gets(f.frame(f.SETTINGS, f.ACK, 0)) == ["0 SettingsAcknowledged"]
    assert stream.recv_window == -1
    assert side.gets(data(1, b"x")) == ["1 StreamReset FLOW_CONTROL_ERROR local"]


def test_credit_that_was_held_back_is_given_when_the_window_becomes_narrow(server: Any) -> None:
    side, stream = receiving(server)
    side.gets(data(1, b"x" * 10000))
    side.engine.credit(stream, 10000)
    assert side.sends() == []
    side.engine.set(Settings(window_bytes=1000, widest_window_bytes=1000))
    side.sends()
    side.gets(f.frame(f.SETTINGS, f.ACK, 0))
    assert stream.recv_window == -9000
    assert side.sends() == ["WindowUpdate 1 10000"]


def test_wider_settings_hold_at_once(server: Any) -> None:
    side, stream = receiving(server)
    side.engine.set(Settings(window_bytes=1 << 18, frame_bytes=1 << 17, header_table_bytes=8192))
    assert side.gets(data(1, b"x" * (1 << 17))) == ["1 Data " + "x" * (1 << 17)]
    assert side.gets(f.frame(f.HEADERS, 5, 1, b"\x3f\xe1\x3f" + b"\x00\x01x\x01y")) == ["1 EndOfMessage x=y"]
    side.gets(f.frame(f.SETTINGS, f.ACK, 0))
    assert not side.engine.failed


def test_larger_frames_and_smaller_tables_are_used_when_the_peer_asks(client: Any) -> None:
    side = client([(0x5, 40000), (0x1, 0)])
    stream = opened(side, POST, end=False)
    assert side.sent[-1].data[:1] == b"\x20"
    side.engine.offer(stream, b"x" * 40000)
    assert [len(word) for word in side.sends()] == [len("Data 1 ") + 40000]
