"""``gruvihttp serve --workers``: signals under load, crashes, reloads and the sockets that outlive workers."""

from __future__ import annotations

import re
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gevent
import pytest

GUARD = 20.0


@pytest.fixture
def serve(process: Callable[..., Any]) -> Callable[..., Any]:
    def start(*arguments: str, workers: int = 2) -> Any:
        options = ["--bind", "127.0.0.1:0", "--workers", str(workers), *arguments]
        started = process("-m", "gruvihttp", "serve", "served:app", *options)
        match = started.wait_for(r"gruvihttp serving served:app at http://127\.0\.0\.1:(\d+) with \d workers?")
        started.address = ("127.0.0.1", int(match[1]))
        return started

    return start


sharing = pytest.mark.parametrize("option", ["--reuse-port", "--no-reuse-port"])


@sharing
def test_reload_and_stop_under_load_without_a_failed_request(
    serve: Any, load: Any, tmp_path: Path, option: str
) -> None:
    server = serve(option)
    clients = load(server.address, 12)
    clients.until(lambda: len(clients.pids) == 2)
    before = set(clients.pids)
    served = tmp_path / "served.py"
    served.write_text(served.read_text().replace('b"one"', 'b"other"'))
    server.send(signal.SIGHUP)
    server.wait_for("all workers have been replaced")
    clients.until(lambda: len(clients.pids - before) == 2)
    assert b"other" in clients.contents
    assert (clients.failures, clients.refused) == ([], 0)
    clients.may_be_refused = True
    assert server.end(signal.SIGTERM) == 0
    clients.join()
    assert clients.failures == []


def test_reload_keeps_the_workers_when_new_code_cannot_begin(serve: Any, load: Any, tmp_path: Path) -> None:
    server = serve()
    (tmp_path / "served.py").write_text("raise RuntimeError('broken')")
    server.send(signal.SIGHUP)
    server.wait_for("a new worker could not begin, so the old ones stay")
    clients = load(server.address, 4)
    clients.until_done(10)
    clients.stop()
    assert clients.failures == []


@sharing
def test_worker_that_crashes_is_replaced(serve: Any, load: Any, option: str) -> None:
    server = serve(option)
    sock = gevent.socket.create_connection(server.address)
    sock.sendall(b"GET /crash HTTP/1.1\r\nHost: a\r\n\r\n")
    assert sock.recv(1) == b""
    server.wait_for(r"worker \d+ ended by itself \(exit code 9\), another begins in 0\.5 s")
    clients = load(server.address)  # those that meet an empty place wait in its backlog
    clients.until(lambda: len(clients.pids) == 2)
    clients.stop()
    assert (clients.failures, clients.refused) == ([], 0)


def test_max_requests_replace_workers_without_a_failed_request(serve: Any, load: Any) -> None:
    server = serve("--max-requests", "50", "--max-requests-jitter", "20")
    clients = load(server.address)
    clients.until(lambda: len(clients.pids) >= 5)
    clients.stop()
    assert (clients.failures, clients.refused) == ([], 0)


