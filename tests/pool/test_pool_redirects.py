"""Where a redirect leads, what goes along, and what does not (RFC 9110 §15.4)."""

from __future__ import annotations

import io
from http.cookiejar import CookieJar
from typing import Any

import pytest

from gruvihttp import HttpPool, RedirectError
from gruvihttp.pool.redirects import fields_kept, step_of
from gruvihttp.testing import RawPeer

METHODS = [
    (301, "GET", "GET", True),
    (301, "POST", "GET", False),
    (301, "PUT", "PUT", True),
    (302, "POST", "GET", False),
    (302, "HEAD", "HEAD", True),
    (302, "DELETE", "DELETE", True),
    (303, "GET", "GET", False),
    (303, "POST", "GET", False),
    (303, "PUT", "GET", False),
    (303, "HEAD", "HEAD", False),
    (307, "POST", "POST", True),
    (308, "POST", "POST", True),
    (308, "GET", "GET", True),
]


@pytest.mark.parametrize(("status", "before", "after", "keeps_content"), METHODS)
def test_method_and_content_after_a_redirect(status: int, before: str, after: str, keeps_content: bool) -> None:
    step = step_of(status, before, "http://a/", "/b")
    assert (step.method, step.keeps_content) == (after, keeps_content)


LOCATIONS = [
    pytest.param("http://a/x/y?q", "/z", "http://a/z", id="path"),
    pytest.param("http://a/x/y?q", "z", "http://a/x/z", id="relative"),
    pytest.param("http://a/x/y?q", "?r", "http://a/x/y?r", id="query"),
    pytest.param("http://a/x/y?q", "//b:81/z", "http://b:81/z", id="authority"),
    pytest.param("http://a/x", "https://b", "https://b/", id="absolute"),
    pytest.param("http://a/x#part", "/z", "http://a/z#part", id="fragment-inherited"),
    pytest.param("http://a/x#part", "/z#own", "http://a/z#own", id="fragment-own"),
    pytest.param("http://a/x", "/a b/ä", "http://a/a%20b/%C3%A4", id="quoted"),
    pytest.param("http://a/x", "/ä".encode().decode("latin-1"), "http://a/%C3%A4", id="utf-8"),
    pytest.param("http://a/x", "HTTP://B/z", "http://b/z", id="case"),
    pytest.param("http://a/x", "http://user:secret@b/z", "http://b/z", id="credentials-dropped"),
]


@pytest.mark.parametrize(("url", "location", "expected"), LOCATIONS)
def test_location_is_resolved(url: str, location: str, expected: str) -> None:
    destination = step_of(302, "GET", url, location).destination
    assert destination.url == expected
    assert destination.credentials is None


@pytest.mark.parametrize(
    "location",
    ["ftp://a/", "http+unix://%2Frun%2Fs/", "javascript:alert()", "http://a:99999/", "http://u:secret@[/"],
)
def test_location_that_is_no_http_url_is_an_error_without_secrets(location: str) -> None:
    with pytest.raises(RedirectError, match="the server redirects to what is no") as caught:
        step_of(302, "GET", "http://a/", location)
    assert "secret" not in str(caught.value)


FIELDS = [("Authorization", "a"), ("cookie", "c"), ("Host", "h"), ("Content-Type", "t"), ("X-Other", "o")]


@pytest.mark.parametrize(
    ("same_origin", "keeps_content", "left"),
    [
        pytest.param(True, True, ["Authorization", "cookie", "Host", "Content-Type", "X-Other"], id="all"),
        pytest.param(False, True, ["Content-Type", "X-Other"], id="other-origin"),
        pytest.param(True, False, ["Authorization", "cookie", "Host", "X-Other"], id="without-content"),
        pytest.param(False, False, ["X-Other"], id="neither"),
    ],
)
def test_fields_that_go_along(same_origin: bool, keeps_content: bool, left: list[str]) -> None:
    kept = fields_kept(FIELDS, same_origin=same_origin, keeps_content=keeps_content)
    assert [name for name, _ in kept] == left


def test_redirects_are_followed_and_remembered(site: Any, pool: HttpPool) -> None:
    response = pool.get(site.url + "/redirect?to=/redirect%3Fto%3D/told#part")
    assert response.json()["target"] == "/told"
    assert response.url == site.url + "/told#part"
    assert [one.status for one in response.history] == [302, 302]
    assert [one.url.removeprefix(site.url) for one in response.history] == [
        "/redirect?to=/redirect%3Fto%3D/told#part",
        "/redirect?to=/told#part",
    ]
    assert not response.downgraded
    assert pool.counts == (0, 1, 0)
    assert len(site.peers) == 1


