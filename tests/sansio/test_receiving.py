"""What a connection makes of the bytes it receives, beyond the corpus: states, flags, pauses and ends."""

from __future__ import annotations

from typing import Any

import pytest

from gruvihttp.errors import (
    FieldsTooLarge,
    IncompleteMessage,
    LocalProtocolError,
    RemoteProtocolError,
    TargetTooLong,
)
from gruvihttp.limits import Limits
from gruvihttp.sansio import (
    CLIENT,
    CLOSED,
    DONE,
    ERROR,
    IDLE,
    MIGHT_SWITCH_PROTOCOL,
    MUST_CLOSE,
    NEED_DATA,
    PAUSED,
    SEND_BODY,
    SEND_RESPONSE,
    SERVER,
    SWITCHED_PROTOCOL,
    Connection,
    ConnectionClosed,
    Data,
    EndOfMessage,
    InformationalResponse,
    Request,
    Response,
)

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
CHUNKED_POST = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"


def events_of(connection: Connection, *pieces: bytes) -> list[Any]:
    """All events after these pieces, with what stands at the end instead of an event."""
    events: list[Any] = []
    for piece in pieces:
        connection.receive_data(piece)
    while not events or not (events[-1] in (NEED_DATA, PAUSED) or isinstance(events[-1], ConnectionClosed)):
        events.append(connection.next_event())
    return events


def server_with(*pieces: bytes, **options: Any) -> Connection:
    server = Connection(SERVER, **options)
    events_of(server, *pieces)
    return server


def asking_client(
    method: str = "GET", fields: list[tuple[str, str]] | None = None, *, ended: bool = True
) -> Connection:
    client = Connection(CLIENT)
    target = "a:1" if method == "CONNECT" else "/"
    client.send(Request(method=method, target=target, headers=[("Host", "a"), *(fields or [])]))
    if ended:
        client.send(EndOfMessage())
    return client


def answer(server: Connection, status: int = 200, *fields: tuple[str, str]) -> None:
    server.send(Response(status_code=status, headers=[("Content-Length", "0"), *fields]))
    server.send(EndOfMessage())


# pieces of content


def test_chunk_flags_tell_where_chunks_begin_and_end() -> None:
    server = server_with(CHUNKED_POST)
    script = [
        (b"5\r\nhello\r\n", [Data(b"hello", chunk_start=True, chunk_end=True)]),
        (b"5\r\nhel", [Data(b"hel", chunk_start=True, chunk_end=False)]),
        (b"l", [Data(b"l", chunk_start=False, chunk_end=False)]),
        (b"o\r\n", [Data(b"o", chunk_start=False, chunk_end=True)]),
        (b"5\r\n", []),
        (b"hello", [Data(b"hello", chunk_start=True, chunk_end=True)]),
        (b"\r\n", []),
        (b"1\r\na\r\n1\r\nb\r\n", [Data(b"a", True, True), Data(b"b", True, True)]),
        (b"0\r\n\r\n", [EndOfMessage()]),
    ]
    for piece, expected in script:
        assert events_of(server, piece) == [*expected, NEED_DATA]


