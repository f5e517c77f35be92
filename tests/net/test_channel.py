"""A channel's beginning, its end and its facts."""

from __future__ import annotations

import _socket
import errno
import os
import socket
import ssl
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from threading import Thread
from time import monotonic
from typing import Any, TypeAlias

import gevent
import pytest
from gevent import socket as gevent_socket

from gruvihttp.errors import TransportError
from gruvihttp.net.channel import Channel
from gruvihttp.net.deadline import moment_after
from gruvihttp.net.sockets import format_address, take_over
from gruvihttp.net.transport import Transport
from gruvihttp.testing import memory_pair

Pair: TypeAlias = tuple[Transport, Transport]
Until: TypeAlias = Callable[[Callable[[], object]], None]


# taking over


def raw_pair() -> tuple[Any, Any]:
    return _socket.socketpair()


def gevent_pair() -> tuple[Any, Any]:
    return gevent_socket.socketpair()


def descriptor_pair() -> tuple[Any, Any]:
    one, other = socket.socketpair()
    return one.detach(), other.detach()


@pytest.mark.parametrize("make", [raw_pair, socket.socketpair, gevent_pair, descriptor_pair])
def test_sockets_of_all_libraries_are_taken_over(make: Callable[[], tuple[Any, Any]]) -> None:
    one, other = make()
    here, there = Channel(one), Channel(other)
    there.send(b"hello")
    assert here.receive(moment_after(10)) == b"hello"
    here.close()
    there.close()
    if isinstance(one, socket.socket):
        assert one.fileno() == -1  # not its owner any more


def test_tls_socket_is_refused(client_tls: ssl.SSLContext) -> None:
    one, other = socket.socketpair()
    wrapped = client_tls.wrap_socket(one, server_hostname="localhost", do_handshake_on_connect=False)
    with wrapped, other, pytest.raises(TypeError, match="TLS socket"):
        Channel(wrapped)


@pytest.mark.parametrize("thing", ["path", None, True, 1.5])
def test_other_things_are_refused(thing: Any) -> None:
    with pytest.raises(TypeError, match="expected a socket"):
        take_over(thing)


def test_descriptor_that_is_no_socket_is_an_os_error() -> None:
    reading, writing = os.pipe()
    try:
        with pytest.raises(OSError) as caught:
            take_over(reading)
        assert caught.value.errno == errno.ENOTSOCK
    finally:
        os.close(reading)
        os.close(writing)


def test_tcp_is_not_delayed(tcp: Pair) -> None:
    for end in tcp:
        assert end.get_extra_info("socket").getsockopt(_socket.IPPROTO_TCP, _socket.TCP_NODELAY)


# ending


def test_close_is_idempotent_and_tells_once(pair: Pair) -> None:
    here, _ = pair
    closed: list[Channel] = []
    here.on_close = closed.append
    here.close()
    here.close()
    here.abort()
    assert closed == [here]
    assert here.closed
    assert here.fileno() == -1


@pytest.mark.parametrize("end", ["close", "abort"])
@pytest.mark.parametrize(
    "use",
    [
        pytest.param(lambda channel: channel.receive(), id="receive"),
        pytest.param(lambda channel: channel.try_receive(), id="try_receive"),
        pytest.param(lambda channel: channel.send(b"x"), id="send"),
        pytest.param(lambda channel: channel.send([bytes(40_000)] * 2), id="send buffers"),
        pytest.param(lambda channel: channel.try_send(b"x"), id="try_send"),
        pytest.param(lambda channel: channel.park(lambda: None), id="park"),
        pytest.param(lambda channel: channel.when_writable(lambda: None), id="when_writable"),
    ],
)
def test_closed_channel_cannot_be_used(pair: Pair, use: Callable[[Channel], object], end: str) -> None:
    here, _ = pair
    assert here.try_receive() is None
    getattr(here, end)()
    with pytest.raises(TransportError, match="closed"):
        use(here)


def test_unparking_a_closed_channel_is_quiet(pair: Pair) -> None:
    here, _ = pair
    here.close()
    here.unpark()


def test_nobody_is_called_after_close(pair: Pair, until: Until) -> None:
    here, there = pair
    calls: list[None] = []
    here.park(lambda: calls.append(None))
    there.send(b"input")
    here.close()
    until(lambda: gevent.get_hub().loop.pendingcnt == 0)
    assert not calls


