"""gruvi's endpoints: clients that connect, servers that accept, run and end."""

from __future__ import annotations

import signal
import socket
import ssl
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from time import monotonic
from typing import Any, TypeAlias

import gevent
import pytest
import trustme

from gruvihttp.errors import HttpError, Timeout, TransportError
from gruvihttp.limits import Timeouts
from gruvihttp.net.endpoints import Client, MessageProtocol, Server, create_connection, create_server
from gruvihttp.net.transport import Transport
from gruvihttp.testing import RawPeer, ScriptedPeer

Until: TypeAlias = Callable[[Callable[[], object]], None]
LOCAL = ("127.0.0.1", 0)


class Recording(MessageProtocol):
    """Writes down what it is told, and echoes."""

    def __init__(self) -> None:
        self.told: list[Any] = []

    def connection_made(self, transport: Transport) -> None:
        super().connection_made(transport)
        self.told.append("made")

    def data_received(self, data: bytes) -> None:
        self.told.append(data)
        assert self.transport is not None
        self.transport.write(data)

    def eof_received(self) -> None:
        self.told.append("eof")
        super().eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        self.told.append(("lost", exc))


class Stubborn(Recording):
    """Does not end when it is asked to."""

    def shutdown(self) -> None:
        self.told.append("shutdown")


class Passive(MessageProtocol):
    """Leaves reading to the test."""

    def start(self) -> None:
        pass


class Hooked(Server):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.hooks: list[Any] = []

    def connection_made(self, transport: Transport, protocol: MessageProtocol) -> None:
        self.hooks.append(("made", transport, protocol))

    def connection_lost(self, transport: Transport, protocol: MessageProtocol, exc: Exception | None = None) -> None:
        self.hooks.append(("lost", transport, protocol, exc))

    def handshake_failed(self, transport: Transport, exc: Exception) -> None:
        self.hooks.append(("handshake", exc))


@pytest.fixture
def serve() -> Iterator[Callable[..., Hooked]]:
    servers: list[Hooked] = []

    def serve(factory: Any = Recording, address: Any = LOCAL, ssl: Any = False, **kwargs: Any) -> Hooked:
        server = Hooked(factory, **kwargs)
        servers.append(server)
        server.listen(address, ssl=ssl)
        return server

    yield serve
    for server in servers:
        server.close(0)


@pytest.fixture
def echo() -> Iterator[ScriptedPeer]:
    def script(peer: RawPeer) -> None:
        while part := peer.channel.receive():
            peer.send(part)

    with ScriptedPeer(script) as echo:
        yield echo


# connections


def test_create_connection_gives_transport_and_started_protocol(echo: ScriptedPeer, until: Until) -> None:
    transport, protocol = create_connection(Recording, echo.address)
    assert isinstance(protocol, Recording)
    assert protocol.transport is transport
    transport.write(b"x")
    until(lambda: b"x" in protocol.told)
    transport.close()
    assert protocol.told[0] == "made"
    assert protocol.told[-1] == ("lost", None)


def test_create_connection_with_an_error_in_the_factory_leaves_nothing_open(
    echo: ScriptedPeer, descriptors: Callable[[], int]
) -> None:
    def factory() -> MessageProtocol:
        raise ZeroDivisionError

    transport, _ = create_connection(Passive, echo.address)
    before = descriptors()
    with pytest.raises(ZeroDivisionError):
        create_connection(factory, echo.address)
    echo.wait_for_connections(2)
    echo.connections[1].close()
    assert descriptors() <= before
    transport.close()


def test_protocol_hears_of_the_error_that_ended_it(until: Until) -> None:
    with ScriptedPeer(RawPeer.reset) as peer:
        _, protocol = create_connection(Recording, peer.address)
        assert isinstance(protocol, Recording)
        until(lambda: len(protocol.told) == 2)
        kind, error = protocol.told[-1]
        assert kind == "lost"
        assert isinstance(error, TransportError)


