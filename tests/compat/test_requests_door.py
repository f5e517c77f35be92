"""requests' sessions over our pool: everything that they do goes on working, and what goes wrong has their names."""

from __future__ import annotations

import gzip
import io
import pickle
import random
import ssl
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from time import monotonic
from typing import Any

import gevent
import pytest
import requests
import urllib3
from misbehaviour import closing, events, resetting, saying, silent, unaccepting, unheard
from programs import run_python
from relays import tunnelling
from requests import exceptions
from striking import STRIKES, strike_at, strike_many
from threads import call_in_thread

from gruvihttp import Timeouts
from gruvihttp.compat import requests as door
from gruvihttp.testing import RawPeer, replies

GUARD_SECONDS = 10.0
SOON = 0.1
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
EVENTS = [b"data: one\n\n", b"data: two\n\n"]


class Session(requests.Session):
    """A session with a guard: nothing here waits for ever."""

    def request(self, *args: Any, **options: Any) -> Any:
        options.setdefault("timeout", GUARD_SECONDS)
        return super().request(*args, **options)


@pytest.fixture
def make_session() -> Iterator[Any]:
    sessions: list[requests.Session] = []

    def make(**options: Any) -> requests.Session:
        session = Session()
        session.trust_env = False
        sessions.append(session)
        return door.mount(session, **options)

    yield make
    for session in sessions:
        session.close()


@pytest.fixture
def session(make_session: Any) -> requests.Session:
    made: requests.Session = make_session()
    return made


def counts_of(session: requests.Session) -> list[tuple[int, int, int]]:
    """The counts of all pools behind a session."""
    adapter: Any = session.get_adapter("http://x/")
    return [tuple(pool.counts) for pool in adapter._pools._of_this_thread().values()]


def url_of(peer: Any, path: str = "/") -> str:
    return f"http://127.0.0.1:{peer.port}{path}"


# what sessions do, on three ways to a server


def get(session: requests.Session, url: str) -> None:
    response = session.get(url + "/told?a=1", headers={"X-One": "1", "X-Bytes": b"2"})
    assert (response.status_code, response.reason, response.raw.version) == (200, "OK", 11)
    assert response.headers["content-type"] == "application/json"
    told = response.json()
    assert (told["method"], told["target"]) == ("GET", "/told?a=1")
    assert (told["fields"]["x_one"], told["fields"]["x_bytes"]) == ("1", "2")
    assert told["fields"]["user_agent"].startswith("python-requests/")
    assert "transfer_encoding" not in told["fields"]


def cookies_and_redirects(session: requests.Session, url: str) -> None:
    response = session.get(url + "/cookie?set=first%3D1&to=/told")
    assert [one.status_code for one in response.history] == [302]
    assert response.json()["fields"]["cookie"] == "first=1; second=2"
    assert session.cookies.get_dict() == {"first": "1", "second": "2"}
    assert response.history[0].cookies.get_dict() == {"first": "1", "second": "2"}
    assert response.history[0].raw._original_response.msg.get_all("set-cookie") == ["first=1", "second=2"]


def a_redirect_that_is_not_followed(session: requests.Session, url: str) -> None:
    response = session.get(url + "/redirect?to=/told", allow_redirects=False)
    assert (response.status_code, response.headers["Location"], response.next.path_url) == (302, "/told", "/told")


def a_redirected_upload(session: requests.Session, url: str) -> None:
    file = io.BytesIO(b"...the file")
    file.seek(3)
    response = session.put(url + "/redirect?code=307&to=/told", data=file)
    assert (response.json()["method"], response.json()["content"]) == ("PUT", "the file")


def gzip_is_undone(session: requests.Session, url: str) -> None:
    response = session.get(url + "/gzip?times=3000")
    assert response.content == b"zeros " * 3000
    response = session.get(url + "/gzip?times=3000", stream=True)
    assert b"".join(response.iter_content(100)) == b"zeros " * 3000


def content_of_known_length_comes_in_full_pieces(session: requests.Session, url: str) -> None:
    response = session.get(url + "/bytes?size=2500&length", stream=True)
    assert [len(piece) for piece in response.iter_content(1000)] == [1000, 1000, 500]


