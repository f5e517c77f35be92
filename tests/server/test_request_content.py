"""Content of requests: how it reaches the application, 100-continue, trailers, and content that nobody reads."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from typing import Any

import gevent
import pytest
from gevent.event import Event

from gruvihttp.errors import HttpError
from gruvihttp.limits import Limits, Timeouts
from gruvihttp.reader import StreamReader

GUARD = 10.0
Errors = Callable[[], list[str]]

LENGTH = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n"
CHUNKED = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
EXPECTING = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n"


def echo(environ: Any, start_response: Any) -> list[bytes]:
    content = environ["wsgi.input"].read()
    start_response("200 OK", [])
    return [content]


def deaf(environ: Any, start_response: Any) -> list[bytes]:
    """Answers without reading."""
    start_response("200 OK", [])
    return [b"deaf"]


# reading: G5


@pytest.mark.parametrize(
    ("request_bytes", "content"),
    [
        pytest.param(LENGTH % 4 + b"body", b"body", id="length"),
        pytest.param(LENGTH % 0, b"", id="length-0"),
        pytest.param(b"POST / HTTP/1.1\r\nHost: a\r\n\r\n", b"", id="none"),
        pytest.param(b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbody", b"body", id="get-with-content"),
        pytest.param(b"POST / HTTP/1.0\r\nContent-Length: 4\r\n\r\nbody", b"body", id="1.0"),
        pytest.param(CHUNKED + b"3\r\nbod\r\n1\r\ny\r\n0\r\n\r\n", b"body", id="chunked"),
        pytest.param(CHUNKED + b"0\r\n\r\n", b"", id="chunked-empty"),
        pytest.param(CHUNKED + b"4;a=b\r\nbody\r\n0;c\r\n\r\n", b"body", id="chunk-extensions"),
        pytest.param(CHUNKED.replace(b"chunked", b"Chunked") + b"4\r\nbody\r\n0\r\n\r\n", b"body", id="Chunked"),
        pytest.param(CHUNKED + b"00C8\r\n" + b"x" * 200 + b"\r\n0\r\n\r\n", b"x" * 200, id="chunk-size-in-hex"),
    ],
)
def test_content_reaches_the_application_and_the_next_request_follows(
    serve: Any, delivery: None, request_bytes: bytes, content: bytes
) -> None:
    talk = serve(echo).connect()
    talk.say(request_bytes)
    talk.say(LENGTH % 4 + b"next")
    assert talk.answer().content == content
    if b"HTTP/1.1" in request_bytes:
        assert talk.answer().content == b"next"


def test_large_content_reaches_the_application(serve: Any) -> None:
    content = bytes(range(256)) * 4096
    talk = serve(echo).connect()
    sender = gevent.spawn(talk.say, LENGTH % len(content) + content)
    assert talk.answer().content == content
    sender.get(timeout=GUARD)
    chunks = b"".join(b"1000\r\n%b\r\n" % content[at : at + 0x1000] for at in range(0, len(content), 0x1000))
    sender = gevent.spawn(talk.say, CHUNKED + chunks + b"0\r\n\r\n")
    assert talk.answer().content == content
    sender.get(timeout=GUARD)


@pytest.mark.parametrize(
    ("read", "seen"),
    [
        pytest.param(lambda s: (s.read(3), s.read(), s.read()), (b"one", b"\ntwo\nthree", b""), id="read"),
        pytest.param(lambda s: (s.read(0), s.read(-1)), (b"", b"one\ntwo\nthree"), id="read-all"),
        pytest.param(lambda s: (s.readline(), s.readline(2), s.read()), (b"one\n", b"tw", b"o\nthree"), id="readline"),
        pytest.param(lambda s: tuple(s.readlines()), (b"one\n", b"two\n", b"three"), id="readlines"),
        pytest.param(lambda s: tuple(s.readlines(5)), (b"one\n", b"two\n"), id="readlines-hint"),
        pytest.param(tuple, (b"one\n", b"two\n", b"three"), id="iteration"),
        pytest.param(lambda s: (s.read(13), s.read(1)), (b"one\ntwo\nthree", b""), id="exactly"),
        pytest.param(lambda s: (s.read(500), s.read(500)), (b"one\ntwo\nthree", b""), id="beyond-the-end"),
        pytest.param(lambda s: (s.read1(), s.readable(), s.eof)[1:], (True, False), id="reader"),
    ],
)
@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])
def test_input_has_the_methods_of_a_file_and_ends_where_the_content_ends(
    serve: Any, read: Any, seen: Any, chunked: bool
) -> None:
    results: list[Any] = []

    def application(environ: Any, start_response: Any) -> list[bytes]:
        results.append(read(environ["wsgi.input"]))
        return deaf(environ, start_response)

    content = b"one\ntwo\nthree"
    talk = serve(application).connect()
    talk.say(CHUNKED + b"d\r\n%b\r\n0\r\n\r\n" % content if chunked else LENGTH % 13 + content)
    assert talk.answer().content == b"deaf"
    assert results == [seen]


def test_input_is_a_stream_reader(serve: Any) -> None:
    kinds: list[bool] = []

    def application(environ: Any, start_response: Any) -> list[bytes]:
        kinds.append(isinstance(environ["wsgi.input"], StreamReader))
        return deaf(environ, start_response)

    served = serve(application)
    served.get()
    served.connect().post(b"body")
    assert kinds == [True, True]


@pytest.mark.parametrize("content", [b"", b"body"], ids=["none", "some"])
def test_input_that_an_application_closes_is_its_own(serve: Any, content: bytes) -> None:
    def application(environ: Any, start_response: Any) -> list[bytes]:
        read = environ["wsgi.input"].read()
        environ["wsgi.input"].close()
        start_response("200 OK", [])
        return [read]

    served = serve(application)
    talk = served.connect()
    assert [talk.post(content).content for _ in range(3)] == [content] * 3
    assert served.get().content == b""


def test_input_that_an_application_closes_stays_open_for_others(serve: Any) -> None:
    closed = Event()
    waits = Event()

    def application(environ: Any, start_response: Any) -> list[bytes]:
        if environ["PATH_INFO"] == "/closes":
            io.TextIOWrapper(environ["wsgi.input"]).close()
            closed.set()
        else:
            waits.set()
            assert closed.wait(GUARD)
        start_response("200 OK", [])
        return [b"read " + environ["wsgi.input"].read()]

    served = serve(application)
    waiting = served.connect()
    waiting.say(b"GET /waits HTTP/1.1\r\nHost: a\r\n\r\n")
    assert waits.wait(GUARD)
    served.get("/closes")
    assert waiting.answer().content == b"read "


def test_content_is_read_while_it_comes(serve: Any) -> None:
    read: list[bytes] = []
    came = Event()

    def application(environ: Any, start_response: Any) -> list[bytes]:
        for _ in range(3):
            read.append(environ["wsgi.input"].read1())
            came.set()
        return deaf(environ, start_response)

    talk = serve(application).connect()
    talk.say(LENGTH % 3)
    for piece in (b"a", b"b", b"c"):
        came.clear()
        talk.say(piece)
        assert came.wait(GUARD)
    assert read == [b"a", b"b", b"c"]


def test_answer_may_begin_before_the_content_has_been_read(serve: Any) -> None:
    def application(environ: Any, start_response: Any) -> Iterator[bytes]:
        start_response("200 OK", [])
        for line in environ["wsgi.input"]:
            yield line.upper()

    talk = serve(application).connect()
    talk.say(CHUNKED + b"4\r\none\n\r\n")
    head = talk.head()
    assert (head["Transfer-Encoding"], head["Connection"]) == ("chunked", "close")  # how much will follow is unknown
    assert talk.read(9) == b"4\r\nONE\n\r\n"
    talk.say(b"4\r\ntwo\n\r\n0\r\n\r\n")
    assert talk.read_to_end() == b"4\r\nTWO\n\r\n0\r\n\r\n"


def test_unread_content_is_not_taken_from_the_network(serve: Any) -> None:
    go_on = Event()

    def application(environ: Any, start_response: Any) -> list[bytes]:
        assert go_on.wait(GUARD)
        return deaf(environ, start_response)

    talk = serve(application).connect()
    content = b"x" * 20_000_000
    sender = gevent.spawn(talk.send, LENGTH % len(content) + content)
    sender.join(0.3)
    assert not sender.ready(), "somebody holds 20 MB"
    sender.kill()
    go_on.set()
    talk.reset()


def test_content_that_is_here_already_leaves_others_their_turn(serve: Any) -> None:
    entered, go = Event(), Event()
    turns = [0]  # bytes that the application has read, by turn of the loop

    def application(environ: Any, start_response: Any) -> list[bytes]:
        entered.set()
        go.wait(GUARD)
        while piece := environ["wsgi.input"].read(4096):
            turns[-1] += len(piece)
        start_response("200 OK", [])
        return []

    watcher = gevent.get_hub().loop.prepare()
    watcher.start(lambda: turns.append(0))
    try:
        upload = gevent.spawn(serve(application).connect().post, bytes(1 << 22))
        assert entered.wait(GUARD)
        gevent.idle()  # what goes into the system's buffers is there
        go.set()
        assert upload.get(timeout=GUARD).status == 200
    finally:
        watcher.stop()
        watcher.close()
    assert sum(turns) == 1 << 22
    assert max(turns) <= 1 << 18


# trailers: G6, S30


def trailers_of_request(environ: Any, start_response: Any) -> list[bytes]:
    before = list(environ["gruvihttp.request_trailers"])
    environ["wsgi.input"].read()
    start_response("200 OK", [])
    return [repr((before, environ["gruvihttp.request_trailers"])).encode("utf-8")]


@pytest.mark.parametrize(
    ("trailers", "seen"),
    [
        pytest.param(b"", [], id="none"),
        pytest.param(b"X-Sum: 1\r\n", [("X-Sum", "1")], id="one"),
        pytest.param(b"b: 1\r\nA: 2\r\nb: \xe9\r\n", [("b", "1"), ("A", "2"), ("b", "\xe9")], id="several"),
        pytest.param(b"Content-Length: 9\r\nX: 1\r\nHost: b\r\n", [("X", "1")], id="forbidden-ones-are-dropped"),
    ],
)
def test_trailers_of_the_request_are_there_when_its_content_is_read(
    serve: Any, delivery: None, trailers: bytes, seen: list[tuple[str, str]]
) -> None:
    talk = serve(trailers_of_request).connect()
    answer = talk.ask(CHUNKED + b"4\r\nbody\r\n0\r\n" + trailers + b"\r\n")
    assert answer.content.decode("utf-8") == repr(([], seen))
    assert talk.is_open()


def with_trailers(*trailers: tuple[Any, Any], headers: Any = (), blocks: Any = (b"a", b"b")) -> Any:
    def application(environ: Any, start_response: Any) -> Iterator[bytes]:
        start_response("200 OK", list(headers))
        yield from blocks
        environ["gruvihttp.trailers"].extend(trailers)

    return application


@pytest.mark.parametrize("blocks", [(), (b"a", b"b")], ids=["empty", "content"])
def test_trailers_of_the_answer_follow_its_content(serve: Any, blocks: Any) -> None:
    talk = serve(with_trailers(("X-Sum", "1"), ("x-b", "\xe9"), ("X-Sum", "2"), blocks=blocks)).connect()
    answer = talk.get()
    assert (answer["Transfer-Encoding"], answer.content) == ("chunked", b"".join(blocks))
    assert answer.trailers == [("X-Sum", "1"), ("x-b", "\xe9"), ("X-Sum", "2")]
    assert talk.is_open()


def test_trailers_of_an_answer_that_is_a_list(serve: Any) -> None:
    def application(environ: Any, start_response: Any) -> list[bytes]:
        start_response("200 OK", [])
        environ["gruvihttp.trailers"].append(("ETag", "foo"))
        return [b"ab"]

    answer = serve(application).get()
    assert (answer.content, answer.trailers) == (b"ab", [("ETag", "foo")])


@pytest.mark.parametrize(
    ("headers", "request_bytes"),
    [
        pytest.param([("Content-Length", "2")], b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", id="length"),
        pytest.param([], b"GET / HTTP/1.0\r\n\r\n", id="1.0"),
        pytest.param([], b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n", id="head"),
    ],
)
def test_trailers_are_left_out_where_there_are_no_chunks(serve: Any, headers: Any, request_bytes: bytes) -> None:
    talk = serve(with_trailers(("X-Sum", "1"), headers=headers)).connect()
    talk.say(request_bytes.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
    head = talk.head()
    assert talk.read_to_end() == (b"" if request_bytes.startswith(b"HEAD") else b"ab")
    assert head["X-Sum"] is None


@pytest.mark.parametrize(
    "trailer",
    [
        ("Content-Length", "1"), ("Transfer-Encoding", "chunked"), ("Host", "a"), ("Set-Cookie", "a"), ("A b", "1"),
        ("A", "b\r\nC: d"), ("A", "\u20ac"), (b"A", "b"), ("A", 1),
    ],
    ids=repr,
)  # fmt: skip
def test_impossible_trailer_is_a_500(serve: Any, errors: Errors, trailer: Any) -> None:
    talk = serve(with_trailers(trailer)).connect()
    answer = talk.get()
    assert (answer.status, answer.trailers) == (500, [])
    assert len(errors()) == 1
    assert talk.get().status == 500


def test_trailers_do_not_leak_into_the_next_exchange(serve: Any) -> None:
    def application(environ: Any, start_response: Any) -> list[bytes]:
        environ["wsgi.input"].read()
        start_response("200 OK", [])
        seen = repr((environ["gruvihttp.request_trailers"], environ["gruvihttp.trailers"]))
        environ["gruvihttp.trailers"].append(("X", "1"))
        return [seen.encode()]

    talk = serve(application).connect()
    assert talk.ask(CHUNKED + b"0\r\nY: 2\r\n\r\n").content == b"([('Y', '2')], [])"
    assert talk.get().content == b"([], [])"


# 100-continue (RFC 9110 section 10.1.1)


@pytest.mark.parametrize("value", [b"100-continue", b"100-Continue", b" 100-CONTINUE "], ids=repr)
def test_continue_is_sent_when_the_application_reads(serve: Any, delivery: None, value: bytes) -> None:
    talk = serve(echo).connect()
    talk.say(EXPECTING.replace(b"100-continue", value))
    go_ahead = talk.head()
    assert (go_ahead.version, go_ahead.status, go_ahead.reason) == ("HTTP/1.1", 100, "Continue")
    talk.say(b"body")
    assert talk.answer().content == b"body"
    assert talk.is_open()


def test_continue_is_not_sent_before_the_application_reads(serve: Any) -> None:
    begun, go_on = Event(), Event()

    def application(environ: Any, start_response: Any) -> list[bytes]:
        begun.set()
        assert go_on.wait(GUARD)
        return echo(environ, start_response)

    talk = serve(application).connect()
    talk.say(EXPECTING)
    assert begun.wait(GUARD)
    gevent.sleep(0.01)
    assert talk.channel.try_receive() is None
    go_on.set()
    assert talk.head().status == 100
    talk.say(b"body")
    assert talk.answer().content == b"body"


def test_only_the_final_answer_is_sent_when_the_application_does_not_read(serve: Any, delivery: None) -> None:
    talk = serve(deaf).connect()
    talk.say(EXPECTING)
    answer = talk.answer()  # which fails on 100
    assert (answer.content, answer["Connection"]) == (b"deaf", "close")
    assert talk.ends()


def test_no_continue_once_the_content_comes_anyway(serve: Any) -> None:
    talk = serve(echo).connect()
    talk.send(EXPECTING + b"body")
    assert talk.answer().content == b"body"
    assert talk.is_open()


def test_no_continue_once_the_answer_has_begun(serve: Any) -> None:
    def application(environ: Any, start_response: Any) -> Iterator[bytes]:
        start_response("200 OK", [])
        yield b"begun "
        gevent.sleep(0)
        yield environ["wsgi.input"].read()

    talk = serve(application).connect()
    talk.say(EXPECTING)
    assert talk.head().status == 200
    talk.say(b"body")
    assert talk.read_to_end() == b"6\r\nbegun \r\n4\r\nbody\r\n0\r\n\r\n"


def test_continue_follows_the_answers_before_it(serve: Any) -> None:
    talk = serve(echo).connect()
    talk.say(LENGTH % 2 + b"ab" + EXPECTING)
    assert talk.answer().content == b"ab"
    assert talk.head().status == 100
    talk.say(b"body")
    assert talk.answer().content == b"body"


def test_continue_for_chunked_content_is_sent_once(serve: Any, delivery: None) -> None:
    talk = serve(echo).connect()
    talk.say(CHUNKED.replace(b"\r\n\r\n", b"\r\nExpect: 100-continue\r\n\r\n"))
    assert talk.head().status == 100
    talk.say(b"2\r\nbo\r\n")
    talk.say(b"2\r\ndy\r\n0\r\n\r\n")
    assert talk.answer().content == b"body"


@pytest.mark.parametrize(
    "request_bytes",
    [
        pytest.param(b"POST / HTTP/1.0\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n", id="1.0"),
        pytest.param(LENGTH % 4, id="not-asked-for"),
    ],
)
def test_continue_is_only_sent_to_those_who_asked(serve: Any, request_bytes: bytes) -> None:
    talk = serve(echo).connect()
    talk.say(request_bytes)
    gevent.sleep(0.01)
    assert talk.channel.try_receive() is None
    talk.say(b"body")
    assert talk.answer().content == b"body"


def test_expectation_without_content_is_met_already(serve: Any) -> None:
    talk = serve(echo).connect()
    answer = talk.get(fields=b"Expect: 100-continue\r\n")
    assert (answer.status, answer["Connection"]) == (200, None)


@pytest.mark.parametrize("value", [b"200-ok", b"100-continue, other", b"100-continue;q=1"])
def test_other_expectation_is_a_417(serve: Any, delivery: None, value: bytes) -> None:
    talk = serve(echo).connect()
    talk.say(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nExpect: %b\r\n\r\n" % value)
    answer = talk.answer()
    assert (answer.status, answer["Connection"]) == (417, "close")
    assert talk.ends()


def test_http_1_0_may_expect_anything(serve: Any) -> None:
    assert serve(echo).ask(b"GET / HTTP/1.0\r\nExpect: wonders\r\n\r\n").status == 200


# content that nobody reads: R4


@pytest.mark.parametrize(
    "application",
    [
        pytest.param(deaf, id="answers"),
        pytest.param(lambda e, s: 1 / 0, id="fails"),
        pytest.param(lambda e, s: (e["wsgi.input"].read(2), deaf(e, s))[1], id="reads-a-part"),
        pytest.param(lambda e, s: iter(deaf(e, s)), id="iterator"),
    ],
)
def test_small_unread_content_is_dropped_and_the_connection_goes_on(
    serve: Any, delivery: None, errors: Errors, application: Any
) -> None:
    talk = serve(application, limits=Limits(drain_bytes=10)).connect()
    answer = talk.ask(LENGTH % 10 + b"0123456789")
    assert answer["Connection"] is None
    assert talk.get().status == answer.status


def test_answer_does_not_wait_for_the_content_that_is_dropped(serve: Any) -> None:
    talk = serve(deaf).connect()
    talk.say(LENGTH % 10)
    assert talk.answer().content == b"deaf"
    talk.say(b"0123456789")
    assert talk.is_open()


@pytest.mark.parametrize(
    ("request_bytes", "sent"),
    [
        pytest.param(LENGTH % 11, b"x" * 11, id="length"),
        pytest.param(LENGTH % 10_000_000, b"x" * 100, id="length-and-not-all-comes"),
        pytest.param(CHUNKED, b"b\r\n01234567890\r\n0\r\n\r\n", id="chunked"),
    ],
)
@pytest.mark.parametrize("application", [deaf, lambda e, s: 1 / 0, lambda e, s: iter(deaf(e, s))],
                         ids=["answers", "fails", "iterator"])  # fmt: skip
def test_head_says_close_when_much_content_is_unread(
    serve: Any, errors: Errors, application: Any, request_bytes: bytes, sent: bytes
) -> None:
    talk = serve(application, limits=Limits(drain_bytes=10)).connect()
    talk.say(request_bytes)
    assert talk.answer()["Connection"] == "close"
    talk.say(sent)
    assert talk.ends()


EXPECTING_CHUNKS = CHUNKED.replace(b"\r\n\r\n", b"\r\nExpect: 100-continue\r\n\r\n")


@pytest.mark.parametrize(
    ("request_bytes", "option"),
    [
        pytest.param(CHUNKED + b"4\r\nbody\r\n6;a=b\r\n123456\r\n0\r\nX: 1\r\n\r\n", None, id="all-of-it"),
        pytest.param(CHUNKED + b"b\r\n01234567890\r\n0\r\n\r\n", "close", id="too-much"),
        pytest.param(CHUNKED + b"4\r\nbody\r\n0\r\n", "close", id="not-its-end"),
        pytest.param(CHUNKED + b"4\r\nbody\r\n4\r\nno end", "close", id="wrong"),
        pytest.param(EXPECTING + b"body", None, id="nobody-waited-to-be-told"),
        pytest.param(EXPECTING_CHUNKS + b"4\r\nbody\r\n0\r\n\r\n", None, id="nor-with-chunks"),
        pytest.param(EXPECTING + b"bod", "close", id="not-all-that-was-announced"),
    ],
)
@pytest.mark.parametrize("application", [deaf, lambda e, s: 1 / 0, lambda e, s: iter(deaf(e, s))],
                         ids=["answers", "fails", "iterator"])  # fmt: skip
def test_unread_content_of_which_the_end_is_here_keeps_the_connection(
    serve: Any, errors: Errors, application: Any, request_bytes: bytes, option: str | None
) -> None:
    talk = serve(application, limits=Limits(drain_bytes=10)).connect()
    talk.say(request_bytes)
    answer = talk.answer()
    assert answer["Connection"] == option
    assert talk.get().status == answer.status if option is None else talk.ends()


def test_content_whose_end_is_here_can_be_read_behind_the_head_of_the_answer(serve: Any) -> None:
    def application(environ: Any, start_response: Any) -> Iterator[bytes]:
        start_response("200 OK", [])
        yield b"read "
        gevent.sleep(0)  # the head leaves
        yield environ["wsgi.input"].read()

    talk = serve(application).connect()
    answer = talk.ask(CHUNKED + b"4\r\nbody\r\n0\r\n\r\n")
    assert (answer.content, answer["Connection"]) == (b"read body", None)
    assert talk.is_open()


def test_large_content_that_was_read_to_its_announced_end_keeps_the_connection(serve: Any) -> None:
    def application(environ: Any, start_response: Any) -> list[bytes]:
        environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"]))
        return deaf(environ, start_response)

    talk = serve(application, limits=Limits(drain_bytes=10)).connect()
    assert talk.post(b"x" * 1000)["Connection"] is None
    assert talk.is_open()


def test_content_that_is_dropped_and_does_not_come_ends_the_connection(serve: Any) -> None:
    talk = serve(deaf, timeouts=Timeouts(drain=0.02)).connect()
    talk.say(LENGTH % 10 + b"012")
    assert talk.answer().content == b"deaf"
    assert talk.ends()


# content that is wrong: E of table 3.1, R6


BAD = [
    pytest.param(b"nonsense\r\n", 400, id="no-chunk-size"),
    pytest.param(b"-1\r\n", 400, id="negative-chunk-size"),
    pytest.param(b"3\r\nabcdef\r\n", 400, id="no-line-end-behind-chunk"),
    pytest.param(b"3\nabc\r\n0\r\n\r\n", 400, id="bare-lf"),
    pytest.param(b"1;" + b"x" * 1000 + b"\r\n", 400, id="long-chunk-line"),
    pytest.param(b"10000000000000000\r\n", 400, id="chunk-size-overflow"),
    pytest.param(b"0\r\nbad trailer\r\n\r\n", 400, id="bad-trailer"),
    pytest.param(b"0\r\nX: " + b"x" * 10_000, 431, id="large-trailers"),
    pytest.param(b"b\r\n01234567890\r\n0\r\n\r\n", 413, id="too-much"),
]


@pytest.mark.parametrize(("content", "status"), BAD)
def test_wrong_content_is_answered_and_ends_the_connection(
    serve: Any, delivery: None, errors: Errors, content: bytes, status: int
) -> None:
    talk = serve(echo, limits=Limits(content_bytes=10)).connect()
    talk.say(CHUNKED + content)
    answer = talk.answer()
    assert (answer.status, answer["Connection"]) == (status, "close")
    assert answer.content == f"{status} {answer.reason}\n".encode()
    assert talk.ends()
    assert errors() == []


@pytest.mark.parametrize(("content", "status"), BAD)
def test_wrong_content_cuts_an_answer_that_has_begun(
    serve: Any, errors: Errors, content: bytes, status: int
) -> None:
    def application(environ: Any, start_response: Any) -> Iterator[bytes]:
        start_response("200 OK", [])
        yield b"begun"
        gevent.sleep(0)
        yield environ["wsgi.input"].read()

    talk = serve(application, limits=Limits(content_bytes=10)).connect()
    talk.say(CHUNKED + content)
    assert talk.head().status == 200
    assert talk.read_to_end() == b"5\r\nbegun\r\n"
    assert errors() == []


@pytest.mark.parametrize(("content", "status"), BAD)
def test_wrong_content_that_nobody_reads_ends_the_connection_after_the_answer(
    serve: Any, content: bytes, status: int
) -> None:
    talk = serve(deaf, limits=Limits(content_bytes=10)).connect()
    talk.say(CHUNKED + content)
    assert talk.answer().content == b"deaf"
    assert talk.ends()


def test_application_may_answer_wrong_content_itself(serve: Any) -> None:
    def application(environ: Any, start_response: Any) -> list[bytes]:
        try:
            environ["wsgi.input"].read()
        except HttpError as exc:
            start_response("422 Unprocessable", [])
            return [type(exc).__name__.encode()]
        return deaf(environ, start_response)

    talk = serve(application).connect()
    answer = talk.ask(CHUNKED + b"nonsense\r\n")
    assert (answer.status, answer.content, answer["Connection"]) == (422, b"RemoteProtocolError", "close")
    assert talk.ends()


@pytest.mark.parametrize(
    "request_bytes", [LENGTH % 10 + b"01234", CHUNKED + b"a\r\n01234", CHUNKED + b"5\r\n01234\r\n"],
    ids=["length", "chunk", "between-chunks"],
)  # fmt: skip
def test_end_of_the_connection_inside_content_is_a_400(
    serve: Any, delivery: None, errors: Errors, request_bytes: bytes
) -> None:
    talk = serve(echo).connect()
    talk.say(request_bytes)
    talk.half_close()
    answer = talk.answer()
    assert (answer.status, answer["Connection"]) == (400, "close")
    assert talk.ends()
    assert errors() == []


def test_reset_inside_content_is_silence(serve: Any, errors: Errors, until: Any) -> None:
    served = serve(echo)
    talk = served.connect()
    talk.say(LENGTH % 10 + b"01234")
    gevent.sleep(0)
    talk.reset()
    until(lambda: not served.server.connections)
    assert errors() == []
    assert served.get().status == 200


def test_announced_length_above_the_limit_is_a_413_without_a_call(serve: Any, delivery: None) -> None:
    calls: list[object] = []

    def application(environ: Any, start_response: Any) -> list[bytes]:
        calls.append(environ)
        return echo(environ, start_response)

    served = serve(application, limits=Limits(content_bytes=10))
    assert served.connect().post(b"0123456789").status == 200
    talk = served.connect()
    talk.say(LENGTH % 11)
    answer = talk.answer()
    assert (answer.status, answer["Connection"], len(calls)) == (413, "close", 1)
    assert talk.ends()


def test_content_that_is_late_is_a_408(serve: Any, errors: Errors) -> None:
    talk = serve(echo, timeouts=Timeouts(content=0.02)).connect()
    talk.say(LENGTH % 10 + b"01234")
    answer = talk.answer()
    assert (answer.status, answer["Connection"]) == (408, "close")
    assert talk.ends()
    assert errors() == []


def test_content_that_is_late_cuts_an_answer_that_has_begun(serve: Any, errors: Errors) -> None:
    def application(environ: Any, start_response: Any) -> Iterator[bytes]:
        start_response("200 OK", [])
        yield b"begun"
        yield environ["wsgi.input"].read()

    talk = serve(application, timeouts=Timeouts(content=0.02)).connect()
    talk.say(LENGTH % 10)
    assert talk.head().status == 200
    assert talk.read_to_end() == b"5\r\nbegun\r\n"
    assert errors() == []


def test_content_that_keeps_coming_is_not_late(serve: Any) -> None:
    talk = serve(echo, limits=Limits(content_rate=None), timeouts=Timeouts(content=0.5)).connect()
    talk.say(LENGTH % 8)
    for _ in range(8):
        gevent.sleep(0.1)
        talk.say(b"x")
    assert talk.answer().content == b"x" * 8


# the least rate: R1


DRIP = [
    pytest.param(LENGTH % 1000, b"x", id="length"),
    pytest.param(CHUNKED, b"1\r\nx\r\n", id="chunks"),
]


@pytest.mark.parametrize(("head", "piece"), DRIP)
def test_content_that_drips_is_a_408_once_its_grace_is_over(serve: Any, head: bytes, piece: bytes) -> None:
    served = serve(echo, limits=Limits(content_rate=1000), timeouts=Timeouts(content=0.3))
    talk = served.connect()
    talk.say(head)
    pieces = 0
    while (heard := talk.channel.try_receive()) is None:
        talk.say(piece)
        pieces += 1
        assert pieces < 1000
        gevent.sleep(0.01)
    assert heard.startswith(b"HTTP/1.1 408 ") and b"Connection: close\r\n" in heard
    assert pieces > 5  # each of them was in time


def test_content_that_comes_fast_enough_may_take_longer_than_its_grace(serve: Any) -> None:
    served = serve(echo, limits=Limits(content_rate=1000), timeouts=Timeouts(content=0.3))
    talk = served.connect()
    talk.say(LENGTH % 20_000)
    for _ in range(20):
        gevent.sleep(0.03)
        talk.say(b"x" * 1000)
    assert len(talk.answer().content) == 20_000


def test_slow_application_makes_no_client_slow(serve: Any) -> None:
    def application(environ: Any, start_response: Any) -> list[bytes]:
        content = b""
        for _ in range(4):
            content += environ["wsgi.input"].read(1)
            gevent.sleep(0.15)
        start_response("200 OK", [])
        return [content]

    talk = serve(application, limits=Limits(content_rate=1000), timeouts=Timeouts(content=0.3)).connect()
    talk.say(LENGTH % 4)
    for byte in (b"a", b"b", b"c", b"d"):
        gevent.sleep(0.05)
        talk.say(byte)
    assert talk.answer().content == b"abcd"
