"""Every example is run as its user runs it: as a program, against servers on the loopback interface."""

from __future__ import annotations

import ast
import json
import os
import re
import signal
import ssl
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import gevent
import pytest
import trustme
from gevent import socket, subprocess

from gruvihttp import HttpPool, websocket
from gruvihttp.errors import TransportError
from gruvihttp.server import HttpServer
from gruvihttp.testing import RawPeer, ScriptedPeer, replies

ROOT = Path(__file__).resolve().parent.parent
EXAMPLES = ROOT / "examples"
GUARD = 30.0


def command(name: str, *arguments: object) -> list[str]:
    return [sys.executable, str(EXAMPLES / name), *map(str, arguments)]


def environment(**more: str) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT), **more}


def run(name: str, *arguments: object, status: int = 0, **variables: str) -> tuple[str, str]:
    """Output and errors of an example that ends by itself."""
    done = subprocess.run(command(name, *arguments), env=environment(**variables), capture_output=True, timeout=GUARD)
    output, errors = done.stdout.decode(), done.stderr.decode()
    assert done.returncode == status, errors
    assert "Traceback" not in errors
    return output, errors


@contextmanager
def running(name: str, *arguments: object) -> Iterator[int]:
    """The port of an example that serves until it is interrupted."""
    program = subprocess.Popen(command(name, *arguments), env=environment(), stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE)  # fmt: skip
    try:
        with gevent.Timeout(GUARD):
            line = program.stdout.readline().decode()
        match = re.fullmatch(r"listening on http://127\.0\.0\.1:(\d+)/\n", line)
        assert match, line
        yield int(match[1])
        assert program.poll() is None
        program.send_signal(signal.SIGINT)
        errors = program.communicate(timeout=GUARD)[1].decode()
        assert program.returncode == 0
        assert "Traceback" not in errors
    finally:
        program.kill()


@pytest.fixture
def serve() -> Iterator[Any]:
    """Serves an application in this process; returns the port."""
    servers: list[HttpServer] = []

    def serve(application: Any, **options: Any) -> int:
        server = HttpServer(application)
        servers.append(server)
        server.listen(("127.0.0.1", 0), **options)
        port: int = server.address[1]
        return port

    yield serve
    for server in servers:
        server.close(0)


def echo(environ: Any, start_response: Any) -> list[bytes]:
    content = environ["wsgi.input"].read()
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [f"{environ['REQUEST_METHOD']} {environ['REQUEST_URI']} ".encode(), content]


def tell(environ: Any, start_response: Any) -> Iterator[bytes]:
    """The same, of unknown length."""
    content = echo(environ, start_response)
    for block in content:
        yield block
        gevent.sleep(0)


def test_readme_lists_every_example() -> None:
    listed = set(re.findall(r"^\| `(\w+\.py)` ", (EXAMPLES / "README.md").read_text(), re.MULTILINE))
    assert listed == {path.name for path in EXAMPLES.glob("*.py")}


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.py")), ids=lambda path: path.name)
def test_example_explains_itself_and_says_how_it_is_called(path: Path) -> None:
    text = ast.get_docstring(ast.parse(path.read_text())) or ""
    assert f"    python {path.name} " in text
    program = subprocess.run(command(path.name), env=environment(), capture_output=True, timeout=GUARD)
    assert program.returncode != 0
    assert b"usage: " in program.stderr and b"Traceback" not in program.stderr


# over the event layer: clients


EVENTS = re.compile(r"^(sending|received) (\w+)\(", re.MULTILINE)


@pytest.mark.parametrize("application", [echo, tell], ids=["length", "chunked"])
def test_minimal_client_shows_every_event(serve: Any, application: Any) -> None:
    output, _ = run("minimal_client.py", f"http://127.0.0.1:{serve(application)}/get")
    kinds = EVENTS.findall(output)
    assert kinds[:3] == [("sending", "Request"), ("sending", "EndOfMessage"), ("received", "Response")]
    assert set(kinds[3:-1]) == {("received", "Data")}
    assert kinds[-1] == ("received", "EndOfMessage")
    assert "GET /get" in output


