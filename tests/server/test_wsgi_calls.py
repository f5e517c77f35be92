"""What an application may do, and what becomes of it: PEP 3333, and the rows of gruvi that go beyond it."""

from __future__ import annotations

import io
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from email.utils import parsedate_to_datetime
from typing import Any

import gevent
import pytest
from gevent.event import Event

from gruvihttp._version import PRODUCT_ID
from gruvihttp.errors import IncompleteMessage, RemoteProtocolError, Timeout, TransportError
from gruvihttp.protocol import HttpProtocol
from gruvihttp.server import HttpServer
from gruvihttp.testing import RawPeer, memory_pair
from gruvihttp.wsgi import FileWrapper

GUARD = 10.0
GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
Errors = Callable[[], list[str]]


def app(headers: Any = (), content: Any = (), status: Any = "200 OK") -> Any:
    """An application that calls start_response with this and returns that."""

    def application(environ: Any, start_response: Any) -> Any:
        start_response(status, list(headers) if isinstance(headers, tuple) else headers)
        return content

    return application


def generating(*blocks: Any, headers: Any = (), pause: bool = False) -> Any:
    """An application that yields these blocks; after each, the server has its turn if there is a `pause`."""

    def application(environ: Any, start_response: Any) -> Iterator[Any]:
        start_response("200 OK", list(headers))
        for block in blocks:
            yield block
            if pause:
                gevent.sleep(0)

    return application


class Content:
    """An iterable that counts how often it is closed, and may fail at its end or when it is closed."""

    def __init__(self, *blocks: Any, fault: BaseException | None = None, close_fault: Exception | None = None) -> None:
        self.blocks = blocks
        self.fault = fault
        self.close_fault = close_fault
        self.closed = 0

    def __iter__(self) -> Iterator[Any]:
        yield from self.blocks
        if self.fault is not None:
            raise self.fault

    def close(self) -> None:
        self.closed += 1
        if self.close_fault is not None:
            raise self.close_fault


# status and headers


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        pytest.param("200 OK", (200, "OK"), id="usual"),
        pytest.param("404 Not Found At All", (404, "Not Found At All"), id="own-phrase"),
        pytest.param("299 Odd", (299, "Odd"), id="unregistered"),
        pytest.param("999 Odd", (999, "Odd"), id="largest"),
        pytest.param("200 Stra\xdfe", (200, "Stra\xdfe"), id="latin-1"),
        pytest.param("404 ", (404, "Not Found"), id="no-phrase"),
        pytest.param("404", (404, "Not Found"), id="no-blank"),
        pytest.param("599", (599, ""), id="no-phrase-known"),
    ],
)
def test_status_is_sent_as_given_and_always_has_a_phrase(serve: Any, status: str, expected: tuple[int, str]) -> None:
    answer = serve(app(status=status)).get()
    assert (answer.status, answer.reason) == expected


def test_headers_are_sent_in_order_with_their_case_and_repetitions(serve: Any) -> None:
    headers = [("X-b", "1"), ("Set-Cookie", "a=1"), ("x-A", ""), ("Set-Cookie", "b=2"), ("X-Tab", "a\tb")]
    answer = serve(app(headers)).get()
    assert [(name, value) for name, value in answer.fields if (name, value) in headers] == headers


def test_header_value_is_latin_1_on_the_wire(serve: Any) -> None:
    talk = serve(app([("X-Name", "caf\xe9")])).connect()
    talk.send(GET)
    assert b"X-Name: caf\xe9\r\n" in talk.read_until()


def test_words_encoded_by_rfc_2047_pass_unchanged(serve: Any) -> None:
    assert serve(app([("X-Name", "=?utf-8?q?=E2=82=AC?=")])).get()["X-Name"] == "=?utf-8?q?=E2=82=AC?="


def test_every_answer_has_date_and_server(serve: Any) -> None:
    served = serve(app())
    for answer in (served.get(), served.ask(b"nonsense\r\n\r\n")):
        assert answer["Server"] == PRODUCT_ID
        assert re.fullmatch(r"\w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT", answer["Date"])
        assert parsedate_to_datetime(answer["Date"])


@pytest.mark.parametrize("identifier", ["something/1", None])
def test_name_of_the_server_is_what_the_operator_says(serve: Any, speak_http2: Any, identifier: str | None) -> None:
    served = serve(lambda e, s: (s("200 OK", []), [b"ok"])[1], identifier=identifier)
    talk = served.connect()
    assert talk.get()["Server"] == identifier
    assert talk.ask(b"GET / HTTP/1.1\r\n\r\n")["Server"] == identifier  # a refusal
    streams = speak_http2(served.server.address)
    stream = streams.begin("/")
    streams.answer(stream)
    assert streams.heads[stream].get("server") == identifier


