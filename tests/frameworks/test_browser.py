"""A browser without a window loads a page with what belongs to it, over TLS: several resources on one connection.

How many requests came on which connection is what the server says about itself, in its log of requests.
"""

from __future__ import annotations

import json
import re
import shutil
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme
from gevent import subprocess
from gevent.event import Event

from gruvihttp import HttpServer, websocket

BROWSERS = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")
GUARD = 50.0

PAGE = """<!DOCTYPE html>
<html><head><title>tea</title><link rel="icon" href="data:,"><link rel="stylesheet" href="/style.css">
<script src="/script.js"></script></head>
<body><img src="/image.svg" onload="seen('image')">
<form><input name="tea" value="gr\u00fcn"></form></body></html>
"""
SCRIPT = """
const said = [];
function seen(what) { said.push(what); }
async function run() {
  const form = new FormData(document.forms[0]);
  form.append("file", new Blob(["x".repeat(200000)]), "big.txt");
  const posted = await (await fetch("/upload", {method: "POST", body: form})).json();
  const streamed = await (await fetch("/stream")).text();
  const many = await Promise.all([...Array(5).keys()].map(async n => (await fetch("/fast?" + n)).status));
  const cookie = await (await fetch("/cookie")).text();
  document.body.dataset.result = JSON.stringify({said, posted, streamed, many, cookie,
    color: getComputedStyle(document.body).color});
  document.title = "done";
}
addEventListener("load", run);
"""
SOCKET = """
const ws = new WebSocket("wss://" + location.host + "/websocket");
const heard = [];
ws.onopen = () => { ws.send("gr\u00fcn"); ws.send("x".repeat(100000)); };
ws.onmessage = event => {
  heard.push(event.data.length);
  if (heard.length == 2) ws.close(4000, "enough");
};
ws.onclose = event => {
  document.body.dataset.result = JSON.stringify({heard, code: event.code, clean: event.wasClean,
    extensions: ws.extensions});
  fetch("/reported");
};
"""


def application(environ: Any, start_response: Any) -> Any:
    answer = _FIXED.get(environ["PATH_INFO"])
    if answer is not None:
        kind, content = answer
        start_response("200 OK", [("Content-Type", kind), ("Set-Cookie", "tea=green; Secure; HttpOnly")])
        return [content.encode()]
    return _ACTIONS[environ["PATH_INFO"]](environ, start_response)


def upload(environ: Any, start_response: Any) -> Any:
    content = environ["wsgi.input"].read()
    start_response("200 OK", [("Content-Type", "application/json")])
    return [json.dumps({"big": content.count(b"x") > 199_999, "form": "gr\u00fcn".encode() in content}).encode()]


def stream(environ: Any, start_response: Any) -> Iterator[bytes]:
    start_response("200 OK", [("Content-Type", "text/plain")])
    for number in range(3):
        yield b"%d" % number


def text(environ: Any, start_response: Any) -> list[bytes]:
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [environ.get("HTTP_COOKIE", "").encode()]


def report(environ: Any, start_response: Any) -> list[bytes]:
    reported.set()
    return text(environ, start_response)


def wait(environ: Any, start_response: Any) -> list[bytes]:
    """Let the page be complete when it has reported."""
    assert reported.wait(GUARD)
    return text(environ, start_response)


reported = Event()


def talk(environ: Any, start_response: Any) -> list[bytes]:
    with websocket.accept(environ, compress=True) as ws:
        for message in ws:
            ws.send(message)
    return []


_FIXED = {
    "/": ("text/html; charset=utf-8", PAGE),
    "/socket": ("text/html; charset=utf-8", f'<body><script>{SOCKET}</script><img src="/wait"></body>'),
    "/style.css": ("text/css", "body { color: rgb(1, 2, 3) }"),
    "/script.js": ("text/javascript", SCRIPT),
    "/image.svg": ("image/svg+xml", '<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>'),
}
_ACTIONS: dict[str, Callable[..., Any]] = {
    "/upload": upload,
    "/stream": stream,
    "/fast": text,
    "/cookie": text,
    "/reported": report,
    "/wait": wait,
    "/websocket": talk,
}


class Site:
    """A server with TLS, and what it has logged."""

    def __init__(self, alpn: list[str]) -> None:
        self.records: list[Any] = []
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        trustme.CA().issue_cert("localhost").configure_cert(context)
        context.set_alpn_protocols(alpn)
        self.server = HttpServer(application, access_log=self.records.append)
        self.server.listen(("127.0.0.1", 0), context)

    def url(self, path: str) -> str:
        return f"https://localhost:{self.server.address[1]}{path}"


@pytest.fixture
def browse(tmp_path: Path) -> Iterator[Callable[..., tuple[Site, Any]]]:
    """Has a browser load a page of a server that offers these protocols; what the page made of it comes back."""
    program = next(filter(None, map(shutil.which, BROWSERS)), None)
    if program is None:
        pytest.skip("there is no Chromium: apt-get install chromium-headless-shell")
    sites: list[Site] = []

    def browse(alpn: list[str], path: str, *options: str) -> tuple[Site, Any]:
        sites.append(Site(alpn))
        arguments = [
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",  # it is small in containers
            "--disable-background-networking",
            "--ignore-certificate-errors",
            f"--user-data-dir={tmp_path}",
            *options,
            "--dump-dom",
            sites[-1].url(path),
        ]
        done = subprocess.run([program, *arguments], capture_output=True, timeout=GUARD)
        found = re.search(r'data-result="([^"]*)"', done.stdout.decode())
        assert found, (done.stdout, done.stderr)
        return sites[-1], json.loads(found[1].replace("&quot;", '"'))

    yield browse
    for site in sites:
        site.server.close(0)


@pytest.mark.parametrize(
    ("alpn", "version", "connections"),
    # over HTTP/1.1 it opens up to six, for what it wants at the same time
    [(["http/1.1"], "HTTP/1.1", 6), (["h2", "http/1.1"], "HTTP/2.0", 1)],
    ids=["http-1.1", "http-2"],
)
def test_page_with_resources_over_tls(browse: Any, alpn: list[str], version: str, connections: int) -> None:
    # seconds of its own clock, which stands still while it waits for us; without them the page is done when loaded
    site, result = browse(alpn, "/", "--virtual-time-budget=20000")
    assert result == {
        "said": ["image"],
        "posted": {"big": True, "form": True},
        "streamed": "012",
        "many": [200] * 5,
        "cookie": "tea=green",
        "color": "rgb(1, 2, 3)",
    }
    statuses = {record.status for record in site.records}
    assert (len(site.records), statuses) == (12, {200})
    assert {record.protocol for record in site.records} == {version}
    assert site.server.accepted <= connections < len(site.records)


@pytest.mark.parametrize(
    ("alpn", "version"),
    [(["http/1.1"], "HTTP/1.1"), (["h2", "http/1.1"], "HTTP/2.0")],  # for the latter, on the connection of the page
    ids=["http-1.1", "http-2"],
)
def test_websocket_of_a_browser_is_compressed_and_closed_cleanly(browse: Any, alpn: list[str], version: str) -> None:
    reported.clear()
    site, result = browse(alpn, "/socket")
    [record] = [one for one in site.records if one.target == "/websocket"]
    assert record.protocol == version
    assert (result["heard"], result["code"], result["clean"]) == ([4, 100_000], 4000, True)
    assert result["extensions"].startswith("permessage-deflate")
