"""The httpx door over HTTP/2: one connection for all requests of a client to an origin."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterator
from typing import Any

import gevent
import httpx
import pytest
import trustme
from sites import Site

from gruvihttp.compat.httpx import HTTPTransport

GUARD = 10.0


@pytest.fixture
def site(make_site: Callable[..., Site], authority: trustme.CA) -> Site:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("localhost", "127.0.0.1").configure_cert(context)
    context.set_alpn_protocols(["h2", "http/1.1"])
    return make_site(context=context)


@pytest.fixture
def make_client(authority: trustme.CA) -> Iterator[Callable[..., httpx.Client]]:
    clients: list[httpx.Client] = []

    def make(**options: Any) -> httpx.Client:
        context = ssl.create_default_context()
        authority.configure_trust(context)
        transport = HTTPTransport(verify=context, **options)
        clients.append(httpx.Client(transport=transport, timeout=GUARD, trust_env=False))
        return clients[-1]

    yield make
    for client in clients:
        client.close()


def test_all_requests_share_one_connection(site: Site, make_client: Callable[..., httpx.Client]) -> None:
    client = make_client(http2=True)
    greenlets = [gevent.spawn(client.post, f"{site.url}/echo", content=b"%d" % n) for n in range(30)]
    gevent.joinall(greenlets, GUARD, raise_error=True)
    assert [one.value.content for one in greenlets] == [b"%d" % n for n in range(30)]
    assert {one.value.http_version for one in greenlets} == {"HTTP/2"}
    assert len(site.peers) == 1


def test_http1_is_spoken_unless_told(site: Site, make_client: Callable[..., httpx.Client]) -> None:
    assert make_client().get(f"{site.url}/told").http_version == "HTTP/1.1"


def test_plain_text_stays_http1(make_site: Callable[..., Site], make_client: Callable[..., httpx.Client]) -> None:
    assert make_client(http2=True).get(f"{make_site().url}/told").http_version == "HTTP/1.1"


def test_streams_uploads_and_downloads_work(site: Site, make_client: Callable[..., httpx.Client]) -> None:
    client = make_client(http2=True)
    with client.stream("GET", f"{site.url}/half") as response:
        assert next(response.iter_bytes()) == b"first "
        assert client.get(f"{site.url}/told").status_code == 200
    assert client.get(f"{site.url}/bytes?size=2000000").content == b"x" * 2_000_000
    assert client.post(f"{site.url}/echo", content=iter([b"a" * 100_000] * 3)).content == b"a" * 300_000
    assert len(site.peers) == 1


def test_timeout_has_httpxs_name(site: Site, make_client: Callable[..., httpx.Client]) -> None:
    client = make_client(http2=True)
    with pytest.raises(httpx.ReadTimeout):
        client.get(f"{site.url}/held", timeout=0.05)
    assert client.get(f"{site.url}/told").status_code == 200
    assert len(site.peers) == 1


def test_http1_cannot_be_turned_off() -> None:
    with pytest.raises(ValueError, match="http1"):
        HTTPTransport(http1=False, http2=True)
