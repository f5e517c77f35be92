"""Connecting: addresses, TLS, Host, reconnecting, and how gruvi's endpoints look."""

from __future__ import annotations

import _socket
import inspect
import os
import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gevent
import pytest
from gevent import ssl as gevent_ssl

import gruvihttp
from gruvihttp import (
    Client,
    HttpClient,
    HttpError,
    HttpProtocol,
    HttpServer,
    MessageProtocol,
    Server,
    Timeout,
    Timeouts,
    TransportError,
    create_connection,
    create_server,
)
from gruvihttp.net.listening import open_listeners
from gruvihttp.testing import RawPeer, replies

ROOT = Path(__file__).resolve().parents[2]
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


def host_of(head: bytes | bytearray) -> bytes:
    return bytes(head).partition(b"Host: ")[2].partition(b"\r\n")[0]


# names and signatures


def test_g01_one_module_holds_client_and_server() -> None:
    import gruvihttp.http as http

    names = {"HttpError", "HttpRequest", "HttpResponse", "HttpProtocol", "HttpClient", "HttpServer"}
    assert set(http.__all__) == names
    assert all(getattr(http, name) is getattr(gruvihttp, name) for name in names)
    assert names <= set(gruvihttp.__all__)


@pytest.mark.parametrize("name", gruvihttp.__all__)
def test_g01_public_name_is_there(name: str) -> None:
    assert getattr(gruvihttp, name) is not None
    assert name in dir(gruvihttp)


def test_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no_such_name"):
        gruvihttp.no_such_name  # noqa: B018


@pytest.mark.parametrize("name", ["gruvihttp", "gruvihttp.sansio"])
def test_import_does_not_import_gevent(name: str) -> None:
    program = f"import sys; sys.path.insert(0, {str(ROOT)!r}); import {name}; assert 'gevent' not in sys.modules"
    subprocess.run([sys.executable, "-I", "-c", program], check=True, timeout=30)


def test_import_patches_nothing() -> None:
    program = (
        f"import sys, socket, ssl; sys.path.insert(0, {str(ROOT)!r}); before = socket.socket, ssl.SSLContext;"
        "import gruvihttp.http; assert before == (socket.socket, ssl.SSLContext);"
        "from gevent import monkey; assert not monkey.is_module_patched('socket')"
    )
    subprocess.run([sys.executable, "-I", "-c", program], check=True, timeout=30)


def parameters(function: Any) -> list[tuple[str, Any]]:
    signature = inspect.signature(function)
    return [(item.name, item.default) for item in signature.parameters.values() if item.name != "self"]


def test_g46_g52_g69_signatures() -> None:
    empty = inspect.Parameter.empty
    protocol = [
        ("server_side", empty),
        ("application", None),
        ("server_name", None),
        ("version", "1.1"),
        ("timeout", None),
    ]
    request = [("method", empty), ("url", empty), ("headers", []), ("body", "")]
    assert parameters(HttpProtocol) == protocol
    assert parameters(HttpProtocol.request)[:4] == parameters(HttpClient.request)[:4] == request
    assert parameters(HttpProtocol.request) == parameters(HttpClient.request)
    assert parameters(HttpProtocol.getresponse) == parameters(HttpClient.getresponse) == [("timeout", -1)]
    assert parameters(HttpClient) == [("timeout", None), ("version", "1.1")]
    assert parameters(gruvihttp.HttpRequest) == [("transport", empty), ("protocol", empty)]
    assert parameters(gruvihttp.HttpResponse) == [("message", empty)]
    start = [("method", empty), ("url", empty), ("headers", None), ("body", None)]
    assert parameters(gruvihttp.HttpRequest.start_request)[:4] == start
    assert parameters(gruvihttp.HttpRequest.end_request) == [("trailers", None)]


