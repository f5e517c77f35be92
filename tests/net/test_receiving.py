"""The input half of a channel: every wait ends as it should, and no byte is lost by it."""

from __future__ import annotations

import errno
import ssl
from collections.abc import Callable
from itertools import pairwise
from time import monotonic
from typing import TypeAlias

import gevent
import pytest

from gruvihttp.errors import Timeout, TransportError
from gruvihttp.net.deadline import moment_after
from gruvihttp.net.receiving import LARGE_READ_BYTES, READ_BYTES
from gruvihttp.net.transport import Transport

Pair: TypeAlias = tuple[Transport, Transport]
Until: TypeAlias = Callable[[Callable[[], object]], None]


def receive_all(channel: Transport) -> bytes:
    parts = []
    while part := channel.receive(moment_after(10)):
        parts.append(part)
    return b"".join(parts)


def is_receiving(channel: Transport) -> bool:
    return "receiving" in repr(channel)


# receive and try_receive


def test_bytes_arrive_in_order(pair: Pair) -> None:
    here, there = pair
    content = bytes(range(256)) * 2000

    def send() -> None:
        there.send(content)
        there.shutdown_write()

    sender = gevent.spawn(send)
    assert receive_all(here) == content
    sender.get(timeout=10)


def test_reads_become_larger_while_much_arrives_and_small_again(pair: Pair) -> None:
    here, there = pair
    sending = gevent.spawn(there.send, bytes(3_000_000))
    sizes = [0]
    while sum(sizes) < 3_000_000:
        sizes.append(len(here.receive(moment_after(10))))
    sending.get(timeout=10)
    for before, size in pairwise(sizes):
        assert size <= (READ_BYTES if before < READ_BYTES else LARGE_READ_BYTES)


def test_single_bytes_arrive(pair: Pair) -> None:
    here, there = pair
    for byte in b"dribble":
        there.send(bytes([byte]))
        assert here.receive(moment_after(10)) == bytes([byte])


def test_nothing_yet_is_none(pair: Pair) -> None:
    here, _ = pair
    assert here.try_receive() is None


def test_end_of_stream_is_empty_and_stays_so(pair: Pair) -> None:
    here, there = pair
    there.shutdown_write()
    assert here.receive(moment_after(10)) == b""
    assert here.eof
    assert here.receive(moment_after(10)) == b""
    assert here.try_receive() == b""


def test_content_before_the_end_comes_first(pair: Pair, until: Until) -> None:
    here, there = pair
    there.send(b"last words")
    there.close()
    assert here.receive(moment_after(10)) == b"last words"
    assert here.receive(moment_after(10)) == b""


def test_reset_is_a_transport_error_with_errno(tcp: Pair) -> None:
    here, there = tcp
    there.abort()
    with pytest.raises(TransportError) as caught:
        here.receive(moment_after(10))
    assert caught.value.errno == errno.ECONNRESET
    assert isinstance(caught.value.__cause__, ConnectionResetError)
    assert here.broken
    assert here.error is not None
    assert (here.error.args, here.error.__traceback__) == (caught.value.args, None)  # frames would be kept with it


def test_other_greenlets_run_while_one_receives(pair: Pair) -> None:
    here, there = pair
    waiting = gevent.spawn(here.receive, moment_after(10))
    gevent.sleep(0)
    assert is_receiving(here)
    there.send(b"now")
    assert waiting.get(timeout=10) == b"now"
    assert not is_receiving(here)


# deadlines


def test_deadline_ends_the_wait_and_names_the_phase(pair: Pair) -> None:
    here, _ = pair
    with pytest.raises(Timeout) as caught:
        here.receive(moment_after(0.02), "head")
    assert caught.value.phase == "head"
    assert "head" in str(caught.value)


def test_nothing_is_lost_by_a_deadline(pair: Pair) -> None:
    here, there = pair
    with pytest.raises(Timeout):
        here.receive(moment_after(0.01))
    there.send(b"late")
    assert here.receive(moment_after(10)) == b"late"
    assert not here.broken


