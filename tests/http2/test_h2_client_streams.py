"""The client's HTTP/2 driver against a server that is told every frame: requests, responses, and their ends."""

from __future__ import annotations

import gc
import os
from collections.abc import Callable
from typing import Any

import gevent
import pytest
from frameserver import FrameServer
from gevent.event import Event

from gruvihttp import Http2Client, HttpClient, HttpError, StreamError, Timeout, Timeouts, TransportError
from gruvihttp.errors import IncompleteMessage, RemoteProtocolError
from gruvihttp.sansio import frames as f
from gruvihttp.sansio.h2errors import ErrorCode
from gruvihttp.sansio.h2settings import INITIAL_WINDOW_SIZE, MAX_CONCURRENT_STREAMS

GUARD = 10.0
Converse = Callable[..., Http2Client]


def serving(*answers: bytes) -> Callable[[FrameServer], None]:
    """Answers each request with the next content."""

    def script(server: FrameServer) -> None:
        for content in answers:
            server.answer(server.request().stream, content)
        server.rest()

    return script


def is_clean(client: Http2Client) -> bool:
    """Whether nothing is left over on a connection."""
    engine = client.protocol.connection.engine  # type: ignore[union-attr]
    return not engine.streams and engine.taken_slots == 0


def spawn(function: Callable[..., Any], *arguments: Any) -> gevent.Greenlet[..., Any]:
    """A greenlet that runs until it waits."""
    greenlet = gevent.spawn(function, *arguments)
    gevent.sleep(0)
    return greenlet


# the beginning


def test_preface_and_settings_are_sent_at_once(converse: Converse) -> None:  # T3
    def script(server: FrameServer) -> None:
        heard.append(server.hear())
        done.set()
        server.rest()

    heard: list[Any] = []
    done = Event()
    converse(script)
    assert done.wait(GUARD)
    assert (heard[0].kind, heard[0].ack) == ("Settings", False)
    assert heard[0].settings == {0x2: 0, INITIAL_WINDOW_SIZE: 1 << 20, 0x6: 65536}


def test_pseudo_fields_come_first_and_names_are_in_lower_case(converse: Converse) -> None:  # T7
    def script(server: FrameServer) -> None:
        heard.append(server.request())
        server.answer(heard[0].stream)
        server.rest()

    heard: list[Any] = []
    client = converse(script)
    client.request("GET", "/path?q", [("X-Some", " a b "), ("TE", "trailers")]).getresponse()
    fields = heard[0].fields
    host = f"127.0.0.1:{client.transport.get_extra_info('peername')[1]}"
    assert fields[:4] == [(":method", "GET"), (":authority", host), (":scheme", "http"), (":path", "/path?q")]
    assert [name for name, _ in fields[4:]] == ["user-agent", "x-some", "te"]
    assert dict(fields)["user-agent"].startswith("gruvihttp/")
    assert dict(fields)["x-some"] == "a b"
    assert heard[0].ends


def test_target_may_be_a_whole_url(converse: Converse) -> None:
    def script(server: FrameServer) -> None:
        for _ in range(2):
            heard.append(dict(server.request().fields))
            server.answer(2 * len(heard) - 1)
        server.rest()

    heard: list[dict[str, str]] = []
    client = converse(script)
    client.request("GET", "http://other.example:81/a?b").getresponse()
    client.request("GET", "http://other.example?b").getresponse()
    assert [(one[":authority"], one[":path"]) for one in heard] == [
        ("other.example:81", "/a?b"),
        ("other.example", "/?b"),
    ]


def test_nothing_is_asked_before_settings_are_acknowledged_if_one_waits_for_that(converse: Converse) -> None:  # T4
    def script(server: FrameServer) -> None:
        server.sync()
        early.extend(frame.kind for frame in server.heard)
        server.say(f.frame(f.SETTINGS, f.ACK, 0))
        server.answer(server.request().stream)
        server.rest()

    early: list[str] = []
    client = converse(script, acknowledge=False, wait_for_settings=True)
    assert client.request("GET", "/").getresponse().status == 200
    assert "Headers" not in early


def test_server_that_never_sends_settings_runs_into_a_timeout(converse: Converse) -> None:  # T4
    def script(server: FrameServer) -> None:
        server.rest()
        codes.extend(frame.code for frame in server.of_kind("GoAway"))
        over.set()

    codes: list[int | None] = []
    over = Event()
    client = converse(script, settings=None, timeout=Timeouts(handshake=0.05))
    with pytest.raises(Timeout) as caught:
        client.request("POST", "/", [], b"content")
    assert caught.value.phase == "handshake"
    client.close()
    assert over.wait(GUARD)
    assert codes == [ErrorCode.SETTINGS_TIMEOUT]


