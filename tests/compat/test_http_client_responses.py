"""Responses over real sockets: the door and the standard library say the same of the same bytes, however they come.

The standard library reads them from memory. Where the door means to differ, it is a test of its own.
"""

from __future__ import annotations

import http.client as stock
import io
from collections.abc import Callable, Iterator
from typing import Any

import gevent
import pytest
from gevent import socket as gevent_socket

from gruvihttp.compat import http_client

GUARD_SECONDS = 10.0

RESPONSES: dict[str, bytes] = {
    "length": b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
    "no reason": b"HTTP/1.1 200\r\nContent-Length: 5\r\n\r\nhello",
    "reason with blanks": b"HTTP/1.1 404 Not  here, really \r\nContent-Length: 0\r\n\r\n",
    "reason beyond ascii": b"HTTP/1.1 200 d\xe9j\xe0\r\nContent-Length: 0\r\n\r\n",
    "until close": b"HTTP/1.1 200 OK\r\nServer: x\r\n\r\none\ntwo\nthree",
    "1.0": b"HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhello",
    "1.0 kept alive": b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 5\r\n\r\nhello",
    "0.9 in a status line": b"HTTP/0.9 200 OK\r\n\r\nhello",
    "close": b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 5\r\n\r\nhello",
    "chunked": (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n1;x\r\n\n\r\na\r\n0123456789\r\n0\r\n\r\n"
    ),
    "chunked with trailers": (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: CHUNKED\r\n\r\n3\r\nabc\r\n0\r\nX-First: 1\r\nX-Second: 2\r\n\r\n"
    ),
    "chunked, large": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1388\r\n" + b"x" * 5000 + b"\r\n0\r\n\r\n",
    "chunked without the last blank line": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n",
    "204": b"HTTP/1.1 204 No Content\r\n\r\n",
    "304 with a length": b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n",
    "101": b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n",
    "after 100": (
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 100 Go on\r\nX: y\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
    ),
    "fields": (
        b"HTTP/1.1 200 OK\r\nX-One:1\r\nx-two:   2\r\nSet-Cookie: a=b\r\nSet-Cookie: c=d\r\nEmpty:\r\nX-Latin: \xe9\r\n"
        b"Content-Type: text/html; charset=utf-8\r\nContent-Length: 0\r\n\r\n"
    ),
    "length, twice": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nok",
    "folded field": b"HTTP/1.1 200 OK\r\nX-Fold: one\r\n two\r\n\tthree\r\nContent-Length: 0\r\n\r\n",
    "bare line feeds": b"HTTP/1.1 200 OK\nX: y\nContent-Length: 5\n\nhello",
    "field without a name": b"HTTP/1.1 200 OK\r\n: value\r\nX: y\r\n\r\nhello",
    "blank before the colon": b"HTTP/1.1 200 OK\r\nX : y\r\nY: z\r\n\r\nhello",
    "line without a colon": b"HTTP/1.1 200 OK\r\nX: y\r\nnonsense\r\nY: z\r\n\r\nhello",
    "negative length": b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\nhello",
    "length that is no number": b"HTTP/1.1 200 OK\r\nContent-Length: five\r\n\r\nhello",
    "identity coding": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: identity\r\n\r\nhello",
    "head without an end": b"HTTP/1.1 200 OK\r\nX: y\r\n",
    "status line without an end": b"HTTP/1.1 200 OK",
    "length that is not kept": b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello",
    "chunk that is cut": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n5\r\nhe",
    "nonsense": b"nonsense\r\n\r\n",
    "status that is no number": b"HTTP/1.1 abc OK\r\n\r\n",
    "another version": b"HTTP/2.0 200 OK\r\n\r\n",
    "nothing": b"",
    "line too long": b"HTTP/1.1 200 OK\r\nX: " + b"y" * 70_000 + b"\r\n\r\n",
    "status line too long": b"HTTP/1.1 200 " + b"y" * 70_000 + b"\r\n\r\n",
    "too many fields": b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 101 + b"\r\n",
    "as many fields as may be": b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 98 + b"Content-Length: 0\r\n\r\n",
}
# too long to be sent byte by byte, and more of the same
LARGE = {"line too long", "status line too long", "chunked, large"}


