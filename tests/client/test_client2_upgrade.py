"""Expect: 100-continue, Upgrade, CONNECT, and connections through a proxy."""

from __future__ import annotations

from typing import Any

import gevent
import pytest
from gevent.event import Event

from gruvihttp import Error, HttpClient, HttpError, HttpServer, Timeout, TransportError
from gruvihttp.net.channel import Channel
from gruvihttp.net.dial import dial
from gruvihttp.testing import RawPeer, ScriptedPeer, replies

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


# Expect: 100-continue


def pieces() -> Any:
    yield b"bo"
    yield "dy"


@pytest.mark.parametrize("body", [b"body", "body", "pieces"])
def test_body_is_sent_when_the_server_says_continue(connect: Any, say: Any, body: Any) -> None:
    def script(peer: RawPeer) -> None:
        heads.append(peer.read_until())
        say(peer, CONTINUE)
        bodies.append(peer.read(4) if b"Content-Length" in heads[0] else peer.read_until(b"0\r\n\r\n"))
        say(peer, OK)

    heads: list[bytes] = []
    bodies: list[bytes] = []
    client = connect(script)
    client.request("POST", "/", body=pieces() if body == "pieces" else body, expect=9.0)
    response = client.getresponse()
    assert response.read() == b"ok"
    assert b"\r\nExpect: 100-continue\r\n" in heads[0]
    assert bodies[0] in (b"body", b"2\r\nbo\r\n2\r\ndy\r\n0\r\n\r\n")
    assert [one.status for one in response.informational] == [100]


@pytest.mark.parametrize("status", [b"417 Expectation Failed", b"413 Content Too Large", b"200 OK", b"401 No"])
def test_body_is_not_sent_after_a_final_response(connect: Any, say: Any, status: bytes) -> None:
    def script(peer: RawPeer) -> None:
        peer.read_until()
        say(peer, b"HTTP/1.1 %b\r\nContent-Length: 2\r\n\r\nno" % status)
        rest.append(peer.read_to_end())

    rest: list[bytes] = []
    client = connect(script)
    client.request("POST", "/", body=b"body", expect=9.0)
    assert client.getresponse().read() == b"no"
    with pytest.raises(HttpError, match="connect again"):
        client.request("GET", "/")
    client.close()
    gevent.idle()
    assert rest in ([], [b""])


def test_body_is_sent_to_a_server_that_does_not_know_the_expectation(connect: Any, say: Any) -> None:
    def script(peer: RawPeer) -> None:
        peer.read_until()
        peer.read(4)
        say(peer, OK)

    client = connect(script)
    client.request("POST", "/", body=b"body", expect=0.05)
    assert client.getresponse().read() == b"ok"


def test_body_waits_for_no_more_than_a_second(connect: Any) -> None:
    def script(peer: RawPeer) -> None:
        peer.read_until()
        with pytest.raises(Timeout):
            RawPeer(peer.channel, 0.3).read(1)
        peer.read(4)
        peer.send(OK)

    client = connect(script)
    client.request("POST", "/", body=b"body", expect=True)
    assert client.getresponse().read() == b"ok"


def test_body_that_is_written_by_hand_waits_too(connect: Any, say: Any) -> None:
    def script(peer: RawPeer) -> None:
        peer.read_until()
        say(peer, CONTINUE)
        peer.read_until(b"0\r\n\r\n")
        say(peer, OK)

    client = connect(script)
    request = client.request("POST", "/", body=None, expect=9.0)
    request.write(b"body")
    request.end_request()
    assert client.getresponse().read() == b"ok"


@pytest.mark.parametrize("act", [
    pytest.param(lambda client: client.request("POST", "/", body=b"", expect=True), id="empty"),
    pytest.param(lambda client: client.request("GET", "/", expect=True), id="get"),
])  # fmt: skip
def test_expectation_without_content_is_not_sent(wire: Any, act: Any) -> None:
    assert b"Expect" not in wire(act)


def test_expectation_is_not_sent_with_http10(wire: Any) -> None:
    heard = wire(lambda client: client.request("POST", "/", body=b"body", expect=True), version="1.0")
    assert b"Expect" not in heard
    assert heard.endswith(b"body")


@pytest.mark.parametrize("body", [b"body", [b"body"], None, b""], ids=["bytes", "pieces", "by hand", "nothing"])
@pytest.mark.parametrize("wrong", ["1", -1, float("nan"), [1]], ids=repr)
@pytest.mark.parametrize("version", ["1.1", "2"])
def test_expectation_that_is_no_time_is_refused_and_costs_nothing(version: str, wrong: Any, body: Any) -> None:
    def application(environ: Any, start_response: Any) -> list[bytes]:
        start_response("200 OK", [])
        return [b"ok"]

    with HttpServer(application) as server, HttpClient(timeout=10, version=version) as client:
        server.listen(("127.0.0.1", 0))
        client.connect(server.address)
        with pytest.raises(ValueError, match="expect must be"):
            client.request("POST", "/", body=body, expect=wrong)
        client.request("GET", "/")
        assert client.getresponse().read() == b"ok"


