"""Whatever strikes whoever uses a WebSocket, wherever he waits: no connection stays, and the other side hears of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gevent
import pytest
from gevent.event import Event
from striking import STRIKES, strike_at

from gruvihttp import websocket

GUARD = 10.0
MOST_WAITS = 200


def echo(ws: Any) -> None:
    for message in ws:
        ws.send(message)


def talk(url: str, **options: Any) -> None:
    with websocket.connect(url, **options) as ws:
        ws.send("text")
        assert ws.receive() == "text"
        ws.send(b"x" * 3_000_000)  # more than the system takes at once
        assert len(ws.receive() or b"") == 3_000_000


def ping(url: str, **options: Any) -> None:
    with websocket.connect(url, **options) as ws:
        receiving = gevent.spawn(ws.receive)
        try:
            ws.ping().get()
        finally:
            ws.close()
            receiving.join()


def until_all_have_ended(ended: list[Any], count: int) -> None:
    with gevent.Timeout(GUARD):
        while len(ended) < count:
            gevent.sleep(0.001)


@pytest.mark.parametrize("error", STRIKES, ids=lambda error: error.__name__)
@pytest.mark.parametrize("action", [talk, ping], ids=["talk", "ping"])
def test_client_that_is_struck_leaves_no_connection(
    serve: Any, action: Callable[..., None], error: type[BaseException]
) -> None:
    begun: list[Any] = []
    ended: list[Any] = []

    def handler(ws: Any) -> None:
        begun.append(ws)
        try:
            echo(ws)
        finally:
            ended.append(ws)

    url = serve(handler, max_message_size=1 << 23)
    wait = 0
    while strike_at(wait, error, lambda: action(url, max_message_size=1 << 23, timeout=None)):
        wait += 1
        assert wait < MOST_WAITS
    assert wait > 3
    until_all_have_ended(ended, len(begun))
    talk(url, max_message_size=1 << 23)


@pytest.mark.parametrize("error", STRIKES, ids=lambda error: error.__name__)
def test_handler_that_is_struck_leaves_no_connection(serve: Any, error: type[BaseException]) -> None:
    """Its work is done in a greenlet that is struck; what comes of that is what comes of any failure."""
    results: list[bool] = []

    def handler(ws: Any) -> None:
        results.append(strike_at(len(results), error, lambda: echo(ws)))

    url = serve(handler, max_message_size=1 << 23)
    while not results or results[-1]:
        assert len(results) < MOST_WAITS
        ws = websocket.connect(url, max_message_size=1 << 23)
        answers = gevent.spawn(list, ws)
        try:
            ws.send("text")
            ws.send(b"x" * 1_000_000)
        except websocket.WebSocketClosed:
            pass
        gevent.idle()
        ws.close()
        assert answers.get(timeout=GUARD) in ([], ["text"], ["text", b"x" * 1_000_000])
    assert len(results) > 2


def test_greenlet_that_is_killed_while_it_closes_leaves_no_connection(serve: Any) -> None:
    ended = Event()

    def handler(ws: Any) -> None:
        ws.receive()
        ended.set()

    ws = websocket.connect(serve(handler))
    receiving = gevent.spawn(ws.receive)
    gevent.idle()
    closing = gevent.spawn(ws.close)
    closing.start()
    gevent.sleep(0)
    closing.kill()
    assert receiving.get(timeout=GUARD) is None
    assert ended.wait(GUARD)
