"""gunicorn's settings mean with our worker what they mean with its own: a server for each, asked from outside."""

from __future__ import annotations

import json
import os
import re
import signal
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gevent
import pytest
import trustme
from gevent import socket
from gevent.ssl import SSLSocket

pytest.importorskip("gunicorn")

GUARD = 20.0

APPLICATION = """
import json, os, time
import gevent

def app(environ, start_response):
    path = environ["PATH_INFO"]
    if path == "/sleep":
        gevent.sleep(float(environ["QUERY_STRING"]))
    if path == "/block":
        time_sleep(float(environ["QUERY_STRING"]))
    said = {key: value for key, value in environ.items() if isinstance(value, str)}
    start_response("200 OK", [("Content-Type", "application/json")])
    return [json.dumps({**said, "pid": os.getpid(), "version": VERSION}).encode()]

from gevent.monkey import get_original
time_sleep = get_original("time", "sleep")
VERSION = 1
"""


class Client:
    """One connection, and requests on it."""

    def __init__(self, address: Any, context: ssl.SSLContext | None = None, leading: bytes = b"") -> None:
        family = socket.AF_UNIX if isinstance(address, str) else socket.AF_INET
        self.sock = socket.socket(family)
        self.sock.settimeout(GUARD)
        self.sock.connect(address)
        self.sock.sendall(leading)
        if context is not None:
            self.sock = SSLSocket(self.sock, server_hostname="localhost", _context=context)

    def get(self, target: str = "/", fields: str = "") -> Any:
        """What the application says about a request; the status if that is not 200."""
        self.ask(target, fields)
        return self.answer()

    def ask(self, target: str = "/", fields: str = "") -> None:
        self.sock.sendall(f"GET {target} HTTP/1.1\r\nHost: asked\r\n{fields}\r\n".encode())

    def answer(self) -> Any:
        received = b""
        while b"\r\n\r\n" not in received:
            received += self._more()
        head, _, content = received.partition(b"\r\n\r\n")
        size = int(re.search(rb"Content-Length: (\d+)", head)[1])  # type: ignore[index]
        while len(content) < size:
            content += self._more()
        status = int(head.split(b" ")[1])
        return json.loads(content) if status == 200 else status

    def _more(self) -> bytes:
        data: bytes = self.sock.recv(65536)
        assert data, "the connection ended"
        return data

    def ends(self) -> bool:
        """Does the server end the connection, without another byte?"""
        try:
            return self.sock.recv(1) == b""
        except ConnectionResetError:
            return True


@pytest.fixture(autouse=True)
def application(tmp_path: Path, process: Any) -> None:
    (tmp_path / "served.py").write_text(APPLICATION)


@pytest.fixture
def certificate(tmp_path: Path) -> Iterator[tuple[str, str, ssl.SSLContext]]:
    """Files with a certificate and its key, and the context of a client that trusts it."""
    authority = trustme.CA()
    issued = authority.issue_cert("localhost")
    issued.cert_chain_pems[0].write_to_path(str(tmp_path / "cert.pem"))
    issued.private_key_pem.write_to_path(str(tmp_path / "key.pem"))
    context = ssl.create_default_context()
    authority.configure_trust(context)
    yield str(tmp_path / "cert.pem"), str(tmp_path / "key.pem"), context


def until(condition: Any) -> None:
    with gevent.Timeout(GUARD):
        while not condition():
            gevent.sleep(0.02)


def test_keepalive(gunicorn: Any) -> None:
    server = gunicorn("--keep-alive", "1", workers=1)
    client = Client(server.address)
    client.get()
    client.get()
    with gevent.Timeout(GUARD):  # ours alone is 75 s
        assert client.ends()


def test_graceful_timeout(gunicorn: Any) -> None:
    server = gunicorn("--graceful-timeout", "1", workers=1)
    short, long = Client(server.address), Client(server.address)
    short.get(), long.get()
    short.ask("/sleep?0.5")
    long.ask("/sleep?60")
    gevent.sleep(0.1)  # there is no sign by which to tell that a request runs
    server.send(signal.SIGTERM)
    assert short.answer()["PATH_INFO"] == "/sleep"
    assert long.ends()
    assert server.wait() == 0


def test_worker_connections(gunicorn: Any) -> None:
    server = gunicorn("--worker-connections", "1", workers=1)
    first, second = Client(server.address), Client(server.address)
    first.get(), second.get()
    first.ask("/sleep?0.5")
    gevent.sleep(0.1)  # as above
    second.ask("/")
    with gevent.Timeout(0.2, False):
        second.sock.recv(1, socket.MSG_PEEK)
        pytest.fail("two requests run at once")
    assert first.answer()["PATH_INFO"] == "/sleep"
    assert second.answer()["PATH_INFO"] == "/"


