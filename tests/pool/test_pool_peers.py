"""The pool with a server of others, nginx, and in programs that are monkey-patched or not."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import gevent
import pytest
from programs import run_python

from benchmarks import nginx
from benchmarks.workloads import CONTENT
from gruvihttp import HttpPool

needs_nginx = pytest.mark.skipif(not nginx.is_installed(), reason="nginx is not installed")


@contextmanager
def nginx_with(monkeypatch: pytest.MonkeyPatch, **changes: str) -> Iterator[str]:
    """nginx, with parts of the benchmarks' configuration replaced; gives its URL."""
    configuration: Any = nginx._CONFIGURATION
    for old, new in changes.items():
        assert old in configuration
        configuration = configuration.replace(old, new)
    monkeypatch.setattr(nginx, "_CONFIGURATION", configuration)
    with nginx.serving(None) as port:
        yield f"http://127.0.0.1:{port}/"


@needs_nginx
def test_greenlets_share_connections_to_nginx(monkeypatch: pytest.MonkeyPatch, make_pool: Any) -> None:
    pool: HttpPool = make_pool(5)
    with nginx_with(monkeypatch) as url:

        def ask() -> None:
            for _ in range(50):
                assert pool.get(url).content == CONTENT

        gevent.joinall([gevent.spawn(ask) for _ in range(20)], timeout=30, raise_error=True)
        assert pool.counts == (0, 5, 0)


@needs_nginx
def test_nginx_that_closes_after_each_few_requests_is_not_noticed(
    monkeypatch: pytest.MonkeyPatch, make_pool: Any
) -> None:
    pool: HttpPool = make_pool(5)
    with nginx_with(monkeypatch, **{"keepalive_requests 1000000000": "keepalive_requests 3"}) as url:

        def ask() -> None:
            for _ in range(50):
                assert pool.post(url, body=b"x").content == CONTENT

        greenlets = [gevent.spawn(ask) for _ in range(20)]
        gevent.joinall(greenlets, timeout=30, raise_error=True)
        assert all(one.ready() for one in greenlets)


PROGRAM = """
{first}
import gevent
import gruvihttp
from gruvihttp import HttpPool, HttpServer

def application(environ, start_response):
    gevent.sleep(0.01)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [environ["PATH_INFO"].encode()]

server = HttpServer(application)
server.listen(("127.0.0.1", 0))
url = "http://127.0.0.1:%d" % server.addresses[0][1]
pool = HttpPool(3)
greenlets = [gevent.spawn(pool.get, "%s/%d" % (url, number)) for number in range(10)]
gevent.joinall(greenlets, timeout=20, raise_error=True)
assert [one.value.text for one in greenlets] == ["/%d" % number for number in range(10)]
assert pool.counts == (0, 3, 0), pool.counts
assert gruvihttp.get(url + "/x").text == "/x"

# each thread has a default pool of its own
import threading
pools = []
def other():
    from gruvihttp.pool.calls import default_pool
    assert gruvihttp.get(url + "/y").text == "/y"
    pools.append(default_pool())
thread = threading.Thread(target=other)
thread.start()
while thread.is_alive():
    gevent.sleep(0.01)
thread.join()
assert len(pools) == 1
server.close()
print("done", "gevent.monkey" in __import__("sys").modules and gevent.monkey.is_module_patched("socket"))
"""


@pytest.mark.parametrize(
    ("first", "patched"),
    [("", False), ("from gevent import monkey; monkey.patch_all()", True)],
    ids=["plain", "patched"],
)
def test_program_needs_no_patching_and_bears_it(first: str, patched: bool) -> None:
    result = run_python(PROGRAM.format(first=first), "-W", "error::ResourceWarning")
    assert (result.stdout, result.stderr) == (f"done {patched}\n", "")