def test_identifier_of_a_protocol_is_what_its_answers_say() -> None:
    class Named(HttpProtocol):
        identifier = "named"

    ours, theirs = memory_pair()
    protocol = Named(True, lambda e, s: (s("200 OK", []), [b"ok"])[1])
    protocol.connection_made(ours)
    protocol.start()
    peer = RawPeer(theirs)
    peer.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    assert b"\r\nServer: named\r\n" in peer.read_until()
    peer.close()


@pytest.mark.parametrize("identifier", ["a\r\nX: 1", "é", " padded"], ids=repr)
def test_identifier_that_cannot_be_sent_is_refused(identifier: str) -> None:
    with pytest.raises(ValueError, match="cannot stand in Server"):
        HttpServer(lambda e, s: [], identifier=identifier)


@pytest.mark.parametrize("name", ["Date", "date", "Server", "SERVER"])
def test_date_and_server_of_the_application_stand(serve: Any, name: str) -> None:
    answer = serve(app([(name, "mine")])).get()
    assert answer[name] == "mine"
    assert {answer["Date"], answer["Server"]} > {"mine"}


def test_trailer_field_may_be_announced(serve: Any) -> None:
    assert serve(app([("Trailer", "X-Sum")])).get()["Trailer"] == "X-Sum"


HOP_BY_HOP = [
    "Connection", "Keep-Alive", "Proxy-Authenticate", "Proxy-Authorization", "Proxy-Connection", "TE", "Trailers",
    "Transfer-Encoding", "Upgrade", "connection", "TRANSFER-ENCODING",
]  # fmt: skip

MISTAKES: list[Any] = [
    *(pytest.param("200 OK", [(name, "x")], ValueError, name, id=f"hop-by-hop-{name}") for name in HOP_BY_HOP),
    pytest.param(b"200 OK", [], TypeError, "str", id="status-bytes"),
    pytest.param(200, [], TypeError, "str", id="status-int"),
    pytest.param("20 OK", [], ValueError, "20 OK", id="status-two-digits"),
    pytest.param("2000 OK", [], ValueError, "2000 OK", id="status-four-digits"),
    pytest.param("OK", [], ValueError, "OK", id="status-no-digits"),
    pytest.param("\u0662\u0660\u0660 OK", [], (ValueError, UnicodeEncodeError), "", id="status-other-digits"),
    pytest.param("100 Continue", [], ValueError, "100", id="status-informational"),
    pytest.param("199 OK", [], ValueError, "199", id="status-too-small"),
    pytest.param("200 OK\r\nX-Bad: 1", [], ValueError, "200 OK", id="status-with-line-end"),
    pytest.param("200 \u20ac", [], UnicodeEncodeError, "", id="status-beyond-latin-1"),
    pytest.param("200 OK", (("A", "b"),), TypeError, "list", id="headers-tuple"),
    pytest.param("200 OK", {"A": "b"}, TypeError, "list", id="headers-dict"),
    pytest.param("200 OK", [("A", "b", "c")], ValueError, "", id="headers-triple"),
    pytest.param("200 OK", [(b"A", "b")], TypeError, "str", id="name-bytes"),
    pytest.param("200 OK", [("A", b"b")], TypeError, "'A'", id="value-bytes"),
    pytest.param("200 OK", [("A", 1)], TypeError, "'A'", id="value-int"),
    pytest.param("200 OK", [("A", None)], TypeError, "'A'", id="value-none"),
    pytest.param("200 OK", [("A b", "c")], ValueError, "A b", id="name-with-blank"),
    pytest.param("200 OK", [("A:", "c")], ValueError, "A:", id="name-with-colon"),
    pytest.param("200 OK", [("", "c")], ValueError, "''", id="name-empty"),
    pytest.param("200 OK", [("A\r\nB", "c")], ValueError, "", id="name-with-line-end"),
    pytest.param("200 OK", [("\xe9", "c")], ValueError, "", id="name-latin-1"),
    pytest.param("200 OK", [("\u20ac", "c")], ValueError, "", id="name-beyond-latin-1"),
    pytest.param("200 OK", [("A", "b\r\nSet-Cookie: c")], ValueError, "'A'", id="value-with-crlf"),
    pytest.param("200 OK", [("A", "b\nc")], ValueError, "'A'", id="value-with-lf"),
    pytest.param("200 OK", [("A", "b\rc")], ValueError, "'A'", id="value-with-cr"),
    pytest.param("200 OK", [("A", "b\0c")], ValueError, "'A'", id="value-with-nul"),
    pytest.param("200 OK", [("A", "b\x7fc")], ValueError, "'A'", id="value-with-del"),
    pytest.param("200 OK", [("A", "\u20ac")], UnicodeEncodeError, "header 'A'", id="value-beyond-latin-1"),
    pytest.param("200 OK", [("Content-Length", "-1")], ValueError, "-1", id="length-negative"),
    pytest.param("200 OK", [("Content-Length", "five")], ValueError, "five", id="length-no-number"),
    pytest.param("200 OK", [("Content-Length", "")], ValueError, "", id="length-empty"),
    pytest.param("200 OK", [("Content-Length", "1_0")], ValueError, "1_0", id="length-underscore"),
    pytest.param("200 OK", [("Content-Length", "\u0661")], ValueError, "", id="length-other-digits"),
    pytest.param("200 OK", [("Content-Length", "9" * 5000)], ValueError, "", id="length-endless"),
    pytest.param(
        "200 OK", [("Content-Length", "1"), ("content-length", "2")], ValueError, "twice", id="length-twice"
    ),
]  # fmt: skip


