"""Servers for WebSocket clients: our own with an application, and scripted ones that say whatever a test wants."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import trustme
from hub_reports import nothing_is_reported  # noqa: F401  # a fixture
from tls_fixtures import authority, server_context  # noqa: F401  # fixtures

from gruvihttp import HttpServer, websocket
from gruvihttp.testing import ScriptedPeer


@pytest.fixture
def serve() -> Iterator[Callable[..., str]]:
    """Serves WebSockets to a handler until the test ends; the URL is returned. Options are those of `accept`.

    ``serve.environs`` are those of the requests.
    """
    servers: list[HttpServer] = []
    environs: list[Any] = []

    def serve(handler: Callable[[Any], object], *, address: Any = None, tls: Any = False, **options: Any) -> str:
        def application(environ: Any, start_response: Any) -> Any:
            try:
                ws = websocket.accept(environ, **options)
            except websocket.HandshakeError as exc:
                return exc(environ, start_response)
            environs.append(environ)
            handler(ws)
            ws.close()
            return []

        server = HttpServer(application)
        servers.append(server)
        server.listen(address or ("127.0.0.1", 0), tls)
        if address is not None:
            return "ws+unix://" + address.replace("/", "%2F") + "/chat"
        return f"{'wss' if tls else 'ws'}://localhost:{server.address[1]}/chat?room=1"

    serve.environs = environs  # type: ignore[attr-defined]
    yield serve
    for server in servers:
        server.close(0)


@pytest.fixture
def script() -> Iterator[Callable[..., str]]:
    """Has a scripted peer serve one connection; the URL is returned."""
    peers: list[ScriptedPeer] = []

    def script(play: Callable[[Any], object]) -> str:
        peers.append(ScriptedPeer(play))
        host, port = peers[-1].address
        return f"ws://{host}:{port}/"

    yield script
    for peer in peers:
        peer.close()


@pytest.fixture(scope="session")
def server_tls(authority: trustme.CA) -> ssl.SSLContext:  # noqa: F811  # the fixture
    """For a name, and for no address."""
    return server_context(authority, "localhost")