def chunked_content_comes_as_it_is_sent(session: requests.Session, url: str) -> None:
    response = session.get(url + "/pieces", stream=True)
    assert response.headers["Transfer-Encoding"] == "chunked"
    assert b"".join(response.iter_content(None)) == b"one two three"
    assert session.get(url + "/pieces").text == "one two three"


def lines(session: requests.Session, url: str) -> None:
    response = session.post(url + "/echo", data=b"one\ntwo\n\nlast", stream=True)
    assert list(response.iter_lines()) == [b"one", b"two", b"", b"last"]


def raw_reads(session: requests.Session, url: str) -> None:
    response = session.get(url + "/gzip?times=2", stream=True)
    assert gzip.decompress(response.raw.read()) == b"zeros zeros "
    response = session.get(url + "/gzip?times=2", stream=True)
    assert response.raw.read(5, decode_content=True) == b"zeros"
    assert response.raw.read(decode_content=True) == b" zeros "
    assert response.raw.read() == b""
    response = session.get(url + "/pieces", stream=True)
    assert b"".join(response.raw.stream(3)) == b"one two three"
    with session.get(url + "/bytes?size=300&length", stream=True) as response, io.BufferedReader(response.raw) as file:
        assert file.read(10) == b"x" * 10


def no_content(session: requests.Session, url: str) -> None:
    assert session.head(url + "/bytes?size=300&length").headers["Content-Length"] == "300"
    assert session.get(url + "/status?code=204").content == b""
    assert session.get(url + "/status?code=304").content == b""
    assert session.options(url + "/told").json()["method"] == "OPTIONS"


def uploads(session: requests.Session, url: str) -> None:
    told = session.post(url + "/told", data={"a": "1 2"}).json()
    assert (told["type"], told["content"]) == ("application/x-www-form-urlencoded", "a=1+2")
    told = session.post(url + "/told", json=["ä"]).json()
    assert (told["type"], told["content"]) == ("application/json", '["\\u00e4"]')
    told = session.post(url + "/told", data="ä").json()
    assert told["content"].encode("latin-1") == "ä".encode()
    told = session.post(url + "/told", files={"file": ("tea.txt", b"green")}).json()
    assert told["type"].startswith("multipart/form-data")
    assert "green" in told["content"]
    assert session.put(url + "/told", data=(piece for piece in ("ä", b"b"))).json()["content"] == "Ã¤b"
    assert session.put(url + "/told", data=iter(())).json()["content"] == ""
    assert session.post(url + "/told").json()["content"] == ""


def files(session: requests.Session, url: str) -> None:
    large = b"0123456789" * 8_000  # more than is read from a file at once
    assert session.put(url + "/digest", data=io.BytesIO(large)).text == f"80000 {sha256(large).hexdigest()}"
    path = Path(ssl.__file__)
    with path.open("rb") as file:
        response = session.put(url + "/digest", data=file)
    assert response.text.partition(" ")[2] == sha256(path.read_bytes()).hexdigest()
    assert response.request.headers["Content-Length"] == str(path.stat().st_size)


def credentials(session: requests.Session, url: str) -> None:
    assert session.get(url + "/told", auth=("u", "p")).json()["fields"]["authorization"] == "Basic dTpw"
    told = session.get(url.replace("://", "://u:p@") + "/told").json()
    assert told["fields"]["authorization"] == "Basic dTpw"


CHECKS = [
    get, cookies_and_redirects, a_redirect_that_is_not_followed, a_redirected_upload, gzip_is_undone,
    content_of_known_length_comes_in_full_pieces, chunked_content_comes_as_it_is_sent, lines, raw_reads, no_content,
    uploads, files, credentials,
]  # fmt: skip


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_drop_in(way: Any, session: requests.Session, check: Any) -> None:
    _, url = way
    check(session, url)
    assert counts_of(session) == [(0, 1, 0)], "one connection has served all of it"


def test_pieces_of_a_chunked_response_are_not_waited_for(serve: Any, session: requests.Session) -> None:
    heard = gevent.event.Event()
    response = session.get(url_of(serve(events(EVENTS, heard, GUARD_SECONDS))), stream=True)
    for piece, event in zip(response.iter_content(512), EVENTS, strict=True):
        assert piece == event
        heard.set()


# connections


def read_it(response: requests.Response) -> None:
    assert len(response.content) == 300_000


