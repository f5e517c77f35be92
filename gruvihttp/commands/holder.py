"""Which process listens on an address, as far as ``/proc`` tells."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path
from typing import NamedTuple

__all__ = ["Holder", "holder_of"]

PROC = Path("/proc")
_LISTEN = "0A"  # TCP_LISTEN in include/net/tcp_states.h
_ACCEPTS = 0x10000  # __SO_ACCEPTCON in include/uapi/linux/net.h


class Holder(NamedTuple):
    """A process, and the name of its program."""

    pid: int
    name: str


def holder_of(address: tuple[str, int] | str) -> Holder | None:
    """The process that listens on (host, port) or on the path of a Unix socket; None if that is not known.

    A host that is a name matches every address. Of several processes, as with a server and its workers, the first.
    """
    try:
        found = set(_unix_inodes(address) if isinstance(address, str) else _tcp_inodes(*address))
        return _process_with(found) if found else None
    except (OSError, ValueError):  # not Linux, or not as we know it
        return None


def _tcp_inodes(host: str, port: int) -> Iterator[str]:
    """Inodes of the TCP sockets that listen on the port and whose address is in the way of `host`."""
    for table in ("tcp", "tcp6"):
        for fields in _rows(PROC / "net" / table):
            local, state, inode = fields[1], fields[3], fields[9]
            address, _, digits = local.partition(":")
            if state == _LISTEN and int(digits, 16) == port and _collide(_decode(address), host):
                yield inode


def _unix_inodes(path: str) -> Iterator[str]:
    shown = path.replace("\0", "@")
    for fields in _rows(PROC / "net" / "unix"):
        if len(fields) == 8 and fields[7] == shown and int(fields[3], 16) & _ACCEPTS:
            yield fields[6]


def _rows(table: Path) -> Iterator[list[str]]:
    if table.exists():
        for line in table.read_text(errors="replace").splitlines()[1:]:
            yield line.split()


def _decode(digits: str) -> IPv4Address | IPv6Address:
    """An address as the kernel prints it: words of 32 bits in the order of this machine, in hexadecimal."""
    words = [bytes.fromhex(digits[start : start + 8]) for start in range(0, len(digits), 8)]
    packed = b"".join(int.from_bytes(word, "big").to_bytes(4, sys.byteorder) for word in words)
    return ip_address(packed)


def _collide(bound: IPv4Address | IPv6Address, host: str) -> bool:
    if bound.is_unspecified:
        return True
    try:
        wanted = ip_address(host)
    except ValueError:  # a name, or nothing, which means everything
        return True
    return wanted.is_unspecified or wanted == bound


def _process_with(inodes: set[str]) -> Holder | None:
    links = {f"socket:[{inode}]" for inode in inodes}
    for pid in sorted(int(entry.name) for entry in PROC.iterdir() if entry.name.isdigit()):
        if any(link in links for link in _descriptors(pid)):
            return Holder(pid, (PROC / str(pid) / "comm").read_text().strip())
    return None


def _descriptors(pid: int) -> Iterator[str]:
    try:
        for entry in os.scandir(PROC / str(pid) / "fd"):
            yield os.readlink(entry.path)
    except OSError:  # it belongs to another user, or has ended
        return
