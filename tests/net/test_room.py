"""`Room`: who goes for a newcomer. The connections are small stand-ins: what a protocol must answer, and no more."""

from __future__ import annotations

import pytest

from gruvihttp.net.room import Room


class Lying:
    """A connection that has been idle since a moment, or is busy (None)."""

    def __init__(self, since: float | None, *, refuses: bool = False) -> None:
        self.since = since
        self.refuses = refuses
        self.evicted = 0

    def idle_since(self) -> float | None:
        return self.since

    def evict(self) -> bool:
        if self.refuses:
            return False
        self.since = None
        self.evicted += 1
        return True


def test_longest_idle_connection_goes_first() -> None:
    room, connections = Room(), [Lying(3.0), Lying(1.0), Lying(2.0)]
    for expected in ([0, 1, 0], [0, 1, 1], [1, 1, 1]):
        assert room.make(connections, now=10.0)
        assert [each.evicted for each in connections] == expected
    assert not room.make(connections, now=10.0)


@pytest.mark.parametrize("since", [None, 10.5], ids=["busy", "idle-from-some-later-moment"])
def test_connection_that_is_not_idle_stays(since: float | None) -> None:
    stays, goes = Lying(since), Lying(9.0)
    room = Room()
    assert room.make([stays, goes], now=10.0)
    assert not room.make([stays, goes], now=10.0)
    assert (stays.evicted, goes.evicted) == (0, 1)


def test_connection_that_was_busy_meanwhile_has_a_new_place_in_the_order() -> None:
    first, second, third = Lying(1.0), Lying(2.0), Lying(3.0)
    room, connections = Room(), [first, second, third]
    assert room.make(connections, now=10.0)
    second.since = 11.0
    assert room.make(connections, now=12.0)
    assert (second.evicted, third.evicted) == (0, 1)
    assert room.make(connections, now=12.0)
    assert second.evicted == 1


def test_connection_that_turns_out_to_be_busy_is_passed_over() -> None:
    busy, idle = Lying(1.0, refuses=True), Lying(2.0)
    assert Room().make([busy, idle], now=10.0)
    assert idle.evicted == 1


def test_place_is_given_once_by_whoever_becomes_idle_first() -> None:
    room = Room()
    assert not room.take()
    room.is_wanted = True
    assert [room.take(), room.take()] == [True, False]
    assert room.evicted == 1


def test_connection_that_is_gone_is_no_candidate() -> None:
    room, connections = Room(), [Lying(1.0), Lying(2.0)]
    room.make(connections, now=10.0)
    connections.clear()
    assert not room.make(connections, now=10.0)
