"""What a user gets for what a server says, whether it says it at once or byte by byte."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import gevent
import pytest
from gevent.event import Event

from gruvihttp import Error, HttpError, HttpResponse, StreamReader, Timeout, TransportError
from gruvihttp.errors import FieldsTooLarge, IncompleteMessage, RemoteProtocolError
from gruvihttp.sansio import InformationalResponse, Response
from gruvihttp.testing import RawPeer, replies


@pytest.fixture
def ask(connect: Any, say: Any) -> Callable[..., HttpResponse]:
    """Sends one request to a server that says `answer` and closes; returns the response."""

    def exchange(answer: bytes, method: str = "GET", **options: Any) -> HttpResponse:
        def script(peer: RawPeer) -> None:
            peer.read_until()
            say(peer, answer)

        client = connect(script, **options)
        client.request(method, "/")
        return client.getresponse()

    return exchange


def content(body: bytes, fields: bytes = b"") -> bytes:
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n%b\r\n%b" % (len(body), fields, body)


def chunked(*pieces: bytes, trailers: bytes = b"") -> bytes:
    chunks = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces)
    return b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%b0\r\n%b\r\n" % (chunks, trailers)


# the head


@pytest.mark.parametrize(("sent", "version"), [(b"1.1", (1, 1)), (b"1.0", (1, 0)), (b"1.2", (1, 2))])
def test_g35_version_is_a_pair_that_prints_as_text(ask: Any, sent: bytes, version: tuple[int, int]) -> None:
    response = ask(b"HTTP/%b 200 OK\r\nContent-Length: 0\r\n\r\n" % sent)
    assert response.version == version
    assert (response.version.major, response.version.minor) == version
    assert str(response.version) == sent.decode()


def test_g36_status_is_an_int(ask: Any) -> None:
    response = ask(content(b""))
    assert response.status == response.status_code == 200
    assert type(response.status) is int
    assert response.reason == "OK"
    assert repr(response) == "<HttpResponse 200 OK>"


@pytest.mark.parametrize(
    ("line", "reason"), [(b"HTTP/1.1 200", ""), (b"HTTP/1.1 200 ", ""), (b"HTTP/1.1 200 D\xe9j\xe0", "Déjà")]
)
def test_reason_may_be_missing_or_latin_1(ask: Any, line: bytes, reason: str) -> None:
    response = ask(line + b"\r\nContent-Length: 0\r\n\r\n")
    assert response.reason == reason
    assert repr(response) == (f"<HttpResponse 200 {reason}>" if reason else "<HttpResponse 200>")


def test_g37_headers_keep_order_duplicates_and_case(ask: Any) -> None:
    response = ask(content(b"", b"SET-Cookie: a=1\r\nx-mixed: y\r\nset-cookie: b=2\r\nset-cookie: b=2\r\n"))
    assert response.headers == [
        ("Content-Length", "0"),
        ("SET-Cookie", "a=1"),
        ("x-mixed", "y"),
        ("set-cookie", "b=2"),
        ("set-cookie", "b=2"),
    ]


def test_g16_header_bytes_are_latin_1(ask: Any) -> None:
    response = ask(content(b"", b"X-A: \xe9\r\n"))
    assert response.get_header("X-A") == "é"
    assert ("X-A", "é") in response.headers


def test_g17_encoded_words_are_not_decoded(ask: Any) -> None:
    assert ask(content(b"", b"X-A: =?utf-8?q?=E2=82=AC?=\r\n")).get_header("x-a") == "=?utf-8?q?=E2=82=AC?="


def test_g39_get_header_finds_the_first_in_any_case(ask: Any) -> None:
    response = ask(content(b"", b"X-A: 1\r\nx-a: 2\r\n"))
    assert response.get_header("x-A") == "1"
    assert response.get_header("X-B") is None
    assert response.get_header("X-B", "default") == "default"
    assert response.get_header("€", "default") == "default"


@pytest.mark.parametrize(
    ("content_type", "charset"),
    [
        (b"text/plain; charset=UTF-8", "utf-8"),
        (b'text/plain; charset="utf-8"', "utf-8"),
        (b"text/plain", None),
        (None, None),
    ],
)
def test_s35_charset_is_what_content_type_names(ask: Any, content_type: bytes | None, charset: str | None) -> None:
    field = b"" if content_type is None else b"Content-Type: %b\r\n" % content_type
    assert ask(content(b"", field)).charset == charset


@pytest.mark.parametrize(
    ("answer", "persists"),
    [
        (content(b""), True),
        (content(b"", b"Connection: close\r\n"), False),
        (b"HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n", False),
        (b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 0\r\n\r\n", True),
    ],
)
def test_s36_should_keep_alive_is_what_the_head_says(ask: Any, answer: bytes, persists: bool) -> None:
    assert ask(answer).should_keep_alive is persists


@pytest.mark.parametrize("event", [Response, InformationalResponse])
def test_g34_response_is_built_from_a_message_of_the_parser(event: type[Any]) -> None:
    status = 200 if event is Response else 100
    message = event(status_code=status, headers=[("X-A", "1")], http_version=b"1.0", reason=b"Fine")
    response = HttpResponse(message)
    assert (response.version, response.status, response.reason) == ((1, 0), status, "Fine")
    assert (response.headers, response.get_header("x-a")) == ([("X-A", "1")], "1")
    assert (response.trailers, response.get_trailer("X"), response.informational) == ([], None, [])
    assert (response.read(), response.request, response.transport) == (b"", None, None)
    response.close()


# informational responses


def test_s39_informational_responses_consume_no_slot(ask: Any) -> None:
    early = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\nX: \xe9\r\n\r\n"
    response = ask(early + content(b"body"))
    assert (response.status, response.read()) == (200, b"body")
    assert [(one.status, one.reason) for one in response.informational] == [(100, "Continue"), (103, "Early Hints")]
    assert response.informational[1].headers == [("Link", "</a>"), ("X", "é")]
    assert response.informational[1].read() == b""


def test_s39_informational_responses_are_called_back(connect: Any, say: Any) -> None:
    def script(peer: RawPeer) -> None:
        peer.read_until()
        say(peer, b"HTTP/1.1 102 Processing\r\n\r\n" + content(b""))

    client = connect(script)
    called: list[Any] = []
    client.protocol.on_informational = lambda request, response: called.append((request, response.status))
    request = client.request("GET", "/")
    client.getresponse()
    assert called == [(request, 102)]


def test_endless_informational_responses_are_refused(ask: Any) -> None:
    with pytest.raises(RemoteProtocolError, match="informational"):
        ask(b"HTTP/1.1 102 Processing\r\n\r\n" * 100 + content(b""))


SWITCHES = {"to something": b"Upgrade: foo\r\n", "to nothing": b"", "to an empty list": b"Upgrade: ,\r\n"}


@pytest.mark.parametrize("upgrade", SWITCHES.values(), ids=SWITCHES)
def test_switch_of_protocols_that_nobody_asked_for_is_refused(connect: Any, say: Any, upgrade: bytes) -> None:
    def script(peer: RawPeer) -> None:
        peer.read_until()
        say(peer, b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\n%b\r\n" % upgrade)
        peer.read_to_end()

    client = connect(script)
    for _ in range(2):
        client.request("GET", "/")
    for _ in range(2):
        with pytest.raises(RemoteProtocolError):
            client.getresponse()


# the body

BODY = b"foo\nbar\nbaz"
FRAMED = {
    "length": content(BODY),
    "chunked": chunked(b"fo", b"o\nba", b"r\n", b"baz"),
    "until close": b"HTTP/1.1 200 OK\r\n\r\n" + BODY,
    "http/1.0": b"HTTP/1.0 200 OK\r\n\r\n" + BODY,
}
each_framing = pytest.mark.parametrize("answer", FRAMED.values(), ids=FRAMED)


@each_framing
def test_g41_g42_read_returns_the_whole_body(ask: Any, answer: bytes) -> None:
    response = ask(answer)
    assert isinstance(response.body, StreamReader)
    assert response.read() == BODY
    assert response.read() == response.read(1) == response.read1() == b""
    assert response.body.eof


@each_framing
def test_g42_read_of_a_size_waits_for_so_much(ask: Any, answer: bytes) -> None:
    response = ask(answer)
    assert response.read(0) == b""
    assert [response.read(4), response.read(3), response.body.read(100)] == [b"foo\n", b"bar", b"\nbaz"]


@each_framing
def test_g43_read1_returns_what_is_there(ask: Any, answer: bytes) -> None:
    response = ask(answer)
    assert response.read1(2) in (b"fo", b"f")
    assert b"".join(iter(response.read1, b"")) in (b"o\nbar\nbaz", b"oo\nbar\nbaz")


@pytest.mark.parametrize("chunks", [[b"foo"], [b"foo", b"bar"], [b"foo", b"bar", b"baz"]], ids=len)
def test_content_before_a_malformed_chunk_is_read_once(ask: Any, chunks: list[bytes]) -> None:
    lines = b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks)
    response = ask(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + lines + b"no size\r\n")
    content = b""
    with pytest.raises(RemoteProtocolError, match="chunk"):
        while piece := response.read1():
            content += piece
    assert content == b"".join(chunks)


@pytest.mark.parametrize("size", [-1, None, 5, 100])
def test_g43_read1_does_not_wait_for_more_than_there_is(connect: Any, say: Any, size: int | None) -> None:
    go_on = Event()

    def script(peer: RawPeer) -> None:
        peer.read_until()
        say(peer, b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nfoo")
        go_on.wait(10)
        say(peer, b"bar")

    client = connect(script)
    client.request("GET", "/")
    response = client.getresponse()
    pieces = b""
    while len(pieces) < 3:
        pieces += response.read1(size)
    go_on.set()
    assert pieces == b"foo"
    assert response.read() == b"bar"


@each_framing
def test_g44_g45_lines(ask: Any, answer: bytes) -> None:
    response = ask(answer)
    assert response.readline() == b"foo\n"
    assert response.readline(2) == b"ba"
    assert response.readline(-1, b"\nb") == b"r\nb"
    assert response.readlines() == [b"az"]
    assert list(response) == []


@each_framing
def test_g45_iteration_goes_by_lines(ask: Any, answer: bytes) -> None:
    assert list(ask(answer)) == [b"foo\n", b"bar\n", b"baz"]


@each_framing
def test_readinto_fills_a_buffer(ask: Any, answer: bytes) -> None:
    buffer = bytearray(6)
    assert ask(answer).readinto(buffer) == 6
    assert buffer == b"foo\nba"


def test_g44_delimiter_of_two_bytes_may_be_cut(ask: Any) -> None:
    response = ask(chunked(b"a\r", b"\nb\r\n", b"c"))
    assert [response.readline(delim=b"\r\n") for _ in range(4)] == [b"a\r\n", b"b\r\n", b"c", b""]
    with pytest.raises(ValueError):
        response.readline(delim=b"")
    with pytest.raises(TypeError):
        response.readline(delim="\n")  # type: ignore[arg-type]


def test_g45_readlines_stops_after_the_hint(ask: Any) -> None:
    assert ask(content(b"foo\nbar\nbaz\n")).readlines(4) == [b"foo\n", b"bar\n"]


@pytest.mark.parametrize("encoding", [None, "utf-8"])
def test_s19_s20_text_stream_decodes(ask: Any, encoding: str | None) -> None:
    body = "zwölf €\nzeilen".encode()
    fields = b"" if encoding else b"Content-Type: text/plain; charset=utf-8\r\n"
    assert ask(content(body, fields)).text_stream(encoding).readlines() == ["zwölf €\n", "zeilen"]


def test_s20_text_stream_is_latin_1_without_a_charset(ask: Any) -> None:
    assert ask(content(b"\xe9")).text_stream().read() == "é"


def test_s19_text_wrapper_of_the_standard_library_works(ask: Any) -> None:
    response = ask(content("€".encode() + b"\xe2\x82"))
    with pytest.raises(UnicodeDecodeError):
        io.TextIOWrapper(response.body, "utf-8").read()


@pytest.mark.parametrize(
    ("method", "answer"),
    [
        pytest.param("HEAD", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", id="HEAD"),
        pytest.param("HEAD", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", id="HEAD chunked"),
        pytest.param("GET", b"HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n", id="204"),
        pytest.param("GET", b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n", id="304"),
        pytest.param("GET", b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", id="length 0"),
    ],
)
def test_g68_bodies_that_are_empty_by_rule_count_as_read(connect: Any, say: Any, method: str, answer: bytes) -> None:
    def script(peer: RawPeer) -> None:
        peer.read_until()
        peer.read_until()
        say(peer, answer + content(b"next"))

    client = connect(script)
    client.request(method, "/")
    client.request("GET", "/next")
    assert client.getresponse().status in (200, 204, 304)
    assert client.getresponse().read() == b"next"


# trailers


def test_g31_g38_g40_trailers_come_after_the_body(ask: Any) -> None:
    response = ask(chunked(b"body", trailers=b"ETag: foo\r\nX: 1\r\nx: \xe9\r\n"))
    assert (response.trailers, response.get_trailer("ETag")) == ([], None)
    assert response.read(4) == b"body"
    assert response.read() == b""
    assert response.trailers == [("ETag", "foo"), ("X", "1"), ("x", "é")]
    assert (response.get_trailer("eTAG"), response.get_trailer("X")) == ("foo", "1")
    assert response.get_trailer("Y", "default") == "default"


@each_framing
def test_g38_trailers_are_empty_without(ask: Any, answer: bytes) -> None:
    response = ask(answer)
    response.read()
    assert response.trailers == []


def test_trailers_that_would_change_the_message_are_dropped(ask: Any) -> None:
    response = ask(chunked(b"x", trailers=b"Content-Length: 5\r\nX: 1\r\n"))
    response.read()
    assert response.trailers == [("X", "1")]


# when it comes


def test_g67_getresponse_returns_when_the_head_is_there(connect: Any, say: Any) -> None:
    go_on = Event()

    def script(peer: RawPeer) -> None:
        peer.read_until()
        say(peer, b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n")
        assert go_on.wait(10)
        say(peer, b"body")

    client = connect(script)
    client.request("GET", "/")
    response = client.getresponse()
    reading = gevent.spawn(response.read)
    gevent.sleep(0)
    assert not reading.ready()
    go_on.set()
    assert reading.get(timeout=10) == b"body"


def test_g63_others_run_while_a_client_waits(connect: Any, ticks: list[int]) -> None:
    counts: list[int] = []

    def script(peer: RawPeer) -> None:
        peer.read_until()
        for piece in (b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n", b"body"):
            counts.append(len(ticks))
            while len(ticks) < counts[-1] + 5:
                gevent.sleep(0)
            peer.send(piece)

    client = connect(script)
    client.request("GET", "/")
    assert client.getresponse().read() == b"body"
    assert counts[1] >= counts[0] + 5
    assert len(ticks) >= counts[1] + 5


@pytest.fixture
def turns() -> Iterator[list[int]]:
    """A number for each turn of the loop; the last one is this turn's."""
    counts = [0]
    watcher = gevent.get_hub().loop.prepare()
    watcher.start(lambda: counts.append(0))
    yield counts
    watcher.stop()
    watcher.close()


