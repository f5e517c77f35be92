"""WebSockets once they are there: messages, pings, compression, ends. Our client and our server, and bare frames."""

from __future__ import annotations

import re
import time
from base64 import b64encode
from collections.abc import Callable
from hashlib import sha1
from typing import Any

import gevent
import pytest
from gevent.event import AsyncResult, Event

from gruvihttp import HttpClient, Timeout, websocket
from gruvihttp.testing import RawPeer
from gruvihttp.websocket import WebSocketClosed

GUARD = 10.0


def echo(ws: Any) -> None:
    for message in ws:
        ws.send(message)


@pytest.fixture
def bare(script: Any) -> Callable[..., str]:
    """A server that shakes hands and plays a script then."""

    def bare(play: Callable[[RawPeer], object], extensions: bytes = b"") -> str:
        def whole(peer: RawPeer) -> None:
            key = re.search(rb"\r\nSec-WebSocket-Key: (\S+)\r\n", peer.read_until())
            assert key is not None
            proof = b64encode(sha1(key[1] + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest())
            head = b"HTTP/1.1 101 .\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: %b\r\n%b\r\n"
            peer.send(head % (proof, extensions))
            play(peer)

        url: str = script(whole)
        return url

    return bare


def unmasked(frame: bytes) -> bytes:
    """The payload of a short frame of a client, which must be masked."""
    assert frame[1] & 0x80
    mask, payload = frame[2:6], frame[6:]
    return bytes(byte ^ mask[place % 4] for place, byte in enumerate(payload))


def read_frame(peer: RawPeer) -> tuple[int, bytes]:
    """First byte and payload of the client's next frame, which is a short one."""
    start = peer.read(2)
    size = start[1] & 0x7F
    assert size < 126
    return start[0], unmasked(start + peer.read(4 + size))


# messages


@pytest.mark.parametrize("compress", [False, True], ids=["plain", "compressed"])
@pytest.mark.parametrize(
    "message",
    ["text", "\u00fc\u20ac\U0001f600", b"\x00\xff", "", b"", "x" * 200_000, bytes(range(256)) * 500],
    ids=["text", "beyond-ascii", "bytes", "no-text", "no-bytes", "long-text", "long-bytes"],
)
def test_message_goes_there_and_back(serve: Any, message: Any, compress: bool) -> None:
    with websocket.connect(serve(echo, compress=compress), compress=True) as ws:
        assert ws.compressed is compress
        for _ in range(3):
            ws.send(message)
            assert ws.receive(GUARD) == message


def test_loop_over_messages_ends_with_the_connection(serve: Any) -> None:
    def count(ws: Any) -> None:
        for number in range(5):
            ws.send(str(number))

    ws = websocket.connect(serve(count))
    assert list(ws) == ["0", "1", "2", "3", "4"]
    assert (ws.code, ws.closed, ws.receive()) == (1000, True, None)


def test_frames_of_a_client_are_masked_with_masks_of_their_own(bare: Any) -> None:
    masks: set[bytes] = set()
    heard: list[bytes] = []

    def play(peer: RawPeer) -> None:
        for _ in range(4):
            start = peer.read(2)
            masks.add(peer.read(4))
            heard.append(start + peer.read(start[1] & 0x7F))
        peer.send(b"\x88\x00")

    ws = websocket.connect(bare(play))
    for _ in range(4):
        ws.send("same")
    assert ws.receive() is None
    assert len(masks) == 4
    assert len({frame[2:] for frame in heard}) == 4


def test_fragments_with_a_ping_between_them_are_one_message(bare: Any) -> None:
    pongs: list[Any] = []

    def play(peer: RawPeer) -> None:
        peer.send(b"\x01\x03in \x89\x02hi\x80\x06pieces")
        pongs.append(read_frame(peer))

    ws = websocket.connect(bare(play))
    assert ws.receive(GUARD) == "in pieces"
    assert ws.receive() is None
    assert pongs == [(0x8A, b"hi")]


def test_message_that_comes_byte_by_byte(bare: Any) -> None:
    ws = websocket.connect(bare(lambda peer: peer.send_in_pieces(b"\x81\x05hello\x88\x02\x0f\xa0")))
    assert (ws.receive(GUARD), ws.receive(GUARD), ws.code) == ("hello", None, 4000)


def test_receive_waits_no_longer_than_it_was_told_and_loses_nothing(serve: Any) -> None:
    go_on = Event()

    def handler(ws: Any) -> None:
        go_on.wait(GUARD)
        ws.send("late")
        ws.receive()

    with websocket.connect(serve(handler)) as ws:
        with pytest.raises(Timeout):
            ws.receive(timeout=0.05)
        go_on.set()
        assert ws.receive(timeout=GUARD) == "late"


def test_gevents_timeout_passes_and_loses_nothing(serve: Any) -> None:
    go_on = Event()

    def handler(ws: Any) -> None:
        go_on.wait(GUARD)
        ws.send("late")
        ws.receive()

    with websocket.connect(serve(handler)) as ws:
        with gevent.Timeout(0.05, False):
            ws.receive()
        go_on.set()
        assert ws.receive(timeout=GUARD) == "late"


def test_server_that_does_not_read_is_given_up(bare: Any) -> None:
    done = Event()
    ws = websocket.connect(bare(lambda peer: done.wait(GUARD)), timeout=0.2)
    try:
        with pytest.raises(Timeout):
            while True:
                ws.send(b"x" * 1_000_000)
        assert ws.code == 1006
        with pytest.raises(WebSocketClosed):
            ws.send("more")
    finally:
        done.set()


# pings


def test_ping_measures_the_way(serve: Any) -> None:
    with websocket.connect(serve(echo)) as ws:
        receiving = gevent.spawn(ws.receive)
        pings = [ws.ping(), ws.ping(b"own"), ws.ping()]
        assert all(0 <= ping.get(timeout=GUARD) < GUARD for ping in pings)
        ws.send("end")
        assert receiving.get(timeout=GUARD) == "end"


@pytest.mark.parametrize("pongs", [1, 2])
def test_pings_with_the_same_payload_are_all_answered(bare: Any, pongs: int) -> None:
    """RFC 6455 §5.5.3: a peer may answer the latest one only."""

    def play(peer: RawPeer) -> None:
        read_frame(peer)
        read_frame(peer)
        peer.send(b"\x8a\x01x" * pongs + b"\x88\x02\x03\xe8")

    ws = websocket.connect(bare(play))
    pings = [ws.ping(b"x"), ws.ping(b"x")]
    assert ws.receive(GUARD) is None
    assert all(0 <= ping.get(timeout=GUARD) < GUARD for ping in pings)


def test_server_pings_too(serve: Any) -> None:
    answers: list[float] = []

    def handler(ws: Any) -> None:
        receiving = gevent.spawn(ws.receive)
        answers.append(ws.ping().get(timeout=GUARD))
        ws.send("measured")
        receiving.join()

    with websocket.connect(serve(handler)) as ws:
        assert ws.receive(GUARD) == "measured"
    assert 0 <= answers[0] < GUARD


def test_ping_that_is_never_answered_ends_with_the_connection(bare: Any) -> None:
    def play(peer: RawPeer) -> None:
        read_frame(peer)
        peer.send(b"\x88\x02\x03\xe9")

    ws = websocket.connect(bare(play))
    ping = ws.ping()
    assert ws.receive() is None
    with pytest.raises(WebSocketClosed, match="1001"):
        ping.get(timeout=GUARD)


def test_peer_that_answers_pings_is_kept(bare: Any) -> None:
    pongs: list[Any] = []
    go_on = Event()

    def play(peer: RawPeer) -> None:
        for _ in range(5):
            assert read_frame(peer) == (0x89, b"")
            peer.send(b"\x8a\x00")
            pongs.append(True)
        peer.send(b"\x81\x04here")
        go_on.wait(GUARD)

    ws = websocket.connect(bare(play), ping_interval=0.02)
    assert ws.receive(GUARD) == "here"
    assert len(pongs) == 5
    go_on.set()


def test_peer_that_does_not_answer_pings_is_given_up(bare: Any) -> None:
    done = Event()
    ws = websocket.connect(bare(lambda peer: done.wait(GUARD)), ping_interval=0.02)
    try:
        assert (ws.receive(GUARD), ws.code) == (None, 1006)
    finally:
        done.set()


def test_server_gives_clients_up_that_do_not_answer_pings(serve: Any) -> None:
    codes: list[Any] = []
    done = Event()

    def handler(ws: Any) -> None:
        codes.append((ws.receive(), ws.code))
        done.set()

    ws = websocket.connect(serve(handler, ping_interval=0.02))  # and nobody receives
    assert done.wait(GUARD)
    assert codes == [(None, 1006)]
    assert ws.receive(GUARD) is None


def test_peer_is_not_judged_while_nobody_listens(bare: Any) -> None:
    pings: list[Any] = []

    def play(peer: RawPeer) -> None:
        peer.send(b"\x81\x05early")
        for _ in range(5):
            pings.append(read_frame(peer))
        enough.set()
        peer.read_to_end()

    enough = Event()
    ws = websocket.connect(bare(play), ping_interval=0.02)
    assert enough.wait(GUARD)
    assert ws.receive(GUARD) == "early"


def test_ping_is_short(serve: Any) -> None:
    with websocket.connect(serve(echo)) as ws, pytest.raises(ValueError, match="125"):
        ws.ping(b"x" * 126)


# compression


def test_compression_that_was_not_asked_for_is_not_agreed_to(serve: Any) -> None:
    with websocket.connect(serve(echo, compress=True)) as ws:
        assert not ws.compressed


@pytest.mark.parametrize(
    "offer",
    [
        "permessage-deflate; server_max_window_bits=x",
        "permessage-deflate; client_max_window_bits=99",
        "x-unknown",
        ";,",
    ],
)
def test_offer_that_cannot_be_understood_is_not_agreed_to(serve: Any, offer: str) -> None:
    url = serve(echo, compress=True)
    with HttpClient(timeout=GUARD) as client:
        client.connect(("localhost", int(url.split(":")[2].split("/")[0])))
        fields = [
            ("Sec-WebSocket-Version", "13"),
            ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
            ("Sec-WebSocket-Extensions", offer),
        ]
        client.request("GET", "/", fields, upgrade="websocket")
        response = client.getresponse()
        assert (response.status, response.get_header("Sec-WebSocket-Extensions")) == (101, None)


def test_compressed_messages_are_bounded_by_what_they_become(serve: Any) -> None:
    url = serve(echo, compress=True, max_message_size=1_000_000)
    ws = websocket.connect(url, compress=True, max_message_size=1 << 30)
    ws.send("x" * 900_000)
    assert len(ws.receive(GUARD) or "") == 900_000
    ws.send("x" * 100_000_000)
    assert ws.receive(GUARD) is None
    assert ws.code == 1009


def test_reserved_bit_without_an_extension_is_an_error(bare: Any) -> None:
    codes: list[Any] = []

    def play(peer: RawPeer) -> None:
        peer.send(b"\xc1\x01x")
        codes.append(read_frame(peer))

    ws = websocket.connect(bare(play))
    assert (ws.receive(), ws.code) == (None, 1002)
    assert codes == [(0x88, b"\x03\xea")]


# ends


def test_client_that_closes_says_why_and_waits_for_the_server(serve: Any) -> None:
    ended: list[Any] = []

    def handler(ws: Any) -> None:
        ended.append((ws.receive(), ws.code, ws.reason))

    ws = websocket.connect(serve(handler))
    ws.close(4001, "enough")
    ws.close()
    assert ended == [(None, 4001, "enough")]
    assert (ws.code, ws.reason) == (4001, "enough")
    with pytest.raises(WebSocketClosed, match="4001 enough"):
        ws.send("too late")


def test_close_ends_a_greenlet_that_receives(serve: Any) -> None:
    ws = websocket.connect(serve(echo))
    receiving = gevent.spawn(ws.receive)
    gevent.idle()
    ws.close()
    assert receiving.get(timeout=GUARD) is None
    assert ws.code == 1000


def test_server_closes_while_another_greenlet_of_it_receives(serve: Any) -> None:
    results: list[Any] = []

    def handler(ws: Any) -> None:
        receiving = gevent.spawn(ws.receive)
        gevent.idle()
        ws.close(4002)
        results.append(receiving.get(timeout=GUARD))

    ws = websocket.connect(serve(handler))
    assert (ws.receive(GUARD), ws.code) == (None, 4002)
    gevent.idle()
    assert results == [None]


def test_message_that_crosses_our_close_is_dropped(bare: Any) -> None:
    frames: list[Any] = []

    def play(peer: RawPeer) -> None:
        frames.append(read_frame(peer))
        peer.send(b"\x81\x04late\x88\x02\x03\xe8")

    ws = websocket.connect(bare(play))
    receiving = gevent.spawn(ws.receive)
    gevent.idle()
    ws.close()
    assert receiving.get(timeout=GUARD) is None
    assert frames == [(0x88, b"\x03\xe8")]


def test_answer_to_a_message_that_came_with_the_end_is_sent(bare: Any) -> None:
    """Whoever closes may still read: what came before the close frame is worked on as ever."""
    frames: list[Any] = []

    def play(peer: RawPeer) -> None:
        peer.send(b"\x81\x04last\x88\x02\x03\xe8")
        frames.extend((read_frame(peer), read_frame(peer)))

    ws = websocket.connect(bare(play))
    assert ws.receive(GUARD) == "last"
    ws.send("answer")
    assert ws.receive(GUARD) is None
    assert frames == [(0x81, b"answer"), (0x88, b"\x03\xe8")]


def test_who_waits_to_send_when_the_peer_closes_is_told_so(bare: Any) -> None:
    """A large message is stuck, behind it waits another, and the answer to a close frame that has come meanwhile."""
    go_on = Event()

    def play(peer: RawPeer) -> None:
        peer.send(b"\x88\x02\x0f\xa0")
        go_on.wait(GUARD)
        peer.read_to_end()

    def send(message: Any) -> str:
        try:
            ws.send(message)
        except WebSocketClosed as exc:
            return str(exc)
        return "sent"

    ws = websocket.connect(bare(play))
    stuck = gevent.spawn(send, b"x" * 10_000_000)
    gevent.idle()
    waiting = gevent.spawn(send, "behind")
    gevent.idle()
    receiving = gevent.spawn(ws.receive)
    gevent.idle()
    late = gevent.spawn(send, "later still")
    gevent.idle()
    go_on.set()
    assert receiving.get(timeout=GUARD) is None
    told = [one.get(timeout=GUARD) for one in (stuck, waiting, late)]
    assert told == ["sent", *["the WebSocket is closed: 4000"] * 2]


def test_second_receiver_is_refused(serve: Any) -> None:
    with websocket.connect(serve(echo)) as ws:
        receiving = gevent.spawn(ws.receive)
        gevent.idle()
        with pytest.raises(RuntimeError, match="another greenlet receives already"):
            ws.receive()
        ws.send("still")
        assert receiving.get(timeout=GUARD) == "still"


def test_handler_may_end_while_another_greenlet_of_it_receives(serve: Any) -> None:
    left: list[Any] = []

    def handler(ws: Any) -> None:
        left.append(gevent.spawn(ws.receive))
        gevent.idle()
        ws.send("bye")

    with websocket.connect(serve(handler)) as ws:
        assert ws.receive(GUARD) == "bye"
        assert ws.receive(GUARD) is None
    assert left[0].get(timeout=GUARD) is None


def test_server_that_never_answers_our_close_is_not_waited_for(bare: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gruvihttp.wsmessages.CLOSE_SECONDS", 0.05)
    monkeypatch.setattr("gruvihttp.wsconnecting._LINGER_SECONDS", 0.05)
    done = Event()
    try:
        ws = websocket.connect(bare(lambda peer: done.wait(GUARD)))
        with gevent.Timeout(GUARD):
            ws.close()
        ws = websocket.connect(bare(lambda peer: done.wait(GUARD)))
        receiving = gevent.spawn(ws.receive)
        gevent.idle()
        with gevent.Timeout(GUARD):
            ws.close()
            assert receiving.get() is None
    finally:
        done.set()


def test_answer_to_our_close_has_its_time_even_if_the_loop_was_held_up(
    bare: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gruvihttp.wsmessages.CLOSE_SECONDS", 0.4)
    ended: AsyncResult[bytes] = AsyncResult()

    def play(peer: RawPeer) -> None:
        read_frame(peer)
        peer.send(b"\x88\x02\x03\xe8")
        ended.set(peer.read_to_end())

    ws = websocket.connect(bare(play))
    receiving = gevent.spawn(ws.receive)
    gevent.sleep(0.001)  # a timer of the loop goes on from here
    time.sleep(0.5)
    ws.close()
    assert receiving.get(timeout=GUARD) is None
    assert ended.get(timeout=GUARD) == b""


@pytest.mark.parametrize("leave", ["close", "reset"])
def test_server_that_goes_without_a_word_is_1006(bare: Any, leave: str) -> None:
    ws = websocket.connect(bare(lambda peer: getattr(peer, leave)()))
    assert (ws.receive(GUARD), ws.code) == (None, 1006)


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        pytest.param(b"\x81\x01\xff", 1007, id="no-utf-8"),
        pytest.param(b"\x81\x81\x00\x00\x00\x00x", 1002, id="masked"),
        pytest.param(b"\x83\x00", 1002, id="unknown-opcode"),
        pytest.param(b"\x80\x01x", 1002, id="continuation-of-nothing"),
        pytest.param(b"\x81\x65" + b"x" * 101, 1009, id="too-big"),
        pytest.param(b"\x88\x01\x03", 1002, id="half-a-code"),
        pytest.param(b"\x88\x02\x03\xed", 1002, id="a-code-that-nobody-sends"),
    ],
)
def test_server_that_breaks_the_rules_is_told_and_left(bare: Any, sent: bytes, code: int) -> None:
    frames: list[Any] = []

    def play(peer: RawPeer) -> None:
        peer.send(sent)
        frames.append(read_frame(peer))

    ws = websocket.connect(bare(play), max_message_size=100)
    assert (ws.receive(GUARD), ws.code) == (None, code)
    assert frames == [(0x88, code.to_bytes(2, "big"))]


def test_with_block_closes_whatever_happens(serve: Any) -> None:
    ended = Event()

    def handler(ws: Any) -> None:
        ws.receive()
        ended.set()

    with pytest.raises(KeyError), websocket.connect(serve(handler)) as ws:
        raise KeyError
    assert ws.code == 1000
    assert ended.wait(GUARD)


def test_websocket_says_what_it_is(serve: Any) -> None:
    with websocket.connect(serve(echo)) as ws:
        assert repr(ws).startswith("<WebSocket open <")
    assert repr(ws).startswith("<WebSocket closed 1000 <")
