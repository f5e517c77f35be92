"""Which header sections are a request or a response, as an engine with one stream sees them."""

from __future__ import annotations

from typing import Any

import hpack
import pytest

from gruvihttp.errors import LocalProtocolError
from gruvihttp.limits import Limits
from gruvihttp.sansio import InformationalResponse, Request, Response
from gruvihttp.sansio import frames as f
from gruvihttp.sansio.events import parsed_response
from gruvihttp.sansio.h2events import ExtendedConnect
from gruvihttp.sansio.h2fields import lowercase_headers
from gruvihttp.sansio.h2settings import Settings

Fields = list[tuple[bytes, bytes]]

METHOD = (b":method", b"GET")
SCHEME = (b":scheme", b"https")
AUTHORITY = (b":authority", b"a.example")
PATH = (b":path", b"/")
GET = [METHOD, SCHEME, AUTHORITY, PATH]
HOST = (b"host", b"a.example")


def headers(fields: Fields, *, end: bool = True, stream_id: int = 1) -> bytes:
    flags = f.END_HEADERS | (f.END_STREAM if end else 0)
    return f.frame(f.HEADERS, flags, stream_id, hpack.Encoder().encode(fields))


def changed(name: bytes, value: bytes) -> Fields:
    return [(name, value) if name == field[0] else field for field in GET]


# fields -> what the request's headers are
ACCEPTED: dict[str, tuple[Fields, Fields]] = {
    "plain": (GET, [HOST]),
    "in another order": (GET[::-1], [HOST]),
    "Host besides :authority": ([*GET, (b"x", b"y"), HOST], [(b"x", b"y"), HOST]),
    "Host in capitals": ([*GET, (b"host", b"A.Example")], [(b"host", b"A.Example")]),
    "Host instead of :authority": ([METHOD, SCHEME, PATH, HOST], [HOST]),
    "TE: trailers": ([*GET, (b"te", b"Trailers")], [HOST, (b"te", b"Trailers")]),
    "a cookie": ([*GET, (b"cookie", b"a=1")], [HOST, (b"cookie", b"a=1")]),
    "cookies in pieces": (
        [*GET, (b"x", b"1"), (b"cookie", b"a=1"), (b"y", b"2"), (b"cookie", b"b=2"), (b"cookie", b"c=3")],
        [HOST, (b"x", b"1"), (b"cookie", b"a=1; b=2; c=3"), (b"y", b"2")],
    ),
    "Content-Length of 0": ([*GET, (b"content-length", b"0")], [HOST, (b"content-length", b"0")]),
    "empty value": ([*GET, (b"x", b"")], [HOST, (b"x", b"")]),
    "value beyond ASCII": ([*GET, (b"x", b"\xff \xe4")], [HOST, (b"x", b"\xff \xe4")]),
    "OPTIONS *": ([(b":method", b"OPTIONS"), SCHEME, AUTHORITY, (b":path", b"*")], [HOST]),
}


@pytest.mark.parametrize("row", ACCEPTED)
def test_request_is_accepted(row: str, server: Any) -> None:
    fields, expected = ACCEPTED[row]
    side = server(headers(fields))
    request = side.last(Request)
    assert request.headers == expected
    assert request.headers.raw_items() == expected
    assert request.target == dict(fields)[b":path"]
    assert request.http_version == b"2.0"