def test_s15_functions_that_connect_and_listen_take_what_gruvis_take() -> None:
    empty = inspect.Parameter.empty
    connect = [
        ("protocol_factory", empty), ("address", empty), ("ssl", False), ("server_hostname", None),
        ("local_address", None), ("family", 0), ("flags", 0), ("timeout", None),
    ]  # fmt: skip
    assert parameters(gruvihttp.create_connection)[: len(connect)] == connect
    listen = [
        ("protocol_factory", empty), ("address", empty), ("ssl", False), ("family", 0), ("flags", 0), ("backlog", 128),
    ]  # fmt: skip
    assert parameters(gruvihttp.create_server) == listen
    assert parameters(Client.connect)[:2] == [("address", empty), ("ssl", False)]
    assert parameters(Server.listen)[:4] == [("address", empty), ("ssl", False), ("family", 0), ("flags", 0)]


def test_g70_client_and_its_protocol_ask_and_answer_alike(connect: Any) -> None:
    def script(peer: RawPeer) -> None:
        for _ in range(4):
            peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n" if peer.read_until() else b"")

    client = connect(script)
    for asking in (client, client.protocol):
        for collecting in (client, client.protocol):
            request = asking.request("GET", "/")
            assert isinstance(request, gruvihttp.HttpRequest)
            assert collecting.getresponse().request is request


def test_g47_bases_are_gruvis() -> None:
    assert issubclass(HttpProtocol, MessageProtocol)
    assert issubclass(HttpClient, Client)
    assert issubclass(HttpServer, Server)


def test_g48_application_is_mandatory_on_the_servers_side() -> None:
    with pytest.raises(ValueError, match="application"):
        HttpProtocol(True)


def application(environ: Any, start_response: Any) -> list[bytes]:
    start_response("200 OK", [])
    return []


def test_g46_arguments_may_be_positional() -> None:
    protocol = HttpProtocol(True, application, "name", "1.0", 5)
    assert (protocol.server_side, protocol.server_name, protocol.version) == (True, "name", "1.0")
    assert protocol.timeout == 5


@pytest.mark.parametrize("name", [None, "example.com"])
def test_g46_g49_protocol_serves_an_application(name: str | None) -> None:
    protocols: list[HttpProtocol] = []

    def application(environ: Any, start_response: Any) -> list[bytes]:
        start_response("200 OK", [])
        return [environ["SERVER_NAME"].encode()]

    def factory() -> HttpProtocol:
        protocols.append(HttpProtocol(True, application, name, timeout=10))
        return protocols[-1]

    server = create_server(factory, ("127.0.0.1", 0))
    with HttpClient(timeout=10) as client:
        client.connect(server.address)
        client.request("GET", "/")
        expected = name or "127.0.0.1"
        assert client.getresponse().read() == expected.encode()
        assert protocols[0].server_name == expected
        assert protocols[0].server_side
        with pytest.raises(HttpError, match="server"):
            protocols[0].request("GET", "/")
    server.close(0)


def test_g50_properties_are_readable_on_both_sides(serve: Any, connect: Any) -> None:
    peer = serve(replies(OK))
    protocol = connect(peer).protocol
    assert (protocol.server_side, protocol.server_name) == (False, f"127.0.0.1:{peer.port}")
    assert HttpProtocol(False).server_name is None
    assert HttpProtocol(False, server_name="x").server_name == "x"


def test_s01_refused_connect_changes_nothing_of_the_one_under_way(serve: Any) -> None:
    peer = serve(replies(OK))
    with HttpClient(timeout=10) as client:
        connecting = gevent.spawn(client.connect, peer.address)
        gevent.sleep(0)
        with pytest.raises(RuntimeError, match="already connected"):
            client.connect(("other.example", 80))
        connecting.get(timeout=10)
        client.request("GET", "/")
        client.getresponse().read()
    assert f"\r\nHost: 127.0.0.1:{peer.port}\r\n".encode() in peer.received


@pytest.mark.parametrize("timeout", ["5", -1, float("nan"), b""], ids=repr)
def test_timeout_that_is_no_time_is_refused(timeout: Any) -> None:
    with pytest.raises(ValueError, match="timeout must be a number of seconds"):
        HttpClient(timeout=timeout)
    for server_side in (False, True):
        with pytest.raises(ValueError, match="timeout must be a number of seconds"):
            HttpProtocol(server_side, application, timeout=timeout)
    with pytest.raises(ValueError, match="read must be a number of seconds"):
        Timeouts(read=timeout)


