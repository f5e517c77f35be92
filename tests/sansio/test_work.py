"""Work is bounded for each received byte, however the bytes are split. Work is counted here, not timed."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable
from re import _constants, _parser  # type: ignore[attr-defined]  # how else could one look into a pattern
from types import FrameType
from typing import Any

import pytest

from gruvihttp.limits import Limits
from gruvihttp.sansio import NEED_DATA, SERVER, Connection, Data, EndOfMessage, Request, grammar, heads
from gruvihttp.sansio.buffer import Buffer
from gruvihttp.sansio.wire import RequestReader

POST = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"

STREAMS: dict[str, Callable[[int], bytes]] = {
    "one-long-field": lambda size: b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"y" * size,
    "many-fields": lambda size: b"GET / HTTP/1.1\r\nHost: a\r\n" + b"X: y\r\n" * (size // 6),
    "folded-lines": lambda size: b"GET / HTTP/1.1\r\nHost: a\r\nX: y\r\n" + b" z\r\n" * (size // 4),
    "blanks-in-a-value": lambda size: b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b" " * size,
    "carriage-returns": lambda size: b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"\r" * size,
    "content": lambda size: b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % size + b"x" * size,
    "one-chunk": lambda size: POST + b"%x\r\n" % size + b"x" * size,
    "tiny-chunks": lambda size: POST + b"1\r\nx\r\n" * (size // 6),
    "chunks-with-extensions": lambda size: POST + (b"1;" + b"a" * 200 + b"\r\nx\r\n") * (size // 208),
    "trailers": lambda size: POST + b"0\r\n" + b"X: y\r\n" * (size // 6),
    "pipelined-requests": lambda size: b"GET / HTTP/1.1\r\nHost: a\r\n\r\n" * (size // 27),
    "waiting-behind-a-request": lambda size: b"GET / HTTP/1.1\r\nHost: a\r\n\r\n" + b"x" * size,
}
LIMITS = Limits(request_line_bytes=8190, fields_bytes=1 << 20, fields_count=1 << 20, trailers_bytes=1 << 20)


def calls_of(work: Callable[[], None]) -> int:
    """How many functions are called, ours and the interpreter's."""
    count = 0

    def note(frame: FrameType, event: str, argument: Any) -> None:
        nonlocal count
        if event in ("call", "c_call"):
            count += 1

    before = sys.getprofile()
    sys.setprofile(note)
    try:
        work()
    finally:
        sys.setprofile(before)
    return count


def receive_all(pieces: Iterable[bytes], *, strict: bool) -> None:
    reader = RequestReader(LIMITS, strict=strict)
    for piece in pieces:
        reader.receive_data(piece)
        while reader.next_event() is not NEED_DATA:
            pass


def waiting(pieces: Iterable[bytes]) -> None:
    server = Connection(SERVER, limits=LIMITS)
    for piece in pieces:
        server.receive_data(piece)
        while isinstance(server.next_event(), Request | Data | EndOfMessage):
            pass


@pytest.mark.parametrize("strict", [True, False], ids=["strict", "tolerant"])
@pytest.mark.parametrize("name", STREAMS)
def test_calls_grow_with_the_bytes_and_not_faster(name: str, strict: bool) -> None:
    counts = []
    for size in (4096, 16384):
        received = STREAMS[name](size)
        pieces = [bytes([byte]) for byte in received]
        if name == "waiting-behind-a-request":
            counts.append(calls_of(lambda pieces=pieces: waiting(pieces)))  # type: ignore[misc]
        else:
            counts.append(calls_of(lambda pieces=pieces: receive_all(pieces, strict=strict)))  # type: ignore[misc]
        assert counts[-1] <= 40 * len(received)
    assert counts[1] <= 4.4 * counts[0]


# That a call does not look at the same bytes again is seen by changing bytes that were looked at: it is not noticed.


def test_line_end_is_not_looked_for_twice() -> None:
    buffer = Buffer()
    buffer.append(b"abcdef")
    buffer.append(b"ghi")
    assert buffer.find_line_end() == 0
    buffer.data[3:4] = b"\n"  # type: ignore[index]  # joined pieces lie in a bytearray
    assert buffer.find_line_end() == 0
    buffer.append(b"jkl\n")
    assert buffer.find_line_end() == len(b"abcdefghijkl\n")


