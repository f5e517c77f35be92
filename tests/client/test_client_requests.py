"""What a client puts on the wire for what a user asks, and what it refuses before a byte is sent."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from gruvihttp import HttpClient, HttpError, HttpProtocol, HttpRequest, __version__
from gruvihttp.testing import RawPeer, replies

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

Act = Callable[[HttpClient], object]


def parts(message: bytes) -> tuple[bytes, dict[bytes, bytes], bytes]:
    """Start line, fields by lower-case name, and all that follows the head."""
    head, _, content = message.partition(b"\r\n\r\n")
    start_line, *lines = head.split(b"\r\n")
    fields = {name.lower(): value for name, value in [line.split(b": ", 1) for line in lines]}
    assert len(fields) == len(lines), "a field was sent twice"
    return start_line, fields, content


def sent(wire: Any, method: str = "POST", *, version: str = "1.1", **request: Any) -> tuple[dict[bytes, bytes], bytes]:
    """Fields and body of one request."""
    _, fields, content = parts(wire(lambda client: client.request(method, "/", **request), version=version))
    return fields, content


def refuses(connect: Any, error: type[Exception], act: Act, match: str | None = None) -> None:
    """`act` raises, nothing is sent, and the client works afterwards."""
    client = connect(replies(OK))
    peer_address = client.transport.get_extra_info("peername")
    with pytest.raises(error, match=match):
        act(client)
    client.request("GET", "/after")
    assert client.getresponse().read() == b"ok"
    assert client.transport.get_extra_info("peername") == peer_address


def heard_only(serve: Any, error: type[Exception], act: Act, match: str | None = None) -> None:
    """As `refuses`, and looks at what the server heard."""
    with serve(replies(OK)) as peer, HttpClient(timeout=10) as client:
        client.connect(peer.address)
        with pytest.raises(error, match=match) as caught:
            act(client)
        assert type(caught.value) is error
        client.request("GET", "/after")
        assert client.getresponse().read() == b"ok"
        assert peer.received.startswith(b"GET /after HTTP/1.1\r\n")


# versions and what goes into every request


def test_g08_requests_are_http_1_1_with_host_by_default(wire: Any) -> None:
    heard = wire(lambda client: client.request("GET", "/index?x=1"))
    start_line, fields, content = parts(heard)
    assert start_line == b"GET /index?x=1 HTTP/1.1"
    assert heard.split(b"\r\n")[1].startswith(b"Host: 127.0.0.1:")
    assert (set(fields), content) == ({b"host", b"user-agent"}, b"")


def test_g07_version_1_0_goes_on_the_request_line_without_chunked_and_te(wire: Any) -> None:
    heard = wire(lambda client: client.request("POST", "/", body="x"), version="1.0")
    start_line, fields, content = parts(heard)
    assert (start_line, content) == (b"POST / HTTP/1.0", b"x")
    assert fields[b"content-length"] == b"1"
    assert not {b"te", b"transfer-encoding"} & set(fields)


def test_g10_version_1_0_asks_to_keep_the_connection(wire: Any) -> None:
    fields, _ = sent(wire, "GET", version="1.0")
    assert fields[b"connection"] == b"keep-alive"


def test_s07_user_agent_is_the_identifier(wire: Any) -> None:
    fields, _ = sent(wire, "GET")
    assert fields[b"user-agent"] == f"gruvihttp/{__version__}".encode()


def test_s07_user_agent_of_the_user_wins(wire: Any) -> None:
    heard = wire(lambda client: client.request("GET", "/", headers=[("user-agent", "mine")]))
    assert heard.lower().count(b"user-agent:") == 1
    assert b"user-agent: mine\r\n" in heard


def test_s07_identifier_is_a_class_attribute_to_override(
    wire: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(HttpProtocol, "identifier", "other/1")
    assert sent(wire, "GET")[0][b"user-agent"] == b"other/1"


def test_s06_host_of_the_user_wins(wire: Any) -> None:
    heard = wire(lambda client: client.request("GET", "/", headers=[("X-First", "1"), ("host", "example.com")]))
    assert heard.startswith(b"GET / HTTP/1.1\r\nhost: example.com\r\n")
    assert heard.lower().count(b"\r\nhost:") == 1


def test_host_twice_is_refused(serve: Any) -> None:
    heard_only(serve, ValueError, lambda c: c.request("GET", "/", [("Host", "a"), ("host", "a")]), "Host")


@pytest.mark.parametrize(
    ("method", "url", "host"),
    [
        pytest.param("GET", "http://example.com:81/x", b"example.com:81", id="absolute"),
        pytest.param("GET", "http://example.com", b"example.com", id="absolute without path"),
        pytest.param("CONNECT", "example.com:443", b"example.com:443", id="connect"),
    ],
)
def test_host_names_the_authority_of_the_target(wire: Any, method: str, url: str, host: bytes) -> None:
    start_line, fields, _ = parts(wire(lambda client: client.request(method, url)))
    assert start_line == f"{method} {url} HTTP/1.1".encode()
    assert fields[b"host"] == host


# headers


@pytest.mark.parametrize("case", [str.lower, str.upper, str.title], ids=["lower", "upper", "title"])
@pytest.mark.parametrize(
    "name",
    [
        "connection",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailers",
        "transfer-encoding",
        "upgrade",
    ],
)
def test_g12_hop_by_hop_header_is_refused_by_name(connect: Any, name: str, case: Callable[[str], str]) -> None:
    refuses(connect, ValueError, lambda c: c.request("GET", "/", headers=[(case(name), "x")]), f"(?i){name}")


def test_g12_nothing_was_sent_for_a_refused_header(serve: Any) -> None:
    heard_only(serve, ValueError, lambda c: c.request("GET", "/", headers=[("A", "1"), ("Upgrade", "x")]), "Upgrade")


def test_g12_trailer_is_allowed(wire: Any) -> None:
    assert sent(wire, body=[b"x"], headers=[("Trailer", "X-Sum")])[0][b"trailer"] == b"X-Sum"


def test_g13_our_own_client_uses_hop_by_hop_headers_where_needed(wire: Any) -> None:
    assert sent(wire, body=[b"x"])[0][b"transfer-encoding"] == b"chunked"


@pytest.mark.parametrize(
    "act",
    [
        pytest.param(lambda c: c.request(b"GET", "/"), id="method"),
        pytest.param(lambda c: c.request("GET", b"/"), id="url"),
        pytest.param(lambda c: c.request("GET", "/", headers=[(b"X-A", "1")]), id="name"),
        pytest.param(lambda c: c.request("GET", "/", headers=[("X-A", b"1")]), id="value"),
        pytest.param(lambda c: c.request("GET", "/", headers=[("X-A", 1)]), id="number as value"),
        pytest.param(lambda c: c.request("GET", "/", headers=[("X-A", None)]), id="None as value"),
        pytest.param(lambda c: c.request("GET", "/", headers=["X-A: 1"]), id="line instead of pair"),
        pytest.param(lambda c: c.request("GET", "/", headers=[("X-A",)]), id="one instead of two"),
        pytest.param(lambda c: c.request("GET", "/", headers={"X-A": "1"}), id="dict"),
        pytest.param(lambda c: c.request(None, "/"), id="no method"),
        pytest.param(lambda c: c.request("GET", None), id="no url"),
    ],
)
def test_g14_what_is_not_text_is_refused(serve: Any, act: Act) -> None:
    heard_only(serve, TypeError, act)


def test_g15_latin_1_goes_out_as_one_byte(wire: Any) -> None:
    assert sent(wire, "GET", headers=[("X-A", "é")])[0][b"x-a"] == b"\xe9"


def test_g15_what_latin_1_cannot_express_is_refused(serve: Any) -> None:
    heard_only(serve, UnicodeEncodeError, lambda c: c.request("GET", "/", headers=[("X-A", "€")]))


def test_g17_encoded_words_pass_unchanged(wire: Any) -> None:
    assert sent(wire, "GET", headers=[("X-A", "=?utf-8?q?=E2=82=AC?=")])[0][b"x-a"] == b"=?utf-8?q?=E2=82=AC?="


@pytest.mark.parametrize("value", ["a\r\nB: c", "a\nb", "a\rb", "a\0b", "a\x1fb", "a\x7fb"])
def test_control_characters_in_a_value_are_refused(serve: Any, value: str) -> None:
    heard_only(serve, ValueError, lambda c: c.request("GET", "/", headers=[("X-A", value)]), "X-A")


@pytest.mark.parametrize("name", ["", "X A", "X:", "X\r\n", "X\0", "é", "(x)"])
def test_name_that_is_no_token_is_refused(serve: Any, name: str) -> None:
    heard_only(serve, ValueError, lambda c: c.request("GET", "/", headers=[(name, "x")]))


def test_g27_list_of_the_caller_is_left_alone(wire: Any) -> None:
    headers = [("Content-Type", "text/plain"), ("X-A", "1")]
    before = list(headers)
    wire(lambda client: [client.request("GET", "/", headers), client.request("POST", "/", headers, "x")])
    assert headers == before


def test_headers_that_change_between_two_requests_are_not_remembered(wire: Any) -> None:
    headers = [("X-A", "1")]

    def act(client: HttpClient) -> None:
        client.request("GET", "/", headers)
        headers[0] = ("X-A", "2")
        client.request("GET", "/", headers)
        headers.append(("X-B", "3"))
        client.request("GET", "/", headers)
        client.request("GET", "/")

    found = [re.findall(rb"X-.: .", head) for head in wire(act).split(b"\r\n\r\n")]
    assert found == [[b"X-A: 1"], [b"X-A: 2"], [b"X-A: 2", b"X-B: 3"], [], []]


def test_pairs_that_change_in_place_are_not_remembered(wire: Any) -> None:
    headers: Any = [["X-A", "1"]]

    def act(client: HttpClient) -> None:
        client.request("GET", "/", headers)
        headers[0][1] = "2"
        client.request("GET", "/", headers)

    assert re.findall(rb"X-A: .", wire(act)) == [b"X-A: 1", b"X-A: 2"]


def test_same_headers_reach_the_wire_each_time(wire: Any) -> None:
    headers = [("X-A", "1"), ("X-B", "2")]
    heard = wire(lambda client: [client.request("GET", "/", headers) for _ in range(2)])
    first, second, rest = heard.split(b"\r\n\r\n")
    assert (first, rest) == (second, b"")
    assert b"X-A: 1\r\nX-B: 2" in first


def test_g52_default_list_is_never_changed(wire: Any) -> None:
    wire(lambda client: [client.request("POST", "/", body="x"), client.request("GET", "/")])
    assert HttpProtocol.request.__defaults__ == ([], "")
    assert HttpClient.request.__defaults__ == ([], "")


# method and url


@pytest.mark.parametrize("method", ["GET", "get", "M-SEARCH", "X!#$%&'*+-.^_`|~9"])
def test_g53_method_is_sent_verbatim(wire: Any, method: str) -> None:
    assert wire(lambda client: client.request(method, "/")).startswith(method.encode() + b" / HTTP/1.1\r\n")


@pytest.mark.parametrize("url", ["/", "/a%20b?c=d&e", "*", "//x/y", "http://a/b", "/[x]|"])
def test_g53_url_is_sent_verbatim(wire: Any, url: str) -> None:
    assert wire(lambda client: client.request("OPTIONS", url)).startswith(b"OPTIONS " + url.encode() + b" HTTP/1.1\r\n")


@pytest.mark.parametrize("method", ["", "G T", "GET\r\n", "GET\0", "GÉT", "€", "a:b"])
def test_g53_method_that_is_no_token_is_refused(serve: Any, method: str) -> None:
    heard_only(serve, ValueError, lambda c: c.request(method, "/"))


@pytest.mark.parametrize("url", ["", " ", "/a b", "/\r\nX: y", "/\n", "/\0", "/\x7f", "/é", "/€", "/\t"])
def test_g53_url_with_other_than_visible_ascii_is_refused(serve: Any, url: str) -> None:
    heard_only(serve, ValueError, lambda c: c.request("GET", url))


# complete bodies


@pytest.mark.parametrize(
    "body",
    [b"hello", bytearray(b"hello"), memoryview(b"hello"), memoryview(b"h.e.l.l.o.")[::2], "hello"],
    ids=["bytes", "bytearray", "memoryview", "memoryview with gaps", "str"],
)
def test_g18_g54_body_of_bytes_or_str_has_a_length(wire: Any, body: Any) -> None:
    fields, content = sent(wire, body=body)
    assert content == b"hello"
    assert fields[b"content-length"] == b"5"
    assert b"transfer-encoding" not in fields


def test_memoryview_of_wide_items_is_counted_in_bytes(wire: Any) -> None:
    fields, content = sent(wire, body=memoryview(b"abcdefgh").cast("I"))
    assert (fields[b"content-length"], content) == (b"8", b"abcdefgh")


@pytest.mark.parametrize(
    "content_type",
    [
        "text/plain; charset=utf-8",
        'text/plain; charset="UTF-8"',
        "text/plain; Charset=utf-8",
        "text/plain;CHARSET=UTF-8",
        "text/plain; format=flowed; charset=utf-8",
        'text/plain; x="a;charset=latin-1"; charset=utf-8',
    ],
)
def test_g19_str_is_encoded_with_the_charset_of_content_type(wire: Any, content_type: str) -> None:
    fields, content = sent(wire, headers=[("Content-Type", content_type)], body="€")
    assert (fields[b"content-length"], content) == (b"3", b"\xe2\x82\xac")


@pytest.mark.parametrize("headers", [[], [("Content-Type", "text/plain")]], ids=["no type", "no charset"])
def test_g20_str_is_latin_1_by_default(wire: Any, headers: list[tuple[str, str]]) -> None:
    fields, content = sent(wire, headers=headers, body="é")
    assert (fields[b"content-length"], content) == (b"1", b"\xe9")


def test_g21_str_that_cannot_be_encoded_is_refused(serve: Any) -> None:
    heard_only(serve, UnicodeEncodeError, lambda c: c.request("POST", "/", body="€"))


def test_unknown_charset_is_refused(serve: Any) -> None:
    act = lambda c: c.request("POST", "/", [("Content-Type", "text/plain; charset=klingon")], "x")  # noqa: E731
    heard_only(serve, ValueError, act, "klingon")


def test_g21_first_piece_that_cannot_be_encoded_is_refused_like_a_whole_body(serve: Any) -> None:
    heard_only(serve, UnicodeEncodeError, lambda c: c.request("POST", "/", body=["€"]))


def test_g21_failure_in_the_middle_of_an_iterable_makes_the_connection_unusable(connect: Any) -> None:
    client = connect(RawPeer.read_to_end)
    with pytest.raises(UnicodeEncodeError):
        client.request("POST", "/", body=["abc", "€"])
    with pytest.raises(HttpError, match="connect again"):
        client.request("GET", "/")
    with pytest.raises(RuntimeError):
        client.getresponse()


def test_error_of_an_iterable_passes_and_makes_the_connection_unusable(connect: Any) -> None:
    def body() -> Iterator[bytes]:
        yield b"abc"
        raise ZeroDivisionError

    client = connect(RawPeer.read_to_end)
    with pytest.raises(ZeroDivisionError):
        client.request("POST", "/", body=body())
    with pytest.raises(HttpError, match="ZeroDivisionError"):
        client.request("GET", "/")


def test_error_of_an_iterable_before_its_first_piece_costs_nothing(serve: Any) -> None:
    def body() -> Iterator[bytes]:
        raise ZeroDivisionError
        yield b"abc"

    heard_only(serve, ZeroDivisionError, lambda c: c.request("POST", "/", body=body()))


@pytest.mark.parametrize("method", ["GET", "HEAD", "DELETE", "OPTIONS", "SEARCH"])
def test_g58_empty_body_has_neither_length_nor_coding(wire: Any, method: str) -> None:
    fields, content = sent(wire, method)
    assert (set(fields), content) == ({b"host", b"user-agent"}, b"")


@pytest.mark.parametrize("body", ["", b"", bytearray(), memoryview(b"")], ids=lambda body: type(body).__name__)
@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH"])
def test_g58_empty_body_of_a_method_with_content_says_so(wire: Any, method: str, body: Any) -> None:
    fields, content = sent(wire, method, body=body)
    assert (fields[b"content-length"], content) == (b"0", b"")


@pytest.mark.parametrize("body", [b"", b"1234", b"123456", ""], ids=["none", "too few", "too many", "default"])
def test_g57_length_that_a_complete_body_belies_is_refused(serve: Any, body: Any) -> None:
    heard_only(serve, RuntimeError, lambda c: c.request("POST", "/", [("Content-Length", "5")], body), "Content-Length")


def test_length_that_a_complete_body_has_is_not_repeated(wire: Any) -> None:
    heard = wire(lambda client: client.request("POST", "/", [("content-length", "5")], b"hello"))
    assert heard.lower().count(b"content-length") == 1
    assert heard.endswith(b"\r\n\r\nhello")


@pytest.mark.parametrize("value", ["-1", "+5", "5 ", "1_0", "0x5", "", "5, 5", "٥"])
def test_length_that_is_no_number_is_refused(serve: Any, value: str) -> None:
    error = UnicodeEncodeError if value == "٥" else ValueError
    heard_only(serve, error, lambda c: c.request("POST", "/", [("Content-Length", value)], b"hello"))


# bodies in pieces


class Upload(io.RawIOBase):
    """A file that remembers how much was read at a time."""

    def __init__(self, content: bytes) -> None:
        self.rest = content
        self.sizes: list[int] = []

    def read(self, size: int = -1) -> bytes:
        self.sizes.append(size)
        piece, self.rest = self.rest[:size], self.rest[size:]
        return piece


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(lambda: io.BytesIO(b"foobar"), id="binary file"),
        pytest.param(lambda: io.StringIO("foobar"), id="text file"),
        pytest.param(lambda: Upload(b"foobar"), id="object with read"),
        pytest.param(lambda: [b"foo", "bar"], id="list of both"),
        pytest.param(lambda: (b"foo", b"bar"), id="tuple"),
        pytest.param(lambda: (piece for piece in ["foo", b"", "", b"bar"]), id="generator with empty pieces"),
        pytest.param(lambda: iter([bytearray(b"foo"), memoryview(b"bar")]), id="iterator of buffers"),
    ],
)
def test_g05_g55_g56_body_in_pieces_is_chunked(wire: Any, body: Callable[[], Any]) -> None:
    fields, content = sent(wire, body=body())
    assert fields[b"transfer-encoding"] == b"chunked"
    assert b"content-length" not in fields
    assert re.sub(rb"[0-9a-f]+\r\n(\w*)\r\n", rb"\1", content) == b"foobar"
    assert content.endswith(b"\r\n0\r\n\r\n")


def test_g05_empty_iterable_is_an_empty_chunked_body(wire: Any) -> None:
    assert sent(wire, body=[])[1] == b"0\r\n\r\n"
    assert sent(wire, body=[b"", ""])[1] == b"0\r\n\r\n"


def test_g55_file_is_read_piecewise(wire: Any) -> None:
    upload = Upload(b"x" * 300_000)
    fields, content = sent(wire, body=upload)
    assert set(upload.sizes) == {65536}
    assert content.count(b"x") == 300_000


def test_g55_text_file_is_encoded_by_charset_across_pieces(wire: Any) -> None:
    headers = [("Content-Type", "text/plain; charset=utf-16")]
    _, content = sent(wire, headers=headers, body=["a", "b"])
    assert b"".join(re.findall(rb"\r\n(.+?)\r\n", b"\r\n" + content, re.DOTALL)[0::2])
    chunks = content.split(b"\r\n")
    assert b"".join(chunks[1::2]) == "ab".encode("utf-16")  # one mark at the start, not one in each piece


def test_charset_with_a_state_is_brought_back_to_its_start(wire: Any) -> None:
    headers = [("Content-Type", "text/plain; charset=iso-2022-jp")]
    _, content = sent(wire, headers=headers, body=["あ", "い"])
    assert b"".join(content.split(b"\r\n")[1::2]) == "あい".encode("iso-2022-jp")


def test_g56_generator_is_pulled_lazily(connect: Any) -> None:
    pulled: list[int] = []

    def body() -> Iterator[bytes]:
        for number in range(3):
            pulled.append(number)
            yield b"%d" % number

    generator = body()
    client = connect(replies(OK, after=b"0\r\n\r\n"))
    assert pulled == []
    client.request("POST", "/", body=generator)
    assert pulled == [0, 1, 2]


def test_first_piece_leaves_with_the_head(serve: Any, connect: Any) -> None:
    heard: list[bytes] = []

    def script(peer: RawPeer) -> None:
        heard.append(peer.channel.receive())

    client = connect(script)
    client.request("POST", "/", body=[b"first"])
    with pytest.raises(HttpError):
        client.getresponse()
    assert b"\r\n\r\n5\r\nfirst\r\n" in heard[0]


@pytest.mark.parametrize("body", [b"hello", [b"hello"]], ids=["complete", "pieces"])
def test_g57_own_length_switches_chunked_off(wire: Any, body: Any) -> None:
    fields, content = sent(wire, headers=[("Content-Length", "5")], body=body)
    assert b"transfer-encoding" not in fields
    assert (fields[b"content-length"], content) == (b"5", b"hello")


@pytest.mark.parametrize(
    ("body", "rest"), [([b"foo", b"ba", b"rr"], b"fooba"), ([b"foo", b"bar"], b"foo")], ids=["after", "across"]
)
def test_g57_too_much_is_refused_and_never_on_the_wire(wire: Any, body: list[bytes], rest: bytes) -> None:
    def act(client: HttpClient) -> None:
        with pytest.raises(RuntimeError, match="more"):
            client.request("POST", "/", [("Content-Length", "5")], body)
        with pytest.raises(HttpError):
            client.request("GET", "/")

    assert parts(wire(act))[2] in (rest, b"")  # the connection is reset, which may take what was sent with it


def test_g57_too_little_is_refused(connect: Any) -> None:
    client = connect(RawPeer.read_to_end)
    with pytest.raises(RuntimeError, match="less"):
        client.request("POST", "/", [("Content-Length", "5")], [b"foo"])
    with pytest.raises(HttpError):
        client.request("GET", "/")


@pytest.mark.parametrize("body", [5, 5.0, object(), True], ids=lambda body: type(body).__name__)
def test_g60_other_types_of_body_are_refused(serve: Any, body: Any) -> None:
    heard_only(serve, TypeError, lambda c: c.request("POST", "/", body=body))


@pytest.mark.parametrize("body", [[1], ["a", 2], [None], range(3)], ids=repr)
def test_pieces_of_other_types_are_refused(connect: Any, body: Any) -> None:
    client = connect(RawPeer.read_to_end)
    with pytest.raises(TypeError, match="piece"):
        client.request("POST", "/", body=body)


def test_g61_unknown_size_in_http_1_0_is_refused(serve: Any) -> None:
    with serve(lambda peer: peer.send(OK.replace(b"1.1", b"1.0")) or peer.read_to_end()) as peer:
        with HttpClient(10, version="1.0") as client:
            client.connect(peer.address)
            for body in ([b"x"], None, io.BytesIO(b"x")):
                with pytest.raises(ValueError, match="Content-Length"):
                    client.request("POST", "/", body=body)
        peer.wait()
        assert peer.received == b""


def test_g61_known_size_in_http_1_0_is_sent(wire: Any) -> None:
    headers = [("Content-Length", "3")]
    assert sent(wire, version="1.0", headers=headers, body=[b"a", b"bc"])[1] == b"abc"


@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param(("POST", "/", b"data"), id="bytes as headers"),
        pytest.param(("POST", "/", "data", {}), id="str as headers"),
        pytest.param(("POST", "/", [], {"A": "b"}), id="dict as body"),
        pytest.param(("POST", "/", [], [("A", "b")]), id="pairs as body"),
        pytest.param(("POST", "/", b"", [("A", "b")]), id="swapped, empty body"),
        pytest.param(("POST", "/", "", {}), id="swapped, both empty"),
    ],
)
def test_arguments_in_the_order_of_http_client_are_refused_with_the_fix(serve: Any, arguments: tuple[Any, ...]) -> None:
    heard_only(serve, TypeError, lambda c: c.request(*arguments), r"body=\.\.\., headers=\.\.\.")


# HttpRequest


@pytest.mark.parametrize("body", ["", b"x", [b"x"], None], ids=repr)
def test_g24_g62_request_returns_a_request_for_each_kind_of_body(connect: Any, body: Any) -> None:
    client = connect(RawPeer.read_to_end)
    request = client.request("POST", "/x", [("X-A", "é")], body)
    assert isinstance(request, HttpRequest)
    assert (request.method, request.url) == ("POST", "/x")
    assert ("X-A", "é") in request.headers
    assert request.protocol is client.protocol
    assert request.transport is client.transport
    assert repr(request) == "<HttpRequest POST /x>"


def test_g25_request_can_be_made_by_hand(connect: Any) -> None:
    client = connect(replies(OK, after=b"0\r\n\r\n"))
    request = HttpRequest(client.transport, client.protocol)
    assert repr(request) == "<HttpRequest not started>"
    request.start_request("GET", "/")
    request.end_request()
    response = client.getresponse()
    assert (response.read(), response.request) == (b"ok", request)


@pytest.mark.parametrize(
    ("headers", "hint", "field"),
    [
        pytest.param([], b"hello", b"Content-Length: 5", id="bytes"),
        pytest.param([("Content-Type", "text/plain; charset=utf-8")], "€", b"Content-Length: 3", id="str"),
        pytest.param([("Content-Length", "7")], b"hello", b"Content-Length: 7", id="own length"),
        pytest.param(None, None, b"Transfer-Encoding: chunked", id="none"),
        pytest.param([], [b"a"], b"Transfer-Encoding: chunked", id="iterable"),
        pytest.param([], io.BytesIO(b"x"), b"Transfer-Encoding: chunked", id="file"),
    ],
)
def test_g26_start_request_sends_the_head_only(wire: Any, headers: Any, hint: Any, field: bytes) -> None:
    def act(client: HttpClient) -> None:
        HttpRequest(client.transport, client.protocol).start_request("POST", "/", headers, hint)

    head, _, content = wire(act).partition(b"\r\n\r\n")
    assert field in head.split(b"\r\n")
    assert head.count(b"Content-Length") + head.count(b"Transfer-Encoding") == 1
    assert content == b""


def test_g28_pieces_of_nothing_do_not_end_the_body(wire: Any) -> None:
    def act(client: HttpClient) -> None:
        request = client.request("POST", "/", body=None)
        for piece in (b"", "foo", "", b"", b"bar", memoryview(b"")):
            request.write(piece)
        request.end_request()

    assert parts(wire(act))[2] == b"3\r\nfoo\r\n3\r\nbar\r\n0\r\n\r\n"


PIECES = [b"foo", bytearray(b"foo"), memoryview(b"f.o.o.")[::2], "foo"]


@pytest.mark.parametrize("piece", PIECES, ids=lambda piece: type(piece).__name__)
def test_g18_g28_piece_is_bytes_like_or_str(wire: Any, piece: Any) -> None:
    def act(client: HttpClient) -> None:
        request = client.request("POST", "/", body=None)
        request.write(piece)
        request.end_request()

    assert parts(wire(act))[2] == b"3\r\nfoo\r\n0\r\n\r\n"
    assert sent(wire, body=[piece])[1] == b"3\r\nfoo\r\n0\r\n\r\n"


def test_g28_str_is_encoded_by_charset(wire: Any) -> None:
    def act(client: HttpClient) -> None:
        request = client.request("POST", "/", [("Content-Type", "text/plain; charset=utf-8")], None)
        request.write("€")
        request.end_request()

    assert parts(wire(act))[2] == b"3\r\n\xe2\x82\xac\r\n0\r\n\r\n"


def test_charset_with_a_state_gets_its_end(wire: Any) -> None:
    def act(client: HttpClient) -> None:
        request = client.request("POST", "/", [("Content-Type", "text/plain; charset=iso-2022-jp")], None)
        request.write("\u65e5")
        request.write("\u672c")
        request.end_request()

    chunks = parts(wire(act))[2]
    assert re.sub(rb"[0-9a-f]+\r\n([^\r]*)\r\n", rb"\1", chunks).removesuffix(b"\r\n") == (
        "\u65e5\u672c".encode("iso-2022-jp")
    )


def test_g28_str_that_cannot_be_encoded_leaves_the_request_open(wire: Any) -> None:
    def act(client: HttpClient) -> None:
        request = client.request("POST", "/", body=None)
        with pytest.raises(UnicodeEncodeError):
            request.write("€")
        with pytest.raises(TypeError):
            request.write(5)
        request.write("e")
        request.end_request()

    assert parts(wire(act))[2] == b"1\r\ne\r\n0\r\n\r\n"


def test_g29_more_than_content_length_is_refused_and_never_on_the_wire(wire: Any) -> None:
    def act(client: HttpClient) -> None:
        request = client.request("POST", "/", [("Content-Length", "5")], None)
        request.write(b"foo")
        with pytest.raises(RuntimeError, match="more"):
            request.write(b"bar")
        request.write(b"ba")
        with pytest.raises(RuntimeError, match="more"):
            request.write(b"r")
        request.end_request()
        client.request("GET", "/next")

    assert parts(wire(act))[2].startswith(b"foobaGET /next HTTP/1.1\r\n")


def test_g30_end_of_a_body_with_length_adds_nothing(wire: Any) -> None:
    def act(client: HttpClient) -> None:
        request = client.request("POST", "/", [("Content-Length", "3")], None)
        request.write(b"foo")
        request.end_request()

    assert parts(wire(act))[2] == b"foo"


def test_g30_less_than_announced_is_refused_and_the_connection_unusable(connect: Any) -> None:
    client = connect(RawPeer.read_to_end)
    request = client.request("POST", "/", [("Content-Length", "3")], None)
    request.write(b"fo")
    with pytest.raises(RuntimeError, match="less"):
        request.end_request()
    with pytest.raises(HttpError, match="connect again"):
        client.request("GET", "/")


def test_g31_trailers_without_chunked_are_refused_and_nothing_is_sent(wire: Any) -> None:
    def act(client: HttpClient) -> None:
        request = client.request("POST", "/", [("Content-Length", "3")], None)
        with pytest.raises(RuntimeError, match="chunked"):
            request.end_request([("X", "1")])
        request.write(b"foo")
        request.end_request()

    assert parts(wire(act))[2] == b"foo"


def test_g32_trailers_follow_the_last_chunk(wire: Any) -> None:
    def act(client: HttpClient) -> None:
        request = client.request("POST", "/", body=None)
        request.write(b"foo")
        request.end_request([("X", "1"), ("X-É".replace("É", "E"), "é")])

    assert parts(wire(act))[2] == b"3\r\nfoo\r\n0\r\nX: 1\r\nX-E: \xe9\r\n\r\n"


@pytest.mark.parametrize("name", ["Content-Length", "transfer-encoding", "Host", "Trailer", "Set-Cookie", "TE"])
def test_g32_field_that_may_not_be_a_trailer_is_refused(wire: Any, name: str) -> None:
    def act(client: HttpClient) -> None:
        request = client.request("POST", "/", body=None)
        with pytest.raises(ValueError, match=name):
            request.end_request([("A", "1"), (name, "x")])
        request.end_request([("A", "1")])

    assert parts(wire(act))[2] == b"0\r\nA: 1\r\n\r\n"


@pytest.mark.parametrize(
    ("trailers", "error"),
    [
        ([("X", b"1")], TypeError),
        ([(b"X", "1")], TypeError),
        ({"X": "1"}, TypeError),
        ("X: 1", TypeError),
        ([("X", "€")], UnicodeEncodeError),
        ([("X", "a\r\nb")], ValueError),
        ([("X Y", "a")], ValueError),
    ],
    ids=repr,
)
def test_g32_trailers_are_checked_like_headers(wire: Any, trailers: Any, error: type[Exception]) -> None:
    def act(client: HttpClient) -> None:
        request = client.request("POST", "/", body=None)
        with pytest.raises(error):
            request.end_request(trailers)
        request.end_request()

    assert parts(wire(act))[2] == b"0\r\n\r\n"


def test_g33_request_is_written_by_hand_with_trailers(wire: Any) -> None:
    def act(client: HttpClient) -> None:
        request = client.request("POST", "/", [("Trailer", "X-Sum")], None)
        for piece in (b"one", b"two", "three"):
            request.write(piece)
        request.end_request([("X-Sum", "11")])

    _, fields, content = parts(wire(act))
    assert fields[b"trailer"] == b"X-Sum"
    assert content == b"3\r\none\r\n3\r\ntwo\r\n5\r\nthree\r\n0\r\nX-Sum: 11\r\n\r\n"


def test_g59_nothing_follows_the_head_before_write(serve: Any) -> None:
    heads: list[bytes] = []

    def script(peer: RawPeer) -> None:
        heads.append(peer.read_until())
        assert peer.channel.try_receive() is None
        peer.send(b"HTTP/1.1 103 Early\r\n\r\n")
        peer.read_until(b"0\r\n\r\n")
        peer.send(OK)

    with serve(script) as peer, HttpClient(10) as client:
        client.connect(peer.address)
        got_103: list[Any] = []
        client.protocol.on_informational = lambda request, response: got_103.append(response)
        request = client.request("POST", "/", body=None)
        with pytest.raises(RuntimeError, match="end_request"):
            client.request("GET", "/")
        request.write(b"x")
        request.end_request()
        assert client.getresponse().read() == b"ok"
        assert [response.status for response in got_103] == [103]
        assert b"Transfer-Encoding: chunked" in heads[0]


@pytest.mark.parametrize("call", ["write", "end_request"])
def test_ended_request_takes_no_more(connect: Any, call: str) -> None:
    client = connect(RawPeer.read_to_end)
    arguments = (b"x",) if call == "write" else ()
    request = client.request("POST", "/", body=None)
    request.end_request()
    with pytest.raises(RuntimeError, match="ended"):
        getattr(request, call)(*arguments)
    with pytest.raises(RuntimeError, match="ended"):
        getattr(client.request("GET", "/"), call)(*arguments)
    with pytest.raises(RuntimeError, match="start_request"):
        getattr(HttpRequest(client.transport, client.protocol), call)(*arguments)


def test_request_is_started_only_once(connect: Any) -> None:
    client = connect(RawPeer.read_to_end)
    with pytest.raises(RuntimeError, match="already"):
        client.request("GET", "/").start_request("GET", "/")


def test_small_request_is_one_send(connect: Any) -> None:
    heard: list[bytes] = []

    def script(peer: RawPeer) -> None:
        heard.append(peer.channel.receive())
        peer.send(OK)

    client = connect(script)
    client.request("POST", "/", body=b"x" * 1000)
    assert client.getresponse().read() == b"ok"
    assert heard[0].endswith(b"\r\n\r\n" + b"x" * 1000)
