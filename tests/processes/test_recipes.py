"""The recipes of the how-to pages: what stands there is what is run, with other ports and paths."""

from __future__ import annotations

import configparser
import re
import shlex
import shutil
import socket as stdlib_socket
import ssl
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gevent
import pytest
import trustme
from gevent import socket
from gevent import subprocess as gevent_subprocess
from pages import code_of

from gruvihttp import HttpClient

GUARD = 40.0
NGINX, HAPROXY = shutil.which("nginx"), shutil.which("haproxy")
needs_nginx = pytest.mark.skipif(NGINX is None, reason="nginx is not installed")
needs_haproxy = pytest.mark.skipif(HAPROXY is None, reason="haproxy is not installed")

SHOP = """
def app(environ, start_response):
    start_response("200 OK", [])
    names = ("REMOTE_ADDR", "wsgi.url_scheme", "HTTP_HOST")
    return [" ".join(environ[name] for name in names).encode()]
"""


def commands(page: str) -> list[list[str]]:
    """The calls of ``gruvihttp serve`` in the console blocks of a page."""
    lines = "".join(code_of(page, "console")).splitlines()
    return [shlex.split(line)[3:] for line in lines if line.startswith("$ gruvihttp serve")]


@pytest.fixture
def shop(process: Callable[..., Any], tmp_path: Path) -> Callable[..., Any]:
    """Runs ``gruvihttp`` where there is an application ``shop:app``."""
    (tmp_path / "shop.py").write_text(SHOP)

    def start(*arguments: str) -> Any:
        return process("-m", *arguments)

    return start


@pytest.fixture
def proxy(tmp_path: Path) -> Iterator[Callable[..., Any]]:
    """Starts a proxy; it is killed when the test ends."""
    started: list[Any] = []

    def start(*command: str, **options: Any) -> None:
        started.append(gevent_subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, **options))

    yield start
    for one in started:
        one.kill()
        one.communicate()


@pytest.fixture
def listening() -> Iterator[Callable[[], stdlib_socket.socket]]:
    """Makes listening sockets of the test's own, to be handed on."""
    made: list[stdlib_socket.socket] = []

    def make() -> stdlib_socket.socket:
        made.append(stdlib_socket.create_server(("127.0.0.1", 0)))
        return made[-1]

    yield make
    for one in made:
        one.close()


def get(address: Any, path: str = "/") -> tuple[int, str]:
    """Status and content of an answer. Tried again while nobody listens yet, or the proxy finds nobody behind it."""
    with gevent.Timeout(GUARD):
        while True:
            try:
                status, content = _get(address, path)
            except (FileNotFoundError, ConnectionError, IndexError):
                status, content = 0, ""
            if status not in (0, 502, 503):
                return status, content
            gevent.sleep(0.02)


def _get(address: Any, path: str) -> tuple[int, str]:
    with socket.socket(socket.AF_UNIX if isinstance(address, str) else socket.AF_INET) as sock:
        sock.settimeout(GUARD)
        sock.connect(address)
        sock.sendall(f"GET {path} HTTP/1.1\r\nHost: shop.example\r\nConnection: close\r\n\r\n".encode())
        head, _, content = b"".join(iter(lambda: sock.recv(65536), b"")).partition(b"\r\n\r\n")
    return int(head.split(b" ")[1]), content.decode()


def port_of(started: Any) -> int:
    """The port that it says it serves at."""
    return int(started.wait_for(r"gruvihttp serving shop:app at https?://127\.0\.0\.1:(\d+)")[1])


# nginx


@needs_nginx
def test_nginx_before_a_unix_socket(shop: Any, proxy: Any, tmp_path: Path) -> None:
    configuration, for_websockets = code_of("deploy", "nginx")
    (options,) = code_of("deploy", "toml")
    options = options.replace("/run/shop/", f"{tmp_path}/").replace("workers = 4", "workers = 1")
    (tmp_path / "server.toml").write_text(options)
    front = f"{tmp_path}/front.sock"
    configuration = configuration.replace("/run/shop/", f"{tmp_path}/").replace("listen 80;", f"listen unix:{front};")
    location = f"location /ws {{\n{for_websockets}proxy_pass http://shop;\n}}\n\n    location / {{"
    (tmp_path / "nginx.conf").write_text(
        f"daemon off; master_process off; pid {tmp_path}/pid; error_log stderr crit; events {{}}\n"
        f"http {{ access_log off; client_body_temp_path {tmp_path}/a; proxy_temp_path {tmp_path}/b;\n"
        f"fastcgi_temp_path {tmp_path}/c; uwsgi_temp_path {tmp_path}/d; scgi_temp_path {tmp_path}/e;\n"
        f"map $http_upgrade $connection_upgrade {{ default upgrade; '' ''; }}\n"
        f"{configuration.replace('location / {', location)} }}\n"
    )
    shop("gruvihttp", "serve", "--config", "server.toml").wait_for("gruvihttp serving shop:app")
    proxy(str(NGINX), "-p", str(tmp_path), "-c", str(tmp_path / "nginx.conf"), "-e", "stderr")
    assert get(front) == (200, " http shop.example")  # whose client is at a Unix socket, without address
    assert get(front, "/ws") == (200, " http shop")  # fields of a server do not count where a location has its own


