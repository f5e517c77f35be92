"""WebSocket libraries over our server as their users run them: nothing of them is changed, and threads are patched.

Each case is a process of its own, because patching cannot be undone. Server and client are in it together.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

PRELUDE = """
from gevent import monkey
monkey.patch_all()
import json, logging, sys, urllib.request
import gevent
from flask import Flask
from socket import create_connection
from urllib.parse import urlsplit
from wsproto import ConnectionType, WSConnection
from wsproto.events import AcceptConnection, BytesMessage, CloseConnection, Message, Ping, Request
from gruvihttp import HttpServer

class Client:
    # simple-websocket's own client loses messages that come in one piece with the 101
    def __init__(self, url):
        where = urlsplit(url)
        self.sock = create_connection((where.hostname, where.port), 10)
        self.ws = WSConnection(ConnectionType.CLIENT)
        self.pending = []
        target = where.path + ("?" + where.query if where.query else "")
        self.sock.sendall(self.ws.send(Request(host=where.netloc, target=target)))
        assert isinstance(self.next(), AcceptConnection)

    def next(self):
        while not self.pending:
            self.ws.receive_data(self.sock.recv(65536) or None)
            self.pending = list(self.ws.events())
        return self.pending.pop(0)

    def send(self, data):
        self.sock.sendall(self.ws.send(Message(data=data)))

    def receive(self):
        whole = []
        while True:
            event = self.next()
            if isinstance(event, Ping):
                self.sock.sendall(self.ws.send(event.response()))
                continue
            if isinstance(event, CloseConnection):
                self.code = int(event.code)
                self.sock.sendall(self.ws.send(event.response()))
                self.sock.close()
                return None
            whole.append(event.data)
            if event.message_finished:
                return (b"" if isinstance(event, BytesMessage) else "").join(whole)

    def close(self):
        self.sock.sendall(self.ws.send(CloseConnection(code=1000)))
        while not isinstance(self.next(), CloseConnection):
            pass
        assert self.sock.recv(1) == b""
        self.sock.close()

class Collect(logging.Handler):
    def emit(self, record):
        messages.append(record.getMessage())

messages = []
logging.getLogger("gruvihttp").addHandler(Collect(logging.WARNING))
compat = sys.argv[1] if sys.argv[1] != "None" else None
app = Flask(__name__)

@app.route("/")
def index():
    return "page"

def serve():
    global server, base
    server = HttpServer(app, websocket_compat=compat)
    server.listen(("127.0.0.1", 0))
    base = "127.0.0.1:%d" % server.address[1]

def page():
    return urllib.request.urlopen("http://%s/" % base, timeout=10).read()

def end():
    # nobody is left when both sides have closed: the server ends at once, and politely
    server.close(timeout=10)
    assert messages == [], messages
    print("ok")
"""

FLASK_SOCK = """
from flask_sock import Sock
sock = Sock(app)

@sock.route("/echo")
def echo(ws):
    while True:
        ws.send(ws.receive())

@sock.route("/once")
def once(ws):
    ws.send("only this")

serve()
with gevent.Timeout(40):
    ws = Client("ws://%s/echo" % base)
    for message in ("text", "x" * 300_000, b"bytes"):
        ws.send(message)
        assert ws.receive() == message
    ws.close()
    ws = Client("ws://%s/once" % base)
    assert ws.receive() == "only this"
    assert (ws.receive(), ws.code) == (None, 1000)
    assert page() == b"page"
    end()
"""

PINGING = 'app.config["SOCK_SERVER_OPTIONS"] = {"ping_interval": 0.05, "max_message_size": 1 << 20}\n'
PINGS = FLASK_SOCK.replace("serve()\n", PINGING + "serve()\n", 1)

SOCKET_IO = """
from flask_socketio import SocketIO, emit
socketio = SocketIO(app, async_mode="gevent", cors_allowed_origins="*")

@socketio.on("ask")
def ask(data):
    emit("answer", data)

serve()

def talk(ws):
    ws.send("40")
    while (packet := ws.receive()) == "6":  # NOOP, which ends a poll
        pass
    assert packet.startswith("40{"), packet
    for data in ("hello", "y" * 100_000):
        ws.send("42" + json.dumps(["ask", data]))
        assert json.loads(ws.receive()[2:]) == ["answer", data]
    ws.close()

with gevent.Timeout(40):
    ws = Client("ws://%s/socket.io/?EIO=4&transport=websocket" % base)
    assert ws.receive().startswith("0{")
    talk(ws)
    opened = urllib.request.urlopen("http://%s/socket.io/?EIO=4&transport=polling" % base, timeout=10).read()
    sid = json.loads(opened[1:])["sid"]
    ws = Client("ws://%s/socket.io/?EIO=4&transport=websocket&sid=%s" % (base, sid))
    ws.send("2probe")
    assert ws.receive() == "3probe"
    ws.send("5")
    talk(ws)
    assert page() == b"page"
    end()
"""


def run(program: str, *arguments: str) -> None:
    result = subprocess.run(
        [sys.executable, "-c", PRELUDE + program, *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=55,
        check=False,
    )
    assert (result.returncode, result.stdout, result.stderr) == (0, "ok\n", "")


@pytest.mark.parametrize("compat", ["gevent", "werkzeug", "gunicorn"])
@pytest.mark.parametrize("program", [FLASK_SOCK, PINGS, SOCKET_IO], ids=["flask-sock", "flask-sock-pings", "SocketIO"])
def test_library_finds_and_uses_the_socket(program: str, compat: str) -> None:
    run(program, compat)
