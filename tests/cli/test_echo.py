"""The built-in application: it tells what it was asked, as JSON or as a page, and refuses what it does not know."""

from __future__ import annotations

import http.client
import io
import json
import socket
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any, TypeAlias
from wsgiref.validate import validator

import pytest

from gruvihttp.echo import METHODS, MOST_CONTENT_BYTES, application

Serve: TypeAlias = Callable[..., Any]  # Any: the fixture's Served
GUARD = 40.0


@pytest.fixture
def connection(serve: Serve) -> Iterator[http.client.HTTPConnection]:
    with closing(http.client.HTTPConnection("127.0.0.1", serve().port, timeout=GUARD)) as opened:
        yield opened


def ask(
    connection: http.client.HTTPConnection, method: str, target: str, *arguments: Any, **kwargs: Any
) -> tuple[http.client.HTTPResponse, bytes]:
    connection.request(method, target, *arguments, **kwargs)
    response = connection.getresponse()
    return response, response.read()


def exchange(port: int, request: bytes) -> bytes:
    with socket.create_connection(("127.0.0.1", port), timeout=GUARD) as sock:
        sock.sendall(request)
        return b"".join(iter(lambda: sock.recv(65536), b""))


def test_answer_is_json_with_sorted_keys_and_fields_in_order(serve: Serve) -> None:
    request = b"POST /a%20b?c=d HTTP/1.1\r\nHost: a\r\nX-One: 1\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello"
    head, _, content = exchange(serve().port, request).partition(b"\r\n\r\n")
    assert b"\r\nContent-Type: application/json; charset=utf-8\r\n" in head
    assert content.decode() == """{
    "body": "hello",
    "headers": [
        [
            "host",
            "a"
        ],
        [
            "x-one",
            "1"
        ],
        [
            "content-length",
            "5"
        ],
        [
            "connection",
            "close"
        ]
    ],
    "method": "POST",
    "target": "/a%20b?c=d"
}"""


@pytest.mark.parametrize("method", [method for method in METHODS if method != "HEAD"])
def test_method_is_repeated(connection: http.client.HTTPConnection, method: str) -> None:
    response, content = ask(connection, method, "/")
    assert (response.status, json.loads(content)["method"]) == (200, method)


def test_head_is_answered_like_get_without_content(connection: http.client.HTTPConnection) -> None:
    get, content = ask(connection, "GET", "/")
    head, nothing = ask(connection, "HEAD", "/")
    assert (head.status, nothing) == (200, b"")
    # the method's own name is one letter longer
    assert int(head.headers["Content-Length"]) == len(content) + 1
    assert ask(connection, "GET", "/")[0].status == 200


@pytest.mark.parametrize("method", ["TRACE", "PURGE", "get"])
def test_method_that_is_not_known_is_told_those_that_are(
    connection: http.client.HTTPConnection, method: str
) -> None:
    response, content = ask(connection, method, "/")
    assert (response.status, response.headers["Allow"]) == (405, "DELETE, GET, HEAD, OPTIONS, PATCH, POST, PUT")
    assert content.decode() == f"{method} is not known here; these are: {response.headers['Allow']}\n"
    assert ask(connection, "GET", "/")[0].status == 200