# HAProxy


@needs_haproxy
def test_haproxy_that_speaks_http(shop: Any, proxy: Any, listening: Any, tmp_path: Path) -> None:
    arguments = commands("deploy")[0]
    port = port_of(shop("gruvihttp", "serve", *(part.replace(":8001", ":0") for part in arguments)))
    front = listening()
    text = code_of("deploy", "text")[0].replace("bind :80", f"bind fd@{front.fileno()}")
    text = re.sub(r".*server two.*\n", "", text).replace("127.0.0.1:8001", f"127.0.0.1:{port}")
    (tmp_path / "haproxy.cfg").write_text(text)
    proxy(str(HAPROXY), "-db", "-f", str(tmp_path / "haproxy.cfg"), pass_fds=[front.fileno()])
    assert get(front.getsockname()) == (200, "127.0.0.1 http shop.example")


@needs_haproxy
def test_haproxy_that_passes_on_bytes(shop: Any, proxy: Any, listening: Any, tmp_path: Path) -> None:
    authority = trustme.CA()
    authority.issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(str(tmp_path / "server.pem"))
    arguments = commands("deploy")[1]
    port = port_of(shop("gruvihttp", "serve", *(part.replace(":8443", ":0") for part in arguments)))
    front = listening()
    text = "defaults\n timeout connect 5s\n timeout client 60s\n timeout server 60s\n" + code_of("deploy", "text")[1]
    text = text.replace("bind :443", f"bind fd@{front.fileno()}").replace("127.0.0.1:8443", f"127.0.0.1:{port}")
    (tmp_path / "haproxy.cfg").write_text(text)
    proxy(str(HAPROXY), "-db", "-f", str(tmp_path / "haproxy.cfg"), pass_fds=[front.fileno()])
    context = ssl.create_default_context()
    authority.configure_trust(context)
    with HttpClient() as client:
        client.connect(front.getsockname(), ssl=context, server_hostname="localhost")
        client.request("GET", "/", [("Host", "shop.example")])
        assert client.getresponse().read() == b"127.0.0.1 https shop.example"


# commands


def kubernetes_arguments() -> list[str]:
    text = code_of("kubernetes", "yaml")[0]
    listed = re.findall(r"^ +- (--\S+)$", text, re.MULTILINE)
    assert len(listed) == 7
    command: list[str] = re.search(r'command: (\[.*\])', text)[1].strip("[]").replace('"', "").split(", ")  # type: ignore[index]
    return [*command[2:], *listed]


def docker_arguments() -> list[str]:
    return re.search(r"CMD \[(.*)\]", code_of("kubernetes", "docker")[0])[1].replace('"', "").split(", ")[2:]  # type: ignore[index]


def unit_arguments() -> list[str]:
    unit = configparser.ConfigParser()
    unit.optionxform = str  # type: ignore[assignment,method-assign]  # the names have capitals
    unit.read_string(code_of("systemd", "ini")[0])
    return shlex.split(unit["Service"]["ExecStart"])[2:]


RECIPES = {
    "kubernetes": kubernetes_arguments,
    "docker": docker_arguments,
    "systemd": unit_arguments,
}


@pytest.mark.parametrize("arguments", RECIPES.values(), ids=RECIPES)
def test_command_of_a_recipe_is_accepted(shop: Any, arguments: Callable[[], list[str]]) -> None:
    started = shop("gruvihttp", "serve", *arguments(), "--check")
    assert started.wait() == 0, started.said
    assert "gruvihttp can serve shop:app" in started.said


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd")
def test_units_are_understood_by_systemd(tmp_path: Path) -> None:
    service, socket_unit = code_of("systemd", "ini")
    (tmp_path / "shop.service").write_text(re.sub("ExecStart=.*", "ExecStart=/bin/true", service))
    (tmp_path / "shop.socket").write_text(socket_unit)
    command = ["systemd-analyze", "verify", "--man=no", str(tmp_path / "shop.service"), str(tmp_path / "shop.socket")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=GUARD)
    assert [line for line in done.stderr.splitlines() if "shop." in line] == []
