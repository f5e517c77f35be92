"""`gruvihttp get --http2` and `gruvihttp upload --http2`."""

from __future__ import annotations

import os
import ssl
import sys
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
import trustme
from gevent import subprocess

from gruvihttp import HttpServer

GUARD = 40.0
ROOT = str(Path(__file__).resolve().parent.parent.parent)


def gruvihttp(*arguments: str, **options: Any) -> Any:
    """Runs the command while our servers in this process go on."""
    command = [sys.executable, "-P", "-m", "gruvihttp", *arguments]
    options = {"capture_output": True, "timeout": GUARD, "env": {**os.environ, "PYTHONPATH": ROOT}, **options}
    return subprocess.run(command, **options)


def application(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    content = environ["wsgi.input"].read()
    if environ["PATH_INFO"] == "/large":
        start_response("200 OK", [])
        return [b"x" * 2_000_000]
    if environ["PATH_INFO"] == "/missing":
        start_response("404 Not Found", [])
        return [b"no"]
    told = f"{environ['SERVER_PROTOCOL']} {environ['REQUEST_METHOD']} {environ['PATH_INFO']}"
    start_response("200 OK", [("X-Length", environ.get("CONTENT_LENGTH", "none"))])
    return [f"{told} {sha256(content).hexdigest()[:8] if content else '-'}\n".encode()]


@pytest.fixture
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def urls(authority: trustme.CA) -> Iterator[dict[str, str]]:
    """The URLs of a server by scheme; ``old`` speaks no HTTP/2."""
    contexts = []
    for alpn in (["h2", "http/1.1"], ["http/1.1"]):
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        authority.issue_cert("localhost").configure_cert(context)
        context.set_alpn_protocols(alpn)
        contexts.append(context)
    server = HttpServer(application)
    server.listen(("127.0.0.1", 0))
    server.listen(("127.0.0.1", 0), contexts[0])
    server.listen(("127.0.0.1", 0), contexts[1])
    ports = [address[1] for address in server.addresses]
    yield {
        "http": f"http://localhost:{ports[0]}",
        "https": f"https://localhost:{ports[1]}",
        "old": f"https://localhost:{ports[2]}",
    }
    server.close(0)


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_get_speaks_http2(urls: dict[str, str], scheme: str) -> None:
    done = gruvihttp("get", "--http2", "-k", "-i", "-v", f"{urls[scheme]}/a")
    head, _, content = done.stdout.partition(b"\r\n\r\n")
    assert head.splitlines()[0] == b"HTTP/2 200"
    assert content == b"HTTP/2 GET /a -\n"
    assert b"> GET /a HTTP/2\n" in done.stderr
    assert done.returncode == 0


def test_get_trusts_who_is_named(urls: dict[str, str], authority: trustme.CA, tmp_path: Path) -> None:
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    done = gruvihttp("get", "--http2", "--cacert", str(tmp_path / "ca.pem"), f"{urls['https']}/a")
    assert done.stdout == b"HTTP/2 GET /a -\n"
    environment = {**os.environ, "PYTHONPATH": ROOT, "SSL_CERT_FILE": str(tmp_path / "ca.pem")}
    done = gruvihttp("get", "--http2", f"{urls['https']}/a", env=environment)
    assert done.stdout == b"HTTP/2 GET /a -\n"


def test_get_speaks_http1_unless_told(urls: dict[str, str]) -> None:
    assert gruvihttp("get", "-k", f"{urls['https']}/a").stdout == b"HTTP/1.1 GET /a -\n"


def test_get_fetches_more_and_larger_ones_than_there_are_streams(urls: dict[str, str]) -> None:
    paths = ["/a", "/large"] * 60 + ["/missing"]
    done = gruvihttp("get", "--http2", "-f", *(urls["http"] + path for path in paths))
    assert len(done.stdout) == 60 * (len(b"HTTP/2 GET /a -\n") + 2_000_000) + 2
    assert done.returncode == 22, done.stderr


@pytest.mark.parametrize("source", ["file", "stdin"])
def test_upload_speaks_http2(urls: dict[str, str], tmp_path: Path, source: str) -> None:
    content = os.urandom(500_000)
    path = tmp_path / "file"
    path.write_bytes(content)
    arguments = [f"{urls['http']}/up", *([str(path)] if source == "file" else [])]
    done = gruvihttp("upload", "--http2", "-i", *arguments, input=content if source == "stdin" else None)
    head, _, told = done.stdout.partition(b"\r\n\r\n")
    assert told == f"HTTP/2 POST /up {sha256(content).hexdigest()[:8]}\n".encode()
    assert (b"x-length: 500000" in head) == (source == "file")


@pytest.mark.parametrize("command", ["get", "upload"])
def test_server_without_http2_is_named(urls: dict[str, str], command: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"content")
    file = [str(tmp_path / "file")] if command == "upload" else []
    done = gruvihttp(command, "--http2", "-k", f"{urls['old']}/", *file)
    assert (done.returncode, done.stdout) == (5, b"")
    assert b"does not agree to HTTP/2" in done.stderr
    assert b"leave out --http2" in done.stderr
    assert b"Traceback" not in done.stderr


def test_two_versions_at_once_are_a_mistake() -> None:
    done = gruvihttp("get", "--http2", "--http1.0", "http://localhost/")
    assert done.returncode == 2
    assert b"exclude each other" in done.stderr
