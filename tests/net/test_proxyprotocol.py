"""The PROXY protocol: headers to addresses, and connections that begin with one."""

from __future__ import annotations

import socket
import ssl
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gevent
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gruvihttp.errors import Timeout, TransportError
from gruvihttp.limits import Timeouts
from gruvihttp.net.deadline import moment_after
from gruvihttp.net.endpoints import Server
from gruvihttp.net.protocol import MessageProtocol
from gruvihttp.net.proxyprotocol import SIGNATURE, MalformedProxyHeader, ProxyHeader, scan
from gruvihttp.net.transport import Transport
from gruvihttp.testing import RawPeer, memory_pair

Until = Callable[[Callable[[], object]], None]

SOURCE, DESTINATION = ("192.0.2.1", 56324), ("203.0.113.7", 443)
SOURCE6, DESTINATION6 = ("2001:db8::1", 56324, 0, 0), ("2001:db8::2", 443, 0, 0)
V1 = b"PROXY TCP4 192.0.2.1 203.0.113.7 56324 443\r\n"
V1_TCP6 = b"PROXY TCP6 2001:db8::1 2001:db8::2 56324 443\r\n"


def v2(family: int, content: bytes, command: int = 0x21, *, length: int | None = None) -> bytes:
    announced = len(content) if length is None else length
    return struct.pack("!12sBBH", SIGNATURE, command, family, announced) + content


def v2_tcp4(further: bytes = b"") -> bytes:
    addresses = socket.inet_aton(SOURCE[0]) + socket.inet_aton(DESTINATION[0]) + struct.pack("!HH", 56324, 443)
    return v2(0x11, addresses + further)


def v2_tcp6() -> bytes:
    hosts = [socket.inet_pton(socket.AF_INET6, address[0]) for address in (SOURCE6, DESTINATION6)]
    return v2(0x21, b"".join(hosts) + struct.pack("!HH", 56324, 443))


def v2_unix(source: bytes, destination: bytes) -> bytes:
    return v2(0x31, struct.pack("108s108s", source, destination))


# "ALPN" and a checksum, as HAProxy adds them
FURTHER = b"\x01\x00\x02h2" + b"\x03\x00\x04\xde\xad\xbe\xef"

HEADERS = [
    pytest.param(V1, SOURCE, DESTINATION, id="v1-tcp4"),
    pytest.param(V1_TCP6, SOURCE6, DESTINATION6, id="v1-tcp6"),
    pytest.param(b"PROXY UNKNOWN\r\n", None, None, id="v1-unknown"),
    pytest.param(b"PROXY UNKNOWN ffff::1 ffff::2 65535 65535\r\n", None, None, id="v1-unknown-with-rest"),
    pytest.param(b"PROXY TCP4 0.0.0.0 1.2.3.255 0 65535\r\n", ("0.0.0.0", 0), ("1.2.3.255", 65535), id="v1-ends"),
    pytest.param(v2_tcp4(), SOURCE, DESTINATION, id="v2-tcp4"),
    pytest.param(v2_tcp4(FURTHER), SOURCE, DESTINATION, id="v2-tcp4-with-further-facts"),
    pytest.param(v2_tcp4(b"\x30" + bytes(65535 - 13)), SOURCE, DESTINATION, id="v2-longest"),
    pytest.param(v2_tcp6(), SOURCE6, DESTINATION6, id="v2-tcp6"),
    pytest.param(v2_unix(b"/run/a.sock", b"/run/b.sock"), "/run/a.sock", "/run/b.sock", id="v2-unix"),
    pytest.param(v2_unix(b"", b"\0abstract"), b"", b"\0abstract", id="v2-unix-without-names"),
    pytest.param(v2(0x00, b"", 0x20), None, None, id="v2-local"),
    pytest.param(v2(0x11, b"\xff" * 12, 0x20), None, None, id="v2-local-with-addresses"),
    pytest.param(v2(0x00, b"", 0x21), None, None, id="v2-unspecified"),
    pytest.param(v2(0x00, FURTHER, 0x21), None, None, id="v2-unspecified-with-facts"),
    pytest.param(v2(0x12, bytes(12), 0x21), None, None, id="v2-datagram"),
]  # fmt: skip


@pytest.mark.parametrize(("header", "source", "destination"), HEADERS)
def test_header_gives_its_addresses(header: bytes, source: Any, destination: Any) -> None:
    assert scan(header) == ProxyHeader(len(header), source, destination)
    assert scan(header + b"GET / HTTP/1.1\r\n") == ProxyHeader(len(header), source, destination)


