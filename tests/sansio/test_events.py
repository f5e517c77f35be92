"""The events: what they are made of, what they refuse, and how they compare."""

from __future__ import annotations

import dataclasses
from http import HTTPStatus
from typing import Any

import pytest

from gruvihttp.errors import LocalProtocolError
from gruvihttp.sansio import (
    ConnectionClosed,
    Data,
    EndOfMessage,
    Event,
    Headers,
    InformationalResponse,
    Request,
    Response,
)

HOST = [("Host", "a")]
EVENTS: list[Any] = [
    Request(method="GET", target="/", headers=HOST),
    InformationalResponse(status_code=100),
    Response(status_code=200),
    Data(data=b"x"),
    EndOfMessage(),
    ConnectionClosed(),
]
by_class = pytest.mark.parametrize("event", EVENTS, ids=lambda event: type(event).__name__)


@by_class
def test_every_event_is_a_frozen_dataclass_without_dict(event: Any) -> None:
    assert isinstance(event, Event)
    assert dataclasses.is_dataclass(event)
    assert not hasattr(event, "__dict__")
    for field in dataclasses.fields(event):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(event, field.name, None)
    with pytest.raises(dataclasses.FrozenInstanceError):
        event.other = 1


@by_class
def test_only_connection_closed_can_be_hashed(event: Any) -> None:
    if isinstance(event, ConnectionClosed):
        assert hash(event) == hash(ConnectionClosed())
    else:
        with pytest.raises(TypeError):
            hash(event)


@by_class
def test_events_compare_by_class_and_fields(event: Any) -> None:
    assert event == dataclasses.replace(event)
    assert [other for other in EVENTS if other == event] == [event]
    assert event != 5


def test_event_itself_cannot_be_made() -> None:
    with pytest.raises(TypeError, match="abstract"):
        Event()


def test_request_is_all_bytes_however_it_is_given() -> None:
    headers = Headers.of([(b"Host", b"a"), (b"X-Y", b"z")])
    ways = [
        Request(method="GET", target="/a", headers=[("Host", "a"), ("X-Y", "z")]),
        Request(method=b"GET", target=b"/a", headers=[(b"Host", b"a"), (b"X-Y", b"z")], http_version=b"1.1"),
        Request(method=bytearray(b"GET"), target=memoryview(b"/a"), headers=headers, http_version="1.1"),  # type: ignore[arg-type]
    ]
    for request in ways:
        assert request == ways[0]
        assert (request.method, request.target, request.http_version) == (b"GET", b"/a", b"1.1")
        assert request.headers == [(b"host", b"a"), (b"x-y", b"z")]
        assert request.headers.raw_items() == [(b"Host", b"a"), (b"X-Y", b"z")]
        assert {type(part) for part in (request.method, request.target, request.http_version)} == {bytes}


@pytest.mark.parametrize("left_out", ["method", "target", "headers"])
def test_request_needs_each_of_its_parts(left_out: str) -> None:
    given = {"method": "GET", "target": "/", "headers": HOST}
    del given[left_out]
    with pytest.raises(TypeError):
        Request(**given)  # type: ignore[arg-type]


def test_heads_take_keywords_only() -> None:
    with pytest.raises(TypeError):
        Request("GET", "/", HOST)  # type: ignore[misc]
    with pytest.raises(TypeError):
        Response(200)  # type: ignore[misc]
    with pytest.raises(TypeError):
        EndOfMessage([])  # type: ignore[misc]


@pytest.mark.parametrize(
    "part",
    [
        pytest.param({"method": ""}, id="method-empty"),
        pytest.param({"method": "GET "}, id="method-blank"),
        pytest.param({"method": "GET\r\n"}, id="method-crlf"),
        pytest.param({"method": "G(T"}, id="method-no-token"),
        pytest.param({"method": b"G\xcbT"}, id="method-not-ascii"),
        pytest.param({"target": ""}, id="target-empty"),
        pytest.param({"target": "/a b"}, id="target-blank"),
        pytest.param({"target": "/\r\nX: y"}, id="target-crlf"),
        pytest.param({"target": "/\n"}, id="target-lf"),
        pytest.param({"target": b"/\x00"}, id="target-nul"),
        pytest.param({"target": b"/\x7f"}, id="target-delete"),
        pytest.param({"target": b"/\xee"}, id="target-not-ascii"),
        pytest.param({"headers": []}, id="host-missing"),
        pytest.param({"headers": [*HOST, *HOST]}, id="host-twice"),
        pytest.param({"headers": [*HOST, *HOST], "http_version": "1.0"}, id="host-twice-in-1.0"),
        pytest.param({"headers": [*HOST, ("Foo", "   asd\x00")]}, id="bad-field"),
    ],
)
def test_request_refuses_a_bad_part(part: dict[str, Any]) -> None:
    given: dict[str, Any] = {"method": "GET", "target": "/", "headers": HOST}
    with pytest.raises(LocalProtocolError):
        Request(**(given | part))