@pytest.mark.parametrize(("status", "headers", "error", "message"), MISTAKES)
def test_mistake_is_raised_where_the_application_made_it(
    serve: Any, status: Any, headers: Any, error: Any, message: str
) -> None:
    raised: list[BaseException] = []

    def application(environ: Any, start_response: Any) -> list[bytes]:
        try:
            start_response(status, headers)
        except Exception as exc:
            raised.append(exc)
        start_response("200 OK", [])
        return [b"fine"]

    assert serve(application).get().content == b"fine"
    assert isinstance(raised[0], error)
    assert message in str(raised[0])


def test_mistake_that_is_not_caught_is_a_500(serve: Any, errors: Errors) -> None:
    talk = serve(app([("Connection", "close")])).connect()
    answer = talk.get()
    assert (answer.status, answer["Connection"]) == (500, None)
    assert talk.is_open()
    assert "ValueError" in errors()[0] and "'Connection'" in errors()[0]


# start_response


def test_start_response_is_called_positionally_and_returns_write(serve: Any) -> None:
    def application(environ: Any, start_response: Any) -> list[bytes]:
        write = start_response("200 OK", [], None)
        assert write(b"one ") is None
        write(b"")
        write(b"two ")
        return [b"three"]

    answer = serve(application).get()
    assert (answer.content, answer["Content-Length"]) == (b"one two three", "13")


def test_start_response_may_be_called_with_the_first_block(serve: Any) -> None:
    class Lazy:
        def __init__(self, environ: Any, start_response: Any) -> None:
            self.start_response = start_response

        def __iter__(self) -> Iterator[bytes]:
            self.start_response("201 Created", [])
            yield b"late"

    answer = serve(Lazy).get()
    assert (answer.status, answer.content) == (201, b"late")


def test_empty_block_may_come_before_start_response(serve: Any) -> None:
    def application(environ: Any, start_response: Any) -> Iterator[bytes]:
        yield b""
        gevent.sleep(0)
        start_response("200 OK", [])
        yield b"late"

    assert serve(application).get().content == b"late"


@pytest.mark.parametrize(
    "application",
    [
        pytest.param(lambda e, s: [b"content"], id="list"),
        pytest.param(lambda e, s: [], id="empty-list"),
        pytest.param(lambda e, s: iter([b"content"]), id="iterator"),
        pytest.param(lambda e, s: iter([]), id="empty-iterator"),
    ],
)
def test_content_without_start_response_is_a_500(serve: Any, errors: Errors, application: Any) -> None:
    talk = serve(application).connect()
    assert talk.get().status == 500
    assert talk.is_open()
    assert "start_response" in errors()[0]


def test_second_start_response_without_exc_info_is_an_error(serve: Any, errors: Errors) -> None:
    def application(environ: Any, start_response: Any) -> list[bytes]:
        start_response("200 OK", [])
        start_response("404 Not Found", [])
        return []

    assert serve(application).get().status == 500
    assert "AssertionError" in errors()[0]


def failing_after(*blocks: bytes, pause: bool) -> Any:
    """An application that notices an error after these blocks, and tells so by start_response with exc_info."""

    def application(environ: Any, start_response: Any) -> Iterator[bytes]:
        start_response("200 OK", [("X-First", "1"), ("Content-Length", "100")])
        yield from blocks
        if pause:
            gevent.sleep(0)
        try:
            raise KeyError("the reason")
        except KeyError:
            start_response("503 Sorry", [("X-Second", "2")], sys.exc_info())
        yield b"sorry"

    return application


