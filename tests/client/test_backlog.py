"""`Backlog`: what waits comes out in order, whether it waited in memory or in a file."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest

from gruvihttp.errors import TransportError
from gruvihttp.exchanges.backlog import Backlog


def drained(backlog: Backlog) -> list[bytes]:
    taken = []
    while not backlog.empty:
        taken.append(backlog.take())
    return taken


def test_new_backlog_is_empty() -> None:
    backlog = Backlog(10, 10)
    assert backlog.empty
    assert not backlog.full


def test_pieces_come_out_as_they_were_as_long_as_they_fit() -> None:
    backlog = Backlog(6, 100)
    for piece in (b"ab", b"c", b"def"):
        backlog.append(piece)
    assert drained(backlog) == [b"ab", b"c", b"def"]
    assert backlog.empty


def test_what_does_not_fit_comes_out_behind() -> None:
    backlog = Backlog(3, 100)
    for piece in (b"ab", b"cd", b"e"):
        backlog.append(piece)
    assert backlog.take() == b"ab"
    backlog.append(b"f")  # there is room in memory, but order counts
    assert b"".join(drained(backlog)) == b"cdef"


def test_end_comes_last() -> None:
    backlog = Backlog(1, 100)
    backlog.append(b"ab")
    backlog.append(b"")
    assert drained(backlog) == [b"ab", b""]


def test_file_is_used_anew_once_it_is_drained() -> None:
    backlog = Backlog(1, 4)
    for _ in range(3):
        backlog.append(b"abcd")
        assert backlog.full
        assert backlog.take() == b"abcd"
        assert not backlog.full
        assert backlog.empty


def test_clear_drops_everything() -> None:
    backlog = Backlog(2, 100)
    for piece in (b"ab", b"cd", b""):
        backlog.append(piece)
    backlog.clear()
    assert backlog.empty
    backlog.append(b"x")
    assert drained(backlog) == [b"x"]


@pytest.mark.parametrize("seed", range(5))
def test_any_order_of_calls_keeps_the_stream(seed: int) -> None:
    chance = random.Random(seed)
    backlog = Backlog(500, 1 << 20)
    put = got = b""
    for _ in range(500):
        if chance.random() < 0.6:
            piece = chance.randbytes(chance.randrange(1, 300))
            backlog.append(piece)
            put += piece
        elif not backlog.empty:
            got += backlog.take()
    assert got + b"".join(drained(backlog)) == put


def test_file_has_no_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    backlog = Backlog(1, 100)
    backlog.append(b"secret")
    assert list(tmp_path.iterdir()) == []
    assert backlog.take() == b"secret"


def test_file_that_cannot_be_made_is_a_transport_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "missing"))
    with pytest.raises(TransportError, match="temporary file"):
        Backlog(1, 100).append(b"ab")


def test_file_that_cannot_be_read_is_a_transport_error() -> None:
    backlog = Backlog(1, 100)
    backlog.append(b"ab")
    assert backlog._file is not None
    os.close(backlog._file.fileno())
    with pytest.raises(TransportError):
        backlog.take()
    backlog.clear()
    assert backlog.empty
