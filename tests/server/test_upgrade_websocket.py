"""WebSocket on our server: handshake, messages, and ends. The client's frames are wsproto's, or written by hand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gevent
import pytest
from gevent.event import Event
from wsproto.connection import Connection, ConnectionType
from wsproto.events import BytesMessage, CloseConnection, Ping, Pong, TextMessage

from gruvihttp import websocket
from gruvihttp.errors import Timeout
from gruvihttp.websocket import HandshakeError, WebSocketClosed

# RFC 6455 section 1.3
KEY = b"dGhlIHNhbXBsZSBub25jZQ=="
ACCEPT = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
FIELDS = b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: %b\r\n" % KEY


def handshake(fields: bytes = b"", base: bytes = FIELDS) -> bytes:
    return b"GET /chat HTTP/1.1\r\nHost: a\r\n%b%b\r\n" % (base, fields)


def serving(handler: Callable[[Any], object], **options: Any) -> Any:
    """An application that speaks WebSocket."""

    def application(environ: Any, start_response: Any) -> Any:
        try:
            with_socket = websocket.accept(environ, **options)
        except HandshakeError as exc:
            return exc(environ, start_response)
        handler(with_socket)
        with_socket.close()
        return []

    return application


def echo(ws: Any) -> None:
    for message in ws:
        ws.send(message)


class Peer:
    """The client's side of one WebSocket."""

    def __init__(self, served: Any, fields: bytes = b"", leading: Any = ()) -> None:
        self.engine = Connection(ConnectionType.CLIENT)
        self.talk = served.connect()
        self.talk.send(handshake(fields) + b"".join(self.engine.send(event) for event in leading))
        self.head = self.talk.head()
        assert (self.head.status, self.head["Sec-WebSocket-Accept"]) == (101, ACCEPT)
        self.pending: list[Any] = []

    def send(self, *events: Any) -> None:
        self.talk.send(b"".join(self.engine.send(event) for event in events))

    def next(self) -> Any:
        while not self.pending:
            self.engine.receive_data(self.talk.read(1) or None)
            self.pending = list(self.engine.events())
        return self.pending.pop(0)

    def message(self) -> Any:
        pieces = [self.next()]
        while not pieces[-1].message_finished:
            pieces.append(self.next())
        return type(pieces[0].data)().join(piece.data for piece in pieces)

    def code(self) -> int:
        """Read the server's close frame, and the end of the connection after the answer to it."""
        event = self.next()
        assert isinstance(event, CloseConnection), event
        return int(event.code)


# handshake


def test_handshake_is_that_of_the_rfc(serve: Any) -> None:
    peer = Peer(serve(serving(echo)))
    assert (peer.head["Upgrade"], peer.head["Connection"], peer.head["Sec-WebSocket-Protocol"]) == (
        "websocket",
        "Upgrade",
        None,
    )


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        pytest.param(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", 400, id="an-ordinary-request"),
        pytest.param(handshake(base=FIELDS.replace(b"websocket", b"echo")), 400, id="another-protocol"),
        pytest.param(handshake(base=FIELDS.replace(b": 13", b": 8")), 400, id="an-old-version"),
        pytest.param(handshake(base=FIELDS.replace(KEY, b"c2hvcnQ=")), 400, id="a-short-key"),
        pytest.param(handshake(base=FIELDS.replace(KEY, b"!" * 24)), 400, id="a-key-that-is-no-base64"),
        pytest.param(handshake().replace(b"GET", b"PUT"), 400, id="another-method"),
        pytest.param(handshake(b"Origin: https://evil.example\r\n"), 403, id="a-foreign-origin"),
    ],
)
def test_request_that_is_no_handshake_is_answered_and_the_connection_goes_on(
    serve: Any, request_bytes: bytes, status: int
) -> None:
    talk = serve(serving(echo, check_origin=lambda origin: origin != "https://evil.example")).connect()
    answer = talk.ask(request_bytes)
    assert answer.status == status
    assert answer["Sec-WebSocket-Version"] == ("13" if status == 400 else None)
    assert talk.is_open()


@pytest.mark.parametrize(
    ("offered", "chosen"),
    [(b"b, a", "a"), (b"b", "b"), (b"c", None)],
    ids=["our-best", "their-only", "none-in-common"],
)
def test_best_common_subprotocol_is_chosen(serve: Any, offered: bytes, chosen: str | None) -> None:
    peer = Peer(
        serve(serving(lambda ws: ws.send(repr(ws.subprotocol)), subprotocols=["a", "b"])),
        b"Sec-WebSocket-Protocol: %b\r\n" % offered,
    )
    assert (peer.head["Sec-WebSocket-Protocol"], peer.message()) == (chosen, repr(chosen))


# messages


@pytest.mark.parametrize(
    "message",
    ["text", "\u00fc\u20ac\U0001f600", b"\x00\xff", "", b"", "x" * 70_000],
    ids=["text", "beyond-ascii", "bytes", "no-text", "no-bytes", "long"],
)
def test_message_comes_back(serve: Any, message: str | bytes) -> None:
    peer = Peer(serve(serving(echo)))
    for _ in range(2):
        peer.send(TextMessage(data=message) if isinstance(message, str) else BytesMessage(data=message))
        assert peer.message() == message


def test_message_that_came_with_the_handshake_is_received(serve: Any) -> None:
    assert Peer(serve(serving(echo)), leading=[TextMessage(data="early")]).message() == "early"