@pytest.mark.parametrize("blocks", [(), (b"",), (b"held back",)], ids=["nothing", "empty", "held"])
def test_exc_info_replaces_an_answer_that_has_not_left(serve: Any, errors: Errors, blocks: tuple[bytes, ...]) -> None:
    talk = serve(failing_after(*blocks, pause=False)).connect()
    answer = talk.get()
    assert (answer.status, answer.content) == (503, b"sorry")
    assert (answer["X-First"], answer["X-Second"]) == (None, "2")
    assert talk.is_open()
    assert errors() == []


def test_exc_info_is_raised_again_when_the_head_has_left(serve: Any, errors: Errors) -> None:
    talk = serve(failing_after(b"gone already", pause=True)).connect()
    talk.send(GET)
    assert talk.head()["X-First"] == "1"
    assert talk.read_to_end() == b"gone already"
    assert "KeyError('the reason')" in errors()[0]


def test_empty_exc_info_replaces_too(serve: Any) -> None:
    def application(environ: Any, start_response: Any) -> list[bytes]:
        start_response("200 OK", [])
        start_response("404 Not Found", [], (None, None, None))
        return []

    assert serve(application).get().status == 404


# what may be returned


@pytest.mark.parametrize(
    ("result", "content"),
    [
        pytest.param([], b"", id="empty-list"),
        pytest.param([b""], b"", id="list-of-empty"),
        pytest.param([b"a", b"", b"b"], b"ab", id="list"),
        pytest.param((b"a", b"b"), b"ab", id="tuple"),
        pytest.param((), b"", id="empty-tuple"),
        pytest.param(b"bytes", b"bytes", id="bare-bytes"),
        pytest.param("text", b"text", id="bare-text"),
        pytest.param([bytearray(b"a"), memoryview(b"b")], b"ab", id="other-buffers"),
        pytest.param({b"a": 1}, b"a", id="dict"),
        pytest.param([b"x" * 200_000], b"x" * 200_000, id="large"),
        pytest.param([b"x" * 70_000] * 3, b"x" * 210_000, id="several-large"),
    ],
)
def test_content_may_be_any_iterable(serve: Any, result: Any, content: bytes) -> None:
    talk = serve(app(content=result)).connect()
    answer = talk.get()
    assert (answer.content, answer["Content-Length"]) == (content, str(len(content)))
    assert talk.is_open()


class ByIndex:
    """Iterable in the old way."""

    def __getitem__(self, index: int) -> bytes:
        return [b"a", b"b"][index]


@pytest.mark.parametrize(
    ("make", "content"),
    [
        pytest.param(lambda: iter([]), b"", id="empty-iterator"),
        pytest.param(lambda: iter([b"", b""]), b"", id="empty-blocks"),
        pytest.param(lambda: (block for block in (b"a", b"", b"b")), b"ab", id="generator"),
        pytest.param(ByIndex, b"ab", id="getitem"),
        pytest.param(lambda: io.BytesIO(b"a\nb\n"), b"a\nb\n", id="file"),
        pytest.param(lambda: type("Blocks", (list,), {})([b"a", b"b"]), b"ab", id="subclass-of-list"),
        pytest.param(lambda: iter([bytearray(b"a"), memoryview(b"b")]), b"ab", id="other-buffers"),
        pytest.param(lambda: iter([b"x" * 1000] * 200), b"x" * 200_000, id="more-than-is-held"),
        pytest.param(lambda: iter([b"x" * 200_000, b"y"]), b"x" * 200_000 + b"y", id="large-blocks"),
    ],
)
@pytest.mark.parametrize("version", [b"1.1", b"1.0"])
def test_content_may_be_an_iterator(serve: Any, make: Any, content: bytes, version: bytes) -> None:
    served = serve(lambda e, s: app(content=make())(e, s))
    assert served.ask(b"GET / HTTP/%b\r\nHost: a\r\n\r\n" % version).content == content


@pytest.mark.parametrize("blocks", [(b"a", b"", b"b"), (b"", b"a", b"b", b"")], ids=["inside", "outside"])
def test_empty_blocks_end_nothing(serve: Any, blocks: tuple[bytes, ...]) -> None:
    talk = serve(generating(*blocks, pause=True)).connect()
    answer = talk.get()
    assert (answer["Transfer-Encoding"], answer.content) == ("chunked", b"ab")
    assert talk.is_open()


@pytest.mark.parametrize("result", [None, 5, [5], [None], iter([5])], ids=["None", "int", "[int]", "[None]", "iter"])
def test_content_that_is_none_is_a_500(serve: Any, errors: Errors, result: Any) -> None:
    assert serve(app(content=result)).get().status == 500
    assert "TypeError" in errors()[0]