def test_max_requests_and_jitter(gunicorn: Any) -> None:
    server = gunicorn("--max-requests", "5", "--max-requests-jitter", "5", workers=1)
    pids: list[int] = []
    while len(set(pids)) < 3:
        client = Client(server.address)
        pids.append(client.get(fields="Connection: close\r\n")["pid"])
        client.sock.close()
    first = pids.count(pids[0])
    assert 5 <= first <= 12  # those that arrive while it ends are served, too


def test_limits(gunicorn: Any) -> None:
    settings = ("--limit-request-line=50", "--limit-request-fields=3", "--limit-request-field_size=1000")
    server = gunicorn(*settings, workers=1)
    assert Client(server.address).get("/", "A: 1\r\nB: 1\r\n")["PATH_INFO"] == "/"
    assert Client(server.address).get("/" + "a" * 50) == 414
    assert Client(server.address).get("/", "A: 1\r\nB: 1\r\nC: 1\r\n") == 431
    # what all fields together may have, which is more than gunicorn's bound for each
    assert Client(server.address).get("/", f"A: {'a' * 4000}\r\n") == 431


FORWARDED = "X-Forwarded-For: 203.0.113.9\r\nX-Forwarded-Proto: https\r\n"


@pytest.mark.parametrize(
    ("allowed", "address", "scheme"),
    [("127.0.0.1", "203.0.113.9", "https"), ("*", "203.0.113.9", "https"), ("192.0.2.1", "127.0.0.1", "http")],
    ids=["listed", "all", "others"],
)
def test_forwarded_allow_ips(gunicorn: Any, allowed: str, address: str, scheme: str) -> None:
    server = gunicorn("--forwarded-allow-ips", allowed, workers=1)
    said = Client(server.address).get(fields=FORWARDED)
    assert (said["REMOTE_ADDR"], said["wsgi.url_scheme"]) == (address, scheme)


@pytest.mark.parametrize("allowed", ["127.0.0.1", "192.0.2.1"], ids=["listed", "others"])
def test_proxy_protocol(gunicorn: Any, allowed: str) -> None:
    server = gunicorn("--proxy-protocol", "--proxy-allow-from", allowed, workers=1)
    header = b"PROXY TCP4 203.0.113.9 192.0.2.7 4711 80\r\n"
    if allowed == "127.0.0.1":
        assert Client(server.address, leading=header).get()["REMOTE_ADDR"] == "203.0.113.9"
    else:
        assert Client(server.address, leading=header).get() == 400
        assert Client(server.address).get()["REMOTE_ADDR"] == "127.0.0.1"


def test_ssl(gunicorn: Any, certificate: Any) -> None:
    certfile, keyfile, context = certificate
    server = gunicorn("--certfile", certfile, "--keyfile", keyfile, workers=1)
    said = Client(server.address, context).get()
    assert (said["wsgi.url_scheme"], said["HTTPS"]) == ("https", "on")


def test_ssl_context_hook(gunicorn: Any, certificate: Any, tmp_path: Path) -> None:
    certfile, keyfile, context = certificate
    (tmp_path / "settings.py").write_text(
        "import ssl\n"
        "def ssl_context(conf, default):\n"
        "    context = default()\n"
        "    context.maximum_version = ssl.TLSVersion.TLSv1_2\n"
        "    return context\n"
    )
    server = gunicorn("-c", "settings.py", "--certfile", certfile, "--keyfile", keyfile, workers=1)
    client = Client(server.address, context)
    assert client.sock.version() == "TLSv1.2"
    assert client.get()["SSL_PROTOCOL"] == "TLSv1.2"


def test_http_protocols(gunicorn: Any, certificate: Any) -> None:
    pytest.importorskip("h2")  # gunicorn wants it, although we do not
    certfile, keyfile, context = certificate
    context.set_alpn_protocols(["h2", "http/1.1"])
    server = gunicorn("--certfile", certfile, "--keyfile", keyfile, "--http-protocols", "h2,h1", workers=1)
    assert Client(server.address, context).sock.selected_alpn_protocol() == "h2"
    context.set_alpn_protocols(["http/1.1"])
    client = Client(server.address, context)
    assert (client.sock.selected_alpn_protocol(), client.get()["SERVER_PROTOCOL"]) == ("http/1.1", "HTTP/1.1")


