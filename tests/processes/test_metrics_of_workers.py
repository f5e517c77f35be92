"""``--metrics-bind`` with ``--workers``: the parent tells what all workers count together."""

from __future__ import annotations

import re
import signal
from collections.abc import Callable
from typing import Any

import gevent
import pytest
from gevent import socket

from gruvihttp.metrics import Stats, ended, total

GUARD = 40.0


@pytest.fixture
def serve(process: Callable[..., Any]) -> Callable[..., Any]:
    def start(*arguments: str) -> Any:
        options = ["--bind", "127.0.0.1:0", "--workers", "2", "--metrics-bind", "127.0.0.1:0", *arguments]
        started = process("-m", "gruvihttp", "serve", "served:app", *options)
        addresses = started.wait_for(
            r"at http://127\.0\.0\.1:(\d+) with 2 workers .*\n.*metrics at http://127\.0\.0\.1:(\d+)/metrics"
        )
        started.address, started.metrics = (("127.0.0.1", int(port)) for port in addresses.groups())
        return started

    return start


def get(address: Any, path: str) -> tuple[int, str]:
    sock = socket.create_connection(address, timeout=GUARD)
    sock.sendall(f"GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".encode())
    head, _, content = b"".join(iter(lambda: sock.recv(65536), b"")).partition(b"\r\n\r\n")
    return int(head.split(b" ")[1]), content.decode()


def counts(started: Any) -> dict[str, int]:
    status, text = get(started.metrics, "/metrics")
    assert status == 200
    return {name: int(value) for name, value in re.findall(r"^gruvihttp_(\S+) (\d+)$", text, re.MULTILINE)}


def test_sums_are_those_of_all_workers_also_of_those_that_have_ended(serve: Any, load: Any) -> None:
    started = serve()
    clients = load(started.address)
    clients.until(lambda: len(clients.pids) == 2 and clients.done > 50)
    clients.stop()
    before = counts(started)
    assert before["requests_total"] == before['responses_total{class="2xx"}'] == clients.done
    assert (before["ready"], before["active_requests"]) == (1, 0)
    started.send(signal.SIGHUP)
    started.wait_for("all workers have been replaced")
    with gevent.Timeout(GUARD):
        while (after := counts(started))["connections"]:  # of the old workers, which tell when they have ended
            gevent.sleep(0.01)
    assert after["requests_total"] == before["requests_total"]
    get(started.address, "/once-more")
    assert counts(started)["requests_total"] == before["requests_total"] + 1


def test_worker_that_is_killed_keeps_what_it_has_told_last(serve: Any) -> None:
    started = serve()
    get(started.address, "/")
    assert counts(started)["requests_total"] == 1
    sock = socket.create_connection(started.address)
    sock.sendall(b"GET /crash HTTP/1.1\r\nHost: a\r\n\r\n")
    assert sock.recv(1) == b""
    started.wait_for("ended by itself")
    assert counts(started)["requests_total"] == 1


def test_worker_that_hangs_does_not_keep_the_others_from_being_counted(serve: Any) -> None:
    started = serve()
    sock = socket.create_connection(started.address)
    sock.sendall(b"GET /hang HTTP/1.1\r\nHost: a\r\n\r\n")
    assert counts(started)["ready"] == 1
    assert started.end(signal.SIGINT) == 0  # which ends the one that hangs, too


def test_probes_of_the_parent_say_how_the_server_is(serve: Any) -> None:
    started = serve("--ready-path", "/ready", "--health-path", "/alive", "--drain-delay", "1h")
    assert [get(started.metrics, path)[0] for path in ("/ready", "/alive")] == [200, 200]
    started.send(signal.SIGTERM)
    started.wait_for("not ready")
    assert [get(started.metrics, path)[0] for path in ("/ready", "/alive")] == [503, 200]
    assert started.end(signal.SIGTERM) == 0


# the arithmetic


def stats(**values: Any) -> Stats:
    return total([{**total([]), **values}])  # type: ignore[typeddict-item]


def test_total_adds_counts_by_their_names() -> None:
    one = stats(requests=3, connections=1, responses={"2xx": 3}, http2_defences={"ping_flood": 1})
    other = stats(requests=4, ready=True, responses={"2xx": 2, "5xx": 2}, http2_defences={"malformed": 1})
    both = total([one, other])
    assert (both["requests"], both["connections"], both["ready"]) == (7, 1, True)
    assert both["responses"] == {"1xx": 0, "2xx": 5, "3xx": 0, "4xx": 0, "5xx": 2}
    assert both["http2_defences"] == {"ping_flood": 1, "malformed": 1}


def test_server_that_has_ended_does_nothing_any_more_and_has_done_what_it_has() -> None:
    last = ended(stats(ready=True, requests=3, connections=2, active_requests=1))
    assert (last["ready"], last["connections"], last["active_requests"], last["requests"]) == (False, 0, 0, 3)