def test_error_in_a_protocol_ends_its_connection(
    echo: ScriptedPeer, until: Until, capsys: pytest.CaptureFixture[str]
) -> None:
    class Failing(Recording):
        def data_received(self, data: bytes) -> None:
            raise ZeroDivisionError

    transport, protocol = create_connection(Failing, echo.address)
    transport.write(b"x")
    until(lambda: transport.closed)
    assert "ZeroDivisionError" in capsys.readouterr().err


# client


def test_client_has_transport_and_protocol_while_connected(echo: ScriptedPeer) -> None:
    client = Client(Recording)
    assert not client.connected
    client.connect(echo.address)
    assert client.connected
    assert client.protocol.transport is client.transport
    client.close()
    assert not client.connected


@pytest.mark.parametrize("name", ["transport", "protocol"])
def test_client_that_is_not_connected_says_so(name: str) -> None:
    with pytest.raises(HttpError, match="not connected"):
        getattr(Client(Recording), name)
    assert "not connected" in repr(Client(Recording))


def test_connected_client_does_not_connect(echo: ScriptedPeer) -> None:
    with Client(Passive) as client:
        client.connect(echo.address)
        with pytest.raises(RuntimeError, match="already connected"):
            client.connect(echo.address)


def test_connecting_client_does_not_connect(echo: ScriptedPeer) -> None:
    with Client(Passive) as client:
        connecting = gevent.spawn(client.connect, echo.address)
        gevent.sleep(0)
        with pytest.raises(RuntimeError, match="already connected"):
            client.connect(echo.address)
        connecting.get(timeout=10)


def test_client_that_is_closed_while_it_connects_stays_closed(echo: ScriptedPeer) -> None:
    client = Client(Passive)
    connecting = gevent.spawn(client.connect, echo.address)
    gevent.sleep(0)
    client.close()
    client.connect(echo.address)  # somebody else's; it is not taken away again
    with pytest.raises(HttpError, match="closed"):
        connecting.get(timeout=10)
    client.transport.write(b"x")
    assert client.transport.receive() == b"x"
    client.close()
    assert not client.connected


def test_client_connects_again_after_close(echo: ScriptedPeer) -> None:
    client = Client(Passive)
    for _ in range(3):
        client.connect(echo.address)
        client.transport.write(b"x")
        assert client.transport.receive() == b"x"
        client.close()
        client.close()


def test_client_connects_after_a_failure(echo: ScriptedPeer, tmp_path: Path) -> None:
    with Client(Passive) as client:
        with pytest.raises(TransportError):
            client.connect(str(tmp_path / "missing"))
        client.connect(echo.address)
        assert client.connected


def test_client_closes_at_the_end_of_the_block(echo: ScriptedPeer) -> None:
    with Client(Passive) as client:
        client.connect(echo.address)
        transport = client.transport
    assert transport.closed


def test_timeout_of_the_client_bounds_connecting(server_tls: ssl.SSLContext, client_tls: ssl.SSLContext) -> None:
    def silent(peer: RawPeer) -> None:
        peer.read_to_end()

    with ScriptedPeer(silent) as peer:
        client = Client(Passive, timeout=0.05)
        assert client.timeout == 0.05
        with pytest.raises(Timeout) as caught:
            client.connect(peer.address, ssl=client_tls)
        assert caught.value.phase == "handshake"
        with pytest.raises(Timeout):
            Client(Passive).connect(peer.address, ssl=client_tls, timeout=0.05)


# TLS


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
def test_host_of_the_address_must_be_in_the_certificate(
    serve: Callable[..., Hooked], server_tls: ssl.SSLContext, client_tls: ssl.SSLContext, host: str
) -> None:
    server = serve(ssl=server_tls)
    with Client(Passive) as client:
        client.connect((host, server.address[1]), ssl=client_tls, timeout=10, family=socket.AF_INET)
        client.transport.write(b"x")
        assert client.transport.receive() == b"x"
        assert client.transport.get_extra_info("server_hostname") == host


def test_other_name_can_be_asked_for(
    serve: Callable[..., Hooked], server_tls: ssl.SSLContext, client_tls: ssl.SSLContext
) -> None:
    server = serve(ssl=server_tls)
    with Client(Passive) as client:
        client.connect(server.address, ssl=client_tls, server_hostname="localhost")
        client.close()
        with pytest.raises(TransportError, match="certificate"):
            client.connect(server.address, ssl=client_tls, server_hostname="other.example")


