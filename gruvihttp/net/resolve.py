"""From what users call an address to what sockets call one. Names are resolved by gevent's resolver."""

from __future__ import annotations

import _socket
import re
from collections.abc import Sequence
from typing import NamedTuple

import gevent
from gevent import socket as gevent_socket

from gruvihttp.errors import Timeout
from gruvihttp.net.deadline import timeout_left
from gruvihttp.net.sockets import Address, format_address, transport_error

__all__ = ["Candidate", "resolve"]

_HIGHEST_PORT = 65535
# Addresses that are not meant as paths. A server would make a socket file of that name, and no client would find it
_NO_PATH = re.compile(r"unix:.+|[a-z]+://.+|[^/\0]*:\d+")


class Candidate(NamedTuple):
    """One way to reach, or to listen at, an address."""

    family: int
    kind: int
    proto: int
    address: Address


def resolve(
    address: Address, family: int = 0, flags: int = 0, *, passive: bool = False, deadline: float | None = None
) -> list[Candidate]:
    """All candidates for ``(host, port)`` or for the path of a Unix socket (``"\\0name"`` is an abstract one).

    Literal addresses are not shown to the resolver. `passive` is for listening: there no host means every interface.
    Raises TransportError when the name does not resolve, Timeout(phase="connect") at `deadline`, TypeError when
    `address` has another form, ValueError for a port that cannot be and for a path that looks like host and port.
    """
    if isinstance(address, (str, bytes)):
        _check_path(address)
        return [Candidate(_socket.AF_UNIX, _socket.SOCK_STREAM, 0, address)]
    if not isinstance(address, tuple) or len(address) not in (2, 4):
        raise TypeError(f"an address is (host, port) or the path of a Unix socket, not {address!r}")
    host, port = address[0] or None, address[1]
    if isinstance(port, int) and not 0 <= port <= _HIGHEST_PORT:  # the system would leave out its upper bits
        raise ValueError(f"a port is a number from 0 to {_HIGHEST_PORT}, and {port} is not")
    if passive:
        flags |= _socket.AI_PASSIVE
    try:
        found = _literal(host, port, family, flags) or _look_up(host, port, family, flags, deadline)
    except UnicodeError as exc:  # a label that is empty or too long, so that the name cannot be encoded
        nothing = _socket.gaierror(_socket.EAI_NONAME, f"not a domain name ({exc})")
        raise transport_error(nothing, f"cannot resolve {format_address((host, port))}") from exc
    if len(address) == 4:  # the flow label and the scope that the caller gave
        found = [one._replace(address=(*one.address[:2], *address[2:])) for one in found]
    return found


def _check_path(path: str | bytes) -> None:
    if isinstance(path, str) and _NO_PATH.fullmatch(path):
        raise ValueError(
            f"{path!r} is not taken for the path of a Unix socket: an address is (host, port), such as "
            f"('127.0.0.1', 8000), or a path, such as '/run/app.sock' or './{path}'"
        )


def _literal(host: str | None, port: int, family: int, flags: int) -> list[Candidate] | None:
    try:
        numeric = flags | _socket.AI_NUMERICHOST
        return _candidates(_socket.getaddrinfo(host, port, family, _socket.SOCK_STREAM, 0, numeric))
    except _socket.gaierror:
        return None


def _look_up(host: str | None, port: int, family: int, flags: int, deadline: float | None) -> list[Candidate]:
    timer = gevent.Timeout(timeout_left(deadline))
    try:
        with timer:
            return _candidates(gevent_socket.getaddrinfo(host, port, family, _socket.SOCK_STREAM, 0, flags))
    except gevent.Timeout as exc:
        if exc is not timer:  # a foreign one, thrown through us
            raise
        raise Timeout(f"cannot resolve {host}: timed out", phase="connect") from None
    except _socket.gaierror as exc:
        raise transport_error(exc, f"cannot resolve {format_address((host, port))}") from exc


def _candidates(found: Sequence[tuple[int, int, int, str, Address]]) -> list[Candidate]:
    candidates = (Candidate(int(family), int(kind), proto, address) for family, kind, proto, _, address in found)
    return list(dict.fromkeys(candidates))  # a hosts file may name an address twice
