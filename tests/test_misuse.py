"""What a caller's mistake says: at the call, and in words that tell what to do instead.

The mistakes are those of newcomers: a URL for an address, a dictionary for a body, a name for a number. What the
command line says is in tests/cli.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import gruvihttp
from gruvihttp import H2Limits, HttpClient, HttpPool, HttpServer, Limits, Timeouts, TransportError, websocket
from gruvihttp.accesslog import AccessLog
from gruvihttp.certificates import Certificates
from gruvihttp.compat.pywsgi import WSGIServer

HERE = ("127.0.0.1", 0)
NO_PATH = r"an address is \(host, port\)"
NO_TLS = "ssl= must be False, True"


def application(environ: Any, start_response: Any) -> list[bytes]:
    if "gruvihttp.upgrade" in environ:
        for message in websocket.accept(environ):
            assert message is not None
        return []
    start_response("200 OK", [])
    return [b""]


@pytest.fixture(scope="module")
def address() -> Iterator[Any]:
    server = HttpServer(application)
    server.listen(HERE)
    yield server.address
    server.close(0)


@pytest.fixture
def client(address: Any) -> Iterator[HttpClient]:
    with HttpClient(timeout=10) as client:
        client.connect(address)
        yield client


def serve(**options: Any) -> HttpServer:
    return HttpServer(application, **options)


SERVER: dict[str, tuple[Callable[[], object], type[Exception], str]] = {
    "timeout-str": (lambda: serve(timeout="5"), ValueError, "timeout must be a number of seconds"),
    "timeout-negative": (lambda: serve(timeout=-1), ValueError, "timeout must be a number of seconds"),
    "timeout-timeouts": (lambda: serve(timeout=Timeouts()), ValueError, "a number of seconds.*not Timeouts"),
    "limits-int": (lambda: serve(limits=5), TypeError, r"limits must be Limits\(\.\.\.\), not 5"),
    "limits-dict": (lambda: serve(limits={"fields_count": 5}), TypeError, "limits must be Limits"),
    "timeouts-int": (lambda: serve(timeouts=5), TypeError, "timeouts must be Timeouts"),
    "h2-limits": (lambda: serve(h2_limits=Limits()), TypeError, "h2_limits must be H2Limits"),
    "limits-h2": (lambda: serve(limits=H2Limits()), TypeError, r"limits must be Limits\("),
    "proxies-str": (lambda: serve(trusted_proxies="::1"), TypeError, "a list of addresses is wanted"),
    "proxy-fields-str": (
        lambda: serve(trusted_proxies=["::1"], proxy_fields="X-Forwarded-For"), TypeError, "a list of fields is wanted"
    ),
    "health-path": (lambda: serve(health_path=5), ValueError, "5 is no path of a probe"),
    "identifier": (lambda: serve(identifier=5), ValueError, "5 cannot stand in Server"),
    "compat": (lambda: serve(websocket_compat="eventlet"), ValueError, "must be gevent, werkzeug, gunicorn or None"),
    "access-log-to": (lambda: AccessLog("json", to="access.log"), TypeError, "a text stream or a logger"),  # type: ignore[arg-type]
    "listen-port": (lambda: serve().listen(99999), TransportError, r"99999 is no descriptor.*\(host, port\)"),
    "listen-host-and-port": (lambda: serve().listen("127.0.0.1:8000"), ValueError, NO_PATH),
    "listen-url": (lambda: serve().listen("http://localhost"), ValueError, NO_PATH),
    "listen-unix": (lambda: serve().listen("unix:/run/app.sock"), ValueError, "or a path, such as"),
    "listen-tls-path": (lambda: serve().listen(HERE, ssl="server.pem"), TypeError, "an SSLContext or a callable"),
    "listen-tls-true": (lambda: serve().listen(HERE, ssl=True), TypeError, "an SSLContext with a certificate"),
    "listen-tls-client": (lambda: serve().listen(HERE, ssl=ssl.create_default_context()), ValueError, "for clients"),
    "certificates-optional": (
        lambda: Certificates("a.pem", verify_client="optional"), ValueError, "client_ca='ca.pem'"
    ),
    "pywsgi-option": (lambda: WSGIServer(HERE, application, certificate="a"), TypeError, "does not know certificate"),
}  # fmt: skip

CLIENT: dict[str, tuple[Callable[[], object], type[Exception], str]] = {
    "connect-url": (lambda: HttpClient().connect("http://localhost:8000/"), ValueError, NO_PATH),
    "connect-host-and-port": (lambda: HttpClient().connect("localhost:80"), ValueError, NO_PATH),
    "connect-two": (lambda: HttpClient().connect("localhost", 80), TypeError, NO_TLS),  # type: ignore[arg-type]
    "connect-tls": (lambda: HttpClient().connect(HERE, ssl="ca.pem"), TypeError, NO_TLS),  # type: ignore[arg-type]
    "request-first": (lambda: HttpClient().request("GET", "/"), gruvihttp.HttpError, r"call connect\(\) first"),
    "response-first": (lambda: HttpClient().getresponse(), gruvihttp.HttpError, r"call connect\(\) first"),
    "pool-timeout-pair": (lambda: HttpPool(timeout=(3, 10)), ValueError, "a number of seconds, 0 or more, Timeouts"),  # type: ignore[arg-type]
    "get-timeout-pair": (lambda: gruvihttp.get("http://a/", timeout=(3, 10)), ValueError, "a number of seconds"),
    "get-timeout-str": (lambda: gruvihttp.get("http://a/", timeout="3"), ValueError, "a number of seconds"),
    "auth-str": (lambda: gruvihttp.get("http://a/", auth="me:secret"), TypeError, "and this str is not"),
    "auth-two-letters": (lambda: gruvihttp.get("http://a/", auth="me"), TypeError, r"auth is \(user, password\)"),
    "pool-auth": (lambda: HttpPool(auth="me:secret"), TypeError, r"auth is \(user, password\)"),  # type: ignore[arg-type]
    "params": (lambda: gruvihttp.get("http://a/", params=5), TypeError, "parameters must be a mapping or pairs"),
    "body-dict": (lambda: gruvihttp.post("http://a/", body={"a": 1}), TypeError, "json=, or as data= for a form"),
    "verify-file": (lambda: HttpPool(verify="no-such.pem").get("https://a/"), FileNotFoundError, "no-such.pem"),
    "cert-file": (lambda: HttpPool(cert="no-such.pem").get("https://a/"), FileNotFoundError, "no-such.pem"),
    "ws-size": (lambda: websocket.connect("ws://a/", max_message_size="1M"), ValueError, "a positive whole number"),  # type: ignore[arg-type]
    "ws-interval": (lambda: websocket.connect("ws://a/", ping_interval=-1), ValueError, "seconds above 0, or None"),
}  # fmt: skip


@pytest.mark.parametrize(("act", "kind", "says"), SERVER.values(), ids=SERVER)
def test_mistake_with_a_server_is_told_at_once(act: Any, kind: type[Exception], says: str) -> None:
    with pytest.raises(kind, match=says):
        act()


@pytest.mark.parametrize(("act", "kind", "says"), CLIENT.values(), ids=CLIENT)
def test_mistake_with_a_client_is_told_before_anybody_is_asked(act: Any, kind: type[Exception], says: str) -> None:
    with pytest.raises(kind, match=says) as caught:
        act()
    assert "secret" not in str(caught.value)


def test_path_that_looks_like_an_address_is_served_if_it_says_so(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    server = serve()
    server.listen("./localhost:80")
    try:
        with HttpClient(timeout=10) as client:
            client.connect("./localhost:80")
    finally:
        server.close(0)


def test_timeout_of_a_request_must_be_one(client: HttpClient) -> None:
    with pytest.raises(TypeError, match="timeout must be a number of seconds"):
        client.request("GET", "/", timeout="5")  # type: ignore[arg-type]


@pytest.mark.parametrize("message", [5, None, [1, 2]], ids=repr)
def test_message_of_a_websocket_is_text_or_bytes(address: Any, message: Any) -> None:
    with websocket.connect(f"ws://127.0.0.1:{address[1]}/", timeout=10) as ws:
        with pytest.raises(TypeError, match="a message is str or bytes, not "):
            ws.send(message)
        ws.send(bytearray(b"bytes"))


@pytest.mark.parametrize("code", [5, 999, 5000, "1000"], ids=repr)
def test_close_code_of_a_websocket_must_be_one(address: Any, code: Any) -> None:
    with websocket.connect(f"ws://127.0.0.1:{address[1]}/", timeout=10) as ws:
        with pytest.raises(ValueError, match="a close code is a number from 1000 to 4999"):
            ws.close(code)
        assert not ws.closed