@pytest.mark.parametrize(
    ("request_", "error", "match"),
    [
        (("GET", "/", [("Connection", "close")]), ValueError, "Connection"),
        (("GET", "/", [("TE", "gzip")]), ValueError, "TE"),
        (("GET", "no-path"), ValueError, "path"),
        (("GET", "/a#b"), ValueError, "path"),
        (("GET", "/", [("Host", "a b")]), ValueError, "[Hh]ost"),
        (("GET", "/", [("A", "\n")]), ValueError, "control"),
        (("GET", "/", [(1, "a")]), TypeError, "name"),
        (("G T", "/"), ValueError, "method"),
    ],
    ids=str,
)
def test_what_http2_cannot_say_is_refused_and_leaves_no_trace(
    converse: Converse, request_: Any, error: type[Exception], match: str
) -> None:
    client = converse(serving(b"fine"))
    with pytest.raises(error, match=match):
        client.request(*request_)
    assert client.request("GET", "/").getresponse().read() == b"fine"


def test_upgrade_is_refused(converse: Converse) -> None:
    client = converse(serving())
    with pytest.raises(ValueError, match="HTTP/2 has no Upgrade"):
        client.request("GET", "/", upgrade="websocket")


def test_client_before_connecting_and_after_closing_says_so(converse: Converse) -> None:
    client = Http2Client()
    with pytest.raises(HttpError, match="not connected"):
        client.request("GET", "/")
    with pytest.raises(HttpError, match="not connected"):
        client.ping()
    client = converse(serving())
    client.close()
    client.close()
    with pytest.raises(HttpError, match="not connected"):
        client.getresponse()


def test_answer_to_a_ping_that_was_not_sent_is_none(converse: Converse) -> None:
    def script(server: Any) -> None:
        server.answers_pings = False
        server.say(*(f.ping(number.to_bytes(8), ack=True) for number in range(9)))
        server.answer(server.request().stream)
        server.rest()

    client = converse(script)
    assert client.request("GET", "/").getresponse().read() == b""  # so all that was said before it is here
    with pytest.raises(Timeout):
        client.ping(timeout=0.01)


def test_http1_client_has_no_ping() -> None:
    assert not hasattr(HttpClient(), "ping")


# responses


def test_response_has_its_parts(converse: Converse, piecewise: bool) -> None:
    def script(server: FrameServer) -> None:
        stream = server.request().stream
        server.say(
            server.head(stream, 200, ("content-type", "text/plain; charset=utf-8"), ("x", "1"), ("x", "2")),
            server.data(stream, b"con"),
            server.data(stream, b"tent"),
            server.section(stream, ("x-sum", "7"), end=True),
        )
        server.rest()

    client = converse(script, piecewise=piecewise)
    request = client.request("GET", "/")
    response = client.getresponse()
    assert (response.status, response.reason, response.version, str(response.version)) == (200, "", (2, 0), "2.0")
    assert response.headers == [("content-type", "text/plain; charset=utf-8"), ("x", "1"), ("x", "2")]
    assert (response.charset, response.stream_id, response.request) == ("utf-8", 1, request)
    assert response.read() == b"content"
    assert response.trailers == [("x-sum", "7")]
    assert response.get_trailer("X-Sum") == "7"
    assert response.should_keep_alive
    assert response.transport is None
    assert is_clean(client)


def test_responses_come_in_the_order_of_requests_for_one_greenlet(converse: Converse) -> None:
    def script(server: FrameServer) -> None:
        streams = [server.request().stream for _ in range(3)]
        for stream in reversed(streams):
            server.answer(stream, b"answer %d" % stream)
        server.rest()

    client = converse(script)
    for path in ("/a", "/b", "/c"):
        client.request("GET", path)
    assert [client.getresponse().read() for _ in range(3)] == [b"answer 1", b"answer 3", b"answer 5"]
    with pytest.raises(RuntimeError, match="every request has got its response"):
        client.getresponse()


def test_greenlet_whose_requests_are_answered_takes_no_others(converse: Converse) -> None:
    def script(server: FrameServer) -> None:
        for stream in [server.request().stream for _ in range(2)]:
            server.answer(stream, b"answer %d" % stream)
        server.rest()

    client = converse(script)
    client.request("GET", "/mine")
    other = gevent.spawn(client.request, "GET", "/other").get(timeout=GUARD)
    assert client.getresponse().read() == b"answer 1"
    with pytest.raises(RuntimeError, match="this greenlet"):
        client.getresponse()
    assert other.getresponse().read() == b"answer 3"


def test_request_gets_its_own_response_before_earlier_ones(converse: Converse) -> None:
    def script(server: FrameServer) -> None:
        server.request()
        server.answer(server.request().stream, b"second")
        server.answer(1, b"first")
        server.rest()

    client = converse(script)
    first, second = client.request("GET", "/1"), client.request("GET", "/2")
    assert second.getresponse().read() == b"second"
    assert first.getresponse().read() == b"first"
    with pytest.raises(RuntimeError, match="has got its response"):
        first.getresponse()


def test_body_of_the_previous_response_need_not_be_read(converse: Converse) -> None:
    client = converse(serving(b"one", b"two"))
    client.request("GET", "/1")
    client.request("GET", "/2")
    one, two = client.getresponse(), client.getresponse()
    assert (two.read(), one.read()) == (b"two", b"one")


