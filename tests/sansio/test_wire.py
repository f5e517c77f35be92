"""The halves of a connection by themselves: messages of one direction, one after another, without any policy."""

from __future__ import annotations

from typing import Any

import pytest

from gruvihttp.errors import IncompleteMessage, LocalProtocolError, RemoteProtocolError
from gruvihttp.limits import Limits
from gruvihttp.sansio import NEED_DATA, PAUSED, ConnectionClosed, EndOfMessage, Headers, Request, Response
from gruvihttp.sansio.framing import CHUNKED, NONE, UNTIL_CLOSE, length
from gruvihttp.sansio.wire import MessageReader, MessageWriter, RequestReader, ResponseReader


def events_of(reader: MessageReader, *pieces: bytes) -> list[Any]:
    for piece in pieces:
        reader.receive_data(piece)
    events: list[Any] = []
    while not events or not (events[-1] in (NEED_DATA, PAUSED) or isinstance(events[-1], ConnectionClosed)):
        events.append(reader.next_event())
    return events


def names(events: list[Any]) -> list[str]:
    return [event.__name__ if isinstance(event, type) else type(event).__name__ for event in events]


GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello"


def test_requests_come_one_after_another_without_a_cycle() -> None:
    events = events_of(RequestReader(), GET + POST + GET, b"")
    assert names(events) == [
        "Request",
        "EndOfMessage",
        "Request",
        "Data",
        "EndOfMessage",
        "Request",
        "EndOfMessage",
        "ConnectionClosed",
    ]


def test_reader_of_requests_is_strict_unless_told_otherwise() -> None:
    folded = b"GET / HTTP/1.1\r\nHost: a\r\nX: y\r\n z\r\n\r\n"
    with pytest.raises(RemoteProtocolError):
        events_of(RequestReader(), folded)
    request, *_ = events_of(RequestReader(strict=False), folded)
    assert request.headers[1] == (b"x", b"y z")


