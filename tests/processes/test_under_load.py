"""``gruvihttp serve``, and gunicorn with our worker: a server is stopped, and reloaded again and again, under load.

Nobody who follows the protocol loses anything. A hundred clients keep their connections; every fourth asks for what
takes its time. Beside them are WebSockets.
"""

from __future__ import annotations

import signal
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gevent
import pytest
import trustme
from gevent import socket
from wsproto import ConnectionType, WSConnection
from wsproto.events import AcceptConnection, CloseConnection, Request, TextMessage

GUARD = 40.0
CLIENTS = 100

APPLICATION = """
import os
import gevent
from gruvihttp import websocket

def app(environ, start_response):
    path = environ["PATH_INFO"]
    if path == "/websocket":
        ws = websocket.accept(environ)
        ws.send(str(os.getpid()))
        for message in ws:
            ws.send(message)
        return []
    if path == "/slow":
        gevent.sleep(0.2)
    start_response("200 OK", [("Content-Type", "text/plain"), ("X-Pid", str(os.getpid()))])
    return [b"one ", path.encode()]
"""


class Talker:
    """A client with a WebSocket, which says something, waits for the answer, and so on until it is told to go."""

    def __init__(self, address: Any) -> None:
        self._sock = socket.create_connection(address, timeout=GUARD)
        self._engine = WSConnection(ConnectionType.CLIENT)
        self._sock.sendall(self._engine.send(Request(host="load", target="/websocket")))
        self._events: list[Any] = []
        assert isinstance(self._next(), AcceptConnection)
        self.pid = self._next().data
        self.said = self.heard = 0
        self.code: int | None = None
        self.greenlet = gevent.spawn(self._talk)

    def _next(self) -> Any:
        while not self._events:
            self._engine.receive_data(self._sock.recv(65536) or None)
            self._events = list(self._engine.events())
        return self._events.pop(0)

    def _talk(self) -> None:
        while True:
            if not self._events:  # else the close frame is among what has come
                self._sock.sendall(self._engine.send(TextMessage(data="again")))
                self.said += 1
            event = self._next()
            if isinstance(event, CloseConnection):
                self.code = int(event.code)
                self._sock.sendall(self._engine.send(event.response()))
                assert self._sock.recv(1) == b""
                self._sock.close()
                return
            assert event.data == "again"
            self.heard += 1
            gevent.sleep(0.002)

    def wait(self) -> int | None:
        """The code with which it was told to go."""
        self.greenlet.get(timeout=GUARD)
        return self.code


@pytest.fixture
def talk() -> Iterator[Callable[..., list[Talker]]]:
    """Makes clients with WebSockets."""
    made: list[Talker] = []

    def talk(address: Any, count: int) -> list[Talker]:
        made.extend(Talker(address) for _ in range(count))
        return made[-count:]

    yield talk
    gevent.killall([one.greenlet for one in made])


@pytest.fixture
def serve(process: Callable[..., Any], tmp_path: Path) -> Callable[..., Any]:
    def start(*arguments: str) -> Any:
        (tmp_path / "served.py").write_text(APPLICATION)
        started = process("-m", "gruvihttp", "serve", "served:app", "--bind", "127.0.0.1:0", *arguments)
        port = started.wait_for(r"gruvihttp serving served:app at https?://127\.0\.0\.1:(\d+)")[1]
        started.address = ("127.0.0.1", int(port))
        return started

    return start


@pytest.mark.parametrize(
    "arguments",
    [(), ("--workers", "2"), ("--workers", "2", "--no-reuse-port")],
    ids=["one-process", "workers", "workers-that-share"],
)
def test_stop_under_load_fails_nobody(serve: Any, load: Any, talk: Any, arguments: tuple[str, ...]) -> None:
    server = serve(*arguments)
    talkers = talk(server.address, 4)
    clients = load(server.address, CLIENTS)
    clients.until_done(3 * CLIENTS)
    clients.may_be_refused = True
    with gevent.Timeout(GUARD / 2):
        assert server.end(signal.SIGTERM) == 0
    clients.join()
    assert clients.failures == []
    assert [talker.wait() for talker in talkers] == [1001] * 4
    # what was said last may have crossed the end
    assert all(0 <= talker.said - talker.heard <= 1 and talker.heard for talker in talkers)


def test_stop_and_reload_under_load_over_tls_fail_nobody(serve: Any, load: Any, tmp_path: Path) -> None:
    authority = trustme.CA()
    authority.issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(str(tmp_path / "server.pem"))
    context = ssl.create_default_context()
    authority.configure_trust(context)
    server = serve("--workers", "2", "--tls-cert", str(tmp_path / "server.pem"))
    clients = load(server.address, CLIENTS, context)
    clients.until(lambda: len(clients.pids) == 2)
    before = set(clients.pids)
    server.send(signal.SIGHUP)
    server.wait_for("all workers have been replaced")
    clients.until(lambda: len(clients.pids - before) == 2)
    assert (clients.failures, clients.refused) == ([], 0)
    clients.may_be_refused = True
    with gevent.Timeout(GUARD / 2):
        assert server.end(signal.SIGTERM) == 0
    clients.join()
    assert clients.failures == []


def test_reload_after_reload_under_load_fails_nobody(serve: Any, load: Any, talk: Any) -> None:
    server = serve("--workers", "2")
    clients = load(server.address, CLIENTS)
    clients.until(lambda: len(clients.pids) == 2)
    for number in range(1, 4):
        before = set(clients.pids)
        talkers = talk(server.address, 2)
        server.send(signal.SIGHUP)
        server.wait_for("all workers have been replaced", number)
        assert [talker.wait() for talker in talkers] == [1001] * 2
        clients.until(lambda before=before: len(clients.pids - before) == 2)
    clients.stop()
    assert (clients.failures, clients.refused) == ([], 0)
    assert len(clients.pids) == 8
    assert server.end(signal.SIGTERM) == 0


def test_gunicorn_reloads_and_stops_under_load_and_fails_nobody(
    gunicorn: Any, load: Any, talk: Any, tmp_path: Path
) -> None:
    (tmp_path / "served.py").write_text(APPLICATION)
    server = gunicorn()
    clients = load(server.address, CLIENTS)
    clients.until(lambda: len(clients.pids) == 2)
    for number in (1, 2):
        before = set(clients.pids)
        talkers = talk(server.address, 2)
        server.send(signal.SIGHUP)
        server.wait_for("Worker exiting", 2 * number)
        assert [talker.wait() for talker in talkers] == [1001] * 2
        clients.until(lambda before=before: len(clients.pids - before) == 2)
    assert (clients.failures, clients.refused) == ([], 0)
    talkers = talk(server.address, 2)
    clients.may_be_refused = True
    with gevent.Timeout(GUARD / 2):
        assert server.end(signal.SIGTERM) == 0
    clients.join()
    assert clients.failures == []
    assert [talker.wait() for talker in talkers] == [1001] * 2