def test_g63_content_that_is_here_already_leaves_others_their_turn(connect: Any, turns: list[int]) -> None:
    def script(peer: RawPeer) -> None:
        peer.read_until()
        peer.send(content(bytes(1 << 22)))

    client = connect(script)
    client.request("GET", "/")
    response = client.getresponse()
    gevent.idle()  # what goes into the system's buffers is there
    while piece := response.read(4096):
        turns[-1] += len(piece)
    assert sum(turns) == 1 << 22
    assert max(turns) <= 1 << 20


def test_g63_upload_that_never_waits_leaves_others_their_turn(connect: Any, turns: list[int]) -> None:
    def script(peer: RawPeer) -> None:
        peer.read_until()
        peer.read(1 << 22)
        peer.send(content(b""))

    def pieces() -> Iterator[bytes]:
        for _ in range(1 << 10):
            turns[-1] += 4096
            yield bytes(4096)

    client = connect(script)
    client.request("POST", "/", [("Content-Length", str(1 << 22))], pieces())
    assert client.getresponse().read() == b""
    assert sum(turns) == 1 << 22
    assert max(turns) <= 1 << 20


def test_timer_strikes_in_content_that_never_makes_anybody_wait(connect: Any) -> None:
    def script(peer: RawPeer) -> None:
        peer.read_until()
        peer.send(content(bytes(1 << 22)))

    client = connect(script)
    client.request("GET", "/")
    response = client.getresponse()
    read_bytes = 0
    with pytest.raises(gevent.Timeout), gevent.Timeout(0):
        while piece := response.read(4096):
            read_bytes += len(piece)
    assert read_bytes <= 1 << 21
    with pytest.raises(HttpError):
        client.request("GET", "/")


