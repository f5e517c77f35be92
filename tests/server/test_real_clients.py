"""A Flask application on our server, and the clients that people use: curl, http.client, requests, and our own.

The server runs in this process, and as the command does it.

Clients that block run in threads of the system, where they disturb no hub; nothing is patched.
"""

from __future__ import annotations

import http.client
import inspect
import io
import os
import re
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import flask
import gevent
import pytest
import requests
import webtest
from gevent import subprocess
from wsgiproxy import HostProxy

import gruvihttp
from gruvihttp.client import HttpClient

GUARD = 30.0
SHARED = b"0123456789abcdef" * 40_000
IMPORTS = "from __future__ import annotations\nimport io\nimport flask\nimport gevent\n"


def shop() -> flask.Flask:
    app = flask.Flask(__name__)
    app.secret_key = "not a secret"

    @app.get("/")
    def index() -> str:
        return "welcome"

    @app.route("/echo", methods=["POST", "PUT"])
    def echo() -> flask.Response:
        return flask.Response(flask.request.get_data(), mimetype=flask.request.mimetype)

    @app.post("/form")
    def form() -> dict[str, Any]:
        uploaded = {name: file.read().decode() for name, file in flask.request.files.items()}
        return {"fields": flask.request.form.to_dict(), "files": uploaded}

    @app.get("/search")
    def search() -> dict[str, Any]:
        return {"words": flask.request.args.getlist("word"), "path": flask.request.path}

    @app.get("/items/<path:name>")
    def item(name: str) -> dict[str, str]:
        return {"name": name, "url": flask.url_for("item", name=name, _external=True)}

    @app.get("/stream")
    def stream() -> flask.Response:
        def lines() -> Iterator[str]:
            for number in range(5):
                yield f"line {number}\n"
                gevent.sleep(0)

        return flask.Response(lines(), mimetype="text/plain")

    @app.get("/large")
    def large() -> flask.Response:
        return flask.send_file(io.BytesIO(SHARED), mimetype="application/octet-stream", etag=False)

    @app.get("/visit")
    def visit() -> str:
        flask.session["visits"] = flask.session.get("visits", 0) + 1
        return str(flask.session["visits"])

    @app.get("/away")
    def away() -> Any:
        return flask.redirect(flask.url_for("index"))

    @app.get("/nothing")
    def nothing() -> tuple[str, int]:
        return "", 204

    @app.get("/cached")
    def cached() -> flask.Response:
        response = flask.Response("cached")
        response.set_etag("tag")
        return response.make_conditional(flask.request)

    @app.get("/broken")
    def broken() -> str:
        raise KeyError("the secret")

    return app


@pytest.fixture(params=["HttpServer", "gruvihttp serve"])
def port(request: pytest.FixtureRequest, serve: Any, tmp_path: Path) -> Iterator[int]:
    """The port at which the shop is served, in this process or by the command."""
    if request.param == "HttpServer":
        yield serve(shop()).server.address[1]
        return
    (tmp_path / "shop.py").write_text(f"{IMPORTS}SHARED = {SHARED!r}\n{inspect.getsource(shop)}app = shop()\n")
    command = [sys.executable, "-m", "gruvihttp", "serve", "shop:app", "--bind", "127.0.0.1:0"]
    environment = {**os.environ, "PYTHONPATH": str(Path(gruvihttp.__file__).parent.parent)}
    program = subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    try:
        with gevent.Timeout(GUARD):
            banner = program.stdout.readline().decode()
        yield int(re.findall(r"http://127\.0\.0\.1:(\d+)", banner)[0])
    finally:
        program.terminate()
        program.communicate(timeout=GUARD)


@pytest.fixture
def url(port: int) -> str:
    return f"http://127.0.0.1:{port}"


def in_thread(function: Callable[..., Any], *arguments: Any) -> Any:
    return gevent.get_hub().threadpool.spawn(function, *arguments).get(timeout=GUARD)


# http.client