def test_expectation_behind_a_response_that_is_due(connect: Any, say: Any) -> None:
    def script(peer: RawPeer) -> None:
        peer.read_until()
        peer.read_until()
        say(peer, OK + CONTINUE)
        assert peer.read(4) == b"body"
        say(peer, OK)

    client = connect(script)
    client.request("GET", "/")
    client.request("POST", "/", body=b"body", expect=9.0)
    assert [client.getresponse().read() for _ in range(2)] == [b"ok", b"ok"]


# Upgrade

SWITCHING = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n"


def test_upgrade_gives_the_transport_with_what_came_early(connect: Any, say: Any) -> None:
    def script(peer: RawPeer) -> None:
        heads.append(peer.read_until())
        say(peer, SWITCHING + b"early")
        peer.send(b"late:" + peer.read(4))

    heads: list[bytes] = []
    client = connect(script)
    client.request("GET", "/", upgrade="echo")
    response = client.getresponse()
    assert (response.status, response.reason, response.read()) == (101, "Switching Protocols", b"")
    assert response.get_header("upgrade") == "echo"
    received = b""
    while len(received) < 5:
        received += response.transport.receive()
    response.transport.write(b"ping")
    while len(received) < 14:
        received += response.transport.receive()
    assert received == b"earlylate:ping"
    assert b"\r\nConnection: Upgrade\r\nUpgrade: echo\r\n" in heads[0]
    with pytest.raises(HttpError, match="tunnel"):
        client.request("GET", "/")


def test_upgrade_that_is_declined_is_a_usual_response(connect: Any, say: Any) -> None:
    def script(peer: RawPeer) -> None:
        while peer.read_until():
            say(peer, OK)

    client = connect(script)
    client.request("GET", "/", upgrade="websocket")
    response = client.getresponse()
    assert (response.status, response.transport, response.read()) == (200, None, b"ok")
    client.request("GET", "/")
    assert client.getresponse().read() == b"ok"


@pytest.mark.parametrize("answer", [
    pytest.param(SWITCHING.replace(b"echo", b"other"), id="another"),
    pytest.param(SWITCHING.replace(b"Upgrade: echo\r\n", b""), id="none"),
])  # fmt: skip
def test_protocol_that_was_not_offered_is_refused(connect: Any, say: Any, answer: bytes) -> None:
    def script(peer: RawPeer) -> None:
        peer.read_until()
        say(peer, answer)
        peer.read_to_end()

    client = connect(script)
    client.request("GET", "/", upgrade="echo")
    with pytest.raises(HttpError, match="nobody asked for"):
        client.getresponse()


def test_nothing_follows_an_offer_before_its_answer(connect: Any) -> None:
    client = connect(RawPeer.read_to_end)
    client.request("GET", "/", upgrade="echo")
    with pytest.raises(RuntimeError, match="wait for it"):
        client.request("GET", "/")


@pytest.mark.parametrize("keywords", [
    pytest.param({"upgrade": "a b"}, id="blank"),
    pytest.param({"upgrade": ""}, id="empty"),
    pytest.param({"upgrade": "a\r\nX: y"}, id="injection"),
    pytest.param({"upgrade": "echo", "body": None}, id="by-hand"),
    pytest.param({"upgrade": "echo", "body": [b"x"]}, id="pieces"),
    pytest.param({"upgrade": "echo", "expect": True}, id="expect"),
])  # fmt: skip
def test_offers_that_cannot_be_are_refused_and_nothing_is_sent(wire: Any, keywords: dict[str, Any]) -> None:
    def act(client: HttpClient) -> None:
        with pytest.raises(ValueError):
            client.request("GET", "/", **keywords)

    assert wire(act) == b""


def test_upgrade_needs_http11(connect: Any) -> None:
    client = connect(RawPeer.read_to_end, version="1.0")
    with pytest.raises(ValueError, match=r"HTTP/1\.0"):
        client.request("GET", "/", upgrade="echo")


# through a proxy


def forward(peer: RawPeer) -> None:
    """A proxy: understands CONNECT, and carries bytes."""
    head = peer.read_until()
    host, _, port = head.split()[1].rpartition(b":")
    out = Channel(dial((host.decode(), int(port))))
    peer.send(b"HTTP/1.1 200 Connection established\r\n\r\n")

    def carry(source: Channel, target: Channel) -> None:
        try:
            while data := source.receive():
                target.send(data)
        except TransportError:
            pass
        finally:
            target.shutdown_write()

    back = gevent.spawn(carry, out, peer.channel)
    carry(peer.channel, out)
    back.join(10)
    out.close()


def answer_all(peer: RawPeer) -> None:
    while peer.read_until():
        peer.send(OK)


