"""Which connections go on, how pipelined requests are answered, and when output leaves."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import Any

import gevent
import pytest
from gevent.event import Event

from gruvihttp.exchanges.config import ServerConfig
from gruvihttp.exchanges.http1.server import ServerConnection
from gruvihttp.testing import MemoryChannel, RawPeer, memory_pair
from gruvihttp.wsgi import WsgiGateway

GUARD = 10.0
GET = b"GET %b HTTP/1.1\r\nHost: a\r\n\r\n"


def echo_path(environ: Any, start_response: Any) -> list[bytes]:
    environ["wsgi.input"].read()
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [environ["PATH_INFO"].encode("latin-1")]


def pieces(environ: Any, start_response: Any) -> Iterator[bytes]:
    start_response("200 OK", [])
    yield b"of unknown "
    gevent.sleep(0)
    yield b"length"


# who goes on: G2, G10 (RFC 9112 section 9.3)


@pytest.mark.parametrize(
    ("version", "fields", "goes_on", "option"),
    [
        pytest.param(b"1.1", b"", True, None, id="1.1"),
        pytest.param(b"1.1", b"Connection: keep-alive\r\n", True, None, id="1.1-keep-alive"),
        pytest.param(b"1.1", b"Connection: close\r\n", False, "close", id="1.1-close"),
        pytest.param(b"1.1", b"Connection: foo, CLOSE\r\n", False, "close", id="1.1-close-in-a-list"),
        pytest.param(b"1.1", b"Connection: foo\r\nConnection: close\r\n", False, "close", id="1.1-close-repeated"),
        pytest.param(b"1.2", b"", True, None, id="1.2-as-1.1"),
        pytest.param(b"1.0", b"", False, "close", id="1.0"),
        pytest.param(b"1.0", b"Connection: keep-alive\r\n", True, "keep-alive", id="1.0-keep-alive"),
        pytest.param(b"1.0", b"Connection: Keep-Alive\r\n", True, "keep-alive", id="1.0-Keep-Alive"),
        pytest.param(b"1.0", b"Connection: keep-alive, close\r\n", False, "close", id="1.0-both"),
    ],
)
@pytest.mark.parametrize("application", [echo_path, lambda e, s: iter(echo_path(e, s))], ids=["list", "iterator"])
def test_connection_goes_on_as_version_and_options_say(
    serve: Any, delivery: None, application: Any, version: bytes, fields: bytes, goes_on: bool, option: str | None
) -> None:
    talk = serve(application).connect()
    answer = talk.ask(b"GET /first HTTP/%b\r\nHost: a\r\n%b\r\n" % (version, fields))
    assert (answer.content, answer["Content-Length"], answer["Connection"]) == (b"/first", "6", option)
    assert talk.get("/second").content == b"/second" if goes_on else talk.ends()


@pytest.mark.parametrize(
    ("fields", "goes_on"), [(b"", True), (b"Connection: close\r\n", False)], ids=["keep-alive", "close"]
)
def test_answer_of_unknown_length_is_chunked_and_the_connection_goes_on(
    serve: Any, delivery: None, fields: bytes, goes_on: bool
) -> None:
    talk = serve(pieces).connect()
    answer = talk.get(fields=fields)
    assert (answer["Transfer-Encoding"], answer.content) == ("chunked", b"of unknown length")
    assert talk.is_open() if goes_on else talk.ends()


def test_http_1_0_answer_of_unknown_length_ends_with_the_connection(serve: Any, delivery: None) -> None:
    talk = serve(pieces).connect()
    answer = talk.ask(b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
    assert answer.content == b"of unknown length"  # up to the end of the connection
    assert (answer["Transfer-Encoding"], answer["Content-Length"], answer["Connection"]) == (None, None, "close")


def test_hundred_requests_take_one_connection(serve: Any, connections: list[Any]) -> None:
    talk = serve(echo_path).connect()
    assert [talk.get(f"/{number}").content for number in range(100)] == [b"/%d" % number for number in range(100)]
    assert len(connections) == 1


# the version of the answer: G7, G9


@pytest.mark.parametrize(
    ("request_line", "version"),
    [
        pytest.param(b"GET / HTTP/1.1", "HTTP/1.1", id="1.1"),
        pytest.param(b"GET / HTTP/1.0", "HTTP/1.0", id="1.0"),
        pytest.param(b"GET / HTTP/1.7", "HTTP/1.1", id="1.7"),
        pytest.param(b"GET /fails HTTP/1.0", "HTTP/1.0", id="1.0-500"),
        pytest.param(b"GET /fails HTTP/1.1", "HTTP/1.1", id="1.1-500"),
        pytest.param(b"nonsense", "HTTP/1.1", id="unreadable"),
    ],
)
def test_answer_has_the_version_of_the_request(
    serve: Any, delivery: None, request_line: bytes, version: str
) -> None:
    def application(environ: Any, start_response: Any) -> list[bytes]:
        if environ["PATH_INFO"] == "/fails":
            raise KeyError
        return echo_path(environ, start_response)

    assert serve(application).ask(request_line + b"\r\nHost: a\r\n\r\n").version == version


def test_http_1_0_needs_no_host(serve: Any, delivery: None) -> None:
    answer = serve(echo_path).ask(b"GET /old HTTP/1.0\r\n\r\n")
    assert (answer.version, answer.status, answer.content) == ("HTTP/1.0", 200, b"/old")


# pipelining: G4


def test_pipelined_requests_are_answered_in_order(serve: Any, delivery: None) -> None:
    talk = serve(echo_path).connect()
    talk.say(GET % b"/1" + b"POST /2 HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbody" + GET % b"/3")
    assert [talk.answer().content for _ in range(3)] == [b"/1", b"/2", b"/3"]
    assert talk.is_open()


def test_pipelined_request_may_come_in_halves(serve: Any) -> None:
    talk = serve(echo_path).connect()
    third = b"POST /3 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n\r\n"
    for cut in range(1, len(third)):
        talk.say(GET % b"/1" + GET % b"/2" + third[:cut])
        assert [talk.answer().content, talk.answer().content] == [b"/1", b"/2"]
        talk.say(third[cut:])
        assert talk.answer().content == b"/3"


def test_empty_lines_between_requests_are_skipped(serve: Any, delivery: None) -> None:
    talk = serve(echo_path).connect()
    talk.say(b"\r\n" + GET % b"/1" + b"\r\n\r\n" + GET % b"/2")
    assert [talk.answer().content, talk.answer().content] == [b"/1", b"/2"]


def test_what_follows_the_last_request_is_not_served(serve: Any, delivery: None) -> None:
    heard: list[str] = []

    def application(environ: Any, start_response: Any) -> list[bytes]:
        heard.append(environ["PATH_INFO"])
        return echo_path(environ, start_response)

    talk = serve(application).connect()
    talk.say(b"GET /last HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n" + GET % b"/after")
    assert talk.answer().closes
    assert talk.ends()
    assert heard == ["/last"]


def test_refused_request_behind_others_leaves_their_answers_whole(serve: Any, delivery: None) -> None:
    talk = serve(echo_path).connect()
    talk.say(GET % b"/1" + GET % b"/2" + b"nonsense\r\n\r\n" + GET % b"/4")
    assert [talk.answer().content, talk.answer().content] == [b"/1", b"/2"]
    assert talk.answer().status == 400
    assert talk.ends()


def test_memory_is_bounded_by_not_reading_while_the_application_is_slow(serve: Any) -> None:
    go_on = Event()

    def application(environ: Any, start_response: Any) -> list[bytes]:
        go_on.wait(GUARD)
        return echo_path(environ, start_response)

    talk = serve(application).connect()
    flood = gevent.spawn(talk.send, (GET % b"/") * 400_000)  # 14 MB: more than the system holds
    flood.join(0.3)
    assert not flood.ready(), "the server has read it all"
    flood.kill()
    talk.reset()
    go_on.set()


# one send for what is ready together


@pytest.fixture
def connect_in_memory() -> Iterator[Callable[[Any], tuple[RawPeer, MemoryChannel]]]:
    """A peer, and the server's channel, which records every send."""
    channels: list[MemoryChannel] = []

    def connect(application: Any) -> tuple[RawPeer, MemoryChannel]:
        theirs, ours = memory_pair()
        channels.extend((theirs, ours))
        ServerConnection(ours, WsgiGateway(application), ServerConfig()).start()
        return RawPeer(theirs), ours

    yield connect
    for channel in channels:
        channel.close()