@pytest.mark.parametrize(
    ("head", "framing", "persists", "expects", "upgrade"),
    [
        (GET, NONE, True, False, ()),
        (POST, length(5), True, False, ()),
        (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n", CHUNKED, True, False, ()),
        (b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", NONE, False, False, ()),
        (b"GET / HTTP/1.0\r\n\r\n", NONE, False, False, ()),
        (b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", NONE, True, False, ()),
        (b"GET / HTTP/1.0\r\nConnection: keep-alive, close\r\n\r\n", NONE, False, False, ()),
        (b"POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n", length(5), True, True, ()),
        (b"POST / HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n", length(5), False, False, ()),
        (
            b"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: X, y/2\r\n\r\n",
            NONE,
            True,
            False,
            (b"x", b"y/2"),
        ),
        (b"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: x\r\n\r\n", NONE, True, False, ()),
        (b"GET / HTTP/1.0\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n", NONE, False, False, ()),
    ],
)
def test_plan_of_a_request_is_what_its_head_says(
    head: bytes, framing: Any, persists: bool, expects: bool, upgrade: tuple[bytes, ...]
) -> None:
    reader = RequestReader()
    reader.receive_data(head)
    assert isinstance(reader.next_event(), Request)
    plan = reader.plan
    assert (plan.framing, plan.persists, plan.expects_continue, plan.upgrade) == (framing, persists, expects, upgrade)


@pytest.mark.parametrize(
    ("method", "head", "framing", "persists"),
    [
        (b"GET", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", length(5), True),
        (b"GET", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", CHUNKED, True),
        (b"GET", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n", CHUNKED, False),
        (b"GET", b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n", CHUNKED, False),
        (b"GET", b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 5\r\n\r\n", length(5), True),
        (b"GET", b"HTTP/1.1 200 OK\r\n\r\n", UNTIL_CLOSE, False),
        (b"HEAD", b"HTTP/1.1 200 OK\r\n\r\n", NONE, True),
        (b"HEAD", b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n", NONE, False),
        (b"GET", b"HTTP/1.1 204 x\r\n\r\n", NONE, True),
        (b"CONNECT", b"HTTP/1.1 404 x\r\nContent-Length: 5\r\n\r\n", length(5), True),
    ],
)
def test_plan_of_a_response_is_what_its_head_says(method: bytes, head: bytes, framing: Any, persists: bool) -> None:
    reader = ResponseReader()
    reader.request_method = method
    reader.receive_data(head)
    assert isinstance(reader.next_event(), Response)
    assert (reader.plan.framing, reader.plan.persists) == (framing, persists)


def test_responses_to_different_methods_come_one_after_another() -> None:
    reader = ResponseReader()
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n"
    reader.receive_data(b"HTTP/1.1 100 x\r\n\r\n" + answer + b"hi" + answer + answer + b"ho")
    seen = []
    for method in (b"GET", b"HEAD", b"GET"):
        reader.request_method = method
        while not isinstance(event := reader.next_event(), EndOfMessage):
            seen.append(event)
        seen.append(event)
    assert names(seen) == [
        "InformationalResponse",
        "Response",
        "Data",
        "EndOfMessage",
        "Response",
        "EndOfMessage",
        "Response",
        "Data",
        "EndOfMessage",
    ]
    assert reader.next_event() is NEED_DATA


@pytest.mark.parametrize(
    ("method", "head"),
    [(b"GET", b"HTTP/1.1 101 x\r\nUpgrade: x\r\n\r\n"), (b"CONNECT", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n")],
    ids=["upgrade", "connect"],
)
def test_bytes_after_a_switch_are_left_alone(method: bytes, head: bytes) -> None:
    reader = ResponseReader()
    reader.request_method = method
    assert events_of(reader, head + b"raw")[1:] == [PAUSED]
    assert events_of(reader, b"!", b"") == [PAUSED]
    assert reader.trailing_data == (b"raw!", True)


def test_end_of_the_stream_inside_a_head_is_incomplete() -> None:
    for reader in (RequestReader(), ResponseReader()):
        reader.receive_data(b"HTTP")
        reader.receive_data(b"")
        with pytest.raises(IncompleteMessage):
            reader.next_event()


def test_bytes_after_the_end_of_the_stream_are_the_callers_mistake() -> None:
    reader = RequestReader()
    reader.receive_data(b"")
    with pytest.raises(RuntimeError):
        reader.receive_data(GET)


def test_empty_lines_are_counted_for_each_request() -> None:
    reader = RequestReader()
    for _ in range(5):
        assert names(events_of(reader, b"\r\n" * 10 + GET)) == ["Request", "EndOfMessage", "NEED_DATA"]
    with pytest.raises(RemoteProtocolError, match="empty lines"):
        events_of(reader, b"\r\n" * 100)


def test_limits_are_those_that_were_given() -> None:
    with pytest.raises(RemoteProtocolError) as caught:
        events_of(RequestReader(Limits(content_bytes=4)), POST)
    assert caught.value.error_status_hint == 413


# writing


@pytest.mark.parametrize(
    ("framing", "pieces", "trailers", "expected"),
    [
        (NONE, [], [], b""),
        (NONE, [b""], [], b""),
        (length(5), [b"123", b"", b"45"], [], b"12345"),
        (CHUNKED, [b"aaa", b"", b"b" * 20], [], b"3\r\naaa\r\n14\r\n" + b"b" * 20 + b"\r\n0\r\n\r\n"),
        (CHUNKED, [], [(b"Etag", b"x"), (b"a", b"b")], b"0\r\nEtag: x\r\na: b\r\n\r\n"),
        (UNTIL_CLOSE, [b"12", b"", b"34"], [], b"1234"),
    ],
    ids=["none", "none-empty-piece", "length", "chunked", "trailers", "until-close"],
)
def test_content_is_written_as_it_is_framed(
    framing: Any, pieces: list[bytes], trailers: list[Any], expected: bytes
) -> None:
    writer = MessageWriter()
    for _ in range(2):  # a writer serves one message after another
        writer.start(framing)
        written = b"".join(buffer for piece in pieces for buffer in writer.data(piece))
        assert written + writer.end(Headers(trailers)) == expected


@pytest.mark.parametrize(
    ("framing", "pieces", "trailers"),
    [
        pytest.param(NONE, [b"x"], [], id="content-where-there-is-none"),
        pytest.param(NONE, [], [(b"a", b"b")], id="trailers-where-there-is-nothing"),
        pytest.param(length(5), [b"123456"], [], id="too-much"),
        pytest.param(length(5), [b"123", b"456"], [], id="too-much-in-sum"),
        pytest.param(length(5), [b"123"], [], id="too-little"),
        pytest.param(length(5), [b"12345"], [(b"a", b"b")], id="trailers-after-length"),
        pytest.param(UNTIL_CLOSE, [b"123"], [(b"a", b"b")], id="trailers-until-close"),
    ],
)
def test_content_that_does_not_fit_its_framing_is_refused(
    framing: Any, pieces: list[bytes], trailers: list[Any]
) -> None:
    writer = MessageWriter()
    writer.start(framing)
    with pytest.raises(LocalProtocolError):
        for piece in pieces:
            writer.data(piece)
        writer.end(Headers(trailers))


def test_piece_that_is_too_much_is_not_sent_and_what_fits_still_is() -> None:
    writer = MessageWriter()
    writer.start(length(5))
    with pytest.raises(LocalProtocolError):
        writer.data(b"123456")
    assert writer.data(b"12345") == [b"12345"]
    assert writer.end(Headers()) == b""


@pytest.mark.parametrize(
    ("rest", "is_there"),
    [
        pytest.param(b"2\r\nab\r\n3;x=y\r\ncde\r\n0\r\nX: 1\r\n\r\n", True, id="all"),
        pytest.param(b"2\r\nab\r\n3\r\ncde\r\n0\r\n\r\nGET", True, id="and-more"),
        pytest.param(b"2\r\nab\r\n4\r\ncdef\r\n0\r\n\r\n", False, id="too-much"),
        pytest.param(b"2\r\nab\r\n0\r\n", False, id="no-end"),
        pytest.param(b"2\r\nabc\r\n0\r\n\r\n", False, id="wrong"),
    ],
)
def test_whether_the_end_of_a_message_is_here_is_known_without_taking_it(rest: bytes, is_there: bool) -> None:
    reader = RequestReader()
    reader.receive_data(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n_")
    reader.receive_data(b"\r\n" + rest)
    assert isinstance(reader.next_event(), Request)
    assert reader.next_event().data == b"_"
    before = reader.trailing_data
    assert reader.has_rest(5) is is_there
    assert reader.trailing_data == before
    if is_there:
        assert names([reader.next_event() for _ in range(3)]) == ["Data", "Data", "EndOfMessage"]
        assert reader.has_rest(0)  # of a message that has been read
