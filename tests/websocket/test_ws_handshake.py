"""`websocket.connect` until the WebSocket is there: what is asked, and which answers are none."""

from __future__ import annotations

import re
from base64 import b64encode
from hashlib import sha1
from pathlib import Path
from typing import Any

import gevent
import pytest
from gevent import socket
from gevent.event import Event

from gruvihttp import RemoteProtocolError, Timeout, TransportError, websocket
from gruvihttp.testing import RawPeer, ScriptedPeer

GUARD = 10.0
GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455 section 1.3
SWITCH = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"


def key_of(request: bytes) -> bytes:
    found = re.search(rb"\r\nSec-WebSocket-Key: (\S+)\r\n", request)
    assert found is not None
    return found[1]


def accept_of(request: bytes) -> bytes:
    """The field that proves that a server has understood."""
    return b"Sec-WebSocket-Accept: " + b64encode(sha1(key_of(request) + GUID).digest()) + b"\r\n"


def echo(ws: Any) -> None:
    for message in ws:
        ws.send(message)


def test_request_is_that_of_the_rfc(script: Any) -> None:
    heard: list[bytes] = []

    def play(peer: RawPeer) -> None:
        heard.append(peer.read_until())
        peer.send(SWITCH + accept_of(heard[0]) + b"\r\n\x81\x05hello")

    url = script(play)
    ws = websocket.connect(
        url.replace("//", "//user:pass@") + "chat?room=1",
        subprotocols=["soap", "wamp"],
        origin="https://example.com",
        headers={"X-Own": "yes"},
    )
    assert ws.receive() == "hello"
    start, *lines = heard[0].decode().rstrip("\r\n").split("\r\n")
    fields = dict(line.split(": ", 1) for line in lines)
    assert start == "GET /chat?room=1 HTTP/1.1"
    assert len(fields.pop("Sec-WebSocket-Key")) == 24
    assert fields == {
        "Host": url.removeprefix("ws://").rstrip("/"),
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Protocol": "soap, wamp",
        "Origin": "https://example.com",
        "Authorization": "Basic dXNlcjpwYXNz",
        "X-Own": "yes",
        **{name: fields[name] for name in ("User-Agent",) if name in fields},
    }


def test_each_key_is_another_one(script: Any) -> None:
    keys: set[bytes] = set()

    def play(peer: RawPeer) -> None:
        request = peer.read_until()
        keys.add(key_of(request))
        peer.send(SWITCH + accept_of(request) + b"\r\n\x88\x00")

    url = script(play)
    for _ in range(3):
        assert websocket.connect(url).receive() is None
    assert len(keys) == 3


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        pytest.param(SWITCH, "Sec-WebSocket-Accept", id="no-accept"),
        pytest.param(SWITCH + b"Sec-WebSocket-Accept: aGVsbG8=\r\n", "Sec-WebSocket-Accept", id="wrong-accept"),
        pytest.param(SWITCH.replace(b"Connection: Upgrade\r\n", b"") + b"%b", "Connection", id="no-connection"),
        pytest.param(SWITCH.replace(b"websocket", b"h2c") + b"%b", "nobody asked for", id="another-protocol"),
        pytest.param(SWITCH + b"%bSec-WebSocket-Protocol: other\r\n", "not offered", id="subprotocol-not-offered"),
        pytest.param(SWITCH + b"%bSec-WebSocket-Protocol: a, b\r\n", "not offered", id="two-subprotocols"),
        pytest.param(SWITCH + b"%bSec-WebSocket-Extensions: x-own\r\n", "unrecognized extension", id="extension"),
        pytest.param(b"SSH-2.0-OpenSSH_9.2\r\n", "status line", id="no-HTTP"),
    ],
)
def test_wrong_answer_is_no_websocket(script: Any, answer: bytes, problem: str) -> None:
    ended = Event()

    def play(peer: RawPeer) -> None:
        request = peer.read_until()
        peer.send(answer.replace(b"%b", accept_of(request)) + b"\r\n")
        try:
            peer.read_to_end()
        finally:
            ended.set()

    with pytest.raises(RemoteProtocolError, match=problem):
        websocket.connect(script(play), subprotocols=["a", "b"])
    assert ended.wait(GUARD)


def test_other_answer_is_told_with_what_it_says(script: Any) -> None:
    def play(peer: RawPeer) -> None:
        peer.read_until()
        peer.send(b"HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Basic\r\nContent-Length: 8\r\n\r\nwho, you")
        assert peer.read_to_end() == b""

    with pytest.raises(websocket.HandshakeRefused, match="401 Unauthorized instead of a WebSocket") as caught:
        websocket.connect(script(play))
    assert (caught.value.status, caught.value.content) == (401, b"who, you")
    assert ("WWW-Authenticate", "Basic") in caught.value.headers


