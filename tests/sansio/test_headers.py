"""`Headers`: what a section of fields may be made of, and how it reads."""

from __future__ import annotations

from typing import Any

import pytest

from gruvihttp.errors import LocalProtocolError
from gruvihttp.sansio import Headers
from gruvihttp.sansio.fieldlines import headers_of_lines
from gruvihttp.sansio.headers import list_members, merged_content_length


@pytest.mark.parametrize(
    "fields",
    [
        pytest.param([("Foo", "bar")], id="str"),
        pytest.param([(b"Foo", b"bar")], id="bytes"),
        pytest.param([("Foo", b"bar")], id="mixed"),
        pytest.param([(bytearray(b"Foo"), memoryview(b"bar"))], id="bytes-like"),
        pytest.param((("Foo", "bar") for _ in range(1)), id="generator"),
        pytest.param({"Foo": "bar"}.items(), id="items"),
        pytest.param([["Foo", "bar"]], id="lists"),
    ],
)
def test_pairs_of_text_become_bytes_with_lower_case_names(fields: Any) -> None:
    headers = Headers.of(fields)
    assert headers == [(b"foo", b"bar")]
    assert headers.raw_items() == [(b"Foo", b"bar")]
    assert all(type(part) is bytes for field in (*headers, *headers.raw_items()) for part in field)


def test_no_fields_are_an_empty_section() -> None:
    assert Headers.of(None) == Headers.of([]) == Headers() == []


def test_ready_headers_are_taken_as_they_are() -> None:
    headers = Headers.of([("A", "b")])
    assert Headers.of(headers) is headers


def test_order_and_duplicates_are_kept() -> None:
    headers = Headers.of([("B", "1"), ("a", "2"), ("b", "3")])
    assert headers == [(b"b", b"1"), (b"a", b"2"), (b"b", b"3")]
    assert headers.raw_items() == [(b"B", b"1"), (b"a", b"2"), (b"b", b"3")]
    assert headers.combined() == {b"b": b"1, 3", b"a": b"2"}
    assert Headers.of([("B", "1")]).combined() == {b"b": b"1"}


def test_headers_are_a_sequence() -> None:
    headers = Headers.of([("A", "1"), ("B", "2"), ("C", "3")])
    assert len(headers) == 3
    assert headers[0] == (b"a", b"1")
    assert headers[1:] == [(b"b", b"2"), (b"c", b"3")]
    assert (b"c", b"3") in headers
    assert repr(headers) == "<Headers([(b'a', b'1'), (b'b', b'2'), (b'c', b'3')])>"
    assert headers != [(b"a", b"1")]
    assert headers != 5
    with pytest.raises(TypeError):
        hash(headers)


@pytest.mark.parametrize(
    "name",
    [
        "foo ",
        " foo",
        "foo bar",
        "foo:",
        "",
        "foo\t",
        b"foo\x00bar",
        b"foo\xffbar",
        b"foo\x01bar",
        "foo\r\nbar",
        "foo/bar",
        '"foo"',
        "(foo)",
        "foo\n",
    ],
    ids=repr,
)
def test_field_name_that_is_no_token_is_refused(name: Any) -> None:
    with pytest.raises(LocalProtocolError):
        Headers.of([(name, "x")])


@pytest.mark.parametrize(
    "value",
    [
        "bar\rbaz",
        "bar\nbaz",
        "bar\r\nbaz: x",
        "bar\x00baz",
        "bar\x0bbaz",
        "bar\x0cbaz",
        "bar ",
        " bar",
        "bar\t",
        "\tbar",
        " ",
        "bar\n",
        "\nbar",
        "bar\r",
    ],
    ids=repr,
)
def test_field_value_that_could_be_misread_is_refused(value: str) -> None:
    with pytest.raises(LocalProtocolError):
        Headers.of([("foo", value)])


def test_error_names_the_field_but_does_not_tell_its_value() -> None:
    with pytest.raises(LocalProtocolError, match="foo bar"):
        Headers.of([("foo bar", "x")])
    with pytest.raises(LocalProtocolError, match="Cookie") as caught:
        Headers.of([("Cookie", "secret\r\n")])
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "value", ["", "x", "a b", "a \t b", "a, b", "\x01", "kUd\x01UpAt", "\x7f", b"\x80\xff", '"q"', "a:b"], ids=repr
)
def test_field_value_that_h11_allows_is_allowed(value: Any) -> None:
    assert Headers.of([("Foo", value)])[0][1] == (value.encode() if isinstance(value, str) else value)


