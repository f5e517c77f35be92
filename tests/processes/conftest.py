"""Load on a server in other processes: keep-alive clients that follow the protocol, and count what goes wrong.

A client sends GET again, once, on a new connection if the one it had reused ended without a byte of an answer (RFC 9112
section 9.3.1). Everything else that is not a whole answer with the right content is a failure. The clients are bare
sockets in greenlets; answers are read by a few lines of their own.
"""

from __future__ import annotations

import os
import re
import socket as stdlib_socket
import ssl
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import gevent
import pytest
from gevent import socket
from gevent import subprocess as gevent_subprocess
from gevent.ssl import SSLSocket

ROOT = Path(__file__).resolve().parent.parent.parent
GUARD = 40.0
USES = 20  # requests on one connection; then another one may take a client to another worker

APPLICATION = """
import os
import gevent
from gevent import monkey

grown = []

def app(environ, start_response):
    path = environ["PATH_INFO"]
    environ["worker"] = os.getpid()
    if path == "/slow":
        gevent.sleep(0.2)
    if path == "/hang":
        monkey.get_original("time", "sleep")(60)
    if path == "/grow":
        grown.append(b"x" * (200 << 20))
    if path == "/read":
        environ["wsgi.input"].read()
    if path == "/crash":
        os._exit(9)
    multiprocess = str(environ["wsgi.multiprocess"])
    headers = [("Content-Type", "text/plain"), ("X-Pid", str(os.getpid())), ("X-Multiprocess", multiprocess)]
    start_response("200 OK", headers)
    return [VERSION, b" ", path.encode()]

VERSION = b"one"
"""


class Ended(Exception):
    """The connection ended before an answer was there."""

    def __init__(self, received: bytes) -> None:
        super().__init__(f"ended after {received!r}")
        self.received = received


class Connection:
    """One connection of a client."""

    def __init__(self, address: Any, context: ssl.SSLContext | None = None) -> None:
        self._sock: Any = socket.create_connection(address, timeout=GUARD)
        self._sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if context is not None:
            self._sock = SSLSocket(self._sock, server_hostname="localhost", _context=context)
        self.uses = 0

    def get(self, target: str) -> tuple[int, dict[str, str], bytes]:
        """Status, fields and content of the answer to a GET."""
        self.uses += 1
        received = b""
        try:
            self._sock.sendall(f"GET {target} HTTP/1.1\r\nHost: load\r\n\r\n".encode())
            while b"\r\n\r\n" not in received:
                received += self._more(received)
            head, _, content = received.partition(b"\r\n\r\n")
            start, *lines = head.decode("latin-1").split("\r\n")
            fields = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
            while len(content) < int(fields["content-length"]):
                content += self._more(received)
        except (ConnectionError, ssl.SSLError):
            raise Ended(received) from None
        return int(start.split(" ")[1]), fields, content

    def _more(self, received: bytes) -> bytes:
        data: bytes = self._sock.recv(65536)
        if not data:
            raise Ended(received)
        return data

    def close(self) -> None:
        self._sock.close()


@dataclass
class Load:
    """Clients at work, and what they have seen."""

    address: Any
    context: ssl.SSLContext | None = None
    done: int = 0
    retried: int = 0
    refused: int = 0
    failures: list[str] = field(default_factory=list)
    pids: set[str] = field(default_factory=set)
    contents: set[bytes] = field(default_factory=set)
    may_be_refused: bool = False
    stopping: bool = False
    greenlets: list[Any] = field(default_factory=list)

    def start(self, clients: int = 8) -> Load:
        """Begin; every fourth client asks for what takes its time."""
        targets = ["/slow" if number % 4 == 3 else f"/fast{number}" for number in range(clients)]
        self.greenlets = [gevent.spawn(self._client, target) for target in targets]
        return self

    def stop(self) -> None:
        """Let every client end after its request."""
        self.stopping = True
        self.join()

    def join(self) -> None:
        gevent.joinall(self.greenlets, timeout=GUARD, raise_error=True)
        assert all(one.ready() for one in self.greenlets), "a client hangs"

    def until_done(self, count: int) -> None:
        """Wait until so many more requests have been answered."""
        wanted = self.done + count
        self.until(lambda: self.done >= wanted or all(one.ready() for one in self.greenlets))

    def until(self, condition: Callable[[], bool]) -> None:
        """Wait until a condition holds."""
        with gevent.Timeout(GUARD):
            while not condition():
                gevent.sleep(0.005)

    def _client(self, target: str) -> None:
        connection: Connection | None = None
        while not self.stopping:
            try:
                connection = connection or Connection(self.address, self.context)
            except ConnectionRefusedError:
                self.refused += 1
                if self.may_be_refused:
                    return
                self.failures.append("refused")
                gevent.sleep(0.01)
                continue
            connection = self._ask(connection, target)
            gevent.sleep(0.001)
        if connection is not None:
            connection.close()

    def _ask(self, connection: Connection, target: str) -> Connection | None:
        """One request; the connection if it can be used again."""
        try:
            status, fields, content = connection.get(target)
        except Ended as exc:
            connection.close()
            if connection.uses > 1 and not exc.received:
                self.retried += 1
            else:
                self.failures.append(f"{target} on use {connection.uses}: {exc}")
            return None
        if status != 200 or not content.endswith(b" " + target.encode()):
            self.failures.append(f"{target}: {status} {content!r}")
        self.done += 1
        self.pids.add(fields["x-pid"])
        self.contents.add(content.partition(b" ")[0])
        if fields.get("connection") == "close" or connection.uses == USES:
            connection.close()
            return None
        return connection


