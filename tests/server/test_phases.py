"""Time and disconnection: each phase of a connection has its own limit, and its own end (R1, R2, R12, G73)."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from time import monotonic
from typing import Any

import gevent
import pytest
from gevent.event import Event

from gruvihttp.errors import TransportError
from gruvihttp.limits import Limits, Timeouts

GUARD = 10.0
GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
Errors = Callable[[], list[str]]
SHORT = 0.05


def ok(environ: Any, start_response: Any) -> list[bytes]:
    environ["wsgi.input"].read()
    start_response("200 OK", [])
    return [b"ok"]


def unlimited(**limited: float | None) -> Timeouts:
    """Timeouts of which only those given pass."""
    phases = ("connect", "handshake", "first_byte", "head", "content", "write", "idle", "drain", "linger")
    return Timeouts(**dict.fromkeys(phases) | limited)


# idle


def test_connection_that_never_says_anything_ends_in_silence(serve: Any) -> None:
    begin = monotonic()
    talk = serve(ok, timeouts=unlimited(first_byte=SHORT)).connect()
    assert talk.ends()
    assert monotonic() - begin >= SHORT * 0.9


def test_idle_connection_ends_in_silence(serve: Any) -> None:
    talk = serve(ok, timeouts=unlimited(idle=SHORT)).connect()
    assert talk.get().status == 200
    assert talk.ends()


def test_each_request_begins_a_new_idle_time(serve: Any) -> None:
    talk = serve(ok, timeouts=unlimited(idle=0.5)).connect()
    for _ in range(4):
        assert talk.get().status == 200
        gevent.sleep(0.2)
    assert talk.is_open()


def test_slow_application_is_not_idle(serve: Any) -> None:
    def application(environ: Any, start_response: Any) -> Any:
        gevent.sleep(SHORT * 4)
        return ok(environ, start_response)

    talk = serve(application, timeouts=unlimited(idle=SHORT, head=SHORT, content=SHORT, write=SHORT)).connect()
    talk.say(GET + GET)
    assert [talk.answer().status, talk.answer().status] == [200, 200]


def test_answer_that_takes_long_is_not_idle(serve: Any) -> None:
    def application(environ: Any, start_response: Any) -> Iterator[bytes]:
        start_response("200 OK", [])
        for _ in range(4):
            gevent.sleep(SHORT)
            yield b"x"

    talk = serve(application, timeouts=unlimited(idle=SHORT, head=SHORT, content=SHORT, write=SHORT)).connect()
    assert talk.get().content == b"xxxx"


def test_time_for_the_first_byte_is_not_that_for_the_next_request(serve: Any) -> None:
    talk = serve(ok, timeouts=unlimited(first_byte=SHORT)).connect()
    assert talk.get().status == 200
    gevent.sleep(SHORT * 2)
    assert talk.is_open()
    waiting = serve(ok, timeouts=unlimited(idle=SHORT)).connect()
    gevent.sleep(SHORT * 2)
    assert waiting.is_open()


# head


@pytest.mark.parametrize("sent", [b"G", b"GET / HT", b"GET / HTTP/1.1\r\n", b"GET / HTTP/1.1\r\nHost: a\r\n"], ids=repr)
def test_head_that_is_late_is_a_408(serve: Any, delivery: None, sent: bytes) -> None:
    talk = serve(ok, timeouts=unlimited(head=SHORT)).connect()
    talk.say(sent)
    answer = talk.answer()
    assert (answer.status, answer["Connection"]) == (408, "close")
    assert talk.ends()


def test_second_head_that_is_late_is_a_408(serve: Any) -> None:
    talk = serve(ok, timeouts=unlimited(head=SHORT)).connect()
    talk.say(GET + b"GET / HT")
    assert talk.answer().status == 200
    assert talk.answer().status == 408
    assert talk.ends()


def test_dripping_does_not_make_a_head_later(serve: Any) -> None:
    talk = serve(ok, timeouts=unlimited(head=0.2)).connect()
    begin = monotonic()
    with pytest.raises(TransportError):
        for byte in b"GET / HTTP/1.1\r\nX: " + b"x" * 1000:
            talk.send(bytes((byte,)))
            gevent.sleep(0.01)
            if talk.channel.try_receive():
                raise TransportError("answered")
    assert 0.1 < monotonic() - begin < 5


def test_time_for_a_head_ends_with_it(serve: Any) -> None:
    talk = serve(ok, timeouts=unlimited(head=SHORT)).connect()
    talk.say(b"GET / HT")
    gevent.sleep(0.001)
    talk.say(b"TP/1.1\r\nHost: a\r\n\r\n")
    assert talk.answer().status == 200
    gevent.sleep(SHORT * 2)
    assert talk.is_open()


@pytest.mark.parametrize(
    ("timeouts", "first", "status"),
    [
        pytest.param(unlimited(idle=SHORT), b"GET / HT", None, id="no-limit-for-a-head"),
        pytest.param(unlimited(head=SHORT), GET, 200, id="no-limit-for-being-idle"),
    ],
)
def test_phase_without_a_limit_is_not_ended_by_that_of_another(
    serve: Any, timeouts: Timeouts, first: bytes, status: int | None
) -> None:
    talk = serve(ok, timeouts=timeouts).connect()
    talk.say(first[:5])
    gevent.sleep(0.001)
    talk.say(first[5:])
    if status is not None:
        assert talk.answer().status == status
    gevent.sleep(SHORT * 3)
    assert talk.channel.try_receive() is None
    talk.say(b"TP/1.1\r\nHost: a\r\n\r\n" if status is None else GET)
    assert talk.answer().status == 200


# write


class Endless:
    """Content without end, that counts how often it is closed."""

    def __init__(self) -> None:
        self.closed = 0

    def __iter__(self) -> Iterator[bytes]:
        while True:
            yield b"x" * 100_000

    def close(self) -> None:
        self.closed += 1


def test_client_that_does_not_read_is_cut(serve: Any, errors: Errors, until: Any) -> None:
    content = Endless()
    served = serve(lambda e, s: (s("200 OK", []), content)[1], timeouts=unlimited(write=SHORT))
    talk = served.connect()
    talk.say(GET)
    until(lambda: content.closed)
    until(lambda: not served.server.connections)
    assert talk.is_cut()
    assert (content.closed, errors()) == (1, [])


def test_client_that_reads_slowly_is_not_cut(serve: Any) -> None:
    content = b"x" * 3_000_000
    talk = serve(lambda e, s: (s("200 OK", []), [content])[1], timeouts=unlimited(write=0.5)).connect()
    talk.say(GET)
    talk.head()
    got = 0
    while got < len(content):
        got += len(talk.read(min(300_000, len(content) - got)))
        gevent.sleep(0.1)
    assert talk.is_open()


def test_client_that_reads_too_little_is_cut(serve: Any, errors: Errors, until: Any) -> None:
    content = Endless()
    served = serve(
        lambda e, s: (s("200 OK", []), content)[1], timeouts=unlimited(write=0.2), limits=Limits(write_rate=1 << 30)
    )
    talk = served.connect()
    talk.say(GET)
    read = 0
    while not content.closed:
        read += len(talk.channel.receive(monotonic() + GUARD, size=8192))
        gevent.sleep(0.01)
    assert read > 8192
    until(lambda: not served.server.connections)
    assert errors() == []


def test_pipelining_client_that_does_not_read_is_cut(serve: Any, until: Any) -> None:
    served = serve(lambda e, s: (s("200 OK", []), [b"x" * 1_000_000])[1], timeouts=unlimited(write=SHORT))
    talk = served.connect()
    talk.say(GET * 20)
    until(lambda: served.server.accepted and not served.server.connections)
    assert talk.is_cut()


# clients that go: X8, X16


@pytest.mark.parametrize(
    "sent",
    [b"", b"GET / HT", GET, GET * 3, b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n123"],
    ids=["nothing", "half-a-head", "request", "requests", "half-content"],
)
@pytest.mark.parametrize("way", ["reset", "close", "half_close"])
def test_client_that_goes_at_any_time_disturbs_nobody(
    serve: Any, errors: Errors, until: Any, sent: bytes, way: str
) -> None:
    served = serve(ok)
    talk = served.connect()
    until(lambda: served.server.connections)
    talk.say(sent)
    getattr(talk, way)()
    until(lambda: not served.server.connections)
    assert errors() == []
    assert served.get().status == 200


@pytest.mark.parametrize("way", ["reset", "close"])
def test_client_that_goes_while_the_application_works_disturbs_nobody(
    serve: Any, errors: Errors, until: Any, way: str
) -> None:
    begun, go_on = Event(), Event()

    def application(environ: Any, start_response: Any) -> Any:
        begun.set()
        assert go_on.wait(GUARD)
        return ok(environ, start_response)

    served = serve(application)
    talk = served.connect()
    talk.say(GET * 2)
    assert begun.wait(GUARD)
    getattr(talk, way)()
    gevent.sleep(0.01)
    go_on.set()
    until(lambda: not served.server.connections)
    assert errors() == []


def test_thousand_connections_come_and_go(serve: Any, until: Any) -> None:
    served = serve(ok)
    for _ in range(1000):
        talk = served.connect()
        talk.say(GET)
        served.talks.clear()
        talk.close()
    until(lambda: not served.server.connections)
    assert served.get().status == 200


# interrupted sends: R13


def stuck(serve: Any, until: Any, **options: Any) -> tuple[Any, Endless, list[Any]]:
    """A connection whose client does not read, its content, and the greenlet that is stuck in sending it."""
    content, greenlets = Endless(), []

    def application(environ: Any, start_response: Any) -> Any:
        greenlets.append(gevent.getcurrent())
        start_response("200 OK", [])
        return content

    served = serve(application, **options)
    talk = served.connect()
    talk.say(GET)
    until(lambda: "sending" in repr(served.server.connections))
    return talk, content, greenlets


def test_worker_that_is_killed_in_the_middle_of_sending_cuts_the_connection(
    serve: Any, errors: Errors, until: Any
) -> None:
    talk, content, greenlets = stuck(serve, until)
    greenlets[0].kill(timeout=GUARD)
    assert talk.is_cut()
    assert (content.closed, errors()) == (1, [])


def test_timer_of_the_application_that_strikes_in_the_middle_of_sending_cuts_the_connection(
    serve: Any, errors: Errors, until: Any
) -> None:
    talk, content, greenlets = stuck(serve, until)
    greenlets[0].kill(gevent.Timeout(99), timeout=GUARD, block=False)
    until(lambda: content.closed)
    assert talk.is_cut() or not talk.received.endswith(b"0\r\n\r\n")
    assert len(errors()) == 1 and "Timeout" in errors()[0]


# a loop that was busy: nobody is late who was in time


BUSY = [
    pytest.param({"first_byte": SHORT}, b"", GET, id="first-byte"),
    pytest.param({"idle": SHORT}, GET, GET, id="next-request"),
    pytest.param({"head": SHORT}, GET[:10], GET[10:], id="head"),
    pytest.param(
        {"content": SHORT}, b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n1", b"2", id="content"
    ),
]


@pytest.mark.parametrize(("timeouts", "before", "then"), BUSY)
def test_what_came_in_time_is_not_late_because_the_server_was_busy(
    serve: Any, until: Any, timeouts: dict[str, float], before: bytes, then: bytes
) -> None:
    served = serve(ok, timeouts=unlimited(**timeouts))
    talk = served.connect()
    talk.say(before)
    until(lambda: served.server.stats()["received_bytes"] == len(before) and served.server.connections)
    if before == GET:
        assert talk.answer().status == 200
    gevent.sleep(0.01)
    talk.say(then)
    time.sleep(SHORT * 2)  # nobody has his turn: as when an application blocks the thread
    assert talk.answer().status == 200


def test_stream_that_came_in_time_is_served_by_a_server_that_was_busy(serve: Any, until: Any, speak_http2: Any) -> None:
    served = serve(ok, timeouts=unlimited(idle=SHORT))
    streams = speak_http2(served.server.address)
    assert streams.get("/") == ("200", b"ok")
    gevent.sleep(0.01)
    stream = streams.begin("/")
    time.sleep(SHORT * 2)  # as above
    assert streams.answer(stream) == ("200", b"ok")
