"""The same bytes to h11 and to us: the same events, but for the differences in the table below.

One piece of code drives both, for both have the same names. h11's limit is set high, and `strict` is off here, as h11
has nothing like it.
"""

from __future__ import annotations

import re
import tomllib
from fnmatch import fnmatch
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import h11
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import gruvihttp.compat.h11 as ours
from gruvihttp.sansio.headers import FORBIDDEN_IN_TRAILERS

CORPUS = Path(__file__).resolve().parent.parent / "corpus"
ERROR = ("error",)

# What we refuse although h11 takes it, in tests/corpus/requests.toml: why, and the ids
STRICTER_IN_REQUESTS = {
    "RFC 9112 §6.3: Content-Length beside Transfer-Encoding": [
        "length-then-coding", "coding-then-length", "length-zero-and-coding", "coding-with-odd-case-and-length",
    ],
    "RFC 9112 §6.1: Transfer-Encoding before HTTP/1.1": ["coding-in-1.0-with-length"],
    "RFC 9112 §2.2: a bare LF in the head of a request": ["bare-lf-*", "coding-behind-bare-lf", "fold-after-bare-lf"],
    "RFC 9110 §2.5: another major version": ["version-[02-9].*", "preface-of-http-2*"],
    "RFC 9112 §3.2: a target of no form, or of a form that the method does not have": [
        "target-*", "connect-*", "authority-with-get", "asterisk-*", "two-asterisks",
    ],
    "RFC 9112 §3.2: Host missing or malformed": ["host-*", "coding-blank-before-name-is-a-fold"],
    "RFC 9110 §10.1.1: an expectation other than 100-continue": ["expect-*"],
    "RFC 9112 §7.1: chunk sizes that overflow somewhere": ["chunk-size-*"],
    "RFC 9112 §7.1.1: control characters in chunk extensions": ["chunk-extension-*"],
    "RFC 9112 §7.1.2: a bare LF in trailers of a request": ["chunk-trailer-*", "chunk-last-bare-lf"],
    "limits: start line, head, chunk line": [
        "request-line-*", "method-without-end", "fields-too-large*", "chunk-extension-*", "chunk-blanks-without-end",
    ],
}  # fmt: skip
STRICTER_IN_RESPONSES = {
    "RFC 9110 §2.5: another major version": ["version-*"],
    "RFC 9112 §2.3: what does not begin with HTTP/, at once": ["banner-*"],
    "RFC 9112 §4: control characters in the reason phrase": ["reason-*"],
    "limits: status line, head, chunk line": ["status-line-*", "fields-too-large", "chunk-extension-*"],
    "RFC 9112 §7.1: chunk sizes that overflow somewhere": ["chunk-size-*"],
}
# What we take although h11 refuses it
LAXER_IN_REQUESTS = {"RFC 9112 §7.1.1: blanks before the semicolon of an extension": ["chunk-extension-blanks"]}
LAXER_IN_RESPONSES = {
    "RFC 9112 §6.3: fields that frame nothing because there is no content": ["head-with-*-coding"],
}


class Outcome:
    """The events of a module, as tuples, with what the error of the peer said if there was one."""

    def __init__(self) -> None:
        self.events: list[tuple[Any, ...]] = []
        self.error: str | None = None

    @property
    def failed(self) -> bool:
        return self.error is not None

    def note(self, event: Any) -> None:
        kind = type(event).__name__
        if kind == "Data":
            before = self.events.pop()[1] if self.events[-1][0] == "Data" else b""
            self.events.append((kind, before + bytes(event.data)))
        elif kind == "EndOfMessage":
            # h11 hands on fields that may not stand in trailers (RFC 9110 §6.5.1); we drop them
            self.events.append((kind, [item for item in event.headers if item[0] not in FORBIDDEN_IN_TRAILERS]))
        elif kind == "Request":
            self.events.append((kind, event.method, event.target, event.http_version, fields_of(event)))
        else:
            self.events.append((kind, event.status_code, event.http_version, event.reason, fields_of(event)))


def fields_of(event: Any) -> list[tuple[bytes, bytes]]:
    # h11 writes "chunked" in lower case into the event; we leave it as it came
    return [(name, value.lower() if name == b"transfer-encoding" else value) for name, value in event.headers]


