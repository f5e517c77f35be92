"""What `gruvihttp get` says about servers that do not answer as they should: two lines, and an exit code."""

from __future__ import annotations

import os
import re
import socket
import ssl
import struct
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from threading import Thread
from typing import TypeAlias

import pytest

Run: TypeAlias = Callable[..., "subprocess.CompletedProcess[bytes]"]
Expect: TypeAlias = Callable[["subprocess.CompletedProcess[bytes]", int, str, str], None]

ROOT = Path(__file__).resolve().parents[2]
USAGE, NETWORK = 2, 5


def test_port_that_nobody_listens_on(run: Run, expect: Expect) -> None:
    with socket.socket() as bound:  # it refuses, and nobody else gets it
        bound.bind(("127.0.0.1", 0))
        port = bound.getsockname()[1]
        result = run("get", f"http://127.0.0.1:{port}/")
    expect(result, NETWORK, f"nobody listens at 127.0.0.1:{port}", "start the server, or correct the port")


def test_host_that_does_not_exist(run: Run, expect: Expect) -> None:
    result = run("get", "http://nobody.invalid/")
    expect(result, NETWORK, "there is no host 'nobody.invalid': .*", "check its spelling")


def answer_once(listening: socket.socket, answer: bytes) -> Thread:
    """Accept one connection, read a little, send `answer` and close."""

    def work() -> None:
        with closing(listening.accept()[0]) as sock:
            sock.settimeout(30)
            sock.recv(65536)
            sock.sendall(answer)

    thread = Thread(target=work, daemon=True)
    thread.start()
    return thread


ANSWERS = {
    "not-http": (b"220 mail ESMTP\r\n\r\n", "does not answer with HTTP: .*", "is it a server for HTTP, without TLS.*"),
    "nothing": (b"", ".*", "try again"),
    "half-a-head": (b"HTTP/1.1 200 OK\r\nContent-", "the response ended before it was complete", "try again"),
    "half-a-body": (
        b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n", "the response ended before it was complete", "try again",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("answer", "what", "advice"), ANSWERS.values(), ids=ANSWERS)
def test_answer_that_is_none(run: Run, expect: Expect, answer: bytes, what: str, advice: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = answer_once(listening, answer)
        result = run("get", f"http://127.0.0.1:{listening.getsockname()[1]}/")
        thread.join(30)
    expect(result, NETWORK, rf".*127\.0\.0\.1:\d+.*{what}", advice)


def test_server_that_says_nothing(run: Run, expect: Expect) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        url = f"http://127.0.0.1:{listening.getsockname()[1]}/"
        result = run("get", "--timeout", "100ms", url)
    expect(result, NETWORK, rf"{re.escape(url)}: nothing came for 0\.1 seconds", r"wait longer: --timeout 0\.4")


def test_tls_where_there_is_none(run: Run, expect: Expect) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = answer_once(listening, b"HTTP/1.1 400 Bad Request\r\n\r\n")
        port = listening.getsockname()[1]
        result = run("get", f"https://127.0.0.1:{port}/")
        thread.join(30)
    expect(result, NETWORK, f"127.0.0.1:{port} and we cannot agree on TLS: .*", f".*http://127.0.0.1:{port}")


def test_certificate_that_nobody_vouches_for(run: Run, expect: Expect, certificate: dict[str, str]) -> None:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate["cert"], certificate["key"])

    def shake_hands(listening: socket.socket) -> None:
        with closing(listening.accept()[0]) as sock:
            sock.settimeout(30)
            try:
                context.wrap_socket(sock, server_side=True)
            except ssl.SSLError:
                pass

    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = Thread(target=shake_hands, args=[listening], daemon=True)
        thread.start()
        result = run("get", f"https://127.0.0.1:{listening.getsockname()[1]}/")
        thread.join(30)
    expect(result, NETWORK, "the certificate of .* is not accepted: .*", "name whom to trust.*--insecure")


def test_file_that_cannot_be_written(run: Run, expect: Expect) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = answer_once(listening, b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx")
        result = run("get", "-o", "none/file", f"http://127.0.0.1:{listening.getsockname()[1]}/")
        thread.join(30)
    expect(result, USAGE, "cannot write none/file: No such file or directory", "name another file with -o")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no device that is full")
def test_stdout_that_is_full(expect: Expect) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening, open("/dev/full", "wb") as full:
        thread = answer_once(listening, b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx")
        url = f"http://127.0.0.1:{listening.getsockname()[1]}/"
        command = [sys.executable, "-m", "gruvihttp", "get", url]
        result = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, cwd=ROOT, timeout=40)
        thread.join(30)
    result.stdout = b""
    expect(result, USAGE, "cannot write to stdout: No space left on device", "name a file with -o")


@pytest.mark.parametrize("path", ["none.sock", "none:80", "none/a.sock"])
def test_unix_socket_that_is_not_there(run: Run, expect: Expect, path: str) -> None:
    result = run("get", "--unix-socket", path, "http://localhost/")
    advice = "start the server, or correct --unix-socket"
    expect(result, NETWORK, f"cannot connect to {path}: No such file or directory", advice)


def test_plain_http_where_there_is_tls(run: Run, expect: Expect) -> None:
    def reset(listening: socket.socket) -> None:
        with closing(listening.accept()[0]) as sock:
            sock.settimeout(30)
            sock.recv(65536)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = Thread(target=reset, args=[listening], daemon=True)
        thread.start()
        port = listening.getsockname()[1]
        result = run("get", f"http://127.0.0.1:{port}/")
        thread.join(30)
    advice = f"does it speak TLS\\? https://127.0.0.1:{port}; else try again"
    expect(result, NETWORK, ".*Connection reset by peer", advice)