def test_http_client_talks_to_flask(port: int) -> None:
    def talk() -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=GUARD)

        def ask(method: str, target: str, **options: Any) -> tuple[http.client.HTTPResponse, bytes]:
            connection.request(method, target, **options)
            response = connection.getresponse()
            return response, response.read()

        response, content = ask("GET", "/")
        assert (response.status, response.reason, response.version, content) == (200, "OK", 11, b"welcome")
        first = connection.sock
        assert ask("GET", "/search?word=a&word=%C3%A9")[1] == b'{"path":"/search","words":["a","\\u00e9"]}\n'
        assert ask("POST", "/echo", body=SHARED)[1] == SHARED
        assert ask("POST", "/echo", body=iter([b"in ", b"chunks"]), encode_chunked=True)[1] == b"in chunks"
        response, content = ask("GET", "/stream")
        assert (response.getheader("Transfer-Encoding"), content.count(b"\n")) == ("chunked", 5)
        response, content = ask("HEAD", "/")
        assert (response.status, response.getheader("Content-Length"), content) == (200, "7", b"")
        response, content = ask("GET", "/nothing")
        assert (response.status, content) == (204, b"")
        response, content = ask("GET", "/cached", headers={"If-None-Match": '"tag"'})
        assert (response.status, content) == (304, b"")
        assert ask("GET", "/broken")[0].status == 500
        assert ask("GET", "/nowhere")[0].status == 404
        response, content = ask("DELETE", "/")
        assert (response.status, "GET" in response.getheader("Allow", "")) == (405, True)
        assert connection.sock is first, "one connection was enough for all of it"
        response, content = ask("GET", "/", headers={"Connection": "close"})
        assert content == b"welcome"
        assert connection.sock is None
        connection.close()

    in_thread(talk)


# requests


def test_requests_talks_to_flask(url: str, connections: list[Any]) -> None:
    def talk() -> None:
        with requests.Session() as session:
            session.trust_env = False
            assert session.get(url, timeout=GUARD).text == "welcome"
            assert [session.get(f"{url}/visit", timeout=GUARD).text for _ in range(3)] == ["1", "2", "3"]
            answer = session.post(f"{url}/form", data={"a": "1"}, files={"file": io.BytesIO(b"content")}, timeout=GUARD)
            assert answer.json() == {"fields": {"a": "1"}, "files": {"file": "content"}}
            assert session.post(f"{url}/echo", data=iter([b"a", b"b"]), timeout=GUARD).content == b"ab"
            assert session.put(f"{url}/echo", data=SHARED, timeout=GUARD).content == SHARED
            assert session.get(f"{url}/large", timeout=GUARD).content == SHARED
            answer = session.get(f"{url}/away", timeout=GUARD)
            assert (answer.text, [step.status_code for step in answer.history]) == ("welcome", [302])
            answer = session.get(f"{url}/items/caf\u00e9/x%20y", timeout=GUARD)
            assert answer.json() == {"name": "caf\u00e9/x y", "url": f"{url}/items/caf%C3%A9/x%20y"}
            assert session.head(f"{url}/large", timeout=GUARD).headers["Content-Length"] == str(len(SHARED))

    in_thread(talk)
    assert len(connections) <= 1  # 0: it is another process that knows


# curl


@pytest.fixture
def curl(url: str) -> Callable[..., str]:
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed")

    def curl(target: str, *options: str, given: bytes = b"") -> str:
        always = ["-q", "--silent", "--show-error", "--noproxy", "*", "--max-time", "20"]
        command = ["curl", *always, *options, url + target]
        done = subprocess.run(command, input=given, capture_output=True, timeout=GUARD)
        assert done.returncode == 0, done.stderr
        return done.stdout.decode("latin-1")

    return curl


def test_curl_talks_to_flask(curl: Any) -> None:
    assert curl("/") == "welcome"
    assert curl("/", "--http1.0") == "welcome"
    assert curl("/stream").count("\n") == 5
    assert curl("/stream", "--http1.0").count("\n") == 5
    assert curl("/echo", "--data-binary", "@-", given=b"posted") == "posted"
    assert curl("/echo", "--data-binary", "@-", "-H", "Transfer-Encoding: chunked", given=b"posted") == "posted"
    assert curl("/form", "-F", "a=1", "-F", "file=@-", given=b"x") == '{"fields":{"a":"1"},"files":{"file":"x"}}\n'
    assert curl("/echo", "--data-binary", "@-", given=SHARED).encode() == SHARED


def test_curl_reads_heads(curl: Any) -> None:
    head = curl("/", "--head")
    assert head.startswith("HTTP/1.1 200 OK\r\n") and "Content-Length: 7\r\n" in head
    assert curl("/", "--head", "--http1.0").startswith("HTTP/1.0 200 OK\r\n")
    assert curl("/nothing", "--include").startswith("HTTP/1.1 204 NO CONTENT\r\n")


