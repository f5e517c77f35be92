"""The server that the drop-in checks talk to, run as a program: `python http_client_application.py PORT_FILE`.

It listens on a free port, writes the port to the file, and serves until it is ended.
"""

from __future__ import annotations

import gzip
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any
from xmlrpc.server import SimpleXMLRPCDispatcher

import gevent

from gruvihttp import HttpServer

PIECES = [b"first piece\n", b"second, a longer piece\n", b"x" * 5000 + b"\n", b"last piece\n"]
LINES = b"one\ntwo\nthree\n\nlast"

Answer = tuple[str, list[tuple[str, str]], Iterable[bytes]]

stored: dict[str, bytes] = {}
dispatcher = SimpleXMLRPCDispatcher()
dispatcher.register_function(lambda first, second: first + second, "add")


def _text(content: bytes, *more: tuple[str, str], status: str = "200 OK") -> Answer:
    return status, [("Content-Type", "text/plain; charset=utf-8"), ("Content-Length", str(len(content))), *more], [
        content
    ]


def _hello(environ: dict[str, Any]) -> Answer:
    return _text(b"Hello, World!\n", ("X-Method", environ["REQUEST_METHOD"]))


def _pieces(environ: dict[str, Any]) -> Answer:
    return "200 Fine", [("Content-Type", "text/plain")], _one_by_one()


def _one_by_one() -> Iterator[bytes]:
    for piece in PIECES:
        gevent.sleep(0)  # else they are there before the head is sent, and then their length is known
        yield piece


def _cookies(environ: dict[str, Any]) -> Answer:
    return _text(b"", ("Set-Cookie", "first=1; Path=/"), ("Set-Cookie", "second=2; Path=/"))


def _show_cookies(environ: dict[str, Any]) -> Answer:
    return _text(environ.get("HTTP_COOKIE", "").encode())


def _redirect(environ: dict[str, Any]) -> Answer:
    cookie = ("Set-Cookie", "redirected=yes; Path=/")
    return _text(b"there\n", ("Location", "/show-cookies"), cookie, status="302 Found")


def _gzip(environ: dict[str, Any]) -> Answer:
    return _text(gzip.compress(LINES), ("Content-Encoding", "gzip"))


def _echo(environ: dict[str, Any]) -> Answer:
    framing = environ.get("CONTENT_LENGTH") or environ.get("HTTP_TRANSFER_ENCODING", "chunked")
    return _text(environ["wsgi.input"].read(), ("X-Framing", framing), ("X-Method", environ["REQUEST_METHOD"]))


def _xmlrpc(environ: dict[str, Any]) -> Answer:
    content = dispatcher._marshaled_dispatch(environ["wsgi.input"].read())  # type: ignore[arg-type]
    return "200 OK", [("Content-Type", "text/xml"), ("Content-Length", str(len(content)))], [content]


def _bucket(environ: dict[str, Any]) -> Answer:
    """As much of S3 as putting and getting an object takes."""
    path = environ["PATH_INFO"]
    if environ["REQUEST_METHOD"] == "PUT":
        stored[path] = _unsigned(environ)
        return _text(b"", ("ETag", '"abc"'))
    if path not in stored:
        error = b'<?xml version="1.0"?><Error><Code>NoSuchKey</Code><Message>None.</Message></Error>'
        return "404 Not Found", [("Content-Type", "application/xml"), ("Content-Length", str(len(error)))], [error]
    return _text(stored[path], ("ETag", '"abc"'))


def _unsigned(environ: dict[str, Any]) -> bytes:
    """The content without the chunks that a signed upload wraps it in."""
    content: bytes = environ["wsgi.input"].read()
    if "aws-chunked" not in environ.get("HTTP_CONTENT_ENCODING", ""):
        return content
    size, _, rest = content.partition(b"\r\n")
    return rest[: int(size.partition(b";")[0], 16)]


ROUTES: dict[str, Callable[[dict[str, Any]], Answer]] = {
    "/": _hello,
    "/pieces": _pieces,
    "/lines": lambda environ: _text(LINES),
    "/cookies": _cookies,
    "/show-cookies": _show_cookies,
    "/redirect": _redirect,
    "/gzip": _gzip,
    "/echo": _echo,
    "/RPC2": _xmlrpc,
    "/204": lambda environ: ("204 No Content", [], []),
    "/304": lambda environ: ("304 Not Modified", [("ETag", '"abc"')], []),
}


def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """Answer by path; what has no route is in the bucket."""
    status, headers, content = ROUTES.get(environ["PATH_INFO"], _bucket)(environ)
    start_response(status, headers)
    return content


if __name__ == "__main__":
    server = HttpServer(application)
    server.listen(("127.0.0.1", 0))
    Path(sys.argv[1]).write_text(str(server.addresses[0][1]))
    server.run()
