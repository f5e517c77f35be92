"""The WSGI applications that every server serves, one for each workload, doing as little as WSGI allows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from benchmarks.workloads import WORKLOADS

__all__ = ["browser", "count", "echo", "hello", "large", "pipelined"]

Environ = dict[str, Any]
StartResponse = Callable[[str, list[tuple[str, str]]], Any]
Application = Callable[[Environ, StartResponse], list[bytes]]


def _constant(content: bytes) -> Application:
    headers = [("Content-Type", "text/plain"), ("Content-Length", str(len(content)))]

    def application(environ: Environ, start_response: StartResponse) -> list[bytes]:
        start_response("200 OK", headers.copy())  # a server may add to the list, so each answer has its own
        return [content]

    return application


def echo(environ: Environ, start_response: StartResponse) -> list[bytes]:
    """Answer with the request's content."""
    length = environ["CONTENT_LENGTH"]
    content: bytes = environ["wsgi.input"].read(int(length))
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", length)])
    return [content]


def count(environ: Environ, start_response: StartResponse) -> list[bytes]:
    """Read the request's content in pieces, and answer with the number of bytes."""
    read, size = environ["wsgi.input"].read, 0
    while piece := read(65536):
        size += len(piece)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"%d" % size]


hello = browser = pipelined = _constant(WORKLOADS["hello"].content)
large = _constant(WORKLOADS["large"].content)
