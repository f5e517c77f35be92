"""Connections above the most: an idle one goes for a newcomer, a busy one when it has done its work."""

from __future__ import annotations

from typing import Any

import gevent
import pytest
from gevent.event import Event

from gruvihttp.limits import Limits, Timeouts

GUARD = 10.0
HEADERS, GOAWAY = 1, 7  # types of frames
GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


def ok(environ: Any, start_response: Any) -> list[bytes]:
    start_response("200 OK", [])
    return [b"ok"]


class Slow:
    """An application whose answers to ``/slow`` wait until somebody lets them go."""

    def __init__(self) -> None:
        self.begun = 0
        self.go_on = Event()

    def __call__(self, environ: Any, start_response: Any) -> list[bytes]:
        if environ["PATH_INFO"] == "/slow":
            self.begun += 1
            assert self.go_on.wait(GUARD)
        return ok(environ, start_response)


def full(serve: Any, application: Any, most: int, timeouts: Timeouts | None = None, **options: Any) -> Any:
    return serve(application, limits=Limits(connections=most, **options), timeouts=timeouts)


def test_limit_is_gruvis_attribute_too(serve: Any) -> None:
    assert full(serve, ok, 3).server.max_connections == 3
    assert serve(ok).server.max_connections is None


def test_longest_idle_connection_goes_for_a_newcomer(serve: Any) -> None:
    served = full(serve, ok, 2)
    first, second = served.connect(), served.connect()
    for talk in (first, second, first):
        assert talk.get().status == 200
    third = served.connect()
    assert third.get().status == 200
    assert second.ends()
    assert first.is_open()
    assert len(served.server.connections) == 2


def test_many_newcomers_are_served_one_after_another(serve: Any) -> None:
    served = full(serve, ok, 3)
    assert [served.get().status for _ in range(50)] == [200] * 50
    assert len(served.server.connections) <= 3
    assert served.server.stats()["evicted"] == 47


def test_nobody_goes_for_a_newcomer_whom_another_process_has_accepted(serve: Any) -> None:
    served = full(serve, ok, 1)
    idle = served.connect()
    assert idle.get().status == 200
    [listener] = served.server._listeners
    assert not listener._accept_many()  # as if woken for somebody who is not there any more
    assert idle.is_open()


@pytest.mark.parametrize("header", [False, True], ids=["tls", "proxy-header"])
def test_handshake_that_lasts_makes_room(
    serve: Any, server_tls: Any, client_tls: Any, until: Any, header: bool
) -> None:
    served = serve(ok, limits=Limits(connections=2), timeouts=Timeouts(handshake=3600))
    served.server.listen(("127.0.0.1", 0), False if header else server_tls, proxy_protocol=header)
    address = served.server.addresses[-1]
    silent = [served.connect(address=address) for _ in range(2)]
    until(lambda: served.server.accepted == 2)
    talk = served.connect(None if header else client_tls, address=address)
    if header:
        talk.say(b"PROXY UNKNOWN\r\n")
    assert talk.get().status == 200
    assert served.server.stats()["evicted"] == 1
    assert silent[0].is_cut()


@pytest.mark.parametrize(
    "said",
    [
        pytest.param(b"GET / HT", id="half-a-head"),
        pytest.param(PREFACE, id="preface-alone"),
        pytest.param(PREFACE + bytes(3) + b"\x04" + bytes(5), id="settings-unacknowledged"),
        pytest.param(PREFACE + bytes(3) + b"\x04" + bytes(5) + b"\0\0\1\1\0\0\0\0\1\x82", id="half-a-section"),
    ],
)
def test_request_that_is_long_on_its_way_makes_room(serve: Any, until: Any, said: bytes) -> None:
    served = full(serve, ok, 2, timeouts=Timeouts(head=3600, first_byte=3600))
    for _ in range(2):
        served.connect().say(said)
    until(lambda: served.server.accepted == 2)
    assert served.get().status == 200
    assert served.server.stats()["evicted"] == 1
    assert len(served.server.connections) == 2


def test_newcomer_over_tls_is_served(serve: Any, server_tls: Any, client_tls: Any) -> None:
    served = serve(ok, ssl=server_tls, limits=Limits(connections=1))
    first = served.connect(client_tls)
    assert first.get().status == 200
    second = served.connect(client_tls)
    assert second.get().status == 200
    assert first.ends()


def test_request_that_has_arrived_is_answered_before_anybody_goes(serve: Any) -> None:
    served = full(serve, ok, 1)
    first = served.connect()
    assert first.get().status == 200
    second = served.connect()  # both are there when the server looks next
    first.say(GET)
    second.say(GET)
    assert first.answer().status == 200
    assert second.answer().status == 200
    assert first.ends()


def test_newcomer_takes_the_place_of_a_busy_connection_once_that_has_answered(serve: Any, until: Any) -> None:
    slow = Slow()
    served = full(serve, slow, 1)
    first = served.connect()
    first.say(GET.replace(b"/ ", b"/slow "))
    until(lambda: slow.begun)
    second = served.connect()
    second.say(GET)
    gevent.sleep(0.02)
    assert second.channel.try_receive() is None
    slow.go_on.set()
    assert first.answer().status == 200
    assert second.answer().status == 200
    assert first.ends()