@pytest.mark.parametrize(("header", "source", "destination"), HEADERS)
def test_header_is_wanted_to_its_last_byte(header: bytes, source: Any, destination: Any) -> None:
    ends = range(len(header)) if len(header) < 1000 else (0, 1, 15, 16, 27, 28, 1000, len(header) - 1)
    assert [scan(header[:end]) for end in ends] == [None for _ in ends]


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"GET / HTTP/1.1\r\n", id="http"),
        pytest.param(b"\x16\x03\x01\x02\x00\x01", id="tls"),
        pytest.param(b"P ", id="starts-well"),
        pytest.param(b"proxy TCP4 ", id="lower-case"),
        pytest.param(b"\r\n\r\nGET", id="empty-lines"),
        pytest.param(b"PROXY TCP4 192.0.2.1 203.0.113.7 56324\r\n", id="v1-short"),
        pytest.param(V1[:-2] + b" x\r\n", id="v1-long"),
        pytest.param(V1.replace(b" 443", b"  443"), id="v1-two-blanks"),
        pytest.param(V1.replace(b" 443", b"\t443"), id="v1-tab"),
        pytest.param(V1.replace(b" 443", b" 0443"), id="v1-leading-zero"),
        pytest.param(V1.replace(b" 443", b" 65536"), id="v1-no-such-port"),
        pytest.param(V1.replace(b" 443", b" -1"), id="v1-sign"),
        pytest.param(V1.replace(b"192.0.2.1", b"192.0.2.256"), id="v1-no-such-address"),
        pytest.param(V1.replace(b"192.0.2.1", b"192.0.2.01"), id="v1-zero-in-address"),
        pytest.param(V1.replace(b"192.0.2.1", b"2001:db8::1"), id="v1-wrong-family"),
        pytest.param(V1_TCP6.replace(b"2001:db8::1", b"192.0.2.1"), id="v1-wrong-family-6"),
        pytest.param(V1_TCP6.replace(b"2001:db8::1", b"2001::db8::1"), id="v1-no-such-address-6"),
        pytest.param(V1.replace(b"TCP4", b"TCP5"), id="v1-no-such-family"),
        pytest.param(V1.replace(b"TCP4", b"tcp4"), id="v1-family-in-lower-case"),
        pytest.param(b"PROXY UNKNOWNx\r\n", id="v1-unknown-with-a-tail"),
        pytest.param(b"PROXY UNKNOWN " + b"x" * 100, id="v1-endless"),
        pytest.param(b"PROXY " + b"x" * 100 + b"\r\n", id="v1-one-byte-too-long"),
        pytest.param(v2(0x11, bytes(12), 0x11), id="v2-version-1"),
        pytest.param(v2(0x11, bytes(12), 0x31), id="v2-version-3"),
        pytest.param(v2(0x11, bytes(12), 0x22), id="v2-no-such-command"),
        pytest.param(v2(0x41, bytes(12)), id="v2-no-such-family"),
        pytest.param(v2(0x13, bytes(12)), id="v2-no-such-protocol"),
        pytest.param(v2(0x11, bytes(11)), id="v2-tcp4-too-short"),
        pytest.param(v2(0x21, bytes(35)), id="v2-tcp6-too-short"),
        pytest.param(v2(0x31, bytes(215)), id="v2-unix-too-short"),
    ],
)
def test_malformed_header_is_refused(data: bytes) -> None:
    with pytest.raises(MalformedProxyHeader):
        scan(data)


def test_malformed_header_is_refused_as_soon_as_it_shows() -> None:
    for hopeless in (b"G", b"PROXZ", b"\r\n\r\n\0\r\nQUIX", v2(0x11, b"", 0x22, length=65535)):
        with pytest.raises(MalformedProxyHeader):
            scan(hopeless)


@given(st.binary(max_size=120), st.sampled_from([b"", b"PROXY ", b"PROXY TCP4 ", SIGNATURE, SIGNATURE + b"\x21\x11"]))
def test_any_bytes_are_a_header_or_its_beginning_or_refused(rest: bytes, start: bytes) -> None:
    try:
        header = scan(start + rest)
    except MalformedProxyHeader:
        return
    assert header is None or 15 <= header.size <= len(start + rest)


# a channel


@pytest.mark.parametrize("size", [1, 7, 1000], ids=["by-bytes", "by-sevens", "whole"])
@pytest.mark.parametrize("header", [V1, v2_tcp4(FURTHER)], ids=["v1", "v2"])
def test_nothing_behind_the_header_is_read(header: bytes, size: int) -> None:
    ours, theirs = memory_pair()
    content = header + b"GET"
    with RawPeer(theirs) as peer:
        reading = Reading(ours)
        peer.send_in_pieces(content, size)
        assert reading.result() is True
        assert RawPeer(ours).read(3) == b"GET"
        assert (ours.get_extra_info("peername"), ours.get_extra_info("sockname")) == (SOURCE, DESTINATION)
        assert ours.get_extra_info("proxy") == ("", "")
    ours.close()


