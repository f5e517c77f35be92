"""The client against servers that other people wrote, and against ours."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gruvihttp import HttpClient, HttpServer

ROOT = Path(__file__).resolve().parents[2]


def test_nginx_answers_in_order(nginx: str) -> None:
    with HttpClient(timeout=10) as client:
        client.connect(nginx)
        client.request("HEAD", "/hello")
        for url in ("/hello", "/empty", "/moved", "/no"):
            client.request("GET", url)
        responses = []
        for _ in range(5):
            responses.append(client.getresponse())
            responses[-1].read()
    assert [response.status for response in responses] == [200, 200, 204, 301, 404]
    assert (responses[1].get_header("content-type"), responses[0].get_header("Content-Length")) == ("text/plain", "14")


def test_nginx_sends_a_large_file(nginx: str) -> None:
    with HttpClient(timeout=10) as client:
        client.connect(nginx)
        client.request("GET", "/large")
        assert client.getresponse().read() == bytes(range(256)) * 8192


@pytest.mark.parametrize("body", [b"x" * 100_000, [b"x" * 50_000] * 2], ids=["length", "chunked"])
def test_nginx_takes_an_upload(nginx: str, body: Any) -> None:
    with HttpClient(timeout=10) as client:
        client.connect(nginx)
        for _ in range(2):
            client.request("POST", "/upload", body=body)
            response = client.getresponse()
            assert (response.status, response.read()) in [(200, b"Hello, World!\n"), (405, response.body.read())]


def test_nginx_refuses_an_upload_that_is_too_large(nginx: str) -> None:
    with HttpClient(timeout=10) as client:
        client.connect(nginx)
        client.request("POST", "/upload", body=b"x" * 64 * 1024 * 1024)
        response = client.getresponse()
        assert response.status == 413
        assert response.read()


def test_nginx_closes_after_so_many_requests(nginx: str) -> None:
    """100 of 150 pipelined requests are answered; the rest is named, and may be sent again."""
    answered = 0
    with HttpClient(timeout=10) as client:
        client.connect(nginx)
        pending = [f"/hello?{number}" for number in range(150)]
        while pending:
            for url in pending:
                client.request("GET", url)
            try:
                while pending:
                    assert client.getresponse().read() == b"Hello, World!\n"
                    pending.pop(0)
                    answered += 1
            except Exception as exc:
                assert [request.url for request in exc.unanswered] == pending  # type: ignore[attr-defined]
                assert answered == 100
                client.close()
                client.connect(nginx)
    assert answered == 150


HTTP_SERVER = """
import http.server

class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "{protocol}"

    def do_POST(self):
        length = int(self.headers["Content-Length"])
        body = self.rfile.read(length)
        self.send_response(200)
        self.send_header("Content-Length", str(length))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"until the end")
        self.close_connection = True

    def log_message(self, *arguments):
        pass

server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
print(server.server_port, flush=True)
server.serve_forever()
"""


@pytest.mark.parametrize("protocol", ["HTTP/1.0", "HTTP/1.1"])
def test_http_server_of_the_standard_library(protocol: str, start: Any) -> None:
    program = HTTP_SERVER.format(protocol=protocol)
    address = ("127.0.0.1", int(start(program).stdout.readline()))
    with HttpClient(timeout=10) as client:
        client.connect(address)
        client.request("POST", "/", body=b"x" * 10_000)
        response = client.getresponse()
        assert str(response.version) == protocol[5:]
        assert response.read() == b"x" * 10_000
        if protocol == "HTTP/1.0":
            client.connect(address)
        client.request("GET", "/")
        assert client.getresponse().read() == b"until the end"
        assert not client.connected


def echo(environ: dict[str, Any], start_response: Any) -> Iterator[bytes]:
    """Answers while it reads."""
    start_response("200 OK", [("X-Method", environ["REQUEST_METHOD"])])
    while piece := environ["wsgi.input"].read1():
        yield piece


def test_g64_our_server_echoes_large_content_while_it_comes() -> None:
    server = HttpServer(echo)
    server.listen(("127.0.0.1", 0))
    for body in ([b"x" * 100_000] * 100, b"y" * 10_000_000):
        with HttpClient(timeout=10) as client:
            client.connect(server.address)
            client.request("POST", "/", body=body)
            response = client.getresponse()
            assert response.get_header("x-method") == "POST"
            assert len(response.read()) == 10_000_000
    server.close(0)


def test_our_server_answers_a_pipeline() -> None:
    server = HttpServer(echo)
    server.listen(("127.0.0.1", 0))
    with HttpClient(timeout=10) as client:
        client.connect(server.address)
        for number in range(100):
            client.request("POST", "/", body=b"%d" % number)
        assert [client.getresponse().read() for _ in range(100)] == [b"%d" % number for number in range(100)]
    server.close(0)


PATCHED = """
from gevent import monkey
monkey.patch_all()
import sys
sys.path.insert(0, {root!r})
from gruvihttp import HttpClient, HttpServer

def application(environ, start_response):
    start_response("200 OK", [])
    return [environ["wsgi.input"].read()]

server = HttpServer(application)
server.listen(("127.0.0.1", 0))
with HttpClient(timeout=10) as client:
    client.connect(server.address)
    client.request("POST", "/", body=b"x" * 1000000)
    print(len(client.getresponse().read()))
server.close(0)
"""


def test_client_and_server_work_under_monkey_patching() -> None:
    program = PATCHED.format(root=str(ROOT))
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=50, check=False)
    assert re.fullmatch(r"1000000\n", result.stdout), result.stderr
