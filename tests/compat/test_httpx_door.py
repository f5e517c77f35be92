"""httpx's clients over our pool: everything that they do goes on working, and what goes wrong has their names."""

from __future__ import annotations

import gc
import io
import ssl
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from time import monotonic
from typing import Any

import gevent
import httpx
import pytest
from misbehaviour import closing, events, resetting, saying, silent, unaccepting, unheard
from programs import run_python
from relays import tunnelling
from striking import STRIKES, strike_at, strike_many
from threads import call_in_thread

from gruvihttp.compat.httpx import HTTPTransport
from gruvihttp.testing import RawPeer, replies

GUARD_SECONDS = 10.0
SOON = 0.1
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
HEAD = b"HTTP/1.1 200 OK\r\n"
EVENTS = [b"data: one\n\n", b"data: two\n\n"]


@pytest.fixture
def make_client() -> Iterator[Any]:
    clients: list[httpx.Client] = []

    def make(timeout: Any = GUARD_SECONDS, **options: Any) -> httpx.Client:
        clients.append(httpx.Client(transport=HTTPTransport(**options), timeout=timeout, trust_env=False))
        return clients[-1]

    yield make
    for client in clients:
        client.close()


@pytest.fixture
def client(make_client: Any) -> httpx.Client:
    made: httpx.Client = make_client()
    return made


def counts_of(client: httpx.Client) -> tuple[int, int, int]:
    """The counts of the pool behind a client."""
    transport: Any = client._transport
    [pool] = transport._pools._of_this_thread().values()
    return tuple(pool.counts)  # type: ignore[return-value]


def url_of(peer: Any, path: str = "/") -> str:
    return f"http://127.0.0.1:{peer.port}{path}"


# what clients do, on three ways to a server


def get(client: httpx.Client, url: str) -> None:
    response = client.get(url + "/told", params={"a": "1"}, headers={"X-One": "1"})
    assert (response.status_code, response.reason_phrase, response.http_version) == (200, "OK", "HTTP/1.1")
    assert response.headers["content-type"] == "application/json"
    told = response.json()
    assert (told["method"], told["target"], told["fields"]["x_one"]) == ("GET", "/told?a=1", "1")
    assert told["fields"]["user_agent"].startswith("python-httpx/")
    assert told["fields"]["host"] == url.partition("//")[2]
    assert response.elapsed.total_seconds() >= 0


def cookies_and_redirects(client: httpx.Client, url: str) -> None:
    response = client.get(url + "/cookie?set=first%3D1&to=/told", follow_redirects=True)
    assert [one.status_code for one in response.history] == [302]
    assert response.json()["fields"]["cookie"] == "first=1; second=2"
    assert dict(client.cookies) == {"first": "1", "second": "2"}
    assert client.get(url + "/redirect?to=/told").next_request is not None


def codings_are_undone(client: httpx.Client, url: str) -> None:
    assert client.get(url + "/gzip?times=3000").content == b"zeros " * 3000
    with client.stream("GET", url + "/gzip?times=3000") as response:
        assert b"".join(response.iter_bytes(100)) == b"zeros " * 3000


def streams(client: httpx.Client, url: str) -> None:
    with client.stream("GET", url + "/pieces") as response:
        assert response.headers["Transfer-Encoding"] == "chunked"
        assert b"".join(response.iter_raw()) == b"one two three"
    with client.stream("GET", url + "/bytes?size=2500&length") as response:
        assert [len(piece) for piece in response.iter_bytes(1000)] == [1000, 1000, 500]
    with client.stream("POST", url + "/echo", content=b"one\ntwo\n\nlast") as response:
        assert list(response.iter_lines()) == ["one", "two", "", "last"]


def no_content(client: httpx.Client, url: str) -> None:
    assert client.head(url + "/bytes?size=300&length").headers["Content-Length"] == "300"
    assert client.get(url + "/status?code=204").content == b""
    assert client.get(url + "/status?code=304").content == b""
    assert client.options(url + "/told").json()["method"] == "OPTIONS"