def test_channel_may_be_closed_in_its_own_callback(pair: Pair, until: Until) -> None:
    here, there = pair
    here.park(here.close)
    there.send(b"input")
    until(lambda: here.closed)


def test_descriptor_can_be_used_again_at_once(until: Until) -> None:
    """The watchers of a closed channel must not hear, nor disturb, the next owner of its descriptor."""
    here, there = memory_pair()
    heard: list[str] = []
    here.park(lambda: heard.append("old"))
    gevent.sleep(0)
    descriptor = here.fileno()
    here.close()
    there.close()
    new_here, new_there = memory_pair()
    assert descriptor in (new_here.fileno(), new_there.fileno())
    for end, other in ((new_here, new_there), (new_there, new_here)):
        end.park(lambda: heard.append("new"))
        other.send(b"input")
        until(lambda: heard)
        assert set(heard) == {"new"}
        end.unpark()
        heard.clear()


def test_half_closed_channel_still_receives(pair: Pair) -> None:
    here, there = pair
    here.send(b"question")
    here.shutdown_write()
    assert there.receive(moment_after(10)) == b"question"
    assert there.receive(moment_after(10)) == b""
    there.send(b"answer")
    there.close()
    assert here.receive(moment_after(10)) == b"answer"
    assert here.receive(moment_after(10)) == b""


def test_half_closing_loses_no_input_that_has_arrived(pair: Pair) -> None:
    here, there = pair
    there.send(b"first ")
    assert here.receive(moment_after(10)) == b"first "
    content = os.urandom(150_000)
    sender = gevent.spawn(there.send, content)
    heard = bytearray(here.receive(moment_after(10)))
    here.shutdown_write()
    while len(heard) < len(content):
        heard += here.receive(moment_after(10))
    assert heard == content
    assert sender.get(timeout=10)


def test_nothing_can_be_sent_after_half_closing(pair: Pair) -> None:
    here, _ = pair
    here.shutdown_write()
    with pytest.raises(TransportError):
        here.send(b"more")
    here.shutdown_write()


def test_linger_drops_what_comes_until_the_end(pair: Pair) -> None:
    here, there = pair

    def send() -> None:
        there.send(bytes(300_000))
        there.close()

    sender = gevent.spawn(send)
    assert here.linger(1 << 20, moment_after(10)) is True
    sender.get(timeout=10)


def test_linger_gives_up_after_so_many_bytes(pair: Pair) -> None:
    here, there = pair
    sender = gevent.spawn(there.send, bytes(3_000_000))
    assert here.linger(100_000, moment_after(10)) is False
    sender.kill()


def test_linger_gives_up_at_the_deadline(pair: Pair) -> None:
    here, there = pair
    there.send(b"some")
    deadline = monotonic() + 0.02
    assert here.linger(1 << 20, deadline) is False
    assert monotonic() >= deadline


def test_linger_ends_when_the_peer_resets(tcp: Pair) -> None:
    here, there = tcp
    there.abort()
    assert here.linger(1 << 20, moment_after(10)) is False


def test_abort_resets_a_tcp_connection(tcp: Pair) -> None:
    here, there = tcp
    here.send(b"lost or not")
    here.abort()
    with pytest.raises(TransportError) as caught:
        while there.receive(moment_after(10)):
            pass
    assert caught.value.errno == errno.ECONNRESET


def test_no_descriptor_is_left(make_pair: Callable[[str], Pair], descriptors: Callable[[], int]) -> None:
    make_pair("tls")  # whatever is opened once for all
    before = descriptors()
    for kind in ("unix", "tcp", "tls"):
        for end in ("close", "abort"):
            here, there = make_pair(kind)
            waiting = gevent.spawn(here.receive, moment_after(10))
            stuck = gevent.spawn(here.send, bytes(10_000_000), stall=10)
            gevent.sleep(0)
            getattr(here, end)()
            there.close()
            waiting.join(timeout=10)
            stuck.join(timeout=10)
            assert isinstance(waiting.exception, TransportError)
            assert isinstance(stuck.exception, TransportError)
    assert descriptors() <= before


# facts


def test_addresses_of_tcp(tcp: Pair) -> None:
    here, there = tcp
    assert here.get_extra_info("peername") == there.get_extra_info("sockname")
    assert here.get_extra_info("peername")[0] == "127.0.0.1"


