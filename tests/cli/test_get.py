"""`gruvihttp get`: what it writes, in which order, over how many connections, and its exit code."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from threading import Thread
from typing import Any, TypeAlias

import pytest

Run: TypeAlias = Callable[..., "subprocess.CompletedProcess[bytes]"]
Serve: TypeAlias = Callable[..., Any]  # Any: the fixture's Served
GUARD = 40.0

# A server that tells each request which connection it came on
APP = """
connections = []

def app(environ, start_response):
    peer = environ["REMOTE_PORT"]
    if peer not in connections:
        connections.append(peer)
    path, _, query = environ["PATH_INFO"].partition("?")
    status = "404 Not Found" if path == "/none" else "200 OK"
    headers = [("Content-Type", "text/plain")]
    if path == "/last":
        headers.append(("Connection", "close"))
    start_response(status, headers)
    if path == "/large":
        return [b"x" * 65536] * 64
    if path == "/fields":
        return [repr(sorted(item for item in environ.items() if item[0].startswith("HTTP_"))).encode()]
    return [f"{path} on {len(connections)}\\n".encode()]
"""


@pytest.fixture
def base(serve: Serve) -> str:
    return f"http://127.0.0.1:{serve('hello', files={'hello.py': APP}).port}"


def test_content_goes_to_stdout(run: Run, base: str) -> None:
    result = run("get", f"{base}/a")
    assert (result.returncode, result.stdout, result.stderr) == (0, b"/a on 1\n", b"")


def test_several_urls_of_one_server_take_one_connection(run: Run, base: str) -> None:
    result = run("get", *(f"{base}/{number}" for number in range(50)))
    assert result.stdout.decode() == "".join(f"/{number} on 1\n" for number in range(50))


class Scripted:
    """A server that waits for `expected` requests before it says anything, and sends all of `answers` together."""

    def __init__(self, *rounds: tuple[int, bytes]) -> None:
        self.listening = socket.create_server(("127.0.0.1", 0))
        self.listening.settimeout(GUARD)
        self.url = f"http://127.0.0.1:{self.listening.getsockname()[1]}"
        self.received: list[bytes] = []
        self._rounds = rounds
        self._thread = Thread(target=self._work, daemon=True)
        self._thread.start()

    def _work(self) -> None:
        for expected, answers in self._rounds:
            sock, _ = self.listening.accept()
            with closing(sock):
                sock.settimeout(GUARD)
                received = b""
                while received.count(b"\r\n\r\n") < expected:
                    received += sock.recv(65536)
                self.received.append(received)
                sock.sendall(answers)

    def close(self) -> None:
        self._thread.join(GUARD)
        self.listening.close()


@pytest.fixture
def scripted() -> Iterator[Callable[..., Scripted]]:
    started: list[Scripted] = []

    def start(*rounds: tuple[int, bytes]) -> Scripted:
        started.append(Scripted(*rounds))
        return started[-1]

    yield start
    for server in started:
        server.close()


def answer(content: bytes, *fields: bytes) -> bytes:
    return b"\r\n".join([b"HTTP/1.1 200 OK", b"Content-Length: %d" % len(content), *fields, b"", content])


def test_requests_leave_before_the_first_answer(run: Run, scripted: Callable[..., Scripted]) -> None:
    server = scripted((3, answer(b"1") + answer(b"2") + answer(b"3")))
    result = run("get", *(f"{server.url}/{number}" for number in "123"))
    assert (result.returncode, result.stdout) == (0, b"123")
    assert re.findall(rb"GET (\S+) HTTP/1.1\r\n", server.received[0]) == [b"/1", b"/2", b"/3"]


CLOSING = {
    "announced": answer(b"1", b"Connection: close"),
    "silently": answer(b"1"),
}


@pytest.mark.parametrize("first", CLOSING.values(), ids=CLOSING)
def test_rest_is_asked_for_again_when_a_server_closes(
    run: Run, scripted: Callable[..., Scripted], first: bytes
) -> None:
    server = scripted((3, first), (2, answer(b"2") + answer(b"3")))
    result = run("get", *(f"{server.url}/{number}" for number in "123"))
    assert (result.returncode, result.stdout, result.stderr) == (0, b"123", b"")


def test_order_is_that_of_the_urls_across_servers(run: Run, scripted: Callable[..., Scripted]) -> None:
    first, second = scripted((1, answer(b"1")), (1, answer(b"3"))), scripted((1, answer(b"2")))
    result = run("get", f"{first.url}/", f"{second.url}/", f"{first.url}/")
    assert result.stdout == b"123"


def test_head_is_written_when_asked_for(run: Run, scripted: Callable[..., Scripted]) -> None:
    hint = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"
    server = scripted((1, hint + answer(b"x", b"Set-Cookie: a", b"Set-Cookie: b")))
    result = run("get", "-i", f"{server.url}/")
    assert result.stdout == hint + answer(b"x", b"Set-Cookie: a", b"Set-Cookie: b")


def test_fields_are_sent(run: Run, base: str) -> None:
    result = run("get", "-H", "Accept: text/html", "--header", "X-One:1", "-H", "User-Agent: me", f"{base}/fields")
    fields = dict(eval(result.stdout))
    assert fields["HTTP_ACCEPT"] == "text/html"
    assert fields["HTTP_X_ONE"] == "1"
    assert fields["HTTP_USER_AGENT"] == "me"


def test_field_that_may_not_be_sent_is_a_mistake(run: Run, base: str) -> None:
    result = run("get", "-H", "Transfer-Encoding: chunked", f"{base}/")
    first, second = result.stderr.decode().splitlines()
    assert result.returncode == 2
    assert first.startswith(f"gruvihttp: cannot ask for {base}/: Transfer-Encoding ")
    assert second == "  check the fields given with -H"


def test_content_goes_to_a_file(run: Run, base: str, tmp_path: Path) -> None:
    result = run("get", "-o", "out", f"{base}/large", f"{base}/a")
    assert (result.returncode, result.stdout) == (0, b"")
    assert (tmp_path / "out").read_bytes() == b"x" * (64 * 65536) + b"/a on 1\n"


def test_status_of_failure_is_a_response_like_others(run: Run, base: str) -> None:
    result = run("get", f"{base}/none")
    assert (result.returncode, result.stdout, result.stderr) == (0, b"/none on 1\n", b"")


def test_status_of_failure_fails_when_asked_to(run: Run, base: str) -> None:
    result = run("get", "--fail", f"{base}/none", f"{base}/a")
    assert (result.returncode, result.stdout) == (22, b"/none on 1\n/a on 1\n")
    assert result.stderr.decode() == f"gruvihttp: {base}/none was answered with 404 Not Found\n"


def test_what_was_fetched_before_a_failure_is_written(run: Run, base: str) -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        result = run("get", f"{base}/a", f"http://127.0.0.1:{bound.getsockname()[1]}/", f"{base}/b")
    assert (result.returncode, result.stdout) == (5, b"/a on 1\n")


def test_https_is_verified_with_a_named_authority(run: Run, serve: Serve, certificate: dict[str, str]) -> None:
    served = serve("--tls-cert", certificate["cert"], "--tls-key", certificate["key"])
    result = run("get", f"https://localhost:{served.port}/x", SSL_CERT_FILE=certificate["ca"])
    if b"nobody listens" in result.stderr:  # localhost is an IPv6 address only
        pytest.skip("localhost is not 127.0.0.1 here")
    assert json.loads(result.stdout)["target"] == "/x"


def test_https_is_not_verified_when_told_so(run: Run, serve: Serve, certificate: dict[str, str]) -> None:
    served = serve("--tls-cert", certificate["cert"], "--tls-key", certificate["key"])
    result = run("get", "--insecure", f"{served.places}/x", f"{served.places}/y")
    assert result.stdout.count(b'"target": ') == 2


def popen(base: str, directory: Path, **kwargs: Any) -> subprocess.Popen[bytes]:
    root = Path(__file__).resolve().parent.parent.parent
    return subprocess.Popen(
        [sys.executable, "-m", "gruvihttp", "get", f"{base}/large", f"{base}/large"],
        cwd=directory, env={**os.environ, "PYTHONPATH": str(root)}, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        **kwargs,
    )  # fmt: skip


def test_reader_that_has_had_enough_ends_it_quietly(base: str, tmp_path: Path) -> None:
    with popen(base, tmp_path) as process:
        assert process.stdout is not None and process.stderr is not None
        assert process.stdout.read(10) == b"x" * 10
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(GUARD) == 1


def test_interrupt_ends_it_quietly(base: str, tmp_path: Path) -> None:
    heed = lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)  # noqa: E731  # tests may run in the background
    with popen(base, tmp_path, preexec_fn=heed) as process:
        assert process.stdout is not None and process.stderr is not None
        assert process.stdout.read(10) == b"x" * 10  # and then it waits for us
        process.send_signal(signal.SIGINT)
        process.stdout.read()
        assert process.stderr.read().strip() == b""
        assert process.wait(GUARD) == 130
