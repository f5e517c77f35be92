"""The decoders by themselves: pieces of content out of a buffer, as a whole and byte by byte."""

from __future__ import annotations

from typing import Any

import pytest

from gruvihttp.errors import ContentTooLarge, IncompleteMessage, RemoteProtocolError
from gruvihttp.limits import Limits
from gruvihttp.sansio import NEED_DATA, Data, EndOfMessage
from gruvihttp.sansio.buffer import Buffer
from gruvihttp.sansio.content import decoder_of
from gruvihttp.sansio.framing import CHUNKED, NONE, UNTIL_CLOSE, Framing, length


def decode(framing: Framing, pieces: list[bytes], *, eof: bool = False, **options: Any) -> tuple[list[Any], bytes]:
    """All events, Data joined, up to the end or as far as the bytes go; and the bytes that are left."""
    settings = {"limits": Limits(), "tolerant_of_lf": False, "strict": True, **options}
    decoder = decoder_of(framing, **settings)
    buffer = Buffer()
    content, events = b"", []
    for piece in [*pieces, None] if eof else pieces:
        if piece is None:
            buffer.ended = True
        else:
            buffer.append(piece)
        while not events and (event := decoder.read(buffer)) is not NEED_DATA:
            if isinstance(event, Data):
                content += event.data
            else:
                events.append(event)
    return ([Data(content)] if content else []) + events, bytes(buffer)


def in_bytes(received: bytes) -> list[bytes]:
    return [received[i : i + 1] for i in range(len(received))]


END = EndOfMessage()


@pytest.mark.parametrize(
    ("framing", "received", "expected", "eof"),
    [
        pytest.param(NONE, b"", [END], True, id="none"),
        pytest.param(length(10), b"0123456789", [Data(b"0123456789"), END], False, id="length"),
        pytest.param(length(10), b"01234", [Data(b"01234")], False, id="length-not-yet"),
        pytest.param(UNTIL_CLOSE, b"", [END], True, id="until-close-nothing"),
        pytest.param(UNTIL_CLOSE, b"asdf", [Data(b"asdf")], False, id="until-close-not-yet"),
        pytest.param(UNTIL_CLOSE, b"asdf", [Data(b"asdf"), END], True, id="until-close"),
        pytest.param(CHUNKED, b"0\r\n\r\n", [END], False, id="no-chunks"),
        pytest.param(
            CHUNKED, b"0\r\nSome: header\r\n\r\n", [EndOfMessage(headers=[("Some", "header")])], False, id="trailers"
        ),
        pytest.param(
            CHUNKED,
            b"5\r\n01234\r\n10\r\n0123456789abcdef\r\n0\r\nSome: header\r\n\r\n",
            [Data(b"012340123456789abcdef"), EndOfMessage(headers=[("Some", "header")])],
            False,
            id="chunks-and-trailers",
        ),
        pytest.param(
            CHUNKED,
            b"aA\r\n" + b"x" * 0xAA + b"\r\n0\r\n\r\n",
            [Data(b"x" * 0xAA), END],
            False,
            id="upper-and-lower-case",
        ),
        pytest.param(
            CHUNKED,
            b'5; hello=there\r\nxxxxx\r\n0; random="junk"; some=more; canbe=lonnnnngg\r\n\r\n',
            [Data(b"xxxxx"), END],
            False,
            id="extensions",
        ),
        pytest.param(CHUNKED, b"5   \t \r\n01234\r\n0\r\n\r\n", [Data(b"01234"), END], False, id="blanks-after-size"),
    ],
)
def test_content_comes_out_however_it_arrives(framing: Framing, received: bytes, expected: Any, eof: bool) -> None:
    for pieces in ([received] if received else [], in_bytes(received)):
        assert decode(framing, pieces, eof=eof) == (expected, b"")
    if expected[-1:] == [END] and not eof:
        assert decode(framing, [received + b"trailing"]) == (expected, b"trailing")


@pytest.mark.parametrize(
    "received",
    [
        pytest.param(b"9" * 100 + b"\r\nxxx", id="endless-size"),
        pytest.param(b"10\x00\r\nxxx", id="nul"),
        pytest.param(b"3\r\nxxx__1a\r\n", id="no-crlf"),
        pytest.param(b"3\r\nxxx\r_1a\r\n", id="no-lf"),
        pytest.param(b"3\r\nxxx_\n1a\r\n", id="no-cr"),
    ],
)
def test_malformed_chunks_are_refused(received: bytes) -> None:
    for pieces in ([received], in_bytes(received)):
        with pytest.raises(RemoteProtocolError):
            decode(CHUNKED, pieces)


@pytest.mark.parametrize(
    ("framing", "received"),
    [(length(5), b""), (length(5), b"1234"), (CHUNKED, b""), (CHUNKED, b"5\r\n123"), (CHUNKED, b"0\r\n")],
)
def test_cut_content_is_never_complete(framing: Framing, received: bytes) -> None:
    with pytest.raises(IncompleteMessage):
        decode(framing, [received] if received else [], eof=True)


@pytest.mark.parametrize("extra", [0, 1])
def test_chunk_line_is_bounded_to_the_byte(extra: int) -> None:
    line = b"1;" + b"a" * (18 + extra)
    for pieces in ([line + b"\r\nx\r\n0\r\n\r\n"], in_bytes(line + b"\r\nx\r\n0\r\n\r\n")):
        if extra:
            with pytest.raises(RemoteProtocolError, match="too long"):
                decode(CHUNKED, pieces, limits=Limits(chunk_line_bytes=20))
        else:
            assert decode(CHUNKED, pieces, limits=Limits(chunk_line_bytes=20)) == ([Data(b"x"), END], b"")


@pytest.mark.parametrize("extra", [0, 1])
def test_trailers_are_bounded_to_the_byte(extra: int) -> None:
    section = b"X: " + b"y" * (15 + extra) + b"\r\n"
    for pieces in ([b"0\r\n" + section + b"\r\n"], in_bytes(b"0\r\n" + section + b"\r\n")):
        if extra:
            with pytest.raises(RemoteProtocolError, match="trailer"):
                decode(CHUNKED, pieces, limits=Limits(trailers_bytes=20))
        else:
            (end,), _ = decode(CHUNKED, pieces, limits=Limits(trailers_bytes=20))
            assert end.headers == [(b"x", b"y" * 15)]


def test_sum_of_chunks_is_bounded() -> None:
    with pytest.raises(ContentTooLarge):
        decode(CHUNKED, [b"5\r\nhello\r\n6\r\n"], limits=Limits(content_bytes=10))
    with pytest.raises(RemoteProtocolError, match="overflows"):
        decode(CHUNKED, [b"1\r\nx\r\n7FFFFFFFFFFFFFFF\r\n"])


@pytest.mark.parametrize("received", [b"0\r\n\n", b"0\r\nX: y\n\n", b"0\r\nX: y\n\r\n", b"0\r\nX: y\r\n\n"], ids=repr)
def test_bare_lf_ends_lines_of_trailers_for_whoever_tolerates_it(received: bytes) -> None:
    trailers = [(b"x", b"y")] if b"X" in received else []
    for pieces in ([received], in_bytes(received)):
        (end,), rest = decode(CHUNKED, pieces, tolerant_of_lf=True, strict=False)
        assert (end.headers, rest) == (trailers, b"")
        with pytest.raises(RemoteProtocolError):
            decode(CHUNKED, pieces, strict=False)