def test_redirects_are_not_followed_if_not_wanted(site: Any, pool: HttpPool) -> None:
    response = pool.get(site.url + "/redirect?to=/told", allow_redirects=False)
    assert (response.status, response.get_header("Location"), response.text) == (302, "/told", "elsewhere")


@pytest.mark.parametrize("path", ["/status?code=302", "/status?code=304"])
def test_redirect_without_location_is_a_response(site: Any, pool: HttpPool, path: str) -> None:
    assert pool.get(site.url + path).history in ((), [])


def test_endless_redirects_end(serve: Any, pool: HttpPool) -> None:
    def script(peer: RawPeer) -> None:
        while peer.read_until().endswith(b"\r\n\r\n"):
            peer.send(b"HTTP/1.1 302 Found\r\nLocation: /again\r\nContent-Length: 0\r\n\r\n")

    peer = serve(script)
    with pytest.raises(RedirectError, match="more than 10 redirects") as caught:
        pool.get(f"http://127.0.0.1:{peer.port}/")
    assert caught.value.response.status == 302
    assert peer.received.count(b"GET ") == 11
    assert pool.counts == (0, 1, 0)


@pytest.mark.parametrize(
    "body", [b"body", io.BytesIO(b"body"), [b"bo", b"dy"]], ids=["bytes", "file", "list"]
)
def test_body_goes_along_with_307(site: Any, pool: HttpPool, body: Any) -> None:
    response = pool.post(site.url + "/redirect?code=307&to=/told", body=body, headers={"Content-Type": "text/x"})
    told = response.json()
    assert (told["method"], told["content"], told["type"]) == ("POST", "body", "text/x")


def test_body_that_cannot_be_sent_again_is_an_error(site: Any, pool: HttpPool) -> None:
    with pytest.raises(RedirectError, match="cannot be sent twice") as caught:
        pool.post(site.url + "/redirect?code=307&to=/told", body=iter([b"body"]))
    assert caught.value.response.status == 307
    assert pool.post(site.url + "/redirect?code=303&to=/told", body=iter([b"body"])).json()["method"] == "GET"
    assert pool.counts.taken == 0


def test_content_fields_stay_behind_with_the_content(site: Any, pool: HttpPool) -> None:
    told = pool.post(site.url + "/redirect?code=303&to=/told", json={"a": 1}).json()
    assert (told["method"], told["content"], told["type"]) == ("GET", "", "")


def test_secrets_stay_with_their_origin(make_site: Any, make_pool: Any) -> None:
    first, second = make_site(), make_site()
    pool = make_pool(cookies=CookieJar())
    secret = {"Authorization": "Bearer x", "Cookie": "a=1", "X-Kept": "yes"}
    told = pool.get(f"{first.url}/redirect?to={second.url}/told", headers=secret).json()["fields"]
    assert told["x_kept"] == "yes"
    assert not {"authorization", "cookie"} & set(told)
    told = pool.get(f"{first.url}/redirect?to=/told", headers=secret).json()["fields"]
    assert (told["authorization"], told["cookie"]) == ("Bearer x", "a=1")
    told = pool.get(f"{first.url}/redirect?to={second.url}/told", auth=("u", "p")).json()["fields"]
    assert "authorization" not in told
    told = pool.get(f"http://u:p@127.0.0.1:{first.port}/redirect?to={second.url}/told").json()["fields"]
    assert "authorization" not in told


def test_way_from_https_to_http_is_told(make_site: Any, make_pool: Any, server_tls: Any, client_tls: Any) -> None:
    plain, secure = make_site(), make_site(context=server_tls)
    pool = make_pool(ssl=client_tls)
    assert pool.get(f"{secure.url}/redirect?to={plain.url}/redirect%3Fto%3D{secure.url}/told").downgraded
    assert not pool.get(f"{plain.url}/redirect?to={secure.url}/told").downgraded


def test_long_body_of_a_redirect_is_not_read(serve: Any, site: Any, pool: HttpPool) -> None:
    def script(peer: RawPeer) -> None:
        peer.read_until()
        peer.send(b"HTTP/1.1 302 Found\r\nLocation: %b/told\r\n\r\n" % site.url.encode())
        while True:
            peer.send(b"x" * 65536)

    peer = serve(script)
    assert pool.get(f"http://127.0.0.1:{peer.port}/").ok
    assert pool.counts == (0, 1, 0)
