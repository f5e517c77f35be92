"""What the tests of the client share: scripted servers, connected clients, and two ways for bytes to arrive.

The servers are bare sockets that record what they hear and say what the test tells them. A test that uses `say` runs
twice: what is said arrives in one piece, and byte by byte.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, TypeAlias

import gevent
import pytest
from server_fixtures import authority, client_tls, server_tls  # noqa: F401  # fixtures

from gruvihttp import HttpClient, TransportError
from gruvihttp.testing import RawPeer, Script, ScriptedPeer

ROOT = Path(__file__).resolve().parents[2]
GUARD_SECONDS = 10.0

Say: TypeAlias = Callable[[RawPeer, bytes], None]
Serve: TypeAlias = Callable[..., ScriptedPeer]
Connect: TypeAlias = Callable[..., HttpClient]
Wire: TypeAlias = Callable[..., bytes]


@pytest.fixture(params=["whole", "bytes"])
def say(request: pytest.FixtureRequest) -> Say:
    """How the server says something: all at once, or one byte at a time."""
    if request.param == "whole":
        return RawPeer.send
    return RawPeer.send_in_pieces


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Starts a server that runs a script for each connection; see `ScriptedPeer`."""
    peers: list[ScriptedPeer] = []

    def start(*scripts: Script, **options: Any) -> ScriptedPeer:
        peers.append(ScriptedPeer(*scripts, **options))
        return peers[-1]

    yield start
    for peer in peers:
        peer.close()


@pytest.fixture
def connect(serve: Serve) -> Iterator[Connect]:
    """Connects a client to a scripted server, or to what has an `address`. Options are HttpClient's."""
    clients: list[HttpClient] = []

    def make(target: Any, **options: Any) -> HttpClient:
        peer = serve(target) if callable(target) else target
        options.setdefault("timeout", GUARD_SECONDS)
        client = HttpClient(**options)
        client.connect(peer.address)
        clients.append(client)
        return client

    yield make
    for client in clients:
        client.close()


@pytest.fixture
def wire(serve: Serve) -> Wire:
    """Lets a function use a client, closes the client, and returns every byte that the server has heard."""

    def heard(act: Callable[[HttpClient], object], **options: Any) -> bytes:
        with serve(RawPeer.read_to_end) as peer:
            with HttpClient(GUARD_SECONDS, **options) as client:
                client.connect(peer.address)
                act(client)
            peer.wait_for_connections()
            peer.wait()
            return peer.received

    return heard


@pytest.fixture
def ticks() -> Iterator[list[int]]:
    """A list that grows each time the hub gets its turn."""
    counted: list[int] = []

    def tick() -> None:
        while True:
            counted.append(len(counted))
            gevent.sleep(0)

    ticking = gevent.spawn(tick)
    yield counted
    ticking.kill()


# servers that are processes of their own

NGINX = shutil.which("nginx", path=os.pathsep.join((os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin")))

CONFIGURATION = """
daemon off; master_process off; worker_processes 1; pid {directory}/pid; error_log stderr crit;
events {{ worker_connections 64; }}
http {{
    access_log off;
    client_body_temp_path {directory}/body; proxy_temp_path {directory}/proxy; fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi; scgi_temp_path {directory}/scgi;
    client_max_body_size 1m;
    server {{
        listen unix:{directory}/socket;
        default_type text/plain;
        root {directory}/files;
        keepalive_requests 100;
        location /hello {{ return 200 "Hello, World!\\n"; }}
        location /empty {{ return 204; }}
        location /moved {{ return 301 /hello; }}
        location /upload {{ proxy_pass http://unix:{directory}/socket:/hello; }}
    }}
    server {{
        listen unix:{directory}/patient;
        default_type text/plain;
        root {directory}/files;
        keepalive_requests 100000;
        location /upload {{
            proxy_pass http://unix:{directory}/patient:/64-kib; proxy_method GET;
            proxy_pass_request_body off; proxy_set_header Content-Length "";
        }}
    }}
}}
"""


@contextmanager
def running(command: list[str], **options: Any) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(command, text=True, **options)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


@pytest.fixture
def start() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts a Python program in a process of its own, which ends with the test; what it prints can be read."""
    with ExitStack() as stack:

        def start(program: str, *arguments: str) -> subprocess.Popen[str]:
            command = [sys.executable, "-c", program, *arguments]
            environment = {**os.environ, "PYTHONPATH": str(ROOT)}
            return stack.enter_context(running(command, stdout=subprocess.PIPE, env=environment))

        yield start


@pytest.fixture(scope="session")
def nginx(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The Unix socket of an nginx. Beside it ``patient``, which closes nothing and answers uploads with 64 KiB."""
    if NGINX is None:
        pytest.skip("nginx is not installed")
    directory = tmp_path_factory.mktemp("nginx")
    (directory / "files").mkdir()
    (directory / "files" / "large").write_bytes(bytes(range(256)) * 8192)
    (directory / "files" / "64-kib").write_bytes(b"x" * 65536)
    (directory / "nginx.conf").write_text(CONFIGURATION.format(directory=directory))
    command = [NGINX, "-p", str(directory), "-e", "stderr", "-c", str(directory / "nginx.conf")]
    address = str(directory / "socket")
    with running(command):
        with gevent.Timeout(10):
            while not is_listening(address):
                gevent.sleep(0.01)
        yield address


def is_listening(address: Any) -> bool:
    try:
        HttpClient(timeout=10).connect(address)
    except TransportError:
        return False
    return True
