"""Many idle persistent connections, a few busy ones, and what an idle one costs the server in memory.

    python -m benchmarks.idle [--connections N] [--tls]

Each idle connection has had one request. The busy ones ask again and again; then the idle ones are asked once more, as
they must still be there. Prints the figures as JSON.
"""

from __future__ import annotations

import argparse
import json
import resource
import socket
import ssl
import sys
import time
from collections.abc import Iterable

import gevent
from gevent import socket as gevent_socket

from benchmarks import accounting, siege

__all__ = ["hold"]

_REQUEST = b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
_END = b"Hello, World!\n"
_BUSY = 50
_REQUESTS_EACH = 20
_GUARD_SECONDS = 60.0
_PER_ADDRESS = 10_000  # connections from one address of ours, so that its ports suffice
_SPARE = 200  # descriptors that are used for other things


def main() -> int:
    """Hold the connections and print what came of it."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.idle", description=__doc__.partition("\n")[0])
    parser.add_argument("--connections", type=int, default=10_000, help="or what the system allows (%(default)s)")
    parser.add_argument("--tls", action="store_true", help="encrypted")
    options = parser.parse_args()
    print(json.dumps(hold(min(options.connections, _allowed()), tls=options.tls)))
    return 0


def hold(count: int, *, tls: bool) -> dict[str, float]:
    """Hold so many idle connections; returns the figures. Raises OSError or AssertionError if one is lost."""
    with siege.server(None, "default") as (pid, ports):
        context = ssl._create_unverified_context() if tls else None
        address = ("127.0.0.1", ports[1 if tls else 0])
        warm = [_connect(number, address, context) for number in range(10)]  # what is made once for all is made now
        before = accounting.memory_bytes(pid)
        begun = time.monotonic()
        idle = [_connect(number, address, context) for number in range(count)]
        seconds = time.monotonic() - begun
        memory = accounting.memory_bytes(pid) - before
        answered = _keep_busy(("127.0.0.1", ports[0]))
        for sock in idle:
            _ask(sock)
        _close(idle + warm)
    return {
        "idle_connections": count,
        "bytes_each": memory / count,
        "connected_in_seconds": seconds,
        "busy_connections": _BUSY,
        "answered_beside_them": answered,
    }


def _allowed() -> int:
    """How many connections the system lets us have; it is asked for as many as it ever allows."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    return most - _SPARE


def _connect(number: int, address: tuple[str, int], context: ssl.SSLContext | None) -> socket.socket:
    """A connection that has had a request and now lies idle. Of the system's own sockets: gevent's are larger."""
    ours = (f"127.0.0.{1 + number // _PER_ADDRESS}", 0)
    sock = socket.create_connection(address, timeout=_GUARD_SECONDS, source_address=ours)
    if context is not None:
        sock = context.wrap_socket(sock)
    _ask(sock)
    return sock


def _ask(sock: socket.socket) -> None:
    sock.sendall(_REQUEST)
    answer = b""
    while not answer.endswith(_END):
        more = sock.recv(65536)
        assert more, "an idle connection was lost"
        answer += more


def _keep_busy(address: tuple[str, int]) -> int:
    """Ask on the busy connections, all at a time. How many answers there were."""

    def ask_on() -> int:
        with gevent_socket.create_connection(address, timeout=_GUARD_SECONDS) as sock:
            for _ in range(_REQUESTS_EACH):
                _ask(sock)
        return _REQUESTS_EACH

    asking = [gevent.spawn(ask_on) for _ in range(_BUSY)]
    gevent.joinall(asking, raise_error=True)
    return sum(each.get() for each in asking)


def _close(sockets: Iterable[socket.socket]) -> None:
    for sock in sockets:
        sock.close()


if __name__ == "__main__":
    sys.exit(main())
