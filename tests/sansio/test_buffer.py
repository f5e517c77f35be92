"""The buffer: bytes in their order, searched once."""

from __future__ import annotations

import pytest

from gruvihttp.sansio.buffer import Buffer


def buffer_with(*pieces: bytes) -> Buffer:
    buffer = Buffer()
    for piece in pieces:
        buffer.append(piece)
    return buffer


def test_bytes_are_taken_in_their_order() -> None:
    buffer = buffer_with()
    assert (len(buffer), bytes(buffer), buffer.take(10)) == (0, b"", b"")
    buffer.append(b"123")
    assert (len(buffer), bytes(buffer)) == (3, b"123")
    assert buffer.take(2) == b"12"
    assert (len(buffer), bytes(buffer)) == (1, b"3")
    buffer.append(b"45")
    assert buffer.take(2) == b"34"
    buffer.append(b"67")
    assert buffer.take(100) == b"567"
    assert (len(buffer), buffer.take(100)) == (0, b"")


def test_a_single_piece_is_handed_on_without_a_copy() -> None:
    piece = b"x" * 1000
    assert buffer_with(piece).take(2000) is piece


def test_what_is_taken_is_bytes_whatever_it_was_joined_from() -> None:
    buffer = buffer_with(b"ab", b"cd")
    assert [type(buffer.take(n)) for n in (1, 2, 5)] == [bytes] * 3


@pytest.mark.parametrize("cut", range(12))
def test_end_of_a_line_is_found_however_it_came(cut: int) -> None:
    buffer = buffer_with()
    received = b"12\r345\n6\r\n\n"
    ends = []
    for piece in (received[:cut], received[cut:]):
        if piece:
            buffer.append(piece)
        while end := buffer.find_line_end():
            ends.append(bytes(buffer.data[buffer.start : end]))
            buffer.skip_to(end)
    assert ends == [b"12\r345\n", b"6\r\n", b"\n"]
    assert len(buffer) == 0


@pytest.mark.parametrize("blank_line", [b"\r\n\r\n", b"\n\n", b"\r\n\n", b"\n\r\n"], ids=repr)
def test_first_blank_line_ends_a_head_however_it_came(blank_line: bytes) -> None:
    head = b"123\r\n\ra: b" + blank_line
    received = head + b"trailing\r\n\r\n"
    for cut in range(len(received)):
        buffer = buffer_with(received[:cut]) if cut else buffer_with()
        end = buffer.find_blank_line()
        assert (end == len(head)) is (cut >= len(head))
        buffer.append(received[cut:])
        end = buffer.find_blank_line() if not end else end
        assert bytes(buffer.data[buffer.start : end]) == head, cut
        buffer.skip_to(end)
        assert bytes(buffer) == b"trailing\r\n\r\n"


@pytest.mark.parametrize("received", [b"", b"\n", b"\r\n", b"a\r\n\r", b"a\r\n\rb\n", b"\r\n \r\n"], ids=repr)
def test_no_blank_line_is_found_where_there_is_none(received: bytes) -> None:
    buffer = buffer_with(*(bytes([byte]) for byte in received))
    assert buffer.find_blank_line() == 0


def test_what_was_searched_survives_more_bytes_and_taken_ones() -> None:
    buffer = buffer_with(b"abc\r\ndef")
    assert buffer.find_blank_line() == 0
    assert buffer.take(5) == b"abc\r\n"
    buffer.append(b"\r\n\r\nxyz")
    end = buffer.find_blank_line()
    assert bytes(buffer.data[buffer.start : end]) == b"def\r\n\r\n"
