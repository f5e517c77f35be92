"""`gruvihttp serve` in a process: what it loads and when, where it listens, how it ends."""

from __future__ import annotations

import http.client
import json
import re
import shutil
import signal
import socket
import ssl
import subprocess
import urllib.request
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any, TypeAlias

import pytest

Run: TypeAlias = Callable[..., "subprocess.CompletedProcess[bytes]"]
Serve: TypeAlias = Callable[..., Any]  # Any: the fixture's Served

GUARD = 40.0

HELLO = """
def {name}(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"from {name}"]
"""

FLASK = """
from flask import Flask, jsonify, request

app = Flask(__name__)


@app.get("/price/<item>")
def price(item):
    return {"item": item, "price": len(item)}


@app.post("/order")
def order():
    return f"{len(request.get_data())} bytes"


@app.get("/stream")
def stream():
    return (f"{number}\\n" for number in range(3)), {"Content-Type": "text/plain"}
"""


def fetch(port: int, target: str = "/", **kwargs: Any) -> bytes:
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=GUARD)) as connection:
        connection.request(kwargs.pop("method", "GET"), target, **kwargs)
        return connection.getresponse().read()


# what is served

SPECS = {
    "module-and-name": ("hello:site", HELLO.format(name="site"), "hello:site", b"from site"),
    "app": ("hello", HELLO.format(name="app"), "hello:app", b"from app"),
    "application": ("hello", HELLO.format(name="application"), "hello:application", b"from application"),
    "app-is-preferred": (
        "hello",
        HELLO.format(name="application") + HELLO.format(name="app"),
        "hello:app",
        b"from app",
    ),
    "create_app": (
        "hello",
        HELLO.format(name="_inner") + "def create_app(config=None):\n    return _inner\n",
        "hello:create_app()",
        b"from _inner",
    ),
    "factory": (
        "hello:make()",
        HELLO.format(name="inner") + "make = lambda: inner\n",
        "hello:make()",
        b"from inner",
    ),
    "attribute-of-attribute": (
        "hello:shop.site",
        HELLO.format(name="inner") + "class shop:\n    site = staticmethod(inner)\n",
        "hello:shop.site",
        b"from inner",
    ),
    "app-that-is-no-application": (
        "hello",
        HELLO.format(name="application") + "app = None\n",
        "hello:application",
        b"from application",
    ),
}


@pytest.mark.parametrize(("spec", "source", "name", "answer"), SPECS.values(), ids=SPECS)
def test_application_is_found(serve: Serve, spec: str, source: str, name: str, answer: bytes) -> None:
    served = serve(spec, files={"hello.py": source})
    assert served.name == name
    assert fetch(served.port) == answer


def test_application_is_found_in_a_package(serve: Serve) -> None:
    served = serve("shop.web:app", files={"shop/__init__.py": "", "shop/web.py": HELLO.format(name="app")})
    assert fetch(served.port) == b"from app"


def test_application_is_named_by_the_environment(serve: Serve) -> None:
    served = serve(files={"hello.py": HELLO.format(name="app")}, GRUVIHTTP_SERVE_APP="hello:app")
    assert served.name == "hello:app"


class TestFlask:
    def test_urllib_gets_json(self, serve: Serve) -> None:
        served = serve("shop:app", files={"shop.py": FLASK})
        with urllib.request.urlopen(f"http://127.0.0.1:{served.port}/price/tea", timeout=GUARD) as response:
            assert response.headers["Content-Type"] == "application/json"
            assert json.load(response) == {"item": "tea", "price": 3}

    @pytest.mark.skipif(shutil.which("curl") is None, reason="no curl")
    def test_curl_posts_and_streams_on_one_connection(self, serve: Serve, tmp_path: Path) -> None:
        served = serve("shop:app", files={"shop.py": FLASK, "upload": "x" * 100_000})
        base = f"http://127.0.0.1:{served.port}"
        result = subprocess.run(
            [
                *("curl", "-sS", "--write-out", " %{num_connects}\n"),
                *("--data-binary", f"@{tmp_path / 'upload'}", f"{base}/order", "--next", "-sS"),
                *("--write-out", " %{num_connects}\n", f"{base}/stream"),
            ],
            capture_output=True,
            timeout=GUARD,
        )
        assert result.stdout.decode() == "100000 bytes 1\n0\n1\n2\n 0\n"


# monkey-patching

PATCHED = """
import socket, ssl, threading, time
from gevent import monkey

seen = [monkey.is_module_patched(name) for name in ("socket", "ssl", "threading", "time")]
# recurses for ever where ssl was imported first and patched later
context = ssl.create_default_context()
context.minimum_version = ssl.TLSVersion.TLSv1_2
class Context(ssl.SSLContext):
    pass
Context(ssl.PROTOCOL_TLS_CLIENT).options |= ssl.OP_NO_COMPRESSION
import requests

def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [str(seen).encode()]
"""


