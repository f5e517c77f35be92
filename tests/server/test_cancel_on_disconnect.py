"""A handler whose client has gone: it is ended where that was asked for, and only then (S25)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import gevent
import pytest
from gevent.event import Event

from gruvihttp.errors import TransportError

GUARD = 10.0
GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n"
Errors = Callable[[], list[str]]


class Patient:
    """An application that waits for something else than its client, and tells what became of it."""

    def __init__(self) -> None:
        self.begun = 0
        self.told: list[str] = []
        self.go_on = Event()

    def __call__(self, environ: Any, start_response: Any) -> list[bytes]:
        self.begun += 1
        try:
            assert self.go_on.wait(GUARD)
        except gevent.GreenletExit:
            self.told.append("ended")
            raise
        self.told.append("went on")
        start_response("200 OK", [])
        return [b"ok"]


@pytest.fixture
def patient() -> Patient:
    return Patient()


@pytest.mark.parametrize("way", ["close", "reset", "half_close"])
@pytest.mark.parametrize(
    "sent",
    [
        pytest.param(GET, id="request"),
        pytest.param(GET + GET, id="pipelined"),
        pytest.param(POST % 5 + b"12345", id="content-that-nobody-reads"),
        pytest.param(POST % 9000 + b"12345", id="content-that-is-not-complete"),
    ],
)
def test_handler_ends_with_its_client(
    serve: Any, patient: Patient, until: Any, errors: Errors, way: str, sent: bytes
) -> None:
    served = serve(patient, cancel_on_disconnect=True)
    talk = served.connect()
    talk.say(sent)
    until(lambda: patient.begun)
    getattr(talk, way)()
    until(lambda: not served.server.connections)
    assert (patient.told, patient.begun, errors()) == (["ended"], 1, [])


def test_handler_ends_with_its_client_over_tls(
    serve: Any, patient: Patient, until: Any, server_tls: Any, client_tls: Any
) -> None:
    served = serve(patient, ssl=server_tls, cancel_on_disconnect=True)
    talk = served.connect(client_tls)
    talk.say(GET)
    until(lambda: patient.begun)
    talk.close()
    until(lambda: patient.told == ["ended"])


def test_client_that_stays_is_answered_whatever_it_sends(serve: Any, patient: Patient, until: Any) -> None:
    talk = serve(patient, cancel_on_disconnect=True).connect()
    talk.say(GET)
    until(lambda: patient.begun)
    talk.say(GET * 3)
    gevent.sleep(0.01)
    patient.go_on.set()
    assert [talk.answer().status for _ in range(4)] == [200] * 4
    assert patient.told == ["went on"] * 4


def test_content_that_came_in_advance_is_read(serve: Any) -> None:
    begun, go_on = Event(), Event()

    def application(environ: Any, start_response: Any) -> list[bytes]:
        begun.set()
        assert go_on.wait(GUARD)
        content = environ["wsgi.input"].read()
        start_response("200 OK", [])
        return [content]

    talk = serve(application, cancel_on_disconnect=True).connect()
    talk.say(POST % 300_000)
    assert begun.wait(GUARD)
    sender = gevent.spawn(talk.say, b"x" * 300_000 + GET)
    gevent.sleep(0.02)
    go_on.set()
    assert talk.answer().content == b"x" * 300_000
    assert talk.answer().content == b""
    sender.get(timeout=GUARD)


def test_no_more_is_taken_in_advance_than_a_buffer_holds(serve: Any, patient: Patient, until: Any) -> None:
    served = serve(patient, cancel_on_disconnect=True)
    talk = served.connect()
    talk.say(POST % (1 << 30))
    until(lambda: patient.begun)
    sender = gevent.spawn(talk.say, b"x" * (64 << 20))
    gevent.sleep(0.1)
    assert served.server.stats()["received_bytes"] < 300_000
    sender.kill()
    patient.go_on.set()


def test_content_of_the_answer_is_closed(serve: Any, until: Any) -> None:
    told: list[str] = []

    def application(environ: Any, start_response: Any) -> Iterator[bytes]:
        start_response("200 OK", [])
        try:
            yield b"begun"
            told.append("begun")
            gevent.sleep(GUARD)
        finally:
            told.append("closed")

    talk = serve(application, cancel_on_disconnect=True).connect()
    talk.say(GET)
    until(lambda: told)
    talk.close()
    until(lambda: told == ["begun", "closed"])


def test_answer_that_is_complete_is_not_disturbed(serve: Any, until: Any, errors: Errors) -> None:
    told: list[str] = []

    class Content(list[bytes]):
        def close(self) -> None:
            told.append("closing")
            gevent.sleep(0.05)
            told.append("closed")

    served = serve(lambda e, s: (s("200 OK", []), Content([b"ok"]))[1], cancel_on_disconnect=True)
    talk = served.connect()
    assert talk.get().status == 200
    talk.close()
    until(lambda: not served.server.connections)
    until(lambda: told == ["closing", "closed"])
    assert errors() == []


def test_next_request_of_the_greenlet_is_served(serve: Any, patient: Patient, until: Any) -> None:
    served = serve(patient, cancel_on_disconnect=True)
    talk = served.connect()
    talk.say(GET)
    until(lambda: patient.begun)
    talk.close()
    until(lambda: patient.told)
    patient.go_on.set()
    assert served.get().status == 200


def test_handler_goes_on_by_default(serve: Any, patient: Patient, until: Any, errors: Errors) -> None:
    served = serve(patient)
    talk = served.connect()
    talk.say(GET)
    until(lambda: patient.begun)
    talk.close()
    gevent.sleep(0.01)
    patient.go_on.set()
    until(lambda: not served.server.connections)
    assert (patient.told, errors()) == (["went on"], [])


@pytest.mark.parametrize("way", ["reset", "close"])
def test_handler_of_a_stream_ends_with_it(
    serve: Any, patient: Patient, until: Any, speak_http2: Any, errors: Errors, way: str
) -> None:
    streams = speak_http2(serve(patient, cancel_on_disconnect=True).server.address)
    stream = streams.begin("/")
    until(lambda: patient.begun)
    if way == "reset":
        streams.engine.reset_stream(stream)
        streams.peer.send(streams.engine.data_to_send())
    else:
        streams.peer.close()
    until(lambda: patient.told == ["ended"])
    if way == "reset":
        patient.go_on.set()
        assert streams.get("/") == ("200", b"ok")
    assert errors() == []


def test_reading_handler_of_a_stream_hears_of_it_as_ever(serve: Any, until: Any, speak_http2: Any) -> None:
    told: list[BaseException] = []
    begun = Event()

    def application(environ: Any, start_response: Any) -> list[bytes]:
        begun.set()
        try:
            environ["wsgi.input"].read()
        except TransportError as exc:
            told.append(exc)
            raise
        return []

    streams = speak_http2(serve(application, cancel_on_disconnect=True).server.address)
    stream = streams.begin("/", ("content-length", "5"), method="POST", end=False)
    assert begun.wait(GUARD)
    streams.engine.reset_stream(stream)
    streams.peer.send(streams.engine.data_to_send())
    until(lambda: told)
