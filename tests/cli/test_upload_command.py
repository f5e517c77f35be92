"""`gruvihttp upload`, and what it shares with `get`: methods, content, sockets, authorities, what is told meanwhile."""

from __future__ import annotations

import os
import pty
import socket
import ssl
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from threading import Thread
from typing import Any, TypeAlias

import pytest
import trustme

Run: TypeAlias = Callable[..., "subprocess.CompletedProcess[bytes]"]
GUARD = 40.0
ROOT = str(Path(__file__).resolve().parent.parent.parent)


def gruvihttp(*arguments: str, **options: Any) -> subprocess.CompletedProcess[bytes]:
    options.setdefault("stderr", subprocess.PIPE)
    options.setdefault("env", {**os.environ, "PYTHONPATH": ROOT})
    return subprocess.run(
        [sys.executable, "-P", "-m", "gruvihttp", *arguments], stdout=subprocess.PIPE, timeout=GUARD, **options
    )


class Server:
    """Takes one request on each connection, keeps it, and answers."""

    def __init__(self, listening: socket.socket, answer: bytes, context: ssl.SSLContext | None = None) -> None:
        self.listening = listening
        self.listening.settimeout(GUARD)
        self.received: list[bytes] = []
        self._answer = answer
        self._context = context
        self._closing = False
        self._thread = Thread(target=self._work, daemon=True)
        self._thread.start()

    @property
    def port(self) -> int:
        port: int = self.listening.getsockname()[1]
        return port

    def _work(self) -> None:
        while True:
            sock, _ = self.listening.accept()
            if self._closing:
                sock.close()
                return
            sock.settimeout(GUARD)
            try:
                if self._context is not None:
                    sock = self._context.wrap_socket(sock, server_side=True)
                with closing(sock):
                    self.received.append(receive(sock))
                    sock.sendall(self._answer)
            except OSError:  # a client that does not trust us
                sock.close()

    def close(self) -> None:
        self._closing = True
        with socket.socket(self.listening.family) as waking:
            waking.connect(self.listening.getsockname())
        self._thread.join(GUARD)
        self.listening.close()


def receive(sock: socket.socket) -> bytes:
    received = b""
    while not complete(received):
        piece = sock.recv(65536)
        if not piece:
            break
        received += piece
    return received


def complete(received: bytes) -> bool:
    head, end, content = received.partition(b"\r\n\r\n")
    if b"chunked" in head:
        return content.endswith(b"0\r\n\r\n")
    length = int(head.partition(b"Content-Length: ")[2].partition(b"\r\n")[0] or 0)
    return bool(end) and len(content) >= length


OK = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nConnection: close\r\n\r\nok\n"


@pytest.fixture
def server() -> Iterator[Server]:
    started = Server(socket.create_server(("127.0.0.1", 0)), OK)
    yield started
    started.close()


