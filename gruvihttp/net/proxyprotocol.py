"""The header of the PROXY protocol, versions 1 and 2: bytes to addresses.

A proxy that passes on a stream without parsing it cannot add a field to it. So it says first, before everything else,
whose connection it is: in a line of text (version 1), or in a binary header (version 2). The receiver must know that
connections begin like this; it is never guessed, or any client could forge its address.

The rules are those of HAProxy's "The PROXY protocol", sections 2.1 and 2.2. Sockets are not known here: the caller must
read no byte more than the header has, since what follows is for others.
"""

from __future__ import annotations

import os
import re
import struct
from ipaddress import IPv4Address, IPv6Address
from typing import NamedTuple

from gruvihttp.net.sockets import Address

__all__ = ["MalformedProxyHeader", "ProxyHeader", "scan"]

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"  # of version 2
_V1_START = b"PROXY "
_V1_MOST_BYTES = 107  # section 2.1: the longest possible line with its CRLF
_V1_LINE = re.compile(rb"PROXY (TCP[46]) ([0-9A-Fa-f.:]+) ([0-9A-Fa-f.:]+) (0|[1-9][0-9]{0,4}) (0|[1-9][0-9]{0,4})")
_V1_UNKNOWN = re.compile(rb"PROXY UNKNOWN(?: .*)?")

_V2_HEAD = struct.Struct("!12sBBH")
_V2_LOCAL, _V2_PROXY = 0x20, 0x21  # version and command
_V2_TCP4, _V2_TCP6, _V2_UNIX = 0x11, 0x21, 0x31  # family and protocol
_V2_LAYOUTS = {
    _V2_TCP4: struct.Struct("!4s4sHH"),
    _V2_TCP6: struct.Struct("!16s16sHH"),
    _V2_UNIX: struct.Struct("108s108s"),
}
_V2_FAMILIES = range(4)
_V2_PROTOCOLS = range(3)


class MalformedProxyHeader(ValueError):
    """What came is not the beginning of a header."""


class ProxyHeader(NamedTuple):
    """A whole header: how long it is, and the addresses in it as sockets have them.

    `source` and `destination` are None where the connection is the proxy's own, such as a check of its health, or where
    the proxy does not know: then the real ones hold.
    """

    size: int
    source: Address
    destination: Address


def scan(data: bytes | bytearray) -> ProxyHeader | None:
    """The header that `data` begins with; None if all of `data` belongs to one that is not complete.

    Raises MalformedProxyHeader as soon as no header can come of it.
    """
    if data.startswith(_V1_START[: len(data)]):
        return _scan_line(data)
    if data.startswith(SIGNATURE[: len(data)]):
        return _scan_binary(data)
    raise MalformedProxyHeader("it begins like neither version")


def _scan_line(data: bytes | bytearray) -> ProxyHeader | None:
    end = data.find(b"\r\n", 0, _V1_MOST_BYTES)
    if end < 0:
        if len(data) >= _V1_MOST_BYTES:
            raise MalformedProxyHeader("the line is too long")
        return None
    line = data[:end]
    if _V1_UNKNOWN.fullmatch(line):
        return ProxyHeader(end + 2, None, None)
    match = _V1_LINE.fullmatch(line)
    if match is None:
        raise MalformedProxyHeader("the line breaks its grammar")
    family, *hosts = [word.decode("ascii") for word in match.group(1, 2, 3)]
    ports = [int(port) for port in match.group(4, 5)]
    if max(ports) > 65535:
        raise MalformedProxyHeader("there is no such port")
    make = _tcp4 if family == "TCP4" else _tcp6
    return ProxyHeader(end + 2, make(hosts[0], ports[0]), make(hosts[1], ports[1]))


def _scan_binary(data: bytes | bytearray) -> ProxyHeader | None:
    if len(data) < _V2_HEAD.size:
        return None
    _, command, family, length = _V2_HEAD.unpack_from(data)
    if command not in (_V2_LOCAL, _V2_PROXY):
        raise MalformedProxyHeader("it has another version, or a command that is not known")
    if family >> 4 not in _V2_FAMILIES or family & 15 not in _V2_PROTOCOLS:
        raise MalformedProxyHeader("it has a family or a protocol that is not known")
    layout = _V2_LAYOUTS.get(family) if command == _V2_PROXY else None
    if layout is not None and length < layout.size:
        raise MalformedProxyHeader("it is too short for its addresses")
    size = _V2_HEAD.size + length
    if len(data) < size:
        return None
    if layout is None:  # the proxy's own connection, or a protocol that this one cannot be
        return ProxyHeader(size, None, None)
    parts = layout.unpack_from(data, _V2_HEAD.size)  # what follows, further facts by type and length, is skipped
    return ProxyHeader(size, *_addresses(family, parts))


def _addresses(family: int, parts: tuple[bytes | int, ...]) -> tuple[Address, Address]:
    if family == _V2_UNIX:
        return _path(parts[0]), _path(parts[1])
    make = _tcp4 if family == _V2_TCP4 else _tcp6
    return make(parts[0], parts[2]), make(parts[1], parts[3])


def _tcp4(host: Address, port: Address) -> Address:
    try:
        return str(IPv4Address(host)), port
    except ValueError:
        raise MalformedProxyHeader("there is no such IPv4 address") from None


def _tcp6(host: Address, port: Address) -> Address:
    try:
        return str(IPv6Address(host)), port, 0, 0
    except ValueError:
        raise MalformedProxyHeader("there is no such IPv6 address") from None


def _path(raw: Address) -> Address:
    """As the system gives it: a path, or bytes for an abstract name."""
    if raw[:1] == b"\0":
        return bytes(raw.rstrip(b"\0"))
    return os.fsdecode(raw.partition(b"\0")[0])