def test_application_that_returns_nothing_is_told_what_it_should(serve: Any, errors: Errors) -> None:
    assert serve(app(content=None)).get().status == 500
    assert "an application returns an iterable of bytes, and this one returned None" in errors()[0]


# text: G22


@pytest.mark.parametrize(
    ("content_type", "text", "encoded"),
    [
        pytest.param(None, "\xe9", b"\xe9", id="no-type"),
        pytest.param("text/plain", "\xe9", b"\xe9", id="no-charset"),
        pytest.param("text/plain; charset=utf-8", "\u20ac", b"\xe2\x82\xac", id="utf-8"),
        pytest.param('text/html; a=b; Charset="UTF-8"', "\u20ac", b"\xe2\x82\xac", id="quoted"),
        pytest.param("text/plain; charset=koi8-r", "\u043f", b"\xd0", id="koi8-r"),
    ],
)
@pytest.mark.parametrize("wrap", [lambda text: [text], lambda text: iter([text])], ids=["list", "iterator"])
def test_text_is_encoded_by_the_charset_of_the_answer(
    serve: Any, wrap: Any, content_type: str | None, text: str, encoded: bytes
) -> None:
    headers = [("Content-Type", content_type)] if content_type else []
    assert serve(lambda e, s: app(headers, wrap(text))(e, s)).get().content == encoded


@pytest.mark.parametrize("charset", ["iso-8859-1", "no-such-charset"])
def test_text_that_cannot_be_encoded_is_a_500(serve: Any, errors: Errors, charset: str) -> None:
    talk = serve(app([("Content-Type", f"text/plain; charset={charset}")], ["\u20ac"])).connect()
    assert talk.get().status == 500
    assert talk.is_open()


def test_text_that_cannot_be_encoded_cuts_an_answer_that_has_begun(serve: Any, errors: Errors) -> None:
    talk = serve(generating("ok", "\u20ac", pause=True)).connect()
    talk.send(GET)
    assert talk.read_to_end().endswith(b"\r\n\r\n2\r\nok\r\n")
    assert "UnicodeEncodeError" in errors()[0]


# close()


def closing(content: Content, headers: Any = ()) -> Any:
    return app(headers, content)


@pytest.mark.parametrize("method", [b"GET", b"HEAD"])
def test_content_is_closed_once(serve: Any, method: bytes) -> None:
    content = Content(b"a", b"b")
    serve(closing(content)).ask(b"%b / HTTP/1.1\r\nHost: a\r\n\r\n" % method)
    assert content.closed == 1


def test_content_is_closed_once_when_it_fails(serve: Any, errors: Errors) -> None:
    content = Content(b"a", fault=KeyError("in the middle"))
    assert serve(closing(content)).get().status == 500
    assert content.closed == 1
    assert "in the middle" in errors()[0]


def test_content_is_closed_once_when_a_block_is_impossible(serve: Any, errors: Errors) -> None:
    content = Content(5)
    assert serve(closing(content)).get().status == 500
    assert content.closed == 1


def test_content_is_closed_once_without_start_response(serve: Any, errors: Errors) -> None:
    content = Content()
    assert serve(lambda e, s: content).get().status == 500
    assert content.closed == 1


@pytest.mark.parametrize("blocks", [(), (b"a",)], ids=["tuple-without", "tuple-with"])
def test_content_that_is_a_tuple_with_close_is_closed(serve: Any, blocks: tuple[bytes, ...]) -> None:
    class Closing(tuple):  # type: ignore[type-arg]
        closed = 0

        def close(self) -> None:
            Closing.closed += 1

    assert serve(app(content=Closing(blocks))).get().content == b"".join(blocks)
    assert Closing.closed == 1


def test_list_with_close_is_closed(serve: Any) -> None:
    class Closing(list):  # type: ignore[type-arg]
        closed = 0

        def close(self) -> None:
            Closing.closed += 1

    assert serve(app(content=Closing([b"a"]))).get().content == b"a"
    assert Closing.closed == 1


def test_failure_of_close_leaves_the_answer_and_the_connection(serve: Any, errors: Errors) -> None:
    talk = serve(closing(Content(b"a", close_fault=KeyError("in close")))).connect()
    assert talk.get().content == b"a"
    assert talk.is_open()
    assert "in close" in errors()[0]


def test_content_is_closed_once_when_the_client_has_gone(serve: Any, errors: Errors, until: Any) -> None:
    content = Content(*[b"x" * 100_000] * 100)
    talk = serve(closing(content)).connect()
    talk.send(GET)
    talk.read(1)
    talk.reset()
    until(lambda: content.closed)
    assert content.closed == 1
    assert errors() == []