MALFORMED: dict[str, Fields] = {
    "CR in a value": [*GET, (b"x", b"a\rb")],
    "LF in a value": [*GET, (b"x", b"a\nb")],
    "NUL in a value": [*GET, (b"x", b"a\0b")],
    "another control character": [*GET, (b"x", b"a\x01b")],
    "blank before a value": [*GET, (b"x", b" a")],
    "tab behind a value": [*GET, (b"x", b"a\t")],
    "HTTP/1 in the path": changed(b":path", b"/ HTTP/1.1\r\nx: y"),
    "blank in a name": [*GET, (b"a b", b"c")],
    "colon in a name": [*GET, (b"a:b", b"c")],
    "DEL in a name": [*GET, (b"a\x7f", b"c")],
    "a name beyond ASCII": [*GET, (b"a\x80", b"c")],
    "an empty name": [*GET, (b"", b"c")],
    "a capital in a name": [*GET, (b"Accept", b"c")],
    "Content-Length twice": [*GET, (b"content-length", b"0"), (b"content-length", b"0")],
    "Content-Length with different values": [*GET, (b"content-length", b"0"), (b"content-length", b"1")],
    "Content-Length +3": [*GET, (b"content-length", b"+3")],
    "Content-Length 0_3": [*GET, (b"content-length", b"0_3")],
    "Content-Length of nothing": [*GET, (b"content-length", b"")],
    "Content-Length with END_STREAM": [*GET, (b"content-length", b"4")],
    "Host twice": [*GET, HOST, HOST],
    "Host that differs": [*GET, (b"host", b"b.example")],
    "Host with a user": [METHOD, SCHEME, PATH, (b"host", b"u@a")],
    "no authority at all": [METHOD, SCHEME, PATH],
    "no authority, but a cookie": [METHOD, SCHEME, PATH, (b"cookie", b"a=b")],
    "empty :authority": changed(b":authority", b""),
    "a user in :authority": changed(b":authority", b"u@a.b"),
    "a path in :authority": changed(b":authority", b"a/b"),
    "TE: gzip": [*GET, (b"te", b"gzip")],
    "Connection": [*GET, (b"connection", b"x")],
    "Keep-Alive": [*GET, (b"keep-alive", b"x")],
    "Proxy-Connection": [*GET, (b"proxy-connection", b"x")],
    "Transfer-Encoding": [*GET, (b"transfer-encoding", b"chunked")],
    "Upgrade": [*GET, (b"upgrade", b"x")],
    "a pseudo-field twice": [METHOD, *GET],
    "an unknown pseudo-field": [*GET, (b":x", b"y")],
    "a pseudo-field of responses": [*GET, (b":status", b"200")],
    "a pseudo-field too late": [METHOD, SCHEME, AUTHORITY, (b"x", b"y"), PATH],
    "no :method": GET[1:],
    "no :scheme": [METHOD, AUTHORITY, PATH],
    "no :path": GET[:3],
    "no fields": [],
    "empty :path": changed(b":path", b""),
    "blank in :path": changed(b":path", b"/a b"),
    ":path without /": changed(b":path", b"abc"),
    ":path * for GET": changed(b":path", b"*"),
    "absolute :path": changed(b":path", b"http://a/"),
    "fragment in :path": changed(b":path", b"/#a"),
    "empty :method": changed(b":method", b""),
    "blank in :method": changed(b":method", b"GE T"),
    "blank in :scheme": changed(b":scheme", b"ht tp"),
    "CONNECT with :path": changed(b":method", b"CONNECT"),
    "CONNECT without a port": [(b":method", b"CONNECT"), AUTHORITY],
    "CONNECT without :authority": [(b":method", b"CONNECT")],
    "extended CONNECT without leave": [(b":method", b"CONNECT"), *GET[1:], (b":protocol", b"websocket")],
    ":protocol for GET": [*GET, (b":protocol", b"websocket")],
}


@pytest.mark.parametrize("row", MALFORMED)
def test_malformed_request_ends_its_stream(row: str, server: Any) -> None:
    side = server()
    assert side.gets(headers(MALFORMED[row])) == ["1 StreamReset PROTOCOL_ERROR local"]
    assert side.sends() == ["RstStream 1 PROTOCOL_ERROR"]
    assert side.engine.taken_slots == 0
    assert side.gets(headers(GET, stream_id=3))[0] == "3 Request GET /"


def test_secret_is_not_in_the_reason(server: Any) -> None:
    side = server(headers([*GET, (b"authorization", b"s3cret\n")]))
    reason = side.events[-1][1].reason
    assert "authorization" in reason and "s3cret" not in reason


def test_connect_is_a_tunnel_to_its_authority(server: Any) -> None:
    side = server()
    connect = headers([(b":method", b"CONNECT"), (b":authority", b"a:443")], end=False)
    assert side.gets(connect) == ["1 Request CONNECT a:443"]
    assert side.last(Request).headers == [(b"host", b"a:443")]
    side.engine.send_head(side.stream(1), Response(status_code=200, headers=[("Content-Length", "5")]))
    side.engine.offer(side.stream(1), b"more than that")
    assert side.sends() == ["Headers 1 :status=200", "Data 1 more than that"]


def test_extended_connect_is_taken_with_leave(server: Any) -> None:
    fields = [(b":method", b"CONNECT"), *GET[1:], (b":protocol", b"websocket"), (b"origin", b"x")]
    side = server(headers(fields, end=False), settings=Settings(connect_protocol=True))
    request = side.last(ExtendedConnect)
    assert (request.protocol, request.target, request.headers) == (b"websocket", b"/", [HOST, (b"origin", b"x")])


def test_extended_connect_needs_a_path_and_a_scheme(server: Any) -> None:
    fields = [(b":method", b"CONNECT"), AUTHORITY, (b":protocol", b"websocket")]
    side = server(settings=Settings(connect_protocol=True))
    assert side.gets(headers(fields, end=False)) == ["1 StreamReset PROTOCOL_ERROR local"]


