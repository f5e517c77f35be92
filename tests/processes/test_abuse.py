"""Clients that behave badly, beside a good one, against a server process: each is ended, and the good one is served.

Nothing is measured but memory; how long a good client waits meanwhile is `python -m benchmarks.abuse`.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gevent
import pytest
import trustme
from gevent import socket
from gevent.event import Event

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT))  # `benchmarks` is not part of the installed package

from benchmarks import accounting  # noqa: E402
from benchmarks.abusers import ABUSERS, abuse  # noqa: E402

GUARD = 40.0
AT_A_TIME = dict.fromkeys(ABUSERS, 5) | {"tiny-chunks": 1}  # a million chunks take a second or more
# what five of them may cost together: a buffer or two for each, and what the allocator keeps
MOST_BYTES = 24 << 20
GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads the accounts of Linux")


class Besieged:
    """A server process, its ports, and a good client that goes on asking."""

    def __init__(self, certificate: Path) -> None:
        command = [sys.executable, "-m", "benchmarks.besieged", str(certificate), "short"]
        self.process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE)
        assert self.process.stdout is not None
        self.ports = [int(port) for port in self.process.stdout.readline().split()]
        self.answered = 0
        self._good = socket.create_connection(("127.0.0.1", self.ports[0]))
        self.ask()  # at once, as the server's deadlines are short

    def ask(self) -> None:
        """One request of the good client."""
        self._good.sendall(GET)
        answer = b""
        while not answer.endswith(b"Hello, World!\n"):
            more = self._good.recv(65536)
            assert more, f"the good client was cut after {answer!r}"
            answer += more
        assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
        self.answered += 1

    def ask_until(self, done: Event) -> None:
        """Requests of the good client, one after another."""
        self.ask()
        while not done.wait(0.002):
            self.ask()

    def end(self) -> None:
        self._good.close()
        self.process.terminate()
        assert self.process.wait(GUARD) is not None
        assert self.process.stdout is not None
        self.process.stdout.close()


@pytest.fixture(scope="module")
def besieged(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Besieged]:
    certificate = tmp_path_factory.mktemp("tls") / "certificate.pem"
    trustme.CA().issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(str(certificate))
    besieged = Besieged(certificate)
    yield besieged
    besieged.end()


@pytest.mark.parametrize("name", ABUSERS)
def test_abuse_ends_by_itself_in_bounded_memory_beside_a_good_client(besieged: Any, name: str) -> None:
    besieged.ask()
    accounting.forget_peak(besieged.process.pid)
    before = accounting.memory_bytes(besieged.process.pid)
    targets = [("127.0.0.1", port) for port in besieged.ports]
    answered = besieged.answered
    done = Event()
    good = gevent.spawn(besieged.ask_until, done)
    bad = [gevent.spawn(abuse, ABUSERS[name], *targets) for _ in range(AT_A_TIME[name])]
    gevent.joinall([*bad], timeout=GUARD)
    assert all(each.successful() for each in bad), f"not ended, though it should be by {ABUSERS[name].ends}"
    done.set()
    good.get(timeout=GUARD)
    assert besieged.answered > answered
    assert accounting.peak_memory_bytes(besieged.process.pid) - before < MOST_BYTES


@pytest.mark.timeout(4 * GUARD)
@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
def test_thousands_of_idle_connections_are_held_beside_busy_ones(tls: bool) -> None:
    """Ten thousand, where the system lets us have as many; over TLS fewer, since handshakes take their time."""
    wanted = 300 if tls else 10_000
    command = [sys.executable, "-m", "benchmarks.idle", "--connections", str(wanted), *["--tls"] * tls]
    written = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, check=True, timeout=3 * GUARD).stdout
    figures = json.loads(written)
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert figures["idle_connections"] == min(wanted, most - 200)
    assert (figures["busy_connections"], figures["answered_beside_them"]) == (50, 1000)
    assert figures["bytes_each"] < (40_000 if tls else 8_000)