def test_origin_that_is_not_welcome_is_refused(serve: Any) -> None:
    url = serve(echo, check_origin=lambda origin: origin == "https://example.com")
    websocket.connect(url, origin="https://example.com").close()
    with pytest.raises(websocket.HandshakeRefused, match="403"):
        websocket.connect(url, origin="https://evil.example")


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("http://localhost/", "begins with 'ws://' or 'wss://'"),
        ("localhost/", "begins with 'ws://' or 'wss://'"),
        ("ws://localhost/#part", "fragment"),
        ("ws://local host/", "not valid"),
        ("ws://user:secret@localhost:port/", r"not valid"),
    ],
)
def test_url_that_is_none_of_a_websocket_is_refused_at_once(url: str, problem: str) -> None:
    with pytest.raises(ValueError, match=problem) as caught:
        websocket.connect(url)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("name", ["Sec-WebSocket-Key", "Host", "connection", "Upgrade", "Sec-WebSocket-Whatever"])
def test_fields_of_the_handshake_are_not_the_callers(name: str) -> None:
    with pytest.raises(ValueError, match=f"{name} is written by the handshake itself"):
        websocket.connect("ws://localhost:1/", headers=[(name, "x")])


def test_mistakes_in_arguments_are_named() -> None:
    with pytest.raises(TypeError, match="list of names"):
        websocket.connect("ws://localhost:1/", subprotocols="chat")
    with pytest.raises(TypeError, match="must be str"):
        websocket.connect(b"ws://localhost:1/")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="for wss:// only"):
        websocket.connect("ws://localhost:1/", proxy=("localhost", 2))


def test_nobody_there_is_a_transport_error() -> None:
    peer = ScriptedPeer(lambda peer: None)
    peer.close()
    with pytest.raises(TransportError):
        websocket.connect(f"ws://127.0.0.1:{peer.port}/")


def test_server_that_does_not_answer_is_not_waited_for(script: Any) -> None:
    ended = Event()

    def play(peer: RawPeer) -> None:
        peer.read_until()
        try:
            peer.read_to_end()
        finally:
            ended.set()

    with pytest.raises(Timeout):
        websocket.connect(script(play), timeout=0.1)
    assert ended.wait(GUARD)


def test_server_that_answers_drop_by_drop_is_not_waited_for(script: Any) -> None:
    stop = Event()

    def play(peer: RawPeer) -> None:
        peer.read_until()
        peer.send(b"HTTP/1.1 101 Switching Protocols\r\nX: ")
        while not stop.wait(0.01):
            peer.send(b"x")

    try:
        with pytest.raises(Timeout):
            websocket.connect(script(play), timeout=0.2)
    finally:
        stop.set()


@pytest.mark.parametrize("offered", [["b", "a"], ["b"], []], ids=["both", "one", "none"])
def test_subprotocol_is_agreed_on(serve: Any, offered: list[str]) -> None:
    with websocket.connect(serve(echo, subprotocols=["a", "b"]), subprotocols=offered) as ws:
        assert ws.subprotocol == (min(offered) if offered else None)
        assert ws.subprotocols == offered


def test_wss_checks_the_certificate(serve: Any, server_tls: Any, authority: Any, tmp_path: Path) -> None:
    url = serve(echo, tls=server_tls)
    trusted = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(trusted))
    with websocket.connect(url, verify=trusted) as ws:
        ws.send("safe")
        assert ws.receive(GUARD) == "safe"
    assert serve.environs[0]["wsgi.url_scheme"] == "https"
    with pytest.raises(TransportError, match="certificate"):
        websocket.connect(url)
    with pytest.raises(TransportError, match="certificate|[Hh]ostname|IP address"):
        websocket.connect(url.replace("localhost", "127.0.0.1"), verify=trusted)
    websocket.connect(url, verify=False).close()


def test_unix_socket(serve: Any, tmp_path: Path) -> None:
    with websocket.connect(serve(echo, address=str(tmp_path / "chat.sock"))) as ws:
        ws.send(b"near")
        assert ws.receive(GUARD) == b"near"
    assert (serve.environs[0]["PATH_INFO"], serve.environs[0]["HTTP_HOST"]) == ("/chat", "localhost")


def test_through_a_proxy(serve: Any, server_tls: Any) -> None:
    url = serve(echo, tls=server_tls)
    asked: list[bytes] = []

    def pump(source: Any, sink: Any) -> None:
        while data := source.recv(65536):
            sink.sendall(data)

    def play(peer: RawPeer) -> None:
        asked.append(peer.read_until())
        target = asked[0].split()[1].decode().rpartition(":")
        peer.send(b"HTTP/1.1 200 Connected\r\n\r\n")
        with socket.create_connection(("127.0.0.1", int(target[2]))) as behind:
            back = gevent.spawn(pump, behind, type("Sink", (), {"sendall": staticmethod(peer.send)}))
            while data := peer.channel.receive(None, "test"):
                behind.sendall(data)
            back.kill()

    with ScriptedPeer(play) as proxy:
        ws = websocket.connect(url, verify=False, proxy=proxy.address)
        ws.send("through")
        assert ws.receive(GUARD) == "through"
        ws.close()
    assert asked[0].startswith(b"CONNECT localhost:")