def test_application_is_imported_into_a_patched_process_without_a_warning(serve: Serve) -> None:
    served = serve("hello", files={"hello.py": PATCHED}, PYTHONWARNINGS="always::RuntimeWarning")
    assert fetch(served.port) == b"[True, True, True, True]"
    assert served.end() == (0, "")


def test_nothing_is_patched_on_request(serve: Serve) -> None:
    served = serve("--no-patch", "hello", files={"hello.py": PATCHED})
    assert fetch(served.port) == b"[False, False, False, False]"


COLLECTED = """
import gc

def app(environ, start_response):
    start_response("200 OK", [])
    return [b"%d" % (gc.get_freeze_count() > 1000)]
"""


@pytest.mark.parametrize("options", [[], ["--workers", "1"]], ids=["alone", "worker"])
def test_garbage_collector_is_spared_what_has_been_loaded(serve: Serve, options: list[str]) -> None:
    served = serve(*options, "hello", files={"hello.py": COLLECTED})
    assert fetch(served.port) == b"1"


WAITING = """
import threading

arrived = threading.Barrier(2)

def app(environ, start_response):
    arrived.wait(30)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"both"]
"""


def test_requests_that_wait_for_each_other_are_served_together(serve: Serve) -> None:
    served = serve("hello", files={"hello.py": WAITING})
    connections = [http.client.HTTPConnection("127.0.0.1", served.port, timeout=GUARD) for _ in range(2)]
    for connection in connections:
        connection.request("GET", "/")
    assert [connection.getresponse().read() for connection in connections] == [b"both", b"both"]
    for connection in connections:
        connection.close()


# where it listens


def test_banner_is_one_line_with_a_url(serve: Serve) -> None:
    served = serve()
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+", served.places)
    assert served.end() == (0, "")


def test_several_addresses_are_served_and_named(serve: Serve, tmp_path: Path) -> None:
    served = serve("--bind", "127.0.0.1:0", "-b", "localhost:0", "-b", "unix:a.sock")
    first, second, third = re.split(", | and ", served.places)
    assert third == "unix:a.sock"
    ports = [int(place.rpartition(":")[2]) for place in (first, second)]
    assert len(set(ports)) == 2
    assert [json.loads(fetch(port))["target"] for port in ports] == ["/", "/"]
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(GUARD)
        sock.connect(str(tmp_path / "a.sock"))
        sock.sendall(b"GET /unix HTTP/1.0\r\n\r\n")
        assert b'"target": "/unix"' in b"".join(iter(lambda: sock.recv(65536), b""))
    assert served.end() == (0, "")
    assert not (tmp_path / "a.sock").exists()


def test_all_interfaces_are_shown_as_one_that_can_be_opened(serve: Serve) -> None:
    served = serve("--bind", ":0")
    assert served.places == f"http://127.0.0.1:{served.port}, on all interfaces"
    assert fetch(served.port)


def test_addresses_come_from_the_environment(serve: Serve) -> None:
    served = serve(GRUVIHTTP_SERVE_BIND="127.0.0.1:0 localhost:0")
    assert " and http://localhost:" in served.places


def test_certificate_makes_it_https(serve: Serve, certificate: dict[str, str]) -> None:
    served = serve("--tls-cert", certificate["cert"], "--tls-key", certificate["key"])
    assert served.places == f"https://127.0.0.1:{served.port}"
    context = ssl.create_default_context(cafile=certificate["ca"])
    with urllib.request.urlopen(f"{served.places}/x", timeout=GUARD, context=context) as response:
        assert json.load(response)["target"] == "/x"


@pytest.mark.parametrize(("option", "agreed"), [("--http2", "h2"), ("--no-http2", "http/1.1")])
def test_http2_is_offered_unless_it_is_turned_off(
    serve: Serve, certificate: dict[str, str], option: str, agreed: str
) -> None:
    served = serve("--tls-cert", certificate["cert"], "--tls-key", certificate["key"], option)
    context = ssl.create_default_context(cafile=certificate["ca"])
    context.set_alpn_protocols(["h2", "http/1.1"])
    with (
        socket.create_connection(("127.0.0.1", served.port), GUARD) as plain,
        context.wrap_socket(plain, server_hostname="127.0.0.1") as secure,
    ):
        assert secure.selected_alpn_protocol() == agreed


# options


def test_limit_is_obeyed(serve: Serve) -> None:
    served = serve("--limit-content-bytes", "10")
    with closing(http.client.HTTPConnection("127.0.0.1", served.port, timeout=GUARD)) as connection:
        connection.request("POST", "/", b"x" * 11)
        assert connection.getresponse().status == 413