def test_default_context_verifies(serve: Callable[..., Hooked], server_tls: ssl.SSLContext, until: Until) -> None:
    server = serve(ssl=server_tls)
    with pytest.raises(TransportError, match="certificate") as caught:
        create_connection(Passive, server.address, ssl=True)
    assert isinstance(caught.value.__cause__, ssl.SSLCertVerificationError)
    until(lambda: server.handshake_failures == 1)
    assert server.hooks[0][0] == "handshake"
    assert not server.connections


def test_context_is_chosen_by_a_callable(
    serve: Callable[..., Hooked], server_tls: ssl.SSLContext, client_tls: ssl.SSLContext
) -> None:
    server = serve(ssl=lambda sock: server_tls)
    with Client(Passive) as client:
        client.connect(server.address, ssl=lambda sock: client_tls)
        assert client.transport.get_extra_info("sslctx") is client_tls


def test_server_needs_a_context_with_a_certificate(serve: Callable[..., Hooked]) -> None:
    with pytest.raises(TypeError, match="certificate"):
        serve(ssl=True)


def test_slow_handshake_holds_nobody_up_and_ends(
    serve: Callable[..., Hooked], server_tls: ssl.SSLContext, client_tls: ssl.SSLContext, until: Until
) -> None:
    server = serve(ssl=server_tls, timeouts=Timeouts(handshake=0.1))
    with socket.create_connection(server.address) as slow:
        with Client(Passive) as client:
            client.connect(server.address, ssl=client_tls, timeout=10)
        until(lambda: server.handshake_failures)
        slow.settimeout(10)
        with pytest.raises(ConnectionResetError):
            slow.recv(1)


def test_error_in_the_choice_of_a_context_ends_that_connection_only(
    serve: Callable[..., Hooked], server_tls: ssl.SSLContext, client_tls: ssl.SSLContext, capsys: Any
) -> None:
    answers: list[Any] = [None, server_tls]
    server = serve(ssl=lambda sock: answers.pop(0))
    with pytest.raises(TransportError):
        create_connection(Passive, server.address, ssl=client_tls)
    transport, _ = create_connection(Passive, server.address, ssl=client_tls)
    transport.close()
    assert "TypeError" in capsys.readouterr().err


# server


@pytest.mark.parametrize("kind", ["tcp", "path", "abstract", "socket", "descriptor"])
def test_server_serves_every_kind_of_address(serve: Callable[..., Hooked], tmp_path: Path, kind: str) -> None:
    ready = socket.create_server(LOCAL)
    addresses = {
        "tcp": LOCAL,
        "path": str(tmp_path / "s"),
        "abstract": f"\0{tmp_path}",
        "socket": ready,
        "descriptor": ready.fileno(),
    }
    server = serve(address=addresses[kind])
    with RawPeer.connect(server.address) as peer:
        peer.send(b"echo")
        assert peer.read(4) == b"echo"
    if kind == "descriptor":
        ready.detach()
    ready.close()


def test_server_listens_several_times(serve: Callable[..., Hooked], tmp_path: Path) -> None:
    server = serve()
    server.listen(str(tmp_path / "s"))
    assert server.addresses == [server.address, str(tmp_path / "s")]
    for address in server.addresses:
        with RawPeer.connect(address) as peer:
            peer.send(b"echo")
            assert peer.read(4) == b"echo"


def test_create_server_listens_at_once() -> None:
    with create_server(Recording, LOCAL) as server:
        assert server.started
        assert server.address in server.addresses
        RawPeer.connect(server.address).close()
    assert server.closed
    assert not server.started


def test_server_without_addresses() -> None:
    server = Server(Recording)
    assert server.address is None
    assert not server.started
    assert "not listening" in repr(server)
    with pytest.raises(RuntimeError, match=r"listen\(\)"):
        server.start()


