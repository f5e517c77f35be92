"""The output half of a channel: everything goes out once and in order, or the channel says that it is broken."""

from __future__ import annotations

import errno
import os
from array import array
from collections.abc import Callable
from time import monotonic
from typing import Any, TypeAlias

import gevent
import pytest

from gruvihttp.errors import Timeout, TransportError
from gruvihttp.net.deadline import moment_after
from gruvihttp.net.transport import Transport
from gruvihttp.testing import memory_pair

Pair: TypeAlias = tuple[Transport, Transport]
Until: TypeAlias = Callable[[Callable[[], object]], None]

MUCH = bytes(10_000_000)  # more than any socket buffers hold


def receive_size(channel: Transport, size: int) -> bytes:
    heard = bytearray()
    while len(heard) < size:
        part = channel.receive(moment_after(10))
        if not part:
            break
        heard += part
    return bytes(heard)


def is_sending(channel: Transport) -> bool:
    return "sending" in repr(channel)


def stuck_sender(channel: Transport, **kwargs: Any) -> gevent.Greenlet[..., bool]:
    sender = gevent.spawn(channel.send, MUCH, **kwargs)
    gevent.sleep(0)
    assert is_sending(channel)
    return sender


# what goes out


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"bytes", id="bytes"),
        pytest.param(bytearray(b"bytearray"), id="bytearray"),
        pytest.param(memoryview(b"memoryview"), id="memoryview"),
        pytest.param(memoryview(array("I", range(300_000))), id="memoryview of numbers"),
        pytest.param([memoryview(array("I", range(30_000))), b"tail"], id="buffers with numbers"),
        pytest.param([], id="no buffers"),
        pytest.param([b"", b""], id="empty buffers"),
        pytest.param([b"head", bytearray(b"-"), memoryview(b"content")], id="small buffers"),
        pytest.param([b"head", b"", os.urandom(300_000), b"tail"], id="a large buffer between small ones"),
        pytest.param([os.urandom(100) for _ in range(5000)], id="more buffers than one call takes"),
        pytest.param([os.urandom(1_000_000)] * 4, id="large buffers"),
    ],
)
def test_everything_is_sent_in_order(pair: Pair, content: Any) -> None:
    here, there = pair
    expected = b"".join(content) if isinstance(content, list) else bytes(content)
    reader = gevent.spawn(receive_size, there, len(expected))
    assert here.send(content, stall=10) is True
    assert reader.get(timeout=10) == expected


def test_try_send_returns_what_was_not_accepted(pair: Pair) -> None:
    here, there = pair
    content = os.urandom(10_000_000)
    rest = here.try_send(content)
    assert 0 < len(rest) < len(content)
    reader = gevent.spawn(receive_size, there, len(content))
    here.send(rest, stall=10)
    assert reader.get(timeout=10) == content


def test_try_send_accepts_nothing_when_output_is_stuck(pair: Pair) -> None:
    here, _ = pair
    rest = here.try_send(MUCH)
    while len(shorter := here.try_send(rest)) < len(rest):
        rest = shorter
    assert len(here.try_send(b"more")) == 4


def test_try_send_of_little_accepts_all(pair: Pair) -> None:
    here, _ = pair
    assert here.try_send(b"little") == b""


def test_hub_calls_once_when_there_is_room_again(pair: Pair, until: Until) -> None:
    here, there = pair
    content = os.urandom(len(MUCH))
    rest = memoryview(content)
    calls = 0

    def push() -> None:
        nonlocal rest, calls
        calls += 1
        rest = memoryview(here.try_send(rest))
        if rest:
            here.when_writable(push)

    push()
    assert rest
    assert receive_size(there, len(content)) == content
    assert not rest
    after = calls
    gevent.sleep(0)
    assert calls == after


def test_last_records_leave_by_themselves_after_try_send(tls: Pair) -> None:
    here, there = tls
    sent = bytearray()
    piece = os.urandom(16_000)
    while len(rest := here.try_send(piece)) < len(piece):
        sent += piece[: len(piece) - len(rest)]
    assert receive_size(there, len(sent)) == sent


