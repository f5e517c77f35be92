"""Listening sockets: what they bind, and how accepting goes on in bad times."""

from __future__ import annotations

import errno
import os
import socket
import stat
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeAlias

import gevent
import pytest

from gruvihttp.errors import TransportError
from gruvihttp.net.listening import Listener, open_listeners

Until: TypeAlias = Callable[[Callable[[], object]], None]


class Accepted:
    """Opens listeners and remembers what they accepted."""

    def __init__(self) -> None:
        self.sockets: list[Any] = []
        self.peers: list[Any] = []
        self.listeners: list[Listener] = []

    def __call__(self, sock: Any, peer: Any) -> None:
        self.sockets.append(sock)
        self.peers.append(peer)

    def open(self, address: Any, **options: Any) -> list[Listener]:
        opened = open_listeners(address, self, **options)
        self.listeners += opened
        for listener in opened:
            listener.start()
        return opened


@pytest.fixture
def accepted() -> Iterator[Accepted]:
    accepted = Accepted()
    yield accepted
    for closable in (*accepted.listeners, *accepted.sockets):
        closable.close()


def connect(address: Any) -> socket.socket:
    client = socket.socket(socket.AF_INET if isinstance(address, tuple) else socket.AF_UNIX)
    client.connect(address)
    return client


# addresses


def test_free_port_is_chosen_and_told(accepted: Accepted, until: Until) -> None:
    [listener] = accepted.open(("127.0.0.1", 0))
    host, port = listener.address
    assert host == "127.0.0.1"
    with connect(listener.address) as client:
        until(lambda: accepted.sockets)
        assert accepted.peers == [client.getsockname()]
    assert str(port) in repr(listener)