@pytest.mark.parametrize(("own", "argument"), [(0.05, -1), (None, 0.05), (30, 0.05), (0.05, -7)])
def test_g66_timeout_is_the_clients_or_the_calls(connect: Any, own: float | None, argument: float) -> None:
    client = connect(RawPeer.read_to_end, timeout=own)
    client.request("GET", "/")
    with pytest.raises(Timeout) as caught:
        client.getresponse(timeout=argument)
    assert caught.value.phase == "read"


def test_g66_zero_does_not_wait(connect: Any) -> None:
    client = connect(RawPeer.read_to_end, timeout=None)
    client.request("GET", "/")
    with pytest.raises(Timeout):
        client.getresponse(0)


@pytest.mark.parametrize(("own", "argument"), [(0.01, None), (None, None), (None, -1), (None, -7)])
def test_g66_none_waits_for_ever(connect: Any, own: float | None, argument: float | None) -> None:
    client = connect(RawPeer.read_to_end, timeout=own)
    client.request("GET", "/")
    waiting = gevent.spawn(client.getresponse, argument)
    assert not waiting.join(0.1) and not waiting.ready()
    waiting.kill()


@pytest.mark.parametrize(("argument", "error"), [(float("nan"), ValueError), ("1", TypeError)])
def test_g66_what_is_no_time_is_refused(connect: Any, argument: Any, error: type[Exception]) -> None:
    client = connect(replies(content(b"body")))
    client.request("GET", "/")
    with pytest.raises(error):
        client.getresponse(argument)
    assert client.getresponse().read() == b"body"


