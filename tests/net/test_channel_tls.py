"""TLS over a channel: any context, honest ends, and failures that say what to do."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from typing import Any, TypeAlias

import gevent
import pytest
import trustme
from gevent import ssl as gevent_ssl

from gruvihttp.errors import Timeout, TransportError
from gruvihttp.net.deadline import moment_after
from gruvihttp.net.tls import client_context, server_context
from gruvihttp.net.tlsfacts import environ_of
from gruvihttp.net.transport import Transport

Pair: TypeAlias = tuple[Transport, Transport]
Until: TypeAlias = Callable[[Callable[[], object]], None]


def shake_hands(
    pair: Pair, client: ssl.SSLContext, server: ssl.SSLContext, hostname: str | None = "localhost"
) -> tuple[BaseException | None, BaseException | None]:
    """Both sides' handshakes at once; what each raised."""

    def one(side: Transport, context: ssl.SSLContext, server_side: bool, name: str | None) -> BaseException | None:
        try:
            side.start_tls(context, server_side, name, moment_after(10))
        except Exception as exc:
            side.close()
            return exc
        return None

    greenlets = [gevent.spawn(one, pair[0], client, False, hostname), gevent.spawn(one, pair[1], server, True, None)]
    gevent.joinall(greenlets, timeout=20)
    return greenlets[0].value, greenlets[1].value


def exchange(pair: Pair) -> None:
    for one, other in (pair, pair[::-1]):
        content = bytes(range(256)) * 1000
        sender = gevent.spawn(one.send, content)
        heard = bytearray()
        while len(heard) < len(content):
            heard += other.receive(moment_after(10))
        assert heard == content
        assert sender.get(timeout=10)


# sessions


