"""Clients that behave badly, each in one way, until the server ends it.

They are bare sockets in greenlets. What a good client notices meanwhile is measured elsewhere.
"""

from __future__ import annotations

import socket as stdlib_socket
import ssl
import struct
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import gevent
from gevent import socket

__all__ = ["ABUSERS", "PATHS", "Abuser", "Target", "abuse"]

Target = tuple[str, int]

PATHS = {"hello": b"/", "endless": b"/endless", "read": b"/read"}  # what the server must have
_HOST = b"Host: 127.0.0.1\r\n"
_GET = b"GET / HTTP/1.1\r\n" + _HOST + b"\r\n"
_CHUNKED = b"POST /read HTTP/1.1\r\n" + _HOST + b"Transfer-Encoding: chunked\r\n\r\n"
_DRIP_SECONDS = 0.01
_PIECE = 65536


@dataclass(frozen=True)
class Abuser:
    """`behave(socket)` returns, or raises OSError, when the server has ended the connection; `ends` says by what."""

    name: str
    meaning: str
    ends: str
    behave: Callable[[Any], None]  # Any: gevent's socket has no type of its own
    over_tls: bool = False  # it goes to the port where TLS is spoken, although it does not get that far


def _drip(sock: Any, content: bytes) -> None:
    """Send a byte at a time, and stop when anything is answered."""
    sock.setblocking(False)
    for at in range(len(content)):
        sock.send(content[at : at + 1])
        gevent.sleep(_DRIP_SECONDS)
        with suppress(BlockingIOError):
            sock.recv(1)
            break
    sock.setblocking(True)
    _read_to_end(sock)


def _read_to_end(sock: Any) -> None:
    while sock.recv(_PIECE):
        pass


def _flood(sock: Any, piece: bytes, times: int) -> None:
    """Send the same again and again, and read what comes meanwhile."""
    reader = gevent.spawn(_read_quietly, sock)
    try:
        for _ in range(times):
            sock.sendall(piece)
        sock.shutdown(stdlib_socket.SHUT_WR)
    finally:
        reader.join()


def _read_quietly(sock: Any) -> None:
    with suppress(OSError):
        _read_to_end(sock)


def _drip_hello(sock: Any) -> None:
    outgoing = ssl.MemoryBIO()
    session = ssl.create_default_context().wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname="localhost")
    with suppress(ssl.SSLWantReadError):
        session.do_handshake()
    _drip(sock, outgoing.read() * 10)


def _drip_head(sock: Any) -> None:
    _drip(sock, b"GET / HTTP/1.1\r\n" + _HOST + b"X: " + b"x" * 100_000)


def _drip_content(sock: Any) -> None:
    sock.sendall(b"POST /read HTTP/1.1\r\n" + _HOST + b"Content-Length: 100000\r\n\r\n")
    _drip(sock, b"x" * 100_000)


def _never_read(sock: Any) -> None:
    sock.setsockopt(stdlib_socket.SOL_SOCKET, stdlib_socket.SO_RCVBUF, 4096)
    sock.sendall(_GET.replace(b"/ ", PATHS["endless"] + b" "))
    while not sock.getsockopt(stdlib_socket.SOL_SOCKET, stdlib_socket.SO_ERROR):
        gevent.sleep(0.02)


def _half_close(sock: Any) -> None:
    sock.sendall(_GET[:20])
    sock.shutdown(stdlib_socket.SHUT_WR)
    _read_to_end(sock)


def _reset(sock: Any) -> None:
    sock.sendall(_GET * 3)
    sock.setsockopt(stdlib_socket.SOL_SOCKET, stdlib_socket.SO_LINGER, struct.pack("ii", 1, 0))


def _pipeline(sock: Any) -> None:
    _flood(sock, _GET * 100, 100)


def _tiny_chunks(sock: Any) -> None:
    sock.sendall(_CHUNKED)
    _flood(sock, b"1\r\nx\r\n" * 10_000, 100)


def _endless_extension(sock: Any) -> None:
    sock.sendall(_CHUNKED + b"1;")
    _flood(sock, b"x" * _PIECE, 1000)


def _endless_head(sock: Any) -> None:
    sock.sendall(b"GET / HTTP/1.1\r\n" + _HOST)
    _flood(sock, b"X-Filler: abcdefghijklmnopqrstuvwxyz\r\n" * 1000, 1000)


def _announce_and_drop(sock: Any) -> None:
    sock.sendall(b"POST /read HTTP/1.1\r\n" + _HOST + b"Content-Length: %d\r\n\r\n" % (1 << 30))
    sock.sendall(b"x" * (1 << 20))


ABUSERS = {
    abuser.name: abuser
    for abuser in (
        Abuser("drip-hello", "a TLS hello, a byte at a time", "Timeouts.handshake", _drip_hello, over_tls=True),
        Abuser("drip-head", "a head, a byte at a time", "Timeouts.head", _drip_head),
        Abuser("drip-content", "content, a byte at a time", "Limits.content_rate", _drip_content),
        Abuser("never-read", "asks for much and reads nothing", "Timeouts.write", _never_read),
        Abuser("half-close", "half a head, and then its end", "at once", _half_close),
        Abuser("reset", "requests, and a reset at once", "at once", _reset),
        Abuser("pipeline", "10,000 pipelined requests", "when they are answered", _pipeline),
        Abuser("tiny-chunks", "a million chunks of a byte", "when they are read", _tiny_chunks),
        Abuser("endless-extension", "a chunk extension without end", "Limits.chunk_line_bytes", _endless_extension),
        Abuser("endless-head", "a head without end", "Limits.fields_bytes", _endless_head),
        Abuser("announce-and-drop", "1 GiB announced, 1 MiB sent, and away", "at once", _announce_and_drop),
    )
}


def abuse(abuser: Abuser, plain: Target, tls: Target) -> None:
    """Behave so once. Returns when the server has ended it."""
    with suppress(OSError), socket.create_connection(tls if abuser.over_tls else plain) as sock:
        abuser.behave(sock)