@pytest.fixture
def several(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The addresses that the name ``several`` has."""
    addresses: list[str] = []

    class Resolver:
        def getaddrinfo(self, host: str, port: int, *_: Any) -> list[Any]:
            return [(socket.AF_INET, socket.SOCK_STREAM, 0, "", (address, port)) for address in addresses]

    monkeypatch.setattr(gevent.get_hub(), "resolver", Resolver())
    return addresses


def test_several_addresses_share_one_free_port(accepted: Accepted, several: list[str]) -> None:
    several += ["127.0.0.1", "127.0.0.2", "127.0.0.3"]
    listeners = accepted.open(("several", 0))
    assert [listener.address[0] for listener in listeners] == several
    assert len({listener.address[1] for listener in listeners}) == 1


def test_address_that_this_machine_does_not_have_is_left_out(accepted: Accepted, several: list[str]) -> None:
    several += ["203.0.113.1", "127.0.0.1"]
    [listener] = accepted.open(("several", 0))
    assert listener.address[0] == "127.0.0.1"


def test_no_address_that_this_machine_has(accepted: Accepted, several: list[str]) -> None:
    several += ["203.0.113.1", "203.0.113.2"]
    with pytest.raises(TransportError) as caught:
        accepted.open(("several", 0))
    assert caught.value.errno == errno.EADDRNOTAVAIL


def test_port_that_is_free_for_none_after_many_attempts(
    accepted: Accepted, several: list[str], descriptors: Callable[[], int]
) -> None:
    several += ["0.0.0.0", "127.0.0.1"]  # the first always takes the port of the second
    before = descriptors()
    with pytest.raises(TransportError) as caught:
        accepted.open(("several", 0))
    assert caught.value.errno == errno.EADDRINUSE
    assert descriptors() <= before


@pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="needs IPv6")
def test_both_families_share_one_free_port(accepted: Accepted) -> None:
    listeners = accepted.open(("", 0))
    assert {listener.address[0] for listener in listeners} == {"0.0.0.0", "::"}
    assert len({listener.address[1] for listener in listeners}) == 1


def test_port_in_use_names_the_address(accepted: Accepted, descriptors: Callable[[], int]) -> None:
    [listener] = accepted.open(("127.0.0.1", 0))
    before = descriptors()
    with pytest.raises(TransportError, match=rf"cannot listen on 127\.0\.0\.1:{listener.address[1]}: ") as caught:
        accepted.open(listener.address)
    assert caught.value.errno == errno.EADDRINUSE
    assert descriptors() <= before


def test_port_can_be_used_again_at_once(accepted: Accepted, until: Until) -> None:
    [listener] = accepted.open(("127.0.0.1", 0))
    with connect(listener.address):
        until(lambda: accepted.sockets)
        accepted.sockets[0].close()  # our side closes first, so the port is left in TIME_WAIT
    listener.close()
    accepted.open(listener.address)


def test_unknown_host_cannot_be_listened_on(accepted: Accepted) -> None:
    with pytest.raises(TransportError, match=r"cannot listen on 203\.0\.113\.1:0"):
        accepted.open(("203.0.113.1", 0))


def test_ready_listening_socket(accepted: Accepted, until: Until) -> None:
    with socket.create_server(("127.0.0.1", 0)) as ready:
        address = ready.getsockname()
        accepted.open(ready)
        with connect(address):
            until(lambda: accepted.sockets)


def test_descriptor_of_a_listening_socket(accepted: Accepted, until: Until) -> None:
    ready = socket.create_server(("127.0.0.1", 0))
    address = ready.getsockname()
    accepted.open(ready.detach())
    with connect(address):
        until(lambda: accepted.sockets)


# Unix sockets


def test_unix_socket_and_its_file(accepted: Accepted, until: Until, tmp_path: Path) -> None:
    path = tmp_path / "s"
    [listener] = accepted.open(str(path), mode=0o600)
    assert listener.address == str(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with connect(str(path)):
        until(lambda: accepted.sockets)
    listener.close()
    assert not path.exists()


def test_abstract_socket(accepted: Accepted, until: Until, tmp_path: Path) -> None:
    name = f"\0{tmp_path}"
    [listener] = accepted.open(name)
    with connect(name):
        until(lambda: accepted.sockets)
    assert "unix:@" in repr(listener)


def test_stale_socket_file_is_replaced(accepted: Accepted, tmp_path: Path) -> None:
    path = str(tmp_path / "s")
    with socket.socket(socket.AF_UNIX) as crashed:
        crashed.bind(path)
    accepted.open(path)


def test_socket_file_of_a_living_server_is_left_alone(accepted: Accepted, tmp_path: Path) -> None:
    path = str(tmp_path / "s")
    accepted.open(path)
    with pytest.raises(TransportError, match="cannot listen on unix:") as caught:
        accepted.open(path)
    assert caught.value.errno == errno.EADDRINUSE
    assert Path(path).exists()


def test_file_that_is_no_socket_is_left_alone(accepted: Accepted, tmp_path: Path) -> None:
    path = tmp_path / "precious"
    path.write_text("data")
    with pytest.raises(TransportError):
        accepted.open(str(path))
    assert path.read_text() == "data"


def test_file_of_a_successor_is_left_alone(accepted: Accepted, tmp_path: Path) -> None:
    path = tmp_path / "s"
    [listener] = accepted.open(str(path))
    path.unlink()
    accepted.open(str(path))
    listener.close()
    assert path.exists()


def test_failed_mode_leaves_nothing_behind(
    accepted: Accepted, tmp_path: Path, descriptors: Callable[[], int], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> None:
        raise PermissionError(errno.EPERM, "no")

    monkeypatch.setattr(os, "chmod", refuse)
    before = descriptors()
    with pytest.raises(PermissionError):
        accepted.open(str(tmp_path / "s"), mode=0o600)
    assert descriptors() <= before
    assert not (tmp_path / "s").exists()


# accepting


def test_many_connections_at_once(accepted: Accepted, until: Until) -> None:
    [listener] = accepted.open(("127.0.0.1", 0), backlog=256)
    clients = [connect(listener.address) for _ in range(2 * Listener.ACCEPTS_PER_WAKE + 3)]
    until(lambda: len(accepted.sockets) == len(clients))
    for client in clients:
        client.close()


def test_paused_listener_leaves_connections_in_the_backlog(accepted: Accepted, until: Until) -> None:
    [listener] = accepted.open(("127.0.0.1", 0))
    listener.pause()
    with connect(listener.address):
        gevent.sleep(0.01)
        assert not accepted.sockets
        assert "paused" in repr(listener)
        listener.start()
        until(lambda: accepted.sockets)


def test_listener_that_is_paused_while_accepting_stops_at_once(until: Until) -> None:
    taken: list[Any] = []

    def take(sock: Any, peer: Any) -> None:
        taken.append(sock)
        listener.pause()

    [listener] = open_listeners(("127.0.0.1", 0), take)
    clients = [connect(listener.address) for _ in range(3)]
    listener.start()
    until(lambda: taken)
    assert len(taken) == 1
    for closable in (listener, *taken, *clients):
        closable.close()


def test_closing_twice_is_quiet(accepted: Accepted) -> None:
    [listener] = accepted.open(("127.0.0.1", 0))
    listener.close()
    listener.close()


OUT_OF_DESCRIPTORS = """
    import os, resource, socket, gevent
    from gruvihttp.net.listening import open_listeners

    accepted = []
    [listener] = open_listeners(("127.0.0.1", 0), lambda sock, peer: accepted.append(sock))
    client = socket.socket()
    gevent.sleep(0)
    most = max(map(int, os.listdir("/proc/self/fd"))) + 8
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    held = []
    try:
        while True:
            held.append(os.open("/dev/null", os.O_RDONLY))
    except OSError:
        pass
    listener.start()
    client.connect(listener.address)
    loop = gevent.get_hub().loop
    before = loop.iteration
    gevent.sleep(0.3)
    assert loop.iteration - before < 50, "it spins"
    assert not accepted
    os.close(held.pop())
    os.close(held.pop())
    with gevent.Timeout(10):
        while not accepted:
            gevent.sleep(0.01)
    print("accepted")
"""


def test_accepting_rests_without_descriptors_and_goes_on_later() -> None:
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(OUT_OF_DESCRIPTORS)], capture_output=True, text=True, timeout=30
    )
    assert (done.stdout, done.stderr) == ("accepted\n", "")
