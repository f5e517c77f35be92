"""What `gruvihttp.testing` offers keeps its promises, also to tests that go wrong."""

from __future__ import annotations

import time

import gevent
import pytest

from gruvihttp.errors import Timeout, TransportError
from gruvihttp.testing import ManualClock, RawPeer, ScriptedPeer, memory_pair, replies


def test_clock_stands_still_until_it_is_advanced() -> None:
    clock = ManualClock(5.0)
    assert clock() == clock() == 5.0
    clock.advance(2.5)
    assert clock() == 7.5
    with pytest.raises(ValueError, match="back"):
        clock.advance(-1)


def test_memory_channel_records_each_send() -> None:
    here, there = memory_pair()
    here.send(b"one")
    here.send([b"two", b"three"])
    here.try_send(b"four")
    assert here.sends == [b"one", b"twothree", b"four"]
    assert there.receive() == b"onetwothreefour"
    assert there.sends == []
    here.close()
    there.close()


def test_memory_channel_records_only_what_was_accepted() -> None:
    here, there = memory_pair(buffer_bytes=4096)
    rest = here.try_send(bytes(1_000_000))
    [sent] = here.sends
    assert len(sent) + len(rest) == 1_000_000
    assert rest
    here.close()
    there.close()


def test_raw_peer_reads_by_size_by_marker_and_to_the_end() -> None:
    here, there = memory_pair()
    peer = RawPeer(here)
    there.send(b"abc\r\n\r\nrest\nend")
    there.close()
    assert peer.read(2) == b"ab"
    assert peer.read_until() == b"c\r\n\r\n"
    assert peer.read_until(b"\n") == b"rest\n"
    assert peer.read_to_end() == b"end"
    assert peer.read(5) == peer.read_until() == peer.read_to_end() == b""
    assert peer.received == b"abc\r\n\r\nrest\nend"
    peer.close()


def test_raw_peer_that_waits_too_long_says_so() -> None:
    here, there = memory_pair()
    with RawPeer(here, guard=0.01) as peer, pytest.raises(Timeout):
        peer.read(1)
    there.close()


def test_raw_peer_sends_in_pieces() -> None:
    here, there = memory_pair()
    reader = gevent.spawn(lambda: [there.receive() for _ in range(3)])
    gevent.sleep(0)
    RawPeer(here).send_in_pieces(b"abcde", size=2)
    assert reader.get(timeout=10) == [b"ab", b"cd", b"e"]
    here.close()
    there.close()


def test_scripted_peer_answers_and_records() -> None:
    with ScriptedPeer(replies(b"one", b"two", after=b".")) as peer:
        with RawPeer.connect(peer.address) as client:
            client.send(b"first.")
            assert client.read(3) == b"one"
            client.send(b"second.")
            assert client.read_to_end() == b"two"
        assert peer.received == b"first.second."
        assert peer.port == peer.address[1]


def test_each_connection_has_its_script_and_the_last_is_used_again() -> None:
    with ScriptedPeer(lambda peer: peer.send(b"1"), lambda peer: peer.send(b"2")) as peer:
        heard = [RawPeer.connect(peer.address).read_to_end() for _ in range(3)]
        assert heard == [b"1", b"2", b"2"]
        peer.wait_for_connections(3)
        peer.wait()


def test_patience_begins_with_the_wait_and_not_when_the_loop_ran_last(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gruvihttp.testing.GUARD_SECONDS", 0.4)
    with ScriptedPeer(lambda peer: peer.read_to_end()) as peer:
        client = RawPeer.connect(peer.address)
        peer.wait_for_connections()
        gevent.idle()
        time.sleep(0.5)  # the test works without gevent for a while, say with a subprocess
        client.close()
        peer.wait()


def test_error_of_a_script_is_raised_at_the_end() -> None:
    def script(peer: RawPeer) -> None:
        assert peer.read_to_end() == b"expected"

    with pytest.raises(AssertionError), ScriptedPeer(script) as peer:
        RawPeer.connect(peer.address).close()
        peer.wait_for_connections()
        peer.wait()


def test_error_of_a_script_does_not_hide_the_error_of_the_test() -> None:
    def script(peer: RawPeer) -> None:
        raise ZeroDivisionError

    with pytest.raises(KeyError) as caught, ScriptedPeer(script) as peer:
        RawPeer.connect(peer.address).close()
        peer.wait_for_connections()
        peer.wait()
        raise KeyError
    assert "ZeroDivisionError" in caught.value.__notes__[0]


def test_other_end_that_has_gone_is_no_error_of_a_script() -> None:
    def script(peer: RawPeer) -> None:
        while True:
            peer.send(bytes(65536))

    with ScriptedPeer(script) as peer:
        RawPeer.connect(peer.address).reset()
        peer.wait_for_connections()
        peer.wait()


def test_closing_ends_scripts_that_wait() -> None:
    with ScriptedPeer(RawPeer.read_to_end) as peer:
        client = RawPeer.connect(peer.address)
        peer.wait_for_connections()
    assert client.read_to_end() == b""
    client.close()
    with pytest.raises(TransportError):
        RawPeer.connect(peer.address)


def test_scripted_peer_needs_a_script() -> None:
    with pytest.raises(ValueError, match="script"):
        ScriptedPeer()
