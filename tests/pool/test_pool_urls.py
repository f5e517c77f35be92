"""URLs as people write them: what they mean, and what is said about those that mean nothing."""

from __future__ import annotations

import pickle
from typing import Any

import pytest

from gruvihttp import HttpPool, TransportError
from gruvihttp.origins import Origin, basic_credentials, destination_of, shown_url

GOOD = [
    ("http://example.com", ("http", "example.com", 80, ""), "/", "http://example.com/"),
    ("HTTPS://Example.COM:443/A?b#c", ("https", "example.com", 443, ""), "/A?b", "https://example.com/A?b#c"),
    ("http://example.com:8080/", ("http", "example.com", 8080, ""), "/", "http://example.com:8080/"),
    ("http://[::1]:80/x", ("http", "::1", 80, ""), "/x", "http://[::1]/x"),
    ("http://[fe80::1%25eth0]/", ("http", "fe80::1%25eth0", 80, ""), "/", "http://[fe80::1]/"),
    ("http://a/ä b?ö=\"#ü", ("http", "a", 80, ""), "/%C3%A4%20b?%C3%B6=%22", "http://a/%C3%A4%20b?%C3%B6=%22#ü"),
    ("http://a/%41%zz", ("http", "a", 80, ""), "/%41%zz", "http://a/%41%zz"),
    ("http://a?q", ("http", "a", 80, ""), "/?q", "http://a/?q"),
    ("http://münchen.example/", ("http", "xn--mnchen-3ya.example", 80, ""), "/", "http://xn--mnchen-3ya.example/"),
    ("http://u:p@a/", ("http", "a", 80, ""), "/", "http://a/"),
    ("http+unix://%2Frun%2Fs/x", ("http", "localhost", 80, "/run/s"), "/x", "http+unix://%2Frun%2Fs/x"),
]


@pytest.mark.parametrize(("url", "origin", "target", "clean"), GOOD, ids=[one[0][:30] for one in GOOD])
def test_url_is_understood(url: str, origin: Any, target: str, clean: str) -> None:
    destination = destination_of(url)
    assert (tuple(destination.origin), destination.target, destination.url) == (origin, target, clean)


BAD = [
    ("example.com/x", "has no scheme: write 'http://example.com/x' or 'https://example.com/x'"),
    ("//example.com/x", "has no scheme: write 'http://example.com/x'"),
    ("", "has no scheme"),
    ("localhost:8000", "has no scheme: write 'http://localhost:8000'"),
    ("htp://a/", "the scheme 'htp' is not known: did you mean 'http'?"),
    ("ftp://a/", "the scheme 'ftp' is not known"),
    ("gopher://a/", "use 'http' or 'https'"),
    ("http://", "its host or port cannot be understood"),
    ("http://a:b/", "its host or port cannot be understood"),
    ("http://a:99999/", "its host or port cannot be understood"),
    ("http://a b/", "its host or port cannot be understood"),
    ("http://a/\r\nX: y", "contains control characters"),
    ("http://a/\0", "contains control characters"),
    ("http://\N{ZERO WIDTH SPACE}a..b/", "is no domain name"),
    ("http://" + "ä" * 70 + "/", "is no domain name"),
]


@pytest.mark.parametrize(("url", "message"), BAD, ids=[repr(one[0][:20]) for one in BAD])
def test_bad_url_is_refused_with_advice(url: str, message: str) -> None:
    with pytest.raises(ValueError) as caught:
        destination_of(url)
    assert message in str(caught.value)


def test_url_of_another_type_is_refused() -> None:
    with pytest.raises(TypeError, match="must be str, not bytes"):
        destination_of(b"http://a/")


SECRET = [
    "user:secret@host/path",
    "http://user:secret@[/",
    "http://user:secret@host:port/",
    "http://user:sec/secret@host/",
    "htp://user:secret@host/",
    "http://user:secret@ä..b/",
    "http://user:secret@host/\n",
    "//user:secret@host/",
]


@pytest.mark.parametrize("url", SECRET)
def test_no_error_shows_credentials(url: str) -> None:
    with pytest.raises(ValueError) as caught:
        destination_of(url)
    assert "secret" not in str(caught.value)
    assert "secret" not in repr(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


def test_connection_error_shows_no_credentials(pool: HttpPool) -> None:
    with pytest.raises(TransportError) as caught:
        pool.get("http://user:secret@127.0.0.1:1/")
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "shown"),
    [("http://a/", "http://a/"), ("http://u:p@a/", "http://***@a/"), ("u:p@a", "***@a"), ("http://a/x@y", "http://***@y")],
)
def test_shown_url(url: str, shown: str) -> None:
    assert shown_url(url) == shown


def test_credentials_are_encoded() -> None:
    assert basic_credentials("ü", "p:q") == "Basic w7w6cDpx"


def test_origin_is_a_value() -> None:
    origin = Origin("https", "a", 444)
    assert (str(origin), origin.authority) == ("https://a:444", "a:444")
    assert pickle.loads(pickle.dumps(origin)) == origin