def test_many_greenlets_get_their_own_responses(converse: Converse) -> None:
    def script(server: FrameServer) -> None:
        asked = [server.request() for _ in range(50)]
        for request in reversed(asked):
            server.answer(request.stream, dict(request.fields)[":path"].encode())
        server.rest()

    def ask(number: int) -> bytes:
        client.request("GET", f"/{number}")
        return client.getresponse().read()

    client = converse(script)
    greenlets = [gevent.spawn(ask, number) for number in range(50)]
    gevent.joinall(greenlets, GUARD, raise_error=True)
    assert [greenlet.value for greenlet in greenlets] == [b"/%d" % number for number in range(50)]
    assert is_clean(client)


def test_greenlet_without_requests_gets_the_oldest_one_that_nobody_waits_for(converse: Converse) -> None:
    client = converse(serving(b"one", b"two"))
    client.request("GET", "/1")
    client.request("GET", "/2")
    reading = [spawn(lambda: client.getresponse().read()) for _ in range(2)]
    assert [one.get(timeout=GUARD) for one in reading] == [b"one", b"two"]


def test_second_greenlet_cannot_wait_for_the_same_response(converse: Converse) -> None:
    client = converse(serving())
    request = client.request("GET", "/")
    waiting = spawn(request.getresponse)
    with pytest.raises(RuntimeError, match="another greenlet is waiting"):
        request.getresponse()
    waiting.kill()


def test_second_greenlet_cannot_read_the_same_response(converse: Converse) -> None:
    def script(server: FrameServer) -> None:
        server.say(server.head(server.request().stream))
        server.rest()

    client = converse(script)
    response = client.request("GET", "/").getresponse()
    reading = spawn(response.read)
    with pytest.raises(RuntimeError, match="another greenlet is reading"):
        response.read()
    reading.kill()


def test_head_response_has_no_content(converse: Converse) -> None:
    def script(server: FrameServer) -> None:
        server.say(server.head(server.request().stream, 200, ("content-length", "100"), end=True))
        server.rest()

    response = converse(script).request("HEAD", "/").getresponse()
    assert (response.get_header("Content-Length"), response.read()) == ("100", b"")


def test_informational_responses_are_told_at_once_and_kept(converse: Converse, piecewise: bool) -> None:  # T16
    def script(server: FrameServer) -> None:
        stream = server.request().stream
        server.say(server.head(stream, 103, ("link", "</a>")), server.head(stream, 102))
        assert told.wait(GUARD)
        server.answer(stream, b"final")
        server.rest()

    def tell(request: Any, response: Any) -> None:
        seen.append((request, response.status))
        if len(seen) == 2:
            told.set()

    seen: list[Any] = []
    told = Event()
    client = converse(script, piecewise=piecewise)
    client.protocol.on_informational = tell
    request = client.request("GET", "/")
    response = client.getresponse()
    assert seen == [(request, 103), (request, 102)]
    assert [(one.status, one.headers) for one in response.informational] == [(103, [("link", "</a>")]), (102, [])]
    assert response.read() == b"final"


def test_too_many_informational_responses_end_the_stream(converse: Converse) -> None:
    def script(server: FrameServer) -> None:
        stream = server.request().stream
        for _ in range(65):
            server.say(server.head(stream, 102))
        codes.append(server.hear("RstStream").code)
        server.answer(server.request().stream, b"fine")
        server.rest()

    codes: list[int | None] = []
    client = converse(script)
    client.request("GET", "/")
    with pytest.raises(RemoteProtocolError, match="informational"):
        client.getresponse()
    assert client.request("GET", "/").getresponse().read() == b"fine"
    assert codes == [ErrorCode.ENHANCE_YOUR_CALM]


def test_connect_carries_content_both_ways(converse: Converse) -> None:
    def script(server: FrameServer) -> None:
        request = server.request()
        asked.extend(request.fields[:2])
        server.say(server.head(request.stream))
        while not (frame := server.hear("Data")).ends:
            server.say(server.data(request.stream, frame.content.upper()))
        server.say(server.data(request.stream, end=True))
        server.rest()

    asked: list[tuple[str, str]] = []
    client = converse(script)
    request = client.request("CONNECT", "there.example:80", body=None)
    response = request.getresponse()
    request.write(b"ping")
    assert response.read(4) == b"PING"
    request.write(b"pong")
    assert response.read(4) == b"PONG"
    request.end_request()
    assert response.read() == b""
    assert asked == [(":method", "CONNECT"), (":authority", "there.example:80")]


# back-pressure


def test_unread_content_holds_the_streams_credit_back(converse: Converse) -> None:  # T15
    def script(server: FrameServer) -> None:
        stream = server.request().stream
        server.say(server.head(stream), *(server.data(stream, bytes(16384)) for _ in range(4)))
        server.sync()
        early.extend(frame.stream for frame in server.of_kind("WindowUpdate"))
        sent.set()
        while server.hear("WindowUpdate").stream != stream:
            pass
        server.say(server.data(stream, b"end", end=True))
        server.rest()

    early: list[int] = []
    sent = Event()
    client = converse(script, window=65536)
    response = client.request("GET", "/").getresponse()
    assert sent.wait(GUARD)
    assert 1 not in early
    assert len(response.read(40000)) == 40000
    assert response.read().endswith(b"end")


