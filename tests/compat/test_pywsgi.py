"""Programs written for gevent.pywsgi, run with it and with `gruvihttp.compat.pywsgi` in its place."""

from __future__ import annotations

import io
import logging
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gevent
import gevent.pool
import gevent.pywsgi
import gevent.ssl
import pytest
import trustme
from gevent import socket as gevent_socket
from gevent.event import Event

import gruvihttp.compat.pywsgi

GUARD = 10.0
LOCAL = ("127.0.0.1", 0)

both = pytest.mark.parametrize(
    "WSGIServer", [gevent.pywsgi.WSGIServer, gruvihttp.compat.pywsgi.WSGIServer], ids=["gevent", "gruvihttp"]
)


def hello(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [f"{environ['REQUEST_METHOD']} {environ['PATH_INFO']}".encode()]


def get(address: Any, target: str = "/", context: ssl.SSLContext | None = None) -> bytes:
    """The content of the answer to a GET, which must be 200."""
    family = gevent_socket.AF_UNIX if isinstance(address, str) else gevent_socket.AF_INET
    sock = gevent_socket.socket(family, gevent_socket.SOCK_STREAM)
    with gevent.Timeout(GUARD):
        sock.connect(address)
        if context is not None:
            sock = _wrap(sock, context)
        sock.sendall(f"GET {target} HTTP/1.1\r\nHost: example.com\r\nConnection: close\r\n\r\n".encode())
        with sock, sock.makefile("rb") as stream:
            head, _, content = stream.read().partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 "), head
    return content


def _wrap(sock: Any, context: ssl.SSLContext) -> Any:
    from gevent.ssl import SSLContext

    ours = SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    ours.load_verify_locations(cadata="".join(ssl.DER_cert_to_PEM_cert(der) for der in context.get_ca_certs(True)))
    return ours.wrap_socket(sock, server_hostname="localhost")


@both
def test_start_serve_stop(WSGIServer: Any) -> None:
    server = WSGIServer(LOCAL, hello, log=None)
    assert not server.started
    server.start()
    assert server.started and not server.closed
    assert (server.server_host, server.server_port) == server.address
    assert get(server.address, "/a") == b"GET /a"
    server.stop()
    assert server.closed and not server.started
    with pytest.raises(ConnectionRefusedError):
        get(server.address)


@both
def test_the_same_server_starts_again_at_its_address(WSGIServer: Any) -> None:
    server = WSGIServer(LOCAL, hello, log=None)
    for _ in range(3):
        server.start()
        assert get(server.address) == b"GET /"
        server.stop()


@both
def test_serve_forever_ends_when_another_greenlet_stops_it(WSGIServer: Any) -> None:
    server = WSGIServer(LOCAL, hello, log=None)
    serving = gevent.spawn(server.serve_forever, stop_timeout=1)
    gevent.sleep(0)
    assert get(server.address) == b"GET /"
    server.stop(timeout=1)
    serving.get(timeout=GUARD)


@both
def test_serve_forever_passes_a_timeout_on_and_stops(WSGIServer: Any) -> None:
    server = WSGIServer(LOCAL, hello, log=None)
    with pytest.raises(gevent.Timeout), gevent.Timeout(0.05):
        server.serve_forever()
    assert server.closed


@both
def test_timeout_of_the_application_ends_what_it_guards(WSGIServer: Any) -> None:
    def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
        with gevent.Timeout(0.01, False):
            Event().wait()
        return hello(environ, start_response)

    with WSGIServer(LOCAL, application, log=None) as server:
        server.start()
        assert get(server.address) == b"GET /"


@both
@pytest.mark.parametrize("kind", ["gevent", "fromfd"])
def test_listener_is_a_socket_that_listens(WSGIServer: Any, kind: str) -> None:
    listener = gevent_socket.socket()
    listener.bind(LOCAL)
    listener.listen(16)
    if kind == "fromfd":
        import socket

        listener = socket.socket(fileno=listener.detach())
    server = WSGIServer(listener, hello, log=None)
    assert server.address == listener.getsockname()
    server.start()
    assert get(server.address) == b"GET /"
    server.stop()


@both
def test_init_socket_binds_before_start(WSGIServer: Any) -> None:
    server = WSGIServer(LOCAL, hello, log=None)
    server.init_socket()
    asking = gevent.spawn(get, server.address)
    gevent.sleep(0)
    server.start()
    assert asking.get(timeout=GUARD) == b"GET /"
    server.stop()


@both
@pytest.mark.parametrize("written", ["127.0.0.1:0", ":0", "*:0"])
def test_address_written_as_text(WSGIServer: Any, written: str) -> None:
    with WSGIServer(written, hello, log=None) as server:
        server.start()
        assert get(("127.0.0.1", server.server_port)) == b"GET /"


def test_unix_path_written_as_text(tmp_path: Path) -> None:
    path = str(tmp_path / "s")
    with gruvihttp.compat.pywsgi.WSGIServer(f"unix:{path}", hello, log=None) as server:
        server.start()
        assert get(path) == b"GET /"
    assert not Path(path).exists()


@both
def test_unix_listener(WSGIServer: Any, tmp_path: Path) -> None:
    path = str(tmp_path / "s")
    listener = gevent_socket.socket(gevent_socket.AF_UNIX)
    listener.bind(path)
    listener.listen(16)
    with WSGIServer(listener, hello, log=None) as server:
        server.start()
        assert get(path) == b"GET /"
        assert (server.server_host, server.server_port) == (None, None)


@both
def test_environ_of_the_server_reaches_the_application(WSGIServer: Any) -> None:
    def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
        start_response("200 OK", [])
        return [f"{environ['SERVER_NAME']}|{environ['mine']}|{environ['PATH_INFO']}".encode()]

    ours = {"SERVER_NAME": "www", "mine": "1"}
    with WSGIServer(LOCAL, application, log=None, environ=ours) as server:
        server.start()
        assert get(server.address, "/p") == b"www|1|/p"
        server.set_environ({"mine": "2", "SERVER_NAME": "w"})
        assert get(server.address, "/p") == b"w|2|/p"


@both
def test_get_environ_of_a_subclass_is_asked_for_each_request(WSGIServer: Any) -> None:
    class Counting(WSGIServer):  # type: ignore[misc]
        count = 0

        def get_environ(self) -> Any:
            environ = super().get_environ()
            self.count += 1
            environ["count"] = str(self.count)
            return environ

    def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
        start_response("200 OK", [])
        return [environ["count"].encode()]

    with Counting(LOCAL, application, log=None) as server:
        server.start()
        assert [get(server.address), get(server.address)] == [b"1", b"2"]


@both
def test_application_may_be_set_later_or_by_a_subclass(WSGIServer: Any) -> None:
    class Hello(WSGIServer):  # type: ignore[misc]
        application = staticmethod(hello)

    with Hello(LOCAL, log=None) as server:
        server.start()
        assert get(server.address) == b"GET /"


@both
@pytest.mark.parametrize("kind", ["file", "logger"])
def test_log_gets_a_line_for_each_request(WSGIServer: Any, kind: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    stream = io.StringIO()
    with WSGIServer(LOCAL, hello, log=stream if kind == "file" else logging.getLogger("access")) as server:
        server.start()
        get(server.address, "/seen")
        server.stop()
    line = stream.getvalue() if kind == "file" else caplog.messages[-1]
    assert line.startswith("127.0.0.1 - - [")
    assert '"GET /seen HTTP/1.1" 200 ' in line


@both
def test_error_log_is_wsgi_errors(WSGIServer: Any) -> None:
    def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
        environ["wsgi.errors"].write("mine\n")
        return hello(environ, start_response)

    errors = io.StringIO()
    with WSGIServer(LOCAL, application, log=None, error_log=errors) as server:
        server.start()
        get(server.address)
    assert errors.getvalue() == "mine\n"


@both
@pytest.mark.parametrize("kind", ["number", "pool", "function"])
def test_spawn_runs_the_requests(WSGIServer: Any, kind: str) -> None:
    gate, running = Event(), []

    def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
        running.append(1)
        assert gate.wait(GUARD)
        return hello(environ, start_response)

    spawn: Any = {"number": 2, "pool": gevent.pool.Pool(2), "function": gevent.Greenlet.spawn}[kind]
    with WSGIServer(LOCAL, application, log=None, spawn=spawn) as server:
        server.start()
        asking = [gevent.spawn(get, server.address) for _ in range(4)]
        bound = 4 if kind == "function" else 2
        with gevent.Timeout(GUARD):
            while len(running) < bound:
                gevent.sleep(0.001)
            while kind != "function" and not server.full():
                gevent.sleep(0.001)
        assert len(running) == bound
        gate.set()
        assert [one.get(timeout=GUARD) for one in asking] == [b"GET /"] * 4


def test_idle_connections_do_not_count_as_running() -> None:
    with gruvihttp.compat.pywsgi.WSGIServer(LOCAL, hello, log=None, spawn=1) as server:
        server.start()
        idle = gevent_socket.create_connection(server.address)
        gevent.sleep(0)
        assert get(server.address) == b"GET /"
        idle.close()


@both
def test_stop_with_a_pool_kills_what_does_not_end(WSGIServer: Any) -> None:
    entered, killed = Event(), Event()

    def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
        entered.set()
        try:
            Event().wait()
        finally:
            killed.set()
        return []

    server = WSGIServer(LOCAL, application, log=None, spawn=10)
    server.start()
    sock = gevent_socket.create_connection(server.address)
    sock.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    assert entered.wait(GUARD)
    server.stop(timeout=0.01)
    assert killed.wait(GUARD)
    sock.close()


def test_stop_lets_a_running_request_end() -> None:
    entered, gate = Event(), Event()

    def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
        entered.set()
        assert gate.wait(GUARD)
        return hello(environ, start_response)

    server = gruvihttp.compat.pywsgi.WSGIServer(LOCAL, application, log=None)
    server.start()
    asking = gevent.spawn(get, server.address)
    assert entered.wait(GUARD)
    stopping = gevent.spawn(server.stop, GUARD)
    gevent.sleep(0)
    assert server.closed
    gate.set()
    assert asking.get(timeout=GUARD) == b"GET /"
    stopping.get(timeout=GUARD)


@both
@pytest.mark.parametrize("how", ["files", "context"])
def test_tls(WSGIServer: Any, how: str, tmp_path: Path) -> None:
    authority = trustme.CA()
    issued = authority.issue_cert("localhost")
    issued.private_key_pem.write_to_path(str(tmp_path / "key"))
    issued.cert_chain_pems[0].write_to_path(str(tmp_path / "cert"))
    context = gevent.ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "cert", tmp_path / "key")
    files = {"certfile": str(tmp_path / "cert"), "keyfile": str(tmp_path / "key")}
    arguments: dict[str, Any] = files if how == "files" else {"ssl_context": context}
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)

    def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
        start_response("200 OK", [])
        return [environ["wsgi.url_scheme"].encode()]

    with WSGIServer(LOCAL, application, log=None, **arguments) as server:
        assert server.ssl_enabled
        server.start()
        assert get(server.address, context=trusting) == b"https"


