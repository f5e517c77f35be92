"""The least that a gevent program can do: bytes in, canned bytes out, no parsing, no WSGI.

What these cost, nobody who uses the same loop can save. Two floors on each side: a callback on one watcher per
connection that stays started for the connection's whole life (`watchers`), and gevent's own cooperative sockets
in greenlets (`sockets`).

The servers answer once per blank line that comes in; content must not contain one. They are a target for any
client, therefore, but no HTTP servers.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any

import gevent
from gevent import socket as gevent_socket
from gevent.hub import get_hub
from gevent.server import StreamServer

__all__ = ["SocketExchange", "WatcherClient", "answer_with", "serve_on_sockets", "serve_on_watchers"]

_READ, _WRITE = 1, 2  # gevent's (libev's) event masks
_RECEIVE_BYTES = 65536
_END = b"\r\n\r\n"

Address = tuple[str, int]


def answer_with(content: bytes) -> bytes:
    """Return the canned response."""
    return b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n\r\n" % len(content) + content


class _BlankLines:
    """Counts blank lines in a stream of blocks, also those that lie across two blocks."""

    __slots__ = ("_tail",)

    def __init__(self) -> None:
        self._tail = b""

    def count(self, block: bytes) -> int:
        if self._tail:
            block = self._tail + block
        self._tail = b"" if block.endswith(_END) else block[-3:]
        return block.count(_END)


class _WatchedConnection:
    """A server's connection, driven by one read watcher; a write watcher appears only when the peer is slow."""

    __slots__ = ("_answer", "_blank_lines", "_reader", "_sock", "_unsent", "_writer")

    def __init__(self, sock: socket.socket, answer: bytes) -> None:
        self._sock = sock
        self._answer = answer
        self._blank_lines = _BlankLines()
        self._unsent = b""
        self._writer: Any = None  # gevent's watchers have no public type
        self._reader: Any = get_hub().loop.io(sock.fileno(), _READ)
        self._reader.start(self._readable)

    def _readable(self) -> None:
        try:
            block = self._sock.recv(_RECEIVE_BYTES)
        except BlockingIOError:
            return
        except ConnectionError:
            block = b""
        if not block:
            self._close()
        elif count := self._blank_lines.count(block):
            self._send(self._answer if count == 1 else self._answer * count)

    def _send(self, block: bytes) -> None:
        if self._unsent:
            self._unsent += block
            return
        try:
            sent = self._sock.send(block)
        except BlockingIOError:
            sent = 0
        except ConnectionError:
            return self._close()
        if sent < len(block):
            self._unsent = block[sent:]
            self._writer = get_hub().loop.io(self._sock.fileno(), _WRITE)
            self._writer.start(self._writable)

    def _writable(self) -> None:
        self._stop(self._writer)
        self._writer, block, self._unsent = None, self._unsent, b""
        self._send(block)

    def _close(self) -> None:
        self._stop(self._reader)
        self._stop(self._writer)
        self._sock.close()

    @staticmethod
    def _stop(watcher: Any) -> None:
        if watcher is not None:
            watcher.stop()
            watcher.close()


def serve_on_watchers(address: Address, answer: bytes) -> None:
    """Serve for ever, one callback per block of input."""
    listener = socket.create_server(address, backlog=1024)
    listener.setblocking(False)

    def acceptable() -> None:
        try:
            sock, _ = listener.accept()
        except BlockingIOError:
            return
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        _WatchedConnection(sock, answer)  # kept alive by its watcher's callback

    watcher = get_hub().loop.io(listener.fileno(), _READ)
    watcher.start(acceptable)
    gevent.wait()


def serve_on_sockets(address: Address, answer: bytes) -> None:
    """Serve for ever, one greenlet per connection."""

    def converse(sock: gevent_socket.socket, peer: Address) -> None:
        blank_lines = _BlankLines()
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            while block := sock.recv(_RECEIVE_BYTES):
                if count := blank_lines.count(block):
                    sock.sendall(answer if count == 1 else answer * count)
        except ConnectionError:
            pass

    StreamServer(address, converse, backlog=1024).serve_forever()


class WatcherClient:
    """A client's connection on one persistent watcher: each whole answer makes it send the next request at once.

    `burst` is one request or several, which the socket's buffer must be able to take; `answer_bytes` is the size of
    all that it is answered with, which must be constant. `answered` is called then, and says whether to go on.
    """

    def __init__(self, address: Address, burst: bytes, answer_bytes: int, answered: Callable[[], bool]) -> None:
        self._burst = burst
        self._answer_bytes = self._missing = answer_bytes
        self._answered = answered
        self._sock = socket.create_connection(address)
        self._sock.setblocking(False)
        self._sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._reader: Any = get_hub().loop.io(self._sock.fileno(), _READ)
        self._reader.start(self._readable)

    def start(self) -> None:
        """Send the first burst."""
        self._sock.send(self._burst)

    def _readable(self) -> None:
        block = self._sock.recv(_RECEIVE_BYTES)
        self._missing -= len(block)
        if block and self._missing:
            return
        self._missing = self._answer_bytes
        if block and self._answered():
            self._sock.send(self._burst)
        else:
            self.close()

    def close(self) -> None:
        self._reader.stop()
        self._reader.close()
        self._sock.close()


class SocketExchange:
    """A client's connection on a gevent socket: each call sends `depth` requests and receives that many answers."""

    def __init__(self, address: Address, request: bytes, depth: int = 1) -> None:
        self._sock = gevent_socket.create_connection(address)
        self._sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._sock.sendall(request)
        self.answer_bytes = len(self._first_answer())
        self._burst = request * depth
        self._expected_bytes = self.answer_bytes * depth

    def _first_answer(self) -> bytes:
        answer = b""
        while _END not in answer:
            answer += self._receive()
        head, _, content = answer.partition(_END)
        length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0])
        while len(content) < length:
            content += self._receive()
        return head + _END + content

    def _receive(self) -> bytes:
        block = self._sock.recv(_RECEIVE_BYTES)
        if not block:
            raise ConnectionError("the server closed the connection")
        return block

    def __call__(self) -> None:
        # A burst larger than the buffers on the way would block for ever if nobody received meanwhile.
        sender = gevent.spawn(self._sock.sendall, self._burst) if len(self._burst) > _RECEIVE_BYTES else None
        if sender is None:
            self._sock.sendall(self._burst)
        missing = self._expected_bytes
        while missing > 0:
            missing -= len(self._receive())
        if sender is not None:
            sender.join()