def test_file_is_sent_with_its_length_and_type(server: Server, tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    path.write_bytes(b"x" * 100_000)
    result = gruvihttp("upload", f"http://127.0.0.1:{server.port}/in", str(path))
    assert (result.returncode, result.stdout, result.stderr) == (0, b"ok\n", b"")
    head, _, content = server.received[0].partition(b"\r\n\r\n")
    assert head.startswith(b"POST /in HTTP/1.1\r\n")
    assert b"\r\nContent-Length: 100000\r\nContent-Type: text/html" in head
    assert content == b"x" * 100_000


@pytest.mark.parametrize("arguments", [[], ["-"]])
def test_stdin_is_sent_in_chunks(server: Server, arguments: list[str]) -> None:
    result = gruvihttp("upload", "-X", "PUT", f"http://127.0.0.1:{server.port}/in", *arguments, input=b"piped")
    assert (result.returncode, result.stdout) == (0, b"ok\n")
    assert server.received[0].startswith(b"PUT /in HTTP/1.1\r\n")
    assert server.received[0].endswith(b"5\r\npiped\r\n0\r\n\r\n")


@pytest.mark.parametrize(("arguments", "says"), [
    pytest.param(["/no/such/file"], b"cannot read /no/such/file: No such file", id="missing"),
    pytest.param(["--http1.0"], b"HTTP/1.0 has no chunked coding", id="chunks-in-1.0"),
    pytest.param(["-X", "CONNECT"], b"CONNECT asks for a tunnel", id="connect"),
])  # fmt: skip
def test_mistakes_take_two_lines(server: Server, arguments: list[str], says: bytes) -> None:
    result = gruvihttp("upload", f"http://127.0.0.1:{server.port}/", *arguments, input=b"piped")
    assert result.returncode == 2
    assert says in result.stderr
    assert result.stderr.count(b"\n") == 2


def test_nobody_listens_is_a_mistake_of_the_network(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"x")
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        result = gruvihttp("upload", f"http://127.0.0.1:{reserved.getsockname()[1]}/", str(path))
    assert result.returncode == 5
    assert result.stderr.startswith(b"gruvihttp: nobody listens at")


# get


@pytest.mark.parametrize(("arguments", "start", "end"), [
    pytest.param(["-X", "DELETE"], b"DELETE / HTTP/1.1\r\n", b"\r\n\r\n", id="method"),
    pytest.param(["-d", "a=b"], b"POST / HTTP/1.1\r\n", b"\r\n\r\na=b", id="data"),
    pytest.param(["-d", "a", "-X", "PUT"], b"PUT / HTTP/1.1\r\n", b"\r\n\r\na", id="data-and-method"),
    pytest.param(["-d", "@-"], b"POST / HTTP/1.1\r\n", b"\r\n\r\npiped", id="stdin"),
    pytest.param(["--http1.0"], b"GET / HTTP/1.0\r\n", b"\r\n\r\n", id="http10"),
])  # fmt: skip
def test_method_and_content_are_sent(server: Server, arguments: list[str], start: bytes, end: bytes) -> None:
    result = gruvihttp("get", f"http://127.0.0.1:{server.port}/", *arguments, input=b"piped")
    assert (result.returncode, result.stdout) == (0, b"ok\n")
    assert server.received[0].startswith(start)
    assert server.received[0].endswith(end)


def test_data_is_a_form_unless_something_else_is_said(server: Server) -> None:
    url = f"http://127.0.0.1:{server.port}/"
    gruvihttp("get", "-d", "a=b", url)
    gruvihttp("get", "-d", "{}", "-H", "content-type: application/json", url)
    assert b"\r\nContent-Type: application/x-www-form-urlencoded\r\n" in server.received[0]
    assert b"urlencoded" not in server.received[1]


def test_what_is_not_safe_to_repeat_is_asked_one_by_one(server: Server) -> None:
    url = f"http://127.0.0.1:{server.port}"
    result = gruvihttp("get", "-d", "x", f"{url}/1", f"{url}/2")
    assert (result.returncode, result.stdout) == (0, b"ok\nok\n")
    assert [one.split()[1] for one in server.received] == [b"/1", b"/2"]


def test_unix_socket_is_asked_with_the_host_of_the_url(tmp_path: Path) -> None:
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(str(tmp_path / "socket"))
    listening.listen()
    server = Server(listening, OK)
    result = gruvihttp("get", "--unix-socket", str(tmp_path / "socket"), "http://a.test/x")
    server.close()
    assert (result.returncode, result.stdout) == (0, b"ok\n")
    assert server.received[0].startswith(b"GET /x HTTP/1.1\r\nHost: a.test\r\n")


def test_authorities_may_be_named(tmp_path: Path) -> None:
    authority = trustme.CA()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("localhost").configure_cert(context)
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    server = Server(socket.create_server(("127.0.0.1", 0)), OK, context)
    url = f"https://localhost:{server.port}/"
    results = [gruvihttp("get", url, *more) for more in ([], ["--cacert", str(tmp_path / "ca.pem")], ["--insecure"])]
    server.close()
    assert [result.returncode for result in results] == [5, 0, 0]
    assert b"--cacert" in results[0].stderr


def test_file_without_authorities_is_a_mistake(server: Server, tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("none")
    for name in ("ca.pem", "missing.pem"):
        result = gruvihttp("get", "--cacert", str(tmp_path / name), f"https://127.0.0.1:{server.port}/")
        assert (result.returncode, result.stderr.count(b"\n")) == (2, 2)


def test_verbose_tells_what_is_sent_and_received_but_no_secret(server: Server) -> None:
    result = gruvihttp("get", "-v", "-H", "Authorization: secret", f"http://127.0.0.1:{server.port}/x")
    told = result.stderr.decode()
    assert result.stdout == b"ok\n"
    assert "> GET /x HTTP/1.1\n" in told
    assert "> Authorization: ...\n" in told
    assert "< HTTP/1.1 200 OK\n" in told
    assert "* complete after" in told
    assert "secret" not in told


def on_a_terminal(*arguments: str, **options: Any) -> tuple[int, bytes]:
    """The exit code, and what a terminal has shown that stderr was."""
    terminal, stderr = pty.openpty()
    shown = bytearray()

    def watch() -> None:
        try:
            while piece := os.read(terminal, 65536):
                shown.extend(piece)
        except OSError:  # Linux says so at the end
            pass

    watching = Thread(target=watch)
    watching.start()
    environment = {**os.environ, "PYTHONPATH": ROOT}
    process = subprocess.run(
        [sys.executable, "-P", "-m", "gruvihttp", *arguments], stderr=stderr, timeout=GUARD, env=environment, **options
    )
    os.close(stderr)
    watching.join(GUARD)
    os.close(terminal)
    return process.returncode, bytes(shown)


@pytest.mark.parametrize("size", [100, 2 << 20])
@pytest.mark.parametrize("where", ["-o", ">"])
def test_long_transfer_shows_how_far_it_is_on_a_terminal(tmp_path: Path, where: str, size: int) -> None:
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n" % size + b"x" * size
    server = Server(socket.create_server(("127.0.0.1", 0)), answer)
    output = tmp_path / "output"
    url = f"http://127.0.0.1:{server.port}/"
    with output.open("wb") as stdout:
        arguments = ["-o", str(output)] if where == "-o" else []
        code, shown = on_a_terminal("get", url, *arguments, stdout=stdout)
    server.close()
    assert (code, output.stat().st_size) == (0, size)
    assert (b"100%" in shown) == (size > 1 << 20)


def test_long_transfer_into_a_pipe_shows_nothing() -> None:
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (2 << 20) + b"x" * (2 << 20)
    server = Server(socket.create_server(("127.0.0.1", 0)), answer)
    assert on_a_terminal("get", f"http://127.0.0.1:{server.port}/", stdout=subprocess.PIPE) == (0, b"")
    server.close()


def test_long_upload_shows_how_far_it_is_on_a_terminal(server: Server, tmp_path: Path) -> None:
    path = tmp_path / "large.txt"
    path.write_bytes(b"x" * (2 << 20))
    code, shown = on_a_terminal("upload", f"http://127.0.0.1:{server.port}/", str(path), stdout=subprocess.PIPE)
    assert code == 0
    assert b"100%" in shown
    assert b"\r\nContent-Length: 2097152\r\n" in server.received[0]
    assert b"\r\nContent-Type: text/plain\r\n" in server.received[0]


def test_timeout_ends_it_and_says_how_to_wait_longer() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        result = gruvihttp("get", "--timeout", "0.1", f"http://127.0.0.1:{silent.getsockname()[1]}/")
    assert result.returncode == 5
    assert b"nothing came for 0.1 seconds" in result.stderr
    assert b"--timeout 0.4" in result.stderr