def one_answer(peer: RawPeer) -> bytes:
    head = peer.read_until()
    length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
    return peer.read(length)


def written(environ: Any, start_response: Any) -> list[bytes]:
    write = start_response("200 OK", [])
    write(b"a")
    write(b"b")
    return [b"c"]


@pytest.mark.parametrize(
    ("application", "content"),
    [
        pytest.param(echo_path, b"/", id="list"),
        pytest.param(lambda e, s: (s("200 OK", []), (b"a", b"", b"b", b"c"))[1], b"abc", id="tuple"),
        pytest.param(lambda e, s: (s("200 OK", []), iter([b"a", b"", b"b", b"c"]))[1], b"abc", id="iterator"),
        pytest.param(written, b"abc", id="write"),
    ],
)
def test_small_answer_takes_one_send_and_has_a_length(
    connect_in_memory: Any, application: Any, content: bytes
) -> None:
    peer, channel = connect_in_memory(application)
    peer.send(GET % b"/")
    assert one_answer(peer) == content
    assert len(channel.sends) == 1


@pytest.mark.parametrize("kind", [list, tuple])
def test_large_answer_that_is_all_there_has_a_length(connect_in_memory: Any, kind: Any) -> None:
    def application(environ: Any, start_response: Any) -> Any:
        start_response("200 OK", [])
        return kind([b"a" * 100_000, b"", b"b" * 100_000])

    peer, _ = connect_in_memory(application)
    peer.send(GET % b"/")
    assert one_answer(peer) == b"a" * 100_000 + b"b" * 100_000


