"""Resolving addresses and opening connections to them."""

from __future__ import annotations

import _socket
import errno
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from time import monotonic
from typing import Any

import gevent
import pytest

from gruvihttp.errors import Timeout, TransportError
from gruvihttp.net.deadline import moment_after
from gruvihttp.net.dial import dial
from gruvihttp.net.resolve import resolve


class Resolver:
    """Stands in for gevent's: knows a few names, and can be slow."""

    def __init__(self, **names: list[str]) -> None:
        self.names = names
        self.asked: list[str] = []
        self.silent = False

    def getaddrinfo(
        self, host: str, port: int, family: int = 0, kind: int = 0, proto: int = 0, flags: int = 0
    ) -> list[Any]:
        self.asked.append(host)
        if self.silent:
            gevent.sleep(60)
        if host not in self.names:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        found = []
        for literal in self.names[host]:
            found += _socket.getaddrinfo(literal, port, family, kind, proto, flags | _socket.AI_NUMERICHOST)
        return found


@pytest.fixture
def resolver(monkeypatch: pytest.MonkeyPatch) -> Resolver:
    resolver = Resolver(two=["127.0.0.2", "127.0.0.1"], one=["127.0.0.1"], none=[])
    monkeypatch.setattr(gevent.get_hub(), "resolver", resolver)
    return resolver


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener


# resolving


@pytest.mark.parametrize(
    ("address", "family", "expected"),
    [
        pytest.param(("127.0.0.1", 80), _socket.AF_INET, ("127.0.0.1", 80), id="IPv4"),
        pytest.param(("::1", 80), _socket.AF_INET6, ("::1", 80, 0, 0), id="IPv6"),
        pytest.param(("fe80::1", 80, 0, 1), _socket.AF_INET6, ("fe80::1", 80, 0, 1), id="IPv6 with a scope"),
        pytest.param("/run/app.sock", _socket.AF_UNIX, "/run/app.sock", id="path"),
        pytest.param("\0name", _socket.AF_UNIX, "\0name", id="abstract"),
        pytest.param(b"\0name", _socket.AF_UNIX, b"\0name", id="abstract bytes"),
    ],
)
def test_literal_addresses_do_not_need_the_resolver(
    resolver: Resolver, address: Any, family: int, expected: Any
) -> None:
    [candidate] = resolve(address)
    assert (candidate.family, candidate.kind, candidate.address) == (family, _socket.SOCK_STREAM, expected)
    assert not resolver.asked


def test_no_host_is_every_interface_for_listening() -> None:
    addresses = [candidate.address[0] for candidate in resolve(("", 0), _socket.AF_INET, passive=True)]
    assert addresses == ["0.0.0.0"]


def test_no_host_is_this_machine_for_connecting() -> None:
    addresses = [candidate.address[0] for candidate in resolve((None, 80), _socket.AF_INET)]
    assert addresses == ["127.0.0.1"]


def test_names_are_resolved_by_gevent(resolver: Resolver) -> None:
    assert [candidate.address for candidate in resolve(("two", 80))] == [("127.0.0.2", 80), ("127.0.0.1", 80)]
    assert resolver.asked == ["two"]


def test_address_that_a_name_has_twice_is_one_candidate(resolver: Resolver) -> None:
    resolver.names["twice"] = ["127.0.0.1", "127.0.0.1"]
    assert len(resolve(("twice", 80))) == 1


def test_unknown_name_is_a_transport_error_that_names_it(resolver: Resolver) -> None:
    with pytest.raises(TransportError, match=r"cannot resolve unknown:80: Name or service not known") as caught:
        resolve(("unknown", 80))
    assert caught.value.errno == socket.EAI_NONAME


@pytest.mark.parametrize("name", ["a" * 64 + ".example", ".example", "a..example", "\u00e4" * 64])
def test_what_cannot_be_a_name_is_a_transport_error(name: str) -> None:
    with pytest.raises(TransportError, match="cannot resolve .*: not a domain name") as caught:
        resolve((name, 80))
    assert caught.value.errno == socket.EAI_NONAME


@pytest.mark.parametrize("port", [-1, 65536, 65616])
def test_port_that_cannot_be_is_not_cut_to_another_one(port: int) -> None:
    with pytest.raises(ValueError, match="a port is a number from 0 to 65535"):
        resolve(("127.0.0.1", port))


def test_slow_resolver_is_a_timeout_of_the_connect_phase(resolver: Resolver) -> None:
    resolver.silent = True
    with pytest.raises(Timeout, match="cannot resolve one") as caught:
        resolve(("one", 80), deadline=moment_after(0.01))
    assert caught.value.phase == "connect"


def test_callers_own_timeout_passes_through_the_resolver(resolver: Resolver) -> None:
    resolver.silent = True
    with pytest.raises(gevent.Timeout), gevent.Timeout(0.01):
        resolve(("one", 80), deadline=moment_after(10))


@pytest.mark.parametrize("address", [("host",), ("host", 80, 1), 80, None, ["host", 80]])
def test_address_of_another_form_is_refused(address: Any) -> None:
    with pytest.raises(TypeError, match="an address is"):
        resolve(address)


# connecting


def test_connects_over_tcp(listener: socket.socket) -> None:
    sock = dial(listener.getsockname(), deadline=moment_after(10))
    assert sock.getpeername() == listener.getsockname()
    sock.close()


def test_connects_without_a_deadline(listener: socket.socket) -> None:
    dial(listener.getsockname()).close()


@pytest.mark.parametrize("abstract", [False, True])
def test_connects_to_a_unix_socket(tmp_path: Path, abstract: bool) -> None:
    path = f"\0{tmp_path}" if abstract else str(tmp_path / "s")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()
        dial(path, deadline=moment_after(10)).close()


