"""The Python of the how-to pages does what they say, with other ports, hosts and paths.

Pages whose code runs in another file are named in ELSEWHERE; there is no page whose code does not run.
"""

from __future__ import annotations

import logging
import os
import re
import signal
import ssl
import subprocess
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gevent
import pytest
from gevent import socket
from gevent import subprocess as gevent_subprocess
from pages import HOWTO, changed, code_of, run
from relays import tunnelling

from gruvihttp import Http2Client, HttpClient, HttpServer, websocket

ROOT = Path(__file__).resolve().parents[2]
GUARD = 20.0
LOCAL = '("127.0.0.1", 0)'
ELSEWHERE = {
    "engine-alone": "test_project.py",
    "frameworks": "frameworks/test_frameworks_docs.py",
    "httpx": "compat/test_transport_docs.py",
    "many-requests": "pool/test_pool_docs.py",
    "replace-http-client": "compat/test_http_client_connections.py",
    "requests": "compat/test_transport_docs.py",
    "websocket": "websocket/test_ws_docs.py",
}


def application(environ: Any, start_response: Any) -> list[bytes]:
    environ["wsgi.input"].read()
    start_response("200 OK", [("Content-Type", "text/plain")])
    told = ("REMOTE_ADDR", "wsgi.url_scheme", "HTTP_HOST", "SERVER_PROTOCOL")
    return [" ".join(environ.get(key, "-") for key in told).encode()]


@pytest.mark.parametrize("page", [page.stem for page in sorted(HOWTO.glob("*.rst")) if code_of(page.stem)])
def test_python_of_the_page_runs_somewhere(page: str) -> None:
    if page in ELSEWHERE:
        assert page in (ROOT / "tests" / ELSEWHERE[page]).read_text()
    else:
        assert f"test_{page.replace('-', '_')}" in globals()


# serve


def test_behind_a_proxy(started: Any, asked: Any) -> None:
    trusting, all_fields, any_header, some_headers = code_of("behind-a-proxy")
    fields = [("X-Forwarded-For", "192.0.2.1"), ("X-Forwarded-Proto", "https"), ("X-Forwarded-Host", "shop.example")]

    server = run(trusting, app=application)["server"]
    assert asked(started(server), headers=fields).content.startswith(b"192.0.2.1 https 127.0.0.1:")

    server = run(all_fields, {"10.0.0.0/8": "127.0.0.1"}, HttpServer=HttpServer, app=application)["server"]
    assert asked(started(server), headers=fields).content.startswith(b"192.0.2.1 https shop.example ")

    server = HttpServer(application)
    run(any_header, {'("0.0.0.0", 8000)': LOCAL}, server=server)
    assert b"192.0.2.1 http a " in _with_header(started(server))

    server = HttpServer(application)
    run(some_headers, {'("0.0.0.0", 8000)': LOCAL}, server=server)
    assert asked(started(server)).content.startswith(b"127.0.0.1 http ")
    assert b"192.0.2.1" not in _with_header(started(server))


