"""Fetch what a URL names, with nothing between us and the socket but the engine.

    python http_get.py http://127.0.0.1:8080/

`http_get` returns the content. An answer with an error status, or one that is cut short, is an exception and never
half a result: the engine does not hand out the end of a message that did not end.
"""

from __future__ import annotations

import socket
import ssl
import sys
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

from gruvihttp import RemoteProtocolError, sansio


class NotOk(Exception):
    """The server answered, but not with what was asked for."""


def http_get(url: str, timeout: float = 10.0) -> bytes:
    """The content at `url`. Raises NotOk, RemoteProtocolError or OSError; `timeout` is for each wait, in seconds."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or parts.hostname is None:
        raise ValueError(f"not an http URL: {url!r}")
    port = parts.port or (443 if parts.scheme == "https" else 80)
    with socket.create_connection((parts.hostname, port), timeout) as sock:
        if parts.scheme == "https":
            with ssl.create_default_context().wrap_socket(sock, server_hostname=parts.hostname) as secured:
                return exchange(secured, parts.netloc.rpartition("@")[2], target_of(parts))
        return exchange(sock, parts.netloc.rpartition("@")[2], target_of(parts))


def target_of(parts: Any) -> str:
    """What stands in the request line: never the fragment, which is for the client only."""
    return (parts.path or "/") + (f"?{parts.query}" if parts.query else "")


def exchange(sock: socket.socket, host: str, target: str) -> bytes:
    connection = sansio.Connection(sansio.CLIENT)
    headers = [("Host", host), ("Accept", "*/*"), ("Connection", "close")]
    request = sansio.Request(method="GET", target=target, headers=headers)
    sock.sendall(connection.send(request) + connection.send(sansio.EndOfMessage()))
    content = []
    for event in events(sock, connection):
        if type(event) is sansio.Response and not 200 <= event.status_code < 300:
            raise NotOk(f"{event.status_code} {event.reason.decode('latin-1')}")
        if type(event) is sansio.Data:
            content.append(event.data)
    return b"".join(content)


def events(sock: socket.socket, connection: sansio.Connection) -> Iterator[Any]:
    """What the server sends, up to the end of its response. An end of the connection before that is an error."""
    while True:
        event = connection.next_event()
        if event is sansio.NEED_DATA:
            connection.receive_data(sock.recv(65536))
        elif type(event) is sansio.EndOfMessage:
            return
        else:
            yield event


def main(url: str) -> int:
    try:
        content = http_get(url)
    except (NotOk, RemoteProtocolError, OSError, ValueError) as exc:
        print(f"{url}: {exc}", file=sys.stderr)
        return 1
    sys.stdout.buffer.write(content)
    return 0


if __name__ == "__main__":
    if len(sys.argv) != 2:
        raise SystemExit(f"usage: {sys.argv[0]} URL")
    raise SystemExit(main(sys.argv[1]))