def play(
    module: ModuleType, role: str, received: bytes, *, eof: bool = False, method: str = "GET", upgrade: bool = False
) -> Outcome:
    """What `module`, be it h11 or ours, makes of bytes; a server answers each request when that has ended."""
    connection = module.Connection(getattr(module, role), 65536)
    if role == "CLIENT":
        target = "a:1" if method == "CONNECT" else "/"
        fields = [("Host", "a")] + [("Connection", "upgrade"), ("Upgrade", "x")] * upgrade
        connection.send(module.Request(method=method, target=target, headers=fields))
        connection.send(module.EndOfMessage())
    if received:
        connection.receive_data(received)
    if eof:
        connection.receive_data(b"")
    outcome = Outcome()
    try:
        take_events(module, connection, outcome)
    except module.RemoteProtocolError as exc:
        outcome.error = str(exc)
    return outcome


def take_events(module: ModuleType, connection: Any, outcome: Outcome) -> None:
    while (event := connection.next_event()) is not module.NEED_DATA:
        if event is module.PAUSED or type(event) is module.ConnectionClosed:
            outcome.events.append((repr(event),))
            return
        outcome.note(event)
        if type(event) is module.EndOfMessage and connection.our_role is module.SERVER:
            connection.send(module.Response(status_code=404, headers=[("Content-Length", "0")]))
            connection.send(module.EndOfMessage())
            if connection.states == {module.CLIENT: module.DONE, module.SERVER: module.DONE}:
                connection.start_next_cycle()


@cache
def corpus(name: str) -> list[dict[str, Any]]:
    with open(CORPUS / name, "rb") as file:
        cases = tomllib.load(file)["case"]
    # h11 has one limit and no strictness of ours
    return [case for case in cases if "limits" not in case and case.get("strict") is not True]


def received_of(case: dict[str, Any]) -> bytes:
    text = re.sub(r"\{\{(.+?)\*([0-9]+)\}\}", lambda m: m[1] * int(m[2]), case["bytes"], flags=re.DOTALL)
    return text.encode("latin-1")


def compared(case: dict[str, Any], role: str) -> str:
    options = {key: case[key] for key in ("eof", "method", "upgrade") if key in case}
    theirs, us = (play(module, role, received_of(case), **options) for module in (h11, ours))
    if us.failed == theirs.failed:
        # when both refuse, one may have done so an event later, which is of no account
        return "same" if us.failed or us.events == theirs.events else "different"
    return "stricter" if us.failed else "laxer"


@pytest.mark.parametrize(
    ("name", "role", "stricter", "laxer"),
    [
        pytest.param("requests.toml", "SERVER", STRICTER_IN_REQUESTS, LAXER_IN_REQUESTS, id="requests"),
        pytest.param("responses.toml", "CLIENT", STRICTER_IN_RESPONSES, LAXER_IN_RESPONSES, id="responses"),
    ],
)
def test_corpus_gives_the_events_of_h11_but_for_the_differences_in_the_table(
    name: str, role: str, stricter: dict[str, list[str]], laxer: dict[str, list[str]]
) -> None:
    verdicts = {case["id"]: compared(case, role) for case in corpus(name)}

    assert [case for case, verdict in verdicts.items() if verdict == "different"] == []
    for verdict, table in (("stricter", stricter), ("laxer", laxer)):
        found = [case for case in verdicts if verdicts[case] == verdict]
        patterns = [pattern for row in table.values() for pattern in row]
        assert [case for case in found if not any(fnmatch(case, pattern) for pattern in patterns)] == []
        assert [pattern for pattern in patterns if not any(fnmatch(case, pattern) for case in found)] == [], "stale"


# h11 looks at these fields also where they frame nothing: in trailers, 1xx, 204, 304, and answers to HEAD and CONNECT
_ABOUT_FRAMING_FIELDS = re.compile("Content-Length|Transfer-Encoding")


def is_known_laxity(role: str, received: bytes, theirs: Outcome) -> bool:
    if _ABOUT_FRAMING_FIELDS.search(theirs.error or ""):
        inside_a_message = bool(theirs.events) and theirs.events[-1][0] in ("Request", "Response", "Data")
        return role == "CLIENT" or inside_a_message
    return re.search(rb"[0-9A-Fa-f][ \t]+;", received) is not None


@cache
def lines_of(name: str) -> list[bytes]:
    texts = {case["bytes"] for case in corpus(name) if "{{" not in case["bytes"]}
    return sorted({line for text in texts for line in text.encode("latin-1").splitlines(keepends=True)})


@cache
def whole_of(name: str) -> list[bytes]:
    return sorted({case["bytes"].encode("latin-1") for case in corpus(name) if "{{" not in case["bytes"]})


