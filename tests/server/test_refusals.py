"""What is refused before an application sees it: status, Connection: close, generic text, and the end (R5, R6)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gevent
import pytest

from gruvihttp.limits import Limits, Timeouts

Errors = Callable[[], list[str]]

LIMITS = Limits(request_line_bytes=100, fields_bytes=200, fields_count=5, content_bytes=10)
FIELDS = b"Host: a\r\n"


def served_once(environ: Any, start_response: Any) -> list[bytes]:
    start_response("200 OK", [])
    return [b"ok"]


def request(line: bytes = b"GET / HTTP/1.1", fields: bytes = FIELDS) -> bytes:
    return line + b"\r\n" + fields + b"\r\n"


REFUSED = [
    pytest.param(b"foo\r\n\r\n", 400, id="no-request-line"),
    pytest.param(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400, id="tls-hello"),
    pytest.param(b"\x00\x00", 400, id="nul"),
    pytest.param(b" GET / HTTP/1.1\r\n", 400, id="blank-first"),
    pytest.param(request(b"GET  / HTTP/1.1"), 400, id="two-blanks"),
    pytest.param(request(b"GET /a b HTTP/1.1"), 400, id="blank-in-target"),
    pytest.param(request(b"GET / HTTP/1.1 "), 400, id="blank-behind"),
    pytest.param(request(b"GET /"), 400, id="no-version"),
    pytest.param(request(b"GET / http/1.1"), 400, id="version-in-lower-case"),
    pytest.param(request(b"GET / HTTP/11"), 400, id="version-without-dot"),
    pytest.param(request(b"G@T / HTTP/1.1"), 400, id="method-no-token"),
    pytest.param(request(b"GET foo HTTP/1.1"), 400, id="target-no-path"),
    pytest.param(request(b"GET * HTTP/1.1"), 400, id="asterisk-with-get"),
    pytest.param(request(b"GET /#part HTTP/1.1"), 400, id="fragment"),
    pytest.param(request(b"CONNECT / HTTP/1.1"), 400, id="connect-to-path"),
    pytest.param(request(b"GET / HTTP/2.0"), 505, id="version-2.0"),
    pytest.param(b"PRI /* HTTP/2.0\r\n\r\nSM\r\n\r\n", 505, id="nearly-http2-preface"),
    pytest.param(request(b"GET / HTTP/0.9"), 505, id="version-0.9"),
    pytest.param(request(b"GET /" + b"a" * 100 + b" HTTP/1.1"), 414, id="long-target"),
    pytest.param(b"GET /" + b"a" * 200, 414, id="long-target-without-end"),
    pytest.param(request(fields=b""), 400, id="no-host"),
    pytest.param(request(fields=FIELDS + b"Host: b\r\n"), 400, id="two-hosts"),
    pytest.param(request(fields=b"Host: a b\r\n"), 400, id="host-with-blank"),
    pytest.param(request(fields=b"Host: user@a\r\n"), 400, id="host-with-user"),
    pytest.param(request(fields=FIELDS + b"X : 1\r\n"), 400, id="blank-before-colon"),
    pytest.param(request(fields=FIELDS + b"X\r\n"), 400, id="no-colon"),
    pytest.param(request(fields=FIELDS + b": 1\r\n"), 400, id="no-name"),
    pytest.param(request(fields=FIELDS + b"X: a\r\n b\r\n"), 400, id="obs-fold"),
    pytest.param(request(fields=FIELDS + b"X: a\x01\r\n"), 400, id="control-character"),
    pytest.param(request(fields=FIELDS + b"X: a\x00b\r\n"), 400, id="nul-in-value"),
    pytest.param(request(fields=FIELDS + b"X: a\rb\r\n"), 400, id="bare-cr"),
    pytest.param(b"GET / HTTP/1.1\nHost: a\n\n", 400, id="bare-lf"),
    pytest.param(request(fields=FIELDS + b"X: " + b"a" * 200 + b"\r\n"), 431, id="large-fields"),
    pytest.param(b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"a" * 300, 431, id="large-fields-without-end"),
    pytest.param(request(fields=FIELDS + b"X: 1\r\n" * 5), 431, id="many-fields"),
    pytest.param(request(b"POST / HTTP/1.1", FIELDS + b"Content-Length: x\r\n"), 400, id="length-no-number"),
    pytest.param(request(b"POST / HTTP/1.1", FIELDS + b"Content-Length: 1\r\nContent-Length: 1\r\n"), 400,
                 id="length-twice"),
    pytest.param(request(b"POST / HTTP/1.1", FIELDS + b"Content-Length: 1, 1\r\n"), 400, id="length-list"),
    pytest.param(request(b"POST / HTTP/1.1", FIELDS + b"Content-Length: 11\r\n"), 413, id="content-too-large"),
    pytest.param(request(b"POST / HTTP/1.1", FIELDS + b"Content-Length: 1\r\nTransfer-Encoding: chunked\r\n"), 400,
                 id="length-and-coding"),
    pytest.param(request(b"POST / HTTP/1.1", FIELDS + b"Transfer-Encoding: gzip\r\n"), 501, id="coding-gzip"),
    pytest.param(request(b"POST / HTTP/1.1", FIELDS + b"Transfer-Encoding: chunked, chunked\r\n"), 501,
                 id="coding-twice"),
    pytest.param(request(b"POST / HTTP/1.0", b"Transfer-Encoding: chunked\r\n"), 400, id="coding-in-1.0"),
    pytest.param(request(fields=FIELDS + b"Expect: more\r\n"), 417, id="expectation"),
    pytest.param(b"\r\n" * 40 + request(), 400, id="many-empty-lines"),
]  # fmt: skip


@pytest.mark.parametrize(("sent", "status"), REFUSED)
def test_refusal_has_its_status_says_close_and_ends_the_connection(
    serve: Any, delivery: None, errors: Errors, sent: bytes, status: int
) -> None:
    talk = serve(served_once, limits=LIMITS).connect()
    talk.say(sent)
    answer = talk.answer()
    assert (answer.version, answer.status, answer["Connection"]) == ("HTTP/1.1", status, "close")
    assert answer.content == f"{status} {answer.reason}\n".encode()
    assert answer["Content-Type"] == "text/plain; charset=utf-8"
    assert answer["Date"] and answer["Server"]
    assert talk.ends()
    assert errors() == []


@pytest.mark.parametrize(("sent", "status"), REFUSED)
def test_refusal_comes_after_the_answers_before_it(serve: Any, sent: bytes, status: int) -> None:
    talk = serve(served_once, limits=LIMITS).connect()
    talk.say(request() + sent + request())
    assert talk.answer().status == 200
    assert talk.answer().status == status
    assert talk.ends()


@pytest.mark.parametrize(("sent", "status"), REFUSED)
def test_refusal_arrives_although_the_client_goes_on_sending(serve: Any, sent: bytes, status: int) -> None:
    talk = serve(served_once, limits=LIMITS).connect()
    talk.send(sent + b"x" * 500_000)
    assert talk.answer().status == status
    talk.send(b"y" * 100_000)
    assert talk.ends()


def test_refusal_says_nothing_about_what_was_sent(serve: Any) -> None:
    talk = serve(served_once).connect()
    talk.say(b"SECRET-token-in-a-bad-line\r\nAuthorization: SECRET\r\n\r\n")
    talk.read_to_end()
    assert b"SECRET" not in talk.received


@pytest.mark.parametrize("status", [400, 408, 413, 414, 417, 431, 500, 501, 505])
def test_errors_have_the_phrase_of_their_status(serve: Any, status: int) -> None:
    phrases = {
        400: "Bad Request", 408: "Request Timeout", 413: "Content Too Large", 414: None, 417: "Expectation Failed",
        431: "Request Header Fields Too Large", 500: "Internal Server Error", 501: "Not Implemented",
        505: "HTTP Version Not Supported",
    }  # fmt: skip
    sent = {param.values[1]: param.values[0] for param in reversed(REFUSED)}.get(status)
    served = serve(served_once if sent else lambda e, s: 1 / 0, limits=LIMITS, timeouts=Timeouts(head=0.01))
    talk = served.connect()
    talk.say(sent or (request() if status == 500 else b"GET"))
    answer = talk.answer()
    assert answer.status == status
    assert answer.reason == (phrases[status] or answer.reason) != ""


# a client that keeps uploading: R3, R10, X10


def test_client_that_reads_only_after_its_upload_sees_the_refusal(serve: Any) -> None:
    talk = serve(served_once, limits=Limits(content_bytes=10)).connect()
    content = b"x" * 800_000  # less than is dropped
    sender = gevent.spawn(talk.send, b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 800000\r\n\r\n" + content)
    sender.get(timeout=10)
    answer = talk.answer()
    assert (answer.status, answer["Connection"]) == (413, "close")
    assert talk.ends()


def test_client_that_never_stops_uploading_is_reset(serve: Any, until: Any) -> None:
    served = serve(served_once, limits=Limits(content_bytes=10, linger_bytes=100_000))
    talk = served.connect()
    talk.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999\r\n\r\n")
    assert talk.answer().status == 413

    def upload() -> None:
        while True:
            talk.send(b"x" * 10_000)
            gevent.sleep(0)

    with pytest.raises(OSError):
        upload()
    until(lambda: not served.server.connections)


def test_client_that_does_not_close_is_reset_after_the_linger_time(serve: Any, until: Any) -> None:
    served = serve(served_once, timeouts=Timeouts(linger=0.02))
    talk = served.connect()
    talk.say(b"nonsense\r\n\r\n")
    assert talk.answer().status == 400
    assert talk.ends()
    until(lambda: not served.server.connections)
    with pytest.raises(OSError):
        for _ in range(100):
            talk.send(b"x")
            gevent.sleep(0.001)


def test_client_that_closes_ends_the_linger_at_once(serve: Any, until: Any) -> None:
    served = serve(served_once, timeouts=Timeouts(linger=60))
    talk = served.connect()
    talk.say(b"nonsense\r\n\r\n")
    assert talk.answer().status == 400
    talk.close()
    until(lambda: not served.server.connections)


def test_obs_text_is_nothing_to_refuse(serve: Any, delivery: None) -> None:
    assert serve(served_once).get(fields=b"X-Name: \xff\xfe\r\nCookie: \x80\r\n").status == 200
