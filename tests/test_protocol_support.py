"""Each row of the tables of docs/protocol-support.rst is tried on the engine, so that the page says what happens.

The column "engine" is the engine as it is, the column "server" the engine with `strict`. What only a whole server can
show (that a connection closes, what an application sees) is tested with the server.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

import pytest

from gruvihttp import sansio
from gruvihttp.errors import RemoteProtocolError
from gruvihttp.limits import Limits

PAGE = (Path(__file__).resolve().parent.parent / "docs" / "protocol-support.rst").read_text()
LIMITS = Limits(content_bytes=1000)


class Row(NamedTuple):
    """What the page says: cells of one row."""

    sends: str
    engine: str
    server: str


def rows() -> list[Row]:
    """Rows with four cells: those about what a peer sends."""
    cell = r"(.+(?:\n {7}.+)*)\n"
    found = re.findall(rf"^   \* - {cell}     - {cell}     - {cell}     - {cell}", PAGE, re.MULTILINE)
    return [Row(*(" ".join(text.split()) for text in cells[:3])) for cells in found if cells[0] != "The peer sends"]


def request(line: bytes = b"GET / HTTP/1.1", fields: bytes = b"Host: a\r\n", content: bytes = b"") -> bytes:
    return line + b"\r\n" + fields + b"\r\n" + content


def field(line: bytes) -> bytes:
    return request(fields=b"Host: a\r\n" + line + b"\r\n")


def post(fields: bytes, content: bytes = b"", version: bytes = b"HTTP/1.1") -> bytes:
    return request(b"POST / " + version, b"Host: a\r\n" + fields + b"\r\n", content)


def chunked(content: bytes) -> bytes:
    return post(b"Transfer-Encoding: chunked", content)


# the beginning of a row, and what a peer sends in that case; several when the row names several
REQUESTS: dict[str, list[bytes]] = {
    "a line end of bare LF in the head of a request": [
        b"GET / HTTP/1.1\nHost: a\n\n",
        b"GET / HTTP/1.1\r\nHost: a\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\n\n",
    ],
    "a blank line before the request line": [b"\r\n" + request()],
    "a first byte that cannot start a message": [b"\x16\x03\x01", b"\x00", b" "],
    "a method in lower case": [request(b"get / HTTP/1.1")],
    "a method that is not a token": [request(b"G@T / HTTP/1.1"), request(b"G(T / HTTP/1.1")],
    "a target in none of the four forms": [
        request(b"GET foo HTTP/1.1"),
        request(b"GET * HTTP/1.1"),
        request(b"GET /#part HTTP/1.1"),
    ],
    "a request line or a status line above": [request(b"GET /" + b"a" * LIMITS.request_line_bytes + b" HTTP/1.1")],
    "a higher minor version": [request(b"GET / HTTP/1.2")],
    "another major version": [request(b"GET / HTTP/9.9"), request(b"GET / HTTP/2.0")],
    "no ``Host``": [request(fields=b""), request(b"GET / HTTP/1.2", fields=b"")],
    "two ``Host`` lines": [field(b"Host: a"), request(fields=b"Host: a b\r\n"), request(fields=b"Host: a/b\r\n")],
    "an empty ``Host``": [request(fields=b"Host:\r\n")],
    "white space between a name and its colon": [field(b"A : b"), field(b"A\t: b")],
    "a value continued on the next line": [field(b"A: b\r\n c"), field(b"A: b\r\n\tc")],
    "a control character in a value": [field(b"A: b\x01c"), field(b"A: b\x7fc"), field(b"A: b\x1bc")],
    "NUL, CR, LF, VT or FF in a value": [field(b"A: b" + byte + b"c") for byte in (b"\0", b"\r", b"\n", b"\v", b"\f")],
    "bytes 80 to FF in a value": [field(b"A: \x80\xff")],
    "an underscore in a field name": [field(b"A_B: c")],
    "a header section above": [
        field(b"A: " + b"b" * LIMITS.fields_bytes),
        field(b"\r\n".join([b"A: b"] * LIMITS.fields_count)),
    ],
    "``Expect`` with anything but": [field(b"Expect: something")],
    "``Content-Length`` and ``Transfer-Encoding`` together": [
        post(b"Content-Length: 1\r\nTransfer-Encoding: chunked"),
        post(b"Transfer-Encoding: chunked\r\nContent-Length: 1"),
    ],
    "``Transfer-Encoding`` in a message of HTTP/1.0": [post(b"Transfer-Encoding: chunked", version=b"HTTP/1.0")],
    "a transfer coding that is not": [
        post(b"Transfer-Encoding: gzip, chunked"),
        post(b"Transfer-Encoding: identity"),
        post(b"Transfer-Encoding: chunked, chunked"),
        post(b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked"),
    ],
    "``Content-Length`` more than once": [
        post(b"Content-Length: 2, 2", b"ab"),
        post(b"Content-Length: 2\r\nContent-Length: 2", b"ab"),
    ],
    "``Content-Length`` with different numbers": [
        post(b"Content-Length: 2, 3"),
        post(b"Content-Length: 2\r\nContent-Length: 3"),
    ],
    "a sign, a blank or an underscore in a number": [
        post(b"Content-Length: " + number) for number in (b"+2", b"-2", b"1 2", b"1_2", b"0x2", "٢".encode())
    ],
    "content above": [post(b"Content-Length: 1001"), chunked(b"3e9\r\n" + b"a" * 1001 + b"\r\n0\r\n\r\n")],
    "a chunk size of more than 16 digits": [chunked(b"00000000000000001\r\na\r\n0\r\n\r\n")],
    "a chunk-size line above": [chunked(b"1;" + b"a" * LIMITS.chunk_line_bytes + b"\r\na\r\n0\r\n\r\n")],
    "a chunk extension with CR, LF or NUL": [
        chunked(b"1;a" + byte + b"b\r\na\r\n0\r\n\r\n") for byte in (b"\r", b"\n", b"\0")
    ],
    "a trailer line that ends in bare LF": [chunked(b"0\r\nA: b\n\r\n"), chunked(b"0\r\nA: b\r\n\n")],
    "``Content-Length``, ``Transfer-Encoding``, ``Host`` and the like as a trailer": [
        chunked(b"0\r\nContent-Length: 1\r\n\r\n"),
        chunked(b"0\r\nTransfer-Encoding: chunked\r\n\r\n"),
        chunked(b"0\r\nHost: b\r\n\r\n"),
    ],
    "the end of the stream inside a message": [post(b"Content-Length: 2", b"a"), chunked(b"5\r\nabc"), b"GET / HT"],
}
RESPONSES: dict[str, list[bytes]] = {
    "a line end of bare LF in the head of a response": [b"HTTP/1.1 200 OK\nContent-Length: 0\n\n"],
    "a status line without a reason phrase": [
        b"HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 \r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 \x80\xff\r\nContent-Length: 0\r\n\r\n",
    ],
    "a status below 100": [b"HTTP/1.1 099 low\r\nContent-Length: 0\r\n\r\n"],
    "content behind a response that has none": [
        b"HTTP/1.1 204 none\r\n\r\nabc",
        b"HTTP/1.1 304 none\r\nContent-Length: 3\r\n\r\nabc",
    ],
}


def outcome(connection: sansio.Connection, received: list[bytes]) -> str:
    """"accepted" if a message comes out whole, else the status of the refusal."""
    try:
        for piece in received:
            connection.receive_data(piece)
            while not isinstance(event := connection.next_event(), sansio.EndOfMessage):
                if event is sansio.NEED_DATA:
                    break
            else:
                return "accepted"
    except RemoteProtocolError as error:
        return str(error.error_status_hint) if error.answerable else "no answer"
    raise AssertionError("neither refused nor complete")


def server_outcome(raw: bytes, *, strict: bool, step: int) -> str:
    connection = sansio.Connection(sansio.SERVER, strict=strict, limits=LIMITS)
    return outcome(connection, [*pieces(raw, step), b""])


def client_outcome(raw: bytes, *, step: int) -> str:
    connection = sansio.Connection(sansio.CLIENT)
    connection.send(sansio.Request(method="GET", target="/", headers=[("Host", "a")]))
    connection.send(sansio.EndOfMessage())
    return outcome(connection, [*pieces(raw, step), b""])


def pieces(raw: bytes, step: int) -> list[bytes]:
    return [raw[start : start + step] for start in range(0, len(raw), step)]


def row_about(sends: str) -> Row:
    (row,) = [row for row in rows() if row.sends.startswith(sends)]
    return row


def agrees(cell: str, result: str) -> bool:
    """Whether a cell of the page describes a result: ``accepted, as 1.1``, ``refused``, ``400``."""
    return result != "accepted" if cell == "refused" else cell.removeprefix("(client) ").startswith(result)


def cases(table: dict[str, list[bytes]]) -> list[object]:
    return [
        pytest.param(sends, raw, id=f"{re.sub(r'[^A-Za-z0-9]+', '-', sends)[:40]}-{number}")
        for sends, inputs in table.items()
        for number, raw in enumerate(inputs, 1)
    ]


# whole, and in pieces small enough to cut everything; a refusal must not depend on it
each_split = pytest.mark.parametrize("step", [1_000_000, 7], ids=["whole", "pieces"])


def test_every_row_of_the_page_is_tried() -> None:
    tried = [*REQUESTS, *RESPONSES]
    assert [row.sends for row in rows() if not any(row.sends.startswith(sends) for sends in tried)] == []


@each_split
@pytest.mark.parametrize(("sends", "raw"), cases(REQUESTS))
def test_engine_does_with_a_request_what_the_page_says(sends: str, raw: bytes, step: int) -> None:
    result = server_outcome(raw, strict=False, step=step)
    assert agrees(row_about(sends).engine, result), result


@each_split
@pytest.mark.parametrize(("sends", "raw"), cases(REQUESTS))
def test_strict_engine_does_with_a_request_what_the_page_says(sends: str, raw: bytes, step: int) -> None:
    result = server_outcome(raw, strict=True, step=step)
    assert agrees(row_about(sends).server, result), result


@each_split
@pytest.mark.parametrize(("sends", "raw"), cases(RESPONSES))
def test_engine_does_with_a_response_what_the_page_says(sends: str, raw: bytes, step: int) -> None:
    result = client_outcome(raw, step=step)
    assert agrees(row_about(sends).engine, result), result