def test_expectation_of_100_is_noted(server: Any) -> None:
    side = server(headers([*GET, (b"expect", b"100-Continue")], end=False))
    assert side.stream(1).expects_continue
    assert side.stream(1).content_length is None


REFUSED: dict[str, tuple[Fields, int]] = {
    "expectation": ([*GET, (b"expect", b"coffee")], 417),
    "length": ([*GET, (b"content-length", b"11")], 413),
    "count": ([*GET, *[(b"x", b"y")] * 200], 431),
    "size": ([*GET, (b"x", b"y" * 15000), (b"z", b"y" * 15000)], 431),
    "field": ([*GET, (b"x", b"y" * 16385)], 431),
}


@pytest.mark.parametrize("row", REFUSED)
def test_request_is_refused_and_can_be_answered(row: str, server: Any) -> None:
    fields, status = REFUSED[row]
    block = hpack.Encoder().encode(fields, huffman=False)
    side = server(limits=Limits(content_bytes=10, fields_bytes=20000))
    assert side.gets(f.head(block, end=False, stream_id=1, frame_bytes=16384)) == [f"1 RequestRefused {status}"]
    assert side.gets(f.frame(f.DATA, f.END_STREAM, 1, b"x" * 11)) == []
    stream = side.stream(1)
    side.engine.send_head(stream, Response(status_code=status), end=True)
    side.engine.release(stream)
    assert side.sends()[-1] == f"Headers 1 END_STREAM :status={status}"
    assert (stream.closed, side.engine.taken_slots) == (True, 0)


def test_content_that_grows_beyond_the_limit_is_refused(server: Any) -> None:
    side = server(headers(GET, end=False), limits=Limits(content_bytes=10))
    assert side.gets(f.frame(f.DATA, 0, 1, b"x" * 10)) == ["1 Data xxxxxxxxxx"]
    assert side.gets(f.frame(f.DATA, 0, 1, b"x")) == ["1 RequestRefused 413"]
    assert side.gets(f.frame(f.DATA, f.END_STREAM, 1, b"x")) == []


def test_request_that_comes_again_is_the_same_event(server: Any) -> None:
    writer = hpack.Encoder()
    blocks = [writer.encode(GET) for _ in range(3)]
    side = server(*[f.frame(f.HEADERS, 5, 2 * n + 1, block) for n, block in enumerate(blocks)])
    requests = [event for _, event in side.events if isinstance(event, Request)]
    assert requests[1] is requests[2]
    # a new entry moves the indexes, so that the same block says something else
    side.gets(f.frame(f.HEADERS, 5, 7, writer.encode([*GET, (b"x", b"y")])))
    side.gets(f.frame(f.HEADERS, 5, 9, blocks[2]))
    assert side.last(Request) is not requests[2]


def test_known_requests_are_bounded(server: Any) -> None:
    side = server()
    for number in range(300):
        path = b"/%d" % number
        block = b"\x82\x87" + b"\x01\x01a" + b"\x04%c%b" % (len(path), path)
        side.gets(f.frame(f.HEADERS, 5, 2 * number + 1, block))
        side.engine.send_head(side.events[-1][0], Response(status_code=200), end=True)
        side.engine.release(side.events[-1][0])
        side.sends()
        assert side.last(Request).target == path
    assert len(side.engine._sections._known) <= 256


def test_smaller_table_is_demanded_of_a_block_that_is_known(server: Any) -> None:
    known = f.frame(f.HEADERS, 5, 1, b"\x82\x87\x84\x01\x01a")
    side = server(known)
    side.engine.set(Settings(header_table_bytes=0))
    side.sends()
    assert side.gets(f.frame(f.HEADERS, 5, 3, known[9:])) == ["3 Request GET /", "3 EndOfMessage"]
    side.gets(f.frame(f.SETTINGS, f.ACK, 0))
    assert side.gets(f.frame(f.HEADERS, 5, 5, known[9:])) == ["0 ConnectionFailed COMPRESSION_ERROR"]


def test_trailers_are_received_without_those_that_may_not_be(server: Any) -> None:
    side = server(headers(GET, end=False))
    trailers = [(b"x-sum", b"1"), (b"content-length", b"5"), (b"host", b"b")]
    assert side.gets(headers(trailers)) == ["1 EndOfMessage x-sum=1"]
    assert side.gets(headers(GET, end=False, stream_id=3), headers([(b"host", b"b")], stream_id=3)) == [
        "3 Request GET /",
        "3 EndOfMessage",
    ]