def test_g66_getresponse_may_be_called_again_after_a_timeout(connect: Any, say: Any) -> None:
    go_on = Event()

    def script(peer: RawPeer) -> None:
        peer.read_until()
        say(peer, b"HTTP/1.1 200 OK\r\nConte")
        go_on.wait(10)
        say(peer, b"nt-Length: 4\r\n\r\nbody")

    client = connect(script)
    request = client.request("GET", "/")
    for _ in range(3):
        with pytest.raises(Timeout):
            client.getresponse(0.01)
    go_on.set()
    response = client.getresponse()
    assert (response.request, response.read()) == (request, b"body")


def test_server_that_drips_does_not_prolong_the_wait_for_a_head(connect: Any) -> None:
    def script(peer: RawPeer) -> None:
        peer.read_until()
        peer.send(b"HTTP/1.1 200 OK\r\nA: ")
        while True:
            peer.send(b"a")
            gevent.idle()

    client = connect(script)
    client.request("GET", "/")
    with pytest.raises(Timeout):
        client.getresponse(0.1)


def test_s21_g69_reads_time_out_and_lose_nothing(connect: Any, say: Any) -> None:
    go_on = Event()

    def script(peer: RawPeer) -> None:
        peer.read_until()
        say(peer, b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nfoo")
        go_on.wait(10)
        say(peer, b"bar")

    client = connect(script, timeout=0.05)
    client.request("GET", "/")
    response = client.getresponse()
    for _ in range(2):
        with pytest.raises(Timeout):
            response.read()
    go_on.set()
    assert response.read() == b"foobar"


# what goes wrong


def test_g23_head_that_is_not_http_is_an_http_error(ask: Any) -> None:
    with pytest.raises(HttpError) as caught:
        ask(b"foo\r\n\r\n")
    assert isinstance(caught.value, Exception)
    assert isinstance(caught.value, Error)


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nfoo\r\nxyz\r\n\r\n", id="chunk"),
        pytest.param(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nfoo", id="cut chunk"),
        pytest.param(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nfoo\r\n0\r\n", id="cut trailers"),
        pytest.param(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nfoo", id="cut content"),
    ],
)
def test_g23_body_that_breaks_never_reads_as_complete(ask: Any, answer: bytes) -> None:
    response = ask(answer)
    for _ in range(2):
        with pytest.raises(HttpError):
            response.read()
    assert response.read(3) == b"foo"
    assert response.trailers == []


def test_what_came_before_a_break_can_be_read(ask: Any) -> None:
    response = ask(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nfoo")
    assert response.read(3) == b"foo"
    with pytest.raises(IncompleteMessage, match="received 3 bytes, expected 5") as first:
        response.read(1)
    with pytest.raises(IncompleteMessage) as second:
        response.read(1)
    assert first.value is not second.value
    assert first.value.__cause__ is second.value.__cause__ is not None


def test_s18_data_comes_before_the_error(ask: Any) -> None:
    response = ask(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nfoo")
    got = b""
    with pytest.raises(IncompleteMessage):
        while piece := response.read1():
            got += piece
    assert got == b"foo"


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"HTTP/1.1 200 OK\r\nConte", id="half a head"),
        pytest.param(b"HTTP/1.1 100 Continue\r\n\r\n", id="informational only"),
    ],
)
def test_end_before_a_response_names_the_request(ask: Any, answer: bytes) -> None:
    with pytest.raises(IncompleteMessage) as caught:
        ask(answer)
    (unanswered,) = caught.value.unanswered
    assert (unanswered.method, unanswered.url) == ("GET", "/")
    assert not caught.value.retryable


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(b"HTTP/1.1 099 Low\r\n\r\n", id="status"),
        pytest.param(b"HTTP/2.0 200 OK\r\n\r\n", id="version"),
        pytest.param(b"\x16\x03\x01\x02\x00\x01", id="tls"),
        pytest.param(b"HTTP/1.1 200 OK\r\nX Y: 1\r\n\r\n", id="field name"),
        pytest.param(b"HTTP/1.1 200 OK\r\nX: a\0b\r\n\r\n", id="NUL"),
        pytest.param(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n", id="two lengths"),
        pytest.param(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n", id="coding"),
    ],
)
def test_head_that_is_refused_says_so_and_the_connection_is_unusable(connect: Any, say: Any, answer: bytes) -> None:
    def script(peer: RawPeer) -> None:
        peer.read_until()
        say(peer, answer)

    client = connect(script)
    client.request("GET", "/")
    for _ in range(2):
        with pytest.raises(RemoteProtocolError):
            client.getresponse()
    with pytest.raises(HttpError, match="connect again"):
        client.request("GET", "/")
    assert not client.connected


@pytest.mark.parametrize("size", [70_000, 1_000_000])
def test_s23_head_that_is_too_large_is_refused(connect: Any, say: Any, size: int) -> None:
    def script(peer: RawPeer) -> None:
        peer.read_until()
        peer.send(b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 10_000)  # a little less than what is too large
        say(peer, b"X: y\r\n" * (size // 6 - 10_000) + b"\r\n")

    client = connect(script)
    client.request("GET", "/")
    with pytest.raises((FieldsTooLarge, RemoteProtocolError)):
        client.getresponse()


def test_reset_is_a_transport_error_that_names_the_request(connect: Any) -> None:
    def script(peer: RawPeer) -> None:
        peer.read_until()
        peer.reset()

    client = connect(script)
    request = client.request("GET", "/")
    with pytest.raises(TransportError) as caught:
        client.getresponse()
    assert isinstance(caught.value, OSError)
    assert caught.value.unanswered == [request]
    with pytest.raises(HttpError):
        client.request("GET", "/")


def test_reset_in_a_body_without_length_is_no_end(connect: Any) -> None:
    def script(peer: RawPeer) -> None:
        peer.read_until()
        peer.send(b"HTTP/1.1 200 OK\r\n\r\nfoo")
        read.wait(10)
        peer.reset()

    read = Event()
    client = connect(script)
    client.request("GET", "/")
    response = client.getresponse()
    assert response.read(3) == b"foo"
    read.set()
    with pytest.raises(TransportError):
        response.read()


# close


def test_close_of_a_response_reads_a_short_rest(connect: Any, say: Any) -> None:
    def script(peer: RawPeer) -> None:
        for body in (b"x" * 1000, b"next"):
            peer.read_until()
            say(peer, content(body))

    client = connect(script)
    client.request("GET", "/")
    response = client.getresponse()
    response.close()
    response.close()
    client.request("GET", "/")
    assert client.getresponse().read() == b"next"


def test_close_of_a_response_gives_up_a_long_rest(connect: Any) -> None:
    def script(peer: RawPeer) -> None:
        peer.read_until()
        peer.send(content(b"x" * 10_000_000))

    client = connect(script)
    client.request("GET", "/")
    response = client.getresponse()
    response.close()
    with pytest.raises(HttpError, match="closed before its end"):
        client.request("GET", "/")
    with pytest.raises(HttpError):
        response.read()
    assert not client.connected


def test_close_of_a_response_gives_up_a_rest_that_does_not_come(
    connect: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def script(peer: RawPeer) -> None:
        peer.read_until()
        peer.send(content(b"x" * 10)[:-1])
        peer.read_to_end()

    client = connect(script)
    timeouts = client.protocol.connection._timeouts
    monkeypatch.setattr(client.protocol.connection, "_timeouts", replace(timeouts, drain=0.02))
    client.request("GET", "/")
    client.getresponse().close()
    with pytest.raises(HttpError, match="closed before its end"):
        client.request("GET", "/")


def test_collecting_garbage_of_a_text_stream_does_not_touch_the_connection(connect: Any) -> None:
    def script(peer: RawPeer) -> None:
        for _ in range(2):
            peer.read_until()
            peer.send(content(b"text"))

    client = connect(script)
    client.request("GET", "/")
    assert client.getresponse().text_stream().read() == "text"
    client.request("GET", "/")
    assert client.getresponse().read() == b"text"
