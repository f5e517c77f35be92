"""Servers that stand between a client and another server; each is a script for a `ScriptedPeer`."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import gevent

from gruvihttp import Transport, TransportError
from gruvihttp.net.dial import dial
from gruvihttp.testing import RawPeer

__all__ = ["dripping", "tunnelling"]


def tunnelling(peer: RawPeer) -> None:
    """Connects to where CONNECT says, and carries bytes to and fro."""
    head = peer.read_until()
    if not head:
        return  # whoever has connected has gone again
    host, _, port = head.split()[1].decode().partition(":")
    other = Transport(dial((host, int(port))))
    peer.send(b"HTTP/1.1 200 Connected\r\n\r\n")
    there = gevent.spawn(_carry, peer.channel, other.send, other)
    _carry(other, peer.send, peer.channel)
    there.join()


def dripping(port: int) -> Callable[[RawPeer], None]:
    """Stands before the server at `port` on this machine, whose answers it gives a byte at a time."""

    def script(peer: RawPeer) -> None:
        other = Transport(dial(("127.0.0.1", port)))
        there = gevent.spawn(_carry, peer.channel, other.send, other)
        _carry(other, peer.send_in_pieces, peer.channel)
        there.join()

    return script


def _carry(source: Any, send: Callable[[bytes], object], sink: Any) -> None:
    with suppress(TransportError):  # the test is over
        while content := source.receive():
            send(content)
        sink.shutdown_write()