def test_content_of_known_length_has_no_chunk_flags() -> None:
    server = server_with(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n")
    assert events_of(server, b"hel") == [Data(b"hel"), NEED_DATA]
    assert events_of(server, b"lo" + GET) == [Data(b"lo"), EndOfMessage(), PAUSED]


@pytest.mark.parametrize("data", ["GET / HTTP/1.1", 5, [71, 69, 84]], ids=["str", "int", "list"])
def test_what_is_no_bytes_is_refused(data: Any) -> None:
    server = Connection(SERVER)
    with pytest.raises(TypeError, match="a bytes-like object is required, not"):
        server.receive_data(data)
    assert server.trailing_data == (b"", False)


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_bytes_may_come_in_any_bytes_like_object(kind: Any) -> None:
    server = Connection(SERVER)
    given = bytearray(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello")
    server.receive_data(kind(given))
    given[:] = b"x" * len(given)  # the caller may use its buffer again
    request, data = server.next_event(), server.next_event()
    assert (request.method, data) == (b"POST", Data(b"hello"))
    assert {type(request.method), type(request.target), type(request.headers[0][1]), type(data.data)} == {bytes}


def test_what_is_received_is_bytes_also_when_it_was_joined_from_pieces() -> None:
    server = Connection(SERVER)
    pieces = [
        b"POST / HTTP/1.1\r\nHo",
        b"st: a\r\nTransfer-Encoding: chun",
        b"ked\r\n\r\n5\r",
        b"\nhello\r",
        b"\n0\r\nX: y",
        b"\r\n\r\n",
    ]
    request, data, end, _ = events_of(server, *pieces)
    parts = (request.method, request.target, request.http_version, data.data, *request.headers[0], *end.headers[0])
    assert {type(part) for part in parts} == {bytes}


# the end of the stream


def test_end_between_messages_is_connection_closed_again_and_again() -> None:
    server = Connection(SERVER)
    server.receive_data(b"")
    server.receive_data(b"")
    for _ in range(3):
        assert server.next_event() == ConnectionClosed()
    assert server.states == {CLIENT: CLOSED, SERVER: MUST_CLOSE}
    assert server.trailing_data == (b"", True)


def test_behind_a_response_there_is_nothing_until_more_comes() -> None:
    client = Connection(CLIENT)
    for _ in range(2):
        client.send(Request(method="GET", target="/", headers=[("Host", "a")]))
        client.send(EndOfMessage())
        client.receive_data(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        assert [type(client.next_event()) for _ in range(3)] == [Response, Data, EndOfMessage]
        for _ in range(3):
            assert client.next_event() is NEED_DATA
            assert client.states == {CLIENT: DONE, SERVER: DONE}
        client.start_next_cycle()


def test_bytes_after_the_end_are_the_callers_mistake() -> None:
    server = Connection(SERVER)
    server.receive_data(b"")
    with pytest.raises(RuntimeError):
        server.receive_data(b"x")


def test_none_is_the_end_too() -> None:
    server = Connection(SERVER)
    server.receive_data(None)  # type: ignore[arg-type]  # as h11 takes it
    assert server.next_event() == ConnectionClosed()


def test_cut_content_says_how_much_came() -> None:
    server = Connection(SERVER)
    server.receive_data(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\n12345")
    server.receive_data(b"")
    assert isinstance(server.next_event(), Request)
    assert server.next_event() == Data(b"12345")
    with pytest.raises(IncompleteMessage) as caught:
        server.next_event()
    assert "received 5 bytes" in str(caught.value)
    assert "expected 100" in str(caught.value)
    assert not caught.value.answerable


def test_cut_chunks_say_so() -> None:
    server = Connection(SERVER)
    server.receive_data(CHUNKED_POST + b"8\r\n012345")
    server.receive_data(b"")
    assert isinstance(server.next_event(), Request)
    assert server.next_event() == Data(b"012345", chunk_start=True, chunk_end=False)
    with pytest.raises(IncompleteMessage, match="incomplete chunked read"):
        server.next_event()


def test_half_closed_client_still_gets_its_answer() -> None:
    server = Connection(SERVER)
    request, end, closed = events_of(server, GET, b"")
    assert isinstance(request, Request)
    assert (end, closed) == (EndOfMessage(), ConnectionClosed())
    assert server.states == {CLIENT: CLOSED, SERVER: SEND_RESPONSE}
    answer(server)
    assert server.our_state is MUST_CLOSE


# errors


def test_error_is_for_good() -> None:
    server = Connection(SERVER)
    server.receive_data(b"foo\r\n\r\n" + GET)
    for _ in range(3):
        with pytest.raises(RemoteProtocolError) as caught:
            server.next_event()
        assert caught.value.error_status_hint == 400
    assert server.states == {CLIENT: ERROR, SERVER: IDLE}
    server.receive_data(b"more")
    with pytest.raises(RemoteProtocolError):
        server.next_event()


def test_error_text_tells_no_secret() -> None:
    server = Connection(SERVER)
    server.receive_data(b"GET / HTTP/1.1\r\nHost: a\r\nCookie: se\x00cret\r\n\r\n")
    with pytest.raises(RemoteProtocolError) as caught:
        server.next_event()
    assert "cret" not in str(caught.value)
    assert caught.value.offset == len(b"GET / HTTP/1.1\r\nHost: a\r\nCookie:")


@pytest.mark.parametrize(
    ("received", "offset"),
    [
        (b"\x00", 0),
        (b"G(T / HTTP/1.1\r\n\r\n", 1),
        (b"(GT / HTTP/1.1\r\n\r\n", 0),
        (b"GET\x7f\r\n\r\n", 3),
        (b"GET  / HTTP/1.1\r\n\r\n", 4),
        (b"GET /\x7f HTTP/1.1\r\n\r\n", 5),
        (b"GET / HTTP/1.x\r\n\r\n", 6),
        (b"GET / HTTP/1.1\n\r\n", 14),
        (b"GET / HTTP/1.1\r\n a: b\r\n\r\n", 16),
        (b"GET / HTTP/1.1\r\n: b\r\n\r\n", 16),
        (b"GET / HTTP/1.1\r\na\r\n\r\n", 17),
        (b"GET / HTTP/1.1\r\nab : c\r\n\r\n", 18),
        (b"GET / HTTP/1.1\r\nab: c\nd: e\r\n\r\n", 19),
    ],
)
def test_offset_points_at_the_first_wrong_byte(received: bytes, offset: int) -> None:
    server = Connection(SERVER, strict=True)
    server.receive_data(received)
    with pytest.raises(RemoteProtocolError) as caught:
        server.next_event()
    assert caught.value.offset == offset


@pytest.mark.parametrize("received", [b"\x00", b"\x20", b"\x16\x03\x01\x00\xa5", b"\n", b"\r"], ids=repr)
def test_head_that_cannot_become_one_is_refused_at_its_first_byte(received: bytes) -> None:
    server, client = Connection(SERVER), asking_client()
    for connection in (server, client):
        connection.receive_data(received)
        with pytest.raises(RemoteProtocolError):
            connection.next_event()


def test_peer_gone_without_an_answer_is_an_error() -> None:
    client = asking_client()
    client.receive_data(b"")
    with pytest.raises(RemoteProtocolError):
        client.next_event()
    assert client.states == {CLIENT: MUST_CLOSE, SERVER: ERROR}


# pauses


def test_next_request_waits_until_the_exchange_is_over() -> None:
    server = Connection(SERVER)
    assert len(events_of(server, GET + GET)) == 3
    assert server.trailing_data == (GET, False)
    for _ in range(3):
        assert server.next_event() is PAUSED
    answer(server)
    assert server.next_event() is PAUSED
    server.start_next_cycle()
    assert server.states == {CLIENT: IDLE, SERVER: IDLE}
    assert isinstance(server.next_event(), Request)
    assert server.next_event() == EndOfMessage()
    assert server.next_event() is NEED_DATA
    assert server.trailing_data == (b"", False)


def test_end_of_the_stream_is_not_seen_while_a_request_waits() -> None:
    server = server_with(GET + GET, b"")
    assert server.next_event() is PAUSED
    assert server.trailing_data == (GET, True)
    answer(server)
    server.start_next_cycle()
    assert isinstance(server.next_event(), Request)
    assert server.next_event() == EndOfMessage()
    assert server.next_event() == ConnectionClosed()


def test_receive_loop_with_a_pause_delivers_all_requests() -> None:
    server = Connection(SERVER)
    server.receive_data(GET * 3)
    targets = []
    while (event := server.next_event()) is not NEED_DATA:
        if event is PAUSED:
            server.start_next_cycle()
        elif isinstance(event, Request):
            targets.append(event.target)
        elif isinstance(event, EndOfMessage):
            answer(server)
    assert targets == [b"/"] * 3


def test_bytes_behind_the_last_request_are_an_error_of_the_peer_alone() -> None:
    server = Connection(SERVER)
    server.receive_data(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n" + GET)
    assert isinstance(server.next_event(), Request)
    assert server.next_event() == EndOfMessage()
    assert server.their_state is MUST_CLOSE
    with pytest.raises(RemoteProtocolError):
        server.next_event()
    answer(server)
    assert server.states == {CLIENT: ERROR, SERVER: MUST_CLOSE}


# persistence


def test_several_exchanges_on_a_connection() -> None:
    server, client = Connection(SERVER), Connection(CLIENT)
    for number in range(3):
        assert client.states == server.states == {CLIENT: IDLE, SERVER: IDLE}
        server.receive_data(client.send(Request(method="GET", target=f"/{number}", headers=[("Host", "a")])) or b"")
        client.send(EndOfMessage())
        assert server.next_event().target == b"/%d" % number
        assert server.next_event() == EndOfMessage()
        client.receive_data(server.send(Response(status_code=200, headers=[("Content-Length", "0")])) or b"")
        server.send(EndOfMessage())
        assert isinstance(client.next_event(), Response)
        assert client.next_event() == EndOfMessage()
        assert client.states == server.states == {CLIENT: DONE, SERVER: DONE}
        assert client.next_event() is NEED_DATA
        client.start_next_cycle()
        server.start_next_cycle()
    assert client.their_http_version == server.their_http_version == b"1.1"


def test_next_cycle_can_be_tried_again() -> None:
    server = server_with(GET)
    with pytest.raises(LocalProtocolError):
        server.start_next_cycle()
    answer(server)
    server.start_next_cycle()
    assert server.states == {CLIENT: IDLE, SERVER: IDLE}


def test_version_of_the_peer_is_known_from_its_last_head() -> None:
    client = asking_client()
    assert client.their_http_version is None
    events_of(client, b"HTTP/1.0 200 OK\r\n\r\n")
    assert client.their_http_version == b"1.0"
    client = asking_client()
    events_of(client, b"HTTP/1.1 100 Continue\r\n\r\n")
    assert client.their_http_version == b"1.1"


def test_server_that_closes_leaves_the_client_nothing_but_to_close() -> None:
    client = asking_client()
    response, end, need = events_of(client, b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
    assert (type(response), end, need) == (Response, EndOfMessage(), NEED_DATA)
    assert client.states == {CLIENT: MUST_CLOSE, SERVER: MUST_CLOSE}
    assert events_of(client, b"") == [ConnectionClosed()]
    assert client.states == {CLIENT: MUST_CLOSE, SERVER: CLOSED}


def test_unasked_response_may_come_before_the_request() -> None:
    client = Connection(CLIENT)
    response, end, _ = events_of(client, b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n")
    assert (response.status_code, end) == (408, EndOfMessage())
    assert client.states == {CLIENT: IDLE, SERVER: DONE}


# 100 (Continue)


def expecting(fields: bytes = b"Expect: 100-continue\r\nContent-Length: 5\r\n", version: bytes = b"1.1") -> Connection:
    server = Connection(SERVER)
    server.receive_data(b"POST / HTTP/%b\r\nHost: a\r\n%b\r\n" % (version, fields))
    assert isinstance(server.next_event(), Request)
    return server


@pytest.mark.parametrize(
    ("fields", "version", "waits"),
    [
        pytest.param(b"Expect: 100-continue\r\nContent-Length: 5\r\n", b"1.1", True, id="plain"),
        pytest.param(b"Expect: 100-Continue\r\nContent-Length: 5\r\n", b"1.1", True, id="any-case"),
        pytest.param(b"Expect: , 100-continue\r\nContent-Length: 5\r\n", b"1.1", True, id="list"),
        pytest.param(b"Expect: 100-continue\r\nContent-Length: 5\r\n", b"1.0", False, id="1.0"),
        pytest.param(b"Content-Length: 5\r\n", b"1.1", False, id="none"),
        pytest.param(b"Expect:\r\nContent-Length: 5\r\n", b"1.1", False, id="empty"),
    ],
)
def test_client_that_expects_100_continue_waits(fields: bytes, version: bytes, waits: bool) -> None:
    server = expecting(fields, version)
    assert server.client_is_waiting_for_100_continue is waits
    assert server.they_are_waiting_for_100_continue is waits


@pytest.mark.parametrize(
    "event",
    [
        pytest.param(InformationalResponse(status_code=100), id="100"),
        pytest.param(InformationalResponse(status_code=103), id="any-informational-response"),
        pytest.param(Response(status_code=417), id="final-response"),
    ],
)
def test_response_ends_the_waiting(event: Any) -> None:
    server = expecting()
    server.send(event)
    assert not server.they_are_waiting_for_100_continue


def test_content_ends_the_waiting() -> None:
    server = expecting()
    assert events_of(server, b"x") == [Data(b"x"), NEED_DATA]
    assert not server.they_are_waiting_for_100_continue
    server = expecting(b"Expect: 100-continue\r\nContent-Length: 0\r\n")
    assert server.they_are_waiting_for_100_continue
    assert server.next_event() == EndOfMessage()
    assert not server.they_are_waiting_for_100_continue


def test_client_knows_that_it_waits_itself() -> None:
    client = asking_client("POST", [("Expect", "100-continue"), ("Content-Length", "1")], ended=False)
    assert client.client_is_waiting_for_100_continue
    assert not client.they_are_waiting_for_100_continue
    events_of(client, b"HTTP/1.1 100 Continue\r\n\r\n")
    assert not client.client_is_waiting_for_100_continue
    client = asking_client("POST", [("Expect", "100-continue"), ("Content-Length", "1")], ended=False)
    client.send(Data(b"x"))
    assert not client.client_is_waiting_for_100_continue


def test_waiting_does_not_survive_the_exchange() -> None:
    server = expecting()
    events_of(server, b"hello" + GET)
    answer(server)
    server.start_next_cycle()
    assert isinstance(server.next_event(), Request)
    assert not server.they_are_waiting_for_100_continue


# other protocols


UPGRADE = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n"
CONNECT = b"CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n"


@pytest.mark.parametrize(
    ("received", "accepting"),
    [
        pytest.param(UPGRADE, InformationalResponse(status_code=101, headers=[("Upgrade", "x")]), id="upgrade"),
        pytest.param(CONNECT, Response(status_code=200), id="connect"),
        pytest.param(CONNECT, Response(status_code=299), id="connect-299"),
    ],
)
def test_accepted_switch_leaves_the_rest_to_the_other_protocol(received: bytes, accepting: Any) -> None:
    server = Connection(SERVER)
    request, end, paused = events_of(server, received + b"raw")
    assert (type(request), end, paused) == (Request, EndOfMessage(), PAUSED)
    assert server.states == {CLIENT: MIGHT_SWITCH_PROTOCOL, SERVER: SEND_RESPONSE}
    server.send(accepting)
    assert server.states == {CLIENT: SWITCHED_PROTOCOL, SERVER: SWITCHED_PROTOCOL}
    assert server.next_event() is PAUSED
    assert server.trailing_data == (b"raw", False)
    server.receive_data(b"!")
    server.receive_data(b"")
    assert server.next_event() is PAUSED
    assert server.trailing_data == (b"raw!", True)
    for event in (Data(b"x"), EndOfMessage(), ConnectionClosed()):
        with pytest.raises(LocalProtocolError):
            server.send(event)


@pytest.mark.parametrize("received", [UPGRADE, CONNECT], ids=["upgrade", "connect"])
def test_declined_switch_lets_http_go_on(received: bytes) -> None:
    server = Connection(SERVER)
    assert events_of(server, received + GET)[-1] is PAUSED
    answer(server, 404)
    assert server.states == {CLIENT: DONE, SERVER: DONE}
    server.start_next_cycle()
    assert isinstance(server.next_event(), Request)


def test_pause_for_a_switch_comes_with_an_empty_buffer_too() -> None:
    server = Connection(SERVER)
    assert events_of(server, UPGRADE)[-1] is PAUSED
    assert server.trailing_data == (b"", False)


def test_upgrade_without_its_connection_option_parks_the_client_like_h11() -> None:
    server = Connection(SERVER)
    events_of(server, b"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: x\r\n\r\n")
    assert server.their_state is MIGHT_SWITCH_PROTOCOL


def test_client_switches_when_the_server_does() -> None:
    client = asking_client("CONNECT")
    assert client.our_state is MIGHT_SWITCH_PROTOCOL
    response, paused = events_of(client, b"HTTP/1.1 200 OK\r\n\r\nraw")
    assert (response.status_code, paused) == (200, PAUSED)
    assert client.states == {CLIENT: SWITCHED_PROTOCOL, SERVER: SWITCHED_PROTOCOL}
    assert client.trailing_data == (b"raw", False)


def test_switch_accepted_while_content_is_on_its_way() -> None:
    client = asking_client("POST", [("Upgrade", "x"), ("Content-Length", "5")], ended=False)
    assert events_of(client, b"HTTP/1.1 101 x\r\n\r\nraw")[-1] is PAUSED
    assert client.states == {CLIENT: SEND_BODY, SERVER: SWITCHED_PROTOCOL}
    client.send(Data(b"hello"))
    client.send(EndOfMessage())
    assert client.our_state is SWITCHED_PROTOCOL


# limits


@pytest.mark.parametrize("size", [100, 4000])
def test_head_is_bounded_whether_it_is_complete_or_not(size: int) -> None:
    fields = b"Host: a\r\n" + b"X: " + b"y" * (size - 14) + b"\r\n"
    assert len(fields) == size
    for head, fits in ((fields, True), (b"Z" + fields, False)):
        for pieces in (
            [b"GET / HTTP/1.1\r\n" + head + b"\r\n"],
            [b"GET / HTTP/1.1\r\n", *(bytes([byte]) for byte in head + b"\r\n")],
        ):
            server = Connection(SERVER, max_incomplete_event_size=size)
            if fits:
                assert isinstance(events_of(server, *pieces)[0], Request)
            else:
                with pytest.raises(FieldsTooLarge) as caught:
                    for piece in pieces:
                        events_of(server, piece)
                assert caught.value.error_status_hint == 431


def test_bodies_are_not_bounded_by_the_size_of_an_event() -> None:
    server = Connection(SERVER, max_incomplete_event_size=100)
    content = b"x" * 100_000
    _, data, end, _ = events_of(server, b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n" + content)
    assert (data, end) == (Data(content), EndOfMessage())


def test_waiting_requests_are_not_bounded_by_the_size_of_an_event() -> None:
    server = Connection(SERVER, max_incomplete_event_size=100)
    events_of(server, GET * 1000)
    for _ in range(999):
        answer(server)
        server.start_next_cycle()
        assert isinstance(server.next_event(), Request)
        assert server.next_event() == EndOfMessage()


def test_limits_can_be_given_one_by_one() -> None:
    server = Connection(SERVER, limits=Limits(request_line_bytes=20))
    server.receive_data(b"GET /" + b"a" * 20)
    with pytest.raises(TargetTooLong):
        server.next_event()
    client = Connection(CLIENT, limits=Limits(fields_count=1))
    client.receive_data(b"HTTP/1.1 200 OK\r\nA: b\r\nC: d\r\n\r\n")
    with pytest.raises(FieldsTooLarge):
        client.next_event()


@pytest.mark.parametrize("strict", [True, False])
def test_endless_empty_lines_are_refused_soon(strict: bool) -> None:
    server = Connection(SERVER, strict=strict)
    received = 0
    with pytest.raises(RemoteProtocolError):
        while received < 1000:
            server.receive_data(b"\r\n")
            received += 2
            assert server.next_event() is NEED_DATA
    assert received < 100


def test_half_an_empty_line_is_waited_for_and_forgotten() -> None:
    server = Connection(SERVER, strict=True)
    assert events_of(server, b"\r") == [NEED_DATA]
    assert events_of(server, b"\n") == [NEED_DATA]
    assert events_of(server, b"\r") == [NEED_DATA]
    request, end, _ = events_of(server, b"\n" + GET)
    assert (type(request), end) == (Request, EndOfMessage())


def test_empty_lines_behind_a_request_are_not_a_request() -> None:
    server = Connection(SERVER, strict=True)
    events_of(server, GET + b"\r\n")
    answer(server)
    server.start_next_cycle()
    assert server.next_event() is NEED_DATA
    assert server.states == {CLIENT: IDLE, SERVER: IDLE}
    assert events_of(server, b"") == [ConnectionClosed()]


def test_response_after_a_head_request_does_not_change_the_next_one() -> None:
    client = asking_client("HEAD")
    events_of(client, b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n")
    client.start_next_cycle()
    client.send(Request(method="GET", target="/", headers=[("Host", "a")]))
    client.send(EndOfMessage())
    _, data, end, _ = events_of(client, b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello")
    assert (data, end) == (Data(b"hello"), EndOfMessage())
    assert client.states == {CLIENT: DONE, SERVER: DONE}


def test_early_response_is_received_while_the_request_goes_on() -> None:
    client = asking_client("POST", [("Content-Length", "5")], ended=False)
    response, end, _ = events_of(client, b"HTTP/1.1 413 x\r\nContent-Length: 0\r\n\r\n")
    assert (response.status_code, end) == (413, EndOfMessage())
    assert client.states == {CLIENT: SEND_BODY, SERVER: DONE}
    client.send(Data(b"hello"))
    client.send(EndOfMessage())
    client.start_next_cycle()
    assert client.states == {CLIENT: IDLE, SERVER: IDLE}
