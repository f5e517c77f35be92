"""Real proxies in front of the server: HAProxy with the PROXY protocol and with fields, nginx with fields."""

from __future__ import annotations

import json
import shutil
import socket
import ssl
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from gruvihttp.errors import TransportError
from gruvihttp.testing import RawPeer

Until = Callable[[Callable[[], object]], None]

HAPROXY, NGINX = shutil.which("haproxy"), shutil.which("nginx")
needs_haproxy = pytest.mark.skipif(HAPROXY is None, reason="haproxy is not installed")
needs_nginx = pytest.mark.skipif(NGINX is None, reason="nginx is not installed")

VERSIONS = pytest.mark.parametrize("version", ["send-proxy", "send-proxy-v2", "send-proxy-v2-ssl-cn"])


def facts(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    """Answers with what the application is told about the client."""
    start_response("200 OK", [("Content-Type", "application/json")])
    told = {name: environ.get(name) for name in ("REMOTE_ADDR", "REMOTE_PORT", "HTTP_HOST", "wsgi.url_scheme")}
    return [json.dumps({**told, "sockname": environ["gruvihttp.sockname"]}).encode()]


class Haproxy:
    """A running HAProxy on a socket that it gets from us, so nobody has to guess a port."""

    def __init__(self, directory: Path, target: str, *options: str) -> None:
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.address: tuple[str, int] = self._listening.getsockname()
        configuration = directory / "haproxy.cfg"
        lines = "\n    ".join(options)
        configuration.write_text(
            f"""
global
    maxconn 1000
defaults
    timeout connect 10s
    timeout client 30s
    timeout server 30s
listen test
    {lines}
    bind fd@{self._listening.fileno()}
    server ours {target}
"""
        )
        self._process = subprocess.Popen(
            [str(HAPROXY), "-db", "-f", str(configuration)],
            pass_fds=[self._listening.fileno()],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )

    def close(self) -> None:
        """End it. It must not have ended by itself."""
        ended = self._process.poll()
        self._process.kill()
        _, said = self._process.communicate(timeout=20)
        self._listening.close()
        assert ended is None, said.decode()


@pytest.fixture
def haproxy(tmp_path: Path) -> Iterator[Callable[..., Haproxy]]:
    """Starts HAProxy before a target, which may be followed by options of its ``server`` line, and other lines."""
    running: list[Haproxy] = []

    def start(target: str, *options: str) -> Haproxy:
        running.append(Haproxy(tmp_path, target, *options))
        return running[-1]

    yield start
    for proxy in running:
        proxy.close()


def listening(serve: Any, application: Any = facts, *, ssl: Any = False, address: Any = None, **options: Any) -> Any:
    """A server that wants PROXY headers from everybody."""
    served = serve(application, **options)
    served.server.listen(address or ("127.0.0.1", 0), ssl, proxy_protocol=True)
    return served


@needs_haproxy
@VERSIONS
def test_server_behind_haproxy_sees_the_client(serve: Any, haproxy: Any, version: str) -> None:
    served = listening(serve)
    port = served.server.addresses[1][1]
    proxy = haproxy(f"127.0.0.1:{port} {version}")
    talk = served.connect(address=proxy.address)
    own = talk.channel.get_extra_info("sockname")
    for _ in range(2):
        told = json.loads(talk.get("/").content)
        assert (told["REMOTE_ADDR"], told["REMOTE_PORT"]) == (own[0], str(own[1]))
        assert told["sockname"] == list(proxy.address)
    assert served.server.proxy_failures == 0


@needs_haproxy
@VERSIONS
def test_server_with_tls_behind_haproxy_sees_the_client(
    serve: Any, haproxy: Any, server_tls: ssl.SSLContext, client_tls: ssl.SSLContext, version: str
) -> None:
    served = listening(serve, ssl=server_tls)
    proxy = haproxy(f"127.0.0.1:{served.server.addresses[1][1]} {version}")
    talk = served.connect(client_tls, address=proxy.address)
    told = json.loads(talk.get("/").content)
    assert told["REMOTE_PORT"] == str(talk.channel.get_extra_info("sockname")[1])
    assert told["wsgi.url_scheme"] == "https"


@needs_haproxy
@VERSIONS
def test_server_at_a_unix_socket_behind_haproxy_sees_the_client(
    serve: Any, haproxy: Any, tmp_path: Path, version: str
) -> None:
    served = listening(serve, address=str(tmp_path / "socket"))
    proxy = haproxy(f"unix@{tmp_path}/socket {version}")
    talk = served.connect(address=proxy.address)
    assert json.loads(talk.get("/").content)["REMOTE_PORT"] == str(talk.channel.get_extra_info("sockname")[1])


@needs_haproxy
def test_log_behind_haproxy_names_the_client(serve: Any, haproxy: Any) -> None:
    records: list[Any] = []
    served = listening(serve, access_log=records.append)
    proxy = haproxy(f"127.0.0.1:{served.server.addresses[1][1]} send-proxy-v2")
    talk = served.connect(address=proxy.address)
    talk.get("/")
    assert records[0].client_port == str(talk.channel.get_extra_info("sockname")[1])


@needs_haproxy
@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
@pytest.mark.parametrize("kind", ["send-proxy", "send-proxy-v2"])  # without a header it does not even connect fully
def test_health_checks_of_haproxy_make_no_noise(
    serve: Any, haproxy: Any, until: Until, errors: Any, server_tls: ssl.SSLContext, kind: str, tls: bool
) -> None:
    records: list[Any] = []
    served = listening(serve, ssl=server_tls if tls else False, access_log=records.append)
    haproxy(f"127.0.0.1:{served.server.addresses[1][1]} {kind} check inter 20ms")
    until(lambda: served.server.accepted >= 5)
    until(lambda: not served.server.connections)
    stats = served.server.stats()
    assert (stats["proxy_failures"], stats["handshake_failures"], stats["requests"]) == (0, 0, 0)
    assert (records, errors()) == ([], [])


@needs_haproxy
def test_haproxy_that_sends_no_header_gets_no_answer(serve: Any, haproxy: Any) -> None:
    served = listening(serve)
    proxy = haproxy(f"127.0.0.1:{served.server.addresses[1][1]}")
    talk = served.connect(address=proxy.address)
    talk.say(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    try:
        assert talk.read_to_end() == b""
    except TransportError:
        pass
    assert served.server.proxy_failures == 1


@needs_haproxy
def test_fields_of_haproxy_are_believed_and_what_the_client_added_is_not(serve: Any, haproxy: Any) -> None:
    served = serve(facts, trusted_proxies=["127.0.0.1"])
    options = ("mode http", "option forwardfor", "http-request set-header X-Forwarded-Proto https")
    proxy = haproxy(f"127.0.0.1:{served.server.address[1]}", *options)
    forged = b"X-Forwarded-For: 192.0.2.1\r\nX-Forwarded-Proto: ftp\r\nX-Forwarded-Host: evil\r\nForwarded: for=x\r\n"
    told = json.loads(served.connect(address=proxy.address).get("/", forged).content)
    assert told["REMOTE_ADDR"] == "192.0.2.1"  # the client is at a trusted address here, so it is believed like a proxy
    assert (told["wsgi.url_scheme"], told["HTTP_HOST"]) == ("https", "example.com")


# nginx


@pytest.fixture
def nginx(tmp_path: Path, until: Until) -> Iterator[Callable[[str], str]]:
    """Starts nginx at a Unix socket, which is returned, before another."""
    running: list[subprocess.Popen[bytes]] = []
    path = tmp_path / "nginx.sock"
    temporary = "".join(
        f"{kind}_temp_path {tmp_path}/{kind};\n" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )

    def start(target: str) -> str:
        (tmp_path / "nginx.conf").write_text(
            f"""
daemon off; master_process off; pid {tmp_path}/nginx.pid; error_log stderr crit;
events {{ worker_connections 64; }}
http {{
    access_log off;
    {temporary}
    upstream ours {{ server {target}; keepalive 2; }}
    server {{
        listen unix:{path};
        location / {{
            proxy_pass http://ours;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_set_header Host $http_host;
            proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
            proxy_set_header X-Forwarded-Proto https;
        }}
    }}
}}
"""
        )
        command = [str(NGINX), "-p", str(tmp_path), "-c", str(tmp_path / "nginx.conf"), "-e", "stderr"]
        running.append(subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE))
        until(lambda: _accepts(str(path)) or running[-1].poll() is not None)
        return str(path)

    yield start
    for process in running:
        ended = process.poll()
        process.kill()
        _, said = process.communicate(timeout=20)
        assert ended is None, said.decode()


def _accepts(path: str) -> bool:
    try:
        RawPeer.connect(path).close()
    except TransportError:
        return False
    return True


@needs_nginx
def test_what_nginx_sets_is_believed_and_what_it_passes_on_is_not(serve: Any, nginx: Any) -> None:
    served = serve(facts, trusted_proxies=["127.0.0.1", "unix"])
    path = nginx(f"127.0.0.1:{served.server.address[1]}")
    talk = served.connect(address=path)
    for number in range(3):
        forged = b"X-Forwarded-For: 192.0.2.%d\r\nX-Forwarded-Host: evil\r\nForwarded: for=1.1.1.1\r\n" % number
        told = json.loads(talk.get("/", forged).content)
        assert told["REMOTE_ADDR"] == f"192.0.2.{number}"  # the client at nginx's Unix socket is trusted, as a proxy is
        assert (told["wsgi.url_scheme"], told["HTTP_HOST"]) == ("https", "example.com")


@needs_nginx
def test_client_of_nginx_at_a_unix_socket_that_is_not_trusted_has_no_address(serve: Any, nginx: Any) -> None:
    served = serve(facts, trusted_proxies=["127.0.0.1"])
    path = nginx(f"127.0.0.1:{served.server.address[1]}")
    told = json.loads(served.connect(address=path).get("/", b"X-Forwarded-For: 192.0.2.1\r\n").content)
    assert told["REMOTE_ADDR"] == ""
