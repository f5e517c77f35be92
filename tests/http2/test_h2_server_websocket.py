"""WebSocket on a stream of HTTP/2 (RFC 8441): our own, a library's and bare sockets', beside other streams.

The client is the h2 package, with wsproto for the frames.
"""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gevent
import pytest
import wsproto
import wsproto.events
from gevent.event import Event
from wsproto.connection import Connection as Frames
from wsproto.connection import ConnectionType

from gruvihttp.limits import Limits
from gruvihttp.sansio import frames as f
from gruvihttp.server import HttpServer
from gruvihttp.websocket import HandshakeError, WebSocketClosed, accept

ROOT = Path(__file__).resolve().parent.parent.parent
GUARD = 10.0
NO_ERROR, PROTOCOL_ERROR, CANCEL = 0, 1, 8
Serve = Callable[..., HttpServer]
LARGE = "0123456789" * 30_000


class Client:
    """A WebSocket on a stream of a connection."""

    def __init__(self, talk: Any, path: str = "/", *fields: tuple[str, str], protocol: str = "websocket") -> None:
        self.talk = talk
        if not talk.h2.remote_settings.enable_connect_protocol:
            talk.hear()
        assert talk.h2.remote_settings.enable_connect_protocol
        given = (("sec-websocket-version", "13"), ("origin", "http://a.example"), *fields)
        self.stream = talk.begin(path, (":protocol", protocol), *given, method="CONNECT", end=False)
        self.frames = Frames(ConnectionType.CLIENT)
        self.taken = 0

    @property
    def head(self) -> dict[str, str]:
        """The response's fields, once they are here."""
        self.talk.hear_until(lambda: self.stream in self.talk.heads)
        return self.talk.heads[self.stream]  # type: ignore[no-any-return]

    def say(self, event: Any) -> None:
        content = self.frames.send(event)
        for start in range(0, len(content), 10_000):
            room = min(10_000, len(content) - start)
            self.talk.hear_until(lambda room=room: self.talk.h2.local_flow_control_window(self.stream) >= room)
            self.talk.data(self.stream, content[start : start + room])

    def text(self, text: str) -> None:
        self.say(wsproto.events.TextMessage(data=text))

    def hear(self) -> Any:
        """The next message or other event, put together."""
        text = ""
        while True:
            for event in self.frames.events():
                if not isinstance(event, wsproto.events.TextMessage):
                    return event
                text += event.data
                if event.message_finished:
                    return text
            come = self.talk.content.get(self.stream, b"")
            if len(come) == self.taken:
                if self.stream in self.talk.ended:
                    return None
                self.talk.hear()
                continue
            self.frames.receive_data(come[self.taken :])
            self.taken = len(come)


def echo(environ: dict[str, Any], start_response: Any) -> Any:
    if environ["PATH_INFO"] == "/plain":
        start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "5")])
        return [b"plain"]
    try:
        socket = accept(environ, ["chat"], headers=[("X-Name", "value")])
    except HandshakeError as exc:
        return exc(environ, start_response)
    try:
        while (message := socket.receive()) is not None:
            socket.send(message)
    except WebSocketClosed:
        pass
    return []


def test_messages_go_both_ways_beside_other_streams(start_server: Serve, talking: Any) -> None:
    server = start_server(echo)
    talk = talking(server.address)
    one = Client(talk, "/", ("sec-websocket-protocol", "other, chat"))
    other = Client(talk)
    assert one.head[":status"] == "200"
    assert (one.head["x-name"], one.head["sec-websocket-protocol"]) == ("value", "chat")
    assert not {"connection", "upgrade", "sec-websocket-accept", "content-length"} & one.head.keys()
    for number in range(3):
        one.text(f"one {number}")
        other.text(f"other {number}")
        assert talk.get("/plain") == ("200", b"plain")
        assert (one.hear(), other.hear()) == (f"one {number}", f"other {number}")
    one.text(LARGE)
    assert one.hear() == LARGE
    one.say(wsproto.events.CloseConnection(code=1000))
    assert isinstance(one.hear(), wsproto.events.CloseConnection)
    talk.hear_until(lambda: one.stream in talk.ended)
    other.text("still there")
    assert other.hear() == "still there"
    assert server.stats()["active_requests"] == 1


