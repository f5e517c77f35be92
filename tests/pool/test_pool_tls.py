"""TLS and proxies: contexts by options, tunnels, plain requests to a proxy."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Any

import pytest
import trustme
from relays import tunnelling

from gruvihttp import HttpPool, TransportError
from gruvihttp.net.trust import client_context_for
from gruvihttp.testing import replies

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


@pytest.fixture
def authority_file(authority: trustme.CA, tmp_path: Path) -> Path:
    path = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(path)
    return path


def test_server_is_verified(make_site: Any, make_pool: Any, server_tls: Any, authority_file: Path) -> None:
    site = make_site(context=server_tls)
    with pytest.raises(TransportError, match="certificate is not accepted"):
        make_pool().get(site.url)
    assert make_pool(verify=authority_file).get(site.url).json()["fields"]["host"] == f"127.0.0.1:{site.port}"
    assert make_pool(verify=False).get(site.url).ok


def test_name_is_verified(make_site: Any, make_pool: Any, server_tls: Any, authority_file: Path) -> None:
    site = make_site(context=server_tls)
    pool = make_pool(verify=authority_file, address_of=lambda origin: ("127.0.0.1", site.port))
    assert pool.get("https://localhost/").ok
    with pytest.raises(TransportError, match="certificate is not accepted"):
        pool.get("https://shop.example/")
    assert pool.counts == (0, 1, 0)


def test_client_certificate_is_shown(
    serve: Any, make_pool: Any, authority: trustme.CA, authority_file: Path, tmp_path: Path
) -> None:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("localhost", "127.0.0.1").configure_cert(context)
    context.verify_mode = ssl.CERT_REQUIRED
    authority.configure_trust(context)
    issued = authority.issue_cert("client@example.com")
    issued.private_key_and_cert_chain_pem.write_to_path(tmp_path / "both.pem")
    issued.private_key_pem.write_to_path(tmp_path / "key.pem")
    issued.cert_chain_pems[0].write_to_path(tmp_path / "cert.pem")
    peer = serve(replies(OK), context=context)
    url = f"https://127.0.0.1:{peer.port}/"
    for cert in (tmp_path / "both.pem", (tmp_path / "cert.pem", tmp_path / "key.pem")):
        assert make_pool(verify=authority_file, cert=cert).get(url).content == b"ok"
    with pytest.raises(TransportError):
        make_pool(verify=authority_file).get(url)


def test_contexts_are_made_once_for_the_same_options(authority_file: Path) -> None:
    assert client_context_for() is client_context_for(True, None)
    assert client_context_for(authority_file) is client_context_for(str(authority_file))
    assert client_context_for(False) is not client_context_for(True)


def test_directory_of_authorities(authority_file: Path) -> None:
    assert client_context_for(authority_file.parent).verify_mode is ssl.CERT_REQUIRED


def test_missing_file_is_an_oserror_and_costs_nothing(make_pool: Any) -> None:
    pool = make_pool(verify="/nonexistent/ca.pem")
    with pytest.raises(OSError):
        pool.get("https://127.0.0.1:1/")
    assert pool.counts == (0, 0, 0)


def test_connection_to_http_and_to_https_of_one_host_are_different(
    make_site: Any, make_pool: Any, server_tls: Any, client_tls: Any
) -> None:
    plain, secure = make_site(), make_site(context=server_tls)
    pool = make_pool(ssl=client_tls)
    assert pool.get(plain.url).ok
    assert pool.get(secure.url).ok
    assert pool.counts == (0, 2, 0)
    assert pool.get(secure.url).ok
    assert len(secure.peers) == 1


# proxies


@pytest.mark.parametrize(
    ("userinfo", "field"), [("", b""), ("u:p%40@", b"Proxy-Authorization: Basic dTpwQA==\r\n")], ids=["open", "login"]
)
def test_https_goes_through_a_tunnel(
    make_site: Any, serve: Any, make_pool: Any, server_tls: Any, client_tls: Any, userinfo: str, field: bytes
) -> None:
    site = make_site(context=server_tls)
    peer = serve(tunnelling)
    pool: HttpPool = make_pool(ssl=client_tls, proxy=f"http://{userinfo}127.0.0.1:{peer.port}")
    for _ in range(3):
        assert pool.get(site.url + "/x").json()["fields"]["host"] == f"127.0.0.1:{site.port}"
    assert pool.counts == (0, 1, 0)
    heads = [bytes(one.received).partition(b"\r\n\r\n")[0] + b"\r\n" for one in peer.connections]
    assert len(heads) == 1
    assert heads[0].startswith(b"CONNECT 127.0.0.1:%d HTTP/1.1\r\n" % site.port)
    assert field in heads[0]


def test_http_goes_to_the_proxy_as_it_is(serve: Any, make_pool: Any) -> None:
    peer = serve(replies(OK, OK))
    pool = make_pool(proxy=f"http://u:p@127.0.0.1:{peer.port}")
    assert pool.get("http://shop.example/tea?hot=1").content == b"ok"
    assert pool.get("http://other.example:81/").content == b"ok"
    first, second = peer.received.split(b"\r\n\r\n")[:2]
    assert first.startswith(b"GET http://shop.example/tea?hot=1 HTTP/1.1\r\nHost: shop.example\r\n")
    assert second.startswith(b"GET http://other.example:81/ HTTP/1.1\r\nHost: other.example:81\r\n")
    assert b"\r\nProxy-Authorization: Basic dTpw" in first
    assert pool.counts == (0, 1, 0)


def test_refusing_proxy_is_an_error(serve: Any, make_pool: Any) -> None:
    peer = serve(replies(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n"))
    pool = make_pool(proxy=("127.0.0.1", peer.port))
    with pytest.raises(TransportError, match="does not connect to shop.example:443: 403 Forbidden"):
        pool.get("https://shop.example/")
    assert pool.counts == (0, 0, 0)


def test_request_does_not_carry_the_proxys_password_to_the_server(
    make_site: Any, serve: Any, make_pool: Any, server_tls: Any, client_tls: Any
) -> None:
    site = make_site(context=server_tls)
    peer = serve(tunnelling)
    pool = make_pool(ssl=client_tls, proxy=f"http://u:p@127.0.0.1:{peer.port}")
    assert "proxy_authorization" not in pool.get(site.url).json()["fields"]
