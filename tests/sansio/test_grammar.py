"""Every byte in every place of a head: which are let through, and that the slow walk agrees with the patterns."""

from __future__ import annotations

import string
from typing import Any

import pytest

from gruvihttp.errors import RemoteProtocolError
from gruvihttp.sansio import CLIENT, NEED_DATA, SERVER, Connection, EndOfMessage, Request

TOKEN = set(b"!#$%&'*+-.^_`|~" + (string.ascii_letters + string.digits).encode())
VISIBLE = set(range(0x21, 0x7F))
TEXT = VISIBLE | set(b" \t") | set(range(0x80, 0x100))
# h11 lets more controls pass in field values: all but those that end lines or strings somewhere
TOLERANT_TEXT = set(range(0x100)) - set(b"\x00\n\x0b\x0c\r")


def server_accepts(head: bytes, *, strict: bool) -> bool:
    server = Connection(SERVER, strict=strict)
    server.receive_data(head)
    return accepts(server)


def client_accepts(head: bytes, *, strict: bool) -> bool:
    client = Connection(CLIENT, strict=strict)
    client.send(Request(method="GET", target="/", headers=[("Host", "a")]))
    client.send(EndOfMessage())
    client.receive_data(head)
    return accepts(client)


def accepts(connection: Connection) -> bool:
    try:
        assert connection.next_event() is not NEED_DATA
    except RemoteProtocolError:
        return False
    return True


REQUEST_PLACES = [
    pytest.param(b"G%bT / HTTP/1.1\r\nHost: a\r\n\r\n", TOKEN, id="method"),
    pytest.param(b"GET /%bx HTTP/1.1\r\nHost: a\r\n\r\n", VISIBLE - set(b"#"), id="target"),
    pytest.param(b"GET /%b HTTP/1.1\r\nHost: a\r\n\r\n", VISIBLE - set(b"#"), id="end-of-target"),
    pytest.param(b"GET%b/ HTTP/1.1\r\nHost: a\r\n\r\n", set(b" "), id="blank-before-target"),
    pytest.param(b"GET /%bHTTP/1.1\r\nHost: a\r\n\r\n", set(b" "), id="blank-before-version"),
    pytest.param(b"GET / HTTP%b1.1\r\nHost: a\r\n\r\n", set(b"/"), id="slash-in-version"),
    pytest.param(b"GET / HTTP/%b.1\r\nHost: a\r\n\r\n", set(b"1"), id="major-version"),
    pytest.param(b"GET / HTTP/1%b1\r\nHost: a\r\n\r\n", set(b"."), id="dot-in-version"),
    pytest.param(b"GET / HTTP/1.%b\r\nHost: a\r\n\r\n", set(b"0123456789"), id="minor-version"),
    pytest.param(b"GET / HTTP/1.1%b\r\nHost: a\r\n\r\n", set(), id="end-of-version"),
    pytest.param(b"GET / HTTP/1.1\r%bHost: a\r\n\r\n", set(b"\n"), id="end-of-request-line"),
    pytest.param(b"GET / HTTP/1.1%b\nHost: a\r\n\r\n", set(b"\r"), id="cr-of-request-line"),
    pytest.param(b"GET / HTTP/1.1\r\nHost: a\r\nX%bY: z\r\n\r\n", TOKEN | set(b":"), id="field-name"),
    pytest.param(b"GET / HTTP/1.1\r\nHost: a\r\n%bX: z\r\n\r\n", TOKEN, id="start-of-field-name"),
    pytest.param(b"GET / HTTP/1.1\r\nHost: a\r\nX%b: z\r\n\r\n", TOKEN | set(b":"), id="end-of-field-name"),
    pytest.param(b"GET / HTTP/1.1\r\nHost: a\r\nX: y\r%bZ: z\r\n\r\n", set(b"\n"), id="end-of-field-line"),
    pytest.param(b"GET / HTTP/1.1\r\nHost: a\r\nX: y%b\nZ: z\r\n\r\n", set(b"\r"), id="cr-of-field-line"),
]