def test_every_connection_has_its_own_protocol(serve: Callable[..., Hooked], until: Until) -> None:
    server = serve()
    with RawPeer.connect(server.address), RawPeer.connect(server.address):
        until(lambda: len(server.connections) == 2)
        protocols = {id(protocol) for _, protocol in server.connections}
        assert len(protocols) == 2
        assert "2 connections" in repr(server)
    until(lambda: not server.connections)


def test_hooks_tell_beginning_and_end(serve: Callable[..., Hooked], until: Until) -> None:
    server = serve()
    with RawPeer.connect(server.address):
        until(lambda: server.connections)
        [(transport, protocol)] = server.connections
    until(lambda: len(server.hooks) == 2)
    assert server.hooks == [("made", transport, protocol), ("lost", transport, protocol, None)]


def test_peer_that_resets_is_told_as_an_error(serve: Callable[..., Hooked], until: Until) -> None:
    server = serve()
    RawPeer.connect(server.address).reset()
    until(lambda: len(server.hooks) == 2)
    assert isinstance(server.hooks[1][3], TransportError)


def test_peer_address_is_known_though_the_peer_has_gone(serve: Callable[..., Hooked], until: Until) -> None:
    server = serve(Passive)
    peer = RawPeer.connect(server.address)
    address = peer.channel.get_extra_info("sockname")
    peer.reset()
    until(lambda: server.hooks)
    assert server.hooks[0][1].get_extra_info("peername") == address


@pytest.mark.parametrize("where", ["factory", "connection_made", "start", "hook"])
def test_error_at_the_start_of_a_connection_ends_that_connection_only(
    where: str, until: Until, capsys: pytest.CaptureFixture[str]
) -> None:
    failing = True

    class Failing(Recording):
        def connection_made(self, transport: Transport) -> None:
            super().connection_made(transport)
            if failing and where == "connection_made":
                raise ZeroDivisionError

        def start(self) -> None:
            if failing and where == "start":
                raise ZeroDivisionError
            super().start()

    class FailingServer(Server):
        def create_protocol(self, transport: Transport) -> MessageProtocol:
            if failing and where == "factory":
                raise ZeroDivisionError
            return super().create_protocol(transport)

        def connection_made(self, transport: Transport, protocol: MessageProtocol) -> None:
            if failing and where == "hook":
                raise ZeroDivisionError

    with FailingServer(Failing) as server:
        server.listen(LOCAL)
        with pytest.raises(TransportError), RawPeer.connect(server.address) as peer:
            peer.read_to_end()
        assert not server.connections
        failing = False
        with RawPeer.connect(server.address) as peer:
            peer.send(b"echo")
            assert peer.read(4) == b"echo"
    assert "ZeroDivisionError" in capsys.readouterr().err


def test_error_in_a_hook_at_the_end_is_reported(until: Until, capsys: pytest.CaptureFixture[str]) -> None:
    class FailingServer(Server):
        def connection_lost(self, *_: Any) -> None:
            raise ZeroDivisionError

    with FailingServer(Recording) as server:
        server.listen(LOCAL)
        with RawPeer.connect(server.address):
            until(lambda: server.connections)
        until(lambda: not server.connections)
    assert "ZeroDivisionError" in capsys.readouterr().err


def test_connection_from_elsewhere_is_served(until: Until) -> None:
    with Server(Recording) as server:
        one, other = socket.socketpair()
        server.accept_connection(one)
        with RawPeer.connect(other) as peer:
            peer.send(b"echo")
            assert peer.read(4) == b"echo"
            assert len(server.connections) == 1


def test_nothing_is_accepted_above_the_most_connections(serve: Callable[..., Hooked], until: Until) -> None:
    server = serve()
    server.max_connections = 2
    first, second = RawPeer.connect(server.address), RawPeer.connect(server.address)
    until(lambda: len(server.connections) == 2)
    third = RawPeer.connect(server.address)
    third.send(b"echo")
    gevent.sleep(0.02)
    assert len(server.connections) == 2
    first.close()
    assert third.read(4) == b"echo"
    assert len(server.connections) == 2
    second.close()
    third.close()
    until(lambda: not server.connections)


