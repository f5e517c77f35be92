"""What a connection sends: exact bytes for events, and the events that it refuses to send."""

from __future__ import annotations

from typing import Any

import pytest

from gruvihttp.errors import LocalProtocolError
from gruvihttp.sansio import (
    CLIENT,
    CLOSED,
    DONE,
    ERROR,
    IDLE,
    MUST_CLOSE,
    SEND_BODY,
    SEND_RESPONSE,
    SERVER,
    Connection,
    ConnectionClosed,
    Data,
    EndOfMessage,
    InformationalResponse,
    Request,
    Response,
)

LENGTH_5 = ("Content-Length", "5")
CHUNKED = ("Transfer-Encoding", "chunked")


def request(*fields: tuple[str, str], method: str = "GET", target: str = "/") -> Request:
    return Request(method=method, target=target, headers=[("Host", "a"), *fields])


def response(*fields: tuple[str, str], status: int = 200, reason: str = "") -> Response:
    return Response(status_code=status, headers=fields, reason=reason)


def server_after(received: bytes) -> Connection:
    """A server that has received these bytes and taken all events."""
    server = Connection(SERVER)
    server.receive_data(received)
    while isinstance(server.next_event(), Request | Data | EndOfMessage):
        pass
    return server


def server_asked(method: bytes = b"GET", version: bytes = b"1.1", fields: bytes = b"Host: a\r\n") -> Connection:
    return server_after(b"%b / HTTP/%b\r\n%b\r\n" % (method, version, fields))


@pytest.mark.parametrize(
    ("event", "expected"),
    [
        pytest.param(
            Request(method="GET", target="/xml", headers=[("Host", "httpbin.org")]),
            b"GET /xml HTTP/1.1\r\nHost: httpbin.org\r\n\r\n",
            id="plain",
        ),
        pytest.param(
            Request(method="GET", target="/", headers=[("x-First", "1"), ("hOST", "a"), ("LAST", "")]),
            b"GET / HTTP/1.1\r\nhOST: a\r\nx-First: 1\r\nLAST: \r\n\r\n",
            id="host-first-names-as-given",
        ),
        pytest.param(
            request(("Date", "now"), method="POST", target="http://a/?b"),
            b"POST http://a/?b HTTP/1.1\r\nHost: a\r\nDate: now\r\n\r\n",
            id="absolute-target",
        ),
        pytest.param(
            request(("Connection", "close")), b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", id="close"
        ),
    ],
)
def test_request_is_written_as_it_is(event: Request, expected: bytes) -> None:
    client = Connection(CLIENT)
    sent = client.send(event)
    assert sent == expected
    assert type(sent) is bytes
    assert client.states == {CLIENT: SEND_BODY, SERVER: SEND_RESPONSE}


def test_end_of_a_request_without_content_is_no_bytes() -> None:
    client = Connection(CLIENT)
    client.send(request())
    assert client.our_state is SEND_BODY
    assert client.send(EndOfMessage()) == b""
    assert client.our_state is DONE


def test_chunked_content_of_a_request() -> None:
    client = Connection(CLIENT)
    client.send(request(CHUNKED, method="POST"))
    assert client.send(Data(data=b'{"key": "value"}')) == b'10\r\n{"key": "value"}\r\n'
    assert client.send(Data(data=b"")) == b""
    assert client.send(Data(data=b"x" * 0xAB)) == b"ab\r\n" + b"x" * 0xAB + b"\r\n"
    assert client.send(EndOfMessage()) == b"0\r\n\r\n"


def test_trailers_follow_the_last_chunk() -> None:
    client = Connection(CLIENT)
    client.send(request(CHUNKED, method="POST"))
    assert client.send(EndOfMessage(headers=[("Etag", "asdf"), ("a", "b")])) == b"0\r\nEtag: asdf\r\na: b\r\n\r\n"


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_content_may_be_any_bytes_like_object(kind: Any) -> None:
    client = Connection(CLIENT)
    client.send(request(LENGTH_5, method="POST"))
    assert client.send(Data(data=kind(b"abc"))) == b"abc"
    assert client.send(Data(data=kind(b"de"))) == b"de"
    assert client.send(EndOfMessage()) == b""