# responses, as a client receives them

STATUS = (b":status", b"200")

RESPONSES: dict[str, tuple[Fields, list[str]]] = {
    "plain": ([STATUS, (b"x", b"y")], ["Response 200", "EndOfMessage"]),
    "control character": ([STATUS, (b"x", b"a\x01b")], ["Response 200", "EndOfMessage"]),
    "no length for 304": ([(b":status", b"304"), (b"content-length", b"5")], ["Response 304", "EndOfMessage"]),
    "lengths that agree": ([STATUS, *[(b"content-length", b"0")] * 2], ["Response 200", "EndOfMessage"]),
    "length missing": ([STATUS, (b"content-length", b"5")], ["Response 200", "StreamReset PROTOCOL_ERROR local"]),
    "lengths that differ": ([STATUS, (b"content-length", b"5"), (b"content-length", b"6")], []),
    "bad length": ([STATUS, (b"content-length", b"x")], []),
    "LF in a value": ([STATUS, (b"x", b"a\nb")], []),
    "no status": ([(b"x", b"y")], []),
    "status twice": ([STATUS, STATUS], []),
    "status too late": ([(b"x", b"y"), STATUS], []),
    "bad status": ([(b":status", b"2000")], []),
    "pseudo-field of requests": ([STATUS, PATH], []),
    "101": ([(b":status", b"101")], []),
    "100 that ends the stream": ([(b":status", b"100")], []),
    "connection": ([STATUS, (b"connection", b"close")], []),
    "too large": ([STATUS, *[(b"x", b"y")] * 120], []),
}


@pytest.mark.parametrize("row", RESPONSES)
def test_response_is_accepted_or_ends_its_stream(row: str, client: Any) -> None:
    fields, expected = RESPONSES[row]
    side = client()
    stream = side.engine.open(Request(method="GET", target="/", headers=[HOST]), end=True)
    side.sends()
    expected = expected or ["StreamReset PROTOCOL_ERROR local"]
    assert side.gets(headers(fields)) == [f"1 {event}" for event in expected]
    assert stream.closed
    assert side.engine.taken_slots == 0


# what we send

HOSTS = [(b"Host", b"a.example")]


def request_to(target: str = "/", method: str = "GET", fields: Fields | None = None) -> Request:
    return Request(method=method, target=target, headers=HOSTS + (fields or []), http_version="1.1")


SENT_REQUESTS = {
    "plain": (request_to("/a?b"), ":method=GET :authority=a.example :scheme=https :path=/a?b"),
    "names in lower case": (request_to(fields=[(b"X-Y", b"Z")]),
                            ":method=GET :authority=a.example :scheme=https :path=/ x-y=Z"),
    "connection-specific fields": (
        request_to(fields=[(b"Connection", b"x"), (b"Keep-Alive", b"1"), (b"Upgrade", b"h2c"), (b"TE", b"gzip"),
                           (b"Proxy-Connection", b"x")]),
        ":method=GET :authority=a.example :scheme=https :path=/",
    ),
    "TE: trailers": (request_to(fields=[(b"TE", b"trailers")]),
                     ":method=GET :authority=a.example :scheme=https :path=/ te=trailers"),
    "CONNECT": (request_to("b:443", "CONNECT"), ":method=CONNECT :authority=b:443"),
    "OPTIONS *": (request_to("*", "OPTIONS"), ":method=OPTIONS :authority=a.example :scheme=https :path=*"),
    "length": (request_to("/", "PUT", [(b"Content-Length", b"0")]),
               ":method=PUT :authority=a.example :scheme=https :path=/ content-length=0"),
    "transfer coding": (request_to("/", "PUT", [(b"Transfer-Encoding", b"chunked")]),
                        ":method=PUT :authority=a.example :scheme=https :path=/"),
}  # fmt: skip


@pytest.mark.parametrize("row", SENT_REQUESTS)
def test_request_is_sent_in_the_fields_of_http2(row: str, client: Any) -> None:
    request, expected = SENT_REQUESTS[row]
    side = client()
    side.engine.open(request, end=True)
    assert side.sends() == [f"Headers 1 END_STREAM {expected}"]


def test_extended_connect_is_sent_when_the_server_takes_it(client: Any) -> None:
    request = ExtendedConnect(target="/chat", headers=HOSTS, protocol=b"websocket")
    with pytest.raises(LocalProtocolError, match="does not take"):
        client().engine.open(request)
    side = client([(0x8, 1)])
    side.engine.open(request)
    expected = ":method=CONNECT :authority=a.example :scheme=https :path=/chat :protocol=websocket"
    assert side.sends() == [f"Headers 1 {expected}"]


