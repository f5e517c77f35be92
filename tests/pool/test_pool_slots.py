"""Who gets a connection, when, and what becomes of the others. The connections here are counters, not sockets."""

from __future__ import annotations

import random
from collections.abc import Callable
from threading import Thread
from typing import Any

import gevent
import pytest
from gevent import GreenletExit

from gruvihttp import HttpError, Timeout
from gruvihttp.pool.slots import Slot, Slots

GUARD_SECONDS = 10.0


class Connection:
    """Counts how many are open, and remembers who watches."""

    open_count = 0

    def __init__(self) -> None:
        type(self).open_count += 1
        self.closed = False
        self.on_dead: Callable[[], object] | None = None

    def close(self) -> None:
        assert not self.closed
        self.closed = True
        type(self).open_count -= 1

    def watch(self, on_dead: Callable[[], object]) -> None:
        self.on_dead = on_dead

    def unwatch(self) -> None:
        self.on_dead = None


@pytest.fixture(autouse=True)
def nothing_stays_open() -> Any:
    Connection.open_count = 0
    yield
    assert Connection.open_count == 0


@pytest.fixture
def make() -> Any:
    made: list[Slots] = []

    def make_slots(*args: Any) -> Slots:
        made.append(Slots(*args))
        return made[-1]

    yield make_slots
    for slots in made:
        slots.close()


def take(slots: Slots, origin: str, timeout: float | None = GUARD_SECONDS) -> Slot:
    slot = slots.take(origin, timeout)
    if slot.connection is None:
        slot.connection = Connection()
    return slot


def waiting(slots: Slots, *origins: str) -> list[Any]:
    """Greenlets that wait for these origins, in this order."""
    greenlets = []
    for origin in origins:
        greenlets.append(gevent.spawn(take, slots, origin))
        before = slots.counts.waiting
        while slots.counts.waiting == before:
            gevent.idle()
    return greenlets


def got(*greenlets: Any) -> list[Slot]:
    gevent.joinall(greenlets, timeout=GUARD_SECONDS, raise_error=True)
    return [greenlet.value for greenlet in greenlets]


def test_latest_idle_connection_is_taken_first(make: Any) -> None:
    slots = make()
    first, second = take(slots, "a"), take(slots, "a")
    slots.give_back(first)
    slots.give_back(second)
    assert slots.counts == (0, 2, 0)
    assert take(slots, "a") is second
    assert take(slots, "a") is first
    assert slots.counts == (2, 0, 0)
    slots.drop(first)
    slots.drop(second)
    assert slots.counts == (0, 0, 0)


def test_giving_back_twice_or_after_a_drop_does_no_harm(make: Any) -> None:
    slots = make()
    slot, other = take(slots, "a"), take(slots, "a")
    slots.give_back(slot)
    slots.give_back(slot)
    slots.drop(slot)
    assert slots.counts == (1, 1, 0)
    slots.drop(other)
    slots.give_back(other)
    slots.drop(other)
    assert slots.counts == (0, 1, 0)


def test_origin_at_its_limit_keeps_others_free(make: Any) -> None:
    slots = make(1, 10)
    slot = take(slots, "a")
    other = take(slots, "b")
    with pytest.raises(Timeout, match="no connection to a became free in 0 s; 1 of 1 are in use, 2 of 10 in all") as e:
        slots.take("a", 0)
    assert e.value.phase == "pool"
    slots.drop(slot)
    slots.drop(other)


def test_those_who_wait_are_served_in_their_order(make: Any) -> None:
    slots = make(1, 10)
    slot = take(slots, "a")
    greenlets = waiting(slots, "a", "a", "a")
    for greenlet in greenlets:
        slots.give_back(slot)
        assert got(greenlet) == [slot]
        assert slots.counts.taken == 1
    slots.drop(slot)


def test_newcomer_does_not_overtake_those_who_wait(make: Any) -> None:
    slots = make(1, 10)
    slot = take(slots, "a")
    [greenlet] = waiting(slots, "a")
    slots.give_back(slot)  # and nobody has run since
    with pytest.raises(Timeout):
        slots.take("a", 0)
    assert got(greenlet) == [slot]
    slots.drop(slot)