FLASK_SOCK = '''
from flask import Flask
from flask_sock import Sock

app = Flask(__name__)


@Sock(app).route("/talk/<name>")
def talk_to(socket, name):
    while True:
        socket.send(f"{name}: {socket.receive()}")
'''


def test_flask_sock_speaks_on_a_stream(tmp_path: Path, talking: Any) -> None:
    """It reads in a thread, so threads are greenlets here, as the command has it."""
    (tmp_path / "site_of_sockets.py").write_text(FLASK_SOCK)
    command = [sys.executable, "-m", "gruvihttp", "serve", "site_of_sockets", "--bind", "127.0.0.1:0"]
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{tmp_path}"}
    process = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stderr is not None
        match = re.search(r"://[^/]+:(\d+)", process.stderr.readline())
        assert match
        client = Client(talking(("127.0.0.1", int(match[1]))), "/talk/ann")
        assert client.head[":status"] == "200"
        for number in range(3):
            client.text(str(number))
            assert client.hear() == f"ann: {number}"
        client.say(wsproto.events.CloseConnection(code=1000))
        assert isinstance(client.hear(), wsproto.events.CloseConnection)
        client.talk.hear_until(lambda: client.stream in client.talk.ended)
    finally:
        process.kill()
        process.communicate(timeout=GUARD)