@pytest.mark.parametrize(
    ("fields", "events"),
    [
        pytest.param([LENGTH_5], [Data(b"123456")], id="too-much-at-once"),
        pytest.param([LENGTH_5], [Data(b"123"), Data(b"456")], id="too-much-in-sum"),
        pytest.param([LENGTH_5], [Data(b"1234"), EndOfMessage()], id="too-little"),
        pytest.param([LENGTH_5], [EndOfMessage()], id="nothing"),
        pytest.param([], [Data(b"1")], id="no-length-announced"),
        pytest.param([("Content-Length", "0")], [Data(b"1")], id="zero-announced"),
        pytest.param([LENGTH_5], [Data(b"12345"), EndOfMessage(headers=[("X", "y")])], id="trailers-after-length"),
        pytest.param([], [EndOfMessage(headers=[("X", "y")])], id="trailers-after-nothing"),
        pytest.param([], [request()], id="second-request"),
        pytest.param([], [response()], id="response-from-a-client"),
        pytest.param([], [InformationalResponse(status_code=100)], id="informational-response-from-a-client"),
        pytest.param([], [ConnectionClosed()], id="close-before-the-end"),
        pytest.param([], [EndOfMessage(), EndOfMessage()], id="second-end"),
        pytest.param([], [EndOfMessage(), Data(b"x")], id="data-after-the-end"),
        pytest.param([], [EndOfMessage(), request()], id="pipelining"),
        pytest.param([], ["no event"], id="no-event"),
        pytest.param([], [5], id="a-number"),
    ],
)
def test_client_that_breaks_the_protocol_fails_for_good(fields: Any, events: list[Any]) -> None:
    client = Connection(CLIENT)
    client.send(request(*fields, method="POST"))
    for event in events[:-1]:
        client.send(event)

    with pytest.raises(LocalProtocolError) as caught:
        client.send(events[-1])

    assert caught.value.error_status_hint == 400
    assert client.our_state is ERROR
    for event in (Data(b""), EndOfMessage(), ConnectionClosed(), request()):
        with pytest.raises(LocalProtocolError):
            client.send(event)