def test_dropped_connection_makes_room_for_the_first_who_waits(make: Any) -> None:
    slots = make(1, 10)
    slot = take(slots, "a")
    [greenlet] = waiting(slots, "a")
    slots.drop(slot)
    [new] = got(greenlet)
    assert new is not slot
    assert slots.counts == (1, 0, 0)
    slots.drop(new)


def test_origin_idle_for_longest_gives_way_at_the_limit_for_all(make: Any) -> None:
    slots = make(2, 3)
    a, b, c = take(slots, "a"), take(slots, "b"), take(slots, "c")
    for slot in (b, a, c):
        slots.give_back(slot)
    d = take(slots, "d")
    assert (b.connection, slots.counts) == (None, (1, 2, 0))
    assert take(slots, "a") is a
    for slot in (a, d):
        slots.drop(slot)


def test_who_waits_for_room_is_served_by_another_origins_return(make: Any) -> None:
    slots = make(2, 2)
    a, other = take(slots, "a"), take(slots, "a")
    for_b, for_a = waiting(slots, "b", "a")
    slots.give_back(a)  # the one for b came first: this connection is closed for it
    [b] = got(for_b)
    assert a.connection is None
    slots.give_back(other)
    assert got(for_a) == [other]
    assert slots.counts == (2, 0, 0)
    slots.drop(b)
    slots.drop(other)


def test_earlier_one_of_the_same_origin_is_served_before_a_later_one_of_another(make: Any) -> None:
    slots = make(2, 2)
    a, other = take(slots, "a"), take(slots, "a")
    for_a, for_b = waiting(slots, "a", "b")
    slots.give_back(a)
    assert got(for_a) == [a]
    slots.drop(other)
    [b] = got(for_b)
    slots.drop(a)
    slots.drop(b)


def test_who_waits_for_room_of_its_own_origin_gets_the_connection_itself(make: Any) -> None:
    slots = make(2, 2)
    a, b = take(slots, "a"), take(slots, "b")
    [greenlet] = waiting(slots, "a")
    slots.give_back(a)
    assert got(greenlet) == [a]
    assert a.connection is not None
    slots.drop(a)
    slots.drop(b)


def test_connection_that_nobody_who_waits_can_use_becomes_idle(make: Any) -> None:
    slots = make(1, 10)
    a, b = take(slots, "a"), take(slots, "b")
    [greenlet] = waiting(slots, "a")
    slots.give_back(b)
    assert slots.counts == (1, 1, 1)
    slots.drop(a)
    [a] = got(greenlet)
    slots.drop(a)


def test_timeout_leaves_the_queue(make: Any) -> None:
    slots = make(1, 10)
    slot = take(slots, "a")
    with pytest.raises(Timeout, match="became free"):
        slots.take("a", 0.01)
    assert slots.counts == (1, 0, 0)
    slots.give_back(slot)
    assert slots.counts == (0, 1, 0)


@pytest.mark.parametrize("give", [pytest.param(True, id="given-back"), pytest.param(False, id="dropped")])
@pytest.mark.parametrize("strike", [GreenletExit, gevent.Timeout, ValueError])
def test_slot_handed_to_a_greenlet_that_is_struck_goes_on_to_the_next(make: Any, give: bool, strike: Any) -> None:
    slots = make(1, 10)
    slot = take(slots, "a")
    first, second = waiting(slots, "a", "a")
    first.kill(strike, block=False)  # it is struck in the next pass of the loop, and knows nothing of
    (slots.give_back if give else slots.drop)(slot)  # this yet
    [slot] = got(second)
    assert slots.counts == (1, 0, 0)
    slots.drop(slot)


def test_killed_greenlet_stops_waiting(make: Any) -> None:
    slots = make(1, 10)
    slot = take(slots, "a")
    first, second = waiting(slots, "a", "a")
    first.kill()
    assert slots.counts == (1, 0, 1)
    slots.give_back(slot)
    assert got(second) == [slot]
    slots.drop(slot)