def test_connected_socket_is_taken_as_it_is() -> None:
    one, other = socket.socketpair()
    descriptor = one.fileno()
    with other:
        sock = dial(one)
        assert sock.fileno() == descriptor
        sock.close()


def test_next_address_is_tried_when_one_refuses(resolver: Resolver, listener: socket.socket) -> None:
    sock = dial(("two", listener.getsockname()[1]), deadline=moment_after(10))
    assert sock.getpeername()[0] == "127.0.0.1"
    sock.close()


def test_family_that_the_system_lacks_is_a_failure_of_that_address_only(
    resolver: Resolver, listener: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = resolver.getaddrinfo
    lacking = (255, _socket.SOCK_STREAM, 0, "", ("127.0.0.1", 1))
    monkeypatch.setattr(resolver, "getaddrinfo", lambda *args: [lacking, *real(*args)])
    dial(("one", listener.getsockname()[1]), deadline=moment_after(10)).close()
    resolver.names["one"] = []
    with pytest.raises(TransportError, match="cannot connect") as caught:
        dial(("one", 80))
    assert caught.value.errno == errno.EAFNOSUPPORT


def test_refused_connection_names_the_address() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        with pytest.raises(TransportError, match=rf"cannot connect to 127\.0\.0\.1:{port}: ") as caught:
            dial(("127.0.0.1", port))
    assert caught.value.errno == errno.ECONNREFUSED


def test_missing_unix_socket_names_the_path(tmp_path: Path) -> None:
    with pytest.raises(TransportError, match="cannot connect to unix:.*/missing") as caught:
        dial(str(tmp_path / "missing"))
    assert caught.value.errno == errno.ENOENT


def test_name_without_addresses(resolver: Resolver) -> None:
    with pytest.raises(TransportError, match="no addresses"):
        dial(("none", 80))


@pytest.fixture
def full_listener(tmp_path: Path) -> Iterator[socket.socket]:
    """A Unix socket whose backlog is full, so that connecting has to wait."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "full"))
        listener.listen(0)
        waiting = []
        while True:
            client = socket.socket(socket.AF_UNIX)
            client.setblocking(False)
            waiting.append(client)
            if client.connect_ex(listener.getsockname()):
                break
        yield listener
        for client in waiting:
            client.close()


def test_full_backlog_is_a_timeout_of_the_connect_phase(
    full_listener: socket.socket, descriptors: Callable[[], int]
) -> None:
    before = descriptors()
    with pytest.raises(Timeout, match="cannot connect to unix:") as caught:
        dial(full_listener.getsockname(), deadline=moment_after(0.03))
    assert caught.value.phase == "connect"
    assert descriptors() <= before


def test_connection_comes_when_the_backlog_has_room(full_listener: socket.socket) -> None:
    dialling = gevent.spawn(dial, full_listener.getsockname(), deadline=moment_after(10))
    gevent.sleep(0)
    full_listener.accept()[0].close()
    dialling.get(timeout=10).close()


@pytest.fixture
def silent_address() -> Iterator[tuple[str, int]]:
    """An address of a full TCP backlog: Linux drops what comes, as a network that swallows packets does."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        address = listener.getsockname()
        clients = []
        for _ in range(4):
            client = socket.socket()
            client.setblocking(False)
            client.connect_ex(address)
            clients.append(client)
        yield address
        for client in clients:
            client.close()


def test_swallowed_packets_are_a_timeout(silent_address: tuple[str, int], descriptors: Callable[[], int]) -> None:
    before = descriptors()
    with pytest.raises(Timeout, match=r"cannot connect to 127\.0\.0\.1") as caught:
        dial(silent_address, deadline=moment_after(0.03))
    assert caught.value.phase == "connect"
    assert descriptors() <= before


def test_address_that_swallows_packets_leaves_time_for_the_next(
    resolver: Resolver, silent_address: tuple[str, int]
) -> None:
    resolver.names["both"] = ["127.0.0.1", "127.0.0.2"]
    with socket.create_server(("127.0.0.2", silent_address[1])):
        started = monotonic()
        sock = dial(("both", silent_address[1]), deadline=started + 0.2)
        assert sock.getpeername()[0] == "127.0.0.2"
        sock.close()
    assert monotonic() >= started + 0.1


def test_killed_dial_leaves_no_descriptor(silent_address: tuple[str, int], descriptors: Callable[[], int]) -> None:
    before = descriptors()
    dialling = gevent.spawn(dial, silent_address)
    gevent.sleep(0)
    dialling.kill()
    assert descriptors() <= before


def test_callers_own_timeout_passes_through(silent_address: tuple[str, int]) -> None:
    with pytest.raises(gevent.Timeout), gevent.Timeout(0.01):
        dial(silent_address, deadline=moment_after(10))


def test_local_address_is_bound_before_connecting(listener: socket.socket) -> None:
    sock = dial(listener.getsockname(), local_address=("127.0.0.5", 0), deadline=moment_after(10))
    assert sock.getsockname()[0] == "127.0.0.5"
    assert listener.accept()[1][0] == "127.0.0.5"
    sock.close()


def test_local_address_of_another_family(listener: socket.socket) -> None:
    with pytest.raises(TransportError, match="another family"):
        dial(listener.getsockname(), local_address=("::1", 0))


def test_other_greenlets_run_while_one_connects(silent_address: tuple[str, int]) -> None:
    dialling = gevent.spawn(dial, silent_address, deadline=moment_after(10))
    gevent.sleep(0.01)
    assert not dialling.ready()
    dialling.kill()


def test_gevents_own_resolver_knows_this_machine() -> None:
    assert any(candidate.address[0] in ("127.0.0.1", "::1") for candidate in resolve(("localhost", 80)))