def uploads(client: httpx.Client, url: str) -> None:
    told = client.post(url + "/told", data={"a": "1 2"}).json()
    assert (told["type"], told["content"]) == ("application/x-www-form-urlencoded", "a=1+2")
    assert client.post(url + "/told", json=[1]).json()["content"] == "[1]"
    told = client.post(url + "/told", files={"file": ("tea.txt", io.BytesIO(b"green"))}).json()
    assert told["type"].startswith("multipart/form-data")
    assert "green" in told["content"]
    assert client.put(url + "/told", content=(piece for piece in (b"a", b"b"))).json()["content"] == "ab"
    assert client.put(url + "/told", content=iter(())).json()["content"] == ""
    assert client.put(url + "/told", content=io.BytesIO(b"file")).json()["content"] == "file"
    assert client.post(url + "/told").json()["content"] == ""
    large = b"0123456789" * 8_000
    assert client.put(url + "/digest", content=large).text == f"80000 {sha256(large).hexdigest()}"


def credentials(client: httpx.Client, url: str) -> None:
    assert client.get(url + "/told", auth=("u", "p")).json()["fields"]["authorization"] == "Basic dTpw"
    told = client.get(url.replace("://", "://u:p@") + "/told").json()
    assert told["fields"]["authorization"] == "Basic dTpw"


CHECKS = [get, cookies_and_redirects, codings_are_undone, streams, no_content, uploads, credentials]


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_drop_in(way: Any, client: httpx.Client, check: Any) -> None:
    _, url = way
    check(client, url)
    assert counts_of(client) == (0, 1, 0), "one connection has served all of it"


def test_pieces_of_a_response_are_not_waited_for(serve: Any, client: httpx.Client) -> None:
    heard = gevent.event.Event()
    with client.stream("GET", url_of(serve(events(EVENTS, heard, GUARD_SECONDS)))) as response:
        for piece, event in zip(response.iter_bytes(), EVENTS, strict=True):
            assert piece == event
            heard.set()


# connections


def read_it(response: httpx.Response) -> None:
    assert len(response.read()) == 300_000


def close_it(response: httpx.Response) -> None:
    next(response.iter_raw(10))
    response.close()


def forget_it(response: httpx.Response) -> None:
    pass


@pytest.mark.parametrize("end", [read_it, close_it, forget_it], ids=lambda end: end.__name__)
def test_connection_is_given_back(site: Any, client: httpx.Client, end: Any) -> None:
    for _ in range(3):
        response = client.send(client.build_request("GET", site.url + "/bytes?size=300000"), stream=True)
        assert counts_of(client) == (1, 0, 0)
        end(response)
        del response
        gc.collect()  # httpx's responses refer to themselves
        gevent.idle()
        assert counts_of(client) in ((0, 1, 0), (0, 0, 0))
    assert client.get(site.url + "/told").is_success


def test_closing_client_closes_connections(site: Any, make_client: Any) -> None:
    with make_client() as client:
        client.get(site.url)
        [pool] = client._transport._pools._of_this_thread().values()
    assert tuple(pool.counts) == (0, 0, 0)


def test_connection_close_is_honoured(site: Any, client: httpx.Client) -> None:
    assert "connection" not in client.get(site.url, headers={"Connection": "close"}).json()["fields"]
    with gevent.Timeout(GUARD_SECONDS):
        while counts_of(client) != (0, 0, 0):
            gevent.idle()


@pytest.mark.parametrize("extension", ["sni_hostname", "target"])
def test_extension_that_would_ask_another_is_refused(site: Any, client: httpx.Client, extension: str) -> None:
    with pytest.raises(ValueError, match=extension):
        client.get(f"{site.url}/", extensions={extension: "other"})


def test_limits_bound_connections_and_their_idle_time(site: Any, make_client: Any) -> None:
    client = make_client(limits=httpx.Limits(max_connections=1, keepalive_expiry=0.0))
    with client.stream("GET", site.url + "/half"):
        with pytest.raises(httpx.PoolTimeout):
            client.get(site.url, timeout=httpx.Timeout(GUARD_SECONDS, pool=SOON))
        site.held.set()
    assert client.get(site.url).is_success
    with gevent.Timeout(GUARD_SECONDS):
        while counts_of(client) != (0, 0, 0):
            gevent.idle()


def test_no_limits_are_none(site: Any, make_client: Any) -> None:
    client = make_client(limits=httpx.Limits(max_connections=None, keepalive_expiry=None))
    assert client.get(site.url).is_success


# what goes wrong


def deaf(peer: RawPeer) -> None:
    gevent.sleep(GUARD_SECONDS)