@pytest.mark.parametrize("application", [echo_path, lambda e, s: iter(echo_path(e, s))], ids=["list", "iterator"])
@pytest.mark.parametrize("count", [10, 16])
def test_pipelined_answers_leave_in_at_most_two_sends(connect_in_memory: Any, application: Any, count: int) -> None:
    peer, channel = connect_in_memory(application)
    peer.send(b"".join(GET % b"/%d" % number for number in range(count)))
    assert [one_answer(peer) for _ in range(count)] == [b"/%d" % number for number in range(count)]
    assert len(channel.sends) <= 2


def test_chunk_and_end_leave_together(connect_in_memory: Any) -> None:
    peer, channel = connect_in_memory(pieces)
    peer.send(GET % b"/")
    peer.read_until(b"0\r\n\r\n")
    assert [send.rpartition(b"\r\n\r\n")[2] for send in channel.sends[:1]] == [b"b\r\nof unknown \r\n"]
    assert channel.sends[1:] == [b"6\r\nlength\r\n0\r\n\r\n"]


def test_large_block_is_handed_on_uncopied_behind_its_head(connect_in_memory: Any) -> None:
    block = b"x" * 300_000
    peer, channel = connect_in_memory(lambda e, s: (s("200 OK", []), [block])[1])
    peer.send(GET % b"/")
    assert one_answer(peer) == block
    assert len(channel.sends) == 1


# output does not wait for an application that waits


def waiting(path: str) -> tuple[Any, Event, Event]:
    """An application that waits when it is asked for `path`, and the events of beginning and end of the wait."""
    begun, go_on = Event(), Event()

    def application(environ: Any, start_response: Any) -> list[bytes]:
        if environ["PATH_INFO"] == path:
            begun.set()
            assert go_on.wait(GUARD)
        return echo_path(environ, start_response)

    return application, begun, go_on


def test_earlier_answers_do_not_wait_for_a_slow_application(serve: Any) -> None:
    application, begun, go_on = waiting("/slow")
    talk = serve(application).connect()
    talk.say(GET % b"/1" + GET % b"/2" + GET % b"/slow" + GET % b"/4")
    assert begun.wait(GUARD)
    assert [talk.answer().content, talk.answer().content] == [b"/1", b"/2"]
    go_on.set()
    assert [talk.answer().content, talk.answer().content] == [b"/slow", b"/4"]


def test_earlier_answers_do_not_wait_for_content_that_is_late(serve: Any) -> None:
    talk = serve(echo_path).connect()
    talk.say(GET % b"/1" + b"POST /2 HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbo")
    assert talk.answer().content == b"/1"
    talk.say(b"dy")
    assert talk.answer().content == b"/2"


