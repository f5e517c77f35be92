"""Requests above the most that are served at once: they wait for their turn, or are turned away with 503."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gevent
import pytest
from gevent.event import Event

from gruvihttp.admission import Admission
from gruvihttp.limits import Limits, Timeouts

GUARD = 10.0
GET = b"GET %b HTTP/1.1\r\nHost: a\r\n\r\n"
Until = Callable[[Callable[[], object]], None]


class Gates:
    """An application in which each request waits until its path is let go; it tells who has begun, in order."""

    def __init__(self) -> None:
        self.begun: list[str] = []
        self.most = 0
        self._running = 0
        self._gates: dict[str, Event] = {}

    def gate(self, path: str) -> Event:
        return self._gates.setdefault(path, Event())

    def let_go(self, *paths: str) -> None:
        for path in paths:
            self.gate(path).set()

    def __call__(self, environ: Any, start_response: Any) -> list[bytes]:
        path = environ["PATH_INFO"]
        self.begun.append(path)
        self._running += 1
        self.most = max(self.most, self._running)
        try:
            assert self.gate(path).wait(GUARD)
        finally:
            self._running -= 1
        if path == "/fails":
            raise ZeroDivisionError
        start_response("200 OK", [])
        return [path.encode()]


@pytest.fixture
def gates() -> Gates:
    return Gates()


def ask(served: Any, path: str) -> Any:
    talk = served.connect()
    talk.say(GET % path.encode())
    return talk


def one_at_a_time(serve: Any, gates: Gates, **options: Any) -> Any:
    return serve(gates, limits=Limits(active_requests=1), **options)


def test_requests_above_the_most_are_served_in_their_order(serve: Any, gates: Gates, until: Until) -> None:
    served = serve(gates, limits=Limits(active_requests=2))
    paths = ["/1", "/2", "/3", "/4", "/5"]
    talks = []
    for number, path in enumerate(paths):
        talks.append(ask(served, path))
        until(lambda: sum(served.server.stats()[name] for name in ("active_requests", "waiting_requests")) > number)  # noqa: B023
    assert (served.server.stats()["active_requests"], served.server.stats()["waiting_requests"]) == (2, 3)
    assert gates.begun == paths[:2]
    gates.let_go(*paths)
    assert [talk.answer().content for talk in talks] == [path.encode() for path in paths]
    assert (gates.begun, gates.most) == (paths, 2)
    until(lambda: served.server.stats()["active_requests"] == 0)
    assert served.server.stats()["waiting_requests"] == 0


def test_request_that_gets_no_turn_is_answered_503_with_advice(serve: Any, gates: Gates, until: Until) -> None:
    served = one_at_a_time(serve, gates, timeouts=Timeouts(turn=0.05))
    first = ask(served, "/first")
    until(lambda: gates.begun)
    second = served.connect()
    answer = second.get("/second")
    assert (answer.status, answer["Retry-After"], answer.content) == (503, "1", b"503 Service Unavailable\n")
    gates.let_go("/first", "/third")
    assert first.answer().status == 200
    assert second.get("/third").status == 200  # on the same connection
    assert gates.begun == ["/first", "/third"]
    assert served.server.stats()["refused"] == 1


def test_nobody_waits_where_nobody_is_to(serve: Any, gates: Gates, until: Until) -> None:
    served = one_at_a_time(serve, gates, timeouts=Timeouts(turn=0))
    first = ask(served, "/first")
    until(lambda: gates.begun)
    assert served.get("/second").status == 503
    gates.let_go("/first")
    assert first.answer().status == 200


def test_turn_without_a_deadline_comes_in_the_end(serve: Any, gates: Gates, until: Until) -> None:
    served = one_at_a_time(serve, gates, timeouts=Timeouts(turn=None))
    talks = [ask(served, path) for path in ("/1", "/2")]
    until(lambda: served.server.stats()["waiting_requests"] == 1)
    gates.let_go("/1", "/2")
    assert [talk.answer().status for talk in talks] == [200, 200]


def test_failure_gives_the_turn_to_the_next(serve: Any, gates: Gates, until: Until) -> None:
    served = one_at_a_time(serve, gates)
    failing, waiting = ask(served, "/fails"), ask(served, "/2")
    until(lambda: served.server.stats()["waiting_requests"] == 1)
    gates.let_go("/fails", "/2")
    assert [failing.answer().status, waiting.answer().status] == [500, 200]


def test_idle_connections_take_nobodys_turn(serve: Any, gates: Gates) -> None:
    served = one_at_a_time(serve, gates)
    gates.let_go("/")
    idle = [served.connect() for _ in range(5)]
    assert [talk.get().status for talk in idle] == [200] * 5
    assert served.get().status == 200


def test_probes_need_no_turn(serve: Any, gates: Gates, until: Until) -> None:
    served = one_at_a_time(serve, gates, health_path="/healthz")
    first = ask(served, "/first")
    until(lambda: gates.begun)
    assert served.get("/healthz").status == 200
    gates.let_go("/first")
    assert first.answer().status == 200


def test_request_that_is_turned_away_is_logged(serve: Any, gates: Gates, until: Until) -> None:
    records: list[Any] = []
    served = one_at_a_time(serve, gates, timeouts=Timeouts(turn=0), access_log=records.append)
    first = ask(served, "/first")
    until(lambda: gates.begun)
    assert served.get("/second").status == 503
    gates.let_go("/first")
    assert first.answer().status == 200
    until(lambda: len(records) == 2)
    assert [(each.status, each.target) for each in records] == [(503, "/second"), (200, "/first")]


def test_pipelined_request_waits_behind_those_of_others(serve: Any, gates: Gates, until: Until) -> None:
    served = one_at_a_time(serve, gates)
    many = served.connect()
    many.say(GET % b"/1" + GET % b"/2")
    until(lambda: gates.begun)
    other = ask(served, "/other")
    until(lambda: served.server.stats()["waiting_requests"] == 1)
    gates.let_go("/1", "/2", "/other")
    assert [many.answer().content, many.answer().content] == [b"/1", b"/2"]
    assert other.answer().status == 200
    assert gates.begun == ["/1", "/other", "/2"]


def test_streams_of_http2_wait_for_their_turns_too(serve: Any, gates: Gates, until: Until, speak_http2: Any) -> None:
    served = one_at_a_time(serve, gates)
    streams = speak_http2(served.server.address)
    begun = [streams.begin(path) for path in ("/1", "/2")]
    until(lambda: served.server.stats()["waiting_requests"] == 1)
    gates.let_go("/1", "/2")
    assert [streams.answer(stream) for stream in begun] == [("200", b"/1"), ("200", b"/2")]
    assert gates.most == 1


def test_waiting_requests_are_served_when_the_server_closes(serve: Any, gates: Gates, until: Until) -> None:
    served = one_at_a_time(serve, gates)
    talks = [ask(served, path) for path in ("/1", "/2")]
    until(lambda: served.server.stats()["waiting_requests"] == 1)
    closing = gevent.spawn(served.server.close)
    until(lambda: served.server.closed)
    gates.let_go("/1", "/2")
    assert [talk.answer().closes for talk in talks] == [True, True]
    for talk in talks:
        talk.close()
    closing.get(timeout=GUARD)


@pytest.mark.parametrize("has_turn", [False, True], ids=["while-waiting", "when-the-turn-has-come"])
def test_turn_of_a_greenlet_that_is_killed_is_not_lost(has_turn: bool) -> None:
    admission, served, go_on = Admission(1, None), [], Event()

    def handler(exchange: Any) -> None:
        served.append(exchange)
        go_on.wait(GUARD)

    handle = admission.admitting(handler)
    first, second, third = (gevent.spawn(handle, number) for number in (1, 2, 3))
    gevent.sleep(0)
    assert (served, admission.waiting) == ([1], 2)
    if has_turn:
        go_on.set()
        first.join(GUARD)  # hands its place on; the second has not run yet
    second.kill(timeout=GUARD)
    go_on.set()
    gevent.joinall([first, second, third], timeout=GUARD)
    assert (served[0], served[-1], admission.waiting, third.successful()) == (1, 3, 0, True)
    handle(4)
    assert served[-1] == 4