def test_message_in_fragments_is_one_message(serve: Any) -> None:
    peer = Peer(serve(serving(echo)))
    peer.send(TextMessage(data="in ", message_finished=False))
    peer.send(Ping(payload=b"between"))
    peer.send(TextMessage(data="pieces", message_finished=True))
    answer = peer.next()
    assert isinstance(answer, Pong) and answer.payload == b"between"
    assert peer.message() == "in pieces"


def test_ping_is_sent(serve: Any) -> None:
    def handler(ws: Any) -> None:
        ws.ping(b"are you there")
        with pytest.raises(ValueError, match="125"):
            ws.ping(b"x" * 126)
        ws.send(ws.receive())

    peer = Peer(serve(serving(handler)))
    ping = peer.next()
    assert isinstance(ping, Ping) and ping.payload == b"are you there"
    peer.send(ping.response(), TextMessage(data="yes"))
    assert peer.message() == "yes"


def test_greenlets_may_send_while_another_receives(serve: Any) -> None:
    def handler(ws: Any) -> None:
        gevent.joinall([gevent.spawn(ws.send, letter * 70_000) for letter in "abc"] + [gevent.spawn(ws.receive)])

    peer = Peer(serve(serving(handler)))
    assert sorted(peer.message() for _ in "abc") == [letter * 70_000 for letter in "abc"]
    peer.send(TextMessage(data="done"))
    assert peer.code() == 1000


def test_receive_waits_no_longer_than_it_was_told_and_loses_nothing(serve: Any) -> None:
    def handler(ws: Any) -> None:
        with pytest.raises(Timeout):
            ws.receive(timeout=0.01)
        ws.send("late")
        ws.send(ws.receive(timeout=10))

    peer = Peer(serve(serving(handler)))
    assert peer.message() == "late"
    peer.send(TextMessage(data="on time"))
    assert peer.message() == "on time"


# ends


def test_client_that_closes_ends_the_loop(serve: Any, errors: Any) -> None:
    ended: list[Any] = []
    done = Event()

    def handler(ws: Any) -> None:
        echo(ws)
        with pytest.raises(WebSocketClosed, match="4000 bye"):
            ws.send("too late")
        ended.append((ws.closed, ws.code, ws.reason, ws.receive()))
        done.set()

    peer = Peer(serve(serving(handler)))
    peer.send(CloseConnection(code=4000, reason="bye"))
    assert peer.code() == 4000
    assert peer.talk.ends()
    assert done.wait(10)
    assert ended == [(True, 4000, "bye", None)]
    assert errors() == []


def test_server_that_closes_says_why(serve: Any) -> None:
    peer = Peer(serve(serving(lambda ws: ws.close(4001, "enough"))))
    event = peer.next()
    assert (int(event.code), event.reason) == (4001, "enough")
    peer.send(event.response())
    assert peer.talk.ends()


@pytest.mark.parametrize("leave", ["close", "reset"])
def test_client_that_goes_without_a_word_is_1006(serve: Any, errors: Any, leave: str) -> None:
    codes: list[int] = []
    done = Event()

    def handler(ws: Any) -> None:
        echo(ws)
        codes.append(ws.code)
        done.set()

    peer = Peer(serve(serving(handler)))
    getattr(peer.talk, leave)()
    assert done.wait(10)
    assert codes == [1006]
    assert errors() == []


def frame(first: int, payload: bytes, *, masked: bool = True) -> bytes:
    assert len(payload) < 126
    size = len(payload)
    return bytes((first, size | 0x80)) + bytes(4) + payload if masked else bytes((first, size)) + payload


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        pytest.param(frame(0x81, b"\xff"), 1007, id="no-utf-8"),
        pytest.param(frame(0x81, b"\xc3"), 1007, id="half-a-character"),
        pytest.param(frame(0x81, b"plain", masked=False), 1002, id="unmasked"),
        pytest.param(frame(0x83, b""), 1002, id="unknown-opcode"),
        pytest.param(frame(0xC1, b"x"), 1002, id="reserved-bit"),
        pytest.param(frame(0x80, b"x"), 1002, id="continuation-of-nothing"),
        pytest.param(frame(0x09, b"x"), 1002, id="ping-in-fragments"),
        pytest.param(frame(0x81, b"x" * 101), 1009, id="too-big"),
        pytest.param(frame(0x01, b"x" * 60) + frame(0x80, b"x" * 41), 1009, id="too-big-in-fragments"),
    ],
)
def test_what_breaks_the_rules_ends_it_with_its_code(serve: Any, errors: Any, sent: bytes, code: int) -> None:
    peer = Peer(serve(serving(echo, max_message_size=100)))
    peer.talk.send(sent)
    assert peer.code() == code
    assert errors() == []


# wsgi.websocket


def lazily(environ: Any, start_response: Any) -> Any:
    ws = environ.get("wsgi.websocket")
    if ws is None or environ["PATH_INFO"] != "/chat":
        start_response("200 OK", [])
        return [repr(ws and (ws.version, ws.path, ws.origin, ws.protocol)).encode()]
    while (message := ws.receive()) is not None:
        ws.send(message)
    ws.close()
    return []


def test_lazy_websocket_shakes_hands_when_it_is_used(serve: Any) -> None:
    peer = Peer(serve(lazily))
    peer.send(BytesMessage(data=b"hello"))
    assert peer.message() == b"hello"
    peer.send(CloseConnection(code=1000))
    assert peer.code() == 1000
    assert peer.talk.ends()


def test_looking_at_a_lazy_websocket_changes_nothing(serve: Any) -> None:
    talk = serve(lazily).connect()
    answer = talk.ask(handshake(b"Origin: http://b\r\n").replace(b"/chat", b"/look"))
    assert answer.content == b"('13', '/look', 'http://b', None)"
    assert talk.get().content == b"None"