def test_environ_shows_the_handshake_of_http1(start_server: Serve, talking: Any) -> None:
    seen: list[dict[str, Any]] = []

    def application(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        seen.append(environ)
        assert environ["wsgi.input"].read() == b""
        start_response("403 Forbidden", [])
        return [b"not here"]

    talk = talking(start_server(application).address)
    client = Client(talk, "/chat?room=1")
    assert talk.answer(client.stream) == ("403", b"not here")
    [environ] = seen
    assert (environ["REQUEST_METHOD"], environ["PATH_INFO"], environ["QUERY_STRING"]) == ("GET", "/chat", "room=1")
    assert (environ["HTTP_UPGRADE"], environ["HTTP_CONNECTION"]) == ("websocket", "Upgrade")
    assert (environ["HTTP_SEC_WEBSOCKET_VERSION"], environ["SERVER_PROTOCOL"]) == ("13", "HTTP/2")
    assert environ["wsgi.websocket"].path == "/chat"


def test_ordinary_answer_is_no_yes(start_server: Serve, talking: Any) -> None:
    """A client would take 200 for the beginning of a WebSocket."""
    talk = talking(start_server(echo).address)
    client = Client(talk, "/plain")
    assert talk.answer(client.stream) == ("501", b"plain")
    assert talk.get("/plain") == ("200", b"plain")


def test_other_protocols_are_not_spoken(start_server: Serve, talking: Any) -> None:
    talk = talking(start_server(echo).address)
    client = Client(talk, protocol="connect-udp")
    talk.peer.send(f.frame(f.DATA, 0, client.stream, b"for nobody"))
    assert talk.answer(client.stream)[0] == "501"
    assert talk.get("/plain") == ("200", b"plain")


def test_bare_socket_reads_and_writes(start_server: Serve, talking: Any) -> None:
    seen: list[Any] = []

    def application(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        socket = environ["gruvihttp.hijack"]()
        socket.sendall(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n")
        socket.sendall(b"Connection: Upgrade\r\nX-Name: value\r\n\r\nearly")
        seen.append([socket.recv(3), socket.recv(100), socket.recv(100)])
        with pytest.raises(io.UnsupportedOperation):
            socket.fileno()
        socket.setsockopt(6, 1, 1)
        socket.settimeout(0.01)
        socket.sendall(b"the end")
        socket.close()
        start_response("200 OK", [])
        return [b"of no effect"]

    talk = talking(start_server(application).address)
    client = Client(talk)
    talk.data(client.stream, b"content")
    talk.hear_until(lambda: talk.content.get(client.stream) == b"early")
    talk.data(client.stream, b"", end=True)
    assert talk.answer(client.stream) == ("200", b"earlythe end")
    assert client.head["x-name"] == "value"
    assert seen == [[b"con", b"tent", b""]]


def test_socket_that_waits_has_its_timeouts(start_server: Serve, talking: Any) -> None:
    seen: list[Any] = []

    def application(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        socket = environ["gruvihttp.upgrade"]("websocket")
        socket.settimeout(0)
        with pytest.raises(BlockingIOError):
            socket.recv(10)
        socket.settimeout(0.05)
        for call in (lambda: socket.recv(10), lambda: [socket.send(b"x" * 100_000) for _ in range(3)]):
            with pytest.raises(TimeoutError) as caught:
                call()
            seen.append(caught.value.phase)  # type: ignore[attr-defined]
        socket.abort()
        return []

    talk = talking(start_server(application).address, window=1000)
    talk.credits = False
    client = Client(talk)
    talk.hear_until(lambda: client.stream in talk.resets)
    assert talk.resets[client.stream] == CANCEL
    assert seen == ["read", "write"]


def test_client_that_resets_its_stream_has_gone(start_server: Serve, talking: Any) -> None:
    gone = Event()
    seen: list[Any] = []

    def application(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        socket = accept(environ)
        try:
            seen.append(socket.receive())
            seen.append(socket.receive())
        except OSError as exc:
            seen.append(exc)
        gone.set()
        return []

    talk = talking(start_server(application).address)
    client = Client(talk)
    client.text("first")
    assert client.head[":status"] == "200"
    talk.reset(client.stream)
    assert gone.wait(GUARD)
    assert seen[0] == "first"
    assert seen[1] is None or isinstance(seen[1], OSError)


def test_server_that_stops_says_goodbye(start_server: Serve, talking: Any) -> None:
    server = start_server(echo)
    talk = talking(server.address)
    client = Client(talk)
    client.text("hello")
    assert client.hear() == "hello"
    closing = gevent.spawn(server.close, GUARD)
    event = client.hear()
    assert (type(event), event.code) == (wsproto.events.CloseConnection, 1001)
    client.say(event.response())
    talk.hear_until_the_end()
    closing.get(timeout=GUARD)
    assert talk.goaways


def test_handler_that_does_not_answer_is_reset(start_server: Serve, talking: Any) -> None:
    def application(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        environ["gruvihttp.hijack"]().sendall(b"HTTP/1.1 101 Swi")
        return []

    talk = talking(start_server(application).address)
    client = Client(talk)
    talk.hear_until(lambda: client.stream in talk.resets)
    assert talk.resets[client.stream] == CANCEL


@pytest.mark.parametrize("start", [b"hello\r\n\r\n", b"HTTP/1.1 100 Continue\r\n\r\n", b"x" * 70_000])
def test_stream_begins_with_a_response(start_server: Serve, talking: Any, start: bytes, caplog: Any) -> None:
    def application(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        environ["gruvihttp.hijack"]().sendall(start)
        return []

    talk = talking(start_server(application).address)
    client = Client(talk)
    talk.hear_until(lambda: client.stream in talk.resets)
    assert "a response must come first" in caplog.text


def test_limit_of_content_is_none_of_a_tunnel(start_server: Serve, talking: Any) -> None:
    client = Client(talking(start_server(echo, limits=Limits(content_bytes=100)).address))
    client.text("x" * 5000)
    assert client.hear() == "x" * 5000


def test_request_counts_as_one_that_was_answered(start_server: Serve, talking: Any) -> None:
    records: list[Any] = []
    server = start_server(echo, access_log=records.append)
    talk = talking(server.address)
    client = Client(talk)
    client.say(wsproto.events.CloseConnection(code=1000))
    talk.hear_until(lambda: client.stream in talk.ended)
    with gevent.Timeout(GUARD):
        while not records:
            gevent.sleep(0.001)
    assert (records[0].request_line, records[0].status) == ("GET / HTTP/2.0", 101)
    assert server.stats()["responses"]["1xx"] == 1
