"""`Link`: words of several greenlets, in pieces, and at the end."""

from __future__ import annotations

from collections.abc import Iterator

import gevent
import pytest
from gevent import socket

from gruvihttp.processes.link import Link

GUARD = 10.0


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair()
    ours.settimeout(GUARD)
    theirs.settimeout(GUARD)
    yield ours, theirs
    ours.close()
    theirs.close()


def test_words_come_with_what_goes_with_them(pair: tuple[socket.socket, socket.socket]) -> None:
    speaking, listening = map(Link, pair)
    speaking.say("ready")
    speaking.say("files", ["a", "caf\u00e9\n"])
    speaking.close()
    assert list(listening.messages()) == [("ready", None), ("files", ["a", "caf\u00e9\n"])]


def test_words_may_come_in_pieces_and_together(pair: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = pair
    messages = Link(theirs).messages()
    listening = gevent.spawn(list, messages)
    for piece in (b'["a', b'", 1]\n["b", 2]\n["c"', b", 3]\n"):
        ours.sendall(piece)
        gevent.idle()
    ours.shutdown(socket.SHUT_WR)
    assert listening.get(timeout=GUARD) == [("a", 1), ("b", 2), ("c", 3)]


def test_half_a_word_at_the_end_is_nothing(pair: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = pair
    ours.sendall(b'["a", 1]\n["b"')
    ours.close()
    assert list(Link(theirs).messages()) == [("a", 1)]


def test_long_words_of_several_greenlets_do_not_mix(pair: tuple[socket.socket, socket.socket]) -> None:
    speaking, listening = map(Link, pair)
    long = "x" * 300_000  # more than a socket takes at once
    heard = gevent.spawn(list, listening.messages())
    gevent.joinall([gevent.spawn(speaking.say, str(number), long) for number in range(5)], timeout=GUARD)
    speaking.close()
    assert sorted(heard.get(timeout=GUARD)) == [(str(number), long) for number in range(5)]


def test_what_is_said_to_nobody_is_no_error(pair: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = pair
    theirs.close()
    Link(ours).say("ready")
    assert list(Link(ours).messages()) == []
