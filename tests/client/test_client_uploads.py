"""Large requests: both sides writing at once, answers that come early, and peers that go away in the middle."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gevent
import pytest
from gevent.event import Event

from gruvihttp import HttpClient, HttpError, HttpRequest, Timeout, TransportError
from gruvihttp.testing import RawPeer, ScriptedPeer

KIB = 1024
MIB = 1024 * 1024


def content(body: bytes, fields: bytes = b"") -> bytes:
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n%b\r\n%b" % (len(body), fields, body)


def echo(peer: RawPeer) -> None:
    """Reads a whole request with a length, answers with its content, and so on: never reads while it writes."""
    while head := peer.read_until():
        length = int(head.partition(b"Content-Length: ")[2].partition(b"\r\n")[0])
        peer.send(content(peer.read(length)))


# G64, S40: both write and nobody reads


@pytest.mark.parametrize("kind", ["tcp", "tls"])
def test_g64_pipelined_large_requests_do_not_deadlock(
    serve: Any, kind: str, server_tls: Any, client_tls: Any
) -> None:
    count = 300
    peer = serve(echo, context=server_tls if kind == "tls" else None)
    with HttpClient(timeout=10) as client:
        client.connect(peer.address, ssl=client_tls if kind == "tls" else False)
        for number in range(count):
            client.request("POST", "/", body=b"%d," % number + b"x" * 64 * KIB)
        for number in range(count):
            body = client.getresponse().read()
            assert (len(body), body.partition(b",")[0]) == (64 * KIB + len(b"%d," % number), b"%d" % number)


def test_g64_large_bodies_in_both_directions_of_one_exchange(connect: Any) -> None:
    """A server that answers while it still reads, as an echo does."""

    def script(peer: RawPeer) -> None:
        peer.read_until()
        peer.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        received = b""
        while not received.endswith(b"0\r\n\r\n"):
            received = peer.channel.receive()
            peer.send(b"%x\r\n%b\r\n" % (len(received), received))
        peer.send(b"0\r\n\r\n")

    client = connect(script)
    client.request("POST", "/", [("Content-Length", "20480005")], [*[b"x" * 50 * KIB] * 400, b"0\r\n\r\n"])
    assert client.getresponse().read().count(b"x") >= 400 * 50 * KIB - 64 * KIB  # some came with the head


def test_responses_that_wait_are_spilled_to_a_file_without_a_name(
    connect: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    seen: list[list[str]] = []

    def script(peer: RawPeer) -> None:
        peer.read_until()
        peer.send(content(b"a" * 8 * MIB))
        seen.append(os.listdir(tmp_path))
        peer.read_until()
        peer.read(8 * MIB)
        peer.send(content(b"b"))

    client = connect(script)
    client.request("GET", "/")
    client.request("POST", "/", body=b"x" * 8 * MIB)
    assert client.getresponse().read() == b"a" * 8 * MIB
    assert client.getresponse().read() == b"b"
    assert seen == [[]]


def test_full_disk_is_a_transport_error(connect: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "missing"))

    def script(peer: RawPeer) -> None:
        peer.read_until()
        peer.send(content(b"a" * 8 * MIB))
        peer.read_to_end()

    client = connect(script)
    client.request("GET", "/")
    with pytest.raises(TransportError, match="temporary file"):
        client.request("POST", "/", body=b"x" * 8 * MIB)
    with pytest.raises(HttpError):
        client.request("GET", "/")


# an answer before the request is complete


def refusing(*, say: Any, close: bool, status: bytes = b"413 Too Large", reset: bool = False) -> Any:
    def script(peer: RawPeer) -> None:
        peer.read_until()
        say(peer, b"HTTP/1.1 %b\r\nContent-Length: 2\r\n%b\r\nno" % (status, b"Connection: close\r\n" * close))
        if reset:
            answered.set()
            peer.reset()
        else:
            while peer.channel.receive():  # a client that goes on would never end
                sent.append(1)

    answered = Event()
    sent: list[int] = []
    script.answered = answered  # type: ignore[attr-defined]
    script.sent = sent  # type: ignore[attr-defined]
    return script


class Endless:
    """A body that ends only when nobody asks for more."""

    def __init__(self) -> None:
        self.pieces = 0

    def __iter__(self) -> Iterator[bytes]:
        while True:
            self.pieces += 1
            yield b"x" * 64 * KIB
            gevent.sleep(0)


@pytest.mark.parametrize("close", [False, True], ids=["keeps", "closes"])
def test_early_answer_stops_the_upload(connect: Any, say: Any, close: bool) -> None:
    client = connect(refusing(say=say, close=close))
    request = client.request("POST", "/", body=Endless())
    response = client.getresponse()
    assert (response.status, response.read(), response.request) == (413, b"no", request)
    with pytest.raises(HttpError, match="connect again"):
        client.request("GET", "/")
    assert not client.connected


@pytest.mark.parametrize("status", [b"200 OK", b"204 No Content", b"302 Found", b"500 Oops"])
def test_early_answer_that_is_complete_stops_the_upload(connect: Any, say: Any, status: bytes) -> None:
    def script(peer: RawPeer) -> None:
        peer.read_until()
        say(peer, b"HTTP/1.1 %b\r\nContent-Length: 0\r\n\r\n" % status)
        while peer.channel.receive():
            pass

    client = connect(script)
    client.request("POST", "/", body=Endless())
    assert client.getresponse().status == int(status[:3])
    with pytest.raises(HttpError, match="before the request was complete"):
        client.request("GET", "/")


def test_early_answer_stops_a_body_that_is_stuck(connect: Any, say: Any) -> None:
    """The server reads no more, so that only what it says can end the upload."""
    done = Event()

    def script(peer: RawPeer) -> None:
        peer.read_until()
        say(peer, b"HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\n\r\nno")
        done.wait(10)

    client = connect(script)
    client.request("POST", "/", body=b"x" * 64 * MIB)
    assert client.getresponse().read() == b"no"
    done.set()
    assert not client.connected


def test_early_answer_to_an_upload_behind_other_requests(connect: Any, say: Any) -> None:
    done = Event()

    def script(peer: RawPeer) -> None:
        for _ in range(3):
            peer.read_until()
        say(peer, content(b"a") + content(b"b") + b"HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\n\r\nno")
        done.wait(10)

    client = connect(script)
    client.request("GET", "/a")
    client.request("GET", "/b")
    client.request("POST", "/", body=b"x" * 64 * MIB)
    assert [client.getresponse().read() for _ in range(3)] == [b"a", b"b", b"no"]
    done.set()


def test_early_answer_makes_writing_by_hand_harmless(connect: Any, say: Any) -> None:
    script = refusing(say=say, close=False)
    client = connect(script)
    request = client.request("POST", "/", body=None)
    with pytest.raises(RuntimeError):
        client.request("GET", "/")
    response = client.getresponse()
    assert response.read() == b"no"
    for _ in range(3):
        request.write(b"x" * 64 * KIB)
    request.end_request()
    assert sum(script.sent) == 0
    assert not client.connected


def test_connection_that_ends_after_an_earlier_response_stops_the_upload(connect: Any, say: Any) -> None:
    done = Event()

    def script(peer: RawPeer) -> None:
        peer.read_until()
        peer.read_until()
        say(peer, content(b"a", b"Connection: close\r\n"))
        done.wait(10)

    client = connect(script)
    first = client.request("GET", "/a")
    with pytest.raises(HttpError) as caught:
        client.request("POST", "/", body=b"x" * 64 * MIB)
    assert caught.value.retryable
    response = client.getresponse()
    assert (response.read(), response.request) == (b"a", first)
    with pytest.raises(RuntimeError):
        client.getresponse()
    done.set()


def test_garbage_stops_the_upload(connect: Any, say: Any) -> None:
    def script(peer: RawPeer) -> None:
        peer.read_until()
        say(peer, b"\x15\x03\x01\r\n\r\n")
        while peer.channel.receive():
            pass

    client = connect(script)
    with pytest.raises(HttpError):
        client.request("POST", "/", body=Endless())


# the peer goes away


@pytest.mark.parametrize("body", [lambda: b"x" * 64 * MIB, Endless], ids=["complete", "pieces"])
def test_answer_before_a_reset_is_delivered(connect: Any, body: Any) -> None:
    client = connect(refusing(say=RawPeer.send, close=False, reset=True))
    client.request("POST", "/", body=body())
    response = client.getresponse()
    assert (response.status, response.read()) == (413, b"no")
    assert not client.connected


def test_earlier_answers_before_a_reset_are_delivered(connect: Any) -> None:
    def script(peer: RawPeer) -> None:
        for _ in range(3):
            peer.read_until()
        peer.send(content(b"a" * 1000) + content(b"b" * 1000))  # what is still to be sent is lost by a reset
        peer.reset()

    client = connect(script)
    client.request("GET", "/a")
    client.request("GET", "/b")
    with pytest.raises(TransportError):
        client.request("POST", "/", body=b"x" * 64 * MIB)
    assert [len(client.getresponse().read()) for _ in range(2)] == [1000, 1000]
    with pytest.raises(RuntimeError):
        client.getresponse()


@pytest.mark.parametrize("body", [lambda: b"x" * 64 * MIB, Endless], ids=["complete", "pieces"])
@pytest.mark.parametrize("way", ["reset", "close"])
def test_peer_that_goes_away_is_an_error_of_the_request(connect: Any, body: Any, way: str) -> None:
    def script(peer: RawPeer) -> None:
        peer.read_until()
        getattr(peer, way)()

    client = connect(script)
    with pytest.raises((TransportError, HttpError)):
        client.request("POST", "/", body=body())
    with pytest.raises(HttpError, match="connect again"):
        client.request("GET", "/")
    with pytest.raises(RuntimeError):
        client.getresponse()


def test_g69_peer_that_reads_nothing_is_a_timeout_and_the_connection_unusable(connect: Any) -> None:
    done = Event()
    client = connect(lambda peer: done.wait(10), timeout=0.1)
    with pytest.raises(Timeout) as caught:
        client.request("POST", "/", body=b"x" * 64 * MIB)
    assert caught.value.phase == "write"
    with pytest.raises(HttpError, match="did not read"):
        client.request("GET", "/")
    done.set()


def test_answers_are_taken_while_an_upload_waits_for_its_next_piece(serve: Any, connect: Any) -> None:
    """Each piece looks for what has come; none of it is lost, and none is taken twice."""

    def script(peer: RawPeer) -> None:
        peer.read_until()
        peer.send(content(b"a" * 200 * KIB))
        peer.read_until(b"0\r\n\r\n")
        peer.send(content(b"b"))

    def body() -> Iterator[bytes]:
        for _ in range(10):
            yield b"x"
            gevent.sleep(0)

    peer: ScriptedPeer = serve(script)
    client = connect(peer)
    client.request("GET", "/")
    client.request("POST", "/", body=body())
    assert client.getresponse().read() == b"a" * 200 * KIB
    assert client.getresponse().read() == b"b"


def test_full_backlog_stops_receiving(connect: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A peer that sends without end and reads nothing gets no further than the bound."""
    monkeypatch.setattr("gruvihttp.exchanges.http1.receiving._BACKLOG_FILE_BYTES", MIB)

    def script(peer: RawPeer) -> None:
        peer.read_until()
        peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000000\r\n\r\n")
        while True:
            peer.send(b"x" * MIB)
            sent.append(MIB)

    sent: list[int] = []
    client = connect(script, timeout=0.2)
    client.request("GET", "/")
    client.request("GET", "/")
    with pytest.raises(Timeout) as caught:
        client.request("POST", "/", body=b"x" * 64 * MIB)
    assert caught.value.phase == "write"
    assert sum(sent) < 24 * MIB  # the system's buffers among it


def test_writing_by_hand_after_a_failure_says_what_has_happened(connect: Any) -> None:
    client = connect(RawPeer.reset)
    request = client.request("POST", "/", body=None)
    with pytest.raises((TransportError, HttpError)):
        client.getresponse()
    for act in (lambda: request.write(b"x"), request.end_request):
        with pytest.raises((TransportError, HttpError)) as caught:
            act()
        assert caught.value.unanswered == [request]


def test_request_that_cannot_be_started_can_be_started_elsewhere(connect: Any) -> None:
    client = connect(lambda peer: Event().wait(60), timeout=0.1)
    with pytest.raises(Timeout):
        client.request("POST", "/", body=b"x" * 64 * MIB)
    request = HttpRequest(client.transport, client.protocol)
    with pytest.raises(HttpError):
        request.start_request("GET", "/")
    with pytest.raises(RuntimeError, match="not started"):
        request.end_request()


def test_head_of_a_request_by_hand_that_is_stuck_times_out(connect: Any) -> None:
    client = connect(lambda peer: Event().wait(60), timeout=0.1)
    with pytest.raises(Timeout):
        client.request("POST", "/", [("X", "y" * 64 * MIB)], None)
    with pytest.raises(RuntimeError):
        client.getresponse()