def test_asterisk_is_repeated(serve: Serve) -> None:
    answer = exchange(serve().port, b"OPTIONS * HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    assert json.loads(answer.partition(b"\r\n\r\n")[2])["target"] == "*"


CONTENTS = [
    pytest.param("caf\u00e9".encode(), "caf\u00e9", id="utf-8"),
    pytest.param(b"\xff\xfe", "\ufffd\ufffd", id="not-utf-8"),
    pytest.param(b'"\\\n\x00', '"\\\n\x00', id="what-json-escapes"),
    pytest.param(b"", "", id="nothing"),
]


@pytest.mark.parametrize(("content", "shown"), CONTENTS)
def test_content_is_repeated_as_text(connection: http.client.HTTPConnection, content: bytes, shown: str) -> None:
    assert json.loads(ask(connection, "POST", "/", content)[1])["body"] == shown


def test_chunked_content_is_repeated(connection: http.client.HTTPConnection) -> None:
    _, content = ask(connection, "POST", "/", iter([b"one ", b"two"]), encode_chunked=True)
    assert json.loads(content)["body"] == "one two"


def test_field_that_is_not_ascii_is_repeated(serve: Serve) -> None:
    answer = exchange(serve().port, b"GET / HTTP/1.1\r\nHost: a\r\nX: \xff\r\nConnection: close\r\n\r\n")
    assert ["x", "\u00ff"] in json.loads(answer.partition(b"\r\n\r\n")[2])["headers"]


def test_most_content_is_repeated(connection: http.client.HTTPConnection) -> None:
    assert len(json.loads(ask(connection, "POST", "/", b"x" * MOST_CONTENT_BYTES)[1])["body"]) == MOST_CONTENT_BYTES


def test_announced_content_beyond_the_most_is_not_asked_for(serve: Serve) -> None:
    announced = MOST_CONTENT_BYTES + 1
    request = f"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {announced}\r\nExpect: 100-continue\r\n\r\n"
    assert exchange(serve().port, request.encode()).startswith(b"HTTP/1.1 413 ")


def test_chunked_content_beyond_the_most_is_refused(connection: http.client.HTTPConnection) -> None:
    pieces = iter([b"x" * 65536] * (MOST_CONTENT_BYTES // 65536) + [b"x"])
    assert ask(connection, "POST", "/", pieces, encode_chunked=True)[0].status == 413


# for a browser

BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"
ACCEPTS = [
    (BROWSER, "text/html"),
    ("text/html", "text/html"),
    ("Text/HTML;q=0.5", "text/html"),
    ("text/html, application/json;q=0.9", "text/html"),
    ("text/html;q=0.5, application/json", "application/json"),
    ("text/html;q=0", "application/json"),
    ("text/html;q=x", "application/json"),
    ("*/*", "application/json"),
    ("", "application/json"),
]


@pytest.mark.parametrize(("accept", "content_type"), ACCEPTS, ids=[row[0] or "nothing" for row in ACCEPTS])
def test_page_is_for_those_who_prefer_it(accept: str, content_type: str) -> None:
    headers, _ = call(HTTP_ACCEPT=accept)
    assert headers["Content-Type"] == f"{content_type}; charset=utf-8"
    assert headers["Vary"] == "Accept"


def test_browser_gets_a_page(serve: Serve) -> None:
    request = urllib.request.Request(f"http://127.0.0.1:{serve().port}/a?b=1&c", headers={"Accept": BROWSER})
    with urllib.request.urlopen(request, timeout=GUARD) as response:
        page = response.read().decode()
        assert response.headers["Content-Security-Policy"].startswith("default-src 'none'")
    assert page.startswith("<!DOCTYPE html>")
    assert "<code>GET /a?b=1&amp;c</code>" in page
    assert "<th><code>accept</code></th>" in page


def test_page_executes_nothing_that_was_sent() -> None:
    evil = "<script>alert(1)</script>"
    _, page = call(evil.encode(), HTTP_ACCEPT="text/html", HTTP_X=evil, REQUEST_URI=f"/{evil}")
    assert b"<script" not in page
    assert page.count(b"&lt;script&gt;") == 3


# in any server


def call(content: bytes = b"", **facts: str) -> tuple[dict[str, str], bytes]:
    """Call the application as a server without our own keys does, and with PEP 3333's checks."""
    environ: dict[str, Any] = {
        "REQUEST_METHOD": "GET", "SCRIPT_NAME": "", "PATH_INFO": "/", "QUERY_STRING": "", "SERVER_NAME": "a",
        "SERVER_PORT": "80", "SERVER_PROTOCOL": "HTTP/1.1", "wsgi.version": (1, 0), "wsgi.url_scheme": "http",
        "wsgi.input": io.BytesIO(content), "wsgi.errors": io.StringIO(), "wsgi.multithread": True,
        "wsgi.multiprocess": False, "wsgi.run_once": False, "CONTENT_LENGTH": str(len(content)), **facts,
    }  # fmt: skip
    answered: dict[str, str] = {}

    def start_response(status: str, headers: list[tuple[str, str]], exc_info: object = None) -> Callable[..., None]:
        answered.update(headers)
        return lambda block: None

    result: Any = validator(application)(environ, start_response)
    with closing(result):
        return answered, b"".join(result)


def test_target_is_put_together_where_the_server_does_not_tell() -> None:
    _, content = call(SCRIPT_NAME="/shop", PATH_INFO="/caf\u00c3\u00a9", QUERY_STRING="a=1")
    assert json.loads(content)["target"] == "/shop/caf%C3%A9?a=1"
