"""An answer meets an upload that nobody reads: what becomes of the rest, by policy (R3, R4)."""

from __future__ import annotations

from typing import Any

import gevent
import pytest

from gruvihttp.errors import TransportError
from gruvihttp.limits import Limits, Timeouts
from gruvihttp.server import HttpServer

GUARD = 10.0
KIB, GIB = 1024, 1 << 30
LIMITS = Limits(drain_bytes=1 * KIB, linger_bytes=200 * KIB)
TIMEOUTS = Timeouts(linger=0.3, drain=0.3)
POLICIES = ["linger", "drain", "abort"]


def refusing(environ: Any, start_response: Any) -> list[bytes]:
    """Answers without reading."""
    start_response("403 Forbidden", [])
    return [b"no"]


def failing(environ: Any, start_response: Any) -> list[bytes]:
    """Fails without reading, and without a response."""
    raise ZeroDivisionError("secret")


def upload(size: int | None, *fields: bytes) -> bytes:
    framing = b"Transfer-Encoding: chunked" if size is None else b"Content-Length: %d" % size
    return b"".join(b"%b\r\n" % line for line in (b"POST / HTTP/1.1", b"Host: a", framing, *fields, b""))


def chunk(size: int) -> bytes:
    return b"%x\r\n%b\r\n" % (size, b"x" * size)


@pytest.fixture
def start(serve: Any) -> Any:
    def start(policy: str, application: Any = refusing) -> Any:
        return serve(application, limits=LIMITS, timeouts=TIMEOUTS, reject_upload=policy)

    return start


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize(("application", "status"), [(refusing, 403), (failing, 500)], ids=["answer", "failure"])
def test_little_content_is_dropped_and_the_connection_goes_on(
    start: Any, delivery: None, policy: str, application: Any, status: int
) -> None:
    talk = start(policy, application).connect()
    for _ in range(3):
        answer = talk.ask(upload(10) + b"x" * 10)
        assert (answer.status, answer.closes, b"secret" in answer.content) == (status, False, False)


@pytest.mark.parametrize(
    ("policy", "size", "persists"),
    [
        pytest.param("linger", 1 * KIB, True, id="linger-little"),
        pytest.param("linger", 100 * KIB, False, id="linger-much"),
        pytest.param("linger", None, False, id="linger-chunks"),
        pytest.param("drain", 100 * KIB, True, id="drain-much"),
        pytest.param("drain", 300 * KIB, False, id="drain-too-much"),
        pytest.param("drain", None, True, id="drain-chunks"),
        pytest.param("abort", 1 * KIB, True, id="abort-little"),
        pytest.param("abort", 100 * KIB, False, id="abort-much"),
        pytest.param("abort", None, False, id="abort-chunks"),
    ],
)
def test_head_says_whether_the_connection_goes_on(start: Any, policy: str, size: int | None, persists: bool) -> None:
    talk = start(policy).connect()
    talk.say(upload(size))
    answer = talk.answer()
    assert (answer.status, answer.closes) == (403, not persists)
    if persists:
        talk.say(chunk(50 * KIB) * 2 + b"0\r\n\r\n" if size is None else b"x" * size)
        assert talk.get().status == 403
    elif policy == "abort":
        until_closed = gevent.spawn(talk.is_cut)
        until_closed.get(timeout=GUARD)
    else:
        assert talk.ends()


@pytest.mark.parametrize("policy", ["linger", "drain"])
@pytest.mark.parametrize("size", [150 * KIB, None], ids=["length", "chunks"])
def test_client_that_reads_after_its_upload_sees_the_answer(start: Any, policy: str, size: int | None) -> None:
    talk = start(policy).connect()
    content = chunk(50 * KIB) * 3 + b"0\r\n\r\n" if size is None else b"x" * size
    gevent.spawn(talk.say, upload(size) + content).get(timeout=GUARD)
    assert talk.answer().status == 403


@pytest.mark.parametrize("policy", ["linger", "drain"])
def test_client_that_looks_for_the_answer_when_its_upload_is_stuck_sees_it(serve: Any, policy: str) -> None:
    """As curl does: it may have sent far more than is dropped by then."""
    served = serve(refusing, limits=LIMITS, timeouts=Timeouts(linger=3600), reject_upload=policy)
    talk = served.connect()
    talk.say(upload(GIB))
    piece, refusals = b"x" * 64 * KIB, 0
    while refusals < 20:
        refusals = refusals + 1 if len(talk.channel.try_send(piece)) == len(piece) else 0
        gevent.sleep(0.001)
    assert served.server.stats()["connections"] == 1
    assert talk.answer().status == 403
    talk.reset()


def test_time_without_end_is_bounded_by_what_is_dropped(serve: Any, until: Any) -> None:
    served = serve(refusing, limits=LIMITS, timeouts=Timeouts(linger=None))
    talk = served.connect()
    with pytest.raises(TransportError):
        talk.say(upload(GIB))
        while True:
            talk.say(b"x" * 64 * KIB)
            gevent.sleep(0)
    until(lambda: not served.server.connections)


@pytest.mark.parametrize("policy", POLICIES)
def test_content_that_was_refused_by_its_length_is_a_413(serve: Any, policy: str) -> None:
    limits = Limits(content_bytes=10, linger_bytes=200 * KIB)
    talk = serve(refusing, limits=limits, timeouts=TIMEOUTS, reject_upload=policy).connect()
    talk.say(upload(11))
    answer = talk.answer()
    assert (answer.status, answer.closes) == (413, True)


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("size", [10, 100 * KIB, None], ids=["little", "much", "chunks"])
def test_client_that_asks_first_gets_the_answer_and_never_100(start: Any, policy: str, size: int | None) -> None:
    talk = start(policy).connect()
    answer = talk.ask(upload(size, b"Expect: 100-continue"))
    assert (answer.status, answer.closes) == (403, True)
    assert b" 100 " not in talk.received
    assert talk.ends()


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("expects", [False, True], ids=["", "expect"])
@pytest.mark.parametrize("size", [GIB, None], ids=["length", "chunks"])
def test_client_that_goes_on_for_ever_is_cut(
    start: Any, until: Any, policy: str, expects: bool, size: int | None
) -> None:
    """Long before its end, whichever way it goes: by the bytes that are dropped, or by time."""
    served = start(policy)
    talk = served.connect()
    talk.say(upload(size, *[b"Expect: 100-continue"] * expects))
    piece = chunk(64 * KIB) if size is None else b"x" * 64 * KIB
    with pytest.raises(TransportError):
        for _ in range(GIB // len(piece)):
            talk.say(piece)
            gevent.sleep(0)
    until(lambda: not served.server.connections)
    assert served.server.stats()["received_bytes"] < 2 << 20


@pytest.mark.parametrize("policy", ["linger", "drain"])
def test_client_that_stops_without_closing_is_cut_after_its_time(start: Any, until: Any, policy: str) -> None:
    served = start(policy)
    talk = served.connect()
    talk.say(upload(100 * KIB) + b"x" * 1000)
    assert talk.answer().status == 403
    until(lambda: not served.server.connections)


def test_policy_has_a_known_name() -> None:
    with pytest.raises(ValueError, match="reject_upload must be one of linger, drain, abort, not 'ignore'"):
        HttpServer(refusing, reject_upload="ignore")  # type: ignore[arg-type]