def test_read_to_the_end_takes_more_than_a_window(converse: Converse) -> None:
    def script(server: FrameServer) -> None:
        stream = server.request().stream
        server.say(server.head(stream))
        room = 65535
        for left in range(20, 0, -1):
            while room < 16384:
                update = server.hear("WindowUpdate")
                room += update.increment or 0 if update.stream == stream else 0
            server.say(server.data(stream, bytes(16384), end=left == 1))
            room -= 16384
        server.rest()

    response = converse(script, window=65535).request("GET", "/").getresponse()
    assert len(response.read()) == 20 * 16384


def test_stream_that_nobody_reads_stops_no_other(converse: Converse) -> None:
    def script(server: FrameServer) -> None:
        first = server.request().stream
        server.say(server.head(first), *(server.data(first, bytes(16384)) for _ in range(64)))
        server.answer(server.request().stream, b"through")
        server.rest()

    client = converse(script)
    unread = client.request("GET", "/1").getresponse()
    assert client.request("GET", "/2").getresponse().read() == b"through"
    unread.close()


# resets


@pytest.mark.parametrize("code", [1, 2, 8, 11, 13, 1234])
def test_reset_raises_its_code_and_leaves_other_streams_alone(converse: Converse, code: int) -> None:  # T12
    def script(server: FrameServer) -> None:
        first, second = server.request().stream, server.request().stream
        server.say(f.reset(first, code))
        server.answer(second, b"fine")
        server.rest()

    client = converse(script)
    client.request("GET", "/1")
    client.request("GET", "/2")
    with pytest.raises(StreamError) as caught:
        client.getresponse()
    assert (caught.value.error_code, caught.value.retryable) == (code, False)
    assert client.getresponse().read() == b"fine"
    assert is_clean(client)


def test_refused_stream_may_be_asked_again(converse: Converse) -> None:
    def script(server: FrameServer) -> None:
        server.say(f.reset(server.request().stream, ErrorCode.REFUSED_STREAM))
        server.answer(server.request().stream, b"now")
        server.rest()

    client = converse(script)
    with pytest.raises(StreamError) as caught:
        client.request("GET", "/").getresponse()
    assert caught.value.retryable
    assert caught.value.error_code == ErrorCode.REFUSED_STREAM
    assert client.request("GET", "/").getresponse().read() == b"now"


def test_reset_amid_content_gives_what_came_and_then_raises(converse: Converse, piecewise: bool) -> None:
    def script(server: FrameServer) -> None:
        stream = server.request().stream
        server.say(server.head(stream), server.data(stream, b"half"), f.reset(stream, ErrorCode.INTERNAL_ERROR))
        server.rest()

    response = converse(script, piecewise=piecewise).request("GET", "/").getresponse()
    assert response.read(4) == b"half"
    for _ in range(2):
        with pytest.raises(StreamError) as caught:
            response.read()
        assert caught.value.error_code == ErrorCode.INTERNAL_ERROR


def test_response_with_less_content_than_announced_is_an_error(converse: Converse) -> None:
    def script(server: FrameServer) -> None:
        stream = server.request().stream
        server.say(server.head(stream, 200, ("content-length", "9")), server.data(stream, b"less", end=True))
        codes.append(server.hear("RstStream").code)
        server.answer(server.request().stream)
        server.rest()

    codes: list[int | None] = []
    client = converse(script)
    response = client.request("GET", "/").getresponse()
    with pytest.raises(StreamError, match="less content"):
        response.read()
    assert client.request("GET", "/").getresponse().status == 200
    assert codes == [ErrorCode.PROTOCOL_ERROR]


# giving up one stream


def held(server: FrameServer, codes: list[Any]) -> None:
    """Half a response, and after the reset that follows a whole one."""
    stream = server.request().stream
    server.say(server.head(stream), server.data(stream, b"beginning"))
    reset = server.hear("RstStream")
    codes.append((reset.stream, reset.code))
    server.answer(server.request().stream, b"next")
    server.rest()


GIVING_UP: dict[str, Callable[[Any], Any]] = {
    "closed": lambda response: response.close(),
    "closed twice": lambda response: (response.close(), response.close()),
    "forgotten": lambda response: None,
}


@pytest.mark.parametrize("give_up", GIVING_UP.values(), ids=GIVING_UP)
def test_response_that_nobody_wants_costs_its_stream_alone(converse: Converse, give_up: Callable[[Any], Any]) -> None:
    codes: list[Any] = []
    client = converse(lambda server: held(server, codes))
    response = client.request("GET", "/").getresponse()
    give_up(response)
    del response
    gc.collect()
    client.ping()
    assert client.request("GET", "/").getresponse().read() == b"next"
    assert codes == [(1, ErrorCode.CANCEL)]
    assert is_clean(client)


def test_body_outlives_its_response(converse: Converse) -> None:
    def script(server: FrameServer) -> None:
        stream = server.request().stream
        server.say(server.head(stream), server.data(stream, b"beginning "))
        server.sync()
        server.say(server.data(stream, b"and end", end=True))
        server.rest()

    body = converse(script).request("GET", "/").getresponse().body
    gc.collect()
    assert body.read() == b"beginning and end"


def test_closed_response_cannot_be_read_any_more(converse: Converse) -> None:
    client = converse(lambda server: held(server, []))
    response = client.request("GET", "/").getresponse()
    response.close()
    with pytest.raises(HttpError, match="was closed"):
        response.read()