def test_connection_that_always_has_a_request_more_is_told_to_close(serve: Any, until: Any) -> None:
    slow = Slow()
    served = full(serve, slow, 1)
    first = served.connect()
    first.say(GET.replace(b"/ ", b"/slow ") + GET * 100)
    until(lambda: slow.begun)
    second = served.connect()
    second.say(GET)
    until(lambda: served.server._room.is_wanted)
    slow.go_on.set()
    answers = [first.answer()]
    while not answers[-1].closes:
        answers.append(first.answer())
    assert len(answers) < 5
    first.close()
    assert second.answer().status == 200


def test_long_poll_keeps_its_place(serve: Any, until: Any) -> None:
    slow = Slow()
    served = full(serve, slow, 2)
    poll, idle = served.connect(), served.connect()
    poll.say(GET.replace(b"/ ", b"/slow "))
    until(lambda: slow.begun)
    assert idle.get().status == 200
    for _ in range(5):
        assert served.get().status == 200
    slow.go_on.set()
    assert poll.answer().status == 200


def test_connection_without_a_request_has_a_moment_for_its_first(serve: Any) -> None:
    served = full(serve, ok, 1)
    silent = served.connect()
    newcomer = served.connect()
    newcomer.say(GET)
    gevent.sleep(0.02)
    assert silent.get().status == 200
    assert newcomer.answer().status == 200


def test_connections_that_never_say_anything_go_for_a_newcomer(serve: Any) -> None:
    served = full(serve, ok, 3)
    silent = [served.connect() for _ in range(3)]
    assert served.get().status == 200
    assert silent[0].ends()


def test_heads_that_do_not_end_keep_nobody_out_for_longer_than_their_time(serve: Any) -> None:
    served = serve(ok, limits=Limits(connections=2), timeouts=Timeouts(head=0.1, linger=0.1))
    for _ in range(2):
        served.connect().say(b"GET / HT")
    assert served.get().status == 200


def test_idle_http2_connection_goes_with_goaway(serve: Any, speak_http2: Any) -> None:
    served = full(serve, ok, 1)
    first = speak_http2(served.server.address)
    assert first.get("/") == ("200", b"ok")
    second = served.connect()
    second.say(GET)
    while first.hear():
        pass
    assert first.goaways == [1]
    first.peer.close()
    assert second.answer().status == 200


def test_newcomer_takes_the_place_of_a_busy_http2_connection_once_that_has_answered(
    serve: Any, speak_http2: Any, until: Any
) -> None:
    slow = Slow()
    served = full(serve, slow, 1)
    first = speak_http2(served.server.address)
    stream = first.begin("/slow")
    until(lambda: slow.begun)
    second = served.connect()
    second.say(GET)
    until(lambda: served.server._room.is_wanted)
    slow.go_on.set()
    assert first.answer(stream) == ("200", b"ok")
    while first.hear():
        pass
    first.peer.close()
    assert second.answer().status == 200


@pytest.mark.parametrize("most", [1, 3])
def test_last_request_of_a_connection_is_answered_with_close(serve: Any, delivery: None, most: int) -> None:
    talk = serve(ok, limits=Limits(connection_requests=most)).connect()
    assert [talk.get().closes for _ in range(most)] == [False] * (most - 1) + [True]
    assert talk.ends()


def test_pipelined_requests_above_the_most_of_a_connection_are_not_served(serve: Any) -> None:
    talk = serve(ok, limits=Limits(connection_requests=3)).connect()
    talk.say(GET * 5)
    assert [talk.answer().closes for _ in range(3)] == [False, False, True]
    assert talk.ends()


def test_last_request_of_an_http2_connection_is_followed_by_goaway(serve: Any, speak_http2: Any) -> None:
    streams = speak_http2(serve(ok, limits=Limits(connection_requests=2)).server.address)
    assert streams.get("/") == ("200", b"ok")
    streams.begin("/")
    raw, kinds = streams.peer.read_to_end(), []  # the h2 package wants to hear nothing behind GOAWAY
    while raw:
        kinds.append(raw[3])
        raw = raw[9 + int.from_bytes(raw[:3]) :]
    assert kinds.count(GOAWAY) == 2 and HEADERS in kinds


def test_pipelined_requests_leave_others_their_turn(serve: Any) -> None:
    """One connection has a thousand requests buffered; another one's single request does not wait for all of them."""
    order: list[str] = []

    def application(environ: Any, start_response: Any) -> list[bytes]:
        order.append(environ["PATH_INFO"])
        if len(order) == 5:
            other.say(GET.replace(b"/ ", b"/other "))
        return ok(environ, start_response)

    served = serve(application)
    other = served.connect()
    assert other.get().status == 200
    order.clear()
    many = served.connect()
    many.say(GET * 1000)
    assert other.answer().status == 200
    assert "/other" in order[:600]
