"""103 (Early Hints), and whether the client is still there."""

from __future__ import annotations

from typing import Any

import pytest
from gevent.event import Event

LINK = ("Link", "</style.css>; rel=preload; as=style")


def hinting(environ: Any, start_response: Any) -> list[bytes]:
    environ["wsgi.early_hints"]([LINK])
    start_response("200 OK", [])
    return [b"page"]


def test_hints_come_before_the_response(serve: Any, delivery: None) -> None:
    talk = serve(hinting).connect()
    for _ in range(2):
        talk.say(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        hints = talk.head()
        assert (hints.status, hints.reason, hints.fields) == (103, "Early Hints", [LINK])
        assert talk.answer().content == b"page"


def test_hints_leave_while_the_application_works(serve: Any) -> None:
    heard = Event()

    def application(environ: Any, start_response: Any) -> list[bytes]:
        environ["wsgi.early_hints"]([LINK])
        environ["wsgi.early_hints"]([("Link", "</other>")])
        assert heard.wait(10)
        start_response("200 OK", [])
        return [b"page"]

    talk = serve(application).connect()
    talk.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    assert [talk.head()["Link"] for _ in range(2)] == [LINK[1], "</other>"]
    heard.set()
    assert talk.answer().content == b"page"


def test_http_1_0_gets_no_hints(serve: Any) -> None:
    assert serve(hinting).hear(b"GET / HTTP/1.0\r\n\r\n").startswith(b"HTTP/1.0 200 OK\r\n")


def test_hints_after_the_head_are_not_sent(serve: Any) -> None:
    def application(environ: Any, start_response: Any) -> list[bytes]:
        start_response("200 OK", [("Content-Length", "70000")])(b"x" * 70000)  # too much to be held
        environ["wsgi.early_hints"]([LINK])
        return []

    talk = serve(application).connect()
    assert talk.get().content == b"x" * 70000
    assert talk.is_open()


@pytest.mark.parametrize(
    ("headers", "error"),
    [
        pytest.param([("Connection", "close")], ValueError, id="hop-by-hop"),
        pytest.param([("Link", "a\r\nb: c")], ValueError, id="injection"),
        pytest.param([(b"Link", "a")], TypeError, id="bytes"),
    ],
)
def test_wrong_hints_are_refused_where_the_mistake_is(serve: Any, headers: Any, error: type[Exception]) -> None:
    def application(environ: Any, start_response: Any) -> list[bytes]:
        with pytest.raises(error):
            environ["wsgi.early_hints"](headers)
        start_response("200 OK", [])
        return [b"page"]

    assert serve(application).get().content == b"page"


@pytest.mark.parametrize("leave", ["half_close", "reset", "close"])
def test_application_can_ask_whether_the_client_has_gone(serve: Any, until: Any, leave: str) -> None:
    told: list[bool] = []
    begun, ended = Event(), Event()

    def application(environ: Any, start_response: Any) -> list[bytes]:
        told.append(environ["gruvihttp.client_disconnected"]())
        begun.set()
        until(environ["gruvihttp.client_disconnected"])
        told.append(True)
        ended.set()
        start_response("200 OK", [])
        return [b"for nobody"]

    talk = serve(application).connect()
    talk.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    assert begun.wait(10)
    getattr(talk, leave)()
    assert ended.wait(10)
    assert told == [False, True]


def test_asking_takes_nothing_of_the_content(serve: Any) -> None:
    def application(environ: Any, start_response: Any) -> list[bytes]:
        assert environ["gruvihttp.client_disconnected"]() is False
        content = environ["wsgi.input"].read()
        assert environ["gruvihttp.client_disconnected"]() is False
        start_response("200 OK", [])
        return [content]

    talk = serve(application).connect()
    talk.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nab")
    talk.send(b"cd")
    assert talk.answer().content == b"abcd"
    assert talk.is_open()
