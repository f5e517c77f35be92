"""Peers that read slowly, and peers that read too little: the first are waited for."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from time import monotonic
from typing import TypeAlias

import gevent
import pytest

from gruvihttp.errors import Timeout
from gruvihttp.net.deadline import moment_after
from gruvihttp.net.stall import Stall
from gruvihttp.net.transport import Transport
from gruvihttp.testing import memory_pair

Pair: TypeAlias = tuple[Transport, Transport]

MUCH = bytes(20_000_000)  # more than any socket buffers hold
STALL = 0.5


@pytest.fixture
def narrow() -> Iterator[Pair]:
    """A sender whose system takes a lot, and a receiver whose system takes little."""
    with socket.create_server(("127.0.0.1", 0)) as listener, socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 32768)
        client.connect(listener.getsockname())
        ends = Transport(listener.accept()[0]), Transport(client)
    yield ends
    for end in ends:
        end.close()


def read_slowly(channel: Transport, seconds: float) -> int:
    """Take some bytes every now and then, too little for the other system to say that there is room."""
    begun, taken = monotonic(), 0
    while monotonic() < begun + seconds:
        taken += len(channel.receive(moment_after(10), size=8192))
        gevent.sleep(0.02)
    return taken


def test_peer_that_reads_slowly_is_waited_for(narrow: Pair) -> None:
    here, there = narrow
    sender = gevent.spawn(here.send, MUCH, stall=STALL)
    taken = read_slowly(there, 3 * STALL)
    assert not sender.ready()
    while taken < len(MUCH):
        taken += len(there.receive(moment_after(10)))
    assert sender.get(timeout=10) is True


def test_peer_that_reads_too_little_is_a_timeout(narrow: Pair) -> None:
    here, there = narrow
    here.least_rate = 50_000_000
    sender = gevent.spawn(here.send, MUCH, stall=STALL)
    assert read_slowly(there, 2 * STALL) > 0
    with pytest.raises(Timeout) as caught:
        sender.get(timeout=10)
    assert caught.value.phase == "write"


def test_time_begins_anew_when_enough_was_taken_and_not_before() -> None:
    here, there = memory_pair()
    patience = Stall(here.get_extra_info("socket"), 10, least_rate=5)
    first = patience.deadline
    assert first is not None
    patience.accept(49)
    assert patience.deadline == first
    patience.accept(1)
    assert patience.deadline is not None
    assert patience.deadline > first
    assert patience.goes_on()
    here.close()
    there.close()


def test_what_the_system_still_holds_was_not_taken() -> None:
    here, there = memory_pair()
    here.send(bytes(5000))
    assert here.unread_bytes() >= 5000
    patience = Stall(here.get_extra_info("socket"), 0, least_rate=0)
    assert not patience.goes_on()
    there.receive(moment_after(10), size=5000)
    assert here.unread_bytes() == 0
    assert patience.goes_on()
    assert not patience.goes_on()
    there.close()
    here.close()
    assert here.unread_bytes() == 0


def test_without_a_timeout_time_is_never_over() -> None:
    here, there = memory_pair()
    patience = Stall(here.get_extra_info("socket"), None, least_rate=240)
    patience.accept(1)
    assert patience.deadline is None
    assert patience.goes_on()
    here.close()
    there.close()