def test_curl_waits_for_100_continue(curl: Any) -> None:
    """`-T -` expects 100-continue, as the reference example says."""
    output = curl("/echo", "-T", "-", "-H", "Expect: 100-continue", "--include", given=b"uploaded")
    assert output.startswith("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n")
    assert output.endswith("\r\n\r\nuploaded")


def test_curl_gets_the_refusal_of_an_upload_it_has_announced(curl: Any) -> None:
    output = curl("/nowhere", "-T", "-", "-H", "Expect: 100-continue", "--include", given=SHARED)
    assert output.startswith("HTTP/1.1 404 NOT FOUND\r\n")


def test_curl_uses_one_connection_for_several_targets(curl: Any, url: str) -> None:
    more = [f"{url}/stream", f"{url}/nowhere", f"{url}/broken", *["-o", "/dev/null"] * 4]
    assert curl("/visit", *more, "-w", "%{http_code} %{num_connects}, ") == "200 1, 404 0, 500 0, 200 0, "


# our own client


def test_our_client_talks_to_flask(port: int) -> None:
    with HttpClient(timeout=GUARD) as client:
        client.connect(("127.0.0.1", port))
        for target in ("/", "/stream", "/large", "/nothing", "/nowhere"):
            client.request("GET", target)
        client.request("HEAD", "/large")
        client.request("POST", "/echo", body="text")
        client.request("POST", "/echo", [("Content-Type", "text/plain; charset=utf-8")], "\u20ac")
        client.request("POST", "/echo", body=iter([b"in ", "chunks"]))
        answers = [(answer := client.getresponse()).status and (answer.status, answer.read()) for _ in range(9)]
        assert [status for status, _ in answers] == [200, 200, 200, 204, 404, 200, 200, 200, 200]
        contents = [content for _, content in answers]
        assert (contents[0], contents[1].count(b"\n"), contents[2], contents[3]) == (b"welcome", 5, SHARED, b"")
        assert contents[5:] == [b"", b"text", "\u20ac".encode(), b"in chunks"]


def test_our_client_uploads_more_than_anybody_holds(port: int) -> None:
    with HttpClient(timeout=GUARD) as client:
        client.connect(("127.0.0.1", port))
        for _ in range(10):
            client.request("POST", "/echo", body=SHARED)
        assert [client.getresponse().read() for _ in range(10)] == [SHARED] * 10


# WebTest over WSGIProxy2


def our_client(uri: str, method: str, body: Any, headers: Any) -> tuple[str, str | None, list[Any], list[bytes]]:
    """A client as `wsgiproxy` wants it: one exchange with the gruvihttp client."""
    scheme, _, rest = uri.partition("://")
    authority, slash, path = rest.partition("/")
    host, _, port = authority.partition(":")
    length = int(headers.get("Content-Length") or 0)
    kept = [(name, value) for name, value in headers.items() if name not in ("Transfer-Encoding", "Connection")]
    with HttpClient(timeout=GUARD) as client:
        client.connect((host, int(port)))
        client.request(method, slash + path or "/", kept, body.read(length) if length else b"")
        response = client.getresponse()
        fields = [(name, value) for name, value in response.headers
                  if name.lower() not in ("connection", "transfer-encoding")]  # fmt: skip
        return f"{response.status} {response.reason}", response.get_header("Location"), fields, [response.read()]


@pytest.fixture
def web(url: str) -> webtest.TestApp:
    return webtest.TestApp(HostProxy(url, client=our_client), {"HTTP_HOST": url.removeprefix("http://")})


def test_webtest_drives_flask_through_our_client_and_server(web: webtest.TestApp) -> None:
    web.get("/").mustcontain("welcome")
    assert web.get("/search", {"word": ["a", "b"]}).json["words"]
    assert web.post("/echo", b"posted", content_type="text/plain").body == b"posted"
    uploaded = web.post("/form", {"a": "1"}, upload_files=[("file", "name", b"content")])
    assert uploaded.json == {"fields": {"a": "1"}, "files": {"file": "content"}}
    assert web.get("/stream").body.count(b"\n") == 5
    assert web.get("/large").body == SHARED
    assert [web.get("/visit").text for _ in range(3)] == ["1", "2", "3"]
    assert web.head("/").headers["Content-Length"] == "7"
    assert web.get("/away").follow().text == "welcome"
    assert web.get("/nothing", status=204).body == b""
    assert web.get("/cached", headers={"If-None-Match": '"tag"'}, status=304).body == b""
    web.get("/nowhere", status=404)
    web.get("/broken", status=500)
    web.delete("/", status=405)
