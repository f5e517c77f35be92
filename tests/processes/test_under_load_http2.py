"""``gruvihttp serve`` under load over HTTP/2 is reloaded and stopped: no stream is lost that the server has taken.

The clients are ours. A request that the server has not looked at, as it says by GOAWAY or by a reset, is made again on
a new connection; everything else that is not a whole answer is a failure.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gevent
import pytest

from gruvihttp import Error, Http2Client, TransportError

GUARD = 40.0
CONNECTIONS, STREAMS = 10, 10


class Streams:
    """Connections at work, each with several requests at a time."""

    def __init__(self, address: Any) -> None:
        self._address = address
        self.done = self.refused = self.retried = 0
        self.failures: list[str] = []
        self.pids: set[str] = set()
        self.stopping = self.may_be_refused = False
        self.greenlets = [gevent.spawn(self._connect) for _ in range(CONNECTIONS)]

    def _connect(self) -> None:
        while not self.stopping:
            client = Http2Client(timeout=GUARD)
            try:
                client.connect(self._address, ssl=False)
            except TransportError as exc:
                self.refused += 1
                if self.may_be_refused:
                    return
                self.failures.append(repr(exc))
                continue
            with client:
                targets = ["/slow" if number % 4 == 3 else f"/fast{number}" for number in range(STREAMS)]
                gevent.joinall([gevent.spawn(self._ask, client, target) for target in targets], raise_error=True)

    def _ask(self, client: Http2Client, target: str) -> None:
        for _ in range(30):  # then another connection may lead to another worker
            if self.stopping:
                return
            try:
                response = client.request("GET", target).getresponse()
                content = response.read()
            except Error as exc:
                if exc.retryable:  # type: ignore[attr-defined]  # those that are about a request have it
                    self.retried += 1
                else:
                    self.failures.append(f"{target}: {exc!r}")
                return
            if response.status != 200 or content != f"one {target}".encode():
                self.failures.append(f"{target}: {response.status} {content!r}")
            self.done += 1
            self.pids.add(str(response.get_header("X-Pid")))

    def until_pids(self, count: int, besides: set[str]) -> None:
        with gevent.Timeout(GUARD):
            while len(self.pids - besides) < count:
                gevent.sleep(0.005)

    def join(self) -> None:
        gevent.joinall(self.greenlets, timeout=GUARD, raise_error=True)
        assert all(one.ready() for one in self.greenlets), "a client hangs"


@pytest.fixture
def streams() -> Iterator[Any]:
    made: list[Streams] = []

    def begin(address: Any) -> Streams:
        made.append(Streams(address))
        return made[-1]

    yield begin
    for one in made:
        gevent.killall(one.greenlets)


def test_reload_and_stop_under_load_fail_no_stream(process: Any, streams: Any, tmp_path: Path) -> None:
    server = process("-m", "gruvihttp", "serve", "served:app", "--bind", "127.0.0.1:0", "--workers", "2")
    port = int(server.wait_for(r"gruvihttp serving served:app at http://127\.0\.0\.1:(\d+)")[1])
    clients = streams(("127.0.0.1", port))
    clients.until_pids(2, set())
    for number in (1, 2):
        before = set(clients.pids)
        server.send(signal.SIGHUP)
        server.wait_for("all workers have been replaced", number)
        clients.until_pids(2, before)
    assert (clients.failures, clients.refused) == ([], 0)
    clients.may_be_refused = True
    with gevent.Timeout(GUARD / 2):
        assert server.end(signal.SIGTERM) == 0
    clients.join()
    assert clients.failures == []
    assert clients.done > 500