def test_application_hears_that_there_are_other_processes(serve: Any) -> None:
    sock = gevent.socket.create_connection(serve().address)
    sock.sendall(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    assert b"\r\nX-Multiprocess: True\r\n" in b"".join(iter(lambda: sock.recv(65536), b""))


def test_worker_that_takes_too_much_memory_is_replaced_without_a_failed_request(serve: Any, load: Any) -> None:
    server = serve("--max-memory", "150M")
    clients = load(server.address)
    clients.until_done(20)
    assert get(server.address, "/grow") == 200
    server.wait_for(r"worker \d+ takes [23]\d\d MB of memory, and is replaced")
    clients.until(lambda: len(clients.pids) == 3)
    clients.stop()
    assert (clients.failures, clients.refused) == ([], 0)


def test_interrupt_does_not_wait_for_long(serve: Any) -> None:
    server = serve(workers=1)
    sock = gevent.socket.create_connection(server.address)
    sock.sendall(b"GET /slow HTTP/1.1\r\nHost: a\r\n\r\n")
    with gevent.Timeout(GUARD):
        assert server.end(signal.SIGINT) == 0


def test_workers_end_with_a_parent_that_is_killed(serve: Any, load: Any) -> None:
    server = serve()
    clients = load(server.address)
    clients.until_done(20)
    clients.may_be_refused = True
    server.end(signal.SIGKILL)
    clients.join()
    assert clients.failures == []


def test_application_that_cannot_be_loaded_is_said_once(process: Callable[..., Any]) -> None:
    started = process("-m", "gruvihttp", "serve", "missing:app", "--workers", "3", "--bind", "127.0.0.1:0")
    assert started.wait() == 3
    assert len(re.findall("there is no module 'missing'", started.said)) == 1


def test_worker_that_cannot_begin_at_first_is_waited_for(serve: Any, tmp_path: Path) -> None:
    served = tmp_path / "served.py"
    mark = "import os, tempfile\ntempfile.mkstemp(prefix='begun', dir='.')\n"
    fail = "if sum('begun' in one.name for one in os.scandir()) == 2:\n    os._exit(7)\n"
    served.write_text(mark + fail + served.read_text())
    server = serve()  # returns when both serve
    server.wait_for(r"worker \d+ ended by itself \(exit code 7\)")
    assert server.end(signal.SIGTERM) == 0


@pytest.mark.parametrize("which", ["first", "successor"])
def test_worker_that_takes_long_to_begin_does_not_hold_up_the_end(
    process: Callable[..., Any], tmp_path: Path, which: str
) -> None:
    served = tmp_path / "served.py"
    slow = "import sys, time\nprint('begins', file=sys.stderr, flush=True)\ntime.sleep(60)\n" + served.read_text()
    if which == "first":
        served.write_text(slow)
    started = process("-m", "gruvihttp", "serve", "served:app", "--workers", "1", "--bind", "127.0.0.1:0")
    if which == "successor":
        started.wait_for("gruvihttp serving")
        served.write_text(slow)
        started.send(signal.SIGHUP)
    started.wait_for("begins")
    assert started.end(signal.SIGTERM) == 0


def test_address_in_use_is_not_shared(serve: Any, process: Callable[..., Any]) -> None:
    port = serve().address[1]
    second = process("-m", "gruvihttp", "serve", "served:app", "--workers", "2", "--bind", f"127.0.0.1:{port}")
    assert second.wait() == 4
    assert f"cannot listen on 127.0.0.1:{port}" in second.said


@pytest.mark.parametrize("workers", [[], ["--workers", "1"]], ids=["alone", "worker"])
def test_file_of_a_unix_socket_has_the_mode_that_was_asked_for(
    process: Callable[..., Any], tmp_path: Path, workers: list[str]
) -> None:
    options = ["--bind", "unix:a.sock", "--socket-mode", "606", *workers]
    process("-m", "gruvihttp", "serve", "served:app", *options).wait_for("gruvihttp serving")
    assert (tmp_path / "a.sock").stat().st_mode & 0o777 == 0o606


def test_max_requests_want_workers(process: Callable[..., Any]) -> None:
    started = process("-m", "gruvihttp", "serve", "served:app", "--max-requests", "5")
    assert started.wait() == 2
    assert "add --workers 1, or more" in started.said


def get(address: tuple[str, int], path: str) -> int:
    sock = gevent.socket.create_connection(address, timeout=GUARD)
    sock.sendall(f"GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".encode())
    received = b"".join(iter(lambda: sock.recv(65536), b""))
    return int(received.split(b" ")[1])


def test_workers_say_that_they_are_not_ready_and_serve_until_the_delay_is_over(serve: Any, load: Any) -> None:
    server = serve("--drain-delay", "1h", "--ready-path", "/ready")
    assert get(server.address, "/ready") == 200
    clients = load(server.address)
    clients.until(lambda: len(clients.pids) == 2)
    server.send(signal.SIGTERM)
    server.wait_for("tells that it is not ready, and stops in 3600 s")
    with gevent.Timeout(GUARD):
        while [get(server.address, "/ready") for _ in range(8)] != [503] * 8:  # each worker hears by itself
            gevent.sleep(0.01)
    sock = gevent.socket.create_connection(server.address)
    sock.sendall(b"GET /ready HTTP/1.1\r\nHost: a\r\n\r\n")
    assert b"\r\nConnection: close\r\n" in b"".join(iter(lambda: sock.recv(65536), b""))
    crashed = gevent.socket.create_connection(server.address)
    crashed.sendall(b"GET /crash HTTP/1.1\r\nHost: a\r\n\r\n")
    assert crashed.recv(1) == b""
    server.wait_for("ended by itself")
    before = set(clients.pids)
    clients.until(lambda: len(clients.pids) > len(before))  # also then, one that has crashed is replaced
    assert {get(server.address, "/ready") for _ in range(8)} == {503}
    clients.may_be_refused = True
    assert server.end(signal.SIGTERM) == 0
    clients.join()
    assert clients.refused > 0


def test_delay_and_what_follows_fail_no_request(serve: Any, load: Any) -> None:
    server = serve("--drain-delay", "1h", "--ready-path", "/ready")
    clients = load(server.address, 12)
    clients.until(lambda: len(clients.pids) == 2)
    server.send(signal.SIGTERM)
    server.wait_for("not ready")
    clients.until_done(100)
    assert (clients.failures, clients.refused) == ([], 0)
    clients.may_be_refused = True
    assert server.end(signal.SIGTERM) == 0
    clients.join()
    assert clients.failures == []


def test_signal_while_workers_finish_ends_them_at_once(serve: Any) -> None:
    server = serve("--timeout-graceful", "none", workers=1)
    sock = gevent.socket.create_connection(server.address)
    sock.sendall(b"POST /read HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n")
    assert sock.recv(65536).startswith(b"HTTP/1.1 100")
    server.send(signal.SIGTERM)
    server.wait_for("waits for its workers to finish")
    assert server.end(signal.SIGTERM) == 0
    assert sock.recv(1) == b""


def test_log_that_was_moved_away_begins_anew_in_all_workers(serve: Any, load: Any, tmp_path: Path) -> None:
    log = tmp_path / "access.log"
    server = serve("--access-log", "{environ:worker} {target}", "--access-log-file", "access.log")
    clients = load(server.address)
    clients.until(lambda: len(clients.pids) == 2)
    log.rename(tmp_path / "access.log.1")
    server.send(signal.SIGUSR1)
    clients.until(lambda: log.exists() and len({line.split()[0] for line in log.read_text().splitlines()}) == 2)
    clients.stop()
    assert clients.failures == []
