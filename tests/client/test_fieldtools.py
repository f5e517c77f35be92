"""gruvi's helpers for fields."""

from __future__ import annotations

import http.client
from time import process_time

import pytest

from gruvihttp import fieldtools
from gruvihttp.fieldtools import (
    get_header,
    parse_content_type,
    parse_te,
    parse_trailer,
    remove_headers,
    rfc1123_date,
)


def test_s34_get_header_finds_the_first_in_any_case() -> None:
    headers = [("A", "1"), ("b", "2"), ("a", "3")]
    assert get_header(headers, "a") == "1"
    assert get_header(headers, "B") == "2"
    assert get_header(headers, "c") is None
    assert get_header(headers, "c", "d") == "d"


def test_s34_remove_headers_removes_all_from_the_list_itself() -> None:
    headers = [("A", "1"), ("b", "2"), ("a", "3")]
    assert remove_headers(headers, "a") is headers
    assert headers == [("b", "2")]


def test_s34_remove_headers_is_linear() -> None:
    headers = [("A", "1"), ("B", "2")] * 50_000
    start = process_time()
    remove_headers(headers, "a")
    assert process_time() - start < 5
    assert len(headers) == 50_000


@pytest.mark.parametrize(
    ("value", "parsed"),
    [
        (None, (None, {})),
        ("text/plain", ("text/plain", {})),
        ("Text/PLAIN; Charset=UTF-8", ("text/plain", {"charset": "UTF-8"})),
        ('a/b; c="d; e"; f=g', ("a/b", {"c": "d; e", "f": "g"})),
        ("", ("", {})),
    ],
)
def test_s34_parse_content_type(value: str | None, parsed: tuple[str | None, dict[str, str]]) -> None:
    assert parse_content_type(value) == parsed


@pytest.mark.parametrize(
    ("value", "parsed"),
    [
        (None, []),
        ("", []),
        ("trailers", [("trailers", None)]),
        ("Trailers, gzip;q=0.5, , deflate; Q=1", [("trailers", None), ("gzip", "0.5"), ("deflate", "1")]),
    ],
)
def test_s34_parse_te(value: str | None, parsed: list[tuple[str, str | None]]) -> None:
    assert parse_te(value) == parsed


@pytest.mark.parametrize(("value", "parsed"), [(None, []), ("", []), ("ETag", ["ETag"]), ("a, B,,c ", ["a", "B", "c"])])
def test_s34_parse_trailer(value: str | None, parsed: list[str]) -> None:
    assert parse_trailer(value) == parsed


def test_s34_rfc1123_date_is_in_gmt() -> None:
    assert rfc1123_date(784111777) == "Sun, 06 Nov 1994 08:49:37 GMT"
    assert rfc1123_date().endswith(" GMT")


def test_s34_status_constants_are_those_of_http_client() -> None:
    assert fieldtools.responses is http.client.responses
    names = ("OK", "NOT_FOUND", "INTERNAL_SERVER_ERROR")
    assert [getattr(fieldtools, name) for name in names] == [200, 404, 500]