@pytest.mark.parametrize(
    ("given", "error"),
    [
        pytest.param(("Foo", "é"), UnicodeEncodeError, id="value-not-ascii"),
        pytest.param(("é", "x"), UnicodeEncodeError, id="name-not-ascii"),
        pytest.param(("Foo", 5), TypeError, id="number"),
        pytest.param((5, "x"), TypeError, id="name-is-a-number"),
        pytest.param(("Foo", True), TypeError, id="bool"),
        pytest.param(("Foo", None), TypeError, id="none"),
        pytest.param(("Foo", object()), TypeError, id="object"),
    ],
)
def test_what_is_neither_ascii_nor_bytes_is_refused(given: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        Headers.of([given])


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (["1"], b"1"),
        (["0"], b"0"),
        (["0", "0"], b"0"),
        (["0 , 0"], b"0"),
        (["5, 5", "5"], b"5"),
        (["1" * 20], b"1" * 20),
        (["007"], b"007"),
    ],
    ids=repr,
)
def test_equal_content_lengths_are_merged(values: list[str], expected: bytes) -> None:
    assert Headers.of([("Content-Length", value) for value in values]) == [(b"content-length", expected)]


@pytest.mark.parametrize(
    "values",
    [
        ["asdf"],
        ["1x"],
        ["1", "2"],
        ["1", "1", "2"],
        ["1 , 1,2"],
        ["1" * 21],
        [""],
        ["+1"],
        ["-1"],
        ["1_0"],
        ["0x1"],
        ["1 1"],
        ["1,"],
        [","],
        [b"\xb2"],
    ],
    ids=repr,
)
def test_content_length_that_is_no_length_is_refused(values: list[Any]) -> None:
    with pytest.raises(LocalProtocolError) as caught:
        Headers.of([("Content-Length", value) for value in values])
    assert caught.value.error_status_hint == 400


@pytest.mark.parametrize("value", ["chunked", "cHuNkEd", "CHUNKED"])
def test_chunked_is_the_one_coding_in_lower_case(value: str) -> None:
    assert Headers.of([("Transfer-Encoding", value)]) == [(b"transfer-encoding", b"chunked")]


@pytest.mark.parametrize(
    "values",
    [
        ["gzip"],
        ["chunked", "gzip"],
        ["chunked", "chunked"],
        ["chunked, chunked"],
        ["gzip, chunked"],
        ["identity"],
        [""],
    ],
    ids=repr,
)
def test_other_codings_carry_501(values: list[str]) -> None:
    with pytest.raises(LocalProtocolError) as caught:
        Headers.of([("Transfer-Encoding", value) for value in values])
    assert caught.value.error_status_hint == 501


def test_members_of_a_list_are_lower_case_without_blanks_and_empty_ones() -> None:
    assert list_members(b"fOo,, , BAR\t") == [b"foo", b"bar"]
    assert list_members(b"close") == [b"close"]
    assert list_members(b"") == list_members(b" , ,") == []


@pytest.mark.parametrize(
    ("value", "expected"),
    [(b"5", b"5"), (b"5, 5", b"5"), (b"5,6", None), (b"", None), (b"5,", None), (b"x", None), (b"1" * 21, None)],
)
def test_length_of_a_list_is_what_all_members_say(value: bytes, expected: bytes | None) -> None:
    assert merged_content_length(value) == expected


def test_lines_give_the_same_fields_as_pairs_do() -> None:
    section = b"Host: a\r\nAccept: */*\r\nX-Odd: b: c\r\nACCEPT: text/html\r\n"
    headers = headers_of_lines(section)
    given = [(b"Host", b"a"), (b"Accept", b"*/*"), (b"X-Odd", b"b: c"), (b"ACCEPT", b"text/html")]
    assert headers == Headers(given)
    assert headers.raw_items() == given
    assert headers_of_lines(section) == headers


@pytest.mark.parametrize("name", [b"User-Agent", b"Cookie", b"Authorization", b"X-Any"])
def test_many_different_lines_are_all_read_right(name: bytes) -> None:
    # more than are remembered, twice: what is remembered must not be taken for something else
    for _ in range(2):
        for number in range(4500):
            value = b"%d" % number
            assert headers_of_lines(b"%b: %b\r\n" % (name, value)).fields == [(name.lower(), value)]


@pytest.mark.parametrize("name", ["User-Agent", "Cookie", "X-Any"])
def test_many_different_pairs_are_all_converted_right(name: str) -> None:
    for _ in range(2):
        for number in range(4500):
            headers = Headers.of([(name, str(number))])
            assert headers.fields == [(name.lower().encode(), b"%d" % number)]
            assert headers.raw == [(name.encode(), b"%d" % number)]


def test_what_is_remembered_of_a_pair_is_only_what_was_right() -> None:
    for _ in range(3):
        with pytest.raises(LocalProtocolError):
            Headers.of([("User-Agent", "x\n")])
        with pytest.raises(TypeError):
            Headers.of([("User-Agent", 1)])  # type: ignore[list-item]
