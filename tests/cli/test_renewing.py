"""What `gruvihttp serve` opens anew while it runs: certificates, and the file of the log."""

from __future__ import annotations

import json
import signal
import socket
import ssl
from collections.abc import Callable
from http.client import HTTPConnection
from pathlib import Path
from typing import Any, TypeAlias

import pytest
import trustme

Serve: TypeAlias = Callable[..., Any]

GUARD = 40.0
authority = trustme.CA()
APP = """
import json

def app(environ, start_response):
    start_response("200 OK", [])
    return [json.dumps({key: environ[key] for key in environ if key.startswith("SSL_CLIENT")}).encode()]
"""


def issue(directory: Path, name: str, host: str) -> list[str]:
    issued = authority.issue_cert(host, common_name=host)
    files = [directory / f"{name}.pem", directory / f"{name}.key"]
    issued.cert_chain_pems[0].write_to_path(str(files[0]))
    issued.private_key_pem.write_to_path(str(files[1]))
    return [str(file) for file in files]


def context(identity: str | None = None) -> ssl.SSLContext:
    made = ssl.create_default_context()
    made.check_hostname = False
    authority.configure_trust(made)
    if identity is not None:
        authority.issue_cert(identity, common_name=identity).configure_cert(made)
    return made


def shown(port: int, host: str = "localhost") -> str:
    """The host in the certificate that is shown to who asks for a host."""
    with socket.create_connection(("127.0.0.1", port), timeout=GUARD) as sock:
        with context().wrap_socket(sock, server_hostname=host) as session:
            certificate: Any = session.getpeercert()
    return str(certificate["subjectAltName"][0][1])


# certificates


def test_hangup_loads_certificates_anew(serve: Serve, tmp_path: Path) -> None:
    cert, key = issue(tmp_path, "main", "localhost")
    served = serve("--tls-cert", cert, "--tls-key", key)
    assert shown(served.port) == "localhost"
    issue(tmp_path, "main", "renewed.example")
    served.send(signal.SIGHUP)
    assert served.read_line() == "gruvihttp: the certificates have been loaded anew\n"
    assert shown(served.port) == "renewed.example"
    Path(cert).write_text("broken")
    served.send(signal.SIGHUP)
    line = served.read_line()
    assert line.startswith(f"gruvihttp: cannot use {cert} with {key}: ")
    assert line.endswith("; what was loaded before stays in use\n")
    assert shown(served.port) == "renewed.example"
    assert served.end() == (0, "")


def test_names_have_certificates_of_their_own(serve: Serve, tmp_path: Path) -> None:
    cert, key = issue(tmp_path, "main", "localhost")
    named = issue(tmp_path, "shop", "shop.example")
    served = serve("--tls-cert", cert, "--tls-key", key, "--tls-sni", "shop.example", *named)
    assert [shown(served.port, host) for host in ("shop.example", "localhost")] == ["shop.example", "localhost"]


def test_client_shows_who_it_is(serve: Serve, tmp_path: Path) -> None:
    cert, key = issue(tmp_path, "main", "localhost")
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    served = serve("hello", "--tls-cert", cert, "--tls-key", key, "--tls-client-ca", "ca.pem", files={"hello.py": APP})
    with socket.create_connection(("127.0.0.1", served.port), timeout=GUARD) as sock:
        with context("teapot").wrap_socket(sock, server_hostname="localhost") as session:
            session.sendall(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
            content = b"".join(iter(lambda: session.recv(65536), b"")).partition(b"\r\n\r\n")[2]
    assert json.loads(content)["SSL_CLIENT_S_DN_CN"] == "teapot"


# the log


def get(port: int, path: str) -> None:
    connection = HTTPConnection("127.0.0.1", port, timeout=GUARD)
    connection.request("GET", path)
    connection.getresponse().read()
    connection.close()


@pytest.mark.parametrize("number", [signal.SIGUSR1, signal.SIGHUP], ids=lambda number: number.name)
def test_log_that_was_moved_away_begins_anew_on_a_signal(serve: Serve, tmp_path: Path, number: signal.Signals) -> None:
    log = tmp_path / "access.log"
    served = serve("--access-log", "{target}", "--access-log-file", "access.log")
    get(served.port, "/before")
    log.rename(tmp_path / "access.log.1")
    served.send(number)
    while not log.exists():
        get(served.port, "/meanwhile")
    get(served.port, "/after")
    assert (tmp_path / "access.log.1").read_text().startswith("/before\n")
    assert log.read_text().endswith("/after\n")
    assert served.end() == (0, "")


def test_log_that_cannot_be_opened_anew_goes_on_where_it_was(serve: Serve, tmp_path: Path) -> None:
    log = tmp_path / "logs" / "access.log"
    log.parent.mkdir()
    served = serve("--access-log", "{target}", "--access-log-file", "logs/access.log")
    log.parent.rename(tmp_path / "moved")
    served.send(signal.SIGUSR1)
    expected = "cannot write to logs/access.log: No such file or directory; the log goes on where it was"
    assert served.read_line() == f"gruvihttp: {expected}\n"
    get(served.port, "/after")
    assert (tmp_path / "moved" / "access.log").read_text() == "/after\n"


def test_hangup_ends_a_server_that_has_nothing_to_renew(serve: Serve) -> None:
    served = serve()
    served.send(signal.SIGHUP)
    assert served.process.wait(GUARD) == -signal.SIGHUP
