"""A chat: a server whose page talks to it over WebSocket, and all who look at the page hear each other.

    python websocket_chat.py 127.0.0.1 8080

Open http://127.0.0.1:8080/ in two windows, or join with `websocket_talk.py`. It needs wsproto, which
`pip install gruvihttp[websocket]` brings along. Ctrl-C ends it, and tells everybody.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from typing import Any

from gruvihttp import HttpServer
from gruvihttp.websocket import HandshakeError, WebSocket, WebSocketClosed, accept

PAGE = b"""<!DOCTYPE html>
<title>chat</title>
<form><input autofocus></form><ul></ul>
<script>
const ws = new WebSocket(location.href.replace("http", "ws") + "chat");
const [form, input, list] = ["form", "input", "ul"].map(name => document.querySelector(name));
ws.onmessage = event => { list.append(Object.assign(document.createElement("li"), {textContent: event.data})); };
form.onsubmit = event => { event.preventDefault(); ws.send(input.value); input.value = ""; };
</script>
"""

present: set[WebSocket] = set()


def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    if environ["PATH_INFO"] != "/chat":
        start_response("200 OK", [("Content-Type", "text/html; charset=utf-8")])
        return [PAGE]
    own = f"{environ['wsgi.url_scheme']}://{environ['HTTP_HOST']}"
    try:
        # browsers say which page asks; without this, every page in the world could join
        ws = accept(environ, check_origin=lambda origin: origin in (None, own), ping_interval=30)
    except HandshakeError as exc:
        return exc(environ, start_response)
    present.add(ws)
    try:
        for message in ws:
            tell_all(message)
    finally:
        present.discard(ws)
    return []


def tell_all(message: str | bytes) -> None:
    for ws in list(present):
        try:
            ws.send(message)
        except (WebSocketClosed, TimeoutError):  # its own greenlet sees to it
            pass


def main(host: str, port: int) -> None:
    server = HttpServer(application)
    server.listen((host, port))
    print("listening on", *(f"http://{host}:{address[1]}/" for address in server.addresses), flush=True)
    server.run()


if __name__ == "__main__":
    if len(sys.argv) != 3:
        raise SystemExit(f"usage: {sys.argv[0]} HOST PORT")
    main(sys.argv[1], int(sys.argv[2]))