@pytest.fixture
def load() -> Iterator[Callable[[Any], Load]]:
    """Clients for an address; they end with the test."""
    loads: list[Load] = []

    def begin(address: Any, clients: int = 8, context: ssl.SSLContext | None = None) -> Load:
        loads.append(Load(address, context).start(clients))
        return loads[-1]

    yield begin
    for one in loads:
        gevent.killall(one.greenlets)


def environment(**variables: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("GRUVIHTTP_", "PYTHON"))}
    return {**kept, "PYTHONPATH": str(ROOT), **variables}


class Process:
    """A server in a process group of its own, and what it writes to stderr."""

    address: Any = None  # where it listens, for whoever finds out

    def __init__(self, arguments: list[str], directory: Path, **options: Any) -> None:
        variables = options.pop("variables", {})
        self.popen = gevent_subprocess.Popen(
            [sys.executable, *arguments],
            cwd=directory,
            env=environment(**variables),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            **options,
        )
        self.said = ""
        self._reading = gevent.spawn(self._read)

    def _read(self) -> None:
        while data := os.read(self.popen.stderr.fileno(), 65536) if self._readable() else b"":
            self.said += data.decode(errors="replace")

    def _readable(self) -> bool:
        socket.wait_read(self.popen.stderr.fileno())
        return True

    def wait_for(self, pattern: str, count: int = 1) -> re.Match[str]:
        """Wait until stderr has so many matches of a pattern; the last of them."""
        with gevent.Timeout(GUARD, AssertionError(f"{pattern!r} did not come")):
            try:
                while len(found := list(re.finditer(pattern, self.said))) < count:
                    assert not self._reading.ready(), f"it ended: {self.said}"
                    gevent.sleep(0.01)
            except AssertionError as exc:
                raise AssertionError(f"{exc}: {self.said}") from None
        return found[count - 1]

    def send(self, number: int) -> None:
        os.kill(self.popen.pid, number)

    def end(self, number: int) -> int:
        """Send a signal and wait; the exit code."""
        self.send(number)
        return self.wait()

    def wait(self) -> int:
        code: int = self.popen.wait(timeout=GUARD)
        self._reading.join(timeout=GUARD)
        return code


@pytest.fixture
def process(tmp_path: Path) -> Iterator[Callable[..., Process]]:
    """Starts Python with these arguments in a directory with ``served.py``; it is killed when the test ends."""
    (tmp_path / "served.py").write_text(APPLICATION)
    started: list[Process] = []

    def start(*arguments: str, **options: Any) -> Process:
        started.append(Process(list(arguments), tmp_path, **options))
        return started[-1]

    yield start
    for one in started:
        if one.popen.poll() is None:
            one.popen.kill()
            one.popen.wait(timeout=GUARD)


@pytest.fixture
def listener() -> Iterator[stdlib_socket.socket]:
    """A listening socket of the test's own, to be handed on."""
    with stdlib_socket.create_server(("127.0.0.1", 0), backlog=128) as sock:
        yield sock


@pytest.fixture
def gunicorn(process: Callable[..., Process]) -> Callable[..., Process]:
    """Starts gunicorn with our worker; ``address`` of what comes is where it listens."""
    pytest.importorskip("gunicorn")

    def start(*arguments: str, workers: int = 2) -> Process:
        options = ["-k", "gruvihttp.compat.gunicorn.Worker", "-w", str(workers), "-b", "127.0.0.1:0"]
        started = process("-m", "gunicorn", *options, "--no-control-socket", *arguments, "served:app")
        port = started.wait_for(r"Listening at: https?://127\.0\.0\.1:(\d+)")[1]
        started.address = ("127.0.0.1", int(port))
        started.wait_for("Booting worker with pid", workers)
        return started

    return start