@pytest.mark.parametrize("tls", [False, True], ids=["http", "https"])
def test_requests_go_through_a_proxy(serve: Any, server_tls: Any, client_tls: Any, tls: bool) -> None:
    server: ScriptedPeer = serve(answer_all, context=server_tls if tls else None)
    proxy: ScriptedPeer = serve(forward)
    with HttpClient(10) as client:
        client.connect(("localhost", server.port), ssl=client_tls if tls else False, proxy=proxy.address)
        for _ in range(2):
            client.request("GET", "/path")
            assert client.getresponse().read() == b"ok"
    authority = b"localhost:%d" % server.port
    assert proxy.received.startswith(b"CONNECT %b HTTP/1.1\r\nHost: %b\r\n" % (authority, authority))
    assert b"GET /path HTTP/1.1\r\nHost: %b\r\n" % authority in server.received


def test_name_in_the_certificate_is_verified_through_a_proxy(serve: Any, server_tls: Any, client_tls: Any) -> None:
    server = serve(answer_all, context=server_tls)
    with HttpClient(10) as client, pytest.raises(TransportError, match="certificate"):
        client.connect(
            ("localhost", server.port), ssl=client_tls, proxy=serve(forward).address, server_hostname="other.test"
        )


def test_proxy_gets_its_password_and_nobody_else(serve: Any) -> None:
    server = serve(answer_all)
    proxy = serve(forward)
    with HttpClient(10) as client:
        client.connect(server.address, proxy=f"http://user:p%40ss@127.0.0.1:{proxy.port}")
        client.request("GET", "/")
        client.getresponse().read()
    assert b"\r\nProxy-Authorization: Basic dXNlcjpwQHNz\r\n" in proxy.connections[0].received
    assert b"Authorization" not in server.received


@pytest.mark.parametrize("answer", [
    pytest.param(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n", id="407"),
    pytest.param(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 4\r\n\r\nnope", id="502"),
    pytest.param(b"HTTP/1.0 403 Forbidden\r\n\r\nnope", id="403"),
])  # fmt: skip
def test_refusal_of_a_proxy_is_an_error_with_its_status(serve: Any, say: Any, answer: bytes) -> None:
    def script(peer: RawPeer) -> None:
        peer.read_until()
        say(peer, answer)

    with HttpClient(10) as client:
        with pytest.raises(TransportError, match=rf"does not connect to a\.test:443: {answer[9:12].decode()} \w"):
            client.connect(("a.test", 443), ssl=True, proxy=serve(script).address)
        assert not client.connected


@pytest.mark.parametrize(("script", "error"), [
    pytest.param(lambda peer: peer.read_until(), HttpError, id="closes"),
    pytest.param(lambda peer: [peer.read_until(), peer.send(b"SSH-2.0\r\n")], HttpError, id="not-http"),
    pytest.param(
        lambda peer: [peer.read_until(), peer.send(b"HTTP/1.1 200 OK\r\n\r\nmore"), Event().wait(1)],
        TransportError, id="speaks-first",
    ),
])  # fmt: skip
def test_proxy_that_misbehaves_is_an_error(serve: Any, script: Any, error: type[Exception]) -> None:
    with HttpClient(10) as client, pytest.raises(error):
        client.connect(("a.test", 443), ssl=True, proxy=serve(script).address)


@pytest.mark.parametrize(
    ("script", "options"),
    [
        pytest.param(RawPeer.reset, {"ssl": True}, id="tls"),
        pytest.param(RawPeer.read_until, {"proxy": None}, id="proxy-closes"),
        pytest.param(replies(b"HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n"), {"proxy": None}, id="proxy-refuses"),
    ],
)
def test_what_fails_before_there_is_a_connection_is_retryable(serve: Any, script: Any, options: Any) -> None:
    address = serve(script).address
    if "proxy" in options:
        address, options = ("a.test", 443), {"proxy": address}
    with HttpClient(10) as client, pytest.raises(Error) as caught:
        client.connect(address, **options)
    assert caught.value.retryable


def test_silent_proxy_is_a_timeout_of_connecting(serve: Any) -> None:
    proxy = serve(RawPeer.read_to_end)
    message = rf"timed out: the proxy 127\.0\.0\.1:{proxy.port} has not connected to a\.test:443"
    with HttpClient(timeout=0.05) as client, pytest.raises(Timeout, match=message) as caught:
        client.connect(("a.test", 443), proxy=proxy.address)
    assert (caught.value.phase, caught.value.retryable) == ("connect", True)


@pytest.mark.parametrize("proxy", [5, ("127.0.0.1",), b"http://127.0.0.1:1"])
def test_proxy_of_another_type_is_refused(proxy: Any) -> None:
    with HttpClient() as client, pytest.raises(TypeError, match="a proxy is "):
        client.connect(("a.test", 443), proxy=proxy)


@pytest.mark.parametrize("proxy", ["https://127.0.0.1:1", "socks5://127.0.0.1:1"])
def test_other_sorts_of_proxy_are_refused(proxy: str) -> None:
    with HttpClient(10) as client, pytest.raises(ValueError, match="http:// URL"):
        client.connect(("a.test", 443), proxy=proxy)


def test_unix_socket_has_no_proxy() -> None:
    with HttpClient(10) as client, pytest.raises(ValueError, match="host, port"):
        client.connect("/no/where", proxy=("127.0.0.1", 1))
