"""The validators of wsgiref and WebTest between our server and an application find nothing (G72)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any
from wsgiref.validate import validator

import gevent
import pytest
from webtest import lint

Errors = Callable[[], list[str]]


def a_list(environ: Any, start_response: Any) -> list[bytes]:
    content = environ["wsgi.input"].read(5) + environ["wsgi.input"].readline() + environ["wsgi.input"].read(1000)
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(content)))])
    return [content]


def an_iterator(environ: Any, start_response: Any) -> Iterator[bytes]:
    start_response("200 OK", [("Content-Type", "text/plain")])
    for line in environ["wsgi.input"]:
        yield line
        gevent.sleep(0)


def writing(environ: Any, start_response: Any) -> list[bytes]:
    write = start_response("200 OK", [("Content-Type", "text/plain")])
    environ["wsgi.errors"].write("")
    environ["wsgi.errors"].flush()
    for line in environ["wsgi.input"].readlines():
        write(line)
    return []


CHUNKS = b"5\r\none\nt\r\n4\r\nwo\n3\r\n0\r\n\r\n"
REQUESTS = [
    pytest.param(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", b"", id="get"),
    pytest.param(b"GET /caf%C3%A9?a=%20 HTTP/1.1\r\nHost: a\r\nCookie: a\r\nCookie: b\r\n\r\n", b"", id="get-encoded"),
    pytest.param(b"GET http://a/b HTTP/1.1\r\nHost: c\r\n\r\n", b"", id="absolute"),
    pytest.param(b"GET http://a HTTP/1.1\r\nHost: c\r\n\r\n", b"", id="absolute-without-path"),
    pytest.param(b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n", b"", id="head"),
    pytest.param(b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", b"", id="asterisk"),
    pytest.param(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\nContent-Type: text/plain\r\n\r\none\ntwo\n3",
                 b"one\ntwo\n3", id="post-length"),
    pytest.param(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n", b"", id="post-empty"),
    pytest.param(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" + CHUNKS,
                 b"one\ntwo\n3", id="post-chunked"),
    pytest.param(b"GET / HTTP/1.0\r\n\r\n", b"", id="1.0"),
    pytest.param(b"POST / HTTP/1.0\r\nContent-Length: 3\r\n\r\none", b"one", id="1.0-post"),
    pytest.param(b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", b"", id="1.0-keep-alive"),
    pytest.param(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", b"", id="close"),
]  # fmt: skip


@pytest.mark.parametrize(("request_bytes", "content"), REQUESTS)
@pytest.mark.parametrize("application", [a_list, an_iterator, writing])
@pytest.mark.parametrize("check", [validator, lint.middleware], ids=["wsgiref", "webtest"])
def test_validator_is_content(
    serve: Any, delivery: None, errors: Errors, check: Any, application: Any, request_bytes: bytes, content: bytes
) -> None:
    served = serve(check(application))
    talk = served.connect()
    for _ in range(2):
        answer = talk.ask(request_bytes)
        assert (answer.status, answer.content) == (200, content)
        if answer.closes:
            talk = served.connect()
    assert errors() == []


@pytest.mark.parametrize("check", [validator, lint.middleware], ids=["wsgiref", "webtest"])
@pytest.mark.parametrize("over", ["unix", "tls"])
def test_validator_is_content_with_other_sockets(
    serve: Any, errors: Errors, check: Any, over: str, tmp_path: Any, server_tls: Any, client_tls: Any
) -> None:
    if over == "unix":
        talk = serve(check(a_list), address=str(tmp_path / "socket")).connect()
    else:
        talk = serve(check(a_list), ssl=server_tls).connect(client_tls)
    assert talk.post(b"body").content == b"body"
    assert errors() == []


@pytest.mark.parametrize("check", [validator, lint.middleware], ids=["wsgiref", "webtest"])
def test_content_is_closed_when_the_client_goes(serve: Any, errors: Errors, until: Any, check: Any) -> None:
    """Both validators complain about an iterator that nobody has closed, when it is collected."""

    def application(environ: Any, start_response: Any) -> Iterator[bytes]:
        start_response("200 OK", [("Content-Type", "text/plain")])
        while True:
            yield b"x" * 100_000

    served = serve(check(application))
    talk = served.connect()
    talk.say(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    talk.read(1000)
    talk.reset()
    until(lambda: not served.server.connections)
    assert errors() == []
