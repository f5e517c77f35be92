"""Whatever a server says, and wherever it stops: a response, or one of our errors, and soon."""

from __future__ import annotations

from contextlib import suppress

import gevent
from hypothesis import given, settings
from hypothesis import strategies as st

from gruvihttp import Error, HttpProtocol, Timeouts
from gruvihttp.testing import memory_pair

GUARD_SECONDS = 10.0

# What responses are made of, right and wrong. Nearly right finds more than noise does.
PARTS = st.sampled_from(
    [
        b"HTTP/1.1 200 OK\r\n", b"HTTP/1.0 200 OK\r\n", b"HTTP/1.1 204 No Content\r\n", b"HTTP/1.1 304 \r\n",
        b"HTTP/1.1 100 Continue\r\n", b"HTTP/1.1 101 Switching Protocols\r\n", b"HTTP/1.1 103\r\n", b"HTTP/2 200\r\n",
        b"HTTP/1.1 999 x\r\n", b"HTTP/1.1 099 x\r\n", b"ICY 200 OK\r\n", b"Content-Length: 3\r\n",
        b"Content-Length: 0\r\n", b"Content-Length: 3, 3\r\n", b"Content-Length: -1\r\n",
        b"Content-Length: 99999999999999999999\r\n", b"Transfer-Encoding: chunked\r\n", b"Transfer-Encoding: gzip\r\n",
        b"Connection: close\r\n", b"Connection: upgrade\r\n", b"Upgrade: echo\r\n", b"X: y\r\n", b" folded\r\n",
        b"X Y: z\r\n", b": x\r\n", b"\r\n", b"\n", b"\r", b"abc", b"3\r\nabc\r\n", b"3;x=y\r\nabc\r\n", b"0\r\n",
        b"0\r\n\r\n", b"ffffffffffffffff\r\n", b"-3\r\n", b"\x00", b"\xff\xfe", b"X: y\r\n" * 20_000, b"x" * 70_000,
    ]
)  # fmt: skip


@given(
    said=st.lists(st.one_of(PARTS, st.binary(max_size=20)), max_size=12).map(b"".join),
    cuts=st.lists(st.integers(1, 400), max_size=6),
    methods=st.lists(st.sampled_from(["GET", "HEAD", "POST", "CONNECT"]), min_size=1, max_size=3),
    by_hand=st.booleans(),
)
@settings(max_examples=300)
def test_whatever_a_server_says_is_a_response_or_an_error(
    said: bytes, cuts: list[int], methods: list[str], by_hand: bool
) -> None:
    theirs, ours = memory_pair()
    protocol = HttpProtocol(False, timeout=Timeouts(read=GUARD_SECONDS, write=GUARD_SECONDS))
    protocol.connection_made(ours)
    protocol.start()

    def serve() -> None:
        left = said
        with suppress(Error):
            for cut in cuts:
                theirs.send(left[:cut])
                left = left[cut:]
                gevent.sleep(0)
            theirs.send(left)
        theirs.shutdown_write()

    def use() -> None:
        asked = []
        with suppress(Error, RuntimeError):  # after CONNECT, nothing may be asked before its answer
            for method in methods:
                asked.append(protocol.request(method, "/" if method != "CONNECT" else "a:1"))
            if by_hand:
                request = protocol.request("POST", "/", body=None)
                asked.append(request)
                request.write(b"x" * 1000)
                request.end_request([("X", "y")])
        for _ in asked:
            with suppress(Error):
                response = protocol.getresponse()
                assert response.request in asked
                assert len(response.read()) <= len(said)
        with suppress(Error, RuntimeError):
            protocol.request("GET", "/more")

    with gevent.Timeout(GUARD_SECONDS):
        serving = gevent.spawn(serve)
        use()
        ours.close()
        serving.join()
        theirs.close()