@pytest.mark.parametrize("server_class", [ssl.SSLContext, gevent_ssl.SSLContext], ids=["stdlib", "gevent"])
@pytest.mark.parametrize("client_class", [ssl.SSLContext, gevent_ssl.SSLContext], ids=["stdlib", "gevent"])
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=["1.2", "1.3"])
def test_any_context_will_do(
    tcp: Pair, authority: trustme.CA, client_class: Any, server_class: Any, version: ssl.TLSVersion
) -> None:
    server = server_class(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(server)
    client = client_class(ssl.PROTOCOL_TLS_CLIENT)
    authority.configure_trust(client)
    client.minimum_version = client.maximum_version = version
    assert shake_hands(tcp, client, server) == (None, None)
    exchange(tcp)
    assert tcp[0].get_extra_info("ssl").version() == version.name.replace("_", ".")


def test_tls_over_a_unix_socket(
    make_pair: Callable[[str], Pair], client_tls: ssl.SSLContext, server_tls: ssl.SSLContext
) -> None:
    pair = make_pair("unix")
    assert shake_hands(pair, client_tls, server_tls) == (None, None)
    exchange(pair)


def test_facts_of_a_session(tcp: Pair, authority: trustme.CA, server_tls: ssl.SSLContext) -> None:
    client = ssl.create_default_context()
    authority.configure_trust(client)
    client.set_alpn_protocols(["http/1.1"])
    assert shake_hands(tcp, client, server_tls) == (None, None)
    here, there = tcp
    assert here.get_extra_info("alpn") == there.get_extra_info("alpn") == "http/1.1"
    assert here.get_extra_info("server_hostname") == "localhost"
    assert here.get_extra_info("sslctx") is client
    assert here.get_extra_info("ssl").getpeercert()["subjectAltName"] == (
        ("DNS", "localhost"),
        ("IP Address", "127.0.0.1"),
    )
    assert "tls" in repr(here)


def test_server_hears_the_name_that_the_client_asked_for(tcp: Pair, authority: trustme.CA) -> None:
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("one.example", "two.example").configure_cert(server)
    names: list[str | None] = []
    server.sni_callback = lambda session, name, context: names.append(name)
    client = ssl.create_default_context()
    authority.configure_trust(client)
    assert shake_hands(tcp, client, server, "two.example") == (None, None)
    assert names == ["two.example"]


def test_records_that_arrive_byte_by_byte(
    make_pair: Callable[[str], Pair], client_tls: ssl.SSLContext, server_tls: ssl.SSLContext
) -> None:
    """A relay between the two ends passes one byte at a time."""
    client, relay_in = make_pair("unix")
    relay_out, server = make_pair("unix")

    def relay(source: Transport, target: Transport) -> None:
        while part := source.receive():
            for byte in part:
                target.send(bytes([byte]))
                gevent.sleep(0)

    relays = [gevent.spawn(relay, relay_in, relay_out), gevent.spawn(relay, relay_out, relay_in)]
    assert shake_hands((client, server), client_tls, server_tls) == (None, None)
    client.send(b"slowly")
    heard = bytearray()
    while len(heard) < 6:
        heard += server.receive(moment_after(10))
    assert heard == b"slowly"
    gevent.killall(relays)


def test_tls_starts_once(tls: Pair, client_tls: ssl.SSLContext) -> None:
    with pytest.raises(RuntimeError, match="already"):
        tls[0].start_tls(client_tls, False, "localhost")


def test_tls_does_not_start_under_a_parked_callback(tcp: Pair, client_tls: ssl.SSLContext) -> None:
    tcp[0].park(lambda: None)
    with pytest.raises(RuntimeError, match="parked"):
        tcp[0].start_tls(client_tls, False, "localhost")


# how a stream ends


def test_end_that_was_announced_is_not_ragged(tls: Pair) -> None:
    here, there = tls
    there.close()
    assert here.receive(moment_after(10)) == b""
    assert not here.ragged_eof


def test_end_that_was_not_announced_is_ragged(tls: Pair) -> None:
    here, there = tls
    there.send(b"content")
    there.get_extra_info("socket").shutdown(1)
    assert here.receive(moment_after(10)) == b"content"
    assert here.receive(moment_after(10)) == b""
    assert here.ragged_eof


def test_plain_streams_have_no_ragged_end(tcp: Pair) -> None:
    here, there = tcp
    there.close()
    assert here.receive(moment_after(10)) == b""
    assert not here.ragged_eof


def test_end_that_comes_with_content_is_not_waited_for(tls: Pair, until: Until) -> None:
    """The close_notify is read with the content, and the socket stays open: it will never be readable again."""
    here, there = tls
    there.send(b"content")
    there._tls.close_notify()  # type: ignore[union-attr]  # without the end of the TCP stream
    assert here.receive(moment_after(10)) == b"content"
    assert here.receive(moment_after(10)) == b""
    heard: list[bytes | None] = []
    here.park(lambda: heard.append(here.try_receive()))
    until(lambda: b"" in heard)


def test_garbage_instead_of_a_record_is_a_transport_error(tls: Pair) -> None:
    here, there = tls
    there.get_extra_info("socket").send(b"this is not TLS" * 10)
    with pytest.raises(TransportError) as caught:
        here.receive(moment_after(10))
    assert isinstance(caught.value.__cause__, ssl.SSLError)
    assert here.broken


def test_half_closing_does_not_overtake_output_that_is_stuck(tls: Pair) -> None:
    here, there = tls
    content = bytes(10_000_000)
    rest = here.try_send(content)
    assert rest
    here.shutdown_write()
    heard = bytearray()
    while part := there.receive(moment_after(10)):
        heard += part
    assert len(heard) == len(content) - len(rest)
    assert not there.ragged_eof


def test_reset_that_meets_stuck_output_in_the_hub_is_remembered(tls: Pair, until: Until) -> None:
    here, there = tls
    called: list[None] = []
    while here.try_send(bytes(100_000)) == b"":
        pass
    here.when_writable(lambda: called.append(None))
    there.abort()
    until(lambda: called)
    assert here.broken
    assert here.error is not None
    with pytest.raises(TransportError):
        here.send(b"more")


# handshakes that fail


def test_certificate_that_is_not_trusted(tcp: Pair, server_tls: ssl.SSLContext) -> None:
    failure, at_server = shake_hands(tcp, ssl.create_default_context(), server_tls)
    assert isinstance(failure, TransportError)
    assert isinstance(failure.__cause__, ssl.SSLCertVerificationError)
    assert failure.__cause__.verify_message in str(failure)
    assert isinstance(at_server, TransportError)


def test_certificate_of_another_host(tcp: Pair, client_tls: ssl.SSLContext, server_tls: ssl.SSLContext) -> None:
    failure, _ = shake_hands(tcp, client_tls, server_tls, "other.example")
    assert isinstance(failure, TransportError)
    assert "other.example" in str(failure)


def test_peer_that_does_not_speak_tls(tcp: Pair, client_tls: ssl.SSLContext) -> None:
    here, there = tcp
    there.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    with pytest.raises(TransportError, match="does not speak TLS"):
        here.start_tls(client_tls, False, "localhost", moment_after(10))


def test_plain_request_to_a_tls_server(tcp: Pair, server_tls: ssl.SSLContext) -> None:
    here, there = tcp
    there.send(b"GET / HTTP/1.1\r\n\r\n")
    with pytest.raises(TransportError, match="does not speak TLS"):
        here.start_tls(server_tls, True, None, moment_after(10))


def test_peer_that_closes_in_the_handshake(tcp: Pair, client_tls: ssl.SSLContext) -> None:
    here, there = tcp
    there.close()
    with pytest.raises(TransportError, match="TLS handshake: the peer closed"):
        here.start_tls(client_tls, False, "localhost", moment_after(10))
    assert here.broken


def test_peer_that_resets_in_the_handshake(tcp: Pair, server_tls: ssl.SSLContext) -> None:
    here, there = tcp
    there.abort()
    with pytest.raises(TransportError, match="TLS handshake"):
        here.start_tls(server_tls, True, None, moment_after(10))


def test_no_common_version(tcp: Pair, authority: trustme.CA, server_tls: ssl.SSLContext) -> None:
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(server)
    server.minimum_version = ssl.TLSVersion.TLSv1_3
    client = ssl.create_default_context()
    authority.configure_trust(client)
    client.maximum_version = ssl.TLSVersion.TLSv1_2
    failures = shake_hands(tcp, client, server)
    assert all(isinstance(failure, TransportError) for failure in failures)


def test_silent_peer_is_a_timeout_of_the_handshake_phase(tcp: Pair, server_tls: ssl.SSLContext) -> None:
    here, _ = tcp
    with pytest.raises(Timeout) as caught:
        here.start_tls(server_tls, True, None, moment_after(0.02))
    assert caught.value.phase == "handshake"
    with pytest.raises(TransportError):
        here.send(b"never in the clear")


def test_killed_handshake_leaves_nothing_usable(tcp: Pair, server_tls: ssl.SSLContext) -> None:
    here, _ = tcp
    waiting = gevent.spawn(here.start_tls, server_tls, True)
    gevent.sleep(0)
    waiting.kill()
    assert here.broken
    with pytest.raises(TransportError):
        here.send(b"never in the clear")


def test_close_wakes_a_handshake(tcp: Pair, server_tls: ssl.SSLContext) -> None:
    here, _ = tcp
    waiting = gevent.spawn(here.start_tls, server_tls, True)
    gevent.sleep(0)
    here.close()
    with pytest.raises(TransportError, match="closed"):
        waiting.get(timeout=10)


# options


@pytest.mark.parametrize("option", [False, None])
def test_no_option_is_no_tls(option: Any, tcp: Pair) -> None:
    sock = tcp[0].get_extra_info("socket")
    assert client_context(option, sock) is None
    assert server_context(option, sock) is None


def test_true_is_one_verifying_context_for_clients(tcp: Pair) -> None:
    sock = tcp[0].get_extra_info("socket")
    context = client_context(True, sock)
    assert context is not None
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname
    assert client_context(True, sock) is context
    assert client_context(True, sock, alpn=("h2",)) is not context


def test_true_is_no_context_for_servers(tcp: Pair) -> None:
    with pytest.raises(TypeError, match="certificate"):
        server_context(True, tcp[0].get_extra_info("socket"))


def test_callable_chooses_by_the_socket(tcp: Pair, server_tls: ssl.SSLContext) -> None:
    sock = tcp[0].get_extra_info("socket")
    asked: list[Any] = []

    def choose(raw: Any) -> ssl.SSLContext:
        asked.append(raw)
        return server_tls

    assert client_context(choose, sock) is server_tls
    assert server_context(choose, sock) is server_tls
    assert asked == [sock, sock]


@pytest.mark.parametrize("option", ["yes", 1, lambda sock: None], ids=["text", "number", "callable without result"])
def test_other_options_are_refused(option: Any, tcp: Pair) -> None:
    with pytest.raises(TypeError, match="ssl="):
        client_context(option, tcp[0].get_extra_info("socket"))


def test_environ_describes_a_session(tls: Pair) -> None:
    described = environ_of(tls[1].get_extra_info("ssl"))
    assert described["HTTPS"] == "on"
    assert described["SSL_PROTOCOL"] == "TLSv1.3"
    assert described["SSL_CIPHER"].startswith("TLS_")
    assert described["SSL_CIPHER_USEKEYSIZE"] in ("128", "256")