def test_blank_line_is_not_looked_for_twice() -> None:
    buffer = Buffer()
    buffer.append(b"abcdef")
    buffer.append(b"ghi")
    assert buffer.find_blank_line() == 0
    buffer.data[3:5] = b"\n\n"  # type: ignore[index]
    assert buffer.find_blank_line() == 0
    buffer.append(b"\n\r\n")
    assert buffer.find_blank_line() == len(b"abcdefghi\n\r\n")


@pytest.mark.parametrize("name", ["one-long-field", "many-fields", "blanks-in-a-value", "trailers"])
def test_growing_section_is_searched_once(name: str) -> None:
    reader = RequestReader(LIMITS)
    received = STREAMS[name](4096)
    for piece in (received[:100], received[100:110], received[110:]):
        reader.receive_data(piece)
        while reader.next_event() is not NEED_DATA:
            pass
    buffer = reader.buffer
    assert len(buffer.data) - buffer.searched <= 2


def test_first_match_of_a_head_is_not_tried_again_when_more_has_come() -> None:
    reader = RequestReader(LIMITS)
    reader.receive_data(b"GET / HTTP/1.1\r\n")
    assert reader.next_event() is NEED_DATA
    before = reader.buffer.searched
    assert before > 0
    reader.receive_data(b"Host: a\r\n")
    assert reader.next_event() is NEED_DATA
    assert reader.buffer.searched > before


def test_chunk_line_is_not_matched_again_before_its_end_has_come() -> None:
    reader = RequestReader(Limits(chunk_line_bytes=1 << 20))
    reader.receive_data(POST + b"1;")
    assert isinstance(reader.next_event(), Request)
    for piece in (b"aaaa", b"bbbb"):
        reader.receive_data(piece)
        assert reader.next_event() is NEED_DATA
    reader.buffer.data[-3:-1] = b"\r\n"  # type: ignore[index]  # looked at already
    assert reader.next_event() is NEED_DATA
    reader.buffer.data[-3:-1] = b"bb"  # type: ignore[index]
    reader.receive_data(b"\r\nx")
    assert reader.next_event() == Data(b"x", chunk_start=True, chunk_end=True)


def patterns_of(module: Any) -> dict[str, str | bytes]:
    return {
        f"{module.__name__}.{name}": value.pattern
        for name, value in vars(module).items()
        if isinstance(value, re.Pattern)
    }


PATTERNS = patterns_of(grammar) | patterns_of(heads)


@pytest.mark.parametrize("name", PATTERNS)
def test_no_repetition_gives_back_what_it_took(name: str) -> None:
    """A pattern that can give back may try in vain once for each byte, or much more often."""
    assert unbounded_and_not_possessive(_parser.parse(PATTERNS[name])) == []


def unbounded_and_not_possessive(parsed: Any) -> list[Any]:
    found: list[Any] = []
    for operation, argument in parsed:
        if operation in (_constants.MAX_REPEAT, _constants.MIN_REPEAT) and argument[1] is _constants.MAXREPEAT:
            found.append(argument)
        for part in argument if isinstance(argument, tuple | list) else [argument]:
            if isinstance(part, _parser.SubPattern):
                found += unbounded_and_not_possessive(part)
            elif isinstance(part, list):
                found += [item for inner in part for item in inner_of(inner)]
    return found


def inner_of(part: Any) -> list[Any]:
    return unbounded_and_not_possessive(part) if isinstance(part, _parser.SubPattern) else []


def test_the_look_into_patterns_finds_what_it_looks_for() -> None:
    assert unbounded_and_not_possessive(_parser.parse("a*b"))
    assert unbounded_and_not_possessive(_parser.parse("(?:x(?:a|b+?)c)?"))
    assert unbounded_and_not_possessive(_parser.parse("(a|b|(c+))"))
    assert unbounded_and_not_possessive(_parser.parse("(?:a++|b)*+")) == []
