"""What a server does with its connections while it stops: who is served, who is closed, and when."""

from __future__ import annotations

import errno
import ssl
from collections.abc import Callable
from time import monotonic
from typing import Any

import gevent
import pytest
from gevent.event import Event

from gruvihttp.errors import TransportError
from gruvihttp.limits import Limits, Timeouts

GUARD = 10.0


class Gate:
    """An application whose requests for /slow wait until the gate is opened."""

    def __init__(self) -> None:
        self.entered = Event()
        self.opened = Event()

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
        if environ["PATH_INFO"] == "/slow":
            self.entered.set()
            assert self.opened.wait(GUARD)
        start_response("200 OK", [])
        return [environ["PATH_INFO"].encode()]


def test_drain_refuses_newcomers_at_once_and_serves_the_running_request_to_its_end(serve: Any) -> None:
    gate = Gate()
    served = serve(gate)
    address = served.server.address
    slow, idle = served.connect(), served.connect()
    assert idle.get("/fast").status == 200
    slow.say(b"GET /slow HTTP/1.1\r\nHost: a\r\n\r\n")
    assert gate.entered.wait(GUARD)
    closing = gevent.spawn(served.server.close, GUARD)
    assert idle.ends()  # while the slow request runs
    with pytest.raises(TransportError) as refused:
        served.connect(address=address)
    assert refused.value.errno == errno.ECONNREFUSED
    assert not closing.ready()
    gate.opened.set()
    answer = slow.answer()
    assert (answer.status, answer.content, answer["Connection"]) == (200, b"/slow", "close")
    slow.close()
    closing.get(timeout=GUARD)


def test_request_that_has_arrived_on_an_idle_connection_is_answered(serve: Any) -> None:
    served = serve(Gate())
    talk = served.connect()
    assert talk.get("/first").status == 200
    talk.say(b"GET /second HTTP/1.1\r\nHost: a\r\n\r\n")
    served.server.drain()  # no turn of the loop in between: the server has not read it
    answer = talk.answer()
    assert (answer.content, answer["Connection"]) == (b"/second", "close")
    talk.close()
    assert served.server.join(GUARD)


@pytest.mark.parametrize("speaks_before", [True, False], ids=["request-before-drain", "request-after-drain"])
def test_connection_in_the_backlog_is_served(serve: Any, speaks_before: bool) -> None:
    served = serve(Gate())
    for listener in served.server._listeners:
        listener._watcher.stop()  # the loop has not come round to accept it
    talk = served.connect()
    request = b"GET /late HTTP/1.1\r\nHost: a\r\n\r\n"
    if speaks_before:
        talk.say(request)
    assert served.server.connections == []
    served.server.drain()
    if not speaks_before:
        talk.say(request)
    assert talk.answer().content == b"/late"
    talk.close()
    assert served.server.join(GUARD)


def test_connection_without_a_request_ends_after_a_moment(serve: Any, until: Any) -> None:
    served = serve(Gate())
    talk = served.connect()
    until(lambda: served.server.connections)
    begun = monotonic()
    served.server.close(GUARD)
    assert monotonic() - begun < GUARD / 2
    assert talk.ends()


def test_handshake_that_has_begun_is_finished_and_its_request_served(
    serve: Any, server_tls: ssl.SSLContext, client_tls: ssl.SSLContext, until: Any
) -> None:
    served = serve(Gate(), ssl=server_tls)
    connecting = gevent.spawn(served.connect, client_tls)
    until(lambda: served.server._handshakes)
    served.server.drain()
    talk = connecting.get(timeout=GUARD)
    talk.say(b"GET /tls HTTP/1.1\r\nHost: a\r\n\r\n")
    answer = talk.answer()
    assert (answer.content, answer["Connection"]) == (b"/tls", "close")
    talk.close()
    assert served.server.join(GUARD)


def test_close_without_patience_cuts_the_running_request(serve: Any) -> None:
    gate = Gate()
    served = serve(gate)
    talk = served.connect()
    talk.say(b"GET /slow HTTP/1.1\r\nHost: a\r\n\r\n")
    assert gate.entered.wait(GUARD)
    served.server.close(0)
    assert talk.is_cut()
    gate.opened.set()


def test_server_that_leaves_says_that_it_is_not_ready_and_serves_until_it_is_closed(serve: Any) -> None:
    served = serve(Gate(), ready_path="/ready")
    talk = served.connect()
    assert talk.get("/ready").status == 200
    closing = gevent.spawn(served.server.close, GUARD, delay=3600.0)
    gevent.idle()
    assert talk.get("/ready").status == 503
    assert served.connect().get("/fast").status == 200
    served.server.close(GUARD)  # does not wait for the delay, and ends the wait for it
    closing.get(timeout=GUARD)
    assert talk.ends()


@pytest.fixture
def leaving(serve: Any) -> Any:
    """Has a server leave that serves a `Gate`, and says which requests are under way then."""

    def leave(*paths: bytes, **options: Any) -> Any:
        gate = Gate()
        served = serve(gate, ready_path="/ready", **options)
        kept = served.connect()
        assert kept.get("/before").closes is False
        for path in paths:
            kept.say(b"GET %b HTTP/1.1\r\nHost: a\r\n\r\n" % path)
            assert gate.entered.wait(GUARD)
        leaver = gevent.spawn(served.server.leave, 3600.0)
        gevent.idle()
        assert not leaver.ready()
        return served, kept, gate

    return leave


@pytest.mark.parametrize("path", ["/ready", "/after"])
def test_answer_of_a_server_that_leaves_is_the_last_of_its_connection(leaving: Any, path: str) -> None:
    served, kept, _ = leaving()
    assert kept.get(path).closes
    assert kept.ends()
    for _ in range(2):
        fresh = served.connect()
        assert fresh.get(path).closes
        assert fresh.ends()
    old = served.connect().ask(b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
    assert (old.status, old.closes) == (200, True)


def test_request_that_runs_when_the_server_leaves_is_the_last_of_its_connection(leaving: Any) -> None:
    _, kept, gate = leaving(b"/slow")
    gate.opened.set()
    answer = kept.answer()
    assert (answer.content, answer.closes) == (b"/slow", True)
    assert kept.ends()


def test_answer_that_has_begun_when_the_server_leaves_is_followed_by_one_more(serve: Any) -> None:
    go_on = Event()

    def application(environ: Any, start_response: Any) -> Any:
        start_response("200 OK", [])
        yield b"be"
        assert go_on.wait(GUARD)
        yield b"gun"

    served = serve(application)
    talk = served.connect()
    talk.say(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    assert talk.head().closes is False
    gevent.spawn(served.server.leave, 3600.0)
    gevent.idle()
    go_on.set()
    assert talk.read_until(b"0\r\n\r\n") == b"2\r\nbe\r\n3\r\ngun\r\n0\r\n\r\n"
    assert talk.get().closes
    assert talk.ends()


def test_connections_without_a_request_stay_until_the_server_drains(leaving: Any, until: Any) -> None:
    served, kept, _ = leaving(limits=Limits(connections=2), timeouts=Timeouts(graceful=GUARD))
    fresh = served.connect()
    until(lambda: len(served.server.connections) == 2)
    assert served.connect().get("/newcomer").status == 200  # and `kept` has made room for it, as ever
    assert kept.ends()
    assert fresh.get("/late").closes


def test_server_that_has_left_drains_by_itself(serve: Any) -> None:
    served = serve(Gate())
    talk = served.connect()
    assert talk.get("/fast").status == 200
    served.server.close(GUARD, delay=0.01)
    assert talk.ends()
