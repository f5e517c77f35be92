"""What a worker finds out about its own process."""

from __future__ import annotations

import pytest

from gruvihttp.commands import membership
from gruvihttp.commands.membership import resident_bytes

MIB = 1 << 20


def test_memory_that_is_taken_is_counted() -> None:
    before = resident_bytes()
    taken = bytearray(b"x") * (64 * MIB)
    assert 60 * MIB < resident_bytes() - before < 80 * MIB
    del taken


def test_most_that_was_taken_stands_in_where_the_system_does_not_tell_more(monkeypatch: pytest.MonkeyPatch) -> None:
    taken = bytearray(b"x") * (64 * MIB)
    told = resident_bytes()
    del taken
    monkeypatch.setattr(membership, "_STATM", "/nowhere")
    assert told - MIB <= resident_bytes() < 64 * told
