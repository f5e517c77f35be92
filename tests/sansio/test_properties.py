"""Properties that hold for any bytes, any split and any exchange."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gruvihttp.errors import LocalProtocolError, RemoteProtocolError
from gruvihttp.limits import Limits
from gruvihttp.sansio import (
    CLIENT,
    DONE,
    IDLE,
    NEED_DATA,
    PAUSED,
    SERVER,
    Connection,
    ConnectionClosed,
    Data,
    EndOfMessage,
    InformationalResponse,
    Request,
    Response,
)
from gruvihttp.sansio.framing import has_no_content

# Bytes that are nearly HTTP: pieces that mean something, in any order, so that a short example can go far

_WORDS = [
    b"GET / HTTP/1.1\r\n",
    b"POST /x HTTP/1.1\r\n",
    b"HEAD * HTTP/1.0\r\n",
    b"CONNECT a:1 HTTP/1.1\r\n",
    b"GET http://a/",
    b"HTTP/1.1 200 OK\r\n",
    b"HTTP/1.0 404\r\n",
    b"HTTP/1.1 204 x\n",
    b"HTTP/1.1 100 Continue\r\n\r\n",
    b"HTTP/1.1 101 x\r\n",
    b"Host: a\r\n",
    b"Host: [::1]:80\r\n",
    b"Content-Length: 5\r\n",
    b"Content-Length: 0\r\n",
    b"Content-Length: 5, 5\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"Transfer-Encoding: gzip\r\n",
    b"Connection: close\r\n",
    b"Connection: upgrade\r\n",
    b"Upgrade: x\r\n",
    b"Expect: 100-continue\r\n",
    b"X: y\r\n",
    b"X: y\n",
    b" folded\r\n",
    b"X:\x01\r\n",
    b"X : y\r\n",
    b"\r\n",
    b"\n",
    b"\r",
    b" ",
    b"\t",
    b":",
    b"\x00",
    b"\xff",
    b"hello",
    b"5\r\nhello\r\n",
    b"5;a=b\r\n",
    b"0\r\n",
    b"0\r\n\r\n",
    b"3\r\nabc",
    b"A",
    b"a" * 30,
    b"/",
    b"HTTP/1.1",
    b"200",
    b"#",
    b"X: yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy\r\n",
]
_HEADS = [
    b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
    b"HTTP/1.1 200 OK\r\n\r\n",
]
nearly_http = st.lists(st.sampled_from(_WORDS + _HEADS) | st.binary(max_size=6), max_size=12).map(b"".join)
any_bytes = nearly_http | st.binary(max_size=60)


@st.composite
def split_bytes(draw: st.DrawFn) -> tuple[bytes, list[bytes]]:
    """Bytes, and the same cut into pieces anywhere."""
    received = draw(any_bytes)
    cuts = sorted(draw(st.sets(st.integers(1, max(len(received) - 1, 1)), max_size=8)))
    edges = [0, *(cut for cut in cuts if cut < len(received)), len(received)]
    pieces = [received[start:end] for start, end in zip(edges, edges[1:], strict=False) if start < end]
    return received, pieces


@settings(max_examples=400)
@given(split=split_bytes(), strict=st.booleans(), eof=st.booleans(), small=st.booleans())
def test_server_sees_the_same_however_the_bytes_arrive(
    split: tuple[bytes, list[bytes]], strict: bool, eof: bool, small: bool, play_server: Any, small_limits: Limits
) -> None:
    received, pieces = split
    options = {"strict": strict, "eof": eof, "limits": small_limits if small else Limits()}
    whole = play_server([received] if received else [], **options)
    by_piece = play_server(pieces, **options)
    by_byte = play_server((received[i : i + 1] for i in range(len(received))), **options)
    assert whole.events == by_piece.events == by_byte.events
    assert whole.trailers == by_piece.trailers == by_byte.trailers
    assert whole.head == by_piece.head == by_byte.head


@settings(max_examples=400)
@given(
    split=split_bytes(),
    eof=st.booleans(),
    upgrade=st.booleans(),
    method=st.sampled_from(["GET", "HEAD", "CONNECT"]),
    small=st.booleans(),
)
def test_client_sees_the_same_however_the_bytes_arrive(
    split: tuple[bytes, list[bytes]],
    eof: bool,
    upgrade: bool,
    method: str,
    small: bool,
    play_client: Any,
    small_limits: Limits,
) -> None:
    received, pieces = split
    options = {"eof": eof, "upgrade": upgrade, "method": method, "limits": small_limits if small else Limits()}
    whole = play_client([received] if received else [], **options)
    by_piece = play_client(pieces, **options)
    by_byte = play_client((received[i : i + 1] for i in range(len(received))), **options)
    assert whole.events == by_piece.events == by_byte.events
    assert whole.trailers == by_piece.trailers == by_byte.trailers
    assert whole.head == by_piece.head == by_byte.head


@settings(max_examples=300)
@given(any_bytes, st.booleans(), st.booleans())
def test_nothing_but_a_remote_protocol_error_comes_out_of_bytes(received: bytes, server: bool, eof: bool) -> None:
    connection = Connection(SERVER if server else CLIENT)
    if received:
        connection.receive_data(received)
    if eof:
        connection.receive_data(b"")
    try:
        for _ in range(len(received) + 3):  # each event takes a byte at least, or is one of the ends
            event = connection.next_event()
            if event is NEED_DATA or event is PAUSED or isinstance(event, ConnectionClosed):
                break
        else:
            pytest.fail("more events than bytes")
    except RemoteProtocolError as exc:
        assert exc.error_status_hint in (400, 413, 414, 417, 431, 501, 505)
        with pytest.raises(RemoteProtocolError):
            connection.next_event()


# Exchanges between two connections

token = st.text("abcXYZ019-_!~", min_size=1, max_size=8)
vchar = st.text("".join(map(chr, range(0x21, 0x7F))), min_size=1, max_size=12)
value = st.builds(" ".join, st.lists(vchar, max_size=3)).map(str.strip)
_RULED = re.compile(r"(?i)host|connection|content-length|transfer-encoding|upgrade|expect|te|trailer")
field = st.tuples(token.filter(lambda name: not _RULED.fullmatch(name)), value)
fields = st.lists(field, max_size=4)
content = st.lists(st.binary(max_size=40), max_size=4)
path = st.text("abc/?=&%;.", max_size=10).map("/".__add__)
FRAMINGS = ("none", "length", "chunked")


@st.composite
def messages(draw: st.DrawFn, kind: str) -> dict[str, Any]:
    """The parts of a message: its fields, how it is framed, the pieces of its content, trailers if it can have some."""
    framing = draw(st.sampled_from(FRAMINGS))
    pieces = [] if framing == "none" and kind == "request" else draw(content)
    own = draw(fields)
    if framing == "length":
        own.append(("Content-Length", str(sum(map(len, pieces)))))
    elif framing == "chunked":
        own.append(("Transfer-Encoding", "chunked"))
    trailers = draw(fields) if framing == "chunked" else []
    return {"fields": own, "pieces": pieces, "trailers": trailers}


@st.composite
def exchanges(draw: st.DrawFn) -> dict[str, Any]:
    method = draw(st.sampled_from(["GET", "POST", "HEAD", "OPTIONS"]) | token)
    status = draw(st.sampled_from([200, 204, 304, 404, 500]) | st.integers(200, 999))
    response = draw(messages("response"))
    if has_no_content(method.encode(), status):
        response |= {"pieces": [], "trailers": []}
    return {
        "method": method,
        "target": draw(path),
        "request": draw(messages("request")),
        "informational": draw(st.lists(st.tuples(st.sampled_from([100, 102, 103, 199]), fields), max_size=2)),
        "status": status,
        "reason": draw(value),
        "response": response,
    }


class Wire:
    """Two connections; what one sends the other receives, cut into pieces of some size."""

    def __init__(self, piece_bytes: int, *, strict: bool) -> None:
        self.client = Connection(CLIENT)
        self.server = Connection(SERVER, strict=strict)
        self.piece_bytes = piece_bytes

    def carry(self, sender: Connection, event: Any) -> list[Any]:
        """Send an event; the events that the receiver makes of it, Data joined and without chunk flags."""
        receiver = self.server if sender is self.client else self.client
        sent = sender.send(event) or b""
        received: list[Any] = []
        for start in range(0, len(sent), self.piece_bytes):
            receiver.receive_data(sent[start : start + self.piece_bytes])
            received += self.take(receiver)
        return joined([*received, *self.take(receiver)])

    def take(self, receiver: Connection) -> Iterator[Any]:
        while (event := receiver.next_event()) is not NEED_DATA and event is not PAUSED:
            yield event


def joined(events: list[Any]) -> list[Any]:
    result: list[Any] = []
    for event in events:
        if isinstance(event, Data) and result and isinstance(result[-1], Data):
            result[-1] = Data(result[-1].data + event.data)
        else:
            result.append(Data(event.data) if isinstance(event, Data) else event)
    return result


@settings(max_examples=150)
@given(st.lists(exchanges(), min_size=1, max_size=3), st.sampled_from([1, 2, 7, 10_000]), st.booleans())
def test_every_event_that_is_sent_is_received_equal(
    conversation: list[dict[str, Any]], piece_bytes: int, strict: bool
) -> None:
    wire = Wire(piece_bytes, strict=strict)
    for exchange in conversation:
        request = Request(
            method=exchange["method"],
            target=exchange["target"],
            headers=[*exchange["request"]["fields"], ("Host", "a.example:8080")],
        )
        carry_message(wire, wire.client, request, exchange["request"])
        assert wire.server.client_is_waiting_for_100_continue is False
        for status, own in exchange["informational"]:
            informational = InformationalResponse(status_code=status, headers=own)
            assert wire.carry(wire.server, informational) == [informational]
        response = Response(
            status_code=exchange["status"], headers=exchange["response"]["fields"], reason=exchange["reason"]
        )
        carry_message(wire, wire.server, response, exchange["response"])
        for connection in (wire.client, wire.server):
            assert connection.states == {CLIENT: DONE, SERVER: DONE}
            assert connection.trailing_data == (b"", False)
            connection.start_next_cycle()
            assert connection.states == {CLIENT: IDLE, SERVER: IDLE}


def carry_message(wire: Wire, sender: Connection, head: Any, message: dict[str, Any]) -> None:
    sent: list[Any] = [head, *(Data(piece) for piece in message["pieces"]), EndOfMessage(headers=message["trailers"])]
    received = joined([event for item in sent for event in wire.carry(sender, item)])
    first, *rest = received
    expected = joined([event for event in sent[1:] if not isinstance(event, Data) or event.data])
    assert rest == expected
    assert type(first) is type(head)
    added = {b"transfer-encoding"} if isinstance(head, Response) else set()
    assert [item for item in first.headers if item[0] not in added] == sorted_by_host(
        [item for item in head.headers if item[0] not in added]
    )
    for part in ("method", "target", "status_code", "reason", "http_version"):
        assert getattr(first, part, None) == getattr(head, part, None)


def sorted_by_host(pairs: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    return sorted(pairs, key=lambda pair: pair[0] != b"host")


@settings(max_examples=150)
@given(any_bytes, st.booleans())
def test_every_event_that_is_received_can_be_sent_on(received: bytes, strict: bool) -> None:
    """What came from a client can go to a server, and it says the same there."""
    server = Connection(SERVER, strict=strict)
    client = Connection(CLIENT)
    if received:
        server.receive_data(received)
    server.receive_data(b"")
    try:
        while not isinstance(event := server.next_event(), ConnectionClosed) and event is not PAUSED:
            if isinstance(event, Request) and event.http_version != b"1.1":
                return  # only HTTP/1.1 is spoken
            sent = client.send(event)
            if isinstance(event, Request):
                onward = Connection(SERVER)
                onward.receive_data(sent or b"")
                forwarded = onward.next_event()
                assert (forwarded.method, forwarded.target) == (event.method, event.target)
                assert forwarded.headers == sorted_by_host(list(event.headers))
    except RemoteProtocolError:
        pass


@settings(max_examples=150)
@given(any_bytes, st.sampled_from(["GET", "HEAD"]))
def test_every_response_that_is_received_can_be_sent_on(received: bytes, method: str) -> None:
    client, server = Connection(CLIENT), Connection(SERVER)
    request = Request(method=method, target="/", headers=[("Host", "a")])
    server.receive_data(client.send(request) or b"")
    client.send(EndOfMessage())
    assert isinstance(server.next_event(), Request)
    assert server.next_event() == EndOfMessage()
    if received:
        client.receive_data(received)
    client.receive_data(b"")
    try:
        while not isinstance(event := client.next_event(), ConnectionClosed) and event is not PAUSED:
            if getattr(event, "http_version", b"1.1") != b"1.1":
                return
            server.send(event)
    except RemoteProtocolError:
        pass


any_event = st.one_of(
    st.builds(
        Request,
        method=st.sampled_from(["GET", "HEAD", "CONNECT"]),
        target=st.just("/"),
        headers=st.sampled_from(
            [[("Host", "a")], [("Host", "a"), ("Upgrade", "x")], [("Host", "a"), ("Content-Length", "3")]]
        ),
        http_version=st.sampled_from(["1.1", "1.0"]),
    ),
    st.builds(
        Response,
        status_code=st.sampled_from([200, 204, 404]),
        headers=st.sampled_from(
            [[], [("Content-Length", "3")], [("Transfer-Encoding", "chunked")], [("Connection", "close")]]
        ),
    ),
    st.builds(InformationalResponse, status_code=st.sampled_from([100, 101])),
    st.builds(Data, data=st.binary(max_size=4)),
    st.builds(EndOfMessage, headers=st.sampled_from([[], [("X", "y")]])),
    st.just(ConnectionClosed()),
)


@settings(max_examples=300)
@given(st.lists(any_event, max_size=6), st.booleans())
def test_nothing_but_a_local_protocol_error_comes_out_of_sending(events: list[Any], server: bool) -> None:
    connection = Connection(SERVER if server else CLIENT)
    if server:
        connection.receive_data(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        connection.next_event()
    for event in events:
        try:
            sent = connection.send(event)
        except LocalProtocolError:
            with pytest.raises(LocalProtocolError):
                connection.send(event)
            return
        assert (sent is None) is isinstance(event, ConnectionClosed)
