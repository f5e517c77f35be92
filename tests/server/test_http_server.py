"""`HttpServer` and the server's side of `HttpProtocol`: listening, TLS, hooks, and stopping politely."""

from __future__ import annotations

import gc
import inspect
import os
import resource
import signal
import socket
import ssl
import subprocess
import sys
import weakref
from collections.abc import Callable
from typing import Any

import gevent
import greenlet
import pytest
from gevent.event import Event

import gruvihttp
from gruvihttp.errors import TransportError
from gruvihttp.exchanges.workers import _Worker
from gruvihttp.limits import Timeouts
from gruvihttp.net.endpoints import MessageProtocol, Server, create_server
from gruvihttp.protocol import HttpProtocol
from gruvihttp.server import HttpServer
from gruvihttp.testing import RawPeer

GUARD = 10.0
GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


def ok(environ: Any, start_response: Any) -> list[bytes]:
    content = environ["wsgi.input"].read()
    start_response("200 OK", [])
    return [b"ok" + content]


# names and signatures: G46 to G51, G71


def test_constructor_takes_what_gruvis_takes_in_its_order() -> None:
    parameters = list(inspect.signature(HttpServer).parameters.values())
    assert [(p.name, p.default) for p in parameters[:3]] == [
        ("application", inspect.Parameter.empty), ("server_name", None), ("timeout", None),
    ]  # fmt: skip
    assert {p.kind for p in parameters[3:]} == {inspect.Parameter.KEYWORD_ONLY}


def test_server_is_gruvis_server_and_is_exported() -> None:
    assert issubclass(HttpServer, Server)
    assert issubclass(HttpProtocol, MessageProtocol)
    assert gruvihttp.HttpServer is HttpServer


def test_protocol_takes_what_gruvis_takes() -> None:
    parameters = inspect.signature(HttpProtocol).parameters
    assert [(p.name, p.default) for p in parameters.values()] == [
        ("server_side", inspect.Parameter.empty), ("application", None), ("server_name", None), ("version", "1.1"),
        ("timeout", None),
    ]  # fmt: skip


def test_protocol_needs_an_application_to_serve() -> None:
    with pytest.raises(ValueError, match="application"):
        HttpProtocol(True)


@pytest.mark.parametrize("version", ["1.2", "3", "", "HTTP/1.1", 1.1, None])
def test_protocol_refuses_other_versions(version: Any) -> None:
    with pytest.raises(ValueError, match="version"):
        HttpProtocol(True, ok, version=version)


def test_protocol_tells_its_side_and_name(serve: Any, until: Any) -> None:
    given = HttpProtocol(True, ok, "shop.example")
    assert (given.server_side, given.server_name) == (True, "shop.example")
    served = serve(ok, server_name="shop.example")
    served.connect().get()
    [(_, protocol)] = served.server.connections
    assert (protocol.server_side, protocol.server_name) == (True, "shop.example")
    assert repr(protocol).startswith("<HttpProtocol server ")
    served = serve(ok, address=("0.0.0.0", 0))
    served.connect(address=("127.0.0.1", served.server.address[1])).get()
    [(_, protocol)] = served.server.connections
    assert protocol.server_name == "127.0.0.1"


# a bare protocol, as gruvi has it


