"""How each client asks for the same 14 bytes again and again on persistent connections, from greenlets.

`python -m benchmarks.clients NAME WORKLOAD PORT SECONDS` prints one line of JSON: requests, and what they cost
this process by the operating system's accounting, from the moment when all connections have had an answer.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import gevent
from gevent import monkey
from gevent import socket as gevent_socket

from benchmarks import floor
from benchmarks.accounting import own_cpu_seconds
from benchmarks.results import Sample
from benchmarks.workloads import CONTENT, SMALL_HEAD

__all__ = ["CLIENTS", "PATTERNS", "Client", "Pattern"]

_HOST = "127.0.0.1"
_DOOR = "gruvihttp.compat.http_client"
_REQUESTS_DOOR = "gruvihttp.compat.requests"
_HTTPX_DOOR = "gruvihttp.compat.httpx"
_MOST_REQUESTS = 5_000_000  # in one measurement, whatever its seconds say

Exchange = Callable[[], None]
Opener = Callable[[int, int], Exchange]  # (port, depth) -> what sends `depth` requests and reads the answers


@dataclass(frozen=True)
class Pattern:
    """How requests follow each other: each connection sends `depth` of them, then reads as many answers."""

    name: str
    meaning: str
    connections: int
    depth: int
    is_single: bool = False  # one such burst and no more, whatever the seconds say


PATTERNS = {
    pattern.name: pattern
    for pattern in (
        Pattern("one-by-one", "20 greenlets, a request at a time, 14 bytes back", connections=20, depth=1),
        Pattern("pipelined-32", "20 greenlets, 32 requests, then 32 answers", connections=20, depth=32),
        Pattern("pipelined-10000", "1 greenlet, 10,000 requests, then 10,000 answers", 1, 10_000, is_single=True),
    )
}


@dataclass(frozen=True)
class Client:
    """`needs` is `module` or `module:attribute`; a patched client uses the standard library's blocking sockets."""

    name: str
    needs: str
    open: Opener
    is_patched: bool = False
    greatest_depth: int = 1  # above 1 for clients that can pipeline


class WrongAnswer(Exception):
    """An answer's content was not what the server was told to send."""


def _check(content: bytes) -> None:
    if content != CONTENT:
        raise WrongAnswer(f"received {content[:40]!r}")


def _floor_sockets(port: int, depth: int) -> Exchange:
    return floor.SocketExchange((_HOST, port), SMALL_HEAD, depth)


def _gruvihttp(port: int, depth: int) -> Exchange:
    client = import_module("gruvihttp").HttpClient()
    client.connect((_HOST, port))

    def exchange() -> None:
        for _ in range(depth):
            client.request("GET", "/")
        for _ in range(depth):
            _check(client.getresponse().read())

    return exchange


_pools: dict[int, Any] = {}  # by port: the connections of one measurement share one


def _gruvihttp_pool(port: int, depth: int) -> Exchange:
    url = f"http://{_HOST}:{port}/"
    if port not in _pools:
        _pools[port] = import_module("gruvihttp").HttpPool(per_origin=100)
    pool = _pools[port]

    def exchange() -> None:
        _check(pool.get(url).content)

    return exchange


def _http_client(module: str) -> Opener:
    """Opens connections of `http.client`, or of a module that stands in for it."""

    def open_connection(port: int, depth: int) -> Exchange:
        connection = import_module(module).HTTPConnection(_HOST, port)

        def exchange() -> None:
            connection.request("GET", "/")
            _check(connection.getresponse().read())

        return exchange

    return open_connection


def _geventhttpclient(port: int, depth: int) -> Exchange:
    client = import_module("geventhttpclient").HTTPClient(_HOST, port, concurrency=1)

    def exchange() -> None:
        _check(bytes(client.get("/").read()))

    return exchange


def _geventhttpclient_pool(port: int, depth: int) -> Exchange:
    if port not in _pools:
        _pools[port] = import_module("geventhttpclient").HTTPClient(_HOST, port, concurrency=100)
    client = _pools[port]

    def exchange() -> None:
        _check(bytes(client.get("/").read()))

    return exchange


def _h11(port: int, depth: int) -> Exchange:
    h11 = import_module("h11")
    sock = gevent_socket.create_connection((_HOST, port))
    connection = h11.Connection(our_role=h11.CLIENT)
    headers = [("Host", f"{_HOST}:{port}")]

    def exchange() -> None:
        request = h11.Request(method="GET", target="/", headers=headers)
        sock.sendall(connection.send(request) + connection.send(h11.EndOfMessage()))
        content = b""
        while type(event := connection.next_event()) is not h11.EndOfMessage:
            if event is h11.NEED_DATA:
                connection.receive_data(sock.recv(65536))
            elif type(event) is h11.Data:
                content += bytes(event.data)
        _check(content)
        connection.start_next_cycle()

    return exchange