def test_past_deadline_times_out(pair: Pair) -> None:
    here, _ = pair
    assert here.try_receive() is None
    with pytest.raises(Timeout):
        here.receive(monotonic() - 1)


def test_past_deadline_still_returns_what_is_there(pair: Pair) -> None:
    here, there = pair
    assert here.try_receive() is None
    there.send(b"there already")
    assert here.receive(monotonic() - 1) == b"there already"


def test_dribbled_bytes_do_not_move_the_deadline(pair: Pair) -> None:
    here, there = pair

    def dribble() -> None:
        while not there.broken:
            there.send(b".")
            gevent.sleep(0.005)

    dribbling = gevent.spawn(dribble)
    deadline = monotonic() + 0.1
    with pytest.raises(Timeout):
        while True:
            here.receive(deadline)
    assert monotonic() >= deadline
    dribbling.kill()


def test_deadline_of_one_wait_does_not_end_the_next(pair: Pair) -> None:
    here, there = pair
    there.send(b"a")
    assert here.receive(moment_after(0.02)) == b"a"
    waiting = gevent.spawn(here.receive)
    assert not waiting.ready()
    gevent.spawn_later(0.05, there.send, b"b")
    assert waiting.get(timeout=10) == b"b"


# foreign exceptions


def test_killed_receiver_loses_nothing(pair: Pair) -> None:
    here, there = pair
    waiting = gevent.spawn(here.receive)
    gevent.sleep(0)
    waiting.kill()
    there.send(b"kept")
    assert here.receive(moment_after(10)) == b"kept"


def test_callers_own_timeout_passes_through(pair: Pair) -> None:
    here, there = pair
    with pytest.raises(gevent.Timeout), gevent.Timeout(0.01):
        here.receive(moment_after(10))
    there.send(b"kept")
    assert here.receive(moment_after(10)) == b"kept"


def test_second_receiver_is_refused_and_the_first_goes_on(pair: Pair) -> None:
    here, there = pair
    waiting = gevent.spawn(here.receive, moment_after(10))
    gevent.sleep(0)
    with pytest.raises(RuntimeError, match="already receiving"):
        here.receive(moment_after(10))
    there.send(b"first")
    assert waiting.get(timeout=10) == b"first"


def test_receiving_in_a_hub_callback_is_refused(tcp: Pair, until: Until) -> None:
    here, there = tcp
    caught: list[BaseException] = []

    def callback() -> None:
        try:
            here.receive()
        except BaseException as exc:
            caught.append(exc)

    gevent.get_hub().loop.run_callback(callback)
    until(lambda: caught)
    there.send(b"kept")
    assert here.receive(moment_after(10)) == b"kept"


def test_close_wakes_the_receiver(pair: Pair) -> None:
    here, _ = pair
    waiting = gevent.spawn(here.receive)
    gevent.sleep(0)
    here.close()
    with pytest.raises(TransportError, match="closed"):
        waiting.get(timeout=10)


def test_close_does_not_disturb_a_receiver_that_was_killed_before(pair: Pair) -> None:
    here, _ = pair
    done: list[str] = []

    def work() -> None:
        try:
            here.receive()
        finally:
            gevent.sleep(0.01)  # a switch that was meant for `receive` would end this with an error
            done.append("slept")

    waiting = gevent.spawn(work)
    gevent.sleep(0)
    waiting.kill(block=False)
    here.close()
    waiting.join(timeout=10)
    assert done == ["slept"]


# parking


def test_parked_callback_is_called_for_each_input(pair: Pair, until: Until) -> None:
    here, there = pair
    heard: list[bytes | None] = []
    here.park(lambda: heard.append(here.try_receive()))
    there.send(b"one")
    until(lambda: b"one" in heard)
    there.send(b"two")
    until(lambda: b"two" in heard)


def test_parked_callback_is_called_for_input_that_came_before(pair: Pair, until: Until) -> None:
    here, there = pair
    there.send(b"early")
    heard: list[bytes | None] = []
    here.park(lambda: heard.append(here.try_receive()))
    until(lambda: b"early" in heard)


