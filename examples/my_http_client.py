"""A socket and an engine in one object, and several exchanges on one connection.

    python my_http_client.py 127.0.0.1 8080

`MyHttpClient` is all that a small client needs to be comfortable: `send` takes events, `next_event` returns them. It
receives a few bytes at a time here, to show that this changes nothing but the number of Data events.
"""

from __future__ import annotations

import socket
import ssl
import sys
from typing import Any

from gruvihttp.compat import h11


class MyHttpClient:
    """One connection to a server; with TLS if there is a context."""

    def __init__(self, host: str, port: int, context: ssl.SSLContext | None = None) -> None:
        self.sock = socket.create_connection((host, port))
        if context is not None:
            self.sock = context.wrap_socket(self.sock, server_hostname=host)
        self.conn = h11.Connection(our_role=h11.CLIENT)

    def send(self, *events: Any) -> None:
        """Send events, in this order."""
        for event in events:
            data = self.conn.send(event)
            if data is None:  # ConnectionClosed: nothing more will be said
                self.sock.shutdown(socket.SHUT_WR)
            else:
                self.sock.sendall(data)

    def next_event(self, max_bytes_per_recv: int = 200) -> Any:
        """The next event from the server; waits for it."""
        while (event := self.conn.next_event()) is h11.NEED_DATA:
            self.conn.receive_data(self.sock.recv(max_bytes_per_recv))
        return event

    def response(self) -> tuple[Any, bytes]:
        """The next final response with its content."""
        head, content = None, b""
        while type(event := self.next_event()) is not h11.EndOfMessage:
            if type(event) is h11.Response:
                head = event
            elif type(event) is h11.Data:
                content += event.data
        return head, content

    def close(self) -> None:
        self.sock.close()


def main(host: str, port: int) -> None:
    client = MyHttpClient(host, port)
    host_field = ("Host", f"{host}:{port}")

    print("GET, event by event")
    client.send(h11.Request(method="GET", target="/first", headers=[host_field]), h11.EndOfMessage())
    while type(event := client.next_event()) is not h11.EndOfMessage:
        print("   ", event)
    print("    states:", client.conn.our_state, client.conn.their_state)

    print("the connection is still there, so the next request goes over it")
    client.conn.start_next_cycle()
    print("    states:", client.conn.our_state, client.conn.their_state)
    length = ("Content-Length", "10")
    client.send(h11.Request(method="POST", target="/second", headers=[host_field, length]))
    client.send(h11.Data(data=b"12345"), h11.Data(data=b"67890"), h11.EndOfMessage())
    head, content = client.response()
    print("    POST:", head.status_code, len(content), "bytes")

    print("what the protocol does not allow is an error before a byte leaves")
    client.conn.start_next_cycle()
    try:
        client.send(h11.Response(status_code=200, headers=[]))
    except h11.LocalProtocolError as exc:
        print("   ", exc)
    client.close()


if __name__ == "__main__":
    if len(sys.argv) != 3:
        raise SystemExit(f"usage: {sys.argv[0]} HOST PORT")
    try:
        main(sys.argv[1], int(sys.argv[2]))
    except (h11.RemoteProtocolError, OSError, ValueError) as exc:
        raise SystemExit(f"{sys.argv[0]}: {exc}") from None