def _urllib3(port: int, depth: int) -> Exchange:
    pool, url = import_module("urllib3").PoolManager(), f"http://{_HOST}:{port}/"

    def exchange() -> None:
        _check(pool.request("GET", url).data)

    return exchange


def _httpx(port: int, depth: int) -> Exchange:
    return _asking(import_module("httpx").Client(), port)


def _httpx_door(port: int, depth: int) -> Exchange:
    transport = import_module(_HTTPX_DOOR).HTTPTransport()
    return _asking(import_module("httpx").Client(transport=transport), port)


def _requests(port: int, depth: int) -> Exchange:
    return _asking(import_module("requests").Session(), port)


def _requests_door(port: int, depth: int) -> Exchange:
    return _asking(import_module(_REQUESTS_DOOR).session(), port)


def _asking(session: Any, port: int) -> Exchange:
    url = f"http://{_HOST}:{port}/"

    def exchange() -> None:
        _check(session.get(url).content)

    return exchange


def _only_on_watchers(port: int, depth: int) -> Exchange:
    raise AssertionError("this client has no greenlets to run an exchange in")


CLIENTS = {
    client.name: client
    for client in (
        Client("floor", "gevent", _only_on_watchers, greatest_depth=32),
        Client("floor-sockets", "gevent", _floor_sockets, greatest_depth=10_000),
        Client("gruvihttp", "gruvihttp:HttpClient", _gruvihttp, greatest_depth=10_000),
        Client("gruvihttp-pool", "gruvihttp:HttpPool", _gruvihttp_pool),
        Client("geventhttpclient", "geventhttpclient", _geventhttpclient),
        Client("geventhttpclient-pool", "geventhttpclient", _geventhttpclient_pool),
        Client("gruvihttp-http.client", _DOOR, _http_client(_DOOR)),
        Client("http.client", "http.client", _http_client("http.client"), is_patched=True),
        Client("h11", "h11", _h11),
        Client("urllib3", "urllib3", _urllib3, is_patched=True),
        Client("httpx", "httpx", _httpx, is_patched=True),
        Client("gruvihttp-httpx", _HTTPX_DOOR, _httpx_door),
        Client("requests", "requests", _requests, is_patched=True),
        Client("gruvihttp-requests", _REQUESTS_DOOR, _requests_door),
    )
}


class _Meter:
    """Counts requests and says when it is enough; measures from its creation to `sample()`."""

    def __init__(self, seconds: float) -> None:
        self.requests = 0
        self._is_over = False
        self._timer = gevent.spawn_later(seconds, self._end)
        self._wall = time.monotonic()
        self._cpu = own_cpu_seconds()

    def _end(self) -> None:
        self._is_over = True

    def count(self, requests: int) -> bool:
        """Count what was answered; return whether to go on."""
        self.requests += requests
        return not self._is_over and self.requests < _MOST_REQUESTS

    def sample(self) -> Sample:
        sample = Sample(self.requests, own_cpu_seconds() - self._cpu, time.monotonic() - self._wall)
        self._timer.kill()
        return sample


def _measure_greenlets(client: Client, pattern: Pattern, port: int, seconds: float) -> Sample:
    exchanges = [client.open(port, pattern.depth) for _ in range(pattern.connections)]
    warming = exchanges if not pattern.is_single else [client.open(port, 100)]
    gevent.joinall([gevent.spawn(exchange) for exchange in warming], raise_error=True)
    meter = _Meter(seconds)

    def work(exchange: Exchange) -> None:
        while True:
            exchange()
            if not meter.count(pattern.depth) or pattern.is_single:
                return

    gevent.joinall([gevent.spawn(work, exchange) for exchange in exchanges], raise_error=True)
    return meter.sample()


def _measure_watchers(pattern: Pattern, port: int, seconds: float) -> Sample:
    answer_bytes = floor.SocketExchange((_HOST, port), SMALL_HEAD).answer_bytes
    meter: _Meter

    def answered() -> bool:
        return meter.count(pattern.depth)

    burst, answers_bytes = SMALL_HEAD * pattern.depth, answer_bytes * pattern.depth
    connections = [
        floor.WatcherClient((_HOST, port), burst, answers_bytes, answered) for _ in range(pattern.connections)
    ]
    meter = _Meter(seconds)
    for connection in connections:
        connection.start()
    gevent.wait()  # until no watcher is left: each connection closes after its last answer
    return meter.sample()


def measure(client: Client, pattern: Pattern, port: int, seconds: float) -> Sample:
    """Run one client in this process and return what it cost."""
    if client.name == "floor":
        return _measure_watchers(pattern, port, seconds)
    return _measure_greenlets(client, pattern, port, seconds)


if __name__ == "__main__":
    name, pattern_name, port_given, seconds_given = sys.argv[1:]
    if CLIENTS[name].is_patched:
        monkey.patch_all()
    print(measure(CLIENTS[name], PATTERNS[pattern_name], int(port_given), float(seconds_given)).to_json())