def _with_header(address: Any) -> bytes:
    """What a connection brings that begins with a PROXY header."""
    with socket.create_connection(address, GUARD) as sock:
        sock.sendall(b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\nGET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        return b"".join(iter(lambda: sock.recv(65536), b""))


def test_serve_http2(started: Any, server_tls: ssl.SSLContext, client_tls: ssl.SSLContext) -> None:
    (code,) = code_of("serve-http2")
    server = HttpServer(application)
    run(code, {'("", 8443)': LOCAL}, context=server_tls, server=server)
    with Http2Client(GUARD) as client:
        client_tls.set_alpn_protocols(["h2"])
        client.connect(started(server), ssl=client_tls, server_hostname="localhost")
        client.request("GET", "/")
        assert client.getresponse().read().endswith(b" HTTP/2")


def test_set_limits(started: Any, asked: Any) -> None:
    values, to_the_server, of_http2 = code_of("set-limits")
    names = run(to_the_server, app=application, **_values(values))
    address = started(names["server"])
    assert asked(address, headers=[(f"X-{number}", "1") for number in range(40)]).status == 200
    assert asked(address, headers=[(f"X-{number}", "1") for number in range(60)]).status == 431
    assert asked(started(run(of_http2, HttpServer=HttpServer, app=application)["server"])).status == 200


def _values(code: str) -> dict[str, Any]:
    names = run(code)
    return {"limits": names["limits"], "timeouts": names["timeouts"]}


def test_stop_a_server(started: Any) -> None:
    closing, on_signal = code_of("stop-a-server")
    server = HttpServer(application)
    address = started(server)
    run(closing, server=server)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(address, GUARD)
    with _program(on_signal) as program:
        assert _get(program).startswith(b"HTTP/1.1 200")
        program.send_signal(signal.SIGTERM)
        assert program.wait(GUARD) == 0


def test_systemd() -> None:
    (code,) = code_of("systemd")
    with socket.create_server(("127.0.0.1", 0)) as listening:
        # what systemd does: the socket is descriptor 3, and the process is told that it is for itself
        begin = "os.environ.update(LISTEN_FDS='1', LISTEN_PID=str(os.getpid()))"
        passed = {"preexec_fn": lambda: os.dup2(listening.fileno(), 3), "pass_fds": [3]}
        with _program(code, begin, listens=False, **passed) as program:
            assert _get(program).startswith(b"HTTP/1.1 200")
            program.send_signal(signal.SIGINT)
            assert program.wait(GUARD) == 0


PROGRAM = """
import os, signal
signal.signal(signal.SIGINT, signal.default_int_handler)
{first}
from gruvihttp import HttpServer
def application(environ, start_response):
    start_response("200 OK", [])
    return [b""]
class Server(HttpServer):
    def run(self):
        print(self.address[1], flush=True)
        super().run()
server = Server(application)
{listen}
{code}
"""


def _program(code: str, first: str = "", *, listens: bool = True, **options: Any) -> Any:
    """A program around a block that runs a server, which tells its port."""
    listen = f"server.listen({LOCAL})" if listens else ""
    text = PROGRAM.format(first=first, listen=listen, code=code)
    variables = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.Popen([sys.executable, "-c", text], stdout=subprocess.PIPE, env=variables, **options)


def _get(program: Any) -> bytes:
    port = int(program.stdout.readline())
    with socket.create_connection(("127.0.0.1", port), GUARD) as sock:
        sock.sendall(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        return b"".join(iter(lambda: sock.recv(65536), b""))


def test_tls(started: Any, asked: Any, pems: Path, client_tls: ssl.SSLContext) -> None:
    plain, renewing, of_hosts, of_clients, verified, own_authority = code_of("tls")

    server = HttpServer(application)
    run(plain, {'("127.0.0.1", 8443)': LOCAL}, server=server)
    assert asked(started(server), tls=client_tls).content.startswith(b"127.0.0.1 https ")

    server = HttpServer(application)
    names = run(renewing, {'("0.0.0.0", 8443)': LOCAL}, server=server)
    assert names["certificates"].reload()
    assert asked(started(server), tls=client_tls).status == 200
    with HttpClient(GUARD) as client:
        changes = {'("example.com", 443)': repr(server.address), "ssl=True": "ssl=CONTEXT, server_hostname='localhost'"}
        run(verified, changes, client=client, CONTEXT=client_tls)

    server = HttpServer(application)
    given = run(of_hosts, Certificates=names["Certificates"])["certificates"]
    address = started(server, ssl=given)
    for name in ("localhost", "shop.example", "one.pages.example"):
        assert asked(address, tls=client_tls, name=name).status == 200
    with HttpClient(GUARD) as client:
        run(own_authority, {'("127.0.0.1", 8443)': repr(address)}, client=client, ssl=ssl)

    server = HttpServer(application)
    given = run(of_clients, Certificates=names["Certificates"])["certificates"]
    address = started(server, ssl=given)
    client_tls.load_cert_chain("shop.pem")
    assert asked(address, tls=client_tls).status == 200


def test_watch_a_server(
    started: Any, asked: Any, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    combined, own, to_logger, function, probes, unready, metrics = code_of("watch-a-server")
    caplog.set_level(logging.INFO)
    names = {"HttpServer": HttpServer, "app": application}
    for code in (combined, own, to_logger, function):
        assert asked(started(run(code, **names)["server"]), headers=[("X-Tenant", "tea")]).status == 200
    combined_line, own_line = capsys.readouterr().err.splitlines()
    assert '"GET / HTTP/1.1" 200' in combined_line
    assert own_line.startswith('127.0.0.1 "GET / HTTP/1.1" 200') and own_line.endswith(" tea")
    assert '"status":200' in caplog.text

    server = run(probes, **names)["server"]
    address = started(server)
    assert [asked(address, path).status for path in ("/healthz", "/readyz")] == [200, 200]
    run(unready, server=server)
    assert [asked(address, path).status for path in ("/healthz", "/readyz")] == [200, 503]
    run(metrics, {"9100": "0"}, server=server)
    assert b"gruvihttp_" in asked(server.metrics_addresses[0], "/metrics").content


def test_send_files(started: Any, tmp_path: Path) -> None:
    streaming, sending, hinting, adding = code_of("send-files")
    stream = run(streaming, {"sleep(1)": "sleep(0)"})["events"]
    (tmp_path / "file").write_bytes(b"content")
    send = run(sending, path=str(tmp_path / "file"))["application"]

    def say(environ: Any, start_response: Any) -> Iterator[bytes]:
        run(hinting, environ=environ)
        start_response("200 OK", [("Trailer", "Digest")])
        yield b"content"
        run(adding, environ=environ)

    for app, content, hints, trailers in (
        (stream, b"data: 0\n\ndata: 1\n\ndata: 2\n\n", [], []),
        (send, b"content", [], []),
        (say, b"content", [103], ["Digest"]),
    ):
        with HttpClient(GUARD) as client:
            client.connect(started(HttpServer(app)))
            client.request("GET", "/")
            response = client.getresponse()
            assert response.read() == content
            assert [one.status for one in response.informational] == hints
            assert [name for name, _ in response.trailers] == trailers


def test_upgrade(started: Any, tmp_path: Path) -> None:
    pytest.importorskip("flask_sock")
    by_library, own = code_of("upgrade")
    (tmp_path / "echo.py").write_text(by_library)
    command = [sys.executable, "-m", "gruvihttp", "serve", "echo:app", "--bind", "127.0.0.1:0"]
    options = {"cwd": tmp_path, "env": {**os.environ, "PYTHONPATH": str(ROOT)}, "stderr": subprocess.PIPE}
    with gevent_subprocess.Popen(command, **options) as program:
        port = int(program.stderr.readline().split(b":")[-1].split()[0])
        with websocket.connect(f"ws://127.0.0.1:{port}/echo", timeout=GUARD) as ws:
            ws.send("hello")
            assert ws.receive(GUARD) == "hello"
        program.terminate()
        assert program.wait(GUARD) == 0

    with HttpClient(GUARD) as client:
        client.connect(started(HttpServer(run(own)["application"])))
        client.request("GET", "/")
        response = client.getresponse()
        assert (response.status, response.read()) == (400, b"this speaks echo only\n")
        client.request("GET", "/", upgrade="echo")
        transport = client.getresponse().transport
        transport.send(b"hello")
        assert transport.receive() == b"hello"


# call


def test_one_connection(
    started: Any, serve: Any, pems: Path, capsys: pytest.CaptureFixture[str], client_tls: ssl.SSLContext,
    server_tls: ssl.SSLContext,
) -> None:  # fmt: skip
    whole, uploading, writing, through_proxy, upgrading = code_of("one-connection")
    seen: list[tuple[str, str, bytes, Any]] = []

    def remember(environ: Any, start_response: Any) -> list[bytes]:
        content = environ["wsgi.input"].read()
        request = (environ["REQUEST_METHOD"], environ["PATH_INFO"], content, environ["gruvihttp.request_trailers"])
        seen.append(request)
        start_response("200 OK", [])
        return [b"seen"]

    def echo(environ: Any, start_response: Any) -> list[bytes]:
        with environ["gruvihttp.upgrade"]("echo") as sock:
            sock.sendall(sock.recv(4096))
        return []

    address = started(HttpServer(remember), ssl=server_tls)
    there = {'("example.com", 443)': repr(("localhost", address[1])), "ssl=True": "ssl=CONTEXT"}
    run(whole, there, CONTEXT=client_tls)
    with HttpClient(GUARD) as client:
        proxy = serve(tunnelling)
        of_proxy = {"proxy.example:3128": f"127.0.0.1:{proxy.port}"}
        run(through_proxy, {**there, **of_proxy}, client=client, CONTEXT=client_tls)
        assert proxy.received.startswith(b"CONNECT localhost:%d " % address[1])
        (pems / "photo.jpg").write_bytes(b"a photo")
        run(uploading, client=client)
        run(writing, client=client)
    with HttpClient(GUARD) as client:
        client.connect(started(HttpServer(echo)))
        run(upgrading, client=client)
    assert capsys.readouterr().out.splitlines() == ["200 b'seen'"] * 3 + ["b'hello'"]
    uploaded, written = seen[1:]
    assert uploaded[:3] == ("PUT", "/photo", b"a photo")
    assert written == ("POST", "/log", b"one\ntwo\n", [("X-Lines", "2")])


def test_speak_http2(
    started: Any, capsys: pytest.CaptureFixture[str], server_tls: ssl.SSLContext, client_tls: ssl.SSLContext
) -> None:
    whole, sharing, failing = code_of("speak-http2")
    for context in (server_tls, client_tls):
        context.set_alpn_protocols(["h2"])
    address = started(HttpServer(application), ssl=server_tls)
    there = {'("example.com", 443)': f"{('localhost', address[1])}, ssl=CONTEXT"}
    run(whole, there, CONTEXT=client_tls)
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == ["200"] * 3
    with Http2Client(GUARD) as client:
        client.connect(("localhost", address[1]), ssl=client_tls)
        greenlets = run(sharing, {"1000": "50"}, client=client)["greenlets"]
        gevent.joinall(greenlets, raise_error=True)
        assert {one.value.split()[-1] for one in greenlets} == {b"HTTP/2"}

    def kill(environ: Any, start_response: Any) -> list[bytes]:
        raise gevent.GreenletExit

    with Http2Client(GUARD) as client:
        client.connect(started(HttpServer(kill)), ssl=False)
        run(failing, client=client)
    assert capsys.readouterr().out.split()[1] == "False"


# test


def tell_price(environ: Any, start_response: Any) -> list[bytes]:
    start_response("200 OK", [("Content-Type", "application/json")])
    return [b'{"item": "tea", "price": 3}']


def test_test(monkeypatch: pytest.MonkeyPatch) -> None:
    of_application, of_client = code_of("test")
    module = types.ModuleType("shop")
    module.app = tell_price  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "shop", module)
    run(of_application)["test_price"]()
    run(of_client)["test_answer_that_is_cut_is_noticed"]()


@pytest.mark.parametrize("page", [HOWTO / "change-gruvihttp.rst"], ids=lambda page: page.stem)
def test_files_that_a_page_names_are_there(page: Path) -> None:
    named = re.findall(r"``([\w./-]+(?:/|\.py|\.md|\.toml|/run))``", page.read_text())
    assert len(named) > 5
    assert [name for name in named if not (ROOT / name).exists()] == []


# keep what you have


def test_move_from_pywsgi(asked: Any) -> None:
    (code,) = code_of("move-from-pywsgi")
    changes = {"8080": "0", "server.serve_forever()": "server.start()"}
    server = run(code, changes, application=application)["server"]
    try:
        assert asked(server.address).status == 200
    finally:
        server.stop(0)


def test_move_from_h11() -> None:
    (code,) = code_of("move-from-h11")
    h11 = run(code)["h11"]
    request = h11.Request(method="GET", target="/", headers=[("Host", "a")])
    assert h11.Connection(h11.CLIENT).send(request) == b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


def test_paste() -> None:
    (code,) = code_of("paste")
    done = subprocess.run([sys.executable, "-W", "error", "-c", changed(code, {})], timeout=GUARD)
    assert done.returncode == 0