def test_block_is_sent_before_the_application_waits(serve: Any) -> None:
    go_on = Event()

    def application(environ: Any, start_response: Any) -> Iterator[bytes]:
        start_response("200 OK", [])
        yield b"first"
        assert go_on.wait(GUARD)
        yield b"second"

    talk = serve(application).connect()
    talk.say(GET % b"/")
    assert talk.head()["Transfer-Encoding"] == "chunked"
    assert talk.read(10) == b"5\r\nfirst\r\n"
    go_on.set()
    assert talk.read_until(b"0\r\n\r\n") == b"6\r\nsecond\r\n0\r\n\r\n"


def test_whole_answer_is_sent_before_a_slow_close(serve: Any) -> None:
    go_on = Event()

    class Content:
        def __iter__(self) -> Iterator[bytes]:
            return iter([b"done"])

        def close(self) -> None:
            assert go_on.wait(GUARD)

    def application(environ: Any, start_response: Any) -> Content:
        start_response("200 OK", [])
        return Content()

    talk = serve(application).connect()
    assert talk.get().content == b"done"
    go_on.set()


def test_output_that_did_not_fit_follows_while_the_application_waits(connect_in_memory: Any) -> None:
    go_on = Event()
    theirs, ours = memory_pair(4096)  # the system holds a few thousand bytes

    def application(environ: Any, start_response: Any) -> Iterator[bytes]:
        start_response("200 OK", [("Content-Length", "60001")])
        yield b"x" * 60_000  # less than is held, more than fits
        assert go_on.wait(GUARD)
        yield b"y"

    ServerConnection(ours, WsgiGateway(application), ServerConfig()).start()
    with RawPeer(theirs) as peer:
        peer.send(GET % b"/")
        peer.read_until()
        assert peer.read(60_000) == b"x" * 60_000
        go_on.set()
        assert peer.read(1) == b"y"


def test_slow_application_does_not_hold_up_other_connections(serve: Any) -> None:
    application, begun, go_on = waiting("/slow")
    served = serve(application)
    slow = served.connect()
    slow.say(GET % b"/slow")
    assert begun.wait(GUARD)
    assert served.get("/quick").content == b"/quick"
    go_on.set()
    assert slow.answer().content == b"/slow"


def test_what_one_request_sets_in_its_context_the_next_does_not_see(serve: Any) -> None:
    variable: ContextVar[str] = ContextVar("variable", default="unset")

    def application(environ: Any, start_response: Any) -> list[bytes]:
        before = variable.get()
        variable.set(environ["PATH_INFO"])
        gevent.sleep(0)
        start_response("200 OK", [])
        return [f"{before} {variable.get()}".encode()]

    talk = serve(application).connect()
    talk.say(GET % b"/1" + GET % b"/2")
    assert [talk.answer().content, talk.answer().content] == [b"unset /1", b"unset /2"]
    assert talk.get("/3").content == b"unset /3"


# half-close and the end


def test_client_that_half_closes_after_its_requests_gets_the_answers(serve: Any, delivery: None) -> None:
    talk = serve(echo_path).connect()
    talk.say(GET % b"/1" + GET % b"/2")
    talk.half_close()
    assert [talk.answer().content, talk.answer().content] == [b"/1", b"/2"]
    assert talk.ends()


def test_client_that_half_closes_gets_an_answer_that_takes_its_time(serve: Any) -> None:
    application, begun, go_on = waiting("/slow")
    talk = serve(application).connect()
    talk.say(GET % b"/slow")
    talk.half_close()
    assert begun.wait(GUARD)
    gevent.sleep(0)
    go_on.set()
    assert talk.answer().content == b"/slow"
    assert talk.ends()


def test_connection_that_ends_without_a_request_is_closed_in_silence(serve: Any) -> None:
    talk = serve(echo_path).connect()
    talk.half_close()
    assert talk.ends()


def test_connection_that_ends_inside_a_head_is_closed_in_silence(serve: Any, delivery: None) -> None:
    talk = serve(echo_path).connect()
    talk.say(b"GET / HTTP/1.1\r\nHost:")
    talk.half_close()
    assert talk.ends()
