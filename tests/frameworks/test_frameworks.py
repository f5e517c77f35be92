"""Flask, Django and Pyramid on our server: what their users do every day, asked for by a client that keeps cookies.

Nothing is patched: server, application and client are greenlets of one thread.
"""

from __future__ import annotations

import hashlib
import importlib.util
import logging
import os
import ssl
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import trustme

from gruvihttp import Error, HttpPool, HttpServer

HERE = Path(__file__).resolve().parent
FILE_BYTES = 300_000  # the system sends it where it can
CONTENT = os.urandom(FILE_BYTES)


@dataclass
class Application:
    """An application of a framework, and which of its generators have been closed."""

    serve: Any
    closed: list[str] = field(default_factory=list)


@cache  # Django can be set up once in a process
def application_of(framework: str, directory: str) -> Application:
    file = Path(directory) / "document.bin"
    file.write_bytes(CONTENT)
    spec = importlib.util.spec_from_file_location(f"{framework}_application", HERE / f"{framework}_application.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    closed: list[str] = []
    return Application(module.make_application(file, closed), closed)


@pytest.fixture(params=["flask", "django", "pyramid"])
def application(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Application:
    pytest.importorskip(request.param)
    made = application_of(request.param, str(tmp_path_factory.getbasetemp()))
    made.closed.clear()
    return made


@pytest.fixture(scope="session")
def contexts() -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """TLS of the server and of the client."""
    authority = trustme.CA()
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(server)
    client = ssl.create_default_context()
    authority.configure_trust(client)
    for context in (server, client):
        context.set_alpn_protocols(["h2", "http/1.1"])
    return server, client


@pytest.fixture(params=["http-1.1", "http-2"])
def client(request: pytest.FixtureRequest, application: Application, contexts: Any) -> Iterator[HttpPool]:
    """A client of a server that serves the application; ``url`` is where. HTTP/2 is spoken over TLS."""
    server = HttpServer(application.serve)
    secure = request.param == "http-2"
    server.listen(("127.0.0.1", 0), contexts[0] if secure else False)
    with HttpPool(timeout=20, http2=secure, ssl=contexts[1] if secure else None) as pool:
        pool.url = f"http{'s' if secure else ''}://127.0.0.1:{server.address[1]}"  # type: ignore[attr-defined]
        yield pool
    server.close(0)


Ask = Callable[..., Any]


@pytest.fixture
def ask(client: Any) -> Ask:
    """Makes a request by its path."""

    def ask(method: str, path: str, **options: Any) -> Any:
        return client.request(method, client.url + path, **options)

    return ask


def token_of(client: HttpPool) -> dict[str, str]:
    """The field by which Django's forms show that they are its own; nothing for others."""
    cookies = {cookie.name: cookie.value or "" for cookie in client.cookies or ()}
    if "csrftoken" not in cookies:
        return {}
    return {"X-CSRFToken": cookies["csrftoken"], "Referer": client.url}  # type: ignore[attr-defined]


def test_page_and_its_head(ask: Ask) -> None:
    page = ask("GET", "/")
    head = ask("HEAD", "/")
    assert (page.status, page.text, page.get_header("Content-Type").lower()) == (
        200,
        "<h1>index</h1>",
        "text/html; charset=utf-8",
    )
    assert (head.status, head.content, head.get_header("Content-Length")) == (200, b"", str(len(page.content)))
    assert ask("GET", "/missing").status == 404


def test_form(ask: Ask, client: HttpPool) -> None:
    assert ask("GET", "/form").json() == {}
    form = [("name", "J\u00fcrgen"), ("tea", "green"), ("tea", "black")]
    answer = ask("POST", "/form", data=form, headers=token_of(client))
    assert (answer.status, answer.json()) == (200, {"name": ["J\u00fcrgen"], "tea": ["green", "black"]})


@pytest.mark.parametrize("size", [10, 200_000], ids=["in-memory", "in-a-file"])
def test_upload(ask: Ask, size: int) -> None:
    boundary = "----gruvihttp"
    parts = [
        b'Content-Disposition: form-data; name="note"\r\n\r\nsee below',
        b'Content-Disposition: form-data; name="document"; filename="tea.jpg"\r\nContent-Type: image/jpeg\r\n\r\n'
        + b"\xff\x00" * (size // 2),
    ]
    body = b"".join(b"--%b\r\n%b\r\n" % (boundary.encode(), part) for part in parts) + b"--%b--\r\n" % boundary.encode()
    answer = ask("POST", "/upload", body=body, headers={"Content-Type": f"multipart/form-data; boundary={boundary}"})
    assert answer.json() == {"name": "tea.jpg", "type": "image/jpeg", "size": size, "note": "see below"}


@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])
def test_large_content(ask: Ask, chunked: bool, request: pytest.FixtureRequest) -> None:
    content = os.urandom(1 << 16) * 80
    blocks = (content[start : start + 100_000] for start in range(0, len(content), 100_000))
    answer = ask("POST", "/large", body=blocks if chunked else content, headers={"Content-Type": "application/x-any"})
    if chunked and "django" in request.node.name:
        content = b""  # Django reads as many bytes as Content-Length says, and without one none
    assert answer.json() == {"digest": hashlib.sha256(content).hexdigest()}


def test_stream(ask: Ask, application: Application) -> None:
    answer = ask("GET", "/stream?word=tea")
    assert answer.get_header("Content-Length") is None
    assert answer.text == "".join(f"tea {number}\n" for number in range(5))
    assert application.closed == ["stream"]


def test_session_and_redirect(ask: Ask) -> None:
    assert ask("GET", "/me").json() == {"user": None}
    answer = ask("POST", "/login", data={"user": "J\u00fcrgen"})
    assert (answer.status, answer.url.rpartition("/")[2], answer.json()) == (200, "me", {"user": "J\u00fcrgen"})
    assert [one.status for one in answer.history] == [302]
    assert ask("GET", "/me").json() == {"user": "J\u00fcrgen"}


def test_file(ask: Ask) -> None:
    for _ in range(2):  # on one connection
        answer = ask("GET", "/file")
        assert (answer.status, answer.get_header("Content-Length")) == (200, str(FILE_BYTES))
        assert answer.content == CONTENT
    head = ask("HEAD", "/file")
    assert (head.status, head.get_header("Content-Length"), head.content) == (200, str(FILE_BYTES), b"")


def test_conditional_request(ask: Ask) -> None:
    fresh = ask("GET", "/cached")
    assert (fresh.status, fresh.text, fresh.get_header("ETag")) == (200, "fresh", '"v1"')
    cached = ask("GET", "/cached", headers={"If-None-Match": '"v1"'})
    assert (cached.status, cached.content, cached.get_header("ETag")) == (304, b"", '"v1"')
    assert ask("GET", "/cached").text == "fresh"


def test_failure_is_a_500_that_tells_nothing(ask: Ask, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR):
        answer = ask("GET", "/broken")
    assert answer.status == 500
    assert b"secret detail" not in answer.content
    assert "secret detail" in caplog.text
    assert ask("GET", "/").status == 200


def test_failure_in_the_middle_is_seen_as_one(ask: Ask, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR), pytest.raises(Error):
        ask("GET", "/broken-stream").content  # noqa: B018  # reading it is what fails
    assert "secret detail" in caplog.text


