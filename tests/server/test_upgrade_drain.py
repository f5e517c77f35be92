"""Connections that have left HTTP, when the server is told to stop: whoever has one hears of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gevent
import pytest
from gevent.event import Event
from wsproto.connection import Connection, ConnectionType
from wsproto.events import CloseConnection, TextMessage

from gruvihttp import TransportError, websocket

ASK = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: %b\r\n"
HANDSHAKE = ASK % b"websocket" + b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
GOING_AWAY = b"\x88\x02\x03\xe9"
GUARD = 10.0


class Browser:
    """A client that has a WebSocket and follows the protocol."""

    def __init__(self, served: Any) -> None:
        self.talk = served.connect()
        self.talk.send(HANDSHAKE)
        assert self.talk.head().status == 101
        self.engine = Connection(ConnectionType.CLIENT)
        self.events: list[Any] = []

    def say(self, text: str) -> None:
        self.talk.send(self.engine.send(TextMessage(data=text)))

    def hear(self) -> Any:
        while not self.events:
            self.engine.receive_data(self.talk.read(1) or None)
            self.events = list(self.engine.events())
        return self.events.pop(0)

    def message(self) -> str:
        text = self.hear().data
        while not text.endswith("."):
            text += self.hear().data
        return str(text)

    def is_dismissed(self) -> bool:
        """Does the server say that it goes away, and end the connection when it is answered?"""
        event = self.hear()
        assert isinstance(event, CloseConnection), event
        self.talk.send(self.engine.send(event.response()))
        ends = self.talk.ends()
        self.talk.close()
        return int(event.code) == 1001 and bool(ends)


def application(handler: Callable[[Any], object]) -> Any:
    def application(environ: Any, start_response: Any) -> list[bytes]:
        handler(websocket.accept(environ))
        return []

    return application


def test_websocket_that_waits_for_a_message_is_ended_with_1001(serve: Any, errors: Any) -> None:
    ended: list[Any] = []

    def handler(ws: Any) -> None:
        ended.append((ws.receive(), ws.code))

    served = serve(application(handler))
    browsers = [Browser(served) for _ in range(3)]
    gevent.idle()
    served.server.drain()
    assert all(browser.is_dismissed() for browser in browsers)
    assert served.server.join(GUARD)
    assert ended == [(None, 1001)] * 3
    assert errors() == []


def test_message_that_is_being_worked_on_is_answered_first(serve: Any, errors: Any) -> None:
    begun, go_on = Event(), Event()

    def handler(ws: Any) -> None:
        for message in ws:
            begun.set()
            go_on.wait(GUARD)
            ws.send(f"{message} is done, and it is {ws.going_away} that we go.")

    served = serve(application(handler))
    browser = Browser(served)
    browser.say("work")
    assert begun.wait(GUARD)
    served.server.drain()
    go_on.set()
    assert browser.message() == "work is done, and it is True that we go."
    assert browser.is_dismissed()
    assert served.server.join(GUARD)
    assert errors() == []


def test_client_that_does_not_answer_the_close_frame_is_not_waited_for_long(
    serve: Any, monkeypatch: pytest.MonkeyPatch, errors: Any
) -> None:
    monkeypatch.setattr("gruvihttp.wsmessages.CLOSE_SECONDS", 0.05)
    served = serve(application(lambda ws: ws.receive()))
    browser = Browser(served)
    gevent.idle()
    served.server.drain()
    assert served.server.join(GUARD)
    assert browser.talk.is_cut()
    assert browser.talk.received.endswith(GOING_AWAY)
    assert errors() == []


def test_whoever_took_the_connection_can_hear_that_the_server_stops(serve: Any, errors: Any) -> None:
    told = Event()
    begun = Event()

    def application(environ: Any, start_response: Any) -> list[bytes]:
        sock = environ["gruvihttp.upgrade"]("echo")
        sock.on_drain(told.set)
        begun.set()
        assert told.wait(GUARD)
        sock.sendall(b"bye")
        return []

    served = serve(application)
    talk = served.connect()
    talk.send(ASK % b"echo" + b"\r\n")
    assert begun.wait(GUARD)
    assert not told.is_set()
    served.server.drain()
    assert talk.read_to_end().endswith(b"\r\n\r\nbye")
    talk.close()
    assert served.server.join(GUARD)
    assert errors() == []


def test_who_takes_a_connection_when_the_server_stops_already_hears_of_it_too(serve: Any, errors: Any) -> None:
    begun, go_on, told = Event(), Event(), Event()

    def application(environ: Any, start_response: Any) -> list[bytes]:
        begun.set()
        assert go_on.wait(GUARD)
        sock = environ["gruvihttp.upgrade"]("echo")
        sock.on_drain(told.set)
        assert told.wait(GUARD)
        return []

    served = serve(application)
    talk = served.connect()
    talk.send(ASK % b"echo" + b"\r\n")
    assert begun.wait(GUARD)
    served.server.drain()
    go_on.set()
    assert talk.head().status == 101
    assert talk.ends()
    assert errors() == []


def test_library_that_speaks_websocket_by_itself_is_ended_through_its_client(serve: Any, errors: Any) -> None:
    """Such a library waits in `recv` of the socket and knows nothing of servers that stop."""
    heard: list[bytes] = []

    def application(environ: Any, start_response: Any) -> list[bytes]:
        sock = environ["gruvihttp.hijack"]()
        sock.sendall(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
        heard.append(sock.recv(4096))
        return []

    served = serve(application)
    browser = Browser(served)
    served.server.drain()
    assert browser.is_dismissed()
    assert served.server.join(GUARD)
    assert heard[0][:2] == b"\x88\x82"
    assert errors() == []


def test_library_whose_client_does_not_answer_is_cut_off(serve: Any, errors: Any, monkeypatch: Any) -> None:
    """A client that is asleep must not use up the patience of a server that stops."""
    monkeypatch.setattr("gruvihttp.wsaccepting.CLOSE_SECONDS", 0.05)
    failed: list[OSError] = []

    def application(environ: Any, start_response: Any) -> list[bytes]:
        sock = environ["gruvihttp.hijack"]()
        sock.sendall(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
        try:
            sock.recv(4096)
        except OSError as exc:
            failed.append(exc)
        return []

    served = serve(application)
    browser = Browser(served)
    served.server.drain()
    assert served.server.join(GUARD)
    assert [type(exc) for exc in failed] == [TransportError]
    browser.talk.close()
    assert errors() == []


def test_library_that_has_ended_it_by_itself_is_not_cut_off(serve: Any, errors: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr("gruvihttp.wsaccepting.CLOSE_SECONDS", 0.0)

    def application(environ: Any, start_response: Any) -> list[bytes]:
        sock = environ["gruvihttp.hijack"]()
        sock.sendall(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
        sock.recv(4096)
        sock.sendall(b"\x81\x01k")
        sock.close()
        return []

    served = serve(application)
    browser = Browser(served)
    browser.say("end")
    assert browser.hear().data == "k"
    served.server.drain()
    assert browser.talk.ends()
    assert errors() == []


def test_nothing_is_said_in_a_protocol_that_is_not_websocket(serve: Any) -> None:
    begun, go_on = Event(), Event()

    def application(environ: Any, start_response: Any) -> list[bytes]:
        sock = environ["gruvihttp.upgrade"]("echo")
        begun.set()
        assert go_on.wait(GUARD)
        sock.sendall(b"ours")
        return []

    served = serve(application)
    talk = served.connect()
    talk.send(ASK % b"echo" + b"\r\n")
    assert begun.wait(GUARD)
    served.server.drain()
    gevent.idle()
    go_on.set()
    assert talk.read_to_end().endswith(b"\r\n\r\nours")


def test_websocket_that_has_ended_is_left_alone(serve: Any, errors: Any) -> None:
    closed, go_on = Event(), Event()

    def handler(ws: Any) -> None:
        ws.close(4000)
        closed.set()
        go_on.wait(GUARD)

    served = serve(application(handler))
    browser = Browser(served)
    assert closed.wait(GUARD)
    served.server.drain()
    assert int(browser.hear().code) == 4000
    browser.talk.close()
    go_on.set()
    assert served.server.join(GUARD)
    assert errors() == []