@pytest.mark.parametrize("written", [False, True], ids=["yielded", "written"])
@pytest.mark.parametrize("leave", ["reset", "close"])
def test_small_pieces_are_made_no_longer_when_the_client_has_gone(
    serve: Any, errors: Errors, until: Any, leave: str, written: bool
) -> None:
    made, closed = [0], []

    def events(environ: Any, start_response: Any) -> Iterator[bytes]:
        write = start_response("200 OK", [("Content-Type", "text/event-stream")])
        try:
            for _ in range(1000):  # far below what is held before a send waits
                made[0] += 1
                if written:
                    write(b"data\n\n")
                else:
                    yield b"data\n\n"
                gevent.sleep(0.001)
            yield b""
        finally:
            closed.append(made[0])

    talk = serve(events).connect()
    talk.send(GET)
    talk.read_until(b"data")
    getattr(talk, leave)()
    until(lambda: closed)
    assert closed[0] < 1000
    assert errors() == []


def test_content_is_closed_once_when_the_client_goes_while_the_application_waits(
    serve: Any, errors: Errors, until: Any
) -> None:
    go_on = Event()

    def blocks() -> Iterator[bytes]:
        yield b"a"
        assert go_on.wait(GUARD)
        for _ in range(100):
            yield b"x" * 100_000

    content = Content()
    content.__class__ = type("Waiting", (Content,), {"__iter__": lambda self: blocks()})
    talk = serve(closing(content)).connect()
    talk.send(GET)
    talk.read_until()
    talk.reset()
    go_on.set()
    until(lambda: content.closed)
    assert (content.closed, errors()) == (1, [])


# Content-Length is kept


@pytest.mark.parametrize(
    "application",
    [
        pytest.param(app([("Content-Length", "5")], [b"hello", b", world"]), id="list"),
        pytest.param(app([("Content-Length", "5")], [b"hello, world"]), id="list-of-one"),
        pytest.param(generating(b"hel", b"lo, world", b"!", headers=[("Content-Length", "5")]), id="iterator"),
        pytest.param(generating(b"hel", b"lo, w", b"!", headers=[("Content-Length", "5")], pause=True), id="paused"),
        pytest.param(generating(b"hello", b"!", headers=[("Content-Length", "5")], pause=True), id="paused-behind"),
    ],
)
def test_more_content_than_announced_is_cut_and_logged(serve: Any, errors: Errors, application: Any) -> None:
    talk = serve(application).connect()
    answer = talk.get()
    assert (answer["Content-Length"], answer.content) == ("5", b"hello")
    assert len(errors()) == 1 and "Content-Length" in errors()[0]
    assert talk.is_open()


@pytest.mark.parametrize("pause", [False, True])
def test_more_content_written_than_announced_is_cut_and_logged(serve: Any, errors: Errors, pause: bool) -> None:
    def application(environ: Any, start_response: Any) -> list[bytes]:
        write = start_response("200 OK", [("Content-Length", "5")])
        for block in (b"hel", b"lo, ", b"world"):
            write(block)
            if pause:
                gevent.sleep(0)
        return [b"!"]

    talk = serve(application).connect()
    assert talk.get().content == b"hello"
    assert len(errors()) == 1 and "Content-Length" in errors()[0]
    assert talk.is_open()


def test_nothing_is_asked_for_behind_the_announced_end(serve: Any, errors: Errors) -> None:
    def forever(environ: Any, start_response: Any) -> Iterator[bytes]:
        start_response("200 OK", [("Content-Length", "5")])
        while True:
            yield b"hello"

    talk = serve(forever).connect()
    assert talk.get().content == b"hello"
    assert talk.is_open()


def test_iterator_of_the_announced_length_runs_to_its_end(serve: Any) -> None:
    ended = []

    def application(environ: Any, start_response: Any) -> Iterator[bytes]:
        start_response("200 OK", [("Content-Length", "5")])
        yield b"hello"
        ended.append(True)

    assert serve(application).get().content == b"hello"
    assert ended == [True]


@pytest.mark.parametrize(
    "application",
    [
        pytest.param(app([("Content-Length", "10")], [b"hello"]), id="list"),
        pytest.param(generating(b"hello", headers=[("Content-Length", "10")]), id="iterator"),
        pytest.param(generating(b"hel", b"lo", headers=[("Content-Length", "10")], pause=True), id="paused"),
        pytest.param(lambda e, s: (s("200 OK", [("Content-Length", "10")])(b"hello"), [])[1], id="write"),
    ],
)
def test_less_content_than_announced_ends_the_connection(serve: Any, errors: Errors, application: Any) -> None:
    talk = serve(application).connect()
    talk.send(GET + GET)
    answer = talk.head()
    assert answer["Content-Length"] == "10"
    assert talk.read_to_end() == b"hello"
    assert len(errors()) == 1 and "Content-Length" in errors()[0]


