"""The other end of large transfers: one connection at a time, blocking sockets, as little work as can be.

`python -m benchmarks.bulk PORT` serves for ever. ``GET /N`` is answered with N bytes; any other request's content is
taken, in chunks or with a length, and answered with how many bytes it had. The bytes are zeros: chunked content ends
where its last chunk stands at the end of a block.
"""

from __future__ import annotations

import os
import re
import socket
import sys
import tempfile

__all__: list[str] = []

_BLOCK_BYTES = 1 << 20
_LAST_CHUNK = b"\r\n0\r\n\r\n"
_OK = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n"


def serve(port: int) -> None:
    with socket.create_server(("127.0.0.1", port)) as listener, tempfile.TemporaryFile() as zeros:
        while True:
            connection, _ = listener.accept()
            with connection:
                try:
                    _Conversation(connection, zeros.fileno()).run()
                except (ConnectionError, ValueError):
                    pass  # whoever only looked whether we listen, or went away


class _Conversation:
    """One connection."""

    def __init__(self, sock: socket.socket, zeros: int) -> None:
        self._sock = sock
        self._zeros = zeros
        self._buffer = bytearray(_BLOCK_BYTES)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def run(self) -> None:
        while head := self._head():
            fields, _, begun = head.partition(b"\r\n\r\n")
            if fields.startswith(b"GET /"):
                self._give(int(fields[5 : fields.index(b" ", 5)]))
                continue
            length = re.search(rb"\r\ncontent-length: *(\d+)", fields.lower())
            taken = self._take(int(length[1]), begun) if length else self._take_chunks(begun)
            content = b"%d" % taken
            self._sock.sendall(_OK % len(content) + content)

    def _head(self) -> bytes:
        head = b""
        while b"\r\n\r\n" not in head:
            if not (block := self._sock.recv(65536)):
                return b""
            head += block
        return head

    def _give(self, size: int) -> None:
        os.ftruncate(self._zeros, size)
        self._sock.sendall(_OK % size)
        offset = 0
        while offset < size:
            offset += os.sendfile(self._sock.fileno(), self._zeros, offset, size - offset)

    def _take(self, length: int, begun: bytes) -> int:
        left = length - len(begun)
        while left and (count := self._sock.recv_into(self._buffer)):
            left -= count
        return length - left

    def _take_chunks(self, begun: bytes) -> int:
        """How many bytes came, framing included: nobody needs them apart here."""
        taken = len(begun)
        end = begun[-len(_LAST_CHUNK) :]
        while not end.endswith(_LAST_CHUNK[2:]):
            if not (count := self._sock.recv_into(self._buffer)):
                break
            taken += count
            end = (end + self._buffer[max(0, count - len(_LAST_CHUNK)) : count])[-len(_LAST_CHUNK) :]
        return taken


if __name__ == "__main__":
    serve(int(sys.argv[1]))