@pytest.mark.parametrize("strict", [True, False], ids=["strict", "tolerant"])
@pytest.mark.parametrize(("head", "expected"), REQUEST_PLACES)
def test_bytes_that_a_place_of_a_request_takes(head: bytes, expected: set[int], strict: bool) -> None:
    taken = {byte for byte in range(256) if server_accepts(head.replace(b"%b", bytes([byte])), strict=strict)}
    assert taken == expected


@pytest.mark.parametrize("line", [b"X: y%bz", b"X:%bz", b"X: z%b", b"X:%b"], ids=["inside", "start", "end", "alone"])
def test_bytes_that_a_field_value_takes(line: bytes) -> None:
    request = b"GET / HTTP/1.1\r\nHost: a\r\n%b\r\n\r\n"
    response = b"HTTP/1.1 200 OK\r\n%b\r\n\r\n"
    lines = {byte: line.replace(b"%b", bytes([byte])) for byte in range(256)}
    assert {byte for byte in lines if server_accepts(request % lines[byte], strict=True)} == TEXT
    assert {byte for byte in lines if server_accepts(request % lines[byte], strict=False)} == TOLERANT_TEXT
    # a bare LF ends a line of a response, and what is behind it is a line of its own
    assert {byte for byte in lines if client_accepts(response % lines[byte], strict=True)} - set(b"\n") == TOLERANT_TEXT


RESPONSE_PLACES = [
    pytest.param(b"HTTP/%b.1 200 OK\r\n\r\n", set(b"1"), id="major-version"),
    pytest.param(b"HTTP/1.%b 200 OK\r\n\r\n", set(b"0123456789"), id="minor-version"),
    pytest.param(b"HTTP/1.1%b200 OK\r\n\r\n", set(b" "), id="blank-before-status"),
    pytest.param(b"HTTP/1.1 %b00 OK\r\n\r\n", set(b"123456789"), id="first-digit"),
    pytest.param(b"HTTP/1.1 2%b0 OK\r\n\r\n", set(b"0123456789"), id="second-digit"),
    pytest.param(b"HTTP/1.1 20%b OK\r\n\r\n", set(b"0123456789"), id="third-digit"),
    pytest.param(b"HTTP/1.1 200%bOK\r\n\r\n", set(b" "), id="blank-before-reason"),
    pytest.param(b"HTTP/1.1 200 O%bK\r\n\r\n", TEXT, id="reason"),
    pytest.param(b"HTTP/1.1 200 OK\r\nX%bY: z\r\n\r\n", TOKEN | set(b":"), id="field-name"),
]


@pytest.mark.parametrize(("head", "expected"), RESPONSE_PLACES)
def test_bytes_that_a_place_of_a_response_takes(head: bytes, expected: set[int]) -> None:
    taken = {byte for byte in range(256) if client_accepts(head.replace(b"%b", bytes([byte])), strict=False)}
    assert taken == expected


def chunked(size_line: bytes) -> bytes:
    return b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" + size_line


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        pytest.param(b"%b\r\n", set(string.hexdigits.encode()), id="alone"),
        pytest.param(b"%b1\r\n", set(string.hexdigits.encode()), id="before-a-digit"),
        pytest.param(b"1%b\r\n", set(string.hexdigits.encode() + b" \t;"), id="after-a-digit"),
        pytest.param(b"1;%b\r\n", TEXT, id="extension"),
        pytest.param(b"1;a%bb\r\n", TEXT, id="inside-extension"),
        pytest.param(b"1;a=\"%b\"\r\n", TEXT, id="inside-quotes"),
        pytest.param(b"1%b\n", set(b"\r"), id="cr"),
        pytest.param(b"1\r%b", set(b"\n"), id="lf"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("strict", [True, False], ids=["strict", "tolerant"])
def test_bytes_that_a_chunk_line_takes(line: bytes, expected: set[int], strict: bool) -> None:
    taken = set()
    for byte in range(256):
        server = Connection(SERVER, strict=strict)
        # what follows shows whether the line was taken, for a line that is not complete waits
        server.receive_data(chunked(line.replace(b"%b", bytes([byte]))) + b"\r\n")
        server.next_event()
        try:
            event: Any = server.next_event()
        except RemoteProtocolError:
            continue
        assert event is not NEED_DATA
        taken.add(byte)
    assert taken == expected