def close_it(response: requests.Response) -> None:
    response.raw.read(10)
    response.close()


def leave_a_block(response: requests.Response) -> None:
    with response:
        pass


def release_it(response: requests.Response) -> None:
    response.raw.release_conn()


def forget_it(response: requests.Response) -> None:
    pass


@pytest.mark.parametrize("end", [read_it, close_it, leave_a_block, release_it, forget_it], ids=lambda end: end.__name__)
def test_connection_is_given_back(site: Any, session: requests.Session, end: Any) -> None:
    for _ in range(3):
        response = session.get(site.url + "/bytes?size=300000", stream=True)
        assert counts_of(session) == [(1, 0, 0)]
        end(response)
        del response
        gevent.idle()
        assert counts_of(session) in ([(0, 1, 0)], [(0, 0, 0)])
    assert session.get(site.url + "/told").ok


def test_closing_adapter_closes_connections_and_may_be_used_again(site: Any, session: requests.Session) -> None:
    session.get(site.url)
    session.close()
    assert counts_of(session) == []
    assert session.get(site.url).ok


def test_connection_close_is_honoured(site: Any, session: requests.Session, monkeypatch: pytest.MonkeyPatch) -> None:
    told = session.get(site.url, headers={"Connection": "close"}).json()
    assert "connection" not in told["fields"]
    with gevent.Timeout(GUARD_SECONDS):
        while counts_of(session) != [(0, 0, 0)]:
            gevent.idle()


def test_upgrade_is_refused(site: Any, session: requests.Session) -> None:
    with pytest.raises(exceptions.InvalidHeader, match="HttpClient"):
        session.get(site.url, headers={"Connection": "Upgrade", "Upgrade": "websocket"})


def test_bound_on_connections_makes_others_wait(site: Any, make_session: Any) -> None:
    session = make_session(pool_maxsize=1, pool_block=True)
    response = session.get(site.url + "/half", stream=True)
    with pytest.raises(exceptions.ConnectTimeout, match="became free"):
        session.get(site.url, timeout=SOON)
    site.held.set()
    assert response.content == b"first second"
    assert session.get(site.url).ok


def test_pools_are_kept_for_few_combinations(site: Any, make_session: Any) -> None:
    session = make_session(pool_connections=2)
    for verify in (True, "/one", "/two", "/three"):
        session.get(site.url, verify=verify)
    assert counts_of(session) == [(0, 1, 0), (0, 1, 0)]


# what goes wrong


