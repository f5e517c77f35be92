"""Our client and other people's servers: flask-sock, that is simple-websocket, on the server of werkzeug."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator

import pytest
from gevent import subprocess as gevent_subprocess

from gruvihttp import websocket

GUARD = 20.0

SERVER = """
from flask import Flask
from flask_sock import Sock
from werkzeug.serving import make_server

app = Flask(__name__)
app.config["SOCK_SERVER_OPTIONS"] = {"subprotocols": ["chat"], "max_message_size": 1 << 20}
sock = Sock(app)

@sock.route("/echo")
def echo(ws):
    while True:
        ws.send(ws.receive())

@sock.route("/once")
def once(ws):
    ws.send("only this")
    ws.close(4000, "that is all")

server = make_server("127.0.0.1", 0, app, threaded=True)
print(server.port, flush=True)
server.serve_forever()
"""


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """A server in a process of its own."""
    pytest.importorskip("flask_sock")
    server = gevent_subprocess.Popen(
        [sys.executable, "-c", SERVER], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    line = server.stdout.readline().decode()
    assert re.fullmatch(r"\d+\n", line)
    yield f"ws://127.0.0.1:{line.strip()}"
    server.kill()
    server.wait()


@pytest.mark.parametrize("compress", [False, True], ids=["plain", "compressed"])
def test_echo(url: str, compress: bool) -> None:
    with websocket.connect(f"{url}/echo", subprotocols=["other", "chat"], compress=compress) as ws:
        assert (ws.subprotocol, ws.compressed) == ("chat", compress)
        for message in ("t\u00e9xt", b"bytes", "x" * 300_000, "", "y" * 70_000):
            ws.send(message)
            assert ws.receive(GUARD) == message
    assert ws.code == 1000


def test_server_that_closes(url: str) -> None:
    with websocket.connect(f"{url}/once") as ws:
        assert list(ws) == ["only this"]
        assert (ws.code, ws.reason) == (4000, "that is all")


def test_page_that_is_no_websocket(url: str) -> None:
    with pytest.raises(websocket.HandshakeRefused, match="404"):
        websocket.connect(f"{url}/missing")