class Memory:
    """What the standard library needs of a socket."""

    def __init__(self, content: bytes) -> None:
        self._content = content

    def makefile(self, mode: str) -> io.BufferedReader:
        return io.BufferedReader(io.BytesIO(self._content))  # type: ignore[arg-type]


def facts(response: Any, read: Callable[[Any], bytes]) -> object:
    """All that can be told about a response, or the error that it raises."""
    try:
        response.begin()
        names = ("status", "code", "reason", "version", "chunked", "length")
        before = {name: getattr(response, name) for name in names}
        before["items"] = response.msg.items()
        before["payload"] = response.msg.get_payload()
        before["type"] = response.headers.get_content_type()
        before["joined"] = response.getheader("set-cookie")
        return before, read(response), response.isclosed()
    except Exception as exc:  # whichever it is, both must raise it
        return type(exc), getattr(exc, "partial", None)


def piecewise(read_one: Callable[[Any], bytes]) -> Callable[[Any], bytes]:
    return lambda response: b"".join(iter(lambda: read_one(response), b""))


def by_readinto(response: Any) -> bytes:
    target = bytearray(3)
    return bytes(target[: response.readinto(target)])


READERS: dict[str, Callable[[Any], bytes]] = {
    "read": lambda response: bytes(response.read()),
    "read 4": piecewise(lambda response: response.read(4)),
    "readinto": piecewise(by_readinto),
    "read1": piecewise(lambda response: response.read1(4)),
    "readline": piecewise(lambda response: response.readline()),
    "readline 3": piecewise(lambda response: response.readline(3)),
    "lines": lambda response: b"".join(response),
}


@pytest.fixture
def pair() -> Iterator[tuple[Any, Any]]:
    """Two connected sockets of gevent's."""
    ours, theirs = gevent_socket.socketpair()
    with ours, theirs, gevent.Timeout(GUARD_SECONDS):
        yield ours, theirs


def _say(sock: Any, content: bytes, size: int) -> None:
    with sock:
        for start in range(0, len(content), size):
            try:
                sock.sendall(content[start : start + size])
            except OSError:  # the other end has heard enough
                return
            gevent.idle()


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("read", READERS.values(), ids=READERS)
@pytest.mark.parametrize("name", RESPONSES)
def test_door_agrees_with_the_standard_library(name: str, read: Any, method: str) -> None:
    content = RESPONSES[name]
    expected = facts(stock.HTTPResponse(Memory(content), method=method), read)  # type: ignore[arg-type]

    for size in [len(content) + 1] if name in LARGE else [len(content) + 1, 1, 7]:
        ours, theirs = gevent_socket.socketpair()
        speaking = gevent.spawn(_say, theirs, content, size)
        with ours, gevent.Timeout(GUARD_SECONDS):
            response = http_client.HTTPResponse(ours, method=method)
            found = facts(response, read)
            response.close()
        speaking.get()
        assert found == expected, f"in pieces of {size}"


def begun(content: bytes, method: str = "GET") -> Any:
    ours, theirs = gevent_socket.socketpair()
    with ours, theirs:
        theirs.sendall(content)
        theirs.close()
        response = http_client.HTTPResponse(ours, method=method)
        response.begin()
    return response


# -- where the door means to differ ----------------------------------------------------------------------------------


def test_other_informational_responses_are_passed_over() -> None:
    response = begun(b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

    assert (response.status, response.getheader("link"), response.read()) == (200, None, b"ok")


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        pytest.param(b"Content-Length: 2\r\nContent-Length: 3\r\n", stock.HTTPException, id="two lengths"),
        pytest.param(b"Transfer-Encoding: gzip, chunked\r\n", stock.UnknownTransferEncoding, id="two codings"),
        pytest.param(b"Transfer-Encoding: chunked\r\nTransfer-Encoding: x\r\n", stock.UnknownTransferEncoding, id="x"),
    ],
)
def test_response_whose_end_is_anybodys_guess_is_refused(fields: bytes, error: type[Exception]) -> None:
    with pytest.raises(error):
        begun(b"HTTP/1.1 200 OK\r\n" + fields + b"\r\nok")