def endless() -> Iterator[bytes]:
    while True:
        yield b"x" * 65536


FAULTS = [
    pytest.param(silent, b"x", httpx.ReadTimeout, id="no-head"),
    pytest.param(deaf, endless, httpx.WriteTimeout, id="nobody-reads"),
    pytest.param(closing, b"x", httpx.RemoteProtocolError, id="closed-before-the-head"),
    pytest.param(resetting, b"x", httpx.ReadError, id="reset-before-the-head"),
    pytest.param(saying(b"SSH-2.0-OpenSSH_9.2\r\n\r\n"), b"x", httpx.RemoteProtocolError, id="no-http"),
    pytest.param(saying(HEAD + b"X: y"), b"x", httpx.RemoteProtocolError, id="cut-head"),
    pytest.param(
        saying(HEAD + b"Content-Length: 9\r\n\r\n123"), b"x", httpx.RemoteProtocolError, id="cut-content"
    ),
    pytest.param(
        saying(HEAD + b"Transfer-Encoding: chunked\r\n\r\nxyz\r\n"), b"x", httpx.RemoteProtocolError, id="bad-chunks"
    ),
    pytest.param(
        saying(HEAD + b"Content-Length: 9\r\n\r\n123", stays=True), b"x", httpx.ReadTimeout, id="content-that-stalls"
    ),
    pytest.param(
        saying(HEAD + b"Content-Encoding: gzip\r\nContent-Length: 4\r\n\r\nabcd"),
        b"x",
        httpx.DecodingError,
        id="bad-gzip",
    ),
]


@pytest.mark.parametrize(("script", "content", "kind"), FAULTS)
def test_fault_has_the_name_that_httpx_gives_it(
    serve: Any, make_client: Any, script: Any, content: Any, kind: type[Exception]
) -> None:
    client = make_client(timeout=httpx.Timeout(GUARD_SECONDS, read=SOON, write=SOON))
    with pytest.raises(httpx.HTTPError) as caught:
        client.post(url_of(serve(script)), content=content() if callable(content) else content)
    assert type(caught.value) is kind
    assert caught.value.request.method == "POST"
    gevent.idle()
    taken, _, waiting = counts_of(client)
    assert (taken, waiting) == (0, 0)


def test_refused_connection_is_a_connect_error(client: httpx.Client) -> None:
    with pytest.raises(httpx.ConnectError, match="Connection refused"):
        client.get(unheard())


def test_connecting_is_tried_again(serve: Any, make_client: Any) -> None:
    client = make_client(retries=2)
    began = monotonic()
    with pytest.raises(httpx.ConnectError):
        client.post(unheard(), content=iter([b"x"]))
    assert monotonic() - began >= 0.4, "the third attempt comes half a second after the second"
    peer = serve(resetting)
    with pytest.raises(httpx.ReadError):
        client.get(url_of(peer))
    assert len(peer.connections) == 1


def test_connection_that_is_not_accepted_is_a_connect_timeout(client: httpx.Client) -> None:
    with unaccepting() as url, pytest.raises(httpx.ConnectTimeout):
        client.get(url, timeout=httpx.Timeout(GUARD_SECONDS, connect=SOON))


def test_handshake_that_does_not_come_is_a_connect_timeout(serve: Any, client: httpx.Client) -> None:
    with pytest.raises(httpx.ConnectTimeout):
        client.get(f"https://127.0.0.1:{serve(silent).port}/", timeout=httpx.Timeout(GUARD_SECONDS, connect=SOON))


@pytest.mark.parametrize("url", ["ftp://example.com/", "http+unix://x/"])
def test_unknown_scheme_is_called_so(client: httpx.Client, url: str) -> None:
    with pytest.raises(httpx.UnsupportedProtocol):
        client.get(url)


def test_upgrade_is_refused(site: Any, client: httpx.Client) -> None:
    with pytest.raises(httpx.LocalProtocolError, match="HttpClient"):
        client.get(site.url, headers={"Connection": "Upgrade", "Upgrade": "websocket"})


def test_error_of_a_body_is_the_callers_own(site: Any, client: httpx.Client) -> None:
    def failing() -> Iterator[bytes]:
        yield b"1"
        raise ValueError("mine")

    with pytest.raises(ValueError, match="mine"):
        client.post(site.url, content=failing())
    assert counts_of(client) == (0, 0, 0)