def test_peer_address_that_was_given_is_not_asked_for() -> None:
    one, other = _socket.socketpair()
    with closing(Channel(one, ("192.0.2.1", 5))) as channel:
        assert channel.get_extra_info("peername") == ("192.0.2.1", 5)
    other.close()


def test_addresses_that_were_asked_for_are_known_after_close(tcp: Pair) -> None:
    here, _ = tcp
    peer = here.get_extra_info("peername")
    here.close()
    assert here.get_extra_info("peername") == peer
    assert here.get_extra_info("sockname") is None


def test_credentials_of_a_unix_peer() -> None:
    here, there = memory_pair()
    assert here.get_extra_info("unix_creds") == (os.getpid(), os.getuid(), os.getgid())
    here.close()
    there.close()
    assert here.get_extra_info("unix_creds") is None


def test_facts_that_do_not_apply_have_the_default(tcp: Pair) -> None:
    here, _ = tcp
    for name in ("unix_creds", "ssl", "sslctx", "server_hostname", "alpn", "no such fact"):
        assert here.get_extra_info(name) is None
        assert here.get_extra_info(name, "default") == "default"


def test_repr_tells_addresses_and_states(tcp: Pair, until: Until) -> None:
    here, there = tcp
    own, peer = (format_address(here.get_extra_info(name)) for name in ("sockname", "peername"))
    assert repr(here) == f"<Transport {own} -> {peer} open>"
    here.park(lambda: None)
    assert repr(here).endswith("open parked>")
    here.unpark()
    there.shutdown_write()
    assert here.receive(moment_after(10)) == b""
    assert repr(here).endswith("open eof>")
    here.close()
    assert repr(here) == f"<Transport {own} -> {peer} closed>"


def test_repr_of_a_channel_that_never_told_its_addresses() -> None:
    here, there = memory_pair()
    here.close()
    there.close()
    assert repr(here) == "<MemoryChannel ? -> ? closed>"


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        pytest.param(("127.0.0.1", 80), "127.0.0.1:80", id="IPv4"),
        pytest.param(("::1", 80, 0, 0), "[::1]:80", id="IPv6"),
        pytest.param(("", 80), "*:80", id="every interface"),
        pytest.param((None, 80), "*:80", id="no host"),
        pytest.param("/run/app.sock", "unix:/run/app.sock", id="path"),
        pytest.param("\0name", "unix:@name", id="abstract"),
        pytest.param(b"\0name", "unix:@name", id="abstract, as sockets tell it"),
        pytest.param("", "unix:", id="unnamed"),
        pytest.param(5, "5", id="something else"),
    ],
)
def test_addresses_for_people(address: Any, expected: str) -> None:
    assert format_address(address) == expected


def test_two_channels_over_a_unix_path(tmp_path: Path) -> None:
    path = str(tmp_path / "s")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()
        client = socket.socket(socket.AF_UNIX)
        client.connect(path)
        here, there = Channel(client), Channel(listener.accept()[0])
    assert here.get_extra_info("peername") == path
    there.send(b"hello")
    assert here.receive(moment_after(10)) == b"hello"
    here.close()
    there.close()


# forgotten


def looked_at() -> tuple[Channel, Channel, Any]:
    """A channel whose descriptor the hub looks at, as after each wait; its other end; and what looks at it."""
    here, there = map(Channel, _socket.socketpair())
    gevent.spawn(there.send, b"hello")
    with gevent.Timeout(10):  # a deadline of its own would hold on to the channel
        assert here.receive() == b"hello"
    watcher: Any = here._watcher
    assert watcher.active
    return here, there, watcher


@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_hub_does_not_look_at_the_descriptor_of_a_forgotten_channel() -> None:
    channel, other, watcher = looked_at()
    del channel
    assert not watcher.active
    other.close()


@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_channel_that_another_thread_has_collected_is_closed_in_its_own(until: Until) -> None:
    channel, other, watcher = looked_at()
    descriptor = channel.fileno()
    held = [channel]
    del channel
    thread = Thread(target=held.clear)
    thread.start()
    thread.join()
    assert watcher.active, "a loop is not for other threads"
    os.fstat(descriptor)
    until(lambda: not watcher.active)
    with gevent.Timeout(10):
        assert other.receive() == b"", "and the socket with it"
    other.close()
