"""What the tests of the how-to pages share: servers in this process, and files with certificates."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import trustme
from server_fixtures import authority, serve  # noqa: F401  # fixtures

from gruvihttp import HttpClient, HttpServer

GUARD = 20.0


class Answer(NamedTuple):
    """What a server has answered."""

    status: int
    content: bytes


@pytest.fixture
def started() -> Iterator[Callable[..., Any]]:
    """Has a server listen, unless it does already; its address. It is closed when the test ends."""
    servers: list[HttpServer] = []

    def start(server: HttpServer, **options: Any) -> Any:
        servers.append(server)
        if not server.addresses:
            server.listen(("127.0.0.1", 0), **options)
        return server.address

    yield start
    for server in servers:
        server.close(0)


@pytest.fixture
def asked() -> Iterator[Callable[..., Any]]:
    """Asks a server for a path; the answer."""
    clients: list[HttpClient] = []

    def ask(address: Any, path: str = "/", headers: Any = (), tls: Any = False, name: str = "localhost") -> Any:
        clients.append(HttpClient(GUARD))
        clients[-1].connect(address, ssl=tls, server_hostname=name)
        clients[-1].request("GET", path, list(headers))
        response = clients[-1].getresponse()
        return Answer(response.status, response.read())

    yield ask
    for client in clients:
        client.close()


@pytest.fixture
def server_tls(authority: trustme.CA) -> ssl.SSLContext:  # noqa: F811
    """A context of the test's own, for it will be changed."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("localhost").configure_cert(context)
    return context


@pytest.fixture
def client_tls(authority: trustme.CA) -> ssl.SSLContext:  # noqa: F811
    """The same for a client."""
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


@pytest.fixture
def pems(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, authority: trustme.CA) -> Path:  # noqa: F811
    """The current directory, with the certificates and keys that the pages name."""
    monkeypatch.chdir(tmp_path)
    for name, host in (("server", "localhost"), ("shop", "shop.example"), ("pages", "*.pages.example")):
        issued = authority.issue_cert(host)
        issued.private_key_and_cert_chain_pem.write_to_path(str(tmp_path / f"{name}.pem"))
        issued.private_key_pem.write_to_path(str(tmp_path / f"{name}.key"))
    for name in ("our-ca", "clients-ca"):
        authority.cert_pem.write_to_path(str(tmp_path / f"{name}.pem"))
    return tmp_path
