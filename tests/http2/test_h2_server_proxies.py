"""Proxies that speak HTTP/2: HAProxy to our server on both sides, nginx to its clients only, as it can no more."""

from __future__ import annotations

import re
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gevent
import pytest
from gevent import subprocess
from tools import needs, run

from gruvihttp.errors import TransportError
from gruvihttp.server import HttpServer
from gruvihttp.testing import RawPeer

GUARD = 60.0
CONTENT = bytes(range(256)) * 4000


def echo(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
    """Answers with the content, or with the version."""
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [environ["wsgi.input"].read() or environ["SERVER_PROTOCOL"].encode()]


@pytest.fixture
def server() -> Iterator[HttpServer]:
    server = HttpServer(echo)
    server.listen(("127.0.0.1", 0))
    yield server
    server.close(0)


@pytest.fixture
def haproxy(server: HttpServer, tmp_path: Path) -> Iterator[Callable[[str], str]]:
    """Starts HAProxy before our server, which it talks to in HTTP/2; its URL."""
    running: list[Any] = []

    def start(version: str) -> str:
        listening = socket.create_server(("127.0.0.1", 0))
        configuration = tmp_path / "haproxy.cfg"
        configuration.write_text(
            f"""
global
    maxconn 1000
defaults
    mode http
    timeout connect 10s
    timeout client 30s
    timeout server 30s
listen test
    bind fd@{listening.fileno()} proto {version}
    http-reuse always
    server ours 127.0.0.1:{server.address[1]} proto h2
"""
        )
        command = ["haproxy", "-db", "-f", str(configuration)]
        process = subprocess.Popen(command, pass_fds=[listening.fileno()], stdout=subprocess.DEVNULL)
        running.append((process, listening))
        return f"http://127.0.0.1:{listening.getsockname()[1]}"

    yield start
    for process, listening in running:
        ended = process.poll()
        process.kill()
        process.wait(timeout=GUARD)
        listening.close()
        assert ended is None


@pytest.fixture
def nginx(server: HttpServer, tmp_path: Path) -> Iterator[str]:
    """The Unix socket of an nginx before our server, which speaks nothing but HTTP/2 with its clients."""
    path = tmp_path / "nginx.sock"
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    temporary = "".join(f"{kind}_temp_path {tmp_path}/{kind};\n" for kind in kinds)
    (tmp_path / "nginx.conf").write_text(
        f"""
daemon off; master_process off; pid {tmp_path}/nginx.pid; error_log stderr crit;
events {{ worker_connections 64; }}
http {{
    access_log off;
    keepalive_requests 100000;
    {temporary}
    upstream ours {{ server 127.0.0.1:{server.address[1]}; keepalive 8; }}
    server {{
        listen unix:{path} http2;
        location / {{
            proxy_pass http://ours;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
        }}
    }}
}}
"""
    )
    command = ["nginx", "-p", str(tmp_path), "-c", str(tmp_path / "nginx.conf"), "-e", "stderr"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    with gevent.Timeout(GUARD):
        while not _accepts(str(path)):
            assert process.poll() is None
            gevent.sleep(0.01)
    yield str(path)
    process.kill()
    process.wait(timeout=GUARD)


def _accepts(path: str) -> bool:
    try:
        RawPeer.connect(path).close()
    except TransportError:
        return False
    return True


@needs("haproxy")
@needs("curl")
def test_haproxy_speaks_http2_with_us_for_clients_that_do_not(
    haproxy: Callable[[str], str], tmp_path: Path
) -> None:
    url = haproxy("h1")
    file = tmp_path / "content"
    file.write_bytes(CONTENT)
    assert run("curl", "-sSf", url) == b"HTTP/2"
    assert run("curl", "-sSf", "--data-binary", f"@{file}", url) == CONTENT


@needs("haproxy")
@needs("h2load")
def test_haproxy_mixes_the_streams_of_many_clients(haproxy: Callable[[str], str], server: HttpServer) -> None:
    said = run("h2load", "-n", 1000, "-c", 4, "-m", 25, haproxy("h2") + "/").decode()
    assert "1000 succeeded, 0 failed, 0 errored, 0 timeout" in said
    assert server.stats()["accepted"] <= 4


@needs("nginx")
@needs("h2load")
def test_nginx_spreads_streams_over_connections(nginx: str, server: HttpServer) -> None:
    said = run("h2load", "-n", 1000, "-c", 2, "-m", 10, f"--base-uri=unix:{nginx}", "http://localhost/").decode()
    assert "1000 succeeded, 0 failed, 0 errored, 0 timeout" in said
    assert re.search(r"status codes: 1000 2xx", said)
    assert server.stats()["requests"] == 1000