class Reading:
    """A greenlet that reads a header."""

    def __init__(self, channel: Transport) -> None:
        self._greenlet = gevent.spawn(channel.receive_proxy_header, moment_after(10))

    def result(self) -> Any:
        return self._greenlet.get(timeout=10)


def test_addresses_stay_where_the_header_has_none() -> None:
    ours, theirs = memory_pair()
    theirs.send(b"PROXY UNKNOWN\r\n")
    assert ours.receive_proxy_header(moment_after(10)) is True
    assert ours.get_extra_info("peername") == ""
    assert ours.get_extra_info("proxy") is None
    for end in (ours, theirs):
        end.close()


def test_silence_is_no_error() -> None:
    ours, theirs = memory_pair()
    assert ours.receive_proxy_header(moment_after(0.01)) is False
    theirs.close()
    assert ours.receive_proxy_header(moment_after(10)) is False
    ours.close()


def test_header_that_does_not_end_in_time_is_an_error() -> None:
    ours, theirs = memory_pair()
    theirs.send(V1[:20])
    with pytest.raises(Timeout) as caught:
        ours.receive_proxy_header(moment_after(0.01))
    assert caught.value.phase == "proxy"
    for end in (ours, theirs):
        end.close()


def test_header_that_is_cut_is_an_error() -> None:
    ours, theirs = memory_pair()
    theirs.send(V1[:20])
    theirs.close()
    with pytest.raises(TransportError, match="the peer closed the connection"):
        ours.receive_proxy_header(moment_after(10))
    ours.close()


# a server


class Told(MessageProtocol):
    """Says what the connection knows about its ends, and then what it hears."""

    def connection_made(self, transport: Transport) -> None:
        super().connection_made(transport)
        peer, own = transport.get_extra_info("peername"), transport.get_extra_info("sockname")
        transport.try_send(f"{peer} {own}\n".encode())

    def data_received(self, data: bytes) -> None:
        assert self.transport is not None
        self.transport.send(data)


class Failing(Server):
    """A server that remembers failed handshakes."""

    def __init__(self, **options: Any) -> None:
        super().__init__(Told, **options)
        self.failures: list[Exception] = []

    def handshake_failed(self, transport: Transport, exc: Exception) -> None:
        self.failures.append(exc)


Listen = Callable[..., Failing]


@pytest.fixture
def listen() -> Iterator[Listen]:
    running: list[Failing] = []

    def listen(address: Any = ("127.0.0.1", 0), ssl: Any = False, proxy: Any = True, **options: Any) -> Failing:
        server = Failing(**options)
        running.append(server)
        server.listen(address, ssl, proxy_protocol=proxy)
        return server

    yield listen
    for server in running:
        server.close(0)


def said(content: bytes) -> tuple[str, bytes]:
    line, _, rest = content.partition(b"\n")
    return line.decode(), rest


@pytest.mark.parametrize("size", [1, 1000], ids=["by-bytes", "whole"])
@pytest.mark.parametrize(("header", "source", "destination"), HEADERS[:2] + HEADERS[5:7] + HEADERS[8:10])
def test_connection_has_the_addresses_of_its_header(
    listen: Listen, header: bytes, source: Any, destination: Any, size: int
) -> None:
    server = listen()
    with RawPeer.connect(server.address) as peer:
        peer.send_in_pieces(header + b"hello", size)
        line, heard = said(peer.read_until(b"hello"))
        assert (line, heard) == (f"{source} {destination}", b"hello")
    assert (server.proxy_failures, server.handshake_failures, server.failures) == (0, 0, [])


def test_header_comes_before_tls(listen: Listen, server_tls: ssl.SSLContext, client_tls: ssl.SSLContext) -> None:
    server = listen(ssl=server_tls)
    with RawPeer.connect(server.address) as peer:
        peer.send(V1)
        peer.channel.start_tls(client_tls, False, "localhost", moment_after(10))
        assert said(peer.read_until(b"\n"))[0] == f"{SOURCE} {DESTINATION}"