def test_sending_nothing_waits_for_the_last_records(tls: Pair) -> None:
    here, there = tls
    rest = here.try_send(MUCH)
    waiting = gevent.spawn(here.send, b"", stall=10)
    gevent.sleep(0)
    assert not waiting.ready()
    receive_size(there, len(MUCH) - len(rest))
    assert waiting.get(timeout=10) is True


# both directions


def test_two_greenlets_may_use_a_channel_one_each_way(pair: Pair) -> None:
    here, there = pair
    content = os.urandom(300_0000)
    senders = [gevent.spawn(end.send, content, stall=10) for end in pair]
    readers = [gevent.spawn(receive_size, end, len(content)) for end in pair]
    assert [reader.get(timeout=20) for reader in readers] == [content, content]
    assert [sender.get(timeout=10) for sender in senders] == [True, True]


def test_both_ends_that_read_while_they_write_do_not_deadlock(pair: Pair) -> None:
    content = os.urandom(10_000_000)

    def talk(channel: Transport) -> bytes:
        heard = bytearray()

        def on_input() -> bool:
            heard.extend(channel.try_receive() or b"")
            return True

        assert channel.send(content, stall=10, on_input=on_input)
        return bytes(heard) + receive_size(channel, len(content) - len(heard))

    talking = [gevent.spawn(talk, end) for end in pair]
    for greenlet in talking:
        assert greenlet.get(timeout=30) == content


def test_input_that_ends_the_sending(pair: Pair, until: Until) -> None:
    here, there = pair
    heard: list[bytes | None] = []

    def on_input() -> bool:
        heard.append(here.try_receive())
        return heard[-1] is None

    sender = stuck_sender(here, on_input=on_input)
    there.send(b"413")
    assert sender.get(timeout=10) is False
    assert heard[-1] == b"413"
    assert here.broken
    with pytest.raises(TransportError, match="interrupted"):
        here.send(b"more")


def test_input_that_is_declined_is_not_offered_again_without_progress(pair: Pair, until: Until) -> None:
    here, there = pair
    calls = 0

    def on_input() -> bool:
        nonlocal calls
        calls += 1
        return True

    there.send(b"unread")
    sender = stuck_sender(here, on_input=on_input)
    until(lambda: calls)
    gevent.sleep(0.02)
    assert calls == 1
    receive_size(there, len(MUCH))
    assert sender.get(timeout=10) is True
    assert here.receive(moment_after(10)) == b"unread"


def test_end_of_input_does_not_end_sending(pair: Pair, until: Until) -> None:
    here, there = pair
    heard: list[bytes | None] = []

    def on_input() -> bool:
        heard.append(here.try_receive())
        return True

    there.shutdown_write()
    sender = stuck_sender(here, on_input=on_input)
    until(lambda: here.eof)
    gevent.sleep(0.02)
    assert heard.count(b"") == 1
    receive_size(there, len(MUCH))
    assert sender.get(timeout=10) is True


def test_receiver_gets_the_input_and_not_the_sender(pair: Pair) -> None:
    here, there = pair
    offered: list[bool] = []

    def on_input() -> bool:
        offered.append(True)
        return True

    reader = gevent.spawn(here.receive, moment_after(10))
    gevent.sleep(0)
    sender = stuck_sender(here, on_input=on_input)
    there.send(b"for the reader")
    assert reader.get(timeout=10) == b"for the reader"
    assert not offered
    sender.kill()


def test_parked_callback_is_back_after_a_send_that_read(pair: Pair, until: Until) -> None:
    here, there = pair
    sender = stuck_sender(here, on_input=lambda: here.try_receive() != b"")
    receive_size(there, len(MUCH))
    assert sender.get(timeout=10) is True
    heard: list[bytes | None] = []
    here.park(lambda: heard.append(here.try_receive()))
    there.send(b"next")
    until(lambda: b"next" in heard)


# waits that end otherwise


