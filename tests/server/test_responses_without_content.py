"""HEAD, 204, 304 and CONNECT: what their heads say, that no byte follows, and that the connection goes on (R7)."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

import gevent
import pytest

CONTENT = b"content"


def application_of(kind: str, status: str, length: str | None) -> Any:
    headers = [("X-Same", "1")] + ([("Content-Length", length)] if length is not None else [])

    def application(environ: Any, start_response: Any) -> Any:
        if environ["PATH_INFO"] == "/still-open":
            start_response("200 OK", [])
            return []
        if kind == "list":
            start_response(status, headers)
            return [CONTENT]
        if kind == "empty":
            start_response(status, headers)
            return []
        if kind == "write":
            start_response(status, headers)(CONTENT)
            return []
        return blocks(start_response)

    def blocks(start_response: Any) -> Iterator[bytes]:
        start_response(status, headers)
        for at in range(len(CONTENT)):
            yield CONTENT[at : at + 1]
            if kind == "paused":
                gevent.sleep(0)

    return application


KINDS = ["list", "write", "iterator", "paused"]


@pytest.mark.parametrize("version", [b"1.1", b"1.0"])
@pytest.mark.parametrize("length", [None, "7"], ids=["no-length", "length"])
@pytest.mark.parametrize("kind", KINDS)
def test_head_is_answered_with_the_head_of_get(
    serve: Any, delivery: None, kind: str, length: str | None, version: bytes
) -> None:
    served = serve(application_of(kind, "200 OK", length))
    request = b"%b / HTTP/%b\r\nHost: a\r\nConnection: keep-alive\r\n\r\n"
    got = served.ask(request % (b"GET", version))
    talk = served.connect()
    head = talk.ask(request % (b"HEAD", version))
    # what ends the content of GET ends nothing here
    goes_on = kind == "paused" and version == b"1.0" and length is None
    ignored = {"Date", "Connection"} if goes_on else {"Date"}
    assert (head.version, head.status) == (got.version, got.status)
    assert [f for f in head.fields if f[0] not in ignored] == [f for f in got.fields if f[0] not in ignored]
    assert talk.is_open()


def test_head_without_content_says_nothing_about_a_length(serve: Any) -> None:
    talk = serve(application_of("empty", "200 OK", None)).connect()
    answer = talk.ask(b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n")
    assert (answer["Content-Length"], answer["Transfer-Encoding"]) == (None, None)
    assert talk.is_open()


def test_head_may_name_a_length_it_does_not_send(serve: Any) -> None:
    talk = serve(application_of("empty", "200 OK", "12345")).connect()
    assert talk.ask(b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n")["Content-Length"] == "12345"
    assert talk.is_open()


def test_content_without_end_is_not_asked_for_by_head(serve: Any) -> None:
    closed: list[bool] = []

    def application(environ: Any, start_response: Any) -> Iterator[bytes]:
        start_response("200 OK", [])
        try:
            while environ["PATH_INFO"] == "/":
                yield b"event\n"
                gevent.sleep(0)
        finally:
            closed.append(True)

    talk = serve(application).connect()
    assert talk.ask(b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n")["Transfer-Encoding"] == "chunked"
    assert talk.is_open()
    assert closed == [True, True]


@pytest.mark.parametrize("method", [b"GET", b"HEAD", b"POST"])
@pytest.mark.parametrize("length", [None, "7"], ids=["no-length", "length"])
@pytest.mark.parametrize("kind", KINDS)
def test_204_has_neither_content_nor_length(
    serve: Any, delivery: None, kind: str, length: str | None, method: bytes
) -> None:
    talk = serve(application_of(kind, "204 No Content", length)).connect()
    answer = talk.ask(b"%b / HTTP/1.1\r\nHost: a\r\n\r\n" % method)
    assert (answer.status, answer["X-Same"]) == (204, "1")
    assert (answer["Content-Length"], answer["Transfer-Encoding"]) == (None, None)
    assert talk.is_open()


@pytest.mark.parametrize("length", [None, "7"], ids=["no-length", "length"])
@pytest.mark.parametrize("kind", [*KINDS, "empty"])
def test_304_has_no_content_and_only_the_length_that_was_given(
    serve: Any, delivery: None, kind: str, length: str | None
) -> None:
    talk = serve(application_of(kind, "304 Not Modified", length)).connect()
    answer = talk.get()
    assert (answer.status, answer["Content-Length"], answer["Transfer-Encoding"]) == (304, length, None)
    assert talk.is_open()


@pytest.mark.parametrize("status", ["205 Reset Content", "404 Not Found", "500 Oops", "999 Odd"])
@pytest.mark.parametrize("kind", [*KINDS, "empty"])
def test_other_statuses_have_content(serve: Any, status: str, kind: str) -> None:
    talk = serve(application_of(kind, status, None)).connect()
    assert talk.get().content == (b"" if kind == "empty" else CONTENT)
    assert talk.is_open()


def test_connect_that_is_accepted_ends_http(serve: Any) -> None:
    talk = serve(application_of("list", "200 OK", None)).connect()
    answer = talk.ask(b"CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\n\r\n")
    assert (answer.status, answer["Content-Length"], answer["Transfer-Encoding"]) == (200, None, None)
    assert talk.ends()


def test_connect_that_is_refused_has_content(serve: Any) -> None:
    talk = serve(application_of("list", "405 Method Not Allowed", None)).connect()
    talk.say(b"CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\n\r\n")
    answer = talk.answer()
    assert (answer.status, answer.content) == (405, CONTENT)
    assert talk.is_open()


@pytest.mark.parametrize("version", [b"1.1", b"1.0"])
def test_failure_is_answered_to_head_without_content(serve: Any, version: bytes) -> None:
    talk = serve(lambda e, s: 1 / 0).connect()
    answer = talk.ask(b"HEAD / HTTP/%b\r\nHost: a\r\nConnection: keep-alive\r\n\r\n" % version)
    assert (answer.status, answer["Content-Length"]) == (500, "26")
    assert talk.get().status == 500


# content that nobody is to see is not made


class Counting:
    """Content that counts how much of it was asked for, and how often it was closed."""

    def __init__(self) -> None:
        self.asked = 0
        self.closed = 0

    def __iter__(self) -> Iterator[bytes]:
        while self.asked < 7:
            self.asked += 1
            yield b"x"

    def close(self) -> None:
        self.closed += 1


MADE_FOR_NOBODY = [
    pytest.param("HEAD", "200 OK", id="head"),
    pytest.param("HEAD", "404 Not Found", id="head-of-an-error"),
    pytest.param("GET", "204 No Content", id="204"),
    pytest.param("GET", "304 Not Modified", id="304"),
]


@pytest.mark.parametrize(("method", "status"), MADE_FOR_NOBODY)
def test_content_that_nobody_sees_is_not_made(serve: Any, method: str, status: str) -> None:
    content = Counting()
    talk = serve(lambda e, s: (s(status, [("Content-Length", "7")]), content)[1]).connect()
    assert talk.ask(b"%b / HTTP/1.1\r\nHost: a\r\n\r\n" % method.encode()).status == int(status[:3])
    assert (content.asked, content.closed) == (0, 1)
    assert talk.is_open()


@pytest.mark.parametrize(("method", "status"), MADE_FOR_NOBODY)
def test_content_that_nobody_sees_is_not_made_for_a_stream(
    serve: Any, speak_http2: Any, method: str, status: str
) -> None:
    content = Counting()
    streams = speak_http2(serve(lambda e, s: (s(status, [("Content-Length", "7")]), content)[1]).server.address)
    assert streams.answer(streams.begin("/", method=method)) == (status[:3], b"")
    assert (content.asked, content.closed) == (0, 1)


def test_file_is_not_read_for_head(serve: Any) -> None:
    class File(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            raise AssertionError("nobody wants it")

    file = File(b"x" * 100_000)

    def application(environ: Any, start_response: Any) -> Any:
        start_response("200 OK", [("Content-Length", "100000")])
        return environ["wsgi.file_wrapper"](file)

    talk = serve(application).connect()
    assert talk.ask(b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n")["Content-Length"] == "100000"
    assert file.closed