def test_handshakes_count_as_connections(
    serve: Callable[..., Hooked], server_tls: ssl.SSLContext, client_tls: ssl.SSLContext, until: Until
) -> None:
    server = serve(ssl=server_tls, timeouts=Timeouts(handshake=0.1))
    server.max_connections = 1
    with socket.create_connection(server.address):
        transport, _ = create_connection(Passive, server.address, ssl=client_tls, timeout=10)
        assert server.handshake_failures == 1
        transport.close()


def test_server_that_is_full_and_listens_again_stays_full(serve: Callable[..., Hooked], until: Until) -> None:
    server = serve()
    server.max_connections = 1
    with RawPeer.connect(server.address):
        until(lambda: server.connections)
        server.listen(LOCAL)
        with RawPeer.connect(server.addresses[1]):
            gevent.sleep(0.02)
            assert len(server.connections) == 1


# ending


def test_close_ends_connections_and_frees_the_address(serve: Callable[..., Hooked], until: Until) -> None:
    server = serve()
    address = server.address
    peer = RawPeer.connect(address)
    until(lambda: server.connections)
    server.close()
    assert not server.connections
    assert peer.read_to_end() == b""
    with pytest.raises(TransportError):
        RawPeer.connect(address)
    serve(address=address)


def test_close_is_idempotent(serve: Callable[..., Hooked]) -> None:
    server = serve()
    server.close()
    server.close()
    server.stop()
    assert server.closed


def test_closed_server_neither_listens_nor_accepts(serve: Callable[..., Hooked]) -> None:
    server = serve()
    server.close()
    with pytest.raises(RuntimeError, match="closed"):
        server.listen(LOCAL)
    one, other = socket.socketpair()
    with one, other, pytest.raises(RuntimeError, match="closed"):
        server.accept_connection(one)


def test_close_waits_for_connections_that_are_busy(serve: Callable[..., Hooked], until: Until) -> None:
    server = serve(Stubborn)
    peer = RawPeer.connect(server.address)
    until(lambda: server.connections)
    closing = gevent.spawn(server.close)
    gevent.sleep(0.02)
    assert not closing.ready()
    peer.send(b"echo")
    assert peer.read(4) == b"echo"
    peer.close()
    closing.get(timeout=10)


def test_connections_that_do_not_end_are_aborted(serve: Callable[..., Hooked], until: Until) -> None:
    server = serve(Stubborn)
    peer = RawPeer.connect(server.address)
    until(lambda: server.connections)
    started = monotonic()
    server.close(timeout=0.05)
    assert monotonic() >= started + 0.05
    with pytest.raises(TransportError):
        peer.read_to_end()


def test_default_patience_is_the_graceful_timeout(serve: Callable[..., Hooked], until: Until) -> None:
    server = serve(Stubborn, timeouts=Timeouts(graceful=0.02))
    with RawPeer.connect(server.address):
        until(lambda: server.connections)
        server.close()


def test_second_close_may_have_less_patience(serve: Callable[..., Hooked], until: Until) -> None:
    server = serve(Stubborn)
    with RawPeer.connect(server.address):
        until(lambda: server.connections)
        patient = gevent.spawn(server.close, None)
        gevent.sleep(0)
        server.close(0)
        patient.get(timeout=10)


def test_error_in_one_shutdown_does_not_spare_the_others(
    serve: Callable[..., Hooked], until: Until, capsys: pytest.CaptureFixture[str]
) -> None:
    class Failing(Recording):
        def shutdown(self) -> None:
            raise ZeroDivisionError

    factories: list[Any] = [Failing, Recording]
    server = serve(lambda: factories.pop(0)())
    first, second = RawPeer.connect(server.address), RawPeer.connect(server.address)
    until(lambda: len(server.connections) == 2)
    server.close(0.02)
    assert second.read_to_end() == b""
    with pytest.raises(TransportError):
        first.read_to_end()
    assert "ZeroDivisionError" in capsys.readouterr().err


def test_close_ends_handshakes(serve: Callable[..., Hooked], server_tls: ssl.SSLContext, until: Until) -> None:
    server = serve(ssl=server_tls)
    with socket.create_connection(server.address) as client:
        until(lambda: server._handshakes)
        server.close()
        client.settimeout(10)
        with pytest.raises(ConnectionResetError):
            client.recv(1)
    until(lambda: not server._handshakes)
    assert server.handshake_failures == 0


