"""The server under clients that people use for HTTP/2: curl, nghttp, h2load, httpx, in plain text and over TLS."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gevent
import httpx
import pytest
import trustme
from gevent.event import Event
from tools import needs, run

from gruvihttp.certificates import Certificates
from gruvihttp.server import HttpServer

GUARD = 60.0
CONTENT = bytes(range(256)) * 20_000


class Site:
    """Refuses /refused, answers /echo with the content, /slow when it may, and anything else with the version."""

    def __init__(self) -> None:
        self.entered = Event()
        self.opened = Event()

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
        path = environ["PATH_INFO"]
        if path == "/refused":
            start_response("403 Forbidden", [])
            return [b"no"]
        start_response("200 OK", [("Content-Type", "text/plain")])
        if path == "/slow":
            self.entered.set()
            assert self.opened.wait(GUARD)
        if path == "/echo":
            return [environ["wsgi.input"].read()]
        return [f"{environ['wsgi.url_scheme']} {environ['SERVER_PROTOCOL']}".encode()]


@pytest.fixture
def site() -> Site:
    return Site()


@pytest.fixture
def urls(site: Site, authority: trustme.CA, tmp_path: Path) -> Iterator[dict[str, str]]:
    """The URLs of a server by scheme. Its TLS is as the command line has it."""
    certificate = tmp_path / "certificate.pem"
    authority.issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(certificate)
    context = Certificates(str(certificate))
    server = HttpServer(site)
    server.listen(("127.0.0.1", 0))
    server.listen(("127.0.0.1", 0), context)
    plain, secure = server.addresses
    yield {"http": f"http://localhost:{plain[1]}", "https": f"https://localhost:{secure[1]}"}
    server.close(0)


HOW = [
    pytest.param("http", "--http2-prior-knowledge", "http HTTP/2", id="prior-knowledge"),
    pytest.param("http", "--http2", "http HTTP/1.1", id="upgrade-is-ignored"),
    pytest.param("https", "--http2", "https HTTP/2", id="alpn"),
    pytest.param("https", "--http1.1", "https HTTP/1.1", id="alpn-http/1.1"),
    pytest.param("https", "--no-alpn", "https HTTP/1.1", id="no-alpn"),
]


@needs("curl")
@pytest.mark.parametrize(("scheme", "option", "version"), HOW)
def test_curl_gets_the_version_that_it_asks_for(urls: Any, scheme: str, option: str, version: str) -> None:
    assert run("curl", "-sSkf", option, urls[scheme]).decode() == version


@needs("curl")
@pytest.mark.parametrize(("scheme", "option", "version"), HOW[1:])  # curl 7.88 sends the preface twice, to anybody
def test_curl_uses_its_connection_again(urls: Any, scheme: str, option: str, version: str) -> None:
    said = run("curl", "-sSkf", option, "-w", "(%{num_connects})", urls[scheme], urls[scheme] + "/again").decode()
    assert said == f"{version}(1){version}(0)"


@needs("curl")
@pytest.mark.parametrize(("scheme", "option", "version"), HOW)
def test_curl_gets_its_upload_back(urls: Any, tmp_path: Path, scheme: str, option: str, version: str) -> None:
    file = tmp_path / "content"
    file.write_bytes(CONTENT)
    assert run("curl", "-sSkf", option, "--data-binary", f"@{file}", urls[scheme] + "/echo") == CONTENT


@needs("curl")
@pytest.mark.parametrize(
    ("scheme", "option"),
    # curl 7.88 loses it with prior knowledge, whatever the server, if it reads the answer and RST_STREAM at once
    [("https", "--http2"), ("https", "--http1.1"), ("http", "--http1.1")],
)
def test_curl_sees_that_its_upload_is_not_wanted(urls: Any, tmp_path: Path, scheme: str, option: str) -> None:
    file = tmp_path / "content"
    file.write_bytes(bytes(30_000_000))
    command = ["curl", "-sSk", option, "-H", "Expect:", "-o", str(tmp_path / "answer"), "-w", "%{http_code}"]
    assert [run(*command, "-T", str(file), urls[scheme] + "/refused") for _ in range(3)] == [b"403"] * 3


@needs("nghttp")
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_nghttp_gets_fast_answers_while_a_slow_one_runs(urls: Any, site: Site, scheme: str) -> None:
    paths = [urls[scheme] + path for path in ("/slow", "/1", "/2", "/3")]
    running = gevent.spawn(run, "nghttp", "-v", "--no-verify-peer", *paths)
    assert site.entered.wait(GUARD)
    gevent.spawn_later(0.3, site.opened.set)
    said = running.get(timeout=GUARD).decode()
    ended = re.findall(r"recv DATA frame <length=\d+, flags=0x01, stream_id=(\d+)>", said)
    opened = re.findall(r"send HEADERS frame <length=\d+, flags=0x25, stream_id=(\d+)>", said)
    assert sorted(ended) == sorted(opened)
    assert ended[-1] == opened[0]  # the slow one


@needs("h2load")
@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize("clients", [1, 4])
def test_h2load_sees_no_failed_request(urls: Any, scheme: str, clients: int) -> None:
    said = run("h2load", "-n", 2000, "-c", clients, "-m", 50, urls[scheme] + "/").decode()
    assert "2000 succeeded, 0 failed, 0 errored, 0 timeout" in said
    assert "2000 2xx" in said


def ask_with_httpx(url: str) -> list[tuple[str, bytes]]:
    """Three requests on one connection: the version and the content of each response."""
    with httpx.Client(http2=True, verify=False, timeout=GUARD, trust_env=False) as client:
        responses = [client.get(url), client.post(f"{url}/echo", content=CONTENT), client.get(f"{url}/again")]
        assert all(response.status_code == 200 for response in responses)
        return [(response.http_version, response.content) for response in responses]


def test_httpx_agrees_on_http2(urls: Any) -> None:
    said = gevent.get_hub().threadpool.apply(ask_with_httpx, (urls["https"],))
    assert said == [("HTTP/2", b"https HTTP/2"), ("HTTP/2", CONTENT), ("HTTP/2", b"https HTTP/2")]
