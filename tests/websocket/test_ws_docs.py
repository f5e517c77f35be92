"""The examples of the how-to run, client and server together."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from gruvihttp import HttpServer, websocket

PAGE = Path(__file__).resolve().parent.parent.parent / "docs" / "howto" / "websocket.rst"
SERVER, CLIENT, TICKER = (
    re.sub(r"^    ", "", block, flags=re.MULTILINE)
    for block in re.findall(r"\.\. code-block:: python\n\n((?:    .*\n|\n)+)", PAGE.read_text())
)


def test_client_and_server_talk(capsys: pytest.CaptureFixture[str]) -> None:
    names: dict[str, Any] = {}
    exec(SERVER, names)
    server = HttpServer(names["application"])
    server.listen(("127.0.0.1", 0))
    try:
        exec(CLIENT.replace("8000", str(server.address[1])), {})
    finally:
        server.close(0)
    assert capsys.readouterr().out == "hello\n"


def test_ticker_ends_with_the_connection() -> None:
    names: dict[str, Any] = {}
    exec(TICKER, names)

    def application(environ: Any, start_response: Any) -> list[bytes]:
        names["ticker"](websocket.accept(environ))
        ended.append(True)
        return []

    ended: list[bool] = []
    server = HttpServer(application)
    server.listen(("127.0.0.1", 0))
    try:
        with websocket.connect(f"ws://127.0.0.1:{server.address[1]}/") as ws:
            assert ws.receive(10) == "tick"
        server.close(10)
    finally:
        server.close(0)
    assert ended == [True]
