"""What clients do, well and badly, and what a robust server does then: one table, on one application."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import gevent
import pytest

from gruvihttp.limits import Limits, Timeouts

Errors = Callable[[], list[str]]
HOST = b"Host: a\r\n"
GET = b"GET / HTTP/1.1\r\n" + HOST + b"\r\n"
SHORT = 0.2
LIMITS = Limits(request_line_bytes=500, fields_bytes=1000)  # small, since some clients drip
TIMEOUTS = Timeouts(first_byte=SHORT, idle=SHORT, head=SHORT, content=SHORT)


def application(environ: Any, start_response: Any) -> Any:
    """An echo; PUT fails before anything is read, and ``/early`` answers before it reads."""
    if environ["REQUEST_METHOD"] == "PUT":
        raise ValueError("no PUT here")
    if environ["PATH_INFO"] == "/early":
        return early(environ, start_response)
    content = environ["wsgi.input"].read() or b"nothing"
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(content)))])
    return [content]


def early(environ: Any, start_response: Any) -> Iterator[bytes]:
    start_response("200 OK", [])
    yield b"early"
    yield environ["wsgi.input"].read()


def post(content: bytes, *fields: bytes, line: bytes = b"POST / HTTP/1.1") -> bytes:
    return line + b"\r\n" + HOST + b"".join(field + b"\r\n" for field in fields) + b"\r\n" + content


# what a client sends; the statuses that come; what happens then: it "stays", is "closed" with the last answer saying
# so, ends in "silence", without a word, or is "cut" in the middle of the last answer
ROWS = [
    pytest.param(GET, [200], "stays", id="get"),
    pytest.param(GET + GET, [200, 200], "stays", id="two-pipelined"),
    pytest.param(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", [400], "closed", id="tls-hello"),
    pytest.param(b"foo\r\n\r\n", [400], "closed", id="foo"),
    pytest.param(post(b"", line=b"PUT / HTTP/1.1"), [500], "stays", id="put-without-content-fails"),
    pytest.param(post(b"abc", b"Content-Length: 3", line=b"PUT / HTTP/1.1"), [500], "stays", id="put-fails"),
    pytest.param(b"HEAD / HTTP/1.1\r\n" + HOST + b"\r\n", [200], "stays", id="head"),
    pytest.param(post(b"", b"Content-Length: 3", b"Expect: 100-continue"), [100, 408], "closed", id="expect"),
    pytest.param(
        post(b"", b"Content-Length: 3", b"Expect: 100-continue", line=b"PUT / HTTP/1.1"), [500], "closed",
        id="expect-and-nobody-reads",
    ),
    pytest.param(b"", [], "silence", id="says-nothing"),
    pytest.param(GET, [200], "silence-later", id="idle"),
    pytest.param(b"GET / HT", [408], "closed", id="half-a-request-line"),
    pytest.param(post(b"ab", b"Content-Length: 4"), [408], "closed", id="half-content"),
    pytest.param(
        post(b"ab", b"Content-Length: 4", line=b"POST /early HTTP/1.1"), [200], "cut", id="half-content-of-an-answer"
    ),
    pytest.param(post(b"zz\r\n", b"Transfer-Encoding: chunked"), [400], "closed", id="bad-chunk"),
    pytest.param(GET[:-2] + b"X: " + b"x" * 1200 + b"\r\n\r\n", [431], "closed", id="large-head"),
    pytest.param(b"GET /" + b"x" * 600 + b" HTTP/1.1\r\n\r\n", [414], "closed", id="long-target"),
    pytest.param(b"GET / HTTP/1.0\r\n\r\n", [200], "closed", id="1.0"),
    pytest.param(b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", [200], "stays", id="1.0-keep-alive"),
    pytest.param(post(b"x", b"Transfer-Encoding: gzip"), [501], "closed", id="coding-gzip"),
]  # fmt: skip


@pytest.fixture
def served(serve: Any) -> Any:
    return serve(application, limits=LIMITS)


def heads_of(talk: Any, statuses: list[int], method: bytes) -> list[Any]:
    return [talk.head() if status == 100 else talk.answer(method) for status in statuses]


@pytest.mark.parametrize(("sent", "statuses", "then"), ROWS)
def test_client_gets_what_a_robust_server_answers(
    serve: Any, delivery: None, errors: Errors, sent: bytes, statuses: list[int], then: str
) -> None:
    waits = 408 in statuses or then not in ("stays", "closed")  # else nobody is late, however slow the machine
    talk = serve(application, limits=LIMITS, timeouts=TIMEOUTS if waits else Timeouts()).connect()
    talk.say(sent)
    if then == "cut":
        assert talk.head().status == 200
        assert talk.read_to_end() == b"5\r\nearly\r\n"
        return
    answers = heads_of(talk, statuses, sent.partition(b" ")[0])
    assert [answer.status for answer in answers] == statuses
    assert {answer.version for answer in answers} <= {"HTTP/1.0" if b"HTTP/1.0" in sent else "HTTP/1.1"}
    for answer in answers:
        if answer.status >= 200:
            assert answer.reason and answer["Date"] and answer["Server"]
            assert answer.closes == (then == "closed")
        if answer.status >= 400:
            assert re.fullmatch(rb"%d [A-Za-z- ]+\n" % answer.status, answer.content)
    if then == "stays":
        assert talk.get().status == 200
    else:
        assert talk.ends()
    assert [message for message in errors() if "no PUT here" not in message] == []


@pytest.mark.parametrize("end", ["half_close", "close"])
def test_end_inside_content_is_a_400_without_numbers(served: Any, delivery: None, end: str, until: Any) -> None:
    talk = served.connect()
    talk.say(post(b"ab", b"Content-Length: 4"))
    getattr(talk, end)()
    if end == "half_close":
        answer = talk.answer()
        assert (answer.status, answer.closes, answer.content) == (400, True, b"400 Bad Request\n")
        assert talk.ends()
    until(lambda: not served.server.connections)


def test_client_that_half_closes_behind_its_request_is_answered(served: Any, delivery: None) -> None:
    talk = served.connect()
    talk.say(GET)
    talk.half_close()
    assert talk.answer().status == 200
    assert talk.ends()


def test_two_pipelined_answers_leave_in_one_write(served: Any) -> None:
    talk = served.connect()
    talk.say(GET + GET)
    assert talk.channel.receive().count(b"HTTP/1.1 200 OK\r\n") == 2


CLOSING = [
    pytest.param(sent, id=param_id)
    for param_id, sent in {
        "400": b"foo\r\n\r\n",
        "408-head": b"GET",
        "408-content": post(b"", b"Content-Length: 1"),
        "413": post(b"", b"Content-Length: 1001"),
        "413-chunks": post(b"3e9\r\n" + b"x" * 1001, b"Transfer-Encoding: chunked"),
        "414": b"GET /" + b"x" * 9000,
        "417": GET[:-2] + b"Expect: miracles\r\n\r\n",
        "431": GET[:-2] + b"X: " + b"x" * 20_000,
        "500": post(b"", b"Content-Length: 900", line=b"PUT / HTTP/1.1"),
        "501": post(b"", b"Transfer-Encoding: gzip"),
        "505": b"GET / HTTP/3.0\r\n\r\n",
        "asked-for": GET[:-2] + b"Connection: close\r\n\r\n",
        "last-of-the-connection": GET + GET,
    }.items()
]


@pytest.mark.parametrize("sent", CLOSING)
def test_every_answer_behind_which_the_server_closes_says_so(serve: Any, sent: bytes) -> None:
    limits = Limits(fields_bytes=16384, content_bytes=1000, drain_bytes=10, connection_requests=2)
    talk = serve(application, limits=limits, timeouts=TIMEOUTS).connect()
    talk.say(sent)
    last = heads_of(talk, [200] * (2 if sent == GET + GET else 1), b"GET")[-1]
    assert last.closes
    assert talk.ends()


def test_answer_of_a_server_that_stops_says_close(serve: Any, until: Any) -> None:
    begun, go_on = gevent.event.Event(), gevent.event.Event()

    def waiting(environ: Any, start_response: Any) -> list[bytes]:
        begun.set()
        go_on.wait(10)
        start_response("200 OK", [])
        return [b"ok"]

    served = serve(waiting)
    talk = served.connect()
    talk.say(GET)
    begun.wait(10)
    served.server.drain()
    go_on.set()
    assert talk.answer().closes
    assert talk.ends()


def test_reset_leaves_nothing_of_the_connection_behind(serve: Any, until: Any) -> None:
    """A client that ignores our end: the system must not keep half of a connection for it."""
    served = serve(application, timeouts=Timeouts(linger=0.05))
    talk = served.connect()
    ports = served.server.address[1], talk.channel.get_extra_info("sockname")[1]
    assert ports in tcp_connections()
    talk.say(b"foo\r\n\r\n")
    assert talk.answer().status == 400
    assert talk.ends()  # the server's half only
    until(lambda: not served.server.connections)
    assert ports not in tcp_connections()


def tcp_connections() -> set[tuple[int, int]]:
    """The connections in the system's table: local and remote port. Others may have one of them, too."""
    with open("/proc/net/tcp") as table:
        rows = [line.split() for line in table.read().splitlines()[1:]]
    return {(int(row[1].rpartition(":")[2], 16), int(row[2].rpartition(":")[2], 16)) for row in rows}