# TLS, proxies, sockets


def test_server_is_verified(make_site: Any, make_client: Any, server_tls: Any, authority_file: Path) -> None:
    site = make_site(context=server_tls)
    with pytest.raises(httpx.ConnectError, match="certificate is not accepted"):
        make_client().get(site.url)
    assert make_client(verify=str(authority_file)).get(site.url).is_success
    assert make_client(verify=False).get(site.url).is_success
    assert make_client(verify=ssl.create_default_context(cafile=authority_file)).get(site.url).is_success


def test_environment_names_authorities(
    make_site: Any, make_client: Any, server_tls: Any, authority_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = make_site(context=server_tls)
    monkeypatch.setenv("SSL_CERT_FILE", str(authority_file))
    assert make_client().get(site.url).is_success
    with pytest.raises(httpx.ConnectError):
        make_client(trust_env=False).get(site.url)


def test_client_shows_its_certificate(
    make_site: Any, make_client: Any, authority: Any, authority_file: Path, tmp_path: Path
) -> None:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    authority.configure_trust(context)
    context.verify_mode = ssl.CERT_REQUIRED
    site = make_site(context=context)
    mine = authority.issue_cert("client")
    mine.private_key_pem.write_to_path(tmp_path / "key.pem")
    mine.cert_chain_pems[0].write_to_path(tmp_path / "cert.pem")
    pair = (str(tmp_path / "cert.pem"), str(tmp_path / "key.pem"))
    assert make_client(verify=str(authority_file), cert=pair).get(site.url).is_success


def test_http_goes_to_the_proxy_as_it_is(serve: Any, make_client: Any) -> None:
    peer = serve(replies(OK, OK))
    client = make_client(proxy=f"http://u:p@127.0.0.1:{peer.port}")
    assert client.get("http://shop.example/tea?hot=1").content == b"ok"
    assert client.get("http://other.example/").content == b"ok"
    first, second = peer.received.split(b"\r\n\r\n")[:2]
    assert first.startswith(b"GET http://shop.example/tea?hot=1 HTTP/1.1\r\nHost: shop.example\r\n")
    assert b"\r\nProxy-Authorization: Basic dTpw" in second
    assert len(peer.connections) == 1


def test_https_goes_through_a_tunnel(
    make_site: Any, serve: Any, make_client: Any, server_tls: Any, authority_file: Path
) -> None:
    site, peer = make_site(context=server_tls), serve(tunnelling)
    proxy = httpx.Proxy(f"http://127.0.0.1:{peer.port}", auth=("u", "p"), headers={"X-Mine": "1"})
    client = make_client(verify=str(authority_file), proxy=proxy)
    for _ in range(2):
        told = client.get(site.url).json()
        assert "proxy_authorization" not in told["fields"]
        assert "x_mine" not in told["fields"]
    assert len(peer.connections) == 1
    assert b"\r\nProxy-Authorization: Basic dTpw" in peer.received
    assert b"\r\nX-Mine: 1" in peer.received


@pytest.mark.parametrize("url", ["http://shop.example/", "https://shop.example/"])
def test_proxy_that_cannot_be_reached_is_a_proxy_error(make_client: Any, url: str) -> None:
    with pytest.raises(httpx.ProxyError, match="Connection refused"):
        make_client(proxy=unheard()).get(url)


@pytest.mark.parametrize("proxy", ["https://127.0.0.1:1", "socks5://127.0.0.1:1"])
def test_proxy_that_is_not_known_is_called_so(proxy: str) -> None:
    with pytest.raises(ValueError, match="knows http:// proxies only"):
        HTTPTransport(proxy=proxy)


def test_unix_socket(make_site: Any, make_client: Any, tmp_path: Path) -> None:
    path = str(tmp_path / "s")
    make_site(address=path)
    told = make_client(uds=path).get("http://shop.example/tea").json()
    assert (told["target"], told["fields"]["host"]) == ("/tea", "shop.example")


def test_local_address(site: Any, make_client: Any) -> None:
    assert make_client(local_address="127.0.0.1").get(site.url).is_success


# greenlets, strikes, threads


def test_twenty_greenlets_share_a_client(way: Any, client: httpx.Client) -> None:
    _, url = way

    def ask(name: int) -> None:
        for number in range(6):
            target = f"/told?{name}.{number}"
            assert client.post(url + target, content=b"x").json()["target"] == target

    gevent.joinall([gevent.spawn(ask, name) for name in range(20)], timeout=GUARD_SECONDS * 3, raise_error=True)
    taken, idle, waiting = counts_of(client)
    assert (taken, waiting) == (0, 0)
    assert 1 <= idle <= 20


def plain(client: httpx.Client, url: str) -> None:
    assert client.get(url + "/told?mine").json()["target"] == "/told?mine"


def upload(client: httpx.Client, url: str) -> None:
    content = (b"x" * 10_000 for _ in range(5))
    assert client.put(url + "/echo", content=content).content == b"x" * 50_000


def stream(client: httpx.Client, url: str) -> None:
    with client.stream("GET", url + "/bytes?size=300000") as response:
        assert sum(map(len, response.iter_bytes())) == 300_000


@pytest.mark.parametrize("error", STRIKES)
@pytest.mark.parametrize("action", [plain, upload, stream], ids=lambda action: action.__name__)
def test_struck_at_each_wait_in_turn(site: Any, make_client: Any, action: Any, error: type[BaseException]) -> None:
    wait_number = 0
    goes_on = True
    while goes_on:
        client = make_client(limits=httpx.Limits(max_connections=1))  # so that one that is lost is missed at once
        plain(client, site.url)
        goes_on = strike_at(wait_number, error, lambda client=client: action(client, site.url))  # type: ignore[misc]
        gevent.idle()
        taken, _, waiting = counts_of(client)
        assert (taken, waiting) == (0, 0)
        plain(client, site.url)
        client.close()
        wait_number += 1
    assert wait_number > 1, "it has never waited"


def test_kills_and_timeouts_lose_no_connection(site: Any, make_client: Any) -> None:
    client = make_client(limits=httpx.Limits(max_connections=4))

    def ask(number: int) -> None:
        assert client.get(f"{site.url}/told?{number}").json()["target"] == f"/told?{number}"

    strike_many(ask)
    taken, idle, waiting = counts_of(client)
    assert (taken, waiting) == (0, 0)
    assert idle <= 4


def test_client_is_used_from_another_thread(site: Any, client: httpx.Client) -> None:
    client.get(site.url)
    assert call_in_thread(lambda: client.get(site.url + "/there")).json()["target"] == "/there"
    assert client.get(site.url).is_success
    assert counts_of(client) == (0, 1, 0)


# the rest


def test_body_for_an_async_client_is_refused(site: Any, client: httpx.Client) -> None:
    async def pieces() -> Any:
        yield b"x"

    with pytest.raises(RuntimeError):
        client.post(site.url, content=pieces())
    with pytest.raises(RuntimeError, match="AsyncClient"):
        HTTPTransport().handle_request(httpx.Request("POST", site.url, content=pieces()))


PROGRAM = """
{first}
import gevent, httpx
from gruvihttp import HttpServer
from gruvihttp.compat.httpx import HTTPTransport

def application(environ, start_response):
    gevent.sleep(0.1)
    start_response("200 OK", [("Set-Cookie", "a=b")])
    return [environ["PATH_INFO"].encode()]

server = HttpServer(application)
server.listen(("127.0.0.1", 0))
url = "http://127.0.0.1:%d" % server.addresses[0][1]
with httpx.Client(transport=HTTPTransport(), timeout=20) as client:
    greenlets = [gevent.spawn(client.get, url + "/%d" % number) for number in range(10)]
    gevent.joinall(greenlets, timeout=20, raise_error=True)
    print([greenlet.value.text for greenlet in greenlets] == ["/%d" % number for number in range(10)])
server.close()
"""


@pytest.mark.parametrize(
    "first", ["", "from gevent import monkey; monkey.patch_all()"], ids=["unpatched", "monkey-patched"]
)
def test_program_needs_no_patching_and_bears_it(first: str) -> None:
    result = run_python(PROGRAM.format(first=first), "-W", "error::ResourceWarning")
    assert (result.stdout, result.stderr) == ("True\n", "")


def test_missing_package_is_named_with_how_to_install_it() -> None:
    program = "import sys; sys.modules['httpx'] = None; import gruvihttp.compat.httpx"
    result = run_python(program)
    assert result.stderr.splitlines()[-1].endswith("pip install 'gruvihttp[httpx]'")