IMPOSSIBLE = {
    "no host": Request(method="GET", target="/", headers=[], http_version="2.0"),
    "empty host": Request(method="GET", target="/", headers=[("Host", "")]),
    "absolute": request_to("http://a/"),
    "asterisk": request_to("*"),
    "fragment": request_to("/#a"),
    "CONNECT to a path": request_to("/", "CONNECT"),
    "content missing": request_to("/", "PUT", [(b"Content-Length", b"5")]),
}


@pytest.mark.parametrize("row", IMPOSSIBLE)
def test_request_that_http2_cannot_say_is_refused_before_anything_happens(row: str, client: Any) -> None:
    side = client()
    with pytest.raises(LocalProtocolError):
        side.engine.open(IMPOSSIBLE[row], end=True)
    assert not side.engine.has_output
    assert side.engine.taken_slots == 0


LENGTH = (b"Content-Length", b"5")

SENT_RESPONSES = {
    "plain": (b"GET", Response(status_code=200, headers=[("Server", "x")]), ":status=200 server=x"),
    "connection-specific": (b"GET", Response(status_code=200, headers=[("Connection", "close")]), ":status=200"),
    "HEAD": (b"HEAD", Response(status_code=200, headers=[LENGTH]), ":status=200 content-length=5"),
    "304": (b"GET", Response(status_code=304, headers=[LENGTH]), ":status=304 content-length=5"),
    "204": (b"GET", Response(status_code=204, headers=[LENGTH]), ":status=204"),
}


@pytest.mark.parametrize("row", SENT_RESPONSES)
def test_response_is_sent_in_the_fields_of_http2(row: str, server: Any) -> None:
    method, response, expected = SENT_RESPONSES[row]
    side = server(headers(changed(b":method", method)))
    side.engine.send_head(side.stream(1), response, end=True)
    assert side.sends() == [f"Headers 1 END_STREAM {expected}"]


CHECKED_RESPONSES: dict[str, tuple[bytes, int, int | None, str]] = {
    "length": (b"GET", 200, 5, "Headers 1 :status=200 x=y content-length=5"),
    "no length": (b"GET", 200, None, "Headers 1 :status=200 x=y"),
    "HEAD": (b"HEAD", 200, 5, "Headers 1 END_STREAM :status=200 x=y content-length=5"),
    "304": (b"GET", 304, 5, "Headers 1 END_STREAM :status=304 x=y content-length=5"),
    "204": (b"GET", 204, 0, "Headers 1 END_STREAM :status=204 x=y"),
    "tunnel": (b"CONNECT", 200, 5, "Headers 1 :status=200 x=y"),
    "no tunnel": (b"CONNECT", 400, 5, "Headers 1 :status=400 x=y content-length=5"),
}


@pytest.mark.parametrize("row", CHECKED_RESPONSES)
def test_checked_fields_are_sent_with_a_length_where_there_may_be_one(row: str, server: Any) -> None:
    method, status, length, expected = CHECKED_RESPONSES[row]
    fields = [(b":method", method), (b":authority", b"a:1")] if method == b"CONNECT" else changed(b":method", method)
    side = server(headers(fields))
    stream = side.stream(1)
    side.engine.send_checked(stream, status, [(b"x", b"y")], length, end="END_STREAM" in expected)
    assert side.sends() == [expected]
    if "END_STREAM" not in expected and "tunnel" != row:
        with pytest.raises(LocalProtocolError):
            side.engine.offer(stream, b"x" * 6) if length else side.engine.send_checked(stream, status, [], None)
    side.engine.reset(stream)
    side.sends()
    side.engine.send_checked(stream, status, [], None)  # nobody is there any more
    assert side.sends() == []


def test_informational_responses_go_before_the_final_one(server: Any) -> None:
    side = server(headers(GET))
    stream = side.stream(1)
    for status in (103, 102):
        side.engine.send_head(stream, InformationalResponse(status_code=status, headers=[("Link", "x"), LENGTH]))
    side.engine.send_head(stream, Response(status_code=200), end=True)
    assert side.sends() == [
        "Headers 1 :status=103 link=x",
        "Headers 1 :status=102 link=x",
        "Headers 1 END_STREAM :status=200",
    ]


def test_response_cannot_have_a_length_that_is_no_number(server: Any) -> None:
    side = server(headers(GET))
    bad = parsed_response(200, lowercase_headers([(b"content-length", b"5, 5")]), b"1.1", b"")
    with pytest.raises(LocalProtocolError, match="bad Content-Length"):
        side.engine.send_head(side.stream(1), bad)