def test_header_and_hello_in_one_piece_are_told_apart(
    listen: Listen, server_tls: ssl.SSLContext, client_tls: ssl.SSLContext
) -> None:
    server = listen(ssl=server_tls)
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    session = client_tls.wrap_bio(incoming, outgoing, server_hostname="localhost")
    with RawPeer.connect(server.address) as peer:
        greeting = v2_tcp4(FURTHER)
        while True:
            try:
                session.do_handshake()
                break
            except ssl.SSLWantReadError:
                peer.send(greeting + outgoing.read())
                greeting = b""
                incoming.write(peer.channel.receive(moment_after(10)))
        peer.send(outgoing.read())
        while True:
            try:
                heard = session.read(1000)
                break
            except ssl.SSLWantReadError:
                incoming.write(peer.channel.receive(moment_after(10)))
        assert said(heard)[0] == f"{SOURCE} {DESTINATION}"


def test_header_on_a_unix_socket(listen: Listen, tmp_path: Path) -> None:
    server = listen(str(tmp_path / "socket"))
    with RawPeer.connect(server.address) as peer:
        peer.send(V1)
        assert said(peer.read_until(b"\n"))[0] == f"{SOURCE} {DESTINATION}"


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
@pytest.mark.parametrize(
    "start",
    [
        pytest.param(b"GET / HTTP/1.1\r\n\r\n", id="http"),
        pytest.param(V1[:20], id="cut"),
        pytest.param(b"\x16\x03\x01\x02\x00", id="hello"),
    ],
)
def test_connection_without_its_header_is_closed_silently_and_counted(
    listen: Listen, server_tls: ssl.SSLContext, until: Until, start: bytes, tls: bool
) -> None:
    server = listen(ssl=server_tls if tls else False)
    with RawPeer.connect(server.address) as peer:
        peer.send(start)
        peer.half_close()
        try:
            assert peer.read_to_end() == b""
        except TransportError:  # a reset, since what was sent has not been read
            pass
        until(lambda: server.proxy_failures == 1)
    assert [str(failure).partition(":")[0] for failure in server.failures] == ["PROXY header"]
    assert (server.handshake_failures, server.connections) == (0, [])


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
@pytest.mark.parametrize("start", [b"", v2(0x00, b"", 0x20)], ids=["nothing", "local"])
def test_health_check_that_says_nothing_makes_no_noise(
    listen: Listen, server_tls: ssl.SSLContext, until: Until, start: bytes, tls: bool
) -> None:
    server = listen(ssl=server_tls if tls else False)
    with RawPeer.connect(server.address) as peer:
        peer.send(start)
        peer.half_close()
        peer.read_to_end()
    until(lambda: not server.connections and not server._handshakes)
    assert (server.accepted, server.proxy_failures, server.handshake_failures, server.failures) == (1, 0, 0, [])


@pytest.mark.parametrize(
    ("start", "failures"), [pytest.param(b"", 0, id="silent"), pytest.param(V1[:-1], 1, id="dripping")]
)
def test_header_is_due_before_the_deadline_of_the_handshake(
    listen: Listen, until: Until, start: bytes, failures: int
) -> None:
    server = listen(timeouts=Timeouts(handshake=0.05))
    with RawPeer.connect(server.address) as peer:
        peer.send(start)
        try:
            assert peer.read_to_end() == b""
        except TransportError:
            pass
    assert server.proxy_failures == failures


def test_others_than_the_named_senders_connect_without_header(listen: Listen) -> None:
    server = listen(proxy=["10.0.0.0/8"])
    with RawPeer.connect(server.address) as peer:
        peer.send(V1)
        assert peer.read_until(b"443\r\n").endswith(V1)  # it is the peer's own content


def test_named_senders_connect_with_header(listen: Listen, tmp_path: Path) -> None:
    for address in (("127.0.0.1", 0), str(tmp_path / "socket")):
        server = listen(address, proxy=["127.0.0.0/8", "unix"])
        with RawPeer.connect(server.address) as peer:
            peer.send(V1)
            assert said(peer.read_until(b"\n"))[0] == f"{SOURCE} {DESTINATION}"


def test_mistaken_sender_is_refused_before_anything_listens() -> None:
    server = Failing()
    with pytest.raises(ValueError, match="write 10.0.0.0/8"):
        server.listen(("127.0.0.1", 0), proxy_protocol=["10.0.0.1/8"])
    assert server.addresses == []


def test_waiting_for_a_header_counts_as_a_connection(listen: Listen, until: Until) -> None:
    server = listen()
    with RawPeer.connect(server.address):
        until(lambda: server.accepted == 1)
        server.close(0)
    assert server.connections == []


def test_peek_takes_nothing_away() -> None:
    ours, theirs = memory_pair()
    theirs.send(b"hello")
    assert ours.peek(moment_after(10)) == b"hello"
    assert ours.receive(moment_after(10)) == b"hello"
    theirs.close()
    assert ours.peek(moment_after(10)) == b""
    ours.close()
