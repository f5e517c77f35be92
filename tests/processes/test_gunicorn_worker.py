"""gunicorn with our worker: signals under load, and its settings."""

from __future__ import annotations

import re
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gevent
import pytest

pytest.importorskip("gunicorn")

HOOKS = """
def pre_request(worker, req):
    worker.log.info("before %s %s", req.method, req.path)

def post_request(worker, req, environ, resp):
    worker.log.info("after %s %s %s", req.path, resp.status, environ["RAW_URI"])
"""


def test_reload_and_stop_under_load_without_a_failed_request(gunicorn: Any, load: Any, tmp_path: Path) -> None:
    server = gunicorn()
    clients = load(server.address, 12)
    clients.until(lambda: len(clients.pids) == 2)
    before = set(clients.pids)
    served = tmp_path / "served.py"
    served.write_text(served.read_text().replace('b"one"', 'b"the other"'))
    server.send(signal.SIGHUP)
    server.wait_for("Worker exiting", 2)
    clients.until(lambda: len(clients.pids - before) == 2)  # gunicorn loses signals to workers that only begin
    assert b"the" in clients.contents
    assert (clients.failures, clients.refused) == ([], 0)
    clients.may_be_refused = True
    assert server.end(signal.SIGTERM) == 0
    clients.join()
    assert clients.failures == []
    assert clients.done > 150


def test_stop_does_not_wait_for_idle_connections(gunicorn: Any, load: Any) -> None:
    server = gunicorn("--keep-alive", "60", "--graceful-timeout", "60", workers=1)
    idle = gevent.socket.create_connection(server.address)
    idle.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    assert idle.recv(65536).startswith(b"HTTP/1.1 200")
    with gevent.Timeout(10):
        assert server.end(signal.SIGTERM) == 0
    assert idle.recv(1) == b""


SLOW_START = """
import time
from gevent import monkey

patch_all = monkey.patch_all

def post_fork(server, worker):
    def slowly():
        worker.log.info("it patches now")
        until = time.monotonic() + 1
        while time.monotonic() < until:
            pass
        patch_all()
    monkey.patch_all = slowly
"""


def test_signal_that_comes_while_a_worker_begins_is_heeded(gunicorn: Any, tmp_path: Path) -> None:
    (tmp_path / "slow.py").write_text(SLOW_START)
    server = gunicorn("-c", "slow.py", "--graceful-timeout", "60", workers=1)
    server.wait_for("it patches now")
    with gevent.Timeout(20):
        assert server.end(signal.SIGTERM) == 0


def test_max_requests_replace_workers_without_a_failed_request(gunicorn: Any, load: Any) -> None:
    server = gunicorn("--max-requests", "40", "--max-requests-jitter", "10")
    clients = load(server.address)
    server.wait_for("Booting worker with pid", 5)
    clients.stop()
    assert (clients.failures, clients.refused) == ([], 0)
    assert len(clients.pids) > 2


def test_worker_connections_bound_running_requests_only(gunicorn: Any, load: Any) -> None:
    server = gunicorn("--worker-connections", "2", "--keep-alive", "60", workers=1)
    idle = [gevent.socket.create_connection(server.address) for _ in range(10)]
    for sock in idle:
        sock.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        assert sock.recv(65536).startswith(b"HTTP/1.1 200")
    clients = load(server.address, 4)
    clients.until_done(20)
    clients.stop()
    assert clients.failures == []


def test_access_log_and_hooks_are_gunicorns(gunicorn: Any, tmp_path: Path) -> None:
    (tmp_path / "hooks.py").write_text(HOOKS)
    format_ = "%(h)s %(m)s %(U)s %(q)s %(s)s %(B)s %({x-pid}o)s %({accept}i)s"
    log = tmp_path / "access"
    server = gunicorn("-c", "hooks.py", "--access-logfile", str(log), "--access-logformat", format_, workers=1)
    sock = gevent.socket.create_connection(server.address)
    sock.sendall(b"GET /a?b=c HTTP/1.1\r\nHost: a\r\nAccept: */*\r\nConnection: close\r\n\r\n")
    while sock.recv(65536):
        pass
    server.wait_for(r"before GET /a\n(.*\n)*.*after /a 200 OK /a\?b=c")
    assert server.end(signal.SIGTERM) == 0
    assert re.fullmatch(r"127\.0\.0\.1 GET /a b=c 200 6 \d+ \*/\*\n", log.read_text())


def test_limits_are_gunicorns(gunicorn: Any) -> None:
    server = gunicorn("--limit-request-line", "100", "--limit-request-fields", "2", workers=1)
    statuses = []
    long = b"GET /%b HTTP/1.1\r\nHost: a\r\n\r\n" % (b"a" * 100)
    many = b"GET / HTTP/1.1\r\nHost: a\r\nA: 1\r\nB: 1\r\n\r\n"
    for request in (long, many):
        sock = gevent.socket.create_connection(server.address)
        sock.sendall(request)
        statuses.append(sock.recv(65536).split(b" ")[1])
        sock.close()
    assert statuses == [b"414", b"431"]
    assert server.end(signal.SIGTERM) == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGQUIT], ids=["INT", "QUIT"])
def test_quick_stop_does_not_wait_for_running_requests(gunicorn: Any, load: Any, number: int) -> None:
    server = gunicorn("--graceful-timeout", "60", workers=1)
    load(server.address, 1).until_done(1)  # it serves, so it also heeds signals
    sock = gevent.socket.create_connection(server.address)
    sock.sendall(b"GET /slow HTTP/1.1\r\nHost: a\r\n\r\n")
    with gevent.Timeout(10):
        assert server.end(number) == 0


def test_worker_needs_no_package_beside_gunicorn(process: Callable[..., Any]) -> None:
    program = "import sys; sys.modules['packaging'] = None; import gruvihttp.compat.gunicorn"
    assert process("-c", program).wait() == 0
