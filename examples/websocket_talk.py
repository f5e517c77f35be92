"""Talk over a WebSocket: lines of stdin are sent, what comes is printed.

    python websocket_talk.py ws://127.0.0.1:8080/chat

Two greenlets share the connection: one sends, the other receives, which also answers pings and notices the end. It
needs wsproto, which `pip install gruvihttp[websocket]` brings along.
"""

from __future__ import annotations

import sys

import gevent
from gevent.fileobject import FileObject

from gruvihttp import Error
from gruvihttp.websocket import WebSocket, connect


def listen(ws: WebSocket) -> None:
    for message in ws:
        print(message, flush=True)


def main(url: str) -> None:
    with connect(url, timeout=10) as ws:
        listening = gevent.spawn(listen, ws)
        typing = gevent.spawn(send_lines, ws)
        gevent.joinall([listening, typing], count=1)  # until one side has had enough
    listening.join()
    print(f"closed: {ws.code} {ws.reason}".rstrip(), file=sys.stderr)


def send_lines(ws: WebSocket) -> None:
    for line in FileObject(sys.stdin, "r"):
        ws.send(line.rstrip("\n"))


if __name__ == "__main__":
    if len(sys.argv) != 2:
        raise SystemExit(f"usage: {sys.argv[0]} URL")
    try:
        main(sys.argv[1])
    except (Error, OSError, ValueError) as exc:
        raise SystemExit(f"{sys.argv[0]}: {exc}") from None