def test_close_sends_those_away_who_wait_and_closes_what_comes_back(make: Any) -> None:
    slots = make(1, 10)
    slot, idle = take(slots, "a"), take(slots, "b")
    slots.give_back(idle)
    [greenlet] = waiting(slots, "a")
    slots.close()
    with pytest.raises(HttpError, match="the pool is closed"):
        got(greenlet)
    with pytest.raises(HttpError, match="the pool is closed"):
        slots.take("a")
    assert slots.counts == (1, 0, 0)
    slots.give_back(slot)
    assert slots.counts == (0, 0, 0)
    slots.close()


def test_idle_connections_expire_and_others_stay(make: Any) -> None:
    slots = make(10, 10, 0.05)
    first, second, busy = take(slots, "a"), take(slots, "b"), take(slots, "a")
    slots.give_back(first)
    slots.give_back(second)
    with gevent.Timeout(GUARD_SECONDS):
        while slots.counts.idle:
            gevent.sleep(0.01)
    assert slots.counts == (1, 0, 0)
    slots.drop(busy)


def test_idle_connection_that_is_watched_goes_when_it_dies(make: Any) -> None:
    slots = make()
    slot = take(slots, "a")
    slots.give_back(slot)
    slot.idle_since -= 2  # so long ago that it is looked at
    slots._look_after_idle()
    connection = slot.connection
    assert connection.on_dead is not None
    slots._look_after_idle()
    connection.on_dead()
    assert slots.counts == (0, 0, 0)


def test_watched_connection_is_not_watched_once_it_is_taken(make: Any) -> None:
    slots = make()
    slot = take(slots, "a")
    slots.give_back(slot)
    slot.idle_since -= 2
    slots._look_after_idle()
    assert take(slots, "a") is slot
    assert slot.connection.on_dead is None
    slots.drop(slot)


def test_origins_that_are_not_used_are_forgotten(make: Any) -> None:
    slots = make(2, 4)
    for number in range(100):
        slots.give_back(take(slots, str(number)))
    assert len(slots._lines) == 4
    with pytest.raises(Timeout):
        _ = [take(slots, "x", 0), take(slots, "x", 0), slots.take("x", 0)]
    slots.close()
    assert set(slots._lines) == {"x"}
    for slot in [slot for line in slots._lines.values() for slot in line.idle]:
        slots.drop(slot)
    Connection.open_count = 0


@pytest.mark.parametrize("idle", [False, True])
def test_other_thread_is_told_that_it_needs_a_pool_of_its_own(make: Any, idle: bool) -> None:
    slots = make()
    refused = []
    if idle:
        slot = slots.take("a")
        slot.connection = Connection()
        slots.give_back(slot)

    def use() -> None:
        with pytest.raises(RuntimeError, match="make one for each"):
            slots.take("a")
        refused.append(True)

    thread = Thread(target=use)
    thread.start()
    thread.join()
    assert refused


@pytest.mark.parametrize("seed", range(10))
def test_whatever_happens_limits_hold_and_nothing_is_lost(make: Any, seed: int) -> None:
    """Greenlets take, keep for a while, give back, drop, and are struck at any moment."""
    slots, chance = make(3, 5), random.Random(seed)
    most = {"all": 0}

    def use() -> None:
        for _ in range(20):
            origin = chance.choice("abcd")
            try:
                slot = take(slots, origin, chance.choice([None, 0, 0.001, 5]))
            except Timeout:
                continue
            try:
                held[origin] += 1
                assert held[origin] <= 3
                assert sum(held.values()) <= 5
                most["all"] = max(most["all"], sum(held.values()))
                for _ in range(chance.randrange(3)):
                    gevent.sleep(0)
            except BaseException:
                slots.drop(slot)
                raise
            finally:
                held[origin] -= 1
            (slots.give_back if chance.random() < 0.7 else slots.drop)(slot)

    held = dict.fromkeys("abcd", 0)
    greenlets = [gevent.spawn(use) for _ in range(30)]
    while not all(greenlet.dead for greenlet in greenlets):
        chance.choice(greenlets).kill(block=False) if chance.random() < 0.2 else gevent.sleep(0.0005)
    gevent.joinall(greenlets, raise_error=True)
    taken, idle, waiters = slots.counts
    assert (taken, waiters) == (0, 0)
    assert Connection.open_count == idle == slots._slots_count
    assert most["all"] == 5