def test_timeout_is_obeyed(serve: Serve) -> None:
    served = serve("--timeout-idle", "100ms")
    with socket.create_connection(("127.0.0.1", served.port), timeout=GUARD) as sock:
        sock.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        assert b"".join(iter(lambda: sock.recv(65536), b"")).startswith(b"HTTP/1.1 200 OK")


FAILING = "def app(environ, start_response):\n    raise ValueError('the reason')\n"


@pytest.mark.parametrize(("options", "shown"), [([], False), (["--debug"], True)], ids=["usually", "with-debug"])
def test_traceback_is_shown_to_clients_only_when_debugging(serve: Serve, options: list[str], shown: bool) -> None:
    served = serve(*options, "hello", files={"hello.py": FAILING})
    assert (b"the reason" in fetch(served.port)) is shown
    code, log = served.end()
    assert code == 0
    assert "ValueError: the reason" in log


def test_check_loads_everything_and_serves_nothing(run: Run, certificate: dict[str, str]) -> None:
    files = {"hello.py": "print('loaded')\n" + HELLO.format(name="app")}
    tls = ["--tls-cert", certificate["cert"], "--tls-key", certificate["key"]]
    result = run("serve", "--check", *tls, "hello", files=files)
    assert (result.returncode, result.stdout) == (0, b"loaded\n")
    assert result.stderr == b"gruvihttp can serve hello:app at https://127.0.0.1:8000\n"


def test_check_finds_what_would_not_load(run: Run) -> None:
    assert run("serve", "--check", "hello:ap", files={"hello.py": HELLO.format(name="app")}).returncode == 3


# how it ends

SIGNALS = pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)


@SIGNALS
def test_signal_ends_it_with_success(serve: Serve, number: signal.Signals) -> None:
    assert serve().end(number) == (0, "")


@SIGNALS
def test_idle_connection_does_not_hold_it_up(serve: Serve, number: signal.Signals) -> None:
    served = serve("--timeout-graceful", "none", "--timeout-idle", "none")
    with closing(http.client.HTTPConnection("127.0.0.1", served.port, timeout=GUARD)) as connection:
        connection.request("GET", "/")
        connection.getresponse().read()
        assert served.end(number)[0] == 0


def test_handshakes_are_among_the_connections_that_it_waits_for(serve: Serve, certificate: dict[str, str]) -> None:
    served = serve("--tls-cert", certificate["cert"], "--tls-key", certificate["key"])
    with socket.create_connection(("127.0.0.1", served.port), timeout=GUARD):
        served.send(signal.SIGTERM)
        assert served.read_line().startswith("gruvihttp waits for 1 connection")
        assert served.end()[0] in (0, 128 + signal.SIGTERM)


def start_request(port: int) -> socket.socket:
    """A connection with a request that the application has begun to read, and that lacks its last two bytes."""
    sock = socket.create_connection(("127.0.0.1", port), timeout=GUARD)
    sock.sendall(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n")
    assert sock.recv(65536).startswith(b"HTTP/1.1 100 ")
    sock.sendall(b"hel")
    return sock


@SIGNALS
def test_running_request_is_finished(serve: Serve, number: signal.Signals) -> None:
    served = serve("--timeout-graceful", "none", "--timeout-content", "none")
    with start_request(served.port) as sock:
        served.send(number)
        assert served.read_line() == "gruvihttp waits for 1 connection to finish (Ctrl-C again stops at once)\n"
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", served.port), timeout=GUARD)
        sock.sendall(b"lo")
        head, _, content = b"".join(iter(lambda: sock.recv(65536), b"")).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"\r\nconnection: close" in head.lower()
    assert json.loads(content)["body"] == "hello"
    assert served.process.wait(GUARD) == 0


@SIGNALS
def test_second_signal_ends_it_at_once(serve: Serve, number: signal.Signals) -> None:
    served = serve("--timeout-graceful", "none", "--timeout-content", "none")
    with start_request(served.port):
        served.send(number)
        assert served.read_line().startswith("gruvihttp waits for 1 connection")
        served.send(number)
        assert served.process.wait(GUARD) == 128 + number


BUSY = """
import sys

def app(environ, start_response):
    print("busy", file=sys.stderr, flush=True)
    while True:
        pass
"""


def test_application_that_never_waits_can_be_interrupted(serve: Serve) -> None:
    served = serve("hello", files={"hello.py": BUSY})
    with socket.create_connection(("127.0.0.1", served.port), timeout=GUARD) as sock:
        sock.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        assert served.read_line() == "busy\n"
        served.send(signal.SIGTERM)  # two different ones, since two of the same may become one
        served.send(signal.SIGINT)
        assert served.process.wait(GUARD) in (128 + signal.SIGINT, 128 + signal.SIGTERM)


def test_time_for_running_requests_is_bounded(serve: Serve) -> None:
    served = serve("--timeout-graceful", "100ms", "--timeout-content", "none")
    with start_request(served.port):
        assert served.end()[0] == 0