def test_what_is_refused_leaves_the_peer_alone() -> None:
    client = Connection(CLIENT)
    client.send(request())
    with pytest.raises(LocalProtocolError):
        client.send(request())
    client.receive_data(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
    assert isinstance(client.next_event(), Response)
    assert isinstance(client.next_event(), EndOfMessage)
    assert client.states == {CLIENT: ERROR, SERVER: MUST_CLOSE}


@pytest.mark.parametrize("version", ["1.0", "1.2", "2.0", "0.9", "1.1\r\nX: y"])
def test_only_version_1_1_is_sent(version: str) -> None:
    client = Connection(CLIENT)
    with pytest.raises(LocalProtocolError, match=r"HTTP/1\.1"):
        client.send(Request(method="GET", target="/", headers=[("Host", "a")], http_version=version))
    server = server_asked()
    with pytest.raises(LocalProtocolError, match=r"HTTP/1\.1"):
        server.send(Response(status_code=200, http_version=version))


@pytest.mark.parametrize(
    ("method", "version", "sent", "expected", "content"),
    [
        pytest.param(
            b"GET", b"1.1", response(LENGTH_5, reason="OK"), b"200 OK\r\nContent-Length: 5\r\n", b"hello", id="length"
        ),
        pytest.param(
            b"GET",
            b"1.1",
            response(LENGTH_5),
            b"200 \r\nContent-Length: 5\r\n",
            b"hello",
            id="empty-reason-keeps-its-blank",
        ),
        pytest.param(
            b"GET",
            b"1.1",
            response(),
            b"200 \r\nTransfer-Encoding: chunked\r\n",
            b"5\r\nhello\r\n0\r\n\r\n",
            id="unknown-length",
        ),
        pytest.param(
            b"GET",
            b"1.1",
            response(CHUNKED),
            b"200 \r\nTransfer-Encoding: chunked\r\n",
            b"5\r\nhello\r\n0\r\n\r\n",
            id="chunked-by-the-caller",
        ),
        pytest.param(
            b"GET",
            b"1.1",
            response(CHUNKED, ("X", "y"), LENGTH_5),
            b"200 \r\nX: y\r\nTransfer-Encoding: chunked\r\n",
            b"5\r\nhello\r\n0\r\n\r\n",
            id="length-beside-chunked-is-taken-out",
        ),
        pytest.param(b"GET", b"1.0", response(), b"200 \r\nConnection: close\r\n", b"hello", id="1.0-unknown-length"),
        pytest.param(
            b"GET", b"1.0", response(CHUNKED), b"200 \r\nConnection: close\r\n", b"hello", id="1.0-gets-no-chunks"
        ),
        pytest.param(
            b"GET",
            b"1.0",
            response(LENGTH_5),
            b"200 \r\nContent-Length: 5\r\nConnection: close\r\n",
            b"hello",
            id="1.0-length",
        ),
        pytest.param(
            b"GET",
            b"1.1",
            response(("Connection", "close")),
            b"200 \r\nConnection: close\r\nTransfer-Encoding: chunked\r\n",
            b"5\r\nhello\r\n0\r\n\r\n",
            id="close",
        ),
        pytest.param(b"HEAD", b"1.1", response(LENGTH_5), b"200 \r\nContent-Length: 5\r\n", None, id="head-length"),
        pytest.param(
            b"HEAD", b"1.1", response(), b"200 \r\nTransfer-Encoding: chunked\r\n", None, id="head-unknown-length"
        ),
        pytest.param(b"HEAD", b"1.0", response(), b"200 \r\nConnection: close\r\n", None, id="head-1.0"),
        pytest.param(b"GET", b"1.1", response(status=204), b"204 \r\n", None, id="204"),
        pytest.param(b"GET", b"1.1", response(status=304), b"304 \r\n", None, id="304"),
        pytest.param(
            b"GET",
            b"1.1",
            response(("ETag", "x"), LENGTH_5, status=304),
            b"304 \r\nETag: x\r\nContent-Length: 5\r\n",
            None,
            id="304-length",
        ),
    ],
)
def test_response_is_framed_for_who_asked(
    method: bytes, version: bytes, sent: Response, expected: bytes, content: bytes | None
) -> None:
    server = server_asked(method, version)
    assert server.send(sent) == b"HTTP/1.1 " + expected + b"\r\n"
    if content is None:
        assert server.send(EndOfMessage()) == b""
    else:
        assert server.send(Data(b"hello")) + server.send(EndOfMessage()) == content
    assert server.our_state is (DONE if version == b"1.1" and b"close" not in expected else MUST_CLOSE)


@pytest.mark.parametrize(
    ("asked", "given", "expected"),
    [
        pytest.param(b"", [], [], id="nothing-said"),
        pytest.param(b"Connection: close\r\n", [], [b"close"], id="client-closes"),
        pytest.param(b"Connection: close\r\n", [("Connection", "close")], [b"close"], id="both-close"),
        pytest.param(
            b"Connection: foo, Close\r\n", [("Connection", "keep-alive")], [b"close"], id="keep-alive-is-a-lie"
        ),
        pytest.param(
            b"Connection: close\r\n", [("Connection", "a, b")], [b"a", b"b", b"close"], id="other-options-stay"
        ),
        pytest.param(
            b"Connection: close\r\n",
            [("Connection", "b"), ("X", "y"), ("Connection", "A, keep-alive")],
            [b"a", b"b", b"close"],
            id="several-lines",
        ),
    ],
)
def test_end_of_the_connection_is_announced(asked: bytes, given: Any, expected: list[bytes]) -> None:
    server = server_asked(fields=b"Host: a\r\n" + asked)
    sent = server.send(response(LENGTH_5, *given))
    assert sent is not None
    lines = sent.split(b"\r\n")
    assert [line for line in lines if line.startswith(b"Connection")] == [
        b"Connection: " + option for option in expected
    ]
    assert server.send(Data(b"hello")) == b"hello"
    server.send(EndOfMessage())
    assert server.our_state is (MUST_CLOSE if expected else DONE)


def test_unread_request_content_does_not_change_the_answer() -> None:
    server = server_after(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n")
    assert server.send(response(LENGTH_5, status=413)) == b"HTTP/1.1 413 \r\nContent-Length: 5\r\n\r\n"
    server.send(Data(b"12345"))
    server.send(EndOfMessage())
    assert server.states == {CLIENT: SEND_BODY, SERVER: DONE}
    with pytest.raises(LocalProtocolError):
        server.start_next_cycle()


def test_server_may_answer_before_any_request() -> None:
    server = Connection(SERVER)
    assert server.send(response(("Content-Length", "0"), status=408)) == b"HTTP/1.1 408 \r\nContent-Length: 0\r\n\r\n"
    server.send(EndOfMessage())
    assert server.states == {CLIENT: IDLE, SERVER: DONE}


def test_server_that_knows_no_version_closes_after_content_of_unknown_length() -> None:
    server = Connection(SERVER)
    assert server.send(response(status=408)) == b"HTTP/1.1 408 \r\nConnection: close\r\n\r\n"
    assert server.send(Data(b"late")) == b"late"
    assert server.send(EndOfMessage()) == b""
    assert server.our_state is MUST_CLOSE


@pytest.mark.parametrize(
    ("received", "expected"),
    [
        pytest.param(b"bad\r\n\r\n", b"HTTP/1.1 400 \r\nContent-Length: 0\r\n\r\n", id="head"),
        pytest.param(
            b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
            b"HTTP/1.1 400 \r\nContent-Length: 0\r\n\r\n",
            id="content",
        ),
    ],
)
def test_error_of_the_client_can_be_answered(received: bytes, expected: bytes) -> None:
    server = Connection(SERVER)
    server.receive_data(received)
    with pytest.raises(Exception, match="illegal"):
        for _ in range(2):
            server.next_event()
    assert server.their_state is ERROR
    assert server.send(response(("Content-Length", "0"), status=400)) == expected
    server.send(EndOfMessage())
    assert server.our_state is MUST_CLOSE
    assert server.send(ConnectionClosed()) is None
    assert server.our_state is CLOSED


def test_informational_responses_come_before_the_final_one() -> None:
    server = server_asked(fields=b"Host: a\r\nExpect: 100-continue\r\n")
    assert server.send(InformationalResponse(status_code=100)) == b"HTTP/1.1 100 \r\n\r\n"
    assert (
        server.send(InformationalResponse(status_code=103, headers=[("Link", "x")], reason=b"Early Hints"))
        == b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n"
    )
    server.send(response(LENGTH_5))
    with pytest.raises(LocalProtocolError):
        server.send(InformationalResponse(status_code=100))


def test_close_on_an_informational_response_means_nothing() -> None:
    server = server_asked()
    server.send(InformationalResponse(status_code=102, headers=[("Connection", "close")]))
    assert server.send(response(LENGTH_5)) == b"HTTP/1.1 200 \r\nContent-Length: 5\r\n\r\n"


@pytest.mark.parametrize(
    "events",
    [
        pytest.param([request()], id="request"),
        pytest.param([InformationalResponse(status_code=101)], id="switch-nobody-proposed"),
        pytest.param([Data(b"x")], id="data-before-the-head"),
        pytest.param([EndOfMessage()], id="end-before-the-head"),
        pytest.param([ConnectionClosed()], id="close-instead-of-an-answer"),
        pytest.param([response(LENGTH_5), response(LENGTH_5)], id="second-response"),
        pytest.param([response(LENGTH_5), EndOfMessage()], id="too-little"),
        pytest.param([response(status=204), Data(b"x")], id="content-in-204"),
        pytest.param([response(status=304), Data(b"x")], id="content-in-304"),
        pytest.param([response(), EndOfMessage(), ConnectionClosed(), response()], id="response-after-close"),
    ],
)
def test_server_that_breaks_the_protocol_fails_for_good(events: list[Any]) -> None:
    server = server_asked()
    for event in events[:-1]:
        server.send(event)
    with pytest.raises(LocalProtocolError):
        server.send(events[-1])
    assert server.our_state is ERROR


def test_content_in_the_answer_to_head_is_refused() -> None:
    server = server_asked(b"HEAD")
    server.send(response(LENGTH_5))
    with pytest.raises(LocalProtocolError):
        server.send(Data(b"hello"))


class File:
    """Something with a length that is sent by other means."""

    def __len__(self) -> int:
        return 10


def test_content_passes_through_untouched() -> None:
    server = server_asked()
    file = File()
    assert server.send_with_data_passthrough(response(("Content-Length", "10"))) == [
        b"HTTP/1.1 200 \r\nContent-Length: 10\r\n\r\n"
    ]
    (passed,) = server.send_with_data_passthrough(Data(data=file)) or []
    assert passed is file
    assert b"".join(server.send_with_data_passthrough(EndOfMessage()) or []) == b""

    server = server_asked()
    server.send(response())
    before, passed, behind = server.send_with_data_passthrough(Data(data=file)) or []
    assert (before, behind) == (b"a\r\n", b"\r\n")
    assert passed is file
    assert server.send_with_data_passthrough(EndOfMessage()) == [b"0\r\n\r\n"]

    server = server_asked(version=b"1.0")
    server.send(response())
    assert server.send_with_data_passthrough(Data(data=file)) == [file]
    assert server.send_with_data_passthrough(Data(data=b"")) == []
    assert server.send_with_data_passthrough(EndOfMessage()) == []
    assert server.send_with_data_passthrough(ConnectionClosed()) is None


def test_trailers_need_chunks_also_where_the_end_of_the_stream_ends_the_content() -> None:
    server = server_asked(version=b"1.0")
    server.send(response())
    with pytest.raises(LocalProtocolError, match="trailers"):
        server.send(EndOfMessage(headers=[("X", "y")]))


def test_failed_send_makes_the_connection_unusable() -> None:
    client = Connection(CLIENT)
    client.send(request())
    client.send_failed()
    assert client.our_state is ERROR
    client.send_failed()
    assert client.our_state is ERROR
    with pytest.raises(LocalProtocolError):
        client.send(EndOfMessage())


def test_close_is_no_bytes_and_may_be_repeated() -> None:
    client = Connection(CLIENT)
    assert client.send(ConnectionClosed()) is None
    assert client.send(ConnectionClosed()) is None
    assert client.states == {CLIENT: CLOSED, SERVER: MUST_CLOSE}


@pytest.mark.parametrize("role", ["CLIENT", None, DONE, 0])
def test_role_is_client_or_server(role: Any) -> None:
    with pytest.raises(ValueError, match="CLIENT or SERVER"):
        Connection(role)


def test_connection_knows_its_roles_and_shows_its_states() -> None:
    server = server_asked()
    assert (server.our_role, server.their_role) == (SERVER, CLIENT)
    assert (server.our_state, server.their_state) == (SEND_RESPONSE, DONE)
    assert repr(server) == "<Connection our_role=SERVER Cycle(client=DONE, server=SEND_RESPONSE, keep_alive=True)>"
    states = server.states
    states.clear()
    assert server.states == {CLIENT: DONE, SERVER: SEND_RESPONSE}


def test_received_length_that_nobody_looked_at_is_refused_where_it_would_frame() -> None:
    client = Connection(CLIENT)
    client.send(request(method="CONNECT", target="a:1"))
    client.send(EndOfMessage())
    client.receive_data(b"HTTP/1.1 200 OK\r\nContent-Length: 5, 6\r\n\r\n")
    accepted = client.next_event()  # RFC 9110 §9.3.6: the field is to be ignored here
    with pytest.raises(LocalProtocolError, match="Content-Length"):
        server_asked().send(accepted)