@pytest.mark.parametrize("version", ["1.2", "3", "", "0.9", 1.1, None, b"1.1"], ids=repr)
def test_g51_other_versions_are_refused(version: Any) -> None:
    with pytest.raises(ValueError, match="version"):
        HttpProtocol(False, version=version)
    with pytest.raises(ValueError, match="version"):
        HttpClient(version=version)


@pytest.mark.parametrize(
    "function",
    [
        HttpProtocol.request,
        HttpProtocol.getresponse,
        HttpClient.request,
        HttpClient.getresponse,
        gruvihttp.HttpRequest.write,
        gruvihttp.HttpRequest.end_request,
        gruvihttp.HttpResponse.read,
    ],
)
def test_g63_functions_that_wait_are_marked(function: Any) -> None:
    assert function.__switchpoint__


# connecting


def test_s08_unconnected_client_says_so() -> None:
    client = HttpClient()
    acts = [lambda: client.request("GET", "/"), client.getresponse]
    acts += [lambda: client.transport, lambda: client.protocol, lambda: client.connection]
    for act in acts:
        with pytest.raises(HttpError, match="not connected"):
            act()
    client.close()
    assert not client.connected


def test_s08_protocol_without_a_connection_says_so() -> None:
    with pytest.raises(HttpError, match="not connected"):
        HttpProtocol(False).request("GET", "/")
    with pytest.raises(HttpError, match="not connected"):
        HttpProtocol(False).getresponse()
    with pytest.raises(HttpError, match="server"):
        HttpProtocol(True, application).getresponse()


def test_s08_client_has_transport_and_protocol(connect: Any) -> None:
    client = connect(replies(OK))
    assert isinstance(client.transport, gruvihttp.Transport)
    assert isinstance(client.protocol, HttpProtocol)
    assert client.connection == (client.transport, client.protocol)


def test_s01_second_connect_is_refused_and_connect_after_close_works(serve: Any) -> None:
    peer = serve(replies(OK))
    client = HttpClient(timeout=10)
    for _ in range(2):
        client.connect(peer.address)
        with pytest.raises(RuntimeError, match="already connected"):
            client.connect(peer.address)
        client.request("GET", "/")
        assert client.getresponse().read() == b"ok"
        client.close()
        client.close()
        with pytest.raises(HttpError, match="not connected"):
            client.request("GET", "/")


def test_s01_failed_connect_leaves_the_client_reusable(serve: Any) -> None:
    peer = serve(replies(OK))
    with socket.create_server(("127.0.0.1", 0)) as unused:
        refused = unused.getsockname()
    with HttpClient(timeout=10) as client:
        with pytest.raises(TransportError):
            client.connect(refused)
        client.connect(peer.address)
        client.request("GET", "/")
        assert client.getresponse().read() == b"ok"


def test_g11_connection_stays_until_close(serve: Any, connect: Any) -> None:
    ended: list[bool] = []

    def script(peer: RawPeer) -> None:
        peer.read_until()
        peer.send(OK)
        peer.read_to_end()
        ended.append(True)

    peer = serve(script)
    with HttpClient(timeout=10) as client:
        client.connect(peer.address)
        client.request("GET", "/")
        assert client.getresponse().read() == b"ok"
        gevent.sleep(0)
        assert ended == []
    peer.wait()
    assert ended == [True]


def test_s09_close_delivers_what_was_sent(serve: Any) -> None:
    heard: list[int] = []

    def script(peer: RawPeer) -> None:
        heard.append(len(peer.read_to_end().partition(b"\r\n\r\n")[2]))

    peer = serve(script)
    with HttpClient(timeout=10) as client:
        client.connect(peer.address)
        client.request("POST", "/", body=b"x" * 1_000_000)
    peer.wait_for_connections()
    peer.wait()
    assert heard == [1_000_000]


def test_s09_abort_ends_at_once(connect: Any) -> None:
    client = connect(RawPeer.read_to_end)
    client.request("GET", "/")
    client.transport.abort()
    with pytest.raises((HttpError, TransportError)):
        client.getresponse()
    with pytest.raises(HttpError, match="connect again"):
        client.request("GET", "/")