def test_protocol_serves_without_an_http_server() -> None:
    names: list[str] = []

    def application(environ: Any, start_response: Any) -> list[bytes]:
        names.append(environ["SERVER_NAME"])
        return ok(environ, start_response)

    server = create_server(lambda: HttpProtocol(True, application), ("localhost", 0))
    try:
        with RawPeer.connect(("127.0.0.1", server.address[1])) as peer:
            peer.send(GET + GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
            assert peer.read_to_end().count(b"HTTP/1.1 200 OK\r\n") == 2
    finally:
        server.close(0)
    assert names == ["127.0.0.1"] * 2  # the socket's address, not the name that was listened at


def test_bare_protocols_leave_no_greenlets_behind(until: Any) -> None:
    server = create_server(lambda: HttpProtocol(True, ok), ("127.0.0.1", 0))

    def workers() -> int:
        gc.collect()
        return sum(type(thing) is _Worker and not thing.dead for thing in gc.get_objects())

    before = workers()
    for _ in range(20):
        with RawPeer.connect(server.address) as peer:
            peer.send(GET)
            peer.read_until()
    until(lambda: not server.connections)
    server.close(0)
    assert workers() <= before + 1


# listening: S10, S11, G2


def test_several_addresses_serve_one_application(serve: Any, tmp_path: Any) -> None:
    served = serve(ok)
    served.server.listen(("127.0.0.1", 0))
    served.server.listen(str(tmp_path / "socket"))
    assert len(served.server.addresses) == 3
    assert [served.connect(address=address).get().content for address in served.server.addresses] == [b"ok"] * 3
    assert len(served.server.connections) == 3


def test_socket_that_listens_already_is_served(serve: Any) -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    address = listener.getsockname()
    served = serve(ok, address=listener)
    assert served.connect(address=address).get().content == b"ok"


def test_port_in_use_is_told_with_its_address(serve: Any) -> None:
    served = serve(ok)
    with pytest.raises(TransportError, match=str(served.server.address[1])):
        HttpServer(ok).listen(served.server.address)


def test_unix_socket_is_served_and_removed(serve: Any, tmp_path: Any, delivery: None) -> None:
    path = str(tmp_path / "socket")
    served = serve(ok, address=path)
    talk = served.connect()
    assert [talk.post(b"1").content, talk.post(b"2").content] == [b"ok1", b"ok2"]
    talk.close()
    served.server.close()
    assert not os.path.exists(path)


def test_hooks_are_told_of_each_connection(until: Any) -> None:
    told: list[tuple[str, Any]] = []

    class Telling(HttpServer):
        def connection_made(self, transport: Any, protocol: Any) -> None:
            told.append(("made", transport.get_extra_info("peername")))

        def connection_lost(self, transport: Any, protocol: Any, exc: Any = None) -> None:
            told.append(("lost", transport.get_extra_info("peername")))

    server = Telling(ok)
    server.listen(("127.0.0.1", 0))
    with RawPeer.connect(server.address) as peer:
        name = peer.channel.get_extra_info("sockname")
        peer.send(GET)
        peer.read_until()
    until(lambda: len(told) == 2)
    server.close(0)
    assert told == [("made", name), ("lost", name)]


def test_connection_that_is_over_is_forgotten(serve: Any, until: Any) -> None:
    served = serve(ok)
    talk = served.connect()
    talk.get()
    [(transport, protocol)] = served.server.connections
    gone = [weakref.ref(transport), weakref.ref(protocol)]
    del transport, protocol
    talk.close()
    until(lambda: not served.server.connections)
    gc.collect()
    assert [ref() for ref in gone] == [None, None]


@pytest.mark.parametrize("how", ["close", "abort"])
def test_transport_that_the_application_closes_is_the_end(serve: Any, until: Any, how: str) -> None:
    def application(environ: Any, start_response: Any) -> list[bytes]:
        getattr(environ["gruvihttp.transport"], how)()
        return ok(environ, start_response)

    served = serve(application)
    talk = served.connect()
    talk.say(GET)
    if how == "close":
        assert talk.ends()
    else:
        assert talk.is_cut()
    until(lambda: not served.server.connections)


# TLS


@pytest.fixture
def tls(serve: Any, server_tls: ssl.SSLContext, client_tls: ssl.SSLContext) -> Callable[..., Any]:
    def tls(application: Any = ok, **options: Any) -> Any:
        served = serve(application, ssl=server_tls, **options)
        return served.connect(client_tls)

    return tls


def test_requests_over_tls_are_served(tls: Any, delivery: None) -> None:
    talk = tls()
    talk.say(GET * 3 + b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbody" + GET)
    assert [talk.answer().content for _ in range(5)] == [b"ok", b"ok", b"ok", b"okbody", b"ok"]
    assert talk.is_open()


def test_large_content_goes_both_ways_over_tls(tls: Any) -> None:
    content = os.urandom(1_000_000)
    talk = tls()
    sender = gevent.spawn(talk.say, b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n" + content)
    assert talk.answer().content == b"ok" + content
    sender.get(timeout=GUARD)
    assert talk.is_open()


def test_tls_connection_is_closed_with_a_goodbye(tls: Any) -> None:
    talk = tls()
    assert talk.get(fields=b"Connection: close\r\n").closes
    assert talk.ends()
    assert not talk.channel.ragged_eof


def test_refusal_over_tls_arrives(tls: Any) -> None:
    talk = tls()
    talk.send(b"nonsense\r\n\r\n" + b"x" * 300_000)
    assert talk.answer().status == 400
    assert talk.ends()


@pytest.mark.parametrize("way", ["reset", "close", "half_close"])
def test_tls_client_that_goes_disturbs_nobody(
    serve: Any, server_tls: Any, client_tls: Any, until: Any, way: str
) -> None:
    served = serve(ok, ssl=server_tls)
    talk = served.connect(client_tls)
    assert talk.get().status == 200
    getattr(talk, way)()
    until(lambda: not served.server.connections)
    assert served.connect(client_tls).get().status == 200


def test_plain_http_on_a_tls_port_disturbs_nobody(serve: Any, server_tls: Any, client_tls: Any, until: Any) -> None:
    served = serve(ok, ssl=server_tls)
    talk = served.connect()
    talk.send(GET)
    try:
        assert b"HTTP" not in talk.read_to_end()
    except TransportError:
        pass
    until(lambda: served.server.handshake_failures == 1)
    assert served.connect(client_tls).get().status == 200


def test_slow_handshake_holds_nobody_up_and_ends(serve: Any, server_tls: Any, client_tls: Any, until: Any) -> None:
    served = serve(ok, ssl=server_tls, timeouts=Timeouts(handshake=0.05))
    silent = served.connect()
    assert served.connect(client_tls).get().status == 200
    try:
        silent.read_to_end()
    except TransportError:
        pass
    assert served.server.handshake_failures == 1


# stopping: S12, G11


def closing(server: HttpServer, timeout: float | None = -1) -> Any:
    stopping = gevent.spawn(server.close, timeout)
    gevent.sleep(0.01)
    return stopping


def test_idle_connections_end_at_once_when_the_server_closes(serve: Any) -> None:
    served = serve(ok)
    used, fresh = served.connect(), served.connect()
    assert used.get().status == 200
    served.get()
    served.server.close(timeout=GUARD)
    assert used.ends()
    assert fresh.ends()
    assert served.server.connections == []


def test_nobody_can_connect_to_a_closed_server(serve: Any) -> None:
    served = serve(ok)
    address = served.server.address
    served.server.close()
    with pytest.raises(TransportError):
        served.connect(address=address)
    with pytest.raises(RuntimeError):
        served.server.listen(("127.0.0.1", 0))


def test_running_request_is_answered_with_close_when_the_server_closes(serve: Any) -> None:
    begun, go_on = Event(), Event()

    def application(environ: Any, start_response: Any) -> list[bytes]:
        begun.set()
        assert go_on.wait(GUARD)
        return ok(environ, start_response)

    served = serve(application)
    talk = served.connect()
    talk.say(GET)
    assert begun.wait(GUARD)
    stopping = closing(served.server)
    assert not stopping.ready()
    go_on.set()
    answer = talk.answer()
    assert (answer.status, answer["Connection"]) == (200, "close")
    assert talk.ends()
    talk.close()
    stopping.get(timeout=GUARD)


def test_answer_that_has_begun_is_finished_when_the_server_closes(serve: Any) -> None:
    go_on = Event()

    def application(environ: Any, start_response: Any) -> Any:
        start_response("200 OK", [])
        yield b"begun"
        assert go_on.wait(GUARD)
        yield b"ended"

    served = serve(application)
    talk = served.connect()
    talk.say(GET)
    assert talk.head()["Connection"] is None
    stopping = closing(served.server)
    go_on.set()
    assert talk.read_to_end() == b"5\r\nbegun\r\n5\r\nended\r\n0\r\n\r\n"
    talk.close()
    stopping.get(timeout=GUARD)


def test_request_that_has_begun_is_served_when_the_server_closes(serve: Any) -> None:
    served = serve(ok)
    talk = served.connect()
    talk.say(GET[:10])
    gevent.sleep(0.01)
    stopping = closing(served.server)
    talk.say(GET[10:])
    answer = talk.answer()
    assert (answer.status, answer["Connection"]) == (200, "close")
    talk.close()
    stopping.get(timeout=GUARD)


def test_close_without_patience_cuts_what_runs(serve: Any) -> None:
    begun = Event()

    def application(environ: Any, start_response: Any) -> list[bytes]:
        begun.set()
        Event().wait(GUARD)
        return ok(environ, start_response)

    served = serve(application)
    talk = served.connect()
    talk.say(GET)
    assert begun.wait(GUARD)
    served.server.close(timeout=0)
    assert served.server.connections == []
    assert talk.is_cut()


def test_application_that_outlives_its_connection_disturbs_nobody(serve: Any) -> None:
    begun, go_on, done = Event(), Event(), Event()

    def application(environ: Any, start_response: Any) -> Any:
        begun.set()
        assert go_on.wait(GUARD)
        start_response("200 OK", [])
        try:
            yield b"x" * 100_000
        finally:
            done.set()

    served = serve(application)
    served.connect().say(GET)
    assert begun.wait(GUARD)
    served.server.close(timeout=0)
    go_on.set()
    assert done.wait(GUARD)
    gevent.sleep(0)


def test_serve_forever_ends_when_the_server_is_closed(serve: Any) -> None:
    served = serve(ok)
    serving = gevent.spawn(served.server.serve_forever)
    gevent.sleep(0)
    assert served.get().status == 200
    served.server.close(timeout=0)
    serving.get(timeout=GUARD)


PROGRAM = """
import sys, time
from gruvihttp import HttpServer

def application(environ, start_response):
    print("asked for", environ["PATH_INFO"], flush=True)
    if environ["PATH_INFO"] == "/busy":
        begin = time.monotonic()
        while time.monotonic() - begin < 0.2:
            pass
    start_response("200 OK", [])
    return [b"from a program"]

server = HttpServer(application)
server.listen(("127.0.0.1", 0))
print(server.address[1], flush=True)
server.run()
print("stopped", flush=True)
"""


@pytest.mark.parametrize("target", [b"/", b"/busy"])
def test_run_serves_until_interrupted_and_stops_politely(target: bytes) -> None:
    command = [sys.executable, "-c", PROGRAM]
    program = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert program.stdout is not None and program.stderr is not None
        port = int(program.stdout.readline())
        with RawPeer.connect(("127.0.0.1", port)) as peer:
            peer.send(GET.replace(b"/", target, 1))
            assert program.stdout.readline() == f"asked for {target.decode()}\n"
            program.send_signal(signal.SIGINT)
            assert peer.read_to_end().endswith(b"from a program"), "the interrupt has cut the answer"
        assert program.stdout.readline() == "stopped\n"
        assert program.wait(timeout=GUARD) == 0
        assert program.stderr.read() == ""
    finally:
        program.kill()
        program.communicate()


# timeout: G73


def test_timeout_caps_every_phase() -> None:
    server = HttpServer(ok, timeout=0.5)
    assert {server.timeouts.idle, server.timeouts.head, server.timeouts.content, server.timeouts.write} == {0.5}
    assert HttpServer(ok, timeout=1000).timeouts.head == Timeouts().head


def test_timeout_ends_who_says_nothing(serve: Any) -> None:
    assert serve(ok, timeout=0.05).connect().ends()


def test_worker_greenlets_are_those_of_gevent(serve: Any) -> None:
    current: list[Any] = []

    def application(environ: Any, start_response: Any) -> list[bytes]:
        current.append(greenlet.getcurrent())
        return ok(environ, start_response)

    serve(application).get()
    assert isinstance(current[0], gevent.Greenlet)


# the system


def test_connections_that_cannot_be_accepted_are_complained_of_once_and_served_later(
    serve: Any, errors: Callable[[], list[str]], until: Any
) -> None:
    served = serve(ok)
    talk, late = served.connect(), socket.socket()
    assert talk.get().status == 200
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (late.fileno() + 1, limits[1]))
    held = []
    try:
        with pytest.raises(OSError, match="Too many open files"):
            while True:
                held.append(os.dup(0))
        late.connect(served.server.address)
        late.sendall(GET)
        until(errors)
        gevent.sleep(0.25)  # it is tried again
        assert talk.get().status == 200
    finally:
        for descriptor in held:
            os.close(descriptor)
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    advice = "raise the limit of open files, or lower Limits.connections"
    assert errors() == [f"cannot accept connections, which wait (Too many open files): {advice}"]
    until(lambda: served.server.accepted == 2)
    late.close()
