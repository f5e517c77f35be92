"""The corpus of odd and hostile requests, thrown at a whole server: what it answers is what the engine makes of them.

And whatever else comes, nothing gets through but answers: no traceback, no hanging connection, no second opinion.
"""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import gevent
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gruvihttp.errors import TransportError
from gruvihttp.limits import Limits
from gruvihttp.server import HttpServer
from gruvihttp.testing import RawPeer

OTHER = {
    "1.0-then-more",  # the engine, as h11, never keeps an HTTP/1.0 connection; the server does when asked to
    "preface-of-http-2",  # the server speaks that, too
    "preface-of-http-2-head-only",
}
CORPUS = Path(__file__).resolve().parent.parent / "corpus" / "requests.toml"


def cases() -> list[Any]:
    """The cases that concern a server, which is strict."""
    found = tomllib.loads(CORPUS.read_text())["case"]
    return [pytest.param(case, id=case["id"]) for case in found if case.get("strict", True) and case["id"] not in OTHER]


def received(case: dict[str, Any]) -> bytes:
    """The bytes of a case: a character stands for a byte, ``{{x*n}}`` for n times x."""

    def repeated(match: re.Match[str]) -> str:
        return match[1] * int(match[2])

    text: str = re.sub(r"\{\{(.+?)\*([0-9]+)\}\}", repeated, case["bytes"], flags=re.DOTALL)
    return text.encode("latin-1")


def expected(events: list[str]) -> list[int]:
    """The statuses that a server answers: 200 for each whole request, the error's for what is refused."""
    statuses = []
    open_content = False
    for event in events:
        kind, _, rest = event.partition(" ")
        if kind == "Request":
            open_content = True
        elif kind == "EndOfMessage":
            open_content = False
            statuses.append(200)
        elif kind == "error":
            return [*statuses, int(rest)]
    return [*statuses, 400] if open_content else statuses  # the stream ends inside content


def application(environ: Any, start_response: Any) -> list[bytes]:
    environ["wsgi.input"].read()
    start_response("200 OK", [])
    return [b"."]


def answers(heard: bytes) -> list[tuple[int, bool]]:
    """Status and "says close" of each answer, whose content never looks like an answer."""
    heads = re.findall(rb"HTTP/1\.[01] (\d{3}) .*\r\n((?:.+\r\n)*)\r\n", heard)
    return [(int(status), b"Connection: close" in fields) for status, fields in heads]


@pytest.mark.parametrize("case", cases())
def test_server_answers_what_the_engine_makes_of_it(serve: Any, delivery: None, errors: Any, case: Any) -> None:
    talk = serve(application, limits=Limits(**case.get("limits", {}))).connect()
    content = received(case)
    if len(content) > 2000:
        talk.piece_bytes *= 1000
    try:
        talk.say(content)
        talk.half_close()
    except TransportError:  # refused already, and we went on
        pass
    talk.read_to_end()
    heard = answers(bytes(talk.received))
    statuses = [status for status, _ in heard if status != 100]
    wanted = expected(case["expect"])
    closing = [index for index, (_, closes) in enumerate(heard) if closes]
    if closing and closing[0] < len(wanted) - 1:
        wanted = wanted[: closing[0] + 1]  # what follows the last request is not looked at
    assert statuses == wanted
    assert closing in ([], [len(statuses) - 1])
    assert errors() == []


FRAGMENTS = [
    b"GET / HTTP/1.1\r\n", b"POST /a?b HTTP/1.1\r\n", b"HEAD * HTTP/1.0\r\n", b"Host: a\r\n", b"Content-Length: 5\r\n",
    b"Transfer-Encoding: chunked\r\n", b"Connection: close\r\n", b"Expect: 100-continue\r\n", b"Upgrade: x\r\n",
    b"\r\n", b"\n", b"\r", b"hello", b"5\r\nhello\r\n", b"0\r\n\r\n", b"0\r\nX: y\r\n\r\n", b" ", b"\x00", b":",
    b"\xff", b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
]  # fmt: skip


@pytest.fixture(scope="module")
def fuzzed() -> Any:
    server = HttpServer(application)
    server.listen(("127.0.0.1", 0))
    yield server
    server.close(0)


@given(st.lists(st.sampled_from(FRAGMENTS) | st.binary(max_size=20), max_size=12))
@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_comes_is_answered_or_dropped_and_nothing_else(fuzzed: Any, errors: Any, pieces: list[bytes]) -> None:
    with RawPeer.connect(fuzzed.address) as peer:
        try:
            for piece in pieces:
                peer.send(piece)
                gevent.sleep(0)
            peer.half_close()
        except TransportError:
            pass
        try:
            peer.read_to_end()
        except TransportError:
            pass
        heard = answers(bytes(peer.received))
    assert [index for index, (_, closes) in enumerate(heard) if closes] in ([], [len(heard) - 1])
    assert {status for status, _ in heard} <= {100, 200, 400, 413, 414, 417, 431, 501, 505}
    assert errors() == []