def test_closing_wakes_the_greenlet_that_waits(connect: Any) -> None:
    client = connect(RawPeer.read_to_end, timeout=None)
    request = client.request("GET", "/")
    waiting = gevent.spawn(client.getresponse)
    gevent.sleep(0)
    client.close()
    with pytest.raises(TransportError, match="closed") as caught:
        waiting.get(timeout=10)
    assert caught.value.unanswered == [request]


def test_g69_timeout_bounds_connecting() -> None:
    # a listener whose backlog is full swallows what comes
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        fillers = []
        for _ in range(3):
            filler = socket.socket()
            filler.setblocking(False)
            filler.connect_ex(listener.getsockname())
            fillers.append(filler)
        with pytest.raises(Timeout) as caught:
            HttpClient(timeout=0.1).connect(listener.getsockname())
        assert caught.value.phase == "connect"
        for filler in fillers:
            filler.close()


def test_s38_connection_is_undelayed(connect: Any) -> None:
    sock = connect(replies(OK)).transport.get_extra_info("socket")
    assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


# Host, and kinds of address


@pytest.fixture
def listening(serve: Any) -> Iterator[Any]:
    """Serves OK at an address of any kind; gives the connections."""
    open_ones: list[Any] = []

    def start(address: Any) -> tuple[Any, list[RawPeer]]:
        peers: list[RawPeer] = []

        def accepted(sock: Any, _: Any) -> None:
            peer = RawPeer(gruvihttp.Transport(sock))
            peers.append(peer)
            open_ones.append(gevent.spawn(replies(OK), peer))

        listeners = open_listeners(address, accepted)
        for listener in listeners:
            listener.start()
        open_ones.extend(listeners)
        return listeners[0].address, peers

    yield start
    for one in open_ones:
        one.kill() if isinstance(one, gevent.Greenlet) else one.close()


def has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


@pytest.mark.parametrize(
    ("address", "host"),
    [
        pytest.param(("localhost", 0), "localhost:{port}", id="name"),
        pytest.param(("127.0.0.1", 0), "127.0.0.1:{port}", id="address"),
        pytest.param(
            ("::1", 0), "[::1]:{port}", id="IPv6", marks=pytest.mark.skipif(not has_ipv6(), reason="no IPv6")
        ),
    ],
)
def test_s06_host_is_what_was_connected_to(listening: Any, address: tuple[str, int], host: str) -> None:
    bound, peers = listening(address)
    with HttpClient(timeout=10) as client:
        client.connect((address[0], bound[1]))
        client.request("GET", "/")
        assert client.getresponse().read() == b"ok"
        assert host_of(peers[0].received) == host.format(port=bound[1]).encode()


class FixedPort(HttpProtocol):
    """Believes in another port than the one that it is connected to."""

    port = 80

    def connection_made(self, transport: Any) -> None:
        transport._peername = ("192.0.2.1", self.port)
        super().connection_made(transport)


@pytest.mark.parametrize(
    ("port", "tls", "host"),
    [(80, False, b"name"), (443, False, b"name:443"), (443, True, b"name"), (80, True, b"name:80")],
)
def test_s06_default_port_is_left_out_by_scheme(
    serve: Any, port: int, tls: bool, host: bytes, server_tls: ssl.SSLContext, client_tls: ssl.SSLContext
) -> None:
    peer = serve(replies(OK), context=server_tls if tls else None)

    def factory() -> HttpProtocol:
        protocol = FixedPort(False, timeout=10)
        protocol.port = port
        protocol.hostname = "name"
        return protocol

    transport, protocol = create_connection(
        factory, peer.address, ssl=client_tls if tls else False, server_hostname="localhost" if tls else None
    )
    protocol.request("GET", "/")  # type: ignore[attr-defined]
    assert protocol.getresponse().read() == b"ok"  # type: ignore[attr-defined]
    assert host_of(peer.received) == host
    transport.close()


def test_s06_server_name_is_the_host(serve: Any) -> None:
    peer = serve(replies(OK))
    transport, protocol = create_connection(lambda: HttpProtocol(False, server_name="example.com"), peer.address)
    assert isinstance(protocol, HttpProtocol)
    protocol.request("GET", "/")
    assert protocol.getresponse(10).read() == b"ok"
    assert host_of(peer.received) == b"example.com"
    transport.close()


