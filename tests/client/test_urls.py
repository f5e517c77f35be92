"""`parse_url`: what gruvi's users get for the URLs there are, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest

from gruvihttp import ParsedUrl, parse_url


def fields(**given: str) -> ParsedUrl:
    return ParsedUrl(**{name: given.get(name, "") for name in ParsedUrl._fields})


@pytest.mark.parametrize(
    ("url", "parsed"),
    [
        (
            "http://user:pw@example.com:81/a/b?c=d&e#f",
            ParsedUrl("http", "example.com", "/a/b", "c=d&e", "f", "81", "user:pw"),
        ),
        ("http://example.com", fields(scheme="http", host="example.com")),
        ("HTTPS://Example.com/", fields(scheme="https", host="Example.com", path="/")),
        ("http://example.com?a", fields(scheme="http", host="example.com", query="a")),
        ("http://example.com#a?b", fields(scheme="http", host="example.com", fragment="a?b")),
        ("http://example.com/?a?b/c", fields(scheme="http", host="example.com", path="/", query="a?b/c")),
        ("http://a@b@example.com/", fields(scheme="http", userinfo="a@b", host="example.com", path="/")),
        ("http://@example.com/", fields(scheme="http", host="example.com", path="/")),
        ("http://example.com:/", fields(scheme="http", host="example.com", path="/")),
        ("http://[::1]:8080/x", fields(scheme="http", host="::1", port="8080", path="/x")),
        ("http://[fe80::1%25eth0]/", fields(scheme="http", host="fe80::1%25eth0", path="/")),
        ("http://bücher.example/ö", fields(scheme="http", host="bücher.example", path="/ö")),
        ("example.com/x", fields(scheme="http", host="example.com", path="/x")),
        ("localhost:8080", fields(scheme="http", host="localhost", port="8080")),
        ("example.com/?u=http://x/", fields(scheme="http", host="example.com", path="/", query="u=http://x/")),
        ("/a?b#c", fields(path="/a", query="b", fragment="c")),
        ("//evil/x", fields(path="//evil/x")),
        ("/", fields(path="/")),
        ("*", fields(path="*")),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_s33_url_is_taken_apart(url: str, parsed: ParsedUrl) -> None:
    assert parse_url(url) == parsed


@pytest.mark.parametrize(
    "url",
    [
        "", " ", "http://", "http:///x", "http://:80/", "http://a b/", "http://a/\r\n", "http://a/\0", "http://a:x/",
        "http://a:65536/", "http://a:123456/", "http://[::1", "http://::1/", "http://[x]/", "1http://a/",
        "://a/", "?a", "#a", "http://[::1]x/", "http://a:80:80/",
    ],
    ids=repr,
)  # fmt: skip
def test_s33_other_than_a_url_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="invalid URL"):
        parse_url(url)


@pytest.mark.parametrize("url", [None, b"http://a/", 1], ids=repr)
def test_s33_other_than_text_is_refused(url: Any) -> None:
    with pytest.raises(TypeError):
        parse_url(url)


def test_s33_missing_scheme_is_the_default() -> None:
    assert parse_url("example.com", default_scheme="https") == fields(scheme="https", host="example.com")
    assert parse_url("example.com", "wss").ssl


@pytest.mark.parametrize(
    ("url", "host", "port"), [("example.com:443", "example.com", "443"), ("[::1]:80", "::1", "80")]
)
def test_s33_target_of_connect_is_host_and_port(url: str, host: str, port: str) -> None:
    assert parse_url(url, is_connect=True) == fields(host=host, port=port)


@pytest.mark.parametrize("url", ["example.com", "/x", "http://a:80", "a:80/x", "u@a:80", "*", "a:"])
def test_s33_other_targets_of_connect_are_refused(url: str) -> None:
    with pytest.raises(ValueError):
        parse_url(url, is_connect=True)


@pytest.mark.parametrize(
    ("url", "addr", "ssl", "target"),
    [
        ("http://example.com", ("example.com", 80), False, "/"),
        ("https://example.com", ("example.com", 443), True, "/"),
        ("ws://example.com/?a", ("example.com", 80), False, "/?a"),
        ("wss://example.com?a", ("example.com", 443), True, "/?a"),
        ("https://[::1]:81/a?b#c", ("::1", 81), True, "/a?b"),
        ("*", ("", 80), False, "*"),
    ],
)
def test_s33_properties_are_for_connecting_and_asking(url: str, addr: Any, ssl: bool, target: str) -> None:
    parsed = parse_url(url)
    assert (parsed.addr, parsed.ssl, parsed.target) == (addr, ssl, target)


def test_long_url_is_parsed_in_linear_time() -> None:
    parsed = parse_url("http://" + "a@" * 200_000 + "b/")
    assert parsed.host == "b"
    with pytest.raises(ValueError):
        parse_url("http://" + "[" * 200_000)
