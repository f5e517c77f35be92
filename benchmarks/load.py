"""A load generator over raw epoll sockets: keeps a number of connections busy, and checks what comes back.

It stands in where wrk is not installed, and looks at the answers before wrk runs, which looks at the status only.
`python -m benchmarks.load PORT WORKLOAD --seconds S` prints one line of JSON: answers and seconds.
"""

from __future__ import annotations

import argparse
import json
import re
import select
import socket
import sys
import time
from dataclasses import asdict, dataclass

from benchmarks.workloads import WORKLOADS, Workload

__all__ = ["Load", "LoadError", "generate"]

_RECEIVE_BYTES = 1 << 18
_PATIENCE = 5.0  # seconds without any answer: a server that does not understand the workload
_SUCCESS = b"HTTP/1.1 200"
_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*(\d+)[ \t]*\r\n", re.IGNORECASE)


class LoadError(Exception):
    """The server answered wrongly, or not at all."""


@dataclass(frozen=True)
class Load:
    """What was answered, and in how many seconds."""

    requests: int
    wall_seconds: float

    def to_json(self) -> str:
        """Return it as one line; `Load.from_json` reads it."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Load:
        return cls(**json.loads(text))


class _Connection:
    """One connection with `outstanding` requests that have no answer yet."""

    def __init__(self, port: int, workload: Workload) -> None:
        self._workload = workload
        self._received = bytearray()
        self._wanted_bytes = 0  # size of the answer being received; 0 while its head is incomplete
        self._usual_bytes = 0  # size of the first answer, which has been checked; 0 before
        self.outstanding = 0
        self.sock = socket.create_connection(("127.0.0.1", port), timeout=_PATIENCE)
        self.sock.setblocking(False)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def ask(self) -> None:
        """Write one burst of requests. Nothing is outstanding, so the socket's buffer takes all of it."""
        burst = self._workload.burst
        if self.sock.send(burst) != len(burst):
            raise LoadError("a burst of requests does not fit into the socket's buffer")
        self.outstanding = self._workload.depth

    def receive(self) -> int:
        """Read what is there and return how many answers it completes."""
        block = self.sock.recv(_RECEIVE_BYTES)
        if not block:
            raise LoadError(f"the server closed a connection with {self.outstanding} requests unanswered")
        if self._is_usual(block):
            count, self.outstanding = self.outstanding, 0
            return count
        self._received += block
        count = 0
        while self._received and self._is_complete():
            if not self._usual_bytes:
                self._check()
            del self._received[: self._wanted_bytes]
            self._wanted_bytes = 0
            count += 1
        self.outstanding -= count
        return count

    def _is_usual(self, block: bytes) -> bool:
        """Whether the block looks like all answers at once: no more is asked, because the load must not be slow."""
        whole = not self._received and len(block) == self._usual_bytes * self.outstanding
        return whole and block.startswith(_SUCCESS)

    def _is_complete(self) -> bool:
        if not self._wanted_bytes:
            end = self._received.find(b"\r\n\r\n")
            if end < 0:
                return False
            self._wanted_bytes = end + 4 + self._content_bytes(end + 2)
        return len(self._received) >= self._wanted_bytes

    def _content_bytes(self, head_end: int) -> int:
        if not self._received.startswith(_SUCCESS):
            raise LoadError(f"unexpected answer: {bytes(self._received[:60])!r}")
        match = _LENGTH.search(self._received, 0, head_end)
        if not match:
            raise LoadError("answer without Content-Length")
        return int(match[1])

    def _check(self) -> None:
        expected = self._workload.content
        if not self._received[: self._wanted_bytes].endswith(b"\r\n\r\n" + expected):
            raise LoadError("the content of an answer is not what was expected")
        self._usual_bytes = self._wanted_bytes


def generate(port: int, workload: Workload, connections: int, seconds: float, requests: int) -> Load:
    """Keep `connections` busy until `seconds` are over or `requests` have been answered, whatever comes first.

    Raises LoadError, or OSError, at the first wrong answer, the first closed connection, or after some silence.
    """
    all_connections = [_Connection(port, workload) for _ in range(connections)]
    by_descriptor = {connection.sock.fileno(): connection for connection in all_connections}
    epoll = select.epoll()
    try:
        for descriptor in by_descriptor:
            epoll.register(descriptor, select.EPOLLIN)
        return _converse(epoll, by_descriptor, seconds, requests)
    finally:
        epoll.close()
        for connection in all_connections:
            connection.sock.close()


def _open(epoll: select.epoll, connections: dict[int, _Connection]) -> None:
    """Have one burst answered on each connection, before any clock runs, so that a server that cannot do it shows."""
    for connection in connections.values():
        connection.ask()
    waiting = len(connections)
    while waiting:
        ready = epoll.poll(_PATIENCE)
        if not ready:
            missing = sum(connection.outstanding for connection in connections.values())
            raise LoadError(f"{missing} of the first requests had no answer within {_PATIENCE:.0f} s")
        for descriptor, _ in ready:
            connection = connections[descriptor]
            if connection.receive() and not connection.outstanding:
                waiting -= 1


def _converse(epoll: select.epoll, connections: dict[int, _Connection], seconds: float, requests: int) -> Load:
    _open(epoll, connections)
    start = now = last_answer = time.monotonic()
    answered = 0
    for connection in connections.values():
        connection.ask()
    while now < start + seconds and answered < requests:
        for descriptor, _ in epoll.poll(min(seconds, 0.1)):
            connection = connections[descriptor]
            if count := connection.receive():
                answered += count
                last_answer = now
            if not connection.outstanding:
                connection.ask()
        now = time.monotonic()
        if now > last_answer + _PATIENCE:
            raise LoadError(f"no answer for {_PATIENCE:.0f} s")
    return Load(answered, now - start)


def main() -> None:
    """Run the generator as the arguments say and print its result as JSON."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.load")
    parser.add_argument("port", type=int)
    parser.add_argument("workload", choices=WORKLOADS)
    parser.add_argument("--connections", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--requests", type=int, default=10_000_000)
    given = parser.parse_args()
    try:
        load = generate(given.port, WORKLOADS[given.workload], given.connections, given.seconds, given.requests)
    except (LoadError, OSError) as exc:
        sys.exit(str(exc))
    print(load.to_json())


if __name__ == "__main__":
    main()