def test_no_descriptor_is_left_by_a_server(
    serve: Callable[..., Hooked],
    server_tls: ssl.SSLContext,
    client_tls: ssl.SSLContext,
    descriptors: Callable[[], int],
    until: Until,
) -> None:
    before = descriptors()
    server = serve(ssl=server_tls)
    for _ in range(5):
        transport, _ = create_connection(Passive, server.address, ssl=client_tls)
        transport.write(b"x")
        assert transport.receive() == b"x"
        transport.close()
        socket.create_connection(server.address).close()
    until(lambda: server.handshake_failures == 5)
    server.close()
    assert descriptors() <= before


# running


@pytest.mark.parametrize("method", ["run", "serve_forever"])
def test_running_ends_with_close(serve: Callable[..., Hooked], method: str) -> None:
    server = serve()
    running = gevent.spawn(getattr(server, method))
    gevent.sleep(0)
    assert not running.ready()
    server.close()
    running.get(timeout=10)


@pytest.mark.parametrize("method", ["run", "serve_forever"])
def test_running_needs_an_address(method: str) -> None:
    with pytest.raises(RuntimeError, match=r"listen\(\)"):
        getattr(Server(Recording), method)()


def test_killed_serve_forever_closes_with_its_own_patience(serve: Callable[..., Hooked], until: Until) -> None:
    server = serve(Stubborn)
    with RawPeer.connect(server.address):
        until(lambda: server.connections)
        running = gevent.spawn(server.serve_forever, stop_timeout=0.02)
        gevent.sleep(0)
        running.kill()
        assert server.closed
        assert not server.connections


PATCHED = """
    import ssl, sys
    old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # made before patching
    old.load_verify_locations(sys.argv[1])
    {patching}
    new = ssl.create_default_context(cafile=sys.argv[1])
    server_tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    server_tls.load_cert_chain(sys.argv[2])
    import socket
    from gruvihttp.net.endpoints import MessageProtocol, create_connection, create_server

    class Echo(MessageProtocol):
        def data_received(self, data):
            self.transport.write(data)

    class Passive(MessageProtocol):
        def start(self):
            pass

    with create_server(Echo, ("127.0.0.1", 0), ssl=server_tls) as server:
        for context in (old, new):
            transport, _ = create_connection(Passive, ("localhost", server.address[1]), ssl=context, timeout=10)
            transport.write(b"echo")
            print(transport.receive())
            transport.close()
"""


@pytest.mark.parametrize(
    "patching", ["pass", "from gevent import monkey; monkey.patch_all()"], ids=["unpatched", "patched"]
)
def test_works_with_and_without_monkey_patching(authority: trustme.CA, tmp_path: Path, patching: str) -> None:
    authority.cert_pem.write_to_path(tmp_path / "ca")
    authority.issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(tmp_path / "cert")
    program = textwrap.dedent(PATCHED.format(patching=patching))
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program, str(tmp_path / "ca"), str(tmp_path / "cert")],
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert (done.stdout, done.stderr) == ("b'echo'\nb'echo'\n", "")


PROGRAM = """
    import gevent
    from gruvihttp.net.endpoints import MessageProtocol, create_server
    server = create_server(MessageProtocol, ("127.0.0.1", 0))
    gevent.get_hub().loop.run_callback(lambda: print("ready", flush=True))  # called when the main greenlet waits
    try:
        server.{method}()
    except KeyboardInterrupt:
        print("interrupted")
    print("closed" if server.closed else "open")
"""


@pytest.mark.parametrize(
    ("method", "output"), [("run", "ready\nclosed\n"), ("serve_forever", "ready\ninterrupted\nclosed\n")]
)
def test_interrupt_ends_a_running_server(method: str, output: str) -> None:
    program = textwrap.dedent(PROGRAM.format(method=method))
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as running:
        assert running.stdout is not None
        first = running.stdout.readline()
        running.send_signal(signal.SIGINT)
        assert first + running.communicate(timeout=30)[0] == output
    assert running.returncode == 0
