"""`Link`: what a parent and a worker process say to each other, a line of JSON for each message.

What the words mean is not known here.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from gevent import socket
from gevent.lock import BoundedSemaphore

__all__ = ["Link"]

_PIECE_BYTES = 65536


class Link:
    """One end of a pair of connected sockets. Several greenlets may say something, one listens."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._speaking = BoundedSemaphore()

    def say(self, word: str, content: object = None) -> None:
        """Send a word, and what goes with it, which JSON must be able to hold. If the other has gone, nothing."""
        line = json.dumps([word, content]).encode("ascii") + b"\n"
        with self._speaking, suppress(OSError):  # the receiving side notices that the other has gone
            self._sock.sendall(line)

    def messages(self) -> Iterator[tuple[str, Any]]:
        """Each word with its content, as they come, until the other end has gone."""
        received = b""
        while piece := self._receive():
            *lines, received = (received + piece).split(b"\n")
            for line in lines:
                word, content = json.loads(line)
                yield word, content

    def close(self) -> None:
        """Let the other end see that we are gone."""
        self._sock.close()

    def _receive(self) -> bytes:
        try:
            received: bytes = self._sock.recv(_PIECE_BYTES)
        except OSError:
            return b""
        return received
