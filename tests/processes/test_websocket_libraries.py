"""flask-sock and Flask-SocketIO under ``gruvihttp serve`` and gunicorn: they talk, and a server that stops ends them.

They know nothing of servers that stop, and wait in their own reads; still they end long before the server's patience.
"""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gevent
import pytest

from gruvihttp import websocket

GUARD = 20.0

FLASK_SOCK = """
from flask import Flask
from flask_sock import Sock

app = Flask(__name__)
sock = Sock(app)

@sock.route("/echo")
def echo(ws):
    while True:
        ws.send(ws.receive())
"""

SOCKET_IO = """
from flask import Flask
from flask_socketio import SocketIO, emit

app = Flask(__name__)
socketio = SocketIO(app, async_mode="gevent", cors_allowed_origins="*")

@socketio.on("ask")
def ask(data):
    emit("answer", data)
"""


def talk_flask_sock(address: Any) -> Any:
    ws = websocket.connect(f"ws://127.0.0.1:{address[1]}/echo")
    ws.send("hello")
    assert ws.receive(GUARD) == "hello"
    return ws


def talk_socket_io(address: Any) -> Any:
    ws = websocket.connect(f"ws://127.0.0.1:{address[1]}/socket.io/?EIO=4&transport=websocket")
    assert str(ws.receive(GUARD)).startswith("0{")
    ws.send("40")
    assert str(ws.receive(GUARD)).startswith("40{")
    ws.send("42" + json.dumps(["ask", "hello"]))
    assert json.loads(str(ws.receive(GUARD))[2:]) == ["answer", "hello"]
    return ws


libraries = pytest.mark.parametrize(
    ("application", "talk"),
    [
        pytest.param(FLASK_SOCK, talk_flask_sock, id="flask-sock"),
        pytest.param(SOCKET_IO, talk_socket_io, id="Flask-SocketIO"),
    ],
)


def stop(server: Any, talkers: list[Any]) -> None:
    hearing = [gevent.spawn(ws.receive) for ws in talkers]
    server.send(signal.SIGTERM)
    with gevent.Timeout(GUARD):  # the server itself would have patience for longer
        assert server.wait() == 0
        assert [one.get() for one in hearing] == [None] * len(talkers)
    assert [ws.code for ws in talkers] == [1001] * len(talkers)
    assert "Traceback" not in server.said


@libraries
def test_gruvihttp_serve(process: Any, tmp_path: Path, application: str, talk: Callable[[Any], Any]) -> None:
    (tmp_path / "served.py").write_text(application)
    server = process("-m", "gruvihttp", "serve", "served", "--bind", "127.0.0.1:0")
    port = int(server.wait_for(r"gruvihttp serving served:app at http://127\.0\.0\.1:(\d+)")[1])
    stop(server, [talk(("127.0.0.1", port)) for _ in range(3)])


@libraries
def test_gunicorn(gunicorn: Any, tmp_path: Path, application: str, talk: Callable[[Any], Any]) -> None:
    (tmp_path / "served.py").write_text(application)
    server = gunicorn("--graceful-timeout", "60", workers=1)
    stop(server, [talk(server.address) for _ in range(3)])