@pytest.mark.parametrize("version", ["1.0", "1.2", "0.9", "2.0"])
def test_host_may_be_missing_in_other_versions(version: str) -> None:
    assert Request(method="GET", target="/", headers=[], http_version=version).http_version == version.encode()


@pytest.mark.parametrize(
    ("kind", "status"),
    [
        (InformationalResponse, 100),
        (InformationalResponse, 199),
        (Response, 200),
        (Response, 999),
        (Response, HTTPStatus.OK),
        (InformationalResponse, HTTPStatus.CONTINUE),
    ],
)
def test_status_in_its_range_is_kept_as_a_plain_int(kind: type[Response], status: int) -> None:
    event = kind(status_code=status)
    assert event.status_code == status
    assert type(event.status_code) is int
    assert (event.headers, event.reason, event.http_version) == ([], b"", b"1.1")


@pytest.mark.parametrize(
    ("kind", "status"),
    [
        (InformationalResponse, 99),
        (InformationalResponse, 200),
        (Response, 199),
        (Response, 100),
        (Response, 1000),
        (Response, 0),
        (Response, -200),
        (Response, "200"),
        (Response, b"200"),
        (Response, 200.0),
        (Response, None),
        (Response, True),
        (InformationalResponse, b"100"),
    ],
    ids=repr,
)
def test_status_out_of_range_or_no_int_is_refused(kind: type[Response], status: Any) -> None:
    with pytest.raises(LocalProtocolError):
        kind(status_code=status)


@pytest.mark.parametrize("kind", [InformationalResponse, Response])
@pytest.mark.parametrize("reason", ["OK", "", "Not  Found", "a\tb", b"\x80\xff"], ids=repr)
def test_reason_is_text(kind: Any, reason: Any) -> None:
    status = 100 if kind is InformationalResponse else 200
    event = kind(status_code=status, reason=reason)
    assert event.reason == (reason.encode() if isinstance(reason, str) else reason)


@pytest.mark.parametrize("kind", [InformationalResponse, Response])
@pytest.mark.parametrize("reason", ["x\r\nA: b", "x\n", "x\r", "\x00", "a\x01", "\x7f"], ids=repr)
def test_reason_that_could_become_a_field_line_is_refused(kind: Any, reason: str) -> None:
    with pytest.raises(LocalProtocolError):
        kind(status_code=100 if kind is InformationalResponse else 200, reason=reason)


def test_text_that_is_not_ascii_is_a_unicode_error() -> None:
    with pytest.raises(UnicodeEncodeError):
        Request(method="GET", target="/é", headers=HOST)
    with pytest.raises(UnicodeEncodeError):
        Response(status_code=200, reason="é")
    with pytest.raises(TypeError):
        Request(method=5, target="/", headers=HOST)  # type: ignore[arg-type]


def test_data_takes_anything_with_a_length_by_position_too() -> None:
    assert Data(b"x") == Data(data=b"x")
    assert Data(b"x", True, True) == Data(data=b"x", chunk_start=True, chunk_end=True)
    assert Data(b"x") != Data(b"x", chunk_start=True)
    for content in (b"x", bytearray(b"x"), memoryview(b"x"), [1, 2]):
        assert Data(data=content).data is content


def test_end_of_message_has_trailers() -> None:
    assert EndOfMessage().headers == []
    assert EndOfMessage(headers=[("X", "y")]).headers == [(b"x", b"y")]
    with pytest.raises(LocalProtocolError):
        EndOfMessage(headers=[("X", "y\n")])


def test_representation_shows_the_fields() -> None:
    assert repr(ConnectionClosed()) == "ConnectionClosed()"
    assert repr(Data(b"x")) == "Data(data=b'x', chunk_start=False, chunk_end=False)"
    assert repr(Request(method="GET", target="/", headers=HOST)) == (
        "Request(method=b'GET', headers=<Headers([(b'host', b'a')])>, target=b'/', http_version=b'1.1')"
    )
    assert repr(Response(status_code=200, reason="OK")) == (
        "Response(headers=<Headers([])>, http_version=b'1.1', reason=b'OK', status_code=200)"
    )
