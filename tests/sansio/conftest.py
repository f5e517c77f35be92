"""A connection that is fed pieces of bytes, and what comes out of it in a form that is easy to compare."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from gruvihttp.errors import IncompleteMessage, RemoteProtocolError
from gruvihttp.limits import Limits
from gruvihttp.sansio import (
    CLIENT,
    DONE,
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


@dataclass
class Played:
    """What came out of a connection.

    `events` are summaries in the words of the corpus; an error, PAUSED and ConnectionClosed can only be last. `head` is
    the last head, `trailers` are those of all messages.
    """

    connection: Connection
    events: list[str] = field(default_factory=list)
    head: Request | Response | InformationalResponse | None = None
    trailers: list[tuple[bytes, bytes]] = field(default_factory=list)

    @property
    def reusable(self) -> bool:
        return self.connection.our_state is DONE and self.connection.their_state is DONE


def in_pieces(received: bytes) -> dict[str, Iterator[bytes]]:
    """Ways for bytes to arrive."""
    return {
        "whole": iter([received] if received else []),
        "bytes": (received[i : i + 1] for i in range(len(received))),
        "lines": iter(received.splitlines(keepends=True)),
        "pairs": (received[i : i + 2] for i in range(0, len(received), 2)),
    }


def play_server(pieces: Iterable[bytes], *, eof: bool = False, **options: Any) -> Played:
    """Receive `pieces` as a server, which answers each request as soon as that has ended."""
    return _play(Played(Connection(SERVER, **options)), pieces, eof)


def play_client(
    pieces: Iterable[bytes], *, method: str = "GET", upgrade: bool = False, eof: bool = False, **options: Any
) -> Played:
    """Receive `pieces` as a client that has sent one request."""
    connection = Connection(CLIENT, **options)
    fields = [("Host", "a")] + [("Connection", "upgrade"), ("Upgrade", "x")] * upgrade
    connection.send(Request(method=method, target="a:1" if method == "CONNECT" else "/", headers=fields))
    connection.send(EndOfMessage())
    return _play(Played(connection), pieces, eof)


def _play(played: Played, pieces: Iterable[bytes], eof: bool) -> Played:
    last: Any = _drain(played)
    for piece in pieces:
        played.connection.receive_data(piece)
        last = _drain(played)
        if isinstance(last, RemoteProtocolError):
            break
    if eof and not isinstance(last, RemoteProtocolError):
        played.connection.receive_data(b"")
        last = _drain(played)
    if last is not NEED_DATA:
        played.events.append(_last_word(last))
    return played


def _drain(played: Played) -> Any:
    """Take events until there is none; what there is instead."""
    while True:
        try:
            event = played.connection.next_event()
        except RemoteProtocolError as exc:
            return exc
        if event is NEED_DATA or event is PAUSED or isinstance(event, ConnectionClosed):
            return event
        _note(played, event)
        if isinstance(event, EndOfMessage) and played.connection.our_role is SERVER:
            _answer(played.connection)


def _answer(server: Connection) -> None:
    server.send(Response(status_code=404, headers=[("Content-Length", "0")]))
    server.send(EndOfMessage())
    if server.our_state is DONE and server.their_state is DONE:
        server.start_next_cycle()


def _note(played: Played, event: Any) -> None:
    events = played.events
    if isinstance(event, Data):
        if not events or not events[-1].startswith("Data "):
            events.append("Data ")
        events[-1] += bytes(event.data).decode("latin-1")
    elif isinstance(event, EndOfMessage):
        events.append("EndOfMessage")
        played.trailers += event.headers
    elif isinstance(event, Request):
        played.head = event
        events.append(b" ".join((b"Request", event.method, event.target, event.http_version)).decode("latin-1"))
    else:
        played.head = event
        events.append(f"{type(event).__name__} {event.status_code} {event.http_version.decode()}")


def _last_word(last: Any) -> str:
    if isinstance(last, IncompleteMessage):
        return "incomplete"
    if isinstance(last, RemoteProtocolError):
        assert last.error_status_hint == type(last).status
        return f"error {last.error_status_hint}"
    return "PAUSED" if last is PAUSED else "ConnectionClosed"


# Fixtures of the whole session, for hypothesis wants none that it would have to renew for each example.


@pytest.fixture(scope="session", name="play_server")
def _play_server() -> Callable[..., Played]:
    return play_server


@pytest.fixture(scope="session", name="play_client")
def _play_client() -> Callable[..., Played]:
    return play_client


@pytest.fixture(scope="session", name="in_pieces")
def _in_pieces() -> Callable[[bytes], dict[str, Iterator[bytes]]]:
    return in_pieces


@pytest.fixture(scope="session")
def small_limits() -> Limits:
    """Limits that a generated message can reach."""
    return Limits(
        request_line_bytes=24,
        fields_bytes=64,
        fields_count=4,
        trailers_bytes=24,
        chunk_line_bytes=20,
        content_bytes=40,
    )