@st.composite
def altered(draw: st.DrawFn, name: str) -> bytes:
    """Bytes of the corpus, with some taken out, some put in, and some behind."""
    received = bytearray(draw(st.sampled_from(whole_of(name))))
    for _ in range(draw(st.integers(0, 3))):
        position = draw(st.integers(0, len(received)))
        piece = draw(st.sampled_from(lines_of(name)) | st.binary(max_size=2) | st.sampled_from([b"\r", b"\n", b"\r\n"]))
        received[position : position + draw(st.integers(0, 3))] = piece
    return bytes(received + draw(st.sampled_from(whole_of(name))))


def check(role: str, received: bytes, **options: Any) -> None:
    theirs, us = (play(module, role, received, **options) for module in (h11, ours))
    if us.failed:
        # what we said before we refused is what h11 says
        if not is_known_laxity(role, received, theirs):
            assert is_beginning(us.events, theirs.events)
    elif theirs.failed:
        assert is_known_laxity(role, received, theirs)
    else:
        assert us.events == theirs.events


def is_beginning(events: list[Any], of: list[Any]) -> bool:
    if not events or events[-1][0] != "Data":
        return events == of[: len(events)]
    *before, (_, content) = events
    rest = of[len(before) :]
    return before == of[: len(before)] and bool(rest) and rest[0][0] == "Data" and rest[0][1].startswith(content)


@settings(max_examples=300)
@given(received=altered("requests.toml"), eof=st.booleans())
def test_altered_request_gives_the_events_of_h11_or_is_refused(received: bytes, eof: bool) -> None:
    check("SERVER", received, eof=eof)


@settings(max_examples=300)
@given(
    received=altered("responses.toml"),
    eof=st.booleans(),
    method=st.sampled_from(["GET", "HEAD"]),
    upgrade=st.booleans(),
)
def test_altered_response_gives_the_events_of_h11_or_is_refused(
    received: bytes, eof: bool, method: str, upgrade: bool
) -> None:
    check("CLIENT", received, eof=eof, method=method, upgrade=upgrade)


# What both send


FIELDS = [
    [],
    [("Content-Length", "5")],
    [("Transfer-Encoding", "chunked")],
    [("Content-Length", "5"), ("Transfer-Encoding", "chunked")],
    [("Connection", "close")],
    [("Connection", "keep-alive, foo"), ("X", "y")],
    [("connection", "b"), ("Content-length", "5"), ("Connection", "a")],
]


@pytest.mark.parametrize("fields", FIELDS, ids=str)
@pytest.mark.parametrize("status", [200, 204, 304, 404])
@pytest.mark.parametrize(
    "asked", [b"GET / HTTP/1.1\r\n", b"HEAD / HTTP/1.1\r\n", b"GET / HTTP/1.0\r\n", b"HEAD / HTTP/1.0\r\n"]
)
@pytest.mark.parametrize("option", [b"", b"Connection: close\r\n", b"Connection: keep-alive\r\n"])
def test_answer_is_written_as_h11_writes_it(asked: bytes, option: bytes, status: int, fields: Any) -> None:
    written = []
    for module in (h11, ours):
        server = module.Connection(module.SERVER)
        server.receive_data(asked + b"Host: a\r\n" + option + b"\r\n")
        server.next_event()
        server.next_event()
        sent: list[Any] = [server.send(module.Response(status_code=status, headers=fields))]
        for event in (module.Data(data=b"hello"), module.EndOfMessage()):
            try:
                sent.append(server.send(event))
            except module.LocalProtocolError:
                sent.append(ERROR)
        written.append((sent, {repr(role): repr(state) for role, state in server.states.items()}))
    assert written[0] == written[1]


@pytest.mark.parametrize("fields", FIELDS, ids=str)
def test_request_is_written_as_h11_writes_it(fields: Any) -> None:
    written = []
    for module in (h11, ours):
        client = module.Connection(module.CLIENT)
        sent: list[Any] = [
            client.send(module.Request(method="POST", target="/", headers=[("X-First", "1"), *fields, ("Host", "a")]))
        ]
        for event in (module.Data(data=b"hello"), module.EndOfMessage()):
            try:
                sent.append(client.send(event))
            except module.LocalProtocolError:
                sent.append(ERROR)
        written.append((sent, {repr(role): repr(state) for role, state in client.states.items()}))
    assert written[0] == written[1]