def test_host_with_other_than_ascii_is_encoded() -> None:
    from gruvihttp.compose import Composer

    composed = Composer("1.1", "bücher.example", "x")("GET", "/", [], "")
    assert composed.outline.fields[0] == (b"Host", b"xn--bcher-kva.example")


@pytest.mark.parametrize("abstract", [False, True], ids=["path", "abstract"])
def test_s02_unix_socket_is_localhost(listening: Any, tmp_path: Path, abstract: bool) -> None:
    if abstract and not sys.platform.startswith("linux"):
        pytest.skip("abstract addresses are Linux's")
    address = f"\0gruvihttp-{os.getpid()}" if abstract else str(tmp_path / "s")
    _, peers = listening(address)
    with HttpClient(timeout=10) as client:
        client.connect(address)
        client.request("GET", "/")
        assert client.getresponse().read() == b"ok"
    assert host_of(peers[0].received) == b"localhost"


@pytest.mark.parametrize("kind", ["descriptor", "socket"])
def test_s02_connected_socket_is_taken_over(serve: Any, kind: str) -> None:
    peer = serve(replies(OK))
    sock = _socket.socket() if kind == "descriptor" else socket.socket()
    sock.connect(peer.address)
    with HttpClient(timeout=10) as client:
        client.connect(sock.detach() if kind == "descriptor" else sock)
        client.request("GET", "/")
        assert client.getresponse().read() == b"ok"
    assert host_of(peer.received) == f"127.0.0.1:{peer.port}".encode()


def test_s03_local_address_is_used(serve: Any) -> None:
    peer = serve(replies(OK))
    with HttpClient(timeout=10) as client:
        client.connect(peer.address, local_address=("127.0.0.2", 0))
        assert client.transport.get_extra_info("sockname")[0] == "127.0.0.2"


# TLS


@pytest.mark.parametrize("library", ["stdlib", "gevent"])
@pytest.mark.parametrize("way", ["context", "callable"])
def test_s03_any_context_does(serve: Any, library: str, way: str, authority: Any, server_tls: Any) -> None:
    context = gevent_ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT) if library == "gevent" else ssl.create_default_context()
    authority.configure_trust(context)
    peer = serve(replies(OK), context=server_tls)
    with HttpClient(timeout=10) as client:
        client.connect(("localhost", peer.port), ssl=context if way == "context" else lambda sock: context)
        client.request("GET", "/")
        assert client.getresponse().read() == b"ok"
        assert client.transport.get_extra_info("ssl") is not None
    assert host_of(peer.received) == f"localhost:{peer.port}".encode()


def test_s05_certificate_of_a_stranger_is_refused_by_default(serve: Any, server_tls: ssl.SSLContext) -> None:
    peer = serve(replies(OK), context=server_tls)
    client = HttpClient(timeout=10)
    with pytest.raises(TransportError, match="certificate"):
        client.connect(("localhost", peer.port), ssl=True)
    assert not client.connected


def test_s05_name_in_the_certificate_is_checked(serve: Any, server_tls: Any, client_tls: Any) -> None:
    peer = serve(replies(OK), context=server_tls)
    with pytest.raises(TransportError, match="mismatch|match"):
        HttpClient(timeout=10).connect(peer.address, ssl=client_tls, server_hostname="example.com")


def test_tls_stream_that_is_cut_is_no_end_of_content(serve: Any, server_tls: Any, client_tls: Any) -> None:
    def script(peer: RawPeer) -> None:
        peer.read_until()
        peer.send(b"HTTP/1.1 200 OK\r\n\r\nfoo")
        os.dup2(os.open(os.devnull, os.O_RDONLY), peer.channel.fileno())  # the socket is gone without close_notify

    peer = serve(script, context=server_tls)
    with HttpClient(timeout=10) as client:
        client.connect(("localhost", peer.port), ssl=client_tls)
        client.request("GET", "/")
        response = client.getresponse()
        assert response.read(3) == b"foo"
        with pytest.raises(HttpError, match="cut"):
            response.read()