def test_parked_callback_is_called_for_the_end(pair: Pair, until: Until) -> None:
    here, there = pair
    heard: list[bytes | None] = []

    def callback() -> None:
        heard.append(here.try_receive())
        if heard[-1] == b"":
            here.close()

    here.park(callback)
    there.close()
    until(lambda: here.closed)
    assert heard[-1] == b""


def test_nobody_is_called_after_unpark_and_input_is_kept(pair: Pair, until: Until) -> None:
    here, there = pair
    calls: list[None] = []
    here.park(lambda: calls.append(None))
    here.unpark()
    there.send(b"kept")
    until(lambda: not here._watcher.active)  # it does not spin on input that nobody wants
    assert not calls
    assert here.receive(moment_after(10)) == b"kept"


def test_parking_again_finds_input_that_came_meanwhile(pair: Pair, until: Until) -> None:
    here, there = pair
    here.park(lambda: None)
    here.unpark()
    there.send(b"meanwhile")
    until(lambda: not here._watcher.active)
    heard: list[bytes | None] = []
    here.park(lambda: heard.append(here.try_receive()))
    until(lambda: b"meanwhile" in heard)


def test_receiver_goes_before_the_parked_callback(pair: Pair, until: Until) -> None:
    here, there = pair
    parked: list[bytes | None] = []
    here.park(lambda: parked.append(here.try_receive()))
    waiting = gevent.spawn(here.receive, moment_after(10))
    gevent.sleep(0)
    there.send(b"for the greenlet")
    assert waiting.get(timeout=10) == b"for the greenlet"
    there.send(b"for the callback")
    until(lambda: b"for the callback" in parked)


def test_parked_callback_that_raises_is_reported_and_parking_works_again(
    pair: Pair, until: Until, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, there = pair
    reported: list[object] = []
    monkeypatch.setattr(gevent.get_hub(), "print_exception", lambda context, kind, *_: reported.append(kind))

    def callback() -> None:
        raise ZeroDivisionError

    here.park(callback)
    there.send(b"kept")
    until(lambda: reported)
    assert reported == [ZeroDivisionError]
    heard: list[bytes | None] = []
    here.park(lambda: heard.append(here.try_receive()))
    until(lambda: b"kept" in heard)


def test_records_that_the_handshake_read_are_offered_when_parking(
    tcp: Pair, until: Until, server_tls: ssl.SSLContext, client_tls: ssl.SSLContext
) -> None:
    """A client may send its first request in one piece with the end of the handshake."""
    here, there = tcp
    accepted = gevent.spawn(here.start_tls, server_tls, True, None, moment_after(10))
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    session = client_tls.wrap_bio(incoming, outgoing, server_hostname="localhost")
    while True:
        try:
            session.do_handshake()
            break
        except ssl.SSLWantReadError:
            there.send(outgoing.read())
            incoming.write(there.receive(moment_after(10)))
    session.write(b"request")
    there.send(outgoing.read())
    accepted.get(timeout=10)
    heard: list[bytes | None] = []
    here.park(lambda: heard.append(here.try_receive()))
    until(lambda: b"request" in heard)


def test_more_than_one_read_of_tls_is_offered_without_more_input(tls: Pair, until: Until) -> None:
    here, there = tls
    content = bytes(200_000)
    sender = gevent.spawn(there.send, content)
    heard = bytearray()

    here.park(lambda: heard.extend(here.try_receive() or b""))
    until(lambda: len(heard) == len(content))
    sender.get(timeout=10)


def test_parked_callback_is_called_for_an_end_that_was_read_with_content(tls: Pair, until: Until) -> None:
    here, there = tls
    heard: list[bytes | None] = []

    def callback() -> None:
        heard.append(here.try_receive())
        if heard[-1] == b"":
            here.unpark()

    here.park(callback)
    there.send(b"content")
    there._tls.close_notify()  # type: ignore[union-attr]  # the socket itself stays open
    until(lambda: b"" in heard)
    assert b"content" in heard