def test_peer_that_does_not_read_is_a_timeout_of_the_write_phase(pair: Pair) -> None:
    here, _ = pair
    with pytest.raises(Timeout) as caught:
        here.send(MUCH, stall=0.02)
    assert caught.value.phase == "write"
    assert here.broken
    with pytest.raises(TransportError, match="interrupted"):
        here.send(b"more")
    with pytest.raises(TransportError, match="interrupted"):
        here.send([bytes(100_000), b"more"])
    with pytest.raises(TransportError, match="interrupted"):
        here.try_send(b"more")


def test_progress_renews_the_patience() -> None:
    here, there = memory_pair(buffer_bytes=8192)
    size, stall = 200_000, 0.3
    sender = gevent.spawn(here.send, bytes(size), stall=stall)
    started = monotonic()
    heard = 0
    while heard < size:
        gevent.sleep(0.05)
        heard += len(there.receive(moment_after(10)))
    assert monotonic() > started + stall
    assert sender.get(timeout=10) is True


def test_killed_sender_leaves_the_channel_broken_but_readable(pair: Pair) -> None:
    here, there = pair
    sender = stuck_sender(here)
    sender.kill()
    assert here.broken
    with pytest.raises(TransportError, match="interrupted"):
        here.send(b"more")
    there.send(b"answer")
    assert here.receive(moment_after(10)) == b"answer"


def test_callers_own_timeout_passes_through_and_breaks_the_channel(pair: Pair) -> None:
    here, _ = pair
    with pytest.raises(gevent.Timeout), gevent.Timeout(0.01):
        here.send(MUCH)
    assert here.broken


def test_error_in_on_input_passes_through_and_breaks_the_channel(pair: Pair) -> None:
    here, there = pair

    def on_input() -> bool:
        raise ZeroDivisionError

    there.send(b"input")
    with pytest.raises(ZeroDivisionError):
        here.send(MUCH, on_input=on_input)
    assert here.broken


def test_second_sender_is_refused_and_the_first_goes_on(pair: Pair) -> None:
    here, there = pair
    sender = stuck_sender(here)
    for content in (b"small", [bytes(100_000)]):
        with pytest.raises(RuntimeError, match="already sending"):
            here.send(content)
    with pytest.raises(RuntimeError, match="already sending"):
        here.try_send(b"small")
    receive_size(there, len(MUCH))
    assert sender.get(timeout=10) is True
    assert here.send(b"after")


def test_sending_too_much_in_a_hub_callback_is_refused(tcp: Pair, until: Until) -> None:
    here, _ = tcp
    caught: list[BaseException] = []

    def callback() -> None:
        try:
            here.send(MUCH)
        except BaseException as exc:
            caught.append(exc)

    gevent.get_hub().loop.run_callback(callback)
    until(lambda: caught)
    assert here.broken


def test_close_wakes_the_sender(pair: Pair) -> None:
    here, _ = pair
    sender = stuck_sender(here)
    here.close()
    with pytest.raises(TransportError, match="closed"):
        sender.get(timeout=10)


def test_peer_that_resets_ends_the_sending(tcp: Pair) -> None:
    here, there = tcp
    sender = stuck_sender(here)
    there.abort()
    with pytest.raises(TransportError) as caught:
        sender.get(timeout=10)
    assert caught.value.errno in (errno.EPIPE, errno.ECONNRESET)
    assert here.broken


def test_what_the_peer_said_before_it_closed_can_be_read_after_a_failed_send() -> None:
    here, there = memory_pair()
    there.send(b"400")
    there.close()
    with pytest.raises(TransportError) as caught:
        here.send(b"request")
    assert caught.value.errno == errno.EPIPE
    assert here.receive(moment_after(10)) == b"400"
    assert here.receive(moment_after(10)) == b""


def test_gruvis_names_for_writing(pair: Pair) -> None:
    here, there = pair
    here.write(b"one ")
    here.writelines(iter([b"two ", b"three"]))
    assert here.can_write_eof()
    here.write_eof()
    assert receive_size(there, 100) == b"one two three"
    there.write(b"back")  # one way is closed, not the other
    assert receive_size(here, 4) == b"back"