@both
def test_handler_may_say_what_is_logged(WSGIServer: Any) -> None:
    class Mine(gevent.pywsgi.WSGIHandler):  # type: ignore[misc]
        def format_request(self) -> str:
            taken = self.time_finish - self.time_start
            told = f"{self.status.decode()} {self.code} {self.response_length >= 9} {0 <= taken < GUARD}"
            return f"{self.client_address[0]} {self.requestline} {told}"

        def helper(self) -> None: ...

    stream = io.StringIO()
    with WSGIServer(LOCAL, hello, log=stream, handler_class=Mine) as server:
        server.start()
        get(server.address, "/seen?a=b")
        server.stop()
    assert stream.getvalue() == "127.0.0.1 GET /seen?a=b HTTP/1.1 200 OK 200 True True\n"


@both
def test_handler_may_log_nothing(WSGIServer: Any) -> None:
    class Mine(gevent.pywsgi.WSGIHandler):  # type: ignore[misc]
        def log_request(self) -> None:
            if self.path != "/health":
                super().log_request()

    class Quiet(WSGIServer):  # type: ignore[misc]
        handler_class = Mine

    stream = io.StringIO()
    with Quiet(LOCAL, hello, log=stream) as server:
        server.start()
        get(server.address, "/health")
        get(server.address, "/page")
        server.stop()
    assert stream.getvalue().count("\n") == 1
    assert '"GET /page HTTP/1.1" 200 ' in stream.getvalue()


