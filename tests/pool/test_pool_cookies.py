"""Cookies: what a jar of http.cookiejar is shown, and what it makes of it."""

from __future__ import annotations

from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Any

import pytest

from gruvihttp import HttpPool


def cookie_of(response: Any) -> str | None:
    found: str | None = response.json()["fields"].get("cookie")
    return found


def test_cookies_come_back(site: Any, pool: HttpPool) -> None:
    assert cookie_of(pool.get(site.url)) is None
    pool.get(site.url + "/cookie?set=a%3D1")
    assert cookie_of(pool.get(site.url)) == "a=1; second=2"
    assert pool.cookies is not None
    assert {cookie.name: cookie.value for cookie in pool.cookies} == {"a": "1", "second": "2"}


def test_cookies_set_by_a_redirect_go_along(site: Any, pool: HttpPool) -> None:
    assert cookie_of(pool.get(site.url + "/cookie?set=a%3D1&to=/told")) == "a=1; second=2"


@pytest.mark.parametrize(
    ("cookie", "expected"),
    [
        pytest.param("a=1; Path=/other", "second=2", id="other-path"),
        pytest.param("a=1; Path=/told", "a=1; second=2", id="path"),
        pytest.param("a=1; Domain=example.com", "second=2", id="other-domain"),
        pytest.param("a=1; Secure", "second=2", id="secure"),
        pytest.param("a=1; Max-Age=0", "second=2", id="expired"),
        pytest.param("a=1; HttpOnly; SameSite=Lax", "a=1; second=2", id="attributes"),
    ],
)
def test_attributes_are_respected(site: Any, pool: HttpPool, cookie: str, expected: str) -> None:
    pool.get(site.url + "/cookie", params={"set": cookie})
    assert cookie_of(pool.get(site.url + "/told")) == expected


def test_secure_cookie_goes_to_https_only(make_site: Any, make_pool: Any, server_tls: Any, client_tls: Any) -> None:
    plain, secure = make_site(), make_site(context=server_tls)
    pool = make_pool(ssl=client_tls)
    pool.get(secure.url + "/cookie", params={"set": "a=1; Secure"})
    assert cookie_of(pool.get(secure.url)) == "a=1; second=2"
    assert cookie_of(pool.get(plain.url)) == "second=2"


def test_own_cookie_field_is_left_alone(site: Any, pool: HttpPool) -> None:
    pool.get(site.url + "/cookie?set=a%3D1")
    assert cookie_of(pool.get(site.url, headers={"cookie": "mine=1"})) == "mine=1"


def test_jar_and_its_policy_are_the_users(site: Any, make_pool: Any) -> None:
    jar = CookieJar(DefaultCookiePolicy(blocked_domains=["127.0.0.1"]))
    pool = make_pool(cookies=jar)
    pool.get(site.url + "/cookie?set=a%3D1")
    assert list(jar) == []
    assert pool.cookies is jar


def test_pool_without_cookies_keeps_none(site: Any, make_pool: Any) -> None:
    pool = make_pool(cookies=False)
    pool.get(site.url + "/cookie?set=a%3D1")
    assert cookie_of(pool.get(site.url)) is None
    assert pool.cookies is None


def test_response_names_the_cookies_that_it_sets(site: Any, pool: HttpPool) -> None:
    assert pool.get(site.url + "/cookie?set=a%3D1").set_cookies == ["a=1", "second=2"]
