"""A server that tells what it was asked, and has a path for each thing that a client may meet."""

from __future__ import annotations

import gzip
import json
import ssl
from collections.abc import Iterable, Iterator
from hashlib import sha256
from typing import Any, TypeAlias
from urllib.parse import parse_qs

import gevent
from gevent.event import Event

from gruvihttp import HttpServer

__all__ = ["Site"]

GUARD_SECONDS = 10.0

Environ: TypeAlias = dict[str, Any]
Answer: TypeAlias = tuple[str, list[tuple[str, str]], Iterable[bytes]]


class Site:
    """A server that answers each path in its own way. `asked` has the environs, `held` keeps ``/held`` waiting."""

    def __init__(self, context: ssl.SSLContext | None = None, address: Any = ("127.0.0.1", 0)) -> None:
        self.asked: list[Environ] = []
        self.held = Event()
        self.peers: set[str] = set()
        self.server = HttpServer(self.application)
        self.server.listen(address, context or False)
        self.url = ""
        if isinstance(address, tuple):
            self.port = self.server.addresses[0][1]
            self.url = f"{'https' if context else 'http'}://127.0.0.1:{self.port}"

    @property
    def targets(self) -> list[str]:
        """The methods and targets that were asked for."""
        return [f"{one['REQUEST_METHOD']} {one['RAW_URI']}" for one in self.asked]

    def application(self, environ: Environ, start_response: Any) -> Iterable[bytes]:
        environ["content"] = environ["wsgi.input"].read()
        environ["RAW_URI"] = environ["PATH_INFO"] + ("?" + query if (query := environ["QUERY_STRING"]) else "")
        self.asked.append(environ)
        self.peers.add(environ.get("REMOTE_PORT", ""))
        name = environ["PATH_INFO"].strip("/").partition("/")[0].replace("-", "_")
        query = {key: values[-1] for key, values in parse_qs(environ["QUERY_STRING"]).items()}
        status, headers, body = getattr(self, f"answer_{name}", self.answer_told)(environ, query)
        start_response(status, headers)
        return body

    def answer_told(self, environ: Environ, query: dict[str, str]) -> Answer:
        """What the request was like, in JSON."""
        told = {
            "method": environ["REQUEST_METHOD"],
            "target": environ["RAW_URI"],
            "content": environ["content"].decode("latin-1"),
            "type": environ.get("CONTENT_TYPE", ""),
            "fields": {key[5:].lower(): value for key, value in environ.items() if key.startswith("HTTP_")},
        }
        return "200 OK", [("Content-Type", "application/json")], [json.dumps(told).encode()]

    def answer_status(self, environ: Environ, query: dict[str, str]) -> Answer:
        return f"{query['code']} Told So", [("Content-Type", "text/plain")], [b"as you wish"]

    def answer_redirect(self, environ: Environ, query: dict[str, str]) -> Answer:
        """To ``to``, with ``code``."""
        return f"{query.get('code', '302')} Elsewhere", [("Location", query["to"])], [b"elsewhere"]

    def answer_cookie(self, environ: Environ, query: dict[str, str]) -> Answer:
        """Sets a cookie, and goes on to ``to`` if that is given."""
        fields = [("Set-Cookie", query["set"]), ("Set-Cookie", "second=2")]
        if "to" in query:
            return "302 Found", [("Location", query["to"]), *fields], []
        return "200 OK", fields, [b"cookie"]

    def answer_gzip(self, environ: Environ, query: dict[str, str]) -> Answer:
        content = gzip.compress(b"zeros " * int(query.get("times", "1000")))
        return "200 OK", [("Content-Encoding", "gzip"), ("Content-Length", str(len(content)))], [content]

    def answer_bytes(self, environ: Environ, query: dict[str, str]) -> Answer:
        """So many bytes, in chunks unless ``length`` is given."""
        size = int(query["size"])
        fields = [("Content-Length", str(size))] if "length" in query else []
        pieces = (b"x" * min(10_000, size - start) for start in range(0, size, 10_000))
        return "200 OK", fields, pieces

    def answer_pieces(self, environ: Environ, query: dict[str, str]) -> Answer:
        """Three pieces in chunks: their length is not known when the head is sent."""

        def pieces() -> Iterator[bytes]:
            for piece in (b"one ", b"two ", b"three"):
                gevent.sleep(0)
                yield piece

        return "200 OK", [], pieces()

    def answer_held(self, environ: Environ, query: dict[str, str]) -> Answer:
        """Nothing before `held` is set."""
        self.held.wait(GUARD_SECONDS)
        return "200 OK", [], [b"held"]

    def answer_half(self, environ: Environ, query: dict[str, str]) -> Answer:
        """The first half of a body, the second when `held` is set."""

        def pieces() -> Iterator[bytes]:
            yield b"first "
            self.held.wait(GUARD_SECONDS)
            yield b"second"

        return "200 OK", [("Content-Length", "12")], pieces()

    def answer_digest(self, environ: Environ, query: dict[str, str]) -> Answer:
        """The length and the hash of what was sent, for what is too long to come back by bytes."""
        content = environ["content"]
        return "200 OK", [], [f"{len(content)} {sha256(content).hexdigest()}".encode()]

    def answer_echo(self, environ: Environ, query: dict[str, str]) -> Answer:
        return "200 OK", [("Content-Length", str(len(environ["content"])))], [environ["content"]]