def test_minimal_client_speaks_tls(serve: Any, tmp_path: Path) -> None:
    authority = trustme.CA()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("localhost").configure_cert(context)
    authority.cert_pem.write_to_path(str(tmp_path / "authority.pem"))
    url = f"https://localhost:{serve(echo, ssl=context)}/get"
    output, _ = run("minimal_client.py", url, SSL_CERT_FILE=str(tmp_path / "authority.pem"))
    assert EVENTS.findall(output)[-1] == ("received", "EndOfMessage")
    content, _ = run("http_get.py", url, SSL_CERT_FILE=str(tmp_path / "authority.pem"))
    assert content == "GET /get "
    _, errors = run("http_get.py", url, status=1)
    assert "certificate" in errors


@pytest.mark.parametrize("application", [echo, tell], ids=["length", "chunked"])
def test_http_get_prints_the_content(serve: Any, application: Any) -> None:
    output, _ = run("http_get.py", f"http://127.0.0.1:{serve(application)}/a%20b?c=d#e")
    assert output == "GET /a%20b?c=d "


@pytest.mark.parametrize(
    ("answer", "output"),
    [
        pytest.param(b"HTTP/1.0 200 OK\r\n\r\nto the end", "to the end", id="until-close"),
        pytest.param(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", "ok", id="100"),
        pytest.param(b"HTTP/1.1 204 No Content\r\n\r\n", "", id="204"),
    ],
)
def test_http_get_reads_what_servers_answer(answer: bytes, output: str) -> None:
    with ScriptedPeer(replies(answer)) as peer:
        assert run("http_get.py", f"http://127.0.0.1:{peer.port}")[0] == output


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        pytest.param(b"HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\nno", "404 Not Found", id="404"),
        pytest.param(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\ncut", "received 3 bytes, expected 9", id="cut"),
        pytest.param(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\ncut", "incomplete", id="cut-chunk"),
        pytest.param(b"nonsense\r\n\r\n", "status line", id="nonsense"),
        pytest.param(b"", "ConnectionClosed", id="nothing"),
    ],
)
def test_http_get_says_what_went_wrong_and_prints_nothing(answer: bytes, message: str) -> None:
    with ScriptedPeer(replies(answer)) as peer:
        output, errors = run("http_get.py", f"http://127.0.0.1:{peer.port}/", status=1)
    assert (output, message in errors) == ("", True)


def test_my_http_client_uses_one_connection_for_all(serve: Any) -> None:
    output, _ = run("my_http_client.py", "127.0.0.1", serve(echo))
    states = re.findall(r"states: (\w+) (\w+)", output)
    assert states == [("DONE", "DONE"), ("IDLE", "IDLE")]
    assert "GET /first" in output
    assert "POST: 200 23 bytes" in output
    assert "Traceback" not in output


# over the event layer: the server


@pytest.fixture(scope="module")
def robust() -> Iterator[int]:
    with running("robust_server.py", "127.0.0.1", 0) as port:
        yield port


@pytest.fixture(scope="module")
def hasty() -> Iterator[int]:
    """The same server without patience."""
    with running("robust_server.py", "127.0.0.1", 0, "--most-seconds", "0.2") as port:
        yield port


HOST = b"Host: a\r\n"
GET = b"GET /a HTTP/1.1\r\n" + HOST + b"\r\n"
LAST = b"GET /b HTTP/1.1\r\n" + HOST + b"Connection: close\r\n\r\n"


def hear(port: int, *sent: bytes, pieces: int = 0, half_close: bool = False) -> bytes:
    with RawPeer.connect(("127.0.0.1", port)) as peer:
        for part in sent:
            peer.send_in_pieces(part, pieces) if pieces else peer.send(part)
        if half_close:
            peer.half_close()
        return peer.read_to_end()


def statuses(heard: bytes) -> list[int]:
    return [int(status) for status in re.findall(rb"HTTP/1\.1 (\d{3}) [A-Z]", heard)]


@pytest.mark.parametrize("pieces", [0, 1], ids=["whole", "by-bytes"])
@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        pytest.param(GET + GET + LAST, [200, 200, 200], id="pipelined"),
        pytest.param(b"HEAD /a HTTP/1.1\r\n" + HOST + b"\r\n" + LAST, [200, 200], id="head"),
        pytest.param(b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 4\r\n\r\nbody" + LAST, [200, 200], id="post"),
        pytest.param(b"POST / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n\r\n" + LAST,
                     [200, 200], id="post-chunked"),
        pytest.param(b"PUT / HTTP/1.1\r\n" + HOST + b"\r\n" + LAST, [405, 200], id="method"),
        pytest.param(b"PUT / HTTP/1.1\r\n" + HOST + b"Content-Length: 3\r\n\r\nabc" + LAST, [405, 200],
                     id="method-with-content"),
        pytest.param(b"GET / HTTP/1.0\r\n\r\n", [200], id="1.0"),
        pytest.param(b"foo\r\n\r\n", [400], id="nonsense"),
        pytest.param(b"\x16\x03\x01", [400], id="tls-hello"),
        pytest.param(b"GET / HTTP/1.1\r\n\r\n", [400], id="no-host"),
        pytest.param(GET + b"foo\r\n\r\n", [200, 400], id="nonsense-behind"),
        pytest.param(b"POST / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\nfoo\r\n", [400], id="chunk"),
        pytest.param(b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 9999999\r\n\r\n", [413], id="content"),
        pytest.param(b"GET /" + b"a" * 9000, [414], id="target"),
        pytest.param(b"GET / HTTP/1.1\r\nX: " + b"a" * 66_000, [431], id="fields"),
        pytest.param(b"POST / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: gzip\r\n\r\n", [501], id="coding"),
        pytest.param(b"GET / HTTP/2.0\r\n" + HOST + b"\r\n", [505], id="version"),
        pytest.param(b"GET / HTTP/1.1\r\n" + HOST + b"Expect: more\r\n\r\n", [417], id="expectation"),
    ],
)  # fmt: skip
def test_robust_server_answers_whatever_comes(robust: int, sent: bytes, expected: list[int], pieces: int) -> None:
    if pieces and len(sent) > 1000:
        pieces = 1000
    heard = hear(robust, sent, pieces=pieces)
    assert statuses(heard) == expected
    assert heard.count(b"Connection: close\r\n") == 1
    assert heard.count(b"\r\nDate: ") == heard.count(b"\r\nServer: gruvihttp/") == len(expected)


def test_robust_server_describes_the_request(robust: int) -> None:
    request = b"POST /t?q HTTP/1.1\r\nHost: a\r\nX-Odd: \xff\r\nContent-Length: 2\r\nConnection: close\r\n\r\n\xc3\xa9"
    head, _, content = hear(robust, request).partition(b"\r\n\r\n")
    described = json.loads(content)
    assert list(described) == ["body", "headers", "method", "target"]
    assert (described["method"], described["target"], described["body"]) == ("POST", "/t?q", "\xe9")
    assert ["x-odd", "\xff"] in described["headers"]


def test_robust_server_answers_head_like_get_without_content(robust: int) -> None:
    get, _, content = hear(robust, LAST).partition(b"\r\n\r\n")
    head, _, nothing = hear(robust, LAST.replace(b"GET", b"HEAD", 1)).partition(b"\r\n\r\n")
    assert (len(content) > 0, nothing) == (True, b"")
    length = int(re.findall(rb"Content-Length: (\d+)", get)[0])
    assert int(re.findall(rb"Content-Length: (\d+)", head)[0]) == length + 1  # the document says HEAD


def test_robust_server_names_the_methods_it_knows(robust: int) -> None:
    heard = hear(robust, b"DELETE / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    assert b"\r\nAllow: GET, HEAD, POST\r\n" in heard


def test_robust_server_says_continue_only_when_it_reads(robust: int) -> None:
    expecting = HOST + b"Content-Length: 4\r\nExpect: 100-continue\r\n\r\n"
    with RawPeer.connect(("127.0.0.1", robust)) as peer:
        peer.send(b"POST / HTTP/1.1\r\n" + expecting)
        assert peer.read_until().startswith(b"HTTP/1.1 100 Continue\r\n")
        peer.send(b"body" + LAST)
        assert statuses(peer.read_to_end()) == [200, 200]
    refused = hear(robust, b"PUT / HTTP/1.1\r\n" + expecting)
    assert statuses(refused) == [405]
    assert b"Connection: close\r\n" in refused


def test_robust_server_hears_an_upload_out(robust: int) -> None:
    upload = b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 9999999\r\n\r\n" + b"x" * 700_000
    assert statuses(hear(robust, upload)) == [413]


@pytest.mark.parametrize("sent", [GET, b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 9\r\n\r\nhalf"],
                         ids=["request", "content"])  # fmt: skip
def test_robust_server_answers_who_has_closed_one_way(robust: int, sent: bytes) -> None:
    assert statuses(hear(robust, sent, half_close=True)) == ([200] if sent is GET else [400])


def test_robust_server_outlives_clients_that_go(robust: int) -> None:
    for sent in (b"", b"GET", GET * 50, b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 9\r\n\r\nhalf"):
        peer = RawPeer.connect(("127.0.0.1", robust))
        peer.send(sent)
        peer.reset()
    assert statuses(hear(robust, LAST)) == [200]


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        pytest.param(b"", [], id="silence"),
        pytest.param(GET, [200], id="idle"),
        pytest.param(b"GET / HT", [408], id="head"),
        pytest.param(GET + b"GET / HT", [200, 408], id="second-head"),
        pytest.param(b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 9\r\n\r\nhalf", [408], id="content"),
    ],
)
def test_robust_server_tells_who_is_late_and_nobody_else(hasty: int, sent: bytes, expected: list[int]) -> None:
    heard = hear(hasty, sent)
    assert statuses(heard) == expected
    assert heard.count(b"Connection: close\r\n") == expected.count(408)


def test_robust_server_does_not_wait_again_for_who_is_late(monkeypatch: pytest.MonkeyPatch) -> None:
    spec = spec_from_file_location("robust_server", EXAMPLES / "robust_server.py")
    assert spec is not None and spec.loader is not None
    example = module_from_spec(spec)
    spec.loader.exec_module(example)
    monkeypatch.setattr(example, "CONTENT_SECONDS", 0.05)
    monkeypatch.setattr(example, "LINGER_SECONDS", 10 * GUARD)
    here, there = socket.socketpair()
    with here, there:
        serving = gevent.spawn(example.Client(there).serve)
        here.settimeout(GUARD)
        here.sendall(b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 9\r\n\r\nhalf")
        assert here.recv(1000).startswith(b"HTTP/1.1 408 ")
        here.shutdown(socket.SHUT_WR)
        serving.get(timeout=GUARD)


def test_robust_server_resets_who_does_not_close(hasty: int) -> None:
    with RawPeer.connect(("127.0.0.1", hasty)) as peer:
        peer.send(b"foo\r\n\r\n")
        assert statuses(peer.read_to_end()) == [400]
        with pytest.raises(TransportError), gevent.Timeout(GUARD):
            while True:
                peer.send(b"x")
                gevent.sleep(0.01)


# with the client and the server of gruvihttp


def test_wsgi_hello_greets() -> None:
    with running("wsgi_hello.py", "127.0.0.1", 0) as port:
        heard = hear(port, b"GET /%C3%89va HTTP/1.1\r\n" + HOST + b"\r\n" + LAST.replace(b"/b", b"/"))
        assert "Hello, \xc9va!\n".encode() in heard
        assert heard.endswith(b"Hello, World!\n")


def test_pipelined_client_sends_all_before_it_reads() -> None:
    def script(peer: RawPeer) -> None:
        for _ in range(3):
            peer.read_until()
        for _ in range(3):
            peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

    with ScriptedPeer(script) as server:
        output, _ = run("pipelined_client.py", "127.0.0.1", server.port, "/one", "/two", "/three")
    assert output == "/one 200 2 bytes\n/two 200 2 bytes\n/three 200 2 bytes\n"


def test_pipelined_client_counts_what_got_no_answer() -> None:
    with ScriptedPeer(replies(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")) as server:
        _, errors = run("pipelined_client.py", "127.0.0.1", server.port, "/one", "/two", "/three", status=1)
    assert "without an answer: 2 of 3" in errors


@pytest.mark.parametrize("size", [0, 10, 1_000_000])
def test_upload_arrives_with_its_checksum(tmp_path: Path, size: int) -> None:
    path = tmp_path / "a file"
    path.write_bytes(os.urandom(size))
    with running("upload_with_trailers.py", "serve", "127.0.0.1", 0) as port:
        output, _ = run("upload_with_trailers.py", "send", "127.0.0.1", port, path)
    assert output == f"201 {size} bytes, and the checksum is right\n"


def test_upload_is_chunked_with_a_trailer(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"content")
    with ScriptedPeer(replies(b"HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n", after=b"\r\n0\r\n")) as server:
        run("upload_with_trailers.py", "send", "127.0.0.1", server.port, path)
    head, _, body = server.received.partition(b"\r\n\r\n")
    assert b"\r\nTransfer-Encoding: chunked" in head and b"\r\nTrailer: X-SHA256" in head
    assert body == b"7\r\ncontent\r\n0\r\nX-SHA256: %b\r\n\r\n" % sha256(b"content").hexdigest().encode()


def test_upload_that_was_changed_is_noticed() -> None:
    with running("upload_with_trailers.py", "serve", "127.0.0.1", 0) as port:
        head = b"PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
        heard = hear(port, head + b"7\r\nchanged\r\n0\r\nX-SHA256: 00\r\n\r\n")
    assert heard.startswith(b"HTTP/1.1 422 Unprocessable Content\r\n")


# over HTTP/2


@pytest.fixture
def secure(serve: Any, tmp_path: Path) -> tuple[str, dict[str, str]]:
    """The URL of a server that speaks HTTP/2 over TLS, and the environment in which it is trusted."""
    authority = trustme.CA()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("localhost").configure_cert(context)
    context.set_alpn_protocols(["h2", "http/1.1"])
    authority.cert_pem.write_to_path(str(tmp_path / "authority.pem"))
    port = serve(tell_upload, ssl=context)
    return f"https://localhost:{port}/there", {"SSL_CERT_FILE": str(tmp_path / "authority.pem")}


def tell_upload(environ: Any, start_response: Any) -> list[bytes]:
    content = environ["wsgi.input"].read()
    told = [environ[name] for name in ("SERVER_PROTOCOL", "REQUEST_METHOD", "PATH_INFO", "CONTENT_LENGTH")]
    told += [environ.get("CONTENT_TYPE", "no type"), environ.get("HTTP_CONTENT_ENCODING", "no coding")]
    start_response("200 OK", [("X-Digest", sha256(content).hexdigest())])
    return [" ".join(told).encode()]


@pytest.mark.parametrize(
    ("name", "size", "told"),
    [
        ("page.html", 10, "text/html no coding"),
        ("all.tar.gz", 1_000_000, "application/x-tar gzip"),
        ("empty", 0, "no type no coding"),
    ],
)
def test_h2_post_sends_a_file(secure: Any, tmp_path: Path, name: str, size: int, told: str) -> None:
    url, variables = secure
    content = os.urandom(size)
    (tmp_path / name).write_bytes(content)
    output, errors = run("h2_post.py", url, tmp_path / name, **variables)
    head, _, body = output.partition("\n\n")
    assert head.splitlines()[0] == ":status: 200"
    assert f"x-digest: {sha256(content).hexdigest()}" in head.splitlines()
    assert body == f"HTTP/2 POST /there {size} {told}"
    assert errors == ""


def test_h2_post_sends_itself(secure: Any) -> None:
    url, variables = secure
    output, _ = run("h2_post.py", url, **variables)
    assert f"x-digest: {sha256((EXAMPLES / 'h2_post.py').read_bytes()).hexdigest()}\n" in output


def test_h2_post_needs_no_tls_where_http2_is_known(serve: Any) -> None:
    output, _ = run("h2_post.py", f"http://127.0.0.1:{serve(tell_upload)}/there")
    assert "HTTP/2 POST /there" in output


def test_h2_post_says_what_the_server_speaks_instead(serve: Any, tmp_path: Path) -> None:
    authority = trustme.CA()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("localhost").configure_cert(context)
    context.set_alpn_protocols(["http/1.1"])
    authority.cert_pem.write_to_path(str(tmp_path / "authority.pem"))
    url = f"https://localhost:{serve(tell_upload, ssl=context)}/"
    output, errors = run("h2_post.py", url, status=1, SSL_CERT_FILE=str(tmp_path / "authority.pem"))
    assert "does not agree to HTTP/2" in errors
    assert output == ""


def test_h2_post_says_that_a_file_is_not_there(serve: Any, tmp_path: Path) -> None:
    _, errors = run("h2_post.py", f"http://127.0.0.1:{serve(tell_upload)}/", tmp_path / "no file", status=1)
    assert "no file" in errors


@pytest.mark.parametrize(
    ("name", "arguments", "says"),
    [
        ("minimal_client.py", ["http://127.0.0.1:{port}/"], "refused"),
        ("my_http_client.py", ["127.0.0.1", "{port}"], "refused"),
        ("websocket_talk.py", ["ws://127.0.0.1:{port}/"], "refused"),
        ("websocket_talk.py", ["http://127.0.0.1:{port}/"], "begins with 'ws://'"),
        ("upload_with_trailers.py", ["send", "127.0.0.1", "{port}", __file__], "refused"),
        ("upload_with_trailers.py", ["send", "127.0.0.1", "{port}", "no file"], "No such file"),
    ],
)
def test_client_says_in_a_line_that_it_cannot_begin(name: str, arguments: list[str], says: str) -> None:
    with socket.socket() as bound:  # it refuses, and nobody else gets it
        bound.bind(("127.0.0.1", 0))
        port = bound.getsockname()[1]
        _, errors = run(name, *(one.format(port=port) for one in arguments), status=1)
    assert says in errors
    assert errors.count("\n") == 1


def test_those_who_chat_hear_each_other() -> None:
    talk = [sys.executable, str(EXAMPLES / "websocket_talk.py")]
    with running("websocket_chat.py", "127.0.0.1", 0) as port:
        with HttpPool(timeout=GUARD) as pool:
            assert "new WebSocket" in pool.get(f"http://127.0.0.1:{port}/").text
        url = f"ws://127.0.0.1:{port}/chat"
        with pytest.raises(websocket.HandshakeRefused, match="403"):
            websocket.connect(url, origin="https://elsewhere.example")
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        with websocket.connect(url) as ws:
            typing = subprocess.Popen([*talk, url], env=environment(), **pipes)
            typing.stdin.write("gr\u00fcn\n".encode())
            typing.stdin.flush()
            assert ws.receive(GUARD) == "gr\u00fcn"
            ws.send("and black")
            assert [typing.stdout.readline().decode() for _ in range(2)] == ["gr\u00fcn\n", "and black\n"]
            typing.stdin.close()
            assert typing.wait(timeout=GUARD) == 0
            assert typing.stderr.read() == b"closed: 1000\n"
        staying = subprocess.Popen([*talk, url], env=environment(), **pipes)
        staying.stdin.write(b"first\n")
        staying.stdin.flush()
        assert staying.stdout.readline() == b"first\n"
    assert staying.wait(timeout=GUARD) == 0  # although nobody has closed its stdin
    assert staying.stderr.read() == b"closed: 1001\n"
