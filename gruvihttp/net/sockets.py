"""Raw sockets: taking them over, tuning them, and what can be asked of them.

Everything here is about ``_socket.socket``, the C type below both the standard library's and gevent's sockets. Only
it has neither a patched ``recv`` nor a watcher of its own.
"""

from __future__ import annotations

import _socket
import ssl
import struct
from fcntl import ioctl
from sys import byteorder
from termios import TIOCOUTQ
from typing import Any, TypeAlias

from gevent import ssl as gevent_ssl

from gruvihttp.errors import TransportError

__all__ = [
    "Address",
    "BytesLike",
    "RawSocket",
    "format_address",
    "set_up",
    "take_over",
    "transport_error",
    "unix_credentials",
    "unread_bytes",
]

RawSocket: TypeAlias = _socket.socket
BytesLike: TypeAlias = bytes | bytearray | memoryview
Address: TypeAlias = Any  # (host, port[, flow, scope]), a path, or abstract bytes: whatever the family has

_SSL_SOCKETS = (ssl.SSLSocket, gevent_ssl.SSLSocket)


def take_over(sock: Any) -> RawSocket:  # Any: gevent's sockets share no type with the standard library's
    """The raw socket for a file descriptor or for a socket object of any library, which no longer owns it.

    Raises TypeError for a TLS socket, because its session cannot move, and for what is not a socket; TransportError for
    a descriptor of something else.
    """
    if type(sock) is _socket.socket:
        return sock
    if isinstance(sock, _SSL_SOCKETS):
        raise TypeError("cannot take over a TLS socket: pass the plain socket and an SSLContext")
    if isinstance(sock, int) and not isinstance(sock, bool):
        return _of_descriptor(sock)
    try:
        family, kind, proto = int(sock.family), int(sock.type), sock.proto
        descriptor = sock.detach()
    except AttributeError:
        raise TypeError(f"expected a socket or a file descriptor, not {sock!r}") from None
    return _socket.socket(family, kind, proto, descriptor)


def _of_descriptor(descriptor: int) -> RawSocket:
    try:
        return _socket.socket(fileno=descriptor)
    except OSError as exc:  # or somebody meant a port
        raise transport_error(exc, f"{descriptor} is no descriptor of a socket, nor an address: (host, port)") from exc


def set_up(sock: RawSocket) -> None:
    """Make a connected (or connecting) socket non-blocking and, over TCP, undelayed."""
    sock.setblocking(False)
    if sock.family != _socket.AF_UNIX:
        try:
            sock.setsockopt(_socket.IPPROTO_TCP, _socket.TCP_NODELAY, 1)
        except OSError:  # a peer that has reset already; the first read says so
            pass


def unix_credentials(sock: RawSocket) -> tuple[int, int, int] | None:
    """(pid, uid, gid) of the process that connected a Unix socket; None where the system does not tell."""
    if sock.family != _socket.AF_UNIX or not hasattr(_socket, "SO_PEERCRED"):
        return None
    raw = sock.getsockopt(_socket.SOL_SOCKET, _socket.SO_PEERCRED, struct.calcsize("3i"))
    pid, uid, gid = struct.unpack("3i", raw)
    return pid, uid, gid


def unread_bytes(sock: RawSocket) -> int:
    """How much of what was sent has not reached the peer's system; 0 where ours does not tell."""
    try:
        return int.from_bytes(ioctl(sock.fileno(), TIOCOUTQ, bytes(4)), byteorder)  # SIOCOUTQ has the same number
    except (OSError, ValueError):
        return 0


def format_address(address: Address) -> str:
    """An address for people: ``127.0.0.1:80``, ``[::1]:80``, ``unix:/run/app.sock``, ``unix:@abstract``."""
    if isinstance(address, tuple) and len(address) >= 2:
        host, port = address[0] or "*", address[1]
        return f"[{host}]:{port}" if ":" in str(host) else f"{host}:{port}"
    if isinstance(address, bytes):
        address = address.decode("utf-8", "replace")
    if isinstance(address, str):
        return f"unix:{address.replace(chr(0), '@')}"
    return str(address)


def transport_error(exc: OSError, doing: str = "") -> TransportError:
    """Our error for the system's, with its errno. `doing` says what was tried, with the address."""
    reason = exc.strerror or str(exc)
    message = f"{doing}: {reason}" if doing else reason
    return TransportError(message) if exc.errno is None else TransportError(exc.errno, message)
