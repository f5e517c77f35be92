"""Many requests of all kinds in an arbitrary order: each gets its own response, or an error, and never another's."""

from __future__ import annotations

import gc
import random
from collections import deque
from typing import Any

import gevent
import pytest

from gruvihttp import Error, HttpClient
from gruvihttp.testing import RawPeer


def read_request(peer: RawPeer) -> tuple[bytes, int] | None:
    """The target, and how many bytes of content there were."""
    head = peer.read_until()
    if not head.endswith(b"\r\n\r\n"):
        return None
    target = head.split()[1]
    if b"Transfer-Encoding: chunked" in head:
        total = 0
        while size := int(peer.read_until(b"\r\n"), 16):
            peer.read(size + 2)
            total += size
        peer.read_until(b"\r\n")
        return target, total
    length = int((head.partition(b"Content-Length: ")[2].partition(b"\r\n")[0]) or b"0")
    return target, len(peer.read(length))


def answer(chance: random.Random, body: bytes) -> bytes:
    """A response with this body, framed in some way, after some informational ones."""
    early = b"HTTP/1.1 103 Early Hints\r\nLink: </>\r\n\r\n" * chance.choice([0, 0, 0, 2])
    if chance.random() < 0.5:
        return early + b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
    cuts = sorted(chance.randrange(len(body) + 1) for _ in range(chance.randrange(4)))
    pieces = [body[start:end] for start, end in zip([0, *cuts], [*cuts, len(body)], strict=True)]
    chunks = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces if piece)
    return early + b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%b0\r\nX: 1\r\n\r\n" % chunks


def serving(seed: int) -> Any:
    """Answers with the target and the size of the content, and some stuffing; in odd pieces, and sometimes late."""

    def script(peer: RawPeer) -> None:
        chance = random.Random(seed)
        while (request := read_request(peer)) is not None:
            stuffing = b"." * chance.choice([0, 10, 1000, 200_000])
            said = answer(chance, b"%b %d %b" % (*request, stuffing))
            while said:
                size = chance.choice([1, 7, 100, 5000, 100_000, 1_000_000])
                peer.send(said[:size])
                said = said[size:]
                if chance.random() < 0.3:
                    gevent.sleep(0)

    return script


class User:
    """Does with a client whatever chance says, and knows what must come back."""

    def __init__(self, client: HttpClient, seed: int) -> None:
        self.client = client
        self.chance = random.Random(seed)
        self.due: deque[bytes] = deque()
        self.count = 0

    def act(self) -> None:
        chance = self.chance
        if len(self.due) < 30 and (not self.due or chance.random() < 0.6):
            self.ask()
        elif chance.random() < 0.1:
            gevent.sleep(0)
        else:
            self.collect()

    def ask(self) -> None:
        self.count += 1
        target, size = f"/{self.count}", self.chance.choice([0, 0, 0, 5, 3000, 70_000, 400_000])
        body = b"x" * size
        if self.chance.random() < 0.3:
            self.client.request("POST", target, body=[body[: size // 2], body[size // 2 :]])
        else:
            self.client.request("POST", target, body=body)
        self.due.append(b"%b %d " % (target.encode(), size))

    def collect(self) -> None:
        response = self.client.getresponse()
        body = response.readline(delim=b" ") + response.readline(delim=b" ")
        assert body == self.due.popleft()
        assert set(response.read()) <= {ord(".")}
        assert response.request.url.encode() == body.split()[0]


@pytest.mark.parametrize("seed", range(12))
def test_every_request_gets_its_own_response(connect: Any, seed: int) -> None:
    user = User(connect(serving(seed)), seed)
    for _ in range(150):
        user.act()
    while user.due:
        user.collect()
    with pytest.raises(RuntimeError):
        user.client.getresponse()


@pytest.mark.parametrize("seed", range(12))
def test_interruption_at_any_wait_never_mixes_up_responses(serve: Any, seed: int) -> None:
    """A timer strikes again and again, wherever that is; the client is connected anew when it says that it must be."""
    peer = serve(serving(seed))
    chance = random.Random(seed)
    interruptions = 0
    with HttpClient(timeout=10) as client:
        user = User(client, seed)
        for _ in range(25):
            client.close()
            user.due.clear()
            client.connect(peer.address)
            try:
                with gevent.Timeout(chance.random() * 0.01):
                    while True:
                        user.act()
            except gevent.Timeout:
                interruptions += 1
            try:
                for _ in range(3):
                    if len(user.due) > 0:
                        user.collect()
            except (Error, RuntimeError, IndexError):
                pass
    assert interruptions == 25


def test_exchange_leaves_no_garbage_for_the_collector(connect: Any) -> None:
    def script(peer: RawPeer) -> None:
        while read_request(peer) is not None:
            peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 70000\r\n\r\n" + b"x" * 70_000)

    client = connect(script)

    def act(count: int) -> None:
        for _ in range(count):
            client.request("POST", "/", body=b"x")
            client.request("POST", "/", body=[b"x"])
        for _ in range(2 * count):
            response = client.getresponse()
            response.read()
            assert response.headers and response.request.headers

    def garbage() -> int:
        gc.collect()
        act(10)
        return gc.collect()

    act(2)
    gc.disable()
    try:
        # connections of earlier tests may come to their end meanwhile, but not each time
        assert any(garbage() == 0 for _ in range(5))
    finally:
        gc.enable()