@both
def test_handler_may_change_environ(WSGIServer: Any) -> None:
    class Mine(gevent.pywsgi.WSGIHandler):  # type: ignore[misc]
        def get_environ(self) -> dict[str, Any]:
            environ: dict[str, Any] = super().get_environ()
            environ["SCRIPT_NAME"] = "/mounted"
            environ["PATH_INFO"] = environ["PATH_INFO"].removeprefix("/mounted")
            environ["own.length"] = self.headers.getheader("content-length", "none")
            del environ["HTTP_HOST"]
            return environ

    seen: list[dict[str, Any]] = []

    def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
        seen.append(dict(environ))
        return hello(environ, start_response)

    with WSGIServer(LOCAL, application, log=None, handler_class=Mine) as server:
        server.start()
        assert get(server.address, "/mounted/page") == b"GET /page"
    assert (seen[0]["SCRIPT_NAME"], seen[0]["own.length"], "HTTP_HOST" in seen[0]) == ("/mounted", "none", False)


@pytest.mark.parametrize("name", ["handle_one_response", "read_requestline", "run_application", "__init__"])
def test_handler_that_cannot_be_honoured_is_refused_with_what_to_do_instead(name: str) -> None:
    mine = type("Mine", (gevent.pywsgi.WSGIHandler,), {name: lambda *_: None, "format_request": lambda _: "own"})
    with pytest.raises(TypeError, match=f"'Mine' cannot be honoured, for it has {name}: .*wrap the application"):
        gruvihttp.compat.pywsgi.WSGIServer(LOCAL, hello, handler_class=mine)