@pytest.mark.parametrize("strike", [gevent.GreenletExit, gevent.Timeout, KeyError], ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("where", ["waiting for the head", "waiting in request"])
def test_struck_greenlet_costs_its_stream_alone(converse: Converse, strike: type[BaseException], where: str) -> None:
    def script(server: FrameServer) -> None:
        server.request()
        reset = server.hear("RstStream")
        codes.append((reset.stream, reset.code))
        server.answer(server.request().stream, b"next")
        server.rest()

    def ask() -> None:
        if where == "waiting in request":
            client.request("POST", "/", [], bytes(100000))
        else:
            client.request("GET", "/")
            client.getresponse()

    codes: list[Any] = []
    client = converse(script)
    asking = spawn(ask)
    client.ping()
    asking.kill(strike(), timeout=GUARD)
    assert client.request("GET", "/").getresponse().read() == b"next"
    assert codes == [(1, ErrorCode.CANCEL)]
    with pytest.raises(RuntimeError, match="every request"):
        client.getresponse()
    assert is_clean(client)


def test_request_that_is_struck_before_it_leaves_is_never_seen(converse: Converse) -> None:
    def script(server: FrameServer) -> None:
        seen.append(dict(server.request().fields)[":path"])
        server.answer(1)
        server.rest()

    seen: list[str] = []
    client = converse(script)
    request = client.request("POST", "/never", [("Content-Length", "1")], body=None)
    with pytest.raises(RuntimeError, match="less content"):
        request.end_request()
    assert client.request("GET", "/seen").getresponse().status == 200
    assert seen == ["/seen"]


def test_interrupted_read_loses_no_byte(converse: Converse) -> None:
    def script(server: FrameServer) -> None:
        stream = server.request().stream
        server.say(server.head(stream), server.data(stream, b"beginning "))
        assert interrupted.wait(GUARD)
        server.say(server.data(stream, b"and end", end=True))
        server.rest()

    interrupted = Event()
    response = converse(script).request("GET", "/").getresponse()
    reading = spawn(response.read)
    gevent.idle()
    reading.kill()
    interrupted.set()
    assert response.read() == b"beginning and end"


# timeouts


def test_timeout_of_getresponse_lets_one_try_again(converse: Converse) -> None:
    def script(server: FrameServer) -> None:
        stream = server.request().stream
        assert again.wait(GUARD)
        server.answer(stream, b"late")
        server.rest()

    again = Event()
    client = converse(script)
    client.request("GET", "/")
    for timeout in (0, 0.01):
        with pytest.raises(Timeout) as caught:
            client.getresponse(timeout)
        assert caught.value.phase == "read"
    again.set()
    assert client.getresponse().read() == b"late"


@pytest.mark.parametrize("phase", ["read", "total"])
def test_body_that_does_not_come_runs_into_a_timeout(converse: Converse, phase: str) -> None:
    def script(server: FrameServer) -> None:
        server.say(server.head(server.request().stream))
        server.answer(server.request().stream, b"next")
        server.rest()

    timeouts = Timeouts(read=0.05) if phase == "read" else Timeouts(read=GUARD, total=0.05)
    client = converse(script)
    response = client.request("GET", "/", timeout=timeouts).getresponse()
    with pytest.raises(Timeout) as caught:
        response.read()
    assert caught.value.phase == phase
    assert client.request("GET", "/").getresponse().read() == b"next"


def test_total_time_ends_the_stream_and_not_the_connection(converse: Converse) -> None:
    def script(server: FrameServer) -> None:
        server.request()
        codes.append(server.hear("RstStream").code)
        server.answer(server.request().stream, b"next")
        server.rest()

    codes: list[int | None] = []
    client = converse(script)
    client.request("GET", "/", timeout=Timeouts(total=0.05))
    with pytest.raises(Timeout) as caught:
        client.getresponse()
    assert caught.value.phase == "total"
    assert client.request("GET", "/").getresponse().read() == b"next"
    assert codes == [ErrorCode.CANCEL]
    with pytest.raises(RuntimeError, match="every request"):
        client.getresponse()


# slots


def test_request_waits_for_a_slot_and_takes_it_in_turn(converse: Converse) -> None:
    def script(server: FrameServer) -> None:
        for _ in range(4):
            request = server.request()
            seen.append(dict(request.fields)[":path"])
            server.sync()
            assert len(server.of_kind("Headers")) == len(seen)
            server.answer(request.stream)
        server.rest()

    seen: list[str] = []
    client = converse(script, settings=((MAX_CONCURRENT_STREAMS, 1),))
    client.ping()
    asking = [spawn(lambda path: client.request("GET", path).getresponse().status, f"/{n}") for n in range(4)]
    gevent.joinall(asking, GUARD, raise_error=True)
    assert [one.value for one in asking] == [200] * 4
    assert seen == ["/0", "/1", "/2", "/3"]


def test_waiting_for_a_slot_ends_by_timeout_or_by_a_kill_and_leaves_no_trace(converse: Converse) -> None:
    def script(server: FrameServer) -> None:
        first = server.request().stream
        assert given_up.wait(GUARD)
        server.answer(first, b"first")
        server.answer(server.request().stream, b"last")
        server.rest()

    given_up = Event()
    client = converse(script, settings=((MAX_CONCURRENT_STREAMS, 1),))
    client.ping()
    client.request("GET", "/")
    with pytest.raises(Timeout) as caught:
        client.request("GET", "/2", timeout=0.01)
    assert caught.value.phase == "write"
    with pytest.raises(Timeout) as caught:
        client.request("GET", "/2", timeout=Timeouts(total=0.01))
    assert caught.value.phase == "total"
    waiting = spawn(client.request, "GET", "/3")
    waiting.kill()
    waiting = spawn(lambda: client.request("GET", "/4").getresponse().read())
    given_up.set()
    assert client.getresponse().read() == b"first"
    assert waiting.get(timeout=GUARD) == b"last"


def test_fewer_slots_than_are_taken_only_make_one_wait(converse: Converse) -> None:  # httpx2#1216
    def script(server: FrameServer) -> None:
        streams = [server.request().stream for _ in range(3)]
        server.say(f.settings([(MAX_CONCURRENT_STREAMS, 1)]))
        server.sync()
        lowered.set()
        for stream in streams:
            assert len(server.of_kind("Headers")) == 3
            server.answer(stream)
            server.sync()
        while len(server.of_kind("Headers")) < 4:
            server.hear()
        server.answer(7, b"last")
        server.rest()

    lowered = Event()
    client = converse(script)
    for _ in range(3):
        client.request("GET", "/")
    assert lowered.wait(GUARD)
    assert client.request("GET", "/last").getresponse().read() == b"last"


def test_more_slots_wake_those_who_wait(converse: Converse) -> None:
    def script(server: FrameServer) -> None:
        server.request()
        assert full.wait(GUARD)
        server.say(f.settings([(MAX_CONCURRENT_STREAMS, 2)]))
        server.answer(server.request().stream, b"second")
        server.rest()

    full = Event()
    client = converse(script, settings=((MAX_CONCURRENT_STREAMS, 1),))
    client.ping()
    client.request("GET", "/1")
    asking = spawn(lambda: client.request("GET", "/2").getresponse().read())
    full.set()
    assert asking.get(timeout=GUARD) == b"second"


@pytest.mark.parametrize("left", ["full of content", "half sent"])
def test_stream_of_a_greenlet_that_has_ended_gives_way(converse: Converse, left: str) -> None:
    def script(server: FrameServer) -> None:
        first = server.request().stream
        if left == "full of content":
            server.say(server.head(first), *(server.data(first, bytes(65535 // 5)) for _ in range(5)))
        server.answer(server.request().stream, b"mine")
        server.rest()

    client = converse(script, settings=((MAX_CONCURRENT_STREAMS, 1),), window=65535)
    client.ping()
    spawn(lambda: client.request("GET", "/", body="" if left == "full of content" else None) and None).join(GUARD)
    client.ping()
    assert client.request("GET", "/").getresponse().read() == b"mine"


# the end of a connection


def test_goaway_lets_streams_finish_and_takes_no_more(converse: Converse, piecewise: bool) -> None:  # T16
    def script(server: FrameServer) -> None:
        first, second = server.request().stream, server.request().stream
        server.say(f.goaway(first, 0))
        server.sync()
        leaving.set()
        server.answer(first, b"finished")
        server.rest()
        assert second

    leaving = Event()
    client = converse(script, piecewise=piecewise)
    one, two = client.request("GET", "/1"), client.request("GET", "/2")
    assert leaving.wait(GUARD)
    with pytest.raises(HttpError, match="cannot be used any more") as refused:
        client.request("GET", "/3")
    assert refused.value.retryable
    with pytest.raises(StreamError) as caught:
        two.getresponse()
    assert caught.value.retryable
    assert one.getresponse().read() == b"finished"


def test_goaway_with_an_error_says_which_one(converse: Converse) -> None:
    def script(server: FrameServer) -> None:
        stream = server.request().stream
        server.say(f.goaway(stream, ErrorCode.ENHANCE_YOUR_CALM, b"too fast"))

    client = converse(script)
    client.request("GET", "/")
    with pytest.raises(StreamError, match="ENHANCE_YOUR_CALM.*too fast") as caught:
        client.getresponse()
    assert caught.value.error_code == ErrorCode.ENHANCE_YOUR_CALM
    assert not caught.value.retryable


def test_goaway_wakes_those_who_wait_for_a_slot(converse: Converse) -> None:
    def script(server: FrameServer) -> None:
        server.request()
        assert full.wait(GUARD)
        server.say(f.goaway(1, 0))
        server.rest()

    full = Event()
    client = converse(script, settings=((MAX_CONCURRENT_STREAMS, 1),))
    client.ping()
    client.request("GET", "/1")
    asking = spawn(client.request, "GET", "/2")
    full.set()
    with pytest.raises(HttpError, match="leaving"):
        asking.get(timeout=GUARD)


def test_end_of_the_connection_names_the_requests_that_get_no_answer(converse: Converse) -> None:
    def script(server: FrameServer) -> None:
        server.answer(server.request().stream, b"first")
        server.request()
        server.request()

    client = converse(script)
    requests = [client.request("GET", f"/{number}") for number in range(3)]
    assert requests[0].getresponse().read() == b"first"
    with pytest.raises(IncompleteMessage) as caught:
        requests[1].getresponse()
    assert list(caught.value.unanswered) == requests[1:]
    with pytest.raises(IncompleteMessage):
        requests[2].getresponse()
    with pytest.raises(HttpError, match="cannot be used any more") as refused:
        client.request("GET", "/")
    assert refused.value.retryable


def test_end_amid_content_is_an_error(converse: Converse) -> None:
    def script(server: FrameServer) -> None:
        stream = server.request().stream
        server.say(server.head(stream), server.data(stream, b"half"))

    response = converse(script).request("GET", "/").getresponse()
    with pytest.raises(IncompleteMessage):
        response.read()


def test_connection_reset_wakes_everybody(converse: Converse) -> None:
    def script(server: FrameServer) -> None:
        stream = server.request().stream
        server.say(server.head(stream))
        server.request()
        server.answers_pings = False
        server.sync()
        server.peer.reset()

    client = converse(script, settings=((MAX_CONCURRENT_STREAMS, 2), (INITIAL_WINDOW_SIZE, 0)))
    client.ping()
    response = client.request("GET", "/").getresponse()
    waiting: list[Callable[[], Any]] = [
        response.read,
        lambda: client.request("POST", "/", [], b"content"),
        lambda: client.request("GET", "/"),
        client.ping,
    ]
    greenlets = [spawn(one) for one in waiting]
    assert len(gevent.joinall(greenlets, GUARD)) == 4
    assert all(isinstance(one.exception, TransportError | HttpError) for one in greenlets)


def test_close_says_good_bye(converse: Converse) -> None:  # T13
    def script(server: FrameServer) -> None:
        server.answer(server.request().stream)
        heard.extend((frame.kind, frame.code) for frame in server.rest())
        over.set()

    heard: list[Any] = []
    over = Event()
    client = converse(script)
    client.request("GET", "/").getresponse()
    client.close()
    assert over.wait(GUARD)
    assert heard[-1] == ("GoAway", ErrorCode.NO_ERROR)


def test_close_sends_what_was_asked_before(converse: Converse) -> None:
    def script(server: FrameServer) -> None:
        heard.append((server.request().fields[0], server.content(1)))
        over.set()

    heard: list[Any] = []
    over = Event()
    client = converse(script)
    client.ping()
    client.request("POST", "/", [], b"content")
    client.close()
    assert over.wait(GUARD)
    assert heard == [((":method", "POST"), b"content")]


def test_close_wakes_those_who_wait(converse: Converse) -> None:
    client = converse(serving())
    waiting = spawn(lambda: client.request("GET", "/").getresponse())
    client.ping()
    client.close()
    with pytest.raises(TransportError, match="closed"):
        waiting.get(timeout=GUARD)


def test_client_can_connect_again(serve: Any) -> None:
    def script(peer: Any) -> None:
        serving(b"hello")(FrameServer(peer))

    peer = serve(script)
    with Http2Client(GUARD) as client:
        for _ in range(2):
            client.connect(peer.address, ssl=False)
            assert client.request("GET", "/").getresponse().read() == b"hello"
            client.close()


# ping


def test_ping_takes_time(converse: Converse, piecewise: bool) -> None:
    client = converse(serving(), piecewise=piecewise)
    assert 0 < client.ping() < GUARD
    assert 0 < client.ping() < GUARD


def test_ping_without_answer_times_out(converse: Converse) -> None:
    def script(server: FrameServer) -> None:
        server.answers_pings = False
        server.rest()

    client = converse(script)
    with pytest.raises(Timeout):
        client.ping(0.01)


def test_ping_on_a_lost_connection_raises(converse: Converse) -> None:
    def script(server: FrameServer) -> None:
        server.answers_pings = False
        server.hear("Ping")

    client = converse(script)
    with pytest.raises(HttpError):
        client.ping()
    with pytest.raises(HttpError, match="any more"):
        client.ping()


def test_failed_requests_of_greenlets_that_have_ended_are_forgotten(converse: Converse) -> None:
    def script(server: FrameServer) -> None:
        for _ in range(200):
            server.say(f.reset(server.request().stream, ErrorCode.CANCEL))
        server.answer(server.request().stream, b"last")
        server.rest()

    client = converse(script)
    for _ in range(200):
        spawn(client.request, "GET", "/").join(GUARD)
        client.ping()
    assert len(client.protocol.connection._uncollected) < 130  # type: ignore[union-attr,arg-type]
    assert client.request("GET", "/").getresponse().read() == b"last"


# closing, by and by


def leaving(server: FrameServer) -> None:
    """Says GOAWAY behind the first request, and answers it."""
    stream = server.request().stream
    server.say(f.goaway(stream, 0))
    server.answer(stream, b"last")


def has_gone(client: Http2Client) -> bool:
    """Whether the connection is closed, soon."""
    with gevent.Timeout(GUARD, False):  # type: ignore[arg-type]
        while client.connected:
            gevent.sleep(0.001)
        return True
    return False


def test_connection_is_closed_when_the_server_leaves_and_all_is_answered(converse: Converse) -> None:
    def script(server: FrameServer) -> None:
        leaving(server)
        server.rest()  # to the end, which is ours

    client = converse(script)
    assert client.request("GET", "/").getresponse().read() == b"last"
    assert has_gone(client)
    with pytest.raises(HttpError, match="leaving"):
        client.request("GET", "/")


@pytest.mark.parametrize("how", ["says nothing", "goes on talking"])
def test_server_that_leaves_and_does_not_close_is_not_waited_for(converse: Converse, how: str) -> None:
    def script(server: FrameServer) -> None:
        leaving(server)
        while how == "goes on talking":
            server.say(f.ping(bytes(8)) * 1000)
            gevent.sleep(0)
        over.wait(GUARD)

    over = Event()
    client = converse(script, timeout=Timeouts(linger=0.1))
    assert client.request("GET", "/").getresponse().read() == b"last"
    assert has_gone(client)
    over.set()


def test_goaway_that_came_before_a_send_failed_tells_why(converse: Converse) -> None:
    def script(server: FrameServer) -> None:
        server.answers_pings = False
        server.answer(server.request().stream)
        server.hear("Ping")
        server.say(f.goaway(1, ErrorCode.ENHANCE_YOUR_CALM))
        server.peer.reset()
        gone.set()

    gone = Event()
    client = converse(script)
    client.request("GET", "/").getresponse()
    pinging = spawn(client.ping)
    assert gone.wait(GUARD)
    with pytest.raises(HttpError, match="ENHANCE_YOUR_CALM"):
        client.request("GET", "/").getresponse()
    with pytest.raises(HttpError):
        pinging.get(timeout=GUARD)


@pytest.mark.parametrize("where", ["receive", "produce"])
def test_fault_of_ours_ends_the_connection_and_tells_everybody(
    converse: Converse, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], where: str
) -> None:
    def fail(*arguments: object) -> None:
        raise ZeroDivisionError("a fault of ours")

    def script(server: FrameServer) -> None:
        server.request()
        server.request()
        server.say(f.ping(bytes(8)))
        server.rest()

    client = converse(script)
    request = client.request("GET", "/")
    client.ping()
    monkeypatch.setattr(client.protocol.connection.engine, where, fail)  # type: ignore[union-attr]
    client.request("GET", "/2")
    with pytest.raises(HttpError, match="fault of ours"):
        request.getresponse()
    with pytest.raises(HttpError, match="any more"):
        client.request("GET", "/")
    assert "ZeroDivisionError" in capsys.readouterr().err  # gevent has told about it


def test_response_may_be_forgotten_in_another_thread(converse: Converse) -> None:
    codes: list[Any] = []
    client = converse(lambda server: held(server, codes))
    responses = [client.request("GET", "/").getresponse()]
    gevent.get_hub().threadpool.apply(responses.clear)
    client.ping()
    assert client.request("GET", "/").getresponse().read() == b"next"
    assert codes == [(1, ErrorCode.CANCEL)]


def test_window_of_one_byte_is_nobodys_own(converse: Converse) -> None:
    """hyper#4003: a stream that kept the last byte of the connection's window stopped the others."""

    def script(server: FrameServer) -> None:
        contents: dict[int, bytes] = {}
        while sum(map(len, contents.values())) < 65535:
            frame = server.hear("Data")
            contents[frame.stream] = contents.get(frame.stream, b"") + frame.content
        server.say(f.window_update(0, 1))
        holder = server.hear("Data")
        assert len(holder.content) == 1
        other = 4 - holder.stream
        server.say(f.reset(holder.stream, ErrorCode.CANCEL))
        server.say(f.window_update(other, 1 << 20), f.window_update(0, 1 << 20))
        while not server.hear("Data").ends:
            pass
        server.answer(other, b"through")
        server.rest()

    client = converse(script)
    asking = [spawn(lambda: client.request("POST", "/", [], bytes(100_000)).getresponse().read()) for _ in range(2)]
    gevent.joinall(asking, GUARD)
    assert [one.value for one in asking if one.successful()] == [b"through"]
    assert [type(one.exception) for one in asking if not one.successful()] == [StreamError]


def test_child_of_a_fork_leaves_the_connection_to_its_parent(converse: Converse) -> None:
    client = converse(serving(b"first", b"second"))
    assert client.request("GET", "/").getresponse().read() == b"first"
    child = os.fork()  # not gevent's: what it does to the hub is not for a process with the threads of a test run
    if child == 0:
        try:
            client.request("GET", "/")
        except HttpError as exc:
            os._exit(0 if "parent" in str(exc) else 1)
        os._exit(2)
    assert os.waitpid(child, 0)[1] == 0
    assert client.request("GET", "/").getresponse().read() == b"second"


def test_connection_whose_streams_are_used_up_says_so(converse: Converse) -> None:
    client = converse(serving(b""))
    client.protocol.connection.engine._sender.next_id = f.HIGHEST_ID  # type: ignore[union-attr]
    assert client.request("GET", "/").getresponse().stream_id == f.HIGHEST_ID
    with pytest.raises(HttpError, match="used up") as caught:
        client.request("GET", "/")
    assert caught.value.retryable