@pytest.mark.parametrize("content", [[], [b"0123456789"]], ids=["none", "all"])
def test_head_may_announce_a_length_with_or_without_content(serve: Any, errors: Errors, content: Any) -> None:
    talk = serve(app([("Content-Length", "10")], content)).connect()
    assert talk.ask(b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n")["Content-Length"] == "10"
    assert talk.is_open() if content else True
    assert errors() == []


def test_length_may_be_given_twice_if_it_is_the_same(serve: Any) -> None:
    answer = serve(app([("Content-Length", "2"), ("content-length", "2")], [b"ok"])).get()
    assert (answer["Content-Length"], answer.content) == ("2", b"ok")


# failures


SECRET = "the secret of the database"


def failing(fault: BaseException, *, after: int = 0) -> Any:
    """An application that raises: 0 at once, 1 after start_response, 2 after a block, 3 after a block has left."""

    def application(environ: Any, start_response: Any) -> Iterable[bytes]:
        if environ["PATH_INFO"] == "/still-open":
            return app()(environ, start_response)
        if not after:
            raise fault
        start_response("200 OK", [])
        if after == 1:
            raise fault
        return blocks()

    def blocks() -> Iterator[bytes]:
        yield b"begun"
        if after == 3:
            gevent.sleep(0)
        raise fault

    return application


@pytest.mark.parametrize("after", [0, 1, 2], ids=["at-once", "after-start_response", "after-a-block"])
@pytest.mark.parametrize(
    "fault",
    [
        KeyError(SECRET),
        gevent.Timeout(99),
        TransportError(SECRET),
        ConnectionResetError(SECRET),
        BrokenPipeError(SECRET),
        RemoteProtocolError(SECRET),
        IncompleteMessage(SECRET),
        Timeout(SECRET, phase="content"),
        Timeout(SECRET, phase="write"),
        AssertionError(SECRET),
    ],
    ids=lambda fault: type(fault).__name__ + (getattr(fault, "phase", None) or ""),
)
def test_failure_before_the_head_left_is_a_500_that_tells_nothing(
    serve: Any, errors: Errors, fault: BaseException, after: int
) -> None:
    talk = serve(failing(fault, after=after)).connect()
    answer = talk.get()
    assert (answer.status, answer["Connection"]) == (500, None)
    assert SECRET not in talk.received.decode("latin-1") and type(fault).__name__ not in talk.received.decode("latin-1")
    assert answer.content == b"500 Internal Server Error\n"
    assert talk.is_open()
    assert len(errors()) == 1 and type(fault).__name__ in errors()[0]


def test_failure_after_the_head_left_ends_the_connection_without_an_end_of_the_answer(
    serve: Any, errors: Errors
) -> None:
    talk = serve(failing(KeyError(SECRET), after=3)).connect()
    talk.send(GET + GET)
    assert talk.head().status == 200
    assert talk.read_to_end() == b"5\r\nbegun\r\n"
    assert len(errors()) == 1


def test_failure_in_an_answer_that_ends_with_the_connection_resets_it(serve: Any, errors: Errors) -> None:
    talk = serve(failing(KeyError(SECRET), after=3)).connect()
    talk.send(b"GET / HTTP/1.0\r\n\r\n")
    assert talk.is_cut(), "looks like a whole answer"


def test_debug_shows_the_traceback(serve: Any, errors: Errors) -> None:
    answer = serve(failing(KeyError(SECRET), after=2), debug=True).get()
    assert answer.status == 500
    assert answer.content.startswith(b"Traceback") and SECRET.encode() in answer.content


def test_failure_is_logged_with_method_and_target(serve: Any, errors: Errors) -> None:
    serve(failing(KeyError("why"))).get("/where?why=1")
    assert errors() == ["GET /where?why=1 failed: KeyError('why')"]


@pytest.mark.parametrize("after", [0, 1, 2, 3])
def test_greenlet_exit_in_the_application_cuts_the_connection_quietly(
    serve: Any, errors: Errors, after: int
) -> None:
    served = serve(failing(gevent.GreenletExit(), after=after))
    talk = served.connect()
    talk.send(GET)
    assert talk.is_cut()
    assert errors() == []
    assert served.get("/still-open").status == 200


def test_worker_that_is_killed_cuts_its_connection_and_closes_the_content(
    serve: Any, errors: Errors, until: Any
) -> None:
    running: list[Any] = []
    content = Content()

    def blocks() -> Iterator[bytes]:
        running.append(gevent.getcurrent())
        yield b"begun"
        Event().wait(GUARD)

    content.__class__ = type("Waiting", (Content,), {"__iter__": lambda self: blocks()})
    talk = serve(closing(content)).connect()
    talk.send(GET)
    talk.read_until()
    running[0].kill(timeout=GUARD)
    assert talk.is_cut()
    assert (content.closed, errors()) == (1, [])


def test_gevent_timeout_of_the_application_reaches_it(serve: Any) -> None:
    def application(environ: Any, start_response: Any) -> list[bytes]:
        with gevent.Timeout(0.01, False):
            environ["wsgi.input"].read()
        start_response("200 OK", [])
        return [b"in time"]

    talk = serve(application).connect()
    talk.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n")
    answer = talk.answer()
    assert (answer.content, answer["Connection"]) == (b"in time", "close")


# after the answer


def test_write_after_the_answer_is_refused_and_disturbs_nobody(serve: Any) -> None:
    kept: list[Any] = []
    raised: list[BaseException] = []

    def application(environ: Any, start_response: Any) -> Iterator[bytes]:
        if kept:
            try:
                kept[0](b"intruder")
            except Exception as exc:
                raised.append(exc)
        kept.append(start_response("200 OK", []))
        yield b"a"
        gevent.sleep(0)
        yield b"b"

    talk = serve(application).connect()
    assert [talk.get().content, talk.get().content] == [b"ab", b"ab"]
    assert len(raised) == 1


def test_content_of_a_former_request_cannot_be_read_any_more(serve: Any) -> None:
    kept: list[Any] = []
    raised: list[BaseException] = []

    def application(environ: Any, start_response: Any) -> list[bytes]:
        if kept:
            try:
                kept[0].read()
            except Exception as exc:
                raised.append(exc)
        kept.append(environ["wsgi.input"])
        start_response("200 OK", [])
        return [environ["wsgi.input"].read() if len(kept) > 1 else b""]

    talk = serve(application).connect()
    talk.post(b"first")
    assert talk.post(b"second").content == b"second"
    assert len(raised) == 1


# wsgi.file_wrapper


def wrapping(make: Callable[[], Any], *arguments: int, headers: Any = ()) -> Any:
    def application(environ: Any, start_response: Any) -> Any:
        start_response("200 OK", list(headers))
        return environ["wsgi.file_wrapper"](make(), *arguments)

    return application


def test_file_is_sent_from_its_position_and_closed(serve: Any, tmp_path: Any) -> None:
    (tmp_path / "file").write_bytes(b"skipped" + b"x" * 300_000)
    files = []

    def make() -> Any:
        files.append((tmp_path / "file").open("rb"))
        files[-1].seek(7)
        return files[-1]

    talk = serve(wrapping(make, 8192, headers=[("Content-Length", "300000")])).connect()
    assert talk.get().content == b"x" * 300_000
    assert files[0].closed
    assert talk.is_open()


@pytest.mark.parametrize(
    ("make", "content"),
    [
        pytest.param(lambda: io.BytesIO(b"small"), b"small", id="small"),
        pytest.param(lambda: io.BytesIO(b""), b"", id="empty"),
        pytest.param(lambda: io.StringIO("text"), b"text", id="text"),
        pytest.param(lambda: type("Bare", (), {"read": lambda self, size: b""})(), b"", id="only-read"),
    ],
)
def test_file_wrapper_takes_whatever_can_be_read(serve: Any, make: Any, content: bytes) -> None:
    answer = serve(wrapping(make)).get()
    assert (answer.content, answer["Content-Length"]) == (content, str(len(content)))


def test_file_wrapper_without_close_has_none() -> None:
    assert not hasattr(FileWrapper(type("Bare", (), {"read": lambda self, size: b""})()), "close")
    closed = io.BytesIO()
    FileWrapper(closed).close()
    assert closed.closed


def test_file_is_closed_for_head(serve: Any) -> None:
    file = io.BytesIO(b"content")
    answer = serve(wrapping(lambda: file)).ask(b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n")
    assert (answer["Content-Length"], file.closed) == ("7", True)


# wsgi.errors


def test_wsgi_errors_become_log_records(serve: Any, errors: Errors) -> None:
    def application(environ: Any, start_response: Any) -> list[bytes]:
        stream = environ["wsgi.errors"]
        stream.write("first\nsecond\n")
        stream.writelines(["third\n", "\n", "fourth"])
        print("fifth", file=stream)
        stream.flush()
        return app()(environ, start_response)

    serve(application).get()
    assert errors() == ["first", "second", "third", "fourth", "fifth"]


def test_application_must_be_callable(serve: Any) -> None:
    with pytest.raises(ValueError, match="callable"):
        serve(None)