def test_handler_that_is_none_is_refused() -> None:
    with pytest.raises(TypeError, match="cannot be honoured"):
        gruvihttp.compat.pywsgi.WSGIServer(LOCAL, hello, handler_class=dict)


def test_handler_of_gevent_websocket_is_not_needed() -> None:
    there: list[Any] = []

    def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
        there.append(environ.get("wsgi.websocket"))
        return hello(environ, start_response)

    theirs = type("WebSocketHandler", (gevent.pywsgi.WSGIHandler,), {"run_application": lambda _: None})
    theirs.__module__ = "geventwebsocket.handler"
    server_class = gruvihttp.compat.pywsgi.WSGIServer
    with server_class(LOCAL, application, log=None, handler_class=theirs) as server:
        server.start()
        with gevent_socket.create_connection(server.address) as sock:
            sock.sendall(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
            assert sock.recv(65536).startswith(b"HTTP/1.1 200 ")
    assert there[0].path == "/"


@pytest.mark.parametrize("name", ["handle", "wrap_socket_and_handle", "do_handle"])
def test_method_that_would_never_be_called_is_refused(name: str) -> None:
    mine = type("Mine", (gruvihttp.compat.pywsgi.WSGIServer,), {name: lambda *_: None})
    with pytest.raises(TypeError, match=f"Mine has {name}, which cannot be honoured"):
        mine(LOCAL, hello)


@both
def test_socket_of_get_listener_is_served(WSGIServer: Any) -> None:
    listener = WSGIServer.get_listener(LOCAL, family=gevent_socket.AF_INET)
    with WSGIServer(listener, hello, log=None) as server:
        server.start()
        assert get(listener.getsockname()) == b"GET /"


@both
def test_backlog_of_a_socket_is_its_own(WSGIServer: Any) -> None:
    with gevent_socket.create_server(LOCAL) as listener, pytest.raises(TypeError, match="backlog must be None"):
        WSGIServer(listener, hello, backlog=5)


@both
def test_update_environ_knows_the_address(WSGIServer: Any) -> None:
    class Mine(WSGIServer):  # type: ignore[misc]
        def update_environ(self) -> None:
            super().update_environ()
            self.environ["own.port"] = self.address[1]

    ports: list[Any] = []

    def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
        ports.append(environ["own.port"])
        return hello(environ, start_response)

    with Mine(LOCAL, application, log=None) as server:
        server.start()
        get(server.address)
        assert ports == [server.server_port]


def test_gevents_other_names_are_there() -> None:
    assert set(gevent.pywsgi.__all__) <= set(gruvihttp.compat.pywsgi.__all__)


def test_unknown_tls_argument_is_named() -> None:
    with pytest.raises(TypeError, match="does not know server_hostname; give an ssl_context"):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        gruvihttp.compat.pywsgi.WSGIServer(LOCAL, hello, ssl_context=context, server_hostname="a")


def test_unchanged_handler_is_accepted() -> None:
    gruvihttp.compat.pywsgi.WSGIServer(LOCAL, hello, handler_class=gevent.pywsgi.WSGIHandler)


@both
def test_address_in_use_is_an_oserror(WSGIServer: Any) -> None:
    with WSGIServer(LOCAL, hello, log=None) as server:
        server.start()
        with pytest.raises(OSError, match="in use"):
            WSGIServer(server.address, hello, log=None).start()