def test_head_that_is_cut_within_a_field_is_refused() -> None:
    with pytest.raises(stock.IncompleteRead):
        begun(b"HTTP/1.1 200 OK\r\nContent-Length: 1")


@pytest.mark.parametrize(
    "fields",
    [b": nameless\r\n", b"X : y\r\n", b"Transfer-Encoding: chunked\r\nContent-Length: 3\r\n", b"nonsense\r\n"],
)
def test_connection_is_not_used_again_after_a_head_that_the_engine_mistrusts(fields: bytes) -> None:
    response = begun(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n" + fields + b"\r\n0\r\n\r\n")

    assert response.will_close


@pytest.mark.parametrize("line", [b"+5", b"0x5", b" 5", b"5 5", b"-1", b"1_0", b"5\n", b"", b"\xd9\xa5"])
def test_chunk_size_that_is_none_is_refused(line: bytes) -> None:
    response = begun(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + line + b"\r\nhello\r\n0\r\n\r\n")

    with pytest.raises(stock.IncompleteRead):
        response.read()
    assert response.isclosed()


def test_chunk_that_does_not_end_where_it_said_is_refused() -> None:
    response = begun(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhelloXX0\r\n\r\n")

    with pytest.raises(stock.IncompleteRead) as caught:
        response.read()
    assert caught.value.partial == b"hello"


CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
CUT = {
    "no chunk": b"",
    "within a chunk line": b"5",
    "within an extension": b"5;x",
    "no chunk line": b"x\r\nhello",
    "within a chunk": b"5\r\nhel",
    "behind a chunk": b"6\r\nhello\n",
    "behind a chunk and its end": b"6\r\nhello\n\r\n",
    "no end of a chunk": b"6\r\nhello\n0\r\n\r\n",
}


@pytest.mark.parametrize("read", [list, lambda response: response.readlines(), lambda response: response.read()],
                         ids=["iter", "readlines", "read"])  # fmt: skip
@pytest.mark.parametrize("content", CUT.values(), ids=CUT)
def test_chunked_content_that_is_cut_never_ends(content: bytes, read: Any) -> None:
    with pytest.raises(stock.IncompleteRead):
        read(begun(CHUNKED + content))


def test_endless_trailers_are_refused() -> None:
    response = begun(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n" + b"X: y\r\n" * 200)

    with pytest.raises(stock.HTTPException):
        response.read()


# -- what the headers are ---------------------------------------------------------------------------------------------


def test_message_is_made_when_it_is_asked_for_and_kept() -> None:
    response = begun(RESPONSES["fields"])

    assert "headers" not in response.__dict__
    message = response.headers
    assert type(message) is stock.HTTPMessage
    assert response.msg is message is response.headers
    assert (message.defects, message.is_multipart()) == ([], False)


def test_headers_are_none_before_begin(pair: tuple[Any, Any]) -> None:
    response = http_client.HTTPResponse(pair[0])

    assert (response.headers, response.msg, response.status, response.length) == (None, None, "UNKNOWN", "UNKNOWN")
    with pytest.raises(stock.ResponseNotReady):
        response.getheader("x")


def test_replaced_msg_leaves_headers_alone() -> None:
    response = begun(RESPONSES["fields"])
    response.msg = response.reason  # as urllib.request does

    assert (response.msg, response.headers["X-One"]) == ("OK", "1")


def test_debug_level_prints_what_the_standard_library_prints(capsys: pytest.CaptureFixture[str]) -> None:
    content = b"HTTP/1.1 100 Continue\r\nA: b\r\n\r\nHTTP/1.1 200 OK\r\nX: y\r\nContent-Length: 0\r\n\r\n"
    stock.HTTPResponse(Memory(content), debuglevel=1).begin()  # type: ignore[arg-type]
    expected = capsys.readouterr().out

    ours, theirs = gevent_socket.socketpair()
    with ours, theirs:
        theirs.sendall(content)
        http_client.HTTPResponse(ours, debuglevel=1).begin()

    assert capsys.readouterr().out == expected


@pytest.mark.parametrize("module", [http_client, stock], ids=["door", "stock"])
def test_bounds_count_wherever_they_are_set(module: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    many = b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 150 + b"Content-Length: 2\r\n\r\nok"
    with pytest.raises(stock.HTTPException, match="100 headers"):
        begun(many)

    monkeypatch.setattr(module, "_MAXHEADERS", 200)
    assert begun(many).read() == b"ok"
    monkeypatch.setattr(module, "_MAXHEADERS", 10)
    with pytest.raises(stock.HTTPException, match="10 headers"):
        begun(many)
    monkeypatch.setattr(module, "_MAXLINE", 20)
    with pytest.raises(stock.LineTooLong):
        begun(b"HTTP/1.1 200 OK\r\nX: 12345678901234567890\r\n\r\n")


def test_overridden_status_is_honoured() -> None:
    class Response(http_client.HTTPResponse):
        def _read_status(self) -> tuple[str, int, str]:
            return "HTTP/1.1", 201, "Made up"

    ours, theirs = gevent_socket.socketpair()
    with ours, theirs:
        theirs.sendall(b"Content-Length: 2\r\n\r\nok")  # somebody else has read the status line
        response = Response(ours, method="PUT")
        response.begin()
        assert (response.status, response.reason, response.read()) == (201, "Made up", b"ok")


# -- fp ----------------------------------------------------------------------------------------------------------------


def test_fp_yields_the_bytes_of_the_wire() -> None:
    response = begun(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5;x=y\r\nhello\r\n0\r\nX: y\r\n\r\n")

    assert [response.fp.readline(), response._safe_read(5), response._safe_read(2)] == [b"5;x=y\r\n", b"hello", b"\r\n"]
    assert list(iter(response.fp.readline, b"\r\n")) == [b"0\r\n", b"X: y\r\n"]


def test_fp_has_the_socket_where_botocore_looks_for_it(pair: tuple[Any, Any]) -> None:
    ours, _ = pair
    response = http_client.HTTPResponse(ours)

    assert response.fp.raw._sock is ours
    assert response.fileno() == response.fp.raw.fileno() == ours.fileno()


@pytest.mark.parametrize("look", [lambda response: None, lambda response: response.fp.raw], ids=["plain", "with raw"])
def test_response_holds_a_share_of_the_socket(look: Callable[[Any], object], pair: tuple[Any, Any]) -> None:
    ours, theirs = pair
    response = http_client.HTTPResponse(ours)
    look(response)
    ours.close()
    theirs.sendall(RESPONSES["length"])
    response.begin()

    assert response.read() == b"hello"
    assert theirs.recv(1) == b""


@pytest.mark.parametrize(
    "method", ["read", "read1", "readline", "peek"],
)  # fmt: skip
def test_closed_view_cannot_be_read(method: str, pair: tuple[Any, Any]) -> None:
    view = http_client.HTTPResponse(pair[0]).fp
    view.close()

    with pytest.raises(ValueError, match="closed"):
        getattr(view, method)()
    with pytest.raises(ValueError, match="closed"):
        view.readinto(bytearray(1))


def test_read_that_was_interrupted_is_not_resumed_with_a_hole(pair: tuple[Any, Any]) -> None:
    ours, theirs = pair
    theirs.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n5\r\nhe")
    response = http_client.HTTPResponse(ours)
    response.begin()
    reading = gevent.spawn(response.read)
    gevent.idle()
    reading.kill(gevent.Timeout)
    theirs.sendall(b"llo\r\n0\r\n\r\n")

    with pytest.raises(OSError, match="timed out"):
        response.read()


def test_mock_sockets_are_read_through_makefile() -> None:
    response = http_client.HTTPResponse(Memory(RESPONSES["length"]))
    response.begin()

    assert (type(response.fp), response.read()) == (io.BufferedReader, b"hello")