def test_http_2_is_not_spoken_unless_that_is_asked_for(gunicorn: Any) -> None:
    server = gunicorn(workers=1)
    client = Client(server.address)
    client.sock.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
    assert client.answer() in (400, 505)


def test_access_log_goes_through_the_logger_class(gunicorn: Any, tmp_path: Path) -> None:
    (tmp_path / "logger.py").write_text(
        "from gunicorn.glogging import Logger\n"
        "class Mine(Logger):\n"
        "    def access(self, resp, req, environ, request_time):\n"
        "        self.info('seen %s %s %s %s %s', req.method, req.uri, resp.status, resp.sent,"
        " request_time.total_seconds() < 60)\n"
    )
    server = gunicorn("--logger-class", "logger.Mine", workers=1)
    said = Client(server.address).get("/path?query")
    size = len(json.dumps(said))
    server.wait_for(rf"seen GET /path\?query 200 OK {size} True")


def test_pre_request_that_fails_is_a_500_and_post_request_is_called_all_the_same(gunicorn: Any, tmp_path: Path) -> None:
    (tmp_path / "settings.py").write_text(
        "def pre_request(worker, req):\n"
        "    if req.path == '/fail':\n"
        "        raise RuntimeError('not this one')\n"
        "def post_request(worker, req, environ, resp):\n"
        "    worker.log.info('after %s %s', req.path, resp.status_code)\n"
    )
    server = gunicorn("-c", "settings.py", workers=1)
    client = Client(server.address)
    assert client.get("/fail") == 500
    assert client.get("/well")["PATH_INFO"] == "/well"
    server.wait_for("after /fail 500")
    server.wait_for("after /well 200")


def test_worker_that_waits_is_left_alone_and_one_that_blocks_is_killed(gunicorn: Any) -> None:
    server = gunicorn("--timeout", "1", workers=1)
    client = Client(server.address)
    pid = client.get()["pid"]
    assert client.get("/sleep?2")["pid"] == pid
    client.ask("/block?60")
    server.wait_for(rf"WORKER TIMEOUT \(pid:{pid}\)")
    assert client.ends()
    assert Client(server.address).get()["pid"] != pid


def test_statsd(gunicorn: Any) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sink:
        sink.bind(("127.0.0.1", 0))
        sink.settimeout(GUARD)
        host, port = sink.getsockname()
        server = gunicorn("--statsd-host", f"{host}:{port}", "--statsd-prefix", "ours", workers=1)
        Client(server.address).get()
        wanted = {b"ours.gunicorn.requests:1|c|@1.0", b"ours.gunicorn.request.status.200:1|c|@1.0"}
        while wanted:
            wanted.discard(sink.recv(4096))


def test_preload_app(gunicorn: Any) -> None:
    server = gunicorn("--preload", workers=2)
    clients = [Client(server.address) for _ in range(4)]
    for client in clients:
        client.ask("/sleep?0.2")  # side by side, so the standard library may be patched as late as this
    assert [client.answer()["PATH_INFO"] for client in clients] == ["/sleep"] * 4
    assert "Warning" not in server.said


def test_unix_socket_is_trusted(gunicorn: Any, tmp_path: Path) -> None:
    path = str(tmp_path / "served.sock")
    server = gunicorn("-b", f"unix:{path}", workers=1)
    assert Client(path).get(fields=FORWARDED)["wsgi.url_scheme"] == "https"
    assert server.end(signal.SIGTERM) == 0
    assert not os.path.exists(path)


def test_usr1_opens_the_logs_anew(gunicorn: Any, tmp_path: Path) -> None:
    log = tmp_path / "access"
    server = gunicorn("--access-logfile", str(log), workers=1)
    Client(server.address).get("/before")
    until(lambda: "/before" in log.read_text())
    log.rename(tmp_path / "rotated")
    server.send(signal.SIGUSR1)
    until(log.exists)

    def is_logged() -> bool:
        Client(server.address).get("/after")
        return "/after" in log.read_text()

    until(is_logged)


def test_reload_follows_the_file(gunicorn: Any, tmp_path: Path) -> None:
    server = gunicorn("--reload", "--reload-engine", "poll", workers=1)
    assert Client(server.address).get()["version"] == 1
    served = tmp_path / "served.py"
    served.write_text(APPLICATION.replace("VERSION = 1", "VERSION = 22"))
    os.utime(served, (2e9, 2e9))
    server.wait_for("Worker reloading")

    def is_new() -> bool:
        return bool(Client(server.address).get()["version"] == 22)

    until(is_new)
