"""One request and its response over a blocking socket: the least that a client has to do.

    python minimal_client.py http://127.0.0.1:8080/get

Each event is printed as it goes out or comes in. With an https URL the connection is made with TLS, and the server's
certificate is verified (set SSL_CERT_FILE for an authority of your own).

The engine does no I/O: it turns events into bytes, and bytes into events. Carrying the bytes is up to us. It has the
names of h11, so a program that was written for h11 changes this one import.
"""

from __future__ import annotations

import socket
import ssl
import sys
from typing import Any
from urllib.parse import urlsplit

from gruvihttp.compat import h11


def connect(scheme: str, host: str, port: int) -> socket.socket:
    sock = socket.create_connection((host, port), timeout=10)
    if scheme == "https":
        return ssl.create_default_context().wrap_socket(sock, server_hostname=host)
    return sock


def send(sock: socket.socket, connection: h11.Connection, event: Any) -> None:
    print("sending", event)
    data = connection.send(event)
    sock.sendall(data)


def next_event(sock: socket.socket, connection: h11.Connection) -> Any:
    """The next event; asks the network only when the engine has nothing left."""
    while (event := connection.next_event()) is h11.NEED_DATA:
        connection.receive_data(sock.recv(2048))  # b"" at the end of the stream is what the engine wants to hear, too
    print("received", event)
    return event


def main(url: str) -> None:
    parts = urlsplit(url)
    host = parts.hostname or ""
    with connect(parts.scheme, host, parts.port or (443 if parts.scheme == "https" else 80)) as sock:
        connection = h11.Connection(our_role=h11.CLIENT)
        headers = [("Host", parts.netloc), ("Connection", "close")]
        send(sock, connection, h11.Request(method="GET", target=parts.path or "/", headers=headers))
        send(sock, connection, h11.EndOfMessage())
        while type(next_event(sock, connection)) is not h11.EndOfMessage:
            pass


if __name__ == "__main__":
    if len(sys.argv) != 2:
        raise SystemExit(f"usage: {sys.argv[0]} URL")
    try:
        main(sys.argv[1])
    except (h11.RemoteProtocolError, OSError, ValueError) as exc:
        raise SystemExit(f"{sys.argv[0]}: {exc}") from None