HEAD = b"HTTP/1.1 200 OK\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
FAULTS = [
    pytest.param(silent, exceptions.ReadTimeout, id="no-head"),
    pytest.param(closing, exceptions.ConnectionError, id="closed-before-the-head"),
    pytest.param(resetting, exceptions.ConnectionError, id="reset-before-the-head"),
    pytest.param(saying(b"SSH-2.0-OpenSSH_9.2\r\n\r\n"), exceptions.ConnectionError, id="no-http"),
    pytest.param(saying(HEAD + b"X: y"), exceptions.ConnectionError, id="cut-head"),
    pytest.param(saying(HEAD + b"Content-Length: 9\r\n\r\n123"), exceptions.ChunkedEncodingError, id="cut-content"),
    pytest.param(saying(CHUNKED + b"5\r\n12345\r\n"), exceptions.ChunkedEncodingError, id="cut-chunks"),
    pytest.param(saying(CHUNKED + b"xyz\r\n"), exceptions.ChunkedEncodingError, id="bad-chunks"),
    pytest.param(
        saying(HEAD + b"Content-Length: 9\r\n\r\n123", stays=True), exceptions.ConnectionError, id="content-that-stalls"
    ),
    pytest.param(
        saying(HEAD + b"Content-Encoding: gzip\r\nContent-Length: 4\r\n\r\nabcd"),
        exceptions.ContentDecodingError,
        id="bad-gzip",
    ),
    pytest.param(
        saying(HEAD + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nab"), exceptions.ConnectionError, id="two-lengths"
    ),
]


@pytest.mark.parametrize(("script", "kind"), FAULTS)
def test_fault_has_the_name_that_requests_gives_it(
    serve: Any, session: requests.Session, script: Any, kind: Any
) -> None:
    with pytest.raises(exceptions.RequestException) as caught:
        session.post(url_of(serve(script)), data=b"x", timeout=(GUARD_SECONDS, SOON))
    assert type(caught.value) is kind
    assert caught.value.request is None or caught.value.request.body == b"x"
    [(taken, _, waiting)] = counts_of(session)
    assert (taken, waiting) == (0, 0)


def test_refused_connection_is_a_connection_error(session: requests.Session) -> None:
    with pytest.raises(exceptions.ConnectionError, match="Connection refused") as caught:
        session.get(unheard().replace("//", "//user:secret@"))
    assert "secret" not in str(caught.value)
    assert isinstance(caught.value.args[0].reason, urllib3.exceptions.NewConnectionError)


def test_connection_that_is_not_accepted_is_a_connect_timeout(session: requests.Session) -> None:
    with unaccepting() as url, pytest.raises(exceptions.ConnectTimeout):
        session.get(url, timeout=(SOON, None))


def test_deadline_for_everything(serve: Any, session: requests.Session) -> None:
    def drip(peer: RawPeer) -> None:
        peer.read_until()
        peer.send(HEAD + b"Content-Length: 9999\r\n\r\n")
        while True:
            peer.send(b"x")
            gevent.sleep(0.01)

    began = monotonic()
    with pytest.raises(exceptions.ConnectionError, match="too long|timed out"):
        session.get(url_of(serve(drip)), timeout=Timeouts(total=SOON))
    assert monotonic() - began < GUARD_SECONDS / 2


TIMEOUTS = [
    pytest.param(3, (3, 3), id="number"),
    pytest.param((1, 2), (1, 2), id="pair"),
    pytest.param(None, (None, None), id="none"),
    pytest.param(urllib3.Timeout(4), (4, 4), id="urllib3-total"),
    pytest.param(urllib3.Timeout(connect=1, read=2), (1, 2), id="urllib3-each"),
    pytest.param(urllib3.Timeout(connect=1), (1, None), id="urllib3-connect"),
]


@pytest.mark.parametrize(("given", "meant"), TIMEOUTS)
def test_timeouts_are_understood(given: Any, meant: Any) -> None:
    timeouts = door._timeouts_of(given)
    assert (timeouts.connect, timeouts.read) == (
        meant[0], meant[1] if meant[1] is None else pytest.approx(meant[1], abs=0.1)
    )  # fmt: skip


@pytest.mark.parametrize("timeout", [(1, 2, 3), (1,), ("1", 2), "1"], ids=repr)
def test_timeout_that_is_none_is_refused(site: Any, session: requests.Session, timeout: Any) -> None:
    with pytest.raises(ValueError, match="timeout is a number, or a pair of them"):
        session.get(site.url, timeout=timeout)


@pytest.mark.parametrize("url", ["http://:80/", "http://127.0.0.1:99999/"])
def test_url_that_is_none_is_called_so(session: requests.Session, url: str) -> None:
    with pytest.raises(exceptions.InvalidURL):
        session.get(url)


def test_error_of_a_body_is_the_callers_own(site: Any, session: requests.Session) -> None:
    def failing() -> Iterator[bytes]:
        yield b"1"
        raise ValueError("mine")

    with pytest.raises(ValueError, match="mine"):
        session.post(site.url, data=failing())
    assert counts_of(session) == [(0, 0, 0)]


# TLS and proxies


def test_server_is_verified(
    make_site: Any, session: requests.Session, server_tls: ssl.SSLContext, authority: Any, authority_file: Path
) -> None:
    site = make_site(context=server_tls)
    with pytest.raises(exceptions.SSLError, match="CERTIFICATE_VERIFY_FAILED"):
        session.get(site.url)
    assert session.get(site.url, verify=str(authority_file)).ok
    assert session.get(site.url, verify=False).ok
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("other.example").configure_cert(context)
    with pytest.raises(exceptions.SSLError, match="not valid for '127.0.0.1'"):
        session.get(make_site(context=context).url, verify=str(authority_file))
    with pytest.raises(OSError):
        session.get(site.url, verify="/nonexistent")


def test_client_shows_its_certificate(
    make_site: Any, session: requests.Session, authority: Any, authority_file: Path, tmp_path: Path
) -> None:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    authority.configure_trust(context)
    context.verify_mode = ssl.CERT_REQUIRED
    site = make_site(context=context)
    mine = authority.issue_cert("client")
    mine.private_key_and_cert_chain_pem.write_to_path(tmp_path / "both.pem")
    mine.private_key_pem.write_to_path(tmp_path / "key.pem")
    mine.cert_chain_pems[0].write_to_path(tmp_path / "cert.pem")
    both, pair = str(tmp_path / "both.pem"), [str(tmp_path / "cert.pem"), str(tmp_path / "key.pem")]
    assert session.get(site.url, verify=str(authority_file), cert=both).ok
    assert session.get(site.url, verify=str(authority_file), cert=pair).ok
    with pytest.raises(exceptions.ConnectionError):
        session.get(site.url, verify=str(authority_file))


def given_at_once(context: ssl.SSLContext) -> Any:
    return door.HTTPAdapter(ssl_context=context)


def given_by_a_subclass(context: ssl.SSLContext) -> Any:
    class Adapter(door.HTTPAdapter):
        def init_poolmanager(self, *args: Any, **options: Any) -> None:
            super().init_poolmanager(*args, ssl_context=context, **options)

    return Adapter()


@pytest.mark.parametrize("make", [given_at_once, given_by_a_subclass])
def test_context_of_the_users_own(make_site: Any, server_tls: Any, authority_file: Path, make: Any) -> None:
    site = make_site(context=server_tls)
    with requests.Session() as session:
        session.mount("https://", make(ssl.create_default_context(cafile=authority_file)))
        assert session.get(site.url, timeout=GUARD_SECONDS).ok


def test_other_options_of_urllib3_are_refused() -> None:
    with pytest.raises(TypeError, match="not known here: assert_hostname"):
        door.HTTPAdapter().init_poolmanager(1, 1, assert_hostname=False)


def test_http_goes_to_the_proxy_as_it_is(serve: Any, session: requests.Session) -> None:
    peer = serve(replies(OK, OK, OK))
    proxies = {"http": f"http://u:p@127.0.0.1:{peer.port}"}
    assert session.get("http://shop.example/tea?hot=1", proxies=proxies).content == b"ok"
    assert session.get("http://other.example/", proxies=proxies).content == b"ok"
    proxies = {"http": f"127.0.0.1:{peer.port}"}
    assert session.get("http://third.example/", proxies=proxies).content == b"ok"
    fields = {"Proxy-Authorization": "Basic mine"}
    assert session.get("http://fourth.example/", proxies=proxies, headers=fields).content == b"ok"
    first, second, third, fourth = peer.received.split(b"\r\n\r\n")[:4]
    assert first.startswith(b"GET http://shop.example/tea?hot=1 HTTP/1.1\r\nHost: shop.example\r\n")
    assert b"\r\nProxy-Authorization: Basic dTpw" in second
    assert b"\r\nProxy-Authorization" not in third
    assert b"\r\nProxy-Authorization: Basic mine" in fourth
    assert len(peer.connections) == 3


def test_https_goes_through_a_tunnel(
    make_site: Any, serve: Any, session: requests.Session, server_tls: ssl.SSLContext, authority_file: Path
) -> None:
    site, peer = make_site(context=server_tls), serve(tunnelling)
    proxies = {"https": f"http://u:p@127.0.0.1:{peer.port}"}
    for _ in range(2):
        told = session.get(site.url, proxies=proxies, verify=str(authority_file)).json()
        assert "proxy_authorization" not in told["fields"]
    assert len(peer.connections) == 1
    assert b"\r\nProxy-Authorization: Basic dTpw" in peer.received
    with pytest.raises(exceptions.SSLError):
        session.get(site.url, proxies=proxies)


PROXIES = [
    pytest.param("socks5://127.0.0.1:1", exceptions.InvalidSchema, "SOCKS", id="socks"),
    pytest.param("https://127.0.0.1:1", exceptions.InvalidProxyURL, "http:// URL", id="https"),
    pytest.param("http://", exceptions.InvalidProxyURL, "invalid URL", id="no-host"),
]


@pytest.mark.parametrize(("proxy", "kind", "message"), PROXIES)
def test_proxy_that_is_not_known_is_called_so(session: requests.Session, proxy: str, kind: Any, message: str) -> None:
    with pytest.raises(kind, match=message):
        session.get("http://shop.example/", proxies={"http": proxy})


@pytest.mark.parametrize("url", ["http://shop.example/", "https://shop.example/"])
def test_proxy_that_cannot_be_reached_is_a_proxy_error(session: requests.Session, url: str) -> None:
    with pytest.raises(exceptions.ProxyError, match="Connection refused"):
        session.get(url, proxies={"all": unheard()})


def test_proxy_that_refuses_is_a_proxy_error(serve: Any, session: requests.Session) -> None:
    peer = serve(replies(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n"))
    with pytest.raises(exceptions.ProxyError, match="403 Forbidden"):
        session.get("https://shop.example/", proxies={"https": url_of(peer)})


# several attempts


def retry(**options: Any) -> urllib3.Retry:
    return urllib3.Retry(**{"backoff_factor": 0, **options})


def test_status_is_tried_again(serve: Any, make_session: Any) -> None:
    busy = b"HTTP/1.1 503 Busy\r\nContent-Length: 4\r\n\r\nbusy"
    peer = serve(replies(busy, busy, OK))
    session = make_session(max_retries=retry(total=3, status_forcelist=[503]))
    response = session.put(url_of(peer), data=b"x")
    assert response.content == b"ok"
    assert [attempt.status for attempt in response.raw.retries.history] == [503, 503]
    assert peer.received.count(b"PUT / ") == 3
    assert counts_of(session) == [(0, 1, 0)]


@pytest.mark.parametrize("raises", [True, False])
def test_status_that_stays_is_an_error_or_a_response(serve: Any, make_session: Any, raises: bool) -> None:
    peer = serve(replies(*[b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n"] * 2))
    session = make_session(max_retries=retry(total=1, status_forcelist=[503], raise_on_status=raises))
    if raises:
        with pytest.raises(exceptions.RetryError, match="too many 503 error responses"):
            session.get(url_of(peer))
    else:
        assert session.get(url_of(peer)).status_code == 503
    assert counts_of(session) == [(0, 1, 0)]


def test_connection_is_tried_again_and_others_run_meanwhile(make_session: Any) -> None:
    session = make_session(max_retries=urllib3.Retry(connect=2, backoff_factor=0.1))
    ticks = 0

    def tick() -> None:
        nonlocal ticks
        while True:
            ticks += 1
            gevent.sleep(0)

    ticking = gevent.spawn(tick)
    with pytest.raises(exceptions.ConnectionError, match="Max retries exceeded"):
        session.get(unheard())
    ticking.kill()
    assert ticks > 100  # thousands, unless the pause holds everybody


def test_reset_is_tried_again_if_that_is_wanted_and_the_body_can_be_sent_twice(serve: Any, make_session: Any) -> None:
    session = make_session(max_retries=retry(total=2))
    peer = serve(resetting, replies(OK, after=b"x"))
    file = io.BytesIO(b"..x")
    file.seek(2)
    assert session.put(url_of(peer), data=file).content == b"ok"
    peer = serve(resetting, replies(OK))
    with pytest.raises(exceptions.ConnectionError):
        session.put(url_of(peer), data=iter([b"x"]))
    assert len(peer.connections) == 1


def test_wait_that_a_server_asks_for_is_waited(serve: Any, make_session: Any) -> None:
    peer = serve(replies(b"HTTP/1.1 429 Slower\r\nRetry-After: 1\r\nContent-Length: 0\r\n\r\n", OK))
    session = make_session(max_retries=retry(total=1, status_forcelist=[429]))
    began = monotonic()
    assert session.get(url_of(peer)).content == b"ok"
    assert monotonic() - began >= 0.9


# greenlets, strikes, threads


def test_twenty_greenlets_share_a_session(way: Any, session: requests.Session) -> None:
    _, url = way

    def ask(name: int) -> None:
        for number in range(6):
            target = f"/told?{name}.{number}"
            assert session.post(url + target, data=b"x", cookies={"name": f"{name}"}).json()["target"] == target

    gevent.joinall([gevent.spawn(ask, name) for name in range(20)], timeout=GUARD_SECONDS * 3, raise_error=True)
    [(taken, idle, waiting)] = counts_of(session)
    assert (taken, waiting) == (0, 0)
    assert 1 <= idle <= 20


def plain(session: requests.Session, url: str) -> None:
    assert session.get(url + "/told?mine").json()["target"] == "/told?mine"


def upload(session: requests.Session, url: str) -> None:
    assert session.put(url + "/echo", data=(b"x" * 10_000 for _ in range(5))).content == b"x" * 50_000


def stream(session: requests.Session, url: str) -> None:
    with session.get(url + "/bytes?size=300000", stream=True) as response:
        assert sum(map(len, response.iter_content(8192))) == 300_000


def redirect(session: requests.Session, url: str) -> None:
    assert session.get(url + "/redirect?to=/told").json()["target"] == "/told"


@pytest.mark.parametrize("error", STRIKES)
@pytest.mark.parametrize("action", [plain, upload, stream, redirect], ids=lambda action: action.__name__)
def test_struck_at_each_wait_in_turn(site: Any, make_session: Any, action: Any, error: type[BaseException]) -> None:
    wait_number = 0
    goes_on = True
    while goes_on:
        session = make_session(pool_maxsize=1, pool_block=True)  # so that a connection that is lost is missed at once
        plain(session, site.url)
        goes_on = strike_at(wait_number, error, lambda session=session: action(session, site.url))  # type: ignore[misc]
        gevent.idle()
        [(taken, idle, waiting)] = counts_of(session)
        assert (taken, waiting) == (0, 0)
        plain(session, site.url)
        session.close()
        wait_number += 1
    assert wait_number > 1, "it has never waited"


def test_kills_and_timeouts_lose_no_connection(site: Any, make_session: Any) -> None:
    session = make_session(pool_maxsize=4, pool_block=True)
    chance = random.Random(2)

    def ask(number: int) -> None:
        response = session.get(f"{site.url}/told?{number}", stream=chance.random() < 0.5)
        assert response.json()["target"] == f"/told?{number}"

    strike_many(ask)
    [(taken, idle, waiting)] = counts_of(session)
    assert (taken, waiting) == (0, 0)
    assert idle <= 4


def test_session_is_used_from_another_thread(site: Any, session: requests.Session) -> None:
    session.get(site.url)
    assert call_in_thread(lambda: session.get(site.url + "/there")).json()["target"] == "/there"
    assert session.get(site.url).ok
    assert counts_of(session) == [(0, 1, 0)]


# the rest


def test_session_survives_pickling(site: Any) -> None:
    with pickle.loads(pickle.dumps(door.session(max_retries=2, idle_seconds=3.0))) as session:
        assert session.get(site.url, timeout=GUARD_SECONDS).ok
        adapter = session.get_adapter("https://x/")
        assert (type(adapter), adapter.max_retries.total, adapter._idle_seconds) == (door.HTTPAdapter, 2, 3.0)


def test_unix_socket(make_site: Any, session: requests.Session, tmp_path: Path) -> None:
    path = str(tmp_path / "s")
    make_site(address=path)
    told = session.get(f"http+unix://{path.replace('/', '%2F')}/told").json()
    assert told["target"] == "/told"


def test_fields_that_a_subclass_adds_are_sent(site: Any, make_session: Any) -> None:
    class Adapter(door.HTTPAdapter):
        def add_headers(self, request: Any, **known: Any) -> None:
            assert known["stream"] is False
            request.headers["X-Added"] = "1"

    session = make_session()
    session.mount("http://", Adapter())
    assert session.get(site.url).json()["fields"]["x_added"] == "1"


PROGRAM = """
{first}
import gevent, requests
from gruvihttp import HttpServer
from gruvihttp.compat.requests import session

def application(environ, start_response):
    gevent.sleep(0.1)
    start_response("200 OK", [("Set-Cookie", "a=b")])
    return [environ["PATH_INFO"].encode()]

server = HttpServer(application)
server.listen(("127.0.0.1", 0))
url = "http://127.0.0.1:%d" % server.addresses[0][1]
with session() as asking:
    greenlets = [gevent.spawn(asking.get, url + "/%d" % number, timeout=20) for number in range(10)]
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


@pytest.mark.parametrize("missing", ["requests", "urllib3"])
def test_missing_package_is_named_with_how_to_install_it(missing: str) -> None:
    program = f"import sys; sys.modules[{missing!r}] = None; import gruvihttp.compat.requests"
    result = run_python(program)
    assert result.stderr.splitlines()[-1].endswith("pip install 'gruvihttp[requests]'")
