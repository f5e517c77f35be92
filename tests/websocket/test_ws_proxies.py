"""WebSockets through nginx and HAProxy, which are told what the how-to tells them."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gevent
import pytest
from gevent import socket
from gevent import subprocess as gevent_subprocess

from gruvihttp import HttpServer, websocket

GUARD = 20.0

NGINX = """
{user} daemon off; pid {directory}/pid; error_log stderr; worker_processes 1;
events {{ worker_connections 64; }}
http {{
    access_log off;
    client_body_temp_path {directory}/b; proxy_temp_path {directory}/p; fastcgi_temp_path {directory}/f;
    uwsgi_temp_path {directory}/u; scgi_temp_path {directory}/s;
    map $http_upgrade $connection_upgrade {{ default upgrade; '' ''; }}
    server {{
        listen unix:{directory}/front;
        location / {{
            proxy_pass http://unix:{directory}/back;
            proxy_http_version 1.1;
            proxy_set_header Host $http_host;
            proxy_set_header Upgrade $http_upgrade;
            proxy_set_header Connection $connection_upgrade;
        }}
    }}
}}
"""

HAPROXY = """
defaults
    mode http
    timeout connect 5s
    timeout client 30s
    timeout server 30s
    timeout tunnel 1h
listen test
    bind unix@{directory}/front
    server ours unix@{directory}/back
"""


def application(environ: Any, start_response: Any) -> list[bytes]:
    for message in (ws := websocket.accept(environ, compress=True)):
        ws.send(message)
    return []


@pytest.fixture
def server(tmp_path: Path) -> Iterator[HttpServer]:
    made = HttpServer(application)
    made.listen(str(tmp_path / "back"))
    yield made
    made.close(0)


@pytest.fixture(params=["nginx", "haproxy"])
def url(request: pytest.FixtureRequest, tmp_path: Path, server: HttpServer) -> Iterator[str]:
    """A proxy before the server."""
    program = shutil.which(request.param, path=f"{os.environ['PATH']}:/usr/sbin")
    if program is None:
        pytest.skip(f"{request.param} is not installed")
    configuration = tmp_path / "configuration"
    user = "user root;" if os.geteuid() == 0 else ""  # else its workers are somebody who cannot come in here
    text = NGINX if request.param == "nginx" else HAPROXY
    configuration.write_text(text.format(directory=tmp_path, user=user))
    options = ["-c", str(configuration)] if request.param == "nginx" else ["-db", "-f", str(configuration)]
    proxy = gevent_subprocess.Popen([program, *options], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    front = str(tmp_path / "front")
    with gevent.Timeout(GUARD):
        while not _listens(front):
            gevent.sleep(0.01)
    yield f"ws+unix://{front.replace('/', '%2F')}/chat"
    proxy.kill()
    proxy.wait()


def _listens(path: str) -> bool:
    with socket.socket(socket.AF_UNIX) as sock:
        try:
            sock.connect(path)
        except OSError:
            return False
    return True


@pytest.mark.parametrize("compress", [False, True], ids=["plain", "compressed"])
def test_messages_pass(url: str, compress: bool) -> None:
    with websocket.connect(url, compress=compress) as ws:
        assert ws.compressed is compress
        for message in ("t\u00e9xt", b"bytes", "x" * 300_000):
            ws.send(message)
            assert ws.receive(GUARD) == message
    assert ws.code == 1000


def test_client_hears_that_the_server_stops(url: str, server: HttpServer) -> None:
    ws = websocket.connect(url)
    ws.send("here")
    assert ws.receive(GUARD) == "here"
    server.drain()
    assert (ws.receive(GUARD), ws.code) == (None, 1001)
    assert server.join(GUARD)
